//! Connections that the kernel let through, on the stream of a running agent: named, with what allowed them and what they carried.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use palisade::flows::filter::Filter;
use palisade::flows::flow::{
    AllowingRule, Flow, FlowDirection, FlowVerdict, NamedService, ServiceAddress,
};
use palisade::protocol::{Request, Response};
use palisade::socket::Client;
use palisade_compiler::model::Family;
use palisade_dataplane::netlink::conntrack::{Conntrack, Entry, Progress, Selection};
use palisade_lab::Layout;
use palisade_lab::tool::run;

use crate::cast::{LAYOUTS_AND_FAMILIES, connected};
use crate::lab::nft;
use crate::observe::{Node, only_denied};

fn allowed() -> Filter {
    Filter { verdicts: vec![FlowVerdict::Allow], ..Filter::default() }
}

/// The flow of this direction between these pods and to this port, once it is as wanted.
#[track_caller]
fn until(
    node: &Node,
    direction: FlowDirection,
    ends: [&str; 2],
    port: u16,
    wanted: impl Fn(&Flow) -> bool,
) -> Flow {
    let filter = Filter { ports: vec![port], directions: vec![direction], ..allowed() };
    let is_it = |flow: &Flow| {
        [&flow.from, &flow.to].map(|end| end.pod.as_deref().unwrap_or_default()) == ends
    };
    let find = || node.stored(filter.clone()).into_iter().find(|flow| is_it(flow) && wanted(flow));
    node.agent.until("the flow", |_| find().is_some());
    find().unwrap()
}

fn rule(policy: &str) -> AllowingRule {
    AllowingRule { policy: policy.into(), rule: 0 }
}

/// Has the node forget its connections, as if their time were over.
fn end_all(node: &Node) {
    let end = || {
        let mut conntrack = Conntrack::open().unwrap();
        let mut entries: Vec<Entry> = Vec::new();
        conntrack.begin(Selection::All).unwrap();
        while conntrack.read(|entry| entries.push(entry)).unwrap() == Progress::More {}
        conntrack.delete(&entries).unwrap()
    };
    assert!(node.scene.lab.node().run(end).unwrap() > 0);
}

/// A rule that allowed a connection, and isolation that denied a packet, are used; those of other policies are not.
#[test]
fn what_is_used_is_not_told_as_unused() {
    let node = Node::with_unused_after(Layout::Routed, "2");
    let family = Family::V4;
    node.agent.until("the events", |status| status.flows.allowed.is_listening);
    let codes_of = |policy: &str| -> Vec<String> {
        let client = Client::new(&node.agent.socket);
        let Ok(Response::Findings(found)) = client.request(&Request::Lint) else { panic!() };
        let findings = found.report.findings.iter();
        let of_policy = findings.filter(|it| it.object.as_ref().is_some_and(|o| o.name == policy));
        let codes = of_policy.map(|it| it.code.id().to_owned());
        codes.filter(|code| code.starts_with("PAL8")).collect()
    };
    node.agent.until("what is not used", |_| codes_of("b") == ["PAL801", "PAL803"]);
    assert!(node.scene.passes("n/c", "n/b", &node.udp(family, "n/c", "n/b", 53, 4000)));
    node.agent.until("its use", |_| codes_of("b") == ["PAL803"]);
    node.denied(family, "n/c", "n/b", 54);
    node.agent.until("its denial", |_| codes_of("b").is_empty());
}

#[test]
fn an_allowed_connection_comes_with_the_rules_that_allow_it_and_what_it_carried() {
    for (layout, family) in LAYOUTS_AND_FAMILIES {
        let node = Node::new(layout);
        node.agent.until("the events", |status| status.flows.allowed.is_listening);
        let allowed = node.udp(family, "n/c", "n/b", 53, 4000);
        assert!(node.scene.passes("n/c", "n/b", &allowed));
        let flow = until(&node, FlowDirection::Ingress, ["n/c", "n/b"], 53, |_| true);
        assert_eq!(flow.judgement.allowed_by, [rule("n/b")], "{flow:?}");
        assert_eq!(flow.judgement.isolated_by, ["n/b"], "{flow:?}");
        assert_eq!((flow.count, flow.protocol, &flow.service), (1, 17, &None));
        assert_eq!(flow.judgement.divergence, None, "{flow:?}");
        // Nothing isolates the client.
        let flow = until(&node, FlowDirection::Egress, ["n/c", "n/b"], 53, |_| true);
        assert!(flow.judgement.allowed_by.is_empty() && flow.judgement.divergence.is_none());
        // The same again from another port, which is the same flow.
        assert!(node.scene.passes("n/c", "n/b", &node.udp(family, "n/c", "n/b", 53, 4001)));
        let flow = until(&node, FlowDirection::Ingress, ["n/c", "n/b"], 53, |it| it.count == 2);
        assert_eq!(flow.traffic.ended, 0);
        end_all(&node);
        let has_ended = |flow: &Flow| flow.traffic.ended == 2;
        let flow = until(&node, FlowDirection::Ingress, ["n/c", "n/b"], 53, has_ended);
        let headers = if family == Family::V4 { 20 + 8 } else { 40 + 8 };
        assert!(flow.traffic.packets >= 2, "{flow:?}");
        assert_eq!(flow.traffic.bytes, flow.traffic.packets * (headers + 8), "{flow:?}");
        // What is denied is no flow of these, and counts for no rule.
        node.denied(family, "n/a", "n/b", 53);
        node.agent.until("the denial", |status| status.flows.seen == 1);
        assert!(
            node.stored(self::allowed()).iter().all(|it| it.from.pod.as_deref() != Some("n/a"))
        );
        let status = node.agent.until("the hits", |status| !status.allowances.is_empty());
        let hits: Vec<_> = status
            .allowances
            .iter()
            .map(|it| (it.policy.as_str(), it.rule, it.connections))
            .collect();
        assert_eq!(hits, [("n/b", 0, 2)]);
        assert_eq!(status.flows.divergences, 0);
    }
}

