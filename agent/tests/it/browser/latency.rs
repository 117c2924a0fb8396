//! From a packet to its row and its line on the screen.

use std::time::{SystemTime, UNIX_EPOCH};

use palisade_compiler::model::Family;
use palisade_lab::Layout;

use super::browse;
use crate::observe::Node;

/// Packets of each verdict, one after another.
const PACKETS: u16 = 60;

/// Notes when the row of a port was first in a picture: when the browser asks for the one after it.
const NOTE: &str = "(() => {
    window.seen = {};
    const note = (row) => {
        const port = row.querySelector('.port')?.textContent;
        requestAnimationFrame(() => (window.seen[port] ??= Date.now()));
    };
    const observer = new MutationObserver((records) => records.forEach(({ addedNodes }) => addedNodes.forEach(note)));
    observer.observe(document.querySelector('#stream'), { childList: true });
})()";

fn milliseconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

fn report(verdict: &str, mut took: Vec<u64>) {
    took.sort_unstable();
    let at = |percent: usize| took[(took.len() * percent).div_ceil(100) - 1];
    println!(
        "from a packet to the screen, {verdict}, {} packets: p50 {} ms, p99 {} ms",
        took.len(),
        at(50),
        at(99)
    );
}

#[test]
fn each_packet_gets_its_row_and_its_line_and_how_long_that_takes_is_printed() {
    let node = Node::new(Layout::Routed);
    node.agent.until("allowed connections", |status| status.flows.allowed.is_listening);
    browse(&node, async |page| {
        page.until("palisade.map.shape.places.length === 4 && palisade.map.isSettled").await;
        page.ask(NOTE).await;
        // A policy isolates b, and none c.
        for (verdict, to, first) in [("denied", "n/b", 2000), ("allowed", "n/c", 3000)] {
            let kind = if verdict == "denied" { "deny" } else { "allow" };
            let mut took = Vec::new();
            for port in first..first + PACKETS {
                let packet = node.udp(Family::V4, "n/a", to, port, 4000);
                let sent = milliseconds();
                assert_eq!(node.scene.passes("n/a", to, &packet), verdict == "allowed");
                let seen = format!("window.seen['UDP {port}']");
                page.until(&format!("{seen} !== undefined")).await;
                took.push(page.ask(&seen).await.as_u64().unwrap().saturating_sub(sent));
                let line = format!(
                    "palisade.map.lines.list.slice(0, palisade.map.lines.count).some((it) => it.verdict === '{kind}' && palisade.map.nameOf(it.to) === '{to}')"
                );
                page.until(&line).await;
            }
            report(verdict, took);
        }
        page.assert_clean().await;
    });
}
