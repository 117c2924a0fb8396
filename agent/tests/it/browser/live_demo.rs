//! The page of the live demo: edits, and the tour.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command};

use fantoccini::key::Key;
use serde_json::json;

use super::{browse_in, edge};
use crate::command::Scratch;
use crate::demo::start;

/// The answer to a request of the live demo, which has a body if it is a POST.
#[track_caller]
fn demo_answer(address: &str, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    _ = write!(
        stream,
        "{head}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    let mut answer = Vec::new();
    // Where a body is too large, its rest meets a closed connection, and the answer may be lost.
    _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
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
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

/// The demo, which ends and removes what it made when this is dropped.
pub(super) struct Demo(pub(super) Child);

impl Demo {
    /// The address of its page, with what comes behind the first `#`.
    pub(super) fn url(lines: &mut impl Iterator<Item = String>) -> String {
        lines.find(|line| line.contains("#demo=")).unwrap().trim().to_owned()
    }

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
    let mut demo = Demo(start(&["--live", "--tour"], &scratch));
    let mut lines = BufReader::new(demo.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let url = Demo::url(&mut lines);
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
        page.ask("(document.querySelector('#tab-pods').click(), 0)").await;
        page.until("[...document.querySelectorAll('#pods h3 button')].some((it) => it.textContent === 'monitoring')").await;
        page.ask("[...document.querySelectorAll('#pods h3 button')].find((it) => it.textContent === 'monitoring').click()").await;
        page.until("document.querySelector('.labels-form input')?.value === 'purpose=monitoring'")
            .await;
        // As one who types does: what has the focus is not drawn anew.
        page.ask("(document.querySelector('.labels-form input').focus(), document.querySelector('.labels-form input').value = 'purpose=other', document.querySelector('.labels-form button').click(), 0)").await;
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
