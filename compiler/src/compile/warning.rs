//! What a human should know about an input that compiles all the same.

use std::fmt;
use std::net::IpAddr;

use super::atoms::MAX_ATOMS;
use super::room::{MAX_PORT_RANGES, MAX_PORTS, MAX_ROWS};
use super::{Compiler, Locality};
use crate::model::Family;

/// Subjects of one family and direction that one host is planned for. More are isolated too.
pub const MAX_SUBJECTS: usize = 4096;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Warning {
    /// Several pods claim an address; policy follows the one named.
    ContestedAddress { address: IpAddr, owner: String },
    /// Pods are bound to nodes, and none to this one: nothing is isolated here.
    NoLocalPods { node: String },
    /// More atoms than a change of blocks stays quick for. They are enforced.
    ManyAtoms { family: Family, atoms: usize },
    /// More subjects than one host is planned for.
    TooManySubjects { family: Family, subjects: usize },
    /// The tables are full: some subjects are allowed less than their policies say (`Bounds`).
    NoRoom { family: Family, groups: usize, subjects: usize },
}

impl Warning {
    /// Whether a bound is passed: what is isolated is isolated all the same. An agent goes on and tells it; who can still
    /// choose another input should not load the program.
    pub fn is_bound(&self) -> bool {
        match self {
            Self::ContestedAddress { .. } | Self::NoLocalPods { .. } | Self::ManyAtoms { .. } => {
                false
            }
            Self::TooManySubjects { .. } | Self::NoRoom { .. } => true,
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
                "no pod is on the node {node:?}, so that nothing is isolated here: if pods of this host are declared, give \
                 --node-name (or NODE_NAME) as their spec.nodeName has it"
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
            Self::NoRoom { family, groups, subjects } => write!(
                f,
                "{family:?}: the tables are full ({MAX_ROWS} rows of (pod, class), {MAX_PORTS} ports, {MAX_PORT_RANGES} port ranges): \
                 {groups} groups of pods and {subjects} pods more are denied some of what their policies allow; fewer local pods, \
                 fewer policies that tell peers apart, or fewer ports"
            ),
        }
    }
}

impl Compiler {
    /// What of the present input should be told; empty when all is well.
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
        for family in Family::ALL {
            let tables = self.program.family(family);
            let atoms = tables.cidr.len();
            if atoms > MAX_ATOMS {
                warnings.push(Warning::ManyAtoms { family, atoms });
            }
            let subjects = tables.local_in.len().max(tables.local_out.len());
            if subjects > MAX_SUBJECTS {
                warnings.push(Warning::TooManySubjects { family, subjects });
            }
        }
        for (family, room) in Family::ALL.into_iter().zip(&self.rooms) {
            let (groups, subjects) = room.lacking();
            if groups + subjects > 0 {
                warnings.push(Warning::NoRoom { family, groups, subjects });
            }
        }
        warnings
    }
    fn no_local_pods(&self) -> Option<Warning> {
        let Locality::Node(node) = &self.locality else { return None };
        let elsewhere = self.subjects.len() == 0 && self.snapshot.pods().any(|p| p.node.is_some());
        elsewhere.then(|| Warning::NoLocalPods { node: node.to_string() })
    }
}
