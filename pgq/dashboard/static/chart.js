// Charts, in SVG: lines over time, a grid of three, a cross under the pointer. No library.

import { BY_UNIT, NONE, clock } from "./spoken.js";

const SVG = "http://www.w3.org/2000/svg";
const LEFT = 52;
const BOTTOM = 18;
const TOP = 6;

function svg(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, String(value));
  if (text !== undefined) made.textContent = text;
  return made;
}

const SECONDS = [0.002, 0.01, 0.02, 0.1, 0.2, 1, 2, 4, 10, 20, 60, 120, 240, 600, 1200, 3600, 7200, 14400, 43200, 86400, 172800];
const COUNTS = [2, 4, 10, 20, 40, 100]; // half of each is a whole number too

// The least of the steps, or of 1, 2, 2.5, 5 times a power of ten, that is not below a value.
export function ceiling(value, steps = []) {
  if (!(value > 0)) return Math.max(1, steps[0] ?? 1);
  const fine = steps.find((step) => step >= value * 0.999);
  if (fine) return fine;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999);
}

// The pieces of a line, each a list of [at, x, y]; a missing value, or a long gap, interrupts it.
function pieces(points, gap) {
  const found = [];
  let last = null;
  for (const point of points) {
    if (point[2] === null) {
      last = null;
      continue;
    }
    if (last === null || point[0] - last > gap) found.push([]);
    found.at(-1).push(point);
    last = point[0];
  }
  return found;
}

const along = (piece) => piece.map(([, x, y], order) => `${order ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

function under(piece, floor) {
  return `${along(piece)}L${piece.at(-1)[1].toFixed(1)} ${floor}L${piece[0][1].toFixed(1)} ${floor}Z`;
}

export class Chart {
  constructor(figure) {
    this.figure = figure;
    this.plot = figure.querySelector(".plot");
    this.title = figure.querySelector("h2").textContent;
    this.unit = BY_UNIT[figure.dataset.unit];
    this.steps = { duration: SECONDS, count: COUNTS }[figure.dataset.unit] ?? [];
    this.outputs = [...figure.querySelectorAll("output[data-line]")];
    this.pointed = null;
    this.data = null;
    this.plot.addEventListener("pointermove", (event) => this.point(event.offsetX));
    this.plot.addEventListener("pointerleave", () => this.point(null));
    new ResizeObserver(() => this.draw()).observe(this.plot);
  }

  // `at` milliseconds, `lines` a list of values for each output's name, `from` and `to` what is shown, `gap` how far
  // two points may be apart.
  show(data) {
    this.data = data;
    this.draw();
  }

  point(x) {
    this.pointed = x;
    this.draw();
  }

  draw() {
    const width = this.plot.clientWidth;
    const height = this.plot.clientHeight;
    if (!this.data || width < LEFT + 20) return;
    const { at, lines, from, to, gap } = this.data;
    const seen = at.map((when, place) => (when >= from && when <= to ? place : -1)).filter((place) => place >= 0);
    const names = this.outputs.map((output) => output.dataset.line);
    const most = ceiling(Math.max(0, ...names.flatMap((name) => seen.map((place) => lines[name]?.[place] ?? 0))), this.steps);
    const x = (when) => LEFT + ((when - from) / (to - from)) * (width - LEFT - 2);
    const y = (value) => height - BOTTOM - (value / most) * (height - BOTTOM - TOP);
    const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
    this.grid(drawing, { width, height, from, to, most, x, y });
    names.forEach((name, order) => {
      const points = seen.map((place) => [at[place], x(at[place]), lines[name]?.[place] == null ? null : y(lines[name][place])]);
      const found = pieces(points, gap);
      if (order === 0) {
        drawing.append(svg("path", { class: "area line-1", d: found.map((piece) => under(piece, height - BOTTOM)).join("") }));
      }
      drawing.append(svg("path", { class: `stroke line-${order + 1}`, d: found.map(along).join("") }));
    });
    const place = this.nearest(seen, at, x);
    if (this.pointed !== null && place !== null) this.cross(drawing, x(at[place]), height, clock(at[place]));
    this.plot.replaceChildren(drawing);
    this.tell(names, lines, seen, place);
  }

  grid(drawing, { width, height, from, to, most, x, y }) {
    for (const share of [0, 0.5, 1]) {
      const level = Math.round(y(most * share)) + 0.5;
      drawing.append(svg("line", { class: "grid", x1: LEFT, x2: width, y1: level, y2: level }));
      drawing.append(svg("text", { x: LEFT - 8, y: level + 4, "text-anchor": "end" }, share ? this.unit(most * share) : "0"));
    }
    for (const share of [0, 0.5, 1]) {
      const when = from + (to - from) * share;
      const anchor = { 0: "start", 0.5: "middle", 1: "end" }[share];
      const written = to - from > 600000 ? clock(when).slice(0, 5) : clock(when);
      drawing.append(svg("text", { x: x(when), y: height - 3, "text-anchor": anchor }, written));
    }
  }

  cross(drawing, x, height, when) {
    drawing.append(svg("line", { class: "cross", x1: x, x2: x, y1: TOP, y2: height - BOTTOM }));
    drawing.append(svg("text", { x: x + 5, y: TOP + 9 }, when));
  }

  nearest(seen, at, x) {
    if (!seen.length) return null;
    if (this.pointed === null) return seen.at(-1);
    return seen.reduce((best, place) => (Math.abs(x(at[place]) - this.pointed) < Math.abs(x(at[best]) - this.pointed) ? place : best));
  }

  tell(names, lines, seen, place) {
    const said = names.map((name, order) => {
      const values = lines[name] || [];
      // The newest that is known: the last minute has no times before it is over.
      const known = this.pointed === null ? seen.findLast((one) => values[one] != null) : place;
      const text = known === undefined || known === null ? NONE : this.unit(values[known] ?? null);
      if (this.outputs[order].textContent !== text) this.outputs[order].textContent = text;
      return `${this.outputs[order].parentElement.textContent.trim()}`;
    });
    this.plot.setAttribute("aria-label", `${this.title}: ${said.join(", ")}`);
  }
}

// A line without axes, for a row of a table.
export function spark(place, values, width = 150, height = 22) {
  const most = Math.max(0, ...values.map((value) => value ?? 0)) || 1;
  const step = width / Math.max(values.length - 1, 1);
  const points = values.map((value, order) => [order, order * step, value === null ? null : height - 2 - (value / most) * (height - 4)]);
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  drawing.append(svg("path", { class: "stroke line-1", d: pieces(points, 1).map(along).join(""), "vector-effect": "non-scaling-stroke" }));
  place.replaceChildren(drawing);
}
