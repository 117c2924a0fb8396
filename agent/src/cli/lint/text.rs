//! Findings for people: by object, the reason once for each code.

use std::collections::HashSet;

use palisade_compiler::lint::{Code, Crowded, Finding, Severity};
use palisade_compiler::parse::ObjectRef;
use palisade_compiler::wording::counted;

use super::Outcome;
use crate::cli::Failure;
use crate::cli::output::{colours, is_unsafe, say, styled};
use crate::findings::UsageStatus;

const BOLD: &str = "1";

pub(super) fn print(outcome: &Outcome) -> Result<(), Failure> {
    let colours = colours();
    let mut object: Option<&Option<ObjectRef>> = None;
    let mut explained: HashSet<Code> = HashSet::new();
    for finding in &outcome.findings {
        if object != Some(&finding.object) {
            object = Some(&finding.object);
            let name =
                finding.object.as_ref().map_or_else(|| "The input".to_owned(), ToString::to_string);
            say(styled(printable(&name), BOLD, colours))?;
        }
        print_one(finding, explained.insert(finding.code), colours)?;
    }
    for Crowded { object, severity, further } in &outcome.crowded {
        let more = counted(*further, &format!("more {severity}"));
        say(format_args!("... and {more} about {}", printable(&object.to_string())))?;
    }
    if outcome.further > 0 {
        say(format_args!("... and {} in all", counted(outcome.further, "more finding")))?;
    }
    if !outcome.lost_matches.is_empty() {
        say(styled("Lost by changes of labels, the latest first", BOLD, colours))?;
    }
    for lost in &outcome.lost_matches {
        say(format_args!("  {}", printable(&lost.time)))?;
        let object = lost.finding.object.as_ref().map_or_else(String::new, ToString::to_string);
        say(format_args!("    {}", printable(&object)))?;
        print_one(&lost.finding, explained.insert(lost.finding.code), colours)?;
    }
    if let Some(usage) = &outcome.usage {
        print_unknown_use(usage)?;
    }
    say(summary(outcome))
}

/// Says why nothing is said of what is not used.
fn print_unknown_use(usage: &UsageStatus) -> Result<(), Failure> {
    let unknown = [
        ("which policies and rules are not used", &usage.allowed_unknown),
        ("which isolation denies nothing", &usage.denied_unknown),
    ];
    for (what, why) in unknown {
        if let Some(why) = why {
            say(format_args!("It is not known {what}: {}", printable(why)))?;
        }
    }
    Ok(())
}

fn print_one(finding: &Finding, is_first: bool, colours: bool) -> Result<(), Failure> {
    let Finding { code, severity, message, why, remedy, place, .. } = finding;
    let place = place.as_ref().map_or_else(String::new, |place| format!(" {place}"));
    let severity = painted(*severity, colours);
    say(format_args!("  {severity} {code} {}{}", code.entry().name, printable(&place)))?;
    let end = if message.ends_with(['.', '?']) { "" } else { "." };
    say(format_args!("    {}{end}", printable(message)))?;
    if is_first {
        say(format_args!("    {why}"))?;
    }
    say(format_args!("    -> {}", printable(remedy)))
}

fn painted(severity: Severity, colours: bool) -> String {
    let style = match severity {
        Severity::Error => "31",
        Severity::Warning => "33",
        Severity::Note => "36",
    };
    styled(severity, style, colours)
}

/// Escapes what could drive the terminal or show a name as another one.
fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if is_unsafe(character) {
            safe.extend(character.escape_default());
        } else {
            safe.push(character);
        }
    }
    safe
}

fn summary(outcome: &Outcome) -> String {
    let count = |severity: &Severity| outcome.counts.get(severity).copied().unwrap_or_default();
    let shown = Severity::ALL.iter().rev().filter(|s| **s >= outcome.severity && count(s) > 0);
    let shown: Vec<String> = shown.map(|s| counted(count(s), &s.to_string())).collect();
    let mut text = if shown.is_empty() { "nothing found".to_owned() } else { shown.join(", ") };
    if outcome.below() > 0 {
        let least = Severity::ALL.iter().find(|severity| count(severity) > 0);
        let least = least.map(ToString::to_string).unwrap_or_default();
        let below = counted(outcome.below(), "less severe finding");
        text += &format!("; {below} not shown (--severity {least})");
    }
    if outcome.ignored > 0 {
        text += &format!("; {} accepted by annotation", outcome.ignored);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_drive_a_terminal_is_shown_as_text() {
        assert_eq!(printable("a\x1b[31mb\n"), "a\\u{1b}[31mb\\n");
        assert_eq!(printable("a\u{202e}b"), "a\\u{202e}b");
        assert_eq!(printable("ä"), "ä");
    }
}
