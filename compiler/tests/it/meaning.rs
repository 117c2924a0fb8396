//! What NetworkPolicy means, row by row, as in docs/semantics.md: manifests, and what becomes of connections under them.
//!
//! Each connection is judged by the oracle, by the matrix and by the compiled program.

use palisade_compiler::compile::{Compiler, Judge, Locality};
use palisade_compiler::model::Verdict;
use palisade_compiler::oracle;
use palisade_compiler::parse::parse;
use palisade_compiler::program::eval::{Packet, eval_program};
use palisade_compiler::snapshot::Change;
use palisade_compiler::testkit::connection;

/// Web serves, db stores, ops looks after them; 10.0.0.0/24 is the pods' range.
const CLUSTER: &str = "
{apiVersion: v1, kind: Namespace, metadata: {name: web, labels: {team: a}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: db, labels: {team: b}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: ops, labels: {team: b, role: ops}}}
---
{apiVersion: v1, kind: Node, metadata: {name: one}, status: {addresses: [{type: InternalIP, address: 192.168.0.1}]}}
---
{apiVersion: v1, kind: Node, metadata: {name: two}, status: {addresses: [{type: InternalIP, address: 192.168.0.2}]}}
---
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: web, labels: {app: front, tier: x}}
spec: {nodeName: one, containers: [{name: c, ports: [{name: http, containerPort: 80}, {name: dns, containerPort: 53, protocol: UDP}]}]}
status: {phase: Running, podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: b, namespace: web, labels: {app: back}}
spec: {nodeName: one, containers: [{name: c, ports: [{name: http, containerPort: 8080}]}]}
status: {phase: Running, podIPs: [{ip: 10.0.0.2}, {ip: 'fd00::2'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: db, labels: {app: front}}
spec: {nodeName: two, containers: [{name: c}], initContainers: [{name: s, restartPolicy: Always, ports: [{name: http, containerPort: 9000}]}, {name: t, ports: [{name: http, containerPort: 9001}]}]}
status: {phase: Running, podIPs: [{ip: 10.0.0.3}, {ip: 'fd00::3'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: ops, labels: {app: watch}}
spec: {nodeName: two, containers: [{name: c}]}
status: {phase: Running, podIPs: [{ip: 10.0.0.4}, {ip: 'fd00::4'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: host, namespace: web, labels: {app: front}}
spec: {nodeName: two, hostNetwork: true, containers: [{name: c}]}
status: {phase: Running, podIPs: [{ip: 192.168.0.2}]}
---
apiVersion: v1
kind: Pod
metadata: {name: job, namespace: web, labels: {app: front}}
spec: {nodeName: one, containers: [{name: c}]}
status: {phase: Succeeded, podIPs: [{ip: 10.0.0.9}]}
---
apiVersion: v1
kind: Pod
metadata: {name: leaving, namespace: web, labels: {app: front}, deletionTimestamp: '2026-01-01T00:00:00Z'}
spec: {nodeName: one, containers: [{name: c}]}
status: {phase: Running, podIPs: [{ip: 10.0.0.10}], containerStatuses: [{name: c, state: {running: {}}}]}
---
apiVersion: v1
kind: Pod
metadata: {name: unborn, namespace: web, labels: {app: front}}
spec: {nodeName: one, containers: [{name: c}]}
status: {phase: Pending}
";

pub(crate) struct World {
    pub(crate) compiler: Compiler,
    diagnostics: Vec<String>,
}

impl World {
    /// The cluster with a policy `web/p` of this spec, and more documents.
    #[track_caller]
    pub(crate) fn with(spec: &str) -> Self {
        let policy = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p, namespace: web}, spec: ";
        Self::of(&format!("{policy}{spec}}}"))
    }

    #[track_caller]
    pub(crate) fn of(documents: &str) -> Self {
        let mut compiler = Compiler::new(Locality::Everywhere);
        let diagnostics = apply(&mut compiler, CLUSTER);
        assert!(diagnostics.is_empty(), "{diagnostics:?}");
        let diagnostics = apply(&mut compiler, documents);
        Self { compiler, diagnostics }
    }

    #[track_caller]
    pub(crate) fn valid(self) -> Self {
        assert!(self.diagnostics.is_empty(), "{:?}", self.diagnostics);
        self
    }

    #[track_caller]
    fn expect(&self, text: &str, expected: Verdict) -> &Self {
        let snapshot = self.compiler.snapshot();
        let connection = connection(snapshot, text);
        let decision = oracle::decide(snapshot, &connection);
        assert_eq!(decision.verdict, expected, "{text}: the oracle: {decision:?}");
        assert_eq!(self.compiler.judge(&connection), decision, "{text}: the matrix");
        assert_eq!(Judge::new(snapshot).judge(&connection), decision, "{text}: the judge");
        let dnat = connection.from == connection.to;
        let packet = Packet { dnat, ..Packet::first(connection) };
        let walk = eval_program(self.compiler.program(), &packet);
        assert_eq!(walk.verdict, expected, "{text}: the program: {walk:?}");
        self
    }

    #[track_caller]
    pub(crate) fn allow(&self, text: &str) -> &Self {
        self.expect(text, Verdict::Allow)
    }

    #[track_caller]
    pub(crate) fn deny(&self, text: &str) -> &Self {
        self.expect(text, Verdict::Deny)
    }

    /// Edits the cluster by more documents.
    #[track_caller]
    fn apply(&mut self, documents: &str) -> &mut Self {
        self.diagnostics = apply(&mut self.compiler, documents);
        self
    }

    fn change(&mut self, change: Change) -> &mut Self {
        self.compiler.apply([change]);
        self
    }
}

fn apply(compiler: &mut Compiler, documents: &str) -> Vec<String> {
    let mut changes = Vec::new();
    let parsed = parse("test", documents.as_bytes(), &mut |object| {
        changes.push(Change::from(object));
    });
    compiler.apply(changes);
    parsed.diagnostics.iter().map(ToString::to_string).collect()
}

#[test]
fn without_a_policy_everything_is_allowed() {
    World::of("").valid().allow("web/a -> db/a tcp 1").allow("203.0.113.1 -> web/a icmp");
}

#[test]
fn row_1_policy_types_absent_is_ingress_and_egress_only_with_an_egress_rule() {
    let world = World::with("{podSelector: {}, ingress: []}").valid();
    world.deny("db/a -> web/a tcp 80").allow("web/a -> db/a tcp 80");
    let world = World::with("{podSelector: {}, egress: []}");
    world.allow("web/a -> db/a tcp 80").deny("db/a -> web/a tcp 80");
}

#[test]
fn row_2_an_egress_policy_without_policy_types_isolates_ingress_too_and_that_is_told() {
    let world = World::with("{podSelector: {}, egress: [{}]}");
    assert!(world.diagnostics[0].contains("warning"), "{:?}", world.diagnostics);
    world.deny("db/a -> web/a tcp 80").allow("web/a -> db/a tcp 80");
    let world = World::with("{podSelector: {}, policyTypes: [Egress], egress: [{}]}").valid();
    world.allow("db/a -> web/a tcp 80").allow("web/a -> db/a tcp 80");
}

#[test]
fn row_3_no_rules_deny_and_one_empty_rule_allows_all() {
    for ingress in ["", ", ingress: []", ", ingress: null"] {
        let world = World::with(&format!("{{podSelector: {{}}, policyTypes: [Ingress]{ingress}}}"));
        world.valid().deny("db/a -> web/a tcp 80").deny("web/b -> web/a udp 53");
    }
    let world = World::with("{podSelector: {}, ingress: [{}]}").valid();
    world.allow("db/a -> web/a tcp 80").allow("203.0.113.1 -> web/a 47");
}

#[test]
fn rows_4_and_5_empty_peers_are_everyone_and_empty_ports_every_port() {
    for from in ["from: [], ", ""] {
        let world = World::with(&format!(
            "{{podSelector: {{}}, ingress: [{{{from}ports: [{{port: 80}}]}}]}}"
        ));
        let world = world.valid();
        world.allow("203.0.113.1 -> web/a tcp 80").allow("db/a -> web/a tcp 80");
        world.deny("203.0.113.1 -> web/a tcp 81").deny("203.0.113.1 -> web/a udp 80");
    }
    let world =
        World::with("{podSelector: {}, ingress: [{from: [{podSelector: {}}], ports: []}]}").valid();
    world.allow("web/b -> web/a icmp").allow("web/b -> web/a sctp 7").deny("db/a -> web/a tcp 80");
}

#[test]
fn row_6_a_pod_selector_alone_is_of_the_policys_own_namespace() {
    let world = World::with("{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}").valid();
    world
        .allow("web/b -> web/a tcp 1")
        .deny("db/a -> web/a tcp 1")
        .deny("203.0.113.1 -> web/a tcp 1");
    let world =
        World::with("{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}").valid();
    world
        .allow("web/b -> web/a tcp 1")
        .allow("db/a -> web/a tcp 1")
        .deny("203.0.113.1 -> web/a tcp 1");
}

#[test]
fn row_7_both_selectors_in_one_peer_are_and_two_peers_are_or() {
    let both =
        "namespaceSelector: {matchLabels: {team: b}}, podSelector: {matchLabels: {app: front}}";
    let world =
        World::with(&format!("{{podSelector: {{}}, ingress: [{{from: [{{{both}}}]}}]}}")).valid();
    world.allow("db/a -> web/a tcp 1").deny("ops/a -> web/a tcp 1").deny("web/b -> web/a tcp 1");
    let either =
        "{namespaceSelector: {matchLabels: {team: b}}}, {podSelector: {matchLabels: {app: back}}}";
    let world =
        World::with(&format!("{{podSelector: {{}}, ingress: [{{from: [{either}]}}]}}")).valid();
    world.allow("db/a -> web/a tcp 1").allow("ops/a -> web/a tcp 1").allow("web/b -> web/a tcp 1");
}

#[test]
fn rows_8_and_9_a_protocol_opens_no_other() {
    let world = World::with("{podSelector: {}, ingress: [{ports: [{port: 80}, {protocol: UDP}, {protocol: SCTP, port: 7}]}]}").valid();
    world.allow("db/a -> web/a tcp 80").deny("db/a -> web/a tcp 53").deny("db/a -> web/a sctp 80");
    world.allow("db/a -> web/a udp 80").allow("db/a -> web/a udp 9").allow("db/a -> web/a sctp 7");
    world.deny("db/a -> web/a tcp 7").deny("db/a -> web/a icmp");
}

#[test]
fn row_10_end_port_is_included_numeric_and_not_below_port() {
    let world =
        World::with("{podSelector: {}, ingress: [{ports: [{port: 100, endPort: 900}]}]}").valid();
    world.allow("db/a -> web/a tcp 100").allow("db/a -> web/a tcp 900");
    world.deny("db/a -> web/a tcp 99").deny("db/a -> web/a tcp 901");
    for wrong in ["{port: 100, endPort: 99}", "{port: http, endPort: 100}", "{endPort: 100}"] {
        let world = World::with(&format!("{{podSelector: {{}}, ingress: [{{ports: [{wrong}]}}]}}"));
        assert_eq!(world.diagnostics.len(), 1, "{wrong}: {:?}", world.diagnostics);
        world.deny("db/a -> web/a tcp 100").deny("db/a -> web/a tcp 80");
    }
}

#[test]
fn row_11_a_port_name_is_looked_up_on_the_pod_that_is_connected_to() {
    let world = World::with("{podSelector: {}, ingress: [{ports: [{port: http}]}]}").valid();
    world.allow("db/a -> web/a tcp 80").deny("db/a -> web/a tcp 8080");
    world.allow("db/a -> web/b tcp 8080").deny("db/a -> web/b tcp 80");
    let world =
        World::with("{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: http}]}]}")
            .valid();
    world.allow("web/a -> web/b tcp 8080").deny("web/a -> web/b tcp 80");
    world.allow("web/b -> web/a tcp 80").deny("web/b -> 203.0.113.1 tcp 80");
}

#[test]
fn a_port_name_used_twice_in_a_pod_is_every_port_of_that_name_and_protocol() {
    let twice = "
apiVersion: v1
kind: Pod
metadata: {name: twice, namespace: web}
spec: {nodeName: one, containers: [{name: c, ports: [{name: http, containerPort: 81}]}, {name: d, ports: [{name: http, containerPort: 82}, {name: http, containerPort: 83, protocol: UDP}]}]}
status: {phase: Running, podIPs: [{ip: 10.0.0.11}]}";
    for direction in ["ingress", "egress"] {
        let mut world = World::with(&format!(
            "{{podSelector: {{}}, policyTypes: [{}], {direction}: [{{ports: [{{port: http}}]}}]}}",
            if direction == "ingress" { "Ingress" } else { "Egress" }
        ))
        .valid();
        world.apply(twice);
        world.allow("web/b -> web/twice tcp 81").allow("web/b -> web/twice tcp 82");
        world.deny("web/b -> web/twice tcp 83").deny("web/b -> web/twice udp 83");
        world.deny("web/b -> web/twice tcp 80");
    }
}

#[test]
fn row_12_a_port_name_counts_with_its_protocol_only() {
    let world = World::with("{podSelector: {}, ingress: [{ports: [{port: dns}]}]}").valid();
    world.deny("db/a -> web/a tcp 53").deny("db/a -> web/a udp 53");
    let world =
        World::with("{podSelector: {}, ingress: [{ports: [{port: dns, protocol: UDP}]}]}").valid();
    world.allow("db/a -> web/a udp 53").deny("db/a -> web/a tcp 53");
}

#[test]
fn row_13_named_ports_of_restartable_init_containers_count_and_of_others_do_not() {
    let world =
        World::with("{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: http}]}]}")
            .valid();
    world.allow("web/a -> db/a tcp 9000").deny("web/a -> db/a tcp 9001");
}

#[test]
fn row_14_an_unresolvable_port_name_matches_nothing() {
    let world = World::with("{podSelector: {}, ingress: [{ports: [{port: nope}]}]}").valid();
    world.deny("db/a -> web/a tcp 80").deny("db/a -> web/a tcp 1");
    let world = World::with(
        "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{port: http}]}]}",
    );
    world.valid().deny("web/a -> 203.0.113.1 tcp 80").allow("web/a -> web/b tcp 8080");
}

#[test]
fn rows_15_and_16_an_except_narrows_its_own_block_only() {
    let world = World::with(
        "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 203.0.113.0/24, except: [203.0.113.0/25, 203.0.113.64/26]}}]}]}",
    )
    .valid();
    world.deny("203.0.113.0 -> web/a tcp 1").deny("203.0.113.127 -> web/a tcp 1");
    world.allow("203.0.113.128 -> web/a tcp 1").allow("203.0.113.255 -> web/a tcp 1");
    world.deny("203.0.114.0 -> web/a tcp 1").deny("203.0.112.255 -> web/a tcp 1");
    let world = World::with(
        "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 203.0.113.0/24, except: [203.0.113.0/25]}}, {ipBlock: {cidr: 203.0.113.5/32}}]}]}",
    )
    .valid();
    world.allow("203.0.113.5 -> web/a tcp 1").deny("203.0.113.6 -> web/a tcp 1");
}

#[test]
fn row_17_a_block_matches_pods_in_it() {
    let world = World::with("{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/29, except: [10.0.0.4/32]}}]}]}").valid();
    world.allow("db/a -> web/a tcp 1").deny("ops/a -> web/a tcp 1");
}

#[test]
fn rows_20_and_21_the_pods_own_node_is_always_allowed_and_others_are_not() {
    let world = World::with("{podSelector: {}, policyTypes: [Ingress, Egress]}").valid();
    world.allow("192.168.0.1 -> web/a tcp 80").allow("web/a -> 192.168.0.1 tcp 10250");
    world.deny("192.168.0.2 -> web/a tcp 80").deny("web/a -> 192.168.0.2 tcp 10250");
}

#[test]
fn row_22_a_pod_reaches_itself_through_a_service() {
    let world = World::with("{podSelector: {}, policyTypes: [Ingress, Egress]}").valid();
    world.allow("web/a -> web/a tcp 80").allow("web/a -> web/a v6 tcp 80");
}

#[test]
fn row_23_a_pod_on_the_hosts_network_is_selected_by_nothing() {
    let world = World::with(
        "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: front}}}]}]}",
    )
    .valid();
    world.deny("192.168.0.2 -> web/b tcp 80").allow("web/a -> web/b tcp 80");
    // Nor is its address isolated, though its labels are selected.
    world.allow("db/a -> 192.168.0.2 tcp 80");
}

#[test]
fn rows_24_and_25_an_ended_pod_has_no_address_and_a_terminating_one_keeps_its_own() {
    let world = World::with(
        "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: front}}}]}]}",
    )
    .valid();
    world.deny("10.0.0.9 -> web/b tcp 80").allow("db/a -> 10.0.0.9 tcp 80");
    world.allow("web/leaving -> web/b tcp 80").deny("db/a -> web/leaving tcp 80");
}

#[test]
fn row_26_a_late_delete_never_removes_the_successor() {
    let mut world = World::with(
        "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: new}}}]}]}",
    )
    .valid();
    let pod = |uid: &str, app: &str, phase: &str| {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: x, namespace: web, uid: {uid}, labels: {{app: {app}}}}}, spec: {{containers: []}}, status: {{phase: {phase}, podIP: 10.0.0.50}}}}"
        )
    };
    world.apply(&pod("u1", "old", "Running")).deny("10.0.0.50 -> web/a tcp 1");
    world.apply(&pod("u2", "new", "Running")).allow("10.0.0.50 -> web/a tcp 1");
    let late =
        Change::DeletePod { namespace: "web".into(), name: "x".into(), uid: Some("u1".into()) };
    world.change(late).allow("10.0.0.50 -> web/a tcp 1");
    let own =
        Change::DeletePod { namespace: "web".into(), name: "x".into(), uid: Some("u2".into()) };
    world.change(own).deny("10.0.0.50 -> web/a tcp 1");
}

