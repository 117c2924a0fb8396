// One pod, policy, namespace, connection or end outside, in full; and the editor of a policy.

import { element, facts, plain, replace, count, seconds } from "./elements.js";
import { endName, portText, protocolName, ruleName } from "./cluster.js";
import { isAbout } from "./findings.js";
import { policyContent } from "./policies.js";
import { reachContent } from "./reach.js";
import { flowRow } from "./stream.js";
import { EXAMPLE, editorContent } from "./what_if.js";

const MAX_LISTED = 50;
const bytes = (n) => (n < 10000 ? count(n, "byte") : n < 1e7 ? `${Math.round(n / 1000)} kB` : `${Math.round(n / 1e6)} MB`);

export class Details {
  constructor(panel, cluster, agent, { onopen, onclose, onmark, demo }) {
    Object.assign(this, { panel, cluster, agent, onopen, onclose, onmark, demo });
    [this.lint, this.reached] = [null, null];
  }

  get isOpen() {
    return !this.panel.hidden;
  }

  close() {
    if (!this.isOpen) return;
    this.panel.hidden = true;
    this.shown = null;
    this.opener?.isConnected && this.opener.focus();
    this.onclose();
  }

  show(kind, id, ...content) {
    if (!this.isOpen) this.opener = document.activeElement;
    this.shown = { kind, id };
    replace(this.panel, ...content);
    this.panel.hidden = false;
    if (this.isRefreshing) return;
    this.panel.scrollTop = 0;
    this.panel.focus({ preventScroll: true });
  }

  head(title) {
    return element("div", { class: "head" }, element("h2", {}, plain(title, 300)), element("button", { type: "button", onclick: () => this.close(), "aria-label": "Close" }, "✕"));
  }

  /** What is open changes with what is known; not while somebody writes in it. */
  refresh() {
    if (!this.isOpen || this.panel.contains(document.activeElement) && document.activeElement !== this.panel) return;
    const { kind, id } = this.shown;
    if (!["pod", "policy", "namespace"].includes(kind)) return;
    this.again(() => this[kind](id));
  }

  /** Shows the same anew, where it was. */
  again(show) {
    const { scrollTop } = this.panel;
    this.isRefreshing = true;
    show();
    this.isRefreshing = false;
    this.panel.scrollTop = scrollTop;
  }

  pod(id) {
    const pod = this.cluster.pods.get(id);
    if (!pod) return this.end(id);
    const labels = Object.entries(pod.labels).map(([key, value]) => element("li", {}, plain(`${key}=${value}`, 160)));
    const where = pod.node ? `${plain(pod.node, 120)}${pod.is_local ? "" : ": enforced by that node's agent"}` : null;
    this.show(
      "pod",
      id,
      this.head(`${pod.namespace}/${pod.name}`),
      facts([
        ["Addresses", pod.addresses.join(", ") || "none yet"],
        ["Made by", pod.workload === pod.name || !pod.workload.includes("/") ? null : plain(pod.workload, 160)],
        ["Node", where],
        ["Labels", element("ul", { class: "labels" }, labels.length > 0 ? labels : "none")],
      ]),
      this.demo?.labelForm("Pod", `${pod.namespace}/${pod.name}`),
      element("h3", {}, "What isolates it"),
      this.isolation(pod),
      element("h3", {}, "May it connect?"),
      this.question(pod),
      pod.host_network || pod.addresses.length === 0 ? null : [element("h3", {}, "Who may reach it, and whom it may reach"), this.matrix(pod)],
      element("h3", {}, "Its connections, the latest first"),
      this.flowList(this.cluster.flowsOf(id)),
    );
  }

  isolation(pod) {
    if (pod.host_network) return element("p", {}, "It is on its host's network: no policy selects it, and its traffic is the node's.");
    if (!pod.isolation) return element("p", {}, "There are too many policies and labels to look for all; ask below.");
    const one = (name, by, open) => {
      const isClosed = by.policies.length > 0;
      const more = by.further > 0 ? ` and ${by.further} more` : "";
      return element("div", { class: isClosed ? "closed" : "" }, element("b", {}, name), element("br"), isClosed ? ["isolated by ", by.policies.map((policy, n) => [n > 0 && ", ", element("button", { type: "button", class: "link", onclick: () => this.onopen("policy", `${pod.namespace}/${policy}`) }, plain(policy, 80))]), more] : open);
    };
    return element(
      "div",
      { class: "isolation" },
      one("Ingress", pod.isolation.ingress, "not isolated: everyone may connect to it"),
      one("Egress", pod.isolation.egress, "not isolated: it may connect to everyone"),
    );
  }

  /** The matrix of a pod, as the agent judges it at the revision that is known. */
  matrix(pod) {
    const box = element("div", {});
    const answer = element("div", { class: "answer", role: "status" });
    const name = `${pod.namespace}/${pod.name}`;
    const ask = (way, end, { protocol, port }) => {
      const [from, to] = way === "to" ? [name, end] : [end, name];
      this.ask({ from, to, port, protocol }, answer);
    };
    const show = (reach) => replace(box, reachContent(reach, ask), answer);
    if (this.reached?.pod === name) {
      show(this.reached);
      if (this.reached.revision === this.cluster.revision) return box;
    }
    this.agent.reach(name).then(
      (reach) => show((this.reached = reach)),
      (error) => replace(box, element("p", { class: "bad" }, plain(error.message))),
    );
    return box;
  }

