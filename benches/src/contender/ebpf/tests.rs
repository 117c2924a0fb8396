//! Tests that need access to the maps. The verdicts are checked in the package's tests.

use std::net::IpAddr;

use palisade_compiler::model::Verdict;

use super::*;
use crate::contender::{Mismatch, Sample};
use crate::inject::Router;
use crate::scenario::ScenarioShape;

fn loaded(scenario: &Scenario) -> (EbpfHash, Router) {
    let mut contender = EbpfHash::new().unwrap();
    let router = Router::new().unwrap();
    router.run(|| contender.load(scenario)).unwrap().unwrap();
    (contender, router)
}

/// Changes the isolation of an address in the maps.
fn tamper(contender: &EbpfHash, address: IpAddr, isolated: u32) {
    let IpAddr::V4(v4) = address else { panic!("{address} is not IPv4") };
    let state = contender.state.as_ref().unwrap();
    let class = state.compiler.program().v4.class_of(address).0;
    let value = u64::from(isolated) << 32 | u64::from(class);
    let value = Some(value.to_ne_bytes().to_vec());
    let change = Change { map: maps::Name::Addresses, key: v4.octets().to_vec(), value };
    state.families.first().unwrap().maps.commit(&[change]).unwrap();
}

#[test]
fn an_element_that_was_tampered_with_is_refused() {
    let scenario = Scenario::new(ScenarioShape::Apps, 30, 200, 7);
    let sample = Sample::new(&scenario).unwrap();
    // If a subject is not isolated any more, denied packets pass. If an address is isolated without having rows, nothing
    // passes to it.
    for (expected, isolated, seen) in
        [(Verdict::Deny, 0, Verdict::Allow), (Verdict::Allow, maps::INGRESS, Verdict::Deny)]
    {
        let (contender, mut router) = loaded(&scenario);
        sample.check("ebpf-hash", &mut router).unwrap();
        let tables = contender.state.as_ref().unwrap().compiler.program().v4.clone();
        let flows = sample.flows().iter().filter(|(_, verdict)| *verdict == expected);
        let is_subject = expected == Verdict::Deny;
        let mut targets = flows.filter(|(flow, _)| {
            tables.local_in.contains(&flow.to) == is_subject
                && !tables.local_out.contains(&flow.from)
        });
        let (flow, _) = targets.next().expect("such a connection");
        tamper(&contender, flow.to, isolated);
        let refused = sample.check("ebpf-hash", &mut router);
        let Err(Mismatch::Verdict { seen: was, expected: of, .. }) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!((was, of), (seen, expected));
    }
}

#[test]
fn what_is_dropped_enforces_nothing_any_more() {
    let scenario = Scenario::new(ScenarioShape::Apps, 30, 200, 7);
    let sample = Sample::new(&scenario).unwrap();
    let (contender, mut router) = loaded(&scenario);
    sample.check("ebpf-hash", &mut router).unwrap();
    drop(contender);
    let refused = sample.check("ebpf-hash", &mut router);
    assert!(matches!(refused, Err(Mismatch::Verdict { seen: Verdict::Allow, .. })), "{refused:?}");
}
