// The lines of the map. Edges between the same two circles are one line; circles are pods, and from afar workloads and namespaces.

/** What lines connect. */
export const [PODS, WORKLOADS, NAMESPACES] = [0, 1, 2];
/** Lines of one picture. Of more, denied ones come first, then those with the latest connections. */
const MAX_LINES = 300;
// Lines fade with the time since their last connection, in seconds.
const AGES = [3, 15, 60, Infinity];
/** How much of its colour a line has, by its age. */
export const ALPHAS = [1, 0.75, 0.45, 0.15];
// From how many connections on a line is wider.
const COUNTS = [3, 10, 50];
/** In pixels, by the number of connections. */
export const WIDTHS = [1.4, 2.2, 3.2, 4.4];
/** Lines that look the same: not dimmed ones first, of these the denied ones, of these the latest. */
export const BUCKETS = 2 * 2 * AGES.length * WIDTHS.length;

/** How the lines of a bucket look. */
export function lookOf(bucket) {
  const width = WIDTHS.length - 1 - (bucket % WIDTHS.length);
  const rest = Math.floor(bucket / WIDTHS.length);
  const age = rest % AGES.length;
  const verdict = Math.floor(rest / AGES.length) % 2 === 0 ? "deny" : "allow";
  return { verdict, age, width: WIDTHS[width], isDim: bucket >= BUCKETS / 2 };
}

/** Nothing is allocated for a picture: what one needs is kept for the next. */
export class Lines {
  constructor() {
    [this.list, this.count, this.byEnds] = [[], 0, new Map()];
    [this.heads, this.sizes, this.next] = [new Int32Array(BUCKETS), new Int32Array(BUCKETS), new Int32Array(256)];
    [this.level, this.isStale] = [PODS, true];
    [this.shown, this.leftOut] = [0, 0];
  }

  /** Makes lines of the edges, where these or what lines connect have changed. */
  fold(map) {
    const { level } = map;
    if (!this.isStale && level === this.level) return;
    [this.level, this.isStale, this.count] = [level, false, 0];
    this.byEnds.clear();
    for (const edge of map.edges.values()) {
      const from = map.end(edge.from, edge.to, level);
      const to = map.end(edge.to, edge.from, level);
      if (from < 0 || to < 0 || from === to) continue;
      const isDim = map.isDim(edge);
      // Between pods there is one for each verdict.
      if (edge.deny) this.add(from, to, level === PODS ? 1 : 0, edge, edge.deny, edge.denied, isDim);
      if (edge.allow) this.add(from, to, 0, edge, edge.allow, edge.allowed, isDim);
    }
    if (this.next.length < this.count) this.next = new Int32Array(2 * this.count);
  }

  add(from, to, part, edge, latest, count, isDim) {
    const key = (from * 65536 + to) * 2 + part;
    let line = this.byEnds.get(key);
    if (!line) {
      line = this.list[this.count] ??= { from: 0, to: 0, allowed: 0, denied: 0, verdict: "", direction: "", at: 0, edge: null, isDim: true };
      this.count += 1;
      [line.from, line.to, line.allowed, line.denied, line.verdict, line.at, line.isDim] = [from, to, 0, 0, "allow", -Infinity, true];
      this.byEnds.set(key, line);
    }
    const isDenied = latest.verdict === "deny";
    if (isDenied) line.denied += count;
    else line.allowed += count;
    line.isDim &&= isDim;
    // The worst verdict gives the colour.
    const isWorse = isDenied && line.verdict !== "deny";
    if (!isWorse && (latest.verdict !== line.verdict || latest.at < line.at)) return;
    [line.verdict, line.direction, line.at, line.edge] = [latest.verdict, latest.direction, latest.at, edge];
  }

  /** Chooses the lines of a picture, of those that can be seen. */
  choose({ circles, view, width: wide, height: high }, margin, now) {
    const { heads, sizes, next, list } = this;
    heads.fill(-1);
    sizes.fill(0);
    const width = wide / 2 / view.scale + margin;
    const height = high / 2 / view.scale + margin;
    let seen = 0;
    for (let n = 0; n < this.count; n++) {
      const line = list[n];
      const x = circles[3 * line.from] - view.x;
      const toX = circles[3 * line.to] - view.x;
      const y = circles[3 * line.from + 1] - view.y;
      const toY = circles[3 * line.to + 1] - view.y;
      if ((x < -width && toX < -width) || (x > width && toX > width) || (y < -height && toY < -height) || (y > height && toY > height)) continue;
      const bucket = bucketOf(line, now);
      next[n] = heads[bucket];
      heads[bucket] = n;
      sizes[bucket] += 1;
      seen += 1;
    }
    let room = MAX_LINES;
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      sizes[bucket] = Math.min(sizes[bucket], room);
      room -= sizes[bucket];
    }
    [this.shown, this.leftOut] = [MAX_LINES - room, seen - MAX_LINES + room];
  }

  /** Calls for each line that was chosen. */
  each(take) {
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      for (let n = this.heads[bucket], left = this.sizes[bucket]; left > 0; left--, n = this.next[n]) take(this.list[n]);
    }
  }
}

function bucketOf({ isDim, verdict, at, allowed, denied }, now) {
  let age = 0;
  while (now - at >= AGES[age] * 1000) age++;
  let width = 0;
  while (width < COUNTS.length && allowed + denied >= COUNTS[width]) width++;
  return (((isDim ? 2 : 0) + (verdict === "deny" ? 0 : 1)) * AGES.length + age) * WIDTHS.length + WIDTHS.length - 1 - width;
}
