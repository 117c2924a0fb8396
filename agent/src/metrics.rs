//! What is measured while the agent works, and its exposition together with what the status says.
//!
//! ```text
//! loop, readers of kernel events, HTTP --observe--> Metrics --+
//! PublishedStatus, engine, the kernel's counters, /proc ------+--> exposition (text of OpenMetrics)
//! ```
//!
//! Times and events are observed where they happen, at the price of an uncontended lock. What the status knows is read from it
//! when somebody asks.

pub mod exposition;
mod flow_samples;
mod guard_samples;
mod lint_samples;
mod process;
mod samples;
mod status_samples;
mod watch_samples;

use std::time::Duration;

use palisade_compiler::snapshot::ObjectKind;
use palisade_dataplane::ruleset::RulesetError;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::flows::flow::FlowVerdict;

/// One label with one of few values that the program knows.
pub type Label = [(&'static str, &'static str); 1];

/// Upper ends of the buckets of times, in seconds: from an element's commit to the load of a full table.
const SECONDS: [f64; 16] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    120.0,
];

/// Where events come from that may be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventSource {
    /// Links, addresses and routes of this host.
    Links,
    /// Changes of nftables by others.
    Nftables,
}

impl EventSource {
    const ALL: [Self; 2] = [Self::Links, Self::Nftables];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Links => "links",
            Self::Nftables => "nftables",
        }
    }
}

/// A handle to what is measured; clones measure the same.
#[derive(Debug, Clone)]
pub struct Metrics {
    enforcement: Family<Label, Histogram, fn() -> Histogram>,
    compile: Histogram,
    plan: Histogram,
    commit: Histogram,
    grace: Histogram,
    verify: Histogram,
    heal: Histogram,
    revocation: Histogram,
    flow_delay: Family<Label, Histogram, fn() -> Histogram>,
    failures: Family<Label, Counter>,
    events_lost: Family<Label, Counter>,
    requests_refused: Counter,
    connections_dropped: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            enforcement: Family::new_with_constructor(seconds),
            compile: seconds(),
            plan: seconds(),
            commit: seconds(),
            grace: seconds(),
            verify: seconds(),
            heal: seconds(),
            revocation: seconds(),
            flow_delay: Family::new_with_constructor(seconds),
            failures: Family::default(),
            events_lost: Family::default(),
            requests_refused: Counter::default(),
            connections_dropped: Counter::default(),
        };
        metrics.begin_at_zero();
        metrics
    }
}

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

impl Metrics {
    /// Has series of every label from the start, so that a rate over the first event is right.
    fn begin_at_zero(&self) {
        for kind in ObjectKind::ALL {
            drop(self.enforcement.get_or_create(&[("kind", kind_name(kind))]));
        }
        for verdict in [FlowVerdict::Allow, FlowVerdict::Deny] {
            drop(self.flow_delay.get_or_create(&[("verdict", verdict.as_str())]));
        }
        for kind in FAILURES {
            drop(self.failures.get_or_create(&[("kind", kind)]));
        }
        for source in EventSource::ALL {
            drop(self.events_lost.get_or_create(&[("source", source.as_str())]));
        }
    }

    /// The kernel acknowledged a change of objects of these kinds, so long after the event that led to it.
    pub fn enforced(&self, kinds: impl IntoIterator<Item = ObjectKind>, took: Duration) {
        for kind in kinds {
            let histogram = self.enforcement.get_or_create(&[("kind", kind_name(kind))]);
            histogram.observe(took.as_secs_f64());
        }
    }

    /// The program was brought up to a batch of changes.
    pub fn compiled(&self, took: Duration) {
        self.compile.observe(took.as_secs_f64());
    }

    /// A change of the program was planned: the time of its update less that of the kernel.
    pub fn planned(&self, took: Duration) {
        self.plan.observe(took.as_secs_f64());
    }

    /// The kernel took a transaction.
    pub fn committed(&self, took: Duration) {
        self.commit.observe(took.as_secs_f64());
    }

    /// A grace period passed.
    pub fn waited(&self, took: Duration) {
        self.grace.observe(took.as_secs_f64());
    }

    /// The kernel was read back and compared, whatever came of it.
    pub fn verified(&self, took: Duration) {
        self.verify.observe(took.as_secs_f64());
    }

    /// What somebody else had changed was put right, so long after it was noticed.
    pub fn healed(&self, took: Duration) {
        self.heal.observe(took.as_secs_f64());
    }

    /// The connections under way were judged after a change, from its commit to the last one that was cut.
    pub fn revoked(&self, took: Duration) {
        self.revocation.observe(took.as_secs_f64());
    }

    /// A denied packet, or the first of some connections that were allowed, is a flow, so long after it came.
    pub fn recorded(&self, verdict: FlowVerdict, took: Duration) {
        let histogram = self.flow_delay.get_or_create(&[("verdict", verdict.as_str())]);
        histogram.observe(took.as_secs_f64());
    }

