// The charts: what each shows, and how it is drawn.

import { MARKS, changed, clock, readable, words } from "./units.js";

const CLASSES = ["good", "medium", "poor", "very_poor"];

// `colour` is a variable of monitor.css; dashes tell lines apart without colours.
const PERCENTILES = (what) => [
  { column: `p50_${what}`, label: "p50", colour: "--one" },
  { column: `p95_${what}`, label: "p95", colour: "--two", dash: [8, 3] },
  { column: `p99_${what}`, label: "p99", colour: "--five", dash: [2, 3] },
];
const CHARTS = [
  {
    title: "Class of the origin",
    classes: true,
    lines: [{ column: "class", label: "class", colour: "--ink" }],
  },
  { title: "Requests", unit: "/s", lines: [{ column: "requests_per_second", label: "ended", colour: "--one", fill: true }] },
  { title: "Throughput", unit: "Mbit/s", lines: [{ column: "sent_mbps", label: "to clients", colour: "--four", fill: true }] },
  {
    title: "Time to first byte",
    unit: "ms",
    lines: [...PERCENTILES("ttfb_ms"), { column: "origin_median_ms", label: "origin's median", colour: "--four", dash: [4, 4] }],
    // Bounds of the class of the origin, by its median (`Class::of` in src/traffic/quality.rs).
    thresholds: [
      { at: 50, label: "medium" },
      { at: 150, label: "poor" },
      { at: 300, label: "very poor" },
    ],
  },
  { title: "Total time", unit: "ms", lines: PERCENTILES("response_time_ms") },
  {
    title: "Responses",
    unit: "/s",
    lines: [
      { column: "responses_2xx_per_second", label: "2xx", colour: "--one", fill: true },
      { column: "responses_3xx_per_second", label: "3xx", colour: "--four", dash: [8, 3] },
      { column: "responses_4xx_per_second", label: "4xx", colour: "--two", dash: [2, 3] },
      { column: "responses_5xx_per_second", label: "5xx", colour: "--three" },
    ],
  },
  { title: "Errors by the origin's fault", unit: "%", least: 1, lines: [{ column: "error_percent", label: "of the requests", colour: "--three", fill: true }] },
  {
    title: "Rate limit",
    unit: "/s",
    lines: [
      { column: "rate_limit", label: "limit", colour: "--one" },
      { column: "rejected_per_second", label: "turned away", colour: "--three", fill: true },
      { column: "delayed_per_second", label: "delayed", colour: "--two", dash: [8, 3] },
    ],
  },
  {
    title: "Origin connections",
    unit: "",
    least: 4,
    lines: [
      { column: "origin_in_use", label: "in use", colour: "--one", fill: true },
      { column: "origin_waiting", label: "requests waiting", colour: "--three", dash: [8, 3] },
      { column: "origin_limit", label: "limit", colour: "--two", dash: [2, 3] },
    ],
  },
  {
    title: "Client connections by their line",
    unit: "",
    least: 4,
    stacked: true,
    lines: CLASSES.map((name) => ({ column: `clients_${name}`, label: words(name), colour: `--${name.replace("_", "-")}` })),
  },
  {
    title: "Bodies kept going",
    unit: "/s",
    least: 1,
    lines: [
      { column: "resumed_per_second", label: "continued", colour: "--two" },
      { column: "parallel_per_second", label: "in parallel", colour: "--four", dash: [8, 3] },
    ],
  },
];

CHARTS.push(
  { title: "CPU", unit: "%", least: 10, lines: [{ column: "cpu_percent", label: "of one core", colour: "--one", fill: true }], thresholds: [{ at: 100, label: "one core" }] },
  { title: "Memory", unit: "MB", least: 10, lines: [{ column: "resident_mb", label: "in RAM", colour: "--five", fill: true }] },
);

// Seconds that are shown at least, however short the history is.
const LEAST = 60;
// A retune is told where the pointer is so near to its mark.
const NEAR_PX = 8;

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function element(name, text, parent) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  parent?.append(made);
  return made;
}

/** A legend that is a row of buttons: each shows a line's number and switches the line. */
class Legend {
  constructor(spec, parent, toggled) {
    const row = element("p", undefined, parent);
    row.className = "legend";
    this.values = spec.lines.map((line, at) => {
      const button = element("button", undefined, row);
      button.type = "button";
      button.setAttribute("aria-pressed", "true");
      const swatch = element("i", undefined, button);
      swatch.className = `swatch ${line.colour.slice(2)} ${line.dash ? "dashed" : ""}`;
      element("span", line.label, button);
      const value = element("b", "–", button);
      button.addEventListener("click", () => {
        const shown = button.getAttribute("aria-pressed") !== "true";
        button.setAttribute("aria-pressed", String(shown));
        toggled(at, shown);
      });
      return value;
    });
  }

