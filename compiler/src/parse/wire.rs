//! Objects as they were written, of each only the fields that have a meaning here.

use std::sync::Arc;

use serde::de::MapAccess;

use super::lenient::{Key, Lenient, Pairs, Present, Shape, Skip};

type Text = Arc<str>;
type List<T> = Vec<Lenient<T>>;

macro_rules! wire {
    ($($(#[$about:meta])* $name:ident { $($field:ident: $type:ty = $key:literal),* $(,)? })*) => {$(
        $(#[$about])*
        #[derive(Debug, Default)]
        pub(super) struct $name {
            $(pub(super) $field: Lenient<$type>,)*
        }

        impl<'de> Shape<'de> for $name {
            fn of_map<A: MapAccess<'de>>(mut map: A) -> Result<Lenient<Self>, A::Error> {
                let mut read = Self::default();
                while let Some(Key(key)) = map.next_key()? {
                    match &*key {
                        $($key => read.$field.put($key, map.next_value()?)?,)*
                        _ => _ = map.next_value::<Skip>()?,
                    }
                }
                Ok(Lenient::Is(read))
            }
        }
    )*};
}

wire! {
    /// `metav1.ObjectMeta`
    Metadata {
        name: Text = "name",
        namespace: Text = "namespace",
        uid: Text = "uid",
        labels: Pairs = "labels",
        deletion_timestamp: Text = "deletionTimestamp",
    }

    PodSpec {
        node_name: Text = "nodeName",
        host_network: bool = "hostNetwork",
        containers: List<Container> = "containers",
        init_containers: List<Container> = "initContainers",
    }

    Container {
        name: Text = "name",
        restart_policy: Text = "restartPolicy",
        ports: List<ContainerPort> = "ports",
    }

    ContainerPort {
        name: Text = "name",
        protocol: Text = "protocol",
        container_port: i64 = "containerPort",
    }

    PodStatus {
        phase: Text = "phase",
        pod_ip: Text = "podIP",
        pod_ips: List<PodIp> = "podIPs",
        start_time: Text = "startTime",
        containers: List<ContainerStatus> = "containerStatuses",
        init_containers: List<ContainerStatus> = "initContainerStatuses",
        ephemeral_containers: List<ContainerStatus> = "ephemeralContainerStatuses",
    }

    PodIp {
        ip: Text = "ip",
    }

    ContainerStatus {
        name: Text = "name",
        state: ContainerState = "state",
    }

    ContainerState {
        terminated: Present = "terminated",
    }

    NodeStatus {
        addresses: List<NodeAddress> = "addresses",
    }

    NodeAddress {
        kind: Text = "type",
        address: Text = "address",
    }
}
