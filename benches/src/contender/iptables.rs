//! `iptables-linear`: one rule for each local pod's address, peer address and port, in sequence.
//!
//! This is iptables without sets and without chains for pods. The file also has what both iptables contenders share.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::Instant;

use palisade_compiler::model::{Direction, Family};
use palisade_compiler::snapshot::Snapshot;
use palisade_lab::Namespace;

use super::blocks;
use super::resolve::{Resolved, ResolvedPeers, ResolvedPorts, ResolvedRule, Scope, addresses};
use super::tool::run;
use super::{Contender, ContenderError, Edited, Loaded, families};
use crate::scenario::{Edit, Scenario};

/// The greatest number of rules that is tried.
const MAX_RULES: usize = 400_000;

/// The programs of one variant of iptables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tools {
    /// `legacy` (ip_tables), or `nft` (nf_tables with xt_compat).
    pub(super) variant: &'static str,
    list: &'static str,
    save: [&'static str; 2],
    restore: [&'static str; 2],
}

const VARIANTS: [Tools; 2] = [
    Tools {
        variant: "legacy",
        list: "iptables-legacy",
        save: ["iptables-legacy-save", "ip6tables-legacy-save"],
        restore: ["iptables-legacy-restore", "ip6tables-legacy-restore"],
    },
    Tools {
        variant: "nft",
        list: "iptables-nft",
        save: ["iptables-nft-save", "ip6tables-nft-save"],
        restore: ["iptables-nft-restore", "ip6tables-nft-restore"],
    },
];

impl Tools {
    /// The legacy variant if this kernel supports it, because it matches packets faster.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn find() -> Result<Self, String> {
        let mut reasons = Vec::new();
        for tools in VARIANTS {
            // In a separate namespace, because listing creates the table.
            match try_in_namespace(tools.list, &["-w", "-S", "FORWARD"]) {
                Ok(()) => return Ok(tools),
                Err(reason) => reasons.push(reason),
            }
        }
        Err(reasons.join("; "))
    }

    /// Replaces the filter table of a family.
    pub(super) fn restore(&self, family: Family, script: &str) -> Result<(), ContenderError> {
        run(of(self.restore, family), &["-w"], script)
    }

    /// Reads the filter table of a family. Only the time that it takes matters.
    pub(super) fn save(&self, family: Family) -> Result<(), ContenderError> {
        run(of(self.save, family), &["-t", "filter"], "")
    }
}

