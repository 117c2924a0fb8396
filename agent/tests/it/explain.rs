//! `explain` and `eval`: Services, port names, names that nothing has, and what broken policies close.

use serde_json::Value;

use crate::command::{NAMESPACE, Ran, Scratch, guard, palisade, palisade_reads, pod, policy};

/// a may reach b on its port http, and nothing of 10.96.0.0/12; Service web is in front of b.
fn shop() -> Scratch {
    let scratch = Scratch::new();
    scratch.write("namespace.yaml", NAMESPACE);
    let ports = "spec: {nodeName: n1, containers: [{name: c, ports: [{name: http, containerPort: 8080}]}]}\nstatus:";
    scratch.write(
        "pods.yaml",
        &(pod("a", "10.0.0.1", "").replace("status:", "spec: {nodeName: n1}\nstatus:")
            + &pod("b", "10.0.0.2", "").replace("status:", ports)),
    );
    scratch.write(
        "guard.yaml",
        &guard("[{from: [{podSelector: {matchLabels: {app: c}}}], ports: [{port: http}]}]"),
    );
    scratch.write(
        "out.yaml",
        &policy("out", "{podSelector: {matchLabels: {app: a}}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.96.0.0/12}}]}]}"),
    );
    scratch.write(
        "service.yaml",
        "apiVersion: v1\nkind: Service\nmetadata: {namespace: x, name: web}\n\
         spec: {clusterIP: 10.96.0.1, selector: {app: b}, ports: [{name: main, port: 443, targetPort: http}]}\n",
    );
    scratch
}

fn explain(scratch: &Scratch, args: &[&str]) -> Ran {
    palisade(&[&["explain", "-f", scratch.path()], args].concat())
}

fn json(ran: Ran) -> Value {
    serde_json::from_str(&ran.exits(0).out).unwrap()
}

