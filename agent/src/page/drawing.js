// The map's picture: groups, workloads or pods, lines, packets under way and names. What cannot be seen is not drawn.
//
// A path of many shapes takes longer than several paths of a few: it is filled line by line of the screen, and each crosses all that are open there.

import { along, mark } from "./edges.js";
import { drawLabels } from "./labels.js";
import { ALPHAS, BUCKETS, PODS, lookOf } from "./lines.js";
import { BOTH, DIM, EGRESS, INGRESS, KINDS, POD_RADIUS, drawPods } from "./pods.js";

// How long a packet is on its way on the map, in milliseconds.
export const PULSE = 900;
// Lines, or discs, of one path.
const BATCH = 8;
// Discs that are smaller have no rim.
const MIN_RIM = 3;
const COLOURS = ["ground", "panel", "line", "ink", "soft", "accent", "deny", "allow", "group", "group-line", "pod", "pod-one", "pod-open"];

export function readColours() {
  const style = getComputedStyle(document.documentElement);
  const colours = Object.fromEntries(COLOURS.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  return { colours, font: getComputedStyle(document.body).fontFamily };
}

export function draw(map) {
  const { context, canvas, view, density } = map;
  const scale = view.scale * density;
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  if (map.circles.length === 0) return;
  const toScreen = () => context.setTransform(scale, 0, 0, scale, canvas.width / 2 - view.x * scale, canvas.height / 2 - view.y * scale);
  toScreen();
  drawGroups(map);
  drawLines(map);
  if (map.isGathered) drawWorkloads(map);
  else drawPods(map);
  toScreen();
  drawRings(map);
  drawPulses(map);
  drawLabels(map);
}

function circle(context, x, y, radius) {
  context.moveTo(x + radius, y);
  context.arc(x, y, radius, 0, 2 * Math.PI);
}

const DASHED = [6, 5];
const SOLID = [];

function drawGroups(map) {
  const { context, colours, circles, shape, view, firstGroup } = map;
  context.lineWidth = 1.2 / view.scale;
  context.fillStyle = colours.group;
  context.strokeStyle = colours["group-line"];
  for (let n = 0; n < shape.groups.length; n++) {
    if (!map.isSeen(firstGroup + n, 2)) continue;
    const at = 3 * (firstGroup + n);
    const { isOutside } = shape.groups[n];
    context.beginPath();
    context.arc(circles[at], circles[at + 1], circles[at + 2], 0, 2 * Math.PI);
    if (!isOutside) context.fill();
    if (isOutside) context.setLineDash(DASHED);
    context.stroke();
    if (isOutside) context.setLineDash(SOLID);
  }
}

/** How long a pixel is for what keeps its size; from near, it grows with the pods. */
const unitOf = ({ view, level }) => 1 / (level === PODS ? Math.max(view.scale, 0.6) : view.scale);

const LOOKS = Array.from({ length: BUCKETS }, (_, bucket) => lookOf(bucket));

function drawLines(map) {
  const { context, colours, lines } = map;
  lines.fold(map);
  const unit = unitOf(map);
  lines.choose(map, 40 / map.view.scale, Date.now());
  // What is drawn last lies above.
  for (let bucket = BUCKETS - 1; bucket >= 0; bucket--) {
    if (lines.sizes[bucket] === 0) continue;
    const { verdict, age, width, isDim } = LOOKS[bucket];
    context.globalAlpha = ALPHAS[age] * (isDim ? 0.2 : 1);
    context.strokeStyle = colours[verdict];
    context.lineWidth = (width + (age === 0 ? 0.8 : 0)) * unit;
    strokeEach(map, bucket, unit, false);
    if (verdict === "deny") context.lineWidth = Math.max(3.4, width) * unit;
    strokeEach(map, bucket, unit, true);
  }
  context.globalAlpha = 1;
}

/** Strokes the lines of a bucket, or the marks at their ends. */
function strokeEach(map, bucket, unit, isMark) {
  const { context, lines } = map;
  let n = lines.heads[bucket];
  for (let left = lines.sizes[bucket]; left > 0; ) {
    context.beginPath();
    for (let batch = 0; batch < BATCH && left > 0; batch++, left--, n = lines.next[n]) {
      const { from, to, verdict, direction } = lines.list[n];
      const curve = map.curveBetween(from, to, verdict, direction);
      if (isMark) {
        mark(context, curve, verdict, unit);
      } else {
        context.moveTo(curve.fromX, curve.fromY);
        context.quadraticCurveTo(curve.midX, curve.midY, curve.toX, curve.toY);
      }
    }
    context.stroke();
  }
}

/** Rings around the pod that is selected, or those that are marked. */
function drawRings(map) {
  const { context, colours, circles, index, selected, marked } = map;
  if (!marked && selected === null) return;
  context.lineWidth = 2;
  context.strokeStyle = marked ? colours.accent : colours.ink;
  const ring = (id) => {
    const n = index.get(id);
    if (n === undefined || !map.isSeen(n, 10)) return;
    context.beginPath();
    context.arc(circles[3 * n], circles[3 * n + 1], POD_RADIUS + 5, 0, 2 * Math.PI);
    context.stroke();
  };
  ring(selected);
  marked?.forEach(ring);
}

/** Workloads in the place of their pods: a disc for each, as large as its pods together. */
function drawWorkloads(map) {
  const { context, colours, circles, shape, kinds, view, firstWorkload } = map;
  context.lineWidth = 1.6 / view.scale;
  for (const kind of KINDS) {
    context.fillStyle = kind === BOTH ? colours.pod : kind === INGRESS || kind === EGRESS ? colours["pod-one"] : colours.panel;
    context.strokeStyle = kind <= EGRESS ? colours.pod : colours["pod-open"];
    context.globalAlpha = kind === DIM ? 0.35 : 1;
    let [batch, hasRim] = [0, true];
    const paint = () => {
      if (batch === 0) return;
      context.fill();
      if (hasRim) context.stroke();
      batch = 0;
    };
    for (let n = 0; n < shape.workloads.length; n++) {
      if (kinds.workloads[n] !== kind || !map.isSeen(firstWorkload + n, 2)) continue;
      const at = 3 * (firstWorkload + n);
      const radius = circles[at + 2] * 0.92;
      if (batch === BATCH) paint();
      if (batch === 0) [hasRim] = [radius * view.scale >= MIN_RIM, context.beginPath()];
      circle(context, circles[at], circles[at + 1], radius);
      batch += 1;
    }
    paint();
  }
  context.globalAlpha = 1;
}

function drawPulses(map) {
  const { context, colours, level } = map;
  const now = performance.now();
  const size = 1 / Math.min(1, map.view.scale);
  for (const { edge, verdict, start } of map.pulses) {
    const [from, to] = [map.end(edge.from, edge.to, level), map.end(edge.to, edge.from, level)];
    if (from < 0 || to < 0 || from === to) continue;
    const curve = map.curveBetween(from, to, verdict, edge[verdict]?.direction);
    const part = (now - start) / PULSE;
    along(curve, Math.min(part * 1.5, 1) * (verdict === "deny" ? curve.stop : 1));
    context.globalAlpha = (part < 0.66 ? 1 : Math.max(0, 3 - 3 * part)) * (map.isDim(edge) ? 0.2 : 1);
    context.fillStyle = colours[verdict];
    context.beginPath();
    context.arc(curve.x, curve.y, size * (part < 0.66 ? 3.5 : 3.5 + (part - 0.66) * 18), 0, 2 * Math.PI);
    context.fill();
  }
  context.globalAlpha = 1;
}
