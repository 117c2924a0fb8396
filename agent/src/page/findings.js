// What the linter finds: what takes effect as it is written, and perhaps not as it is meant.

import { count, element, plain, replace } from "./elements.js";

const SEVERITIES = ["error", "warning", "note"];
const MAX_SHOWN = 200;

const nameOf = ({ kind, namespace, name }) => `${kind} ${namespace ? `${namespace}/` : ""}${name}`;

/** What opens an object: its policy, its pod, or its namespace on the map. */
export function objectLink(object, onopen) {
  if (!object) return element("span", { class: "object" }, "all objects");
  const [kind, id] = { NetworkPolicy: ["policy", `${object.namespace}/${object.name}`], Pod: ["pod", `pod ${object.namespace}/${object.name}`], Namespace: ["namespace", `namespace ${object.name}`] }[object.kind] ?? [];
  if (!kind) return element("span", { class: "object" }, plain(nameOf(object), 200));
  return element("button", { type: "button", class: "object link", onclick: () => onopen(kind, id) }, plain(nameOf(object), 200));
}

function finding(it, onopen) {
  const time = it.time && element("span", { class: "soft" }, new Date(it.time).toLocaleTimeString("en-GB"));
  return element(
    "li",
    { class: `finding ${it.severity}`, "data-code": it.code },
    element("p", { class: "what" }, element("b", { class: "code" }, it.code), element("span", { class: "severity" }, it.severity), objectLink(it.object, onopen), time),
    element("p", {}, plain(it.message, 600), "."),
    element("details", {}, element("summary", {}, "Why, and what to do"), element("p", { class: "soft" }, plain(it.why, 900)), element("p", {}, plain(it.remedy, 900)),
      it.place && element("p", { class: "soft mono" }, plain(`${it.place.source}${it.place.line ? `:${it.place.line}` : ""}`, 200))),
  );
}

/** A list of findings, the most severe first. */
export function findingList(findings, onopen) {
  const sorted = [...findings].sort((a, b) => SEVERITIES.indexOf(a.severity) - SEVERITIES.indexOf(b.severity));
  const more = sorted.length - MAX_SHOWN;
  return [element("ul", { class: "findings" }, sorted.slice(0, MAX_SHOWN).map((it) => finding(it, onopen))), more > 0 && element("p", { class: "quiet" }, `${more} more: palisade lint`)];
}

/** Whether a finding is about this policy. */
export const isAbout = (policy) => ({ object }) => object?.kind === "NetworkPolicy" && `${object.namespace}/${object.name}` === policy;

const matches = (words) => (it) => {
  const text = [it.code, it.severity, it.object ? nameOf(it.object) : "", it.message].join("\n").toLowerCase();
  return words.every((word) => text.includes(word));
};

/** How many findings stand out, on the tab. */
export function showFindingCount(tab, lint) {
  const grave = (lint?.findings ?? []).filter(({ severity }) => severity !== "note").length;
  replace(tab, "Findings", grave > 0 && element("b", { class: lint.findings.some(({ severity }) => severity === "error") ? "" : "warn" }, String(grave)));
}

export function showFindings(panel, lint, words, onopen) {
  if (!lint) return replace(panel, element("p", { class: "quiet" }, "The linter was not asked yet."));
  const open = new Set([...panel.querySelectorAll("details[open]")].map((it) => it.closest("li").dataset.key));
  const [findings, lost] = [lint.findings, lint.lost_matches].map((list) => list.filter(matches(words)));
  const counts = SEVERITIES.map((severity) => [severity, lint.findings.filter((it) => it.severity === severity).length]).filter(([, n]) => n > 0);
  const sums = counts.map(([severity, n]) => count(n, severity)).join(", ");
  const rest = [lint.further > 0 && `${lint.further} more are not listed`, lint.ignored > 0 && `${lint.ignored} accepted by annotations`].filter((text) => text);
  const { scrollTop } = panel;
  replace(
    panel,
    element("p", { class: "bar" }, [sums || "nothing is found", ...rest].join(" · ")),
    lost.length > 0 && [element("h3", {}, "Lost their match when labels changed"), findingList(lost, onopen), element("h3", {}, "As it is now")],
    findingList(findings, onopen),
    findings.length + lost.length === 0 && element("p", { class: "quiet" }, words.length > 0 ? "Nothing matches the filter." : "The linter finds nothing."),
  );
  for (const item of panel.querySelectorAll("li.finding")) {
    item.dataset.key = item.querySelector(".what").textContent + item.children[1].textContent;
    if (open.has(item.dataset.key)) item.querySelector("details").open = true;
  }
  panel.scrollTop = scrollTop;
}
