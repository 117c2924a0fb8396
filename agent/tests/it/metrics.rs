//! Metrics and health of a running agent, asked for by HTTP.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use k8s_openapi::jiff::Timestamp;
use palisade::flows::filter::Filter;
use palisade::flows::flow::Flow;
use palisade::http::{DEFAULT, MAX_CONNECTIONS, MAX_HEAD_BYTES};
use palisade::metrics::exposition::Exposition;
use palisade::protocol::{Request, Response, Rows, State};
use palisade::published_status::PublishedStatus;
use palisade::watch_state::{KubernetesState, WatchState};
use palisade_compiler::lint::Severity;
use palisade_compiler::program::sets::SetName;
use palisade_compiler::snapshot::ObjectKind;

use super::command::{Agent, Netns, Scratch, finish, guard, knows_owners, until};
use super::openmetrics::Scrape;
use super::scrape::{self, Answer, within};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A network namespace whose loopback interface is up.
fn netns() -> Netns {
    let netns = Netns::new();
    finish(netns.command("ip", &["link", "set", "lo", "up"]), "").exits(0);
    netns
}

fn connect(netns: &Netns, address: &str) -> io::Result<TcpStream> {
    scrape::connect(&netns.path(), address)
}

fn get_from(netns: &Netns, address: &str, path: &str) -> io::Result<Answer> {
    scrape::get(&netns.path(), address, path)
}

#[track_caller]
fn get(netns: &Netns, path: &str) -> Answer {
    get_from(netns, DEFAULT, path).unwrap()
}

#[track_caller]
fn scrape(netns: &Netns) -> Scrape {
    scrape::scrape(&netns.path())
}

/// Waits until the agent serves.
#[track_caller]
fn until_served(netns: &Netns) {
    until("HTTP", || get_from(netns, DEFAULT, "/healthz").is_ok());
}

fn verify(agent: &Agent) -> usize {
    match agent.ask(&Request::Verify) {
        Response::Verified(verified) => verified.count,
        other => panic!("{other:?}"),
    }
}

/// What a node with two pods and one policy of ingress is measured as.
const OF_ONE_POLICY: [(&str, f64); 20] = [
    ("palisade_enforcing", 1.0),
    ("palisade_ready", 1.0),
    ("palisade_source_in_sync", 1.0),
    ("palisade_behind_seconds", 0.0),
    ("palisade_pods", 2.0),
    ("palisade_local_pods", 2.0),
    ("palisade_namespaces", 1.0),
    ("palisade_policies", 1.0),
    ("palisade_isolated_pods{direction=\"ingress\"}", 1.0),
    ("palisade_isolated_pods{direction=\"egress\"}", 0.0),
    ("palisade_elements{family=\"v4\",set=\"local_in\"}", 1.0),
    ("palisade_elements{family=\"v6\",set=\"local_in\"}", 0.0),
    ("palisade_elements_bound{set=\"local_in\"}", 4096.0),
    ("palisade_manifest_files", 3.0),
    ("palisade_input_errors", 0.0),
    ("palisade_drift_found_total", 0.0),
    ("palisade_enforcement_seconds_count{kind=\"networkpolicy\"}", 0.0),
    ("palisade_denied_packets_total{direction=\"ingress\"}", 0.0),
    ("palisade_denied_bytes_total{direction=\"ingress\"}", 0.0),
    ("palisade_failures_total{kind=\"owned\"}", 0.0),
];

