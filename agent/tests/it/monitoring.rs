//! The dashboard and the alert rules of `deploy/monitoring`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).expect(path)
}

/// What stands in a text as `palisade_...` or `process_...`, without the endings that an exposition gives the parts of a histogram.
fn metrics(text: &str) -> BTreeSet<&str> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_name = |word: &&str| word.starts_with("palisade_") || word.starts_with("process_");
    let words = text.split(|c| !is_of_name(c)).filter(is_name);
    words.map(|word| word.strip_suffix("_bucket").unwrap_or(word)).collect()
}

#[test]
fn every_metric_of_the_dashboard_and_the_alerts_is_documented() {
    let documents = read("docs/metrics.md");
    let documented = metrics(&documents);
    for file in ["deploy/monitoring/alerts.yaml", "deploy/monitoring/dashboard.json"] {
        let text = read(file);
        let named = metrics(&text);
        assert!(named.len() > 10, "{file} names {named:?} only");
        let unknown: Vec<_> = named.difference(&documented).collect();
        assert!(unknown.is_empty(), "{file} names {unknown:?}, which docs/metrics.md does not");
    }
    let dashboard: serde_json::Value =
        serde_json::from_str(&read("deploy/monitoring/dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has an id of its own");
}
