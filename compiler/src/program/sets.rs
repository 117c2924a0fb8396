//! The catalogue of the tables' sets and maps: what each is called, what it holds and how it is declared.
//!
//! Everything that treats all sets alike is generated from it or loops over it, so that a new set is one entry here and
//! the rules that look it up.

use super::element::ElementKind;
use super::table_family::TableFamily;
use crate::model::{Direction, Family};

/// How the kernel keeps a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A hash of fixed size. `least` is the smallest size that it is declared with.
    Hash { least: u32 },
    /// Disjoint intervals, without a bound.
    Interval,
}

/// What a set's elements decide, by which a plan of changes orders them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planning {
    /// Who is isolated in the direction: an element that comes narrows what passes.
    Subjects(Direction),
    /// Who may reach itself.
    Hairpins,
    /// Which class an address has.
    Classes,
    /// What a class is allowed in the direction.
    Rows(Direction),
    /// What a profile means.
    Profiles,
    /// Facts of the host: an element that comes subjects packets to a check.
    HostChecks,
    /// Facts of the host: an element that comes exempts packets from one.
    HostExemptions,
    /// The source guard: interfaces whose packets must have one of their sources.
    GuardedInterfaces,
    /// The source guard: the sources of interfaces, guarded or not.
    Sources,
    /// Addresses that may reach themselves by the interfaces that they are sources of, and no others.
    Located,
}

