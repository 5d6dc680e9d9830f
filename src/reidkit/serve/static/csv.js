// The list as a file for spreadsheets.

const COLUMNS = ["rank", "key", "similarity", "probability", "same", "camera", "time", "pid", "mark", "search_id", "model"];

/** Write a cell: quoted where it must be, and text that a spreadsheet would run as a formula begins with '. */
export function cell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "string") return String(value);
  const text = /^[=+\-@\t\r\n]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Return the hits as CSV; `marks` says what was marked as right or wrong. */
export function toCsv(hits, marks, answer) {
  const rows = hits.map((hit) => ({ ...hit, mark: marks.get(hit.key) ?? "", search_id: answer.search_id, model: answer.model }));
  const lines = rows.map((row) => COLUMNS.map((column) => cell(row[column])).join(","));
  return [COLUMNS.join(","), ...lines].join("\r\n") + "\r\n";
}

/** Have the browser save a text as a file. */
export function save(text, name) {
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  URL.revokeObjectURL(url);
}
