//! The page in a real browser: Chromium without a screen, beside an agent in a network namespace that leads nowhere else.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fantoccini::actions::{InputSource as _, KeyAction, KeyActions};
use fantoccini::key::Key;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use palisade::http::DEFAULT;
use palisade_compiler::model::Family;
use palisade_lab::Layout;
use serde_json::{Value, json};

use super::attacks::CAST;
use super::command::{Agent, Netns, Scratch, finish, until};
use super::observe::Node;
use super::scrape::within;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const DRIVER: &str = "127.0.0.1:9515";

/// What Chromium is started with: as root, without a processor for graphics, and without requests of its own.
const CHROMIUM: [&str; 11] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--window-size=1280,800",
];

/// A browser in namespaces of its own, ended when this is dropped.
struct Driver {
    child: Child,
    /// What the browser writes.
    _home: Scratch,
}

impl Driver {
    fn start(netns: &str) -> Self {
        let home = Scratch::new();
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={netns}"));
        // The browser's processes outlive their driver, but not the namespace whose first process it is.
        command.args(["unshare", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"]);
        command.args(["chromedriver", "--port=9515"]);
        command.env("HOME", &home.0).env("TMPDIR", &home.0);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let driver = Self { child, _home: home };
        until("chromedriver", || within(netns, || TcpStream::connect(DRIVER)).is_ok());
        driver
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// The lines of one of the browser's logs since they were last read.
#[derive(Debug)]
struct Log(&'static str);

impl WebDriverCompatibleCommand for Log {
    fn endpoint(
        &self,
        base: &url::Url,
        session: Option<&str>,
    ) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/se/log", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _url: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(json!({"type": self.0}).to_string()))
    }
}

/// The page.
struct Page {
    client: Client,
    /// The server's address, as in `http://127.0.0.1:9674/`.
    origin: String,
}

impl Page {
    /// Opens the page at an address, which may have more behind its first `#`.
    async fn open(url: &str) -> Self {
        let capabilities = json!({
            "browserName": "chrome",
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            "goog:chromeOptions": {"args": CHROMIUM},
        });
        let Value::Object(capabilities) = capabilities else { unreachable!() };
        let mut builder = ClientBuilder::new(HttpConnector::new());
        let driver = format!("http://{DRIVER}");
        let client = builder.capabilities(capabilities).connect(&driver).await.unwrap();
        client.goto(url).await.unwrap();
        let origin = url.split('#').next().unwrap().to_owned();
        Self { client, origin }
    }

    async fn ask(&self, script: &str) -> Value {
        self.client.execute(&format!("return ({script})"), Vec::new()).await.unwrap()
    }

    async fn text(&self, selector: &str) -> String {
        let found = self.ask(&format!("document.querySelector({selector:?})?.textContent")).await;
        found.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the script's value is true.
    async fn until(&self, script: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.ask(script).await != true {
            assert!(Instant::now() < deadline, "{script}; {}", self.text("body").await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn press(&self, keys: &str) {
        let actions = keys.chars().fold(KeyActions::new("keys".into()), |actions, value| {
            actions.then(KeyAction::Down { value }).then(KeyAction::Up { value })
        });
        self.client.perform_actions(actions).await.unwrap();
    }

    /// That nothing was complained about, and that every request went to the agent.
    async fn assert_clean(&self) {
        let log = self.client.issue_cmd(Log("browser")).await.unwrap();
        let lines = log.as_array().unwrap();
        let bad = |line: &&Value| line["level"] == "SEVERE" || line["level"] == "WARNING";
        assert_eq!(lines.iter().filter(bad).collect::<Vec<_>>(), [&Value::Null; 0]);
        let log = self.client.issue_cmd(Log("performance")).await.unwrap();
        let messages = log.as_array().unwrap().iter().map(|line| {
            let message: Value = serde_json::from_str(line["message"].as_str().unwrap()).unwrap();
            message["message"].clone()
        });
        let asked = messages.filter(|message| message["method"] == "Network.requestWillBeSent");
        let urls: Vec<_> = asked.map(|it| it["params"]["request"]["url"].to_string()).collect();
        let own = format!("\"{}", self.origin);
        assert!(urls.len() > 5 && urls.iter().all(|url| url.starts_with(&own)), "{urls:?}");
    }
}

/// Runs a test of the page that the node's agent serves.
fn browse<F: Future<Output = ()>>(node: &Node, test: impl FnOnce(Page) -> F + Send) {
    browse_in(&node.scene.lab.node().path(), &format!("http://{DEFAULT}/"), test);
}

/// Runs a test of the page at an address in a network namespace.
fn browse_in<F: Future<Output = ()>>(netns: &str, url: &str, test: impl FnOnce(Page) -> F + Send) {
    let _driver = Driver::start(netns);
    within(netns, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { test(Page::open(url).await).await });
    });
}

#[test]
fn pods_are_shown_a_denied_connection_appears_and_the_keyboard_is_enough() {
    let node = Node::new(Layout::Routed);
    browse(&node, async |page| {
        page.until("palisade.cluster.pods.size === 4 && palisade.map.places?.length === 8").await;
        page.until("document.querySelector('#state').textContent === 'Enforcing'").await;
        node.denied(Family::V4, "n/a", "n/b", 53);
        page.until("document.querySelector('.flow') !== null").await;
        let row = page.text(".flow").await;
        for wanted in ["n/a", "n/b", "UDP 53", "deny", "ingress"] {
            assert!(row.contains(wanted), "{row}");
        }
        assert_eq!(
            page.ask("[...palisade.cluster.edges.keys()]").await,
            json!(["pod n/a\npod n/b"])
        );

        page.press("j").await;
        assert_eq!(page.ask("document.activeElement.className.includes('flow')").await, true);
        page.press(&String::from(char::from(Key::Enter))).await;
        page.until("!document.querySelector('#details').hidden").await;
        let details = page.text("#details").await;
        assert!(details.contains("n/a → n/b") && details.contains("Isolated by"), "{details}");
        page.press(&String::from(char::from(Key::Escape))).await;
        page.until("document.querySelector('#details').hidden").await;

        page.press("2").await;
        page.until("document.querySelectorAll('#pods .pod').length === 4").await;
        page.press("/n/b").await;
        page.until("document.querySelectorAll('#pods .pod').length === 1").await;
        page.press(&String::from(char::from(Key::Enter))).await;
        page.until("document.querySelector('#details h2')?.textContent === 'n/b'").await;
        let details = page.text("#details").await;
        assert!(
            details.contains("isolated by b") && details.contains("not isolated: it may"),
            "{details}"
        );

        page.press(&String::from(char::from(Key::Escape))).await;
        page.press(&String::from(char::from(Key::Escape))).await;
        page.press("5").await;
        page.until("document.querySelector('#status').textContent.includes('Time to enforce')")
            .await;
        page.assert_clean().await;
    });
}

/// Who may connect to b.
const FROM_C: &str = r#""from": [{"podSelector": {"matchLabels": {"pod": "c"}}}]"#;
const FROM_NOBODY: &str = r#""from": [{"podSelector": {"matchLabels": {"pod": "nobody"}}}]"#;

/// What the edge of two pods shows.
fn edge(from: &str, to: &str, verdict: &str) -> String {
    format!("!!palisade.cluster.edges.get('pod {from}\\npod {to}')?.{verdict}")
}

#[test]
fn an_allowed_connection_is_green_and_turns_red_with_its_policy_and_the_stream_is_of_the_verdict_that_is_wanted()
 {
    let node = Node::new(Layout::Routed);
    node.agent.until("allowed connections", |status| status.flows.allowed.is_listening);
    browse(&node, async |page| {
        page.until("palisade.map.places?.length === 8").await;
        let packet = |source| node.udp(Family::V4, "n/c", "n/b", 53, source);
        assert!(node.scene.passes("n/c", "n/b", &packet(4001)));
        page.until(&format!("{} && !{}", edge("n/c", "n/b", "allow"), edge("n/c", "n/b", "deny")))
            .await;
        page.until("document.querySelector('.flow.allow') !== null").await;
        node.denied(Family::V4, "n/a", "n/b", 53);
        page.until("document.querySelector('.flow.deny') !== null").await;
        page.press("v").await;
        page.until("document.querySelector('.flow.allow') === null && document.querySelector('.flow.deny') !== null").await;
        page.press("v").await;
        page.until("document.querySelector('.flow.deny') === null && document.querySelector('.flow.allow') !== null").await;
        let row = page.text(".flow.allow").await;
        assert!(row.contains("n/c") && row.contains("UDP 53"), "{row}");

        node.write("cast.yaml", &CAST.replace(FROM_C, FROM_NOBODY));
        let mut sources = 4100..;
        let mut is_open = || {
            let packet = packet(sources.next().unwrap());
            node.scene.passes("n/c", "n/b", &packet)
        };
        let deadline = Instant::now() + PATIENCE;
        while is_open() {
            assert!(Instant::now() < deadline, "it stays open");
        }
        page.until(&format!("{} && !{}", edge("n/c", "n/b", "deny"), edge("n/c", "n/b", "allow")))
            .await;
        page.assert_clean().await;
    });
}

#[test]
fn policies_findings_the_matrix_and_what_an_edit_would_change_are_shown_by_keyboard_alone() {
    let node = Node::new(Layout::Routed);
    node.agent.until("allowed connections", |status| status.flows.allowed.is_listening);
    node.write(
        "slip.yaml",
        &CAST.replace(
            r#""name": "b"},
   "spec": {"podSelector": {"matchLabels": {"pod": "b"}}"#,
            r#""name": "slip"},
   "spec": {"podSelector": {"matchLabels": {"pod": "bb"}}"#,
        ),
    );
    browse(&node, async |page| {
        page.until("palisade.cluster.namespaces?.[0]?.policyNames.length === 3").await;
        let allowed = node.udp(Family::V4, "n/c", "n/b", 53, 4000);
        assert!(node.scene.passes("n/c", "n/b", &allowed));
        page.until(&edge("n/c", "n/b", "allow")).await;

        page.press("4").await;
        page.until("document.querySelector('#findings .finding') !== null").await;
        let found = page.text("#findings").await;
        assert!(found.contains("n/slip") && found.contains("Why, and what to do"), "{found}");
        page.press("3").await;
        page.until("document.querySelectorAll('#policies .policy').length === 3").await;
        let open = |name: &str| {
            format!(
                "[...document.querySelectorAll('#policies .policy')].find((it) => it.textContent.startsWith('{name}')).focus()"
            )
        };
        page.ask(&open("b")).await;
        page.press(&String::from(char::from(Key::Enter))).await;
        page.until("document.querySelector('#details .rules') !== null").await;
        let policy = page.text("#details").await;
        for wanted in [
            "pod=b",
            "ingress rule 1",
            "pods with pod=c of its own namespace",
            "(1 pod)",
            "UDP port 53",
            "1 connection",
        ] {
            assert!(policy.contains(wanted), "{wanted}: {policy}");
        }
        assert_eq!(page.ask("[...palisade.map.marked]").await, json!(["pod n/b"]));

        // The policy as the agent has it, with the label of another pod.
        page.ask("document.querySelector('#edit').focus()").await;
        page.press(&String::from(char::from(Key::Enter))).await;
        page.until("document.activeElement.id === 'manifest'").await;
        page.ask("(document.activeElement.value = document.activeElement.value.replace('pod: c', 'pod: a'), 0)").await;
        page.ask("document.querySelector('#ask').focus()").await;
        page.press(&String::from(char::from(Key::Enter))).await;
        page.until("document.querySelector('#changed li') !== null").await;
        let effect = page.text("#effect").await;
        for wanted in ["n/b would change", "n/c → n/b UDP 53 IPv4: allow → deny", "pod=a"] {
            assert!(effect.contains(wanted), "{wanted}: {effect}");
        }
        // Nothing was applied.
        assert!(node.scene.passes("n/c", "n/b", &node.udp(Family::V4, "n/c", "n/b", 53, 4001)));
        page.ask("(document.querySelector('#manifest').value = 'kind: NetworkPolicy', 0)").await;
        page.ask("document.querySelector('#ask').click()").await;
        page.until("document.querySelector('#effect .messages li') !== null").await;

        page.press(&String::from(char::from(Key::Escape))).await;
        page.press("2").await;
        page.ask("[...document.querySelectorAll('#pods .pod')].find((it) => it.textContent.startsWith('b')).focus()").await;
        page.press(&String::from(char::from(Key::Enter))).await;
        page.until("document.querySelectorAll('#details .matrix').length === 2").await;
        let row = "[...document.querySelectorAll('#details .matrix')[0].querySelectorAll('tr')].find((it) => it.textContent.startsWith('pod=c'))";
        assert_eq!(
            page.ask(&format!("[...{row}.querySelectorAll('td')].map((it) => it.className)")).await,
            json!(["allow", "allow", "deny"])
        );
        page.assert_clean().await;
    });
}

/// Pods of the large cluster, and its namespaces and workloads of each.
const PODS: usize = 5000;
const NAMESPACES: usize = 25;
const WORKLOADS: usize = 10;

/// Pans the map and has connections arrive for two seconds; the pictures drawn are in `window.drawn`.
const PAN: &str = r#"(() => {
    window.drawn = null;
    const [map, cluster] = [palisade.map, palisade.cluster];
    const pods = [...cluster.pods.values()];
    const any = () => pods[Math.floor(Math.random() * pods.length)];
    const end = (pod) => ({ pod: `${pod.namespace}/${pod.name}`, address: pod.addresses[0], node: null });
    const [begun, before] = [performance.now(), map.frames];
    const step = () => {
        for (let n = 0; n < 20; n++) {
            const verdict = Math.random() < 0.2 ? "deny" : "allow";
            const { edge } = cluster.take({ id: Math.floor(Math.random() * 5000), verdict, direction: "ingress", count: 1, family: "IPv4", protocol: 6, port: 80,
                from: end(any()), to: end(any()), last_seen: new Date().toISOString(), divergence: null, misses: [], isolated_by: [], allowed_by: [], reason: "" });
            map.pulse(edge, verdict);
        }
        map.setEdges([...cluster.edges.values()]);
        map.move(Math.sin(performance.now() / 300) * 20, 0);
        if (performance.now() - begun < 2000) return requestAnimationFrame(step);
        window.drawn = [map.frames - before, performance.now() - begun, map.isGathered];
    };
    step();
})()"#;

#[test]
fn five_thousand_pods_are_gathered_by_workload_and_move_fluently() {
    let netns = Netns::new();
    finish(netns.command("ip", &["link", "set", "lo", "up"]), "").exits(0);
    let scratch = Scratch::new();
    let pod = |n: usize| {
        let (namespace, workload) = (n % NAMESPACES, n / NAMESPACES % WORKLOADS);
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": format!("n{namespace}"), "name": format!("w{workload}-{n}"), "labels": {"app": format!("w{workload}")}},
            "status": {"phase": "Running", "podIPs": [{"ip": format!("10.{}.{}.{}", 10 + n / 60_000, n / 250 % 250, 1 + n % 250)}]}})
    };
    let pods: Vec<Value> = (0..PODS).map(pod).collect();
    scratch.write(
        "pods.json",
        &json!({"apiVersion": "v1", "kind": "List", "items": pods}).to_string(),
    );
    let agent: Agent = netns.agent(&scratch.0);
    agent.until_enforcing();
    browse_in(&netns.path(), &format!("http://{DEFAULT}/"), async |page| {
        page.until(&format!(
            "palisade.cluster.pods.size === {PODS} && palisade.map.places?.length === {}",
            2 * PODS
        ))
        .await;
        assert_eq!(
            page.ask("palisade.map.isGathered && palisade.map.shape.workloads.length").await,
            json!(NAMESPACES * WORKLOADS)
        );
        // Another program may have the processors for a moment.
        let mut drawn = Vec::new();
        for _ in 0..5 {
            page.ask(PAN).await;
            page.until("window.drawn !== null").await;
            let measured = page.ask("window.drawn[0] * 1000 / window.drawn[1]").await;
            let rate = measured.as_f64().unwrap();
            drawn.push(rate);
            if rate >= 5.0 {
                break;
            }
        }
        assert!(drawn.iter().any(|rate| *rate >= 5.0), "{drawn:?} pictures a second");
        // From near, pods are drawn.
        page.ask("(palisade.map.show('pod n0/w0-0'), 0)").await;
        page.until("!palisade.map.isGathered").await;
        page.press("/n3/w2").await;
        page.press(&String::from(char::from(Key::Enter))).await;
        page.until("document.querySelector('#details h2')?.textContent.startsWith('n3/w2')").await;
        page.assert_clean().await;
    });
}

/// A flow with such names comes from no parser of ours; the page relies on none.
const HOSTILE: &str = r#"(async () => {
    const { flowRow } = await import("/page/stream.js");
    const end = (pod) => ({ pod, address: "10.0.0.1", node: null });
    const flow = {
        id: 1, verdict: "deny", direction: "ingress", count: 1, protocol: 6, port: 80, last_seen: "x", first_seen: "x",
        from: end("<img src=x onerror=alert(1)>"), to: end("\u202e\u0000\u001b[31m" + "x".repeat(1e6)),
        reason: "</span><script>alert(2)</script>", misses: [], isolated_by: [], allowed_by: [], divergence: null,
    };
    const row = flowRow(flow, () => {});
    document.body.append(row);
    window.hostile = [row.querySelectorAll("img, script").length, row.textContent];
})()"#;

#[test]
fn hostile_text_is_shown_and_does_nothing_and_an_agent_that_ends_is_said_to_be_gone() {
    let mut node = Node::new(Layout::Routed);
    // Each of these names is refused, with a message that quotes it.
    node.write("hostile.yaml", "{kind: Pod, apiVersion: v1, metadata: {namespace: n, name: \"<img src=x onerror=alert(1)>\"}}");
    let agent = node.agent.pid().to_string();
    browse(&node, async |page| {
        page.press("5").await;
        page.until("document.querySelector('#status').textContent.includes('<img src=x')").await;
        assert_eq!(
            page.ask("document.querySelectorAll('#status img, script:not([src])').length").await,
            0
        );
        page.ask(&format!("{HOSTILE}.catch((error) => (window.hostile = [String(error)])) && 0"))
            .await;
        page.until("Array.isArray(window.hostile)").await;
        let shown = page.ask("window.hostile").await;
        assert_eq!(shown[0], 0, "{shown}");
        let text = shown[1].as_str().unwrap();
        assert!(text.contains("<img src=x") && text.chars().count() < 2000, "{text}");
        assert!(!text.contains(['\u{202e}', '\0', '\u{1b}']), "{text:?}");
        page.assert_clean().await;

        assert!(Command::new("kill").args(["-KILL", &agent]).status().unwrap().success());
        page.until("document.querySelector('#state').textContent === 'Disconnected'").await;
        let banner = page.text("#banner").await;
        assert!(banner.contains("Its rules stay"), "{banner}");
    });
    node.agent.end("-KILL");
}

/// The answer to a request of the live demo, which has a body if it is a POST.
#[track_caller]
fn demo_answer(address: &str, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "{head}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[track_caller]
fn assert_edits_need_the_token_and_this_page(address: &str, token: &str) {
    let own = format!("Host: {address}\r\nX-Palisade-Demo: {token}");
    let remove = r#"{"policy":"shop/frontend"}"#;
    let post = "POST /demo/v1/remove HTTP/1.1\r\n";
    for (headers, status) in [
        (format!("Host: {address}"), 403),
        (format!("Host: {address}\r\nX-Palisade-Demo: {}", "0".repeat(token.len())), 403),
        (format!("{own}\r\nOrigin: http://evil.example"), 403),
        (format!("{own}\r\nSec-Fetch-Site: cross-site"), 403),
        (own.replace(&format!("Host: {address}"), "Host: evil.example"), 421),
    ] {
        let answer = demo_answer(address, &format!("{post}{headers}"), remove);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{headers}: {answer}");
    }
    let objects = demo_answer(address, &format!("GET /demo/v1/objects HTTP/1.1\r\n{own}"), "");
    assert!(objects.contains("shop/frontend") && objects.contains("HTTP/1.1 200 "), "{objects}");
    let large = format!(r#"{{"manifest":"{}"}}"#, "x".repeat(1 << 20));
    let answer = demo_answer(address, &format!("POST /demo/v1/apply HTTP/1.1\r\n{own}"), &large);
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

/// The demo, which ends and removes what it made when this is dropped.
struct Demo(Child);

impl Demo {
    fn interrupt(&self) {
        Command::new("kill").args(["-INT", &self.0.id().to_string()]).status().unwrap();
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            self.interrupt();
            _ = self.0.wait();
        }
    }
}

#[test]
fn in_the_live_demo_edits_turn_edges_and_the_tour_goes_on() {
    let scratch = Scratch::new();
    let mut demo = Demo(super::demo::start(&["--live", "--tour"], &scratch));
    let mut lines = BufReader::new(demo.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let url = lines.find(|line| line.contains("#demo=")).unwrap().trim().to_owned();
    let (server, token) = url.split_once("#demo=").unwrap();
    let address = server.trim_start_matches("http://").trim_end_matches('/').to_owned();
    assert_edits_need_the_token_and_this_page(&address, token);
    let host = format!("/proc/{}/ns/net", std::process::id());
    browse_in(&host, &url, async |page| {
        page.until("palisade.cluster.pods.size === 8 && palisade.demo.objects.tour?.step === 0")
            .await;
        assert_eq!(page.ask("location.href").await, json!(page.origin));
        let is = |from, to, verdict, other| {
            format!("{} && !{}", edge(from, to, verdict), edge(from, to, other))
        };
        page.until(&is("monitoring/prometheus", "shop/db", "allow", "deny")).await;
        page.until(&is("shop/frontend-1", "shop/api", "allow", "deny")).await;

        // The policy with a slip changes nothing, and the linter says so.
        page.press("n").await;
        page.until("document.querySelector('#tour h2').textContent.startsWith('Trap 1')").await;
        page.press("4").await;
        page.until("[...document.querySelectorAll('#findings .finding')].some((it) => it.textContent.includes('shop/db'))").await;
        assert_eq!(page.ask(&is("monitoring/prometheus", "shop/db", "allow", "deny")).await, true);
        page.press("n").await;
        page.until(&is("monitoring/prometheus", "shop/db", "deny", "allow")).await;

        // A text that is not understood changes nothing; then the policy is removed.
        page.press("3").await;
        page.until("document.querySelectorAll('#policies .policy').length === 4").await;
        page.ask("[...document.querySelectorAll('#policies .policy')].find((it) => it.textContent.startsWith('db')).focus()").await;
        page.press(&String::from(char::from(Key::Enter))).await;
        page.until("document.querySelector('#edit') !== null").await;
        page.ask("document.querySelector('#edit').click()").await;
        page.until("document.querySelector('#manifest')?.value.startsWith('# Only the api')").await;
        page.ask("(document.querySelector('#manifest').value += 'x: [', 0)").await;
        page.ask("document.querySelector('#apply').click()").await;
        page.until("document.querySelector('#effect .messages li') !== null").await;
        assert_eq!(
            page.ask("palisade.demo.objects.policies['shop/db'].includes('x: [')").await,
            false
        );
        page.ask("document.querySelector('#remove').click()").await;
        page.until(&is("monitoring/prometheus", "shop/db", "allow", "deny")).await;

        // A label that a policy asks for goes.
        page.until(&is("monitoring/prometheus", "shop/api", "allow", "deny")).await;
        page.press(&String::from(char::from(Key::Escape))).await;
        page.press("2").await;
        page.ask("[...document.querySelectorAll('#pods h3 button')].find((it) => it.textContent === 'monitoring').click()").await;
        page.until("document.querySelector('.labels-form input')?.value === 'purpose=monitoring'")
            .await;
        page.ask("(document.querySelector('.labels-form input').value = 'purpose=other', 0)").await;
        page.ask("document.querySelector('.labels-form button').click()").await;
        page.until(&is("monitoring/prometheus", "shop/api", "deny", "allow")).await;
        page.assert_clean().await;
    });
    assert!(lines.any(|line| line.contains("Trap 1, mended")));
    demo.interrupt();
    let status = demo.0.wait().unwrap();
    assert!(
        status.success() && std::fs::read_dir(&scratch.0).unwrap().next().is_none(),
        "{status}"
    );
}
