//! Packets that connection tracking does not know.

use palisade_lab::packet::Packet;

use crate::cast::{CAST, LAYOUTS_AND_FAMILIES};
use crate::lab::nft;
use crate::scene::Scene;

/// An answer is waved through because conntrack knows its connection. Where another table turns tracking off it is judged
/// like any packet, by its own ends and ports.
#[test]
fn untracked_packets_are_judged_one_by_one() {
    for (layout, family) in LAYOUTS_AND_FAMILIES {
        for tracked in [true, false] {
            let scene = Scene::new(layout, CAST);
            if !tracked {
                nft(
                    scene.lab.node(),
                    "table inet other { chain c { type filter hook prerouting priority raw; notrack\n}\n}",
                );
            }
            scene.enforce();
            let at = |name: &str| scene.address(name, family);
            let udp = |from, to, source, port| {
                let packet = Packet::udp(at(from), at(to), source, port, b"one");
                scene.passes(from, to, &packet)
            };
            let what = format!("{layout:?} {family:?} tracked: {tracked}");
            // Each packet is allowed, or each is denied.
            for _ in 0..2 {
                assert!(udp("n/c", "n/b", 4000, 53), "{what}");
                assert!(udp("n/x", "n/a", 4000, 53), "{what}");
                assert!(!udp("n/a", "n/b", 4000, 53), "{what}");
                assert!(!udp("n/x", "n/c", 4000, 53), "{what}");
            }
            // B asks, and X is asked: the answers come in at B and go out of X, where no rule allows them.
            assert!(udp("n/b", "n/a", 4001, 99), "{what}");
            assert_eq!(udp("n/a", "n/b", 99, 4001), tracked, "{what}");
            assert!(udp("n/a", "n/x", 4002, 99), "{what}");
            assert_eq!(udp("n/x", "n/a", 99, 4002), tracked, "{what}");
        }
    }
}
