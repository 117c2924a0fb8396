//! Kubernetes Events about policies that are not enforced as they are written, so that who wrote one sees it in `kubectl describe`.
//!
//! Every agent reads every policy. So that one faulty policy does not bring a request from each node, only agents with a pod in its
//! namespace report it, none at the same moment, and all under one name: the first is taken, and the others are told that it exists.

use std::collections::BTreeSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::PostParams;
use palisade_compiler::model::PolicyKey;
use tokio::sync::mpsc::{self, Receiver};
use tokio::time::{sleep, timeout};

use super::access::ApiServer;
use super::failure::Failure;
use super::retry::jitter;

/// Reports that wait at most; later ones are left out, since the log and the status have them too.
const MAX_WAITING: usize = 64;
/// Names of Events that are known to exist; beyond that they are forgotten, and the server is asked again.
const MAX_KNOWN: usize = 1024;
/// Events are spread over this time.
const WITHIN: Duration = Duration::from_secs(5);
/// Within how long the server must answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How long none are written after the server has refused one.
const AFTER_REFUSAL: Duration = Duration::from_secs(600);
/// The longest note that the server takes, in bytes (events.k8s.io/v1, `Event.note`).
const MAX_NOTE: usize = 1024;
/// Of the policy's name, what the Event's name takes at most: a name has at most 253 characters.
const MAX_NAME: usize = 200;

/// The controller that reports, and what happened, as `kubectl describe` shows them.
const CONTROLLER: &str = "palisade.io/agent";
const REASON: &str = "NotEnforcedAsWritten";
const ACTION: &str = "Enforce";

/// What is wrong with a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PolicyFault {
    pub(super) key: PolicyKey,
    pub(super) uid: String,
    pub(super) note: String,
}

impl PolicyFault {
    /// The same for every agent, and another for another fault or another policy of the name.
    fn event_name(&self) -> String {
        let mut hasher = DefaultHasher::new();
        (&self.uid, &self.note).hash(&mut hasher);
        let name: String = self.key.name.chars().take(MAX_NAME).collect();
        format!("{name}.{:016x}", hasher.finish())
    }

    fn event(&self, node: &str, now: Timestamp) -> Event {
        let PolicyKey { namespace, name } = &self.key;
        Event {
            metadata: ObjectMeta {
                name: Some(self.event_name()),
                namespace: Some(namespace.to_string()),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(now)),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(node.to_owned()),
            action: Some(ACTION.to_owned()),
            reason: Some(REASON.to_owned()),
            type_: Some("Warning".to_owned()),
            note: Some(cut(&self.note)),
            regarding: Some(ObjectReference {
                api_version: Some("networking.k8s.io/v1".to_owned()),
                kind: Some("NetworkPolicy".to_owned()),
                namespace: Some(namespace.to_string()),
                name: Some(name.to_string()),
                uid: Some(self.uid.clone()),
                ..ObjectReference::default()
            }),
            ..Event::default()
        }
    }
}

/// What of a note the server takes.
fn cut(note: &str) -> String {
    const END: &str = "...";
    if note.len() <= MAX_NOTE {
        return note.to_owned();
    }
    let ends = note.char_indices().map(|(at, _)| at);
    let end = ends.take_while(|&at| at <= MAX_NOTE - END.len()).last().unwrap_or(0);
    note.get(..end).unwrap_or_default().to_owned() + END
}

/// Where faults are reported to. Never waits.
#[derive(Debug, Clone)]
pub(super) struct Reporter(mpsc::Sender<PolicyFault>);

impl Reporter {
    pub(super) fn report(&self, fault: PolicyFault) {
        if let Err(error) = self.0.try_send(fault) {
            tracing::debug!(%error, "an Event is left out");
        }
    }
}

pub(super) fn channel() -> (Reporter, Receiver<PolicyFault>) {
    let (sender, receiver) = mpsc::channel(MAX_WAITING);
    (Reporter(sender), receiver)
}

/// Writes the faults that come as Events, until nobody reports any more.
pub(super) async fn run(server: ApiServer, node: String, mut faults: Receiver<PolicyFault>) {
    let mut known = BTreeSet::new();
    let mut refused: Option<Instant> = None;
    while let Some(fault) = faults.recv().await {
        let is_refused = refused.is_some_and(|at| at.elapsed() < AFTER_REFUSAL);
        let name = (fault.key.namespace.clone(), fault.event_name());
        if is_refused || known.contains(&name) {
            continue;
        }
        sleep(jitter(WITHIN)).await;
        match write(&server, &fault.event(&node, Timestamp::now())).await {
            Ok(()) => {
                let PolicyKey { namespace, name: policy } = &fault.key;
                tracing::info!(
                    "NetworkPolicy {namespace}/{policy} has an Event that says what of it is not enforced"
                );
                if known.len() >= MAX_KNOWN {
                    known.clear();
                }
                known.insert(name);
            }
            Err(failure) if failure.is_forbidden() => {
                refused = Some(Instant::now());
                tracing::info!(
                    "Events about policies that are not enforced as written cannot be written, so that only the log and the status \
                     tell of them: {failure}"
                );
            }
            Err(failure) => tracing::debug!(%failure, "no Event about {:?}", fault.key),
        }
    }
}

/// Success also where the Event exists.
async fn write(server: &ApiServer, event: &Event) -> Result<(), Failure> {
    let namespace = event.metadata.namespace.as_deref().unwrap_or_default();
    let events: Api<Event> = Api::namespaced(server.client.clone(), namespace);
    let parameters = PostParams::default();
    let answer = timeout(ANSWER_WITHIN, events.create(&parameters, event)).await;
    match answer.map_err(|_elapsed| Failure::Silent(ANSWER_WITHIN))? {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        answer => answer.map(drop).map_err(Failure::from),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn fault(name: &str, uid: &str, note: &str) -> PolicyFault {
        let key = PolicyKey { namespace: "shop".into(), name: name.into() };
        PolicyFault { key, uid: uid.to_owned(), note: note.to_owned() }
    }

    #[test]
    fn all_agents_use_one_name_for_one_fault_of_one_policy() {
        let one = fault("db", "u1", "spec: wrong");
        assert_eq!(one.event_name(), fault("db", "u1", "spec: wrong").event_name());
        assert!(one.event_name().starts_with("db."));
        for other in [fault("db", "u2", "spec: wrong"), fault("db", "u1", "spec: worse")] {
            assert_ne!(one.event_name(), other.event_name());
        }
        assert!(fault(&"x".repeat(253), "u", "n").event_name().len() <= 253);
    }

    #[test]
    fn a_note_has_the_length_that_the_server_takes() {
        assert_eq!(cut("short"), "short");
        let long = cut(&"\u{e4}".repeat(1000));
        assert!(long.len() <= MAX_NOTE && long.ends_with("..."), "{}", long.len());
    }

    #[test]
    fn an_event_names_the_policy_and_who_says_it() {
        let event = fault("db", "u1", "spec: wrong").event("n1", Timestamp::UNIX_EPOCH);
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!(json["kind"], "Event");
        assert_eq!(json["regarding"]["uid"], "u1");
        assert_eq!(json["reportingInstance"], "n1");
        assert_eq!(json["eventTime"], "1970-01-01T00:00:00.000000Z");
    }
}
