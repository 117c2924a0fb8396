//! Sets up the router: its interfaces, routes and neighbours.

use palisade_lab::{LabError, tool};

use super::InjectError;

/// The interfaces that receive frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ingress {
    /// Packets from here are dropped after the counter, so that conntrack keeps no entry for them.
    Fresh,
    /// Packets from here are forwarded to the sink.
    Kept,
    /// Only the markers of the packet socket are received here.
    Marks,
}

impl Ingress {
    pub(super) const ALL: [Self; 3] = [Self::Fresh, Self::Kept, Self::Marks];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Kept => "kept",
            Self::Marks => "marks",
        }
    }

    /// The interface index.
    pub(super) fn index(self) -> u32 {
        10 + self as u32
    }

    /// The index of the other end of the veth, to which a packet socket sends.
    pub(super) fn outer(self) -> u32 {
        20 + self as u32
    }
}

/// The MAC address of every ingress interface, to which frames must be sent.
pub(super) const MAC: [u8; 6] = [2, 0, 0, 0, 3, 1];

/// Kinds of interface that drop all packets. A dummy always does, and an ifb does with packets that were not redirected to
/// it.
const SINK_KINDS: [&str; 2] = ["dummy", "ifb"];

/// Turns the calling thread's namespace into the router.
pub(super) fn set_up() -> Result<(), InjectError> {
    let mut last = Ok(());
    for kind in SINK_KINDS {
        last = ip(&format!("link add sink index 30 type {kind}"));
        if last.is_ok() {
            break;
        }
    }
    last?;
    ip(&script())?;
    // Queued packets would be dropped later, and the time would be counted for another packet.
    run("tc", &["qdisc", "replace", "dev", "sink", "root", "noqueue"], "")
}

fn script() -> String {
    let mac = MAC.map(|byte| format!("{byte:02x}")).join(":");
    let mut lines = vec![
        "link set sink addrgenmode none".to_owned(),
        "link set sink up".to_owned(),
        // For every destination, the next hop is the same known neighbour.
        "route add default via 169.254.0.1 dev sink onlink".to_owned(),
        "route add ::/0 via fe80::1 dev sink onlink".to_owned(),
        "neigh add 169.254.0.1 lladdr 02:00:00:00:03:02 dev sink nud permanent".to_owned(),
        "neigh add fe80::1 lladdr 02:00:00:00:03:02 dev sink nud permanent".to_owned(),
    ];
    for ingress in Ingress::ALL {
        let (name, inner, outer) = (ingress.name(), ingress.index(), ingress.outer());
        lines.extend([
            format!(
                "link add {name} index {inner} address {mac} type veth peer name {name}-out index {outer}"
            ),
            // Without an address, the kernel sends no packets of its own.
            format!("link set {name} addrgenmode none"),
            format!("link set {name}-out addrgenmode none"),
            format!("link set {name} up"),
            format!("link set {name}-out up"),
        ]);
    }
    lines.join("\n")
}

/// Runs commands of ip(8), one on each line.
fn ip(commands: &str) -> Result<(), InjectError> {
    run("ip", &["-batch", "-"], commands)
}

/// Runs a program in the calling thread's namespace.
pub(super) fn run(program: &str, arguments: &[&str], input: &str) -> Result<(), InjectError> {
    Ok(tool::run(program, arguments, input).map(drop).map_err(LabError::from)?)
}
