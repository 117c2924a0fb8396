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
mod output;
mod pod;
mod policy;
mod report;
mod selector;
mod stream;
mod wire;

#[cfg(test)]
mod tests;

pub use lenient::MAX_DEPTH;
pub use output::{Object, Parsed, Withheld};
pub use report::{Diagnostic, MAX_DIAGNOSTICS, ObjectRef, Place, Severity};

/// Reads a source, handing each object to `sink` as soon as it is complete.
///
/// `source` is the name that diagnostics bear. The caller bounds the size of `bytes`; nesting and YAML aliases are
/// bounded here (`MAX_DEPTH`, and limits in `stream`). Never panics.
///
/// An object handed to `sink` counts unless it is among `Parsed::withheld` in the end.
pub fn parse(source: &str, bytes: &[u8], sink: &mut dyn FnMut(Object)) -> Parsed {
    stream::read(source, bytes, sink)
}
