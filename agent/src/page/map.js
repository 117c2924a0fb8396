// The map: what stands where, what is looked at, and what the pointer meets. It is drawn only when something has changed.

import { count, plain } from "./elements.js";
import { along, newCurve, setCurve } from "./edges.js";
import { PULSE, draw, readColours } from "./drawing.js";
import { Lines, NAMESPACES, PODS, WORKLOADS } from "./lines.js";
import { POD_RADIUS, Sprites, isFew, kindsOf } from "./pods.js";

const MIN_SCALE = 0.02;
const MAX_SCALE = 4;
// How close to a pod or a line a pointer must be, in pixels.
const REACH = 14;
const REACH_LINE = 7;
const MAX_PULSES = 120;
// How long it takes to move to another place, in milliseconds.
const MOVE = 400;
// Below this scale workloads are drawn in the place of their pods; where there are few pods, later;
const GATHERED_SCALE = 0.5;
const GATHERED_SCALE_OF_FEW = 0.25;
// below this one lines go from namespace to namespace.
const NAMESPACE_SCALE = 0.2;
// In pixels, what the map leaves free for the names above it, for the legend below it, which takes two lines on a narrow screen, and at the sides.
const [ABOVE, BELOW, BELOW_NARROW, BESIDE] = [34, 40, 64, 40];
const NARROW = 600;
// How often what is said about the picture changes, in milliseconds.
const SAID_EVERY = 500;

export class ClusterMap {
  /** `onpick` is called with what the pointer chose, `onlines` with the numbers of lines that are shown and left out. */
  constructor(canvas, tip, onpick, onlines) {
    [this.canvas, this.tip, this.onpick, this.onlines] = [canvas, tip, onpick, onlines];
    this.context = canvas.getContext("2d");
    this.worker = new Worker("/page/layout.js");
    this.worker.onmessage = ({ data }) => this.placed(data);
    [this.nextShape, this.waiting] = [null, null];
    this.shape = { groups: [], workloads: [], places: [], links: [] };
    // Of each pod, then each workload, then each group: x, y and the radius.
    this.circles = new Float32Array();
    [this.index, this.members, this.kinds, this.pulses] = [new Map(), [], null, []];
    [this.edges, this.lines, this.curve, this.sprites] = [new Map(), new Lines(), newCurve(), new Sprites()];
    this.view = { x: 0, y: 0, scale: 1 };
    [this.width, this.height, this.density] = [0, 0, 1];
    this.isFitted = true;
    [this.selected, this.marked] = [null, null];
    this.words = () => true;
    [this.frames, this.saidAt] = [0, -Infinity];
    [this.frame, this.drawSoon] = [null, () => this.drawNow()];
    new ResizeObserver(() => this.resize()).observe(canvas);
    this.readColours();
    this.listen();
    // Lines fade.
    setInterval(() => this.draw(), 1000);
  }

  readColours() {
    Object.assign(this, readColours());
    this.draw();
  }

  resize() {
    const { clientWidth, clientHeight } = this.canvas;
    // Asked for once: the browser may have to lay out the page for an answer.
    [this.width, this.height] = [clientWidth, clientHeight];
    this.density = Math.min(window.devicePixelRatio || 1, 2);
    this.canvas.width = Math.max(1, Math.round(clientWidth * this.density));
    this.canvas.height = Math.max(1, Math.round(clientHeight * this.density));
    if (this.isFitted) this.fit();
    this.drawNow();
  }

  /** Lays out what there is now; while this is under way, the latest shape waits. */
  arrange(shape) {
    if (this.nextShape) {
      this.waiting = shape;
      return;
    }
    this.nextShape = shape;
    const groups = shape.groups.map(({ id }) => ({ id }));
    const workloads = shape.workloads.map(({ id, group, members }) => ({ id, group, size: members.length }));
    this.worker.postMessage({ groups, workloads, places: shape.places, links: shape.links });
  }

  /** Takes over a layout: the first one comes twice, roughly and then settled. */
  placed({ circles, isSettled }) {
    const ids = ({ places, workloads, groups }) => [...places, ...workloads, ...groups].map(({ id }) => id);
    const before = this.circles.length > 0 && !this.isStill && new Map(ids(this.shape).map((id, n) => [id, n]));
    if (before) {
      const from = circles.slice();
      ids(this.nextShape).forEach((id, n) => before.has(id) && from.set(this.circles.subarray(3 * before.get(id), 3 * before.get(id) + 2), 3 * n));
      this.moving = { from, to: circles, start: performance.now() };
      this.circles = from.slice();
    } else {
      this.circles = circles;
    }
    this.shape = this.nextShape;
    this.index = new Map(this.shape.places.map(({ id }, n) => [id, n]));
    this.members = this.shape.groups.flatMap(({ members }) => members);
    this.isSettled = isSettled;
    this.changed();
    if (this.isFitted) this.fit();
    if (!isSettled) return;
    this.nextShape = null;
    const { waiting } = this;
    this.waiting = null;
    if (waiting) this.arrange(waiting);
  }

