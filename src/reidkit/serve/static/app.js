// The page: what its controls do, and which state follows from what the service answers.

import { call } from "./api.js";
import { compare, exportCsv, signedIn } from "./dialogs.js";
import { $, h } from "./dom.js";
import { addFiles, addKey } from "./pictures.js";
import { chooseTab, drawResults } from "./results.js";
import { cancel, failed, finished, needOwnCamera, onRetry, retry, search } from "./search.js";
import { become, onState, restoreView, saveView, state } from "./state.js";
import { fitTimeline } from "./timeline.js";
import { SAYS, ZONE, aboutWords, count, thresholdWords } from "./words.js";

onState((name, details) => {
  const [status, alert] = SAYS[name](details);
  if ($("status").textContent !== status) $("status").textContent = status;
  if ($("alert").textContent !== alert) $("alert").textContent = alert;
  const busy = name === "searching";
  $("go").disabled = busy || !state.info || ["loading-info", "signed-out", "empty-gallery"].includes(name);
  $("cancel").hidden = !busy;
  $("retry-box").hidden = !["offline", "error", "overloaded", "empty-gallery"].includes(name);
  if (!["results", "below-threshold-only", "cropping", "overloaded", "bad-image", "error", "offline", "searching"].includes(name)) $("found").hidden = true;
  if (["results", "below-threshold-only", "no-results"].includes(name)) keepUp();
});

async function start() {
  become("loading-info");
  $("sign-in").close();
  onRetry(start);
  const before = state.info?.actor.name;
  let keys = [];
  try {
    keys = await load();
  } catch (error) {
    failed(error);
    return;
  }
  const there = state.pictures.map((each) => each.key); // signed in once more, or twice at a time: none comes twice
  for (const key of keys.filter((each) => !there.includes(each))) addKey({ key, image: `/v1/images/${encodeURIComponent(key)}` });
  if (state.info.actor.name !== before) forget();
  if (state.hits.length) { // a session was over: what was found and marked is still there for who signs in again
    finished();
    return;
  }
  become(state.info.gallery.rows ? "ready" : "empty-gallery");
  if (keys.length && state.info.gallery.rows) search();
}

/** Leave nothing of what was found: it is not for whoever signs in next. */
function forget() {
  Object.assign(state, { hits: [], answer: null, request: null, asked: [], marks: new Map(), chosen: new Set() });
  drawResults(); // hidden pictures of people would stay in the page all the same
}

/** Read what the gallery holds, and draw it; what was filled in stays. Return the keys that the address names. */
async function load() {
  const info = await call("GET", "/v1/info");
  state.cameras = (await call("GET", "/v1/cameras")).cameras;
  if (state.info) saveView();
  state.info = info;
  drawInfo();
  const keys = restoreView();
  drawThreshold();
  return keys;
}

let looked = null; // the answer by which it was last looked whether what the page says of the gallery still holds

/** Read again what the gallery holds where an answer is of another: it changes, and cameras that are not in the list would be left out. */
function keepUp() {
  const { answer, info } = state;
  if (answer === looked) return;
  looked = answer;
  const known = [info.gallery.rows, info.model.fingerprint, info.calibration?.threshold];
  if ([answer.searched, answer.model, answer.calibration?.threshold].some((each, at) => each !== known[at])) load().catch(() => null);
}

function drawInfo() {
  const { info } = state;
  $("about").textContent = aboutWords(info);
  $("version").textContent = `reidkit ${info.version}. Pictures that you choose are compared and not kept.`;
  $("who").hidden = $("sign-out").hidden = !info.actor.signed_in;
  $("who").textContent = info.actor.name;
  $("purpose").required = info.require_purpose;
  $("zone").textContent = `(${ZONE})`;
  const named = state.cameras.filter((each) => each.name !== null);
  const unnamed = state.cameras.filter((each) => each.name === null).reduce((sum, each) => sum + each.rows, 0);
  $("no-camera").hidden = !unnamed;
  $("no-camera").textContent = `${count(unnamed, "image")} of no known camera: searched only where all cameras are chosen.`;
  $("cameras").replaceChildren(...named.map((each) => h("label", { className: "check" },
    h("input", { type: "checkbox", value: each.name, checked: true }), h("span", {}, h("bdi", {}, each.name), ` (${each.rows.toLocaleString("en")})`))));
  $("own-camera").replaceChildren($("own-camera").options[0], ...named.map((each) => h("option", { value: each.name }, `camera ${each.name}`)));
}

