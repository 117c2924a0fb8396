//! Sets of (protocol, port): what a profile allows.
//!
//! A protocol without ports counts as one with 65536 of them: it is allowed where all of them are. "Everything" is then
//! simply the whole space, and union, intersection and difference are closed: none of them needs a special case.

use std::collections::BTreeMap;

use super::{PortElement, PortRangeElement, ProfileId, Tables};

/// A range of at most this many ports is expanded into single elements of `ports`: a hash is cheaper to look up and to
/// change than an interval set of concatenations.
pub const MAX_EXPANDED_PORTS: u32 = 256;

/// The ports `first` to `last` of one protocol, both included, in host byte order. Empty if `first > last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    /// IANA protocol number.
    pub protocol: u8,
    pub first: u16,
    pub last: u16,
}

impl PortRange {
    pub fn new(protocol: impl Into<u8>, first: u16, last: u16) -> Self {
        Self { protocol: protocol.into(), first, last }
    }

    /// How many ports are in it.
    fn width(self) -> u32 {
        (u32::from(self.last) + 1).saturating_sub(u32::from(self.first))
    }

    /// Whether it becomes single elements of `ports`, not one of `port_ranges`.
    fn is_expanded(self) -> bool {
        self.width() <= MAX_EXPANDED_PORTS
    }
}

/// A place in the space of all (protocol, port): the protocol in bits 16-23, the port in bits 0-15.
type Place = u32;

const LAST_PLACE: Place = 0x00ff_ffff;

fn place(protocol: u8, port: u16) -> Place {
    u32::from(protocol) << 16 | u32::from(port)
}

/// A range of places, both ends included. It may reach over several protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Span {
    first: Place,
    last: Place,
}

impl Span {
    /// Its parts by protocol.
    fn ranges(self) -> impl Iterator<Item = PortRange> {
        let (first, last) = (self.first >> 16, self.last >> 16);
        (first..=last).filter_map(move |protocol| {
            let start = if protocol == first { self.first & 0xffff } else { 0 };
            let end = if protocol == last { self.last & 0xffff } else { 0xffff };
            Some(PortRange {
                protocol: u8::try_from(protocol).ok()?,
                first: u16::try_from(start).ok()?,
                last: u16::try_from(end).ok()?,
            })
        })
    }
}

/// A set of (protocol, port). Equal sets are equal values.
///
/// Union, intersection, difference, containment and comparison of two sets are linear in the number of their ranges.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortSet {
    /// Sorted, disjoint and not adjacent.
    spans: Vec<Span>,
}

impl PortSet {
    pub const fn nothing() -> Self {
        Self { spans: Vec::new() }
    }

    /// Every port of every protocol, and every protocol that has no ports.
    pub fn everything() -> Self {
        Self { spans: vec![Span { first: 0, last: LAST_PLACE }] }
    }

    /// What a profile with these elements allows; `EVERYTHING` needs none.
    pub fn of_profile(
        profile: ProfileId,
        ports: impl IntoIterator<Item = PortElement>,
        ranges: impl IntoIterator<Item = PortRangeElement>,
    ) -> Self {
        if profile == ProfileId::EVERYTHING {
            return Self::everything();
        }
        let ports = ports.into_iter().map(port_range);
        ports.chain(ranges.into_iter().map(wide_range)).collect()
    }

    pub fn is_nothing(&self) -> bool {
        self.spans.is_empty()
    }

    pub fn is_everything(&self) -> bool {
        self.spans == [Span { first: 0, last: LAST_PLACE }]
    }

    /// Whether a connection of this protocol to this port is allowed. For a protocol without ports, any number will do.
    pub fn contains(&self, protocol: u8, port: u16) -> bool {
        let place = place(protocol, port);
        let at = self.spans.partition_point(|span| span.last < place);
        self.spans.get(at).is_some_and(|span| span.first <= place)
    }

    /// The ranges, sorted by protocol and port. A protocol without ports is listed as all of its ports.
    pub fn ranges(&self) -> impl Iterator<Item = PortRange> {
        self.spans.iter().flat_map(|span| span.ranges())
    }

