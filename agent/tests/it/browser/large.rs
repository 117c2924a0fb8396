//! The page of a large cluster: what its map sums up, and how fluent it is.

use fantoccini::key::Key;
use palisade::http::DEFAULT;
use serde_json::{Value, json};

use super::{Page, browse_in};
use crate::command::{Netns, Scratch, finish};

/// Pods of the large cluster, and its namespaces and workloads of each.
const PODS: usize = 5000;
const NAMESPACES: usize = 25;
const WORKLOADS: usize = 10;
/// Lines that the map draws at most.
const MAX_LINES: u64 = 300;

/// Makes `window.connect`, by which so many connections between random pods arrive.
const CONNECT: &str = r#"(() => {
    const { map, cluster } = palisade;
    const pods = [...cluster.pods.values()];
    const any = () => pods[Math.floor(Math.random() * pods.length)];
    const end = (pod) => ({ pod: `${pod.namespace}/${pod.name}`, address: pod.addresses[0], node: null });
    window.connect = (count) => {
        for (let n = 0; n < count; n++) {
            const verdict = Math.random() < 0.2 ? "deny" : "allow";
            const { edge } = cluster.take({ id: Math.floor(Math.random() * 5000), verdict, direction: "ingress", count: 1, family: "IPv4", protocol: 6, port: 80,
                from: end(any()), to: end(any()), last_seen: new Date().toISOString(), divergence: null, misses: [], isolated_by: [], allowed_by: [], reason: "" });
            map.pulse(edge, verdict);
        }
        map.setEdges(cluster.edges);
    };
})()"#;
/// More than the map has edges.
const CONNECTIONS: usize = 3000;

/// Pans the map and has connections arrive for two seconds; what became of it is in `window.drawn`.
const PAN: &str = r#"(() => {
    window.drawn = null;
    const { map } = palisade;
    const [begun, before, gaps] = [performance.now(), map.frames, []];
    let last = begun;
    const step = () => {
        const now = performance.now();
        gaps.push(now - last);
        last = now;
        connect(20);
        map.move(Math.sin(performance.now() / 300) * 20, 0);
        if (performance.now() - begun < 2000) return requestAnimationFrame(step);
        gaps.sort((a, b) => a - b);
        window.drawn = { rate: (map.frames - before) * 1000 / (performance.now() - begun), middle: gaps[gaps.length >> 1], worst: gaps.at(-1) };
    };
    step();
})()"#;

/// The lines of the map that differ from what the edges say: between namespaces, and within them between workloads.
const WRONG_LINES: &str = r#"(() => {
    const { map, cluster } = palisade;
    map.drawNow();
    const workload = (pod) => `${pod.namespace}/${pod.workload}`;
    const wanted = new Map();
    for (const edge of cluster.edges.values()) {
        const [from, to] = [edge.from, edge.to].map((id) => cluster.pods.get(id));
        const isInside = from.namespace === to.namespace;
        const [a, b] = isInside ? [workload(from), workload(to)] : [from.namespace, to.namespace];
        if (a === b) continue;
        const sum = wanted.get(`${a} ${b}`) ?? { allowed: 0, denied: 0 };
        for (const { verdict } of edge.ports.values()) sum[verdict === "deny" ? "denied" : "allowed"] += 1;
        wanted.set(`${a} ${b}`, sum);
    }
    const wrong = [];
    for (const line of map.lines.list.slice(0, map.lines.count)) {
        const key = `${map.nameOf(line.from)} ${map.nameOf(line.to)}`;
        const sum = wanted.get(key);
        wanted.delete(key);
        const verdict = sum?.denied > 0 ? "deny" : "allow";
        if (!sum || line.allowed !== sum.allowed || line.denied !== sum.denied || line.verdict !== verdict) wrong.push([key, line, sum]);
    }
    return { wrong: wrong.slice(0, 3), missing: [...wanted.keys()].slice(0, 3), lines: map.lines.count };
})()"#;

/// Pans the map, and prints how fluent that was.
async fn pan(page: &Page, what: &str) -> f64 {
    page.ask(PAN).await;
    page.until("window.drawn !== null").await;
    let drawn = page.ask("window.drawn").await;
    let number = |name: &str| drawn[name].as_f64().unwrap();
    println!(
        "{PODS} pods, {what}: {:.0} pictures a second; from one to the next {:.0} ms at p50, at most {:.0} ms",
        number("rate"),
        number("middle"),
        number("worst")
    );
    number("rate")
}

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
    let agent = netns.agent(&scratch.0);
    agent.until_enforcing();
    browse_in(&netns.path(), &format!("http://{DEFAULT}/"), async |page| {
        page.until(&format!("palisade.map.shape.places.length === {PODS} && palisade.map.isSettled && !palisade.map.moving"))
            .await;
        let first = page.ask("performance.getEntriesByName('first-picture')[0].startTime").await;
        println!("{PODS} pods: the first picture after {:.0} ms", first.as_f64().unwrap());
        assert_eq!(
            page.ask("palisade.map.isGathered && palisade.map.shape.workloads.length").await,
            json!(NAMESPACES * WORKLOADS)
        );
        page.ask(CONNECT).await;
        page.ask(&format!("(connect({CONNECTIONS}), 0)")).await;
        // Another program may have the processors for a moment.
        let mut drawn = Vec::new();
        while drawn.len() < 5 && drawn.last().is_none_or(|rate| *rate < 5.0) {
            drawn.push(pan(&page, "namespaces").await);
        }
        assert!(drawn.iter().any(|rate| *rate >= 5.0), "{drawn:?} pictures a second");
        page.ask("(palisade.map.fit(), 0)").await;
        let lines = page.ask(WRONG_LINES).await;
        assert_eq!((&lines["wrong"], &lines["missing"]), (&json!([]), &json!([])), "{lines}");
        // What is left out is said.
        assert!(lines["lines"].as_u64().unwrap() > MAX_LINES, "{lines}");
        page.until("document.querySelector('#left-out').textContent.startsWith('300 of ')").await;
        page.keep("large-namespaces").await;
        page.ask("(palisade.map.fit(), palisade.map.zoom(2.4), 0)").await;
        page.until("palisade.map.level === 1").await;
        pan(&page, "workloads").await;
        page.keep("large-workloads").await;
        // From near, pods are drawn.
        page.ask("(palisade.map.show('pod n0/w0-0'), 0)").await;
        page.until("!palisade.map.isGathered").await;
        pan(&page, "pods").await;
        page.keep("large-pods").await;
        page.press("/n3/w2").await;
        page.press(&String::from(char::from(Key::Enter))).await;
        page.until("document.querySelector('#details h2')?.textContent.startsWith('n3/w2')").await;
        page.assert_clean().await;
    });
}
