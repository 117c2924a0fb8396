//! Kubernetes Events about pods that are denied connections, so that who runs one sees it in `kubectl describe`.
//!
//! They are for people, and few: what repeats is told once in ten minutes, and neither a pod nor a node may have many. All
//! denied connections are in `palisade observe` and in the metrics.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::events::v1::Event;
use k8s_openapi::jiff::Timestamp;
use palisade_compiler::wording::listed;
use tokio::time::sleep;

use super::access::ApiServer;
use super::events::{AFTER_REFUSAL, Regarding, Saying, name_of, warning, write};
use crate::connection::protocol_name;
use crate::flows::filter::Filter;
use crate::flows::flow::{Flow, FlowDirection, FlowEnd, FlowVerdict};
use crate::flows::store::FlowStore;

/// For how long a pod, a peer and a port are told of once.
const ONCE_IN: Duration = Duration::from_secs(600);
/// Events about one pod in that time: who tries all ports of a pod keeps no other from being told of.
const MAX_OF_POD: usize = 5;
/// Events of a node that may follow one another, and how long each further one waits.
const MAX_BURST: u32 = 20;
const REFILL: Duration = Duration::from_secs(30);
/// Denials that are remembered; while there are as many, no further ones are told of.
const MAX_TOLD: usize = 1024;
/// How long to wait where other readers of flows took all places.
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// Policies that a note names.
const MAX_NAMED: usize = 3;

const REASON: &str = "ConnectionDenied";
const ACTION: &str = "Connect";

/// A connection that the policies of a pod deny.
#[derive(Debug)]
struct Denial<'a> {
    flow: &'a Flow,
    pod: &'a FlowEnd,
    peer: &'a FlowEnd,
}

/// The pod's uid, the direction, the peer, the protocol and the port.
type Key = (String, FlowDirection, String, u8, Option<u16>);

impl<'a> Denial<'a> {
    /// `None` where no policy is named that denies it.
    fn of(flow: &'a Flow) -> Option<Self> {
        let (pod, peer) = match flow.direction {
            FlowDirection::Ingress => (&flow.to, &flow.from),
            FlowDirection::Egress => (&flow.from, &flow.to),
        };
        let is_told = flow.verdict == FlowVerdict::Deny
            && flow.judgement.divergence.is_none()
            && !flow.judgement.isolated_by.is_empty()
            && pod.uid.is_some();
        is_told.then_some(Self { flow, pod, peer })
    }

    fn key(&self) -> Key {
        let peer = self.peer.pod.as_ref().unwrap_or(&self.peer.address).clone();
        let uid = self.pod.uid.clone().unwrap_or_default();
        (uid, self.flow.direction, peer, self.flow.protocol, self.flow.port)
    }

    fn note(&self) -> String {
        let Self { flow, peer, .. } = self;
        let port = flow.port.map_or_else(String::new, |port| format!(" port {port}"));
        let protocol = protocol_name(flow.protocol);
        let (direction, preposition) = match flow.direction {
            FlowDirection::Ingress => ("Ingress", "from"),
            FlowDirection::Egress => ("Egress", "to"),
        };
        let judgement = &flow.judgement;
        let count = judgement.isolated_by.len() + judgement.further;
        let policies = listed(judgement.isolated_by.iter().take(MAX_NAMED), count);
        let isolate = if count == 1 { "isolates" } else { "isolate" };
        let nearest = judgement.misses.first();
        let nearest = nearest.map_or_else(String::new, |miss| format!(" Nearest: {}.", miss.text));
        format!(
            "{direction} {preposition} {peer}, {protocol}{port}, is denied: {policies} {isolate} the pod, and no rule allows it.{nearest}"
        )
    }

    fn event(&self, node: &str, now: Timestamp) -> Option<Event> {
        let (namespace, name) = self.pod.pod.as_deref()?.split_once('/')?;
        let uid = self.pod.uid.as_deref()?;
        let regarding = Regarding { api_version: "v1", kind: "Pod", namespace, name, uid };
        let saying = Saying { reason: REASON, action: ACTION, note: &self.note() };
        // Another name for what is told again.
        let facts = (self.key(), now.as_second());
        Some(warning(name_of(name, facts), regarding, saying, node, now))
    }
}

/// What may be told.
#[derive(Debug)]
struct Limits {
    /// What was told, and when.
    told: HashMap<Key, Instant>,
    /// How many Events may follow at once, as of `since`.
    left: u32,
    since: Instant,
}

impl Limits {
    fn new(now: Instant) -> Self {
        Self { told: HashMap::new(), left: MAX_BURST, since: now }
    }

    /// Whether it was told in the last ten minutes.
    fn is_known(&self, key: &Key, now: Instant) -> bool {
        self.told.get(key).is_some_and(|&at| now.saturating_duration_since(at) < ONCE_IN)
    }

