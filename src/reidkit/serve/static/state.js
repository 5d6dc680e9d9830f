// What the page knows, and the link that restores a view (never a picture).

import { fieldTime, fieldValue } from "./words.js";

export const state = {
  name: "loading-info",
  details: {}, // what the text of that state needs
  info: null,
  cameras: [],
  pictures: [], // {blob, url, name, bitmap, box} of a file, or {key, url, name} of a row
  hits: [],
  answer: null, // the last answer of /v1/search, without its hits
  request: null, // what was asked for it
  asked: [], // and with which pictures, as they were: {key, blob, name}
  marks: new Map(), // key: "right" for a true match, "wrong" for a false one, as the CSV has them
  chosen: new Set(), // keys to be compared
  threshold: null, // null: the calibrated one
};

const listeners = [];

/** Call `listener(name, details)` whenever the page changes to a state. */
export function onState(listener) {
  listeners.push(listener);
}

/** Change to a state by its name; `details` is what its text needs. */
export function become(name, details = {}) {
  Object.assign(state, { name, details });
  document.body.dataset.state = name;
  for (const listener of listeners) listener(name, details);
}

/** Whether a hit counts as a match: by its own pair of cameras, or by the threshold that was chosen here. */
export function isMatch(hit) {
  if (state.threshold !== null) return hit.similarity >= state.threshold;
  return hit.same;
}

/** Return the keys that are marked as "right" or "wrong". */
export function marked(kind) {
  return [...state.marks].filter(([, mark]) => mark === kind).map(([key]) => key);
}

const TIMES = ["since", "until"]; // in the link they are those of UTC: whoever opens it may have another clock
const FIELDS = { group: "value", rerank: "checked", "other-cameras": "checked", since: "value", until: "value", "own-camera": "value" };

/** Put the filters, and rows that are searched for, into the address. */
export function saveView() {
  const view = new URLSearchParams();
  for (const [id, property] of Object.entries(FIELDS)) {
    const value = document.getElementById(id)[property];
    if (value) view.set(id, TIMES.includes(id) ? fieldTime(value, id === "until").toISOString() : value);
  }
  const off = [...document.querySelectorAll("#cameras input:not(:checked)")].map((box) => box.value);
  for (const name of off) view.append("without", name);
  for (const picture of state.pictures) if (picture.key) view.append("key", picture.key);
  if (state.threshold !== null) view.set("threshold", state.threshold);
  history.replaceState(null, "", view.size ? `#${view}` : location.pathname);
}

/** Set the filters as the address says; return the keys of the rows that are searched for. */
export function restoreView() {
  const view = new URLSearchParams(location.hash.slice(1));
  for (const [id, property] of Object.entries(FIELDS)) {
    const field = document.getElementById(id);
    const value = TIMES.includes(id) ? fieldValue(view.get(id)) : view.get(id);
    if (view.has(id)) field[property] = property === "checked" ? true : value;
    if (field.selectedIndex < 0) field.selectedIndex = 0; // a camera that is no more
  }
  const off = new Set(view.getAll("without"));
  for (const box of document.querySelectorAll("#cameras input")) box.checked = !off.has(box.value);
  const threshold = Number.parseFloat(view.get("threshold"));
  if (threshold >= -1 && threshold <= 1) state.threshold = threshold;
  return view.getAll("key").slice(0, 8);
}