#[test]
fn one_address_of_two_pods_is_the_running_ones_then_the_later_started_ones() {
    let mut world = World::with(
        "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: new}}}]}]}",
    )
    .valid();
    let pod = |name: &str, app: &str, phase: &str, started: &str| {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: web, labels: {{app: {app}}}}}, spec: {{containers: []}}, status: {{phase: {phase}, podIP: 10.0.0.50, startTime: '{started}'}}}}"
        )
    };
    world.apply(&pod("first", "old", "Running", "2026-01-01T00:00:00Z"));
    world
        .apply(&pod("second", "new", "Pending", "2026-01-02T00:00:00Z"))
        .deny("10.0.0.50 -> web/a tcp 1");
    world
        .apply(&pod("second", "new", "Running", "2026-01-02T00:00:00Z"))
        .allow("10.0.0.50 -> web/a tcp 1");
    assert_eq!(world.compiler.warnings().len(), 1);
    world
        .apply(&pod("second", "new", "Failed", "2026-01-02T00:00:00Z"))
        .deny("10.0.0.50 -> web/a tcp 1");
}

#[test]
fn row_27_a_pod_without_an_address_stops_nothing() {
    let mut world =
        World::with("{podSelector: {matchLabels: {app: front}}, policyTypes: [Ingress]}").valid();
    world.deny("db/a -> web/a tcp 1");
    world.apply("{apiVersion: v1, kind: Pod, metadata: {name: unborn, namespace: web, labels: {app: front}}, spec: {nodeName: one, containers: []}, status: {phase: Running, podIP: 10.0.0.77}}");
    world.deny("db/a -> web/unborn tcp 1");
}

