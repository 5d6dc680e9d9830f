// The page: what its controls do, and which state follows from what the service answers.

import { Problem, call, formOf } from "./api.js";
import { crop, cutOut, readPicture, whole } from "./crop.js";
import { save, toCsv } from "./csv.js";
import { $, h, picture } from "./dom.js";
import { chooseTab, drawResults, whyNothing } from "./results.js";
import { become, marked, onState, restoreView, saveView, state } from "./state.js";
import { SAYS, ZONE, aboutWords, chance, count, thresholdWords, timeWords } from "./words.js";

const PAGE = 20;
const MOST = 8;
let running = null; // the AbortController of the search under way
let again = null; // what "Try again" does

onState((name, details) => {
  const [status, alert] = SAYS[name](details);
  if ($("status").textContent !== status) $("status").textContent = status;
  if ($("alert").textContent !== alert) $("alert").textContent = alert;
  const busy = name === "searching";
  $("go").disabled = busy || ["loading-info", "signed-out", "empty-gallery"].includes(name);
  $("cancel").hidden = !busy;
  $("retry-box").hidden = !["offline", "error", "overloaded"].includes(name);
  if (!["results", "below-threshold-only", "cropping", "overloaded", "bad-image", "error", "offline", "searching"].includes(name)) $("found").hidden = true;
});

async function start() {
  become("loading-info");
  try {
    state.info = await call("GET", "/v1/info");
    state.cameras = (await call("GET", "/v1/cameras")).cameras;
  } catch (error) {
    again = start;
    failed(error);
    return;
  }
  $("sign-in").close();
  drawInfo();
  const keys = restoreView();
  drawThreshold();
  for (const key of keys) addKey({ key, image: `/v1/images/${encodeURIComponent(key)}` });
  become(state.info.gallery.rows ? "ready" : "empty-gallery");
  if (keys.length && state.info.gallery.rows) search();
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
  $("cameras").replaceChildren(...named.map((each) => h("label", { className: "check" },
    h("input", { type: "checkbox", value: each.name, checked: true }), `${each.name} (${each.rows.toLocaleString("en")})`)));
  $("own-camera").replaceChildren($("own-camera").options[0], ...named.map((each) => h("option", { value: each.name }, `camera ${each.name}`)));
}

function drawThreshold() {
  const known = state.info.calibration;
  const slider = $("threshold");
  slider.disabled = !known;
  $("threshold-reset").hidden = state.threshold === null;
  if (!known) {
    $("threshold-words").textContent = "Not calibrated: there is no threshold and no probability. The operator can run reidkit calibrate.";
    return;
  }
  const thresholds = known.curve.map((point) => point[0]);
  slider.min = Math.floor(100 * Math.max(-1, Math.min(...thresholds, known.threshold))) / 100;
  slider.max = Math.ceil(100 * Math.min(1, Math.max(...thresholds, known.threshold))) / 100;
  slider.value = state.threshold ?? known.threshold;
  const words = thresholdWords(state.threshold ?? known.threshold, known);
  const pairs = known.pairs && state.threshold === null ? ` ${count(known.pairs, "pair")} of cameras have a threshold of their own.` : "";
  $("threshold-words").textContent = words + pairs;
  slider.setAttribute("aria-valuetext", words);
}

// ---- pictures

async function addFiles(files) {
  for (const file of files) {
    if (state.pictures.length >= MOST) break;
    try {
      const bitmap = await readPicture(file);
      const box = whole(bitmap);
      const blob = await cutOut(bitmap, box);
      state.pictures.push({ blob, url: URL.createObjectURL(blob), name: file.name || "pasted picture", bitmap, box });
    } catch {
      become("bad-image", { file: file.name || "The pasted picture", why: "this is no picture that the browser can read. Take a JPEG, PNG or WebP file." });
      drawPictures();
      return;
    }
  }
  drawPictures();
  if (state.name === "bad-image") become("ready");
}

function addKey(hit) {
  if (state.pictures.length < MOST) state.pictures.push({ key: hit.key, url: hit.image, name: hit.key });
  drawPictures();
}

function drawPictures() {
  $("pictures").replaceChildren(...state.pictures.map((each, at) => h("li", {},
    picture(each.url, `Picture ${at + 1}: ${each.name}`),
    h("span", { className: "name" }, each.name),
    h("span", { className: "buttons" },
      each.bitmap ? h("button", { type: "button", "aria-label": `Crop ${each.name}`, onclick: () => cropAt(at) }, "Crop") : null,
      h("button", { type: "button", "aria-label": `Remove ${each.name}`, onclick: () => removeAt(at) }, "Remove")))));
}

