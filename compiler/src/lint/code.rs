//! The table of codes: what the linter can find, why it matters, and what to do about it.
//!
//! docs/lint.md and the rules of SARIF are made of this table. A code keeps its number and its meaning for ever; one that goes
//! leaves its number unused. The first digit says what the finding is about:
//!
//! 0 the input, 1 the subjects of a policy, 2 its peers, 3 its ports, 4 its blocks of addresses, 5 isolation, 6 policies that
//! add nothing, 7 what lost its match by a change, and 8 what is not used, which only a running agent can tell.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How much a finding matters. The greater matters more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know; often as it is meant.
    Note,
    /// Takes effect as it is written, and most likely not as it is meant.
    Warning,
    /// Does not take effect as it is written.
    Error,
}

impl Severity {
    pub const ALL: [Self; 3] = [Self::Note, Self::Warning, Self::Error];
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// What is true of every finding with one code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodeEntry {
    /// As in `PAL101`.
    pub code: &'static str,
    /// As in `selects-no-pod`.
    pub name: &'static str,
    pub severity: Severity,
    /// A sentence without its period.
    pub title: &'static str,
    /// Sentences.
    pub why: &'static str,
    /// Sentences. A finding may have a remedy of its own.
    pub remedy: &'static str,
}

macro_rules! codes {
    ($($(#[$about:meta])* $variant:ident = $code:literal $name:literal $severity:ident {
        title: $title:literal,
        why: $why:literal,
        remedy: $remedy:literal,
    })*) => {
        /// What a finding is about. Sorted by code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[$about])* $variant,)*
        }

        impl Code {
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            pub const fn entry(self) -> &'static CodeEntry {
                match self {
                    $(Self::$variant => &CodeEntry {
                        code: $code,
                        name: $name,
                        severity: Severity::$severity,
                        title: $title,
                        why: $why,
                        remedy: $remedy,
                    },)*
                }
            }
        }
    };
}

