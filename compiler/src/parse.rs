//! Manifests (YAML or JSON, as bytes) -> objects, and diagnostics about what is wrong.
//!
//! ```text
//! bytes -> decoding (text) -> split (documents) -> yaml, json -> document (objects, items of lists)
//!                                                                    |
//!                        model <- object <- wire types, trees <------+
//!                                   |
//!                                   +-> report (diagnostics) <- locate (their places)
//! ```
//!
//! Documents and the items of lists are streamed: no tree of a file, of a list or of a pod is ever held, and fields that are
//! not read are skipped where they stand. Fields are first taken as they were written (`lenient`, `wire`) and then judged, so
//! that one wrong field does not hide the others.
//!
//! Wrong input never opens anything:
//! - A policy with a wrong field keeps its subjects and its directions, and loses all its rules (`Policy::fault`).
//! - A namespace, node or pod whose identity (labels, node, network, addresses) cannot be read is *withheld*: it is named in
//!   `Parsed::withheld`, and a caller that knew it before keeps what it knew.
//! - So is an object that is given twice, since nobody knows which of the two is meant. A withheld policy comes with one for
//!   callers that never knew it, which isolates what either of the two isolates and allows nothing.
//! - A document is not understood, and `Parsed::readable` is false, if it declares nothing that is known (a server's error, an
//!   answer that goes on, a scalar, null), or if it is not certain which objects it declares (no name, a misspelt kind or
//!   namespace). A kustomization, the files of a Helm chart and a Template are not understood either: the objects that they stand
//!   for are made by another tool, so that something may be missing beside them.
//! - A text that ends where a value is missing is reported as possibly cut short (`Parsed::cut_short`).
//!
//! Fields are known in full wherever something depends on one of them: an unknown field may be that one, misspelt.

mod decoding;
mod diagnostic;
mod document;
mod draft;
mod duplicates;
mod endpoint_slice;
mod fields;
mod json;
mod key;
mod kinds;
mod lenient;
mod lines;
mod list;
mod locate;
mod metadata;
pub(crate) mod names;
mod node;
mod object;
mod output;
mod path;
mod places;
mod pod;
mod policy;
mod report;
mod service;
mod split;
mod stream;
mod subject;
mod syntax;
mod tree;
mod unread;
mod values;
mod wire;
mod yaml;

#[cfg(test)]
mod tests;

pub use diagnostic::{Diagnostic, ObjectRef, Place, Severity};
pub(crate) use metadata::DEFAULT_NAMESPACE;
pub use output::{Object, Parsed, Settings, Withheld};
pub use places::places;
pub use report::MAX_DIAGNOSTICS;
pub use tree::MAX_DEPTH;

/// Whether a namespace may have this name (an RFC 1123 label).
pub fn is_namespace_name(name: &str) -> bool {
    names::is_dns_label(name)
}

/// Reads a source, handing each object to `sink` as soon as it is complete. An object that was handed to `sink` counts unless it
/// is among `Parsed::withheld` in the end.
///
/// `source` is the name that diagnostics bear; a path tells `kustomization.yaml`, `Chart.yaml` and `values.yaml` from other
/// documents without a kind. The caller bounds the size of `bytes`; nesting (`MAX_DEPTH`) and YAML aliases are bounded here.
/// Never panics.
pub fn parse(source: &str, bytes: &[u8], sink: &mut dyn FnMut(Object)) -> Parsed {
    parse_with(source, bytes, &Settings::default(), sink)
}

/// As `parse`, with settings.
pub fn parse_with(
    source: &str,
    bytes: &[u8],
    settings: &Settings,
    sink: &mut dyn FnMut(Object),
) -> Parsed {
    stream::read(source, bytes, settings, sink)
}