#[test]
fn rows_28_and_29_a_changed_label_of_a_namespace_or_pod_is_judged_anew() {
    let mut world = World::with("{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: b}}, podSelector: {matchLabels: {app: front}}}]}]}").valid();
    world.allow("db/a -> web/a tcp 1");
    world
        .apply("{apiVersion: v1, kind: Namespace, metadata: {name: db, labels: {team: c}}}")
        .deny("db/a -> web/a tcp 1");
    world
        .apply("{apiVersion: v1, kind: Namespace, metadata: {name: db, labels: {team: b}}}")
        .allow("db/a -> web/a tcp 1");
    world.apply("{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: db, labels: {app: gone}}, spec: {containers: []}, status: {phase: Running, podIP: 10.0.0.3}}");
    world.deny("db/a -> web/a tcp 1");
}

#[test]
fn rows_30_31_and_32_what_no_policy_isolates_any_more_is_free() {
    let policy = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p, namespace: web}, spec: ";
    let mut world = World::with("{podSelector: {}, policyTypes: [Ingress, Egress]}").valid();
    world.deny("db/a -> web/a tcp 1").deny("web/a -> db/a tcp 1");
    world.apply(&format!("{policy}{{podSelector: {{}}, policyTypes: [Egress]}}}}"));
    world.allow("db/a -> web/a tcp 1").deny("web/a -> db/a tcp 1");
    world.apply(&format!(
        "{policy}{{podSelector: {{matchLabels: {{app: nobody}}}}, policyTypes: [Egress]}}}}"
    ));
    world.allow("web/a -> db/a tcp 1");
    world
        .apply(&format!("{policy}{{podSelector: {{}}, policyTypes: [Ingress, Egress]}}}}"))
        .deny("db/a -> web/a tcp 1");
    let key = palisade_compiler::model::PolicyKey { namespace: "web".into(), name: "p".into() };
    world
        .change(Change::DeletePolicy(key))
        .allow("db/a -> web/a tcp 1")
        .allow("web/a -> db/a tcp 1");
    assert_eq!(world.compiler.stats().subjects_in, 0);
}

