//! The page in a real browser: Chromium without a screen, beside an agent in a network namespace that leads nowhere else.

mod large;
mod latency;
mod live_demo;
mod pictures;

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

use super::cast::CAST;
use super::command::{Scratch, until};
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
        page.until("palisade.cluster.pods.size === 4 && palisade.map.shape.places.length === 4")
            .await;
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
        page.until("palisade.map.shape.places.length === 4").await;
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

/// Of pod b: c may reach it by what its policy names.
async fn assert_matrix(page: &Page) {
    page.press(&String::from(char::from(Key::Escape))).await;
    page.press("2").await;
    page.until(
        "[...document.querySelectorAll('#pods .pod')].some((it) => it.textContent.startsWith('b'))",
    )
    .await;
    page.ask("[...document.querySelectorAll('#pods .pod')].find((it) => it.textContent.startsWith('b')).focus()").await;
    page.press(&String::from(char::from(Key::Enter))).await;
    page.until("document.querySelectorAll('#details .matrix').length === 2").await;
    let row = "[...document.querySelectorAll('#details .matrix')[0].querySelectorAll('tr')].find((it) => it.textContent.startsWith('pod=c'))";
    assert_eq!(
        page.ask(&format!("[...{row}.querySelectorAll('td')].map((it) => it.className)")).await,
        json!(["allow", "allow", "deny"])
    );
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
        let manifest = page.text("#details pre").await;
        assert!(
            manifest.starts_with("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n"),
            "{manifest}"
        );
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

        assert_matrix(&page).await;
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