#[test]
fn a_services_address_is_resolved_to_its_backends_and_each_is_judged() {
    let scratch = shop();
    let text = explain(&scratch, &["x/a", "10.96.0.1", "--port", "443"]).exits(0).out;
    for part in [
        "Service x/web at 10.96.0.1 port 443: judged at its backend: deny",
        "x/a (10.0.0.1) -> x/b (10.0.0.2) TCP port 8080: deny",
        "to[0] is the ipBlock 10.96.0.0/12, but 10.0.0.2 is outside of it",
        "note: x/out egress[0]: to[0] is the ipBlock 10.96.0.0/12, which holds the Service's address 10.96.0.1",
        "from[0] needs the pod label app=c, but x/a has app=a",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    let by_name = json(explain(&scratch, &["x/a", "10.96.0.1", "--port", "main", "-o", "json"]));
    assert_eq!(by_name["service"], "x/web at 10.96.0.1 port 443");
    assert_eq!(by_name["connections"][0]["port"], 8080);
    explain(&scratch, &["x/a", "10.96.0.1", "--port", "80"])
        .exits(2)
        .complains("no TCP port 80; it has TCP 443 (main)");

    scratch.write(
        "slice.yaml",
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {namespace: x, name: web-1, labels: {kubernetes.io/service-name: web}}\naddressType: IPv4\n\
         endpoints: [{addresses: [10.0.0.2]}, {addresses: [198.51.100.7]}]\nports: [{name: main, port: 8443}]\n",
    );
    let both = json(explain(&scratch, &["x/a", "10.96.0.1", "--port", "443", "-o", "json"]));
    let to: Vec<&str> = both["connections"]
        .as_array()
        .unwrap()
        .iter()
        .map(|connection| connection["to"].as_str().unwrap())
        .collect();
    assert_eq!(to, ["x/b (10.0.0.2)", "198.51.100.7"]);

    let input = "{\"from\":\"203.0.113.1\",\"to\":\"10.96.0.1\",\"port\":443}\n";
    let out = palisade_reads(&["eval", "-f", scratch.path(), "--connections", "-"], input);
    let answer: Value = serde_json::from_str(&out.exits(0).out).unwrap();
    assert_eq!(answer["verdict"], "deny", "one of the backends is isolated");
    assert_eq!(answer["backends"]["198.51.100.7:8443"]["verdict"], "allow");
    assert_eq!(answer["backends"]["10.0.0.2:8443"]["verdict"], "deny");
}

#[test]
fn a_port_name_is_looked_up_on_the_destination_pod() {
    let scratch = shop();
    let found = json(explain(&scratch, &["x/a", "x/b", "--port", "http", "-o", "json"]));
    assert_eq!(found["connections"][0]["port"], 8080);
    explain(&scratch, &["x/a", "x/b", "--port", "https"])
        .exits(2)
        .complains("has no TCP port named \"https\"; it has http (TCP 8080)");
    explain(&scratch, &["x/a", "203.0.113.1", "--port", "http"])
        .exits(2)
        .complains("no pod's address");
    explain(&scratch, &["x/a", "x/b", "--port", "5432-5440"])
        .exits(2)
        .complains("port: 5432 and endPort: 5440");
    explain(&scratch, &["x/a", "x/b", "--port", "70000"]).exits(2).complains("from 1 to 65535");
    let input = "{\"from\":\"x/a\",\"to\":\"x/b\",\"port\":\"http\"}\n{\"from\":\"x/a\",\"to\":\"x/b\",\"port\":\"1-2\"}\n";
    let out =
        palisade_reads(&["eval", "-f", scratch.path(), "--connections", "-"], input).exits(1).out;
    assert!(out.lines().next().unwrap().contains("\"verdict\":\"deny\""), "{out}");
    assert!(out.contains("1-2 is a range"), "{out}");
}

#[test]
fn a_name_that_no_pod_has_gets_those_that_may_be_meant() {
    let scratch = shop();
    scratch.write("more.yaml", &pod("frontend-6d5f9-x2k4b", "10.0.0.9", ""));
    let error = |from: &str| explain(&scratch, &[from, "x/b", "--port", "1"]).exits(2).err;
    for (given, part) in [
        ("a", "did you mean x/a?"),
        ("frontend", "did you mean x/frontend-6d5f9-x2k4b?"),
        ("x/frontned", "did you mean x/frontend-6d5f9-x2k4b?"),
        ("x/frontend", "did you mean x/frontend-6d5f9-x2k4b?"),
        ("y/a", "did you mean x/a?"),
        ("x/web", "give its address, 10.96.0.1"),
        ("zzz", "write namespace/pod"),
    ] {
        let error = error(given);
        assert!(error.contains(part), "{given}: no {part:?} in {error}");
    }
}

#[test]
fn the_walk_is_shown_on_request_only_and_a_named_node_judges_its_own_pods() {
    let scratch = shop();
    let plain = explain(&scratch, &["x/a", "x/b", "--port", "1"]).exits(0).out;
    assert!(!plain.contains("program:"), "{plain}");
    let verbose = explain(&scratch, &["x/a", "x/b", "--port", "1", "-v"]).exits(0).out;
    assert!(verbose.contains("program: ") && verbose.contains("; @local_out"), "{verbose}");
    let args = ["x/a", "x/b", "--port", "1", "--node-name", "n2", "-o", "json"];
    let other = json(explain(&scratch, &args));
    assert_eq!(other["connections"][0]["egress"]["judged_here"], false);
    let input = "{\"from\":\"x/a\",\"to\":\"x/b\",\"port\":1}\n";
    let args = ["eval", "-f", scratch.path(), "--node-name", "n2", "--connections", "-"];
    assert!(palisade_reads(&args, input).exits(0).out.contains("\"verdict\":\"deny\""));
}

#[test]
fn a_policy_with_wrong_fields_says_what_it_closes() {
    let scratch = shop();
    scratch.write(
        "broken.yaml",
        &policy("broken", "{podSelector: {matchLabel: {app: none}}, policyTypes: [Ingress]}"),
    );
    let text = explain(&scratch, &["x/a", "x/b", "--port", "8080"]).exits(1).out;
    let parts =
        ["note: x/broken has wrong fields (", "matchLabel", "every pod of namespace x for ingress"];
    assert!(parts.iter().all(|part| text.contains(part)), "{text}");
}

/// The name of a Service leads to its backends, that of a headless one to its endpoints at the port that is asked for.
#[test]
fn a_services_name_is_resolved_to_its_backends_too() {
    let scratch = shop();
    let by_name = json(explain(&scratch, &["x/a", "x/web", "--port", "443", "-o", "json"]));
    let by_address = json(explain(&scratch, &["x/a", "10.96.0.1", "--port", "443", "-o", "json"]));
    assert_eq!(by_name, by_address);
    let headless = "apiVersion: v1\nkind: Service\nmetadata: {namespace: x, name: every}\n\
         spec: {clusterIP: None, selector: {app: b}, ports: [{name: main, port: 443, targetPort: http}]}\n";
    scratch.write("headless.yaml", headless);
    for (port, expected) in [("443", 443), ("main", 8080)] {
        let found = json(explain(&scratch, &["x/a", "x/every", "--port", port, "-o", "json"]));
        assert_eq!(found["service"], format!("x/every by its name port {expected}"));
        assert_eq!(found["connections"][0]["to"], "x/b (10.0.0.2)");
        assert_eq!(found["connections"][0]["port"], expected);
    }
    explain(&scratch, &["x/a", "x/every", "--port", "other"])
        .exits(2)
        .complains("has no TCP port named other");
    // Of one without an address yet, the port is translated.
    scratch.write("headless.yaml", &headless.replace("clusterIP: None, ", ""));
    let found = json(explain(&scratch, &["x/a", "x/every", "--port", "443", "-o", "json"]));
    assert_eq!(found["service"], "x/every by its name port 443");
    assert_eq!(found["connections"][0]["port"], 8080);
    scratch.write("headless.yaml", &headless.replace("app: b", "app: nobody"));
    explain(&scratch, &["x/a", "x/every", "--port", "1"]).exits(2).complains("no pod matches");
}

#[test]
fn the_changes_are_named_that_would_turn_the_verdict() {
    let scratch = shop();
    let args = ["x/a", "x/b", "--port", "8080"];
    let everyone = "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.96.0.0/12}}]}]}";
    scratch.write("out.yaml", &policy("out", everyone));
    let both = explain(&scratch, &args).exits(0).out;
    for part in [
        "would be allowed by two changes, one for each direction:",
        "ingress: Pod x/a: set the label app=c (it is a)",
        "egress: NetworkPolicy x/out: add the pods with app=b of namespace x to spec.egress[0].to",
        "ingress: NetworkPolicy x/guard: add the pods with app=a of namespace x to spec.ingress[0].from",
    ] {
        assert!(both.contains(part), "no {part:?} in {both}");
    }
    let out = policy(
        "out",
        "{podSelector: {matchLabels: {app: a}}, policyTypes: [Egress], egress: [{}]}",
    );
    scratch.write("out.yaml", &out);
    let found = json(explain(&scratch, &[&args[..], &["-o", "json"]].concat()));
    let first = &found["connections"][0]["edits"]["each"][0];
    assert_eq!(first["object"], "Pod x/a");
    assert_eq!(first["field"], "metadata.labels");
    assert_eq!(first["text"], "Pod x/a: set the label app=c (it is a)");
    // Made as it says, it does turn the verdict.
    scratch.write("out.yaml", &out.replace("app: a", "app: c"));
    let pods = std::fs::read_to_string(format!("{}/pods.yaml", scratch.path())).unwrap();
    scratch.write("pods.yaml", &pods.replacen("app: a", "app: c", 1));
    let allowed = explain(&scratch, &args).exits(0).out;
    assert!(allowed.contains("TCP port 8080: allow"), "{allowed}");
    assert!(allowed.contains("would be denied by any one of these changes:"), "{allowed}");
    assert!(allowed.contains("NetworkPolicy x/guard: remove spec.ingress[0]"), "{allowed}");
}

/// Pods on the host's network share the node's address: no policy isolates them, and no selector matches them.
#[test]
fn a_pod_on_the_hosts_network_is_named_with_what_that_means() {
    let scratch = shop();
    let host = pod("proxy", "192.168.0.1", "")
        .replace("status:", "spec: {nodeName: n2, hostNetwork: true}\nstatus:");
    scratch.write("proxy.yaml", &host);
    scratch.write("all.yaml", &policy("all", "{podSelector: {}, policyTypes: [Ingress]}"));
    let to = explain(&scratch, &["10.0.0.2", "x/proxy", "--port", "80"]).exits(0).out;
    for part in [
        "192.168.0.1 (node n2, host-network pod x/proxy)",
        "policies apply to no pod on the host's network",
        "note: x/all selects x/proxy by its labels and does not isolate it",
    ] {
        assert!(to.contains(part), "no {part:?} in {to}");
    }
    let from = explain(&scratch, &["x/proxy", "x/b", "--port", "8080"]).exits(0).out;
    assert!(from.contains("selectors never match host-network pods"), "{from}");
    assert!(from.contains("add the ipBlock 192.168.0.1/32 to spec.ingress[0].from"), "{from}");
}

/// The tables judge what is forwarded to a node's external address as the words say.
#[test]
fn the_own_nodes_external_address_is_allowed_in_words_and_tables() {
    let scratch = shop();
    scratch.write(
        "nodes.yaml",
        "apiVersion: v1\nkind: Node\nmetadata: {name: n1}\n\
         status: {addresses: [{type: InternalIP, address: 192.168.0.1}, {type: ExternalIP, address: 203.0.113.1}]}\n---\n\
         apiVersion: v1\nkind: Node\nmetadata: {name: n2}\n\
         status: {addresses: [{type: InternalIP, address: 192.168.0.2}, {type: ExternalIP, address: 203.0.113.2}]}\n",
    );
    let own = explain(&scratch, &["x/a", "203.0.113.1", "--port", "1", "-v"]).exits(0).out;
    assert!(own.contains("own node is always allowed") && own.contains("allow in pass"), "{own}");
    let other = explain(&scratch, &["x/a", "203.0.113.2", "--port", "1"]).exits(0).out;
    assert!(other.contains("-> 203.0.113.2 (node n2) TCP port 1: deny"), "{other}");
    let input = "{\"from\":\"203.0.113.1\",\"to\":\"x/b\",\"port\":1}\n";
    let out = palisade_reads(&["eval", "-f", scratch.path(), "--connections", "-"], input);
    assert!(out.exits(0).out.contains("\"verdict\":\"allow\""));
}

/// Without Node objects, pods' `status.hostIPs` name their node's addresses.
#[test]
fn host_ips_name_the_own_node() {
    let scratch = Scratch::guarded();
    let ips = ", hostIPs: [{ip: 192.168.7.1}]";
    let b = pod("b", "10.0.0.2", ips).replace("status:", "spec: {nodeName: n1}\nstatus:");
    scratch.write("pods.yaml", &(pod("a", "10.0.0.1", "") + &b));
    let input = "{\"from\":\"192.168.7.1\",\"to\":\"x/b\",\"port\":1}\n{\"from\":\"192.168.7.2\",\"to\":\"x/b\",\"port\":1}\n";
    let out =
        palisade_reads(&["eval", "-f", scratch.path(), "--connections", "-"], input).exits(0).out;
    let verdicts: Vec<bool> =
        out.lines().map(|line| line.contains("\"verdict\":\"allow\"")).collect();
    assert_eq!(verdicts, [true, false], "{out}");
}
