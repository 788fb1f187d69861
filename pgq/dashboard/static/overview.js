// The overview: all queues, live.

import "./page.js";
import { element, fill, sync } from "./build.js";
import { spark } from "./chart.js";
import { Charts } from "./charts.js";
import { on, onHistory } from "./live.js";
import { duration, number, rate } from "./spoken.js";

const charts = new Charts("");
const sparks = new Map();
const POINTS = 160;

onHistory("", (history) => {
  for (const [name, values] of Object.entries(history.served)) sparks.set(name, values);
  charts.remember(history);
});

on("queues", ({ at, queues }) => {
  const total = together(queues);
  charts.add(at, total);
  tiles(total);
  document.getElementById("no-queues").hidden = queues.length > 0;
  sync(document.querySelector("#queues tbody"), queues, (queue) => queue.queue, "queue-row", row);
});

on("health", (checks) => {
  const place = document.getElementById("checks");
  const bad = checks.filter((check) => check.status !== "ok");
  const written = JSON.stringify(bad.map((check) => [check.name, check.status, check.message]));
  if (place.dataset.written === written) return;
  place.dataset.written = written;
  place.hidden = bad.length === 0;
  place.replaceChildren(...bad.map(({ name, status, message }) => {
    const line = element("p", { "data-status": status });
    line.append(element("span", { class: `badge ${status}` }, status), element("strong", {}, name), element("span", {}, message));
    return line;
  }));
});

function together(queues) {
  const sum = (value) => queues.reduce((all, queue) => all + (value(queue) || 0), 0);
  const most = (value) => Math.max(...queues.map((queue) => value(queue) ?? -1), -1);
  return {
    served: sum((queue) => queue.beat.served),
    arrived: sum((queue) => queue.beat.arrived),
    pending: sum((queue) => queue.pending),
    processing: sum((queue) => queue.processing),
    dead: sum((queue) => queue.dead),
    oldest: Math.max(most((queue) => queue.beat.oldest), 0),
    wait_p50: most((queue) => queue.wait_p50) < 0 ? null : most((queue) => queue.wait_p50),
    wait_p95: most((queue) => queue.wait_p95) < 0 ? null : most((queue) => queue.wait_p95),
  };
}

function tiles(total) {
  const texts = {
    served: rate(total.served), arrived: rate(total.arrived), pending: number(total.pending),
    processing: number(total.processing), oldest: duration(total.oldest), dead: number(total.dead),
  };
  for (const output of document.querySelectorAll(".tiles output")) {
    const text = texts[output.dataset.total];
    if (output.textContent !== text) output.textContent = text;
  }
}

function row(place, queue) {
  const link = place.querySelector("[data-link]");
  if (!link.textContent) {
    link.textContent = queue.queue;
    link.href = `/queues/${encodeURIComponent(queue.queue)}`;
  }
  place.querySelector("[data-paused]").hidden = !queue.paused;
  place.querySelector("[data-throttled]").hidden = !queue.throttled_until;
  fill(place, {
    served: rate(queue.beat.served), pending: number(queue.pending), processing: number(queue.processing),
    oldest: duration(queue.oldest_due_age), wait_p95: duration(queue.wait_p95), run_p95: duration(queue.run_p95),
    completed: number(queue.completed), retried: number(queue.retried), dead: number(queue.dead),
  });
  for (const cell of place.querySelectorAll("[data-f]")) cell.classList.toggle("zero", ["0", "0 s"].includes(cell.textContent));
  place.querySelector('[data-f="dead"]').classList.toggle("hot", queue.dead > 0);
  const values = [...(sparks.get(queue.queue) || []), queue.beat.served].slice(-POINTS);
  sparks.set(queue.queue, values);
  spark(place.querySelector("[data-spark]"), values);
}
