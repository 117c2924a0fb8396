//! The distribution's nft lists what we program as it lists what it loads itself, and loads its own listing again.

use std::collections::{BTreeMap, BTreeSet};

use palisade_compiler::model::Family;
use palisade_compiler::program::TableFamily;
use palisade_compiler::program::element::MacAddress;
use palisade_compiler::program::skeleton::{SetName, VERSION};
use palisade_compiler::program::{
    AddressRange, ClassId, PortElement, PortRangeElement, ProfileId, TupleElement,
};
use palisade_dataplane::netlink::Kernel;
use palisade_dataplane::ruleset::{Ruleset as _, TableName};
use palisade_dataplane::transaction::Element;

use super::program::{Contents, Random, assert_holds, contents, create_both};
use crate::netns::{each_way, in_netns, load, nft};

/// The skeleton and `by_hand`, in nft's own language.
const TEXT: &str = include_str!("skeleton.nft");

fn hold_by_hand() -> Contents {
    let ip = |text: &str| text.parse().expect("an address");
    let held = |first, last| Element::Range(AddressRange { first: ip(first), last: ip(last) });
    let tuple = |source, destination| {
        let (source, destination) = (ip(source), ip(destination));
        let (protocol, source_port, port) = (17, 53, 40_000);
        Element::Tuple(TupleElement { protocol, source, destination, source_port, port })
    };
    [
        (SetName::RevokedIpv4, tuple("10.1.0.7", "10.1.0.8")),
        (SetName::RevokedIpv6, tuple("fd01::7", "fd01::8")),
        (SetName::KnownIpv4, Element::Address(ip("10.1.0.7"))),
        (SetName::KnownIpv6, Element::Address(ip("fd01::7"))),
        (SetName::HeldIpv4, held("10.1.0.0", "10.1.0.255")),
        (SetName::HeldIpv6, held("fd01::", "fd01::ffff:ffff:ffff:ffff")),
    ]
    .map(|(set, element)| (set, [element].into()))
    .into()
}

/// What the tables of IP and of bridges know of nodes.
fn nodes_by_hand() -> Contents {
    let ip = |text: &str| [Element::Address(text.parse().expect("an address"))].into();
    [
        (SetName::NodesIpv4, ip("192.0.2.1")),
        (SetName::NodesIpv6, ip("fd00:1::1")),
        (SetName::TunnelPorts, [4789, 8472].map(Element::Service).into()),
        (SetName::TunnelSourcesIpv4, ip("10.0.0.2")),
        (SetName::TunnelSourcesIpv6, ip("fd00::2")),
    ]
    .into()
}

fn bridge_by_hand() -> Contents {
    let ip = |text: &str| text.parse().expect("an address");
    let ports = |ports: &[u32]| ports.iter().copied().map(Element::Interface).collect();
    let mut contents = nodes_by_hand();
    contents.extend([
        (SetName::BridgePorts, ports(&[7, 0x0001_0203])),
        (SetName::PodPorts, ports(&[7, 9])),
        (SetName::RouterPorts, ports(&[10])),
        (SetName::GuardedPorts, ports(&[7])),
        (SetName::UnidentifiedPorts, ports(&[9])),
        (SetName::PortSourcesIpv4, [Element::Source(7, ip("10.0.0.2"))].into()),
        (SetName::PortSourcesIpv6, [Element::Source(7, ip("fd00::2"))].into()),
        (SetName::PortTargets, [Element::Target(7, ip("fd00::2"))].into()),
        (SetName::PortMacs, [Element::PortMac(7, MacAddress([2, 0xab, 0, 0, 0, 9]))].into()),
        (SetName::PodMacs, [Element::Mac(MacAddress([2, 0xab, 0, 0, 0, 9]))].into()),
        (SetName::PodAddressesIpv4, [Element::Address(ip("10.0.0.2"))].into()),
        (SetName::PodAddressesIpv6, [Element::Address(ip("fd00::2"))].into()),
    ]);
    contents
}

/// What the source guard holds of a pod with this address, and what a table of IP knows of nodes.
fn guard_by_hand(family: Family, address: &str) -> Contents {
    let address = address.parse().expect("an address");
    let nodes = nodes_by_hand().into_iter();
    let mut contents: Contents =
        nodes.filter(|(set, _)| set.tables().contains(&TableFamily::from(family))).collect();
    contents.extend([
        (SetName::PodInterfaces, [7, 0x0001_0203].map(Element::Interface).into()),
        (SetName::FirstInterfaces, [Element::Interface(8)].into()),
        (SetName::sources(family), [Element::Source(7, address)].into()),
        (SetName::located(family), [Element::Address(address)].into()),
    ]);
    contents
}

