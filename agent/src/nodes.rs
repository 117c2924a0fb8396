//! The nodes of the cluster, and how its overlay network reaches them: what pods may send nodes no packets of.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use ipnet::IpNet;
use palisade_compiler::compile::Compiler;
use palisade_compiler::model::Family;
use palisade_compiler::program::Element;
use palisade_compiler::program::sets::SetName;
use palisade_dataplane::attachments::Attachments;
use palisade_dataplane::host::HostFacts;
use palisade_dataplane::netlink::local_networks;

/// The ports of VXLAN (RFC 7348), which Linux had first at 8472, and of Geneve (RFC 8926).
const TUNNEL_PORTS: [u16; 3] = [4789, 8472, 6081];

/// The addresses of nodes and the ports of UDP that the overlay may use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nodes {
    addresses: BTreeSet<IpAddr>,
    /// Those of this host.
    own: BTreeSet<IpAddr>,
    tunnel_ports: BTreeSet<u16>,
}

impl Nodes {
    /// Those that objects name, this host's own and those by which its networks reach it with all others, looked up in the network namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// Those of a netlink socket.
    pub fn find(attachments: &Attachments, compiler: &Compiler) -> io::Result<Self> {
        let networks = local_networks()?;
        let own: BTreeSet<IpAddr> =
            networks.iter().map(IpNet::addr).filter(|address| !address.is_loopback()).collect();
        let named = compiler.snapshot().node_addresses();
        let all_hosts = networks.iter().flat_map(all_hosts);
        let addresses = named.chain(own.iter().copied()).chain(all_hosts).collect();
        let tunnel_ports = attachments.tunnel_ports().into_iter().chain(TUNNEL_PORTS).collect();
        Ok(Self { addresses, own, tunnel_ports })
    }

    /// Whether it is an address of a node.
    pub fn holds(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address)
    }

    /// The addresses of this host.
    pub fn own(&self) -> &BTreeSet<IpAddr> {
        &self.own
    }

    /// What the tables must hold of them.
    pub fn add_facts(&self, facts: &mut HostFacts) {
        for &address in &self.addresses {
            facts.insert(SetName::nodes(Family::of(address)), Element::Address(address));
        }
        facts.tunnel_ports.extend(&self.tunnel_ports);
    }
}

/// The IPv4 addresses by which a network reaches all its hosts: the last, and the first, which was it once (RFC 1122, 3.3.6).
fn all_hosts(network: &IpNet) -> Vec<IpAddr> {
    match network {
        IpNet::V4(v4) if v4.prefix_len() <= 30 => {
            [v4.broadcast(), v4.network()].map(IpAddr::from).into()
        }
        IpNet::V4(_) | IpNet::V6(_) => Vec::new(),
    }
}
