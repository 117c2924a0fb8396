//! Fields that nobody knows: each may be one on which something depends, misspelt.

use std::collections::BTreeSet;
use std::fmt;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::api::networking::v1 as networking;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use serde::de::{Deserialize, Deserializer, Visitor};

use super::{assert_helpful, fields, findings, names, only_pod, only_policy, read};
use crate::parse::kinds::Kind;
use crate::parse::policy::SPEC_FIELDS;
use crate::parse::{Settings, parse_with, wire};

/// The fields of a type of Kubernetes, which its deserializer asks for.
fn fields_of<T: for<'de> Deserialize<'de>>() -> BTreeSet<&'static str> {
    #[derive(Debug)]
    struct Asked(&'static [&'static str]);

    impl fmt::Display for Asked {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{:?}", self.0)
        }
    }

    impl std::error::Error for Asked {}

    impl serde::de::Error for Asked {
        fn custom<M: fmt::Display>(_: M) -> Self {
            Self(&[])
        }
    }

    struct Asker;

    impl<'de> Deserializer<'de> for Asker {
        type Error = Asked;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Asked> {
            Err(Asked(&[]))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, Asked> {
            Err(Asked(fields))
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct seq
            tuple tuple_struct map enum identifier ignored_any
        }
    }

    match T::deserialize(Asker) {
        Err(Asked(fields)) => fields.iter().copied().collect(),
        Ok(_) => panic!("a type without fields"),
    }
}

/// What is known here is what Kubernetes knows, but for `extra`.
#[track_caller]
fn assert_known<T: for<'de> Deserialize<'de>>(known: &[&'static str], extra: &[&'static str]) {
    let ours: BTreeSet<_> = known.iter().copied().collect();
    assert_eq!(ours.len(), known.len(), "a field is listed twice");
    let mut theirs = fields_of::<T>();
    assert!(!theirs.is_empty(), "the fields of the type are not known");
    theirs.extend(extra);
    assert_eq!(ours, theirs);
}

#[test]
fn the_known_fields_are_those_of_kubernetes() {
    // `clusterName` was in Kubernetes until 1.23; the others are those of `ListMeta`.
    let extra = ["clusterName", "continue", "remainingItemCount", "shardInfo"];
    assert_known::<meta::ObjectMeta>(wire::Metadata::FIELDS.known, &extra);
    let list: Vec<_> = fields_of::<meta::ListMeta>().into_iter().collect();
    assert!(list.iter().all(|field| wire::Metadata::FIELDS.known.contains(field)), "{list:?}");
    assert_known::<core::PodSpec>(wire::PodSpec::FIELDS.known, &[]);
    assert_known::<core::PodStatus>(wire::PodStatus::FIELDS.known, &[]);
    assert_known::<core::Container>(wire::Container::FIELDS.known, &[]);
    assert_known::<core::ContainerPort>(wire::ContainerPort::FIELDS.known, &[]);
    assert_known::<core::ContainerStatus>(wire::ContainerStatus::FIELDS.known, &[]);
    assert_known::<core::ContainerState>(wire::ContainerState::FIELDS.known, &[]);
    assert_known::<core::PodIP>(wire::Address::FIELDS.known, &[]);
    assert_known::<core::HostIP>(wire::Address::FIELDS.known, &[]);
    assert_known::<core::NodeSpec>(wire::NodeSpec::FIELDS.known, &[]);
    assert_known::<core::NodeStatus>(wire::NodeStatus::FIELDS.known, &[]);
    assert_known::<core::NodeAddress>(wire::NodeAddress::FIELDS.known, &[]);
    assert_known::<networking::NetworkPolicySpec>(&SPEC_FIELDS, &[]);
    let of = |kind: Kind| [&["apiVersion", "kind", "metadata"][..], kind.fields()].concat();
    assert_known::<core::Namespace>(&of(Kind::Namespace), &[]);
    assert_known::<core::Node>(&of(Kind::Node), &[]);
    assert_known::<core::Pod>(&of(Kind::Pod), &[]);
    assert_known::<core::Service>(&of(Kind::Service), &[]);
    assert_known::<discovery::EndpointSlice>(&of(Kind::EndpointSlice), &[]);
    // The status of Kubernetes 1.24 to 1.27.
    assert_known::<networking::NetworkPolicy>(&of(Kind::Policy), &["status"]);
}

