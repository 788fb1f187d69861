// The health checks, live.

import "./page.js";
import { element } from "./build.js";
import { on } from "./live.js";

on("health", (checks) => {
  document.getElementById("checklist").replaceChildren(...checks.map(({ name, status, message }) => {
    const line = element("li");
    line.append(element("span", { class: `badge ${status}` }, status), element("strong", {}, name), element("span", {}, message));
    return line;
  }));
});
