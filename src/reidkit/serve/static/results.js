// The list of results: cards, marks, keys, what is above and below the threshold.

import { $, h, picture } from "./dom.js";
import { become, isMatch, marked, state } from "./state.js";
import { drawTimeline } from "./timeline.js";
import { chance, count, hitLabel, personWords, timeWords, whenWords } from "./words.js";

let does = {}; // similar(hit), play(hit), marksChanged()

/** Draw the results of the state; `actions` is what their buttons do. */
export function drawResults(actions = does) {
  does = actions;
  const calibrated = Boolean(state.answer?.calibration);
  const above = calibrated ? state.hits.filter((hit) => isMatch(hit)) : state.hits;
  const below = calibrated ? state.hits.filter((hit) => !isMatch(hit)) : [];
  $("hits").replaceChildren(...above.map(card));
  $("hits-below").replaceChildren(...below.map(card));
  $("below").hidden = below.length === 0;
  const what = state.threshold === null ? "Below the threshold: probably other people" : "Below the threshold that you chose";
  $("below").querySelector("summary").textContent = `${what} (${below.length})`;
  if (below.length && !above.length) $("below").open = true;
  $("found").hidden = state.hits.length === 0;
  $("odds").hidden = !calibrated;
  $("refined").hidden = !calibrated || !(state.request.positive.length || state.request.negative.length);
  $("more").hidden = !state.answer?.next;
  drawTimeline(state.hits, show);
  drawTools();
  const first = cards()[0];
  if (first) first.tabIndex = 0;
}

/** Become what the page is while nothing is under way: what was found last is still there. */
export function rest() {
  const matches = document.querySelectorAll("#hits article").length;
  if (!state.hits.length) become(state.info.gallery.rows ? "ready" : "empty-gallery");
  else become(matches ? "results" : "below-threshold-only", { answer: state.answer, shown: state.hits.length, matches });
}

function card(hit) {
  const mark = state.marks.get(hit.key);
  const button = (kind, words) => h("button", {
    type: "button", className: `mark-${kind}`, "aria-pressed": String(mark === kind), onclick: () => toggle(hit.key, kind),
  }, words);
  const box = h("input", { type: "checkbox", className: "choose", checked: state.chosen.has(hit.key), onchange: () => choose(hit.key) });
  const facts = [
    h("p", { className: "chance" }, `${hit.rank}. ${hit.probability === null ? `similarity ${hit.similarity.toFixed(2)}` : `${chance(hit.probability)} same person`}`),
    hit.probability === null ? null : h("p", {}, `similarity ${hit.similarity.toFixed(2)}`),
    h("p", {}, `camera ${hit.camera ?? "not known"}`),
    h("p", {}, whenWords(hit)),
    personWords(hit) ? h("p", {}, personWords(hit)) : null,
    h("p", { className: "key" }, hit.key),
  ];
  const article = h("article", { className: `hit ${mark ?? ""}`, tabIndex: -1, "aria-label": hitLabel(hit), "data-key": hit.key, onkeydown: keys },
    picture(hit.image, hitLabel(hit)),
    h("div", { className: "facts" }, ...facts),
    h("div", { className: "buttons" },
      button("right", "✓ True match"), button("wrong", "✗ False match"),
      playable(hit) ? h("button", { type: "button", className: "wide play", onclick: () => does.play(hit) }, "▶ Play the moment") : null,
      h("button", { type: "button", className: "wide similar", onclick: () => does.similar(hit) }, "Find similar"),
      h("label", { className: "check" }, box, "Compare")));
  article.hit = hit;
  return h("li", {}, article);
}

const playable = (hit) => Boolean(state.info?.videos && hit.attributes?.video);

const cards = () => [...document.querySelectorAll("#list article")].filter((each) => each.checkVisibility?.() ?? true);

