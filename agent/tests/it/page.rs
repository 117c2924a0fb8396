//! What the page is made of, asked for by HTTP: who gets it, and what is in it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, connect, setsockopt, socket, sockopt,
};
use palisade::flows::filter::Filter;
use palisade::http::DEFAULT;
use palisade_compiler::model::Family;
use palisade_lab::Layout;

use super::command::{Netns, Scratch, finish, until};
use super::observe::Node;
use super::scrape::{Answer, get_with, within};

const API: [&str; 6] = [
    "/api/v1/state",
    "/api/v1/flows",
    "/api/v1/explain?from=x/a&to=x/b&port=80",
    "/api/v1/lint",
    "/api/v1/policy?name=x/guard",
    "/api/v1/reach?name=x/b",
];
const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// Where others than the host reach the agent.
const OUTER: &str = "10.255.0.1:9674";

/// Denied one after another, each to a port of its own: their flows are more than the buffers between an agent and a reader hold.
const MANY: u16 = 50;
const MANY_STORED: usize = 150;

/// A network namespace with a loopback interface that has a further address.
fn netns() -> Netns {
    let netns = Netns::new();
    for words in ["link set lo up", "address add 10.255.0.1/32 dev lo"] {
        finish(netns.command("ip", &words.split(' ').collect::<Vec<_>>()), "").exits(0);
    }
    netns
}

#[track_caller]
fn get(netns: &Netns, address: &str, path: &str, headers: &[&str]) -> Answer {
    get_with(&netns.path(), address, path, headers).unwrap()
}

#[track_caller]
fn until_served(netns: &Netns, address: &str) {
    until("HTTP", || get_with(&netns.path(), address, "/healthz", &["Host: x"]).is_ok());
}

#[test]
fn on_loopback_the_page_is_for_this_host_and_for_no_other_site() {
    let netns = netns();
    let scratch = Scratch::guarded();
    let agent = netns.agent(&scratch.0);
    agent.until_enforcing();
    until_served(&netns, DEFAULT);
    let host = "Host: localhost:9674";
    let (status, head, body) = get(&netns, DEFAULT, "/", &[host]);
    assert_eq!(status, 200);
    assert!(
        head.contains("content-security-policy: default-src 'none'; script-src 'self'"),
        "{head}"
    );
    for wanted in
        ["x-content-type-options: nosniff", "frame-ancestors 'none'", "cache-control: no-store"]
    {
        assert!(head.contains(wanted), "{head}");
    }
    assert!(body.contains("<canvas") && body.contains("/page/page.js"), "{body}");
    assert_eq!(get(&netns, DEFAULT, "/page/page.js", &[host]).0, 200);

    let foreign = "Host: evil.example:9674";
    assert_eq!(get(&netns, DEFAULT, "/", &[foreign]).0, 421);
    for path in API {
        assert_eq!(get(&netns, DEFAULT, path, &[foreign]).0, 421, "{path}");
        for site in [
            "Origin: http://evil.example",
            "Origin: http://localhost:8000",
            "Sec-Fetch-Site: cross-site",
        ] {
            let (status, head, body) = get(&netns, DEFAULT, path, &[host, site]);
            assert_eq!(status, 403, "{path} {site}");
            assert!(!body.contains("10.0.0.1") && !head.contains("access-control"), "{head}{body}");
        }
    }
    // Nothing of it may be changed.
    let mut stream = super::scrape::connect(&netns.path(), DEFAULT).unwrap();
    write!(stream, "POST /api/v1/state HTTP/1.1\r\n{host}\r\nContent-Length: 0\r\n\r\n").unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 405 "), "{line}");
}

#[test]
fn the_state_has_the_pods_and_who_isolates_them_and_explanations_are_the_agents() {
    let netns = netns();
    let scratch = Scratch::guarded();
    let agent = netns.agent(&scratch.0);
    let revision = agent.until_enforcing().revision;
    until_served(&netns, DEFAULT);
    let json = |path: &str| -> serde_json::Value {
        let (status, head, body) =
            get(&netns, DEFAULT, path, &["Host: 127.0.0.1", "Origin: http://127.0.0.1"]);
        assert_eq!(status, 200, "{path}: {body}");
        assert!(head.contains("content-type: application/json"), "{head}");
        serde_json::from_str(&body).unwrap()
    };
    let state = json("/api/v1/state");
    assert_eq!((&state["version"], &state["status"]["state"]), (&1.into(), &"enforcing".into()));
    assert_eq!(state["pods"]["revision"], revision);
    let namespace = &state["pods"]["namespaces"][0];
    let [a, b] = [0, 1].map(|n| &namespace["label_sets"][n]);
    assert_eq!((&namespace["name"], &a["pods"][0]["name"]), (&"x".into(), &"a".into()));
    assert_eq!(a["isolation"]["ingress"]["policies"], serde_json::json!([]));
    assert_eq!(b["isolation"]["ingress"]["policies"], serde_json::json!(["guard"]));
    assert_eq!(b["pods"][0]["addresses"], serde_json::json!(["10.0.0.2"]));
    // Who has these pods gets them no second time.
    assert!(json(&format!("/api/v1/state?known={revision}"))["pods"].is_null());
    let explained = json(API[2]);
    assert_eq!(
        (&explained["verdict"], &explained["connections"][0]["ingress"]["isolated_by"][0]),
        (&"deny".into(), &"x/guard".into())
    );
    let host = &["Host: localhost"][..];
    let (status, _, why) =
        get(&netns, DEFAULT, "/api/v1/explain?from=x/a&to=x/nobody&port=80", host);
    assert_eq!(status, 400, "{why}");
    assert_eq!(get(&netns, DEFAULT, "/api/v1/explain?from=x/a&to=x/b&port=-1", host).0, 400);
}

