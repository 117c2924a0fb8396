// The map: what stands where, what is looked at, and what the pointer meets. It is drawn only when something has changed.

import { plain } from "./elements.js";
import { sumUp } from "./cluster.js";
import { along, curveOf } from "./edges.js";
import { POD_RADIUS, PULSE, draw, readColours } from "./drawing.js";

const MIN_SCALE = 0.02;
const MAX_SCALE = 4;
// How close to a pod or an edge a pointer must be, in pixels.
const REACH = 14;
const REACH_EDGE = 7;
const MAX_PULSES = 120;
// How long it takes to move to another place, in milliseconds.
const MOVE = 400;
// Below this scale workloads are drawn in the place of their pods.
const GATHERED_SCALE = 0.5;

export class ClusterMap {
  constructor(canvas, tip, onpick) {
    [this.canvas, this.tip, this.onpick] = [canvas, tip, onpick];
    this.context = canvas.getContext("2d");
    this.worker = new Worker("/page/layout.js");
    this.worker.onmessage = ({ data }) => this.placed(data);
    this.version = 0;
    this.shape = { groups: [], workloads: [], places: [], links: [] };
    [this.circles, this.index, this.members, this.pulses] = [new Float32Array(), new Map(), [], []];
    [this.edges, this.gathered] = [[], null];
    this.view = { x: 0, y: 0, scale: 1 };
    this.isFitted = true;
    [this.selected, this.marked] = [null, null];
    this.words = () => true;
    this.frames = 0;
    new ResizeObserver(() => this.resize()).observe(canvas);
    this.readColours();
    this.listen();
    // Edges fade.
    setInterval(() => this.draw(), 1000);
  }

  readColours() {
    Object.assign(this, readColours());
    this.draw();
  }

  resize() {
    const { clientWidth, clientHeight } = this.canvas;
    this.density = Math.min(window.devicePixelRatio || 1, 2);
    this.canvas.width = Math.max(1, Math.round(clientWidth * this.density));
    this.canvas.height = Math.max(1, Math.round(clientHeight * this.density));
    if (this.isFitted) this.fit();
    this.drawNow();
  }

  /** Lays out what there is now. */
  arrange(shape) {
    this.nextShape = shape;
    this.version += 1;
    const groups = shape.groups.map(({ id }) => ({ id }));
    const workloads = shape.workloads.map(({ id, group, members }) => ({ id, group, size: members.length }));
    this.worker.postMessage({ version: this.version, groups, workloads, places: shape.places, links: shape.links });
  }

  placed({ version, circles, workloads, places }) {
    if (version !== this.version) return;
    const before = this.places && new Map(this.shape.places.map(({ id }, n) => [id, [this.places[2 * n], this.places[2 * n + 1]]]));
    this.shape = this.nextShape;
    [this.circles, this.workloads] = [circles, workloads];
    this.index = new Map(this.shape.places.map(({ id }, n) => [id, n]));
    this.members = this.shape.groups.flatMap(({ members }) => members);
    this.places = places;
    this.gathered = null;
    if (before && !this.isStill) {
      const from = Float32Array.from(this.shape.places.flatMap(({ id }, n) => before.get(id) ?? [places[2 * n], places[2 * n + 1]]));
      this.moving = { from, to: places, start: performance.now() };
      this.places = from.slice();
    }
    if (this.isFitted) this.fit();
    this.draw();
  }

  /** Brings pods nearer to where they are to stand. */
  approach() {
    if (!this.moving) return;
    const { from, to, start } = this.moving;
    const part = Math.min(1, (performance.now() - start) / MOVE);
    const eased = 1 - (1 - part) ** 3;
    for (let n = 0; n < to.length; n++) this.places[n] = from[n] + (to[n] - from[n]) * eased;
    if (part === 1) this.moving = null;
  }

  setEdges(edges) {
    this.edges = edges;
    this.gathered = null;
    this.draw();
  }

  pulse(edge, verdict) {
    if (this.pulses.length < MAX_PULSES && !this.isStill) this.pulses.push({ edge, verdict, start: performance.now() });
    this.draw();
  }

  select(id) {
    this.selected = id;
    this.draw();
  }

  /** Marks pods, as those that a policy selects; `null` marks none. */
  mark(ids) {
    this.marked = ids && new Set(ids);
    this.draw();
  }