/// A Service in front of b, and a policy whose arrival tells that it is known.
const SERVICE: &str = r#"
{kind: List, apiVersion: v1, items: [
  {kind: Service, apiVersion: v1, metadata: {namespace: "n", name: dns},
   spec: {clusterIP: 10.96.0.1, ports: [{port: 5353, protocol: UDP, targetPort: 53}]}},
  {kind: EndpointSlice, apiVersion: discovery.k8s.io/v1,
   metadata: {namespace: "n", name: dns-1, labels: {kubernetes.io/service-name: dns}}, addressType: IPv4,
   endpoints: [{addresses: [10.1.0.2]}], ports: [{port: 53, protocol: UDP}]},
  {kind: NetworkPolicy, apiVersion: networking.k8s.io/v1, metadata: {namespace: "n", name: later},
   spec: {podSelector: {matchLabels: {pod: nobody}}}}]}
"#;

#[test]
fn a_connection_to_a_service_names_the_service_and_the_backend() {
    let node = Node::new(Layout::Routed);
    node.agent.until("the events", |status| status.flows.allowed.is_listening);
    node.write("service.yaml", SERVICE);
    node.agent.until("the Service", |status| status.sizes.policies == 3);
    let at = |name: &str| node.scene.address(name, Family::V4);
    let translation = format!(
        "table ip services {{
           chain prerouting {{ type nat hook prerouting priority dstnat
             ip daddr 10.96.0.1 udp dport 5353 dnat to {}:53
           }}
         }}\n",
        at("n/b")
    );
    nft(node.scene.lab.node(), &translation);
    let machine = node.scene.lab.machine_of(at("n/c")).unwrap().namespace();
    let client =
        machine.run(|| UdpSocket::bind(SocketAddr::new(at("n/c"), 4000))).unwrap().unwrap();
    client.send_to(b"question", "10.96.0.1:5353").unwrap();
    let flow = until(&node, FlowDirection::Ingress, ["n/c", "n/b"], 53, |_| true);
    let name = Some("n/dns".to_owned());
    let service = ServiceAddress { address: "10.96.0.1".into(), port: Some(5353), name };
    assert_eq!((&flow.service, &flow.judgement.allowed_by), (&Some(service), &vec![rule("n/b")]));
    assert_eq!(flow.inferred_services, []);

    // Of a denied packet the kernel does not tell it, and the EndpointSlice does.
    node.denied(Family::V4, "n/a", "n/b", 53);
    let denied = only_denied();
    node.agent.until("the denial", |_| !node.stored(denied.clone()).is_empty());
    let flow = &node.stored(denied)[0];
    let inferred = NamedService { name: "n/dns".into(), port: 5353 };
    assert_eq!((&flow.service, &flow.inferred_services), (&None, &vec![inferred]));
}

#[test]
fn a_rules_block_is_named_with_the_address_that_it_holds() {
    let node = Node::new(Layout::Routed);
    node.agent.until("the events", |status| status.flows.allowed.is_listening);
    let block = r#"{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"namespace": "n", "name": "block"},
        "spec": {"podSelector": {"matchLabels": {"pod": "c"}}, "policyTypes": ["Ingress"],
                 "ingress": [{"from": [{"podSelector": {}}, {"ipBlock": {"cidr": "10.1.0.0/16"}}]},
                             {"from": [{"ipBlock": {"cidr": "10.1.0.0/24"}}]}]}}"#;
    node.write("block.yaml", block);
    node.agent.until("the policy", |status| status.sizes.policies == 3);
    let packet = node.udp(Family::V4, "n/a", "n/c", 90, 4000);
    assert!(node.scene.passes("n/a", "n/c", &packet));
    let flow = until(&node, FlowDirection::Ingress, ["n/a", "n/c"], 90, |_| true);
    let rules = [0, 1].map(|rule| AllowingRule { policy: "n/block".into(), rule });
    assert_eq!(flow.judgement.allowed_by, rules, "{flow:?}");
    // The first rule allows it by its selector.
    assert_eq!((flow.from.cidr.as_deref(), flow.to.cidr), (Some("10.1.0.0/24"), None));
}

