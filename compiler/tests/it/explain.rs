//! Explanations in words: what of a connection differs from each rule, and what stands behind a Service's address.

use palisade_compiler::compile::{Compiler, Judge, Locality};
use palisade_compiler::explain::{
    Backend, Explanation, Outcome, PortQuery, Side, excerpt, explain, reached_by, service_at,
    translate,
};
use palisade_compiler::model::{
    Endpoint, EndpointConditions, EndpointPort, EndpointSlice, Protocol, Service, ServiceKind,
    ServicePort, TargetPort, Verdict,
};
use palisade_compiler::program::eval::{Packet, eval_program};
use palisade_compiler::snapshot::{Change, Snapshot};
use palisade_compiler::testkit::{Cluster, connection, namespace, node, pod, policy, rule};

/// A shop with its pods: web, api and db in `shop`, a tester in `lab`, a proxy on the host's network.
fn cluster() -> Cluster {
    Cluster::new()
        .with(namespace("shop", "team=shop"))
        .with(namespace("lab", "team=lab"))
        .with(node("worker-1", &["192.168.0.1", "203.0.113.1"]))
        .with(node("worker-2", &["192.168.0.2", "203.0.113.2"]))
        .with(pod("shop/web").labelled("app=web").ip("10.0.0.1").on("worker-1"))
        .with(
            pod("shop/api")
                .labelled("app=api,tier=back")
                .ip("10.0.0.2")
                .port("http", Protocol::Tcp, 8080)
                .on("worker-1"),
        )
        .with(pod("shop/db").labelled("app=db").ip("10.0.0.3").on("worker-2"))
        .with(pod("lab/tester").labelled("app=web").ip("10.0.1.1").on("worker-2"))
        .with(
            pod("lab/proxy").labelled("app=web").ip("192.168.0.2").on("worker-2").on_host_network(),
        )
}

fn explained(snapshot: &Snapshot, text: &str) -> Explanation {
    explain(&mut Judge::new(snapshot), &connection(snapshot, text), None)
}

/// What each rule would have needed, one line each.
fn misses(side: &Side) -> Vec<String> {
    let Outcome::Denied { misses, .. } = &side.outcome else { panic!("{side:?}") };
    let lines = misses.iter().flat_map(|policy| {
        policy
            .rules
            .iter()
            .map(|rule| format!("{} {}", policy.policy, rule.sentence(policy.direction)))
    });
    lines.collect()
}

/// The one line that says why the rule of a policy for `app=api` does not allow the connection.
#[track_caller]
fn miss(of: palisade_compiler::model::PolicyRule, text: &str, expected: &str) {
    let snapshot = cluster().with(policy("shop/p").select("app=api").allow_in(of)).snapshot();
    let explanation = explained(&snapshot, text);
    assert_eq!(misses(&explanation.ingress), [format!("shop/p ingress[0]: {expected}")]);
}

#[test]
fn a_rule_that_differs_in_peers_and_ports_says_both() {
    miss(
        rule().pods("app=front").tcp(80),
        "shop/web -> shop/api tcp 8080",
        "from[0] needs the pod label app=front, but shop/web has app=web; and ports[0] is for TCP port 80, but the connection \
         is to port 8080",
    );
}

#[test]
fn labels_are_named_with_what_is_there_instead() {
    miss(
        rule().pods("app in (a,b),!canary,tier"),
        "shop/web -> shop/api tcp 1",
        "from[0] needs the pod label app in (a, b), but shop/web has app=web, and needs the pod label tier, but shop/web has no \
         label tier",
    );
    miss(
        rule().pods("app=web"),
        "lab/tester -> shop/api tcp 1",
        "from[0] has no namespaceSelector and so is for pods of namespace shop, but lab/tester is in namespace lab",
    );
    miss(
        rule().pods_in("team=ops", "app!=web"),
        "lab/tester -> shop/api tcp 1",
        "from[0] needs the namespace label team=ops, but namespace lab has team=lab, and needs the pod label app!=web, but \
         lab/tester has app=web",
    );
}

