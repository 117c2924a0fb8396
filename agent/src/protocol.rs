//! What passes over the agent's socket: one JSON object a line, a request and its response.

mod source_guard;

use std::collections::BTreeMap;
use std::time::Instant;

use palisade_compiler::compile::{RowUsage, Stats};
use serde::{Deserialize, Serialize};

use crate::connection::Port;
use crate::explanation::Explanation;
use crate::findings::{Findings, LintStatus};
use crate::flows::counts::FlowCounts;
use crate::flows::filter::Filter;
use crate::flows::flow::Flow;
use crate::flows::hits::{PolicyDenials, RuleHits};
use crate::pod_list::PodList;
use crate::watch_state::KubernetesState;
use crate::what_if::{Proposal, WhatIf};

pub use source_guard::{SourceGuard, SourceGuardMode};

/// Goes up when a field changes its meaning or goes; new fields and requests leave it.
pub const VERSION: u32 = 3;

/// The longest request, in bytes, its newline included.
pub const MAX_REQUEST_BYTES: usize = 64 << 10;
/// The longest response, in bytes: differences and problems are cut to `MAX_LISTED` before.
pub const MAX_RESPONSE_BYTES: usize = 16 << 20;

/// How many differences, problems, warnings or held files are listed; all are counted.
pub const MAX_LISTED: usize = 1000;

/// How many of the policies that deny are listed.
pub const MAX_LISTED_POLICIES: usize = 20;
/// How many of the latest changes are listed.
pub const MAX_CHANGES: usize = 10;
/// How many elements of a change are listed; all are counted.
pub const MAX_ELEMENTS: usize = 20;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope<T> {
    pub version: u32,
    #[serde(flatten)]
    pub content: T,
}

impl<T> Envelope<T> {
    pub fn new(content: T) -> Self {
        Self { version: VERSION, content }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "lowercase")]
pub enum Request {
    Status,
    /// Ends, protocol and port as on the command line.
    Explain {
        from: String,
        to: String,
        protocol: String,
        port: Option<Port>,
    },
    /// Compares the kernel with the agent's program.
    Verify,
    /// What the linter finds in the agent's objects, and what lost its match.
    Lint,
    /// What a bug report needs beside the others.
    Support,
    /// The cluster's pods, and who isolates them.
    Pods,
    /// What an edit of policies would change.
    #[serde(rename = "what-if")]
    WhatIf(Proposal),
    /// The flows seen lately, each a response. `End` follows them, or without an end the flows to come.
    Observe(Observe),
}

/// Which flows are streamed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observe {
    /// How many of those that were seen before, at most.
    pub last: usize,
    /// Whether those to come are streamed as well, until the client closes the connection.
    pub follow: bool,
    #[serde(default)]
    pub filter: Filter,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "lowercase")]
pub enum Response {
    Status(Box<Status>),
    Explanation(Box<Explanation>),
    Verified(Verified),
    Findings(Box<Findings>),
    Support(Box<Support>),
    Pods(Box<PodList>),
    #[serde(rename = "what-if")]
    WhatIf(Box<WhatIf>),
    Flow(Box<Flow>),
    /// So many flows were left out here, since the client was too slow.
    Missed {
        count: u64,
    },
    /// There are no more flows.
    End,
    /// The agent cannot answer now: what it waits for.
    NotReady {
        reason: String,
    },
    /// The request cannot be understood, or names what there is not.
    Bad {
        reason: String,
    },
    /// The kernel or the agent failed.
    Failed {
        reason: String,
    },
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    pub revision: u64,
    /// Elements of the program, catch-alls not counted.
    pub elements: usize,
    /// What the kernel has otherwise; empty if it holds the program. At most `MAX_LISTED`.
    pub differences: Vec<String>,
    /// All differences, listed or not.
    pub count: usize,
    /// Traffic that policy speaks of and that does not meet the tables, whatever they hold.
    #[serde(default)]
    pub not_enforced: Vec<String>,
    /// What of local pods is not guarded.
    #[serde(default)]
    pub source_guard: Vec<String>,
}

/// What the agent knows of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Support {
    /// What it was started with.
    pub command_line: Vec<String>,
    /// The last lines of its log, the oldest first.
    pub log: Vec<String>,
    /// How many lines came before them.
    pub log_dropped: u64,
    /// What is measured, in the format of OpenMetrics.
    pub metrics: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    #[default]
    Starting,
    /// Some manifest was not read whole yet, or the API server has not listed everything; what the kernel had stays.
    WaitingForManifests,
    /// Another process owns the table; what it enforces stays.
    WaitingForTable,
    /// The kernel holds the program of the latest manifests.
    Enforcing,
    /// The kernel holds an earlier program: `detail` says why, or `doing` what is being done about it.
    Behind,
}

