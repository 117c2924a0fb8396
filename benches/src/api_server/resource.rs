//! The resources that are served, and their names in the API.

use serde_json::{Value, json};

/// The resources that define a cluster's policy. Those of Services are served as well but are always empty: some engines
/// watch them too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Resource {
    Namespaces,
    Nodes,
    Pods,
    Services,
    Endpoints,
    NetworkPolicies,
    EndpointSlices,
}

/// The version of every API group that is served.
pub(super) const VERSION: &str = "v1";
/// The named API groups. The core group has no name.
pub(super) const GROUPS: [&str; 2] = ["networking.k8s.io", "discovery.k8s.io"];

impl Resource {
    pub(super) const ALL: [Self; 7] = [
        Self::Namespaces,
        Self::Nodes,
        Self::Pods,
        Self::Services,
        Self::Endpoints,
        Self::NetworkPolicies,
        Self::EndpointSlices,
    ];

    pub(super) fn find(group: &str, plural: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.group() == group && r.plural() == plural)
    }

    pub(super) const fn group(self) -> &'static str {
        let [networking, discovery] = GROUPS;
        match self {
            Self::NetworkPolicies => networking,
            Self::EndpointSlices => discovery,
            _ => "",
        }
    }

    pub(super) const fn kind(self) -> &'static str {
        match self {
            Self::Namespaces => "Namespace",
            Self::Nodes => "Node",
            Self::Pods => "Pod",
            Self::Services => "Service",
            Self::Endpoints => "Endpoints",
            Self::NetworkPolicies => "NetworkPolicy",
            Self::EndpointSlices => "EndpointSlice",
        }
    }

    pub(super) const fn plural(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::Nodes => "nodes",
            Self::Pods => "pods",
            Self::Services => "services",
            Self::Endpoints => "endpoints",
            Self::NetworkPolicies => "networkpolicies",
            Self::EndpointSlices => "endpointslices",
        }
    }

    const fn is_namespaced(self) -> bool {
        !matches!(self, Self::Namespaces | Self::Nodes)
    }

    /// Whether there never is an object, so that every selector gives the same answer.
    pub(super) const fn is_empty(self) -> bool {
        matches!(self, Self::Services | Self::Endpoints | Self::EndpointSlices)
    }

    /// For example `v1` or `networking.k8s.io/v1`.
    pub(super) fn api_version(self) -> String {
        group_version(self.group())
    }
}

fn group_version(group: &str) -> String {
    if group.is_empty() { VERSION.to_owned() } else { format!("{group}/{VERSION}") }
}

/// The answer to `/api`.
pub(super) fn core_versions() -> Value {
    json!({"kind": "APIVersions", "versions": [VERSION]})
}

/// The answer to `/apis`.
pub(super) fn groups() -> Value {
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": GROUPS.map(group)})
}

/// The answer to `/apis/GROUP`.
pub(super) fn group(name: &str) -> Value {
    let version = json!({"groupVersion": group_version(name), "version": VERSION});
    json!({
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": name,
        "versions": [version],
        "preferredVersion": version,
    })
}

/// The answer to `/api/v1` and `/apis/GROUP/v1`.
pub(super) fn resources(group: &str) -> Value {
    let all = Resource::ALL.into_iter().filter(|resource| resource.group() == group);
    let one = |resource: Resource| {
        json!({
            "name": resource.plural(),
            "singularName": resource.kind().to_lowercase(),
            "namespaced": resource.is_namespaced(),
            "kind": resource.kind(),
            "verbs": ["get", "list", "watch"],
        })
    };
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version(group),
        "resources": all.map(one).collect::<Vec<_>>(),
    })
}
