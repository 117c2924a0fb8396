//! A flow as it is stored, streamed and printed: denied packets or allowed connections of one kind, and why.

use std::collections::BTreeMap;
use std::fmt;

use clap::ValueEnum;
use palisade_compiler::explain::{End, Owner};
use palisade_compiler::model::{Direction, Verdict};
use palisade_compiler::snapshot::Snapshot;
use palisade_dataplane::netlink::conntrack::{Accounting, Carried};
use serde::{Deserialize, Serialize};

use crate::explanation::Miss;

/// The version of the lines that `observe -o json` prints. Goes up when a field changes its meaning or goes.
pub const FLOW_VERSION: u32 = 1;

/// Policies that are named in a flow; the rest is counted.
pub const MAX_POLICIES: usize = 16;

/// What the kernel did with the packets.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum FlowVerdict {
    Allow,
    Deny,
}

impl FlowVerdict {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

impl From<Verdict> for FlowVerdict {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Allow => Self::Allow,
            Verdict::Deny => Self::Deny,
        }
    }
}

/// The direction of the policies that decided, seen from their pod.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum FlowDirection {
    Ingress,
    Egress,
}

impl FlowDirection {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

impl From<Direction> for FlowDirection {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::Ingress => Self::Ingress,
            Direction::Egress => Self::Egress,
        }
    }
}

/// Packets from one address to another's port, of one direction and verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// Counts the flows of this agent. A flow that is seen again keeps it.
    pub id: u64,
    pub verdict: FlowVerdict,
    pub direction: FlowDirection,
    /// When the first and the last packet were seen, in RFC 3339, UTC.
    pub first_seen: String,
    pub last_seen: String,
    /// Denied packets that were seen, of which the kernel logs a part of a flood; or connections that were allowed.
    pub count: u64,
    /// `IPv4` or `IPv6`.
    pub family: String,
    pub from: FlowEnd,
    pub to: FlowEnd,
    /// IANA number.
    pub protocol: u8,
    /// The destination port; `null` for protocols without ports.
    pub port: Option<u16>,
    /// What the client connected to, where a Service translated it; known of allowed connections.
    #[serde(default)]
    pub service: Option<ServiceAddress>,
    /// The Services that a denied one may have come by: inferred from the EndpointSlices that name its destination.
    #[serde(default)]
    pub inferred_services: Vec<NamedService>,
    /// What those connections carried that have ended; of denied packets nothing.
    #[serde(default)]
    pub traffic: Traffic,
    #[serde(flatten)]
    pub judgement: Judgement,
}

#[cfg(test)]
impl Flow {
    /// A denied packet between ends of which nothing is known, for tests to say what differs.
    pub(crate) fn example() -> Self {
        Self {
            id: 1,
            verdict: FlowVerdict::Deny,
            direction: FlowDirection::Ingress,
            first_seen: String::new(),
            last_seen: String::new(),
            count: 1,
            family: "IPv4".into(),
            from: FlowEnd::default(),
            to: FlowEnd::default(),
            protocol: 6,
            port: Some(80),
            service: None,
            inferred_services: Vec::new(),
            traffic: Traffic::default(),
            judgement: Judgement::default(),
        }
    }
}

/// A Service's address and port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceAddress {
    pub address: String,
    /// `null` for protocols without ports.
    pub port: Option<u16>,
    /// `namespace/name`, where the Service is known.
    #[serde(default)]
    pub name: Option<String>,
}

/// A Service's port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedService {
    /// `namespace/name`
    pub name: String,
    pub port: u16,
}

/// What connections carried, known once they end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Connections that have ended.
    pub ended: u64,
    /// In both directions, from the IP header on; 0 where the kernel does not count them.
    pub packets: u64,
    pub bytes: u64,
    /// All durations together, in microseconds; 0 where the kernel does not note them.
    pub duration_us: u64,
}

impl Traffic {
    /// Of one connection.
    pub fn of(accounting: Accounting) -> Self {
        let Carried { packets, bytes } = accounting.carried.unwrap_or_default();
        let micros = accounting.duration.unwrap_or_default().as_micros();
        Self { ended: 1, packets, bytes, duration_us: u64::try_from(micros).unwrap_or(u64::MAX) }
    }

