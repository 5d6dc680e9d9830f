// The pictures of the person that is searched for: files that are cropped here, and rows of the gallery.

import { crop, cutOut, readPicture, whole } from "./crop.js";
import { $, h, picture } from "./dom.js";
import { rest } from "./results.js";
import { become, state } from "./state.js";
import { count, isolated } from "./words.js";

const MOST = 8;

/** Add files, as many as there is room for. */
export async function addFiles(files) {
  const bad = [];
  let over = 0;
  for (const file of files) {
    if (state.pictures.length >= MOST) {
      over += 1;
      continue;
    }
    try {
      const bitmap = await readPicture(file);
      const box = whole(bitmap);
      const blob = await cutOut(bitmap, box);
      state.pictures.push({ blob, url: URL.createObjectURL(blob), name: file.name || "pasted picture", bitmap, box });
    } catch {
      bad.push(file.name ? isolated(file.name) : "The pasted picture");
    }
  }
  drawPictures();
  if (bad.length || over) become("bad-image", leftOut(bad, over));
  else if (state.name === "bad-image") rest();
}

/** Which files were left out, and why. */
function leftOut(bad, over) {
  const full = `a search takes ${MOST} at most.`;
  const more = over ? `${count(over, bad.length ? "more picture" : "picture")}` : "";
  if (!bad.length) return { file: more, why: full };
  const what = bad.length > 1 ? "these are no pictures" : "this is no picture";
  return { file: bad.join(", "), why: `${what} that the browser can read. Take JPEG, PNG or WebP files.${more && ` Nor can ${more}: ${full}`}` };
}

/** Add a row of the gallery. */
export function addKey(hit) {
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
  const [before, details] = [state.name, state.details];
  become("cropping");
  const box = await crop(each.bitmap, each.box);
  if (box) {
    URL.revokeObjectURL(each.url);
    each.box = box;
    each.blob = await cutOut(each.bitmap, box);
    each.url = URL.createObjectURL(each.blob);
    drawPictures();
  }
  // A search that was under way may have ended meanwhile; a countdown has.
  if (state.name === "cropping") become(before, before === "overloaded" ? { seconds: 0 } : details);
  $("pictures").querySelectorAll("li")[at]?.querySelector("button")?.focus();
}

function removeAt(at) {
  const [gone] = state.pictures.splice(at, 1);
  if (gone.blob) URL.revokeObjectURL(gone.url);
  drawPictures();
  $("files").focus();
}

/** Take all away. */
export function clearPictures() {
  for (const each of state.pictures) if (each.blob) URL.revokeObjectURL(each.url);
  state.pictures = [];
}
