//! Programs for the tests: the skeleton with elements, as one transaction and as what should be read back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use palisade_compiler::model::Family;
use palisade_compiler::program::TableFamily;
use palisade_compiler::program::element::{ElementKind, MacAddress};
use palisade_compiler::program::skeleton::{ChainName, DenyAction, SetName, rules};
use palisade_compiler::program::{
    AddressRange, ClassId, PortElement, PortRangeElement, ProfileId, TupleElement,
};
use palisade_dataplane::ruleset::{Actual, ActualRule};
use palisade_dataplane::transaction::{Element, Generations, Op, SetId, TableOp, Transaction};

pub(crate) type Contents = BTreeMap<SetName, BTreeSet<Element>>;

pub(crate) fn id(set: SetName) -> SetId {
    SetId { set, generation: 0 }
}

pub(crate) fn op(family: TableFamily, op: Op) -> TableOp {
    TableOp { family, op }
}

pub(crate) fn transaction(ops: impl IntoIterator<Item = TableOp>) -> Transaction {
    Transaction { ops: ops.into_iter().collect() }
}

pub(crate) fn size_of(set: SetName) -> Option<u32> {
    (!set.is_interval()).then_some(4096)
}

/// Creates one family's table with the whole skeleton and these elements.
pub(crate) fn create(
    family: TableFamily,
    generations: Generations,
    contents: &Contents,
) -> Vec<TableOp> {
    let mut ops = vec![op(family, Op::CreateTable)];
    for set in family.sets() {
        let id = generations.id(set);
        ops.push(op(family, Op::CreateSet { id, size: size_of(set) }));
        if set.has_catch_all() {
            ops.push(op(family, Op::Add(id, Element::CatchAll)));
        }
        let elements = contents.get(&set).into_iter().flatten();
        ops.extend(elements.map(|&element| op(family, Op::Add(id, element))));
    }
    for chain in ChainName::of(family) {
        ops.push(op(family, Op::CreateChain(chain)));
        ops.extend(
            rules(family, chain, DenyAction::Drop)
                .into_iter()
                .map(|rule| op(family, Op::AddRule { chain, rule, generations })),
        );
    }
    ops
}

/// The skeletons of all tables with these elements, generation 0.
pub(crate) fn create_both(contents: &BTreeMap<TableFamily, Contents>) -> Transaction {
    transaction(TableFamily::ALL.into_iter().flat_map(|family| {
        let elements = contents.get(&family).cloned().unwrap_or_default();
        create(family, Generations::default(), &elements)
    }))
}

/// Asserts that what was read is the skeleton with these elements, rule for rule and element for element.
#[track_caller]
pub(crate) fn assert_holds(actual: &Actual, contents: &BTreeMap<TableFamily, Contents>) {
    for family in TableFamily::ALL {
        let table = actual.get(&family).unwrap_or_else(|| panic!("no table of {family:?}"));
        assert_eq!(table.foreign, BTreeSet::new());
        assert_eq!(table.chains.len(), ChainName::of(family).count());
        for chain in ChainName::of(family) {
            let found = &table.chains[chain.as_str()];
            assert_eq!(found.base, palisade_dataplane::netlink::base_of_chain(chain));
            let known: Vec<_> = found
                .rules
                .iter()
                .map(|rule| match rule {
                    ActualRule::Known { rule, .. } => rule.clone(),
                    ActualRule::Foreign(what) => panic!("{family:?} {chain:?}: {what}"),
                })
                .collect();
            assert_eq!(known, rules(family, chain, DenyAction::Drop), "{family:?} {chain:?}");
        }
        assert_eq!(table.sets.len(), family.sets().count());
        for set in family.sets() {
            let found = &table.sets[&table.generations().id(set)];
            assert!(found.as_declared, "{family:?} {set:?}: {found:?}");
            let mut wanted =
                contents.get(&family).and_then(|c| c.get(&set)).cloned().unwrap_or_default();
            if set.has_catch_all() {
                wanted.insert(Element::CatchAll);
            }
            assert_eq!(found.elements, wanted, "{family:?} {set:?}");
        }
    }
}

