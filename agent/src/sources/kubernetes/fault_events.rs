//! Kubernetes Events about policies that are not enforced as they are written, so that who wrote one sees it in `kubectl describe`.
//!
//! Every agent reads every policy. So that one faulty policy does not bring a request from each node, only agents with a pod in its
//! namespace report it, none at the same moment, and all under one name: the first is taken, and the others are told that it exists.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use k8s_openapi::api::events::v1::Event;
use k8s_openapi::jiff::Timestamp;
use palisade_compiler::model::PolicyKey;
use tokio::sync::mpsc::{self, Receiver};
use tokio::time::sleep;

use super::access::ApiServer;
use super::events::{AFTER_REFUSAL, Regarding, Saying, name_of, warning, write};
use super::retry::jitter;

/// Reports that wait at most; later ones are left out, since the log and the status have them too.
const MAX_WAITING: usize = 64;
/// Names of Events that are known to exist; beyond that they are forgotten, and the server is asked again.
const MAX_KNOWN: usize = 1024;
/// Events are spread over this time.
const WITHIN: Duration = Duration::from_secs(5);

/// What happened, as `kubectl describe` shows it.
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
        name_of(&self.key.name, (&self.uid, &self.note))
    }

    fn event(&self, node: &str, now: Timestamp) -> Event {
        let PolicyKey { namespace, name } = &self.key;
        let regarding = Regarding {
            api_version: "networking.k8s.io/v1",
            kind: "NetworkPolicy",
            namespace,
            name,
            uid: &self.uid,
        };
        let saying = Saying { reason: REASON, action: ACTION, note: &self.note };
        warning(self.event_name(), regarding, saying, node, now)
    }
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

#[cfg(test)]
mod tests {
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
    }
}
