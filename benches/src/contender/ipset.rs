//! `iptables-ipset`: chains for policies and pods, and ipsets for their ends, as in kube-router's iptables mode.
//!
//! It is modelled on kube-router's chains and sets (version 2, 2026), but is cheaper: it has no comments, no log rule and
//! no rules for bridged packets, and DROP instead of REJECT, so that a denial costs the same for all contenders. As in
//! kube-router, every policy of the cluster is on the node, with one set of all its subjects and one of the peers of each
//! rule, and every event leads to a resync of all sets and of the whole filter table.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Instant;

use palisade_compiler::model::{Direction, Family, IpBlock, Isolation, Pod};
use palisade_compiler::snapshot::Snapshot;

use super::iptables::{Tools, port_matches, try_in_namespace};
use super::resolve::{
    Resolved, ResolvedPeers, ResolvedPolicy, ResolvedRule, Scope, addresses, hash,
};
use super::tool::run;
use super::{Contender, ContenderError, Edited, Loaded, families};
use crate::scenario::{Edit, Scenario};

/// The greatest number of rules and of entries that is tried.
const MAX_RULES: usize = 1_500_000;
const MAX_ENTRIES: usize = 3_000_000;
/// The number of sets that the kernel supports (`IPSET_INVALID_ID`).
const MAX_SETS: usize = 65_000;
/// Marks: the first is set if a policy allows the packet, the second if the pod's chain found the first.
const ALLOWED: &str = "0x10000/0x10000";
const PASSED: &str = "0x20000/0x20000";

#[derive(Debug)]
pub(super) struct Ipset {
    tools: Tools,
    state: Option<State>,
}

#[derive(Debug)]
struct State {
    snapshot: Snapshot,
    families: Vec<Family>,
    /// The names of the sets in the kernel.
    sets: Vec<String>,
}

impl Ipset {
    /// # Errors
    /// Why these rules cannot be used on this machine.
    pub(super) fn new(tools: Tools) -> Result<Self, String> {
        try_in_namespace("ipset", &["create", "probe", "hash:ip"])?;
        Ok(Self { tools, state: None })
    }

    /// Programs everything again, and removes the sets that are no longer used.
    fn sync(&self, state: &mut State, started: Instant) -> Result<Loaded, ContenderError> {
        let resolved = Resolved::new(&state.snapshot, Scope::Cluster);
        let mut sets = Vec::new();
        let mut loaded = Loaded::default();
        let mut scripts = Vec::new();
        for &family in &state.families {
            let mut writer = Writer { family, ..Writer::default() };
            writer.write(&resolved)?;
            loaded.chains += writer.chains;
            loaded.rules += writer.rules;
            loaded.elements += writer.entries;
            sets.append(&mut writer.sets);
            scripts.push((family, writer));
        }
        loaded.sets = sets.len();
        let called = Instant::now();
        for (family, writer) in &scripts {
            self.tools.save(*family)?;
            run("ipset", &["save"], "")?;
            run("ipset", &["restore", "-exist"], &writer.restore)?;
        }
        for (family, writer) in &scripts {
            self.tools.restore(*family, &writer.table())?;
        }
        let live: BTreeSet<&String> = sets.iter().collect();
        let gone = state.sets.iter().filter(|set| !live.contains(set));
        let gone: Vec<String> = gone.map(|set| format!("destroy {set}\n")).collect();
        if !gone.is_empty() {
            run("ipset", &["restore", "-exist"], &gone.concat())?;
        }
        state.sets = sets;
        Ok(Loaded { elapsed: started.elapsed(), committed: called.elapsed(), ..loaded })
    }
}

/// Writes the sets and the filter table of one family.
struct Writer {
    family: Family,
    restore: String,
    declarations: String,
    body: String,
    /// The names of the sets, and those of the temporary sets that new contents are written to.
    sets: Vec<String>,
    passing: BTreeSet<String>,
    chains: usize,
    rules: usize,
    entries: usize,
}

impl Default for Writer {
    fn default() -> Self {
        Self {
            family: Family::V4,
            restore: String::new(),
            declarations: String::new(),
            body: String::new(),
            sets: Vec::new(),
            passing: BTreeSet::new(),
            chains: 0,
            rules: 0,
            entries: 0,
        }
    }
}

