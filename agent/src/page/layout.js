// Where pods stand: a worker, so that the page stays fluent. Groups (namespaces) are placed as circles that do not overlap; within
// a group pods stand as the seeds of a sunflower do, and where there are few enough they are moved by what connects them.

importScripts("d3/d3-dispatch.min.js", "d3/d3-quadtree.min.js", "d3/d3-timer.min.js", "d3/d3-force.min.js");

const SPACING = 46;
const MARGIN = 34;
const GAP = 40;
const GOLDEN = Math.PI * (3 - Math.sqrt(5));
// With more pods than this the sunflower stays as it is.
const MAX_MOVED = 1500;
const GROUP_TICKS = 180;
const POD_TICKS = 90;
// Between two pictures.
const TICKS_SHOWN = 3;

const groupsById = new Map();
const podsById = new Map();
let latest = 0;

const seed = (n, spacing) => ({ x: Math.cos(n * GOLDEN) * Math.sqrt(n + 0.4) * spacing, y: Math.sin(n * GOLDEN) * Math.sqrt(n + 0.4) * spacing });

function placeGroups(groups, links) {
  const placed = groups.map(({ id, size }, n) => {
    const radius = MARGIN + SPACING * 0.62 * Math.sqrt(size);
    const known = groupsById.get(id);
    const group = known ?? { id, ...seed(n, 150) };
    group.radius = radius;
    [group.vx, group.vy] = [0, 0];
    return group;
  });
  const simulation = d3.forceSimulation(placed).stop()
    .force("collide", d3.forceCollide((group) => group.radius + GAP).iterations(4))
    .force("x", d3.forceX(0).strength(0.04))
    // Screens are wider than high.
    .force("y", d3.forceY(0).strength(0.16))
    .force("link", d3.forceLink(links).distance(({ source, target }) => source.radius + target.radius + GAP).strength(0.05));
  for (let tick = 0; tick < GROUP_TICKS; tick++) simulation.tick();
  groupsById.clear();
  placed.forEach((group) => groupsById.set(group.id, group));
  return placed;
}

function placePods(pods, groups) {
  const counts = groups.map(() => 0);
  const before = new Map(groups.map((group) => [group, { x: group.lastX, y: group.lastY }]));
  const placed = pods.map(({ id, group }) => {
    const at = groups[group];
    const rank = counts[group]++;
    const known = podsById.get(id);
    const { x: lastX, y: lastY } = before.get(at);
    const start = known && lastX !== undefined ? { x: known.x - lastX, y: known.y - lastY } : seed(rank, SPACING * 0.56);
    return { id, group: at, x: at.x + start.x, y: at.y + start.y };
  });
  groups.forEach((group) => ([group.lastX, group.lastY] = [group.x, group.y]));
  podsById.clear();
  placed.forEach((pod) => podsById.set(pod.id, pod));
  return placed;
}

function keepInside(pods) {
  for (const pod of pods) {
    const [dx, dy] = [pod.x - pod.group.x, pod.y - pod.group.y];
    const [far, most] = [Math.hypot(dx, dy), pod.group.radius - 12];
    if (far > most) [pod.x, pod.y] = [pod.group.x + (dx / far) * most, pod.group.y + (dy / far) * most];
  }
}

function send(version, groups, pods) {
  const circles = Float32Array.from(groups.flatMap(({ x, y, radius }) => [x, y, radius]));
  const places = Float32Array.from(pods.flatMap(({ x, y }) => [x, y]));
  postMessage({ version, circles, places }, [circles.buffer, places.buffer]);
}

onmessage = ({ data: { version, groups: given, pods: listed, links } }) => {
  latest = version;
  const pairs = new Map();
  for (const [from, to] of links) {
    const [source, target] = [listed[from].group, listed[to].group];
    if (source !== target) pairs.set(`${source} ${target}`, { source, target });
  }
  const groups = placeGroups(given, [...pairs.values()]);
  const pods = placePods(listed, groups);
  send(version, groups, pods);
  if (pods.length > MAX_MOVED) return;
  const simulation = d3.forceSimulation(pods).stop()
    .force("collide", d3.forceCollide(SPACING * 0.5))
    .force("x", d3.forceX((pod) => pod.group.x).strength(0.12))
    .force("y", d3.forceY((pod) => pod.group.y).strength(0.12))
    .force("repel", d3.forceManyBody().strength(-30).distanceMax(140))
    .force("link", d3.forceLink(links.map(([source, target]) => ({ source, target }))).distance(120).strength(0.004));
  let ticks = 0;
  const move = () => {
    // A later request takes its place.
    if (latest !== version) return;
    for (let n = 0; n < TICKS_SHOWN; n++) simulation.tick();
    keepInside(pods);
    send(version, groups, pods);
    ticks += TICKS_SHOWN;
    if (ticks < POD_TICKS) setTimeout(move, 16);
  };
  move();
};
