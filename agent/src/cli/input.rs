//! Manifests that are named on the command line -> changes, with every problem reported.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use palisade_compiler::compile::{Compiler, Locality, MAX_SUBJECTS, Warning, count_subjects};
use palisade_compiler::parse::{Severity, is_namespace_name};
use palisade_compiler::snapshot::{Change, Snapshot};

use super::Failure;
use super::output::{Progress, note};
use crate::sources::declarations::{Declarations, ObjectChange};
use crate::sources::files::{Limits, MAX_FILE_BYTES, ManifestFiles, Problem, Rescan, Update};

/// Which manifests, and what of them is this host's.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Manifests {
    /// Files or directories (their .yaml, .yml and .json files) of Kubernetes objects; - for standard input
    #[arg(short = 'f', long = "filename", value_name = "PATH", required = true, num_args = 1..)]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) options: ReadOptions,
}

/// How manifests are read.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ReadOptions {
    /// The largest file that is read, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = MAX_FILE_BYTES)]
    pub(crate) max_file_size: u64,
    /// The namespace of objects in -f that name none, as for kubectl; without it they are read into the namespace default, with a
    /// warning for each
    #[arg(short, long, value_name = "NAME", value_parser = namespace)]
    pub(crate) namespace: Option<Arc<str>>,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self { max_file_size: MAX_FILE_BYTES, namespace: None }
    }
}

impl ReadOptions {
    /// `pipes` says whether pipes are read, which end once and cannot be read again.
    pub(crate) fn limits(&self, pipes: bool) -> Limits {
        Limits { bytes: self.max_file_size, pipes, namespace: self.namespace.clone() }
    }
}

fn namespace(name: &str) -> Result<Arc<str>, String> {
    if is_namespace_name(name) {
        return Ok(Arc::from(name));
    }
    Err("a namespace has at most 63 of a-z, 0-9 and \"-\", with a letter or digit at both ends"
        .into())
}

/// Which pods are local.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Node {
    /// The name of this node: pods whose spec.nodeName it is are local. Without it every pod with an address is
    #[arg(long, env = "NODE_NAME", value_name = "NAME", value_parser = node_name)]
    pub(crate) node_name: Option<String>,
}

/// No node has an empty name: nothing would be local, and nothing isolated.
fn node_name(name: &str) -> Result<String, String> {
    if name.is_empty() {
        return Err(
            "the name is empty; give the name of this node, or unset NODE_NAME if every pod is local"
                .into()
        );
    }
    Ok(name.to_owned())
}

impl Node {
    pub(crate) fn locality(&self) -> Locality {
        match &self.node_name {
            Some(name) => Locality::Node(Arc::from(name.as_str())),
            None => Locality::Everywhere,
        }
    }
}

/// What the manifests gave.
pub(crate) struct Input {
    pub(crate) changes: Vec<Change>,
    /// Whether something in them is wrong. What can be enforced is enforced all the same, failing closed.
    pub(crate) has_errors: bool,
}

impl Manifests {
    /// Reads everything and reports every problem on standard error.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, and a document or an object that is not understood: it is not known what the rest means
    /// without it. A directory without a manifest, which would otherwise open everything.
    pub(crate) fn load(&self) -> Result<Input, Failure> {
        let read = self.read();
        read.problems().for_each(note);
        read.check()?;
        let has_errors = read.has_errors();
        Ok(Input {
            changes: read.objects.into_iter().map(|object| object.change).collect(),
            has_errors,
        })
    }

    /// Reads everything, and reports nothing yet.
    pub(crate) fn read(&self) -> Read {
        let limits = self.options.limits(true);
        let mut files = ManifestFiles::new(self.files.iter().cloned(), limits);
        let (mut progress, since) = (Progress::new("reading"), Instant::now());
        let updates = files.scan(&Rescan::everything(), since, &mut |reading| {
            progress.at(since, reading);
        });
        drop(progress);
        let mut declarations = Declarations::default();
        let mut edit = declarations.edit();
        for update in updates {
            if let Update::Set(file, manifest) = update {
                edit.set_file(&file, manifest);
            }
        }
        let objects = edit.finish();
        let conflicts = declarations.conflicts().map(Problem::Conflict).collect();
        Read { objects, files, conflicts, since }
    }
}

/// Manifests as they were read.
pub(crate) struct Read {
    /// What they declare, each with its file.
    pub(crate) objects: Vec<ObjectChange>,
    files: ManifestFiles,
    conflicts: Vec<Problem>,
    /// When reading began.
    since: Instant,
}

impl Read {
    pub(crate) fn problems(&self) -> impl Iterator<Item = &Problem> {
        self.files.problems().chain(&self.conflicts)
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.problems().any(|problem| problem.severity() == Severity::Error)
    }

    /// Whether the objects are all that is declared.
    ///
    /// # Errors
    ///
    /// As `Manifests::load`.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.problems().any(Problem::is_unreadable_input) || self.files.lacks_manifests() {
            return Err(Failure::Unreadable);
        }
        // Nobody knows what a withheld object says, so that the rest must not be taken for the whole.
        if self.files.held(self.since).next().is_some() || !self.files.is_complete() {
            return Err(Failure::Manifests);
        }
        Ok(())
    }
}

/// Compiles, and reports the warnings about the result. Whether one of them means that not all of what the manifests ask for
/// is enforced (no pod is on the node that was named, say): the exit status must say so.
///
/// # Errors
///
/// A result that is beyond a bound of the kernel's tables. Too many isolated pods are refused before anything is compiled.
pub(crate) fn compile(
    compiler: &mut Compiler,
    locality: &Locality,
    changes: Vec<Change>,
) -> Result<bool, Failure> {
    let mut snapshot = Snapshot::new();
    changes.into_iter().for_each(|change| snapshot.apply(change));
    let counts = count_subjects(&snapshot, locality);
    let too_many = counts.iter().filter(|(_, subjects)| **subjects > MAX_SUBJECTS);
    let refused: Vec<Warning> =
        too_many.map(|(family, &subjects)| Warning::TooManySubjects { family, subjects }).collect();
    if !refused.is_empty() {
        refused.iter().for_each(|warning| note(format_args!("warning: {warning}")));
        return Err(Failure::Bound);
    }
    compiler.load(snapshot);
    let warnings = compiler.warnings();
    warnings.iter().for_each(|warning| note(format_args!("warning: {warning}")));
    if warnings.iter().any(Warning::is_bound) {
        return Err(Failure::Bound);
    }
    Ok(warnings.iter().any(Warning::is_failure))
}