    /// The kernel could not be read or written.
    pub fn failed(&self, error: &RulesetError) {
        self.failures.get_or_create(&[("kind", failure_name(error))]).inc();
    }

    /// Events of the kernel were lost, since there was no room for them.
    pub fn lost_events(&self, source: EventSource) {
        self.events_lost.get_or_create(&[("source", source.as_str())]).inc();
    }

    /// A question was refused, since too many wait.
    pub fn refused_request(&self) {
        self.requests_refused.inc();
    }

    /// An HTTP connection was closed before its answer, since too many are open or since its client is too slow.
    pub fn dropped_connection(&self) {
        self.connections_dropped.inc();
    }

    fn register(&self, registry: &mut Registry) {
        self.register_times(registry);
        registry.register(
            "failures",
            "Reads and writes of nftables that failed, by kind. Above zero now and again is met by trying again (retry, unknown, \
             full). If it grows steadily, palisade status says what the kernel answers: owned means that another process owns the \
             tables, not_permitted that CAP_NET_ADMIN is missing",
            self.failures.clone(),
        );
        registry.register(
            "events_lost",
            "Times that the kernel had no room for its events, by what they tell. All is read again then, so nothing stays \
             unnoticed. If it grows steadily, something on this host changes links or rules all the time",
            self.events_lost.clone(),
        );
        registry.register(
            "requests_refused",
            "Questions by the socket that were refused since too many waited. If it grows, look for a client that asks without pause",
            self.requests_refused.clone(),
        );
        registry.register(
            "http_connections_dropped",
            "HTTP connections closed without an answer, since too many were open or since the client was too slow. If it grows, look \
             for what else connects to the agent's port",
            self.connections_dropped.clone(),
        );
    }

    fn register_times(&self, registry: &mut Registry) {
        let mut time = |name: &str, help: &str, histogram: &Histogram| {
            registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
        };
        time(
            "compile",
            "Time to bring the program up to a batch of changes. If it is long, look which policies select or allow most: \
             palisade_namespace_rows_wanted",
            &self.compile,
        );
        time(
            "plan",
            "Time to order a change into transactions. If it is long, the changes are large: palisade_elements_written_total",
            &self.plan,
        );
        time(
            "commit",
            "Time of one transaction in the kernel. If it is long, other programs hold nftables or commit large rulesets at that time",
            &self.commit,
        );
        time(
            "grace",
            "Time of one grace period, in which packets under way are waited for. Some tens of milliseconds are usual; if it is \
             long, the host's processors are overloaded",
            &self.grace,
        );
        time(
            "verify",
            "Time to read the kernel back and compare it with the program. It grows with the elements and delays no packet",
            &self.verify,
        );
        time(
            "heal",
            "Time from noticing that somebody changed the tables to having put them right. If it has any count, find out who \
             changes them: the log says what differed",
            &self.heal,
        );
        time(
            "revocation",
            "Time from a commit to having cut the last connection that it forbids. It grows with the tracked connections; if it is \
             long, the host's processors are overloaded",
            &self.revocation,
        );
        registry.register_with_unit(
            "enforcement",
            "Time from the event of the source to the kernel's acknowledgement, by the kind of object that changed; of changes that \
             changed something in the kernel. If it is long, compare palisade_compile_seconds, palisade_plan_seconds, \
             palisade_commit_seconds and palisade_grace_seconds, which are its parts",
            Unit::Seconds,
            self.enforcement.clone(),
        );
        registry.register_with_unit(
            "flow_delay",
            "Time from a packet to the flow that palisade observe shows, by verdict: from when the kernel says that the packet came or \
             the connection began (Linux 6.15 with nf_conntrack_timestamp), else from when the agent read of it. Connections are gathered \
             for a tenth of a second, and the loop judges what is new when it has nothing more urgent. If it is long, see \
             palisade_flow_lost_total",
            Unit::Seconds,
            self.flow_delay.clone(),
        );
    }
}

/// The names of `RulesetError`s.
const FAILURES: [&str; 8] =
    ["full", "io", "not_permitted", "owned", "refused", "retry", "unknown", "unsupported"];

const fn failure_name(error: &RulesetError) -> &'static str {
    match error {
        RulesetError::Retry { .. } => "retry",
        RulesetError::Unknown { .. } => "unknown",
        RulesetError::Full { .. } => "full",
        RulesetError::NotPermitted { .. } => "not_permitted",
        RulesetError::Owned { .. } => "owned",
        RulesetError::Unsupported { .. } => "unsupported",
        RulesetError::Refused { .. } => "refused",
        RulesetError::Io(_) => "io",
    }
}

/// As the API names the kind, in lower case.
pub const fn kind_name(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Namespace => "namespace",
        ObjectKind::Node => "node",
        ObjectKind::Pod => "pod",
        ObjectKind::Policy => "networkpolicy",
        ObjectKind::Service => "service",
        ObjectKind::EndpointSlice => "endpointslice",
    }
}