#[test]
fn the_nearest_entry_is_named_and_the_others_are_counted() {
    miss(
        rule()
            .pods_in("team=ops", "app=x")
            .pods("app=front")
            .pods_in("a=b", "c=d")
            .tcp(9000)
            .tcp(8081)
            .udp(1),
        "shop/web -> shop/api tcp 8080",
        "from[1] needs the pod label app=front, but shop/web has app=web (the 2 other entries are farther off); and ports[1] is \
         for TCP port 8081, but the connection is to port 8080 (the 2 other entries are farther off)",
    );
}

#[test]
fn blocks_and_their_excepts_are_named() {
    miss(
        rule().block("10.0.0.0/8", &["10.0.0.0/24", "10.0.1.0/24"]),
        "shop/web -> shop/api tcp 1",
        "from[0] is the ipBlock 10.0.0.0/8, but its except 10.0.0.0/24 takes 10.0.0.1 out of it",
    );
    miss(
        rule().block("172.16.0.0/12", &[]).block("198.51.100.0/25", &[]).pods("app=web"),
        "198.51.100.200 -> shop/api tcp 1",
        "from[1] is the ipBlock 198.51.100.0/25, but 198.51.100.200 is outside of it (the 2 other entries are farther off)",
    );
    miss(
        rule().block("fd00::/8", &[]),
        "198.51.100.200 -> shop/api tcp 1",
        "from[0] is the ipBlock fd00::/8, but 198.51.100.200 is of the other address family",
    );
    miss(
        rule().pods(""),
        "198.51.100.200 -> shop/api tcp 1",
        "from[0] selects pods, but 198.51.100.200 is no pod's address (an ipBlock matches addresses)",
    );
}

#[test]
fn ports_protocols_and_names_are_named() {
    miss(
        rule().named(Protocol::Tcp, "http"),
        "shop/web -> shop/api tcp 80",
        "ports[0] is for the TCP port named http, which is 8080 on shop/api, but the connection is to port 80",
    );
    miss(
        rule().named(Protocol::Tcp, "https"),
        "shop/web -> shop/api tcp 80",
        "ports[0] is for the port named https, but shop/api has no TCP port of that name",
    );
    miss(
        rule().tcp(54).udp(53),
        "shop/web -> shop/api tcp 53",
        "ports[1] is for UDP port 53, but the connection is TCP (the other entry is farther off)",
    );
    miss(
        rule().range(Protocol::Tcp, 8000, 8079),
        "shop/web -> shop/api tcp 8080",
        "ports[0] is for TCP ports 8000-8079, but the connection is to port 8080",
    );
    miss(
        rule().any_port(Protocol::Tcp),
        "shop/web -> shop/api icmp",
        "ports[0] is for TCP, but the connection has another protocol, which only a rule without ports allows",
    );
}

#[test]
fn a_host_network_pod_as_destination_is_named() {
    let policy =
        policy("shop/out").select("app=web").allow_out(rule().pods_in("team=lab", "app=web"));
    let snapshot = cluster().with(policy).snapshot();
    let explanation = explained(&snapshot, "shop/web -> 192.168.0.2 tcp 80");
    assert_eq!(
        explanation.to.to_string(),
        "192.168.0.2 (node worker-2, host-network pod lab/proxy)"
    );
    let lines = misses(&explanation.egress);
    assert_eq!(
        lines,
        [
            "shop/out egress[0]: to[0] selects pods, but 192.168.0.2 (node worker-2, host-network pod lab/proxy) is a node's \
          address: selectors never match host-network pods (an ipBlock with the node's address does)"
        ]
    );
    assert_eq!(
        explanation.ingress.reason(),
        "a node's address, shared by host-network pod lab/proxy: policies apply to no pod on the host's network"
    );
}

#[test]
fn what_allows_is_named_by_policy_rule_and_entry() {
    let allows = rule().pods("app=x").pods("app=web").tcp(80).named(Protocol::Tcp, "http");
    let snapshot = cluster()
        .with(policy("shop/deny").isolate_ingress())
        .with(policy("shop/p").select("app=api").allow_in(rule().pods("app=y")).allow_in(allows))
        .with(policy("shop/q").select("app=api").allow_in(rule()))
        .snapshot();
    let explanation = explained(&snapshot, "shop/web -> shop/api tcp 8080");
    assert_eq!(
        explanation.ingress.reason(),
        "allowed by shop/p ingress[1] (from[1], ports[1]), shop/q ingress[0]"
    );
    let isolating: Vec<String> =
        explanation.ingress.isolated_by.iter().map(ToString::to_string).collect();
    assert_eq!(isolating, ["shop/deny", "shop/p", "shop/q"]);
    assert_eq!(explanation.egress.reason(), "no policy isolates the pod for egress");
}

