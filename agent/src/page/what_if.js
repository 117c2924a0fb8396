// What an edit of policies would change, before anything is applied; in the demo it can be applied as well.

import { count, element, plain, replace } from "./elements.js";
import { endName, portText } from "./cluster.js";

export const EXAMPLE = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  namespace: shop
  name: example
spec:
  podSelector:
    matchLabels:
      app: db
  policyTypes:
    - Ingress
  ingress:
    - from:
        - podSelector:
            matchLabels:
              app: api
`;

const EDITS = { added: "would be added", changed: "would change", removed: "would be removed", unchanged: "is like this already", absent: "is not there" };

export function diagnosticItems({ reason, diagnostics }) {
  const item = (it) => element("li", { class: it.severity }, it.line && element("b", {}, `line ${it.line}: `), plain(it.message, 500), ". ", plain(it.remedy, 500));
  return [element("p", { class: "bad" }, plain(reason, 400)), element("ul", { class: "messages" }, diagnostics.map(item))];
}

const lines = (text) => String(text).split("\n").length;

/** The answer to a proposal. */
export function answerContent(answer, onopen) {
  const pods = answer.isolation.map((it) =>
    element("li", { class: it.isolated ? "deny" : "allow" }, element("button", { type: "button", class: "link", onclick: () => onopen("pod", `pod ${it.pod}`) }, plain(it.pod, 160)),
      it.isolated ? ` becomes isolated for ${it.direction} by ${plain(it.by.join(", "), 200)}` : ` is not isolated for ${it.direction} any more: everyone is allowed`));
  const connections = answer.connections.map((it) =>
    element("li", { class: it.after, "data-after": it.after },
      element("p", {}, element("b", {}, `${plain(endName(it.from), 120)} → ${plain(endName(it.to), 120)}`), ` ${portText(it)} ${it.family}: `, element("span", { class: `verdict ${it.before}` }, it.before), " → ", element("span", { class: `verdict ${it.after}` }, it.after)),
      it.reasons.map((text) => element("p", { class: "soft" }, plain(text, 500))), it.misses.map((text) => element("p", { class: "soft" }, plain(text, 500)))));
  const more = (n, what) => n > 0 && element("p", { class: "soft" }, `and ${n} ${what} more`);
  return [
    answer.policies.map(({ policy, edit, selects }) => element("p", {}, element("b", {}, plain(policy, 160)), ` ${EDITS[edit]}`, edit === "removed" || edit === "absent" ? "" : selects === 0 ? element("b", { class: "bad" }, ", and selects no pod") : `, and selects ${count(selects, "pod")}`)),
    answer.warnings.map((text) => element("p", { class: "warned" }, plain(text, 500))),
    element("h3", {}, "Isolation"),
    pods.length > 0 ? element("ul", { class: "changes-list" }, pods) : element("p", { class: "soft" }, "No pod becomes isolated, and none loses its isolation."),
    more(answer.further_isolation, "changes"),
    element("h3", {}, `Connections seen so far that get another verdict: ${answer.connections.length + answer.further_connections} of ${answer.judged}`),
    connections.length > 0 ? element("ul", { class: "changes-list", id: "changed" }, connections) : element("p", { class: "soft" }, answer.judged === 0 ? "None was seen that it concerns." : "None."),
    more(answer.further_connections, "connections"),
    answer.left_out.map((text) => element("p", { class: "soft" }, `Left out: ${plain(text)}.`)),
  ];
}

/** An editor with what its text would change. `policy` is the one it began with, which can be removed. `demo` applies edits. */
export function editorContent({ agent, demo, text, policy, onopen }) {
  const input = element("textarea", { id: "manifest", spellcheck: "false", autocomplete: "off", rows: Math.min(20, Math.max(12, lines(text) + 1)), maxlength: 49152, "aria-label": "A NetworkPolicy as YAML" });
  input.value = text;
  const output = element("div", { class: "answer", role: "status", id: "effect" });
  const show = (...content) => {
    replace(output, ...content);
    output.scrollIntoView({ block: "nearest" });
  };
  const failed = (error) => show(element("p", { class: "bad" }, plain(error.message)));
  const ask = async (proposal) => {
    show(element("p", { class: "soft" }, "judging…"));
    try {
      const { what_if: answer, refused } = await agent.whatIf(proposal);
      show(refused ? diagnosticItems(refused) : answerContent(answer, onopen));
    } catch (error) {
      failed(error);
    }
  };
  const apply = async (change, done) => {
    try {
      const { refused } = await change();
      show(refused ? diagnosticItems(refused) : element("p", { class: "good" }, done));
    } catch (error) {
      failed(error);
    }
  };
  const button = (name, onclick, properties = {}) => element("button", { type: "button", onclick, ...properties }, name);
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) ask({ manifests: input.value });
  });
  return [
    element("p", { class: "soft" }, demo ? "See what a text would change, or apply it: the agent enforces it at once." : "Nothing is applied here: the agent says what the text would change."),
    input,
    element("p", { class: "buttons" }, button("What would change?", () => ask({ manifests: input.value }), { id: "ask", class: "primary" }),
      policy && button("What if it were removed?", () => ask({ remove: [policy] })),
      demo && button("Apply", () => apply(() => demo.applyPolicy(input.value), "Applied. Watch the map."), { id: "apply" }),
      demo && policy && button("Remove", () => apply(() => demo.removePolicy(policy), "Removed. Watch the map."), { id: "remove" })),
    output,
  ];
}
