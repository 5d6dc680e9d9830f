// The list as a file for spreadsheets.

import { isMatch } from "./state.js";

const COLUMNS = ["rank", "key", "similarity", "probability", "same", "threshold", "camera", "time", "pid", "person", "mark", "search_id", "model"];

/** Write a cell: quoted where it must be, and text that a spreadsheet would run as a formula begins with '. */
export function cell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "string") return String(value);
  const text = /^[=+\-@\t\r\n]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Return the hits as CSV, by the threshold that they are shown by; `marks` says which were marked as true (`right`) or false (`wrong`) matches. */
export function toCsv(hits, { marks, answer, threshold }) {
  const more = (hit) => (threshold === null || !answer.calibration ? {} : { same: isMatch(hit), threshold });
  const named = (hit) => ({ ...hit, person: hit.attributes?.person, ...more(hit) });
  const rows = hits.map((hit) => ({ ...named(hit), mark: marks.get(hit.key) ?? "", search_id: answer.search_id, model: answer.model }));
  const lines = rows.map((row) => COLUMNS.map((column) => cell(row[column])).join(","));
  return [COLUMNS.join(","), ...lines].join("\r\n") + "\r\n";
}

/** Have the browser save a text as a file, with the mark by which spreadsheets know UTF-8. */
export function save(text, name) {
  const url = URL.createObjectURL(new Blob(["\ufeff", text], { type: "text/csv" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  URL.revokeObjectURL(url);
}