#[test]
fn row_33_a_pod_bound_to_the_node_has_its_rows_before_its_address() {
    let mut compiler = Compiler::new(Locality::Node("one".into()));
    apply(&mut compiler, CLUSTER);
    apply(
        &mut compiler,
        "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p, namespace: web}, spec: {podSelector: {matchLabels: {job: x}}, ingress: [{from: [{podSelector: {matchLabels: {app: back}}}], ports: [{port: 80}]}]}}",
    );
    let before = compiler.program().v4.ports.len();
    let pod = |status: &str| {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: j, namespace: web, labels: {{job: x}}}}, spec: {{nodeName: one, containers: []}}, status: {status}}}"
        )
    };
    apply(&mut compiler, &pod("{phase: Pending}"));
    assert_eq!(compiler.program().v4.ports.len(), before + 1, "its profile is there");
    let moved = compiler.program().v4.class.clone();
    apply(&mut compiler, &pod("{phase: Pending, podIP: 10.0.0.60}"));
    assert_eq!(compiler.program().v4.class.len(), moved.len() + 1);
    assert!(
        moved
            .iter()
            .all(|(address, class)| compiler.program().v4.class.get(address) == Some(class))
    );
    assert!(compiler.program().v4.local_in.contains(&"10.0.0.60".parse().unwrap()));
}

