//! An object as the API server writes it -> the change that it means, and what is wrong with it.
//!
//! The parser is that of manifests, so that fields, faults and their words are the same wherever an object comes from. It reads
//! what it needs and skips the rest where it stands.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use palisade_compiler::model::Uid;
use palisade_compiler::parse::{Settings, Severity, parse_with};
use palisade_compiler::snapshot::{Change, ObjectKind};
use serde::Deserialize;

use super::failure::Failure;
use crate::sources::object::ObjectKey;

/// The annotation of the bookmark that ends a streaming list.
const END_OF_LIST: &str = "k8s.io/initial-events-end";
/// The name of the source in diagnostics, which are shown without it.
const SOURCE: &str = "the Kubernetes API";

/// What names an object, and the version of it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata<'a> {
    #[serde(borrow, default)]
    pub(super) name: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) namespace: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) uid: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) resource_version: Cow<'a, str>,
}

#[derive(Debug, Deserialize)]
struct WithMetadata<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
}

pub(super) fn metadata(json: &str) -> Result<Metadata<'_>, Failure> {
    Ok(serde_json::from_str::<WithMetadata<'_>>(json)?.metadata)
}

/// The version that a bookmark carries, and whether it ends a streaming list.
pub(super) fn bookmark(json: &str) -> Result<(String, bool), Failure> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Bookmark {
        resource_version: String,
        #[serde(default)]
        annotations: BTreeMap<String, String>,
    }
    #[derive(Deserialize)]
    struct WithBookmark {
        metadata: Bookmark,
    }
    let bookmark = serde_json::from_str::<WithBookmark>(json)?.metadata;
    let is_end = bookmark.annotations.get(END_OF_LIST).is_some_and(|value| value == "true");
    Ok((bookmark.resource_version, is_end))
}

/// What names an object of the kind.
pub(super) fn key(kind: ObjectKind, metadata: &Metadata<'_>) -> ObjectKey {
    ObjectKey::new(kind, Arc::from(&*metadata.namespace), Arc::from(&*metadata.name))
}

/// The change by which an object goes; of a pod, only that with this uid.
pub(super) fn deletion(key: ObjectKey, metadata: &Metadata<'_>) -> Change {
    match key.deletion() {
        Change::DeletePod { namespace, name, .. } => {
            let uid = (!metadata.uid.is_empty()).then(|| Uid::from(&*metadata.uid));
            Change::DeletePod { namespace, name, uid }
        }
        other => other,
    }
}

/// What an object means.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) change: Change,
    /// What a person should know about it.
    pub(super) problems: Vec<(Severity, String)>,
}

/// Reads an object of the kind. One that is not understood keeps what was known of it.
pub(super) fn read(key: &ObjectKey, json: &str) -> Read {
    let settings = Settings { from_api_server: true, ..Settings::default() };
    let mut object = None;
    let parsed = parse_with(SOURCE, json.as_bytes(), &settings, &mut |read| object = Some(read));
    let found = parsed.diagnostics.iter();
    let problems = found.map(|found| (found.severity, found.finding().to_string())).collect();
    let is_withheld = !parsed.readable || !parsed.withheld.is_empty();
    let change = match object.filter(|object| !is_withheld && ObjectKey::of(object) == *key) {
        Some(object) => Change::from(object),
        None => key.clone().keep(),
    };
    Read { change, problems }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

    use palisade_compiler::parse::parse;

    use super::*;

    /// As the API server writes it, with what nobody here reads.
    const POD: &str = r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","namespace":"x","uid":"0f8fad5b-d9cb-469f-a165-70867728950e",
        "resourceVersion":"41","labels":{"app":"a"},"annotations":{"k":"{\"metadata\":{\"name\":\"other\"}}"},"managedFields":[{"manager":"kubelet",
        "fieldsV1":{"f:metadata":{"f:labels":{}}}}],"deletionTimestamp":"2026-01-01T00:00:00Z"},"spec":{"nodeName":"n1","containers":[{"name":"c",
        "ports":[{"name":"web","containerPort":80,"protocol":"TCP"}]}]},"status":{"phase":"Running","podIP":"10.0.0.1","podIPs":[{"ip":"10.0.0.1"},
        {"ip":"fd00::1"}],"startTime":"2026-01-01T00:00:00Z","containerStatuses":[{"name":"c","state":{"running":{}}}]}}"#;

    #[test]
    fn an_object_means_the_same_as_in_a_manifest() {
        let metadata = metadata(POD).unwrap();
        assert_eq!(metadata.resource_version, "41");
        let key = key(ObjectKind::Pod, &metadata);
        let mut manifest = Vec::new();
        parse("in.yaml", POD.as_bytes(), &mut |object| manifest.push(Change::from(object)));
        let Read { change, problems } = read(&key, POD);
        assert_eq!(([change].as_slice(), problems), (manifest.as_slice(), Vec::new()));
        let deleted = deletion(key, &metadata);
        assert!(matches!(deleted, Change::DeletePod { uid: Some(_), .. }), "{deleted:?}");
    }

    #[test]
    fn an_object_that_is_not_understood_stays_as_it_was() {
        let wrong = POD.replace(r#""app":"a""#, r#""app":7"#);
        let key = key(ObjectKind::Pod, &metadata(&wrong).unwrap());
        let Read { change, problems } = read(&key, &wrong);
        assert!(matches!(&change, Change::Keep { name, .. } if &**name == "a"), "{change:?}");
        let [(Severity::Error, problem)] = problems.as_slice() else { panic!("{problems:?}") };
        assert!(problem.starts_with("Pod x/a: metadata.labels"), "{problem}");
        // One of another kind is not taken for one of this kind.
        let other = POD.replace(r#""kind":"Pod""#, r#""kind":"Secret""#);
        assert!(matches!(read(&key, &other).change, Change::Keep { .. }));
    }

    #[test]
    fn only_the_marked_bookmark_ends_a_list() {
        let with = |annotations: &str| {
            bookmark(&format!(
                r#"{{"kind":"Pod","metadata":{{"resourceVersion":"7","creationTimestamp":null{annotations}}},"spec":{{}}}}"#
            ))
            .unwrap()
        };
        assert_eq!(with(""), ("7".to_owned(), false));
        let marked = with(r#","annotations":{"k8s.io/initial-events-end":"true"}"#);
        assert_eq!(marked, ("7".to_owned(), true));
        assert!(bookmark("{}").is_err() && metadata("[]").is_err());
    }
}
