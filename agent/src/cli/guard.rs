use clap::ValueEnum;
use ipnet::IpNet;

use crate::protocol::SourceGuardMode;
use crate::source_guard::SourceGuard;

/// What a pod may have as the source of what it sends.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Guard {
    /// Which packets of local pods are dropped where their source is not an address of the pod whose interface they come by: all,
    /// the first of a connection, or none. Only interfaces that lead to nothing but single addresses are guarded
    #[arg(long, value_name = "PACKETS", value_enum, default_value_t)]
    source_guard: Mode,
    /// A range of addresses that are sources of the pods that this host routes them to, whose interface on a bridge has them, or that pick them by the
    /// annotation palisade.io/allowed-sources, though no manifest names them as a pod's: virtual addresses of a load balancer
    #[arg(long = "allow-source", value_name = "CIDR")]
    allowed: Vec<IpNet>,
    /// A port of a bridge by which a router is reached: its router advertisements and redirects pass to isolated pods, and its packets have any
    /// source
    #[arg(long = "router-port", value_name = "INTERFACE")]
    routers: Vec<String>,
    /// A range of addresses of pods that may send packets of an overlay network (VXLAN, Geneve, IP in IP, GRE) to nodes
    #[arg(long = "allow-tunnel", value_name = "CIDR")]
    tunnels: Vec<IpNet>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Mode {
    #[default]
    All,
    First,
    Off,
}

impl Guard {
    pub(super) fn settings(&self) -> SourceGuard {
        let mode = match self.source_guard {
            Mode::All => SourceGuardMode::All,
            Mode::First => SourceGuardMode::First,
            Mode::Off => SourceGuardMode::Off,
        };
        let truncated = |ranges: &[IpNet]| ranges.iter().map(IpNet::trunc).collect();
        SourceGuard {
            mode,
            allowed: truncated(&self.allowed),
            routers: self.routers.clone(),
            tunnels: truncated(&self.tunnels),
        }
    }
}
