//! Policies with long lists of ports, made of those with short ones.

use super::rng::Rng;
use crate::model::{PortMatch, PortSpec, Ports, Protocol};
use crate::snapshot::Change;

/// How many single ports a list has.
const LENGTHS: [u16; 4] = [16, 130, 257, 400];

/// Gives some rules of a policy that is applied long lists of ports instead of their own. The lists are from a small pool, so
/// that they overlap, hold each other and meet.
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
    // In an order that is not theirs.
    for at in (1..ports.len()).rev() {
        ports.swap(at, rng.below(at + 1));
    }
    ports
}