#[test]
fn a_scrape_says_what_is_enforced_and_what_a_change_took() {
    let netns = netns();
    let scratch = Scratch::guarded();
    let agent = netns.agent(&scratch.0);
    agent.until_enforcing();
    let before = scrape(&netns);
    for (series, value) in OF_ONE_POLICY {
        assert_eq!(before.value(series), value, "{series}");
    }
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(before.value(&format!("palisade_build_info{{version=\"{version}\"}}")), 1.0);
    assert!(before.value("process_resident_memory_bytes") > 1e6);
    assert!(before.value("process_open_fds") > 5.0);
    assert!(before.value("palisade_compile_seconds_count") >= 1.0);
    assert!(before.value("palisade_commit_seconds_count") >= 1.0);

    scratch.write("guard.yaml", &guard("[{from: [{podSelector: {matchLabels: {app: a}}}]}]"));
    agent.until("the change", |status| status.time_to_enforce.count == 1);
    let verified = before.value("palisade_verifications_total");
    assert_eq!(verify(&agent), 0);
    // What the engine did is published at the end of the turn.
    until("the counters", || {
        scrape(&netns).value("palisade_transactions_total")
            > before.value("palisade_transactions_total")
    });
    let after = scrape(&netns);
    let count =
        |kind: &str| after.value(&format!("palisade_enforcement_seconds_count{{kind=\"{kind}\"}}"));
    assert_eq!((count("networkpolicy"), count("pod")), (1.0, 0.0));
    let sum = after.value("palisade_enforcement_seconds_sum{kind=\"networkpolicy\"}");
    let parts = ["compile", "plan", "commit", "grace"].map(|part| {
        let series = format!("palisade_{part}_seconds_sum");
        (after.value(&series) - before.value(&series), series)
    });
    assert!(
        parts.iter().all(|(time, series)| *time > 0.0 || series.contains("grace")),
        "{parts:?}"
    );
    assert!(sum > 0.0 && sum < PATIENCE.as_secs_f64(), "{sum}");
    for growing in ["palisade_revision", "palisade_elements_written_total"] {
        assert!(after.value(growing) > before.value(growing), "{growing}");
    }
    assert_eq!(after.value("palisade_enforced_revision"), after.value("palisade_revision"));
    assert!(after.value("palisade_verifications_total") > verified);
    assert!(after.value("palisade_verify_seconds_count") > verified);
    assert!(after.value("palisade_last_verified_timestamp_seconds") > 1.7e9);

    // What the change forbids is looked for among the connections under way.
    until("the look at connections", || {
        scrape(&netns).value("palisade_revocation_passes_total")
            > before.value("palisade_revocation_passes_total")
    });
    let looked = scrape(&netns);
    assert!(looked.value("palisade_revocation_seconds_count") >= 1.0);
    assert_eq!(looked.value("palisade_connections_cut_total"), 0.0);

    // The largest namespaces are counted some seconds after a change.
    let rows =
        "palisade_namespace_rows_wanted{family=\"v4\",direction=\"ingress\",namespace=\"x\"}";
    until("the rows", || scrape(&netns).has(rows));
    assert!(scrape(&netns).value(rows) >= 1.0);
}

#[test]
fn an_agent_is_ready_once_it_enforces_and_says_until_then_what_it_waits_for() {
    let netns = netns();
    let scratch = Scratch::guarded();
    let good = fs::read_to_string(scratch.0.join("guard.yaml")).unwrap();
    scratch.write("guard.yaml", "kind: [\n");
    let agent = netns.agent(&scratch.0);
    agent.until("the complaint", |status| status.state == State::WaitingForManifests);
    until_served(&netns);
    let (status, _, body) = get(&netns, "/readyz");
    assert_eq!(status, 503);
    assert!(body.starts_with("not ready: waiting for manifests: "), "{body}");
    assert!(body.contains("guard.yaml"), "{body}");
    assert_eq!(get(&netns, "/healthz").0, 200, "it waits, and is alive");
    let waiting = scrape(&netns);
    assert_eq!(waiting.value("palisade_ready"), 0.0);
    assert_eq!(waiting.value("palisade_source_in_sync"), 0.0);
    scratch.write("guard.yaml", &good);
    agent.until_enforcing();
    let (status, _, body) = get(&netns, "/readyz");
    assert_eq!((status, body.as_str()), (200, "ready\n"));
    let (status, _, body) = get(&netns, "/healthz");
    assert_eq!((status, body.as_str()), (200, "alive\n"));
    for path in ["/none", "/metrics/", "/readyz/../metrics"] {
        assert_eq!(get(&netns, path).0, 404, "{path}");
    }
}

#[test]
fn what_is_not_enforced_is_in_the_text_of_readiness_and_counted() {
    let netns = netns();
    for command in ["link add br0 type bridge", "link set br0 up"] {
        let words: Vec<&str> = command.split(' ').collect();
        finish(netns.command("ip", &words), "").exits(0);
    }
    let scratch = Scratch::guarded();
    let agent = netns.agent(&scratch.0);
    let status = agent.until_enforcing();
    assert!(!status.not_enforced.is_empty());
    let (code, _, body) = get(&netns, "/readyz");
    assert_eq!(code, 200, "it enforces what it can");
    let gap = format!("not enforced: {}\n", status.not_enforced[0]);
    assert!(body.starts_with("ready\n") && body.contains(&gap), "{body}");
    let count = scrape(&netns).value("palisade_not_enforced");
    assert_eq!(count, status.not_enforced.len() as f64);
}

