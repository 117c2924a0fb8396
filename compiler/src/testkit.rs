//! Clusters for tests and benches: written by hand, or random from a seed.
//!
//! Everything depends only on the arguments, so that the seed in a failure message is enough to reproduce the failure.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test tool: a wrong argument is a mistake in the test and must stop it"
)]

pub mod build;
mod minimize;
pub mod probes;
pub mod random;
pub mod rng;
pub mod show;
mod wide;

use crate::snapshot::{Change, Snapshot};

pub use build::{connection, namespace, node, pod, policy, rule, selector};
pub use probes::probes;
pub use random::{random_edit, relist};
pub use rng::Rng;
pub use wide::widen;

/// A small cluster, given by the changes that create it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cluster {
    pub changes: Vec<Change>,
}

impl Cluster {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an object: `Cluster::new().with(pod("web/a").ip("10.0.0.1"))`.
    #[must_use]
    pub fn with(mut self, object: impl Into<Change>) -> Self {
        self.changes.push(object.into());
        self
    }

    /// A cluster with unusual objects of every kind. Names and addresses come from pools so small that they collide.
    pub fn random(seed: u64) -> Self {
        Self { changes: random::changes(&mut Rng::new(seed)) }
    }

    /// As `random`, but some rules have long lists of ports.
    pub fn random_wide(seed: u64) -> Self {
        let mut cluster = Self::random(seed);
        let mut rng = Rng::new(!seed);
        cluster.changes.iter_mut().for_each(|change| widen(&mut rng, change));
        cluster
    }

    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot::new();
        self.changes.iter().cloned().for_each(|change| snapshot.apply(change));
        snapshot
    }

    /// A smaller cluster that still fails. Objects, and then parts of policies, are left out one by one as long as the test
    /// fails.
    #[must_use]
    pub fn minimized(&self, fails: impl Fn(&Self) -> bool) -> Self {
        let fails = |changes: &[Change]| fails(&Self { changes: changes.to_vec() });
        Self { changes: minimize::minimize(&self.changes, fails) }
    }
}
