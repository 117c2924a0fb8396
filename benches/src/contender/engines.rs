//! Real engines on this machine: which of them can be driven, and why others cannot.

use std::env;
use std::path::PathBuf;

use super::LeftOut;

/// Engines that are not driven: the name, the binary that is searched for, and what else would be needed.
const NOT_DRIVEN: [(&str, &str, &str); 4] = [
    ("kube-network-policies", "kube-network-policies", "NFQUEUE and a driver in this harness"),
    ("calico", "calico-felix", "an API server with Calico's own objects, or Typha"),
    ("cilium", "cilium-agent", "to be the node's network (eBPF), and Cilium's own objects"),
    ("antrea", "antrea-agent", "Open vSwitch and Antrea's central controller"),
];

/// For each engine that is never driven, the reason.
pub fn engines() -> Vec<LeftOut> {
    let why = |(name, binary, needs): (&'static str, &str, &str)| {
        let reason = find(binary).map_or_else(
            || format!("there is no {binary} on PATH, and it is not driven: it needs {needs}"),
            |found| format!("{} is not driven: it needs {needs}", found.display()),
        );
        LeftOut { name, reason }
    };
    NOT_DRIVEN.into_iter().map(why).collect()
}

/// Finds a program on `PATH`.
pub(super) fn find(binary: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|folder| folder.join(binary)).find(|file| file.is_file())
}
