//! Pods as network namespaces of this host, with real packets between them.
//!
//! ```text
//! pod "a"  eth0 ---- veth in the node namespace --\
//! pod "b"  eth0 ---- veth in the node namespace ---+-- forwarding, and the rules under test
//! outside  eth0 ---- veth in the node namespace --/
//! ```
//!
//! The host's own namespace is never touched: everything is inside namespaces made here, which have no route out and
//! no names, so that they are gone when the lab is, or its process, however it ended.

mod flood;
mod namespace;
pub mod packet;
mod probe;
mod rtnetlink;
mod talk;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use nix::errno::Errno;
use thiserror::Error;

pub use flood::{Flood, FloodCount};
pub use namespace::Namespace;
pub use probe::{Seen, Shot};
pub use talk::Talk;

use probe::{Round, Station};
use rtnetlink::{Batch, End, Mac};

/// How the pods of the node reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Each pod on a link of its own, with a single address and a gateway that is the node (ptp, Calico).
    Routed,
    /// All pods on one bridge of the node, on one link with each other (bridge, Flannel). Bridged packets meet the
    /// forward hook by br_netfilter.
    Bridged,
}

impl Layout {
    pub const ALL: [Self; 2] = [Self::Routed, Self::Bridged];
}

/// A pod, or a host outside of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    pub name: String,
    pub addresses: Vec<IpAddr>,
}

/// What a lab is to have.
#[derive(Debug, Clone)]
pub struct LabSpec {
    pub layout: Layout,
    pub pods: Vec<Host>,
    /// Addresses of a host behind the node that is no pod; any number.
    pub outside: Vec<IpAddr>,
    /// The node's own addresses.
    pub node: Vec<IpAddr>,
    /// Whether pods on a bridge find each other by ARP and neighbour discovery. Else neighbours are entered beforehand,
    /// and no packet waits for an answer.
    pub discover_neighbours: bool,
}

impl LabSpec {
    pub fn new(layout: Layout, pods: Vec<Host>) -> Self {
        Self { layout, pods, outside: Vec::new(), node: Vec::new(), discover_neighbours: false }
    }
}

/// The most machines of one lab, the outside host included: interface indexes and marker addresses are dealt by number.
pub const MAX_MACHINES: usize = 200;

#[derive(Debug, Error)]
pub enum LabError {
    #[error("not permitted: {what} (run as root, with CAP_NET_ADMIN and CAP_SYS_ADMIN)")]
    NotPermitted { what: String },
    #[error("this kernel lacks {what}")]
    Missing { what: String },
    #[error("the lab cannot have address {address}: {why}")]
    Address { address: IpAddr, why: &'static str },
    #[error("a lab has at most {MAX_MACHINES} machines, {0} were asked for")]
    TooMany(usize),
    #[error("no machine of the lab that a packet from {from} to {to} could pass between")]
    NoPath { from: IpAddr, to: IpAddr },
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    /// Nothing was learnt: the proof that earlier packets had their chance did not arrive.
    #[error("the marker from {from} to {to} did not arrive within {seconds} s")]
    MarkerLost { from: String, to: String, seconds: u64 },
    /// Nothing was learnt: arrivals were lost unseen.
    #[error("{lost} arrivals at {at} were lost: the socket's buffer was full")]
    Overrun { at: String, lost: u32 },
}

impl LabError {
    fn of_errno(what: impl Into<String>, errno: Errno) -> Self {
        let what = what.into();
        if matches!(errno, Errno::EPERM | Errno::EACCES) {
            return Self::NotPermitted { what };
        }
        if matches!(errno, Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT | Errno::EPROTONOSUPPORT) {
            return Self::Missing { what };
        }
        Self::Io { what, source: errno.into() }
    }

    fn io(what: impl Into<String>, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(errno) => Self::of_errno(what, Errno::from_raw(errno)),
            None => Self::Io { what: what.into(), source },
        }
    }
}

/// A pod or the outside host, with its namespace.
#[derive(Debug)]
pub struct Machine {
    pub name: String,
    pub addresses: Vec<IpAddr>,
    /// An address that no policy knows, so that packets between these are never judged.
    marker: Ipv4Addr,
    namespace: Namespace,
    station: Station,
}

impl Machine {
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }
}

/// A node with its pods and the outside. All of it ends with this value.
#[derive(Debug)]
pub struct Lab {
    layout: Layout,
    node: Namespace,
    /// The pods in the order given, then the outside host.
    machines: Vec<Machine>,
    by_address: BTreeMap<IpAddr, usize>,
}