/// Asks what an edit would change.
#[track_caller]
fn what_if(netns: &Netns, body: &str, kind: &str) -> (u16, serde_json::Value) {
    let mut stream = super::scrape::connect(&netns.path(), DEFAULT).unwrap();
    let length = body.len();
    write!(
        stream,
        "POST /api/v1/what-if HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_default())
}

#[test]
fn a_policy_a_matrix_findings_and_what_an_edit_would_change_are_asked_for_and_change_nothing() {
    let netns = netns();
    let scratch = Scratch::guarded();
    let agent = netns.agent(&scratch.0);
    let revision = agent.until_enforcing().revision;
    until_served(&netns, DEFAULT);
    let host = &["Host: localhost"][..];
    let json = |path: &str| -> serde_json::Value {
        let (status, _, body) = get(&netns, DEFAULT, path, host);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    };
    let lint = json(API[3]);
    assert_eq!((&lint["version"], &lint["revision"]), (&1.into(), &revision.into()));
    assert!(lint["findings"].is_array() && lint["lost_matches"].is_array(), "{lint}");
    let policy = json(API[4]);
    assert_eq!(
        (&policy["policy"], &policy["pods"]),
        (&"x/guard".into(), &serde_json::json!(["x/b"]))
    );
    assert_eq!(policy["isolates"], serde_json::json!(["ingress"]));
    let manifest = policy["manifest"].as_str().unwrap();
    let reach = json(API[5]);
    assert_eq!((&reach["pod"], &reach["revision"]), (&"x/b".into(), &revision.into()));
    assert!(reach["ingress"]["rows"].as_array().is_some_and(|rows| !rows.is_empty()), "{reach}");
    assert_eq!(get(&netns, DEFAULT, "/api/v1/policy?name=x/none", host).0, 404);
    assert_eq!(get(&netns, DEFAULT, "/api/v1/policy?name=none", host).0, 400);
    assert_eq!(get(&netns, DEFAULT, "/api/v1/reach?name=x/none", host).0, 400);

    let other = serde_json::json!({"manifests": manifest.replace("name: guard", "name: more").replace("podSelector:", "podSelector: {}\n  x:")});
    let (status, answer) = what_if(&netns, &other.to_string(), "application/json");
    assert!(
        status == 200 && answer["refused"]["diagnostics"][0]["message"].is_string(),
        "{answer}"
    );
    let removed = serde_json::json!({"remove": ["x/guard"]}).to_string();
    let (_, answer) = what_if(&netns, &removed, "application/json");
    let change = &answer["what_if"]["isolation"][0];
    assert_eq!((&change["pod"], &change["isolated"]), (&"x/b".into(), &false.into()), "{answer}");
    let ran = netns.palisade(&[
        "what-if",
        "--remove",
        "x/guard",
        "--socket",
        agent.socket.to_str().unwrap(),
    ]);
    assert!(ran.exits(0).out.contains("pod x/b is not isolated for ingress any more"));
    // A form of another site has no such type, and no answer is that large.
    assert_eq!(what_if(&netns, &removed, "text/plain").0, 415);
    let large = serde_json::json!({"manifests": "x".repeat(1 << 20)}).to_string();
    assert_eq!(what_if(&netns, &large, "application/json").0, 413);
    assert_eq!(json(API[4])["revision"], revision);
    assert_eq!(agent.verdict("x/a", "x/b"), "deny");
}

#[test]
fn beyond_loopback_there_is_nothing_without_the_token() {
    let netns = netns();
    let scratch = Scratch::guarded();
    let host = format!("Host: {OUTER}");
    let at =
        |path: &str, more: &[&str]| get(&netns, OUTER, path, &[&[host.as_str()], more].concat());
    {
        let _agent = netns.agent_with(&scratch.0, &["--listen", OUTER]);
        until_served(&netns, OUTER);
        for path in ["/", "/page/page.js"].iter().chain(&API) {
            let (status, _, why) = at(path, &[]);
            assert_eq!(status, 403, "{path}");
            assert!(why.contains("--page-token-file"), "{why}");
        }
        assert_eq!(at("/metrics", &[]).0, 200);
    }
    let file = Scratch::new();
    let token = file.write("token", TOKEN);
    let options = ["--listen", OUTER, "--page-token-file", token.to_str().unwrap()];
    let agent = netns.agent_with(&scratch.0, &options);
    agent.until_enforcing();
    until_served(&netns, OUTER);
    // There is nothing of the cluster in the page's own files, which ask for the token.
    assert_eq!(at("/", &[]).0, 200);
    for path in API {
        for wrong in [&[][..], &["Authorization: Bearer wrong"], &["Authorization: Basic dTpw"]] {
            let (status, head, body) = at(path, wrong);
            assert_eq!(status, 401, "{path} {wrong:?}");
            assert!(
                head.contains("www-authenticate: bearer") && !body.contains("guard"),
                "{head}{body}"
            );
        }
    }
    let right = format!("Authorization: Bearer {TOKEN}");
    let (status, _, body) = at(API[0], &[&right]);
    assert!(status == 200 && body.contains("guard"), "{body}");
    assert_eq!(at(API[0], &[&right, "Origin: http://evil.example"]).0, 403);
    assert!(!agent.log().contains(TOKEN));
}

#[test]
fn a_token_that_can_be_guessed_is_refused() {
    let (netns, scratch) = (netns(), Scratch::guarded());
    let token = scratch.write("token", "short\n");
    let path = token.to_str().unwrap();
    let ran = netns.palisade(&["run", "-f", scratch.path(), "--page-token-file", path]);
    ran.exits(2).complains("openssl rand -hex 32");
    netns.palisade(&["run", "-f", scratch.path(), "--page-token-file", "/nowhere"]).exits(2);
}

/// Connects with a receive buffer that is as small as the kernel makes one.
fn connect_narrow(netns: &str) -> TcpStream {
    let address: SocketAddr = DEFAULT.parse().unwrap();
    let socket: OwnedFd = within(netns, || {
        socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None).unwrap()
    });
    setsockopt(&socket, sockopt::RcvBuf, &1).unwrap();
    connect(std::os::fd::AsRawFd::as_raw_fd(&socket), &SockaddrStorage::from(address)).unwrap();
    TcpStream::from(socket)
}

