//! The child connections that helpers of FTP and SIP expect (attack 9 of docs/semantics.md).

use palisade_compiler::model::Family;

use crate::attack::{EVERYWHERE, PLAIN, Setting, attack, carry_out};
use crate::cast::connected;
use crate::lab::nft;
use crate::scene::Scene;
use crate::stage::Stage;

const CONTROL_PORT: u16 = 21;
const CHILD_PORT: u16 = 9876;

/// Another table expects a child of a connection that B opens, as the helpers do, and counts those that come.
fn expect_children(scene: &Scene) {
    for family in ["ip", "ip6"] {
        nft(
            scene.lab.node(),
            &format!(
                "table {family} other {{\n\
                 ct expectation child {{ protocol tcp; dport {CHILD_PORT}; timeout 1m; size 8; l3proto {family}; }}\n\
                 counter children {{ }}\n\
                 chain c {{ type filter hook forward priority -10\n\
                 ct state new tcp dport {CONTROL_PORT} ct expectation set \"child\"\n\
                 ct state related tcp dport {CHILD_PORT} counter name children\n}}\n}}"
            ),
        );
    }
}

fn children(stage: &Stage<'_>) -> bool {
    let family = if stage.family == Family::V4 { "ip" } else { "ip6" };
    let listing = nft(stage.scene.lab.node(), &format!("list counter {family} other children"));
    !listing.contains("packets 0 ")
}

#[test]
fn a_child_that_a_helper_expects_is_judged() {
    carry_out(
        Setting { prepare: expect_children, ..PLAIN },
        &[attack(
            "helpers: the child connection that B's connection announces",
            EVERYWHERE,
            |stage| {
                let (a, b) = (stage.at("n/a"), stage.at("n/b"));
                let (_b, _a) = connected(&stage.scene.lab, b, a, CONTROL_PORT);
                let came = stage.opening("n/a", a, "n/b", CHILD_PORT);
                assert!(children(stage), "it was no child");
                came
            },
        )],
    );
}