#[test]
fn row_37_other_protocols_need_every_port() {
    let world = World::with("{podSelector: {}, ingress: [{from: [{podSelector: {}}]}, {from: [{namespaceSelector: {}}], ports: [{protocol: TCP}, {protocol: UDP}, {protocol: SCTP}]}]}").valid();
    world.allow("web/b -> web/a icmp").allow("web/b -> web/a 47").allow("web/b -> web/a v6 icmpv6");
    world.deny("db/a -> web/a icmp").deny("db/a -> web/a 47").allow("db/a -> web/a sctp 1");
}

#[test]
fn row_43_both_families_of_a_pod_count_and_a_block_never_crosses() {
    let world = World::with("{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}").valid();
    world.allow("web/b -> web/a v6 tcp 1").deny("db/a -> web/a v6 tcp 1");
    let world =
        World::with("{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}").valid();
    world.allow("db/a -> web/a tcp 1").deny("db/a -> web/a v6 tcp 1");
    let world =
        World::with("{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 'fd00::/126'}}]}]}")
            .valid();
    world
        .allow("db/a -> web/a v6 tcp 1")
        .deny("ops/a -> web/a v6 tcp 1")
        .deny("db/a -> web/a tcp 1");
}

#[test]
fn row_44_ports_and_peers_of_a_rule_are_a_product() {
    let world = World::with("{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: back}}}, {ipBlock: {cidr: 203.0.113.0/24}}], ports: [{port: 1}, {port: 2, protocol: UDP}]}]}").valid();
    for from in ["web/b", "203.0.113.9"] {
        world.allow(&format!("{from} -> web/a tcp 1")).allow(&format!("{from} -> web/a udp 2"));
        world.deny(&format!("{from} -> web/a tcp 2")).deny(&format!("{from} -> web/a udp 1"));
    }
}