fn policy(metadata: &str, rest: &str) -> String {
    format!("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {metadata}\n{rest}")
}

const OPEN: &str = "spec: {podSelector: {}, ingress: [{}]}\n";

/// It is not known which object is meant, so that none of another namespace or name is closed for it.
#[test]
fn a_wrong_field_that_says_which_object_it_is_leaves_the_document_not_understood() {
    let pod = |metadata: &str| format!("apiVersion: v1\nkind: Pod\nmetadata: {metadata}\n");
    for (text, field, meant) in [
        (
            policy("{name: deny, namesapce: shop}", OPEN),
            "metadata.namesapce",
            "Did you mean namespace?",
        ),
        (
            policy("{name: deny, Namespace: shop}", OPEN),
            "metadata.Namespace",
            "Did you mean namespace?",
        ),
        (policy("{name: deny, namespaces: shop}", OPEN), "metadata.namespaces", "namespace?"),
        (policy("{name: deny, ns: shop}", OPEN), "metadata.ns", "Write the namespace"),
        (
            policy("{name: deny, namespace: shop, namesapce: x}", OPEN),
            "metadata.namesapce",
            "namespace?",
        ),
        (
            policy("{name: deny, nam: shop, namespace: x}", OPEN),
            "metadata.nam",
            "Did you mean name?",
        ),
        (policy("{Name: deny, namespace: x}", OPEN), "metadata.name", "Did you mean name by Name?"),
        (
            policy("{name: deny}", "namespace: shop\nspec: {podSelector: {}}\n"),
            "namespace",
            "Write it under metadata",
        ),
        (pod("{name: a, namesapce: shop}"), "metadata.namesapce", "Did you mean namespace?"),
        (pod("{name: a, namespcae: shop, labels: {a: b}}"), "metadata.namespcae", "namespace?"),
        (pod("{generatename: a-}"), "metadata.name", "Write the name of the object"),
        (
            "apiVersion: v1\nkind: Namespace\nmetadata: {Name: x}\n".into(),
            "metadata.name",
            "by Name?",
        ),
        (
            "apiVersion: v1\nkind: Node\nmetadata: {nmae: x}\n".into(),
            "metadata.name",
            "Did you mean name by nmae?",
        ),
    ] {
        let (objects, parsed) = read(&text);
        assert!(objects.is_empty() && !parsed.readable && parsed.withheld.is_empty(), "{text}");
        assert_eq!(fields(&parsed), [format!("error {field}")], "{text}");
        let finding = &parsed.diagnostics[0];
        assert!(finding.remedy.contains(meant), "{finding}");
        assert_helpful(&parsed);
    }
    let (_, parsed) = read(&policy("{name: deny, namesapce: shop}", OPEN));
    assert_eq!(
        findings(&parsed),
        "in.yaml:3:24: error: NetworkPolicy deny: metadata.namesapce is not a field of metadata, and it is not known without it \
         which object is meant. Did you mean namespace?\n"
    );
}