/** Mark a result, or take the mark back. */
function toggle(key, kind) {
  if (state.marks.get(key) === kind) state.marks.delete(key);
  else state.marks.set(key, kind);
  for (const article of document.querySelectorAll("#list article")) {
    const mark = state.marks.get(article.dataset.key);
    article.classList.toggle("right", mark === "right");
    article.classList.toggle("wrong", mark === "wrong");
    for (const each of ["right", "wrong"]) article.querySelector(`.mark-${each}`).setAttribute("aria-pressed", String(mark === each));
  }
  drawTools();
}

/** Choose a result for comparison, two at most: the first of them goes. */
function choose(key) {
  if (state.chosen.has(key)) state.chosen.delete(key);
  else state.chosen.add(key);
  if (state.chosen.size > 2) state.chosen.delete(state.chosen.values().next().value);
  for (const article of document.querySelectorAll("#list article")) {
    article.querySelector(".choose").checked = state.chosen.has(article.dataset.key);
  }
  drawTools();
}

function drawTools() {
  const [right, wrong] = [marked("right").length, marked("wrong").length];
  const words = (count, kind) => (count ? `${count} ${kind} match${count === 1 ? "" : "es"}` : "");
  const parts = [words(right, "true"), words(wrong, "false")].filter(Boolean);
  $("refine").hidden = !parts.length;
  $("refine").textContent = `Refine with ${parts.join(", ")}`;
  $("clear").hidden = !parts.length;
  $("compare-open").hidden = !state.chosen.size;
  $("compare-open").textContent = state.chosen.size === 2 ? "Compare the two" : "Compare with the query";
}

/** Show a result in the list, and go there. */
function show(key) {
  chooseTab("list");
  const article = [...document.querySelectorAll("#list article")].find((each) => each.dataset.key === key);
  if (article.closest("details")) article.closest("details").open = true;
  focus(article);
}

function focus(article) {
  for (const each of document.querySelectorAll("#list article")) each.tabIndex = -1;
  article.tabIndex = 0;
  article.focus();
}

function keys(event) {
  const article = event.currentTarget;
  if (event.target !== article || event.ctrlKey || event.metaKey || event.altKey) return;
  const all = cards();
  const at = all.indexOf(article);
  const columns = all.findIndex((each) => each.offsetTop > all[0].offsetTop);
  const by = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns > 0 ? columns : 1, ArrowUp: columns > 0 ? -columns : -1 }[event.key];
  const acts = {
    t: () => toggle(article.dataset.key, "right"),
    f: () => toggle(article.dataset.key, "wrong"),
    s: () => does.similar(article.hit),
    c: () => choose(article.dataset.key),
    p: () => playable(article.hit) && does.play(article.hit),
    "/": () => document.querySelector("#cameras input, #since").focus(),
    "?": () => $("help").showModal(),
  };
  if (by) focus(all[Math.min(Math.max(0, at + by), all.length - 1)]);
  else if (acts[event.key]) acts[event.key]();
  else return;
  event.preventDefault();
}

/** Show the list or the timeline. */
export function chooseTab(name) {
  for (const each of ["list", "timeline"]) {
    $(each).hidden = each !== name;
    $(`tab-${each}`).setAttribute("aria-selected", String(each === name));
    $(`tab-${each}`).tabIndex = each === name ? 0 : -1;
  }
}

/** Why nothing was found: which filter left how many. */
export function whyNothing(answer, request) {
  const parts = [];
  const names = request.filter.camera?.in;
  const rows = (wanted) => state.cameras.filter((each) => !wanted || wanted.includes(each.name)).reduce((sum, each) => sum + each.rows, 0);
  if (names) parts.push(names.length ? `The chosen cameras hold ${rows(names).toLocaleString("en")} of ${count(answer.searched, "image")}.` : "No camera is chosen.");
  if (request.filter.time) parts.push(`In the time from ${request.filter.time.gte ? timeWords(request.filter.time.gte) : "the beginning"} to ${request.filter.time.lt ? timeWords(request.filter.time.lt) : "now"} there are ${answer.passed_filter || "none"} of these.`);
  if (request.filter.exclude_query_camera) parts.push("The camera of the picture is left out.");
  return parts.join(" ") || "The gallery holds no other image.";
}
