// How the agent is: the head of the page, and the tab with all of it.

import { append, count, duration, element, facts, plain, replace, seconds } from "./elements.js";

const STATES = {
  "enforcing": ["Enforcing", "good"],
  "behind": ["Behind", "warn"],
  "starting": ["Starting", "warn"],
  "waiting-for-manifests": ["Waiting for objects", "warn"],
  "waiting-for-table": ["Waiting for the tables", "warn"],
};
const MAX_MESSAGES = 50;
const LOSSES = [
  ["not_logged", "denied and not logged by the kernel (beyond 100 a second, or while nobody listened)"],
  ["socket", "logged, and without room in the socket"],
  ["queue", "seen, and without room to wait for their judgement"],
  ["forgotten", "flows forgotten for later ones"],
  ["readers", "lines that readers were too slow for"],
  ["dropped_readers", "readers dropped, since they took nothing"],
];

const ALLOWED_LOSSES = [
  ["overflows", "times the socket had no room"],
  ["repaired", "beginnings that were made up for"],
  ["ends", "ends"],
  ["queue", "without room to wait for their judgement"],
  ["forgotten", "flows forgotten for later ones"],
];

// The kernel's counters are read now and then, and what was seen is denied.
const deniedCount = ({ denied, seen, lost }) => Math.max(denied, seen + lost.socket);
/** What is missing, without what readers brought upon themselves. */
const lostCount = ({ lost }) => lost.not_logged + lost.socket + lost.queue;

export function showState(box, banner, link, summary) {
  const [text, kind] = link.isUp && summary ? STATES[summary.state] ?? [summary.state, "warn"] : ["Disconnected", "bad"];
  if (box.textContent !== text) box.textContent = text;
  box.className = `state ${kind}`;
  let message = null;
  if (!link.isUp && link.since) {
    const ago = seconds((Date.now() - link.since) / 1000);
    message = `Disconnected from the agent for ${ago} (${plain(link.why, 160)}). What is shown is as it was; trying again. Its rules stay in the kernel.`;
  } else if (summary && summary.state !== "enforcing") {
    const behind = summary.behind_seconds === null ? "" : ` for ${seconds(summary.behind_seconds)}`;
    const revisions = summary.state === "behind" ? `: the kernel holds revision ${summary.enforced_revision}, the objects mean ${summary.revision}` : "";
    message = `${text}${behind}${revisions}${summary.detail ? `. ${plain(summary.detail)}` : summary.doing ? `. ${plain(summary.doing)}` : ""}`;
  } else if (summary && summary.flows.divergences > 0) {
    message = `${count(summary.flows.divergences, "divergence")}: the kernel gave verdicts that no policy in force gives. They stand red among the connections.`;
  } else if (summary && !summary.flows.is_listening) {
    message = `Denied connections are not seen: ${plain(summary.flows.failure ?? "the agent does not listen yet")}`;
  }
  if ((banner.textContent || null) !== message) banner.textContent = message ?? "";
  banner.hidden = message === null;
  banner.className = !link.isUp || summary?.flows.divergences > 0 ? "bad" : "";
  document.body.classList.toggle("stale", !link.isUp);
}

export function showFigures(box, status, cluster, summary) {
  const flows = summary?.flows ?? status?.flows;
  const last = status?.time_to_enforce.last_us;
  const figures = [
    ["Revision", summary?.revision ?? status?.revision],
    ["Pods", cluster.podCount],
    ["Isolated here", status?.isolated.pods],
    ["Policies", status?.sizes.policies, "minor"],
    ["Last change took", last === null || last === undefined ? null : duration(last), "minor"],
    ["Denied", flows && deniedCount(flows)],
    ["Allowed", flows?.allowed.is_listening ? flows.allowed.opened - flows.allowed.elsewhere : null],
    ["Not seen", flows && lostCount(flows) > 0 ? lostCount(flows) : null],
    ["Divergences", flows?.divergences > 0 ? flows.divergences : null, "bad"],
  ];
  const shown = figures.filter(([, value]) => value !== null && value !== undefined);
  replace(box, ...shown.map(([name, value, kind]) => element("div", { class: kind }, element("dt", {}, name), element("dd", {}, typeof value === "number" ? value.toLocaleString("en") : value))));
}

