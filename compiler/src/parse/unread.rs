//! Objects that are not read, counted by kind, and what is said about them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use super::diagnostic::Severity;
use super::kinds::{self, Other, SourceOf};

/// How many different kinds are told apart; the objects of others are counted together.
const MAX_KINDS: usize = 100;

/// How many kinds without a meaning for policy are named.
const MAX_NAMED: usize = 8;

/// Counts objects by kind. `S` is where an object stands.
#[derive(Debug)]
pub(super) struct Unread<S> {
    kinds: BTreeMap<(Other, Arc<str>, Arc<str>), Counted<S>>,
    /// Objects of kinds beyond `MAX_KINDS`.
    beyond: usize,
}

#[derive(Debug)]
struct Counted<S> {
    first: S,
    objects: usize,
    /// What the first one says of itself: the message of a Status.
    says: Option<Arc<str>>,
}

impl<S> Default for Unread<S> {
    fn default() -> Self {
        Self { kinds: BTreeMap::new(), beyond: 0 }
    }
}

/// What to say about the objects of one kind or of several.
#[derive(Debug)]
pub(super) struct Summary<S> {
    pub(super) severity: Severity,
    /// Of the first of them.
    pub(super) at: Option<S>,
    pub(super) message: String,
    pub(super) remedy: String,
}

impl<S: Copy + Ord> Unread<S> {
    /// Counts an object. Returns whether what the document declares is unknown with it.
    pub(super) fn count(
        &mut self,
        (kind, api_version): (Arc<str>, Arc<str>),
        says: Option<Arc<str>>,
        at: S,
    ) -> bool {
        let other = kinds::other(&kind, &api_version);
        let unknown = matches!(other, Other::Answer | Other::Source(_));
        let is_full = self.kinds.len() >= MAX_KINDS;
        match self.kinds.get_mut(&(other, Arc::clone(&kind), Arc::clone(&api_version))) {
            Some(counted) => counted.objects += 1,
            // Those that are errors are never left out.
            None if is_full && other == Other::Silent => self.beyond += 1,
            None => {
                let counted = Counted { first: at, objects: 1, says };
                self.kinds.insert((other, kind, api_version), counted);
            }
        }
        unknown
    }

    pub(super) fn kinds(&self) -> usize {
        self.kinds.len() + self.beyond
    }

    /// One summary for each kind that is an error, and one for all others together.
    pub(super) fn summaries(self) -> Vec<Summary<S>> {
        let mut summaries = Vec::new();
        let mut silent = Vec::new();
        for ((other, kind, api_version), counted) in self.kinds {
            match other {
                Other::Silent => silent.push((kind, counted)),
                Other::Answer => summaries.push(answer(&kind, counted)),
                Other::Source(of) => summaries.push(source(of, counted)),
                Other::Policy => summaries.push(policy(&kind, &api_version, counted)),
            }
        }
        if !silent.is_empty() || self.beyond > 0 {
            summaries.push(silence(silent, self.beyond));
        }
        summaries
    }
}

fn answer<S>(kind: &str, counted: Counted<S>) -> Summary<S> {
    let a = if kind.starts_with(['A', 'E', 'I', 'O', 'U']) { "An" } else { "A" };
    let mut message = match counted.objects {
        1 => format!(
            "{a} {kind} declares nothing that is known: it is a server's answer, not an object"
        ),
        n => format!(
            "{n} objects of kind {kind} declare nothing that is known: they are a server's answers"
        ),
    };
    if let Some(says) = counted.says {
        // Writing to a string cannot fail.
        _ = write!(message, " ({says})");
    }
    let remedy = "Write the objects themselves, as kubectl get -o yaml prints them".into();
    Summary { severity: Severity::Error, at: Some(counted.first), message, remedy }
}

fn source<S>(of: SourceOf, counted: Counted<S>) -> Summary<S> {
    let (message, remedy) = of.sentences();
    Summary {
        severity: Severity::Error,
        at: Some(counted.first),
        message: message.into(),
        remedy: remedy.into(),
    }
}

impl SourceOf {
    /// What it is, and what to do about it.
    pub(super) fn sentences(self) -> (&'static str, &'static str) {
        match self {
            Self::Template => (
                "A Template declares nothing that is known: its objects are made by filling in parameters",
                "Fill it in first (oc process -f FILE), and give the result to -f",
            ),
            Self::Kustomization => (
                "A kustomization declares nothing that is known: it changes the objects of other files, and they may mean \
                 something else without it",
                "Render it first (kubectl kustomize DIRECTORY), and give the result to -f",
            ),
            Self::Chart => (
                "The file describes a Helm chart and declares nothing that is known: the objects of the chart are made from its \
                 templates",
                "Render the chart first (helm template DIRECTORY), and give the result to -f",
            ),
            Self::Values => (
                "A file of values for a Helm chart declares nothing that is known: the objects of the chart are made from its \
                 templates",
                "Render the chart first (helm template DIRECTORY), and give the result to -f, or move the file out of this \
                 directory",
            ),
            Self::Watch => (
                "An event of a watch declares nothing that is known: it tells of a change",
                "Write the objects themselves, as kubectl get -o yaml prints them",
            ),
        }
    }
}

fn policy<S>(kind: &str, api_version: &str, counted: Counted<S>) -> Summary<S> {
    let of = if api_version.is_empty() { String::new() } else { format!(" of {api_version}") };
    let message = match counted.objects {
        1 => format!("One {kind}{of} is a policy that this version does not enforce"),
        n => format!(
            "{n} objects of kind {kind}{of} are policies that this version does not enforce"
        ),
    };
    let remedy = "Write them as NetworkPolicies of networking.k8s.io/v1, or keep them out of this input if another engine \
                  enforces them"
        .into();
    Summary { severity: Severity::Error, at: Some(counted.first), message, remedy }
}

fn silence<S: Copy + Ord>(kinds: Vec<(Arc<str>, Counted<S>)>, beyond: usize) -> Summary<S> {
    let objects = beyond + kinds.iter().map(|(_, counted)| counted.objects).sum::<usize>();
    let mut named: BTreeMap<&str, usize> = BTreeMap::new();
    for (kind, counted) in &kinds {
        *named.entry(kind).or_default() += counted.objects;
    }
    let mut list: Vec<String> =
        named.iter().take(MAX_NAMED).map(|(kind, count)| format!("{count} {kind}")).collect();
    let more = named.len().saturating_sub(MAX_NAMED);
    if more > 0 || beyond > 0 {
        list.push(format!(
            "{} of other kinds",
            objects - named.values().take(MAX_NAMED).sum::<usize>()
        ));
    }
    let list = list.join(", ");
    let message = match objects {
        1 => format!(
            "One object is of a kind that says nothing about policy, and is not read: {list}"
        ),
        _ => format!(
            "{objects} objects are of kinds that say nothing about policy, and are not read: {list}"
        ),
    };
    let workloads = kinds.iter().any(|(kind, _)| kinds::makes_pods(kind));
    let remedy = match workloads {
        true => {
            "Nothing need be done, but the pods that these objects make are read only from objects of their own (kubectl get pods \
                 -o yaml)"
        }
        false => "Nothing need be done",
    };
    Summary {
        severity: Severity::Warning,
        at: kinds.iter().map(|(_, counted)| counted.first).min(),
        message,
        remedy: remedy.into(),
    }
}
