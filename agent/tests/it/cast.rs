//! The pods and policies that many tests share, and where they are carried out.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use palisade_compiler::model::Family;
use palisade_lab::{Lab, Layout};

/// X may reach A on 80/TCP and 53/UDP; C may reach B on the same.
pub(crate) const CAST: &str = r#"
{"kind": "List", "apiVersion": "v1", "items": [
  {"kind": "Pod", "apiVersion": "v1", "metadata": {"namespace": "n", "name": "a", "labels": {"pod": "a"}},
   "status": {"phase": "Running", "podIPs": [{"ip": "10.1.0.1"}, {"ip": "fd00:1::1"}]}},
  {"kind": "Pod", "apiVersion": "v1", "metadata": {"namespace": "n", "name": "b", "labels": {"pod": "b"}},
   "status": {"phase": "Running", "podIPs": [{"ip": "10.1.0.2"}, {"ip": "fd00:1::2"}]}},
  {"kind": "Pod", "apiVersion": "v1", "metadata": {"namespace": "n", "name": "c", "labels": {"pod": "c"}},
   "status": {"phase": "Running", "podIPs": [{"ip": "10.1.0.3"}, {"ip": "fd00:1::3"}]}},
  {"kind": "Pod", "apiVersion": "v1", "metadata": {"namespace": "n", "name": "x", "labels": {"pod": "x"}},
   "status": {"phase": "Running", "podIPs": [{"ip": "10.1.0.4"}, {"ip": "fd00:1::4"}]}},
  {"kind": "NetworkPolicy", "apiVersion": "networking.k8s.io/v1", "metadata": {"namespace": "n", "name": "x"},
   "spec": {"podSelector": {"matchLabels": {"pod": "x"}}, "policyTypes": ["Egress"],
     "egress": [{"to": [{"podSelector": {"matchLabels": {"pod": "a"}}}],
                 "ports": [{"port": 80}, {"protocol": "UDP", "port": 53}]}]}},
  {"kind": "NetworkPolicy", "apiVersion": "networking.k8s.io/v1", "metadata": {"namespace": "n", "name": "b"},
   "spec": {"podSelector": {"matchLabels": {"pod": "b"}}, "policyTypes": ["Ingress"],
     "ingress": [{"from": [{"podSelector": {"matchLabels": {"pod": "c"}}}],
                  "ports": [{"port": 80}, {"protocol": "UDP", "port": 53}]}]}}
]}"#;

pub(crate) const LAYOUTS_AND_FAMILIES: [(Layout, Family); 4] = [
    (Layout::Routed, Family::V4),
    (Layout::Routed, Family::V6),
    (Layout::Bridged, Family::V4),
    (Layout::Bridged, Family::V6),
];

/// A TCP connection that stands.
pub(crate) fn connected(lab: &Lab, from: IpAddr, to: IpAddr, port: u16) -> (TcpStream, TcpStream) {
    let at = SocketAddr::new(to, port);
    let server = lab.machine_of(to).expect("a machine").namespace();
    let client = lab.machine_of(from).expect("a machine").namespace();
    let listener = server.run(|| TcpListener::bind(at)).expect("entered").expect("bound");
    let bound = Duration::from_secs(5);
    let stream = client.run(|| TcpStream::connect_timeout(&at, bound)).expect("entered");
    let (accepted, _) = listener.accept().expect("accepted");
    (stream.expect("connected"), accepted)
}
