// What is shown as numbers and words. Every text is set as text: none can become markup.

import { MARKS, changed, duration, readable, size, when, words } from "./units.js";

function element(name, text, parent, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  parent?.append(made);
  return made;
}

/** Puts rows of texts into a table, the first one as its head. Nothing is touched that did not change. */
function fill(table, rows) {
  const text = JSON.stringify(rows);
  if (table.dataset.shown === text) return;
  table.dataset.shown = text;
  const [head, ...rest] = rows;
  const made = [];
  if (head) {
    const row = element("tr");
    for (const cell of head) element("th", cell, row).scope = "col";
    made.push(row);
  }
  for (const cells of rest) {
    const row = element("tr");
    for (const cell of cells) element("td", cell, row);
    made.push(row);
  }
  table.replaceChildren(...made);
}

/** The tiles at the top: made once, then only their numbers change. */
export function showNow(list, stats, history) {
  const { window = {}, rate_limiter = {}, origin_pool = {}, network_quality = {}, workers = {}, concurrency = {} } = stats;
  const { responses = {}, process = {} } = stats;
  const ofClass = (name) => `${readable(responses[name], "")} ${name}`;
  const tiles = [
    ["Requests", readable(history.last("requests_per_second"), "/s"), `${readable(workers.requests_in_flight, "")} in flight`],
    ["Throughput", readable(history.last("sent_mbps"), "Mbit/s"), `${size(workers.sent_bytes)} in all`],
    ["Responses", ofClass("2xx"), ["3xx", "4xx", "5xx"].map(ofClass).join(", ")],
    ["Connections", readable(workers.connections_open, ""), `${readable(workers.connections_accepted, "")} so far; this page is one`],
    ["First byte p95", readable(window.p95_ttfb_ms, "ms"), `p50 ${readable(window.p50_ttfb_ms, "ms")}; of those that had one`],
    ["Total time p95", readable(window.p95_response_time_ms, "ms"), `p50 ${readable(window.p50_response_time_ms, "ms")}; of all requests`],
    ["Error rate", readable(window.error_rate_percent, "%"), `${readable(window.error_count, "")} of ${readable(window.total_requests, "")}`],
    [
      "Rate limit",
      rate_limiter.enabled ? readable(rate_limiter.rate_per_second, "/s") : "off",
      rate_limiter.enabled ? `${readable(rate_limiter.rejected, "")} turned away` : "at this level",
    ],
    [
      "To the origin",
      `${readable(origin_pool.in_use, "")} of ${readable(concurrency.limit, "")}`,
      `${readable(origin_pool.waiting, "")} waiting${stats.limited_by === "nothing" ? "" : ` for ${words(stats.limited_by)}`}`,
    ],
    [
      "Origin",
      network_quality.origin_status === "unreachable" ? "away" : words(network_quality.quality ?? "unknown"),
      network_quality.origin_status === "reachable"
        ? `in ${readable(network_quality.median_origin_response_time_ms, "ms")}`
        : network_quality.origin_status === "unreachable" ? "cannot be reached" : "not asked yet",
    ],
    ["Level", words(stats.performance_optimizer?.optimization_level), `up for ${duration(stats.uptime_seconds ?? 0)}`],
    ["CPU", readable(history.last("cpu_percent"), "%"), `of one core; version ${process.version ?? "–"}`],
    ["Memory", size(process.resident_bytes), `${readable(process.open_files, "")} of ${readable(process.open_files_limit, "")} files open`],
    [
      "Origin connections",
      readable(origin_pool.open, ""),
      `${readable(origin_pool.idle, "")} idle; ${readable(origin_pool.limit_per_host, "")} requests to it at once`,
    ],
  ];
  if (list.childElementCount !== tiles.length) {
    list.replaceChildren(
      ...tiles.map(([name]) => {
        const tile = element("div");
        element("dt", name, tile);
        element("dd", "", tile);
        element("dd", "", tile, "more");
        return tile;
      }),
    );
  }
  tiles.forEach(([name, value, more], at) => {
    const tile = list.children[at];
    tile.dataset.name = name;
    tile.dataset.class = name === "Origin" ? (network_quality.quality ?? "") : "";
    // the number large, its unit small
    const [number, ...unit] = value.split(" ");
    const wordy = Number.isNaN(Number.parseFloat(number));
    tile.children[1].replaceChildren(wordy ? value : number, " ");
    if (!wordy) element("small", unit.join(" "), tile.children[1]);
    tile.children[2].textContent = more;
  });
}

export function showRetunes(table, retunes) {
  const rows = retunes
    .toReversed()
    .map((retune) => [when(retune.at), `${MARKS[retune.what] ?? "?"} ${words(retune.what)}`, changed(retune), retune.why]);
  fill(table, [["When", "What", "Change", "Why"], ...(rows.length > 0 ? rows : [["–", "nothing yet", "", ""]])]);
}

export function showTransfers(table, transfers) {
  const row = (what, mended, failed, note) => [what, readable(mended, ""), readable(failed, ""), note];
  const failed = (...counts) => counts.reduce((sum, count) => sum + (count ?? 0), 0);
  // What was counted before the level changed stays.
  const off = (enabled, count) => (enabled ? "" : count > 0 ? "off now: from before" : "off at this level");
  const refused = transfers.parts_refused > 0 ? `${readable(transfers.parts_refused, "")} parts asked for again` : "";
  fill(table, [
    ["Bodies that", "went on", "did not", ""],
    row("broke", transfers.resumed, failed(transfers.resumes_given_up, transfers.resumes_denied), off(transfers.resume_enabled, transfers.resumed)),
    row("stalled", transfers.stalls_mended, failed(transfers.stalls_denied), off(transfers.resume_enabled, transfers.stalls_mended)),
    row("came in parallel", transfers.parallel, transfers.parts_given_up, off(transfers.parallel_enabled, transfers.parallel) || refused),
  ]);
}