  show(texts) {
    this.values.forEach((value, at) => (value.textContent = texts[at]));
  }
}

class Chart {
  constructor(spec, parent, charts) {
    this.spec = spec;
    this.charts = charts;
    this.hovered = null;
    this.hidden = new Set();
    this.figure = element("figure", undefined, parent);
    if (spec.classes) this.figure.className = "wide";
    const caption = element("figcaption", undefined, this.figure);
    const heading = element("h2", `${spec.title} `, caption);
    if (spec.unit && spec.unit !== "ms") element("small", spec.unit, heading);
    this.legend = spec.classes
      ? { show: () => {} }
      : new Legend(spec, caption, (at, shown) => {
          if (shown) this.hidden.delete(at);
          else this.hidden.add(at);
          this.draw();
        });
    if (spec.classes) {
      this.now = element("p", undefined, caption);
      this.now.className = "legend";
    }
    this.place = element("div", undefined, this.figure);
    this.place.className = "plot";
    this.place.setAttribute("role", "img");
    new ResizeObserver(() => this.plot?.setSize(this.size())).observe(this.place);
    this.build();
  }

  size() {
    return { width: Math.max(this.place.clientWidth, 120), height: this.place.clientHeight };
  }

  build() {
    const hovered = this.hovered;
    this.plot?.destroy();
    this.hovered = hovered;
    const rem = Number.parseFloat(getComputedStyle(document.documentElement).fontSize) / 16;
    const axis = {
      stroke: colour("--faint"),
      grid: { stroke: colour("--rule"), width: 1 },
      ticks: { show: false },
      font: `${12 * rem}px system-ui, sans-serif`,
    };
    const values = this.spec.classes
      ? { splits: () => [0.5, 1.5, 2.5, 3.5], values: () => CLASSES.map(words), grid: { show: false } }
      : { values: (_, splits) => splits.map((split) => (this.spec.unit === "ms" ? readable(split, "ms") : split.toLocaleString("en"))) };
    this.plot = new uPlot(
      {
        ...this.size(),
        legend: { show: false },
        cursor: { sync: { key: "time" }, drag: { x: false, y: false }, y: false },
        scales: {
          x: { range: () => this.charts.range() },
          y: { range: (_, __, most) => [0, this.spec.classes ? 5 : Math.max((most ?? 0) * 1.1, this.spec.least ?? 0.1)] },
        },
        axes: [
          { ...axis, values: (_, splits) => splits.map((at) => clock(at)), space: 80 * rem, size: 26 * rem },
          { ...axis, ...values, size: 66 * rem, space: 32 * rem },
        ],
        series: [
          {},
          ...(this.spec.stacked ? this.spec.lines.toReversed() : this.spec.lines).map((line) => ({
            stroke: this.spec.classes ? "transparent" : colour(line.colour),
            width: this.spec.stacked ? 1 : 2,
            dash: line.dash,
            fill: this.spec.stacked ? colour(line.colour) : line.fill ? `${colour(line.colour)}33` : undefined,
            points: { show: false },
          })),
        ],
        hooks: {
          draw: this.spec.classes ? [(plot) => this.drawClasses(plot)] : [(plot) => this.drawThresholds(plot)],
          setCursor: [
            (plot) => {
              this.hovered = plot.cursor.idx ?? null;
              this.showNumbers();
            },
          ],
        },
      },
      this.data(),
      this.place,
    );
  }

  /** The numbers of each line as they are drawn. Stacked, each lies upon those before it, and the tallest comes first. */
  data() {
    const { times, history } = this.charts;
    let sum = null;
    const lists = this.spec.lines.map((line, at) => {
      const list = history.of(line.column);
      if (this.hidden.has(at)) return list.map(() => null);
      if (!this.spec.stacked) return list;
      const below = sum;
      sum = below === null ? list : list.map((value, i) => value + below[i]);
      return sum;
    });
    return [times, ...(this.spec.stacked ? lists.reverse() : lists)];
  }

  draw() {
    this.plot.setData(this.data());
    this.place.dataset.points = this.charts.times.length;
    this.showNumbers();
  }

  showNumbers() {
    const { history, times } = this.charts;
    const at = this.hovered ?? times.length - 1;
    const numbers = this.spec.lines.map((line) => history.of(line.column)[at]);
    if (this.spec.classes) {
      const text = words(CLASSES[numbers[0]] ?? "unknown");
      const told = this.hovered === null ? "" : this.retunesNear(times[at]).map((retune) => `; ${words(retune.what)} ${changed(retune)}: ${retune.why}`).join("");
      this.now.textContent = this.hovered === null ? text : `${text} at ${clock(times[at])}${told}`;
      this.place.setAttribute("aria-label", `The class of the origin is ${text}`);
      return;
    }
    const texts = numbers.map((number) => readable(number, this.spec.unit));
    this.legend.show(texts);
    this.place.setAttribute("aria-label", this.spec.lines.map((line, i) => `${line.label} ${texts[i]}`).join(", "));
  }