#[test]
fn a_policy_with_wrong_fields_says_what_it_closes_until_it_is_mended() {
    let mut broken = policy("shop/broken").isolate_ingress();
    broken.fault = Some("spec.podSelector.matchLabel is no field here".into());
    let snapshot = cluster().with(broken).snapshot();
    let explanation = explained(&snapshot, "shop/web -> shop/db tcp 1");
    let faults: Vec<String> = explanation.ingress.faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        faults,
        [
            "shop/broken has wrong fields (spec.podSelector.matchLabel is no field here): until they are mended it isolates \
          every pod of namespace shop for ingress, and allows nothing"
        ]
    );
}

/// By the specification, whatever the address; and the tables say so too, since an external address that is on none of the
/// node's interfaces is forwarded.
#[test]
fn every_address_of_the_own_node_is_allowed_and_other_nodes_are_not() {
    let deny = policy("shop/deny").isolate_ingress().isolate_egress();
    let snapshot = cluster().with(deny).snapshot();
    for (text, verdict) in [
        ("shop/web -> 192.168.0.1 tcp 1", Verdict::Allow),
        ("shop/web -> 203.0.113.1 tcp 1", Verdict::Allow),
        ("203.0.113.1 -> shop/web udp 1", Verdict::Allow),
        ("shop/web -> 203.0.113.2 tcp 1", Verdict::Deny),
        ("shop/db -> 203.0.113.2 icmp", Verdict::Allow),
        ("203.0.113.1 -> shop/db tcp 1", Verdict::Deny),
    ] {
        assert_eq!(agreed(&snapshot, text), verdict, "{text}");
    }
    let explanation = explained(&snapshot, "shop/web -> 203.0.113.1 tcp 1");
    assert_eq!(explanation.egress.reason(), "traffic with the pod's own node is always allowed");
}

/// A pod's `status.hostIPs` name its node's addresses where there is no Node object.
#[test]
fn host_ips_name_the_own_node() {
    let mut web = pod("x/web").ip("10.0.0.1").on("n");
    web.host_ips =
        ["192.168.7.1".parse().unwrap(), "fd00::7".parse().unwrap()].into_iter().collect();
    let cluster = Cluster::new()
        .with(web)
        .with(pod("x/db").ip("10.0.0.2").on("m"))
        .with(policy("x/deny").isolate_ingress());
    let snapshot = cluster.snapshot();
    assert_eq!(agreed(&snapshot, "192.168.7.1 -> x/web tcp 1"), Verdict::Allow);
    assert_eq!(agreed(&snapshot, "192.168.7.1 -> x/db tcp 1"), Verdict::Deny);
}

/// Nodes' addresses come and go, and the tables with them.
#[test]
fn the_tables_follow_the_nodes_addresses() {
    let deny = policy("shop/deny").isolate_egress();
    let mut compiler = Compiler::new(Locality::Node("worker-1".into()));
    compiler.apply(cluster().with(deny).changes);
    let mut expect = |change: Option<Change>, address: &str, verdict: Verdict| {
        compiler.apply(change);
        let connection = connection(compiler.snapshot(), &format!("shop/web -> {address} tcp 1"));
        let walk = eval_program(compiler.program(), &Packet::first(connection));
        assert_eq!(walk.verdict, verdict, "{address}: {walk}");
    };
    expect(None, "203.0.113.1", Verdict::Allow);
    let moved = node("worker-1", &["192.168.0.1", "203.0.113.9"]);
    expect(Some(moved.into()), "203.0.113.9", Verdict::Allow);
    expect(None, "203.0.113.1", Verdict::Deny);
    let host = pod("x/h").ip("203.0.113.50").on("worker-1").on_host_network();
    expect(Some(host.into()), "203.0.113.50", Verdict::Allow);
    let gone = Change::DeletePod { namespace: "x".into(), name: "h".into(), uid: None };
    expect(Some(gone), "203.0.113.50", Verdict::Deny);
    expect(Some(Change::DeleteNode("worker-1".into())), "203.0.113.9", Verdict::Deny);
}

