//! The nodes of the cluster, and how its overlay network reaches them: what pods may send nodes no packets of.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use palisade_compiler::compile::Compiler;
use palisade_compiler::model::Family;
use palisade_dataplane::attachments::Attachments;
use palisade_dataplane::host::HostFacts;
use palisade_dataplane::netlink::{broadcast_addresses, local_addresses};

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
        let own: BTreeSet<IpAddr> =
            local_addresses()?.into_iter().filter(|address| !address.is_loopback()).collect();
        let named = compiler.snapshot().node_addresses();
        let addresses = named.chain(own.iter().copied()).chain(broadcast_addresses()?).collect();
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
            match Family::of(address) {
                Family::V4 => facts.nodes_ipv4.insert(address),
                Family::V6 => facts.nodes_ipv6.insert(address),
            };
        }
        facts.tunnel_ports.extend(&self.tunnel_ports);
    }
}
