//! Whether packets of unknown addresses in the ranges of this node's pods are held, and why.
//!
//! They are held while a pod of this node that policies isolate has no address yet: until its address is known, any of the
//! node's unknown addresses may be that pod's. They are also held while the source does not hear what happens, for then a pod
//! may be there that nobody knows. Nothing is held on a node without isolated pods.

use std::net::IpAddr;

use ipnet::IpNet;
use palisade_compiler::compile::Compiler;
use palisade_compiler::model::{Family, Pod};
use palisade_compiler::program::AddressRange;
use palisade_dataplane::host::HostFacts;

/// How many of the awaited pods are named.
pub const MAX_NAMED: usize = 10;

/// What is done about unknown addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Hold {
    /// They would not be held: why, with the remedy.
    Off { reason: String },
    /// They would be held, but nothing is awaited.
    #[default]
    Idle,
    On {
        /// The first `MAX_NAMED` of the pods that have no address yet, as `namespace/name`.
        awaited: Vec<String>,
        awaited_count: usize,
        /// Whether the source does not hear what happens.
        is_behind: bool,
    },
}

/// What a hold is decided by, and what follows from it.
#[derive(Debug, Default)]
pub struct Holding {
    /// The ranges that were given; those of the Node object apply where there are none.
    given: Vec<IpNet>,
    /// The ranges that apply.
    ranges: Vec<IpNet>,
    /// How often local pods had changed when `misplaced` was looked for.
    seen: u64,
    /// The first address of a local pod that is in none of the ranges.
    misplaced: Option<IpAddr>,
    /// Whether there are pods that a hold is for.
    is_wanted: bool,
    state: Hold,
    facts: HostFacts,
}

impl Holding {
    pub fn new(given: Vec<IpNet>) -> Self {
        Self { given, ..Self::default() }
    }

    pub fn state(&self) -> &Hold {
        &self.state
    }

    pub fn ranges(&self) -> &[IpNet] {
        &self.ranges
    }

    /// Whether a hold would be for anything: there is a node, and policies isolate pods of it.
    pub fn is_wanted(&self) -> bool {
        self.is_wanted
    }

    /// What the tables must hold of it: nothing while nothing is held.
    pub fn facts(&self) -> &HostFacts {
        &self.facts
    }

    /// Decides anew for what the compiler holds now.
    pub fn update(&mut self, compiler: &Compiler, node: Option<&str>, is_behind: bool) {
        self.look_at_ranges(compiler, node);
        self.is_wanted = node.is_some() && compiler.stats().isolated.either > 0;
        self.state = self.decide(compiler, node, is_behind);
        self.facts = match self.state {
            Hold::On { .. } => self.holding(compiler),
            Hold::Off { .. } | Hold::Idle => HostFacts::default(),
        };
    }

    fn look_at_ranges(&mut self, compiler: &Compiler, node: Option<&str>) {
        let of_node = || node.and_then(|node| compiler.snapshot().node(node));
        let ranges = match self.given.as_slice() {
            [] => of_node().map_or(&[][..], |node| node.pod_ranges.as_slice()),
            given => given,
        };
        let changes = compiler.local_changes();
        if self.ranges == ranges && self.seen == changes {
            return;
        }
        self.seen = changes;
        self.ranges = ranges.to_vec();
        let is_outside =
            |address: &IpAddr| !self.ranges.iter().any(|range| range.contains(address));
        self.misplaced = compiler.local_addresses().find(is_outside);
    }

    fn decide(&self, compiler: &Compiler, node: Option<&str>, is_behind: bool) -> Hold {
        let off = |reason: String| Hold::Off { reason };
        let Some(node) = node else {
            return off("without --node-name it is not known which pods are to come".to_owned());
        };
        if self.ranges.is_empty() {
            return off(format!(
                "the range of this node's pods is not known: Node {node} has no spec.podCIDRs, and no --pod-cidr is given"
            ));
        }
        if let Some(address) = self.misplaced {
            let ranges: Vec<String> = self.ranges.iter().map(ToString::to_string).collect();
            return off(format!(
                "a pod of this node has the address {address}, which is not in the node's range of pods ({}): give the right one by \
                 --pod-cidr",
                ranges.join(", ")
            ));
        }
        let awaited_count = compiler.awaited_pods().count();
        let is_behind = is_behind && self.is_wanted;
        if awaited_count == 0 && !is_behind {
            return Hold::Idle;
        }
        let name = |pod: &Pod| format!("{}/{}", pod.namespace, pod.name);
        let awaited = compiler.awaited_pods().take(MAX_NAMED).map(name).collect();
        Hold::On { awaited, awaited_count, is_behind }
    }

