//! Findings as a SARIF log (OASIS, Static Analysis Results Interchange Format 2.1.0), which code hosts and editors read.

use std::path::Path;

use palisade_compiler::lint::{Code, Crowded, Finding, Severity};
use palisade_compiler::parse::{ObjectRef, Place};
use serde::Serialize;

use super::Outcome;
use crate::findings::LostMatch;

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

#[derive(Debug, Serialize)]
pub(super) struct Log {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [Run; 1],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    tool: Tool,
    /// Columns count characters.
    column_kind: &'static str,
    results: Vec<SarifResult>,
    properties: RunProperties,
}

/// What is not among the results.
#[derive(Debug, Serialize)]
struct RunProperties {
    further: usize,
    crowded: Vec<Crowded>,
}

#[derive(Debug, Serialize)]
struct Tool {
    driver: Driver,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Driver {
    name: &'static str,
    semantic_version: &'static str,
    rules: Vec<Rule>,
}

#[derive(Debug, Serialize)]
struct Text {
    text: String,
}

fn text(text: impl Into<String>) -> Text {
    Text { text: text.into() }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    id: Code,
    name: &'static str,
    short_description: Text,
    full_description: Text,
    help: Text,
    default_configuration: Configuration,
}

/// The names of severities are those of SARIF's levels.
#[derive(Debug, Serialize)]
struct Configuration {
    level: Severity,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SarifResult {
    rule_id: Code,
    rule_index: Option<usize>,
    level: Severity,
    message: Text,
    locations: Vec<Location>,
    #[serde(skip_serializing_if = "Option::is_none")]
    properties: Option<ResultProperties>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ResultProperties {
    /// When the agent saw it, in RFC 3339, UTC.
    lost_at: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    #[serde(skip_serializing_if = "Option::is_none")]
    physical_location: Option<PhysicalLocation>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logical_locations: Vec<LogicalLocation>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PhysicalLocation {
    artifact_location: ArtifactLocation,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<Region>,
}

#[derive(Debug, Serialize)]
struct ArtifactLocation {
    uri: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    start_line: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_column: Option<usize>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LogicalLocation {
    name: String,
    fully_qualified_name: String,
    kind: &'static str,
}

pub(super) fn log(outcome: &Outcome) -> Log {
    let driver = Driver {
        name: "palisade",
        semantic_version: env!("CARGO_PKG_VERSION"),
        rules: Code::ALL.iter().map(|code| rule(*code)).collect(),
    };
    let lost = outcome.lost_matches.iter().map(lost_match);
    let results = outcome.findings.iter().map(result).chain(lost).collect();
    let properties = RunProperties { further: outcome.further, crowded: outcome.crowded.clone() };
    let column_kind = "unicodeCodePoints";
    let run = Run { tool: Tool { driver }, column_kind, results, properties };
    Log { schema: SCHEMA, version: "2.1.0", runs: [run] }
}

fn rule(code: Code) -> Rule {
    let entry = code.entry();
    Rule {
        id: code,
        name: entry.name,
        short_description: text(format!("{}.", entry.title)),
        full_description: text(entry.why),
        help: text(format!("{} {}", entry.why, entry.remedy)),
        default_configuration: Configuration { level: entry.severity },
    }
}

fn result(finding: &Finding) -> SarifResult {
    let Finding { code, severity, object, message, remedy, place, .. } = finding;
    let end = if message.ends_with(['.', '?']) { "" } else { "." };
    let location = (place.is_some() || object.is_some()).then(|| Location {
        physical_location: place.as_ref().map(physical),
        logical_locations: object
            .iter()
            .map(|object| logical(object, finding.field.as_deref()))
            .collect(),
    });
    SarifResult {
        rule_id: *code,
        rule_index: Code::ALL.iter().position(|each| each == code),
        level: *severity,
        message: text(format!("{message}{end} {remedy}")),
        locations: location.into_iter().collect(),
        properties: None,
    }
}

/// What lost its match, with the time at which it did.
fn lost_match(lost: &LostMatch) -> SarifResult {
    let properties = Some(ResultProperties { lost_at: lost.time.clone() });
    SarifResult { properties, ..result(&lost.finding) }
}

fn physical(place: &Place) -> PhysicalLocation {
    PhysicalLocation {
        artifact_location: ArtifactLocation { uri: uri(&place.source) },
        region: place.line.map(|line| Region { start_line: line, start_column: place.column }),
    }
}

fn logical(object: &ObjectRef, field: Option<&str>) -> LogicalLocation {
    let field = field.map_or_else(String::new, |field| format!(" {field}"));
    LogicalLocation {
        name: object.name.clone(),
        fully_qualified_name: format!("{object}{field}"),
        kind: "object",
    }
}

/// A path as a URI reference (RFC 3986): relative paths stay relative.
fn uri(path: &str) -> String {
    let mut uri = if Path::new(path).is_absolute() { "file://".to_owned() } else { String::new() };
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' | b'~' => {
                uri.push(char::from(byte));
            }
            other => uri += &format!("%{other:02X}"),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_uris() {
        assert_eq!(uri("a/b c.yaml"), "a/b%20c.yaml");
        assert_eq!(uri("/etc/ä.yaml"), "file:///etc/%C3%A4.yaml");
    }
}
