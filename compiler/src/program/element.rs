//! One element of a set or map, whichever it is: what a transaction adds and removes, and what nft prints.
//!
//! Contents are kept in typed maps ([`Tables`](super::Tables)); an [`Element`] is the form in which a single entry of one of
//! them travels. The traits here turn an entry into its element and back, so that code over all sets can be generated.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use super::protocol::{ICMP, ICMPV6};
use super::{AddressRange, ClassId, PortElement, PortRangeElement, ProfileId, TupleElement};
use crate::model::{Family, Protocol};

/// An element with its value where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Element {
    /// `local_in`, `local_out`, `known_ipv4`, `located_ipv4`, `pod_addresses_ipv4`, `nodes_ipv4` and the like
    Address(IpAddr),
    /// `held_ipv4`, `held_ipv6`
    Range(AddressRange),
    /// `self`: the address with itself
    Hairpin(IpAddr),
    /// `bridges`: the interface index with itself
    Bridge(u32),
    /// `bridge_ports`, `guarded_ports`, `pod_interfaces` and the like: an interface index
    Interface(u32),
    /// `sources_ipv4`, `port_sources_ipv4` and those of IPv6: an interface index and an address
    Source(u32, IpAddr),
    /// `port_targets`: an interface index and an address, which nft knows as a number
    Target(u32, IpAddr),
    /// `pod_macs`: an Ethernet address
    Mac(MacAddress),
    /// `port_macs`: an interface index and an Ethernet address
    PortMac(u32, MacAddress),
    /// `tunnel_ports`: a port of UDP
    Service(u16),
    Class(IpAddr, ClassId),
    Cidr(AddressRange, ClassId),
    /// `allow_in`, `allow_out`
    Row(IpAddr, ClassId, ProfileId),
    Port(PortElement),
    PortRange(PortRangeElement),
    /// `revoked_ipv4`, `revoked_ipv6`
    Tuple(TupleElement),
    /// `* : 0:0` of a hash map
    CatchAll,
}

impl Element {
    /// Whether its addresses are of the family; true for an element without addresses.
    pub fn is_of(&self, family: Family) -> bool {
        match *self {
            Self::Address(address)
            | Self::Hairpin(address)
            | Self::Source(_, address)
            | Self::Target(_, address)
            | Self::Class(address, _)
            | Self::Row(address, ..) => Family::of(address) == family,
            Self::Range(range) | Self::Cidr(range, _) => {
                Family::of(range.first) == family && Family::of(range.last) == family
            }
            Self::Tuple(TupleElement { source, destination, .. }) => {
                Family::of(source) == family && Family::of(destination) == family
            }
            Self::Bridge(_)
            | Self::Interface(_)
            | Self::Mac(_)
            | Self::PortMac(..)
            | Self::Service(_)
            | Self::Port(_)
            | Self::PortRange(_)
            | Self::CatchAll => true,
        }
    }
}

/// An Ethernet address, in the order in which it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddress(pub [u8; 6]);

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// As nft writes it between the braces of `elements = { ... }`.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Range(AddressRange { first, last }) if first == last => write!(f, "{first}"),
            Self::Range(AddressRange { first, last }) => write!(f, "{first}-{last}"),
            Self::Hairpin(address) => write!(f, "{address} . {address}"),
            Self::Bridge(index) => write!(f, "{index} . {index}"),
            Self::Interface(index) => write!(f, "{index}"),
            Self::Source(index, address) => write!(f, "{index} . {address}"),
            Self::Target(index, IpAddr::V6(address)) => {
                write!(f, "{index} . {:#034x}", address.to_bits())
            }
            Self::Target(index, IpAddr::V4(address)) => {
                write!(f, "{index} . {:#010x}", address.to_bits())
            }
            Self::Mac(address) => write!(f, "{address}"),
            Self::PortMac(index, address) => write!(f, "{index} . {address}"),
            Self::Service(port) => write!(f, "{port}"),
            Self::Class(address, class) => write!(f, "{address} : {class}"),
            Self::Cidr(AddressRange { first, last }, class) if first == last => {
                write!(f, "{first} : {class}")
            }
            Self::Cidr(AddressRange { first, last }, class) => {
                write!(f, "{first}-{last} : {class}")
            }
            Self::Row(subject, class, profile) => write!(f, "{subject} . {class} : {profile}"),
            Self::Port(PortElement { profile, protocol, port }) => {
                write!(f, "{profile} . {} . {port}", protocol_name(*protocol))
            }
            Self::PortRange(PortRangeElement { profile, protocol, first, last }) => {
                write!(f, "{profile} . {} . {first}-{last}", protocol_name(*protocol))
            }
            Self::Tuple(TupleElement { protocol, source, destination, source_port, port }) => {
                let protocol = protocol_name(*protocol);
                write!(f, "{protocol} . {source} . {destination} . {source_port} . {port}")
            }
            Self::CatchAll => write!(f, "* : {}", ClassId::UNKNOWN),
        }
    }
}