function drawThreshold() {
  const known = state.info.calibration;
  const slider = $("threshold");
  slider.disabled = !known;
  if (!known) state.threshold = null; // of a link from another day
  $("threshold-reset").hidden = state.threshold === null;
  if (!known) {
    $("threshold-words").textContent = "Not calibrated: there is no threshold and no probability. The operator can run reidkit calibrate.";
    return;
  }
  const thresholds = known.curve.map((point) => point[0]);
  slider.min = Math.floor(100 * Math.max(-1, Math.min(...thresholds, known.threshold))) / 100;
  slider.max = 1;
  slider.value = state.threshold ?? known.threshold;
  const words = thresholdWords(state.threshold ?? known.threshold, known);
  const pairs = known.pairs && state.threshold === null ? ` ${count(known.pairs, "pair")} of cameras have a threshold of their own.` : "";
  $("threshold-words").textContent = words + pairs;
  slider.setAttribute("aria-valuetext", words);
}

// ---- controls

function preset(kind) {
  const local = (date) => new Date(date.getTime() - 60_000 * date.getTimezoneOffset()).toISOString().slice(0, 16);
  const now = new Date();
  const from = { hour: () => new Date(now.getTime() - 3_600_000), today: () => new Date(now.getFullYear(), now.getMonth(), now.getDate()) }[kind];
  $("since").value = from ? local(from()) : "";
  $("until").value = "";
}

function wire() {
  $("form").addEventListener("submit", (event) => { event.preventDefault(); state.marks.clear(); search(); });
  for (const id of ["files", "photo"]) $(id).addEventListener("change", (event) => { addFiles([...event.target.files]); event.target.value = ""; });
  document.addEventListener("paste", (event) => addFiles([...event.clipboardData.files]));
  document.addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("dragging"); });
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("dragging"); });
  document.addEventListener("drop", (event) => { event.preventDefault(); document.body.classList.remove("dragging"); addFiles([...event.dataTransfer.files]); });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") cancel(); });
  // The address is that of the filters: the link of the skip must not take its place, and a link pasted over it counts.
  document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); $("results").focus(); });
  window.addEventListener("hashchange", () => location.reload());
  window.addEventListener("resize", fitTimeline);
  $("other-cameras").addEventListener("change", needOwnCamera);
  $("cancel").addEventListener("click", cancel);
  $("retry").addEventListener("click", () => retry());
  for (const [id, on] of [["all-cameras", true], ["no-cameras", false]]) $(id).addEventListener("click", () => { for (const box of document.querySelectorAll("#cameras input")) box.checked = on; });
  for (const each of document.querySelectorAll("[data-preset]")) each.addEventListener("click", () => preset(each.dataset.preset));
  const moved = (value) => { state.threshold = value; drawThreshold(); if (state.hits.length) finished(); };
  $("threshold").addEventListener("input", (event) => moved(Number(event.target.value)));
  $("threshold-reset").addEventListener("click", () => { moved(null); $("threshold").focus(); });
  $("more").addEventListener("click", () => search({ cursor: state.answer.next }));
  $("refine").addEventListener("click", () => search());
  $("clear").addEventListener("click", () => { state.marks.clear(); drawResults(); $("results").focus(); });
  $("compare-open").addEventListener("click", compare);
  $("export").addEventListener("click", () => exportCsv());
  $("help-open").addEventListener("click", () => $("help").showModal());
  $("sign-in-form").addEventListener("submit", (event) => { event.preventDefault(); signedIn(() => { tabs.postMessage(null); start(); }); });
  $("sign-in").addEventListener("cancel", (event) => event.preventDefault());
  // A second Escape closes it all the same.
  $("sign-in").addEventListener("close", () => { if (state.name === "signed-out" && !$("sign-in").open) $("sign-in").showModal(); });
  $("sign-out").addEventListener("click", async () => { await call("DELETE", "/v1/session").catch(() => null); tabs.postMessage(null); location.reload(); });
  for (const name of ["list", "timeline"]) {
    $(`tab-${name}`).addEventListener("click", () => chooseTab(name));
    $(`tab-${name}`).addEventListener("keydown", (event) => {
      if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
      const other = name === "list" ? "timeline" : "list";
      chooseTab(other);
      $(`tab-${other}`).focus();
    });
  }
}

// The session is that of all tabs: none goes on showing another's name, or results after somebody has signed out.
const tabs = new BroadcastChannel("reidkit-session");
tabs.onmessage = () => { forget(); start(); };

wire();
start();