/// The verdict, after explanation, whole compile and the compile of the excerpt gave the same one.
#[track_caller]
fn agreed(snapshot: &Snapshot, text: &str) -> Verdict {
    let connection = connection(snapshot, text);
    let verdict = explained(snapshot, text).verdict();
    let packet = Packet::first(connection);
    let mut compiler = Compiler::new(Locality::Everywhere);
    compiler.apply(excerpt(snapshot, &connection));
    assert_eq!(eval_program(compiler.program(), &packet).verdict, verdict, "{text}");
    verdict
}

fn service(address: &str, port: u16, target: TargetPort) -> Service {
    Service {
        namespace: "shop".into(),
        name: "api".into(),
        kind: ServiceKind::ClusterIp,
        cluster_ips: vec![address.parse().unwrap()],
        is_headless: false,
        external_ips: Vec::new(),
        load_balancer_ips: Vec::new(),
        selector: Some(palisade_compiler::testkit::build::labels("app=api")),
        ports: vec![ServicePort {
            name: Some("web".into()),
            protocol: Protocol::Tcp,
            port,
            target,
            node_port: None,
        }],
    }
}

fn slice(endpoints: &[(&str, bool, bool)]) -> EndpointSlice {
    let endpoint = |&(address, ready, terminating): &(&str, bool, bool)| Endpoint {
        addresses: vec![address.parse().unwrap()],
        conditions: EndpointConditions { ready, serving: true, terminating },
        pod: None,
        node: None,
    };
    EndpointSlice {
        namespace: "shop".into(),
        name: "api-1".into(),
        service: Some("api".into()),
        endpoints: endpoints.iter().map(endpoint).collect(),
        ports: vec![EndpointPort {
            name: Some("web".into()),
            protocol: Protocol::Tcp,
            port: Some(8443),
        }],
    }
}

fn backends(snapshot: &Snapshot, port: PortQuery<'_>) -> Result<Vec<String>, String> {
    let address = "10.96.0.1".parse().unwrap();
    let translated = translate(snapshot, address, 6, Some(port)).expect("a Service's address");
    let translation = translated.map_err(|error| error.to_string())?;
    Ok(translation.backends.iter().map(|b| format!("{}:{}", b.address, b.port)).collect())
}

#[test]
fn a_services_address_leads_to_the_endpoints_that_serve() {
    let named = service("10.96.0.1", 443, TargetPort::Named("http".into()));
    let mut snapshot = cluster().with(Change::ApplyService(named)).snapshot();
    // By its selector and the name of its target port, as long as there is no EndpointSlice.
    assert_eq!(backends(&snapshot, PortQuery::Number(443)), Ok(vec!["10.0.0.2:8080".into()]));
    assert_eq!(backends(&snapshot, PortQuery::Name("web")), Ok(vec!["10.0.0.2:8080".into()]));
    let error = backends(&snapshot, PortQuery::Number(80)).unwrap_err();
    assert!(error.contains("no TCP port 80; it has TCP 443 (web)"), "{error}");

    let mut endpoints = vec![("10.0.0.2", false, true), ("10.0.0.3", false, false)];
    snapshot.apply(Change::ApplyEndpointSlice(slice(&endpoints)));
    assert_eq!(backends(&snapshot, PortQuery::Number(443)), Ok(vec!["10.0.0.2:8443".into()]));
    endpoints.push(("10.0.1.1", true, false));
    snapshot.apply(Change::ApplyEndpointSlice(slice(&endpoints)));
    assert_eq!(backends(&snapshot, PortQuery::Number(443)), Ok(vec!["10.0.1.1:8443".into()]));
    snapshot.apply(Change::ApplyEndpointSlice(slice(&[])));
    let error = backends(&snapshot, PortQuery::Number(443)).unwrap_err();
    assert!(error.contains("nothing is behind it"), "{error}");
    assert_eq!(translate(&snapshot, "10.96.0.9".parse().unwrap(), 6, None), None);
    let ping = translate(&snapshot, "10.96.0.1".parse().unwrap(), 1, None).unwrap().unwrap_err();
    assert!(ping.to_string().contains("TCP, UDP and SCTP only"), "{ping}");
}

