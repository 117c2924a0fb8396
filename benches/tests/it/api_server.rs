//! The API server from a client's point of view: it lists the cluster, and watches show what changes.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::handshake;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use palisade_benches::api_server::ApiServer;
use palisade_benches::scenario::{Edit, EditKind, Scenario, ScenarioShape};
use palisade_compiler::model::{Pod, PodAddresses};
use palisade_compiler::parse::{Object, parse};
use palisade_compiler::snapshot::Change;
use palisade_lab::Namespace;
use serde_json::Value;

/// An answer that takes longer is regarded as missing.
const PATIENCE: Duration = Duration::from_secs(10);

fn scenario() -> Scenario {
    Scenario::new(ScenarioShape::Ports, 12, 60, 7).dual_stack()
}

/// Runs the test with a server of the scenario, in a separate network namespace.
fn beside_server<F: Future<Output = ()>>(test: impl FnOnce(ApiServer) -> F + Send) {
    let namespace = Namespace::new().expect("root");
    namespace
        .run(|| {
            let scenario = scenario();
            let nodes = scenario.nodes().into_iter().map(Change::ApplyNode);
            let server = ApiServer::start(nodes.chain(scenario.changes())).expect("a server");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                tokio::time::timeout(PATIENCE, test(server)).await.expect("all answers in time");
            });
        })
        .expect("a namespace");
}

async fn ask(server: SocketAddr, method: &str, path: &str) -> Response<Incoming> {
    let stream = tokio::net::TcpStream::connect(server).await.expect("connected");
    let (mut client, connection) = handshake(TokioIo::new(stream)).await.expect("HTTP");
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header("host", "server");
    let request = request.body(String::new()).expect("a request");
    client.send_request(request).await.expect("an answer")
}

async fn get(server: SocketAddr, path: &str) -> (u16, Bytes) {
    let answer = ask(server, "GET", path).await;
    let code = answer.status().as_u16();
    (code, answer.into_body().collect().await.expect("a body").to_bytes())
}

async fn json(server: SocketAddr, path: &str) -> Value {
    let (code, body) = get(server, path).await;
    assert_eq!(code, 200, "{path}: {}", String::from_utf8_lossy(&body));
    serde_json::from_slice(&body).expect("JSON")
}

/// The events of a watch.
struct Events {
    body: Incoming,
    read: Vec<u8>,
}

impl Events {
    async fn of(server: SocketAddr, path: &str) -> Self {
        let answer = ask(server, "GET", path).await;
        assert_eq!(answer.status(), 200, "{path}");
        Self { body: answer.into_body(), read: Vec::new() }
    }

    /// The type, name and version of the next event.
    async fn next(&mut self) -> (String, String, u64) {
        let end = loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                break end;
            }
            let frame = self.body.frame().await.expect("the watch goes on").expect("a frame");
            self.read.extend(frame.into_data().expect("data"));
        };
        let line: Vec<u8> = self.read.drain(..=end).collect();
        let event: Value = serde_json::from_slice(&line).expect("an event");
        let metadata = &event["object"]["metadata"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let version = text(&metadata["resourceVersion"]).parse().expect("a version");
        (text(&event["type"]), text(&metadata["name"]), version)
    }
}