async function cropAt(at) {
  const each = state.pictures[at];
  const before = state.name;
  const status = $("status").textContent;
  become("cropping");
  const box = await crop(each.bitmap, each.box);
  if (box) {
    URL.revokeObjectURL(each.url);
    each.box = box;
    each.blob = await cutOut(each.bitmap, box);
    each.url = URL.createObjectURL(each.blob);
    drawPictures();
  }
  state.name = before;
  document.body.dataset.state = before;
  $("status").textContent = status;
  $("pictures").querySelectorAll("li")[at]?.querySelector("button")?.focus();
}

function removeAt(at) {
  const [gone] = state.pictures.splice(at, 1);
  if (gone.blob) URL.revokeObjectURL(gone.url);
  drawPictures();
  $("files").focus();
}

// ---- search

function requestOf() {
  const boxes = [...document.querySelectorAll("#cameras input")];
  const on = boxes.filter((box) => box.checked).map((box) => box.value);
  const filter = { exclude_query_camera: $("other-cameras").checked };
  if (on.length < boxes.length) filter.camera = { in: on };
  const [since, until] = ["since", "until"].map((id) => $(id).value && new Date($(id).value).toISOString());
  if (since || until) filter.time = { ...(since && { gte: since }), ...(until && { lt: until }) };
  let image = 0;
  const query = state.pictures.map((each) => (each.key ? { key: each.key } : { image: image++ }));
  return {
    query, filter, limit: PAGE, positive: marked("right"), negative: marked("wrong"), rerank: $("rerank").checked,
    group_by: $("group").value || null, camera: $("own-camera").value || null, purpose: $("purpose").value,
  };
}

const send = (request, signal) => call("POST", "/v1/search", {
  form: formOf(request, state.pictures.filter((each) => each.blob).map((each) => ["image", each.blob])), signal,
});

/** Search anew, or with a cursor for the next page. */
async function search({ cursor = "", tried = false } = {}) {
  if (!state.pictures.length) {
    become("ready");
    $("files").focus();
    return;
  }
  if (!$("form").reportValidity()) return;
  const request = cursor ? { ...state.request, cursor } : requestOf();
  again = () => search({ cursor });
  running?.abort();
  running = new AbortController();
  const mine = running;
  saveView();
  become("searching");
  try {
    const { results, ...answer } = await send(request, mine.signal);
    state.answer = answer;
    state.hits = cursor ? [...state.hits, ...results] : results;
    if (!cursor) Object.assign(state, { request, chosen: new Set() });
    finished();
  } catch (error) {
    if (mine.signal.aborted) become(state.hits.length ? "results" : "ready", shown());
    else failed(error, { cursor, tried });
  } finally {
    if (running === mine) running = null;
  }
}

const shown = () => ({ answer: state.answer, shown: state.hits.length, matches: document.querySelectorAll("#hits article").length });

function finished() {
  const matches = drawResults({ similar });
  if (!state.hits.length) become("no-results", { why: whyNothing(state.answer, state.request) });
  else become(matches ? "results" : "below-threshold-only", shown());
}

function similar(hit) {
  for (const each of state.pictures) if (each.blob) URL.revokeObjectURL(each.url);
  Object.assign(state, { pictures: [], marks: new Map() });
  addKey(hit);
  $("own-camera").value = hit.camera ?? "";
  search();
  $("results").focus();
}

/** Say what went wrong, and what to do. */
function failed(error, { cursor = "", tried = false } = {}) {
  if (!(error instanceof Problem)) {
    become(error instanceof TypeError ? "offline" : "error", { why: `The page failed: ${error.message}.` });
    return;
  }
  if (error.status === 401) {
    signIn();
  } else if (error.kind === "overloaded" || error.kind === "loading" || error.kind === "timed-out") {
    wait(Math.min(60, error.retryAfter || 1), cursor, tried);
  } else if (["image-unreadable", "unsupported-type", "too-many-pixels", "too-large"].includes(error.kind)) {
    const files = state.pictures.filter((each) => each.blob);
    become("bad-image", { file: files[error.body.image ?? 0]?.name, why: error.message });
  } else if (error.kind === "model-mismatch") {
    become("model-mismatch");
  } else {
    become("error", { why: `${error.body.title ?? "The service failed"}. ${error.message}`, number: error.number });
  }
}