#[test]
fn another_wrong_field_of_metadata_is_an_error_of_its_object() {
    let (objects, parsed) = read(&policy("{name: p, namespace: x, lables: {a: b}}", OPEN));
    let closed = only_policy(objects);
    assert!(closed.isolates.ingress && closed.ingress.is_empty() && parsed.readable);
    assert_eq!(closed.fault.as_deref(), Some("metadata.lables is not a field of metadata"));
    assert_eq!(fields(&parsed), ["error metadata.lables"]);
    assert!(findings(&parsed).contains("Did you mean labels?"), "{}", findings(&parsed));
    for (kind, name) in [("Pod", "Pod x/a"), ("Node", "Node a"), ("Namespace", "Namespace a")] {
        for metadata in ["label: {a: b}", "Labels: {a: b}", "anotations: {}", "unheard: of"] {
            let text = format!(
                "apiVersion: v1\nkind: {kind}\nmetadata: {{name: a, namespace: x, {metadata}}}\n"
            );
            let (objects, parsed) = read(&text);
            assert!(objects.is_empty() && parsed.readable, "{text}");
            assert_eq!(parsed.withheld[0].object.to_string(), name);
            assert_eq!(parsed.diagnostics.len(), 1, "{}", findings(&parsed));
            assert_helpful(&parsed);
        }
    }
}

const POD: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: x, labels: {app: web}}
spec:
  nodeName: n1
  hostNetwork: false
  containers: [{name: c, ports: [{name: http, containerPort: 80}], restartPolicy: Always}]
  laterField: {}
status:
  phase: Running
  podIP: 10.0.0.1
  podIPs: [{ip: 10.0.0.1}]
  startTime: 2030-01-01T00:00:00Z
  containerStatuses: [{name: c, state: {running: {}}}]
  laterField: {}
";

#[test]
fn fields_of_a_later_kubernetes_are_left_alone() {
    let pod = only_pod(super::good(POD));
    assert_eq!((pod.node.as_deref(), pod.ports.len()), (Some("n1"), 1));
}

/// Those that say who the pod is: it may be one that a policy isolates.
#[test]
fn a_misspelt_field_of_a_pods_identity_withholds_it() {
    for (right, wrong) in [
        ("nodeName", "nodename"),
        ("nodeName", "nodeNmae"),
        ("hostNetwork", "hostnetwork"),
        ("podIP:", "podIp:"),
        ("podIPs", "podIps"),
        ("spec:", "Spec:"),
        ("status:", "satus:"),
        ("spec:", "labels: {app: web}\nspec:"),
        ("spec:", "hostNetwork: true\nspec:"),
    ] {
        let (objects, parsed) = read(&POD.replace(right, wrong));
        assert!(objects.is_empty() && parsed.readable, "{wrong}");
        assert_eq!(parsed.withheld.len(), 1, "{wrong}");
        assert_eq!(parsed.diagnostics.len(), 1, "{}", findings(&parsed));
        let message = &parsed.diagnostics[0].message;
        assert!(message.contains("is not a field of"), "{message}");
        assert_helpful(&parsed);
    }
}

#[test]
fn another_misspelt_field_of_a_pod_is_an_error_and_is_left_out() {
    for (right, wrong, field) in [
        ("containers:", "container:", "spec.container"),
        ("[{name: c, ports", "[{name: c, port", "spec.containers[0].port"),
        ("containerPort", "containerport", "spec.containers[0].ports[0].containerport"),
        ("{name: http", "{Name: http", "spec.containers[0].ports[0].Name"),
        ("phase", "phse", "status.phse"),
        ("startTime", "startTIme", "status.startTIme"),
        ("containerStatuses", "containerstatuses", "status.containerstatuses"),
    ] {
        let (objects, parsed) = read(&POD.replace(right, wrong));
        let pod = only_pod(objects);
        assert_eq!(fields(&parsed)[0], format!("error {field}"), "{wrong}");
        assert!(pod.addresses.v4.is_some() && pod.labels.len() == 1, "{wrong}");
        assert!(parsed.diagnostics[0].remedy.starts_with("Did you mean"), "{wrong}");
        assert_helpful(&parsed);
    }
}

