//! `PortSet` against a naive set: a list of ranges that is searched from its start to its end.

use palisade_compiler::program::{
    MAX_EXPANDED_PORTS, PortElement, PortRange, PortRangeElement, PortSet, ProfileId,
};
use palisade_compiler::testkit::Rng;

const PROFILE: ProfileId = ProfileId(0x8000_0002);

/// The first, the last and neighbouring protocols, so that ranges meet over the ends of the port numbers.
const PROTOCOLS: [u8; 7] = [0, 1, 6, 7, 17, 132, 255];

type Naive = Vec<PortRange>;

fn has(naive: &Naive, protocol: u8, port: u16) -> bool {
    naive.iter().any(|r| r.protocol == protocol && r.first <= port && port <= r.last)
}

fn random_port(rng: &mut Rng) -> u16 {
    let near = rng.below(8) as u16;
    match rng.below(4) {
        0 => near,
        1 => u16::MAX - near,
        2 => 256 + near,
        _ => 1000 + rng.below(600) as u16,
    }
}

fn random_range(rng: &mut Rng) -> PortRange {
    let protocol = rng.pick(&PROTOCOLS);
    if rng.chance(10) {
        return PortRange { protocol, first: 0, last: u16::MAX };
    }
    let (first, last) = (random_port(rng), random_port(rng));
    // One in a while is empty.
    if rng.chance(95) && last < first {
        PortRange { protocol, first: last, last: first }
    } else {
        PortRange { protocol, first, last }
    }
}

fn random_naive(rng: &mut Rng) -> Naive {
    match rng.below(20) {
        0 => everything(),
        1 => everything().into_iter().filter(|range| range.protocol != 6).collect(),
        _ => rng.many(0, 12, random_range),
    }
}

fn everything() -> Naive {
    (0..=u8::MAX).map(|protocol| PortRange { protocol, first: 0, last: u16::MAX }).collect()
}

/// Every end of every range, and its neighbours: between two of them, no set changes.
fn probes(naive: &[&Naive]) -> Vec<(u8, u16)> {
    let mut probes: Vec<(u8, u16)> = Vec::new();
    for range in naive.iter().copied().flatten() {
        for port in [range.first, range.last] {
            for port in [port.saturating_sub(1), port, port.saturating_add(1)] {
                let protocols = [range.protocol.saturating_sub(1), range.protocol];
                let protocols = protocols.into_iter().chain(range.protocol.checked_add(1));
                probes.extend(protocols.map(|protocol| (protocol, port)));
            }
        }
    }
    probes.extend(PROTOCOLS.iter().flat_map(|&p| [(p, 0), (p, u16::MAX)]));
    probes.sort_unstable();
    probes.dedup();
    probes
}

fn cases() -> impl Iterator<Item = (u64, Rng)> {
    (0..5_000).map(|seed| (seed, Rng::new(seed)))
}

fn set(naive: &Naive) -> PortSet {
    naive.iter().copied().collect()
}

#[test]
fn operations_agree_with_a_naive_set() {
    for (seed, mut rng) in cases() {
        let (a, b) = (random_naive(&mut rng), random_naive(&mut rng));
        let (x, y) = (set(&a), set(&b));
        let union = PortSet::union([&x, &y]);
        let (both, less) = (x.intersection(&y), x.difference(&y));
        let mut is_within = true;
        for (protocol, port) in probes(&[&a, &b]) {
            let (in_a, in_b) = (has(&a, protocol, port), has(&b, protocol, port));
            let at = format!("seed {seed}, protocol {protocol}, port {port}");
            assert_eq!(x.contains(protocol, port), in_a, "contains: {at}");
            assert_eq!(union.contains(protocol, port), in_a || in_b, "union: {at}");
            assert_eq!(both.contains(protocol, port), in_a && in_b, "intersection: {at}");
            assert_eq!(less.contains(protocol, port), in_a && !in_b, "difference: {at}");
            is_within &= !in_a || in_b;
        }
        assert_eq!(x.is_within(&y), is_within, "containment: seed {seed}");
    }
}

