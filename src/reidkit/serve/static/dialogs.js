// Comparing two, exporting the list, signing in.

import { Problem, call, formOf } from "./api.js";
import { save, toCsv } from "./csv.js";
import { $, h, picture } from "./dom.js";
import { rest } from "./results.js";
import { failed, onRetry, send } from "./search.js";
import { become, state } from "./state.js";
import { chance, count, isolated, personWords, timeWords, whenWords } from "./words.js";

/** Compare the two results that are chosen, or the one with the query. */
export async function compare() {
  const [first, second] = [...state.chosen].map((key) => state.hits.find((hit) => hit.key === key));
  const query = state.asked[0];
  const shown = query.key ? `/v1/images/${encodeURIComponent(query.key)}` : URL.createObjectURL(query.blob);
  const closed = new AbortController(); // an answer that comes later is not that of the next two
  $("compare").addEventListener("close", () => { URL.revokeObjectURL(shown); closed.abort(); }, { once: true });
  const other = second ?? { key: query.key, image: shown, camera: null, time: null };
  const figure = (each, words) => h("figure", {}, picture(each.image, words), h("figcaption", {}, h("bdi", {}, words), each.camera ? ", camera " : "", h("bdi", {}, each.camera ?? ""), each.time ? `, ${timeWords(each.time)}` : ""));
  $("compare-pictures").replaceChildren(figure(second ? first : other, second ? first.key : state.asked.length > 1 ? "The query's first picture" : "The query"), figure(second ? second : first, second ? second.key : first.key));
  $("compare-words").textContent = "Comparing.";
  $("compare").showModal();
  const request = { b_key: first.key, purpose: $("purpose").value, ...(other.key ? { a_key: other.key } : { cameras: [state.request.camera, null] }) };
  try {
    const said = await call("POST", "/v1/compare", { form: formOf(request, other.key ? [] : [["a", query.blob]]), signal: closed.signal });
    $("compare-words").textContent = comparisonWords(said);
  } catch (error) {
    if (closed.signal.aborted) return;
    $("compare-words").textContent = `They cannot be compared: ${error.message}`;
    if (error.status === 401) {
      $("compare").close();
      signIn();
    }
  }
}

function comparisonWords(said) {
  const similarity = `Similarity ${said.similarity.toFixed(3)}`;
  if (said.probability === null) return `${similarity}. Not calibrated: there is no probability.`;
  const where = said.calibration === "pair" ? "for this pair of cameras" : "for all cameras together";
  const side = said.same ? "at or above" : "below";
  return `${similarity}, ${side} the threshold ${said.threshold.toFixed(2)} (${where}); ${chance(said.probability)} same person.`;
}

/** Play the moment of a video in which a hit was seen; nothing of it stays in the page when the dialog is closed. */
export function play(hit) {
  const film = h("video", { controls: true, muted: true, autoplay: true, playsInline: true, "aria-label": `The moment of result ${hit.rank}`, src: `/v1/clips/${encodeURIComponent(hit.key)}` });
  film.addEventListener("error", () => { if (film.isConnected) $("moment-words").textContent = "The moment cannot be played: its video is not there, or cannot be read."; film.remove(); });
  $("moment-words").textContent = [`camera ${isolated(hit.camera ?? "not known")}`, whenWords(hit), personWords(hit)].filter(Boolean).join(", ");
  $("moment-film").replaceChildren(film);
  $("moment").addEventListener("close", () => $("moment-film").replaceChildren(), { once: true });
  $("moment").showModal();
}

/** Save the list, once the service has noted it. */
export async function exportCsv({ tried = false } = {}) {
  onRetry(exportCsv);
  const list = { ...state }; // as it is now: it is this one that is noted
  try {
    await send({ ...list.request, limit: Math.min(200, list.hits.length), export: true }, list.asked);
    save(toCsv(list.hits, list), `reidkit-${list.answer.search_id.slice(0, 8)}.csv`);
    if (["offline", "error", "overloaded"].includes(state.name)) rest();
  } catch (error) {
    failed(error, { tried });
  }
}

function refusedWords(error) {
  if (!(error instanceof Problem)) return "The service cannot be reached.";
  const title = error.body.title ?? "Refused";
  return error.retryAfter ? `${title}. Try again in ${count(error.retryAfter, "second")}.` : `${title}. ${error.message}`;
}

/** Ask for a token; `problem` is what was wrong with the last one. */
export function signIn(problem = "") {
  become("signed-out");
  $("sign-in-problem").textContent = problem;
  if (!$("sign-in").open) $("sign-in").showModal();
}

/** Trade the token for a session; then `start` again. */
export async function signedIn(start) {
  try {
    await call("POST", "/v1/session", { json: { token: $("token").value.trim() } });
  } catch (error) {
    $("sign-in-problem").textContent = refusedWords(error);
    return;
  }
  $("token").value = $("sign-in-problem").textContent = "";
  start();
}

