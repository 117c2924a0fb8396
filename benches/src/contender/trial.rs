//! Contenders held against the oracle by real packets.
//!
//! The node's pods are network namespaces, everyone else is a host behind the node; first packets go through the node's
//! forwarding, and what arrives is compared with what the oracle says. A denial is proved by a marker behind it, not waited for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use palisade::lab::{Host, Lab, LabError, LabSpec, Layout, Namespace, Seen};
use palisade_compiler::model::Verdict;

use super::{Contender, ContenderError, Loaded, Mismatch};
use crate::scenario::{Edit, Flow, Scenario};

/// Connections with each verdict that a contender is held against the oracle on.
pub const SAMPLE: usize = 64;

/// A node with the pods of a scenario that its sample needs, for one contender.
#[derive(Debug)]
pub struct Trial {
    scenario: Scenario,
    lab: Lab,
    sample: Vec<(Flow, Verdict)>,
    edits: Vec<Edit>,
}

impl Trial {
    /// Draws the sample: [`SAMPLE`] connections of each verdict, that meet a policy at both ends, one, or none; and the
    /// first `edits` of the scenario.
    ///
    /// # Errors
    /// `TooFew` where the scenario has no such sample, `Unseen` where network namespaces cannot be had.
    pub fn new(scenario: &Scenario, edits: usize) -> Result<Self, Mismatch> {
        let mut sample = Vec::new();
        for (allowed, verdict) in [(true, Verdict::Allow), (false, Verdict::Deny)] {
            let flows = scenario.flows(SAMPLE, allowed);
            if flows.len() < SAMPLE {
                return Err(Mismatch::TooFew { verdict, count: flows.len(), wanted: SAMPLE });
            }
            sample.extend(flows.into_iter().map(|flow| (flow, verdict)));
        }
        let edits: Vec<Edit> = scenario.edits().take(edits).collect();
        let flows = sample.iter().map(|(flow, _)| *flow).chain(edits.iter().map(|edit| edit.probe));
        let lab = lab(scenario, flows).map_err(unseen)?;
        Ok(Self { scenario: scenario.clone(), lab, sample, edits })
    }

    /// Where the contender is loaded: a node whose forwarding connects the pods.
    pub fn namespace(&self) -> &Namespace {
        self.lab.node()
    }

    /// Loads a contender into the node, tries the sample, and follows the edits, each of them tried before and after.
    ///
    /// # Errors
    /// The first verdict that is not the oracle's; `Failed` if the contender did, or why nothing was learnt.
    pub fn check(&self, contender: &mut dyn Contender) -> Result<Loaded, Mismatch> {
        let name = contender.name();
        let failed = |error: ContenderError| Mismatch::Failed { contender: name, error };
        let node = self.namespace();
        let loaded =
            node.run(|| contender.load(&self.scenario)).map_err(unseen)?.map_err(failed)?;
        self.compare(name, &self.sample)?;
        for edit in &self.edits {
            self.compare(name, &[(edit.probe, edit.from)])?;
            node.run(|| contender.edit(edit)).map_err(unseen)?.map_err(failed)?;
            self.compare(name, &[(edit.probe, edit.to)])?;
        }
        self.compare(name, &self.sample_untouched())?;
        Ok(loaded)
    }

    /// The sample once more, but for connections whose verdict an edit may have left another.
    fn sample_untouched(&self) -> Vec<(Flow, Verdict)> {
        let touched: BTreeSet<IpAddr> =
            self.edits.iter().flat_map(|edit| [edit.probe.from, edit.probe.to]).collect();
        let is_touched = |flow: &Flow| touched.contains(&flow.from) || touched.contains(&flow.to);
        self.sample.iter().filter(|(flow, _)| !is_touched(flow)).copied().collect()
    }

    fn compare(
        &self,
        contender: &'static str,
        expected: &[(Flow, Verdict)],
    ) -> Result<(), Mismatch> {
        let connections: Vec<_> = expected.iter().map(|(flow, _)| flow.connection()).collect();
        let seen = self.lab.probe(&connections).map_err(unseen)?;
        for (&(flow, expected), seen) in expected.iter().zip(seen) {
            let seen = if seen == Seen::Allowed { Verdict::Allow } else { Verdict::Deny };
            if seen != expected {
                return Err(Mismatch::Verdict { contender, flow, seen, expected });
            }
        }
        Ok(())
    }
}

/// Loads a contender that is not loaded yet into a node made for it, and holds it against the oracle there; see [`Trial`].
///
/// # Errors
/// As [`Trial::new`] and [`Trial::check`].
pub fn check(
    contender: &mut dyn Contender,
    scenario: &Scenario,
    edits: usize,
) -> Result<Loaded, Mismatch> {
    Trial::new(scenario, edits)?.check(contender)
}

fn unseen(error: LabError) -> Mismatch {
    Mismatch::Unseen(error.to_string())
}

/// Every address of the flows: the node's pods as machines, all others as one host outside.
fn lab(scenario: &Scenario, flows: impl Iterator<Item = Flow>) -> Result<Lab, LabError> {
    let mut pods: BTreeMap<usize, BTreeSet<IpAddr>> = BTreeMap::new();
    let mut outside = BTreeSet::new();
    for address in flows.flat_map(|flow| [flow.from, flow.to]) {
        match scenario.local_slot(address) {
            Some(slot) => _ = pods.entry(slot).or_default().insert(address),
            None => _ = outside.insert(address),
        }
    }
    let host = |(slot, addresses): (usize, BTreeSet<IpAddr>)| Host {
        name: format!("pod-{slot}"),
        addresses: addresses.into_iter().collect(),
    };
    let mut spec = LabSpec::new(Layout::Routed, pods.into_iter().map(host).collect());
    spec.outside = outside.into_iter().collect();
    Lab::new(&spec)
}
