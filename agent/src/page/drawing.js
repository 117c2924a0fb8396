// The map's picture: groups, workloads or pods, connections and packets under way.

import { plain } from "./elements.js";
import { isolationKind } from "./cluster.js";
import { along, arrow, bar } from "./edges.js";

export const POD_RADIUS = 9;
// How long a packet is on its way on the map, in milliseconds.
export const PULSE = 900;
// Edges fade with the time since their last connection, in seconds.
const AGES = [[3, 1], [15, 0.75], [60, 0.45], [Infinity, 0.15]];
// Pods are labelled where there is room for it.
const LABEL_SCALE = 0.75;
const MAX_LABELS = 160;
// Workloads that are drawn for their pods are labelled from this radius on, in pixels.
const MIN_LABELLED = 15;
// Where there are no more of them, all are labelled.
const MAX_FEW = 40;
// Without the kind of what made it.
const shortName = (workload) => workload.replace(/^[A-Za-z]+\//, "");

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
  context.setTransform(scale, 0, 0, scale, canvas.width / 2 - view.x * scale, canvas.height / 2 - view.y * scale);
  drawGroups(map);
  if (!map.places) return;
  drawEdges(map);
  if (map.isGathered) drawWorkloads(map);
  else drawPods(map);
  drawPulses(map);
  drawLabels(map);
}

/** Whether something at this place can be seen. */
function sight({ view, canvas }, margin) {
  const [width, height] = [canvas.clientWidth / 2 / view.scale + margin, canvas.clientHeight / 2 / view.scale + margin];
  return (x, y) => Math.abs(x - view.x) < width && Math.abs(y - view.y) < height;
}

function circle(context, x, y, radius) {
  context.moveTo(x + radius, y);
  context.arc(x, y, radius, 0, 2 * Math.PI);
}

function drawGroups({ context, colours, circles, shape, view }) {
  context.lineWidth = 1.2 / Math.max(view.scale, 0.5);
  shape.groups.forEach((group, n) => {
    const [x, y, radius] = circles.subarray(3 * n, 3 * n + 3);
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.fillStyle = colours.group;
    if (!group.isOutside) context.fill();
    context.strokeStyle = colours["group-line"];
    context.setLineDash(group.isOutside ? [6, 5] : []);
    context.stroke();
  });
  context.setLineDash([]);
}

function drawEdges(map) {
  const { context, colours, selected } = map;
  const now = Date.now();
  const buckets = new Map();
  for (const edge of map.shownEdges) {
    for (const verdict of ["allow", "deny"]) {
      if (!edge[verdict]) continue;
      const curve = map.curve(edge, verdict);
      if (!curve) continue;
      const age = AGES.findIndex(([seconds]) => (now - edge[verdict].at) / 1000 < seconds);
      const ends = [edge.from, edge.to];
      const isOfSelected = map.marked ? ends.some((id) => map.marked.has(id)) : selected === null || [...ends, edge.key].includes(selected);
      const alpha = AGES[age][1] * (isOfSelected ? 1 : 0.2);
      const key = `${verdict} ${alpha}`;
      if (!buckets.has(key)) buckets.set(key, { verdict, alpha, width: age === 0 ? 2.4 : 1.6, curves: [] });
      buckets.get(key).curves.push(curve);
    }
  }
  const thin = 1 / Math.max(map.view.scale, map.isGathered ? 0.15 : 0.6);
  for (const { verdict, alpha, width, curves } of buckets.values()) {
    context.globalAlpha = alpha;
    context.strokeStyle = colours[verdict];
    context.lineWidth = width * thin;
    context.beginPath();
    for (const { from, middle, to } of curves) {
      context.moveTo(from.x, from.y);
      context.quadraticCurveTo(middle.x, middle.y, to.x, to.y);
    }
    context.stroke();
    context.beginPath();
    curves.forEach((curve) => (verdict === "deny" ? bar(context, curve) : arrow(context, curve)));
    context.lineWidth = (verdict === "deny" ? 3.4 : 2) * thin;
    context.stroke();
  }
  context.globalAlpha = 1;
}