fn of(tools: [&'static str; 2], family: Family) -> &'static str {
    let [v4, v6] = tools;
    if family == Family::V4 { v4 } else { v6 }
}

/// Runs a command in a new network namespace. The error is the first line that it wrote to standard error.
pub(super) fn try_in_namespace(tool: &str, arguments: &[&str]) -> Result<(), String> {
    let namespace = Namespace::new().map_err(|error| error.to_string())?;
    let run = || {
        let mut command = Command::new(tool);
        command.args(arguments).stdin(Stdio::null()).output()
    };
    let output = namespace.run(run).map_err(|error| error.to_string())?;
    let output = output.map_err(|error| format!("{tool}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(format!("{tool}: {}", stderr.lines().next().unwrap_or("it failed without a message")))
}

/// The matches of the ports, each as ` -p tcp --dport 80:90`. For all ports the list has one empty text.
pub(super) fn port_matches(ports: &ResolvedPorts) -> Vec<String> {
    let ResolvedPorts::Ranges(ranges) = ports else { return vec![String::new()] };
    let one = |range: &super::resolve::PortRange| {
        let protocol = range.protocol.to_string().to_lowercase();
        match (range.first, range.last) {
            (0, u16::MAX) => format!(" -p {protocol}"),
            (first, last) if first == last => format!(" -p {protocol} --dport {first}"),
            (first, last) => format!(" -p {protocol} --dport {first}:{last}"),
        }
    };
    ranges.iter().map(one).collect()
}

#[derive(Debug)]
pub(super) struct Linear {
    tools: Tools,
    state: Option<(Snapshot, Vec<Family>)>,
}

impl Linear {
    pub(super) fn new(tools: Tools) -> Self {
        Self { tools, state: None }
    }

    /// Programs everything again, because it has no other way. Returns counts, and times since `started`.
    fn sync(
        &self,
        snapshot: &Snapshot,
        families: &[Family],
        started: Instant,
    ) -> Result<Loaded, ContenderError> {
        let resolved = Resolved::new(snapshot, Scope::Node);
        let mut loaded = Loaded::default();
        let mut scripts = Vec::new();
        for &family in families {
            let script = Script::new(&resolved, family)?;
            loaded.rules += script.rules;
            loaded.chains += Script::CHAINS;
            scripts.push((family, script.text));
        }
        let called = Instant::now();
        for (family, script) in scripts {
            self.tools.restore(family, &script)?;
        }
        Ok(Loaded { elapsed: started.elapsed(), committed: called.elapsed(), ..loaded })
    }
}

/// The filter table of a family, in the format of iptables-restore.
struct Script {
    text: String,
    rules: usize,
}

impl Script {
    const CHAINS: usize = 5;

    fn new(resolved: &Resolved<'_>, family: Family) -> Result<Self, ContenderError> {
        let mut script = Self { text: String::new(), rules: 3 };
        script.count(resolved, family)?;
        script.text.push_str(
            "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:EGRESS - [0:0]\n:INGRESS - [0:0]\n\
             -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A FORWARD -j EGRESS\n-A FORWARD -j INGRESS\n",
        );
        for direction in [Direction::Egress, Direction::Ingress] {
            for policy in &resolved.policies {
                policy.rules(direction).for_each(|rule| script.rule(rule, family));
            }
            let (chain, near, _) = terms(direction);
            for (pod, _) in resolved.isolating(direction) {
                if let Some(address) = pod.addresses.get(family) {
                    script.line(format_args!("-A {chain} {near} {address} -j DROP"));
                }
            }
        }
        script.text.push_str("COMMIT\n");
        Ok(script)
    }

    /// Refuses too many rules before anything is written.
    fn count(&mut self, resolved: &Resolved<'_>, family: Family) -> Result<(), ContenderError> {
        for rule in resolved.policies.iter().flat_map(|policy| &policy.rules) {
            let subjects = addresses(&rule.subjects.pods, family).count();
            self.rules +=
                subjects * peer_matches(rule, family).len() * port_matches(&rule.ports).len();
        }
        for direction in Direction::ALL {
            self.rules += resolved.isolating(direction).len();
        }
        if self.rules > MAX_RULES {
            let (what, count, limit) = ("rules", self.rules, MAX_RULES);
            return Err(ContenderError::TooLarge { what, count, limit });
        }
        Ok(())
    }

    fn rule(&mut self, rule: &ResolvedRule<'_>, family: Family) {
        let (chain, near, far) = terms(rule.direction);
        let (peers, ports) = (peer_matches(rule, family), port_matches(&rule.ports));
        for subject in addresses(&rule.subjects.pods, family) {
            for peer in &peers {
                let peer = if peer.is_empty() { String::new() } else { format!(" {far} {peer}") };
                for ports in &ports {
                    self.line(format_args!("-A {chain} {near} {subject}{peer}{ports} -j RETURN"));
                }
            }
        }
    }

    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "{text}");
    }
}

/// The chain, and the options for the subject and for the peer.
fn terms(direction: Direction) -> (&'static str, &'static str, &'static str) {
    match direction {
        Direction::Egress => ("EGRESS", "-s", "-d"),
        Direction::Ingress => ("INGRESS", "-d", "-s"),
    }
}

/// The addresses and prefixes of the peers, each once. One empty text stands for everyone.
fn peer_matches(rule: &ResolvedRule<'_>, family: Family) -> BTreeSet<String> {
    match &rule.peers {
        ResolvedPeers::Everyone => [String::new()].into_iter().collect(),
        ResolvedPeers::Some { pods, blocks } => {
            let pods = pods.iter().flat_map(|set| addresses(&set.pods, family));
            let ranges = blocks::ranges(blocks, family).into_iter();
            let prefixes = ranges.flat_map(|range| blocks::prefix_texts(range, family));
            pods.map(|address| address.to_string()).chain(prefixes).collect()
        }
    }
}

impl Contender for Linear {
    fn name(&self) -> &'static str {
        "iptables-linear"
    }

    fn describe(&self) -> String {
        format!(
            "a rule for each local address, peer address and port; iptables-restore ({}), all anew for each edit",
            self.tools.variant
        )
    }

    fn load(&mut self, scenario: &Scenario) -> Result<Loaded, ContenderError> {
        let mut snapshot = Snapshot::new();
        let changes = scenario.changes();
        let started = Instant::now();
        changes.into_iter().for_each(|change| snapshot.apply(change));
        let families = families(scenario);
        let loaded = self.sync(&snapshot, &families, started)?;
        self.state = Some((snapshot, families));
        Ok(loaded)
    }

    fn edit(&mut self, edit: &Edit) -> Result<Edited, ContenderError> {
        let started = Instant::now();
        let Some((mut snapshot, families)) = self.state.take() else {
            return Err(ContenderError::NotLoaded);
        };
        snapshot.apply(edit.change.clone());
        let Loaded { elapsed, committed, .. } = self.sync(&snapshot, &families, started)?;
        self.state = Some((snapshot, families));
        Ok(Edited { elapsed, committed })
    }
}
