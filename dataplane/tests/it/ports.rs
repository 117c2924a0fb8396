//! Whose a bridge port is, and what may enter by it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use palisade_dataplane::attachments::{Attachments, LocalPods, PortRules, PortSources};

use palisade_lab::Namespace;

use crate::netns::{in_netns, indexes, ip, pod};

/// Pods by name, with the addresses that their manifests name.
#[derive(Default)]
struct Pods(BTreeMap<&'static str, Vec<IpAddr>>);

impl LocalPods for Pods {
    fn owner(&self, address: IpAddr) -> Option<String> {
        let owner = self.0.iter().find(|(_, addresses)| addresses.contains(&address));
        owner.map(|(name, _)| (*name).to_owned())
    }

    fn addresses(&self, pod: &str) -> Vec<IpAddr> {
        self.0.get(pod).cloned().unwrap_or_default()
    }
}

fn pods(pods: &[(&'static str, &[&str])]) -> Pods {
    let parsed = |addresses: &[&str]| addresses.iter().map(|a| a.parse().unwrap()).collect();
    Pods(pods.iter().map(|(name, addresses)| (*name, parsed(addresses))).collect())
}

struct Looking {
    attachments: Attachments,
    allowed: Vec<IpNet>,
    host: BTreeSet<IpAddr>,
}

impl Looking {
    fn new() -> Self {
        let attachments = Attachments::open().unwrap();
        Self { attachments, allowed: Vec::new(), host: BTreeSet::new() }
    }

    fn at(&mut self, pods: &Pods) -> PortSources {
        self.attachments.update([], []).unwrap();
        let rules = PortRules { allowed: &self.allowed, host: &self.host };
        self.attachments.port_sources(pods, rules).unwrap()
    }
}

/// Pairs by the names of ports, link-local addresses left out.
fn named(pairs: &BTreeSet<(u32, IpAddr)>, ports: &[&str]) -> Vec<(String, String)> {
    let by_index: BTreeMap<u32, &str> =
        ports.iter().map(|name| (*indexes(&[name]).first().unwrap(), *name)).collect();
    let is_link_local = |address: &IpAddr| matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
    let kept = pairs.iter().filter(|(_, address)| !is_link_local(address));
    kept.map(|(port, address)| (by_index[port].to_owned(), address.to_string())).collect()
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(port, address)| ((*port).to_owned(), (*address).to_owned())).collect()
}

/// A bridge with these pods at its ports.
fn bridge(pods: &[(&str, &[&str])]) -> Vec<Namespace> {
    ip("link add br0 type bridge
        link set br0 up");
    pods.iter().map(|(port, addresses)| at_bridge(port, addresses)).collect()
}

fn at_bridge(port: &str, addresses: &[&str]) -> Namespace {
    let pod = pod(port, addresses);
    ip(&format!("link set {port} master br0"));
    pod
}

#[test]
fn a_port_has_what_its_pods_manifest_names() {
    in_netns(|| {
        ip("link add br0 type bridge
            link set br0 up");
        let a = pod("v1", &["10.1.0.1/24", "10.1.0.77/24"]);
        let _b = pod("v2", &["10.1.0.2/24"]);
        let _other = pod("v3", &["10.1.0.3/24"]);
        let _routed = pod("v4", &["10.1.0.4/24"]);
        ip("link set v1 master br0
            link set v2 master br0
            link set v3 master br0");
        let known = pods(&[("n/a", &["10.1.0.1", "fd01::1"]), ("n/b", &["10.1.0.2"])]);
        let mut looking = Looking::new();
        let found = looking.at(&known);
        assert_eq!(found.guarded, indexes(&["v1", "v2"]));
        assert_eq!(found.unidentified, indexes(&["v3"]));
        // Also the address that the interface does not have yet, and not the one that no manifest names.
        let ports = ["v1", "v2", "v3"];
        let wanted = owned(&[("v1", "10.1.0.1"), ("v1", "fd01::1"), ("v2", "10.1.0.2")]);
        assert_eq!(named(&found.pairs, &ports), wanted);
        assert_eq!(named(&found.unnamed, &ports), owned(&[("v1", "10.1.0.77")]));
        assert!(found.disputed.is_empty(), "{found:?}");
        let macs = found.macs.iter().map(|(port, _)| *port).collect::<BTreeSet<u32>>();
        assert_eq!(macs, found.guarded);
        let own = a.run(|| ip_output("-o link show dev eth0")).unwrap();
        let (_, mac) = found.macs.first().expect("v1 is the first");
        assert!(own.contains(&mac.to_string()), "{mac}: {own}");

        // A pod's own link-local address is its port's.
        let link_local = a.run(|| ip_output("-6 -o addr show dev eth0 scope link")).unwrap();
        let v1 = *indexes(&["v1"]).first().unwrap();
        let own = found.pairs.iter().find(|(port, address)| {
            *port == v1 && address.is_ipv6() && { link_local.contains(&address.to_string()) }
        });
        assert!(own.is_some(), "{link_local}: {found:?}");

        // What is allowed is a source of the interface that has it.
        looking.allowed = vec!["10.1.0.64/26".parse().unwrap()];
        let found = looking.at(&known);
        assert!(named(&found.pairs, &ports).contains(&("v1".to_owned(), "10.1.0.77".to_owned())));
        assert!(found.unnamed.is_empty(), "{found:?}");
    });
}

fn ip_output(arguments: &str) -> String {
    let mut command = std::process::Command::new("ip");
    let output = command.args(arguments.split_whitespace()).output().expect("ip is installed");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A pod that may configure its network takes another's address, before that is there and after.
#[test]
fn an_address_that_a_pod_takes_stays_anothers() {
    in_netns(|| {
        let on_bridge = bridge(&[("v1", &["10.1.0.1/24"]), ("v2", &["10.1.0.2/24"])]);
        let hostile = &on_bridge[0];
        let known = pods(&[("n/hostile", &["10.1.0.1"]), ("n/victim", &["10.1.0.2"])]);
        let mut looking = Looking::new();
        let before = looking.at(&known);
        let ports = ["v1", "v2"];
        let sources = owned(&[("v1", "10.1.0.1"), ("v2", "10.1.0.2")]);
        assert_eq!(named(&before.pairs, &ports), sources);

        for change in ["addr add 10.1.0.2/32 dev eth0", "addr del 10.1.0.1/24 dev eth0"] {
            hostile.run(|| ip(change)).unwrap();
            looking.attachments.look_again().unwrap();
            let found = looking.at(&known);
            assert_eq!(named(&found.pairs, &ports), sources, "{change}");
            assert_eq!(named(&found.disputed, &ports), owned(&[("v1", "10.1.0.2")]));
        }

        // The victim's interface goes: its address is no other port's all the same.
        ip("link del v2");
        let found = looking.at(&known);
        assert_eq!(named(&found.pairs, &["v1"]), owned(&[("v1", "10.1.0.1")]));
        let _again = at_bridge("v3", &["10.1.0.2/24"]);
        let found = looking.at(&known);
        let wanted = owned(&[("v1", "10.1.0.1"), ("v3", "10.1.0.2")]);
        assert_eq!(named(&found.pairs, &["v1", "v3"]), wanted, "v1 is known to be another's");
    });
}

#[test]
fn a_port_is_its_pods_as_long_as_both_exist() {
    in_netns(|| {
        let first = bridge(&[("v1", &["10.1.0.1/24"])]);
        let mut looking = Looking::new();
        let nobody = looking.at(&Pods::default());
        assert_eq!(nobody.unidentified, indexes(&["v1"]));
        let known = pods(&[("n/a", &["10.1.0.1"])]);
        assert_eq!(looking.at(&known).guarded, indexes(&["v1"]));
        // The pod is gone, and another gets its address: it is known by its own interface.
        assert_eq!(looking.at(&Pods::default()).unidentified, indexes(&["v1"]));
        ip("link del v1");
        drop(first);
        let _second = at_bridge("v2", &["10.1.0.1/24"]);
        let known = pods(&[("n/b", &["10.1.0.1"])]);
        let found = looking.at(&known);
        assert_eq!(named(&found.pairs, &["v2"]), owned(&[("v2", "10.1.0.1")]));

        // A port that leaves its bridge is none any more, and one by which a router is reached is not guarded.
        ip("link set v2 nomaster");
        assert_eq!(looking.at(&known), PortSources::default());
        ip("link set v2 master br0");
        assert_eq!(looking.at(&known).guarded, indexes(&["v2"]));
        looking.attachments.set_routers(indexes(&["v2"]));
        assert_eq!(looking.at(&known), PortSources::default());
    });
}

/// After a restart nobody knows who had an address first.
#[test]
fn of_two_ports_with_one_address_neither_is_taken_for_the_pods() {
    in_netns(|| {
        let on_bridge = bridge(&[("v1", &["10.1.0.2/24"]), ("v2", &["10.1.0.2/24"])]);
        let hostile = &on_bridge[0];
        let known = pods(&[("n/hostile", &["10.1.0.1"]), ("n/victim", &["10.1.0.2"])]);
        let mut looking = Looking::new();
        let found = looking.at(&known);
        assert_eq!(found.unidentified, indexes(&["v1", "v2"]));
        assert!(found.pairs.is_empty() && found.located.is_empty(), "{found:?}");
        assert_eq!(found.disputed.len(), 2, "{found:?}");

        hostile.run(|| ip("addr del 10.1.0.2/24 dev eth0")).unwrap();
        looking.attachments.look_again().unwrap();
        let found = looking.at(&known);
        assert_eq!(named(&found.pairs, &["v1", "v2"]), owned(&[("v2", "10.1.0.2")]));
    });
}

/// A pod that is set up anew, with another address, while its first interface is still there.
#[test]
fn a_pod_that_is_set_up_anew_is_behind_its_new_port() {
    in_netns(|| {
        let _first = bridge(&[("v1", &["10.1.0.1/24"])]);
        let mut looking = Looking::new();
        let before = pods(&[("n/a", &["10.1.0.1"])]);
        assert_eq!(looking.at(&before).guarded, indexes(&["v1"]));
        let _second = at_bridge("v2", &["10.1.0.2/24"]);
        let found = looking.at(&pods(&[("n/a", &["10.1.0.2"])]));
        assert_eq!(found.guarded, indexes(&["v2"]));
        assert_eq!(named(&found.pairs, &["v1", "v2"]), owned(&[("v2", "10.1.0.2")]));
    });
}

#[test]
fn an_ethernet_address_stays_its_first_ports() {
    in_netns(|| {
        let on_bridge = bridge(&[("v1", &["10.1.0.1/24"]), ("v2", &["10.1.0.2/24"])]);
        let (hostile, victim) = (&on_bridge[0], &on_bridge[1]);
        let known = pods(&[("n/hostile", &["10.1.0.1"]), ("n/victim", &["10.1.0.2"])]);
        let mut looking = Looking::new();
        let before = looking.at(&known).macs;
        assert_eq!(before.len(), 2);
        let of_victim = victim.run(|| ip_output("-o link show dev eth0")).unwrap();
        let mac = of_victim.split("link/ether ").nth(1).unwrap().split(' ').next().unwrap();
        hostile.run(|| ip(&format!("link set eth0 address {mac}"))).unwrap();
        looking.attachments.look_again().unwrap();
        assert_eq!(looking.at(&known).macs, before);
    });
}

/// What a pod that may configure its network gives itself is bounded, and what the host does not route to its bridge is held from nobody.
#[test]
fn addresses_without_number_are_not_taken_in() {
    in_netns(|| {
        ip("link add br0 type bridge
            link set br0 up
            addr add 10.1.0.254/24 dev br0");
        let hostile = pod("v1", &["10.1.0.1/24"]);
        ip("link set v1 master br0");
        hostile
            .run(|| {
                ip("addr add 10.1.0.200/32 dev eth0");
                (0..200).for_each(|n| ip(&format!("addr add 203.0.113.{n}/32 dev eth0")));
            })
            .unwrap();
        let found = Looking::new().at(&pods(&[("n/a", &["10.1.0.1"])]));
        assert!(found.unnamed.len() < 64, "{}", found.unnamed.len());
        assert_eq!(named(&found.routed, &["v1"]), owned(&[("v1", "10.1.0.200")]));
    });
}
