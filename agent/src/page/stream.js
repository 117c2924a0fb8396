// The list of connections, the latest first.

import { element, plain, replace, count } from "./elements.js";
import { endName, matchesFlow, portText, why } from "./cluster.js";

const MAX_ROWS = 200;
// How long the list rests for each row that it drew, in milliseconds, and at most: it leaves the time to the map.
const REST = 5;
const MAX_REST = 500;
// Of more new rows at a time, none stands out.
const MAX_NEW = 20;

const timeOf = (text) => {
  const date = new Date(text);
  return isNaN(date) ? plain(text, 20) : date.toLocaleTimeString("en-GB");
};

/** A flow as a button that opens it. */
export function flowRow(flow, onopen) {
  const name = (end) => element("span", { title: plain(`${endName(end)} (${end.address})`) }, plain(endName(end), 120));
  const times = flow.count > 1 ? `${flow.count.toLocaleString("en")}× · ${timeOf(flow.last_seen)}` : timeOf(flow.last_seen);
  return element(
    "button",
    { type: "button", class: `flow ${flow.verdict}${flow.divergence ? " divergence" : ""}`, "data-flow": flow.id, onclick: () => onopen(flow.id) },
    element("span", { class: "ends" }, name(flow.from), "→", name(flow.to), element("span", { class: "port" }, portText(flow))),
    element("span", { class: "meta" }, element("span", { class: `verdict ${flow.verdict}` }, flow.divergence ? "divergence" : flow.verdict), element("span", {}, flow.direction), element("span", { class: "times" }, times)),
    element("span", { class: "why" }, why(flow)),
  );
}

export class Stream {
  constructor({ list, count, quiet, pause, verdicts }, cluster, onopen) {
    Object.assign(this, { list, count, quiet, pause, verdicts, cluster, onopen });
    [this.rows, this.words, this.isPaused, this.held, this.dirty] = [new Map(), [], false, 0, new Map()];
    [this.verdict, this.restUntil] = ["", 0];
    pause.addEventListener("click", () => this.toggle());
    verdicts.addEventListener("click", ({ target }) => target.dataset.verdict !== undefined && this.only(target.dataset.verdict));
  }

  /** Shows connections of one verdict, or of both. */
  only(verdict) {
    this.verdict = verdict;
    for (const button of this.verdicts.querySelectorAll("button")) button.setAttribute("aria-pressed", button.dataset.verdict === verdict);
    this.drawAll();
  }

  /** The next choice of verdicts. */
  turn() {
    const all = ["", "deny", "allow"];
    this.only(all[(all.indexOf(this.verdict) + 1) % all.length]);
  }

  wants(flow) {
    return (this.verdict === "" || flow.verdict === this.verdict) && matchesFlow(flow, this.words);
  }

  toggle() {
    this.isPaused = !this.isPaused;
    this.pause.setAttribute("aria-pressed", this.isPaused);
    this.pause.textContent = this.isPaused ? "Go on" : "Pause";
    if (!this.isPaused) this.drawAll();
    else this.sum();
  }

  filter(words) {
    this.words = words;
    this.drawAll();
  }

  /** Shows a flow with the next picture, so that many at a time cost no more than one. */
  take(flow, isNew) {
    if (this.isPaused) {
      this.held += 1;
      return this.later();
    }
    this.dirty.delete(flow.id);
    this.dirty.set(flow.id, isNew);
    // A page that is hidden draws nothing.
    if (this.dirty.size > MAX_ROWS) this.dirty.delete(this.dirty.keys().next().value);
    this.later();
  }

  later() {
    if (this.isAsked) return;
    this.isAsked = true;
    const rest = this.restUntil - performance.now();
    if (rest > 0) setTimeout(() => requestAnimationFrame(() => this.drawNow()), rest);
    else requestAnimationFrame(() => this.drawNow());
  }

  drawNow() {
    this.isAsked = false;
    const rest = Math.min(MAX_REST, this.dirty.size * REST);
    if (!this.isPaused) this.drawDirty();
    this.sum();
    this.restUntil = performance.now() + rest;
  }

  drawDirty() {
    const isFew = this.dirty.size <= MAX_NEW;
    for (const [id, isNew] of [...this.dirty].slice(-MAX_ROWS)) {
      const flow = this.cluster.flows.get(id);
      if (!flow || !this.wants(flow)) continue;
      const row = this.row(flow);
      if (isNew && isFew) row.firstChild.classList.add("new");
      const before = this.rows.get(id);
      const hasFocus = before?.contains(document.activeElement);
      before?.remove();
      this.rows.delete(id);
      this.rows.set(id, row);
      this.list.prepend(row);
      if (hasFocus) row.firstChild.focus({ preventScroll: true });
    }
    this.dirty.clear();
    while (this.rows.size > MAX_ROWS) {
      const [oldest, row] = this.rows.entries().next().value;
      row.remove();
      this.rows.delete(oldest);
    }
  }

  row(flow) {
    const row = element("li", {}, flowRow(flow, this.onopen));
    if (flow.id === this.current) row.firstChild.setAttribute("aria-current", "true");
    return row;
  }

  drawAll() {
    this.rows.clear();
    this.dirty.clear();
    this.held = 0;
    const shown = [...this.cluster.flows.values()].filter((flow) => this.wants(flow)).slice(-MAX_ROWS);
    const rows = shown.map((flow) => [flow.id, this.row(flow)]);
    this.rows = new Map(rows);
    replace(this.list, ...rows.map(([, row]) => row).reverse());
    this.sum();
  }

  sum() {
    const { flows, missed } = this.cluster;
    const { allow, deny } = this.cluster.counts;
    const parts = [`${deny.toLocaleString("en")} denied, ${allow.toLocaleString("en")} allowed`];
    if (this.words.length > 0 || this.verdict !== "") parts.push(`${this.rows.size} shown`);
    if (this.isPaused) parts.push(`paused${this.held > 0 ? `, ${this.held} more` : ""}`);
    if (missed > 0) parts.push(`${missed} left out: this page was too slow`);
    this.count.textContent = parts.join(" · ");
    this.quiet.hidden = this.rows.size > 0;
    this.quiet.textContent = flows.size > 0 ? "Nothing matches the filter." : "No connection was seen yet. They appear here the moment they are made.";
  }

  /** Moves the focus to the next or previous row. */
  step(by) {
    const rows = [...this.list.querySelectorAll(".flow")];
    const at = rows.indexOf(document.activeElement);
    const next = rows[at < 0 ? 0 : Math.min(rows.length - 1, Math.max(0, at + by))];
    next?.focus();
    next?.scrollIntoView({ block: "nearest" });
  }

  mark(id) {
    this.current = id;
    this.list.querySelectorAll("[aria-current]").forEach((row) => row.removeAttribute("aria-current"));
    this.rows.get(id)?.firstChild.setAttribute("aria-current", "true");
  }
}
