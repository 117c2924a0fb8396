//! What the kernel can do is tried without a trace, and the operation that it cannot do is named.

use palisade_compiler::program::Program;
use palisade_compiler::program::skeleton::DenyAction;
use palisade_dataplane::dataplane::{Dataplane, rehearse};
use palisade_dataplane::host::HostFacts;
use palisade_dataplane::netlink::{all_chains, interfaces};
use palisade_dataplane::ruleset::RulesetError;

use crate::netns::{each_way, in_netns, nft, run};

#[test]
fn a_rehearsal_leaves_nothing_and_disturbs_nobody() {
    each_way(|open| {
        let mut kernel = open().unwrap();
        for deny_action in DenyAction::ALL {
            rehearse(&mut kernel, deny_action).unwrap();
        }
        assert_eq!(nft(&["list", "ruleset"]), "");
        // Beside tables in force, whoever owns them.
        let mut program = Program::default();
        program.v4.local_in.insert([10, 0, 0, 2].into());
        let mut dataplane = Dataplane::start(open().unwrap()).unwrap();
        dataplane.install(&program).unwrap();
        let before = nft(&["-a", "list", "ruleset"]);
        assert!(before.contains("10.0.0.2"), "{before}");
        for deny_action in DenyAction::ALL {
            rehearse(&mut kernel, deny_action).unwrap();
        }
        assert_eq!(nft(&["-a", "list", "ruleset"]), before);
        assert_eq!(dataplane.verify(&program).unwrap(), []);
        // The kernel commits nothing else behind it either: the next change is taken at once.
        let retries = dataplane.counters().retries;
        program.v4.local_out.insert([10, 0, 0, 3].into());
        dataplane.install(&program).unwrap();
        assert_eq!(dataplane.counters().retries, retries);
        assert_eq!(dataplane.host(), &HostFacts::default());
    });
}

#[test]
fn what_the_kernel_refuses_is_named() {
    each_way(|open| {
        let mut kernel = open().unwrap();
        // A set of the name that is tried, and of another type.
        nft(&["add", "table", "ip", "palisade_stand_in"]);
        nft(&["add", "set", "ip", "palisade_stand_in", "local_in", "{ type inet_service; }"]);
        let before = nft(&["list", "ruleset"]);
        let error = rehearse(&mut kernel, DenyAction::Drop).unwrap_err();
        match &error {
            RulesetError::Refused { op, .. } => assert!(op.contains("palisade_stand_in"), "{op}"),
            other => panic!("{other}"),
        }
        assert_eq!(nft(&["list", "ruleset"]), before);
    });
}

#[test]
fn all_chains_are_listed_with_their_hooks_and_all_interfaces_with_their_kinds() {
    in_netns(|| {
        nft(&["add", "table", "inet", "t"]);
        nft(&["add", "chain", "inet", "t", "regular"]);
        let hook = "{ type filter hook forward priority -5; policy drop; }";
        nft(&["add", "chain", "inet", "t", "base", hook]);
        nft(&["add", "table", "bridge", "b"]);
        let hook = "{ type filter hook forward priority 3; }";
        nft(&["add", "chain", "bridge", "b", "base", hook]);
        let chains = all_chains().unwrap();
        let seen: Vec<_> = chains
            .iter()
            .map(|chain| (chain.to_string(), chain.forward_priority, chain.drops_by_default))
            .collect();
        let expected = [
            ("bridge b base".to_owned(), None, false),
            ("inet t base".to_owned(), Some(-5), true),
            ("inet t regular".to_owned(), None, false),
        ];
        assert_eq!(seen, expected);
        run("ip", &["link", "add", "br0", "type", "bridge"]);
        run("ip", &["link", "add", "v0", "mtu", "1400", "master", "br0", "type", "veth"]);
        let found = interfaces().unwrap();
        let of = |name: &str| found.iter().find(|interface| interface.name == name).unwrap();
        assert_eq!(of("br0").kind.as_deref(), Some("bridge"));
        assert_eq!((of("v0").master, of("v0").mtu), (Some(of("br0").index), Some(1400)));
        assert_eq!((of("lo").kind.as_deref(), of("lo").xdp), (None, None));
    });
}