fn by_hand() -> BTreeMap<TableFamily, Contents> {
    let ip = |text: &str| text.parse().expect("an address");
    let id = |major: u32, minor| major << 16 | minor;
    let set = |set, elements: &[Element]| -> (SetName, BTreeSet<Element>) {
        (set, elements.iter().copied().collect())
    };
    let class = |text, major, minor| Element::Class(ip(text), ClassId(id(major, minor)));
    let cidr = |first, last, minor| {
        let range = AddressRange { first: ip(first), last: ip(last) };
        Element::Cidr(range, ClassId(id(1, minor)))
    };
    let row = |text, class, profile| Element::Row(ip(text), ClassId(class), ProfileId(profile));
    let port = |protocol, port| {
        Element::Port(PortElement { profile: ProfileId(0xc000_0002), protocol, port })
    };
    let range = |profile, protocol, first, last| {
        let profile = ProfileId(profile);
        Element::PortRange(PortRangeElement { profile, protocol, first, last })
    };
    let v4 = [
        set(SetName::LocalIn, &[Element::Address(ip("10.0.0.2"))]),
        set(SetName::LocalOut, &[Element::Address(ip("10.0.0.2"))]),
        set(SetName::Hairpin, &[Element::Hairpin(ip("10.0.0.2"))]),
        set(SetName::Bridges, &[Element::Bridge(5)]),
        set(SetName::Class, &[class("10.0.0.1", 1, 1), class("10.0.0.3", 10, 0xb00)]),
        set(
            SetName::Cidr,
            &[
                cidr("0.0.0.0", "0.255.255.255", 7),
                cidr("10.1.1.1", "10.1.1.9", 8),
                cidr("10.1.1.10", "10.1.1.11", 9),
                cidr("192.168.0.0", "192.168.255.255", 9),
                cidr("255.255.255.0", "255.255.255.255", 10),
            ],
        ),
        set(SetName::AllowIn, &[row("10.0.0.2", id(1, 1), 0xc000_0002)]),
        set(SetName::AllowOut, &[row("10.0.0.2", id(10, 0xb00), 0x8000_0001)]),
        set(SetName::Ports, &[port(6, 80), port(17, 53)]),
        set(
            SetName::PortRanges,
            &[range(0xc000_0002, 6, 8000, 9000), range(0xc000_0003, 132, 0, 65_535)],
        ),
    ];
    let v6 = [
        set(SetName::LocalIn, &[Element::Address(ip("fd00::2"))]),
        set(SetName::LocalOut, &[Element::Address(ip("fd00::2"))]),
        set(SetName::Hairpin, &[Element::Hairpin(ip("fd00::2"))]),
        set(SetName::Class, &[class("fd00::1", 1, 1)]),
        set(
            SetName::Cidr,
            &[
                cidr("::", "0:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 7),
                cidr("fd01::", "fd01:0:ffff:ffff:ffff:ffff:ffff:ffff", 8),
                cidr("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 9),
            ],
        ),
        set(SetName::AllowIn, &[row("fd00::2", id(1, 1), 0xc000_0002)]),
        set(SetName::Ports, &[port(6, 80)]),
        set(SetName::PortRanges, &[range(0xc000_0002, 6, 8000, 9000)]),
    ];
    let bridge = bridge_by_hand();
    BTreeMap::from([
        (TableFamily::Inet, hold_by_hand()),
        (TableFamily::Ip, v4.into_iter().chain(guard_by_hand(Family::V4, "10.0.0.2")).collect()),
        (TableFamily::Ip6, v6.into_iter().chain(guard_by_hand(Family::V6, "fd00::2")).collect()),
        (TableFamily::Bridge, bridge),
    ])
}

#[test]
fn nft_lists_ours_as_it_lists_its_own() {
    let ours = in_netns(|| {
        let mut kernel = Kernel::open_without_owner().unwrap();
        kernel.commit(TableName::Main, &create_both(&by_hand())).unwrap();
        nft(&["list", "ruleset"])
    });
    let theirs = in_netns(|| {
        load(TEXT);
        nft(&["list", "ruleset"])
    });
    assert_eq!(ours, theirs);
}

#[test]
fn what_nft_loads_is_read_back() {
    in_netns(|| {
        load(TEXT);
        let actual = Kernel::open().unwrap().read(TableName::Main).unwrap();
        assert_holds(&actual, &by_hand());
        assert_eq!(actual[&TableFamily::Ip].version, Some(VERSION));
        assert!(!actual[&TableFamily::Ip6].persistent);
    });
}

#[test]
fn a_listing_loads_again_into_the_same() {
    for seed in 1..=5 {
        let mut random = Random(seed * 0xdead_beef);
        let wanted: BTreeMap<_, _> =
            TableFamily::ALL.map(|family| (family, contents(&mut random, family))).into();
        let listing = in_netns(|| {
            let mut kernel = Kernel::open_without_owner().unwrap();
            kernel.commit(TableName::Main, &create_both(&wanted)).unwrap();
            nft(&["-s", "list", "ruleset"])
        });
        in_netns(|| {
            load(&listing);
            assert_eq!(nft(&["-s", "list", "ruleset"]), listing);
            assert_holds(&Kernel::open().unwrap().read(TableName::Main).unwrap(), &wanted);
        });
    }
}

#[test]
fn every_way_of_listing_works_also_on_an_owned_table() {
    each_way(|open| {
        let mut kernel = open().unwrap();
        kernel.commit(TableName::Main, &create_both(&by_hand())).unwrap();
        let json = nft(&["-j", "list", "ruleset"]);
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        let objects = json["nftables"].as_array().expect("an array");
        let count = |kind: &str| objects.iter().filter(|object| object.get(kind).is_some()).count();
        assert_eq!((count("table"), count("chain")), (4, 54));
        assert_eq!((count("set"), count("map")), (48, 8));
        for options in [&[][..], &["-a"], &["-n"], &["-s"], &["-t"], &["-j"]] {
            for what in ["ruleset", "tables", "chains", "sets", "maps", "counters"] {
                nft(&[options, &["list", what]].concat());
            }
            for family in ["ip", "ip6"] {
                nft(&[options, &["list", "table", family, "palisade"]].concat());
                nft(&[options, &["list", "map", family, "palisade", "cidr"]].concat());
                nft(&[options, &["list", "chain", family, "palisade", "ingress"]].concat());
            }
        }
    });
}