/// Gives all sets to the macro named: those of a compiled program (`program`), and those whose elements are facts of the
/// host on which it is enforced (`host`).
///
/// An entry is `field: type = SetName, "name in nft", kind of elements, form, planning, tables;`.
#[macro_export]
#[doc(hidden)]
macro_rules! set_catalogue {
    ($then:ident) => {
        $then! {
            program {
                /// Subjects: local pods isolated for ingress.
                local_in: BTreeSet<IpAddr> = LocalIn, "local_in", Address,
                    (Form::Hash { least: 4096 }), (Planning::Subjects(Direction::Ingress)), (&TableFamily::OF_PROGRAM);
                /// Subjects: local pods isolated for egress.
                local_out: BTreeSet<IpAddr> = LocalOut, "local_out", Address,
                    (Form::Hash { least: 4096 }), (Planning::Subjects(Direction::Egress)), (&TableFamily::OF_PROGRAM);
                /// The set `self` of `pod . pod`: subjects that may reach themselves through a Service.
                hairpin: BTreeSet<IpAddr> = Hairpin, "self", Hairpin,
                    (Form::Hash { least: 4096 }), (Planning::Hairpins), (&TableFamily::OF_PROGRAM);
                /// Every known pod's address.
                class: BTreeMap<IpAddr, ClassId> = Class, "class", Class,
                    (Form::Hash { least: 262_144 }), (Planning::Classes), (&TableFamily::OF_PROGRAM);
                /// Disjoint atoms of all other addresses; class `UNKNOWN` is never stored.
                cidr: BTreeMap<AddressRange, ClassId> = Cidr, "cidr", Cidr,
                    (Form::Interval), (Planning::Classes), (&TableFamily::OF_PROGRAM);
                /// Rows of ingress: (subject, peer's class) -> profile; profile `NOTHING` is never stored. The row of class
                /// `UNKNOWN` is the subject's base: it applies to every class that the subject has no row for.
                allow_in: BTreeMap<(IpAddr, ClassId), ProfileId> = AllowIn, "allow_in", Row,
                    (Form::Hash { least: 65_536 }), (Planning::Rows(Direction::Ingress)), (&TableFamily::OF_PROGRAM);
                /// Rows of egress.
                allow_out: BTreeMap<(IpAddr, ClassId), ProfileId> = AllowOut, "allow_out", Row,
                    (Form::Hash { least: 65_536 }), (Planning::Rows(Direction::Egress)), (&TableFamily::OF_PROGRAM);
                /// Single ports of profiles.
                ports: BTreeSet<PortElement> = Ports, "ports", Port,
                    (Form::Hash { least: 16_384 }), (Planning::Profiles), (&TableFamily::OF_PROGRAM);
                /// Ranges of ports of profiles.
                port_ranges: BTreeSet<PortRangeElement> = PortRanges, "port_ranges", PortRange,
                    (Form::Interval), (Planning::Profiles), (&TableFamily::OF_PROGRAM);
            }
            host {
                /// Interface indexes of the bridges that carry subjects: the set `bridges` of `index . index`.
                bridges: BTreeSet<u32> = Bridges, "bridges", Bridge,
                    (Form::Hash { least: 4096 }), (Planning::HostChecks), (&[TableFamily::Ip]);
                /// Interface indexes of the bridge ports that lead to subjects.
                bridge_ports: BTreeSet<u32> = BridgePorts, "bridge_ports", Interface,
                    (Form::Hash { least: 4096 }), (Planning::HostChecks), (&[TableFamily::Bridge]);
                /// Interface indexes of the ports that lead to pods, on the bridges that carry subjects.
                pod_ports: BTreeSet<u32> = PodPorts, "pod_ports", Interface,
                    (Form::Hash { least: 4096 }), (Planning::GuardedInterfaces), (&[TableFamily::Bridge]);
                /// Interface indexes of the bridge ports by which a router is reached that may tell its neighbours of itself.
                router_ports: BTreeSet<u32> = RouterPorts, "router_ports", Interface,
                    (Form::Hash { least: 256 }), (Planning::HostExemptions), (&[TableFamily::Bridge]);
                /// Interface indexes of the bridge ports of which every packet must have one of the port's sources.
                guarded_ports: BTreeSet<u32> = GuardedPorts, "guarded_ports", Interface,
                    (Form::Hash { least: 4096 }), (Planning::GuardedInterfaces), (&[TableFamily::Bridge]);
                /// Interface indexes of the bridge ports that lead to a pod that is not known: none of their packets may have the source of one that
                /// is.
                unidentified_ports: BTreeSet<u32> = UnidentifiedPorts, "unidentified_ports", Interface,
                    (Form::Hash { least: 4096 }), (Planning::GuardedInterfaces), (&[TableFamily::Bridge]);
                /// These ports and the guarded ones, where packets would enter the host by them and not by their bridge.
                bridged_interfaces: BTreeSet<u32> = BridgedInterfaces, "bridged_interfaces", Interface,
                    (Form::Hash { least: 4096 }), (Planning::GuardedInterfaces), (&TableFamily::OF_PROGRAM);
                /// The IPv4 sources of bridge ports: interface index and address.
                port_sources_ipv4: BTreeSet<(u32, IpAddr)> = PortSourcesIpv4, "port_sources_ipv4", Source,
                    (Form::Hash { least: 4096 }), (Planning::Sources), (&[TableFamily::Bridge]);
                /// The IPv6 sources.
                port_sources_ipv6: BTreeSet<(u32, IpAddr)> = PortSourcesIpv6, "port_sources_ipv6", Source,
                    (Form::Hash { least: 4096 }), (Planning::Sources), (&[TableFamily::Bridge]);
                /// The addresses that neighbour discovery may tell are behind a port.
                port_targets: BTreeSet<(u32, IpAddr)> = PortTargets, "port_targets", Target,
                    (Form::Hash { least: 4096 }), (Planning::Sources), (&[TableFamily::Bridge]);
                /// Interface index and Ethernet address of who is at a guarded port.
                port_macs: BTreeSet<(u32, MacAddress)> = PortMacs, "port_macs", PortMac,
                    (Form::Hash { least: 4096 }), (Planning::Sources), (&[TableFamily::Bridge]);
                /// These Ethernet addresses.
                pod_macs: BTreeSet<MacAddress> = PodMacs, "pod_macs", Mac,
                    (Form::Hash { least: 4096 }), (Planning::Located), (&[TableFamily::Bridge]);
                /// The IPv4 addresses of local pods whose interface or bridge port is known.
                pod_addresses_ipv4: BTreeSet<IpAddr> = PodAddressesIpv4, "pod_addresses_ipv4", Address,
                    (Form::Hash { least: 4096 }), (Planning::Located), (&[TableFamily::Bridge]);
                /// The IPv6 addresses.
                pod_addresses_ipv6: BTreeSet<IpAddr> = PodAddressesIpv6, "pod_addresses_ipv6", Address,
                    (Form::Hash { least: 4096 }), (Planning::Located), (&[TableFamily::Bridge]);
                /// The IPv4 addresses of nodes, to which pods may send no packets of the overlay network.
                nodes_ipv4: BTreeSet<IpAddr> = NodesIpv4, "nodes_ipv4", Address,
                    (Form::Hash { least: 4096 }), (Planning::HostChecks), (&[TableFamily::Ip, TableFamily::Bridge]);
                /// The IPv6 addresses.
                nodes_ipv6: BTreeSet<IpAddr> = NodesIpv6, "nodes_ipv6", Address,
                    (Form::Hash { least: 4096 }), (Planning::HostChecks), (&[TableFamily::Ip6, TableFamily::Bridge]);
                /// The ports of UDP that overlay networks use.
                tunnel_ports: BTreeSet<u16> = TunnelPorts, "tunnel_ports", Service,
                    (Form::Hash { least: 256 }), (Planning::HostChecks), (&[TableFamily::Ip, TableFamily::Ip6, TableFamily::Bridge]);
                /// The IPv4 addresses of pods that may send packets of an overlay network.
                tunnel_sources_ipv4: BTreeSet<IpAddr> = TunnelSourcesIpv4, "tunnel_sources_ipv4", Address,
                    (Form::Hash { least: 256 }), (Planning::HostExemptions), (&[TableFamily::Ip, TableFamily::Bridge]);
                /// The IPv6 addresses.
                tunnel_sources_ipv6: BTreeSet<IpAddr> = TunnelSourcesIpv6, "tunnel_sources_ipv6", Address,
                    (Form::Hash { least: 256 }), (Planning::HostExemptions), (&[TableFamily::Ip6, TableFamily::Bridge]);
                /// The IPv4 ranges of this node's pods of which unknown addresses are held.
                held_ipv4: BTreeSet<AddressRange> = HeldIpv4, "held_ipv4", Range,
                    (Form::Interval), (Planning::HostChecks), (&[TableFamily::Inet]);
                /// The IPv6 ranges.
                held_ipv6: BTreeSet<AddressRange> = HeldIpv6, "held_ipv6", Range,
                    (Form::Interval), (Planning::HostChecks), (&[TableFamily::Inet]);
                /// The IPv4 addresses of this node's pods that are known and programmed, while others are held.
                known_ipv4: BTreeSet<IpAddr> = KnownIpv4, "known_ipv4", Address,
                    (Form::Hash { least: 4096 }), (Planning::HostExemptions), (&[TableFamily::Inet]);
                /// The IPv6 addresses.
                known_ipv6: BTreeSet<IpAddr> = KnownIpv6, "known_ipv6", Address,
                    (Form::Hash { least: 4096 }), (Planning::HostExemptions), (&[TableFamily::Inet]);
                /// What packets from the answering end of connections that were cut look like, over IPv4: by none of them may the
                /// connection begin anew.
                revoked_ipv4: BTreeSet<TupleElement> = RevokedIpv4, "revoked_ipv4", Tuple,
                    (Form::Hash { least: 4096 }), (Planning::HostChecks), (&[TableFamily::Inet]);
                /// Over IPv6.
                revoked_ipv6: BTreeSet<TupleElement> = RevokedIpv6, "revoked_ipv6", Tuple,
                    (Form::Hash { least: 4096 }), (Planning::HostChecks), (&[TableFamily::Inet]);
                /// Interface indexes of which every packet must have one of the interface's sources.
                pod_interfaces: BTreeSet<u32> = PodInterfaces, "pod_interfaces", Interface,
                    (Form::Hash { least: 4096 }), (Planning::GuardedInterfaces), (&TableFamily::OF_PROGRAM);
                /// Interface indexes of which the first packet of a connection must.
                first_interfaces: BTreeSet<u32> = FirstInterfaces, "first_interfaces", Interface,
                    (Form::Hash { least: 4096 }), (Planning::GuardedInterfaces), (&TableFamily::OF_PROGRAM);
                /// The IPv4 sources of interfaces: interface index and address.
                sources_ipv4: BTreeSet<(u32, IpAddr)> = SourcesIpv4, "sources_ipv4", Source,
                    (Form::Hash { least: 4096 }), (Planning::Sources), (&[TableFamily::Ip]);
                /// The IPv6 sources.
                sources_ipv6: BTreeSet<(u32, IpAddr)> = SourcesIpv6, "sources_ipv6", Source,
                    (Form::Hash { least: 4096 }), (Planning::Sources), (&[TableFamily::Ip6]);
                /// The IPv4 addresses of local pods whose interfaces are known.
                located_ipv4: BTreeSet<IpAddr> = LocatedIpv4, "located_ipv4", Address,
                    (Form::Hash { least: 4096 }), (Planning::Located), (&[TableFamily::Ip]);
                /// The IPv6 addresses.
                located_ipv6: BTreeSet<IpAddr> = LocatedIpv6, "located_ipv6", Address,
                    (Form::Hash { least: 4096 }), (Planning::Located), (&[TableFamily::Ip6]);
            }
        }
    };
}

