//! The demo's directory: its manifests, and the agent's socket and log.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use palisade_compiler::parse::parse;
use palisade_compiler::snapshot::{Change, Snapshot};

use super::DemoError;

/// The directory's name: this, and the id of the process that made it.
const PREFIX: &str = "palisade-demo-";
const MANIFESTS: &str = "manifests";
const AGENT_PID: &str = "agent.pid";

/// A directory for the demo, removed when this is dropped.
#[derive(Debug)]
pub(super) struct Directory {
    root: PathBuf,
    /// The manifests' text by file name.
    texts: BTreeMap<String, String>,
}

impl Directory {
    pub(super) fn new() -> Result<Self, DemoError> {
        Self::named(&std::process::id().to_string())
    }

    pub(super) fn named(name: &str) -> Result<Self, DemoError> {
        let root = std::env::temp_dir().join(format!("{PREFIX}{name}"));
        let failed = |error| DemoError::io(format!("create {}", root.display()), error);
        DirBuilder::new().mode(0o700).create(&root).map_err(failed)?;
        let directory = Self { root: root.clone(), texts: BTreeMap::new() };
        fs::create_dir(directory.path()).map_err(failed)?;
        Ok(directory)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The directory of the manifests.
    pub(super) fn path(&self) -> PathBuf {
        self.root.join(MANIFESTS)
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.root.join("agent.sock")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.root.join("agent.log")
    }

    /// Where the agent's process id is kept for `remove_abandoned`.
    pub(super) fn agent_pid(&self) -> PathBuf {
        self.root.join(AGENT_PID)
    }

    pub(super) fn write(&mut self, name: &str, text: &str) -> Result<(), DemoError> {
        write_file(&self.root, &self.path(), name, text)?;
        self.texts.insert(name.to_owned(), text.to_owned());
        Ok(())
    }

    /// Replaces a text in a file.
    pub(super) fn edit(&mut self, name: &str, old: &str, new: &str) -> Result<(), DemoError> {
        let text = self.texts.get(name).filter(|text| text.contains(old));
        let Some(text) = text else {
            return Err(DemoError::Failed(format!("{name} does not contain {old:?}")));
        };
        let edited = text.replace(old, new);
        self.write(name, &edited)
    }

    /// What the manifests declare.
    pub(super) fn snapshot(&self) -> Result<Snapshot, DemoError> {
        let mut snapshot = Snapshot::new();
        for (name, text) in &self.texts {
            let parsed = parse(name, text.as_bytes(), &mut |object| {
                snapshot.apply(Change::from(object));
            });
            if let Some(diagnostic) = parsed.diagnostics.first() {
                return Err(DemoError::Failed(diagnostic.to_string()));
            }
        }
        Ok(snapshot)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // The next demo removes what could not be removed here.
        _ = fs::remove_dir_all(&self.root);
    }
}

/// Writes a file into `to`: under the same name in `root` first, so that the agent never reads half of it.
pub(super) fn write_file(root: &Path, to: &Path, name: &str, text: &str) -> Result<(), DemoError> {
    let (draft, path) = (root.join(name), to.join(name));
    fs::write(&draft, text)
        .and_then(|()| fs::rename(&draft, &path))
        .map_err(|error| DemoError::io(format!("write {}", path.display()), error))
}

/// Ends the agents and removes the directories of demos that were killed.
pub(super) fn remove_abandoned() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return };
    for root in entries.flatten().map(|entry| entry.path()) {
        let name = root.file_name().and_then(|name| name.to_str());
        let Some(pid) = name.and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        let ours =
            fs::symlink_metadata(&root).is_ok_and(|m| m.is_dir() && m.uid() == geteuid().as_raw());
        let ended = pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists();
        if !(ours && ended) {
            continue;
        }
        let agent = fs::read_to_string(root.join(AGENT_PID)).ok();
        if let Some(pid) = agent.and_then(|pid| pid.trim().parse::<i32>().ok()) {
            // Another process may have the number by now. Only one with this directory in its command line is the demo's.
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if String::from_utf8_lossy(&command).contains(&*root.to_string_lossy()) {
                _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            }
        }
        _ = fs::remove_dir_all(&root);
    }
}
