// The three charts of a page: live from the stream, or the last hours from the minutes.

import { Chart } from "./chart.js";

const LIVE = 120; // seconds
const POINTS = 180;
const COLUMNS = ["served", "arrived", "pending", "processing", "oldest"];

export class Charts {
  constructor(queue) {
    this.queue = queue;
    this.span = LIVE;
    this.charts = ["throughput", "wait", "depth"].map((id) => new Chart(document.getElementById(id)));
    this.live = { at: [], lines: Object.fromEntries([...COLUMNS, "wait_p50", "wait_p95"].map((name) => [name, []])) };
    this.hours = null;
    for (const button of document.querySelectorAll("[data-span]")) {
      button.addEventListener("click", () => this.choose(button));
    }
    setInterval(() => this.span > LIVE && this.fetch(), 15000);
  }

  remember({ at, total }) {
    this.live.at = [...at];
    for (const name of Object.keys(this.live.lines)) this.live.lines[name] = total[name] ? [...total[name]] : at.map(() => null);
    this.draw();
  }

  add(at, values) {
    const { at: times, lines } = this.live;
    if (times.length && at <= times.at(-1)) return;
    times.push(at);
    for (const name of Object.keys(lines)) lines[name].push(values[name] ?? null);
    if (times.length > POINTS) {
      times.shift();
      for (const line of Object.values(lines)) line.shift();
    }
    this.draw();
  }

  choose(button) {
    for (const other of document.querySelectorAll("[data-span]")) other.setAttribute("aria-pressed", String(other === button));
    this.span = Number(button.dataset.span);
    if (this.span > LIVE) this.fetch();
    this.draw();
  }

  async fetch() {
    try {
      const answer = await fetch(`/minutes?${new URLSearchParams({ queue: this.queue })}`);
      if (answer.ok) this.hours = byMinute(await answer.json());
    } catch {
      return; // the stream says that nobody answers
    }
    this.draw();
  }

  draw() {
    const source = this.span > LIVE ? this.hours : this.live;
    if (!source) return;
    const to = this.span > LIVE ? Date.now() : (source.at.at(-1) ?? Date.now());
    const shown = { ...source, from: to - this.span * 1000, to, gap: this.span > LIVE ? 90000 : 5000 };
    for (const chart of this.charts) chart.show(shown);
  }
}

// Minutes as the charts want them; the one that is under way has not all its numbers yet, so it is left out.
function byMinute(minutes) {
  const whole = minutes.at.filter((at) => at < Date.now() - 60000).length;
  const column = (values, map = (value) => value) => values.slice(0, whole).map((value) => (value === null ? null : map(value)));
  return {
    at: minutes.at.slice(0, whole),
    lines: {
      served: column(minutes.ended, (count) => count / 60),
      arrived: column(minutes.arrived, (count) => count / 60),
      pending: column(minutes.depth),
      processing: [],
      oldest: [],
      wait_p50: column(minutes.wait_p50),
      wait_p95: column(minutes.wait_p95),
    },
  };
}
