// The map: groups, pods and connections on a canvas, drawn only when something has changed.

import { plain } from "./elements.js";
import { isolationKind } from "./cluster.js";

const POD_RADIUS = 9;
const MIN_SCALE = 0.02;
const MAX_SCALE = 4;
// How close to a pod or an edge a pointer must be, in pixels.
const REACH = 14;
const REACH_EDGE = 7;
// How long a packet is on its way on the map, in milliseconds.
const PULSE = 900;
const MAX_PULSES = 120;
// Edges fade with the time since their last connection, in seconds.
const AGES = [[3, 1], [15, 0.75], [60, 0.45], [Infinity, 0.2]];
// Pods are labelled where there is room for it.
const LABEL_SCALE = 0.75;
const MAX_LABELS = 160;

const COLOURS = ["ground", "panel", "line", "ink", "soft", "accent", "deny", "allow", "group", "group-line", "pod", "pod-one", "pod-open"];

export class ClusterMap {
  constructor(canvas, tip, onpick) {
    [this.canvas, this.tip, this.onpick] = [canvas, tip, onpick];
    this.context = canvas.getContext("2d");
    this.worker = new Worker("/page/layout.js");
    this.worker.onmessage = ({ data }) => this.placed(data);
    this.version = 0;
    this.shape = { groups: [], places: [], links: [] };
    [this.circles, this.index, this.pulses] = [new Float32Array(), new Map(), []];
    this.edges = [];
    this.view = { x: 0, y: 0, scale: 1 };
    this.isFitted = true;
    this.selected = null;
    this.words = () => true;
    this.frames = 0;
    new ResizeObserver(() => this.resize()).observe(canvas);
    this.readColours();
    this.listen();
    // Edges fade.
    setInterval(() => this.draw(), 1000);
  }

