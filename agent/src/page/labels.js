// The names on the map. None covers another: of two that would, the one that comes later is left out.

import { plain } from "./elements.js";
import { BOTH, DIM, POD_RADIUS, isFew } from "./pods.js";

// Pods are labelled where there is room for it.
const LABEL_SCALE = 0.75;
const MAX_LABELS = 240;
// Workloads that are drawn for their pods are labelled inside from this radius on, in pixels;
const MIN_INSIDE = 15;
// where there are few, smaller ones below.
const MIN_GROUP = 9;
// Of workloads, pods and groups.
const FONTS = ["11px", "12px", "600 13px"];
const [OF_WORKLOADS, OF_PODS, OF_GROUPS] = [0, 1, 2];
// Of the places that names take.
const [CELL_WIDTH, CELL_HEIGHT] = [12, 14];
// Without the kind of what made it.
const shortName = (workload) => workload.replace(/^[A-Za-z]+\//, "");

/** Where names stand already. Cells move with the map, so that moving it leaves the same names. */
const taken = { cells: new Uint8Array(), columns: 0, rows: 0, left: 0, top: 0, room: 0 };

function clear({ width, height, view }) {
  [taken.columns, taken.rows, taken.room] = [Math.ceil(width / CELL_WIDTH) + 1, Math.ceil(height / CELL_HEIGHT) + 1, MAX_LABELS];
  [taken.left, taken.top] = [(view.x * view.scale - width / 2) % CELL_WIDTH, (view.y * view.scale - height / 2) % CELL_HEIGHT];
  if (taken.cells.length < taken.columns * taken.rows) taken.cells = new Uint8Array(taken.columns * taken.rows);
  else taken.cells.fill(0);
}

/** Takes the place of a name in the middle of x and above y; `false` where another has some of it, unless it is to be taken anyway. */
function take(x, y, width, isUrgent) {
  const { cells, columns, rows } = taken;
  const first = Math.max(0, Math.floor((x - width / 2 + taken.left) / CELL_WIDTH));
  const last = Math.min(columns - 1, Math.floor((x + width / 2 + taken.left) / CELL_WIDTH));
  const row = Math.floor((y - 5 + taken.top) / CELL_HEIGHT);
  if (row < 0 || row >= rows || taken.room <= 0) return false;
  for (let column = first; column <= last && !isUrgent; column++) {
    if (cells[row * columns + column] !== 0) return false;
  }
  for (let column = first; column <= last; column++) cells[row * columns + column] = 1;
  taken.room -= 1;
  return true;
}

function useFont({ context, font }, which) {
  context.font = `${FONTS[which]} ${font}`;
}

function write(context, { text, width }, x, y, isUrgent, hasHalo) {
  if (!take(x, y, width, isUrgent)) return false;
  if (hasHalo) context.strokeText(text, x, y);
  context.fillText(text, x, y);
  return true;
}

export function drawLabels(map) {
  const { context, colours, density, view, index, selected } = map;
  context.setTransform(density, 0, 0, density, 0, 0);
  context.textAlign = "center";
  context.lineJoin = "round";
  context.strokeStyle = colours.ground;
  context.lineWidth = 3.5;
  clear(map);
  labelGroups(map);
  if (map.isGathered) return labelWorkloads(map);
  useFont(map, OF_PODS);
  const chosen = index.get(selected);
  if (chosen !== undefined) labelPod(map, chosen);
  if (view.scale < LABEL_SCALE && !isFew(map.shape)) return;
  for (let n = 0; n < map.members.length && taken.room > 0; n++) {
    if (n !== chosen && map.isSeen(n, 20)) labelPod(map, n);
  }
}

const left = ({ circles, view, width }, n) => (circles[3 * n] - view.x) * view.scale + width / 2;
const top = ({ circles, view, height }, n) => (circles[3 * n + 1] - view.y) * view.scale + height / 2;

function labelGroups(map) {
  const { context, colours, circles, shape, view, firstGroup } = map;
  useFont(map, OF_GROUPS);
  for (let n = 0; n < shape.groups.length; n++) {
    const at = firstGroup + n;
    const size = circles[3 * at + 2] * view.scale;
    if (size < MIN_GROUP || !map.isSeen(at, 20)) continue;
    context.fillStyle = shape.groups[n].isOutside ? colours.soft : colours.ink;
    write(context, fit(context, OF_GROUPS, shape.groups[n].name, Math.max(size * 2.1, 150)), left(map, at), top(map, at) - size - 7, false, true);
  }
}

function labelPod(map, n) {
  const { context, colours, view } = map;
  const { name, namespace } = map.members[n];
  context.fillStyle = map.kinds.pods[n] === DIM ? colours.soft : colours.ink;
  const text = fit(context, OF_PODS, name, Math.max(96, (namespace ? 64 : 110) * view.scale));
  const [x, y, far] = [left(map, n), top(map, n), POD_RADIUS * view.scale];
  // Above, where another name is below.
  write(context, text, x, y + far + 14, false, true) || write(context, text, x, y - far - 6, false, true);
}

function labelWorkloads(map) {
  const { context, colours, circles, shape, view, firstWorkload, kinds } = map;
  useFont(map, OF_WORKLOADS);
  for (let n = 0; n < shape.workloads.length && taken.room > 0; n++) {
    const at = firstWorkload + n;
    const size = circles[3 * at + 2] * view.scale;
    if ((size < MIN_INSIDE && !isFew(shape)) || !map.isSeen(at, 20)) continue;
    const { name, members } = shape.workloads[n];
    const [x, y] = [left(map, at), top(map, at)];
    context.fillStyle = size >= MIN_INSIDE && kinds.workloads[n] === BOTH ? colours.panel : colours.ink;
    if (size < MIN_INSIDE) {
      write(context, fit(context, OF_WORKLOADS, shortName(name), 60), x, y + size + 10, false, true);
      continue;
    }
    write(context, fit(context, OF_WORKLOADS, shortName(name), size * 1.7), x, y, true, false);
    if (members.length > 1) write(context, fit(context, OF_WORKLOADS, `×${members.length}`, size * 1.7), x, y + 12, true, false);
  }
}

// Texts as they are shown, by the width that they have, in steps of 8 pixels, and their font.
const fitted = new Map();
const MAX_FITTED = 20000;
let fittedCount = 0;

/** The text, cut to a width in pixels, and how wide it is then. */
function fit(context, font, text, most) {
  const step = Math.round(most / 8) * FONTS.length + font;
  if (fittedCount > MAX_FITTED) [fittedCount] = [0, fitted.clear()];
  let texts = fitted.get(step);
  if (!texts) fitted.set(step, (texts = new Map()));
  let found = texts.get(text);
  if (found) return found;
  let shown = plain(text, 80);
  while (shown.length > 4 && context.measureText(shown).width > most) shown = shown.slice(0, -2).replace(/…?$/, "…");
  found = { text: shown, width: context.measureText(shown).width };
  texts.set(text, found);
  fittedCount += 1;
  return found;
}
