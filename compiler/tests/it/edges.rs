//! Edge cases of the specification with results derived by hand, for what random clusters hardly reach.

use palisade_compiler::model::Verdict;
use palisade_compiler::program::eval::{CtState, Packet, eval_program};
use palisade_compiler::testkit::connection;

use crate::meaning::World;

fn ingress(rules: &str) -> World {
    World::with(&format!("{{podSelector: {{}}, policyTypes: [Ingress], ingress: {rules}}}")).valid()
}

fn block(cidr: &str) -> World {
    ingress(&format!("[{{from: [{{ipBlock: {{cidr: '{cidr}'}}}}]}}]"))
}

#[track_caller]
fn walk(world: &World, text: &str, edit: impl Fn(&mut Packet)) -> Verdict {
    let mut packet = Packet::first(connection(world.compiler.snapshot(), text));
    edit(&mut packet);
    eval_program(world.compiler.program(), &packet).verdict
}

/// Row 35: replies always pass. A new connection in the other direction is judged.
#[test]
fn a_reply_passes_where_a_new_connection_may_not() {
    let world = ingress("[]");
    let text = "db/a -> web/a tcp 80";
    assert_eq!(walk(&world, text, |p| p.ct_state = CtState::Established), Verdict::Allow);
    assert_eq!(walk(&world, text, |p| p.ct_state = CtState::New), Verdict::Deny);
}

/// Our choice: each untracked packet is judged by itself.
#[test]
fn an_untracked_packet_is_judged() {
    let world = ingress("[]");
    let text = "db/a -> web/a udp 53";
    assert_eq!(walk(&world, text, |p| p.ct_state = CtState::Untracked), Verdict::Deny);
}

/// Row 38: neighbour discovery (types 135 and 136) passes, an IPv6 echo request (128) does not.
#[test]
fn neighbour_discovery_passes_and_ping6_does_not() {
    let world = ingress("[]");
    for (kind, expected) in [(135, Verdict::Allow), (136, Verdict::Allow), (128, Verdict::Deny)] {
        let verdict = |hop_limit| {
            walk(&world, "db/a -> web/a v6 icmpv6", |p| {
                (p.icmp_type, p.hop_limit) = (kind, hop_limit)
            })
        };
        assert_eq!(verdict(255), expected, "type {kind}");
        assert_eq!(verdict(254), Verdict::Deny, "type {kind}, by a router");
    }
}

/// Row 43: 0.0.0.0/0 is every IPv4 address and no IPv6 one.
#[test]
fn the_whole_of_ipv4_is_none_of_ipv6() {
    let world = block("0.0.0.0/0");
    world.allow("0.0.0.1 -> web/a tcp 1").allow("255.255.255.254 -> web/a tcp 1");
    world.deny("db/a -> web/a v6 tcp 1");
}

/// Row 43 for `::/0`: it is every IPv6 address and no IPv4 one.
#[test]
fn the_whole_of_ipv6_is_none_of_ipv4() {
    block("::/0").allow("2001:db8::1 -> web/a v6 tcp 1").deny("db/a -> web/a tcp 1");
}

/// types.go, ipBlock: a /32 contains one address.
#[test]
fn a_block_of_one_address_is_that_address_only() {
    let world = block("203.0.113.7/32");
    world.allow("203.0.113.7 -> web/a tcp 1");
    world.deny("203.0.113.6 -> web/a tcp 1").deny("203.0.113.8 -> web/a tcp 1");
}

/// types.go, ipBlock: a /128 contains one address.
#[test]
fn a_block_of_one_ipv6_address_is_that_address_only() {
    block("fd00::3/128").allow("db/a -> web/a v6 tcp 1").deny("ops/a -> web/a v6 tcp 1");
}

/// types.go, ports: 65535 is a valid port.
#[test]
fn the_last_port_is_a_port() {
    let world = ingress("[{ports: [{port: 65535}]}]");
    world.allow("db/a -> web/a tcp 65535").deny("db/a -> web/a tcp 65534");
}

/// types.go, endPort: the range from 1 to 65535 does not contain port 0, but a rule for every port does.
#[test]
fn port_0_is_in_any_port_and_in_no_range() {
    ingress("[{ports: [{port: 1, endPort: 65535}]}]")
        .allow("db/a -> web/a tcp 1")
        .deny("db/a -> web/a tcp 0");
    ingress("[{ports: [{protocol: TCP}]}]").allow("db/a -> web/a tcp 0");
}

/// types.go, endPort: an end port equal to the port means one port.
#[test]
fn an_end_port_equal_to_port_is_one_port() {
    let world = ingress("[{ports: [{port: 80, endPort: 80}]}]");
    world.allow("db/a -> web/a tcp 80").deny("db/a -> web/a tcp 79").deny("db/a -> web/a tcp 81");
}

/// types.go, namespaceSelector: `{}` selects all namespaces. Without the field, the policy's own namespace is meant.
#[test]
fn an_empty_namespace_selector_is_not_an_absent_one() {
    ingress("[{from: [{podSelector: {}, namespaceSelector: {}}]}]").allow("db/a -> web/a tcp 1");
    ingress("[{from: [{podSelector: {}}]}]")
        .deny("db/a -> web/a tcp 1")
        .allow("web/b -> web/a tcp 1");
}

/// types.go, namespaceSelector: it selects pods, so no address outside of the cluster is included.
#[test]
fn every_namespace_is_not_every_address() {
    let world = ingress("[{from: [{namespaceSelector: {}}]}]");
    world.allow("ops/a -> web/a tcp 1").deny("203.0.113.1 -> web/a tcp 1");
}

/// Row 14: a port name that cannot be resolved does not affect the other ports of the rule.
#[test]
fn an_unresolvable_name_leaves_the_other_ports() {
    let world = ingress("[{ports: [{port: nope}, {port: 81}]}]");
    world.allow("db/a -> web/a tcp 81").deny("db/a -> web/a tcp 80");
}
