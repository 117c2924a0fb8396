//! Why a lab could not be created, or why it proved nothing.

use std::error::Error;
use std::io;
use std::net::IpAddr;

use nix::errno::Errno;
use thiserror::Error;

use crate::spec::MAX_MACHINES;
use crate::tool::ToolError;

#[derive(Debug, Error)]
pub enum LabError {
    #[error("not permitted: {what} (run as root, with CAP_NET_ADMIN and CAP_SYS_ADMIN)")]
    NotPermitted { what: String },
    #[error("this kernel lacks {what}")]
    Missing { what: String },
    #[error(
        "etcd, kube-apiserver and kubectl are not in {directory}: build them by deploy/kubernetes/build, or set KUBEBUILDER_ASSETS to \
         the directory that they are in"
    )]
    NoApiServer { directory: String },
    #[error("the lab cannot have address {address}: {why}")]
    Address { address: IpAddr, why: &'static str },
    #[error("a lab has at most {MAX_MACHINES} machines, {0} were asked for")]
    TooMany(usize),
    #[error("no two machines of the lab have the addresses {from} and {to}")]
    NoPath { from: IpAddr, to: IpAddr },
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    /// The API server refused a request, or did not answer it.
    #[error("{request}: {source}")]
    Request { request: String, source: Box<dyn Error + Send + Sync> },
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// Nothing was proved: the marker did not arrive. It is sent after the other packets, to prove that none of them is
    /// still under way.
    #[error("the marker from {from} to {to} did not arrive within {seconds} s")]
    MarkerLost { from: String, to: String, seconds: u64 },
    /// Nothing was proved: arrived packets were lost because the buffer that they are read from was full.
    #[error("{lost} arrivals at {at} were lost: the socket's buffer was full")]
    Overrun { at: String, lost: u32 },
}

impl LabError {
    /// The variant for an error of a system call; `what` says what was tried.
    pub fn of_errno(what: impl Into<String>, errno: Errno) -> Self {
        let what = what.into();
        match errno {
            Errno::EPERM | Errno::EACCES => Self::NotPermitted { what },
            Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT | Errno::EPROTONOSUPPORT => {
                Self::Missing { what }
            }
            errno => Self::Io { what, source: errno.into() },
        }
    }

    /// The same for an error that may have an error number.
    pub fn io(what: impl Into<String>, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(errno) => Self::of_errno(what, Errno::from_raw(errno)),
            None => Self::Io { what: what.into(), source },
        }
    }
}
