//! What a profile allows, whatever its id: to be compared and intersected.

use std::collections::BTreeSet;

use palisade_compiler::program::{MAX_EXPANDED_PORTS, PortElement, PortRangeElement, ProfileId};

/// Allowed (protocol, first port, last port): sorted, and neighbours united, so that equal means the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Allowed {
    Everything,
    Only(Vec<(u8, u16, u16)>),
}

impl Allowed {
    pub(super) fn of(
        profile: ProfileId,
        (ports, ranges): (BTreeSet<PortElement>, BTreeSet<PortRangeElement>),
    ) -> Self {
        if profile == ProfileId::EVERYTHING {
            return Self::Everything;
        }
        let single = ports.into_iter().map(|e| (e.protocol, e.port, e.port));
        let wide = ranges.into_iter().map(|e| (e.protocol, e.first, e.last));
        Self::united(single.chain(wide).collect())
    }

    fn united(mut spans: Vec<(u8, u16, u16)>) -> Self {
        spans.sort_unstable();
        let mut united: Vec<(u8, u16, u16)> = Vec::with_capacity(spans.len());
        for (protocol, first, last) in spans {
            match united.last_mut() {
                Some((p, _, end)) if *p == protocol && u32::from(first) <= u32::from(*end) + 1 => {
                    *end = last.max(*end);
                }
                Some(_) | None => united.push((protocol, first, last)),
            }
        }
        Self::Only(united)
    }

    pub(super) fn and(&self, other: &Self) -> Self {
        let (mine, theirs) = match (self, other) {
            (Self::Everything, only) | (only, Self::Everything) => return only.clone(),
            (Self::Only(mine), Self::Only(theirs)) => (mine, theirs),
        };
        let mut spans = Vec::new();
        for &(protocol, first, last) in mine {
            for &(p, f, l) in theirs {
                if p == protocol && f <= last && first <= l {
                    spans.push((protocol, first.max(f), last.min(l)));
                }
            }
        }
        Self::united(spans)
    }

    pub(super) fn is_within(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Everything) => true,
            (Self::Everything, Self::Only(_)) => false,
            (Self::Only(mine), Self::Only(theirs)) => {
                mine.iter().all(|&(protocol, first, last)| {
                    theirs.iter().any(|&(p, f, l)| p == protocol && f <= first && last <= l)
                })
            }
        }
    }

    /// The elements that list this under an id: single ports, and ranges of more ports than are expanded.
    pub(super) fn list(&self, profile: ProfileId) -> (Vec<PortElement>, Vec<PortRangeElement>) {
        let (mut ports, mut ranges) = (Vec::new(), Vec::new());
        let Self::Only(spans) = self else { return (ports, ranges) };
        for &(protocol, first, last) in spans {
            if u32::from(last) - u32::from(first) < MAX_EXPANDED_PORTS {
                ports.extend((first..=last).map(|port| PortElement { profile, protocol, port }));
            } else {
                ranges.push(PortRangeElement { profile, protocol, first, last });
            }
        }
        (ports, ranges)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(spans: &[(u8, u16, u16)]) -> Allowed {
        Allowed::united(spans.to_vec())
    }

    #[test]
    fn neighbours_unite_within_a_protocol() {
        assert_eq!(
            only(&[(6, 81, 90), (6, 80, 80), (17, 91, 91)]),
            Allowed::Only(vec![(6, 80, 90), (17, 91, 91)])
        );
        assert_eq!(only(&[(6, 1, u16::MAX), (6, 5, 6)]), Allowed::Only(vec![(6, 1, u16::MAX)]));
    }

    #[test]
    fn intersection_and_containment() {
        let (a, b) = (only(&[(6, 80, 90), (17, 53, 53)]), only(&[(6, 85, 1000)]));
        assert_eq!(a.and(&b), only(&[(6, 85, 90)]));
        assert!(a.and(&b).is_within(&a) && a.and(&b).is_within(&b));
        assert!(!a.is_within(&b));
        assert_eq!(a.and(&Allowed::Everything), a);
        assert!(a.is_within(&Allowed::Everything) && !Allowed::Everything.is_within(&a));
        assert!(Allowed::united(Vec::new()).is_within(&b));
    }

    #[test]
    fn wide_spans_are_listed_as_ranges() {
        let (ports, ranges) = only(&[(6, 1, 256), (17, 1, 257)]).list(ProfileId(0x8000_0002));
        assert_eq!((ports.len(), ranges.len()), (256, 1));
    }
}