/** Count down, and try once more by itself. */
function wait(seconds, cursor, tried) {
  become("overloaded", { seconds: tried ? 0 : seconds });
  if (tried) return;
  const mine = setInterval(() => {
    if (state.name !== "overloaded") clearInterval(mine);
    else if (--seconds > 0) become("overloaded", { seconds });
    else {
      clearInterval(mine);
      if (state.info) search({ cursor, tried: true });
      else start();
    }
  }, 1000);
}

// ---- comparing, exporting, signing in

async function compare() {
  const [first, second] = [...state.chosen].map((key) => state.hits.find((hit) => hit.key === key));
  const query = state.pictures[0];
  const other = second ?? { key: query.key, image: query.url, camera: null, time: null };
  const figure = (each, words) => h("figure", {}, picture(each.image, words), h("figcaption", {}, `${words}${each.camera ? `, camera ${each.camera}` : ""}${each.time ? `, ${timeWords(each.time)}` : ""}`));
  $("compare-pictures").replaceChildren(figure(second ? first : other, second ? first.key : "The query"), figure(second ? second : first, second ? second.key : first.key));
  $("compare-words").textContent = "Comparing.";
  $("compare").showModal();
  const request = { b_key: first.key, purpose: $("purpose").value, ...(other.key ? { a_key: other.key } : { cameras: [$("own-camera").value || null, null] }) };
  try {
    const said = await call("POST", "/v1/compare", { form: formOf(request, other.key ? [] : [["a", query.blob]]) });
    $("compare-words").textContent = comparisonWords(said);
  } catch (error) {
    $("compare-words").textContent = `They cannot be compared: ${error.message}`;
  }
}

function comparisonWords(said) {
  const similarity = `Similarity ${said.similarity.toFixed(3)}`;
  if (said.probability === null) return `${similarity}. Not calibrated: there is no probability.`;
  const where = said.calibration === "pair" ? "for this pair of cameras" : "for all cameras together";
  const side = said.same ? "at or above" : "below";
  return `${similarity}, ${side} the threshold ${said.threshold.toFixed(2)} (${where}); ${chance(said.probability)} same person.`;
}

async function exportCsv() {
  try {
    await send({ ...state.request, limit: Math.min(200, state.hits.length), export: true });
    save(toCsv(state.hits, state.marks, state.answer), `reidkit-${state.answer.search_id.slice(0, 8)}.csv`);
  } catch (error) {
    failed(error);
  }
}

function signIn() {
  become("signed-out");
  if (!$("sign-in").open) $("sign-in").showModal();
}

async function signedIn(event) {
  event.preventDefault();
  try {
    await call("POST", "/v1/session", { json: { token: $("token").value } });
  } catch (error) {
    $("sign-in-problem").textContent = error instanceof Problem ? `${error.body.title ?? "Refused"}. ${error.message}` : "The service cannot be reached.";
    return;
  }
  $("token").value = $("sign-in-problem").textContent = "";
  start();
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
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") running?.abort(); });
  $("cancel").addEventListener("click", () => running?.abort());
  $("retry").addEventListener("click", () => again?.());
  for (const [id, on] of [["all-cameras", true], ["no-cameras", false]]) $(id).addEventListener("click", () => { for (const box of document.querySelectorAll("#cameras input")) box.checked = on; });
  for (const each of document.querySelectorAll("[data-preset]")) each.addEventListener("click", () => preset(each.dataset.preset));
  const moved = (value) => { state.threshold = value; drawThreshold(); if (state.hits.length) finished(); };
  $("threshold").addEventListener("input", (event) => moved(Number(event.target.value)));
  $("threshold-reset").addEventListener("click", () => { moved(null); $("threshold").focus(); });
  $("more").addEventListener("click", () => search({ cursor: state.answer.next }));
  $("refine").addEventListener("click", () => search());
  $("clear").addEventListener("click", () => { state.marks.clear(); drawResults(); $("results").focus(); });
  $("compare-open").addEventListener("click", compare);
  $("export").addEventListener("click", exportCsv);
  $("help-open").addEventListener("click", () => $("help").showModal());
  $("sign-in-form").addEventListener("submit", signedIn);
  $("sign-in").addEventListener("cancel", (event) => event.preventDefault());
  $("sign-out").addEventListener("click", async () => { await call("DELETE", "/v1/session").catch(() => null); location.reload(); });
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

wire();
start();