  /** Draws what has changed. */
  changed() {
    this.kinds = null;
    this.lines.isStale = true;
    this.draw();
  }

  /** Brings circles nearer to where they are to stand. */
  approach() {
    if (!this.moving) return;
    const { from, to, start } = this.moving;
    const part = Math.min(1, (performance.now() - start) / MOVE);
    const eased = 1 - (1 - part) ** 3;
    for (let n = 0; n < to.length; n++) this.circles[n] = from[n] + (to[n] - from[n]) * eased;
    if (part === 1) this.moving = null;
  }

  /** Takes edges by their keys, which may change later: then it is to be called again. */
  setEdges(edges) {
    this.edges = edges;
    this.lines.isStale = true;
    this.draw();
  }

  pulse(edge, verdict) {
    if (this.pulses.length < MAX_PULSES && !this.isStill) this.pulses.push({ edge, verdict, start: performance.now() });
    this.draw();
  }

  select(id) {
    this.selected = id;
    this.changed();
  }

  /** Marks pods, as those that a policy selects; `null` marks none. */
  mark(ids) {
    this.marked = ids && new Set(ids);
    this.changed();
  }

  /** Brings a pod, or a group, to the middle. */
  show(id) {
    const group = this.shape.groups.findIndex((it) => it.id === id);
    const n = group < 0 ? this.index.get(id) : this.firstGroup + group;
    if (n === undefined || n >= this.circles.length / 3) return;
    this.isFitted = false;
    this.view.scale = group < 0 ? Math.max(this.view.scale, 1) : Math.min(1.9, Math.min(this.width, this.height) / (2.4 * this.circles[3 * n + 2]));
    [this.view.x, this.view.y] = [this.circles[3 * n], this.circles[3 * n + 1]];
    this.draw();
  }

  highlight(matches) {
    this.words = matches;
    this.changed();
  }

  /** The number of the first workload's circle. */
  get firstWorkload() {
    return this.shape.places.length;
  }

  /** The number of the first group's circle. */
  get firstGroup() {
    return this.shape.places.length + this.shape.workloads.length;
  }

  /** Whether workloads stand for their pods, which are too small to be seen. */
  get isGathered() {
    return this.view.scale < (isFew(this.shape) ? GATHERED_SCALE_OF_FEW : GATHERED_SCALE) && this.shape.workloads.length < this.shape.places.length;
  }

  /** What lines connect at this distance. */
  get level() {
    if (this.view.scale < NAMESPACE_SCALE && this.shape.groups.length > 1) return NAMESPACES;
    return this.isGathered ? WORKLOADS : PODS;
  }

  /** The number of the circle where a line from or to this pod ends, which depends on the other end; -1 if it has none. */
  end(id, other, level) {
    const n = this.index.get(id);
    if (n === undefined) return -1;
    if (level === PODS) return n;
    const { places, workloads } = this.shape;
    const at = places[n].workload;
    const { group } = workloads[at];
    const otherAt = this.index.get(other);
    const isInside = otherAt === undefined || workloads[places[otherAt].workload].group === group;
    if (level === NAMESPACES && !isInside) return this.firstGroup + group;
    return this.isGathered ? this.firstWorkload + at : n;
  }

  /** Whether some of a circle can be seen, with so many pixels around it. */
  isSeen(n, margin) {
    const { circles, view } = this;
    const far = 2 * (circles[3 * n + 2] + margin / view.scale);
    return 2 * Math.abs(circles[3 * n] - view.x) < this.width / view.scale + far && 2 * Math.abs(circles[3 * n + 1] - view.y) < this.height / view.scale + far;
  }

  /** Whether an edge is none of what is selected or marked. */
  isDim({ from, to, key }) {
    if (this.marked) return !this.marked.has(from) && !this.marked.has(to);
    return this.selected !== null && from !== this.selected && to !== this.selected && key !== this.selected;
  }

  /** Sets the curve between two circles. */
  curveBetween(from, to, verdict, direction) {
    return setCurve(this.curve, this.circles, from, to, verdict, direction, this.view.scale, from >= this.firstGroup);
  }