#[test]
fn clients_that_send_nothing_keep_nobody_out() {
    let netns = netns();
    let scratch = Scratch::guarded();
    let agent = netns.agent(&scratch.0);
    agent.until_enforcing();
    until_served(&netns);
    let mut silent: Vec<TcpStream> = Vec::new();
    for number in 0..2 * MAX_CONNECTIONS {
        let mut stream = connect(&netns, DEFAULT).unwrap();
        if number % 2 == 0 {
            stream.write_all(b"GET /metrics HTT").unwrap();
        }
        silent.push(stream);
    }
    let began = Instant::now();
    assert_eq!(get(&netns, "/readyz").0, 200);
    let dropped = scrape(&netns).value("palisade_http_connections_dropped_total");
    assert!(dropped >= MAX_CONNECTIONS as f64, "{dropped}");
    assert!(began.elapsed() < PATIENCE);
    // The oldest were closed: to read from them does not wait.
    let mut first = silent.remove(0);
    let mut rest = Vec::new();
    assert!(matches!(first.read_to_end(&mut rest), Ok(0) | Err(_)), "{rest:?}");
    // So is each, in time.
    let mut last = silent.pop().unwrap();
    assert!(matches!(last.read_to_end(&mut rest), Ok(_) | Err(_)));
    let mut stream = connect(&netns, DEFAULT).unwrap();
    let long = "x".repeat(2 * MAX_HEAD_BYTES);
    _ = write!(stream, "GET / HTTP/1.1\r\nHost: {long}\r\n\r\n");
    let mut answer = String::new();
    _ = stream.read_to_string(&mut answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    assert_eq!(get(&netns, "/healthz").0, 200);
}

#[test]
fn a_port_that_is_taken_or_forbidden_is_waited_for_while_policy_is_enforced() {
    let netns = netns();
    let scratch = Scratch::guarded();
    let taken = within(&netns.path(), || TcpListener::bind(DEFAULT).unwrap());
    let agent = netns.agent(&scratch.0);
    agent.until_enforcing();
    agent.until_log("--listen");
    agent.verify();
    drop(taken);
    until_served(&netns);
    assert_eq!(get(&netns, "/readyz").0, 200);
    drop(agent);

    let silent = netns.agent_with(&scratch.0, &["--listen", "off"]);
    silent.until_enforcing();
    assert!(get_from(&netns, DEFAULT, "/healthz").is_err());
    drop(silent);

    let socket = scratch.0.join("s");
    let without = ["--bounding-set", "-net_bind_service", env!("CARGO_BIN_EXE_palisade")];
    let run = ["run", "-f", scratch.path(), "--listen", "127.0.0.1:80"];
    let forbidden = netns.command("setpriv", &[&without[..], &run].concat());
    let forbidden = Agent::start_by(forbidden, Scratch::new(), None);
    forbidden.until_enforcing();
    forbidden.until_log("127.0.0.1:80 yet (Permission denied");
    forbidden.verify();
    drop(forbidden);
    let socket = socket.to_str().unwrap();
    let wrong = ["run", "-f", scratch.path(), "--socket", socket, "--listen", "9674"];
    netns.palisade(&wrong).exits(2).complains("--listen");
}

/// As in a rolling update: both have the same socket and port.
#[test]
fn of_two_agents_the_one_that_enforces_is_asked() {
    let netns = netns();
    let scratch = Scratch::guarded();
    let mut first = netns.agent(&scratch.0);
    first.until_enforcing();
    until_served(&netns);
    let started = scrape(&netns).value("process_start_time_seconds");
    let second = netns.agent_at(&first.socket, &scratch.0, &[]);
    second.until_log("another agent has the socket");
    assert_eq!(get(&netns, "/readyz").0, 200);
    assert_eq!(scrape(&netns).value("process_start_time_seconds"), started);
    assert!(!second.log().contains("serving metrics"), "{}", second.log());
    assert_eq!(first.end("-TERM"), Some(0));
    second.until_enforcing();
    until_served(&netns);
    assert_eq!(get(&netns, "/readyz").0, 200);
    assert!(scrape(&netns).value("process_start_time_seconds") >= started);
    second.until_log("serving metrics");
}

#[test]
fn who_waits_for_tables_is_alive_and_not_ready() {
    if !knows_owners() {
        // Nothing keeps two agents from the same tables there.
        return;
    }
    let netns = netns();
    let scratch = Scratch::guarded();
    let first = netns.agent_with(&scratch.0, &["--listen", "off"]);
    first.until_enforcing();
    let second = netns.agent(&scratch.0);
    second.until("the wait", |status| status.state == State::WaitingForTable);
    until_served(&netns);
    let (status, _, body) = get(&netns, "/readyz");
    assert_eq!(status, 503);
    assert!(body.contains(&first.pid().to_string()), "{body}");
    assert_eq!(get(&netns, "/healthz").0, 200);
    assert!(scrape(&netns).value("palisade_failures_total{kind=\"owned\"}") >= 1.0);
}

#[test]
fn drift_is_counted_and_so_is_what_was_put_right() {
    let netns = netns();
    let scratch = Scratch::guarded();
    let agent = netns.agent_with(&scratch.0, &["--no-owner"]);
    agent.until_enforcing();
    agent.verify();
    let words = ["flush", "set", "ip", "palisade", "local_in"];
    finish(netns.command("nft", &words), "").exits(0);
    verify(&agent);
    until("the repair", || scrape(&netns).value("palisade_drift_healed_total") >= 1.0);
    agent.until_enforcing();
    agent.verify();
    let scrape = scrape(&netns);
    assert!(scrape.value("palisade_drift_found_total") >= 1.0);
    assert!(scrape.value("palisade_heal_seconds_count") >= 1.0);
    assert!(scrape.value("palisade_elements{family=\"v4\",set=\"local_in\"}") >= 1.0);
}

#[test]
fn denied_packets_are_scraped_with_their_bytes() {
    use palisade_dataplane::netlink::DenyCounters;
    use palisade_lab::Layout;
    use palisade_lab::packet::Packet;

    use super::cast::CAST;
    use super::scene::Scene;

    let scene = Scene::new(Layout::Routed, CAST);
    scene.enforce();
    let address = |name: &str| scene.address(name, palisade_compiler::model::Family::V4);
    let packet = Packet::udp(address("n/a"), address("n/b"), 4000, 53, b"counted");
    assert!(!scene.passes("n/a", "n/b", &packet));
    let counters = scene.lab.node().run(|| DenyCounters::read().unwrap()).unwrap();
    assert_eq!((counters.ingress.packets, counters.egress.packets), (1, 0));
    assert_eq!(counters.ingress.bytes, packet.bytes().len() as u64);
}

/// A status that has everything that a scrape may show.
fn full_status() -> PublishedStatus {
    let published = PublishedStatus::default();
    let denied = r#"{"id":1,"verdict":"deny","direction":"ingress","first_seen":"","last_seen":"","count":1,"family":"IPv4",
        "from":{"address":""},"to":{"address":""},"protocol":6,"port":80,"revision":1,"reason":"","isolated_by":["x/guard"],"misses":[],
        "further":0,"divergence":null}"#;
    let denied: Flow = serde_json::from_str(denied).unwrap();
    published.flows.hits.count(&denied, Timestamp::UNIX_EPOCH);
    drop(published.flows.subscribe_log("a file".into(), Filter::default()));
    published.update(|at| {
        let rows = Rows { largest: vec![("x".to_owned(), 1)], ..Rows::default() };
        at.status.rows = vec![rows];
        at.status.lint.findings = [(Severity::Note, 1)].into();
        at.status.lint.usage.watched = 1;
        at.checked = Some(Instant::now());
        at.set_sizes = vec![("v4", SetName::LocalIn, 1)];
        let mut watch = WatchState::new(ObjectKind::Pod, true);
        watch.heard = Some(Instant::now());
        watch.errors.insert("timeout", 1);
        at.kubernetes = Some(KubernetesState { server: String::new(), watches: vec![watch] });
    });
    published
}

