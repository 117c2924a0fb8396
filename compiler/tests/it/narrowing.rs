//! Which connections a change may have forbidden: random histories, and what must not cost a look at all.

use std::net::IpAddr;

use palisade_compiler::compile::{Compiler, Locality};
use palisade_compiler::model::{Connection, Family, Verdict};
use palisade_compiler::program::live::LiveConnection;
use palisade_compiler::program::narrowing::{MAX_ADDRESSES, Narrowing};
use palisade_compiler::program::{Delta, Program};
use palisade_compiler::snapshot::Change;
use palisade_compiler::testkit::build::{pod, policy, rule};
use palisade_compiler::testkit::{Rng, probes};

use crate::churn::history;
use crate::parallel::{count, for_each_seed};
use crate::properties::{asked, locality};

/// Overridden by `PALISADE_NARROWINGS`.
const HISTORIES: u64 = 1_000;
/// Batches whose deltas are joined into one at most.
const JOINED: usize = 3;

fn live(connection: Connection) -> LiveConnection {
    LiveConnection { connection, dnat: connection.from == connection.to, midstream: None }
}

/// What a narrowing names, it names as a peer or as a subject; everyone stands for every subject.
fn names(narrowing: &Narrowing, program: &Program, address: IpAddr) -> bool {
    let tables = &program[Family::of(address)];
    let is_subject = tables.local_in.contains(&address) || tables.local_out.contains(&address);
    narrowing.everyone && is_subject
        || narrowing.addresses.contains(&address)
        || narrowing.ranges.iter().any(|range| range.contains(address))
}

#[test]
fn what_a_change_forbids_is_named() {
    let regressions = include_str!("../regressions/narrowings.txt");
    for_each_seed(regressions, count("PALISADE_NARROWINGS", HISTORIES), |seed| {
        let mut rng = Rng::new(seed);
        let locality = locality(seed);
        let mut compiler = Compiler::new(locality.clone());
        let batches = history(seed);
        let (mut rest, mut before) = (&batches[..], Program::default());
        while !rest.is_empty() {
            let (joined, later) = rest.split_at((1 + rng.below(JOINED)).min(rest.len()));
            rest = later;
            let mut delta = Delta::default();
            joined.iter().for_each(|batch| delta.then(compiler.apply(batch.iter().cloned())));
            let program = compiler.program();
            let narrowing = Narrowing::of(&delta, program);
            for connection in probes(compiler.snapshot(), &mut rng) {
                let is_forbidden = live(connection).is_forbidden(program);
                if is_forbidden
                    != (asked(compiler.snapshot(), &locality, &connection) == Verdict::Deny)
                {
                    return Err(format!("{connection:?}: forbidden {is_forbidden}"));
                }
                let is_cut = is_forbidden && !live(connection).is_forbidden(&before);
                let is_named = [connection.from, connection.to]
                    .iter()
                    .any(|&end| names(&narrowing, program, end));
                if is_cut && !is_named {
                    return Err(format!(
                        "{connection:?} is not named in {narrowing:?}\n{delta:#?}"
                    ));
                }
            }
            before = program.clone();
        }
        Ok(())
    });
}

/// Whom `x/server` takes: pods labelled `app=friend`, on port 80.
fn guard(ports: &[u16]) -> Change {
    let allow = rule().pods("app=friend");
    let allow = ports.iter().fold(allow, |rule, &port| rule.tcp(port));
    Change::ApplyPolicy(policy("x/guard").select("app=server").isolate_ingress().allow_in(allow))
}

fn at(name: &str, app: &str, address: &str) -> Change {
    Change::ApplyPod(pod(name).labelled(&format!("app={app}")).ip(address))
}

fn gone(name: &str) -> Change {
    Change::DeletePod { namespace: "x".into(), name: name.into(), uid: None }
}

#[test]
fn what_only_widens_needs_no_look() {
    let mut compiler = Compiler::new(Locality::Everywhere);
    let mut of = |changes: Vec<Change>| {
        let delta = compiler.apply(changes);
        Narrowing::of(&delta, compiler.program())
    };
    let ip = |text: &str| -> IpAddr { text.parse().unwrap() };
    let server = of(vec![at("x/server", "server", "10.0.0.1"), guard(&[80])]);
    assert_eq!(server.addresses, [ip("10.0.0.1")].into(), "it is isolated now");
    for (name, app, address) in
        [("x/a", "friend", "10.0.0.2"), ("x/b", "friend", "10.0.0.3"), ("x/c", "other", "10.0.0.4")]
    {
        let narrowing = of(vec![at(name, app, address)]);
        assert!(narrowing.is_empty(), "{name} came: {narrowing:?}");
    }
    let wider = of(vec![guard(&[80, 443])]);
    assert!(wider.is_empty(), "{wider:?}");
    let narrower = of(vec![guard(&[443])]);
    assert_eq!(narrower.addresses, [ip("10.0.0.1")].into());
    assert!(of(vec![gone("c")]).is_empty(), "nobody allowed it anything");
    let friend = of(vec![at("x/a", "other", "10.0.0.2")]);
    assert_eq!(friend.addresses, [ip("10.0.0.2")].into(), "one of two friends is none any more");
    let key = palisade_compiler::model::PolicyKey { namespace: "x".into(), name: "guard".into() };
    assert!(of(vec![Change::DeletePolicy(key)]).is_empty());
}

#[test]
fn beyond_the_bound_every_subject_is_named() {
    let ip = |n: u32| IpAddr::from(std::net::Ipv4Addr::from_bits(n));
    let mut narrowing = Narrowing::default();
    narrowing.extend(Narrowing {
        addresses: (1..=MAX_ADDRESSES as u32).map(ip).collect(),
        ..Narrowing::default()
    });
    assert!(!narrowing.everyone);
    narrowing.extend(Narrowing { addresses: [ip(0)].into(), ..Narrowing::default() });
    assert_eq!(narrowing, Narrowing::everyone());
}
