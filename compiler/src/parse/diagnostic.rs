//! Diagnostics: what a person should know about a source, where to look, and what to do.

use std::fmt::{self, Write};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something does not take effect as it was written. `Parsed` says what became of it.
    Error,
    /// Everything takes effect as it was written, but perhaps not as it was meant.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// A finding about a source. Displayed as one line: the place, the severity, the object and the sentences.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    pub severity: Severity,
    #[serde(flatten)]
    pub place: Place,
    pub object: Option<ObjectRef>,
    /// The field that the message is about, as in `spec.ingress[0].from[1].ipBlock.cidr`.
    pub field: Option<String>,
    /// What was found: a sentence without its period, which begins with the field if there is one.
    pub message: String,
    /// What to do about it: a sentence without its period.
    pub remedy: String,
    /// What holds until the source is corrected, of an error in an object: a sentence without its period.
    pub consequence: Option<String>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(OneLine(f), "{}: {}: ", self.place, self.severity)?;
        fmt::Display::fmt(&self.finding(), f)
    }
}

impl Diagnostic {
    /// Displayed as the object and the sentences: for objects that stand in no file.
    pub fn finding(&self) -> impl fmt::Display {
        WithoutPlace(self)
    }
}

struct WithoutPlace<'d>(&'d Diagnostic);

impl fmt::Display for WithoutPlace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = OneLine(f);
        let diagnostic = self.0;
        if let Some(object) = &diagnostic.object {
            write!(f, "{object}: ")?;
        }
        let mut space = "";
        let sentences = [&diagnostic.message, &diagnostic.remedy].into_iter();
        for sentence in sentences.chain(&diagnostic.consequence) {
            let end = if sentence.ends_with('?') { "" } else { "." };
            write!(f, "{space}{sentence}{end}")?;
            space = " ";
        }
        Ok(())
    }
}

/// Escapes control characters, which could forge lines of a log or drive a terminal.
struct OneLine<'f, 'b>(&'f mut fmt::Formatter<'b>);

impl Write for OneLine<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some((plain, control)) = rest
            .char_indices()
            .find(|(_, c)| c.is_control())
            .and_then(|(at, _)| rest.split_at_checked(at))
        {
            let mut after = control.chars();
            self.0.write_str(plain)?;
            after.by_ref().take(1).try_for_each(|c| write!(self.0, "{}", c.escape_default()))?;
            rest = after.as_str();
        }
        self.0.write_str(rest)
    }
}

/// Where something stands. Displayed as `FILE:LINE:COLUMN`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The name that the caller gave to the source.
    pub source: Arc<str>,
    /// Counts from 1.
    pub document: usize,
    /// Counts from 1: the line of the field, of the object if the field is not there, or of the wrong syntax.
    pub line: Option<usize>,
    /// Counts characters from 1.
    pub column: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.column) {
            (Some(line), Some(column)) => write!(f, "{}:{line}:{column}", self.source),
            (Some(line), None) => write!(f, "{}:{line}", self.source),
            (None, _) => write!(f, "{} (document {})", self.source, self.document),
        }
    }
}

/// Names an object. Displayed as in `NetworkPolicy shop/api`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectRef {
    pub kind: String,
    /// `None` for kinds without a namespace, and where the namespace is not known.
    pub namespace: Option<String>,
    pub name: String,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}
