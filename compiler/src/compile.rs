//! Snapshot -> Program, incrementally. (The lowering follows; this is its public face.)

use std::sync::Arc;

use crate::program::{Delta, Program};
use crate::snapshot::{Change, Snapshot};

/// Which pods are local: those whose traffic this host judges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Locality {
    /// Pods bound to this node (`spec.nodeName`).
    Node(Arc<str>),
    /// Every pod that has an address.
    Everywhere,
}

/// The incremental compile: holds the input, its indexes and the program that they mean.
#[derive(Debug)]
pub struct Compiler {
    snapshot: Snapshot,
    program: Program,
}

impl Compiler {
    pub fn new(_locality: Locality) -> Self {
        Self { snapshot: Snapshot::new(), program: Program::default() }
    }

    /// Like `new`, but ids are chosen so that the program differs as little as can be from one found in the kernel.
    pub fn adopting(locality: Locality, _found: &Program) -> Self {
        Self::new(locality)
    }

    /// Applies a batch of edits and returns what it does to the program.
    pub fn apply(&mut self, changes: impl IntoIterator<Item = Change>) -> Delta {
        for change in changes {
            self.snapshot.apply(change);
        }
        Delta::default()
    }

    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    pub fn program(&self) -> &Program {
        &self.program
    }
}
