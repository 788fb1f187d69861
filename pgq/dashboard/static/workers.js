// The workers, live.

import "./page.js";
import { fill, meter, sync } from "./build.js";
import { on } from "./live.js";
import { duration, number } from "./spoken.js";

on("workers", (workers) => {
  document.getElementById("no-workers").hidden = workers.length > 0;
  document.getElementById("workers-count").textContent = workers.length ? String(workers.length) : "";
  sync(document.querySelector("#workers tbody"), workers, (worker) => worker.id, "worker-row", (row, worker) => {
    const state = worker.alive ? (worker.stopping ? "stopping" : "alive") : "silent";
    const badge = row.querySelector("[data-state]");
    badge.textContent = state;
    badge.className = `badge ${state}`;
    meter(row, worker.utilisation ?? worker.running / worker.concurrency);
    fill(row, {
      name: worker.name, slots: `${number(worker.running)} of ${number(worker.concurrency)}`, queues: worker.queues.join(", "),
      host: worker.host, pid: String(worker.pid), silent: `${duration(worker.silent_for)} ago`,
      up: duration(Math.max((Date.now() - Date.parse(worker.started_at)) / 1000, 0)), version: worker.version,
    });
  });
});

on("needs", (needs) => {
  sync(document.querySelector("#needs tbody"), needs, (need) => need.queue, "need-row", (row, need) => {
    const link = row.querySelector("[data-link]");
    link.textContent = need.queue;
    link.href = `/queues/${encodeURIComponent(need.queue)}`;
    fill(row, {
      slots: number(need.slots), busy: number(need.busy), backlog: number(need.backlog), wait: duration(need.wait),
      needed_slots: number(need.needed_slots), needed_workers: number(need.needed_workers),
    });
    row.querySelector('[data-f="needed_slots"]').classList.toggle("hot", need.needed_slots > need.slots);
  });
});
