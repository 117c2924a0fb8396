//! What passes over the agent's socket: one JSON object a line, a request and its response.

use serde::{Deserialize, Serialize};

use crate::connection::Port;
use crate::explanation::Explanation;

/// Goes up when a field changes its meaning or goes; new fields and requests leave it.
pub const VERSION: u32 = 3;

/// The longest request, in bytes, its newline included.
pub const MAX_REQUEST_BYTES: usize = 64 << 10;
/// The longest response, in bytes: differences and problems are cut to `MAX_TOLD` before.
pub const MAX_RESPONSE_BYTES: usize = 16 << 20;

/// How many differences, problems or warnings are told; the rest is counted.
pub const MAX_TOLD: usize = 1000;

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
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "response", rename_all = "lowercase")]
pub enum Response {
    Status(Box<Status>),
    Explanation(Box<Explanation>),
    Verified(Verified),
    /// The agent cannot answer now: what it waits for.
    NotReady {
        reason: String,
    },
    /// The question makes no sense to it.
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
    /// What the kernel has otherwise; empty if it holds the program. At most `MAX_TOLD`.
    pub differences: Vec<String>,
    /// All differences, told or not.
    pub count: usize,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    #[default]
    Starting,
    /// Some manifest was not read whole yet; what the kernel had stays.
    WaitingForManifests,
    /// Another process owns the table; what it enforces stays.
    WaitingForTable,
    /// The kernel holds the program of the latest manifests.
    Enforcing,
    /// The kernel holds an earlier program: `detail` says why.
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
    /// Why the state is not `Enforcing`.
    pub detail: Option<String>,
    pub up_seconds: u64,
    /// Counts batches of changes.
    pub revision: u64,
    /// The revision that the kernel holds.
    pub enforced_revision: u64,
    pub files: usize,
    /// Files that are broken now; what they last gave stands.
    pub stale_files: Vec<String>,
    pub sizes: Sizes,
    pub time_to_enforce: TimeToEnforce,
    pub drift: Drift,
    pub bridges: Vec<String>,
    /// Traffic that policy speaks of and the kernel does not judge.
    pub not_enforced: Vec<String>,
    /// Of the sources; at most `MAX_TOLD`.
    pub problems: Vec<String>,
    pub problem_count: usize,
    /// Of the compile: contested addresses, bounds; at most `MAX_TOLD`.
    pub warnings: Vec<String>,
}

impl Status {
    /// Whether the kernel holds the program of the latest manifests.
    pub fn is_ready(&self) -> bool {
        self.state == State::Enforcing
    }

    /// Whether all that policy speaks of is enforced, as the latest manifests say it.
    pub fn enforces_all(&self) -> bool {
        self.is_ready() && self.not_enforced.is_empty()
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

impl From<palisade_compiler::compile::Stats> for Sizes {
    fn from(stats: palisade_compiler::compile::Stats) -> Self {
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

/// From the event of the file system to the kernel's acknowledgement, in microseconds.
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
