//! What a human should know about an input that compiles all the same.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::atoms::MAX_ATOMS;
use super::capacity::{MAX_PORT_RANGES, MAX_PORTS, MAX_ROWS, Resource};
use super::compiler::Compiler;
use super::locality::Locality;
use crate::model::Family;

/// Subjects of one family and direction that one host is planned for. More are isolated too.
pub const MAX_SUBJECTS: usize = 4096;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Warning {
    /// Several pods claim an address; policy follows the one named.
    ContestedAddress { address: IpAddr, owner: String },
    /// No pod is on this node, and no Node object declares it: nothing is isolated here.
    NoLocalPods { node: String },
    /// More atoms than a change of blocks stays quick for. They are enforced.
    ManyAtoms { family: Family, atoms: usize },
    /// More subjects than one host is planned for.
    TooManySubjects { family: Family, subjects: usize },
    /// The policies want more than the tables hold (`Bounds`): in these namespaces, each of which wants more than its
    /// share, so many pods are allowed less than their policies say.
    TablesFull { family: Family, full: Vec<Resource>, pods: Vec<(Arc<str>, usize)> },
}

impl Warning {
    /// Whether a bound is passed. What should be isolated is isolated all the same: an agent goes on and reports it, but who
    /// can still choose another input should not load the program.
    pub fn is_bound(&self) -> bool {
        match self {
            Self::ContestedAddress { .. } | Self::NoLocalPods { .. } | Self::ManyAtoms { .. } => {
                false
            }
            Self::TooManySubjects { .. } | Self::TablesFull { .. } => true,
        }
    }
}

impl Warning {
    /// Whether not all that the manifests ask for is enforced, so that a command that looks at it should fail: too little is
    /// isolated, or too little is allowed.
    pub fn is_failure(&self) -> bool {
        match self {
            Self::NoLocalPods { .. } | Self::TablesFull { .. } => true,
            Self::ContestedAddress { .. }
            | Self::ManyAtoms { .. }
            | Self::TooManySubjects { .. } => false,
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ContestedAddress { address, owner } => write!(
                f,
                "address {address} is claimed by more than one pod: policy takes it for {owner}'s (running before others, then the \
                 later start); remove the stale pod"
            ),
            Self::NoLocalPods { node } => write!(
                f,
                "no pod is on the node {node:?} and no Node object declares it, so that nothing is isolated here: give --node-name \
                 (or NODE_NAME) as spec.nodeName of this host's pods has it, or declare the node"
            ),
            Self::ManyAtoms { family, atoms } => write!(
                f,
                "{family:?}: the ipBlocks of the policies make {atoms} disjoint ranges, over the {MAX_ATOMS} that change quickly: \
                 summarise the CIDRs"
            ),
            Self::TooManySubjects { family, subjects } => write!(
                f,
                "{family:?}: {subjects} local pods are isolated, over the bound of {MAX_SUBJECTS}: name the pods of this host with \
                 --node-name"
            ),
            Self::TablesFull { family, full, pods } => write_full(f, *family, full, pods),
        }
    }
}

/// Namespaces that a warning names; the others are counted.
const NAMED: usize = 3;

fn write_full(
    f: &mut fmt::Formatter<'_>,
    family: Family,
    full: &[Resource],
    pods: &[(Arc<str>, usize)],
) -> fmt::Result {
    let full: Vec<String> = full.iter().map(describe).collect();
    write!(
        f,
        "{family:?}: the policies want more than the bound of {}: denied some of what their policies allow are pods of ",
        full.join(" and ")
    )?;
    let named: Vec<String> = pods
        .iter()
        .take(NAMED)
        .map(|(namespace, count)| format!("{namespace} ({count})"))
        .collect();
    f.write_str(&named.join(", "))?;
    if let Some(more @ 1..) = pods.len().checked_sub(NAMED) {
        write!(f, " and {more} more namespaces")?;
    }
    f.write_str(
        "; other namespaces want no more than their share, and have it. Have fewer local pods, fewer policies that tell peers \
         apart, or fewer ports",
    )
}

fn describe(resource: &Resource) -> String {
    match resource {
        Resource::Matrix => format!("{MAX_ROWS} entries of (group of pods, class of peers)"),
        Resource::Rows(direction) => {
            format!("{MAX_ROWS} rows of (pod, class of peers) for {direction}")
        }
        Resource::Ports => format!("{MAX_PORTS} ports"),
        Resource::PortRanges => format!("{MAX_PORT_RANGES} port ranges"),
    }
}

impl Compiler {
    /// What a human should know about the present input; empty when all is well.
    pub fn warnings(&self) -> Vec<Warning> {
        let mut warnings: Vec<Warning> = self
            .snapshot
            .contested_addresses()
            .filter_map(|address| {
                let owner = self.snapshot.owner(address)?;
                let owner = format!("{}/{}", owner.namespace, owner.name);
                Some(Warning::ContestedAddress { address, owner })
            })
            .collect();
        warnings.extend(self.no_local_pods());
        for (family, state) in self.families.iter() {
            let tables = self.program.family(family);
            let atoms = tables.cidr.len();
            if atoms > MAX_ATOMS {
                warnings.push(Warning::ManyAtoms { family, atoms });
            }
            let subjects = tables.local_in.len().max(tables.local_out.len());
            if subjects > MAX_SUBJECTS {
                warnings.push(Warning::TooManySubjects { family, subjects });
            }
            let (full, mut pods) = state.capacity.shortages(family, &self.groups, &self.profiles);
            if !full.is_empty() {
                pods.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
                warnings.push(Warning::TablesFull { family, full, pods });
            }
        }
        warnings
    }

    /// A node that is declared may well be without pods.
    /// A node that has pods, be they on the host's network or ended, is known; so is one that is declared.
    fn no_local_pods(&self) -> Option<Warning> {
        let Locality::Node(node) = self.subjects.locality() else { return None };
        let mut pods = self.snapshot.pods();
        let is_unknown = self.subjects.len() == 0
            && self.snapshot.pod_count() > 0
            && self.snapshot.node(node).is_none()
            && !pods.any(|pod| pod.node.as_ref() == Some(node));
        is_unknown.then(|| Warning::NoLocalPods { node: node.to_string() })
    }
}
