//! The node with its pods and the outside host: their namespaces, and the links, addresses and routes between them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use palisade_compiler::model::Connection;

use crate::frame::Mac;
use crate::links::{Batch, ETH0, Interface, LOOPBACK, await_local_routes};
use crate::probe::Round;
use crate::sockets::{Sockets, on_one_cpu};
use crate::{Host, LabError, LabSpec, Layout, MAX_MACHINES, Namespace};

/// A pod or the outside host, with its namespace.
#[derive(Debug)]
pub struct Machine {
    pub name: String,
    pub addresses: Vec<IpAddr>,
    /// An address that no policy names: packets between two markers are never denied.
    pub(crate) marker: Ipv4Addr,
    pub(crate) namespace: Namespace,
    pub(crate) sockets: Sockets,
}

impl Machine {
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }
}

/// A node with its pods and the outside host. The kernel removes all of it when this is dropped.
#[derive(Debug)]
pub struct Lab {
    layout: Layout,
    node: Namespace,
    /// The pods in the order given, then the outside host.
    pub(crate) machines: Vec<Machine>,
    by_address: BTreeMap<IpAddr, usize>,
}

/// The gateway of every pod, as with Calico: the node has this address on each pod's link.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// The outside host's address on its link.
const OUTSIDE_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
/// The range of the addresses that the lab itself uses: each machine has one, which no policy names. A source guard must allow them.
pub const MARKERS: &str = "198.18.0.0/15";
/// The index of the bridge `br0` in the node.
pub const BRIDGE: u32 = 50;
/// The index of the first machine's veth in the node; the others follow.
const FIRST_VETH: u32 = 100;
const NODE_MAC: Mac = [2, 0, 0, 0, 0, 0];

impl Lab {
    /// Makes the namespaces and links. Returns once every link carries packets and every address receives them.
    ///
    /// # Errors
    /// `NotPermitted`, `Missing` (a kernel without IPv6, veth, or br_netfilter for `Bridged`), `Address` for one that
    /// no interface can have or that two machines claim, `TooMany`.
    pub fn new(spec: &LabSpec) -> Result<Self, LabError> {
        let machines = spec.pods.len() + 1;
        if machines > MAX_MACHINES {
            return Err(LabError::TooMany(machines));
        }
        let by_address = spec.owners()?;
        let node = Namespace::new()?;
        let bridged = BRIDGE_SETTINGS.iter().filter(|_| spec.layout == Layout::Bridged);
        for (name, value) in NODE_SETTINGS.iter().chain(bridged) {
            node.set(name, value)?;
        }
        let outside = Host { name: "outside".into(), addresses: spec.outside.clone() };
        let machines = spec.pods.iter().chain([&outside]).enumerate();
        let machines = machines.map(machine).collect::<Result<Vec<_>, _>>()?;
        let lab = Self { layout: spec.layout, node, machines, by_address };
        lab.connect_node(spec)?;
        for number in 0..lab.machines.len() {
            lab.connect_machine(number, spec.discover_neighbours)?;
        }
        on_one_cpu(|| Round::new(&lab)?.await_links())?;
        for machine in &lab.machines {
            machine.namespace.run(|| await_local_routes(&machine.addresses))??;
        }
        Ok(lab)
    }

    /// The namespace that forwards between the machines: load the rules under test there.
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

    /// The hardware address of the `eth0` of the machine with this number.
    pub fn mac(&self, number: usize) -> Mac {
        machine_mac(number)
    }

    /// The hardware address of the gateway of the machine with this number: of the node's end of its link, or of the bridge.
    pub fn gateway_mac(&self, number: usize) -> Mac {
        if self.is_bridged(number) { NODE_MAC } else { node_mac(number) }
    }

    /// The numbers of the machines at the two ends of a connection.
    pub(crate) fn path(&self, connection: &Connection) -> Result<(usize, usize), LabError> {
        let Connection { from, to, .. } = *connection;
        match (self.by_address.get(&from), self.by_address.get(&to)) {
            (Some(&source), Some(&target)) if source != target => Ok((source, target)),
            _ => Err(LabError::NoPath { from, to }),
        }
    }

    fn is_outside(&self, number: usize) -> bool {
        number + 1 == self.machines.len()
    }

