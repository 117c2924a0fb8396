//! The identities that the parts of the compile refer to each other by.
//!
//! All of them are counters: an id is not given out again while anything still refers to its first owner.

use std::sync::Arc;

use crate::model::Protocol;

/// A version of a policy: an edited policy has another id than before the edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PolicyId(pub(super) u32);

/// A set of peers, as rules describe them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PeerSetId(pub(super) u32);

/// A kind of pod: pods that no selector in use tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct KindId(pub(super) u32);

/// A group of subjects: local pods that are allowed the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct GroupId(pub(super) u32);

/// A pod's group for ingress and for egress; `None` where no policy isolates the pod.
pub(super) type PodGroups = [Option<GroupId>; 2];

/// The name of a port in a rule. It stands for other numbers on other pods.
pub(super) type PortName = (Protocol, Arc<str>);
