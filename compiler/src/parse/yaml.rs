//! YAML documents.

use serde::de::DeserializeSeed;
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};

use super::document::{DocumentSeed, Reader};
use super::syntax::SyntaxError;
use super::tree::MAX_DEPTH;

/// How many events the aliases of a document may stand for.
const MAX_ALIASED_EVENTS: usize = 1_000_000;

/// Reads one document.
///
/// # Errors
///
/// `SyntaxError`, from where on nothing of the document is read.
pub(super) fn read(reader: &mut Reader<'_, '_>, document: &str) -> Result<(), SyntaxError> {
    reader.read(|reader| {
        serde_saphyr::with_deserializer_from_str_with_options(document, options(), |deserializer| {
            DocumentSeed { reader }.deserialize(deserializer)
        })
        .map_err(|error| syntax_error(document, &error))
    })
}

fn syntax_error(document: &str, error: &serde_saphyr::Error) -> SyntaxError {
    let error = error.without_snippet();
    let text = error.to_string();
    let Some(location) = error.location() else {
        return SyntaxError::new("YAML", document, &text, None);
    };
    let suffix = format!(" at line {}, column {}", location.line(), location.column());
    let text = text.strip_suffix(&suffix).unwrap_or(&text);
    let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let line = count(location.line()).saturating_sub(1);
    let begin: usize = document.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = document.get(begin..).unwrap_or_default();
    let rest = rest.split_inclusive('\n').next().unwrap_or_default();
    let column = count(location.column()).saturating_sub(1);
    let inside: usize = rest.chars().take(column).map(char::len_utf8).sum();
    SyntaxError::new("YAML", document, text, Some(begin + inside))
}

/// The size of the input bounds the work, except for nesting and aliases, which are bounded here. Keys that are given twice
/// are found by those who read the map; in what is skipped they do not matter.
fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: usize::MAX,
            max_nodes: usize::MAX,
            max_total_scalar_bytes: usize::MAX,
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_ALIASED_EVENTS,
        },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        emit_comments: false,
        with_snippet: false,
    }
}