/// Every metric has a row in docs/metrics.md, with the words of its help, and no other metric has.
#[test]
fn the_document_lists_every_metric() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let document = fs::read_to_string(root.join("docs/metrics.md")).unwrap();
    let scrape = Scrape::parse(&Exposition::new(&full_status()).text());
    let mut missing = Vec::new();
    for (name, family) in &scrape.families {
        let labels: Vec<&str> = family.labels.iter().map(String::as_str).collect();
        let labels =
            if labels.is_empty() { String::new() } else { format!("`{}`", labels.join("`, `")) };
        let name = family.queried(name);
        let row = format!("| `{name}` | {} | {labels} | {} |", family.kind, family.help);
        if !document.contains(&row) {
            missing.push(row);
        }
    }
    assert!(missing.is_empty(), "docs/metrics.md lacks these rows:\n{}", missing.join("\n"));
    let known: Vec<String> =
        scrape.families.iter().map(|(name, family)| family.queried(name)).collect();
    let listed = document.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    for name in listed.filter(|name| name.contains('_')) {
        assert!(
            known.iter().any(|it| it == name),
            "docs/metrics.md lists {name}, which is not there"
        );
    }
}

/// Also before anything is known.
#[test]
fn a_scrape_of_nothing_is_well_formed() {
    let scrape = Scrape::parse(&Exposition::new(&PublishedStatus::default()).text());
    assert_eq!(scrape.value("palisade_enforcing"), 0.0);
    assert_eq!(scrape.value("palisade_pods"), 0.0);
    assert!(!scrape.has("palisade_last_verified_timestamp_seconds"));
}