impl Writer {
    fn write(&mut self, resolved: &Resolved<'_>) -> Result<(), ContenderError> {
        for chain in ["INPUT ACCEPT", "FORWARD ACCEPT", "OUTPUT ACCEPT"] {
            self.declare(chain);
        }
        for chain in ["KUBE-ROUTER-FORWARD", COMMON, DEFAULT] {
            self.declare(&format!("{chain} -"));
        }
        self.append("FORWARD", "-j KUBE-ROUTER-FORWARD");
        self.append(COMMON, "-m conntrack --ctstate INVALID -j DROP");
        self.append(COMMON, "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT");
        self.append(DEFAULT, &format!("-j MARK --set-xmark {ALLOWED}"));
        for policy in &resolved.policies {
            self.policy(policy);
            self.check_size()?;
        }
        let isolating = Direction::ALL.map(|direction| resolved.isolating(direction));
        for pod in &resolved.local {
            let of_pod = |list: &Vec<(&Pod, Vec<usize>)>| {
                let found = list.iter().find(|(isolated, _)| std::ptr::eq(*isolated, *pod));
                found.map(|(_, policies)| policies.clone()).unwrap_or_default()
            };
            let [ingress, egress] = isolating.each_ref().map(of_pod);
            if let Some(address) = pod.addresses.get(self.family) {
                self.pod(resolved, pod, address, (&ingress, &egress));
            }
            self.check_size()?;
        }
        self.append("KUBE-ROUTER-FORWARD", &format!("-m mark --mark {PASSED} -j ACCEPT"));
        for passing in std::mem::take(&mut self.passing) {
            let _ = writeln!(self.restore, "destroy {passing}");
        }
        Ok(())
    }

    fn table(&self) -> String {
        format!("*filter\n{}{}COMMIT\n", self.declarations, self.body)
    }

    fn check_size(&self) -> Result<(), ContenderError> {
        for (what, count, limit) in [
            ("rules", self.rules, MAX_RULES),
            ("entries of ipsets", self.entries, MAX_ENTRIES),
            ("ipsets", self.sets.len(), MAX_SETS),
        ] {
            if count > limit {
                return Err(ContenderError::TooLarge { what, count, limit });
            }
        }
        Ok(())
    }

    fn declare(&mut self, chain: &str) {
        self.chains += 1;
        // Writing to a string does not fail, here and below.
        let _ = writeln!(self.declarations, ":{chain} [0:0]");
    }

    fn append(&mut self, chain: &str, rule: &str) {
        self.rules += 1;
        let _ = writeln!(self.body, "-A {chain} {rule}");
    }

    /// The chain of a policy, with the rules of both directions.
    fn policy(&mut self, policy: &ResolvedPolicy<'_>) {
        let chain = policy_chain(policy.id);
        self.declare(&format!("{chain} -"));
        let targets: Vec<IpAddr> = addresses(&policy.subjects.pods, self.family).collect();
        for direction in Direction::ALL {
            if !policy.isolates.in_direction(direction) {
                continue;
            }
            let subjects =
                self.pods_set(&format!("{direction} targets of {}", policy.key), &targets);
            for (n, rule) in policy.rules(direction).enumerate() {
                let mut near = subjects.clone();
                let what = format!("{direction} {n} of {}", policy.key);
                if rule.subjects.id != policy.subjects.id {
                    let having: Vec<IpAddr> = addresses(&rule.subjects.pods, self.family).collect();
                    near = self.pods_set(&format!("named port, {what}"), &having);
                }
                self.rule(&chain, rule, &near, &what);
            }
        }
    }

    fn rule(&mut self, chain: &str, rule: &ResolvedRule<'_>, near: &str, what: &str) {
        let mut fars = Vec::new();
        match &rule.peers {
            ResolvedPeers::Everyone => fars.push(None),
            ResolvedPeers::Some { pods, blocks } => {
                let pods = pods.iter().flat_map(|set| addresses(&set.pods, self.family));
                let pods: Vec<IpAddr> = pods.collect();
                if !pods.is_empty() {
                    fars.push(Some(self.pods_set(&format!("pods, {what}"), &pods)));
                }
                let blocks: Vec<&IpBlock> = blocks
                    .iter()
                    .filter(|block| Family::of(block.cidr.network()) == self.family)
                    .copied()
                    .collect();
                if !blocks.is_empty() {
                    fars.push(Some(self.blocks_set(&format!("blocks, {what}"), &blocks)));
                }
            }
        }
        let (near_end, far_end) = match rule.direction {
            Direction::Ingress => ("dst", "src"),
            Direction::Egress => ("src", "dst"),
        };
        for far in fars {
            let far = far.map(|set| format!("-m set --match-set {set} {far_end} "));
            let far = far.unwrap_or_default();
            for ports in port_matches(&rule.ports) {
                let matches = format!("{far}-m set --match-set {near} {near_end}{ports}");
                self.append(chain, &format!("{matches} -j MARK --set-xmark {ALLOWED}"));
                self.append(chain, &format!("{matches} -m mark --mark {ALLOWED} -j RETURN"));
            }
        }
    }

