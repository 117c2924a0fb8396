//! `palisade lint`: what it prints, in each format, and its exit status.

use std::path::Path;

use palisade_compiler::lint::Code;
use serde_json::Value;

use crate::command::{NAMESPACE, Netns, Ran, Scratch, palisade, palisade_reads, pod, policy};

/// Pod a, a policy with a misspelt label, and one with a note.
fn misspelt() -> Scratch {
    let scratch = Scratch::new();
    scratch.write("namespace.yaml", NAMESPACE);
    scratch.write("pods.yaml", &(pod("alpha", "10.0.0.1", "") + &pod("beta", "10.0.0.2", "")));
    scratch.write(
        "typo.yaml",
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  namespace: x\n  name: typo\nspec:\n  podSelector:\n    matchLabels: {app: alhpa}\n",
    );
    scratch.write(
        "open.yaml",
        &policy("open", "{podSelector: {}, policyTypes: [Ingress], ingress: [{}]}"),
    );
    scratch
}

fn lint(scratch: &Scratch, args: &[&str]) -> Ran {
    palisade(&[&["lint", "-f", scratch.path()], args].concat())
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap()
}

#[test]
fn a_finding_names_object_place_field_reason_and_remedy() {
    let scratch = misspelt();
    let ran = lint(&scratch, &[]).exits(1);
    for part in [
        "NetworkPolicy x/typo\n",
        "  warning PAL101 selects-no-pod ",
        "typo.yaml:7:3\n",
        "spec.podSelector app=alhpa selects no pod of the namespace x.",
        "The policy isolates nothing.",
        "-> Did you mean app=alpha, as x/alpha has?",
        "1 warning; 2 less severe findings not shown (--severity note)",
    ] {
        assert!(ran.out.contains(part), "no {part:?} in {}", ran.out);
    }
    assert!(!ran.out.contains('\x1b'), "{}", ran.out);
}

#[test]
fn the_severity_decides_what_is_shown_and_the_exit_status() {
    let scratch = misspelt();
    lint(&scratch, &["--severity", "error"]).exits(0);
    let all = lint(&scratch, &["--severity", "note", "-o", "json"]).exits(1);
    let codes: Vec<_> =
        json(&all)["findings"].as_array().unwrap().iter().map(|f| f["code"].clone()).collect();
    assert_eq!(codes, ["PAL501", "PAL505", "PAL101"]);
    std::fs::remove_file(scratch.0.join("typo.yaml")).unwrap();
    let clean = lint(&scratch, &[]).exits(0);
    assert!(clean.out.contains("nothing found"), "{clean:?}");
    lint(&scratch, &["--severity", "note"]).exits(1);
}

/// docs/json.md describes the fields.
#[test]
fn json_has_the_fields_that_are_documented() {
    let scratch = misspelt();
    let found = json(&lint(&scratch, &["-o", "json"]).exits(1));
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/json.md");
    let page = std::fs::read_to_string(page).unwrap();
    let section =
        page.split("## `palisade lint -o json`").nth(1).unwrap().split("\n## ").next().unwrap();
    let finding = &found["findings"][0];
    for fields in [&found, finding] {
        for field in fields.as_object().unwrap().keys() {
            assert!(section.contains(&format!("`{field}`")), "{field} is not documented");
        }
    }
    assert_eq!(finding["object"]["kind"], "NetworkPolicy");
    assert_eq!(finding["object"]["name"], "typo");
    assert_eq!(finding["field"], "spec.podSelector");
    assert_eq!(finding["place"]["line"], 7);
    assert_eq!(found["counts"], serde_json::json!({"note": 2, "warning": 1, "error": 0}));
    assert_eq!(found["complete"], true);
}