  /** The retunes whose marks are near to this time. */
  retunesNear(time) {
    const [from, to] = this.charts.range();
    const near = ((to - from) * NEAR_PX) / Math.max(this.plot.over.clientWidth, 1);
    return this.charts.retunes.filter(({ at }) => Math.abs(Date.parse(at) / 1000 - time) <= Math.max(near, 1));
  }

  /** A line across for each bound that lies in what is shown, with its name. */
  drawThresholds(plot) {
    const { ctx, bbox } = plot;
    const rem = Number.parseFloat(getComputedStyle(document.documentElement).fontSize) / 16;
    ctx.save();
    ctx.strokeStyle = colour("--faint");
    ctx.fillStyle = colour("--faint");
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
    ctx.font = `${11 * rem * devicePixelRatio}px system-ui, sans-serif`;
    ctx.textAlign = "right";
    ctx.textBaseline = "bottom";
    const drawn = [];
    for (const { at, label } of this.spec.thresholds ?? []) {
      if (at > plot.scales.y.max) continue;
      const y = plot.valToPos(at, "y", true);
      ctx.beginPath();
      ctx.moveTo(bbox.left, y);
      ctx.lineTo(bbox.left + bbox.width, y);
      ctx.stroke();
      ctx.fillText(label, bbox.left + bbox.width - 4 * devicePixelRatio, y - devicePixelRatio);
      drawn.push(label);
    }
    ctx.restore();
    this.place.dataset.thresholds = drawn.join(", ");
    this.place.dataset.bounds = JSON.stringify(this.spec.thresholds ?? []);
  }

  /** Each stretch of time in its class's colour and height, and a mark for each retune. */
  drawClasses(plot) {
    const { ctx } = plot;
    const { times, history, retunes } = this.charts;
    const classes = history.of("class");
    const [from, to] = this.charts.range();
    const x = (time) => plot.valToPos(Math.min(Math.max(time, from), to), "x", true);
    const bottom = plot.valToPos(0, "y", true);
    ctx.save();
    for (let at = 0; at < classes.length; ) {
      let end = at + 1;
      while (end < classes.length && classes[end] === classes[at]) end += 1;
      const until = times[end] ?? to;
      // A stretch without a class is a gap.
      if (until > from && CLASSES[classes[at]] !== undefined) {
        const top = plot.valToPos(classes[at] + 1, "y", true);
        ctx.fillStyle = colour(`--${CLASSES[classes[at]].replace("_", "-")}`);
        ctx.fillRect(x(times[at]), top, x(until) - x(times[at]), bottom - top);
        ctx.fillStyle = colour("--ink");
        ctx.fillRect(x(times[at]), top, x(until) - x(times[at]), 2 * devicePixelRatio);
      }
      at = end;
    }
    ctx.strokeStyle = colour("--ink");
    ctx.fillStyle = colour("--ink");
    ctx.lineWidth = devicePixelRatio;
    const rem = Number.parseFloat(getComputedStyle(document.documentElement).fontSize) / 16;
    ctx.font = `bold ${12 * rem * devicePixelRatio}px system-ui, sans-serif`;
    ctx.textAlign = "center";
    ctx.textBaseline = "top";
    const { top, height } = plot.bbox;
    for (const retune of retunes) {
      const time = Date.parse(retune.at) / 1000;
      if (time < from || time > to) continue;
      ctx.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio]);
      ctx.beginPath();
      ctx.moveTo(x(time), top + 14 * rem * devicePixelRatio);
      ctx.lineTo(x(time), top + height);
      ctx.stroke();
      ctx.fillText(MARKS[retune.what] ?? "?", x(time), top);
    }
    ctx.restore();
  }
}

export class Charts {
  span = 300;
  times = [];
  retunes = [];

  constructor(parent, history) {
    this.history = history;
    this.charts = CHARTS.map((spec) => new Chart(spec, parent, this));
  }

  /** From when to when is shown, in seconds since 1970. */
  range() {
    const now = this.times.at(-1) ?? Date.now() / 1000;
    const first = this.times[0] ?? now;
    return [Math.max(now - this.span, Math.min(first, now - LEAST)), now];
  }

  draw(retunes) {
    this.times = this.history.of("at_ms").map((at) => at / 1000);
    this.retunes = retunes;
    for (const chart of this.charts) chart.draw();
  }

  recolour() {
    for (const chart of this.charts) chart.build();
  }
}