    /// The chain of a pod: the common rules, then a jump to each policy that selects the pod, then the drop of unmarked
    /// packets.
    fn pod(
        &mut self,
        resolved: &Resolved<'_>,
        pod: &Pod,
        address: IpAddr,
        (ingress, egress): (&[usize], &[usize]),
    ) {
        let chain =
            format!("KUBE-POD-FW-{:016X}", hash(&format!("{}/{}", pod.namespace, pod.name)));
        self.declare(&format!("{chain} -"));
        self.append(&chain, &format!("-j {COMMON}"));
        self.append(&chain, &format!("-m addrtype --src-type LOCAL -d {address} -j ACCEPT"));
        if egress.is_empty() {
            self.append(&chain, &format!("-s {address} -j {DEFAULT}"));
        }
        if ingress.is_empty() {
            self.append(&chain, &format!("-d {address} -j {DEFAULT}"));
        }
        let all: BTreeSet<usize> = ingress.iter().chain(egress).copied().collect();
        for policy in all.into_iter().filter_map(|at| resolved.policies.get(at)) {
            let of = match policy.isolates {
                Isolation { ingress: true, egress: true } => String::new(),
                Isolation { ingress: true, .. } => format!("-d {address} "),
                Isolation { .. } => format!("-s {address} "),
            };
            self.append(&chain, &format!("{of}-j {}", policy_chain(policy.id)));
        }
        self.append(&chain, &format!("-m mark ! --mark {ALLOWED} -j DROP"));
        self.append(&chain, "-j MARK --set-xmark 0x0/0x10000");
        self.append(&chain, &format!("-j MARK --set-xmark {PASSED}"));
        self.append("KUBE-ROUTER-FORWARD", &format!("-d {address} -j {chain}"));
        self.append("KUBE-ROUTER-FORWARD", &format!("-s {address} -j {chain}"));
    }

    fn pods_set(&mut self, what: &str, pods: &[IpAddr]) -> String {
        self.fill(what, "hash:ip", pods.len(), pods.iter().map(ToString::to_string))
    }

    fn blocks_set(&mut self, what: &str, blocks: &[&IpBlock]) -> String {
        let mut entries = Vec::new();
        for block in blocks {
            // A set of networks cannot contain one of length 0, so two halves replace it.
            if block.cidr.prefix_len() == 0 {
                let halves = if self.family == Family::V4 {
                    ["0.0.0.0/1", "128.0.0.0/1"]
                } else {
                    ["::/1", "8000::/1"]
                };
                entries.extend(halves.map(str::to_owned));
            } else {
                entries.push(block.cidr.to_string());
            }
            entries.extend(block.except.iter().map(|net| format!("{net} nomatch")));
        }
        self.fill(what, "hash:net", entries.len(), entries.into_iter())
    }

    /// Fills a temporary set, and swaps it with the set of that name.
    fn fill(
        &mut self,
        what: &str,
        kind: &str,
        count: usize,
        entries: impl Iterator<Item = String>,
    ) -> String {
        let (prefix, family) = match self.family {
            Family::V4 => ("KUBE", "inet"),
            Family::V6 => ("inet6:KUBE", "inet6"),
        };
        let name = format!("{prefix}-{:016X}", hash(&format!("{kind} {what}")));
        let options = format!("{kind} family {family} hashsize 1024 maxelem {}", count.max(65_536));
        // One temporary set for each combination of options, which is created once. After a swap it has the old contents,
        // and is flushed for its next use.
        let passing = format!("TMP-{:016X}", hash(&options));
        if self.passing.insert(passing.clone()) {
            let _ = writeln!(self.restore, "create {passing} {options}\nflush {passing}");
        }
        for entry in entries {
            let _ = writeln!(self.restore, "add {passing} {entry}");
        }
        let _ = writeln!(self.restore, "create {name} {options}");
        let _ = writeln!(self.restore, "swap {passing} {name}\nflush {passing}");
        self.entries += count;
        self.sets.push(name.clone());
        name
    }
}

const COMMON: &str = "KUBE-NWPLCY-COMMON";
const DEFAULT: &str = "KUBE-NWPLCY-DEFAULT";

fn policy_chain(id: u64) -> String {
    format!("KUBE-NWPLCY-{id:016X}")
}

impl Contender for Ipset {
    fn name(&self) -> &'static str {
        "iptables-ipset"
    }

    fn describe(&self) -> String {
        format!(
            "a chain for each policy and each pod, ipsets for both ends of each rule: the shape of kube-router's iptables mode; \
             ipset restore and iptables-restore ({}), all anew for each edit",
            self.tools.variant
        )
    }

    fn load(&mut self, scenario: &Scenario) -> Result<Loaded, ContenderError> {
        let mut snapshot = Snapshot::new();
        let changes = scenario.changes();
        let started = Instant::now();
        changes.into_iter().for_each(|change| snapshot.apply(change));
        let families = families(scenario);
        let mut state = State { snapshot, families, sets: Vec::new() };
        let loaded = self.sync(&mut state, started)?;
        self.state = Some(state);
        Ok(loaded)
    }

    fn edit(&mut self, edit: &Edit) -> Result<Edited, ContenderError> {
        let started = Instant::now();
        let mut state = self.state.take().ok_or(ContenderError::NotLoaded)?;
        state.snapshot.apply(edit.change.clone());
        let Loaded { elapsed, committed, .. } = self.sync(&mut state, started)?;
        self.state = Some(state);
        Ok(Edited { elapsed, committed })
    }
}
