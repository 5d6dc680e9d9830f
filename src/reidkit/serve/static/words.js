// Every sentence of the page that depends on something, and how numbers and times are written.

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
const moment = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium", timeZone: zone });

export const ZONE = zone;

/** A name inside of a sentence: one that is written from right to left turns nothing of what follows. */
export const isolated = (name) => `\u2068${name}\u2069`;

export const count = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

const hour = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium", timeZone: zone });
const named = new Intl.DateTimeFormat("en-GB", { timeZoneName: "short", timeZone: zone });
const HOUR = 3_600_000; // by which clocks are put back

const sameClock = (one, other) => moment.format(one) === moment.format(other);

/** A time as a clock shows it, with the zone where the clock was put back, and showed it twice. */
function clockTime(format, time) {
  const text = format.format(time);
  if (!sameClock(time, Number(time) - HOUR) && !sameClock(time, Number(time) + HOUR)) return text;
  return `${text} ${named.formatToParts(time).find((part) => part.type === "timeZoneName").value}`;
}

/** The time that a field of the form says; of two that the clock showed, the `last` or the first. */
export function fieldTime(value, last) {
  const time = new Date(value);
  return last && sameClock(time, Number(time) + HOUR) ? new Date(Number(time) + HOUR) : time;
}

/** What a field of the form shows for a time: as the clock here shows it, and "" for what is none. */
export function fieldValue(text) {
  const time = new Date(text ?? NaN);
  return Number.isNaN(Number(time)) ? "" : new Date(Number(time) - 60_000 * time.getTimezoneOffset()).toISOString().slice(0, 16);
}

export const timeWords = (text) => (text ? clockTime(moment, new Date(text)) : "time not known");

/** When a hit was taken or, of a track of a video, from when to when it lasts. */
export function whenWords(hit) {
  const { first, last, second } = hit.attributes ?? {};
  if (![first, last, second].every(Number.isFinite)) return timeWords(hit.time);
  const long = count(Math.max(1, Math.round(last - first)), "second");
  if (!hit.time) return `${clock(first)} to ${clock(last)} of the video, ${long}`;
  const zero = new Date(hit.time).getTime() - 1000 * second;
  const [begin, end] = [first, last].map((each) => Math.round(zero + 1000 * each));
  return `${clockTime(moment, begin)} to ${clockTime(hour, end)}, ${long}`;
}

/** A place in a video, as players show it. */
function clock(seconds) {
  const whole = Math.floor(seconds);
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return (parts[0] ? parts : parts.slice(1)).map((part, at) => (at ? String(part).padStart(2, "0") : part)).join(":");
}

/** Who a hit is: by name, the id that somebody has confirmed, or the person that joining tracks proposes. */
export function personWords(hit) {
  if (typeof hit.attributes?.person === "string") return hit.attributes.person;
  if (hit.pid !== null) return `person ${hit.pid}`;
  return Number.isFinite(hit.attributes?.person) ? `person ${hit.attributes.person}, as proposed` : "";
}

/** A probability in per cent; its ends are never 0 and 100, as nothing is that sure. */
export function chance(probability) {
  if (probability === null) return "-";
  if (probability > 0.99) return "over 99 %";
  if (probability < 0.01) return "under 1 %";
  return `${Math.round(100 * probability)} %`;
}

/** How often strangers reach a threshold, by the curve of the calibration: its points are [threshold, FAR, TPR]. */
export function thresholdWords(threshold, calibration) {
  const at = rates(threshold, calibration.curve);
  const own = Math.abs(threshold - calibration.threshold) < 0.005 ? calibration.far : at.far;
  return `${threshold.toFixed(2)}: ${strangersReach(own, calibration.impostors)}; finds ${Math.round(100 * at.tpr)} % of the images of the same person.`;
}

/** As far as pairs of strangers were measured, of which ten are to reach a threshold before it is said how often. */
function strangersReach(far, pairs) {
  const measured = 10 / pairs;
  if (far >= measured) return `about 1 false match in ${odds(far)} strangers`;
  if (measured <= 0.1) return `about 1 false match in ${odds(measured)} strangers, or fewer`;
  return `how often strangers reach it is not known, as only ${count(pairs, "pair")} of them were measured`;
}

const odds = (far) => {
  const strangers = 1 / far;
  const digits = 10 ** Math.max(0, Math.floor(Math.log10(strangers)) - 1);
  return (strangers < 20 ? Number(strangers.toPrecision(2)) : Math.round(strangers / digits) * digits).toLocaleString("en");
};

function rates(threshold, curve) {
  const points = [...curve].sort((one, other) => one[0] - other[0]);
  let before = points[0];
  for (const point of points) {
    if (point[0] >= threshold) {
      const share = point[0] === before[0] ? 1 : (threshold - before[0]) / (point[0] - before[0]);
      const part = Math.min(1, Math.max(0, share));
      return { far: before[1] + part * (point[1] - before[1]), tpr: before[2] + part * (point[2] - before[2]) };
    }
    before = point;
  }
  return { far: before[1], tpr: before[2] };
}

export function hitLabel(hit) {
  const parts = [`Result ${hit.rank}`, `camera ${hit.camera ?? "not known"}`, whenWords(hit), `similarity ${hit.similarity.toFixed(2)}`];
  if (hit.probability !== null) parts.push(`probability ${chance(hit.probability)}`);
  return `${parts[0]}: ${parts.slice(1).join(", ")}`;
}

export function aboutWords(info) {
  const gallery = info.gallery;
  return `${count(gallery.rows, "image")} by ${count(gallery.cameras, "camera")} · model ${info.model.fingerprint.slice(0, 8)}`;
}

/** What each state says: [status, alert]. The alert is for what somebody has to do something about. */
export const SAYS = {
  "loading-info": () => ["Loading.", ""],
  "signed-out": () => ["Sign in to search.", ""],
  "empty-gallery": () => ["No images yet. Add some with: reidkit gallery add GALLERY FOLDER --model MODEL, then try again.", ""],
  ready: () => ["Choose a picture of the person, then search.", ""],
  cropping: () => ["Crop the picture to one person.", ""],
  searching: () => ["Searching.", ""],
  results: (at) => [foundWords(at), ""],
  "below-threshold-only": (at) => [`Nobody reaches the threshold; the nearest are shown below. ${foundWords(at)}`, ""],
  "no-results": (at) => [`No image fits. ${at.why}`, ""],
  overloaded: (at) => ["", at.seconds > 0 ? `The service is busy. It is tried again in ${count(at.seconds, "second")}.` : "The service is busy. Try again in a moment."],
  "bad-image": (at) => ["", `${at.file || "The picture"} cannot be used: ${at.why}`],
  "model-mismatch": () => ["", "The gallery was made with another model than the one that is served, so nothing can be compared. Tell the operator of this service."],
  offline: () => ["", "The service cannot be reached. Check the network, then try again."],
  error: (at) => ["", `${at.why}${at.number ? ` Tell the operator of this service the number ${at.number}.` : ""}`],
};

function foundWords({ answer, shown, matches }) {
  const start = `${shown.toLocaleString("en")} of ${count(answer.passed_filter, "image")}`;
  const sure = answer.calibration ? `, ${count(matches, "match", "matches")} at the threshold` : "";
  return `${start}${sure}, ${Math.round(answer.took_ms)} ms${answer.exact ? ", exact" : ", approximate"}.`;
}
