//! Tables that drop denied packets, and tables that answer them, become each other without a packet that is judged by neither.

use palisade_compiler::program::skeleton::DenyAction;
use palisade_compiler::program::{Program, render};
use palisade_dataplane::dataplane::{Counters, Dataplane, Options, Way};
use palisade_dataplane::host::HostFacts;

use crate::netns::{each_way, load, nft};

fn program() -> Program {
    let mut program = Program::default();
    program.v4.local_in.insert([10, 0, 0, 2].into());
    program.v6.local_out.insert("fd00::2".parse().unwrap());
    program
}

fn by(deny_action: DenyAction) -> Options {
    Options { deny_action, ..Options::default() }
}

#[test]
fn the_action_is_changed_in_place() {
    each_way(|open| {
        let program = program();
        let mut ruleset = open().unwrap();
        for deny_action in [DenyAction::Drop, DenyAction::Reject, DenyAction::Drop] {
            let mut dataplane = Dataplane::start_with(ruleset, by(deny_action)).unwrap();
            let is_first = !dataplane.is_in_force();
            match dataplane.preview(&program, &HostFacts::default()).way {
                Way::Anew => assert!(is_first),
                Way::InPlace { mends, steps } => {
                    assert!(!is_first && mends && steps.is_empty(), "{steps:?}");
                }
            }
            if !is_first {
                let named: Vec<_> = dataplane.verify(&program).unwrap();
                let named: Vec<_> = named.iter().map(ToString::to_string).collect();
                let what = match deny_action {
                    DenyAction::Drop => "rule `drop` is missing",
                    DenyAction::Reject => "reject with tcp reset` is missing",
                };
                // Of each family and direction.
                assert_eq!(named.iter().filter(|it| it.contains(what)).count(), 4, "{named:?}");
            }
            let before = dataplane.counters();
            dataplane.install(&program).unwrap();
            let Counters { transactions, graces, .. } = dataplane.counters();
            if !is_first {
                // The rules of both families in one transaction, which no packet sees half of.
                assert_eq!((transactions - before.transactions, graces - before.graces), (1, 0));
            }
            assert_eq!(dataplane.verify(&program).unwrap(), []);
            let listing = nft(&["list", "ruleset"]);
            let rejects = listing.matches("reject with").count();
            assert_eq!(rejects, if deny_action == DenyAction::Drop { 0 } else { 8 }, "{listing}");
            ruleset = dataplane.into_ruleset();
        }
    });
}

#[test]
fn what_nft_loads_of_the_text_is_read_back() {
    each_way(|open| {
        let program = program();
        load(&render::render(&program, DenyAction::Reject).to_string());
        let mut dataplane = Dataplane::inspect(open().unwrap(), by(DenyAction::Reject)).unwrap();
        let rules = |named: Vec<_>| -> Vec<String> {
            let named = named.iter().map(ToString::to_string);
            named.filter(|it: &String| it.contains("rule")).collect()
        };
        assert_eq!(rules(dataplane.verify(&program).unwrap()), [""; 0]);
    });
}