/// The gateway of every pod, as of Calico's pods: it is the node on whatever link the pod is.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// The outside host on its link.
const OUTSIDE_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
/// The index of every machine's `eth0`.
const ETH0: u32 = 2;
/// The index of the bridge in the node, and what is added to a machine's number for its veth there.
pub const BRIDGE: u32 = 50;
const FIRST_VETH: u32 = 100;
const NODE_MAC: Mac = [2, 0, 0, 0, 0, 0];

impl Lab {
    /// # Errors
    /// `NotPermitted`, `Missing` (a kernel without IPv6, veth, or br_netfilter for `Bridged`), `Address` for one that
    /// no interface can have or that two machines claim, `TooMany`.
    pub fn new(spec: &LabSpec) -> Result<Self, LabError> {
        let machines = spec.pods.len() + 1;
        if machines > MAX_MACHINES {
            return Err(LabError::TooMany(machines));
        }
        let by_address = owners(spec)?;
        let node = Namespace::new()?;
        let bridged = BRIDGE_SETTINGS.iter().filter(|_| spec.layout == Layout::Bridged);
        for (name, value) in NODE_SETTINGS.iter().chain(bridged) {
            node.set(name, value)?;
        }
        let outside = Host { name: "outside".into(), addresses: spec.outside.clone() };
        let machines = spec.pods.iter().chain([&outside]).enumerate();
        let machines = machines.map(machine).collect::<Result<Vec<_>, _>>()?;
        let lab = Self { layout: spec.layout, node, machines, by_address };
        lab.wire_node(spec)?;
        for number in 0..lab.machines.len() {
            lab.wire_machine(number, spec.discover_neighbours)?;
        }
        lab.on_one_cpu(|| Round::new(&lab)?.await_links())?;
        Ok(lab)
    }

    /// The namespace whose forwarding connects the machines: rules under test are loaded there.
    pub fn node(&self) -> &Namespace {
        &self.node
    }

    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The pods in the order given, then the outside host.
    pub fn machines(&self) -> &[Machine] {
        &self.machines
    }

    pub fn machine_of(&self, address: IpAddr) -> Option<&Machine> {
        self.by_address.get(&address).and_then(|&number| self.machines.get(number))
    }

    pub fn machine_named(&self, name: &str) -> Option<&Machine> {
        self.machines.iter().find(|machine| machine.name == name)
    }

    /// The interface index of a machine's link in the node namespace.
    pub fn node_interface(&self, machine: &Machine) -> Option<u32> {
        let number = self.machines.iter().position(|m| std::ptr::eq(m, machine))?;
        Some(veth(number))
    }

    fn is_outside(&self, number: usize) -> bool {
        number + 1 == self.machines.len()
    }

    fn is_bridged(&self, number: usize) -> bool {
        self.layout == Layout::Bridged && !self.is_outside(number)
    }

    /// Links, routes and neighbours of the node.
    fn wire_node(&self, spec: &LabSpec) -> Result<(), LabError> {
        let mut batch = Batch::new();
        for &address in &spec.node {
            batch.address(rtnetlink::LOOPBACK, address, full(address));
        }
        if self.layout == Layout::Bridged {
            batch.bridge(End { name: "br0", index: BRIDGE, mac: NODE_MAC });
            gateway(&mut batch, BRIDGE);
        }
        for (number, machine) in self.machines.iter().enumerate() {
            let bridged = self.is_bridged(number);
            let (link, on) = (veth(number), if bridged { BRIDGE } else { veth(number) });
            let name = format!("veth{number}");
            let near = End { name: &name, index: link, mac: node_mac(number) };
            let far = End { name: "eth0", index: ETH0, mac: machine_mac(number) };
            let master = bridged.then_some(BRIDGE);
            batch.veth(near, far, machine.namespace.file(), master);
            if bridged {
                batch.forwarding(link, machine_mac(number));
            } else {
                gateway(&mut batch, link);
            }
            let marker = IpAddr::V4(machine.marker);
            batch.route(marker.into(), None, on);
            batch.neighbour(on, marker, machine_mac(number));
            if self.is_outside(number) {
                batch.neighbour(on, OUTSIDE_V6.into(), machine_mac(number));
                batch.route(default_v4(), Some(marker), on);
                batch.route(default_v6(), Some(OUTSIDE_V6.into()), on);
                continue;
            }
            for &address in &machine.addresses {
                batch.route(address.into(), None, on);
                batch.neighbour(on, address, machine_mac(number));
            }
        }
        self.node.run(|| batch.commit())?
    }