export function showStatus(panel, status, summary) {
  if (!status) return replace(panel, element("p", { class: "quiet" }, "Nothing is known yet."));
  const flows = summary?.flows ?? status.flows;
  const list = (title, messages, all = messages.length) => {
    if (messages.length === 0) return null;
    const shown = messages.slice(0, MAX_MESSAGES).map((message) => element("li", {}, plain(message)));
    const more = all > shown.length ? [element("p", { class: "soft" }, `and ${all - shown.length} more: palisade status`)] : [];
    return [element("h3", {}, title), element("ul", { class: "messages" }, shown), more];
  };
  const held = status.held_files.map(({ file, reason }) => `${file} ${reason}: what it held before stays in force`);
  const drift = status.drift.found === 0 ? `none in ${count(status.drift.checks, "comparison")}` : `found ${status.drift.found} times, last: ${plain(status.drift.last ?? "")}`;
  const losses = LOSSES.filter(([key]) => flows.lost[key] > 0).map(([key, text]) => [flows.lost[key].toLocaleString("en"), text]);
  const changes = status.changes.map((change) =>
    element("li", {}, change.objects.map((object) => element("div", {}, plain(object, 200))), change.object_count > change.objects.length && element("div", {}, `and ${change.object_count - change.objects.length} more`),
      element("div", { class: "soft" }, `revision ${change.revision} · in force after ${duration(change.took_us)} · ${seconds(change.seconds_ago)} ago · ${count(change.element_count, "element")}`)));
  replace(
    panel,
    list("Not enforced", status.not_enforced),
    list("Problems", status.problems, status.problem_count),
    list("Files that are held", held, status.held_count),
    list("Warnings", status.warnings),
    element("h3", {}, "Enforcement"),
    facts([
      ["Revision", `${summary?.enforced_revision ?? status.enforced_revision} in the kernel, ${summary?.revision ?? status.revision} by the objects`],
      ["Isolated pods", `${status.isolated.pods} here: ${status.isolated.ingress} for ingress, ${status.isolated.egress} for egress`],
      ["Time to enforce", status.time_to_enforce.last_us === null ? "no change yet" : `${duration(status.time_to_enforce.last_us)} the last, ${duration(status.time_to_enforce.max_us)} at most, of ${status.time_to_enforce.count}`],
      ["Drift", drift],
      ["Elements", status.sizes.elements.toLocaleString("en")],
      ["Node", status.node ?? "unnamed: every pod with an address is local"],
      ["Agent", `${plain(status.agent, 40)}, up for ${seconds(status.up_seconds)}`],
      ["API server", status.kubernetes && `${plain(status.kubernetes.server, 160)}${status.kubernetes.behind_seconds === null ? "" : `: not heard for ${seconds(status.kubernetes.behind_seconds)}`}`],
    ]),
    element("h3", {}, "Denied packets"),
    facts([
      ["Denied", deniedCount(flows).toLocaleString("en")],
      ["Seen", flows.seen.toLocaleString("en")],
      ["Divergences", flows.divergences > 0 ? element("b", { class: "bad" }, flows.divergences) : "0"],
      ["Readers", `${flows.readers}`],
    ]),
    element("h3", {}, "Allowed connections"),
    facts([
      ["Heard of", flows.allowed.is_listening ? `${flows.allowed.opened.toLocaleString("en")}, of which ${flows.allowed.ended.toLocaleString("en")} have ended` : `not yet: ${plain(flows.allowed.failure ?? "the agent does not listen yet")}`],
      ["Of no pod here", flows.allowed.elsewhere > 0 ? flows.allowed.elsewhere.toLocaleString("en") : null],
      ["Lost", ALLOWED_LOSSES.filter(([key]) => flows.allowed.lost[key] > 0).map(([key, text]) => `${flows.allowed.lost[key].toLocaleString("en")} ${text}`).join("; ") || "nothing"],
    ]),
    element("h3", {}, "Lost"),
    losses.length > 0 ? facts(losses) : element("p", { class: "soft" }, "Nothing."),
    element("h3", {}, "Latest changes"),
    changes.length > 0 ? element("ul", { class: "changes" }, changes) : element("p", { class: "soft" }, "None yet."),
  );
}

/** All pods by namespace, as buttons. */
export function showPods(panel, cluster, matches, kindOf, onopen) {
  const MAX_SHOWN = 1000;
  let room = MAX_SHOWN;
  const parts = (cluster.namespaces ?? []).map(({ name, policies, pods }) => {
    const shown = pods.filter(matches).slice(0, room);
    room -= shown.length;
    if (shown.length === 0) return null;
    const rows = shown.map((pod) => {
      const kind = kindOf(pod);
      const how = pod.host_network ? "host network" : { both: "isolated", one: pod.isolation?.ingress.policies.length > 0 ? "ingress isolated" : "egress isolated", open: "not isolated" }[kind];
      return element("button", { type: "button", class: "pod", onclick: () => onopen("pod", pod.id) }, element("i", { class: kind }), element("span", {}, plain(pod.name, 200)), element("span", { class: "soft" }, how));
    });
    return [element("h3", {}, element("button", { type: "button", class: "link", onclick: () => onopen("namespace", `namespace ${name}`) }, plain(name, 200)), " ", element("span", {}, `${count(pods.length, "pod")}, ${policies === 1 ? "1 policy" : `${policies} policies`}`)), rows];
  });
  replace(panel, ...parts);
  if (panel.childElementCount === 0) append(panel, [element("p", { class: "quiet" }, cluster.pods.size > 0 ? "No pod matches the filter." : "No pods are known.")]);
  if (cluster.further > 0) append(panel, [element("p", { class: "quiet" }, `${count(cluster.further, "pod")} more of other nodes are not listed.`)]);
  if (room <= 0) append(panel, [element("p", { class: "quiet" }, `The first ${MAX_SHOWN} are shown: filter to see others.`)]);
}
