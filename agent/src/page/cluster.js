// What is known: pods by namespace, the flows seen lately, and the edges that they make.

// Of each verdict.
const MAX_FLOWS = 1000;
const MAX_EDGES = 2000;
// Ports whose verdicts an edge remembers.
const MAX_EDGE_PORTS = 64;
// Ends that are no pods, each with a place of its own.
const MAX_OUTSIDE = 40;
const OUTSIDE = "outside the cluster";
const WORKLOAD_LABELS = ["app.kubernetes.io/name", "app", "k8s-app", "name"];
const PROTOCOLS = { 1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPv6", 132: "SCTP" };

export const protocolName = (number) => PROTOCOLS[number] ?? `protocol ${number}`;
export const portText = (flow) => (flow.port === null ? protocolName(flow.protocol) : `${protocolName(flow.protocol)} ${flow.port}`);
export const endName = (end) => end.pod ?? (end.node ? `node ${end.node}` : end.address);

/** What says in the fewest words why. */
export function why(flow) {
  if (flow.divergence) return flow.divergence;
  if (flow.allowed_by.length > 0) return `by ${flow.allowed_by.slice(0, 3).map(ruleName).join(", ")}${flow.allowed_by.length > 3 ? ` and ${flow.allowed_by.length - 3} more` : ""}`;
  return flow.misses[0]?.text ?? flow.reason;
}

export const ruleName = ({ policy, rule }) => `${policy}, rule ${rule + 1}`;

/** How a pod is isolated: both ways, one way, or not; or not known. */
export function isolationKind(pod) {
  if (!pod.isolation) return "open";
  const ways = [pod.isolation.ingress, pod.isolation.egress].filter((by) => by.policies.length > 0).length;
  return ["open", "one", "both"][ways];
}

export class Cluster {
  constructor() {
    this.pods = new Map();
    this.groups = [];
    this.outside = new Map();
    this.podCount = 0;
    this.further = 0;
    this.revision = null;
    this.skew = 0;
    this.forgetFlows();
  }

  forgetFlows() {
    this.flows = new Map();
    this.counts = { allow: 0, deny: 0 };
    this.edges = new Map();
    this.outside = new Map();
    this.missed = 0;
  }

  setPods(list) {
    this.pods.clear();
    this.revision = list.revision;
    [this.podCount, this.further] = [list.pod_count, list.further];
    this.namespaces = list.namespaces.map((namespace) => {
      const pods = namespace.label_sets.flatMap(({ labels, isolation, pods }) => {
        const workload = WORKLOAD_LABELS.map((key) => labels[key]).find((value) => value);
        return pods.map((pod) => ({ ...pod, id: `pod ${namespace.name}/${pod.name}`, namespace: namespace.name, workload: pod.workload ?? workload ?? pod.name, labels, isolation }));
      });
      pods.sort((a, b) => (a.workload < b.workload ? -1 : a.workload > b.workload ? 1 : a.name < b.name ? -1 : 1));
      pods.forEach((pod) => this.pods.set(pod.id, pod));
      return { name: namespace.name, policies: namespace.policies, policyNames: namespace.policy_names, labels: namespace.labels, pods };
    });
  }

  /** Whether there may be a policy of this name: of very many, not all are listed. */
  mayHavePolicy(name) {
    const at = name.indexOf("/");
    const namespace = (this.namespaces ?? []).find((it) => it.name === name.slice(0, at));
    return !namespace || namespace.policyNames.length < namespace.policies || namespace.policyNames.includes(name.slice(at + 1));
  }

  /** What stands on the map at this end. */
  place(end) {
    const pod = end.pod && `pod ${end.pod}`;
    if (pod && this.pods.has(pod)) return pod;
    const id = `end ${endName(end)}`;
    if (!this.outside.has(id)) {
      if (this.outside.size >= MAX_OUTSIDE) {
        this.outside.set("end others", { id: "end others", name: "others" });
        return "end others";
      }
      this.outside.set(id, { id, name: endName(end), address: end.address });
    }
    return id;
  }

  /** Takes in a flow; returns its edge and whether it was known. */
  take(flow) {
    const known = this.flows.get(flow.id);
    if (known) this.forget(known);
    this.flows.set(flow.id, flow);
    this.counts[flow.verdict] += 1;
    if (this.counts[flow.verdict] > MAX_FLOWS) {
      for (const old of this.flows.values()) {
        if (old.verdict !== flow.verdict) continue;
        this.forget(old);
        break;
      }
    }
    return { edge: this.touch(flow), known };
  }

  forget(flow) {
    this.flows.delete(flow.id);
    this.counts[flow.verdict] -= 1;
  }

  /** When a flow was seen last, by this clock. */
  lastSeen(flow) {
    const at = Date.parse(flow.last_seen);
    return isNaN(at) ? Date.now() : at - this.skew;
  }

  /** The edge of a flow, with what became of the latest connection to each port. */
  touch(flow) {
    const [from, to] = [this.place(flow.from), this.place(flow.to)];
    const key = `${from}\n${to}`;
    const edge = this.edges.get(key) ?? { key, from, to, ports: new Map() };
    this.edges.delete(key);
    this.edges.set(key, edge);
    const port = `${flow.family} ${portText(flow)}`;
    const [at, known] = [this.lastSeen(flow), edge.ports.get(port)];
    if (!known || known.at <= at) {
      edge.ports.delete(port);
      edge.ports.set(port, { verdict: flow.verdict, at, flow: flow.id, direction: flow.direction, diverges: flow.divergence !== null });
      if (edge.ports.size > MAX_EDGE_PORTS) edge.ports.delete(edge.ports.keys().next().value);
    }
    sumUp(edge);
    if (this.edges.size > MAX_EDGES) this.edges.delete(this.edges.keys().next().value);
    return edge;
  }

  /** Once pods are known anew, ends of flows may have become pods, or may be none any more. */
  linkAgain() {
    this.edges.clear();
    this.outside.clear();
    for (const flow of this.flows.values()) this.touch(flow);
  }

  flowsOf(podId) {
    const name = podId.slice("pod ".length);
    return [...this.flows.values()].filter((flow) => flow.from.pod === name || flow.to.pod === name).reverse();
  }

  /** What the layout is made of: groups, the workloads of each, what stands in them, and which workloads are connected. */
  shape() {
    const groups = (this.namespaces ?? []).map(({ name, pods }) => ({ id: `namespace ${name}`, name, members: pods }));
    const outside = [...this.outside.values()];
    if (outside.length > 0) groups.push({ id: OUTSIDE, name: OUTSIDE, members: outside, isOutside: true });
    const [workloads, places] = [[], []];
    groups.forEach((group, at) => {
      // Pods are sorted by workload.
      for (const member of group.members) {
        const name = member.workload ?? member.name;
        if (workloads.at(-1)?.group !== at || workloads.at(-1).name !== name) workloads.push({ id: `${group.id}\n${name}`, name, group: at, members: [] });
        workloads.at(-1).members.push(member);
        places.push({ id: member.id, workload: workloads.length - 1 });
      }
    });
    const index = new Map(places.map(({ id, workload }) => [id, workload]));
    const links = new Map();
    for (const { from, to } of this.edges.values()) {
      const [a, b] = [index.get(from), index.get(to)];
      if (a !== undefined && b !== undefined && a !== b) links.set(`${a} ${b}`, [a, b]);
    }
    return { groups, workloads, places, links: [...links.values()] };
  }
}

/** Sums up the ports of an edge: the latest connection of each verdict, and how many there are. A port counts with its latest verdict only. */
function sumUp(edge) {
  [edge.allow, edge.deny, edge.allowed, edge.denied] = [null, null, 0, 0];
  for (const port of edge.ports.values()) {
    if (port.verdict === "deny") edge.denied += 1;
    else edge.allowed += 1;
    if ((edge[port.verdict]?.at ?? -Infinity) <= port.at) edge[port.verdict] = port;
  }
}

/** Whether a flow is what the words of a filter ask for: each is found in one of its names. */
export function matchesFlow(flow, words) {
  if (words.length === 0) return true;
  const names = [flow.verdict, flow.direction, ...flow.allowed_by.map(({ policy }) => policy), endName(flow.from), flow.from.address, endName(flow.to), flow.to.address, portText(flow), ...flow.isolated_by, why(flow)];
  const text = names.join("\n").toLowerCase();
  return words.every((word) => text.includes(word));
}

export function matchesPod(pod, words) {
  const text = [`${pod.namespace}/${pod.name}`, ...pod.addresses, ...Object.entries(pod.labels).map(([k, v]) => `${k}=${v}`)].join("\n").toLowerCase();
  return words.every((word) => text.includes(word));
}
