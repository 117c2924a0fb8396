//! A source -> its documents, each read by the parser of its syntax.

use super::decoding::{Undecodable, decode};
use super::document::Reader;
use super::output::{Object, Parsed, Settings};
use super::report::Report;
use super::split::{documents, is_blank, is_marker, may_be_cut_short};
use super::syntax::SyntaxError;
use super::{json, locate, yaml};

pub(super) fn read(
    source: &str,
    bytes: &[u8],
    settings: &Settings,
    sink: &mut dyn FnMut(Object),
) -> Parsed {
    let text = match decode(bytes) {
        Ok(text) => text,
        Err(undecodable) => return refuse(source, bytes, &undecodable),
    };
    read_text(Report::new(source, &text), &text, settings, sink).finish()
}

/// As `read`, of a text that is decoded.
pub(super) fn read_text<'a>(
    mut report: Report<'a>,
    text: &'a str,
    settings: &Settings,
    sink: &mut dyn FnMut(Object),
) -> Report<'a> {
    report.is_misspelling_possible = !settings.from_api_server;
    let mut reader = Reader::new(report, settings, sink);
    let mut last = None;
    for document in documents(text) {
        match json_of(document) {
            Some(values) => read_json(&mut reader, values, document),
            None => read_yaml(&mut reader, document),
        }
        if !is_blank(document) {
            last = Some((document, reader.report.document()));
        }
    }
    if let Some(document) = last.filter(|(document, _)| may_be_cut_short(document))
        && let Some((offset, steps)) = locate::open_end(document.0)
    {
        reader.report.set_cut_short(document, offset, &steps);
    }
    reader.report
}

fn refuse(source: &str, bytes: &[u8], undecodable: &Undecodable) -> Parsed {
    let Undecodable { at, encoding } = *undecodable;
    let before = bytes.get(..at).and_then(|bytes| std::str::from_utf8(bytes).ok());
    let mut report = Report::new(source, before.unwrap_or_default());
    report.begin_document("");
    let message = format!("Byte {} is not {encoding}, and nothing of the source is read", at + 1);
    report.refuse_at(before.map(|_| at), None, message, "Save it as UTF-8");
    report.finish()
}

/// The JSON text of a document that begins like one.
fn json_of(document: &str) -> Option<&str> {
    let inner = document.strip_prefix("---").unwrap_or(document).trim_ascii_start();
    inner.starts_with(['{', '[']).then_some(inner)
}

fn read_yaml(reader: &mut Reader<'_, '_>, document: &str) {
    reader.begin_document(document);
    if let Err(error) = yaml::read(reader, document) {
        refuse_rest(reader, document, error);
    }
    reader.report.end_document(document);
}

/// One JSON value after the other, each a document. A text that begins like JSON but is not may be YAML in flow style.
fn read_json(reader: &mut Reader<'_, '_>, values: &str, document: &str) {
    let mut rest = values;
    loop {
        rest = rest.trim_ascii_start();
        if is_marker(rest, "...") {
            rest = rest.get(3..).unwrap_or_default();
            continue;
        }
        if rest.is_empty() {
            return;
        }
        reader.begin_document(rest);
        let mark = reader.report.mark();
        match json::read(reader, rest) {
            Ok(after) => {
                reader.report.end_document(rest);
                rest = after;
            }
            Err(error) => {
                let is_first = rest.len() == values.len();
                let may_be_yaml = is_first && mark == reader.report.mark();
                if !may_be_yaml || yaml::read(reader, document).is_err() {
                    refuse_rest(reader, rest, error);
                }
                return reader.report.end_document(if may_be_yaml { document } else { rest });
            }
        }
    }
}

fn refuse_rest(reader: &mut Reader<'_, '_>, document: &str, error: SyntaxError) {
    let base = reader.report.offset_of(document);
    let offset = base.zip(error.offset).map(|(base, offset)| base + offset);
    reader.report.refuse_rest(offset, error.message, error.remedy);
}
