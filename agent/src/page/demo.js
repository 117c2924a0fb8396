// The live demo: edits of policies and labels, and the tour. Its token stands in the page's address; without it there is no demo.

import { element, plain, replace } from "./elements.js";
import { diagnosticItems } from "./what_if.js";

const KEPT_TOKEN = "palisade-demo";
const GIVEN = /^#demo=([0-9a-f]+)$/;
// How often the tour is looked at, which goes on in the terminal too.
const LOOK_EVERY = 2000;

const labelText = (labels) => Object.entries(labels).map(([key, value]) => `${key}=${value}`).join(", ");

/** `app=web, tier=front` as an object. */
function parseLabels(text) {
  const pairs = text.split(",").map((part) => part.trim()).filter((part) => part);
  return Object.fromEntries(pairs.map((pair) => [pair.split("=", 1)[0].trim(), pair.includes("=") ? pair.slice(pair.indexOf("=") + 1).trim() : ""]));
}

export class Demo {
  /** The demo, if the page was opened by its address. */
  static find(panel, cluster) {
    const given = GIVEN.exec(location.hash);
    if (given) {
      sessionStorage.setItem(KEPT_TOKEN, given[1]);
      history.replaceState(null, "", location.pathname);
    }
    const token = sessionStorage.getItem(KEPT_TOKEN);
    return token ? new Demo(panel, cluster, token) : null;
  }

  constructor(panel, cluster, token) {
    Object.assign(this, { panel, cluster, token, objects: { policies: {}, pods: {}, namespaces: {}, tour: null }, shown: null });
  }

  async request(path, body) {
    const headers = { "X-Palisade-Demo": this.token };
    if (body) headers["Content-Type"] = "application/json";
    const response = await fetch(`/demo/v1/${path}`, { headers, ...(body && { method: "POST", body: JSON.stringify(body) }), cache: "no-store", redirect: "error", referrerPolicy: "no-referrer" });
    if (response.ok) return response.json();
    throw new Error((await response.text()).trim() || `the demo answered ${response.status}`);
  }

  /** What there is to edit, as it is now. */
  async refresh() {
    clearTimeout(this.timer);
    try {
      this.take(await this.request("objects"));
    } catch {
      // The stream of connections says whether it is there.
    }
    if (this.objects.tour) this.timer = setTimeout(() => this.refresh(), LOOK_EVERY);
  }

  take(objects) {
    this.objects = objects;
    this.showTour();
  }

  manifest(policy) {
    return this.objects.policies[policy] ?? null;
  }

  applyPolicy(manifest) {
    return this.edit("apply", { manifest });
  }

  removePolicy(policy) {
    return this.edit("remove", { policy });
  }

  async edit(path, body) {
    const outcome = await this.request(path, body);
    await this.refresh();
    return outcome;
  }

  async next(by = 1) {
    const { tour } = this.objects;
    if (!tour || tour.step + by < 0 || tour.step + by >= tour.steps) return;
    this.take(await this.request("step", { step: tour.step + by }));
  }

  showTour() {
    const { tour } = this.objects;
    this.panel.hidden = !tour;
    if (!tour || this.shown === tour.step) return;
    this.shown = tour.step;
    const hadFocus = this.panel.contains(document.activeElement);
    const button = (name, by, off) => element("button", { type: "button", id: by > 0 ? "next" : "back", class: by > 0 ? "primary" : "", disabled: off, onclick: () => this.next(by) }, name);
    replace(
      this.panel,
      element("p", { class: "soft" }, `Tour, ${tour.step + 1} of ${tour.steps}`),
      element("h2", {}, tour.title),
      element("p", { role: "status" }, tour.text),
      element("p", {}, element("b", {}, "Look at "), tour.look),
      element("p", { class: "buttons" }, button("Back", -1, tour.step === 0), button("Next", 1, tour.step + 1 === tour.steps), element("kbd", {}, "n")),
    );
    if (hadFocus) this.panel.querySelector("#next:not([disabled]), #back")?.focus();
  }

  /** Edits the labels of a pod or a namespace. */
  labelForm(kind, name) {
    const labels = this.objects[kind === "Pod" ? "pods" : "namespaces"][name];
    if (!labels) return null;
    const input = element("input", { "aria-label": "Labels", class: "mono", maxlength: 2000, autocomplete: "off", spellcheck: "false" });
    input.value = labelText(labels);
    const output = element("div", { class: "answer", role: "status" });
    const submit = async (event) => {
      event.preventDefault();
      try {
        const { refused } = await this.edit("labels", { kind, name, labels: parseLabels(input.value) });
        replace(output, refused ? diagnosticItems(refused) : element("p", { class: "good" }, "Applied. Watch the map."));
      } catch (error) {
        replace(output, element("p", { class: "bad" }, plain(error.message)));
      }
      input.blur();
    };
    return element("form", { class: "ask labels-form", onsubmit: submit }, input, element("button", {}, "Set labels"), output);
  }
}
