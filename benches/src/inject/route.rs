//! The router's interfaces, routes and neighbours, and that it forwards.

use palisade_lab::tool;

use super::InjectError;

/// Where frames come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ingress {
    /// Packets from here are dropped behind the count, so that conntrack keeps no entry of them.
    Fresh,
    /// Packets from here go on to the sink.
    Kept,
    /// Nothing but the packet socket's marks come in here.
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

    /// The index of the other end, by which a packet socket sends to this one.
    pub(super) fn outer(self) -> u32 {
        20 + self as u32
    }
}

/// The address of every ingress interface: what a frame must be sent to.
pub(super) const MAC: [u8; 6] = [2, 0, 0, 0, 3, 1];

/// The sink drops what it gets: dummy always, ifb what was not redirected to it.
const SINK_KINDS: [&str; 2] = ["dummy", "ifb"];

/// Makes the calling thread's namespace the router.
pub(super) fn set_up() -> Result<(), InjectError> {
    for name in ["ipv4/conf/all/forwarding", "ipv6/conf/all/forwarding"] {
        let path = format!("/proc/sys/net/{name}");
        std::fs::write(&path, "1")
            .map_err(|error| InjectError::io(format!("write to {path}"), error))?;
    }
    let mut last = Ok(());
    for kind in SINK_KINDS {
        last = ip(&format!("link add sink index 30 type {kind}"));
        if last.is_ok() {
            break;
        }
    }
    last?;
    ip(&script())?;
    // What is queued would be dropped later, and by whoever comes next.
    run("tc", &["qdisc", "replace", "dev", "sink", "root", "noqueue"], "")
}

fn script() -> String {
    let mac = MAC.map(|byte| format!("{byte:02x}")).join(":");
    let mut lines = vec![
        "link set sink addrgenmode none".to_owned(),
        "link set sink up".to_owned(),
        // Whatever the destination, the next hop is one neighbour that is known.
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
            // No address, so that the kernel sends nothing of its own.
            format!("link set {name} addrgenmode none"),
            format!("link set {name}-out addrgenmode none"),
            format!("link set {name} up"),
            format!("link set {name}-out up"),
        ]);
    }
    lines.join("\n")
}

/// Runs commands of ip(8), each on a line.
fn ip(commands: &str) -> Result<(), InjectError> {
    run("ip", &["-batch", "-"], commands)
}

/// Runs a program in the calling thread's namespace.
pub(super) fn run(program: &str, arguments: &[&str], input: &str) -> Result<(), InjectError> {
    Ok(tool::run(program, arguments, input).map(drop)?)
}