/// A protocol by the words that nft's grammar itself knows; nft looks other names up in /etc/protocols, so the others are
/// numbers.
pub(super) fn protocol_name(number: u8) -> String {
    match (Protocol::from_number(number), number) {
        (Some(Protocol::Tcp), _) => "tcp".into(),
        (Some(Protocol::Udp), _) => "udp".into(),
        (Some(Protocol::Sctp), _) => "sctp".into(),
        (None, ICMP) => "icmp".into(),
        (None, ICMPV6) => "icmpv6".into(),
        (None, other) => other.to_string(),
    }
}

/// A kind of elements, at compile time: how an entry of a typed map is an [`Element`] and back.
pub trait Kind {
    type Key: Ord + Copy;
    /// `()` for the elements of a set.
    type Value: PartialEq + Copy;

    fn element(key: Self::Key, value: Self::Value) -> Element;

    /// The entry that the element stands for; `None` for an element of another kind.
    fn entry(element: Element) -> Option<(Self::Key, Self::Value)>;
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident: $key:tt as $key_type:ty => $value:tt as $value_type:ty = $arguments:tt;)+) => {
        /// What the elements of a set are.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ElementKind {
            $($(#[$doc])* $kind,)+
        }

        impl Element {
            /// What kind of set it may be in; `None` for the catch-all, which any hash map has.
            pub const fn kind(&self) -> Option<ElementKind> {
                match self {
                    $(Self::$kind(..) => Some(ElementKind::$kind),)+
                    Self::CatchAll => None,
                }
            }
        }

        /// The kinds of elements as types.
        pub mod kind {
            use super::*;

            $(
                $(#[$doc])*
                #[derive(Debug)]
                pub struct $kind;

                impl Kind for $kind {
                    type Key = $key_type;
                    type Value = $value_type;

                    fn element($key: Self::Key, $value: Self::Value) -> Element {
                        Element::$kind $arguments
                    }

                    fn entry(element: Element) -> Option<(Self::Key, Self::Value)> {
                        match element {
                            Element::$kind $arguments => Some(($key, $value)),
                            _ => None,
                        }
                    }
                }
            )+
        }
    };
}

kinds! {
    /// An address.
    Address: address as IpAddr => () as () = (address);
    /// A range of addresses.
    Range: range as AddressRange => () as () = (range);
    /// An address, looked up as source and destination.
    Hairpin: address as IpAddr => () as () = (address);
    /// An interface, looked up as input and output.
    Bridge: index as u32 => () as () = (index);
    /// An interface.
    Interface: index as u32 => () as () = (index);
    /// An interface and an address, looked up as input and source.
    Source: (index, address) as (u32, IpAddr) => () as () = (index, address);
    /// An interface and an address, looked up as input and target of neighbour discovery.
    Target: (index, address) as (u32, IpAddr) => () as () = (index, address);
    /// An Ethernet address.
    Mac: address as MacAddress => () as () = (address);
    /// An interface and an Ethernet address, looked up as input and source.
    PortMac: (index, address) as (u32, MacAddress) => () as () = (index, address);
    /// A port of a transport protocol.
    Service: port as u16 => () as () = (port);
    /// An address and its class.
    Class: address as IpAddr => class as ClassId = (address, class);
    /// A range of addresses and its class.
    Cidr: range as AddressRange => class as ClassId = (range, class);
    /// A subject with a class, and what that class is allowed.
    Row: (subject, class) as (IpAddr, ClassId) => profile as ProfileId = (subject, class, profile);
    /// A port of a profile.
    Port: port as PortElement => () as () = (port);
    /// A range of ports of a profile.
    PortRange: range as PortRangeElement => () as () = (range);
    /// What packets of one direction of a connection have in common.
    Tuple: tuple as TupleElement => () as () = (tuple);
}

/// A typed set or map, seen as entries of key and value.
pub trait Container {
    type Key;
    type Value;

    fn count(&self) -> usize;
    fn entries(&self) -> impl Iterator<Item = (Self::Key, Self::Value)>;
    fn value(&self, key: &Self::Key) -> Option<Self::Value>;
    fn put(&mut self, key: Self::Key, value: Self::Value);
    fn take(&mut self, key: &Self::Key);
}

impl<K: Ord + Copy> Container for BTreeSet<K> {
    type Key = K;
    type Value = ();

    fn count(&self) -> usize {
        self.len()
    }

    fn entries(&self) -> impl Iterator<Item = (K, ())> {
        self.iter().map(|&key| (key, ()))
    }

    fn value(&self, key: &K) -> Option<()> {
        self.contains(key).then_some(())
    }

    fn put(&mut self, key: K, (): ()) {
        self.insert(key);
    }

    fn take(&mut self, key: &K) {
        self.remove(key);
    }
}

impl<K: Ord + Copy, V: Copy> Container for BTreeMap<K, V> {
    type Key = K;
    type Value = V;

    fn count(&self) -> usize {
        self.len()
    }

    fn entries(&self) -> impl Iterator<Item = (K, V)> {
        self.iter().map(|(&key, &value)| (key, value))
    }

    fn value(&self, key: &K) -> Option<V> {
        self.get(key).copied()
    }

    fn put(&mut self, key: K, value: V) {
        self.insert(key, value);
    }

    fn take(&mut self, key: &K) {
        self.remove(key);
    }
}
