use std::net::IpAddr;

use super::{assert_helpful, fields, good, only_pod, read};
use crate::model::{Phase, Protocol};

const POD: &str = "\
apiVersion: v1
kind: Pod
metadata:
  name: a
  namespace: x
  uid: 0-1
  labels: {app: web, empty: }
  deletionTimestamp: 2030-01-01T00:00:00Z
  managedFields: [{fieldsV1: {f:metadata: {}}}]
spec:
  nodeName: n1
  hostNetwork: false
  containers:
  - name: web
    env: [{name: A, value: 1e999}]
    ports:
    - {name: http, containerPort: 8080}
    - {containerPort: 9090}
    - {name: dns, containerPort: 53, protocol: UDP}
  initContainers:
  - name: once
    ports: [{name: once, containerPort: 1}]
  - name: side
    restartPolicy: Always
    ports: [{name: side, containerPort: 2, protocol: SCTP}]
status:
  phase: Running
  podIP: 10.0.0.1
  podIPs: [{ip: 10.0.0.1}, {ip: \"fd00::1\"}]
  startTime: 1970-01-01T00:01:00Z
  containerStatuses: [{name: web, state: {terminated: {exitCode: 0}}}]
  initContainerStatuses:
  - {name: once, state: {terminated: {exitCode: 0}}}
  - {name: side, state: {running: {}}}
";

#[test]
fn a_pod_is_what_its_manifest_says() {
    let pod = only_pod(good(POD));
    assert_eq!((&*pod.namespace, &*pod.name, pod.uid.clone()), ("x", "a", Some("0-1".into())));
    assert_eq!(pod.labels.get("app").map(|v| &**v), Some("web"));
    assert_eq!(pod.labels.get("empty").map(|v| &**v), Some(""));
    assert_eq!((pod.node.as_deref(), pod.host_network), (Some("n1"), false));
    assert_eq!((pod.phase, pod.started, pod.containers_gone), (Phase::Running, Some(60), false));
    let addresses: Vec<_> = pod.addresses.iter().collect();
    assert_eq!(addresses, ["10.0.0.1", "fd00::1"].map(|a| a.parse::<IpAddr>().unwrap()));
    let ports: Vec<_> = pod.ports.iter().map(|p| (p.name.as_deref(), p.protocol, p.port)).collect();
    let (tcp, udp, sctp) = (Protocol::Tcp, Protocol::Udp, Protocol::Sctp);
    // A port without a name counts too: it says that the pod serves it.
    let expected = [
        (Some("http"), tcp, 8080),
        (None, tcp, 9090),
        (Some("dns"), udp, 53),
        (Some("side"), sctp, 2),
    ];
    assert_eq!(ports, expected);
}

#[test]
fn a_pod_that_says_little_is_pending_in_the_default_namespace() {
    let pod = only_pod(good("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n"));
    assert_eq!((&*pod.namespace, pod.phase, pod.node), ("default", Phase::Pending, None));
    assert!(pod.addresses.is_empty() && pod.labels.is_empty() && pod.ports.is_empty());
}

#[test]
fn containers_are_gone_when_all_that_serve_have_terminated() {
    let gone =
        POD.replace("{name: side, state: {running: {}}}", "{name: side, state: {terminated: {}}}");
    assert!(only_pod(good(&gone)).containers_gone);
    let not_yet = [
        gone.replace("  deletionTimestamp: 2030-01-01T00:00:00Z\n", ""),
        gone.replace(
            "{name: side, state: {terminated: {}}}",
            "{name: other, state: {terminated: {}}}",
        ),
        gone.replace(
            "{name: web, state: {terminated: {exitCode: 0}}}",
            "{name: web, state: {waiting: {}}}",
        ),
        gone.replace("{name: web, state: {terminated: {exitCode: 0}}}", ""),
        gone.clone() + "  ephemeralContainerStatuses: [{name: debug, state: {running: {}}}]\n",
        gone.replace("  initContainers:", "  - {name: second}\n  initContainers:"),
    ];
    for text in not_yet {
        assert!(!only_pod(good(&text)).containers_gone, "{text}");
    }
}

#[test]
fn a_pod_whose_identity_cannot_be_read_is_withheld() {
    for (right, wrong, field) in [
        ("{app: web, empty: }", "[app]", "metadata.labels"),
        ("{app: web, empty: }", "{app: 1.0}", "metadata.labels[\"app\"]"),
        ("{app: web, empty: }", "{app: yes}", "metadata.labels[\"app\"]"),
        ("{app: web, empty: }", "{app: a, app: b}", "metadata.labels[\"app\"]"),
        ("{app: web, empty: }", "{a b: c}", "metadata.labels[\"a b\"]"),
        ("{app: web, empty: }", "{app: \"a b\"}", "metadata.labels[\"app\"]"),
        ("nodeName: n1", "nodeName: [n1]", "spec.nodeName"),
        ("hostNetwork: false", "hostNetwork: \"false\"", "spec.hostNetwork"),
        ("ip: 10.0.0.1}", "ip: 10.0.0.1.2}", "status.podIPs[0].ip"),
        ("ip: 10.0.0.1}", "ip: 127.0.0.1}", "status.podIPs[0].ip"),
        ("ip: 10.0.0.1}", "ip: 0.0.0.0}", "status.podIPs[0].ip"),
        ("ip: 10.0.0.1}", "ip: 224.0.0.1}", "status.podIPs[0].ip"),
        ("ip: 10.0.0.1}", "ip: 255.255.255.255}", "status.podIPs[0].ip"),
        ("ip: \"fd00::1\"", "ip: \"::ffff:10.0.0.1\"", "status.podIPs[1].ip"),
        ("ip: \"fd00::1\"", "ip: \"::\"", "status.podIPs[1].ip"),
        ("ip: \"fd00::1\"", "ip: \"::1\"", "status.podIPs[1].ip"),
        ("ip: \"fd00::1\"", "ip: \"fe80::1\"", "status.podIPs[1].ip"),
        ("ip: \"fd00::1\"", "ip: \"febf::1\"", "status.podIPs[1].ip"),
        ("ip: \"fd00::1\"", "ip: \"ff02::1\"", "status.podIPs[1].ip"),
        ("{ip: 10.0.0.1}, ", "{IP: 10.0.0.1}, ", "status.podIPs[0].ip"),
        ("{ip: 10.0.0.1}, ", "10.0.0.1, ", "status.podIPs[0]"),
        ("podIPs: [{ip: 10.0.0.1}, {ip: \"fd00::1\"}]", "podIPs: {}", "status.podIPs"),
        (
            "IP: 10.0.0.1\n  podIPs: [{ip: 10.0.0.1}, {ip: \"fd00::1\"}]",
            "IP: 10.0.0.l",
            "status.podIP",
        ),
    ] {
        let (objects, parsed) = read(&POD.replace(right, wrong));
        assert!(objects.is_empty() && parsed.readable, "{wrong}");
        assert_eq!(fields(&parsed), [format!("error {field}")], "{wrong}");
        assert_eq!(parsed.withheld.len(), 1, "{wrong}");
        assert_helpful(&parsed);
    }
    let (objects, parsed) =
        read("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: 1\nstatus: 2\n");
    assert!(objects.is_empty());
    assert_eq!(fields(&parsed), ["error spec", "error status"]);
}

#[test]
fn every_unicast_address_is_a_pods() {
    let mapped = POD.replace("fd00::1", "::ffff:10.0.0.1");
    assert!(super::findings(&read(&mapped).1).contains("Write 10.0.0.1"));
    for v4 in ["169.254.1.1", "100.64.0.1", "240.0.0.1", "255.255.255.254", "8.8.8.8"] {
        assert!(!only_pod(good(&POD.replace("10.0.0.1", v4))).addresses.is_empty(), "{v4}");
    }
    for v6 in ["2001:db8::1", "fec0::1", "64:ff9b::1", "fe7f::1", "2000::"] {
        assert!(!only_pod(good(&POD.replace("fd00::1", v6))).addresses.is_empty(), "{v6}");
    }
}

#[test]
fn other_wrong_fields_are_left_out() {
    let whole = only_pod(good(POD));
    for (right, wrong, field) in [
        ("uid: 0-1", "uid: 7", "error metadata.uid"),
        ("phase: Running", "phase: Runing", "error status.phase"),
        ("startTime: 1970-01-01T00:01:00Z", "startTime: yesterday", "error status.startTime"),
        (
            "containerPort: 8080",
            "containerPort: 0",
            "error spec.containers[0].ports[0].containerPort",
        ),
        (
            "containerPort: 8080",
            "containerPort: x",
            "error spec.containers[0].ports[0].containerPort",
        ),
        (
            "containerPort: 8080",
            "hostPort: 8080",
            "error spec.containers[0].ports[0].containerPort",
        ),
        ("name: http", "name: h--p", "error spec.containers[0].ports[0].name"),
        ("protocol: UDP", "protocol: udp", "error spec.containers[0].ports[2].protocol"),
        ("restartPolicy: Always", "restartPolicy: 1", "error spec.initContainers[1].restartPolicy"),
        ("ip: \"fd00::1\"", "ip: 10.0.0.2", "warning status.podIPs[1].ip"),
    ] {
        let (objects, parsed) = read(&POD.replace(right, wrong));
        let pod = only_pod(objects);
        assert_eq!(fields(&parsed), [field], "{wrong}");
        assert!(
            parsed.withheld.is_empty() && pod.labels == whole.labels && pod != whole,
            "{wrong}"
        );
        assert!(pod.addresses.iter().all(|a| whole.addresses.iter().any(|b| a == b)), "{wrong}");
        assert_helpful(&parsed);
    }
}

/// What a pod asks to send from.
#[test]
fn allowed_sources_are_read_from_their_annotation() {
    let annotated = |value: &str| {
        let annotations =
            format!("uid: 0-1\n  annotations: {{palisade.io/allowed-sources: {value}}}");
        read(&POD.replacen("uid: 0-1", &annotations, 1))
    };
    let sources = |pod: &crate::model::Pod| {
        let allowed = pod.allowed_sources.as_ref();
        allowed.map(|allowed| allowed.iter().map(|a| a.to_string()).collect::<Vec<_>>())
    };
    let (objects, parsed) = annotated("\"192.0.2.7, fd00::7\"");
    assert_eq!(fields(&parsed), [""; 0]);
    let wanted = ["192.0.2.7", "fd00::7"].map(str::to_owned).to_vec();
    assert_eq!(sources(&only_pod(objects)), Some(wanted));

    let (objects, parsed) = annotated("192.0.2.0/24 192.0.2.7");
    assert_eq!(fields(&parsed), ["error metadata.annotations[\"palisade.io/allowed-sources\"]"]);
    assert_helpful(&parsed);
    assert_eq!(sources(&only_pod(objects)), Some(vec!["192.0.2.7".to_owned()]));

    let (objects, _) = annotated("7");
    assert_eq!(sources(&only_pod(objects)), None);
}
