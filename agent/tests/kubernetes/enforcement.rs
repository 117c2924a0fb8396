//! How long each kind of change takes until the kernel has it, in either direction. The times are printed, not judged.

use std::time::{Duration, Instant};

use palisade::protocol::{Request, Response, Status};
use palisade_lab::{ApiClient, Write};

use crate::cluster::{A, Cluster, NODE, until_in_sync};
use crate::command::Agent;

const B: &str = "10.0.0.2";
const ROUNDS: usize = 40;
const PATIENCE: Duration = Duration::from_secs(30);

fn status(agent: &Agent) -> Status {
    match agent.ask(&Request::Status) {
        Response::Status(status) => *status,
        other => panic!("{other:?}"),
    }
}

/// A kind of change, which allows a -> b or denies it.
struct Kind {
    name: &'static str,
    allow: Box<dyn Fn() -> Write>,
    deny: Box<dyn Fn() -> Write>,
    /// What goes before a change that allows, and is not measured.
    before_allow: Option<Box<dyn Fn() -> Write>>,
}

fn labels(
    path: &'static str,
    label: &'static str,
    values: [&'static str; 2],
) -> [Box<dyn Fn() -> Write>; 2] {
    values.map(|value| -> Box<dyn Fn() -> Write> {
        Box::new(move || {
            Write::patch(path, format!(r#"{{"metadata":{{"labels":{{"{label}":"{value}"}}}}}}"#))
        })
    })
}

const POLICY: &str = "/apis/networking.k8s.io/v1/namespaces/x/networkpolicies/b";
const POD: &str = "/api/v1/namespaces/z/pods/a";

fn takes(team: &str) -> Write {
    let object = format!(
        r#"{{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{{"name":"b"}},"spec":{{"podSelector":{{"matchLabels":{{"app":"b"}}}},
        "ingress":[{{"from":[{{"namespaceSelector":{{"matchLabels":{{"team":"{team}"}}}},"podSelector":{{"matchLabels":{{"app":"a"}}}}}}]}}]}}}}"#
    );
    Write::apply(POLICY, object)
}

fn create_a() -> Write {
    let object = format!(
        r#"{{"metadata":{{"name":"a","labels":{{"app":"a"}}}},"spec":{{"nodeName":"{NODE}","containers":[{{"name":"c","image":"none"}}]}}}}"#
    );
    Write::create("/api/v1/namespaces/z/pods", object)
}

fn run_a() -> Write {
    let status = format!(
        r#"{{"status":{{"phase":"Running","podIP":"{A}","podIPs":[{{"ip":"{A}"}}],"startTime":"2026-01-01T00:00:00Z"}}}}"#
    );
    Write::patch(format!("{POD}/status"), status)
}

fn kinds() -> [Kind; 4] {
    let [allow_label, deny_label] = labels(POD, "app", ["a", "other"]);
    let [allow_team, deny_team] = labels("/api/v1/namespaces/z", "team", ["red", "blue"]);
    [
        Kind {
            name: "policy",
            allow: Box::new(|| takes("red")),
            deny: Box::new(|| takes("none")),
            before_allow: None,
        },
        Kind { name: "pod's labels", allow: allow_label, deny: deny_label, before_allow: None },
        Kind { name: "namespace's labels", allow: allow_team, deny: deny_team, before_allow: None },
        Kind {
            name: "pod",
            allow: Box::new(run_a),
            deny: Box::new(|| Write::delete(POD)),
            before_allow: Some(Box::new(create_a)),
        },
    ]
}

/// From the request to the kernel's acknowledgement as status shows it, and from the watch's event to it.
struct Took {
    request: Vec<Duration>,
    event: Vec<Duration>,
}

impl Took {
    /// Makes a change and waits until the kernel has it.
    fn measure(&mut self, agent: &Agent, client: &ApiClient, write: Write) {
        let before = status(agent).enforced_revision;
        let began = Instant::now();
        client.write_all([write]).expect("a change");
        let status = loop {
            let status = status(agent);
            if status.enforced_revision > before && status.is_ready() {
                break status;
            }
            assert!(began.elapsed() < PATIENCE, "{status:?}");
        };
        self.request.push(began.elapsed());
        let event = status.changes.first().expect("a change").took_us;
        self.event.push(Duration::from_micros(event));
    }

    fn print(mut self, name: &str, effect: &str) {
        for (from, times) in [("request", &mut self.request), ("event", &mut self.event)] {
            times.sort_unstable();
            let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
            eprintln!(
                "{name}, {effect}, from the {from}: p50 {:.1?}, p99 {:.1?} of {}",
                at(50),
                at(99),
                times.len()
            );
        }
    }
}

#[test]
fn each_kind_of_change_is_enforced_in_either_direction_again_and_again() {
    let cluster = Cluster::new(&[("a", A), ("b", B)]);
    cluster.add_namespace("z");
    cluster.add_pod("x/b", NODE, B);
    cluster.kubectl(&["label", "namespace", "z", "team=red"]);
    let client = cluster.server.client().expect("a client");
    for write in [create_a(), run_a(), takes("red")] {
        client.write_all([write]).expect("a change");
    }
    let agent = cluster.agent();
    until_in_sync(&agent);
    assert!(cluster.passes(A, B, 80));
    for Kind { name, allow, deny, before_allow } in kinds() {
        let none = || Took { request: Vec::new(), event: Vec::new() };
        let (mut allowed, mut denied) = (none(), none());
        for _ in 0..ROUNDS {
            denied.measure(&agent, &client, deny());
            // The pod may be gone, and its address not.
            assert_eq!(agent.verdict(A, "x/b"), "deny", "{name}");
            if let Some(before) = &before_allow {
                let pods = status(&agent).sizes.pods;
                client.write_all([before()]).expect("a change");
                agent.until("the pod", |status| status.sizes.pods > pods && status.is_ready());
            }
            allowed.measure(&agent, &client, allow());
            assert_eq!(agent.verdict(A, "x/b"), "allow", "{name}");
        }
        assert!(cluster.passes(A, B, 80), "{name}");
        denied.print(name, "deny");
        allowed.print(name, "allow");
    }
    agent.verify();
}
