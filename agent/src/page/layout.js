// Where everything stands: a worker, so that the page stays fluent. Groups (namespaces) and the workloads in each are circles
// that do not overlap, moved by what connects them; the pods of a workload stand as the seeds of a sunflower do.

importScripts("d3/d3-dispatch.min.js", "d3/d3-quadtree.min.js", "d3/d3-timer.min.js", "d3/d3-force.min.js");

const SPACING = 46;
const MARGIN = 30;
const GAP = 40;
const GOLDEN = Math.PI * (3 - Math.sqrt(5));
const GROUP_TICKS = 180;
// Of workloads: fewer where there are many.
const MAX_TICKS = 150;
const MIN_TICKS = 12;
const TICKED = 30000;

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

/** The workloads of a group, around its middle. */
function placeWorkloads(workloads, links) {
  const most = workloads.reduce((sum, { size }) => sum + size, 0);
  const placed = circles(workloads, workloadRadius, SPACING * 0.6 * Math.sqrt(most / workloads.length));
  const index = new Map(placed.map((it, n) => [it.index, n]));
  const own = links.map(([a, b]) => ({ source: index.get(a), target: index.get(b) })).filter(({ source, target }) => source !== undefined && target !== undefined);
  placed.forEach((it) => delete it.index);
  const simulation = d3.forceSimulation(placed).stop()
    .force("collide", d3.forceCollide((it) => it.radius + (it.size === 1 ? 12 : 4)).iterations(3))
    .force("x", d3.forceX(0).strength(0.05))
    .force("y", d3.forceY(0).strength(0.07))
    .force("link", d3.forceLink(own).distance(({ source, target }) => source.radius + target.radius + 44).strength(0.06));
  if (placed.length < 40) simulation.force("repel", d3.forceManyBody().strength(-160).distanceMax(260));
  const ticks = Math.max(MIN_TICKS, Math.min(MAX_TICKS, Math.round(TICKED / placed.length)));
  for (let tick = 0; tick < ticks; tick++) simulation.tick();
  const [x, y] = ["x", "y"].map((axis) => (Math.min(...placed.map((it) => it[axis])) + Math.max(...placed.map((it) => it[axis]))) / 2);
  placed.forEach((it) => ([it.x, it.y] = [it.x - x, it.y - y]));
  return placed;
}

function placeGroups(groups, links) {
  const placed = circles(groups, ({ radius }) => radius, 150);
  const simulation = d3.forceSimulation(placed).stop()
    .force("collide", d3.forceCollide((group) => group.radius + GAP).iterations(4))
    .force("x", d3.forceX(0).strength(0.04))
    // Screens are wider than high.
    .force("y", d3.forceY(0).strength(0.16))
    .force("link", d3.forceLink(links).distance(({ source, target }) => source.radius + target.radius + GAP).strength(0.05));
  for (let tick = 0; tick < GROUP_TICKS; tick++) simulation.tick();
  return placed;
}

onmessage = ({ data: { version, groups, workloads, places, links } }) => {
  const inside = groups.map(() => []);
  workloads.forEach((workload, index) => inside[workload.group].push({ ...workload, index }));
  const around = new Array(workloads.length);
  groups.forEach((group, at) => {
    const placed = placeWorkloads(inside[at], links);
    inside[at].forEach(({ index }, n) => (around[index] = placed[n]));
    group.radius = MARGIN + Math.max(...placed.map((it) => Math.hypot(it.x, it.y) + it.radius));
  });
  const pairs = new Map();
  for (const [from, to] of links) {
    const [source, target] = [workloads[from].group, workloads[to].group];
    if (source !== target) pairs.set(`${source} ${target}`, { source, target });
  }
  const placed = placeGroups(groups, [...pairs.values()]);
  known.clear();
  placed.forEach((it) => known.set(it.id, it));
  around.forEach((it) => known.set(it.id, it));
  const counts = workloads.map(() => 0);
  const each = (list) => Float32Array.from(list);
  const middle = ({ group, x, y }) => [placed[group].x + x, placed[group].y + y];
  const pods = each(places.flatMap(({ workload }) => {
    const [x, y] = middle(around[workload]);
    const { size } = workloads[workload];
    if (size === 1) return [x, y];
    const n = counts[workload]++;
    // Names stand below pods: two beside each other have room for them.
    const at = size === 2 ? { x: (n - 0.5) * SPACING * 1.5, y: 0 } : seed(n, SPACING * 0.52);
    return [x + at.x, y + at.y];
  }));
  const circlesOf = each(placed.flatMap(({ x, y, radius }) => [x, y, radius]));
  const workloadCircles = each(around.flatMap((it) => [...middle(it), it.radius]));
  postMessage({ version, circles: circlesOf, workloads: workloadCircles, places: pods }, [circlesOf.buffer, workloadCircles.buffer, pods.buffer]);
};