    /// Whether there is room to tell it, which is taken then.
    fn take(&mut self, key: Key, now: Instant) -> bool {
        self.told.retain(|_, at| now.saturating_duration_since(*at) < ONCE_IN);
        let of_pod = self.told.keys().filter(|told| told.0 == key.0).count();
        while self.left < MAX_BURST && now.saturating_duration_since(self.since) >= REFILL {
            self.left += 1;
            self.since += REFILL;
        }
        if of_pod >= MAX_OF_POD || self.told.len() >= MAX_TOLD || self.left == 0 {
            return false;
        }
        if self.left == MAX_BURST {
            self.since = now;
        }
        self.left -= 1;
        self.told.insert(key, now);
        true
    }
}

/// Writes Events about flows as they come, until there are none any more.
pub(super) async fn run(server: ApiServer, node: String, flows: FlowStore) {
    let filter = Filter { verdicts: vec![FlowVerdict::Deny], ..Filter::default() };
    let mut subscription = loop {
        match flows.subscribe(0, filter.clone()) {
            Some(subscription) => break subscription,
            None => sleep(ASK_AGAIN).await,
        }
    };
    let mut limits = Limits::new(Instant::now());
    let mut refused: Option<Instant> = None;
    while let Some(flow) = subscription.next().await {
        let now = Instant::now();
        let Some(denial) = Denial::of(&flow) else { continue };
        let key = denial.key();
        if limits.is_known(&key, now) {
            continue;
        }
        let is_refused = refused.is_some_and(|at| at.elapsed() < AFTER_REFUSAL);
        if is_refused || !limits.take(key, now) {
            flows.count_event(false);
            continue;
        }
        let Some(event) = denial.event(&node, Timestamp::now()) else { continue };
        let written = write(&server, &event).await;
        flows.count_event(written.is_ok());
        match written {
            Ok(()) => {}
            Err(failure) if failure.is_forbidden() => {
                refused = Some(now);
                tracing::info!("Events about denied connections cannot be written: {failure}");
            }
            Err(failure) => tracing::debug!(%failure, "no Event about {:?}", denial.pod.pod),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::explanation::Miss;
    use crate::flows::flow::Judgement;

    fn flow(port: u16) -> Flow {
        let end = |pod: &str, uid: &str, address: &str| FlowEnd {
            address: address.into(),
            pod: Some(pod.into()),
            uid: Some(uid.into()),
            ..FlowEnd::default()
        };
        let miss = Miss {
            policy: "shop/db".into(),
            rule: Some(0),
            peer: None,
            port: None,
            text: "shop/db ingress[0]: ports[0] is for TCP 5432".into(),
        };
        Flow {
            from: end("shop/web", "u-web", "10.0.0.1"),
            to: end("shop/db", "u-db", "10.0.0.2"),
            port: Some(port),
            judgement: Judgement {
                isolated_by: vec!["shop/db".into()],
                misses: vec![miss],
                ..Judgement::default()
            },
            ..Flow::example()
        }
    }

    #[test]
    fn an_event_is_about_the_pod_whose_policies_deny_and_names_them() {
        let flow = flow(80);
        let event = Denial::of(&flow).unwrap().event("n1", Timestamp::UNIX_EPOCH).unwrap();
        let regarding = event.regarding.unwrap();
        assert_eq!(regarding.name.as_deref(), Some("db"));
        assert_eq!(regarding.uid.as_deref(), Some("u-db"));
        assert_eq!(
            event.note.unwrap(),
            "Ingress from shop/web (10.0.0.1), TCP port 80, is denied: shop/db isolates the pod, and no rule allows it. \
             Nearest: shop/db ingress[0]: ports[0] is for TCP 5432."
        );
        let mut unexplained = flow;
        unexplained.judgement.divergence = Some("why".into());
        assert!(Denial::of(&unexplained).is_none());
    }

    #[test]
    fn what_repeats_is_told_once_and_no_pod_takes_all_there_is() {
        let start = Instant::now();
        let mut limits = Limits::new(start);
        let key = |pod: usize, port: u16| -> Key {
            (format!("u{pod}"), FlowDirection::Ingress, "shop/web".into(), 6, Some(port))
        };
        let told = (0..50).filter(|&port| limits.take(key(0, port), start)).count();
        assert_eq!(told, MAX_OF_POD);
        assert!(limits.is_known(&key(0, 0), start) && !limits.is_known(&key(0, 49), start));
        let told = (1..50).filter(|&pod| limits.take(key(pod, 1), start)).count();
        assert_eq!(told, MAX_BURST as usize - MAX_OF_POD);
        let later = start + REFILL;
        let told = (50..60).filter(|&pod| limits.take(key(pod, 1), later)).count();
        assert_eq!(told, 1, "one more in each while");
        assert!(!limits.is_known(&key(0, 0), start + ONCE_IN));
    }
}
