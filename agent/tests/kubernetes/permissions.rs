//! What the agent may do in the cluster, and no more.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use palisade::protocol::State;
use palisade_lab::AGENT_USER;
use serde_json::Value;

use crate::cluster::{Cluster, NODE, until_in_sync};
use crate::command::Scratch;
use crate::events::MAPPED;

/// The resources without which there is no enforcement, with their API groups.
const NEEDED: [(&str, &str); 4] =
    [("", "namespaces"), ("", "nodes"), ("", "pods"), ("networking.k8s.io", "networkpolicies")];

/// A role that may list and watch these, bound to the agent's user.
fn role(resources: &[(&str, &str)]) -> String {
    let rules: Vec<String> = resources
        .iter()
        .map(|(group, resource)| {
            format!("{{apiGroups: [\"{group}\"], resources: [{resource}], verbs: [list, watch]}}")
        })
        .collect();
    format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{name: agent}}\nrules: [{}]\n\
         ---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {{name: agent}}\n\
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: agent}}\n\
         subjects: [{{kind: User, name: \"{AGENT_USER}\", apiGroup: rbac.authorization.k8s.io}}]\n",
        rules.join(", ")
    )
}

#[test]
fn the_agent_needs_four_resources_and_says_which_of_them_it_lacks() {
    let cluster = Cluster::new(&[("a", "10.0.0.1"), ("b", "10.0.0.2")]);
    cluster.add_pod("x/a", NODE, "10.0.0.1");
    cluster.add_pod("x/b", NODE, "10.0.0.2");
    cluster.add_policy("alone", "{podSelector: {}, policyTypes: [Ingress]}");
    let kubeconfig = cluster.server.agent_kubeconfig();
    for lacking in 0..NEEDED.len() {
        let mut some = NEEDED.to_vec();
        let (_, resource) = some.remove(lacking);
        cluster.apply(&role(&some));
        let agent = cluster.agent_by(&kubeconfig);
        let status = agent.until("the refusal", |status| {
            status.detail.as_ref().is_some_and(|why| why.contains("cannot list resource"))
                && status.kubernetes.as_ref().is_some_and(|api| {
                    api.watches.iter().all(|watch| {
                        !watch.is_permitted || watch.in_sync || watch.resource == resource
                    })
                })
        });
        assert_eq!(status.state, State::WaitingForManifests);
        assert!(status.detail.unwrap().contains(&format!("\"{resource}\"")));
    }
    assert!(cluster.passes("10.0.0.1", "10.0.0.2", 80), "nothing was enforced yet");

    // The last of them is allowed while the agent asks for it.
    let agent = cluster.agent_by(&kubeconfig);
    agent.until("the refusal", |status| status.detail.is_some());
    cluster.apply(&role(&NEEDED));
    until_in_sync(&agent);
    assert!(!cluster.passes("10.0.0.1", "10.0.0.2", 80));
    agent.until("the refusal of what is optional", |status| {
        let api = status.kubernetes.as_ref().unwrap();
        let refused = api.watches.iter().filter(|watch| !watch.is_permitted);
        refused.map(|watch| watch.resource.as_str()).eq(["services", "endpointslices"])
    });
    agent.until("calm", |status| status.problem_count == 0 && status.error_count == 0);
    let socket = agent.socket.to_str().unwrap();
    let shown = cluster.ran(&["status", "--socket", socket]).exits(0);
    assert!(shown.out.contains("services, endpointslices may not be read"), "{shown:?}");
}

/// Requests: API group, resource and verb of each.
type Requests = BTreeSet<(String, String, String)>;

/// Has the server note what the agent's user asks for.
const AUDIT: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\n\
    rules: [{level: Metadata, users: ['USER']}, {level: None}]\n";

/// What every user may do, so that no role of the agent needs to allow it (the ClusterRole `system:basic-user`): ask what it may do.
const OF_EVERYONE: (&str, &str, &str) =
    ("authorization.k8s.io", "selfsubjectaccessreviews", "create");

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// What a ClusterRole allows.
fn allowed(role: &Value) -> Requests {
    let list = |rule: &Value, field: &str| -> Vec<String> {
        rule[field].as_array().into_iter().flatten().map(text).collect()
    };
    let mut allowed = Requests::new();
    for rule in role["rules"].as_array().expect("rules") {
        assert!(rule["nonResourceURLs"].is_null() && rule["resourceNames"].is_null(), "{rule}");
        for group in list(rule, "apiGroups") {
            for resource in list(rule, "resources") {
                let verbs = list(rule, "verbs").into_iter();
                allowed.extend(verbs.map(|verb| (group.clone(), resource.clone(), verb)));
            }
        }
    }
    allowed
}

/// What the agent's user asked for. None of it was refused.
fn asked(log: &Path) -> Requests {
    let mut asked = Requests::new();
    for line in fs::read_to_string(log).expect("an audit log").lines() {
        let event: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(event["user"]["username"], AGENT_USER, "{line}");
        assert_ne!(event["responseStatus"]["code"], 403, "the ClusterRole lacks it: {line}");
        let object = &event["objectRef"];
        if object.is_object() {
            let resource = [text(&object["resource"]), text(&object["subresource"])];
            let resource = resource.join("/").trim_end_matches('/').to_owned();
            asked.insert((text(&object["apiGroup"]), resource, text(&event["verb"])));
        }
    }
    asked
}

/// By what the server notes of the requests, with the role of `deploy/`. The server has no streaming lists, as older ones, so that
/// the agent lists as well.
#[test]
fn the_cluster_role_allows_what_the_agent_and_its_check_ask_for_and_nothing_else() {
    let scratch = Scratch::new();
    let policy = scratch.write("audit.yaml", &AUDIT.replace("USER", AGENT_USER));
    let log = scratch.0.join("audit.log");
    let flags = [
        format!("--audit-policy-file={}", policy.display()),
        format!("--audit-log-path={}", log.display()),
        "--feature-gates=WatchList=false".to_owned(),
    ];
    let cluster = Cluster::with(&[("a", "10.0.0.1")], &flags.each_ref().map(String::as_str));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    cluster.kubectl(&["apply", "-f", root.join("deploy/palisade.yaml").to_str().unwrap()]);
    cluster.add_pod("x/a", NODE, "10.0.0.1");
    cluster.add_policy("mapped", MAPPED);
    let kubeconfig = cluster.server.agent_kubeconfig();
    let agent = cluster.agent_by(&kubeconfig);
    until_in_sync(&agent);
    agent.until("the optional watches", |status| {
        status.kubernetes.as_ref().unwrap().watches.iter().all(|watch| watch.in_sync)
    });
    agent.until_log("has an Event");
    let kubeconfig = kubeconfig.to_str().unwrap();
    let check = ["check", "-o", "json", "--kubeconfig", kubeconfig, "--node-name", NODE];
    let report: Value = serde_json::from_str(&cluster.ran(&check).out).expect("a report");
    let findings = report["findings"].as_array().expect("findings");
    let of = |id: &str| findings.iter().find(|finding| finding["id"] == id).expect(id);
    for id in ["api", "api-permissions", "node"] {
        assert_eq!(of(id)["severity"], "ok", "{report:#}");
    }

    let role = cluster.kubectl(&["get", "clusterrole", "palisade", "-o", "json"]);
    let allowed = allowed(&serde_json::from_str(&role).expect("JSON"));
    let mut asked = asked(&log);
    let (group, resource, verb) = OF_EVERYONE;
    let of_everyone = (group.to_owned(), resource.to_owned(), verb.to_owned());
    assert!(asked.remove(&of_everyone), "{asked:?}");
    assert_eq!(asked, allowed, "asked for, and allowed by the ClusterRole");
}
