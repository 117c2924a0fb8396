//! Manifests (YAML or JSON, as bytes) -> namespaces, nodes, pods and policies, with what is wrong told as diagnostics.
//!
//! ```text
//! bytes -> stream (documents) -> document (objects, list items) -> wire types, policy tree -> model
//!                                                                        |
//!                                                                        +--> diagnostics
//! ```
//!
//! Documents and list items are streamed: no tree of a file, a list or a pod is ever held, and fields without a
//! meaning here are skipped where they stand. What is read says what was written (`lenient`, `wire`); only then is
//! it judged, so that one wrong field does not hide the others.
//!
//! Wrong input never opens anything:
//! - A policy with a wrong field keeps its subjects and its directions and loses all its rules.
//! - A namespace, node or pod whose identity (labels, node, network, addresses) cannot be read is *withheld*: it is named
//!   in `Parsed::withheld`, and a caller that knew it before keeps what it knew.
//! - So is an object that is given twice: nobody knows which of the two is meant. A policy is withheld with what it is to
//!   be for whoever never knew it: it isolates what either isolates, and allows nothing.
//! - A document that is no object, a list without items, an object without a good name or of a misspelt kind leave the set
//!   of objects unknown: `Parsed::readable` is false.

mod document;
mod lenient;
mod names;
mod node;
mod object;
mod pod;
mod policy;
mod report;
mod selector;
mod stream;
mod wire;

#[cfg(test)]
mod tests;

use crate::model::{Namespace, Node, Pod, Policy};

pub use lenient::MAX_DEPTH;
pub use report::{Diagnostic, MAX_DIAGNOSTICS, ObjectRef, Place, Severity};

/// An object of a kind that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    Namespace(Namespace),
    Node(Node),
    Pod(Pod),
    Policy(Policy),
}

/// What there is to say about a source besides its objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// In the order of the source; at most `MAX_DIAGNOSTICS` and one that counts the rest.
    pub diagnostics: Vec<Diagnostic>,
    /// How many objects went to the sink.
    pub objects: usize,
    /// False if some document was no object, or it is not known which object some document is meant to be: the set of
    /// objects is then not the one that was meant, and absence from it means nothing.
    pub readable: bool,
    /// Objects that are in the source but of which it is not known what they say, each once and sorted. Each has an
    /// error among the diagnostics. One that is given twice has been handed to the sink before that was found: it does
    /// not count.
    pub withheld: Vec<Withheld>,
}

/// An object that is declared, but not understood. It is not gone: whoever knew it keeps what was known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withheld {
    pub object: ObjectRef,
    /// What it is for whoever never knew it: a policy that isolates and allows nothing. Where there is none, who never knew
    /// the object must not take the rest for the whole (an unread pod may be one that a policy isolates).
    pub closed: Option<Policy>,
}

impl Parsed {
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|d| d.severity == Severity::Error)
    }
}

/// Reads a source, handing each object to `sink` as soon as it is complete.
///
/// `source` is the name that diagnostics bear. The caller bounds the size of `bytes`; nesting and YAML aliases are
/// bounded here (`MAX_DEPTH`, and limits in `stream`). Never panics.
///
/// An object handed to `sink` counts unless it is among `Parsed::withheld` in the end.
pub fn parse(source: &str, bytes: &[u8], sink: &mut dyn FnMut(Object)) -> Parsed {
    stream::read(source, bytes, sink)
}
