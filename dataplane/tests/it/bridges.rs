//! Which bridges carry pods, and whether these bridges' packets pass the forward hook.

use std::collections::BTreeSet;
use std::net::IpAddr;

use nix::net::if_::if_nametoindex;
use palisade_compiler::model::Family;
use palisade_dataplane::bridges::{BridgeFilter, Placement, bridge_filter, switch_on};

use crate::netns::{in_netns, run};

/// Runs `ip` once for each line.
fn ip(commands: &str) {
    for command in commands.lines() {
        run("ip", &command.split_whitespace().collect::<Vec<_>>());
    }
}

fn placed(addresses: &[&str]) -> Placement {
    Placement::find(&set(addresses)).unwrap()
}

fn set(addresses: &[&str]) -> BTreeSet<IpAddr> {
    addresses.iter().map(|address| address.parse().unwrap()).collect()
}

#[test]
fn bridges_that_pods_are_reached_by_count_and_who_may_be_on_one_is_told() {
    in_netns(|| {
        ip("link set lo up
            link add veth0 type veth peer name veth1
            link set veth0 up
            link set veth1 up
            route add 10.4.0.5/32 dev veth0");
        // Without a bridge nothing is bridged.
        assert_eq!(placed(&["10.1.0.7", "10.4.0.5"]), Placement::default());
        ip("link add cni0 type bridge
            link add idle0 type bridge
            link add other0 type bridge
            link set cni0 up
            link set idle0 up
            link set other0 up
            addr add 10.1.0.1/24 dev cni0
            addr add fd01::1/64 dev cni0 nodad
            addr add 10.2.0.1/24 dev idle0
            addr add 10.3.0.1/24 dev other0
            addr add 192.0.2.1/24 dev veth0
            route add 10.9.0.0/24 via 192.0.2.9
            route add unreachable 10.5.0.0/24");
        let index = |name: &str| if_nametoindex(name).unwrap();
        let on = |names: &[&str]| names.iter().map(|name| index(name)).collect::<BTreeSet<u32>>();
        assert_eq!(placed(&["10.4.0.5", "10.1.0.1"]), Placement::default());
        assert_eq!(placed(&["10.1.0.7", "10.4.0.5"]).bridges, on(&["cni0"]));
        assert_eq!(placed(&["fd01::7"]).bridges, on(&["cni0"]));
        assert_eq!(placed(&["10.1.0.7", "10.3.0.7"]).bridges, on(&["cni0", "other0"]));
        let elsewhere = ["10.5.0.9", "10.9.0.7", "198.51.100.1", "2001:db8::1"];
        let wanted = Placement { unplaced: set(&elsewhere), ..Placement::default() };
        assert_eq!(placed(&elsewhere), wanted);
        ip("route add default via 192.0.2.9");
        assert_eq!(placed(&elsewhere), wanted);
    });
}

#[test]
fn bridged_packets_are_made_to_pass_the_hook() {
    in_netns(|| {
        for family in Family::ALL {
            let name = match family {
                Family::V4 => "bridge-nf-call-iptables",
                Family::V6 => "bridge-nf-call-ip6tables",
            };
            let path = format!("/proc/sys/net/bridge/{name}");
            std::fs::write(&path, "0").expect("br_netfilter is needed");
            assert_eq!(bridge_filter(family).unwrap(), BridgeFilter::Off);
            assert_eq!(switch_on(family).unwrap(), BridgeFilter::Off);
            assert_eq!(bridge_filter(family).unwrap(), BridgeFilter::On);
            assert_eq!(switch_on(family).unwrap(), BridgeFilter::On);
            assert_eq!(std::fs::read_to_string(&path).unwrap().trim(), "1");
        }
    });
}