  /** Brings a pod, or a group, to the middle. */
  show(id) {
    const group = this.shape.groups.findIndex((it) => it.id === id);
    const [x, y, radius] = group < 0 ? [] : this.circles.subarray(3 * group, 3 * group + 3);
    const at = this.at(id) ?? (group < 0 ? null : { x, y });
    if (!at) return;
    const { clientWidth, clientHeight } = this.canvas;
    this.isFitted = false;
    this.view.scale = radius ? Math.min(1.9, Math.min(clientWidth, clientHeight) / (2.4 * radius)) : Math.max(this.view.scale, 1);
    [this.view.x, this.view.y] = [at.x, at.y];
    this.draw();
  }

  highlight(matches) {
    this.words = matches;
    this.draw();
  }

  at(id) {
    const n = this.index.get(id);
    return n === undefined || !this.places ? null : { x: this.places[2 * n], y: this.places[2 * n + 1], radius: POD_RADIUS };
  }

  workloadAt(n) {
    const [x, y, radius] = this.workloads.subarray(3 * n, 3 * n + 3);
    return { x, y, radius };
  }

  /** Whether workloads stand for their pods, which are too small to be seen. */
  get isGathered() {
    return this.view.scale < GATHERED_SCALE && this.shape.workloads.length < this.shape.places.length;
  }

  /** Edges between workloads, of those between their pods. */
  gather() {
    const sums = new Map();
    for (const edge of this.edges) {
      const [from, to] = [edge.from, edge.to].map((id) => this.shape.places[this.index.get(id)]?.workload);
      if (from === undefined || to === undefined || from === to) continue;
      const key = `${from} ${to}`;
      const sum = sums.get(key) ?? { key: edge.key, workloads: [from, to], ports: [], from: edge.from, to: edge.to };
      sum.ports.push(...[edge.allow, edge.deny].filter((port) => port));
      sums.set(key, sum);
    }
    return [...sums.values()].map((sum) => sumUp(sum, sum.ports));
  }

  /** What is drawn of connections at this distance. */
  get shownEdges() {
    return this.isGathered ? (this.gathered ??= this.gather()) : this.edges;
  }

  curve(edge, verdict) {
    const [from, to] = edge.workloads ? edge.workloads.map((n) => this.workloadAt(n)) : [this.at(edge.from), this.at(edge.to)];
    return !from || !to || edge.from === edge.to ? null : curveOf(from, to, verdict, edge[verdict]?.direction);
  }

  fit() {
    let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
    for (let n = 0; n < this.circles.length; n += 3) {
      const [x, y, radius] = this.circles.subarray(n, n + 3);
      [left, right] = [Math.min(left, x - radius), Math.max(right, x + radius)];
      [top, bottom] = [Math.min(top, y - radius - 24), Math.max(bottom, y + radius)];
    }
    this.isFitted = true;
    if (left > right) return;
    const { clientWidth, clientHeight } = this.canvas;
    const scale = Math.min((clientWidth - 40) / (right - left), (clientHeight - 70) / (bottom - top), 1.9);
    this.view = { x: (left + right) / 2, y: (top + bottom) / 2 + 8 / scale, scale: Math.max(scale, MIN_SCALE) };
    this.draw();
  }

  zoom(factor, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    const before = this.toWorld(x, y);
    this.view.scale = Math.min(MAX_SCALE, Math.max(MIN_SCALE, this.view.scale * factor));
    const after = this.toWorld(x, y);
    this.move(before.x - after.x, before.y - after.y);
  }

  move(x, y) {
    this.isFitted = false;
    this.view.x += x;
    this.view.y += y;
    this.draw();
  }

  toWorld(x, y) {
    const { clientWidth, clientHeight } = this.canvas;
    return { x: (x - clientWidth / 2) / this.view.scale + this.view.x, y: (y - clientHeight / 2) / this.view.scale + this.view.y };
  }

  draw() {
    if (this.isAsked) return;
    this.isAsked = true;
    requestAnimationFrame(() => this.drawNow());
  }

  drawNow() {
    this.isAsked = false;
    this.frames += 1;
    this.approach();
    const now = performance.now();
    this.pulses = this.pulses.filter(({ start }) => now - start < PULSE);
    draw(this);
    if (this.pulses.length > 0 || this.moving) this.draw();
  }

