//! Which pod may be meant by a name that no pod has.

use palisade_compiler::model::Pod;
use palisade_compiler::snapshot::Snapshot;

/// Names that are suggested.
const MAX_NAMES: usize = 5;
/// Letters that a misspelt name may differ by.
const MAX_EDITS: usize = 2;

/// A remedy for a pod name without a namespace.
pub(super) fn of_bare_name(snapshot: &Snapshot, name: &str) -> String {
    let found = names(snapshot, |pod| *pod.name == *name)
        .or_else(|| names(snapshot, |pod| pod.name.starts_with(name)))
        .or_else(|| names(snapshot, |pod| is_misspelt(name, &pod.name)));
    match found {
        Some(names) => format!("did you mean {names}?"),
        None => "write namespace/pod as kubectl get pods -A lists it, or an address".into(),
    }
}

/// A remedy for a pod name that its namespace does not have: one that begins so (as a Deployment's pods do), one of the same
/// name elsewhere, a misspelt one, or any of the namespace.
pub(super) fn of_name(snapshot: &Snapshot, namespace: &str, name: &str) -> String {
    let here = |pod: &Pod| *pod.namespace == *namespace;
    let found = names(snapshot, |pod| here(pod) && pod.name.starts_with(name))
        .or_else(|| names(snapshot, |pod| *pod.name == *name))
        .or_else(|| names(snapshot, |pod| here(pod) && is_misspelt(name, &pod.name)));
    if let Some(names) = found {
        return format!("did you mean {names}?");
    }
    if let Some(service) = snapshot.service(namespace, name) {
        let addresses: Vec<String> = service.addresses().map(|a| a.to_string()).collect();
        if !addresses.is_empty() {
            return format!(
                "there is a Service of that name; give its address, {}",
                addresses.join(" or ")
            );
        }
    }
    match names(snapshot, here) {
        Some(names) => format!("the namespace has {names}, ..."),
        None => format!(
            "no pod there is in namespace {namespace}: name it as kubectl get pods -A lists it, or give an address"
        ),
    }
}

fn is_misspelt(given: &str, name: &str) -> bool {
    // Pods of a Deployment have two random parts behind the name that people know.
    let stem = name.rsplitn(3, '-').nth(2).unwrap_or(name);
    // Of a short name, two other letters leave nothing.
    let most = MAX_EDITS.min(given.len() / 3);
    [name, stem].iter().any(|name| {
        name.len().abs_diff(given.len()) <= most && strsim::osa_distance(given, name) <= most
    })
}

fn names(snapshot: &Snapshot, is_meant: impl Fn(&Pod) -> bool) -> Option<String> {
    let meant = snapshot.pods().filter(|pod| is_meant(pod));
    let mut names: Vec<String> =
        meant.map(|pod| format!("{}/{}", pod.namespace, pod.name)).collect();
    names.sort_unstable();
    names.truncate(MAX_NAMES);
    (!names.is_empty()).then(|| names.join(", "))
}
