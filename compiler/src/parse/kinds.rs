//! The kinds of objects: those that are read, and what the others are.

use super::names;

/// A kind that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Namespace,
    Node,
    Pod,
    Policy,
    Service,
    EndpointSlice,
}

impl Kind {
    const ALL: [Self; 6] =
        [Self::Namespace, Self::Node, Self::Pod, Self::Policy, Self::Service, Self::EndpointSlice];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Node => "Node",
            Self::Pod => "Pod",
            Self::Policy => "NetworkPolicy",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
        }
    }

    /// The only `apiVersion` that is read.
    pub(super) fn version(self) -> &'static str {
        match self {
            Self::Namespace | Self::Node | Self::Pod | Self::Service => "v1",
            Self::Policy => "networking.k8s.io/v1",
            Self::EndpointSlice => "discovery.k8s.io/v1",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    pub(super) fn has_namespace(self) -> bool {
        !matches!(self, Self::Namespace | Self::Node)
    }

    /// Whether a verdict may depend on it. Other kinds serve explanations, and what is wrong with them is a warning.
    pub(super) fn decides(self) -> bool {
        !matches!(self, Self::Service | Self::EndpointSlice)
    }

    /// The fields beside `apiVersion`, `kind` and `metadata`.
    pub(super) fn fields(self) -> &'static [&'static str] {
        match self {
            // The status of a NetworkPolicy was in Kubernetes 1.24 to 1.27.
            Self::Namespace | Self::Node | Self::Pod | Self::Policy | Self::Service => {
                &["spec", "status"]
            }
            Self::EndpointSlice => &["addressType", "endpoints", "ports"],
        }
    }
}

/// What a kind is that is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Other {
    /// A server's answer or event: it declares nothing, whatever was expected in its place.
    Answer,
    /// Holds objects that are made from it, or that it changes.
    Source(SourceOf),
    /// A policy of another engine or of a later API.
    Policy,
    /// Says nothing about policy.
    Silent,
}

/// What makes objects from a document, and so must be run first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SourceOf {
    /// An OpenShift Template.
    Template,
    Kustomization,
    /// `Chart.yaml` of a Helm chart.
    Chart,
    /// The values of a Helm chart.
    Values,
    /// An event of a watch, which holds the object that changed.
    Watch,
}

const ANSWERS: [&str; 10] = [
    "Status",
    "Table",
    "WatchEvent",
    "PartialObjectMetadata",
    "PartialObjectMetadataList",
    "AdmissionReview",
    "APIGroup",
    "APIGroupList",
    "APIResourceList",
    "APIVersions",
];

/// Groups that answers are of, besides the core group.
const ANSWER_GROUPS: [&str; 3] = ["", "meta.k8s.io", "admission.k8s.io"];

/// Policies whose kind does not end in `NetworkPolicy`.
const OTHER_POLICIES: [&str; 1] = ["EgressFirewall"];

/// What a kind that is not read is, by its name and its `apiVersion`.
pub(super) fn other(kind: &str, api_version: &str) -> Other {
    let group = group(api_version);
    if ANSWERS.contains(&kind) && ANSWER_GROUPS.contains(&group) {
        return Other::Answer;
    }
    if kind == "Template" && (group.is_empty() || group == "template.openshift.io") {
        return Other::Source(SourceOf::Template);
    }
    let is_kustomize = matches!(kind, "Kustomization" | "Component")
        && (group.is_empty() || group == "kustomize.config.k8s.io");
    if is_kustomize {
        return Other::Source(SourceOf::Kustomization);
    }
    let one = kind.strip_suffix("List").unwrap_or(kind);
    // Calico's staged policies are not meant to be enforced.
    let is_policy = one.ends_with("NetworkPolicy") && !one.starts_with("Staged");
    if is_policy || OTHER_POLICIES.contains(&one) {
        return Other::Policy;
    }
    Other::Silent
}

/// Kinds that make pods, which are not read from them.
pub(super) fn makes_pods(kind: &str) -> bool {
    const KINDS: [&str; 7] = [
        "CronJob",
        "DaemonSet",
        "Deployment",
        "Job",
        "ReplicaSet",
        "ReplicationController",
        "StatefulSet",
    ];
    KINDS.contains(&kind)
}

/// The kind that was meant, if this one is a kind of which verdicts depend, misspelt.
pub(super) fn misspelt(kind: &str) -> Option<&'static str> {
    let deciding = Kind::ALL.into_iter().filter(|kind| kind.decides()).map(Kind::name);
    let known: Vec<&str> = deciding.chain(["List"]).collect();
    names::nearest(kind, &known)
}

/// Whether it is the kind of a list whose items are read.
pub(super) fn is_list(kind: &str) -> bool {
    kind.strip_suffix("List").is_some_and(|of| of.is_empty() || Kind::named(of).is_some())
}

fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

const POLICY_GROUP: &str = "networking.k8s.io";
const SLICE_GROUP: &str = "discovery.k8s.io";

/// Letters by which a misspelt group may differ. (`networking.gke.io` is another's.)
const MISSPELT_GROUP: usize = 2;

/// Whether the version is one of another project's group, whose kinds mean nothing here whatever they are called. The
/// groups of others have a dot (`CustomResourceDefinitionSpec.group`); those without are Kubernetes' own.
pub(super) fn is_foreign(api_version: &str) -> bool {
    let group = group(api_version);
    group.contains('.')
        && [POLICY_GROUP, SLICE_GROUP]
            .iter()
            .all(|own| names::distance(group, own) > MISSPELT_GROUP)
}

/// What a document without a kind is, by the name of its file and its fields, which are none of an object.
pub(super) fn without_kind(file: &str, fields: &[String]) -> Option<SourceOf> {
    let has = |field: &str| fields.iter().any(|own| own == field);
    let name = file.rsplit(['/', '\\']).next().unwrap_or(file).to_ascii_lowercase();
    let stem = name.strip_suffix(".yaml").or_else(|| name.strip_suffix(".yml")).unwrap_or(&name);
    match stem {
        "kustomization" => Some(SourceOf::Kustomization),
        "chart" => Some(SourceOf::Chart),
        _ if stem.starts_with("values") || stem.ends_with("values") => Some(SourceOf::Values),
        _ if has("name") && has("version") => Some(SourceOf::Chart),
        _ if has("type") && has("object") => Some(SourceOf::Watch),
        _ => None,
    }
}