const FOLLOW: &str = "GET /api/v1/flows?last=1000&verdict=deny HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[test]
fn flows_come_as_they_happen_and_a_reader_that_takes_nothing_is_dropped_and_counted() {
    let node = Node::new(Layout::Routed);
    let netns = node.scene.lab.node().path();
    let mut stream = super::scrape::connect(&netns, DEFAULT).unwrap();
    stream.write_all(FOLLOW.as_bytes()).unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let mut next = |wanted: &str| -> serde_json::Value {
        let event = format!("event: {wanted}");
        assert!(lines.any(|line| line == event), "{wanted}");
        let data = lines.next().unwrap();
        serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap()
    };
    let status = next("status");
    assert_eq!(
        (&status["state"], &status["flows"]["divergences"]),
        (&"enforcing".into(), &0.into())
    );
    node.denied(Family::V4, "n/a", "n/b", 53);
    let flow = next("flow");
    assert_eq!(
        (&flow["version"], &flow["verdict"], &flow["port"]),
        (&1.into(), &"deny".into(), &53.into())
    );
    assert_eq!((&flow["from"]["pod"], &flow["isolated_by"][0]), (&"n/a".into(), &"n/b".into()));

    let mut port = 1000;
    let mut deny_some = || {
        let packet = |port| node.udp(Family::V4, "n/a", "n/b", port, 4000).bytes();
        let packets: Vec<_> = (port..port + MANY).map(packet).collect();
        node.scene.arrivals("n/a", "n/b", &packets);
        port += MANY;
    };
    node.agent.until("flows", |status| {
        deny_some();
        status.flows.stored >= MANY_STORED
    });
    let mut idle = connect_narrow(&netns);
    idle.write_all(FOLLOW.as_bytes()).unwrap();
    node.agent.until("the reader", |status| status.flows.readers == 2);
    let status = node.agent.until("its end", |status| status.flows.lost.dropped_readers == 1);
    assert_eq!(status.flows.readers, 1);
    // Who reads goes on.
    node.denied(Family::V4, "n/x", "n/c", 54);
    while next("flow")["port"] != 54 {}
    assert!(!node.stored(Filter::default()).is_empty());
}
