//! What a lab is made of, and which addresses it can have.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::LabError;

/// How the pods of the node reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Each pod on a link of its own, with a single address and the node as its gateway (the CNI plugin ptp, Calico).
    Routed,
    /// All pods on one bridge of the node (the CNI plugin bridge, Flannel). With br_netfilter, bridged packets pass the
    /// forward hook.
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

/// The pods, addresses and links of a lab.
#[derive(Debug, Clone)]
pub struct LabSpec {
    pub layout: Layout,
    pub pods: Vec<Host>,
    /// The addresses of a host outside of the node that is not a pod. There may be any number.
    pub outside: Vec<IpAddr>,
    /// The node's own addresses.
    pub node: Vec<IpAddr>,
    /// Whether pods on a bridge find each other by ARP and neighbour discovery. Otherwise neighbours are entered beforehand,
    /// and no packet waits for an answer.
    pub discover_neighbours: bool,
}

impl LabSpec {
    /// A lab of pods alone, whose neighbours are entered beforehand.
    pub fn new(layout: Layout, pods: Vec<Host>) -> Self {
        Self { layout, pods, outside: Vec::new(), node: Vec::new(), discover_neighbours: false }
    }

    /// The number of the machine that has each address: pods in the order given, then the outside host.
    pub(crate) fn owners(&self) -> Result<BTreeMap<IpAddr, usize>, LabError> {
        let mut owners = BTreeMap::new();
        let outside = (self.pods.len(), &self.outside);
        let pods = self.pods.iter().map(|pod| &pod.addresses).enumerate();
        for (number, addresses) in pods.chain([outside]) {
            for &address in addresses {
                if let Some(why) = unsupported(address) {
                    return Err(LabError::Address { address, why });
                }
                if owners.insert(address, number).is_some() || self.node.contains(&address) {
                    return Err(LabError::Address { address, why: "it is given twice" });
                }
            }
        }
        Ok(owners)
    }
}

/// The most machines of one lab, the outside host included: interface indexes, MAC addresses and marker addresses hold the machine's
/// number in one byte.
pub const MAX_MACHINES: usize = 200;

/// Why no machine of a lab can have an address; `None` if one can.
pub fn unsupported(address: IpAddr) -> Option<&'static str> {
    if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
        return Some("it is not a unicast address");
    }
    let link_local = "link-local addresses are not forwarded";
    match address {
        IpAddr::V4(v4) => match v4.octets() {
            [0, ..] => Some("no host has an address of network 0"),
            [255, 255, 255, 255] => Some("it is the broadcast address"),
            [169, 254, ..] => Some(link_local),
            [198, 18, 0, _] => Some("198.18.0.0/24 is for the lab's own markers"),
            _ => None,
        },
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some(link_local),
        IpAddr::V6(v6) if v6.to_ipv4().is_some() => Some("IPv4 in IPv6 is not forwarded"),
        IpAddr::V6(_) => None,
    }
}
