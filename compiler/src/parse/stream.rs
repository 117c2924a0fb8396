//! Bytes -> documents, each read by the parser of its syntax.

use serde::de::DeserializeSeed;
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};

use super::document::{DocumentSeed, Reader, Typed};
use super::lenient::MAX_DEPTH;
use super::output::{Object, Parsed};
use super::report::Report;

/// Events that the aliases of one YAML document may stand for.
const MAX_ALIASED_EVENTS: usize = 1_000_000;

pub(super) fn read(source: &str, bytes: &[u8], sink: &mut dyn FnMut(Object)) -> Parsed {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => return not_utf8(source, bytes, error.valid_up_to()),
    };
    let mut reader =
        Reader { report: Report::new(source, text), sink, typed: None, rereading: false };
    let mut first = true;
    for document in documents(text) {
        if !std::mem::take(&mut first) {
            reader.report.document += 1;
        }
        match json_of(document) {
            Some(json) => read_json(&mut reader, json, document),
            None => {
                if let Err(wrong) = read_yaml(&mut reader, document) {
                    wrong.tell(&mut reader.report);
                }
            }
        }
    }
    reader.report.finish()
}

fn not_utf8(source: &str, bytes: &[u8], valid: usize) -> Parsed {
    let text = bytes.get(..valid).and_then(|b| std::str::from_utf8(b).ok()).unwrap_or_default();
    let mut report = Report::new(source, text);
    let message = format!("byte {} is not UTF-8 text; nothing of this source is read", valid + 1);
    report.unreadable(Some(valid), message, "save it as UTF-8");
    report.finish()
}

/// Splits at the lines that end a YAML document (`---`, `...`). No text may hold such a line: neither a YAML scalar
/// (YAML 1.2, `c-forbidden`) nor a JSON string. Comments and directives belong to the document after them.
fn documents(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (mut end, mut begun) = (0, false);
        for line in rest.split_inclusive('\n') {
            if is_marker(line, "---") && begun {
                break;
            }
            end += line.len();
            if is_marker(line, "...") {
                break;
            }
            begun |= !matches!(line.trim_ascii_start().bytes().next(), None | Some(b'#' | b'%'));
        }
        let (document, after) = rest.split_at_checked(end)?;
        rest = after;
        Some(document)
    })
    .filter(|document| !document.trim_ascii().is_empty() && document.trim_ascii() != "...")
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

fn json_of(document: &str) -> Option<&str> {
    let inner = document.strip_prefix("---").unwrap_or(document).trim_ascii_start();
    inner.starts_with(['{', '[']).then_some(inner)
}

/// What a parser found wrong, and where.
struct Wrong {
    offset: Option<usize>,
    message: String,
    remedy: &'static str,
}

impl Wrong {
    fn tell(self, report: &mut Report<'_>) {
        report.unreadable(self.offset, self.message, self.remedy);
    }
}

/// One JSON value after the other, each a document. What begins like JSON but is not may be YAML in flow style.
fn read_json(reader: &mut Reader<'_, '_>, json: &str, document: &str) {
    let mut rest = json;
    let mut first = true;
    while !rest.trim_ascii_start().is_empty() {
        rest = rest.trim_ascii_start();
        if is_marker(rest, "...") {
            rest = rest.get(3..).unwrap_or_default();
            continue;
        }
        if !std::mem::replace(&mut first, false) {
            reader.report.document += 1;
        }
        let mark = reader.report.mark();
        match read_json_value(reader, rest) {
            Ok(after) => rest = after,
            Err(wrong) => {
                if mark == reader.report.mark()
                    && json.len() == rest.len()
                    && read_yaml(reader, document).is_ok()
                {
                    return;
                }
                wrong.tell(&mut reader.report);
                return;
            }
        }
    }
}

fn read_json_value<'t>(reader: &mut Reader<'_, '_>, text: &'t str) -> Result<&'t str, Wrong> {
    let once = |reader: &mut Reader<'_, '_>| {
        let mut stream = JsonAt::new(text);
        match (DocumentSeed { reader }).deserialize(&mut stream.deserializer) {
            Ok(()) => Ok(stream.rest(text)),
            Err(error) => Err(json_error(reader, text, &error)),
        }
    };
    let after = once(reader)?;
    if let Some(typed) = reader.typed.take() {
        reread(reader, typed, |reader| once(reader).map(|_| ()))?;
    }
    Ok(after)
}

/// A JSON deserializer that can say where it stopped.
struct JsonAt<'t> {
    deserializer: serde_json::Deserializer<serde_json::de::StrRead<'t>>,
}

impl<'t> JsonAt<'t> {
    fn new(text: &'t str) -> Self {
        Self { deserializer: serde_json::Deserializer::from_str(text) }
    }

    fn rest(self, text: &'t str) -> &'t str {
        let values = self.deserializer.into_iter::<serde::de::IgnoredAny>();
        text.get(values.byte_offset()..).unwrap_or_default()
    }
}

fn json_error(reader: &Reader<'_, '_>, text: &str, error: &serde_json::Error) -> Wrong {
    let line = text
        .split_inclusive('\n')
        .take(error.line().saturating_sub(1))
        .map(str::len)
        .sum::<usize>();
    let base = reader.report.offset_of(text);
    Wrong {
        offset: base.map(|base| base + line),
        message: format!("no JSON object: {}; the rest of the document is not read", brief(error)),
        remedy: "correct the syntax (what begins with { or [ is read as JSON)",
    }
}

fn read_yaml(reader: &mut Reader<'_, '_>, document: &str) -> Result<(), Wrong> {
    let once = |reader: &mut Reader<'_, '_>| {
        let options = yaml_options();
        serde_saphyr::with_deserializer_from_str_with_options(document, options, |deserializer| {
            DocumentSeed { reader: &mut *reader }.deserialize(deserializer)
        })
        .map_err(|error| yaml_error(reader, document, &error))
    };
    once(reader)?;
    match reader.typed.take() {
        Some(typed) => reread(reader, typed, once),
        None => Ok(()),
    }
}

fn yaml_error(reader: &Reader<'_, '_>, document: &str, error: &serde_saphyr::Error) -> Wrong {
    let error = error.without_snippet();
    let line = error.location().map_or(0, |l| usize::try_from(l.line()).unwrap_or(0));
    let lines = document.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len);
    let offset = lines.sum::<usize>();
    let base = reader.report.offset_of(document);
    Wrong {
        offset: base.map(|base| base + offset),
        message: format!("no YAML object: {}; the rest of the document is not read", brief(error)),
        remedy: "correct the syntax, or the indentation",
    }
}

fn brief(error: &dyn std::fmt::Display) -> String {
    const LONGEST: usize = 200;
    let text = error.to_string();
    text.lines().next().unwrap_or_default().chars().take(LONGEST).collect()
}

/// A list told its kind only after items that rely on it: they are read now.
fn reread<'a, 's>(
    reader: &mut Reader<'a, 's>,
    typed: Typed,
    again: impl FnOnce(&mut Reader<'a, 's>) -> Result<(), Wrong>,
) -> Result<(), Wrong> {
    reader.typed = Some(typed);
    reader.rereading = true;
    let result = again(reader);
    reader.typed = None;
    reader.rereading = false;
    result
}

/// The size of the input bounds the work, but for nesting and aliases, which are bounded here. Keys given twice
/// are found by those who read the map; in what is skipped they do not matter.
fn yaml_options() -> serde_saphyr::Options {
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
