//! Pods.

mod addresses;
mod containers;

use std::sync::Arc;

use super::lenient::Lenient;
use super::metadata::{allowed_sources, labels, lint_ignore};
use super::path::{OBJECT, Path};
use super::subject::{Reported, Subject};
use super::wire::{Metadata, PodSpec, PodStatus};
use crate::model::{DnsPolicy, Phase, Pod, Uid};

const SPEC: &Path<'static> = &Path::Field(OBJECT, "spec");
const STATUS: &Path<'static> = &Path::Field(OBJECT, "status");

/// Fields without which it is not known who the pod is.
const IDENTITY: [&str; 4] = ["nodeName", "hostNetwork", "podIP", "podIPs"];

/// A pod, if its identity can be read: its labels, its node, its network and its addresses. (A pod that lost its address by
/// a slip would lose its isolation.) Other wrong fields are left out: the name of a wrong port matches nothing.
pub(super) fn read(
    subject: &mut Subject<'_, '_>,
    (namespace, name): (Arc<str>, Arc<str>),
    mut metadata: Metadata,
    (spec, status): (Lenient<PodSpec>, Lenient<PodStatus>),
) -> Result<Pod, Reported> {
    let lint_ignore = lint_ignore(&mut metadata);
    let allowed_sources = allowed_sources(subject, &mut metadata);
    let labels = labels(subject, metadata.labels);
    let spec = subject.read(spec, "a map", SPEC).map(Option::unwrap_or_default);
    let status = subject.read(status, "a map", STATUS).map(Option::unwrap_or_default);
    let (labels, spec, status) = (labels?, spec?, status?);
    let mut meant = subject.misspelt(SPEC, "the spec of a Pod", &spec.unknown, &PodSpec::FIELDS);
    let of = "the status of a Pod";
    meant.extend(subject.misspelt(STATUS, of, &status.unknown, &PodStatus::FIELDS));
    subject.unsound |= meant.iter().any(|field| IDENTITY.contains(field));

    let node = subject.read(spec.node_name, "a string", &SPEC.field("nodeName"));
    let host_network = subject.read(spec.host_network, "true or false", &SPEC.field("hostNetwork"));
    let (node, host_network) = (node?, host_network?.unwrap_or(false));
    let path = Path::Field(OBJECT, "metadata");
    let uid = subject.read(metadata.uid, "a string", &path.field("uid")).ok().flatten();
    let is_terminating = !metadata.deletion_timestamp.is_absent();

    let containers = containers::Containers::read(subject, spec.containers, spec.init_containers);
    let statuses = containers::Statuses::read(
        subject,
        status.containers,
        status.init_containers,
        status.ephemeral_containers,
    );
    let containers_gone = is_terminating && statuses.all_have_ended(&containers);
    let ports = containers.ports(subject);
    let addresses = addresses::of_pod(subject, status.pod_ips, status.pod_ip)?;
    let host_ips = addresses::of_host(subject, status.host_ips, status.host_ip);
    Ok(Pod {
        namespace,
        name,
        uid: uid.map(|uid| Uid::from(&*uid)),
        labels: Arc::new(labels),
        node: node.filter(|node| !node.is_empty()),
        addresses,
        host_ips,
        host_network,
        phase: phase(subject, status.phase),
        started: started(subject, status.start_time),
        containers_gone,
        ports: ports.into(),
        dns_policy: dns_policy(&spec.dns_policy),
        lint_ignore,
        allowed_sources,
    })
}

/// What cannot be read is not said to be the cluster's.
fn dns_policy(written: &Lenient<Arc<str>>) -> DnsPolicy {
    match written.as_known().map(AsRef::as_ref) {
        None if written.is_absent() => DnsPolicy::Cluster,
        Some("ClusterFirst" | "ClusterFirstWithHostNet" | "") => DnsPolicy::Cluster,
        Some(_) | None => DnsPolicy::Other,
    }
}

fn phase(subject: &mut Subject<'_, '_>, written: Lenient<Arc<str>>) -> Phase {
    let path = STATUS.field("phase");
    match subject.read(written, "a string", &path) {
        Err(Reported) => Phase::Unknown,
        Ok(None) => Phase::Pending,
        Ok(Some(phase)) => match &*phase {
            "" | "Pending" => Phase::Pending,
            "Running" => Phase::Running,
            "Succeeded" => Phase::Succeeded,
            "Failed" => Phase::Failed,
            "Unknown" => Phase::Unknown,
            _ => {
                let message =
                    format!("is {phase:?}, which is not a phase; the pod keeps its addresses");
                let remedy = "Write Pending, Running, Succeeded, Failed or Unknown";
                subject.error(&path, message, remedy);
                Phase::Unknown
            }
        },
    }
}

fn started(subject: &mut Subject<'_, '_>, written: Lenient<Arc<str>>) -> Option<i64> {
    let path = STATUS.field("startTime");
    let text = subject.read(written, "a string", &path).ok()??;
    let time = text.parse::<jiff::Timestamp>().ok();
    if time.is_none() {
        let message = format!(
            "is {text:?}, which is not a time; the pod counts as started before all others"
        );
        subject.error(&path, message, "Write it as 2030-01-31T12:00:00Z (RFC 3339)");
    }
    time.map(jiff::Timestamp::as_second)
}