#[test]
fn sarif_has_a_rule_for_each_code_and_the_places_of_files() {
    let scratch = misspelt();
    let log = json(&lint(&scratch, &["-o", "sarif"]).exits(1));
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    let ids: Vec<_> = rules.iter().map(|rule| rule["id"].as_str().unwrap()).collect();
    assert_eq!(ids, Code::ALL.iter().map(|code| code.id()).collect::<Vec<_>>());
    let result = &run["results"][0];
    assert_eq!(result["ruleId"], "PAL101");
    assert_eq!(rules[result["ruleIndex"].as_u64().unwrap() as usize]["id"], "PAL101");
    assert_eq!(result["level"], "warning");
    let location = &result["locations"][0];
    let physical = &location["physicalLocation"];
    let uri = physical["artifactLocation"]["uri"].as_str().unwrap();
    assert!(uri.starts_with("file:///") && uri.ends_with("/typo.yaml"), "{uri}");
    assert_eq!(physical["region"], serde_json::json!({"startLine": 7, "startColumn": 3}));
    let name = &location["logicalLocations"][0]["fullyQualifiedName"];
    assert_eq!(name, "NetworkPolicy x/typo spec.podSelector");
}

#[test]
fn what_is_wrong_with_manifests_is_found_with_its_place() {
    let scratch = misspelt();
    scratch.write("wrong.yaml", &policy("wrong", "{podSelector: {}, ingress: [{form: []}]}"));
    let found = json(&lint(&scratch, &["-o", "json", "--severity", "error"]).exits(1));
    assert_eq!(found["findings"][0]["code"], "PAL001");
    assert_eq!(found["findings"][0]["place"]["line"], 4);
    // A document that is no object: nothing is certain of the whole.
    scratch.write("scalar.yaml", "text\n");
    let ran = lint(&scratch, &["-o", "json"]).exits(1).complains("not understood as a whole");
    let found = json(&ran);
    assert_eq!(found["complete"], false);
    assert!(found["findings"].as_array().unwrap().iter().all(|f| f["code"] == "PAL001"));
    palisade(&["lint", "-f", "/nonexistent"]).exits(2);
    palisade(&["lint", "--socket", "/nonexistent"]).exits(5);
}

#[test]
fn what_comes_by_standard_input_is_read_too() {
    let text = policy("typo", "{podSelector: {matchLabels: {app: alhpa}}}");
    let input = pod("alpha", "10.0.0.1", "") + &text;
    let found = json(&palisade_reads(&["lint", "-f", "-", "-o", "json"], &input).exits(1));
    assert_eq!(found["findings"][0]["code"], "PAL101");
    assert_eq!(found["findings"][0]["place"], Value::Null);
}

/// A name that could drive a terminal stands in no label, but may stand in a field that does not exist.
#[test]
fn hostile_names_are_shown_harmlessly() {
    let spec = "{podSelector: {}, \"a\\e[31m\\n\": 1}";
    let scratch = misspelt();
    scratch.write("hostile.yaml", &policy("hostile", spec));
    let ran = lint(&scratch, &[]).exits(1);
    assert!(ran.out.contains("PAL001") && !ran.out.contains('\x1b'), "{ran:?}");
}

#[test]
fn an_annotation_accepts_a_finding() {
    let scratch = misspelt();
    scratch.write(
        "typo.yaml",
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  namespace: x\n  name: typo\n  annotations: {palisade.io/lint-ignore: PAL101}\nspec:\n  podSelector:\n    matchLabels: {app: alhpa}\n",
    );
    let ran = lint(&scratch, &[]).exits(0);
    assert!(ran.out.contains("1 accepted by annotation"), "{ran:?}");
}

#[test]
fn the_recipes_cause_no_alarm() {
    let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/recipes");
    palisade(&["lint", "-f", recipes.to_str().unwrap()]).exits(0);
}