#[test]
fn tcp_connections_carry_what_was_sent() {
    let node = Node::new(Layout::Routed);
    node.agent.until("the events", |status| status.flows.allowed.is_listening);
    let at = |name: &str| node.scene.address(name, Family::V4);
    drop(connected(&node.scene.lab, at("n/x"), at("n/a"), 80));
    let flow = until(&node, FlowDirection::Egress, ["n/x", "n/a"], 80, |_| true);
    assert_eq!(flow.judgement.allowed_by, [rule("n/x")], "{flow:?}");
    end_all(&node);
    let has_ended = |flow: &Flow| flow.traffic.ended == 1;
    let flow = until(&node, FlowDirection::Egress, ["n/x", "n/a"], 80, has_ended);
    // A handshake has three segments.
    assert!(flow.traffic.packets >= 3 && flow.traffic.bytes >= 120, "{flow:?}");
    assert!(flow.traffic.duration_us > 0, "{flow:?}");
}

/// As in an unprivileged container.
#[test]
fn what_connections_carry_is_known_also_where_settings_cannot_be_written() {
    let node = Node::with_read_only_settings(Layout::Routed);
    let status = node.agent.until("the events", |status| status.flows.allowed.is_listening);
    let allowed = status.flows.allowed;
    assert_eq!(allowed.turned_on, ["net.netfilter.nf_conntrack_acct"], "{allowed:?}");
    let [off] = &allowed.off[..] else { panic!("the times cannot be turned on: {allowed:?}") };
    assert!(off.contains("nf_conntrack_timestamp"), "{off}");
    assert!(node.scene.passes("n/c", "n/b", &node.udp(Family::V4, "n/c", "n/b", 53, 4000)));
    until(&node, FlowDirection::Ingress, ["n/c", "n/b"], 53, |_| true);
    end_all(&node);
    let flow = until(&node, FlowDirection::Ingress, ["n/c", "n/b"], 53, |it| it.traffic.ended == 1);
    assert!(flow.traffic.bytes > 0 && flow.traffic.duration_us == 0, "{flow:?}");
}

/// Of an address that belongs to no Node object, as the one of a bridge that probes of pods come from.
#[test]
fn connections_with_the_host_itself_are_no_divergences() {
    let node = Node::new(Layout::Bridged);
    node.agent.until("the events", |status| status.flows.allowed.is_listening);
    let at = |name: &str| node.scene.address(name, Family::V4);
    let host = node.scene.lab.node();
    let own = "192.0.2.77";
    host.run(|| run("ip", &["address", "add", &format!("{own}/32"), "dev", "lo"], "").unwrap())
        .unwrap();
    let own: IpAddr = own.parse().unwrap();
    // b admits neither this address nor this port, and x reaches neither.
    let probe = host.run(|| UdpSocket::bind(SocketAddr::new(own, 4000))).unwrap().unwrap();
    probe.send_to(b"probe", SocketAddr::new(at("n/b"), 5000)).unwrap();
    let machine = node.scene.lab.machine_of(at("n/x")).unwrap().namespace();
    let client =
        machine.run(|| UdpSocket::bind(SocketAddr::new(at("n/x"), 4000))).unwrap().unwrap();
    client.send_to(b"question", SocketAddr::new(own, 5001)).unwrap();
    for (direction, ends, port) in
        [(FlowDirection::Ingress, ["", "n/b"], 5000), (FlowDirection::Egress, ["n/x", ""], 5001)]
    {
        let flow = until(&node, direction, ends, port, |_| true);
        assert_eq!(flow.judgement.divergence, None, "{flow:?}");
        assert!(flow.judgement.reason.contains("this host itself"), "{flow:?}");
    }
    let flows = node.agent.until("the status", |_| true).flows;
    assert_eq!(flows.divergences, 0);
}

/// A socket buffer for a handful of events.
const TINY: &str = "2304";
/// Connections that begin faster than a tiny buffer is read.
const MANY: u16 = 3000;

#[test]
fn connections_that_the_socket_lost_are_counted_and_found_by_a_dump() {
    let node = Node::with_event_buffer(Layout::Routed, TINY);
    node.agent.until("the events", |status| status.flows.allowed.is_listening);
    let packet = |n| node.udp(Family::V4, "n/c", "n/b", 53, 4000 + n).bytes();
    let packets: Vec<_> = (0..MANY).map(packet).collect();
    node.scene.arrivals("n/c", "n/b", &packets);
    let is_whole = |flow: &Flow| flow.count == u64::from(MANY);
    let flow = until(&node, FlowDirection::Ingress, ["n/c", "n/b"], 53, is_whole);
    assert_eq!(flow.judgement.allowed_by, [rule("n/b")]);
    let lost = node.agent.until("the status", |_| true).flows.allowed.lost;
    assert!(lost.overflows > 0 && lost.repaired > 0, "{lost:?}");
    assert_eq!((lost.ends, lost.queue), (0, 0), "{lost:?}");
    // Their ends as well: each is heard, or counted as lost.
    end_all(&node);
    node.agent.until("the ends", |status| {
        let allowed = &status.flows.allowed;
        allowed.opened >= u64::from(MANY) && allowed.ended + allowed.lost.ends >= allowed.opened
    });
}
