//! Real engines on this machine.

use std::env;
use std::path::PathBuf;

use super::LeftOut;

/// An engine's binary that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
    pub name: &'static str,
    pub binary: PathBuf,
}

/// The engines that are looked for, the binary of each, and what it would take beside it.
const ENGINES: [(&str, &str, &str); 5] = [
    ("kube-router", "kube-router", "an API server"),
    ("kube-network-policies", "kube-network-policies", "an API server and NFQUEUE"),
    ("calico", "calico-felix", "an API server with its own objects, or Typha"),
    (
        "cilium",
        "cilium-agent",
        "to be the node's network (eBPF) and an API server with its own objects",
    ),
    ("antrea", "antrea-agent", "Open vSwitch and its central controller"),
];

/// Which engines' binaries are on `PATH`, and which are left out and why.
pub fn engines() -> Vec<Result<Engine, LeftOut>> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = env::split_paths(&path).collect();
    let look = |(name, binary, needs): (&'static str, &str, &str)| {
        let found = folders.iter().map(|folder| folder.join(binary)).find(|file| file.is_file());
        found.map(|binary| Engine { name, binary }).ok_or_else(|| LeftOut {
            name,
            reason: format!("there is no {binary} on PATH (it would need {needs} too)"),
        })
    };
    ENGINES.into_iter().map(look).collect()
}
