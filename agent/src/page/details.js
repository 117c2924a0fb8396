// One pod, one connection or one end outside, in full.

import { element, facts, plain, replace, count } from "./elements.js";
import { endName, portText, protocolName } from "./cluster.js";
import { flowRow } from "./stream.js";

const MAX_LISTED = 50;

export class Details {
  constructor(panel, cluster, agent, { onopen, onclose }) {
    Object.assign(this, { panel, cluster, agent, onopen, onclose });
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
    if (this.shown.kind !== "pod") return;
    const { scrollTop } = this.panel;
    this.isRefreshing = true;
    this.pod(this.shown.id);
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
        ["Node", where],
        ["Labels", element("ul", { class: "labels" }, labels.length > 0 ? labels : "none")],
      ]),
      element("h3", {}, "What isolates it"),
      this.isolation(pod),
      element("h3", {}, "May it connect?"),
      this.question(pod),
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
      return element("div", { class: isClosed ? "closed" : "" }, element("b", {}, name), element("br"), isClosed ? `isolated by ${by.policies.map((policy) => plain(policy, 80)).join(", ")}${more}` : open);
    };
    return element(
      "div",
      { class: "isolation" },
      one("Ingress", pod.isolation.ingress, "not isolated: everyone may connect to it"),
      one("Egress", pod.isolation.egress, "not isolated: it may connect to everyone"),
    );
  }

  flowList(flows) {
    if (flows.length === 0) return element("p", { class: "soft" }, "None was denied lately.");
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
        ["Seen", `${count(flow.count, "packet")}, first ${plain(flow.first_seen, 40)}, last ${plain(flow.last_seen, 40)}`],
        ["Isolated by", flow.isolated_by.map((policy) => plain(policy, 120)).join(", ") || "nothing"],
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