/// What is enforced now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The agent's version.
    pub agent: String,
    pub pid: u32,
    /// The node whose pods are local; every pod with an address is where there is none.
    pub node: Option<String>,
    pub state: State,
    /// Why the state is not `Enforcing`, if something hinders it.
    pub detail: Option<String>,
    /// The work that goes on at this moment, as in `programming 12 elements`.
    pub doing: Option<String>,
    /// For how long the kernel has held an earlier program than the latest manifests mean.
    pub behind_seconds: Option<u64>,
    pub up_seconds: u64,
    pub isolated: Isolated,
    /// Packets that were denied since the rules were last loaded; `None` if the kernel could not be asked.
    pub denied: Option<Denied>,
    /// The changes that the kernel took lately, the last one first; at most `MAX_CHANGES`.
    pub changes: Vec<EnforcedChange>,
    /// Counts batches of changes.
    pub revision: u64,
    /// The revision that the kernel holds.
    pub enforced_revision: u64,
    pub files: usize,
    /// The API server that is followed, if one is and not files.
    #[serde(default)]
    pub kubernetes: Option<Kubernetes>,
    /// Files whose present contents are not enforced, but what they held before. At most `MAX_LISTED`.
    pub held_files: Vec<HeldFile>,
    pub held_count: usize,
    pub sizes: Sizes,
    /// How full the tables are. Counted some seconds after a change.
    pub rows: Vec<Rows>,
    pub time_to_enforce: TimeToEnforce,
    pub drift: Drift,
    #[serde(default)]
    pub connections: Connections,
    #[serde(default)]
    pub hold: Hold,
    #[serde(default)]
    pub source_guard: SourceGuard,
    /// Denied connections that were seen.
    #[serde(default)]
    pub flows: FlowCounts,
    /// The policies that denied most of the packets that were seen, those first; at most `MAX_LISTED_POLICIES`.
    #[serde(default)]
    pub denials: Vec<PolicyDenials>,
    /// The rules that allowed most connections, those first; at most `MAX_LISTED_POLICIES`.
    #[serde(default)]
    pub allowances: Vec<RuleHits>,
    /// What is most likely not meant as it is written.
    #[serde(default)]
    pub lint: LintStatus,
    pub bridges: Vec<String>,
    /// Traffic that policy speaks of and the kernel does not judge.
    pub not_enforced: Vec<String>,
    /// Of the sources; at most `MAX_LISTED`.
    pub problems: Vec<String>,
    pub problem_count: usize,
    /// Of the compile: contested addresses, bounds, a node that nothing knows; at most `MAX_LISTED`.
    pub warnings: Vec<String>,
    /// How many of the problems and warnings mean that not all of the manifests is enforced as it stands.
    pub error_count: usize,
}

impl Status {
    /// Whether the kernel holds the program of the latest manifests.
    pub fn is_ready(&self) -> bool {
        self.state == State::Enforcing
    }

    /// Whether all that policy speaks of is enforced, as the latest manifests say it.
    pub fn enforces_all(&self) -> bool {
        self.is_ready()
            && self.not_enforced.is_empty()
            && self.held_count == 0
            && self.error_count == 0
            && self.connections.failure.is_none()
    }
}

/// Whether packets of unknown addresses in the ranges of this node's pods are held.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    pub state: HoldState,
    /// Why it is `off`, with the remedy.
    pub reason: Option<String>,
    /// The node's pod ranges, as CIDR blocks.
    pub ranges: Vec<String>,
    /// The first of the isolated pods that have no address yet, as `namespace/name`.
    pub awaited: Vec<String>,
    /// All of them, listed or not.
    pub awaited_count: usize,
    /// Whether the source does not hear what happens, so that there may be pods that nobody knows.
    pub source_behind: bool,
    /// For how long packets have been held.
    pub seconds: Option<u64>,
    /// Packets that were held since the agent began.
    pub packets: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HoldState {
    /// Nothing is awaited.
    #[default]
    Idle,
    /// Packets of unknown addresses are dropped.
    Holding,
    /// Packets of unknown addresses pass, also while pods are awaited.
    Off,
}

/// Pods of this host that policies isolate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Isolated {
    pub ingress: usize,
    pub egress: usize,
    /// In either direction or both.
    pub pods: usize,
}

/// Packets, of both families. Dropped for their form alone (a late TCP segment, say) are not among them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denied {
    pub ingress: u64,
    pub egress: u64,
}

/// A change that the kernel holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnforcedChange {
    pub revision: u64,
    /// The first of what changed, as in `NetworkPolicy shop/db changed (shop/db.yaml)`.
    pub objects: Vec<String>,
    /// All that changed, listed or not.
    pub object_count: usize,
    /// The first of what that did to the kernel's tables, in nft's words, at most `MAX_ELEMENTS`; none of a change of very many.
    pub elements: Vec<String>,
    pub element_count: usize,
    /// From the event of the source to the kernel's acknowledgement, in microseconds.
    pub took_us: u64,
    pub seconds_ago: u64,
}

/// A file whose present contents are not enforced, but what it held before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldFile {
    pub file: String,
    /// A predicate, as in `is being written`.
    pub reason: String,
    pub seconds: u64,
}

