// What every page does: the switch of colours, times that stay true, the state of the connection, alarms of health.

import { on, start } from "./live.js";
import { ago } from "./spoken.js";

const THEMES = ["auto", "light", "dark"];

function theme() {
  const button = document.getElementById("theme");
  const root = document.documentElement;
  button.addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(root.dataset.theme) + 1) % THEMES.length];
    root.dataset.theme = next;
    button.setAttribute("aria-label", `Colours: ${next}`);
    document.cookie = `pgq_theme=${next}; path=/; max-age=31536000; samesite=strict`;
  });
}

function times() {
  for (const time of document.querySelectorAll("time[datetime]")) time.textContent = ago(time.dateTime);
}

// Mark the way to the page of health wherever one is.
function marks(checks) {
  const bad = checks.filter((check) => check.status !== "ok").length;
  const link = document.querySelector('nav a[href="/health"]');
  link.textContent = bad ? `Health (${bad})` : "Health";
}

theme();
times();
setInterval(times, 5000);
on("health", marks);
queueMicrotask(start); // after the page's own module has said what it wants