  /** A policy, as the agent says. */
  async policy(name) {
    const isRefreshing = this.isRefreshing;
    if (!isRefreshing) this.show("policy", name, this.head(name), element("p", { class: "soft" }, "asking…"));
    let view;
    try {
      view = await this.agent.policy(name);
    } catch (error) {
      view = null;
      if (this.isShown("policy", name)) replace(this.panel, this.head(name), element("p", { class: "bad" }, plain(error.message)));
    }
    if (!view || !this.isShown("policy", name)) return;
    const text = this.demo?.manifest(name) ?? view.manifest;
    const edit = text && element("button", { type: "button", id: "edit", onclick: () => this.editor(text, name) }, this.demo ? "Edit" : "Try a change");
    this.onmark(view.pods.map((pod) => `pod ${pod}`));
    const findings = (this.lint?.findings ?? []).filter(isAbout(name));
    const draw = () => replace(this.panel, this.head(name), policyContent(view, findings, this.onopen, [edit]));
    if (isRefreshing) {
      const { scrollTop } = this.panel;
      draw();
      this.panel.scrollTop = scrollTop;
    } else {
      draw();
    }
  }

  isShown(kind, id) {
    return this.isOpen && this.shown?.kind === kind && this.shown.id === id;
  }

  /** The editor, with a text to begin with. */
  editor(text = EXAMPLE, policy = null) {
    const { agent, demo, onopen } = this;
    this.onmark(null);
    this.show("editor", policy ?? "", this.head(policy ? `Change ${policy}` : "Try a policy"), editorContent({ agent, demo, text, policy, onopen }));
    this.panel.querySelector("textarea").focus();
  }

  namespace(id) {
    const name = id.slice("namespace ".length);
    const namespace = (this.cluster.namespaces ?? []).find((it) => it.name === name);
    if (!namespace) return;
    const labels = Object.entries(namespace.labels).map(([key, value]) => element("li", {}, plain(`${key}=${value}`, 160)));
    const link = (kind, target, text) => element("li", {}, element("button", { type: "button", class: "link", onclick: () => this.onopen(kind, target) }, plain(text, 160)));
    this.show(
      "namespace",
      id,
      this.head(`Namespace ${name}`),
      facts([["Labels", element("ul", { class: "labels" }, labels)], ["Pods", String(namespace.pods.length)]]),
      this.demo?.labelForm("Namespace", name),
      element("h3", {}, "Policies"),
      namespace.policyNames.length > 0 ? element("ul", {}, namespace.policyNames.slice(0, MAX_LISTED).map((it) => link("policy", `${name}/${it}`, it))) : element("p", { class: "soft" }, "None: nobody in it is isolated."),
      element("h3", {}, "Pods"),
      element("ul", {}, namespace.pods.slice(0, MAX_LISTED).map((it) => link("pod", it.id, it.name))),
    );
  }

  flowList(flows) {
    if (flows.length === 0) return element("p", { class: "soft" }, "None was seen lately.");
    const rows = flows.slice(0, MAX_LISTED).map((flow) => flowRow(flow, (id) => this.onopen("flow", id)));
    return element("div", {}, rows, flows.length > MAX_LISTED ? element("p", { class: "soft" }, `and ${flows.length - MAX_LISTED} more`) : null);
  }

  /** A question about a connection from or to the pod; the answer is the agent's. */
  question(pod) {
    const name = `${pod.namespace}/${pod.name}`;
    const way = element("select", { "aria-label": "Direction" }, element("option", { value: "to" }, "to"), element("option", { value: "from" }, "from"));
    const other = element("input", { placeholder: "namespace/pod or address", "aria-label": "The other end", required: true, list: "ends", maxlength: 400 });
    const port = element("input", { class: "number", placeholder: "port", "aria-label": "Port", maxlength: 40 });
    const protocol = element("select", { "aria-label": "Protocol" }, ["TCP", "UDP", "SCTP"].map((it) => element("option", {}, it)));
    const answer = element("div", { class: "answer", role: "status" });
    const ask = (event) => {
      event.preventDefault();
      const [from, to] = way.value === "to" ? [name, other.value] : [other.value, name];
      this.ask({ from, to, port: port.value, protocol: protocol.value }, answer);
    };
    const names = [...this.cluster.pods.values()].slice(0, 500).map((it) => element("option", { value: `${it.namespace}/${it.name}` }));
    return element("form", { class: "ask", onsubmit: ask }, way, other, port, protocol, element("button", {}, "Ask"), element("datalist", { id: "ends" }, names), answer);
  }

  async ask(question, answer) {
    replace(answer, "asking…");
    try {
      const { connections, service, further } = await this.agent.explain(question);
      replace(answer, service && element("p", {}, plain(service)), connections.map((it) => this.explained(it)), further > 0 && `${further} connections more are meant`);
    } catch (error) {
      replace(answer, element("p", { class: "bad" }, error.message));
    }
  }

