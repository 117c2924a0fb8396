//! Errors of syntax, with their place and a remedy.

use super::key::key_given_twice;
use super::locate;
use super::report::TEMPLATE_REMEDY;
use super::split::beginning;

/// What a parser found wrong in a document.
pub(super) struct SyntaxError {
    /// In bytes from the beginning of the document.
    pub(super) offset: Option<usize>,
    pub(super) message: String,
    pub(super) remedy: String,
}

/// The longest text of a parser that is quoted, in characters.
const LONGEST: usize = 200;

impl SyntaxError {
    /// `text` is what the parser says, and `offset` the place that it gives.
    pub(super) fn new(syntax: &str, document: &str, text: &str, offset: Option<usize>) -> Self {
        if let Some(key) = key_given_twice(text) {
            return Self::given_twice(document, key);
        }
        // Of a value of the wrong type, the place is that of the list or map around it.
        let exact = offset.filter(|_| !text.starts_with("invalid type"));
        if let Some(offset) = template(document, exact) {
            let message =
                "The text has the braces of a template ({{ ... }}), and is not read".into();
            return Self { offset: Some(offset), message, remedy: TEMPLATE_REMEDY.into() };
        }
        let text: String = text.lines().next().unwrap_or_default().chars().take(LONGEST).collect();
        let offset = offset.or_else(|| beginning(document));
        let message =
            format!("The text is not {syntax} ({text}), and the rest of the document is not read");
        let remedy = match syntax {
            "JSON" => "Correct the syntax (a text that begins with { or [ is read as JSON)",
            _ => "Correct the syntax or the indentation",
        };
        Self { offset, message, remedy: remedy.into() }
    }

    fn given_twice(document: &str, key: &str) -> Self {
        let offset = locate::second_key(document, key).or_else(|| beginning(document));
        let message =
            format!("The key {key} is given twice, and the rest of the document is not read");
        let remedy = match key {
            "apiVersion" | "kind" | "metadata" | "spec" => {
                "Put a line with --- before it if a second object begins there, or keep one of the two"
            }
            _ => "Keep one of the two",
        };
        Self { offset, message, remedy: remedy.into() }
    }
}

/// The line with the braces of a template that made a parser fail: the line of the error or, if that has none, one that
/// begins with them. Without a place, any line that has them as a value.
fn template(document: &str, error: Option<usize>) -> Option<usize> {
    let mut begin = 0;
    let mut found = None;
    for line in document.split_inclusive('\n') {
        let end = begin + line.len();
        let value = line.trim_ascii_start();
        let is_control = value.starts_with("{{");
        let is_value = line.contains(": {{") || line.contains("- {{");
        let is_place = error.is_some_and(|error| (begin..end).contains(&error));
        if is_place && line.contains("{{") {
            return Some(begin);
        }
        if found.is_none() && (is_control || (error.is_none() && is_value)) {
            found = Some(begin);
        }
        begin = end;
    }
    found
}