  readColours() {
    const style = getComputedStyle(document.documentElement);
    this.colours = Object.fromEntries(COLOURS.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
    this.font = getComputedStyle(document.body).fontFamily;
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
    const groups = shape.groups.map(({ id, size }) => ({ id, size }));
    this.worker.postMessage({ version: this.version, groups, pods: shape.places, links: shape.links });
  }

  placed({ version, circles, places }) {
    if (version !== this.version) return;
    const isFirst = this.shape !== this.nextShape;
    this.shape = this.nextShape;
    this.circles = circles;
    if (isFirst) {
      this.index = new Map(this.shape.places.map(({ id }, n) => [id, n]));
      this.members = this.shape.groups.flatMap(({ members }) => members);
    }
    this.places = places;
    if (this.isFitted) this.fit();
    this.draw();
  }

  setEdges(edges) {
    this.edges = edges;
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

  /** Brings a pod to the middle. */
  show(id) {
    const at = this.at(id);
    if (!at) return;
    this.isFitted = false;
    this.view.scale = Math.max(this.view.scale, 1);
    [this.view.x, this.view.y] = [at.x, at.y];
    this.draw();
  }

  highlight(matches) {
    this.words = matches;
    this.draw();
  }

  at(id) {
    const n = this.index.get(id);
    return n === undefined || !this.places ? null : { x: this.places[2 * n], y: this.places[2 * n + 1] };
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
    const { context, canvas, view, density } = this;
    const scale = view.scale * density;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.setTransform(scale, 0, 0, scale, canvas.width / 2 - view.x * scale, canvas.height / 2 - view.y * scale);
    this.drawGroups();
    if (!this.places) return;
    this.drawEdges();
    this.drawPods();
    this.drawPulses();
    this.drawLabels();
    if (this.pulses.length > 0) this.draw();
  }

  drawGroups() {
    const { context, colours, circles } = this;
    context.lineWidth = 1.2 / Math.max(this.view.scale, 0.5);
    this.shape.groups.forEach((group, n) => {
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

  /** The curve of an edge: its ends, the point that bends it, and where a packet that is denied stops. */
  curve(edge) {
    const [from, to] = [this.at(edge.from), this.at(edge.to)];
    if (!from || !to || edge.from === edge.to) return null;
    const [dx, dy] = [to.x - from.x, to.y - from.y];
    const far = Math.hypot(dx, dy) || 1;
    const bend = Math.min(26, far * 0.14);
    const middle = { x: (from.x + to.x) / 2 - (dy / far) * bend, y: (from.y + to.y) / 2 + (dx / far) * bend };
    const stop = Math.min(0.45, (POD_RADIUS + 7) / far);
    return { from, to, middle, bar: edge.direction === "egress" ? stop : 1 - stop };
  }

  drawEdges() {
    const { context, colours } = this;
    const now = Date.now();
    const buckets = new Map();
    for (const edge of this.edges) {
      const curve = this.curve(edge);
      if (!curve) continue;
      const verdict = edge.at.deny >= edge.at.allow ? "deny" : "allow";
      const age = AGES.findIndex(([seconds]) => (now - edge.at[verdict]) / 1000 < seconds);
      const isOfSelected = this.selected === null || [edge.from, edge.to, edge.key].includes(this.selected);
      const alpha = AGES[age][1] * (isOfSelected ? 1 : 0.2);
      const key = `${verdict} ${alpha}`;
      if (!buckets.has(key)) buckets.set(key, { verdict, alpha, width: age === 0 ? 2.4 : 1.6, curves: [] });
      buckets.get(key).curves.push(curve);
    }
    const thin = 1 / Math.max(this.view.scale, 0.6);
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

  drawPods() {
    const { context, colours, places, members } = this;
    const buckets = { both: [], one: [], open: [], outside: [], dim: [] };
    members.forEach((member, n) => {
      const kind = !member.namespace ? "outside" : this.words(member) ? isolationKind(member) : "dim";
      buckets[kind].push(n);
    });
    const each = (list, radius) => {
      context.beginPath();
      for (const n of list) {
        context.moveTo(places[2 * n] + radius, places[2 * n + 1]);
        context.arc(places[2 * n], places[2 * n + 1], radius, 0, 2 * Math.PI);
      }
    };
    context.lineWidth = 2;
    for (const [kind, list] of Object.entries(buckets)) {
      if (list.length === 0) continue;
      context.globalAlpha = kind === "dim" ? 0.25 : 1;
      each(list, kind === "outside" ? POD_RADIUS * 0.7 : POD_RADIUS);
      context.fillStyle = kind === "both" ? colours.pod : colours.panel;
      context.strokeStyle = kind === "open" || kind === "dim" || kind === "outside" ? colours["pod-open"] : colours.pod;
      context.fill();
      context.stroke();
      if (kind === "one") this.fillHalves(list);
    }
    context.globalAlpha = 1;
    const selected = this.at(this.selected);
    if (selected) {
      context.beginPath();
      context.arc(selected.x, selected.y, POD_RADIUS + 5, 0, 2 * Math.PI);
      context.strokeStyle = colours.ink;
      context.stroke();
    }
  }

  /** The upper half stands for ingress, the lower for egress. */
  fillHalves(list) {
    const { context, places, members } = this;
    context.beginPath();
    for (const n of list) {
      const isIngress = members[n].isolation.ingress.policies.length > 0;
      context.moveTo(places[2 * n] + POD_RADIUS, places[2 * n + 1]);
      context.arc(places[2 * n], places[2 * n + 1], POD_RADIUS, 0, Math.PI, isIngress);
    }
    context.fillStyle = this.colours.pod;
    context.fill();
  }

  drawPulses() {
    const { context, colours } = this;
    const now = performance.now();
    this.pulses = this.pulses.filter(({ start }) => now - start < PULSE);
    for (const { edge, verdict, start } of this.pulses) {
      const curve = this.curve(edge);
      if (!curve) continue;
      const part = (now - start) / PULSE;
      const stop = verdict === "deny" ? curve.bar : 1;
      const at = along(curve, Math.min(part * 1.5, 1) * stop);
      context.globalAlpha = part < 0.66 ? 1 : Math.max(0, 3 - 3 * part);
      context.fillStyle = colours[verdict];
      context.beginPath();
      context.arc(at.x, at.y, part < 0.66 ? 3.5 : 3.5 + (part - 0.66) * 18, 0, 2 * Math.PI);
      context.fill();
    }
    context.globalAlpha = 1;
  }

  drawLabels() {
    const { context, colours, density, view, canvas } = this;
    context.setTransform(density, 0, 0, density, 0, 0);
    const toScreen = (x, y) => [(x - view.x) * view.scale + canvas.clientWidth / 2, (y - view.y) * view.scale + canvas.clientHeight / 2];
    context.textAlign = "center";
    const write = (text, x, y, most) => {
      const shown = fitText(context, text, most);
      context.lineWidth = 3.5;
      context.strokeText(shown, x, y);
      context.fillText(shown, x, y);
    };
    context.lineJoin = "round";
    context.strokeStyle = colours.ground;
    this.shape.groups.forEach((group, n) => {
      const [x, y, radius] = this.circles.subarray(3 * n, 3 * n + 3);
      const [left, top] = toScreen(x, y - radius);
      if (radius * view.scale < 9) return;
      context.font = `600 13px ${this.font}`;
      context.fillStyle = group.isOutside ? colours.soft : colours.ink;
      write(group.name, left, top - 7, Math.max(radius * view.scale * 2.1, 70));
    });
    if (view.scale < LABEL_SCALE) return;
    context.font = `12px ${this.font}`;
    let room = MAX_LABELS;
    this.members.forEach((member, n) => {
      const [x, y] = toScreen(this.places[2 * n], this.places[2 * n + 1]);
      if (x < -50 || y < -20 || x > canvas.clientWidth + 50 || y > canvas.clientHeight + 20 || room-- <= 0) return;
      context.fillStyle = this.words(member) ? colours.ink : colours.soft;
      write(member.name, x, y + POD_RADIUS * view.scale + 14, Math.max(60, 58 * view.scale));
    });
  }

  /** What is under the pointer: a pod or another end, or else an edge. */
  under(x, y) {
    if (!this.places) return null;
    const { x: worldX, y: worldY } = this.toWorld(x, y);
    const distance = (at) => Math.hypot(at.x - worldX, at.y - worldY) * this.view.scale;
    let [best, found] = [Math.max(REACH, POD_RADIUS * this.view.scale + 3), null];
    this.members.forEach((member, n) => {
      const far = distance({ x: this.places[2 * n], y: this.places[2 * n + 1] });
      if (far < best) [best, found] = [far, { member }];
    });
    if (found) return found;
    best = REACH_EDGE;
    for (const edge of this.edges) {
      const curve = this.curve(edge);
      for (let part = 0.05; curve && part < 1; part += 0.05) {
        const far = distance(along(curve, part));
        if (far < best) [best, found] = [far, { edge }];
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
    this.tip.textContent = plain(found.member ? name(found.member.id) : `${name(found.edge.from)} → ${name(found.edge.to)}`);
    this.tip.style.left = `${Math.min(offsetX + 14, this.canvas.clientWidth - 180)}px`;
    this.tip.style.top = `${offsetY + 14}px`;
  }
}

function along({ from, middle, to }, part) {
  const rest = 1 - part;
  const point = (axis) => rest * rest * from[axis] + 2 * rest * part * middle[axis] + part * part * to[axis];
  return { x: point("x"), y: point("y") };
}

/** Where and in which direction the curve stands. */
function tangent(curve, part) {
  const [at, next] = [along(curve, part), along(curve, Math.min(part + 0.01, 1.01))];
  const far = Math.hypot(next.x - at.x, next.y - at.y) || 1;
  return { at, x: (next.x - at.x) / far, y: (next.y - at.y) / far };
}

function bar(context, curve) {
  const { at, x, y } = tangent(curve, curve.bar);
  context.moveTo(at.x - y * 5, at.y + x * 5);
  context.lineTo(at.x + y * 5, at.y - x * 5);
}

function arrow(context, curve) {
  const { at, x, y } = tangent(curve, curve.bar);
  context.moveTo(at.x - x * 7 - y * 4, at.y - y * 7 + x * 4);
  context.lineTo(at.x, at.y);
  context.lineTo(at.x - x * 7 + y * 4, at.y - y * 7 - x * 4);
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