#[test]
fn the_running_agent_tells_what_it_finds_and_what_lost_its_match() {
    let scratch = misspelt();
    let guard = policy("guard", "{podSelector: {matchLabels: {app: beta}}}");
    scratch.write("guard.yaml", &guard);
    std::fs::remove_file(scratch.0.join("open.yaml")).unwrap();
    let netns = Netns::new();
    let agent = netns.agent(&scratch.0);
    agent.until_enforcing();
    let ask = |args: &[&str]| {
        palisade(&[&["lint", "--socket", agent.socket.to_str().unwrap()], args].concat())
    };
    let before = ask(&[]).exits(1);
    assert!(before.out.contains("warning PAL101 selects-no-pod"), "{}", before.out);
    assert!(!before.out.contains("PAL702"), "{}", before.out);
    let beta = pod("beta", "10.0.0.2", "").replace("app: beta", "app: gamma");
    scratch.write("pods.yaml", &(pod("alpha", "10.0.0.1", "") + &beta));
    let status = agent.until("what lost its match", |status| status.lint.lost_matches == 2);
    assert_eq!(status.lint.unexamined, 0);
    let ran = ask(&["-o", "json"]).exits(1);
    let lost = &json(&ran)["lost_matches"];
    assert_eq!(
        (&lost[0]["code"], &lost[1]["code"]),
        (&"PAL701".into(), &"PAL702".into()),
        "{lost}"
    );
    assert_eq!(lost[1]["object"]["name"], "beta");
    assert!(lost[0]["time"].as_str().unwrap().ends_with('Z'), "{lost}");
    let text = ask(&[]).exits(1).out;
    assert!(text.contains("(app changed from beta to gamma)"), "{text}");
    let log = json(&ask(&["-o", "sarif"]).exits(1));
    let results = log["runs"][0]["results"].as_array().unwrap();
    let is_lost = |result: &&Value| !result["properties"]["lostAt"].is_null();
    let lost: Vec<&str> =
        results.iter().filter(is_lost).map(|it| it["ruleId"].as_str().unwrap()).collect();
    assert_eq!(lost, ["PAL701", "PAL702"]);
    // The whole look comes some seconds later, and what is found is counted.
    agent.until("a look at everything", |status| status.lint.findings.values().sum::<usize>() > 1);
    let log = agent.log();
    assert!(log.contains("Pod x/beta: x/beta was isolated for ingress by x/guard until"), "{log}");
}

/// Nobody connects: the policy is not used, and denies nothing.
#[test]
fn the_running_agent_tells_what_is_not_used() {
    let scratch = Scratch::guarded();
    let netns = Netns::new();
    let agent = netns.agent_with(&scratch.0, &["--unused-after", "2"]);
    agent.until_enforcing();
    let status = agent.until("what is not used", |status| {
        (status.lint.usage.policies, status.lint.usage.isolations) == (1, 1)
    });
    assert_eq!((status.lint.usage.watched, status.lint.usage.rules), (1, 0));
    let ask = |args: &[&str]| {
        palisade(&[&["lint", "--socket", agent.socket.to_str().unwrap()], args].concat())
    };
    let text = ask(&["--severity", "note"]).exits(1).out;
    for part in [
        "note PAL801 policy-never-used",
        "its rule allowed no connection of this node's pods since 2",
        "note PAL803 isolation-never-denied",
        "its isolation for ingress denied nothing to this node's pods since 2",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    let found = json(&ask(&["-o", "json"]).exits(0));
    assert_eq!(found["usage"]["after_seconds"], 2);
    assert_eq!(found["usage"]["allowed_unknown"], Value::Null);
    let long = patient(&scratch);
    assert!(!long.contains("PAL801") && long.contains("It is not known which policies"), "{long}");
}

/// What an agent says that waits for an hour before it calls something unused.
fn patient(scratch: &Scratch) -> String {
    let netns = Netns::new();
    let agent = netns.agent(&scratch.0);
    agent.until_enforcing();
    agent.until("the counts", |status| status.lint.usage.allowed_since.is_some());
    palisade(&["lint", "--severity", "note", "--socket", agent.socket.to_str().unwrap()])
        .exits(1)
        .out
}

#[test]
fn the_service_of_the_dns_is_named_by_a_flag() {
    let scratch = misspelt();
    let lint_with = |name: &str| lint(&scratch, &["--dns-service", name]);
    lint_with("dns").exits(2).complains("is not NAMESPACE/NAME");
    lint_with("infra/dns").exits(1).complains("the input has no Service infra/dns");
}