    /// The union of any number of sets.
    pub fn union<'a, I: IntoIterator<Item = &'a Self>>(sets: I) -> Self {
        let spans: Vec<Span> = sets.into_iter().flat_map(|set| &set.spans).copied().collect();
        Self::normalized(spans)
    }

    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mut spans = Vec::new();
        let (mut ours, mut theirs) = (self.spans.iter().peekable(), other.spans.iter().peekable());
        while let (Some(&&a), Some(&&b)) = (ours.peek(), theirs.peek()) {
            let (first, last) = (a.first.max(b.first), a.last.min(b.last));
            if first <= last {
                spans.push(Span { first, last });
            }
            // The span that ends first meets no later one.
            if a.last < b.last {
                ours.next();
            } else {
                theirs.next();
            }
        }
        Self { spans }
    }

    /// What is in this set and not in the other.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        let mut spans = Vec::new();
        let mut holes = other.spans.iter().peekable();
        for span in &self.spans {
            let mut first = span.first;
            while let Some(hole) = holes.next_if(|hole| hole.last < span.last) {
                if hole.last < first {
                    continue;
                }
                if hole.first > first {
                    spans.push(Span { first, last: hole.first - 1 });
                }
                first = hole.last + 1;
            }
            // A hole that reaches to the span's end or beyond may reach into later spans, too: it stays.
            match holes.peek().filter(|hole| hole.first <= span.last) {
                Some(hole) if hole.first > first => {
                    spans.push(Span { first, last: hole.first - 1 });
                }
                Some(_) => {}
                None => spans.push(Span { first, last: span.last }),
            }
        }
        Self { spans }
    }

    pub fn is_within(&self, other: &Self) -> bool {
        let mut theirs = other.spans.iter().peekable();
        self.spans.iter().all(|span| {
            while theirs.next_if(|other| other.last < span.first).is_some() {}
            theirs.peek().is_some_and(|other| other.first <= span.first && span.last <= other.last)
        })
    }

    /// Whether its profile has elements in `port_ranges`.
    pub fn needs_ranges(&self) -> bool {
        !self.is_everything() && self.ranges().any(|range| !range.is_expanded())
    }

    /// How many elements of `ports` and of `port_ranges` its profile has.
    pub fn element_counts(&self) -> (usize, usize) {
        let (mut ports, mut wide) = (0, 0);
        if !self.is_everything() {
            for range in self.ranges() {
                match range.is_expanded() {
                    true => ports += range.width() as usize,
                    false => wide += 1,
                }
            }
        }
        (ports, wide)
    }

    /// The elements that stand for it under a profile's id: single ports, and ranges too wide to expand, each sorted.
    ///
    /// Everything has no elements: it is `ProfileId::EVERYTHING`.
    pub fn elements(&self, profile: ProfileId) -> (Vec<PortElement>, Vec<PortRangeElement>) {
        let (mut ports, mut wide) = (Vec::new(), Vec::new());
        if self.is_everything() {
            return (ports, wide);
        }
        for range in self.ranges() {
            let PortRange { protocol, first, last } = range;
            if range.is_expanded() {
                ports.extend((first..=last).map(|port| PortElement { profile, protocol, port }));
            } else {
                wide.push(PortRangeElement { profile, protocol, first, last });
            }
        }
        (ports, wide)
    }

    /// The sort is linear for what is sorted already, and for a few sorted runs.
    fn normalized(mut spans: Vec<Span>) -> Self {
        spans.sort();
        let mut united: Vec<Span> = Vec::with_capacity(spans.len());
        for span in spans {
            match united.last_mut() {
                Some(last) if span.first <= last.last + 1 => last.last = last.last.max(span.last),
                Some(_) | None => united.push(span),
            }
        }
        Self { spans: united }
    }
}

impl FromIterator<PortRange> for PortSet {
    fn from_iter<I: IntoIterator<Item = PortRange>>(ranges: I) -> Self {
        let full = ranges.into_iter().filter(|range| range.first <= range.last);
        let span = |PortRange { protocol, first, last }| Span {
            first: place(protocol, first),
            last: place(protocol, last),
        };
        Self::normalized(full.map(span).collect())
    }
}

fn port_range(PortElement { protocol, port, .. }: PortElement) -> PortRange {
    PortRange { protocol, first: port, last: port }
}

fn wide_range(PortRangeElement { protocol, first, last, .. }: PortRangeElement) -> PortRange {
    PortRange { protocol, first, last }
}

/// The port sets of all profiles that have elements in a table. `EVERYTHING`, which needs none, is not among them.
pub fn port_sets(tables: &Tables) -> BTreeMap<ProfileId, PortSet> {
    let mut ranges: BTreeMap<ProfileId, Vec<PortRange>> = BTreeMap::new();
    for &element in &tables.ports {
        ranges.entry(element.profile).or_default().push(port_range(element));
    }
    for &element in &tables.port_ranges {
        ranges.entry(element.profile).or_default().push(wide_range(element));
    }
    ranges.into_iter().map(|(profile, ranges)| (profile, ranges.into_iter().collect())).collect()
}
