// The page: what the agent says goes into what is known, and from there onto the map, the list and the tabs.

import { Agent } from "./agent.js";
import { Cluster, isolationKind, matchesPod } from "./cluster.js";
import { Demo } from "./demo.js";
import { Details } from "./details.js";
import { count } from "./elements.js";
import { showFindingCount, showFindings } from "./findings.js";
import { ClusterMap } from "./map.js";
import { showPolicies } from "./policies.js";
import { showFigures, showPods, showState, showStatus } from "./status.js";
import { Stream } from "./stream.js";

// How often the state is asked for: at once after a change, else now and then.
const STATE_AFTER = 300;
const STATE_EVERY = 5000;
// How long connections gather before the map is laid out anew for them.
const ARRANGE_AFTER = 400;
// Connections seen before are no news.
const PULSED_FOR = 5000;
const TABS = ["connections", "pods", "policies", "findings", "status"];
// How long after a change the linter is asked; it is asked again while its answer is of an earlier revision.
const LINT_AFTER = 700;
const LINT_AGAIN = 5000;
const THEME = "palisade-theme";

const $ = (id) => document.getElementById(id);
const cluster = new Cluster();
const link = { isUp: false, since: null, why: "" };
let [status, summary, lint, words, tab, wasUp] = [null, null, null, [], "connections", false];

const agent = new Agent({
  connected(skew) {
    cluster.skew = skew;
    [link.isUp, link.since] = [true, null];
    if (wasUp) {
      // The agent tells again what it has seen; it may be another one, which counts anew.
      cluster.forgetFlows();
      cluster.revision = null;
    }
    wasUp = true;
    stream.drawAll();
    refresh(0);
  },
  disconnected(why) {
    [link.isUp, link.since, link.why] = [false, link.since ?? Date.now(), why];
    showHead();
  },
  refused: askForToken,
  flow(flow) {
    const { edge, known } = cluster.take(flow);
    if (map.index.has(edge.from) && map.index.has(edge.to)) map.setEdges(cluster.edges);
    else arrangeLater();
    if (Date.now() - cluster.lastSeen(flow) < PULSED_FOR) map.pulse(edge, flow.verdict);
    stream.take(flow, !known);
  },
  missed({ count }) {
    cluster.missed += count;
    stream.later();
  },
  status(next) {
    const isChanged = next.revision !== cluster.revision;
    summary = next;
    showHead();
    if (isChanged) refresh(STATE_AFTER);
  },
});
const demo = Demo.find($("tour"), cluster);
const details = new Details($("details"), cluster, agent, { onopen: open, onclose: () => (map.select(null), map.mark(null), stream.mark(null)), onmark: (ids) => map.mark(ids), demo });
const stream = new Stream({ list: $("stream"), count: $("count"), quiet: $("quiet"), pause: $("pause"), verdicts: $("verdicts") }, cluster, (id) => open("flow", id));
const map = new ClusterMap($("canvas"), $("tip"), (found) => {
  if (found?.member) open(found.member.namespace ? "pod" : "end", found.member.id);
  else if (found?.workload) map.show(found.workload.members[0].id);
  else if (found?.line) open("flow", found.line.edge[found.line.verdict].flow, found.line.edge.key);
  else if (found?.group) open("namespace", found.group.id);
  else details.close();
}, ({ shown, leftOut }) => {
  $("left-out").hidden = leftOut === 0;
  $("left-out").textContent = `${shown.toLocaleString("en")} of ${count(shown + leftOut, "line")} are drawn, denied ones first: zoom in for the others`;
});
map.isStill = matchMedia("(prefers-reduced-motion: reduce)").matches;

function open(kind, id, key) {
  map.mark(null);
  details[kind](id);
  if (kind === "namespace" && document.activeElement !== $("canvas")) map.show(id);
  map.select(kind === "flow" ? key ?? edgeOf(id) : map.index.has(id) ? id : null);
  stream.mark(kind === "flow" ? id : null);
}

function edgeOf(id) {
  const flow = cluster.flows.get(id);
  return flow ? `${cluster.place(flow.from)}\n${cluster.place(flow.to)}` : null;
}

let [stateTimer, isAsking] = [null, false];

/** Asks for the state after so many milliseconds, and from then on now and then. */
function refresh(after) {
  clearTimeout(stateTimer);
  stateTimer = setTimeout(async () => {
    if (isAsking || !link.isUp) return refresh(STATE_AFTER);
    await ask();
    refresh(STATE_EVERY);
  }, after);
}

async function ask() {
  isAsking = true;
  try {
    take(await agent.state(cluster.revision));
  } catch {
    // The stream says whether the agent is there.
  }
  isAsking = false;
}

function take(state) {
  status = state.status;
  if (state.pods) {
    cluster.setPods(state.pods);
    cluster.linkAgain();
    arrange();
    drawTab();
    details.refresh();
    lintLater(LINT_AFTER);
    demo?.refresh();
  }
  showHead();
  if (tab === "status") showStatus($("status"), status, summary);
}

let lintTimer = null;

/** Asks the linter after so many milliseconds, and again until it knows the latest objects. */
function lintLater(after) {
  clearTimeout(lintTimer);
  lintTimer = setTimeout(async () => {
    try {
      lint = details.lint = await agent.lint();
      showFindingCount($("tab-findings"), lint);
      drawTab();
      if (lint.revision < cluster.revision) lintLater(LINT_AGAIN);
    } catch {
      // The stream says whether the agent is there.
      lintLater(LINT_AGAIN);
    }
  }, after);
}