function drawPods(map) {
  const { context, colours, places, members } = map;
  const buckets = { both: [], one: [], open: [], outside: [], dim: [] };
  const isSeen = sight(map, POD_RADIUS);
  members.forEach((member, n) => {
    if (!isSeen(places[2 * n], places[2 * n + 1])) return;
    const isDim = !map.words(member) || (map.marked && member.namespace && !map.marked.has(member.id));
    buckets[!member.namespace ? "outside" : isDim ? "dim" : isolationKind(member)].push(n);
  });
  context.lineWidth = 2;
  for (const [kind, list] of Object.entries(buckets)) {
    if (list.length === 0) continue;
    const radius = kind === "outside" ? POD_RADIUS * 0.7 : POD_RADIUS;
    context.beginPath();
    for (const n of list) circle(context, places[2 * n], places[2 * n + 1], radius);
    context.fillStyle = kind === "both" ? colours.pod : colours.panel;
    context.strokeStyle = kind === "open" || kind === "dim" || kind === "outside" ? colours["pod-open"] : colours.pod;
    context.fill();
    context.globalAlpha = kind === "dim" ? 0.35 : 1;
    context.stroke();
    context.globalAlpha = 1;
    if (kind === "one") fillHalves(map, list);
  }
  drawSelected(map);
}

/** The upper half stands for ingress, the lower for egress. */
function fillHalves({ context, colours, places, members }, list) {
  context.beginPath();
  for (const n of list) {
    const isIngress = members[n].isolation.ingress.policies.length > 0;
    context.moveTo(places[2 * n] + POD_RADIUS, places[2 * n + 1]);
    context.arc(places[2 * n], places[2 * n + 1], POD_RADIUS, 0, Math.PI, isIngress);
  }
  context.fillStyle = colours.pod;
  context.fill();
}

function drawSelected(map) {
  const { context, colours } = map;
  const rings = [map.selected, ...(map.marked ?? [])].map((id) => map.at(id)).filter((at) => at);
  if (rings.length === 0) return;
  context.beginPath();
  rings.forEach(({ x, y }) => circle(context, x, y, POD_RADIUS + 5));
  context.lineWidth = 2;
  context.strokeStyle = map.marked ? colours.accent : colours.ink;
  context.stroke();
}

/** Workloads in the place of their pods: a disc for each, as large as its pods together. */
function drawWorkloads(map) {
  const { context, colours, shape } = map;
  const isSeen = sight(map, 400);
  const buckets = { both: [], one: [], open: [], outside: [], dim: [] };
  shape.workloads.forEach(({ group, members }, n) => {
    const at = map.workloadAt(n);
    if (!isSeen(at.x, at.y)) return;
    const isDim = !members.some((it) => map.words(it) && (!map.marked || map.marked.has(it.id)));
    buckets[shape.groups[group].isOutside ? "outside" : isDim ? "dim" : isolationKind(members[0])].push(at);
  });
  context.lineWidth = 1.6 / map.view.scale;
  for (const [kind, list] of Object.entries(buckets)) {
    context.beginPath();
    for (const { x, y, radius } of list) circle(context, x, y, radius * 0.92);
    context.fillStyle = { both: colours.pod, one: colours["pod-one"] }[kind] ?? colours.panel;
    context.strokeStyle = kind === "both" || kind === "one" ? colours.pod : colours["pod-open"];
    context.globalAlpha = kind === "dim" ? 0.35 : 1;
    context.fill();
    context.stroke();
  }
  context.globalAlpha = 1;
}

