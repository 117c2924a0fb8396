//! Nodes as network namespaces with routes between them, an agent on each, and pods that real network plugins connect.
//!
//! ```text
//! pod -- plugin -- node "n1" -- eth0 --\
//! pod -- plugin -- node "n2" -- eth0 ---+-- the cluster's own namespace: routes, and the API server
//! pod -- plugin -- node "n3" -- eth0 --/
//! ```

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, socket};
use palisade::protocol::{Request, Response};
use palisade_lab::{Namespace, tool};

use crate::cluster::{Cluster, until_in_sync};
use crate::cni::{Plugin, PodNetwork};
use crate::command::{Agent, Scratch};

/// Of the API server.
const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 254);
/// The gateway of every node.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
const PORT: u16 = 80;
/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_micros(200);

/// The nodes of a cluster, and their pods.
pub(crate) struct Network {
    pub(crate) cluster: Cluster,
    plugin: Plugin,
    nodes: Vec<Node>,
    /// By name. The first name of each is its namespace's.
    pods: BTreeMap<String, Pod>,
    /// How many pods there ever were.
    count: usize,
    state: Scratch,
}

struct Node {
    name: String,
    namespace: Namespace,
    address: Ipv4Addr,
    network: PodNetwork,
    agent: Agent,
}

/// A pod's processes and what connects them, whatever the API server says of the pod.
struct Pod {
    node: String,
    id: String,
    namespace: Namespace,
    address: Ipv4Addr,
    listener: TcpListener,
}

impl Network {
    /// With the namespaces `x` and `z`, and the nodes `n1` and `n2`.
    #[track_caller]
    pub(crate) fn new(plugin: Plugin) -> Self {
        let cluster = Cluster::reached_at(SERVER);
        cluster.add_namespace("z");
        let (nodes, pods, state) = (Vec::new(), BTreeMap::new(), Scratch::new());
        let mut network = Self { cluster, plugin, nodes, pods, count: 0, state };
        network.add_node();
        network.add_node();
        network
    }

    /// The next node, with an agent that is in sync. Its name is `n` and its number from 1.
    #[track_caller]
    pub(crate) fn add_node(&mut self) {
        let number = self.nodes.len() as u8 + 1;
        let (name, address) = (format!("n{number}"), Ipv4Addr::new(192, 0, 2, number));
        let range = format!("10.244.{number}.0/24");
        let (namespace, router) = (Namespace::new().unwrap(), self.cluster.node());
        namespace.set("ipv4/ip_forward", "1").unwrap();
        let path = namespace.path();
        ip(
            router,
            &format!(
                "link add {name} type veth peer name eth0 netns {path}\nlink set {name} up\n\
             address add {GATEWAY}/32 dev {name}\nroute add {address} dev {name}\nroute add {range} via {address} dev {name} onlink\n"
            ),
        );
        ip(
            &namespace,
            &format!(
                "link set eth0 up\naddress add {address}/32 dev eth0\nroute add default via {GATEWAY} dev eth0 onlink\n"
            ),
        );
        self.cluster.add_node(&name, &address.to_string());
        self.cluster.set_pod_range(&name, &range);
        let network = PodNetwork::new(&namespace, self.plugin, &range, &self.state.0.join(&name));
        let agent = self.cluster.agent_on(&namespace, &name);
        until_in_sync(&agent);
        self.nodes.push(Node { name, namespace, address, network, agent });
    }

    #[track_caller]
    fn node(&self, name: &str) -> &Node {
        self.nodes.iter().find(|node| node.name == name).unwrap_or_else(|| panic!("no node {name}"))
    }

    #[track_caller]
    pub(crate) fn agent(&self, node: &str) -> &Agent {
        &self.node(node).agent
    }

    #[track_caller]
    pub(crate) fn address(&self, pod: &str) -> Ipv4Addr {
        self.pod(pod).address
    }

    #[track_caller]
    fn pod(&self, name: &str) -> &Pod {
        self.pods.get(name).unwrap_or_else(|| panic!("no pod {name}"))
    }