macro_rules! set_names {
    (
        program { $($(#[$doc:meta])* $field:ident: $type:ty = $set:ident, $name:literal, $kind:ident,
            ($form:expr), ($planning:expr), ($tables:expr);)+ }
        host { $($(#[$host_doc:meta])* $host_field:ident: $host_type:ty = $host_set:ident, $host_name:literal,
            $host_kind:ident, ($host_form:expr), ($host_planning:expr), ($host_tables:expr);)+ }
    ) => {
        /// The sets and maps of a table.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum SetName {
            $($(#[$doc])* $set,)+
            $($(#[$host_doc])* $host_set,)+
        }

        impl SetName {
            const COUNT: usize = [$(Self::$set,)+ $(Self::$host_set,)+].len();
            pub const ALL: [Self; Self::COUNT] = [$(Self::$set,)+ $(Self::$host_set,)+];

            /// The name in nft.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$set => $name,)+
                    $(Self::$host_set => $host_name,)+
                }
            }

            pub const fn kind(self) -> ElementKind {
                match self {
                    $(Self::$set => ElementKind::$kind,)+
                    $(Self::$host_set => ElementKind::$host_kind,)+
                }
            }

            pub const fn form(self) -> Form {
                match self {
                    $(Self::$set => $form,)+
                    $(Self::$host_set => $host_form,)+
                }
            }

            /// The tables that have the set.
            pub const fn tables(self) -> &'static [TableFamily] {
                match self {
                    $(Self::$set => $tables,)+
                    $(Self::$host_set => $host_tables,)+
                }
            }

            pub const fn planning(self) -> Planning {
                match self {
                    $(Self::$set => $planning,)+
                    $(Self::$host_set => $host_planning,)+
                }
            }
        }
    };
}

set_catalogue!(set_names);

impl SetName {
    /// Whether a key looks up a value (a map) or only membership (a set).
    pub const fn is_map(self) -> bool {
        matches!(self.kind(), ElementKind::Class | ElementKind::Cidr | ElementKind::Row)
    }

    /// The family of the addresses in the set, in the table.
    pub const fn family(self, table: TableFamily) -> Family {
        match (self, table) {
            (
                Self::HeldIpv4
                | Self::KnownIpv4
                | Self::RevokedIpv4
                | Self::SourcesIpv4
                | Self::LocatedIpv4
                | Self::PortSourcesIpv4
                | Self::PodAddressesIpv4
                | Self::NodesIpv4
                | Self::TunnelSourcesIpv4,
                _,
            ) => Family::V4,
            (
                Self::HeldIpv6
                | Self::KnownIpv6
                | Self::RevokedIpv6
                | Self::SourcesIpv6
                | Self::LocatedIpv6
                | Self::PortSourcesIpv6
                | Self::PortTargets
                | Self::PodAddressesIpv6
                | Self::NodesIpv6
                | Self::TunnelSourcesIpv6,
                _,
            ) => Family::V6,
            (_, TableFamily::Ip) => Family::V4,
            (_, TableFamily::Ip6 | TableFamily::Bridge | TableFamily::Inet) => Family::V6,
        }
    }

    /// The set of an IP table that holds the sources of interfaces.
    pub const fn sources(family: Family) -> Self {
        match family {
            Family::V4 => Self::SourcesIpv4,
            Family::V6 => Self::SourcesIpv6,
        }
    }

    /// The set of an IP table that holds the addresses whose interfaces are known.
    pub const fn located(family: Family) -> Self {
        match family {
            Family::V4 => Self::LocatedIpv4,
            Family::V6 => Self::LocatedIpv6,
        }
    }

    /// The set of the bridge table that holds the sources of ports.
    pub const fn port_sources(family: Family) -> Self {
        match family {
            Family::V4 => Self::PortSourcesIpv4,
            Family::V6 => Self::PortSourcesIpv6,
        }
    }

    /// The set of the bridge table that holds the addresses of pods whose interface or port is known.
    pub const fn pod_addresses(family: Family) -> Self {
        match family {
            Family::V4 => Self::PodAddressesIpv4,
            Family::V6 => Self::PodAddressesIpv6,
        }
    }

    /// The set that holds the addresses of nodes.
    pub const fn nodes(family: Family) -> Self {
        match family {
            Family::V4 => Self::NodesIpv4,
            Family::V6 => Self::NodesIpv6,
        }
    }

    /// The set that holds the addresses of pods that may send packets of an overlay network.
    pub const fn tunnel_sources(family: Family) -> Self {
        match family {
            Family::V4 => Self::TunnelSourcesIpv4,
            Family::V6 => Self::TunnelSourcesIpv6,
        }
    }

    /// Whether the set holds facts of the host.
    pub const fn is_of_host(self) -> bool {
        match self.planning() {
            Planning::HostChecks
            | Planning::HostExemptions
            | Planning::GuardedInterfaces
            | Planning::Sources
            | Planning::Located => true,
            Planning::Subjects(_)
            | Planning::Hairpins
            | Planning::Classes
            | Planning::Rows(_)
            | Planning::Profiles => false,
        }
    }

    /// Interval sets; the others are hashes.
    pub const fn is_interval(self) -> bool {
        matches!(self.form(), Form::Interval)
    }

    /// Whether the set has the catch-all element `* : 0:0`. `class` has it, so that its lookup replaces whatever priority the
    /// packet came with. Interval maps must not have one: nft 1.0.6 crashes on adding to them.
    pub const fn has_catch_all(self) -> bool {
        matches!(self, Self::Class)
    }
}

impl TableFamily {
    /// The sets of the table.
    pub fn sets(self) -> impl Iterator<Item = SetName> {
        SetName::ALL.into_iter().filter(move |set| set.tables().contains(&self))
    }

    /// The sets that no other table has.
    pub fn own_sets(self) -> impl Iterator<Item = SetName> {
        self.sets().filter(move |set| set.tables() == [self])
    }
}