    pub fn add(&mut self, other: &Self) {
        self.ended = self.ended.saturating_add(other.ended);
        self.packets = self.packets.saturating_add(other.packets);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.duration_us = self.duration_us.saturating_add(other.duration_us);
    }
}

/// One end of a flow.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowEnd {
    pub address: String,
    /// `namespace/name` of the pod that has the address as its own.
    pub pod: Option<String>,
    /// That pod's namespace.
    pub namespace: Option<String>,
    /// That pod's uid, where its object has one.
    #[serde(default)]
    pub uid: Option<String>,
    /// That pod's labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What made that pod, as `Deployment/web`, by the labels that controllers set.
    #[serde(default)]
    pub workload: Option<String>,
    /// The node that has the address.
    pub node: Option<String>,
    /// The block of a rule that allows it, where one of the rules that do has an `ipBlock` for this end.
    #[serde(default)]
    pub cidr: Option<String>,
}

impl FlowEnd {
    pub fn of(end: &End, snapshot: &Snapshot) -> Self {
        let (mut pod, mut namespace, mut uid, mut node) = (None, None, None, None);
        let mut workload = None;
        let mut labels = BTreeMap::new();
        match &end.owner {
            Owner::Pod(name) => {
                pod = Some(name.to_string());
                namespace = Some(name.namespace.to_string());
                let object = snapshot.pod_named(&name.namespace, &name.name);
                uid = object.and_then(|pod| pod.uid.as_ref()).map(ToString::to_string);
                workload = object.and_then(|pod| pod.workload()).map(|it| it.to_string());
                let all = object.into_iter().flat_map(|pod| pod.labels.iter());
                labels = all.map(|(key, value)| (key.to_string(), value.to_string())).collect();
            }
            Owner::Host { nodes, .. } => node = nodes.first().map(ToString::to_string),
            Owner::Unknown => {}
        }
        let address = end.address.to_string();
        Self { address, pod, namespace, uid, labels, workload, node, cidr: None }
    }
}

/// `shop/web (10.0.0.1)`, `192.168.0.1 (node worker-1)`, `203.0.113.7`
impl fmt::Display for FlowEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = &self.address;
        match (&self.pod, &self.node) {
            (Some(pod), _) => write!(f, "{pod} ({address})"),
            (None, Some(node)) => write!(f, "{address} (node {node})"),
            (None, None) => f.write_str(address),
        }
    }
}

/// Why a flow has its verdict.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// The revision by which it is judged; `null` where that is not known any more.
    pub revision: Option<u64>,
    /// Why, in a sentence.
    pub reason: String,
    /// The policies that isolate the pod in the direction, as `namespace/name`; at most `MAX_POLICIES`.
    pub isolated_by: Vec<String>,
    /// The rules that allow it; at most `MAX_POLICIES`.
    #[serde(default)]
    pub allowed_by: Vec<AllowingRule>,
    /// For each of the policies of a denied one, what the rule that comes nearest would have needed; the nearest policy first.
    pub misses: Vec<Miss>,
    /// How many policies more isolate the pod.
    pub further: usize,
    /// Why the verdict is one that no revision in force at that time gives: a fault of Palisade, or somebody else's rules.
    pub divergence: Option<String>,
}

/// A rule that allows a connection.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AllowingRule {
    /// `namespace/name`
    pub policy: String,
    /// Its place in the policy's rules of the direction, from 0.
    pub rule: usize,
}

/// A judgement with the names of the ends, as the loop gives it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamedJudgement {
    pub from: FlowEnd,
    pub to: FlowEnd,
    pub services: Services,
    pub judgement: Judgement,
}

/// What the client connected to, before that was translated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Services {
    /// The name of the Service whose address it was.
    pub translated: Option<String>,
    /// Those that it may have been.
    pub inferred: Vec<NamedService>,
}

/// A line of `observe -o json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line<'a> {
    /// `FLOW_VERSION`
    pub version: u32,
    #[serde(flatten)]
    pub content: LineContent<'a>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum LineContent<'a> {
    Flow(&'a Flow),
    /// So many lines were left out, since the reader was too slow.
    Missed {
        count: u64,
    },
}

impl<'a> Line<'a> {
    pub fn new(content: LineContent<'a>) -> Self {
        Self { version: FLOW_VERSION, content }
    }
}