  /** What is under the pointer: a pod or another end, a workload, or else an edge. */
  under(x, y) {
    if (!this.places) return null;
    const { x: worldX, y: worldY } = this.toWorld(x, y);
    const distance = (at) => Math.hypot(at.x - worldX, at.y - worldY) * this.view.scale;
    if (this.isGathered) {
      const n = this.shape.workloads.findIndex((_, n) => distance(this.workloadAt(n)) < this.workloadAt(n).radius * this.view.scale);
      if (n >= 0) return { workload: this.shape.workloads[n] };
      return this.edgeUnder(distance) ?? this.titleUnder(x, y);
    }
    let [best, found] = [Math.max(REACH, POD_RADIUS * this.view.scale + 3), null];
    this.members.forEach((member, n) => {
      const far = distance({ x: this.places[2 * n], y: this.places[2 * n + 1] });
      if (far < best) [best, found] = [far, { member }];
    });
    return found ?? this.edgeUnder(distance) ?? this.titleUnder(x, y);
  }

  /** A group whose name the pointer is on. */
  titleUnder(x, y) {
    const { clientWidth, clientHeight } = this.canvas;
    const group = this.shape.groups.find((group, n) => {
      const [middle, centre, radius] = this.circles.subarray(3 * n, 3 * n + 3);
      const left = (middle - this.view.x) * this.view.scale + clientWidth / 2;
      const top = (centre - radius - this.view.y) * this.view.scale + clientHeight / 2;
      return !group.isOutside && Math.abs(x - left) < 60 && y < top && y > top - 24;
    });
    return group ? { group } : null;
  }

  edgeUnder(distance) {
    let [best, found] = [REACH_EDGE, null];
    for (const edge of this.shownEdges) {
      for (const verdict of ["allow", "deny"].filter((it) => edge[it])) {
        const curve = this.curve(edge, verdict);
        for (let part = 0.05; curve && part < 1; part += 0.05) {
          const far = distance(along(curve, part));
          if (far < best) [best, found] = [far, { edge, verdict }];
        }
      }
    }
    return found;
  }

  listen() {
    const { canvas } = this;
    const pointers = new Map();
    let moved = 0;
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, event);
      if (pointers.size === 1) moved = 0;
    });
    canvas.addEventListener("pointermove", (event) => {
      const before = pointers.get(event.pointerId);
      if (!before) return this.hover(event);
      const others = [...pointers.values()].filter(({ pointerId }) => pointerId !== event.pointerId);
      const [dx, dy] = [event.clientX - before.clientX, event.clientY - before.clientY];
      moved += Math.abs(dx) + Math.abs(dy);
      if (others.length > 0) {
        const far = (one) => Math.hypot(one.clientX - others[0].clientX, one.clientY - others[0].clientY) || 1;
        this.zoom(far(event) / far(before), event.offsetX, event.offsetY);
      } else if (moved > 4) {
        this.move(-dx / this.view.scale, -dy / this.view.scale);
      }
      pointers.set(event.pointerId, event);
    });
    const end = (event) => {
      if (pointers.delete(event.pointerId) && event.type === "pointerup" && moved <= 4) this.onpick(this.under(event.offsetX, event.offsetY));
    };
    canvas.addEventListener("pointerup", end);
    canvas.addEventListener("pointercancel", end);
    canvas.addEventListener("pointerleave", () => (this.tip.hidden = true));
    canvas.addEventListener("dblclick", () => this.fit());
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY * (event.deltaMode === 1 ? 0.05 : 0.0015)), event.offsetX, event.offsetY);
    }, { passive: false });
  }

  hover({ offsetX, offsetY }) {
    const found = this.under(offsetX, offsetY);
    this.canvas.style.cursor = found ? "pointer" : "grab";
    this.tip.hidden = !found;
    if (!found) return;
    const name = (id) => id.replace(/^(pod|end) /, "");
    const { member, workload, group, edge, verdict } = found;
    const text = member ? name(member.id) : group ? group.id : workload ? `${workload.name}: ${workload.members.length} pods` : `${name(edge.from)} → ${name(edge.to)}: ${verdict}`;
    this.tip.textContent = plain(text);
    this.tip.style.left = `${Math.min(offsetX + 14, this.canvas.clientWidth - 180)}px`;
    this.tip.style.top = `${offsetY + 14}px`;
  }
}
