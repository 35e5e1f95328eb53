// Follows a stream of server-sent events, notices when it breaks, and takes it up again.

const SILENCE_MS = 5000; // events come once a second
const PAUSE_MS = 2000;

/** What `patch` makes of `target` (RFC 7396). Neither is changed. */
export function merged(target, patch) {
  if (patch === null || typeof patch !== "object" || Array.isArray(patch)) return patch;
  const result = target !== null && typeof target === "object" && !Array.isArray(target) ? { ...target } : {};
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key];
    else result[key] = merged(result[key], value);
  }
  return result;
}

export class Stream {
  #url;
  #told;
  #source = null;
  #heard = 0;
  #history = null;
  #row = null;
  #stats = null;

  /** `told` has `whole(history, stats)`, `change(row, stats)` and `broken(why)`. */
  constructor(url, told) {
    this.#url = url;
    this.#told = told;
  }

  open() {
    const source = new EventSource(this.#url);
    this.#source = source;
    this.#heard = Date.now();
    const on = (name, act) =>
      source.addEventListener(name, (event) => {
        this.#heard = Date.now();
        act(JSON.parse(event.data));
      });
    on("history", (history) => (this.#history = history));
    on("stats", (stats) => {
      this.#stats = stats;
      this.#told.whole(this.#history, stats);
    });
    on("row", (row) => (this.#row = row));
    on("change", (patch) => {
      this.#stats = merged(this.#stats, patch);
      this.#told.change(this.#row, this.#stats);
    });
    source.onerror = () => this.#again();
    const watch = setInterval(() => {
      if (this.#source !== source) clearInterval(watch);
      else if (Date.now() - this.#heard > SILENCE_MS) this.#again();
    }, 1000);
  }

  #again() {
    this.#source.close();
    this.#source = null;
    this.#told.broken("The stream of numbers broke.");
    // whether the proxy is away, or only has no place for one more
    fetch("/health/ready", { cache: "no-store" }).then(
      (answer) =>
        this.#source === null &&
        this.#told.broken(
          answer.ok
            ? "The proxy answers, but its stream of numbers broke (too many dashboards?)."
            : "The proxy is draining.",
        ),
      () => this.#source === null && this.#told.broken("The proxy does not answer."),
    );
    setTimeout(() => this.open(), PAUSE_MS);
  }
}
