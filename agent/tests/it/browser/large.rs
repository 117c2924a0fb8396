//! The page of a large cluster: how fluent its map is.

use fantoccini::key::Key;
use palisade::http::DEFAULT;
use serde_json::{Value, json};

use super::browse_in;
use crate::command::{Netns, Scratch, finish};

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
    let agent = netns.agent(&scratch.0);
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