#[test]
fn equal_sets_are_equal_values() {
    for (seed, mut rng) in cases() {
        let (a, b) = (set(&random_naive(&mut rng)), set(&random_naive(&mut rng)));
        let both = a.intersection(&b);
        assert_eq!(a, a.ranges().collect(), "seed {seed}");
        assert_eq!(a, PortSet::union([&a.difference(&b), &both]), "seed {seed}");
        assert_eq!(both, a.difference(&a.difference(&b)), "seed {seed}");
        assert_eq!(both, b.intersection(&a), "seed {seed}");
        assert_eq!(a.is_within(&b), both == a, "seed {seed}");
        assert_eq!(a.difference(&b).is_nothing(), a.is_within(&b), "seed {seed}");
        let mut parts: Vec<PortSet> = a.ranges().map(|r| [r].into_iter().collect()).collect();
        parts.reverse();
        assert_eq!(a, PortSet::union(&parts), "seed {seed}");
    }
}

#[test]
fn everything_holds_protocols_without_ports_too() {
    let everything = PortSet::everything();
    assert!(everything.contains(1, 0) && everything.contains(6, 80) && everything.contains(255, 9));
    assert!(everything.is_everything() && !everything.is_nothing());
    let ported: PortSet = [6, 17, 132]
        .map(|p| PortRange { protocol: p, first: 0, last: u16::MAX })
        .iter()
        .copied()
        .collect();
    assert!(!ported.is_everything() && ported.is_within(&everything));
    assert!(!everything.is_within(&ported));
    let rest = everything.difference(&ported);
    assert!(rest.contains(1, 0) && !rest.contains(6, 80));
    assert!(PortSet::union([&rest, &ported]).is_everything());
    assert_eq!(everything.difference(&everything), PortSet::nothing());
}

#[test]
fn elements_stand_for_the_set() {
    for (seed, mut rng) in cases() {
        let set = set(&random_naive(&mut rng));
        let (ports, ranges) = set.elements(PROFILE);
        assert_eq!((ports.len(), ranges.len()), set.element_counts(), "seed {seed}");
        assert_eq!(!ranges.is_empty(), set.needs_ranges(), "seed {seed}");
        assert!(ports.is_sorted() && ranges.is_sorted(), "seed {seed}");
        for range in &ranges {
            let width = u32::from(range.last) - u32::from(range.first) + 1;
            assert!(width > MAX_EXPANDED_PORTS, "seed {seed}");
        }
        if !set.is_everything() {
            assert_eq!(PortSet::of_profile(PROFILE, ports, ranges), set, "seed {seed}");
        }
    }
}

#[test]
fn everything_is_told_by_the_profile_and_not_by_elements() {
    let none = || (Vec::<PortElement>::new(), Vec::<PortRangeElement>::new());
    let everything = PortSet::everything();
    assert_eq!(everything.elements(ProfileId::EVERYTHING), none());
    assert_eq!(everything.element_counts(), (0, 0));
    assert!(!everything.needs_ranges());
    let (ports, ranges) = none();
    assert!(PortSet::of_profile(ProfileId::EVERYTHING, ports, ranges).is_everything());
    let (ports, ranges) = none();
    assert!(PortSet::of_profile(PROFILE, ports, ranges).is_nothing());
}

#[test]
fn at_most_256_ports_are_expanded() {
    let of =
        |first, last| [PortRange { protocol: 6, first, last }].into_iter().collect::<PortSet>();
    assert_eq!(of(1, 256).element_counts(), (256, 0));
    assert_eq!(of(1, 257).element_counts(), (0, 1));
    assert_eq!(PortSet::union([&of(1, 256), &of(257, 257)]).element_counts(), (0, 1));
}
