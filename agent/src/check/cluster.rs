//! The cluster, as its API server tells it: permissions, the node, the range of its pods, and what pods ask for names.
#![allow(
    clippy::indexing_slicing,
    reason = "the index of a JSON value by a name is null where there is none"
)]

mod answers;

use std::time::Duration;

use ipnet::IpNet;
use kube::Client;
use palisade_compiler::snapshot::ObjectKind;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::finding::{Finding, Severity};
use crate::sources::kubernetes::Access;
use crate::watch_state::resource;
use answers::{dns, judge_range, node_ranges, permission, pods_outside};

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Pods of the node whose addresses are looked at.
const MAX_PODS: usize = 500;

/// How the cluster is looked at.
#[derive(Debug, Clone, Default)]
pub struct ClusterOptions {
    /// `None` where there is no API server to ask.
    pub access: Option<Access>,
    pub node: Option<String>,
    /// Ranges of the node's pods that are given by hand.
    pub pod_cidrs: Vec<IpNet>,
}

pub(super) fn findings(options: &ClusterOptions) -> Vec<Finding> {
    let Some(access) = &options.access else {
        let mut findings = vec![Finding::new(
            Severity::Note,
            "api",
            "no API server was asked",
            "Permissions, the node's name, its pods' range and their DNS are not known without it.",
            "In a cluster, give --kubeconfig, or run this in a pod of the agent.",
        )];
        findings.push(judge_range(&options.pod_cidrs, &[]));
        return findings;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(ask(access, options)),
        Err(error) => vec![unreachable(&error.to_string())],
    }
}

fn unreachable(why: &str) -> Finding {
    Finding::new(
        Severity::Failure,
        "api",
        format!("the API server cannot be asked: {why}"),
        "The agent learns of pods and policies from it. What it enforced before stays in force meanwhile.",
        "Look at the address and the credentials (--kubeconfig, or the pod's service account), and whether a firewall is between.",
    )
}

async fn ask(access: &Access, options: &ClusterOptions) -> Vec<Finding> {
    let client = match access.open().await {
        Ok(server) => server.client,
        Err(error) => return vec![unreachable(&error.to_string())],
    };
    let cluster = Cluster { client };
    let version = match cluster.get("/version").await {
        Ok(version) => version,
        Err(error) => return vec![unreachable(&error)],
    };
    let version = version["gitVersion"].as_str().unwrap_or("of an unknown version").to_owned();
    let mut findings = vec![Finding::ok("api", format!("Kubernetes {version} answers"))];
    findings.extend(cluster.permissions().await);
    findings.extend(cluster.node(options).await);
    findings.push(cluster.dns().await);
    findings
}

struct Cluster {
    client: Client,
}

impl Cluster {
    async fn get(&self, path: &str) -> Result<Value, String> {
        self.request(http::Request::get(path).body(Vec::new())).await
    }

    async fn request(
        &self,
        request: http::Result<http::Request<Vec<u8>>>,
    ) -> Result<Value, String> {
        let request = request.map_err(|error| error.to_string())?;
        match timeout(ANSWER_WITHIN, self.client.request(request)).await {
            Ok(answer) => answer.map_err(|error| reason(&error)),
            Err(_elapsed) => Err(format!("no answer within {} s", ANSWER_WITHIN.as_secs())),
        }
    }

    /// What the agent reads: verdicts depend on the first four, explanations on the rest.
    async fn permissions(&self) -> Vec<Finding> {
        let mut missing = (Vec::new(), Vec::new());
        for kind in ObjectKind::ALL {
            let decides = !matches!(kind, ObjectKind::Service | ObjectKind::EndpointSlice);
            for verb in ["list", "watch"] {
                match self.may(group(kind), resource(kind), verb).await {
                    Ok(true) => {}
                    Ok(false) if decides => missing.0.push(format!("{verb} {}", resource(kind))),
                    Ok(false) => missing.1.push(format!("{verb} {}", resource(kind))),
                    Err(error) => {
                        return vec![Finding::new(
                            Severity::Warning,
                            "api-permissions",
                            format!("permissions cannot be asked: {error}"),
                            "The agent must be able to list and watch what policies speak of.",
                            "Allow create of selfsubjectaccessreviews (every user may by default), or look by kubectl auth can-i.",
                        )];
                    }
                }
            }
        }
        vec![permission(&missing.0, &missing.1)]
    }

    async fn may(&self, group: &str, resource: &str, verb: &str) -> Result<bool, String> {
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {"group": group, "resource": resource, "verb": verb}},
        });
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let request = http::Request::post(path).header("Content-Type", "application/json");
        let body = serde_json::to_vec(&review).map_err(|error| error.to_string())?;
        let answer = self.request(request.body(body)).await?;
        Ok(answer["status"]["allowed"] == Value::Bool(true))
    }

    async fn node(&self, options: &ClusterOptions) -> Vec<Finding> {
        let Some(name) = &options.node else {
            let mut findings = vec![Finding::new(
                Severity::Note,
                "node",
                "the node's name was not given",
                "Which pods are on it, and their range, is not known without it.",
                "Give --node-name, as in kubectl get nodes.",
            )];
            findings.push(judge_range(&options.pod_cidrs, &[]));
            return findings;
        };
        let node = match self.get(&format!("/api/v1/nodes/{}", escaped(name))).await {
            Ok(node) => node,
            Err(error) => {
                return vec![Finding::new(
                    Severity::Failure,
                    "node",
                    format!("the node {name:?} cannot be read: {error}"),
                    "Pods are local by this name. Where no node has it, nothing is isolated here.",
                    "Give --node-name (or NODE_NAME) as kubectl get nodes shows it.",
                )];
            }
        };
        let mut findings = vec![Finding::ok("node", format!("{name} is a node of the cluster"))];
        let mut ranges = options.pod_cidrs.clone();
        ranges.extend(node_ranges(&node));
        let selector = format!("spec.nodeName%3D{}", escaped(name));
        let pods = format!("/api/v1/pods?fieldSelector={selector}&limit={MAX_PODS}");
        match self.get(&pods).await {
            Ok(pods) => findings.push(judge_range(&ranges, &pods_outside(&pods, &ranges))),
            Err(error) => findings.push(Finding::new(
                Severity::Warning,
                "pod-range",
                format!("the pods of the node cannot be listed: {error}"),
                "Whether their addresses are in the node's range is not known.",
                "Allow list of pods.",
            )),
        }
        findings
    }

    async fn dns(&self) -> Finding {
        dns(self.get("/api/v1/namespaces/kube-system/services/kube-dns").await.as_ref())
    }
}

const fn group(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Namespace | ObjectKind::Node | ObjectKind::Pod | ObjectKind::Service => "",
        ObjectKind::Policy => "networking.k8s.io",
        ObjectKind::EndpointSlice => "discovery.k8s.io",
    }
}

/// For a path or query of a URL.
fn escaped(name: &str) -> String {
    form_urlencoded::byte_serialize(name.as_bytes()).collect()
}

/// The server's own words where it refuses: the error would print every field of its answer.
fn reason(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => {
            format!("the server answered: {}", status.message)
        }
        other => chain(other),
    }
}

/// An error with what led to it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text += &format!(": {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn a_refusal_is_told_in_the_words_of_the_server() {
        let refused = |message: &str| {
            let status = Status::failure(message, "NotFound").with_code(404);
            reason(&kube::Error::Api(status.boxed()))
        };
        let message = "services \"kube-dns\" not found";
        assert_eq!(refused(message), format!("the server answered: {message}"));
        assert!(refused("").contains("NotFound"));
    }
}
