// Wires the page: the stream's numbers to charts, tables and the form.

import { Charts } from "./charts.js";
import { History } from "./history.js";
import { Purging } from "./purging.js";
import { Steering } from "./steering.js";
import { Stream } from "./stream.js";
import { showCanary, showNow, showParts, showRetunes, showStore, showTransfers } from "./tables.js";
import { when } from "./units.js";

const byId = (id) => document.getElementById(id);
const link = byId("link");
const broken = byId("broken");
const history = new History();
// Hours are told by themselves, a row for every 15 seconds, and only while they are looked at.
const hours = new History();
const MINUTES_S = 900;
const HOURS_EVERY_MS = 15000;
const charts = new Charts(byId("charts"), history);
const steering = new Steering(byId("steer"), byId("steered"));
new Purging(byId("purge"), byId("purged"));
let stats = {};

/** A maximum of the settings that holds requests back, in words. */
const bound = ({ key, value, needed }) => `${key} is ${value} and holds requests back, not the origin: ${needed} would be needed`;

/** What /health says, in the order in which it says it. */
function showReasons(list, reasons) {
  const text = reasons.join("\n");
  if (list.dataset.shown === text) return;
  list.dataset.shown = text;
  list.hidden = reasons.length === 0;
  list.replaceChildren(
    ...reasons.map((reason) => {
      const item = document.createElement("li");
      item.textContent = reason;
      return item;
    }),
  );
}

async function readHours() {
  if (charts.span <= MINUTES_S || document.hidden) return;
  try {
    const answer = await fetch("/stats/history", { cache: "no-store" });
    if (answer.ok) hours.reset(await answer.json());
  } catch {
    // The stream says that the proxy does not answer; what is shown stays.
  }
  show();
}
setInterval(readHours, HOURS_EVERY_MS);

function show() {
  // a page that nobody sees is drawn when it is looked at again
  if (document.hidden) return;
  byId("origin").textContent = `before ${stats.network_quality?.origin ?? "?"}`;
  byId("away").hidden = stats.network_quality?.origin_status !== "unreachable";
  showReasons(byId("reasons"), stats.reasons ?? []);
  byId("bound").hidden = !stats.binding_limit;
  byId("bound").textContent = stats.binding_limit ? bound(stats.binding_limit) : "";
  showNow(byId("now"), stats, history);
  showRetunes(byId("retunes"), stats.retunes ?? []);
  showTransfers(byId("kept"), stats.transfers ?? {});
  showStore(byId("stored"), stats.store ?? {});
  showParts(byId("actors"), stats);
  showCanary(byId("canary"), stats.canary, (change) => steering.steer(change));
  steering.show(stats);
  charts.draw(stats.retunes ?? []);
}

new Stream("/stats/stream", {
  whole(history_, stats_) {
    history.reset(history_);
    stats = stats_;
    link.textContent = "live";
    link.dataset.state = "live";
    broken.hidden = true;
    show();
  },
  change(row, merged) {
    history.push(row);
    stats = merged;
    show();
  },
  broken(why) {
    link.textContent = "not connected";
    link.dataset.state = "broken";
    broken.textContent = `${why} What is shown is as of ${when(history.last("at_ms") ?? Date.now())}. Trying again.`;
    broken.hidden = false;
  },
}).open();

for (const choice of document.querySelectorAll("#span input")) {
  choice.addEventListener("change", () => {
    charts.span = Number(choice.value);
    charts.history = charts.span > MINUTES_S ? hours : history;
    show();
    readHours();
  });
}
document.addEventListener("visibilitychange", show);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  charts.recolour();
  show();
});
