//! What the agent may do in the cluster, and no more.

use palisade::protocol::State;
use palisade_lab::AGENT_USER;

use crate::cluster::{Cluster, NODE, until_in_sync};

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
    let status = until_in_sync(&agent);
    assert!(!cluster.passes("10.0.0.1", "10.0.0.2", 80));
    let api = status.kubernetes.unwrap();
    let refused = api.watches.iter().filter(|watch| !watch.is_permitted);
    let refused: Vec<_> = refused.map(|watch| watch.resource.as_str()).collect();
    assert_eq!(refused, ["services", "endpointslices"]);
    agent.until("calm", |status| status.problem_count == 0 && status.error_count == 0);
    let socket = agent.socket.to_str().unwrap();
    let shown = cluster.ran(&["status", "--socket", socket]).exits(0);
    assert!(shown.out.contains("services, endpointslices may not be read"), "{shown:?}");
}
