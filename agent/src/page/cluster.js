// What is known: pods by namespace, the flows seen lately, and the edges that they make.

const MAX_FLOWS = 1000;
const MAX_EDGES = 2000;
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
  return flow.divergence ?? flow.misses[0]?.text ?? flow.reason;
}

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
        return pods.map((pod) => ({ ...pod, id: `pod ${namespace.name}/${pod.name}`, namespace: namespace.name, workload: workload ?? pod.name, labels, isolation }));
      });
      pods.sort((a, b) => (a.workload < b.workload ? -1 : a.workload > b.workload ? 1 : a.name < b.name ? -1 : 1));
      pods.forEach((pod) => this.pods.set(pod.id, pod));
      return { name: namespace.name, policies: namespace.policies, pods };
    });
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
    this.flows.delete(flow.id);
    this.flows.set(flow.id, flow);
    if (this.flows.size > MAX_FLOWS) this.flows.delete(this.flows.keys().next().value);
    return { edge: this.touch(flow), known };
  }

  /** When a flow was seen last, by this clock. */
  lastSeen(flow) {
    const at = Date.parse(flow.last_seen);
    return isNaN(at) ? Date.now() : at - this.skew;
  }

  touch(flow) {
    const [from, to] = [this.place(flow.from), this.place(flow.to)];
    const key = `${from}\n${to}`;
    const edge = this.edges.get(key) ?? { key, from, to, at: { allow: -Infinity, deny: -Infinity } };
    this.edges.delete(key);
    this.edges.set(key, edge);
    edge.at[flow.verdict] = Math.max(edge.at[flow.verdict], this.lastSeen(flow));
    [edge.direction, edge.flow, edge.diverges] = [flow.direction, flow.id, flow.divergence !== null];
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

  /** What the layout is made of: groups, what stands in each, and who is connected with whom. */
  shape() {
    const groups = (this.namespaces ?? []).map(({ name, pods }) => ({ id: `namespace ${name}`, name, size: pods.length, members: pods }));
    const outside = [...this.outside.values()];
    if (outside.length > 0) groups.push({ id: OUTSIDE, name: OUTSIDE, size: outside.length, members: outside, isOutside: true });
    const places = groups.flatMap(({ members }, group) => members.map((member) => ({ id: member.id, group })));
    const index = new Map(places.map(({ id }, n) => [id, n]));
    const links = [...this.edges.values()].map(({ from, to }) => [index.get(from), index.get(to)]).filter(([a, b]) => a !== undefined && b !== undefined && a !== b);
    return { groups, places, links };
  }
}

/** Whether a flow is what the words of a filter ask for: each is found in one of its names. */
export function matchesFlow(flow, words) {
  if (words.length === 0) return true;
  const names = [flow.verdict, flow.direction, endName(flow.from), flow.from.address, endName(flow.to), flow.to.address, portText(flow), ...flow.isolated_by, why(flow)];
  const text = names.join("\n").toLowerCase();
  return words.every((word) => text.includes(word));
}

export function matchesPod(pod, words) {
  const text = [`${pod.namespace}/${pod.name}`, ...pod.addresses, ...Object.entries(pod.labels).map(([k, v]) => `${k}=${v}`)].join("\n").toLowerCase();
  return words.every((word) => text.includes(word));
}
