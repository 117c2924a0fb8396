// Policies: the list of them, and one in full.

import { count, element, facts, plain, plainLines, replace } from "./elements.js";
import { findingList, isAbout } from "./findings.js";

const MAX_SHOWN = 1000;

/** All policies by namespace, as buttons. */
export function showPolicies(panel, cluster, lint, words, onopen, ontry) {
  const matches = (name) => words.every((word) => name.toLowerCase().includes(word));
  let room = MAX_SHOWN;
  const parts = (cluster.namespaces ?? []).map((namespace) => {
    const names = namespace.policyNames.map((name) => `${namespace.name}/${name}`).filter(matches).slice(0, room);
    room -= names.length;
    const heading = element("h3", {}, plain(namespace.name, 200), " ", element("span", {}, namespace.policies === 0 ? "no policy: nobody is isolated" : count(namespace.policies, "policy", "policies")));
    if (names.length === 0) return words.length > 0 ? null : heading;
    const rows = names.map((name) => {
      const found = (lint?.findings ?? []).filter(isAbout(name)).filter(({ severity }) => severity !== "note");
      const badge = found.length > 0 && element("span", { class: "soft" }, count(found.length, "finding"));
      return element("button", { type: "button", class: "pod policy", onclick: () => onopen("policy", name) }, element("i", { class: found.length > 0 ? "alert" : "both" }), element("span", {}, plain(name.slice(namespace.name.length + 1), 200)), badge);
    });
    return [heading, rows];
  });
  const { scrollTop } = panel;
  replace(panel, element("p", { class: "bar" }, element("span", {}, "What would a policy change?"), element("button", { type: "button", id: "try", onclick: () => ontry() }, "Try a policy")), ...parts);
  if (room <= 0) panel.append(element("p", { class: "quiet" }, `The first ${MAX_SHOWN} are shown: filter to see others.`));
  panel.scrollTop = scrollTop;
}

const ago = (time) => {
  const seconds = Math.max(0, (Date.now() - Date.parse(time)) / 1000);
  return seconds < 90 ? `${Math.round(seconds)} s ago` : seconds < 5400 ? `${Math.round(seconds / 60)} min ago` : `${Math.round(seconds / 3600)} h ago`;
};

function ruleItem({ direction, rule, peers, further_peers, ports, further_ports, hits }) {
  const whom = peers.length === 0 ? "everyone" : peers.map(({ text, pods }) => element("div", { class: pods === 0 ? "warned" : "" }, plain(text, 300), pods === null ? null : element("span", { class: "soft" }, pods === 0 ? " (matches no pod)" : ` (${count(pods, "pod")})`)));
  const more = (n) => n > 0 && element("div", { class: "soft" }, `and ${n} more`);
  const used = hits ? `${count(hits.connections, "connection")}, the last ${ago(hits.last_used)}` : "never used since the agent began";
  return element(
    "li",
    { class: `rule ${hits ? "used" : ""}` },
    element("p", {}, element("b", {}, `${direction} rule ${rule + 1}`), element("span", { class: "used soft" }, used)),
    facts([[direction === "ingress" ? "From" : "To", element("div", {}, whom, more(further_peers))], ["Ports", element("div", {}, ports.length === 0 ? "every port" : ports.map((port) => element("div", {}, plain(port, 120))), more(further_ports))]]),
  );
}

/** What a policy's panel shows. `buttons` stand under its name. */
export function policyContent(view, findings, onopen, buttons) {
  const pods = view.pods.map((name) => element("button", { type: "button", class: "chip", onclick: () => onopen("pod", `pod ${name}`) }, plain(name, 120)));
  const isolates = view.isolates.length === 0 ? "in no direction" : view.isolates.join(" and ");
  const denials = view.denials.map(({ direction, packets, last_seen }) => element("li", {}, `${direction}: ${count(packets, "packet")} denied, the last ${ago(last_seen)}`));
  const byDirection = ["ingress", "egress"].filter((it) => view.isolates.includes(it) && !view.rules.some(({ direction }) => direction === it));
  return [
    element("p", { class: "buttons" }, buttons),
    view.fault && element("p", { class: "alarm" }, `Some of its fields are wrong, so it allows nothing: ${plain(view.fault)}`),
    element("h3", {}, "Whom it selects"),
    facts([["Selector", view.selector === "" ? "every pod of its namespace" : element("span", { class: "mono" }, plain(view.selector, 400))], ["Isolates", isolates], ["Pods", view.pod_count === 0 ? element("b", { class: "bad" }, "none") : element("div", { class: "chips" }, pods, view.pod_count > pods.length && `and ${view.pod_count - pods.length} more`)]]),
    element("h3", {}, "What it allows"),
    byDirection.map((it) => element("p", {}, `No ${it} rule: nothing is allowed by it, so its pods may ${it === "ingress" ? "not be connected to" : "connect to nobody"}, but for what other policies allow.`)),
    element("ul", { class: "rules" }, view.rules.map(ruleItem)),
    view.further_rules > 0 && element("p", { class: "soft" }, `and ${view.further_rules} rules more`),
    element("h3", {}, "What it denied"),
    denials.length > 0 ? element("ul", {}, denials) : element("p", { class: "soft" }, "Nothing that was seen."),
    element("h3", {}, "Findings about it"),
    findings.length > 0 ? findingList(findings, onopen) : element("p", { class: "soft" }, "None."),
    view.manifest && [element("h3", {}, "As a manifest"), element("pre", { tabindex: "0" }, plainLines(view.manifest))],
  ];
}
