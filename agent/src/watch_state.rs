//! How the watches of an API server are: what the source reports for status, metrics and readiness.

use std::collections::BTreeMap;
use std::time::Instant;

use palisade_compiler::snapshot::ObjectKind;

/// The API server that is followed, and its watches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KubernetesState {
    /// Its URL.
    pub server: String,
    /// One of each kind, in the order of `ObjectKind::ALL`.
    pub watches: Vec<WatchState>,
}

impl KubernetesState {
    /// Whether all that verdicts depend on was listed once.
    pub fn is_in_sync(&self) -> bool {
        self.watches.iter().all(|watch| watch.in_sync || !watch.decides)
    }

    /// Whether what verdicts depend on may have changed unheard, after it was known: a watch is down, or a list goes on.
    pub fn is_behind(&self) -> bool {
        let is_behind = |watch: &WatchState| watch.is_listing || watch.outage.is_some();
        self.is_in_sync() && self.watches.iter().any(|watch| watch.decides && is_behind(watch))
    }

    /// The longest outage of the kinds on which verdicts depend: since when the newest state is not known, and of what.
    pub fn outage(&self) -> Option<(&WatchState, &Outage)> {
        let deciding = self.watches.iter().filter(|watch| watch.decides);
        let out = deciding.filter_map(|watch| Some((watch, watch.outage.as_ref()?)));
        out.min_by_key(|(_, outage)| outage.since)
    }
}

/// How the watch of one kind is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchState {
    pub kind: ObjectKind,
    /// Whether verdicts depend on it. Other kinds serve explanations.
    pub decides: bool,
    /// Whether every object of the kind was listed once.
    pub in_sync: bool,
    /// Whether all objects are being listed, or must be, so that what is known of them may be old.
    pub is_listing: bool,
    /// Whether the agent may read the kind. Only of a kind on which no verdict depends a refusal is no outage.
    pub is_permitted: bool,
    /// When the last event, bookmark or item of a list came.
    pub heard: Option<Instant>,
    /// `None` while the kind is watched.
    pub outage: Option<Outage>,
    /// How often all objects were listed; the first time is one of them.
    pub lists: u64,
    /// Failures of lists and watches, by kinds of failure: `connection`, `forbidden`, `gone`, `timeout` and a few more.
    pub errors: BTreeMap<&'static str, u64>,
}

impl WatchState {
    pub fn new(kind: ObjectKind, decides: bool) -> Self {
        Self {
            kind,
            decides,
            in_sync: false,
            is_listing: false,
            is_permitted: true,
            heard: None,
            outage: None,
            lists: 0,
            errors: BTreeMap::new(),
        }
    }

    /// The server's name for the kind, as RBAC has it.
    pub fn resource(&self) -> &'static str {
        resource(self.kind)
    }
}

/// A time in which a kind is not watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    pub since: Instant,
    /// Why, at the last attempt.
    pub error: String,
}

/// The server's name for the objects of a kind, as RBAC has it.
pub fn resource(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Namespace => "namespaces",
        ObjectKind::Node => "nodes",
        ObjectKind::Pod => "pods",
        ObjectKind::Policy => "networkpolicies",
        ObjectKind::Service => "services",
        ObjectKind::EndpointSlice => "endpointslices",
    }
}