#[test]
fn what_it_lists_is_the_cluster() {
    beside_server(|server| async move {
        let mut listed = Vec::new();
        for path in
            ["/api/v1/namespaces", "/api/v1/pods", "/apis/networking.k8s.io/v1/networkpolicies"]
        {
            let (_, text) = get(server.address(), path).await;
            let parsed = parse(path, &text, &mut |object| {
                listed.push(match object {
                    // A scenario does not contain the start times of pods and the addresses of nodes, and every running pod
                    // has them.
                    Object::Pod(pod) => Change::ApplyPod(Pod {
                        started: None,
                        host_ips: PodAddresses::default(),
                        ..pod
                    }),
                    other => Change::from(other),
                });
            });
            assert!(parsed.readable && parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
        }
        let sorted = |mut changes: Vec<Change>| {
            changes.sort_by_key(|change| format!("{change:?}"));
            changes
        };
        assert_eq!(sorted(listed), sorted(scenario().changes()));
    });
}

#[test]
fn it_is_found_by_discovery_and_knows_its_objects() {
    beside_server(|server| async move {
        let server = server.address();
        assert!(json(server, "/version").await["gitVersion"].is_string());
        let groups = json(server, "/apis").await;
        for group in groups["groups"].as_array().unwrap() {
            let version = group["preferredVersion"]["groupVersion"].as_str().unwrap();
            let resources = json(server, &format!("/apis/{version}")).await;
            assert!(!resources["resources"].as_array().unwrap().is_empty());
        }
        let core = json(server, "/api/v1").await;
        for resource in core["resources"].as_array().unwrap() {
            let name = resource["name"].as_str().unwrap();
            let list = json(server, &format!("/api/v1/{name}?limit=500")).await;
            assert_eq!(list["kind"], format!("{}List", resource["kind"].as_str().unwrap()));
            assert!(list["metadata"]["resourceVersion"].is_string() && list["items"].is_array());
        }
        let node = json(server, "/api/v1/nodes/node-0").await;
        let pod = scenario().pod(0);
        let path = format!("/api/v1/namespaces/{}/pods", pod.namespace);
        let found = json(server, &format!("{path}/{}", pod.name)).await;
        assert_eq!(found["status"]["hostIP"], node["status"]["addresses"][0]["address"]);
        let of_one = json(server, &path).await;
        let all = json(server, "/api/v1/pods").await;
        let count = |list: &Value| list["items"].as_array().unwrap().len();
        assert!(0 < count(&of_one) && count(&of_one) < count(&all));
    });
}

#[test]
fn an_edit_arrives_as_an_event() {
    let edits: Vec<Edit> = scenario().edits().take(40).collect();
    let of = |kind| edits.iter().find(|edit| edit.kind == kind).cloned().expect("such an edit");
    let (born, gone) = (of(EditKind::PodBorn), of(EditKind::PodGone));
    let Change::ApplyPod(pod) = born.change.clone() else { panic!("{born:?}") };
    beside_server(|server| async move {
        let at = server.address();
        let list = json(at, "/api/v1/pods").await;
        let version: u64 = list["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
        let watch = |more: &str| format!("/api/v1/pods?watch=true&resourceVersion={version}{more}");
        let mut all = Events::of(at, &watch("&allowWatchBookmarks=true")).await;
        let elsewhere = watch("").replace("/pods", "/namespaces/unheard-of/pods");
        let mut elsewhere = Events::of(at, &format!("{elsewhere}&timeoutSeconds=1")).await;
        server.apply(born.change.clone());
        server.apply(born.change);
        server.apply(gone.change);
        for (number, verb) in (1..).zip(["ADDED", "MODIFIED", "DELETED"]) {
            assert_eq!(all.next().await, (verb.into(), pod.name.to_string(), version + number));
        }
        // A watch from an earlier version, as a client does after its connection was lost.
        let later = watch("").replace(&version.to_string(), &(version + 2).to_string());
        assert_eq!(Events::of(at, &later).await.next().await.0, "DELETED");
        // The watch ended after its time-out, without an event.
        assert!(elsewhere.body.frame().await.is_none());
    });
}

#[test]
fn a_watch_can_begin_with_what_there_is() {
    beside_server(|server| async move {
        let nodes = scenario().nodes().len();
        let path = "/api/v1/nodes?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan\
                    &allowWatchBookmarks=true&resourceVersion=";
        let mut events = Events::of(server.address(), path).await;
        for _ in 0..nodes {
            assert_eq!(events.next().await.0, "ADDED");
        }
        let (verb, _, version) = events.next().await;
        assert_eq!(verb, "BOOKMARK");
        server.apply(Change::DeleteNode("node-1".into()));
        assert_eq!(events.next().await, ("DELETED".into(), "node-1".into(), version + 1));
    });
}

#[test]
fn what_it_does_not_serve_it_refuses() {
    beside_server(|server| async move {
        let at = server.address();
        for (path, code) in [
            ("/api/v1/pods/nowhere", 404),
            ("/api/v1/nodes/node-99999", 404),
            ("/api/v1/secrets", 404),
            ("/apis/apps/v1", 404),
            ("/api/v1/pods?labelSelector=app%3Dweb", 400),
            ("/api/v1/services?labelSelector=app%3Dweb", 200),
            ("/api/v1/pods?watch=1&resourceVersion=1", 410),
            ("/api/v1/pods?watch=1&resourceVersion=99999999", 410),
        ] {
            let (found, body) = get(at, path).await;
            assert_eq!(found, code, "{path}: {}", String::from_utf8_lossy(&body));
            let body: Value = serde_json::from_slice(&body).expect("JSON");
            assert!(code == 200 || body["kind"] == "Status", "{path}: {body}");
        }
        let answer = ask(at, "POST", "/api/v1/namespaces/default/pods").await;
        assert_eq!(answer.status(), 405);
    });
}
