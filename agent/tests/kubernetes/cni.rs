//! The network of a node's pods, made by the plugins of Debian's `containernetworking-plugins`, which are called as a container
//! runtime calls them: <https://www.cni.dev/docs/spec/>.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use palisade_lab::Namespace;
use serde_json::{Value, json};

use crate::command::{Ran, finish};

/// Where Debian's package has them.
const PLUGINS: &str = "/usr/lib/cni";
/// The interface that a pod gets.
const INTERFACE: &str = "eth0";

/// The plugin that connects pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plugin {
    /// All pods of a node share a bridge.
    Bridge,
    /// Each pod has a routed link of its own.
    Ptp,
}

impl Plugin {
    const fn name(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Ptp => "ptp",
        }
    }
}

/// The plugins of one node, with what they remember.
pub(crate) struct PodNetwork {
    node: Namespace,
    plugin: Plugin,
    range: String,
    /// Where `host-local` notes which addresses it gave.
    state: PathBuf,
}

impl PodNetwork {
    /// In the node's namespace. Pods get addresses of the range, a CIDR block.
    pub(crate) fn new(node: &Namespace, plugin: Plugin, range: &str, state: &Path) -> Self {
        let node = node.try_clone().unwrap();
        Self { node, plugin, range: range.to_owned(), state: state.to_owned() }
    }

    /// Connects a pod and returns its address: this one, if it is free, or any of the range.
    #[track_caller]
    pub(crate) fn add(&self, id: &str, pod: &Namespace, address: Option<Ipv4Addr>) -> Ipv4Addr {
        self.call("loopback", "ADD", id, pod, None);
        let added = self.call(self.plugin.name(), "ADD", id, pod, address).out;
        let result: Value = serde_json::from_str(&added).unwrap_or_else(|_| panic!("{added}"));
        let given = result["ips"][0]["address"].as_str().unwrap_or_else(|| panic!("{added}"));
        let (given, _prefix) = given.split_once('/').unwrap();
        given.parse().unwrap()
    }

    /// Disconnects a pod; its address is free then.
    #[track_caller]
    pub(crate) fn remove(&self, id: &str, pod: &Namespace) {
        self.call(self.plugin.name(), "DEL", id, pod, None);
        self.call("loopback", "DEL", id, pod, None);
    }

    /// The addresses that are given and not free again.
    pub(crate) fn given(&self) -> Vec<Ipv4Addr> {
        let files = std::fs::read_dir(self.state.join("pods")).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.filter_map(|name| name.parse().ok()).collect()
    }

    fn configuration(&self, plugin: &str) -> Value {
        let mut configuration = json!({"cniVersion": "1.0.0", "name": "pods", "type": plugin});
        if plugin == "loopback" {
            return configuration;
        }
        configuration["ipMasq"] = false.into();
        configuration["ipam"] = json!({
            "type": "host-local", "dataDir": self.state, "ranges": [[{"subnet": self.range}]],
        });
        match self.plugin {
            Plugin::Bridge => {
                configuration["bridge"] = "cni0".into();
                configuration["isDefaultGateway"] = true.into();
            }
            Plugin::Ptp => configuration["ipam"]["routes"] = json!([{"dst": "0.0.0.0/0"}]),
        }
        configuration
    }

    #[track_caller]
    fn call(
        &self,
        plugin: &str,
        what: &str,
        id: &str,
        pod: &Namespace,
        address: Option<Ipv4Addr>,
    ) -> Ran {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.node.path())).arg(format!("{PLUGINS}/{plugin}"));
        let interface = if plugin == "loopback" { "lo" } else { INTERFACE };
        command.env("CNI_COMMAND", what).env("CNI_CONTAINERID", id).env("CNI_PATH", PLUGINS);
        command.env("CNI_NETNS", pod.path()).env("CNI_IFNAME", interface);
        if let Some(address) = address {
            command.env("CNI_ARGS", format!("IgnoreUnknown=1;IP={address}"));
        }
        finish(command, &self.configuration(plugin).to_string()).exits(0)
    }
}
