// The results by camera and time, in the order of the list.

import { $, h } from "./dom.js";
import { isMatch } from "./state.js";
import { ZONE, hitLabel, timeWords } from "./words.js";

let drawn = { hits: [], show: null, width: 0 }; // and for which width of the page

/** Draw the timeline; `show(key)` goes to a result in the list. */
export function drawTimeline(hits, show) {
  drawn = { hits, show, width: $("results").clientWidth };
  const timed = hits.filter((hit) => hit.time);
  const rest = hits.length - timed.length;
  const times = timed.map((hit) => Date.parse(hit.time));
  const [first, last] = [Math.min(...times), Math.max(...times)];
  const place = (hit) => (last === first ? 50 : (100 * (Date.parse(hit.time) - first)) / (last - first));
  const cameras = [...new Set(timed.map((hit) => hit.camera ?? "not known"))];
  const mark = (hit) => {
    const button = h("button", { type: "button", "aria-label": hitLabel(hit), title: timeWords(hit.time), onclick: () => show(hit.key) }, String(hit.rank));
    button.classList.toggle("match", isMatch(hit) === true);
    button.style.left = `${place(hit)}%`;
    return button;
  };
  const rows = cameras.map((camera) => {
    const here = timed.filter((hit) => (hit.camera ?? "not known") === camera);
    const line = h("div", { className: "line" });
    const lanes = stack(here.map(place));
    here.forEach((hit, at) => {
      const button = mark(hit);
      button.style.top = `${0.35 + 2.9 * lanes[at]}rem`;
      line.append(button);
    });
    line.style.height = `${0.7 + 2.9 * (1 + Math.max(...lanes))}rem`;
    return h("tr", {}, h("th", { scope: "row" }, h("span", {}, camera)), h("td", {}, line));
  });
  const caption = `Results by camera and time, numbered by rank. Times are those of ${ZONE}.`;
  const parts = [];
  if (timed.length) {
    const iso = (value) => new Date(value).toISOString();
    const ends = h("div", { className: "ends" }, h("span", {}, timeWords(iso(first))), h("span", {}, timeWords(iso(last))));
    parts.push(h("table", {}, h("caption", {}, caption), h("tbody", {}, ...rows, h("tr", {}, h("td"), h("td", {}, ends)))));
  }
  if (rest) parts.push(h("p", {}, `${rest} of ${hits.length} results have no time and are not shown here.`));
  $("timeline").replaceChildren(...parts);
}

/** Draw it once more where the page has become wider or narrower: marks would lie on each other. */
export function fitTimeline() {
  if (drawn.width !== $("results").clientWidth) drawTimeline(drawn.hits, drawn.show);
}

/** Put marks that would lie on each other into lanes; `places` are in per cent of the width. */
function stack(places) {
  const reach = Math.max(4, (100 * 52) / Math.max(120, $("results").clientWidth - 160)); // a mark is 44 pixels wide
  const ends = [];
  const lanes = new Array(places.length);
  const order = places.map((_, at) => at).sort((one, other) => places[one] - places[other]);
  for (const at of order) {
    let lane = ends.findIndex((end) => places[at] - end >= reach);
    if (lane < 0) lane = ends.length;
    ends[lane] = places[at];
    lanes[at] = lane;
  }
  return lanes;
}