  explained(it) {
    const side = (name, { reason, allowed_by: allowed, misses, notes }) => [
      element("p", {}, element("b", {}, `${name}: `), plain(reason)),
      allowed.slice(0, 8).map(({ policy, rule }) => element("p", { class: "soft" }, `by ${plain(policy, 120)}, rule ${rule + 1}`)),
      misses.slice(0, 8).map(({ text }) => element("p", { class: "soft" }, plain(text))),
      notes.map((note) => element("p", { class: "soft" }, plain(note))),
    ];
    return element(
      "div",
      { class: it.verdict },
      element("p", {}, element("span", { class: `verdict ${it.verdict}` }, it.verdict), ` ${plain(it.from, 140)} → ${plain(it.to, 140)} ${protocolName(it.protocol)} ${it.port ?? ""}`),
      it.divergence && element("p", { class: "alarm" }, it.divergence),
      side("Egress", it.egress),
      side("Ingress", it.ingress),
      it.edits.each.length > 0 && element("p", {}, element("b", {}, "Each of these alone would turn it:")),
      it.edits.each.slice(0, 6).map(({ text }) => element("p", { class: "soft" }, plain(text, 500))),
    );
  }

  flow(id) {
    const flow = this.cluster.flows.get(id);
    if (!flow) return;
    const end = (it) => {
      const text = plain(`${endName(it)}${endName(it) === it.address ? "" : ` (${it.address})`}`, 300);
      const pod = it.pod && `pod ${it.pod}`;
      return this.cluster.pods.has(pod) ? element("button", { type: "button", onclick: () => this.onopen("pod", pod) }, text) : text;
    };
    const answer = element("div", { class: "answer", role: "status" });
    const question = { from: flow.from.address, to: flow.to.address, port: flow.port ?? "", protocol: protocolName(flow.protocol) };
    this.show(
      "flow",
      id,
      this.head(`${endName(flow.from)} → ${endName(flow.to)}`),
      element("p", {}, element("span", { class: `verdict ${flow.verdict}` }, flow.verdict), ` ${flow.direction} · ${portText(flow)} · ${flow.family}`),
      flow.divergence && element("p", { class: "alarm" }, `Divergence: ${plain(flow.divergence)}`),
      element("h3", {}, "Why"),
      element("p", {}, plain(flow.reason)),
      flow.misses.length > 0 && [element("h3", {}, "What would have been needed"), element("ul", { class: "misses" }, flow.misses.map(({ text }) => element("li", {}, plain(text))))],
      flow.further > 0 && element("p", { class: "soft" }, `${flow.further} policies more isolate the pod`),
      element("h3", {}, "The connection"),
      facts([
        ["From", end(flow.from)],
        ["To", end(flow.to)],
        ["Service", flow.service ? `${flow.service.name ? `${plain(flow.service.name, 120)}, ` : ""}${flow.service.address}${flow.service.port === null ? "" : ` port ${flow.service.port}`}` : flow.inferred_services.length > 0 ? `perhaps by ${plain(flow.inferred_services.map(({ name, port }) => `${name} port ${port}`).join(", "), 200)}` : null],
        ["Seen", `${count(flow.count, flow.verdict === "deny" ? "packet" : "connection")}, first ${plain(flow.first_seen, 40)}, last ${plain(flow.last_seen, 40)}`],
        ["Carried", flow.traffic.bytes > 0 ? `${bytes(flow.traffic.bytes)} in ${count(flow.traffic.packets, "packet")}, ${seconds(flow.traffic.duration_us / 1e6)} in all, of ${count(flow.traffic.ended, "ended connection")}` : null],
        ["Allowed by", flow.allowed_by.length > 0 ? element("div", {}, flow.allowed_by.map((it) => element("div", {}, element("button", { type: "button", class: "link", onclick: () => this.onopen("policy", it.policy) }, plain(ruleName(it), 160))))) : null],
        ["Isolated by", flow.isolated_by.length > 0 ? element("div", {}, flow.isolated_by.map((policy) => element("div", {}, element("button", { type: "button", class: "link", onclick: () => this.onopen("policy", policy) }, plain(policy, 120))))) : "nothing"],
        ["Revision", flow.revision ?? "not known any more"],
      ]),
      ["TCP", "UDP", "SCTP"].includes(question.protocol) && [
        element("h3", {}, "Now"),
        element("button", { type: "button", onclick: () => this.ask(question, answer) }, "Explain by the policies of now"),
        answer,
      ],
    );
  }

  /** An end that is no pod, or none any more. */
  end(id) {
    const end = this.cluster.outside.get(id);
    if (!end) return;
    const flows = [...this.cluster.flows.values()].filter((flow) => [flow.from, flow.to].some((it) => `end ${endName(it)}` === id)).reverse();
    this.show("end", id, this.head(end.name), element("p", { class: "soft" }, "No pod has this address now."), element("h3", {}, "Its connections, the latest first"), this.flowList(flows));
  }
}