#[test]
fn a_backend_names_the_services_that_lead_to_it() {
    let named = service("10.96.0.1", 443, TargetPort::Named("http".into()));
    let mut snapshot = cluster().with(Change::ApplyService(named)).snapshot();
    let reached = |snapshot: &Snapshot, address: &str, port, protocol| -> Vec<(String, u16)> {
        let backend = Backend { address: address.parse().unwrap(), port };
        let services = reached_by(snapshot, backend, protocol).into_iter();
        services.map(|it| (it.service.to_string(), it.port)).collect()
    };
    // A selector alone does not say which pods serve.
    assert_eq!(reached(&snapshot, "10.0.0.2", 8080, Protocol::Tcp), []);
    let endpoints = [("10.0.0.2", true, false), ("203.0.113.9", true, false)];
    snapshot.apply(Change::ApplyEndpointSlice(slice(&endpoints)));
    let by_api = [("shop/api".to_owned(), 443)];
    assert_eq!(reached(&snapshot, "10.0.0.2", 8443, Protocol::Tcp), by_api);
    for (address, port, protocol) in [
        ("10.0.0.2", 8080, Protocol::Tcp),
        ("10.0.0.2", 8443, Protocol::Udp),
        ("10.0.0.3", 8443, Protocol::Tcp),
        ("203.0.113.9", 8443, Protocol::Tcp),
    ] {
        assert_eq!(reached(&snapshot, address, port, protocol), [], "{address} {port}");
    }
    let at = |address: &str, port| {
        service_at(&snapshot, address.parse().unwrap(), port).map(|name| name.to_string())
    };
    assert_eq!(at("10.96.0.1", 443).as_deref(), Some("shop/api"));
    assert_eq!(at("10.96.0.1", 0).as_deref(), Some("shop/api"));
    assert_eq!(at("10.96.0.2", 443), None);
}

#[test]
fn a_pods_labels_name_the_workload_that_made_it() {
    let workload = |name: &str, labels: &str| {
        pod(name).labelled(labels).workload().map(|workload| workload.to_string())
    };
    let hash = "pod-template-hash=6f7c9d";
    assert_eq!(workload("shop/web-6f7c9d-x2lpz", hash).as_deref(), Some("Deployment/web"));
    assert_eq!(workload("shop/a-b-6f7c9d-x2lpz", hash).as_deref(), Some("Deployment/a-b"));
    let set = "statefulset.kubernetes.io/pod-name=db-0,controller-revision-hash=db-5c";
    assert_eq!(workload("shop/db-0", set).as_deref(), Some("StatefulSet/db"));
    let revision = "controller-revision-hash=5c7,pod-template-generation=1";
    assert_eq!(workload("shop/log-agent-8kq2m", revision).as_deref(), Some("DaemonSet/log-agent"));
    let job = "batch.kubernetes.io/job-name=backup-29";
    assert_eq!(workload("shop/backup-29-zz8", job).as_deref(), Some("Job/backup-29"));
    // Labels that somebody made up, or none.
    for (name, labels) in [
        ("shop/web", hash),
        ("shop/6f7c9d-x2lpz", hash),
        ("shop/-6f7c9d-x2lpz", hash),
        ("shop/web-x2lpz", hash),
        ("shop/db-1", "statefulset.kubernetes.io/pod-name=db-0"),
        ("shop/single", "controller-revision-hash=5c7"),
        ("shop/web-1", "app=web"),
    ] {
        assert_eq!(workload(name, labels), None, "{name} {labels}");
    }
}

#[test]
fn a_block_over_a_services_address_is_said_to_match_nothing_there() {
    let out = policy("shop/out").select("app=web").allow_out(rule().block("10.96.0.0/12", &[]));
    let snapshot = cluster().with(out).snapshot();
    let connection = connection(&snapshot, "shop/web -> shop/api tcp 8080");
    let service = Some("10.96.0.1".parse().unwrap());
    let explanation = explain(&mut Judge::new(&snapshot), &connection, service);
    assert_eq!(explanation.verdict(), Verdict::Deny);
    let notes: Vec<String> =
        explanation.egress.service_blocks.iter().map(ToString::to_string).collect();
    assert_eq!(
        notes,
        [
            "shop/out egress[0]: to[0] is the ipBlock 10.96.0.0/12, which holds the Service's address 10.96.0.1 and matches \
          nothing there: the address is translated to a backend's before policy is judged (select the pods behind the \
          Service, or their addresses)"
        ]
    );
}