    fn holding(&self, compiler: &Compiler) -> HostFacts {
        let mut facts = HostFacts::default();
        for range in &self.ranges {
            let (first, last) = (range.network(), range.broadcast());
            let held = match Family::of(first) {
                Family::V4 => &mut facts.held_ipv4,
                Family::V6 => &mut facts.held_ipv6,
            };
            held.insert(AddressRange { first, last });
        }
        for address in compiler.local_addresses() {
            match Family::of(address) {
                Family::V4 => facts.known_ipv4.insert(address),
                Family::V6 => facts.known_ipv6.insert(address),
            };
        }
        facts
    }
}

#[cfg(test)]
mod tests {
    use palisade_compiler::compile::Locality;
    use palisade_compiler::snapshot::Change;
    use palisade_compiler::testkit::{node, pod, policy};

    use super::*;

    fn compiler(changes: impl IntoIterator<Item = Change>) -> Compiler {
        let mut compiler = Compiler::new(Locality::Node("here".into()));
        compiler.apply(changes);
        compiler
    }

    fn here() -> Change {
        let mut node = node("here", &["192.0.2.1"]);
        node.pod_ranges = vec!["10.1.0.0/24".parse().unwrap(), "fd00:1::/64".parse().unwrap()];
        Change::ApplyNode(node)
    }

    fn isolation() -> Change {
        Change::ApplyPolicy(policy("x/db").select("app=db").isolate_ingress())
    }

    fn decided(compiler: &Compiler, is_behind: bool) -> Holding {
        let mut holding = Holding::default();
        holding.update(compiler, Some("here"), is_behind);
        holding
    }

    #[test]
    fn a_selected_pod_without_an_address_is_awaited_until_it_has_one() {
        let unborn = pod("x/db").labelled("app=db").on("here");
        let other = pod("x/web").labelled("app=web").ip("10.1.0.7").on("here");
        let mut compiler = compiler([
            here(),
            isolation(),
            Change::ApplyPod(unborn.clone()),
            Change::ApplyPod(other),
        ]);
        let holding = decided(&compiler, false);
        let awaited = vec!["x/db".to_owned()];
        assert_eq!(*holding.state(), Hold::On { awaited, awaited_count: 1, is_behind: false });
        let facts = holding.facts();
        assert_eq!((facts.held_ipv4.len(), facts.held_ipv6.len()), (1, 1));
        assert_eq!(facts.known_ipv4, ["10.1.0.7".parse().unwrap()].into());
        compiler.apply([Change::ApplyPod(unborn.ip("10.1.0.8"))]);
        let holding = decided(&compiler, false);
        assert_eq!((holding.state(), holding.facts()), (&Hold::Idle, &HostFacts::default()));
    }

    #[test]
    fn nothing_is_held_for_pods_that_no_policy_selects_and_for_those_of_other_nodes() {
        let unselected = pod("x/web").labelled("app=web").on("here");
        let elsewhere = pod("x/db").labelled("app=db").on("there");
        let waiting =
            [here(), isolation(), Change::ApplyPod(unselected), Change::ApplyPod(elsewhere)];
        let compiler = compiler(waiting);
        assert_eq!(*decided(&compiler, false).state(), Hold::Idle);
        assert_eq!(
            *decided(&compiler, true).state(),
            Hold::Idle,
            "nothing of the node is isolated"
        );
    }

    #[test]
    fn a_source_that_hears_nothing_holds_where_a_pod_is_isolated() {
        let isolated = pod("x/db").labelled("app=db").ip("10.1.0.8").on("here");
        let compiler = compiler([here(), isolation(), Change::ApplyPod(isolated)]);
        let wanted = Hold::On { awaited: Vec::new(), awaited_count: 0, is_behind: true };
        assert_eq!(*decided(&compiler, true).state(), wanted);
    }

    #[test]
    fn without_the_right_range_nothing_is_held_and_the_reason_is_given() {
        let unborn = || Change::ApplyPod(pod("x/db").labelled("app=db").on("here"));
        let reason = |compiler: &Compiler, given: &[&str]| {
            let given = given.iter().map(|range| range.parse().unwrap()).collect();
            let mut holding = Holding::new(given);
            holding.update(compiler, Some("here"), false);
            assert_eq!(holding.facts().is_empty(), matches!(holding.state(), Hold::Off { .. }));
            match holding.state() {
                Hold::Off { reason } => reason.clone(),
                state => format!("{state:?}"),
            }
        };
        let without_range = compiler([isolation(), unborn()]);
        assert!(reason(&without_range, &[]).contains("no spec.podCIDRs"));
        assert!(reason(&without_range, &["10.1.0.0/24"]).starts_with("On"));
        let other = pod("x/web").labelled("app=web").ip("10.9.0.7").on("here");
        let misplaced = compiler([here(), isolation(), unborn(), Change::ApplyPod(other)]);
        let why = reason(&misplaced, &[]);
        assert!(why.contains("10.9.0.7") && why.contains("10.1.0.0/24"), "{why}");
        assert!(reason(&misplaced, &["10.0.0.0/8"]).starts_with("On"));
    }
}
