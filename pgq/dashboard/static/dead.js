// Replays and purges under way, live.

import "./page.js";
import { element } from "./build.js";
import { on } from "./live.js";
import { number } from "./spoken.js";

on("jobs", (jobs) => {
  const place = document.getElementById("jobs");
  place.hidden = jobs.length === 0;
  place.replaceChildren(...jobs.slice(-3).reverse().map(shown));
});

function shown(job) {
  const card = element("div", { class: "card job", "data-job": String(job.id), "data-done": String(job.done) });
  const verb = { replay: ["Replaying", "Replayed"], purge: ["Deleting", "Deleted"] }[job.action][job.done ? 1 : 0];
  const rest = [
    job.refused ? `${number(job.refused)} stayed dead: their unique key is taken` : "",
    job.left ? `${number(job.left)} left alone: somebody else was at them` : "",
    job.error,
  ].filter(Boolean);
  const line = element("p");
  line.append(element("strong", {}, `${verb} ${number(job.changed)} of ${number(job.total)}`), ` (${job.what})`);
  card.append(line);
  if (rest.length) card.append(element("p", { class: "note" }, rest.join("; ")));
  if (!job.done) card.append(element("progress", { max: String(job.total), value: String(job.changed), "aria-label": verb }));
  return card;
}
