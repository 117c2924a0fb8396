//! The contenders that nft loads: a ruleset made from the cluster, and from then on differences.

use std::time::Instant;

use palisade_compiler::model::Family;
use palisade_compiler::snapshot::Snapshot;

use super::nft::{BASE, Ruleset, Table};
use super::{Contender, ContenderError, Edited, Loaded, chains, dispatch, families};
use crate::scenario::{Edit, Scenario};

/// A kind of ruleset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NftShape {
    Conntrack,
    PolicyChains,
    PodDispatch,
}

#[derive(Debug)]
struct State {
    snapshot: Snapshot,
    families: Vec<Family>,
    ruleset: Ruleset,
}

#[derive(Debug)]
pub(super) struct Nft {
    shape: NftShape,
    state: Option<State>,
}

impl Nft {
    pub(super) fn new(shape: NftShape) -> Self {
        Self { shape, state: None }
    }

    fn ruleset(&self, snapshot: &Snapshot, families: &[Family]) -> Result<Ruleset, ContenderError> {
        match self.shape {
            NftShape::Conntrack => Ok(conntrack()),
            NftShape::PolicyChains => Ok(chains::ruleset(snapshot, families)),
            NftShape::PodDispatch => dispatch::ruleset(snapshot, families),
        }
    }
}

/// `ct state established accept`, in tables of both families as Palisade has them.
pub(super) fn conntrack() -> Ruleset {
    let rules = vec!["ct state established accept".to_owned()];
    let chains = [(BASE.to_owned(), rules)].into_iter().collect();
    let table = Table { chains, ..Table::default() };
    Ruleset { tables: Family::ALL.into_iter().map(|family| (family, table.clone())).collect() }
}

impl Contender for Nft {
    fn name(&self) -> &'static str {
        match self.shape {
            NftShape::Conntrack => "conntrack",
            NftShape::PolicyChains => "nft-policy-chains",
            NftShape::PodDispatch => "nft-pod-dispatch",
        }
    }

    fn enforces(&self) -> bool {
        self.shape != NftShape::Conntrack
    }

    fn describe(&self) -> String {
        let text = match self.shape {
            NftShape::Conntrack => "one rule, `ct state established accept`; enforces nothing",
            NftShape::PolicyChains => {
                "a chain for each policy, jumped to from each pod's, peers in sets by selector: the shape of Calico's and \
                 kube-router's nftables modes; differences by one nft process"
            }
            NftShape::PodDispatch => {
                "a verdict map from pod to the chain of its class, and concatenated sets of (peer, protocol, port); \
                 differences by one nft process"
            }
        };
        text.to_owned()
    }

    fn load(&mut self, scenario: &Scenario) -> Result<Loaded, ContenderError> {
        let mut snapshot = Snapshot::new();
        let changes = scenario.changes();
        let started = Instant::now();
        changes.into_iter().for_each(|change| snapshot.apply(change));
        let families = families(scenario);
        let ruleset = self.ruleset(&snapshot, &families)?;
        let called = Instant::now();
        Ruleset::default().commit(&ruleset)?;
        let (elapsed, committed) = (started.elapsed(), called.elapsed());
        let loaded = Loaded { elapsed, committed, ..ruleset.size() };
        self.state = Some(State { snapshot, families, ruleset });
        Ok(loaded)
    }

    fn edit(&mut self, edit: &Edit) -> Result<Edited, ContenderError> {
        let started = Instant::now();
        let Some(mut state) = self.state.take() else { return Err(ContenderError::NotLoaded) };
        state.snapshot.apply(edit.change.clone());
        let ruleset = self.ruleset(&state.snapshot, &state.families)?;
        let called = Instant::now();
        state.ruleset.commit(&ruleset)?;
        let edited = Edited { elapsed: started.elapsed(), committed: called.elapsed() };
        state.ruleset = ruleset;
        self.state = Some(state);
        Ok(edited)
    }
}
