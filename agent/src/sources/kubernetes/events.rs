//! Kubernetes Events as the API server takes them (events.k8s.io/v1).

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher as _};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::PostParams;
use tokio::time::timeout;

use super::access::ApiServer;
use super::failure::Failure;

/// Within how long the server must answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How long none are written after the server has refused one.
pub(super) const AFTER_REFUSAL: Duration = Duration::from_secs(600);
/// The longest note that the server takes, in bytes.
const MAX_NOTE: usize = 1024;
/// Of the object's name, what the Event's name takes at most: a name has at most 253 characters.
const MAX_NAME: usize = 200;

/// The controller that reports, as `kubectl describe` shows it.
const CONTROLLER: &str = "palisade.io/agent";

/// The object that an Event is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Regarding<'a> {
    pub(super) api_version: &'static str,
    pub(super) kind: &'static str,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    pub(super) uid: &'a str,
}

/// What an Event says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Saying<'a> {
    pub(super) reason: &'static str,
    pub(super) action: &'static str,
    pub(super) note: &'a str,
}

/// The same for equal facts about an object of that name, and another for others.
pub(super) fn name_of(object: &str, facts: impl Hash) -> String {
    let mut hasher = DefaultHasher::new();
    facts.hash(&mut hasher);
    let name: String = object.chars().take(MAX_NAME).collect();
    format!("{name}.{:016x}", hasher.finish())
}

/// A warning with the name that `name_of` gives.
pub(super) fn warning(
    name: String,
    regarding: Regarding<'_>,
    saying: Saying<'_>,
    node: &str,
    now: Timestamp,
) -> Event {
    let text = |text: &str| Some(text.to_owned());
    Event {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: text(regarding.namespace),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(now)),
        reporting_controller: text(CONTROLLER),
        reporting_instance: text(node),
        action: text(saying.action),
        reason: text(saying.reason),
        type_: text("Warning"),
        note: Some(cut(saying.note)),
        regarding: Some(ObjectReference {
            api_version: text(regarding.api_version),
            kind: text(regarding.kind),
            namespace: text(regarding.namespace),
            name: text(regarding.name),
            uid: text(regarding.uid),
            ..ObjectReference::default()
        }),
        ..Event::default()
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

/// Success also where the Event exists.
pub(super) async fn write(server: &ApiServer, event: &Event) -> Result<(), Failure> {
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

    #[test]
    fn a_note_has_the_length_that_the_server_takes() {
        assert_eq!(cut("short"), "short");
        let long = cut(&"\u{e4}".repeat(1000));
        assert!(long.len() <= MAX_NOTE && long.ends_with("..."), "{}", long.len());
    }

    #[test]
    fn an_event_names_the_object_and_who_says_it() {
        let regarding =
            Regarding { api_version: "v1", kind: "Pod", namespace: "shop", name: "db", uid: "u1" };
        let saying = Saying { reason: "R", action: "A", note: "n" };
        let event = warning(name_of("db", 1), regarding, saying, "n1", Timestamp::UNIX_EPOCH);
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!(json["kind"], "Event");
        assert_eq!(json["regarding"]["uid"], "u1");
        assert_eq!(json["reportingInstance"], "n1");
        assert_eq!(json["eventTime"], "1970-01-01T00:00:00.000000Z");
        assert!(name_of(&"x".repeat(253), 1).len() <= 253);
    }
}