    /// Addresses, routes and neighbours of a machine.
    fn wire_machine(&self, number: usize, discover: bool) -> Result<(), LabError> {
        let Some(machine) = self.machines.get(number) else { return Ok(()) };
        let mut batch = Batch::new();
        batch.up(ETH0);
        batch.address(rtnetlink::LOOPBACK, machine.marker.into(), 32);
        // The outside host's many addresses are no business of its link.
        let on = if self.is_outside(number) { rtnetlink::LOOPBACK } else { ETH0 };
        for &address in &machine.addresses {
            batch.address(on, address, full(address));
        }
        if self.is_outside(number) {
            batch.address(ETH0, OUTSIDE_V6.into(), 64);
        }
        let bridged = self.is_bridged(number);
        let gateway_mac = if bridged { NODE_MAC } else { node_mac(number) };
        for (gateway, default) in
            [(GATEWAY_V4.into(), default_v4()), (GATEWAY_V6.into(), default_v6())]
        {
            batch.neighbour(ETH0, gateway, gateway_mac);
            batch.route(default, Some(gateway), ETH0);
        }
        for (other, neighbour) in self.machines.iter().enumerate() {
            if !bridged || other == number || self.is_outside(other) {
                continue;
            }
            let marker = IpAddr::V4(neighbour.marker);
            batch.route(marker.into(), None, ETH0);
            batch.neighbour(ETH0, marker, machine_mac(other));
            for &address in &neighbour.addresses {
                batch.route(address.into(), None, ETH0);
                if !discover {
                    batch.neighbour(ETH0, address, machine_mac(other));
                }
            }
        }
        machine.namespace.run(|| batch.commit())?
    }
}

const NODE_SETTINGS: [(&str, &str); 3] = [
    ("ipv4/ip_forward", "1"),
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv6/conf/default/forwarding", "1"),
];

/// Set in the node namespace of a bridged lab: bridged packets meet the forward hook of ip and ip6.
const BRIDGE_SETTINGS: [(&str, &str); 2] =
    [("bridge/bridge-nf-call-iptables", "1"), ("bridge/bridge-nf-call-ip6tables", "1")];

fn machine((number, host): (usize, &Host)) -> Result<Machine, LabError> {
    let namespace = Namespace::new()?;
    let station = namespace.run(Station::new)??;
    // 198.18.0.0/15 is for tests of network devices (RFC 2544, C.2.2).
    let marker = Ipv4Addr::new(198, 18, 0, number as u8 + 1);
    let (name, addresses) = (host.name.clone(), host.addresses.clone());
    Ok(Machine { name, addresses, marker, namespace, station })
}

/// Which machine has which address.
fn owners(spec: &LabSpec) -> Result<BTreeMap<IpAddr, usize>, LabError> {
    let mut owners = BTreeMap::new();
    let outside = (spec.pods.len(), &spec.outside);
    let pods = spec.pods.iter().map(|pod| &pod.addresses).enumerate();
    for (number, addresses) in pods.chain([outside]) {
        for &address in addresses {
            if let Some(why) = unfit(address) {
                return Err(LabError::Address { address, why });
            }
            if owners.insert(address, number).is_some() || spec.node.contains(&address) {
                return Err(LabError::Address { address, why: "it is given twice" });
            }
        }
    }
    Ok(owners)
}

/// Why no machine of a lab can have an address; `None` where one can.
pub fn unfit(address: IpAddr) -> Option<&'static str> {
    if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
        return Some("it is no unicast address");
    }
    let link_local = "link-local addresses are not forwarded";
    match address {
        IpAddr::V4(v4) => match v4.octets() {
            [0, ..] => Some("network 0 is no host's"),
            [127, ..] => Some("it is a loopback address"),
            [255, 255, 255, 255] => Some("it is the broadcast address"),
            [169, 254, ..] => Some(link_local),
            [198, 18, 0, _] => Some("the lab's own markers are in 198.18.0.0/24"),
            _ => None,
        },
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some(link_local),
        IpAddr::V6(v6) if v6.to_ipv4().is_some() => Some("IPv4 in IPv6 is not forwarded"),
        IpAddr::V6(_) => None,
    }
}

/// The node as gateway on a link.
fn gateway(batch: &mut Batch, index: u32) {
    batch.address(index, GATEWAY_V4.into(), 32);
    batch.address(index, GATEWAY_V6.into(), 64);
}

fn veth(number: usize) -> u32 {
    FIRST_VETH + number as u32
}

/// The address that a machine's kernel gives itself on its link (RFC 4291, appendix A).
pub fn link_local(number: usize) -> Ipv6Addr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0x00ff, 0xfe00, 0x0100 | number as u16)
}

/// Locally administered addresses, by number (at most `MAX_MACHINES`).
fn machine_mac(number: usize) -> Mac {
    [2, 0, 0, 0, 1, number as u8]
}

fn node_mac(number: usize) -> Mac {
    [2, 0, 0, 0, 2, number as u8]
}

fn full(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn default_v4() -> IpNet {
    ipnet::Ipv4Net::default().into()
}

fn default_v6() -> IpNet {
    ipnet::Ipv6Net::default().into()
}