function drawPulses(map) {
  const { context, colours } = map;
  const now = performance.now();
  const size = map.isGathered ? 1 / Math.max(map.view.scale, 0.1) : 1;
  for (const { edge, verdict, start } of map.pulses) {
    const places = map.shape.places;
    const workloads = map.isGathered && [edge.from, edge.to].map((id) => places[map.index.get(id)]?.workload);
    if (workloads && (workloads[0] === workloads[1] || workloads.includes(undefined))) continue;
    const curve = map.curve(workloads ? { ...edge, workloads } : edge, verdict);
    if (!curve) continue;
    const part = (now - start) / PULSE;
    const at = along(curve, Math.min(part * 1.5, 1) * (verdict === "deny" ? curve.bar : 1));
    context.globalAlpha = part < 0.66 ? 1 : Math.max(0, 3 - 3 * part);
    context.fillStyle = colours[verdict];
    context.beginPath();
    context.arc(at.x, at.y, size * (part < 0.66 ? 3.5 : 3.5 + (part - 0.66) * 18), 0, 2 * Math.PI);
    context.fill();
  }
  context.globalAlpha = 1;
}

function drawLabels(map) {
  const { context, colours, density, view, canvas } = map;
  context.setTransform(density, 0, 0, density, 0, 0);
  const toScreen = (x, y) => [(x - view.x) * view.scale + canvas.clientWidth / 2, (y - view.y) * view.scale + canvas.clientHeight / 2];
  context.textAlign = "center";
  context.lineJoin = "round";
  context.strokeStyle = colours.ground;
  const write = (text, x, y, most, hasHalo = true) => {
    const shown = fitText(context, text, most);
    context.lineWidth = 3.5;
    if (hasHalo) context.strokeText(shown, x, y);
    context.fillText(shown, x, y);
  };
  let room = MAX_LABELS;
  const isSeen = (x, y) => x > -50 && y > -20 && x < canvas.clientWidth + 50 && y < canvas.clientHeight + 20 && room-- > 0;
  if (map.isGathered) {
    context.font = `11px ${map.font}`;
    const isFew = map.shape.workloads.length <= MAX_FEW;
    map.shape.workloads.forEach(({ name, members }, n) => {
      const { x, y, radius } = map.workloadAt(n);
      const size = radius * view.scale;
      const [left, top] = toScreen(x, y);
      if (size < MIN_LABELLED) {
        if (!isFew || !isSeen(left, top)) return;
        context.fillStyle = colours.ink;
        return write(shortName(name), left, top + size + 10, 60);
      }
      if (!isSeen(left, top)) return;
      context.fillStyle = isolationKind(members[0]) === "both" ? colours.panel : colours.ink;
      write(shortName(name), left, top, size * 1.7, false);
      if (members.length > 1) write(`×${members.length}`, left, top + 12, size * 1.7, false);
    });
  } else if (view.scale >= LABEL_SCALE) {
    context.font = `12px ${map.font}`;
    map.members.forEach((member, n) => {
      const [x, y] = toScreen(map.places[2 * n], map.places[2 * n + 1]);
      if (!isSeen(x, y)) return;
      context.fillStyle = map.words(member) ? colours.ink : colours.soft;
      write(member.name, x, y + POD_RADIUS * view.scale + 14, Math.max(72, (member.namespace ? 64 : 110) * view.scale));
    });
  }
  map.shape.groups.forEach((group, n) => {
    const [x, y, radius] = map.circles.subarray(3 * n, 3 * n + 3);
    const [left, top] = toScreen(x, y - radius);
    if (radius * view.scale < 9) return;
    context.font = `600 13px ${map.font}`;
    context.fillStyle = group.isOutside ? colours.soft : colours.ink;
    write(group.name, left, top - 7, Math.max(radius * view.scale * 2.1, 70));
  });
}

const fitted = new Map();

/** The text, cut to a width in pixels. */
function fitText(context, text, most) {
  const key = `${context.font} ${Math.round(most / 8)} ${text}`;
  let shown = fitted.get(key);
  if (shown === undefined) {
    shown = plain(text, 80);
    while (shown.length > 4 && context.measureText(shown).width > most) shown = shown.slice(0, -2).replace(/…?$/, "…");
    if (fitted.size > 20000) fitted.clear();
    fitted.set(key, shown);
  }
  return shown;
}
