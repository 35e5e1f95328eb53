// Numbers as people read them.

const round = (value) =>
  value >= 100 ? Math.round(value).toLocaleString("en") : value >= 10 ? value.toFixed(1) : value.toFixed(2).replace(/\.?0+$/, "");

/** A number with its unit: `1.2 s`, `850 ms`, `12 /s`. */
export function readable(value, unit) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  switch (unit) {
    case "ms":
      return value >= 10000 ? `${(value / 1000).toFixed(1)} s` : value >= 1000 ? `${(value / 1000).toFixed(2)} s` : `${round(value)} ms`;
    case "":
      return Math.round(value).toLocaleString("en");
    default:
      return `${round(value)} ${unit}`;
  }
}

/** A number of bytes: `12 kB`, `1.5 GB`. */
export function size(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let [value, at] = [bytes, 0];
  for (; value >= 1000 && at < units.length - 1; at += 1) value /= 1000;
  return readable(value, units[at]);
}

/** `3 d 4 h`, `5 min`, `7 s`. */
export function duration(seconds) {
  const parts = [
    [Math.floor(seconds / 86400), "d"],
    [Math.floor(seconds / 3600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "min"],
    [Math.floor(seconds) % 60, "s"],
  ].filter(([number]) => number > 0);
  return parts.slice(0, 2).map(([number, unit]) => `${number} ${unit}`).join(" ") || "0 s";
}

/** A time in seconds since 1970 as a clock shows it. */
export const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString("en-GB");

/** The same, with the day if that is not today. */
export function when(time) {
  const date = new Date(time);
  const day = date.toDateString() === new Date().toDateString() ? "" : `${date.toLocaleDateString("en-GB", { day: "numeric", month: "short" })}, `;
  return day + clock(date / 1000);
}

/** From what to what something was changed. */
export const changed = ({ from, to }) => `${words(from)} → ${words(to)}`;

/** A class or a level as words. */
export const words = (name) => String(name ?? "–").replaceAll("_", " ");

/** What a retune is marked with on the time line and in the table. */
export const MARKS = { level: "L", class: "C", canary: "Y", rate: "R", concurrency: "N", origin: "O" };