/// A small generator (xorshift64), so that a failure repeats.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, end: u32) -> u32 {
        u32::try_from(self.next() % u64::from(end)).unwrap()
    }

    fn address(&mut self, family: Family) -> IpAddr {
        let low = self.below(500);
        match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0001 + low)),
            Family::V6 => {
                IpAddr::V6(Ipv6Addr::from_bits((0xfd00_u128 << 112) + 1 + u128::from(low)))
            }
        }
    }

    fn class(&mut self) -> ClassId {
        ClassId(ClassId::FIRST + self.below(40) * 0x0101)
    }

    fn profile(&mut self) -> ProfileId {
        ProfileId(
            (ProfileId::FIRST + self.below(40) * 0x0101) | (self.below(2) * ProfileId::RANGED),
        )
    }

    fn protocol(&mut self) -> u8 {
        [1, 6, 17, 58, 132][self.below(5) as usize]
    }
}

fn address_at(family: Family, value: u128) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(value).unwrap())),
        Family::V6 => IpAddr::V6(Ipv6Addr::from_bits(value)),
    }
}

/// Disjoint ranges over the whole space, some side by side, first and last address included at times.
fn ranges(random: &mut Random, family: Family) -> Vec<AddressRange> {
    let (bits, highest) = match family {
        Family::V4 => (32, u128::from(u32::MAX)),
        Family::V6 => (128, u128::MAX),
    };
    let mut bounds: BTreeSet<u128> = (0..random.below(40))
        .map(|_| (u128::from(random.next()) << 64 | u128::from(random.next())) >> (128 - bits))
        .collect();
    bounds.insert(0);
    let bounds: Vec<u128> = bounds.into_iter().collect();
    let mut found = Vec::new();
    for (i, &first) in bounds.iter().enumerate() {
        let end = bounds.get(i + 1).map_or(highest, |next| next - 1);
        let last = match random.below(3) {
            0 => continue,
            1 => end,
            _ => first + (end - first) / 2,
        };
        found.push(AddressRange {
            first: address_at(family, first),
            last: address_at(family, last),
        });
    }
    found
}

fn port_ranges(random: &mut Random) -> BTreeSet<Element> {
    let mut found = BTreeSet::new();
    for profile in 0..random.below(5) {
        for protocol in [6, 17] {
            let first = u16::try_from(random.below(1000)).unwrap();
            let ranges = [(first, first + 400), (first + 500, first + 900), (60_000, 65_535)];
            for (first, last) in ranges.into_iter().take(random.below(4) as usize) {
                let profile = ProfileId(ProfileId::FIRST_RANGED + profile);
                found.insert(Element::PortRange(PortRangeElement {
                    profile,
                    protocol,
                    first,
                    last,
                }));
            }
        }
    }
    found
}

