//! Replaces short lists of ports in policies by long ones.

use super::rng::Rng;
use crate::model::{PortMatch, PortSpec, Ports, Protocol};
use crate::snapshot::Change;

/// The possible numbers of single ports in a list.
const LENGTHS: [u16; 4] = [16, 130, 257, 400];

/// Replaces the ports of some rules of an applied policy by long lists. The lists come from a small pool, so that some
/// overlap, contain each other or are adjacent.
pub fn widen(rng: &mut Rng, change: &mut Change) {
    let Change::ApplyPolicy(policy) = change else { return };
    for rule in policy.ingress.iter_mut().chain(&mut policy.egress) {
        if rng.chance(40) {
            rule.ports = Ports::AnyOf(list(rng));
        }
    }
}

fn list(rng: &mut Rng) -> Vec<PortMatch> {
    let protocol = rng.pick(&[Protocol::Tcp, Protocol::Tcp, Protocol::Udp]);
    let first = 1000 + rng.below(3) as u16;
    let length = rng.pick(&LENGTHS);
    let step = 1 + rng.below(3) as u16;
    let mut ports: Vec<PortMatch> = (0..length)
        .map(|at| first + at * step)
        .map(|port| PortMatch { protocol, port: PortSpec::Range { first: port, last: port } })
        .collect();
    if rng.chance(30) {
        let last = first + rng.below(600) as u16;
        ports.push(PortMatch { protocol, port: PortSpec::Range { first, last } });
    }
    // Shuffled, because a list need not be sorted.
    for at in (1..ports.len()).rev() {
        ports.swap(at, rng.below(at + 1));
    }
    ports
}