    /// A pod is bound to a node, its plugin gives it an address, this one or any, its processes start, and its kubelet says so.
    #[track_caller]
    pub(crate) fn start(&mut self, pod: &str, node: &str, labels: &str, address: Option<Ipv4Addr>) {
        self.cluster.bind_labelled(pod, node, labels);
        self.count += 1;
        let (id, namespace) = (format!("pod-{}", self.count), Namespace::new().unwrap());
        if address.is_some() {
            self.forget_neighbours();
        }
        let address = self.node(node).network.add(&id, &namespace, address);
        let listen = || TcpListener::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, PORT));
        let listener = namespace.run(listen).unwrap().unwrap();
        listener.set_nonblocking(true).unwrap();
        let started = Pod { node: node.to_owned(), id, namespace, address, listener };
        self.pods.insert(pod.to_owned(), started);
        self.set_phase(pod, "Running");
    }

    /// As a minute or so does: on a bridge, until then, whoever spoke with a pod sends to it what is for the next one with its
    /// address.
    fn forget_neighbours(&self) {
        let nodes = self.nodes.iter().map(|node| &node.namespace);
        for namespace in nodes.chain(self.pods.values().map(|pod| &pod.namespace)) {
            ip(namespace, "neighbour flush all\n");
        }
    }

    /// Has the kubelet say in what phase a pod is.
    #[track_caller]
    pub(crate) fn set_phase(&self, pod: &str, phase: &str) {
        let Pod { node, address, .. } = self.pod(pod);
        let host = self.node(node).address;
        let status = format!(
            r#"{{"phase":"{phase}","podIP":"{address}","podIPs":[{{"ip":"{address}"}}],"hostIP":"{host}","hostIPs":[{{"ip":"{host}"}}],"startTime":"2026-01-01T00:00:00Z"}}"#
        );
        let (namespace, name) = pod.split_once('/').unwrap();
        self.cluster.server.patch_pod_status(namespace, name, &status).expect("patched");
    }

    /// The processes of a pod end, and its address is free.
    #[track_caller]
    pub(crate) fn stop(&mut self, pod: &str) {
        let Pod { node, id, namespace, .. } = self.pods.remove(pod).unwrap();
        self.node(&node).network.remove(&id, &namespace);
    }

    /// A pod ends and is deleted.
    #[track_caller]
    pub(crate) fn remove(&mut self, pod: &str) {
        self.stop(pod);
        self.cluster.delete_pod(pod);
    }

    /// The processes of all pods end. No address is given any more.
    #[track_caller]
    pub(crate) fn stop_all(&mut self) {
        for pod in self.pods.keys().cloned().collect::<Vec<_>>() {
            self.stop(&pod);
        }
        for node in &self.nodes {
            assert_eq!(node.network.given(), [Ipv4Addr::UNSPECIFIED; 0], "{}", node.name);
        }
    }

    /// That each pod may connect to those that the rule in words says, and to no other: waits until it is so, and then judges all
    /// of it by connections once more. Each agent explains the same, and its kernel holds what it means.
    #[track_caller]
    pub(crate) fn judge(&self, rule: &str, may: impl Fn(&str, &str) -> bool) {
        let pairs = self.pairs();
        for &(from, to) in &pairs {
            self.until_connects(rule, from, to, may(short(from), short(to)));
        }
        let verdicts = |(from, to): (&'_ str, &'_ str)| (from.to_owned(), to.to_owned());
        let allowed: Vec<_> = pairs
            .iter()
            .copied()
            .filter(|&(from, to)| may(short(from), short(to)))
            .map(verdicts)
            .collect();
        let made = pairs.iter().copied().filter(|&(from, to)| self.connects(from, to));
        assert_eq!(made.map(verdicts).collect::<Vec<_>>(), allowed, "{rule}");
        for node in &self.nodes {
            node.agent.verify();
        }
    }

    /// Waits until a connection is made, or is not any more. An end is a pod, or a node as in `n1`.
    #[track_caller]
    pub(crate) fn until_connects(&self, rule: &str, from: &str, to: &str, wanted: bool) {
        let deadline = Instant::now() + PATIENCE;
        while self.connects(from, to) != wanted {
            let but = if wanted { "is denied" } else { "is allowed" };
            assert!(Instant::now() < deadline, "{rule}: {from} -> {to} {but}");
        }
    }

    fn pairs(&self) -> Vec<(&str, &str)> {
        let names = || self.pods.keys().map(String::as_str);
        let pairs = names().flat_map(|from| names().map(move |to| (from, to)));
        pairs.filter(|(from, to)| from != to).collect()
    }

    /// Whether a connection is made, and carries data both ways; or else a packet was denied by one of the agents' rules, for
    /// nothing else goes between pods meanwhile.
    #[track_caller]
    pub(crate) fn connects(&self, from: &str, to: &str) -> bool {
        let source = match self.pods.get(from) {
            Some(pod) => &pod.namespace,
            None => &self.node(from).namespace,
        };
        let target = self.pod(to);
        let denied = self.denied();
        let client = source.run(|| begin(SocketAddrV4::new(target.address, PORT))).unwrap();
        let deadline = Instant::now() + PATIENCE;
        while client.peer_addr().is_err() {
            if self.denied() != denied {
                // It may have come while the other was denied.
                return client.peer_addr().is_ok();
            }
            let error = client.take_error().unwrap();
            assert!(error.is_none(), "{from} -> {to}: {error:?}");
            assert!(Instant::now() < deadline, "{from} -> {to} is neither made nor denied");
            sleep(PAUSE);
        }
        exchange(client, &target.listener);
        true
    }

    /// Packets that were denied, or held since their address is not known, on all nodes.
    fn denied(&self) -> Vec<u64> {
        let of = |node: &Node| match node.agent.ask(&Request::Status) {
            Response::Status(status) => {
                let denied = status.denied.expect("counted");
                [denied.ingress, denied.egress, status.hold.packets]
            }
            other => panic!("{other:?}"),
        };
        self.nodes.iter().flat_map(of).collect()
    }
}

/// A pod's name without its namespace.
fn short(pod: &str) -> &str {
    pod.split_once('/').unwrap().1
}

#[track_caller]
fn ip(namespace: &Namespace, batch: &str) {
    namespace.run(|| tool::run("ip", &["-batch", "-"], batch)).unwrap().expect("ip");
}

/// Sends the first packet of a connection.
fn begin(target: SocketAddrV4) -> TcpStream {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let client = socket(AddressFamily::Inet, SockType::Stream, flags, None).unwrap();
    match connect(client.as_raw_fd(), &SockaddrIn::from(target)) {
        Ok(()) | Err(Errno::EINPROGRESS) => client.into(),
        Err(errno) => panic!("{target}: {errno}"),
    }
}

/// Says something, and hears it again.
fn exchange(mut client: TcpStream, listener: &TcpListener) {
    let own: SocketAddr = client.local_addr().unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut served = loop {
        match listener.accept() {
            Ok((stream, peer)) if peer.port() == own.port() => break stream,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => sleep(PAUSE),
            Err(error) => panic!("{error}"),
        }
        assert!(Instant::now() < deadline, "the connection never came");
    };
    for stream in [&client, &served] {
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    let mut heard = [0; 5];
    client.write_all(b"hello").unwrap();
    served.read_exact(&mut heard).unwrap();
    served.write_all(&heard).unwrap();
    client.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"hello");
}