/** What the store answered, holds and fetched. */
export function showStore(table, { enabled, requests = {}, hit_percent, bytes = {}, fills = {}, memory = {}, disk, prefetch = {}, objects }) {
  const stale = (requests.stale_while ?? 0) + (requests.stale_error ?? 0) + (requests.stale_slow ?? 0);
  const mega = (bytes) => readable(bytes === undefined || bytes === null ? undefined : bytes / 1e6, "MB");
  const share = (used, limit) => (limit ? `of ${mega(limit)}` : "");
  fill(table, [
    ["Figure", "Value", ""],
    ["answered without the origin", readable(hit_percent, "%"), enabled === false ? "off at this level" : ""],
    ["bytes saved", mega(bytes.saved), `${mega(bytes.served)} served`],
    ["answered stale", readable(stale, ""), stale > 0 ? `${readable(requests.stale_error, "")} for the origin failed` : ""],
    ["joined another request", readable(requests.joined, ""), ""],
    ["fetched from the origin", readable(fills.running, ""), `now; ${readable(fills.failed, "")} failed so far`],
    ["fetched ahead", readable(prefetch.fetched, ""), `${readable(prefetch.used, "")} used, ${readable(prefetch.unused, "")} not`],
    ["objects", readable(objects, ""), ""],
    ["memory", mega(memory.used_bytes), share(memory.used_bytes, memory.limit_bytes)],
    ["disk", disk ? mega(disk.bytes) : "–", disk ? disk.trouble?.reason ?? share(disk.bytes, disk.limit) : "none is set"],
  ]);
}

export function showParts(table, { actors = {}, redis = {}, workers = {}, network = {} }) {
  const line = network.origin ?? {};
  const loss = line.loss_percent === undefined || line.loss_percent === null ? "" : `, ${readable(line.loss_percent, "%")} lost`;
  const restarts = (count) => (count === 1 ? "started anew once" : count > 0 ? `started anew ${count} times` : "");
  fill(table, [
    ["Component", "State", ""],
    ...Object.entries(actors).map(([name, actor]) => [words(name), actor.status, restarts(actor.restarts)]),
    ["redis", redis.status ?? "–", redis.status === "connected" ? `ping ${readable(redis.latency_ms, "ms")}` : ""],
    ["workers", readable(workers.count, ""), workers.samples_dropped ? `${readable(workers.samples_dropped, "")} samples dropped` : ""],
    ["line to the origin", words(line.class), `round trip ${readable(line.round_trip_ms, "ms")}${loss}`],
  ]);
}

const COMPARED = [
  ["Requests", "counted_requests", ""],
  ["Clients, at least", "clients", ""],
  ["Error rate", "error_rate", "%"],
  ["Total time, p50", "p50_ms", "ms"],
  ["Total time, p95", "p95_ms", "ms"],
  ["Goodput", "goodput_mbps", "Mbit/s"],
];

const known = (value) => value !== null && value !== undefined;

/** A group's number. A percentile that is none, of some requests, lies behind all that were served. */
const measured = (group, key, unit) =>
  !known(group?.[key]) && group?.counted_requests > 0 ? "among the failed" : readable(group?.[key], unit);

/** A difference with its confidence interval, each with its sign. */
function difference({ stable, candidate } = {}, told, key, unit) {
  if (!known(told?.[key]?.value)) {
    const both = [stable, candidate].every((group) => group?.counted_requests > 0);
    return both ? "no number, for one is among the failed" : "too few samples";
  }
  const { value, low, high } = told[key];
  const signed = (value, unbounded) =>
    known(value) ? `${value < 0 ? "−" : "+"}${readable(Math.abs(value), unit)}` : unbounded;
  const sure = (known(low) && low > 0) || (known(high) && high < 0) ? "" : " (may be chance)";
  return `${signed(value)}, between ${signed(low, "−∞")} and ${signed(high, "+∞")}${sure}`;
}

/** The groups of a canary side by side. `steer` sends a change of the level. */
export function showCanary(section, canary, steer) {
  const candidate = canary?.candidate;
  section.hidden = !canary;
  if (!canary) return;
  const last = canary.last_rollback ? `The last candidate was taken back at ${when(canary.last_rollback.at)}: ${canary.last_rollback.reason}` : "";
  section.querySelector(".scroll").hidden = !candidate;
  section.querySelector("#canary-summary").textContent =
    (candidate ? `${candidate.percent} % of the clients have level ${candidate.level}. ` : "") + last;
  const groups = canary.groups ?? undefined;
  fill(section.querySelector("#canary-groups"), [
    ["", "Stable", "Candidate", "Difference, with 95 % confidence"],
    ...COMPARED.map(([name, key, unit]) => [
      name,
      measured(groups?.stable, key, unit),
      measured(groups?.candidate, key, unit),
      unit === "" ? "" : difference(groups, canary.difference, key, unit),
    ]),
  ]);
  const buttons = section.querySelector("#canary-buttons");
  const wanted = candidate ? `${candidate.level} ${candidate.percent}` : "";
  if (buttons.dataset.shown === wanted) return;
  buttons.dataset.shown = wanted;
  buttons.replaceChildren();
  const choices = candidate ? [[50, "Give it to 50 %"], [100, "Give it to all"], [0, "Roll back"]] : [];
  for (const [percent, text] of choices.filter(([percent]) => percent !== candidate.percent)) {
    const button = element("button", text, buttons);
    button.type = "button";
    button.addEventListener("click", () => steer({ level: candidate.level, percent }));
  }
}
