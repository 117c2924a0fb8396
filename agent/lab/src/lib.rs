//! Pods as network namespaces of this host, with real packets and connections between them.
//!
//! ```text
//! pod "a"  eth0 ---- veth in the node's namespace --\
//! pod "b"  eth0 ---- veth in the node's namespace ---+-- forwarding, and the rules under test
//! outside  eth0 ---- veth in the node's namespace --/
//! ```
//!
//! The host's own namespace is never changed. All interfaces, addresses and routes are in namespaces that this crate makes. These have no
//! name and no route out, so that the kernel removes them when the lab is dropped or its process ends, however it ends.

#![forbid(unsafe_code)]

#[cfg(feature = "api-server")]
mod api_server;
mod arrival;
mod conversation;
mod error;
mod flood;
pub mod frame;
mod lab;
mod links;
mod namespace;
mod nflog;
pub mod packet;
mod probe;
mod sockets;
mod spec;
pub mod tool;
mod tracking;
mod wire;

#[cfg(feature = "api-server")]
pub use api_server::{AGENT_USER, ApiClient, ApiServer, Write, assets};
pub use conversation::{Conversation, Servers};
pub use error::LabError;
pub use flood::{Flood, FloodCount};
pub use lab::{BRIDGE, GATEWAY_V4, GATEWAY_V6, Lab, MARKERS, Machine, link_local};
pub use namespace::Namespace;
pub use nflog::{Nflog, Record};
pub use probe::Transmission;
pub use sockets::pin_to_current_cpu;
pub use spec::{Host, LabSpec, Layout, MAX_MACHINES, unsupported};
pub use wire::{SeenFrame, Wire};