codes! {
    ManifestError = "PAL001" "manifest-error" Error {
        title: "A manifest has an error",
        why: "What is wrong does not take effect as it was written. A policy with an error isolates what it selects and allows nothing.",
        remedy: "Correct the manifest.",
    }
    ManifestWarning = "PAL002" "manifest-warning" Warning {
        title: "A manifest may not mean what its author thinks",
        why: "Kubernetes reads it without complaint, and gives it a meaning that is easily overlooked.",
        remedy: "Write what is meant in full.",
    }
    NamespaceByDefault = "PAL003" "namespace-by-default" Warning {
        title: "An object names no namespace",
        why: "It is read into the namespace default. A policy there isolates nothing of the namespace that was meant.",
        remedy: "Write metadata.namespace, or give a namespace for all such objects by --namespace.",
    }
    NotRead = "PAL004" "objects-not-read" Note {
        title: "Objects are of kinds that say nothing about policy",
        why: "They are left out. The pods that a Deployment or a Job makes are known only where the pods themselves are given.",
        remedy: "Give the pods as well, as kubectl get pods -A -o yaml prints them.",
    }
    UnknownIgnore = "PAL005" "unknown-ignored-code" Warning {
        title: "The annotation palisade.io/lint-ignore names a code that does not exist",
        why: "The finding that was meant is reported all the same.",
        remedy: "Write codes of this table, with commas between them.",
    }
    NoPods = "PAL006" "no-pods" Note {
        title: "No pod is known",
        why: "Without pods it cannot be judged what selectors and port names match, so that most of what the linter looks for is not looked for.",
        remedy: "Give the pods and namespaces as well: kubectl get ns,nodes,pods,svc,netpol -A -o yaml | palisade lint -f -",
    }

    SelectsNoPod = "PAL101" "selects-no-pod" Warning {
        title: "The podSelector of a policy selects no pod",
        why: "The policy isolates nothing. The pods that it was written for are as open as if it did not exist.",
        remedy: "Write labels that the pods have. If the pods come later, accept the finding by the annotation.",
    }
    NamespaceHasNoPods = "PAL102" "namespace-has-no-pods" Note {
        title: "A policy is in a namespace without pods",
        why: "A policy isolates pods of its own namespace only. Where there are none, it does nothing yet.",
        remedy: "Check that metadata.namespace is the namespace of the pods that are meant.",
    }
    SelectsOnlyHostPods = "PAL103" "selects-only-host-pods" Warning {
        title: "A policy selects only pods on the host's network",
        why: "Policies do not apply to such pods: they use the node's address, and share it with the node itself.",
        remedy: "Set hostNetwork: false for the pods, or protect the node by other means.",
    }
    SelectsHostPods = "PAL104" "selects-host-pods" Note {
        title: "Among the pods that a policy selects are some on the host's network",
        why: "Policies do not apply to such pods: they use the node's address. They stay open while the other pods are isolated.",
        remedy: "Protect these pods by other means, or set hostNetwork: false.",
    }

    PeerMatchesNoPod = "PAL201" "peer-matches-no-pod" Warning {
        title: "An entry of from or to matches no pod",
        why: "The entry allows nothing. The pods that it was written for are denied.",
        remedy: "Write labels that the pods have. Without namespaceSelector an entry is for pods of the policy's own namespace.",
    }
    PeerMatchesNoNamespace = "PAL202" "peer-matches-no-namespace" Warning {
        title: "A namespaceSelector matches no namespace",
        why: "The entry allows nothing.",
        remedy: "Write labels that the namespace has. Every namespace has kubernetes.io/metadata.name with its own name.",
    }
    AndForOr = "PAL203" "and-for-or" Warning {
        title: "Both selectors of one entry must match, and no pod does",
        why: "A namespaceSelector and a podSelector in one entry of from or to are joined by AND. Here they match nothing together, but each of them alone does.",
        remedy: "If either is to be allowed, make them two entries: begin the second selector with a dash.",
    }
    OrForAnd = "PAL204" "or-for-and" Warning {
        title: "Two entries are joined by OR where AND was most likely meant",
        why: "A namespaceSelector alone allows every pod of those namespaces. The podSelector that follows as an entry of its own looks into the policy's own namespace only, where it matches no pod; in those namespaces it would.",
        remedy: "Make them one entry: remove the dash before the second selector.",
    }
    PeerOnHostNetwork = "PAL205" "peer-on-host-network" Warning {
        title: "An entry of from or to matches only pods on the host's network",
        why: "Selectors never match such pods: their packets carry the node's address.",
        remedy: "Allow the node's address by an ipBlock.",
    }
    PeerNamespacesHaveNoPods = "PAL206" "peer-namespaces-have-no-pods" Note {
        title: "The namespaces of an entry of from or to have no pods, or are not known",
        why: "The entry allows nothing as long as there are no pods.",
        remedy: "Check the name of the namespace. If its objects were not given, give them as well.",
    }

    UnknownPortName = "PAL301" "unknown-port-name" Warning {
        title: "No pod has a port of that name",
        why: "A port name is looked up on the pod that is connected to, with the protocol of the entry. A name that no port has matches nothing.",
        remedy: "Write the name that the container port has (spec.containers[].ports[].name), or the number.",
    }
    DnsWithoutUdp = "PAL302" "dns-without-udp" Warning {
        title: "Port 53 is allowed for TCP and not for UDP",
        why: "An entry of ports without protocol is TCP. Names are mostly resolved over UDP, which is denied.",
        remedy: "Add an entry with protocol: UDP and port: 53.",
    }
    OtherProtocol = "PAL303" "other-protocol" Warning {
        title: "The pods have that port number with another protocol only",
        why: "An entry of ports without protocol is TCP, and a rule for one protocol opens no other.",
        remedy: "Write the protocol that the container port has.",
    }
    WholeRange = "PAL304" "whole-range" Note {
        title: "A range holds every port number",
        why: "It looks like a restriction to some ports and is none. Other protocols stay closed.",
        remedy: "Leave out port and endPort to allow every port of the protocol, or narrow the range.",
    }
    PortAllowedTwice = "PAL305" "port-allowed-twice" Note {
        title: "An entry of ports lies within another one of the same rule",
        why: "It adds nothing. One of the two may have been meant to be another port or another protocol.",
        remedy: "Remove it, or correct it.",
    }
    ServicePort = "PAL306" "service-port" Warning {
        title: "A rule names the port of a Service in the place of the pods' port",
        why: "The port of a Service is translated to the pods' port before policy is judged, so that the entry matches none of these connections.",
        remedy: "Write the targetPort of the Service.",
    }

    ExceptRemovesEverything = "PAL401" "except-removes-everything" Warning {
        title: "The except of an ipBlock removes all of it",
        why: "The entry allows nothing.",
        remedy: "Correct the blocks, or remove the entry.",
    }
    ExceptRemovesNothing = "PAL402" "except-removes-nothing" Note {
        title: "An except lies within another one of the same ipBlock",
        why: "It removes nothing more. Another block may have been meant.",
        remedy: "Remove it, or correct it.",
    }
    ExceptAllowedElsewhere = "PAL403" "except-allowed-elsewhere" Warning {
        title: "Addresses that an except removes are allowed by another entry of the policy",
        why: "An except narrows its own ipBlock and denies nothing: what any other entry allows is allowed.",
        remedy: "Write the except into the other block as well.",
    }
    BlockHoldsPods = "PAL404" "block-holds-pods" Note {
        title: "An ipBlock holds addresses of pods",
        why: "It allows those pods, whatever their labels and namespaces are, and other pods once these addresses are theirs.",
        remedy: "If only addresses outside the cluster are meant, put the pods' ranges into except. If pods are meant, select them by labels.",
    }
    BlockIsPod = "PAL405" "block-is-a-pod" Warning {
        title: "An ipBlock is the address of one pod",
        why: "The pod gets another address when it is made anew, and this one may become that of any other pod.",
        remedy: "Select the pod by its labels.",
    }
    BlockHoldsServices = "PAL406" "block-holds-services" Warning {
        title: "An ipBlock of an egress rule holds addresses of Services and none of a pod",
        why: "The address of a Service is translated to that of a pod before policy is judged, so that the block matches none of these connections.",
        remedy: "Select the pods behind the Service by their labels.",
    }

    OneDirection = "PAL501" "one-direction" Note {
        title: "Pods are isolated in one direction only",
        why: "What is isolated for ingress may still connect to everything, and the reverse.",
        remedy: "If that is not meant, name the other direction in the policyTypes of a policy for these pods.",
    }
    NamespaceNotIsolated = "PAL502" "namespace-not-isolated" Note {
        title: "No pod of a namespace is isolated",
        why: "Every pod of the namespace accepts every connection, and may open any.",
        remedy: "Begin with a policy for podSelector: {} with policyTypes: [Ingress, Egress] and no rules, and allow what is needed.",
    }
    PodsNotSelected = "PAL503" "pods-not-selected" Note {
        title: "No policy selects some pods of a namespace whose other pods are isolated",
        why: "They accept every connection, and may open any. They are easily overlooked beside the others.",
        remedy: "Select them by a policy, for example one for podSelector: {}.",
    }
    RuleAllowsEverything = "PAL504" "rule-allows-everything" Warning {
        title: "A rule allows everything, so that the policy's other rules in this direction add nothing",
        why: "A rule without peers and ports ({}) allows every address on every port. Rules are joined by OR.",
        remedy: "Remove that rule, or write peers or ports into it.",
    }
    RuleForEveryone = "PAL505" "rule-for-everyone" Note {
        title: "A rule without from or to is for every address",
        why: "Empty and missing mean the same: all pods of all namespaces, and all addresses outside the cluster.",
        remedy: "If only pods are meant, write namespaceSelector: {} as the peer; if only those of the namespace, podSelector: {}.",
    }
    EgressWithoutDns = "PAL506" "egress-without-dns" Warning {
        title: "Pods may connect to something but not to the cluster's DNS",
        why: "Pods that are isolated for egress reach the resolver only where a rule allows it. Without it, nothing is found by its name.",
        remedy: "Allow UDP and TCP port 53 to the pods of the resolver (in most clusters k8s-app: kube-dns of the namespace kube-system).",
    }

    Subsumed = "PAL601" "policy-adds-nothing" Note {
        title: "Another policy with the same podSelector allows all that a policy allows",
        why: "The policy adds nothing, so that to change or remove it has no effect.",
        remedy: "Remove one of the two, or correct the wider one.",
    }
    RepeatedRule = "PAL602" "repeated-rule" Note {
        title: "A rule stands twice in a policy",
        why: "The second one adds nothing. It may have been meant to be another.",
        remedy: "Remove it, or correct it.",
    }

    PolicyLostPods = "PAL701" "policy-lost-its-pods" Warning {
        title: "A policy selects no pod any more, since labels changed",
        why: "It isolates nothing now. The pods that it was written for may be open.",
        remedy: "Give the pod its label again, or write the new one into the podSelector.",
    }
    PodLostIsolation = "PAL702" "pod-lost-its-isolation" Warning {
        title: "A pod is not isolated any more, since its labels changed",
        why: "In the directions that are named, it accepts or opens every connection now.",
        remedy: "Give the pod its label again, or write a policy that selects it as it is.",
    }
    PeerLostPods = "PAL703" "peer-lost-its-pods" Warning {
        title: "An entry of from or to matches no pod any more, since labels changed",
        why: "What it allowed is denied now.",
        remedy: "Give the pod or the namespace its label again, or write the new one into the entry.",
    }

    PolicyNeverUsed = "PAL801" "policy-never-used" Note {
        title: "No rule of a policy allowed a connection for as long as the agent counted",
        why: "What nobody uses may be allowed by mistake, or be meant for what does not come. Only new connections of pods on the agent's node count.",
        remedy: "If no pod of other nodes uses it either, remove the rules, or correct them.",
    }
    RuleNeverUsed = "PAL802" "rule-never-used" Note {
        title: "A rule allowed no connection for as long as the agent counted, and others of its policy did",
        why: "What nobody uses may be allowed by mistake, or be meant for what does not come. Only new connections of pods on the agent's node count.",
        remedy: "If no pod of other nodes uses it either, remove the rule, or correct it.",
    }
    IsolationNeverDenied = "PAL803" "isolation-never-denied" Note {
        title: "A policy's isolation denied nothing for as long as the agent counted",
        why: "Nobody tried what it forbids to the pods on the agent's node, or its rules allow all that is tried.",
        remedy: "Nothing, if that is what is expected. Otherwise compare its rules with what is to be denied.",
    }
}

impl Code {
    /// As in `PAL101`.
    pub const fn id(self) -> &'static str {
        self.entry().code
    }

    pub const fn severity(self) -> Severity {
        self.entry().severity
    }

    /// The code with this id, in upper case.
    pub fn with_id(id: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.id() == id)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id())
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let id = String::deserialize(deserializer)?;
        Self::with_id(&id).ok_or_else(|| D::Error::custom(format!("there is no code {id:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_sorted_and_names_are_used_once() {
        assert!(Code::ALL.is_sorted_by(|a, b| a.id() < b.id() && a < b));
        let mut names: Vec<_> = Code::ALL.iter().map(|code| code.entry().name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
        for code in Code::ALL {
            let entry = code.entry();
            assert_eq!(Code::with_id(entry.code), Some(*code));
            assert!(!entry.title.ends_with('.'), "{code}");
            assert!(entry.why.ends_with('.') && !entry.remedy.is_empty(), "{code}");
        }
    }
}
