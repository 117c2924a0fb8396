//! The rules of the inet table: what is dropped for a while, before the tables of IP judge it.
//!
//! First, packets by which the answering end of a connection that was cut would open it anew. To connection tracking such a packet
//! begins a connection in its own direction, which policy may well allow, and what the other end sends next would be its answer.
//! Of TCP the rules against segments from the middle of a connection see to that.
//!
//! Second, packets of unknown addresses in the ranges of this node's pods. A pod that policies select must not be open before its address is known, nor must an address that a new pod got be
//! judged as the pod that had it before. Therefore, while such a pod is awaited, first packets from and to addresses of the node's
//! pod ranges are dropped here, except those of pods that are known.
//!
//! The table is there only while it holds something, so that packets pay nothing for it at other times.

use super::{
    ChainName, Expr, ND_HOP_LIMIT, ND_NEIGHBOR_ADVERT, ND_NEIGHBOR_SOLICIT, Rule, SetName, Side,
    counted_drop, ct,
};
use crate::model::Family;

pub(super) fn rules(chain: ChainName) -> Vec<Rule> {
    match chain {
        ChainName::Forward => {
            let mut rules = vec![
                vec![Expr::CtState(ct::ESTABLISHED), Expr::Accept],
                revoked(Family::V4, SetName::RevokedIpv4),
                revoked(Family::V6, SetName::RevokedIpv6),
            ];
            rules.extend(judge(Side::Source, Expr::Goto(ChainName::HoldDestination)));
            rules.push(vec![Expr::Goto(ChainName::HoldDestination)]);
            rules
        }
        ChainName::HoldDestination => judge(Side::Destination, Expr::Accept),
        ChainName::Hold => hold(),
        ChainName::Revoked => counted_drop(),
        _ => Vec::new(),
    }
}

fn revoked(family: Family, set: SetName) -> Rule {
    vec![Expr::FamilyIs(family), Expr::TupleIn(set), Expr::Goto(ChainName::Revoked)]
}

/// What is done to a known address of that side; an unknown one is held.
fn judge(side: Side, known: Expr) -> Vec<Rule> {
    let of_family = |family, known_set, held_set| {
        let look = |set| [Expr::FamilyIs(family), Expr::AddressIn(side, set)];
        [
            [&look(known_set)[..], &[known]].concat(),
            [&look(held_set)[..], &[Expr::Goto(ChainName::Hold)]].concat(),
        ]
    };
    [
        of_family(Family::V4, SetName::KnownIpv4, SetName::HeldIpv4),
        of_family(Family::V6, SetName::KnownIpv6, SetName::HeldIpv6),
    ]
    .concat()
}

/// Neighbour discovery must pass, or a pod would wait a second for its first answer once it is released. What of it may pass is
/// for the tables of IP to say.
fn hold() -> Vec<Rule> {
    let neighbour = |kind| {
        let family = Expr::FamilyIs(Family::V6);
        vec![family, Expr::Icmpv6Type(kind), Expr::HopLimit(ND_HOP_LIMIT), Expr::Accept]
    };
    let neighbours = [ND_NEIGHBOR_SOLICIT, ND_NEIGHBOR_ADVERT].map(neighbour);
    neighbours.into_iter().chain(counted_drop()).collect()
}
