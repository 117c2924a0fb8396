//! Objects as they were written: of each part the fields that are read, and the names of those that nobody knows.

use std::sync::Arc;

use serde::de::MapAccess;

use super::key::Key;
use super::lenient::{Annotations, Lenient, Pairs, Present, Shape};
use super::tree::Skip;

type Text = Arc<str>;
type List<T> = Vec<Lenient<T>>;

/// How many unknown fields of a part are kept.
const MAX_UNKNOWN: usize = 8;

/// The fields of a part of an object.
pub(super) struct Fields {
    /// Those that are read.
    pub(super) read: &'static [&'static str],
    /// All that Kubernetes has.
    pub(super) known: &'static [&'static str],
}

/// After `and` come the fields that Kubernetes has and that are not read.
macro_rules! wire {
    ($($(#[$about:meta])* $name:ident {
        $($field:ident: $type:ty = $key:literal,)*
    } and [$($other:literal),* $(,)?])*) => {$(
        $(#[$about])*
        #[derive(Debug, Default)]
        pub(super) struct $name {
            $(pub(super) $field: Lenient<$type>,)*
            /// The first few fields that are none of the known.
            pub(super) unknown: Vec<String>,
        }

        impl $name {
            pub(super) const FIELDS: Fields =
                Fields { read: &[$($key),*], known: &[$($key,)* $($other),*] };
        }

        impl<'de> Shape<'de> for $name {
            fn of_map<A: MapAccess<'de>>(mut map: A) -> Result<Lenient<Self>, A::Error> {
                let mut read = Self::default();
                while let Some(Key(key)) = map.next_key()? {
                    match &*key {
                        $($key => read.$field.put($key, map.next_value()?)?,)*
                        $($other => _ = map.next_value::<Skip>()?,)*
                        unknown => {
                            if read.unknown.len() < MAX_UNKNOWN {
                                read.unknown.push(unknown.to_owned());
                            }
                            map.next_value::<Skip>()?;
                        }
                    }
                }
                Ok(Lenient::Is(read))
            }
        }
    )*};
}

wire! {
    /// `metav1.ObjectMeta`, and `metav1.ListMeta` of lists.
    Metadata {
        name: Text = "name",
        namespace: Text = "namespace",
        uid: Text = "uid",
        labels: Pairs = "labels",
        annotations: Annotations = "annotations",
        deletion_timestamp: Text = "deletionTimestamp",
        // Of a list that is not the whole.
        next: Text = "continue",
        remaining: i64 = "remainingItemCount",
        shard: Present = "shardInfo",
    } and [
            "clusterName",
            "creationTimestamp",
            "deletionGracePeriodSeconds",
            "finalizers",
            "generateName",
            "generation",
            "managedFields",
            "ownerReferences",
            "resourceVersion",
            "selfLink",
        ]

    PodSpec {
        node_name: Text = "nodeName",
        host_network: bool = "hostNetwork",
        dns_policy: Text = "dnsPolicy",
        containers: List<Container> = "containers",
        init_containers: List<Container> = "initContainers",
    } and [
            "activeDeadlineSeconds",
            "affinity",
            "automountServiceAccountToken",
            "dnsConfig",
            "enableServiceLinks",
            "ephemeralContainers",
            "hostAliases",
            "hostIPC",
            "hostPID",
            "hostUsers",
            "hostname",
            "hostnameOverride",
            "imagePullSecrets",
            "nodeSelector",
            "os",
            "overhead",
            "preemptionPolicy",
            "priority",
            "priorityClassName",
            "readinessGates",
            "resourceClaims",
            "resources",
            "restartPolicy",
            "runtimeClassName",
            "schedulerName",
            "schedulingGates",
            "schedulingGroup",
            "securityContext",
            "serviceAccount",
            "serviceAccountName",
            "setHostnameAsFQDN",
            "shareProcessNamespace",
            "subdomain",
            "terminationGracePeriodSeconds",
            "tolerations",
            "topologySpreadConstraints",
            "volumes",
        ]

    Container {
        name: Text = "name",
        restart_policy: Text = "restartPolicy",
        ports: List<ContainerPort> = "ports",
    } and [
            "args",
            "command",
            "env",
            "envFrom",
            "image",
            "imagePullPolicy",
            "lifecycle",
            "livenessProbe",
            "readinessProbe",
            "resizePolicy",
            "resources",
            "restartPolicyRules",
            "securityContext",
            "startupProbe",
            "stdin",
            "stdinOnce",
            "terminationMessagePath",
            "terminationMessagePolicy",
            "tty",
            "volumeDevices",
            "volumeMounts",
            "workingDir",
        ]

    ContainerPort {
        name: Text = "name",
        protocol: Text = "protocol",
        container_port: i64 = "containerPort",
    } and ["hostIP", "hostPort"]

    PodStatus {
        phase: Text = "phase",
        pod_ip: Text = "podIP",
        pod_ips: List<Address> = "podIPs",
        host_ip: Text = "hostIP",
        host_ips: List<Address> = "hostIPs",
        start_time: Text = "startTime",
        containers: List<ContainerStatus> = "containerStatuses",
        init_containers: List<ContainerStatus> = "initContainerStatuses",
        ephemeral_containers: List<ContainerStatus> = "ephemeralContainerStatuses",
    } and [
            "allocatedResources",
            "conditions",
            "extendedResourceClaimStatus",
            "message",
            "nodeAllocatableResourceClaimStatuses",
            "nominatedNodeName",
            "observedGeneration",
            "qosClass",
            "reason",
            "resize",
            "resourceClaimStatuses",
            "resources",
        ]

    /// `PodIP` and `HostIP`.
    Address {
        ip: Text = "ip",
    } and []

    ContainerStatus {
        name: Text = "name",
        state: ContainerState = "state",
    } and [
            "allocatedResources",
            "allocatedResourcesStatus",
            "containerID",
            "image",
            "imageID",
            "lastState",
            "ready",
            "resources",
            "restartCount",
            "started",
            "stopSignal",
            "user",
            "volumeMounts",
        ]

    ContainerState {
        terminated: Present = "terminated",
    } and ["running", "waiting"]

    NodeSpec {
        pod_cidr: Text = "podCIDR",
        pod_cidrs: List<Text> = "podCIDRs",
    } and ["configSource", "externalID", "providerID", "taints", "unschedulable"]

    NodeStatus {
        addresses: List<NodeAddress> = "addresses",
    } and [
            "allocatable",
            "capacity",
            "conditions",
            "config",
            "daemonEndpoints",
            "declaredFeatures",
            "features",
            "images",
            "nodeInfo",
            "phase",
            "runtimeHandlers",
            "volumesAttached",
            "volumesInUse",
        ]

    NodeAddress {
        kind: Text = "type",
        address: Text = "address",
    } and []
}
