//! Where subjects are attached, and whether bridged packets pass the forward hook.

use std::collections::BTreeSet;
use std::net::IpAddr;

use palisade_compiler::model::Family;
use palisade_dataplane::attachments::{Attachments, Placement};
use palisade_dataplane::bridges::{BridgeFilter, bridge_filter, switch_on};

use crate::netns::{in_netns, indexes, ip, pod};

fn placed(addresses: &[&str]) -> Placement {
    let mut attachments = Attachments::open().unwrap();
    attachments.update(set(addresses), []).unwrap();
    attachments.placement().clone()
}

fn set(addresses: &[&str]) -> BTreeSet<IpAddr> {
    addresses.iter().map(|address| address.parse().unwrap()).collect()
}

#[test]
fn without_a_port_the_route_tells_the_bridge() {
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
        assert_eq!(placed(&["10.4.0.5", "10.1.0.1"]), Placement::default());
        assert_eq!(placed(&["10.1.0.7", "10.4.0.5"]).bridges, indexes(&["cni0"]));
        assert_eq!(placed(&["fd01::7"]).bridges, indexes(&["cni0"]));
        assert_eq!(placed(&["10.1.0.7", "10.3.0.7"]).bridges, indexes(&["cni0", "other0"]));
        let elsewhere = ["10.5.0.9", "10.9.0.7", "198.51.100.1", "2001:db8::1"];
        let wanted = Placement { unknown: set(&elsewhere), ..Placement::default() };
        assert_eq!(placed(&elsewhere), wanted);
        ip("route add default via 192.0.2.9");
        assert_eq!(placed(&elsewhere), wanted);
    });
}

/// Attack 15: the bridge has no address, and the host reaches the pods by another interface.
#[test]
fn a_subject_is_found_by_the_address_behind_its_port() {
    in_netns(|| {
        ip("link add br0 type bridge
            link add br1 type bridge
            link set br0 up
            link set br1 up");
        let _pods = [
            pod("v1", &["10.1.0.1/24", "fd01::1/64"]),
            pod("v2", &["10.1.0.2/24", "fd01::2/64"]),
            pod("v3", &["10.1.0.3/24"]),
            pod("v4", &["10.1.0.4/32"]),
        ];
        // The same index in each of their namespaces, and an interface of this one: only the namespace tells them apart.
        ip("link set v1 master br0
            link set v2 master br0
            link set v3 master br1
            link add eth0 type veth peer name eth1
            link set eth0 up
            addr add 10.1.0.254/24 dev eth0
            route add 10.1.0.4/32 dev v4");
        let wanted = |bridges: &[&str], ports: &[&str], pod_ports: &[&str]| Placement {
            bridges: indexes(bridges),
            ports: indexes(ports),
            pod_ports: indexes(pod_ports),
            ..Placement::default()
        };
        let of_br0 = ["v1", "v2"];
        assert_eq!(placed(&["10.1.0.1"]), wanted(&["br0"], &["v1"], &of_br0));
        assert_eq!(placed(&["fd01::2"]), wanted(&["br0"], &["v2"], &of_br0));
        let of_both = wanted(&["br0", "br1"], &["v2", "v3"], &["v1", "v2", "v3"]);
        assert_eq!(placed(&["fd01::2", "10.1.0.3"]), of_both);
        assert_eq!(placed(&["10.1.0.4"]), Placement::default());
    });
}

/// All ports count where the bridge is known and the port is not.
#[test]
fn every_port_counts_of_a_bridge_of_which_the_port_is_not_known() {
    in_netns(|| {
        ip("link add cni0 type bridge
            link set cni0 up
            addr add 10.1.0.254/24 dev cni0
            link add tap0 type veth peer name tap1
            link set tap0 master cni0");
        let _pod = pod("v1", &["10.1.0.1/24"]);
        ip("link set v1 master cni0");
        let ports = placed(&["10.1.0.9"]).ports;
        assert_eq!(ports, indexes(&["tap0", "v1"]));
    });
}

#[test]
fn links_that_come_and_go_move_subjects() {
    in_netns(|| {
        ip("link add br0 type bridge
            link set br0 up");
        let mut attachments = Attachments::open().unwrap();
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let (a, b) = (address("10.1.0.1"), address("10.1.0.2"));
        attachments.update([a, b], []).unwrap();
        assert_eq!(attachments.placement().unknown, set(&["10.1.0.1", "10.1.0.2"]));
        assert!(!attachments.update([], []).unwrap(), "nothing happened");

        let first = pod("v1", &["10.1.0.1/24"]);
        ip("link set v1 master br0");
        assert!(attachments.update([], []).unwrap());
        assert_eq!(attachments.placement().ports, indexes(&["v1"]));
        assert_eq!(attachments.placement().unknown, set(&["10.1.0.2"]));

        // The pod goes, and another gets its address at once.
        ip("link del v1");
        drop(first);
        let _second = pod("v2", &["10.1.0.1/24"]);
        ip("link set v2 master br0");
        assert!(attachments.update([], []).unwrap());
        assert_eq!(attachments.placement().ports, indexes(&["v2"]));

        // An address that comes later is no event of this namespace; a look finds it.
        let late = pod("v3", &[]);
        ip("link set v3 master br0");
        attachments.update([], []).unwrap();
        late.run(|| ip("addr add 10.1.0.2/24 dev eth0")).unwrap();
        attachments.look_again().unwrap();
        assert_eq!(attachments.placement().ports, indexes(&["v2", "v3"]));

        ip("link set v2 nomaster");
        assert!(attachments.update([], []).unwrap());
        assert_eq!(attachments.placement().ports, indexes(&["v3"]));
        assert!(attachments.update([], [b]).unwrap());
        assert_eq!(attachments.placement().ports, indexes(&[]));
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
