// The search: what is asked, what became of it, and what to do when it failed.

import { Problem, call, formOf } from "./api.js";
import { play, signIn } from "./dialogs.js";
import { $ } from "./dom.js";
import { addKey, clearPictures } from "./pictures.js";
import { drawResults, rest, whyNothing } from "./results.js";
import { become, marked, saveView, state } from "./state.js";
import { fieldTime, isolated } from "./words.js";

const PAGE = 20;
let running = null; // the AbortController of the search under way
let again = null; // what "Try again" does, and what is done by itself, once, with `{ tried: true }`

/** Say what "Try again" does. */
export function onRetry(action) {
  again = action;
}

export const retry = () => again?.();

export const cancel = () => running?.abort();

function requestOf() {
  const boxes = [...document.querySelectorAll("#cameras input")];
  const on = boxes.filter((box) => box.checked).map((box) => box.value);
  const filter = { exclude_query_camera: $("other-cameras").checked };
  if (on.length < boxes.length) filter.camera = { in: on };
  const [since, until] = ["since", "until"].map((id) => $(id).value && fieldTime($(id).value, id === "until").toISOString());
  if (since || until) filter.time = { ...(since && { gte: since }), ...(until && { lt: until }) };
  let image = 0;
  const query = state.pictures.map((each) => (each.key ? { key: each.key } : { image: image++ }));
  return {
    query, filter, limit: PAGE, positive: marked("right"), negative: marked("wrong"), rerank: $("rerank").checked,
    group_by: $("group").value || null, camera: $("own-camera").value || null, purpose: $("purpose").value,
  };
}

/** Send a search with its pictures. */
export const send = (request, pictures, signal) => call("POST", "/v1/search", {
  form: formOf(request, pictures.filter((each) => each.blob).map((each) => ["image", each.blob])), signal,
});

/** Search anew, or with a cursor for the next page: of the list that is shown, whatever was changed in the form since. */
export async function search({ cursor = "", tried = false } = {}) {
  if (!cursor && !filledIn()) return;
  const request = cursor ? { ...state.request, cursor } : requestOf();
  const asked = cursor ? state.asked : state.pictures.map(({ key, blob, name }) => ({ key, blob, name }));
  again = (more) => search({ cursor, ...more });
  running?.abort();
  running = new AbortController();
  const mine = running;
  const pressed = document.activeElement === $("go");
  if (!cursor) saveView();
  become("searching");
  try {
    const { results, ...answer } = await send(request, asked, mine.signal);
    state.answer = answer;
    state.hits = cursor ? [...state.hits, ...results] : results;
    if (!cursor) Object.assign(state, { request, asked, chosen: new Set() });
    finished();
    if (!cursor) reveal();
  } catch (error) {
    if (!mine.signal.aborted) failed(error, { tried, asked });
    else if (running === mine) rest(); // and not where another search has taken its place
  } finally {
    if (running === mine) running = null;
    // What was pressed cannot be pressed meanwhile, or is no longer there: the focus would be lost to the whole page.
    if (!running && document.activeElement === document.body) $(pressed ? "go" : "results").focus({ preventScroll: true });
  }
}

/** Whether all is there that a search needs; what is not gets the focus. */
function filledIn() {
  if (!state.pictures.length) {
    become("ready");
    $("files").focus();
    return false;
  }
  needOwnCamera();
  return $("form").reportValidity();
}

/** Ask for the camera that took the picture where it is to be left out. */
export function needOwnCamera() {
  $("own-camera").required = $("other-cameras").checked;
}

/** Draw what was found, and become the state that follows. */
export function finished() {
  drawResults({ similar, play });
  if (state.hits.length) rest();
  else become("no-results", { why: whyNothing(state.answer, state.request) });
}

function similar(hit) {
  clearPictures();
  state.marks = new Map();
  addKey(hit);
  $("own-camera").value = hit.camera ?? "";
  search();
  $("results").focus();
}

/** Say what went wrong, and what to do. */
export function failed(error, { tried = false, asked = state.asked } = {}) {
  if (!(error instanceof Problem)) {
    become(error instanceof TypeError ? "offline" : "error", { why: `The page failed: ${error.message}.` });
    return;
  }
  if (error.status === 401) {
    signIn();
  } else if (error.kind === "role-missing") {
    signIn(`${error.message} Sign in with another token.`);
  } else if (error.kind === "overloaded" || error.kind === "loading" || error.kind === "timed-out") {
    wait(Math.min(60, error.retryAfter || 1), tried);
  } else if (["image-unreadable", "unsupported-type", "too-many-pixels", "too-large"].includes(error.kind)) {
    const files = asked.filter((each) => each.blob);
    const file = files[error.body.image ?? 0]?.name;
    become("bad-image", { file: file && isolated(file), why: error.message });
  } else if (error.kind === "model-mismatch") {
    become("model-mismatch");
  } else if (error.kind === "not-found" && error.body.key) {
    become("error", { why: `${isolated(error.body.key)} is no longer in the gallery. Remove it from the pictures or clear its mark, then search again.` });
  } else {
    const detail = error.kind === "internal" ? "" : ` ${error.message}`; // which is for who reads the log
    become("error", { why: `${error.body.title ?? "The service failed"}.${detail}`, number: error.number });
  }
  reveal();
}

/** On a small screen, show what came of a search: it lies below the filters. */
function reveal() {
  if ($("results").getBoundingClientRect().top > 0.6 * window.innerHeight) $("results").scrollIntoView();
}

/** Count down, and try once more by itself. */
function wait(seconds, tried) {
  become("overloaded", { seconds: tried ? 0 : seconds });
  if (tried) return;
  const mine = setInterval(() => {
    if (state.name !== "overloaded") clearInterval(mine);
    else if (--seconds > 0) become("overloaded", { seconds });
    else {
      clearInterval(mine);
      again({ tried: true });
    }
  }, 1000);
}

