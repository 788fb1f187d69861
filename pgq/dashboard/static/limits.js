// The limits, live.

import "./page.js";
import { fill, meter, sync } from "./build.js";
import { on } from "./live.js";
import { ago, number, rateLimit } from "./spoken.js";

on("limits", (limits) => {
  document.getElementById("no-limits").hidden = limits.length > 0;
  sync(document.querySelector("#limits tbody"), limits, (limit) => limit.name, "limit-row", (row, limit) => {
    meter(row, limit.rate_max ? limit.used / limit.rate_max : 0);
    fill(row, {
      key: limit.key, kind: limit.kind, rate: rateLimit(limit.rate_max, limit.rate_per), used: number(limit.used),
      concurrency: number(limit.concurrency), running: number(limit.running), denied: number(limit.denied),
      until: limit.throttled_until ? ago(limit.throttled_until) : "no", seen: ago(limit.seen_at),
    });
  });
});
