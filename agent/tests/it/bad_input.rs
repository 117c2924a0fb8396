//! Wrong input of every kind, given to a running agent and to `apply`: each is named, nothing that was enforced is lost, and nothing
//! opens.

use std::fs;
use std::path::PathBuf;

use palisade::protocol::{State, Status};

use super::command::{NAMESPACE, Netns, Scratch, guard, pod, policy};

/// What is done to a file of `Scratch::guarded`, and what is said of it.
struct Case {
    file: &'static str,
    text: String,
    says: &'static [&'static str],
}

fn case(file: &'static str, text: impl Into<String>, says: &'static [&'static str]) -> Case {
    Case { file, text: text.into(), says }
}

/// Each leaves a -> b denied, as it was.
fn cases() -> Vec<Case> {
    [no_objects(), wrong_policies(), wrong_identities(), given_twice()]
        .into_iter()
        .flatten()
        .collect()
}

/// A policy for b that ends in the middle of its rules.
fn half(rules: &str) -> String {
    let policy = guard("[]");
    let spec =
        "spec:\n  podSelector: {matchLabels: {app: b}}\n  policyTypes: [Ingress]\n  ingress:\n  ";
    let (metadata, _) = policy.split_once("spec:").unwrap();
    format!("{metadata}{spec}{rules}")
}

/// Files that say nothing for certain.
fn no_objects() -> Vec<Case> {
    vec![
        case("guard.yaml", "apiVersion: v1\nkind: [\n", &["guard.yaml", "syntax"]),
        case("guard.yaml", "{\"apiVersion\": \"v1\",", &["guard.yaml", "JSON"]),
        case("guard.yaml", "just a word\n", &["guard.yaml"]),
        case("guard.yaml", "kind: List\nitmes: []\n", &["guard.yaml", "without items"]),
        case("pods.yaml", "kind: PodList\nitem: []\n", &["pods.yaml", "without items"]),
        case("guard.yaml", "", &["guard.yaml", "is empty"]),
        case("pods.yaml", "", &["pods.yaml", "is empty"]),
        case("other.yaml", "\u{0}\u{1}", &["other.yaml"]),
        // What a download that failed saves, and half a policy, in one save.
        case(
            "guard.yaml",
            r#"{"kind":"Status","apiVersion":"v1","status":"Failure","code":401}"#,
            &["guard.yaml", "Status"],
        ),
        case("guard.yaml", half("- from:\n"), &["guard.yaml"]),
        case("guard.yaml", half("-"), &["guard.yaml"]),
    ]
}

/// Policies with wrong fields.
fn wrong_policies() -> Vec<Case> {
    vec![
        case("guard.yaml", guard("7"), &["NetworkPolicy x/guard", "ingress"]),
        case("guard.yaml", policy("guard", "{podSelector: b, ingress: [{}]}"), &["podSelector"]),
        case(
            "guard.yaml",
            policy("guard", "{podSelector: {}, policyTypes: Ingress, ingress: [{}, 3]}"),
            &["policyTypes"],
        ),
        case(
            "guard.yaml",
            policy(
                "guard",
                "{podSelector: {matchExpressions: [{key: app, operator: Is, values: [b]}]}}",
            ),
            &["operator", "Is"],
        ),
        case(
            "guard.yaml",
            guard("[{from: [{ipBlock: {cidr: 10.0.0.0/33}}]}, {}]"),
            &["cidr", "10.0.0.0/33"],
        ),
        case(
            "guard.yaml",
            guard("[{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/8]}}]}]"),
            &["except", "11.0.0.0/8"],
        ),
        case("guard.yaml", guard("[{ports: [{port: 70000}]}, {}]"), &["port", "70000"]),
        case("guard.yaml", guard("[{ports: [{port: 90, endPort: 80}]}, {}]"), &["endPort"]),
        case(
            "guard.yaml",
            guard("[{ports: [{port: 80, protocol: TPC}]}, {}]"),
            &["protocol", "TPC"],
        ),
    ]
}

/// Objects that are not certainly those they seem to be, in the file that holds them and in others; and pods.
fn wrong_identities() -> Vec<Case> {
    let everyone = "[{}]";
    vec![
        case(
            "second.yaml",
            guard(everyone),
            &["NetworkPolicy x/guard", "second.yaml", "guard.yaml"],
        ),
        case("a-first.yaml", guard(everyone), &["NetworkPolicy x/guard", "a-first.yaml", "counts"]),
        case(
            "other.yaml",
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolice\nmetadata: {name: y}\n",
            &["NetworkPolice"],
        ),
        case("guard.yaml", guard(everyone).replace("Policy\n", "Polcy\n"), &["NetworkPolcy"]),
        case("guard.yaml", guard(everyone).replace("io/v1", "io/v1beta1"), &["v1beta1"]),
        case("guard.yaml", guard(everyone).replace("io/v1", "oi/v1"), &["networking.k8s.oi"]),
        case("guard.yaml", guard(everyone).replace("namespace: x", "namespace: X"), &["\"X\""]),
        case("guard.yaml", guard(everyone).replace("name: guard", "name: Guard"), &["Guard"]),
        case(
            "other.yaml",
            pod("late", "10.0.0.2", ", phase: Pending").replacen("phase: Running, ", "", 1),
            &["10.0.0.2", "x/b"],
        ),
        case("other.yaml", pod("c", "10.0.0.300", ""), &["Pod x/c", "10.0.0.300"]),
        case(
            "pods.yaml",
            pod("a", "10.0.0.1", "") + &pod("b", "10.0.0.l", ""),
            &["Pod x/b", "10.0.0.l"],
        ),
        case(
            "pods.yaml",
            pod("a", "10.0.0.1", "") + &pod("b", "10.0.0.2", "").replace("{ip:", "{IP:"),
            &["Pod x/b", "podIPs[0].ip"],
        ),
        case(
            "pods.yaml",
            pod("a", "10.0.0.1", "") + &pod("b", "10.0.0.2", "").replace("name: b", "name: B"),
            &["\"B\""],
        ),
        case(
            "pods.yaml",
            pod("a", "10.0.0.1", "")
                + &pod("b", "10.0.0.2", "").replace("labels: {app: b}", "labels: [app]"),
            &["Pod x/b", "labels"],
        ),
    ]
}

/// One name twice in one file, in whatever order.
fn given_twice() -> Vec<Case> {
    let everyone = "[{}]";
    vec![
        case("guard.yaml", guard("[]") + "---\n" + &guard(everyone), &["NetworkPolicy x/guard"]),
        case("guard.yaml", guard(everyone) + "---\n" + &guard("[]"), &["NetworkPolicy x/guard"]),
        case("guard.yaml", guard(everyone) + "---\n" + &guard(everyone), &["stands at", "already"]),
        // As an object that is pasted in front of the one that is enforced.
        case(
            "guard.yaml",
            policy("guard", "{podSelector: {matchLabels: {app: a}}}") + "---\n" + &guard("[]"),
            &["NetworkPolicy x/guard", "guard.yaml:1"],
        ),
        case(
            "pods.yaml",
            pod("b", "10.0.0.9", "") + &pod("a", "10.0.0.1", "") + &pod("b", "10.0.0.2", ""),
            &["Pod x/b", "pods.yaml:1"],
        ),
        case(
            "pods.yaml",
            pod("a", "10.0.0.1", "")
                + &pod("b", "10.0.0.2", "")
                + &pod("b", "10.0.0.2", "").replace("{app: b}", "{app: c}"),
            &["Pod x/b", "pods.yaml:6"],
        ),
        case(
            "namespace.yaml",
            NAMESPACE.to_owned()
                + "---\n"
                + &NAMESPACE.replace("name: x", "name: x, labels: {a: b}"),
            &["Namespace x", "stands at"],
        ),
    ]
}

fn complaints(status: &Status) -> String {
    [status.problems.join("\n"), status.warnings.join("\n")].join("\n")
}

#[test]
fn a_running_agent_reports_wrong_input_and_opens_nothing() {
    let netns = Netns::new();
    let scratch = Scratch::guarded();
    let agent = netns.agent(&scratch.0);
    agent.until_enforcing();
    for Case { file, text, says } in cases() {
        assert_eq!(agent.verdict("x/a", "x/b"), "deny");
        let before = fs::read_to_string(scratch.0.join(file)).ok();
        scratch.write(file, &text);
        let status = agent.until(&format!("{says:?} after {text}"), |status| {
            says.iter().all(|say| complaints(status).contains(say))
        });
        assert!(status.sizes.subjects_in >= 1, "{text}");
        assert!(status.error_count > 0 || !status.warnings.is_empty(), "{status:?}");
        assert_eq!(agent.verdict("x/a", "x/b"), "deny", "opened by {text}");
        agent.verify();
        match before {
            Some(before) => _ = scratch.write(file, &before),
            None => fs::remove_file(scratch.0.join(file)).unwrap(),
        }
        agent.until("mending", |status| {
            status.problem_count == 0 && status.warnings.is_empty() && status.held_count == 0
        });
    }
}

/// Of which nothing is known when the agent starts: it isolates what either does, and allows nothing.
#[test]
fn a_policy_given_twice_from_the_start_is_closed() {
    let (all, none) = (guard("[{}]"), guard("[]"));
    let elsewhere =
        policy("guard", "{podSelector: {matchLabels: {app: a}}, policyTypes: [Egress]}");
    for (first, second) in [(&all, &none), (&none, &all), (&elsewhere, &all), (&all, &elsewhere)] {
        let netns = Netns::new();
        let scratch = Scratch::guarded();
        scratch.write("guard.yaml", &[first.as_str(), second].join("---\n"));
        let agent = netns.agent(&scratch.0);
        let status = agent.until("enforcement", |status| status.state == State::Enforcing);
        assert!(complaints(&status).contains("NetworkPolicy x/guard"), "{status:?}");
        assert_eq!(agent.verdict("x/a", "x/b"), "deny", "{first}{second}");
        agent.verify();
        scratch.write("guard.yaml", &all);
        agent.until("mending", |status| status.problem_count == 0);
        assert_eq!(agent.verdict("x/a", "x/b"), "allow");
        // From now on it is known what the file last gave.
        scratch.write("guard.yaml", &[first.as_str(), second].join("---\n"));
        agent.until("the complaint", |status| complaints(status).contains("NetworkPolicy x/guard"));
        assert_eq!(agent.verdict("x/a", "x/b"), "allow");
        agent.verify();
    }
}

#[test]
fn apply_closes_a_policy_given_twice_and_refuses_a_pod_given_twice() {
    let netns = Netns::new();
    let scratch = Scratch::guarded();
    netns.palisade(&["apply", "-f", scratch.path()]).exits(0);
    for text in [[guard("[{}]"), guard("[]")], [guard("[]"), guard("[{}]")]] {
        scratch.write("guard.yaml", &text.join("---\n"));
        netns.palisade(&["apply", "-f", scratch.path()]).exits(1).complains("x/guard");
        assert_closed(&netns.ruleset());
    }
    let before = netns.ruleset();
    let twice = pod("a", "10.0.0.1", "") + &pod("b", "10.0.0.9", "") + &pod("b", "10.0.0.2", "");
    scratch.write("pods.yaml", &twice);
    netns.palisade(&["apply", "-f", scratch.path()]).exits(1).complains("Pod x/b");
    assert_eq!(netns.ruleset(), before);
}

#[test]
fn a_file_of_100_megabytes_is_not_read_and_keeps_what_it_gave() {
    let netns = Netns::new();
    let scratch = Scratch::guarded();
    let agent = netns.agent(&scratch.0);
    agent.until_enforcing();
    let file = fs::File::options().write(true).open(scratch.0.join("guard.yaml")).unwrap();
    file.set_len(100 << 20).unwrap();
    drop(file);
    let status =
        agent.until("the complaint", |status| complaints(status).contains("--max-file-size"));
    assert_eq!((status.held_count, status.held_files.len()), (1, 1));
    assert_eq!(agent.verdict("x/a", "x/b"), "deny");
    agent.verify();
}

/// Where a directory can be moved to, in another that is removed in the end.
fn place() -> (Scratch, PathBuf) {
    let scratch = Scratch::new();
    let path = scratch.0.join("away");
    (scratch, path)
}

#[test]
fn a_directory_that_disappears_keeps_everything() {
    let netns = Netns::new();
    let scratch = Scratch::guarded();
    let agent = netns.agent(&scratch.0);
    agent.until_enforcing();
    let (_removed, away) = place();
    fs::rename(&scratch.0, &away).unwrap();
    agent.until("the complaint", |status| complaints(status).contains("no such directory"));
    assert_eq!(agent.verdict("x/a", "x/b"), "deny");
    agent.verify();
    fs::rename(&away, &scratch.0).unwrap();
    agent.until_enforcing();
    scratch.write("guard.yaml", &guard("[{}]"));
    agent.until("the change", |status| status.enforced_revision == 2);
    assert_eq!(agent.verdict("x/a", "x/b"), "allow");
}

/// As when it is unmounted: what is there then was never meant.
#[test]
fn a_directory_that_is_replaced_keeps_everything() {
    let netns = Netns::new();
    let scratch = Scratch::guarded();
    let agent = netns.agent(&scratch.0);
    agent.until_enforcing();
    let (_removed, away) = place();
    fs::rename(&scratch.0, &away).unwrap();
    fs::create_dir(&scratch.0).unwrap();
    let status = agent.until("the complaint", |status| complaints(status).contains("another one"));
    assert_eq!((status.held_count, status.sizes.policies), (3, 1));
    assert_eq!(agent.verdict("x/a", "x/b"), "deny");
    agent.verify();
    scratch.write("guard.yaml", &guard("[{}]"));
    agent.until("the change", |status| status.enforced_revision == 2);
    assert_eq!(agent.verdict("x/a", "x/b"), "allow");
    fs::remove_dir_all(&scratch.0).unwrap();
    fs::rename(&away, &scratch.0).unwrap();
    agent.until_enforcing();
    assert_eq!(agent.verdict("x/a", "x/b"), "deny");
}

#[test]
fn a_directory_whose_last_manifest_is_removed_is_reported() {
    let netns = Netns::new();
    let scratch = Scratch::guarded();
    let agent = netns.agent(&scratch.0);
    agent.until_enforcing();
    for name in ["namespace.yaml", "pods.yaml", "guard.yaml"] {
        fs::remove_file(scratch.0.join(name)).unwrap();
    }
    let status =
        agent.until("the warning", |status| complaints(status).contains("the last manifest"));
    assert_eq!((status.files, status.sizes.policies), (0, 0));
    assert!(agent.log().contains("the last manifest was removed"), "{}", agent.log());
}

#[test]
fn a_file_that_is_saved_line_by_line_opens_nothing() {
    let netns = Netns::new();
    let scratch = Scratch::guarded();
    let agent = netns.agent(&scratch.0);
    agent.until_enforcing();
    let text = format!("# by a script\n{}", guard("[{from: [{ipBlock: {cidr: 10.9.0.0/16}}]}]"));
    scratch.write("guard.yaml", "");
    for (at, line) in text.split_inclusive('\n').enumerate() {
        let mut file = fs::File::options().append(true).open(scratch.0.join("guard.yaml")).unwrap();
        std::io::Write::write_all(&mut file, line.as_bytes()).unwrap();
        drop(file);
        // Another file's change makes the agent look.
        scratch.write(
            "more.yaml",
            &pod("c", "10.0.0.3", "").replace("app: c", &format!("app: c{at}")),
        );
        let status = agent.until("the look", |status| status.enforced_revision as usize > at + 1);
        assert_eq!(status.sizes.subjects_in, 1, "opened by {line:?}");
        assert_eq!(agent.verdict("203.0.113.9", "x/b"), "allow", "taken over at {line:?}");
    }
    agent.until("the rest", |status| status.held_count == 0 && status.problem_count == 0);
    agent.until("the change", |_| agent.verdict("203.0.113.9", "x/b") == "deny");
    assert_eq!(agent.verdict("10.9.0.1", "x/b"), "allow");
}

#[test]
fn a_named_file_that_vanishes_keeps_what_it_gave() {
    let netns = Netns::new();
    let scratch = Scratch::new();
    let all = NAMESPACE.to_owned()
        + "---\n"
        + &pod("a", "10.0.0.1", "")
        + &pod("b", "10.0.0.2", "")
        + &guard("[]");
    let file = scratch.write("all", &all);
    let agent = netns.agent(&file);
    agent.until_enforcing();
    fs::remove_file(&file).unwrap();
    agent.until("the complaint", |status| complaints(status).contains("no such file"));
    assert_eq!(agent.verdict("x/a", "x/b"), "deny");
    scratch.write("all", &all.replace("ingress: []", "ingress: [{}]"));
    agent.until_enforcing();
    agent.until("the change", |status| status.enforced_revision == 2);
    assert_eq!(agent.verdict("x/a", "x/b"), "allow");
}

#[test]
fn who_writes_a_file_slowly_through_a_link_opens_nothing() {
    let netns = Netns::new();
    let (scratch, elsewhere) = (Scratch::guarded(), Scratch::new());
    let guarding = fs::read_to_string(scratch.0.join("guard.yaml")).unwrap();
    let target = elsewhere.write("target.yaml", &guarding);
    fs::remove_file(scratch.0.join("guard.yaml")).unwrap();
    std::os::unix::fs::symlink(&target, scratch.0.join("guard.yaml")).unwrap();
    let agent = netns.agent(&scratch.0);
    agent.until_enforcing();
    let mut writer = fs::File::create(&target).unwrap();
    // As much as makes a whole document that says nothing; then another file's change, which the agent enforces.
    std::io::Write::write_all(&mut writer, b"# from kubectl get\n").unwrap();
    scratch.write("more.yaml", &pod("c", "10.0.0.3", ""));
    agent.until("the change", |status| status.sizes.pods == 3);
    assert_eq!(agent.verdict("x/a", "x/b"), "deny");
    std::io::Write::write_all(&mut writer, guard("[{}]").as_bytes()).unwrap();
    drop(writer);
    agent.until("the rest", |status| status.enforced_revision == 3);
    assert_eq!(agent.verdict("x/a", "x/b"), "allow");
}

#[test]
fn apply_changes_nothing_by_a_document_that_is_no_object() {
    let netns = Netns::new();
    let scratch = Scratch::guarded();
    netns.palisade(&["apply", "-f", scratch.path()]).exits(0);
    let before = netns.ruleset();
    assert!(before.contains("10.0.0.2"), "{before}");
    for text in ["kind: [\n", "kind: List\nitmes: []\n", "kind: NetworkPolice\n"] {
        scratch.write("guard.yaml", text);
        netns.palisade(&["apply", "-f", scratch.path()]).exits(1).complains("guard.yaml");
        assert_eq!(netns.ruleset(), before);
    }
    scratch.write("guard.yaml", "");
    netns.palisade(&["apply", "-f", scratch.path()]).exits(2).complains("is empty");
    let empty = Scratch::new();
    fs::create_dir(empty.0.join("manifests")).unwrap();
    netns
        .palisade(&["apply", "-f", scratch.path(), empty.path()])
        .exits(2)
        .complains("no manifest in this directory");
    netns.palisade(&["apply", "-f", empty.path()]).exits(2).complains("not read (manifests)");
    assert_eq!(netns.ruleset(), before);
    netns.palisade(&["apply", "-f", "/nonexistent.yaml"]).exits(2).complains("no such file");
    netns
        .palisade(&["apply", "-f", scratch.path(), "--max-file-size", "3"])
        .exits(2)
        .complains("--max-file-size");
    assert_eq!(netns.ruleset(), before);
}

#[test]
fn apply_enforces_a_policy_with_wrong_fields_closed_and_says_so() {
    let netns = Netns::new();
    let scratch = Scratch::guarded();
    scratch.write("guard.yaml", &guard("[{from: [{ipBlock: {cidr: nonsense}}]}, {}]"));
    netns.palisade(&["apply", "-f", scratch.path()]).exits(1).complains("nonsense");
    assert_closed(&netns.ruleset());
}

/// b is isolated, and nothing may reach it.
#[track_caller]
fn assert_closed(listed: &str) {
    let isolated = listed.split("set local_in").nth(1).unwrap().split('}').next().unwrap();
    assert!(isolated.contains("10.0.0.2"), "{listed}");
    let rows = listed.split("map allow_in").nth(1).unwrap().split("\n\t}").next().unwrap();
    assert!(!rows.contains("10.0.0.2"), "nothing may be allowed: {rows}");
}

/// As one that cannot be read at all: what was enforced before the restart stays.
#[test]
fn an_agent_that_starts_with_half_a_policy_changes_nothing() {
    let netns = Netns::new();
    let scratch = Scratch::guarded();
    netns.palisade(&["apply", "-f", scratch.path()]).exits(0);
    scratch.write("guard.yaml", &half("- from:\n"));
    let agent = netns.agent(&scratch.0);
    let status = agent.until("the wait", |status| status.state == State::WaitingForManifests);
    assert!(status.detail.unwrap().contains("guard.yaml") && status.held_count == 1);
    assert!(netns.ruleset().contains("203.0.113.0"), "what was enforced stays");
    scratch.write("guard.yaml", &half("- from: [{podSelector: {matchLabels: {app: a}}}]\n"));
    agent.until_enforcing();
    assert_eq!(agent.verdict("x/a", "x/b"), "allow");
    assert_eq!(agent.verdict("203.0.113.9", "x/b"), "deny");
}
