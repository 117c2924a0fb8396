//! What the page looks like, wide and as on a phone, light and dark: pictures are kept for who wants to look, and nothing juts out.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::{env, fs};

use fantoccini::key::Key;
use fantoccini::wd::WebDriverCompatibleCommand;
use serde_json::{Value, json};

use super::live_demo::Demo;
use super::{Page, browse_in};
use crate::command::{Netns, Scratch, enter, finish};

/// Names the directory that pictures are kept in.
const ARTEFACTS: &str = "PALISADE_ARTEFACTS";

/// Where pictures are kept: beside what is built, unless the environment names another directory.
fn artefacts() -> PathBuf {
    let own = || Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("artefacts");
    env::var_os(ARTEFACTS).map_or_else(own, PathBuf::from)
}

/// A command of Chromium's own protocol.
#[derive(Debug)]
struct Chromium(&'static str, Value);

impl WebDriverCompatibleCommand for Chromium {
    fn endpoint(
        &self,
        base: &url::Url,
        session: Option<&str>,
    ) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _url: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(json!({"cmd": self.0, "params": self.1}).to_string()))
    }
}

/// The screens that the page is looked at on: the name, and what Chromium is to pretend.
fn screens() -> [(&'static str, Value); 2] {
    let screen = |width, height, density, mobile| json!({"width": width, "height": height, "deviceScaleFactor": density, "mobile": mobile});
    [("wide", screen(1280, 800, 1, false)), ("phone", screen(390, 844, 2, true))]
}

/// What juts out of the screen, but for tabs and figures, which may be cut.
const BEYOND: &str = r#"[...document.querySelectorAll("header, header *, main, #side, #side > *, #details > *")]
    .filter((it) => it.getClientRects().length > 0 && !it.closest("[role=tablist], .hidden, #figures"))
    .filter((it) => it.getBoundingClientRect().right > innerWidth + 1 || it.getBoundingClientRect().left < -1)
    .map((it) => it.outerHTML.slice(0, 120))"#;

/// Whether the map shows something.
const DRAWN: &str = r#"(() => {
    const { canvas } = palisade.map;
    const copy = Object.assign(document.createElement("canvas"), { width: canvas.width, height: canvas.height });
    const context = copy.getContext("2d", { willReadFrequently: true });
    context.drawImage(canvas, 0, 0);
    return context.getImageData(0, 0, copy.width, copy.height).data.some((it) => it !== 0);
})()"#;

impl Page {
    /// Keeps a picture of what is seen.
    pub(super) async fn keep(&self, name: &str) {
        let picture = self.client.screenshot().await.unwrap();
        let directory = artefacts();
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(format!("{name}.png")), picture).unwrap();
    }

    async fn pretend(&self, screen: &Value) {
        let command = Chromium("Emulation.setDeviceMetricsOverride", screen.clone());
        self.client.issue_cmd(command).await.unwrap();
        let (width, height) = (&screen["width"], &screen["height"]);
        self.until(&format!("innerWidth === {width} && innerHeight === {height}")).await;
        self.until("palisade.map.width === document.querySelector('#canvas').clientWidth").await;
    }

    /// Presses a key where no field takes it as text.
    async fn command(&self, key: &str) {
        self.press(&String::from(char::from(Key::Escape))).await;
        self.until("document.querySelector('#details').hidden").await;
        self.ask("(document.activeElement.blur(), 0)").await;
        self.press(key).await;
    }

    async fn click(&self, selector: &str, text: &str) {
        let found = format!(
            "[...document.querySelectorAll('{selector}')].find((it) => it.textContent.startsWith('{text}'))"
        );
        self.until(&format!("{found} !== undefined")).await;
        self.ask(&format!("({found}.click(), 0)")).await;
    }

    /// Shows one view of the demo.
    async fn view(&self, name: &str) {
        match name {
            "map" => {
                self.command("1").await;
                self.ask("(palisade.map.fit(), 0)").await;
            }
            "pods" => {
                self.command("2").await;
                self.until("document.querySelector('#pods .pod') !== null").await;
            }
            "pod" => {
                self.command("2").await;
                self.click("#pods .pod", "db").await;
                self.until("document.querySelectorAll('#details .matrix').length === 2").await;
            }
            "policy" => {
                self.command("3").await;
                self.click("#policies .policy", "db").await;
                self.until("document.querySelector('#details .rules') !== null").await;
            }
            "findings" => {
                self.command("4").await;
                self.ask("(palisade.map.fit(), 0)").await;
                self.until("document.querySelector('#findings .finding') !== null").await;
            }
            "what-if" => {
                self.command("3").await;
                self.click("#policies .policy", "db").await;
                self.click("#edit", "").await;
                self.click("#details .buttons button", "What if it were removed").await;
                self.until("document.querySelector('#changed li') !== null").await;
            }
            other => {
                assert_eq!(other, "status");
                self.command("5").await;
                self.until("document.querySelector('#status .facts') !== null").await;
            }
        }
        self.until("!palisade.map.moving").await;
    }

    /// That nothing juts out of the screen, and that the map shows something.
    async fn assert_fits(&self, what: &str) {
        assert_eq!(self.ask(BEYOND).await, json!([]), "{what}");
        let width = "document.documentElement.scrollWidth <= innerWidth";
        assert_eq!(self.ask(width).await, true, "{what}");
        assert_eq!(self.ask(DRAWN).await, true, "{what}");
    }
}

const VIEWS: [&str; 7] = ["map", "pods", "pod", "policy", "findings", "what-if", "status"];

#[test]
fn every_view_fits_wide_screens_and_phones_light_and_dark_and_is_kept_as_a_picture() {
    let netns = Netns::new();
    finish(netns.command("ip", &["link", "set", "lo", "up"]), "").exits(0);
    let scratch = Scratch::new();
    let mut command = enter(&netns.path(), env!("CARGO_BIN_EXE_palisade"), &["demo", "--live"]);
    command.env("TMPDIR", &scratch.0).stdin(Stdio::null());
    let mut demo = Demo(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let mut lines = BufReader::new(demo.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let url = Demo::url(&mut lines);
    browse_in(&netns.path(), &url, async |page| {
        page.until("palisade.cluster.pods.size === 8 && palisade.map.isSettled").await;
        let edges = |verdict| {
            format!("[...palisade.cluster.edges.values()].filter((it) => it.{verdict}).length >= 3")
        };
        page.until(&edges("allow")).await;
        page.until(&edges("deny")).await;
        for (screen, metrics) in screens() {
            page.pretend(&metrics).await;
            for theme in ["light", "dark"] {
                if page.ask("document.documentElement.dataset.theme").await != theme {
                    page.command("t").await;
                }
                page.until(&format!("document.documentElement.dataset.theme === '{theme}'")).await;
                for view in VIEWS {
                    page.view(view).await;
                    let name = format!("{view}-{screen}-{theme}");
                    page.assert_fits(&name).await;
                    page.keep(&name).await;
                }
            }
        }
        page.assert_clean().await;
    });
}
