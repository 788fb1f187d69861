// The page of one queue, live.

import "./page.js";
import { Charts } from "./charts.js";
import { on, onHistory } from "./live.js";
import { duration, number, rate } from "./spoken.js";

const name = document.getElementById("queue-name").textContent;
const charts = new Charts(name);
const WORDS = {
  served: rate, arrived: rate, oldest: duration, wait_p50: duration, wait_p95: duration, run_p50: duration, run_p95: duration,
};

onHistory(name, (history) => charts.remember(history));

on("queues", ({ at, queues }) => {
  const queue = queues.find((one) => one.queue === name);
  if (!queue) return;
  const values = { ...queue, ...queue.beat };
  charts.add(at, values);
  document.getElementById("paused").hidden = !queue.paused;
  for (const output of document.querySelectorAll("output[data-total]")) {
    const text = (WORDS[output.dataset.total] || number)(values[output.dataset.total]);
    if (output.textContent !== text) output.textContent = text;
  }
});
