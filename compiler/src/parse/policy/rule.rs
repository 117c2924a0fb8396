//! `NetworkPolicyIngressRule` and `NetworkPolicyEgressRule`.

use serde_json::{Map, Value};

use super::part::{Part, only_known};
use super::{peer, port};
use crate::model::{Direction, Peers, PolicyRule, Ports};
use crate::parse::fields::maps;
use crate::parse::path::Path;
use crate::parse::subject::{Reported, Subject};

/// The rules of a direction that can be read.
pub(super) fn read_all(
    subject: &mut Subject<'_, '_>,
    direction: Direction,
    path: &Path<'_>,
    written: Option<&Value>,
) -> Vec<PolicyRule> {
    let mut read = Vec::new();
    for (at, rule) in maps(subject, path, written) {
        read.extend(read_one(subject, direction, &path.item(at), rule));
    }
    read
}

const INGRESS: Part = Part { what: "an ingress rule", fields: &["from", "ports"] };
const EGRESS: Part = Part { what: "an egress rule", fields: &["to", "ports"] };

fn read_one(
    subject: &mut Subject<'_, '_>,
    direction: Direction,
    path: &Path<'_>,
    rule: &Map<String, Value>,
) -> Result<PolicyRule, Reported> {
    let (end, part) = match direction {
        Direction::Ingress => ("from", &INGRESS),
        Direction::Egress => ("to", &EGRESS),
    };
    let before = subject.errors();
    let known = only_known(subject, path, rule, part);
    let field = path.field(end);
    let peers: Vec<_> = maps(subject, &field, rule.get(end))
        .into_iter()
        .map(|(at, peer)| peer::read(subject, &field.item(at), peer))
        .collect();
    let field = path.field("ports");
    let ports: Vec<_> = maps(subject, &field, rule.get("ports"))
        .into_iter()
        .map(|(at, port)| port::read(subject, &field.item(at), port))
        .collect();
    known?;
    let peers = peers.into_iter().collect::<Result<Vec<_>, _>>()?;
    let ports = ports.into_iter().collect::<Result<Vec<_>, _>>()?;
    // A list of which an item was left out must not pass for an empty one, which would mean everything.
    if subject.errors() > before {
        return Err(Reported);
    }
    Ok(PolicyRule {
        peers: if peers.is_empty() { Peers::Everyone } else { Peers::AnyOf(peers) },
        ports: if ports.is_empty() { Ports::Every } else { Ports::AnyOf(ports) },
    })
}
