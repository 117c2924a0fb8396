// Where everything stands: a worker, so that the page stays fluent. Groups (namespaces) and the workloads in each are circles
// that do not overlap, moved by what connects them; the pods of a workload stand as the seeds of a sunflower do.

importScripts("d3/d3-dispatch.min.js", "d3/d3-quadtree.min.js", "d3/d3-timer.min.js", "d3/d3-force.min.js");

const SPACING = 46;
const MARGIN = 30;
const GAP = 40;
const GOLDEN = Math.PI * (3 - Math.sqrt(5));
const POD_RADIUS = 9;
// How often circles are moved apart, at most and at least: fewer times where there are many of them in all.
const MAX_TICKS = 180;
const MIN_TICKS = 12;
const TICKED = 60000;
// Before the first picture.
const FIRST_GROUP_TICKS = 30;
const FIRST_TICKS = 3;

const ticksOf = (count) => Math.max(MIN_TICKS, Math.min(MAX_TICKS, Math.round(TICKED / count)));

const known = new Map();

const seed = (n, spacing) => ({ x: Math.cos(n * GOLDEN) * Math.sqrt(n + 0.4) * spacing, y: Math.sin(n * GOLDEN) * Math.sqrt(n + 0.4) * spacing });

/** Circles with a place from before, or one that is free. */
function circles(list, radius, spacing) {
  return list.map((item, n) => {
    const before = known.get(item.id);
    const at = before ? { x: before.x, y: before.y } : seed(n, spacing);
    return { ...item, ...at, radius: radius(item) };
  });
}

const workloadRadius = ({ size }) => (size === 1 ? SPACING * 0.5 : SPACING * 0.3 + SPACING * 0.52 * Math.sqrt(size));

/** The workloads of a group, around its middle. Links are between workloads of this group. */
function placeWorkloads(workloads, links, ticks) {
  const pods = workloads.reduce((sum, { size }) => sum + size, 0);
  const placed = circles(workloads, workloadRadius, SPACING * 0.6 * Math.sqrt(pods / workloads.length));
  const index = new Map(placed.map((it, n) => [it.index, n]));
  const own = links.map(([a, b]) => ({ source: index.get(a), target: index.get(b) }));
  placed.forEach((it) => delete it.index);
  const simulation = d3.forceSimulation(placed).stop()
    .force("collide", d3.forceCollide((it) => it.radius + (it.size === 1 ? 12 : 4)).iterations(3))
    .force("x", d3.forceX(0).strength(0.05))
    .force("y", d3.forceY(0).strength(0.07))
    .force("link", d3.forceLink(own).distance(({ source, target }) => source.radius + target.radius + 44).strength(0.06));
  if (placed.length < 40) simulation.force("repel", d3.forceManyBody().strength(-160).distanceMax(260));
  for (let tick = 0; tick < ticks; tick++) simulation.tick();
  const [x, y] = ["x", "y"].map((axis) => (Math.min(...placed.map((it) => it[axis])) + Math.max(...placed.map((it) => it[axis]))) / 2);
  placed.forEach((it) => ([it.x, it.y] = [it.x - x, it.y - y]));
  return placed;
}

function placeGroups(groups, links, ticks) {
  const placed = circles(groups, ({ radius }) => radius, 150);
  const simulation = d3.forceSimulation(placed).stop()
    .force("collide", d3.forceCollide((group) => group.radius + GAP).iterations(4))
    .force("x", d3.forceX(0).strength(0.04))
    // Screens are wider than high.
    .force("y", d3.forceY(0).strength(0.16))
    .force("link", d3.forceLink(links).distance(({ source, target }) => source.radius + target.radius + GAP).strength(0.05));
  for (let tick = 0; tick < ticks; tick++) simulation.tick();
  return placed;
}

/** Where everything stands after at most so many moves: x, y and the radius of each pod, then each workload, then each group. */
function place({ groups, workloads, places, links }, ticks, groupTicks) {
  const inside = groups.map(() => []);
  workloads.forEach((workload, index) => inside[workload.group].push({ ...workload, index }));
  const [around, linked, pairs] = [new Array(workloads.length), groups.map(() => []), new Map()];
  for (const link of links) {
    const [source, target] = link.map((at) => workloads[at].group);
    if (source === target) linked[source].push(link);
    else pairs.set(`${source} ${target}`, { source, target });
  }
  groups.forEach((group, at) => {
    const placed = placeWorkloads(inside[at], linked[at], ticks);
    inside[at].forEach(({ index }, n) => (around[index] = placed[n]));
    group.radius = MARGIN + Math.max(...placed.map((it) => Math.hypot(it.x, it.y) + it.radius));
  });
  const placed = placeGroups(groups, [...pairs.values()], groupTicks);
  known.clear();
  placed.forEach((it) => known.set(it.id, it));
  around.forEach((it) => known.set(it.id, it));
  const all = new Float32Array(3 * (places.length + workloads.length + groups.length));
  let end = 0;
  const put = (x, y, radius) => {
    all.set([x, y, radius], end);
    end += 3;
  };
  const middle = ({ group, x, y }) => [placed[group].x + x, placed[group].y + y];
  const counts = workloads.map(() => 0);
  for (const { workload } of places) {
    const [x, y] = middle(around[workload]);
    const { size } = workloads[workload];
    const n = counts[workload]++;
    // Names stand below pods: two beside each other have room for them.
    const at = size === 1 ? { x: 0, y: 0 } : size === 2 ? { x: (n - 0.5) * SPACING * 1.5, y: 0 } : seed(n, SPACING * 0.52);
    put(x + at.x, y + at.y, POD_RADIUS);
  }
  around.forEach((it) => put(...middle(it), it.radius));
  placed.forEach(({ x, y, radius }) => put(x, y, radius));
  return all;
}

onmessage = ({ data }) => {
  const say = (circles, isSettled) => postMessage({ circles, isSettled }, [circles.buffer]);
  // There is a picture before all has its place.
  if (known.size === 0) say(place(data, FIRST_TICKS, FIRST_GROUP_TICKS), false);
  say(place(data, ticksOf(data.workloads.length), ticksOf(data.groups.length)), true);
};