/// The API server that the agent follows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kubernetes {
    /// Its URL.
    pub server: String,
    /// Whether all that verdicts depend on was listed once.
    pub in_sync: bool,
    /// For how long something that verdicts depend on has not been watched: what is enforced is what was known before.
    pub behind_seconds: Option<u64>,
    pub watches: Vec<Watch>,
}

/// The watch of one kind of objects.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// The server's name for them, as in `networkpolicies`.
    pub resource: String,
    pub in_sync: bool,
    /// Whether the agent may read them; asked again from time to time. Verdicts do not depend on those that it may not.
    pub is_permitted: bool,
    /// Since the last event, bookmark or item of a list.
    pub heard_seconds_ago: Option<u64>,
    /// For how long they have not been watched, and why.
    pub outage_seconds: Option<u64>,
    pub error: Option<String>,
    /// How often all of them were listed.
    pub lists: u64,
    /// Failures of lists and watches, by what failed.
    pub errors: BTreeMap<String, u64>,
}

impl From<&KubernetesState> for Kubernetes {
    fn from(state: &KubernetesState) -> Self {
        let seconds = |at: Instant| at.elapsed().as_secs();
        let watches = state.watches.iter().map(|watch| Watch {
            resource: watch.resource().to_owned(),
            in_sync: watch.in_sync,
            is_permitted: watch.is_permitted,
            heard_seconds_ago: watch.heard.map(seconds),
            outage_seconds: watch.outage.as_ref().map(|outage| seconds(outage.since)),
            error: watch.outage.as_ref().map(|outage| outage.error.clone()),
            lists: watch.lists,
            errors: watch.errors.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect(),
        });
        Self {
            server: state.server.clone(),
            in_sync: state.is_in_sync(),
            behind_seconds: state.outage().map(|(_, outage)| seconds(outage.since)),
            watches: watches.collect(),
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    pub namespaces: usize,
    pub pods: usize,
    pub local_pods: usize,
    pub policies: usize,
    pub subjects_in: usize,
    pub subjects_out: usize,
    pub kinds: usize,
    pub groups: usize,
    pub classes: usize,
    pub profiles: usize,
    pub rows: usize,
    pub atoms: usize,
    pub elements: usize,
}

impl From<Stats> for Sizes {
    fn from(stats: Stats) -> Self {
        Self {
            namespaces: stats.namespaces,
            pods: stats.pods,
            local_pods: stats.local_pods,
            policies: stats.policies,
            subjects_in: stats.subjects_in,
            subjects_out: stats.subjects_out,
            kinds: stats.kinds,
            groups: stats.groups,
            classes: stats.classes,
            profiles: stats.profiles,
            rows: stats.rows,
            atoms: stats.atoms,
            elements: stats.elements,
        }
    }
}

/// How full the rows of one family and direction are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rows {
    pub family: String,
    pub direction: String,
    /// Rows that there would be if there were room for all.
    pub wanted: usize,
    pub bound: usize,
    /// Namespaces by the rows that their pods want, the largest first; some at most.
    pub largest: Vec<(String, usize)>,
}

impl From<RowUsage> for Rows {
    fn from(usage: RowUsage) -> Self {
        let largest = usage.largest.into_iter();
        Self {
            family: format!("{:?}", usage.family).to_lowercase(),
            direction: usage.direction.to_string(),
            wanted: usage.wanted,
            bound: usage.bound,
            largest: largest.map(|(namespace, rows)| (namespace.to_string(), rows)).collect(),
        }
    }
}

/// From the event of the source to the kernel's acknowledgement, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeToEnforce {
    pub last_us: Option<u64>,
    pub max_us: Option<u64>,
    /// How many changes it was taken of.
    pub count: u64,
}

/// What somebody else did to our tables.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// How often the kernel was compared with the program.
    pub checks: u64,
    /// How often it differed.
    pub found: u64,
    /// The first difference of the last time.
    pub last: Option<String>,
    pub seconds_since_check: Option<u64>,
}

/// Connections under way that were looked at after changes, since the agent began.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// How often connections were looked at.
    pub passes: u64,
    /// Connections that were judged by the policies that had just changed.
    pub judged: u64,
    /// Connections that were cut because policies forbid them now.
    pub cut: u64,
    /// Connections that were deleted because their address left its pod.
    pub flushed: u64,
    /// Connections without TCP that were cut and of which packets of the answering end are dropped, lest they begin anew.
    #[serde(default)]
    pub revoked_tuples: usize,
    /// Connections beyond the bound of these: their answering end may open them anew.
    #[serde(default)]
    pub lost_tuples: u64,
    /// How long the last look took, from the commit to the last connection cut, in microseconds.
    pub last_us: Option<u64>,
    pub max_us: Option<u64>,
    /// Looks that failed. They are repeated until they succeed.
    pub failures: u64,
    /// Why the last one failed; `None` since one succeeded.
    pub failure: Option<String>,
}
