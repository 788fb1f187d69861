// The stream of what is known now. Closed while the page is hidden, opened anew when it is seen again: every event has
// the whole of its part, so nothing is missed that matters.

const SILENCE = 6000; // milliseconds without a word, after which the numbers are called old

const listeners = new Map();
let source = null;
let heard = 0;
let wanted = new Set(["health", "database"]);
let history = null;

export function on(part, listener) {
  wanted.add(part);
  if (!listeners.has(part)) listeners.set(part, []);
  listeners.get(part).push(listener);
}

// Ask for what is remembered, for charts: of one queue, or "" for all together.
export function onHistory(queue, listener) {
  history = queue;
  listeners.set("history", [listener]);
}

export function start() {
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", open);
  setInterval(watchSilence, 1000);
  open();
}

function open() {
  if (source || document.hidden) return;
  const query = new URLSearchParams({ parts: [...wanted].join(",") });
  if (history !== null) query.set("history", history);
  source = new EventSource(`/events?${query}`);
  heard = Date.now();
  for (const part of [...wanted, "history"]) source.addEventListener(part, (event) => take(part, event));
  source.addEventListener("error", () => {
    say("away", "no connection");
    alarm("This dashboard does not answer. It comes back by itself.");
    if (source && source.readyState === EventSource.CLOSED) {
      close();
      setTimeout(open, 2000);
    }
  });
}

function close() {
  if (source) source.close();
  source = null;
}

function take(part, event) {
  heard = Date.now();
  const document = JSON.parse(event.data);
  if (part === "database") {
    say(document.ok ? "live" : "away", document.ok ? "live" : "database away");
    alarm(document.ok ? "" : document.said);
  }
  for (const listener of listeners.get(part) || []) listener(document);
}

function watchSilence() {
  if (source && Date.now() - heard > SILENCE && source.readyState === EventSource.OPEN) say("away", "no news");
}

function say(state, text) {
  const live = document.getElementById("live");
  if (live.dataset.state === state) return;
  live.dataset.state = state;
  document.getElementById("live-text").textContent = text;
}

function alarm(text) {
  const place = document.getElementById("alarm");
  if (place.textContent === text) return;
  place.textContent = text;
  place.hidden = !text;
}