    fn is_bridged(&self, number: usize) -> bool {
        self.layout == Layout::Bridged && !self.is_outside(number)
    }

    /// Links, routes and neighbours of the node.
    fn connect_node(&self, spec: &LabSpec) -> Result<(), LabError> {
        let mut batch = Batch::new();
        for &address in &spec.node {
            batch.address(LOOPBACK, address, host_prefix(address));
        }
        if self.layout == Layout::Bridged {
            batch.bridge(Interface { name: "br0", index: BRIDGE, mac: NODE_MAC });
            gateway(&mut batch, BRIDGE);
        }
        for (number, machine) in self.machines.iter().enumerate() {
            let bridged = self.is_bridged(number);
            let (link, on) = (veth(number), if bridged { BRIDGE } else { veth(number) });
            let name = format!("veth{number}");
            let near = Interface { name: &name, index: link, mac: node_mac(number) };
            let far = Interface { name: "eth0", index: ETH0, mac: machine_mac(number) };
            batch.veth(near, far, machine.namespace.file(), bridged.then_some(BRIDGE));
            if bridged {
                batch.bridge_entry(link, machine_mac(number));
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
    fn connect_machine(&self, number: usize, discover: bool) -> Result<(), LabError> {
        let Some(machine) = self.machines.get(number) else { return Ok(()) };
        let mut batch = Batch::new();
        batch.up(ETH0);
        // The outside host may have many addresses; on `lo` none of them is looked for on its link.
        let on = if self.is_outside(number) { LOOPBACK } else { ETH0 };
        for &address in &machine.addresses {
            batch.address(on, address, host_prefix(address));
        }
        // What is on a bridge sends from addresses of its interface only; from the first one unless it says otherwise.
        let at = if self.is_bridged(number) { ETH0 } else { LOOPBACK };
        batch.address(at, machine.marker.into(), 32);
        if self.is_outside(number) {
            batch.address(ETH0, OUTSIDE_V6.into(), 64);
        }
        let bridged = self.is_bridged(number);
        for (gateway, default) in
            [(GATEWAY_V4.into(), default_v4()), (GATEWAY_V6.into(), default_v6())]
        {
            batch.neighbour(ETH0, gateway, self.gateway_mac(number));
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

/// For a bridged lab: bridged packets pass the forward hooks of ip and ip6.
const BRIDGE_SETTINGS: [(&str, &str); 2] =
    [("bridge/bridge-nf-call-iptables", "1"), ("bridge/bridge-nf-call-ip6tables", "1")];

fn machine((number, host): (usize, &Host)) -> Result<Machine, LabError> {
    let namespace = Namespace::new()?;
    let sockets = namespace.run(Sockets::new)??;
    // 198.18.0.0/15 is reserved for tests of network devices (RFC 2544, C.2.2).
    let marker = Ipv4Addr::new(198, 18, 0, number as u8 + 1);
    let (name, addresses) = (host.name.clone(), host.addresses.clone());
    Ok(Machine { name, addresses, marker, namespace, sockets })
}

/// Makes the node the gateway on a link.
fn gateway(batch: &mut Batch, index: u32) {
    batch.address(index, GATEWAY_V4.into(), 32);
    batch.address(index, GATEWAY_V6.into(), 64);
}

fn veth(number: usize) -> u32 {
    FIRST_VETH + number as u32
}

/// The link-local address of `eth0` of the machine with this number, which its kernel makes from the MAC address (RFC 4291, appendix A).
pub fn link_local(number: usize) -> Ipv6Addr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0x00ff, 0xfe00, 0x0100 | number as u16)
}

/// The MAC address of a machine's `eth0`. It is locally administered, and contains the machine's number (below
/// `MAX_MACHINES`).
fn machine_mac(number: usize) -> Mac {
    [2, 0, 0, 0, 1, number as u8]
}

fn node_mac(number: usize) -> Mac {
    [2, 0, 0, 0, 2, number as u8]
}

fn host_prefix(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn default_v4() -> IpNet {
    ipnet::Ipv4Net::default().into()
}

fn default_v6() -> IpNet {
    ipnet::Ipv6Net::default().into()
}
