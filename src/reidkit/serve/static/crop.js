// The crop box: by pointer, by keys and by numbers. What lies outside of it never leaves the browser.

import { $ } from "./dom.js";

const CORNER = 24; // pixels of the screen around a corner that take hold of it
const LONGEST = 1600; // pixels of the longer side of what is sent

/** Read a file as a picture, upright; throws where the browser cannot. */
export async function readPicture(file) {
  return createImageBitmap(file, { imageOrientation: "from-image" });
}

/** Return a part of a picture as a JPEG without anything else that the file held. */
export async function cutOut(bitmap, box) {
  const scale = Math.min(1, LONGEST / Math.max(box.w, box.h));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(8, Math.round(box.w * scale));
  canvas.height = Math.max(8, Math.round(box.h * scale));
  const context = canvas.getContext("2d");
  context.fillStyle = "#808080";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, box.x, box.y, box.w, box.h, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.95));
}

export const whole = (bitmap) => ({ x: 0, y: 0, w: bitmap.width, h: bitmap.height });

/** Keep a box inside of a picture, and at least 8 pixels wide and high. */
function fitted(box, width, height) {
  const w = Math.min(Math.max(8, Math.round(box.w)), width);
  const h = Math.min(Math.max(8, Math.round(box.h)), height);
  const x = Math.min(Math.max(0, Math.round(box.x)), width - w);
  const y = Math.min(Math.max(0, Math.round(box.y)), height - h);
  return { x, y, w, h };
}

/** Let somebody choose a part of a picture; resolves to the box, or null where it stays as it was. */
export function crop(bitmap, start) {
  const canvas = $("crop-canvas");
  const fields = { x: $("crop-x"), y: $("crop-y"), w: $("crop-w"), h: $("crop-h-field") };
  let box = { ...start };
  let held = null;
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  const room = { w: Math.min(0.86 * window.innerWidth, 640), h: 0.45 * window.innerHeight };
  const scale = Math.min(room.w / bitmap.width, room.h / bitmap.height, 4);
  canvas.style.width = `${Math.round(bitmap.width * scale)}px`;
  canvas.style.height = `${Math.round(bitmap.height * scale)}px`;

  const set = (next) => {
    box = fitted(next, bitmap.width, bitmap.height);
    for (const [side, field] of Object.entries(fields)) field.value = box[side];
    draw(canvas, bitmap, box);
  };
  const at = (event) => {
    const place = canvas.getBoundingClientRect();
    const pixels = canvas.width / place.width;
    return { x: (event.clientX - place.left) * pixels, y: (event.clientY - place.top) * pixels, reach: CORNER * pixels };
  };
  const down = (event) => {
    const point = at(event);
    held = { point, box: { ...box }, corner: cornerAt(point, box, box.w === bitmap.width && box.h === bitmap.height) };
    canvas.setPointerCapture(event.pointerId);
  };
  const move = (event) => {
    if (!held) return;
    const point = at(event);
    set(dragged(held, point.x - held.point.x, point.y - held.point.y));
  };
  const up = () => { held = null; };
  const key = (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    const size = Math.max(1, Math.round(Math.max(bitmap.width, bitmap.height) / 50));
    const [x, y] = [step[0] * size, step[1] * size];
    set(event.shiftKey ? { ...box, w: box.w + x, h: box.h + y } : { ...box, x: box.x + x, y: box.y + y });
  };
  const typed = () => {
    const values = Object.fromEntries(Object.entries(fields).map(([side, field]) => [side, Number(field.value) || 0]));
    set(values);
  };
  canvas.onpointerdown = down;
  canvas.onpointermove = move;
  canvas.onpointerup = up;
  canvas.onpointercancel = up;
  canvas.onkeydown = key;
  for (const field of Object.values(fields)) field.onchange = typed;

  const dialog = $("crop");
  dialog.returnValue = "cancel";
  set(box);
  dialog.showModal();
  canvas.focus();
  return new Promise((done) => {
    dialog.onclose = () => done({ apply: box, whole: whole(bitmap) }[dialog.returnValue] ?? null);
  });
}

/** Which corner of the box a point takes hold of; null: the box itself; "new": another one, also where it is `all`. */
function cornerAt({ x, y, reach }, box, all) {
  const near = (a, b) => Math.abs(a - b) <= reach;
  const side = (value, low, high) => (near(value, low) ? "low" : near(value, high) ? "high" : "");
  const corner = { x: side(x, box.x, box.x + box.w), y: side(y, box.y, box.y + box.h) };
  if (corner.x && corner.y) return corner;
  const inside = x >= box.x && x <= box.x + box.w && y >= box.y && y <= box.y + box.h;
  return inside && !all ? null : { x: "new", y: "new" };
}

/** The box after the pointer has moved: from outside of it, or where it is the whole picture, a new one is drawn. */
function dragged({ point, box, corner }, dx, dy) {
  if (!corner) return { ...box, x: box.x + dx, y: box.y + dy };
  const along = (kind, start, size, from, by) => {
    if (kind === "low") return [Math.min(start + by, start + size - 8), size - by];
    if (kind === "high") return [start, size + by];
    return by < 0 ? [from + by, -by] : [from, by];
  };
  const [x, w] = along(corner.x, box.x, box.w, point.x, dx);
  const [y, h] = along(corner.y, box.y, box.h, point.y, dy);
  return { x, y, w, h };
}

function draw(canvas, bitmap, box) {
  const context = canvas.getContext("2d");
  const thick = Math.max(2, canvas.width / 150);
  context.drawImage(bitmap, 0, 0);
  context.fillStyle = "rgb(0 0 0 / 55%)";
  context.beginPath();
  context.rect(0, 0, canvas.width, canvas.height);
  context.rect(box.x, box.y, box.w, box.h);
  context.fill("evenodd");
  context.lineWidth = thick * 2;
  context.strokeStyle = "#000";
  context.strokeRect(box.x, box.y, box.w, box.h);
  context.lineWidth = thick;
  context.strokeStyle = "#fff";
  context.strokeRect(box.x, box.y, box.w, box.h);
  context.fillStyle = "#fff";
  const size = thick * 4;
  for (const x of [box.x, box.x + box.w]) for (const y of [box.y, box.y + box.h]) context.fillRect(x - size / 2, y - size / 2, size, size);
}