/// Random elements for every set; a key has one value.
pub(crate) fn contents(random: &mut Random, table: TableFamily) -> Contents {
    let mut contents = Contents::new();
    let family = table.family().unwrap_or(Family::V6);
    for set in [SetName::LocalIn, SetName::LocalOut] {
        let addresses = (0..random.below(60)).map(|_| Element::Address(random.address(family)));
        contents.insert(set, addresses.collect());
    }
    let pairs = (0..random.below(60)).map(|_| Element::Hairpin(random.address(family)));
    contents.insert(SetName::Hairpin, pairs.collect());
    let bridges = (0..random.below(5)).map(|_| Element::Bridge(1 + random.below(1 << 20)));
    contents.insert(SetName::Bridges, bridges.collect());
    let ports = (0..random.below(50)).map(|_| Element::Interface(1 + random.below(1 << 20)));
    contents.insert(SetName::BridgePorts, ports.collect());
    for set in [SetName::PodInterfaces, SetName::FirstInterfaces] {
        let interfaces =
            (0..random.below(50)).map(|_| Element::Interface(1 + random.below(1 << 20)));
        contents.insert(set, interfaces.collect());
    }
    let sources = (0..random.below(60))
        .map(|_| Element::Source(1 + random.below(1 << 20), random.address(family)));
    contents.insert(SetName::sources(family), sources.collect());
    let located = (0..random.below(60)).map(|_| Element::Address(random.address(family)));
    contents.insert(SetName::located(family), located.collect());
    let class: BTreeMap<_, _> =
        (0..random.below(300)).map(|_| (random.address(family), random.class())).collect();
    let class = class.into_iter().map(|(address, class)| Element::Class(address, class));
    contents.insert(SetName::Class, class.collect());
    let cidr = ranges(random, family);
    let cidr = cidr.into_iter().map(|range| Element::Cidr(range, random.class()));
    contents.insert(SetName::Cidr, cidr.collect());
    for set in [SetName::AllowIn, SetName::AllowOut] {
        let rows: BTreeMap<_, _> = (0..random.below(300))
            .map(|_| ((random.address(family), random.class()), random.profile()))
            .collect();
        let rows = rows
            .into_iter()
            .map(|((address, class), profile)| Element::Row(address, class, profile));
        contents.insert(set, rows.collect());
    }
    let ports = (0..random.below(300)).map(|_| {
        let (profile, protocol) = (random.profile(), random.protocol());
        let port = u16::try_from(random.below(65_536)).unwrap();
        Element::Port(PortElement { profile, protocol, port })
    });
    contents.insert(SetName::Ports, ports.collect());
    contents.insert(SetName::PortRanges, port_ranges(random));
    for set in [SetName::KnownIpv4, SetName::KnownIpv6] {
        let of_set = set.family(table);
        let known = (0..random.below(60)).map(|_| Element::Address(random.address(of_set)));
        contents.insert(set, known.collect());
    }
    for set in [SetName::HeldIpv4, SetName::HeldIpv6] {
        let held = ranges(random, set.family(table)).into_iter().map(Element::Range);
        contents.insert(set, held.collect());
    }
    for set in [SetName::RevokedIpv4, SetName::RevokedIpv6] {
        let of_set = set.family(table);
        let mut port = || u16::try_from(random.below(65_536)).unwrap();
        let [source_port, port] = [port(), port()];
        let tuples = (0..random.below(60)).map(|_| {
            let [source, destination] = [random.address(of_set), random.address(of_set)];
            let protocol = random.protocol();
            Element::Tuple(TupleElement { protocol, source, destination, source_port, port })
        });
        contents.insert(set, tuples.collect());
    }
    add_facts_of_bridges(random, table, &mut contents);
    contents.retain(|set, _| set.tables().contains(&table));
    contents
}

/// Random elements for the sets of the bridge table, and for those that it shares with others.
fn add_facts_of_bridges(random: &mut Random, table: TableFamily, contents: &mut Contents) {
    let known: BTreeSet<SetName> = contents.keys().copied().collect();
    for set in table.sets().filter(|set| !known.contains(set)) {
        let family = set.family(table);
        let mac = |random: &mut Random| MacAddress([2, 0, 0, 0, 1, random.below(256) as u8]);
        let element = |random: &mut Random| {
            let index = 1 + random.below(1 << 20);
            match set.kind() {
                ElementKind::Interface => Element::Interface(index),
                ElementKind::Source => Element::Source(index, random.address(family)),
                ElementKind::Target => Element::Target(index, random.address(family)),
                ElementKind::Service => Element::Service(random.below(65_536) as u16),
                ElementKind::Address => Element::Address(random.address(family)),
                ElementKind::Mac => Element::Mac(mac(random)),
                ElementKind::PortMac => Element::PortMac(index, mac(random)),
                other => panic!("{set:?} of {other:?} has no elements here"),
            }
        };
        let elements = (0..random.below(60)).map(|_| element(random)).collect();
        contents.insert(set, elements);
    }
}
