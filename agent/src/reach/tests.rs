use palisade_compiler::parse::parse;

use super::*;

const OBJECTS: &str = r#"
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: ops, labels: {team: ops}}}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: web-1, labels: {app: web}}
status: {phase: Running, podIPs: [{ip: 10.0.0.1}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: web-2, labels: {app: web}}
status: {phase: Running, podIPs: [{ip: 10.0.0.4}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: db, labels: {app: db}}
spec: {containers: [{name: c, ports: [{name: sql, containerPort: 5432}]}]}
status: {phase: Running, podIPs: [{ip: 10.0.0.2}, {ip: "fd00::2"}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: ops, name: probe, labels: {app: probe}}
status: {phase: Running, podIPs: [{ip: 10.0.0.3}, {ip: "fd00::3"}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: ops, name: node}
spec: {hostNetwork: true}
status: {phase: Running, podIPs: [{ip: 192.168.0.1}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: db}
spec:
  podSelector: {matchLabels: {app: db}}
  policyTypes: [Ingress]
  ingress:
    - from: [{podSelector: {matchLabels: {app: web}}}]
      ports: [{port: sql}]
    - from: [{ipBlock: {cidr: 10.9.0.0/16, except: [10.9.1.0/24]}}]
"#;

fn reach(pod: &str) -> Result<Reach, String> {
    let mut snapshot = Snapshot::new();
    let parsed = parse("o.yaml", OBJECTS.as_bytes(), &mut |it| snapshot.apply(it.into()));
    assert!(!parsed.has_errors(), "{:?}", parsed.diagnostics);
    Part::take(&snapshot, 3, pod).map(Part::judge)
}

#[test]
fn rows_are_workloads_and_blocks_and_columns_are_the_ports_that_are_named() {
    let reach = reach("shop/db").unwrap();
    let ports: Vec<_> =
        reach.ingress.ports.iter().map(|it| (it.protocol.as_str(), it.port)).collect();
    assert_eq!(ports, [("TCP", Some(5432)), ("TCP", None)]);
    let rows: Vec<_> = reach
        .ingress
        .rows
        .iter()
        .map(|it| (it.name.as_str(), it.pods, it.cells.as_slice()))
        .collect();
    use Cell::{Allow, Deny};
    assert_eq!(
        rows,
        [
            ("app=web", 2, &[Allow, Deny][..]),
            ("app=probe", 1, &[Deny, Deny]),
            ("10.9.0.0/16", 0, &[Allow, Allow]),
            ("10.9.1.0/24, an exception of 10.9.0.0/16", 0, &[Deny, Deny]),
            ("other IPv4 addresses", 0, &[Deny, Deny]),
            ("other IPv6 addresses", 0, &[Deny, Deny]),
        ]
    );
    // Nothing isolates it for egress.
    assert!(reach.egress.rows.iter().all(|row| row.cells.iter().all(|cell| *cell == Allow)));
    assert!(reach.left_out.is_empty());
}

#[test]
fn another_pods_ingress_is_a_part_of_whom_a_pod_may_reach() {
    let reach = reach("ops/probe").unwrap();
    let cells = |name: &str| {
        let row = reach.egress.rows.iter().find(|row| row.name == name);
        row.unwrap_or_else(|| panic!("{name} {reach:?}")).cells.clone()
    };
    assert!(cells("app=web").iter().all(|cell| *cell == Cell::Allow));
    assert!(cells("app=db").iter().all(|cell| *cell == Cell::Deny));
}

#[test]
fn pods_without_an_address_of_their_own_have_no_matrix() {
    assert!(reach("ops/node").unwrap_err().contains("host's network"));
    assert!(reach("shop/nobody").unwrap_err().contains("no pod"));
}