#[test]
fn lists_and_nodes_have_known_fields_too() {
    for (text, field) in [
        ("apiVersion: v1\nkind: List\nitems: []\nitem: []\n", "item"),
        ("apiVersion: v1\nkind: PodList\nitmes: []\nitems: []\n", "itmes"),
    ] {
        let (_, parsed) = read(text);
        assert!(!parsed.readable, "{text}");
        assert_eq!(fields(&parsed), [format!("error {field}")]);
    }
    let functions =
        "apiVersion: config.kubernetes.io/v1\nkind: ResourceList\nfunctionConfig: {}\nitems: []\n";
    assert!(super::good(functions).is_empty());
    let node = "apiVersion: v1\nkind: Node\nmetadata: {name: n1}\nstatus:\n  addresses: [{type: InternalIP, address: 192.0.2.1}]\n";
    assert_eq!(names(&super::good(node)), ["node n1"]);
    for (right, wrong, field) in [
        ("addresses", "adresses", "status.adresses"),
        ("address:", "Address:", "status.addresses[0].Address"),
        ("type", "typ", "status.addresses[0].typ"),
    ] {
        let (objects, parsed) = read(&node.replace(right, wrong));
        assert_eq!(names(&objects), ["node n1"]);
        assert_eq!(fields(&parsed), [format!("error {field}")], "{wrong}");
    }
}

/// Whoever reads the message knows what does not work until it is corrected.
#[test]
fn an_error_in_a_policy_says_what_it_closes() {
    let of = |spec: &str| {
        let (objects, parsed) =
            read(&policy("{name: p, namespace: x}", &format!("spec: {spec}\n")));
        let policy = only_policy(objects);
        assert!(policy.ingress.is_empty() && policy.egress.is_empty());
        parsed.diagnostics[0].clone()
    };
    for field in ["matchLabel", "MatchLabels", "matchlabels", "matchExpression"] {
        let finding = of(&format!("{{podSelector: {{{field}: {{app: web}}}}, ingress: [{{}}]}}"));
        assert_eq!(finding.field, Some(format!("spec.podSelector.{field}")));
        assert!(finding.remedy.starts_with("Did you mean match"), "{finding}");
        assert_eq!(
            finding.consequence.as_deref(),
            Some(
                "Until this is corrected, the policy isolates every pod of the namespace x for ingress, and allows nothing"
            )
        );
    }
    let rule = of(
        "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{prots: []}]}",
    );
    assert_eq!(
        rule.to_string(),
        "in.yaml:4:81: error: NetworkPolicy x/p: spec.egress[0].prots is not a field of an egress rule. Did you mean ports? Until this is \
         corrected, the policy isolates the pods of the namespace x that its podSelector selects for egress, and allows nothing."
    );
    assert!(
        of("{podSelector: {}, policyTypes: Egress}")
            .consequence
            .unwrap()
            .contains("ingress and egress")
    );
}

/// What an API server of a later Kubernetes has and this version does not know is no slip of the pen, but for the spec of a policy.
#[test]
fn an_unknown_field_of_an_api_server_is_an_error_in_a_policy_only() {
    let read = |text: &str, from_api_server| {
        let mut objects = Vec::new();
        let settings = Settings { from_api_server, ..Settings::default() };
        let parsed = parse_with("in.yaml", text.as_bytes(), &settings, &mut |it| objects.push(it));
        (objects, parsed)
    };
    let pod = r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"p","namespace":"x","labelz":{}},
        "spec":{"nodeNames":"n1","hostNetworks":true},"status":{"podIPz":[],"podIP":"10.0.0.1"},"stat":1}"#;
    let (objects, parsed) = read(pod, true);
    assert_eq!(findings(&parsed), "");
    assert!(only_pod(objects).addresses.v4.is_some());
    let (objects, parsed) = read(pod, false);
    assert!(objects.is_empty() && parsed.has_errors());
    let policy = r#"{"kind":"NetworkPolicy","apiVersion":"networking.k8s.io/v1","metadata":{"name":"p","namespace":"x","new":1},
        "spec":{"podSelector":{},"ingress":[{"only":"sometimes"}]}}"#;
    let (objects, parsed) = read(policy, true);
    assert!(parsed.has_errors(), "{parsed:?}");
    assert!(only_policy(objects).ingress.is_empty(), "it may narrow what is allowed");
}