#[test]
fn a_connection_needs_both_directions() {
    let world = World::of(
        "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: out, namespace: web}, spec: {podSelector: {matchLabels: {app: front}}, policyTypes: [Egress], egress: [{ports: [{port: 1}, {port: 2}]}]}}\n---\n\
         {apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: in, namespace: db}, spec: {podSelector: {}, ingress: [{ports: [{port: 2}, {port: 3}]}]}}",
    )
    .valid();
    world.deny("web/a -> db/a tcp 1").allow("web/a -> db/a tcp 2").deny("web/a -> db/a tcp 3");
}

#[test]
fn policies_only_add_whatever_their_order() {
    let one = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: one, namespace: web}, spec: {podSelector: {}}}";
    let two = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: two, namespace: web}, spec: {podSelector: {}, ingress: [{ports: [{port: 80}]}]}}";
    for documents in [format!("{one}\n---\n{two}"), format!("{two}\n---\n{one}")] {
        World::of(&documents).valid().allow("db/a -> web/a tcp 80").deny("db/a -> web/a tcp 81");
    }
}

#[test]
fn match_expressions_mean_what_the_operators_say() {
    let cases = [
        ("{key: app, operator: In, values: [front, watch]}", "db/a", "web/b"),
        ("{key: app, operator: NotIn, values: [back]}", "db/a", "web/b"),
        ("{key: tier, operator: Exists}", "web/a", "db/a"),
        ("{key: tier, operator: DoesNotExist}", "db/a", "web/a"),
        ("{key: tier, operator: NotIn, values: [x]}", "db/a", "web/a"),
    ];
    for (expression, allowed, denied) in cases {
        let spec = format!(
            "{{podSelector: {{}}, ingress: [{{from: [{{namespaceSelector: {{}}, podSelector: {{matchExpressions: [{expression}]}}}}]}}]}}"
        );
        let world = World::with(&spec).valid();
        world
            .allow(&format!("{allowed} -> web/leaving tcp 1"))
            .deny(&format!("{denied} -> web/leaving tcp 1"));
    }
}

/// Nothing wrong opens anything: the policy isolates what it selects, in the directions it names.
#[test]
fn a_policy_with_wrong_fields_isolates_and_allows_nothing() {
    let wrong = [
        "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/33}}]}, {}]}",
        "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/8]}}]}, {}]}",
        "{podSelector: {}, ingress: [{ports: [{port: 70000}]}, {}]}",
        "{podSelector: {}, ingress: [{ports: [{port: 80, protocol: ICMP}]}, {}]}",
        "{podSelector: {}, ingress: [{from: [{}]}, {}]}",
        "{podSelector: {}, ingress: [{from: [{namespaceSelectors: {}}]}, {}]}",
        "{podSelector: {}, ingress: {}}",
        "{podSelector: {matchExpressions: [{key: app, operator: Maybe}]}, ingress: [{}]}",
        "{podSelector: 7, ingress: [{}]}",
        "{podSelector: {}, ingress: [{}], policyTypes: [Ingres]}",
    ];
    for spec in wrong {
        let world = World::with(spec);
        assert!(!world.diagnostics.is_empty(), "{spec}");
        world.deny("db/a -> web/a tcp 80").deny("203.0.113.1 -> web/b icmp");
    }
}