let arrangeTimer = null;

function arrangeLater() {
  arrangeTimer ??= setTimeout(arrange, ARRANGE_AFTER);
}

function arrange() {
  clearTimeout(arrangeTimer);
  arrangeTimer = null;
  map.arrange(cluster.shape());
  map.setEdges(cluster.edges);
  $("empty").hidden = cluster.pods.size > 0;
  $("empty").textContent = "No pods are known yet.";
}

function drawTab() {
  if (tab === "pods") showPods($("pods"), cluster, (pod) => matchesPod(pod, words), isolationKind, (kind, id) => (open(kind, id), map.show(id)));
  if (tab === "policies") showPolicies($("policies"), cluster, lint, words, open, () => details.editor());
  if (tab === "findings") showFindings($("findings"), lint, words, (kind, id) => (open(kind, id), kind === "policy" || map.show(id)));
  if (tab === "status") showStatus($("status"), status, summary);
}

function showHead() {
  showState($("state"), $("banner"), link, summary);
  showFigures($("figures"), status, cluster, summary);
  document.title = link.isUp ? "Palisade" : "Palisade (disconnected)";
}

function choose(name) {
  tab = name;
  details.close();
  for (const each of TABS) {
    const isChosen = each === name;
    $(`tab-${each}`).setAttribute("aria-selected", isChosen);
    $(`tab-${each}`).tabIndex = isChosen ? 0 : -1;
    $(each).hidden = !isChosen;
  }
  drawTab();
}

function find() {
  words = $("find").value.toLowerCase().split(/\s+/).filter((word) => word);
  stream.filter(words);
  map.highlight(words.length === 0 ? () => true : (member) => !member.namespace || matchesPod(member, words));
  drawTab();
}

function openFirst() {
  const first = [...cluster.pods.values()].find((pod) => matchesPod(pod, words));
  if (!first || words.length === 0) return;
  open("pod", first.id);
  map.show(first.id);
}

/** Asks the user for a token that the agent takes. */
function askForToken(refusal) {
  [link.isUp, link.since, link.why] = [false, link.since ?? Date.now(), refusal.message];
  showHead();
  const dialog = $("token");
  if (refusal.status !== 401) {
    return new Promise((done) => setTimeout(done, STATE_EVERY));
  }
  $("token-why").textContent = agent.token ? "The agent refuses this token." : "";
  if (!dialog.open) dialog.showModal();
  return new Promise((done) => dialog.addEventListener("close", () => {
    agent.useToken($("token-text").value.trim());
    $("token-text").value = "";
    done();
  }, { once: true }));
}

function useTheme(theme) {
  document.documentElement.dataset.theme = theme;
  map.readColours();
}

const system = matchMedia("(prefers-color-scheme: dark)");
const theme = () => localStorage.getItem(THEME) ?? (system.matches ? "dark" : "light");
system.addEventListener("change", () => useTheme(theme()));

function otherTheme() {
  localStorage.setItem(THEME, theme() === "dark" ? "light" : "dark");
  useTheme(theme());
}

const KEYS = {
  "/": () => $("find").focus(),
  "j": () => (choose("connections"), stream.step(1)),
  "k": () => (choose("connections"), stream.step(-1)),
  "p": () => stream.toggle(),
  "t": otherTheme,
  "?": () => $("keys").showModal(),
  "v": () => (choose("connections"), stream.turn()),
  "w": () => details.editor(),
  "n": () => demo?.next(),
  ...Object.fromEntries(TABS.map((name, n) => [String(n + 1), () => choose(name)])),
  "+": () => map.zoom(1.3),
  "=": () => map.zoom(1.3),
  "-": () => map.zoom(1 / 1.3),
  "0": () => map.fit(),
};
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function escape() {
  if (details.isOpen) return details.close();
  $("find").value = "";
  $("find").blur();
  find();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.key === "Escape") return escape();
  const { activeElement: active } = document;
  if (active === $("canvas") && ARROWS[event.key]) {
    const step = 60 / map.view.scale;
    const [x, y] = ARROWS[event.key];
    map.move(x * step, y * step);
  } else if (active?.role === "tab" && ["ArrowLeft", "ArrowRight"].includes(event.key)) {
    const next = TABS[(TABS.indexOf(tab) + (event.key === "ArrowRight" ? 1 : TABS.length - 1)) % TABS.length];
    choose(next);
    $(`tab-${next}`).focus();
  } else if (!["INPUT", "SELECT", "TEXTAREA"].includes(active?.tagName) && KEYS[event.key]) {
    KEYS[event.key]();
  } else {
    return;
  }
  event.preventDefault();
});

TABS.forEach((name) => $(`tab-${name}`).addEventListener("click", () => choose(name)));
$("find").addEventListener("input", find);
$("find").addEventListener("keydown", (event) => event.key === "Enter" && openFirst());
$("theme").addEventListener("click", otherTheme);
$("help").addEventListener("click", () => $("keys").showModal());
$("zoom").addEventListener("click", ({ target }) => ({ in: () => map.zoom(1.4), out: () => map.zoom(1 / 1.4), fit: () => map.fit() })[target.dataset.zoom]?.());

useTheme(theme());
// How long something lasts goes on while nothing comes.
setInterval(showHead, 1000);
// Without waiting for the stream, so that there is a picture soon.
ask();
agent.listen();
// For tests, which ask what the map shows.
window.palisade = { map, cluster, demo };