  fit() {
    let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
    const { circles } = this.moving ? { circles: this.moving.to } : this;
    for (let n = 3 * this.firstGroup; n < circles.length; n += 3) {
      const [x, y, radius] = circles.subarray(n, n + 3);
      [left, right] = [Math.min(left, x - radius), Math.max(right, x + radius)];
      [top, bottom] = [Math.min(top, y - radius), Math.max(bottom, y + radius)];
    }
    this.isFitted = true;
    if (left > right) return;
    const below = this.width < NARROW ? BELOW_NARROW : BELOW;
    const scale = Math.max(MIN_SCALE, Math.min((this.width - BESIDE) / (right - left), (this.height - ABOVE - below) / (bottom - top), 1.9));
    this.view = { x: (left + right) / 2, y: (top + bottom) / 2 + (below - ABOVE) / 2 / scale, scale };
    this.draw();
  }

  zoom(factor, x = this.width / 2, y = this.height / 2) {
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
    return { x: (x - this.width / 2) / this.view.scale + this.view.x, y: (y - this.height / 2) / this.view.scale + this.view.y };
  }

  draw() {
    this.frame ??= requestAnimationFrame(this.drawSoon);
  }

  drawNow() {
    // One that is asked for would go on asking beside this one.
    cancelAnimationFrame(this.frame);
    this.frame = null;
    this.frames += 1;
    this.approach();
    const now = performance.now();
    while (this.pulses.length > 0 && now - this.pulses[0].start >= PULSE) this.pulses.shift();
    this.kinds ??= kindsOf(this);
    draw(this);
    if (this.circles.length > 0) this.say(now);
    if (this.pulses.length > 0 || this.moving) this.draw();
  }

  /** Says what of the lines is shown, and when there was a picture first. */
  say(now) {
    if (this.saidAt === -Infinity) performance.mark("first-picture");
    if (now - this.saidAt < SAID_EVERY) return;
    this.saidAt = now;
    this.onlines(this.lines);
  }

  /** What is under the pointer: a pod or another end, a workload, or else a line. */
  under(x, y) {
    if (this.circles.length === 0) return null;
    const { x: worldX, y: worldY } = this.toWorld(x, y);
    const { circles, view, firstWorkload } = this;
    const distance = (n) => Math.hypot(circles[3 * n] - worldX, circles[3 * n + 1] - worldY) * view.scale;
    if (this.isGathered) {
      const n = this.shape.workloads.findIndex((_, n) => distance(firstWorkload + n) < circles[3 * (firstWorkload + n) + 2] * view.scale);
      if (n >= 0) return { workload: this.shape.workloads[n] };
      return this.lineUnder(worldX, worldY) ?? this.titleUnder(x, y);
    }
    let [best, found] = [Math.max(REACH, POD_RADIUS * view.scale + 3), null];
    this.members.forEach((member, n) => {
      const far = distance(n);
      if (far < best) [best, found] = [far, { member }];
    });
    return found ?? this.lineUnder(worldX, worldY) ?? this.titleUnder(x, y);
  }

  /** A group whose name the pointer is on. */
  titleUnder(x, y) {
    const group = this.shape.groups.find((group, n) => {
      const at = 3 * (this.firstGroup + n);
      const left = (this.circles[at] - this.view.x) * this.view.scale + this.width / 2;
      const top = (this.circles[at + 1] - this.circles[at + 2] - this.view.y) * this.view.scale + this.height / 2;
      return !group.isOutside && Math.abs(x - left) < 60 && y < top && y > top - 24;
    });
    return group ? { group } : null;
  }

  lineUnder(x, y) {
    let [best, found] = [REACH_LINE / this.view.scale, null];
    this.lines.each((line) => {
      const curve = this.curveBetween(line.from, line.to, line.verdict, line.direction);
      for (let part = 0.05; part < 1; part += 0.05) {
        along(curve, part);
        const far = Math.hypot(curve.x - x, curve.y - y);
        if (far < best) [best, found] = [far, line];
      }
    });
    return found && { line: { ...found } };
  }

  /** What a circle stands for. */
  nameOf(n) {
    const { places, workloads, groups } = this.shape;
    if (n >= this.firstGroup) return groups[n - this.firstGroup].name;
    if (n < places.length) return places[n].id.replace(/^(pod|end) /, "");
    const { name, group } = workloads[n - places.length];
    return groups[group].isOutside ? name : `${groups[group].name}/${name}`;
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
    this.tip.textContent = plain(this.describe(found));
    this.tip.style.left = `${Math.min(offsetX + 14, this.width - 180)}px`;
    this.tip.style.top = `${offsetY + 14}px`;
  }

  describe({ member, workload, group, line }) {
    if (member) return member.id.replace(/^(pod|end) /, "");
    if (workload) return `${workload.name}: ${count(workload.members.length, "pod")}`;
    if (group) return group.id;
    const counts = [[line.denied, "denied"], [line.allowed, "allowed"]].filter(([many]) => many > 0);
    return `${this.nameOf(line.from)} → ${this.nameOf(line.to)}: ${counts.map(([many, what]) => `${many.toLocaleString("en")} ${what}`).join(", ")}`;
  }
}
