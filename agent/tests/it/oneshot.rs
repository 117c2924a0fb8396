//! Commands that need no kernel: render, eval, explain, help.

use std::path::Path;

use super::command::{Netns, Scratch, finish, guard, palisade, palisade_reads, pod, policy};

fn shop() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    root.join("examples/shop").to_str().unwrap().to_owned()
}

/// The table of `examples/shop/README.md`.
#[test]
fn the_shop_is_judged_as_its_readme_says() {
    let cases = [
        ("10.87.0.130", "shop/frontend", 8080, "allow"),
        ("fd87::c:0:0:1", "fd87::10", 8080, "allow"),
        ("10.87.0.200", "shop/frontend", 8080, "deny"),
        ("fd87::c:1:0:1", "fd87::10", 8080, "deny"),
        ("shop/frontend", "shop/api", 8080, "allow"),
        ("shop/frontend", "shop/api", 9090, "deny"),
        ("shop/frontend", "shop/db", 5432, "deny"),
        ("shop/api", "shop/db", 5432, "allow"),
        ("monitoring/prometheus", "shop/api", 9090, "allow"),
        ("monitoring/prometheus", "shop/api", 8080, "deny"),
        ("monitoring/prometheus", "shop/db", 5432, "deny"),
        ("monitoring/prometheus", "shop/frontend", 8080, "deny"),
        ("shop/db", "shop/api", 8080, "deny"),
        ("shop/db", "192.0.2.1", 443, "deny"),
    ];
    let line = |(from, to, port, _): &(&str, &str, u16, &str)| {
        format!("{{\"from\":\"{from}\",\"to\":\"{to}\",\"protocol\":\"tcp\",\"port\":{port}}}\n")
    };
    let input: String = cases.iter().map(line).collect();
    let ran = palisade_reads(&["eval", "-f", &shop(), "--connections", "-"], &input).exits(0);
    let lines: Vec<serde_json::Value> =
        ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), cases.len());
    for (answer, (from, to, port, verdict)) in lines.iter().zip(cases) {
        assert_eq!(answer["verdict"], verdict, "{from} -> {to}:{port}: {answer}");
        assert_eq!((&answer["from"], &answer["port"]), (&from.into(), &port.into()));
        assert!(!answer["by"].as_array().unwrap().is_empty(), "{answer}");
    }
}

#[test]
fn eval_answers_every_line_and_fails_for_bad_ones() {
    let input = "\
{\"from\":\"shop/frontend\",\"to\":\"shop/api\",\"port\":8080}\n\
nonsense\n\
{\"from\":\"shop/nobody\",\"to\":\"shop/api\",\"port\":8080}\n\
{\"from\":\"shop/frontend\",\"to\":\"shop/api\",\"port\":808080}\n\
{\"from\":\"shop/frontend\",\"to\":\"shop/api\",\"protocol\":\"Icmp\"}\n\
{\"from\":\"shop/frontend\",\"to\":\"fd87::20\",\"protocol\":6,\"port\":8080}\n";
    let ran = palisade_reads(&["eval", "-f", &shop(), "--connections", "-"], input).exits(1);
    let lines: Vec<serde_json::Value> =
        ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let is_error = |n: usize| lines[n].get("error").is_some() && lines[n].get("verdict").is_none();
    assert_eq!(lines.len(), 6, "{}", ran.out);
    assert_eq!(lines[0]["verdict"], "allow");
    assert!(is_error(1) && is_error(2) && is_error(3), "{}", ran.out);
    assert!(lines[2]["error"].as_str().unwrap().contains("shop/nobody"));
    assert_eq!(lines[4]["verdict"], "deny");
    assert_eq!(lines[5]["verdict"], "allow");
    palisade(&["eval", "-f", &shop(), "--connections", "/nonexistent"]).exits(2);
}

#[test]
fn what_is_rendered_loads_and_is_what_apply_programs() {
    let rendered = palisade(&["render", "-f", &shop()]).exits(0).out;
    let netns = Netns::new();
    finish(netns.command("nft", &["-f", "-"]), &rendered).exits(0);
    // Before apply has touched it, and after.
    netns.palisade(&["verify", "-f", &shop()]).exits(0);
    let dry = netns.palisade(&["apply", "-f", &shop(), "--dry-run"]).exits(0);
    assert!(dry.out.contains("would change 0 of") && dry.out.contains("in 0 tr"), "{dry:?}");
    netns.palisade(&["apply", "-f", &shop()]).exits(0);
    netns.palisade(&["verify", "-f", &shop()]).exits(0);
    let dry = netns.palisade(&["apply", "-f", &shop(), "--dry-run"]).exits(0);
    assert!(dry.out.contains("would change 0 of"), "{dry:?}");
    netns.palisade(&["flush"]).exits(0);
    netns.palisade(&["verify", "-f", &shop()]).exits(1);
}

#[test]
fn what_is_rendered_replaces_what_is_there() {
    let netns = Netns::new();
    let scratch = Scratch::guarded();
    netns.palisade(&["apply", "-f", scratch.path()]).exits(0);
    let rendered = palisade(&["render", "-f", &shop()]).exits(0).out;
    for _ in 0..2 {
        finish(netns.command("nft", &["-f", "-"]), &rendered).exits(0);
        assert!(!netns.ruleset().contains("10.0.0.2"), "a stale element");
    }
}

#[test]
fn explain_names_the_policies_and_the_rules_of_both_directions() {
    let args = ["explain", "-f", &shop(), "shop/frontend", "shop/api", "--port", "8080"];
    let ran = palisade(&args).exits(0);
    for part in ["allow", "shop/frontend egress[0]", "shop/api ingress[0]", "shop/default-deny"] {
        assert!(ran.out.contains(part), "no {part} in {ran:?}");
    }
    let json = palisade(&[&args[..], &["-o", "json"]].concat()).exits(0);
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(
        (&json["verdict"], &json["connections"][0]["divergence"]),
        (&"allow".into(), &serde_json::Value::Null)
    );
    palisade(&["explain", "-f", &shop(), "shop/frontend", "shop/api"]).exits(2).complains("port");
}

/// Two pods of both families, of which b lets in what comes from a's IPv4 network.
fn dual_stack() -> Scratch {
    let scratch = Scratch::guarded();
    let both = |name, last| pod(name, &format!("10.0.0.{last}}}, {{ip: \"fd00::{last}\""), "");
    scratch.write("pods.yaml", &(both("a", 1) + &both("b", 2)));
    let rules = "[{from: [{ipBlock: {cidr: 10.0.0.0/24}}]}, {ports: [{port: 443}]}]";
    scratch.write("guard.yaml", &guard(rules));
    scratch
}

#[test]
fn between_dual_stack_pods_both_families_are_explained_and_judged() {
    let scratch = dual_stack();
    let explain =
        |more: &[&str]| palisade(&[&["explain", "-f", scratch.path()], more].concat()).exits(0).out;
    let told = explain(&["x/a", "x/b", "--port", "80"]);
    assert!(told.contains("x/a (10.0.0.1) -> x/b (10.0.0.2) TCP port 80: allow"), "{told}");
    assert!(told.contains("x/a (fd00::1) -> x/b (fd00::2) TCP port 80: deny"), "{told}");
    for part in [
        "x/guard ingress[0]: from[0] is the ipBlock 10.0.0.0/24, but fd00::1 is of the other address family",
        "x/guard ingress[1]: ports[0] is for TCP port 443, but the connection is to port 80",
    ] {
        assert!(told.contains(part), "no {part:?} in {told}");
    }
    let json = explain(&["x/a", "x/b", "--port", "80", "-o", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["verdict"], json["connections"].as_array().unwrap().len()),
        (&"deny".into(), 2)
    );
    let one = explain(&["fd00::1", "x/b", "--protocol", "icmp"]);
    assert!(one.contains("-> x/b (fd00::2) ICMPv6: deny") && !one.contains("10.0.0.2"), "{one}");
    let mentions = ["x/guard", "x/guard ingress[0]: ", "x/guard ingress[1]: "];
    let (reasons, edits) = one.split_once("  would be allowed by").unwrap();
    assert_eq!(mentions.map(|part| reasons.matches(part).count()), [2, 1, 1], "{one}");
    assert!(edits.contains("NetworkPolicy x/guard: add to spec.ingress a rule"), "{one}");

    let input = "\
{\"from\":\"x/a\",\"to\":\"x/b\",\"port\":80}\n\
{\"from\":\"x/a\",\"to\":\"x/b\",\"port\":443}\n\
{\"from\":\"10.0.0.1\",\"to\":\"x/b\",\"port\":80}\n";
    let args = ["eval", "-f", scratch.path(), "--connections", "-"];
    let out = palisade_reads(&args, input).exits(0).out;
    let lines: Vec<serde_json::Value> =
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["verdict"], "deny", "{out}");
    assert_eq!(lines[0]["families"]["IPv4"]["verdict"], "allow", "{out}");
    assert_eq!(lines[0]["families"]["IPv6"]["verdict"], "deny", "{out}");
    assert_eq!((&lines[1]["verdict"], lines[1].get("families")), (&"allow".into(), None));
    assert_eq!((&lines[2]["verdict"], lines[2].get("families")), (&"allow".into(), None));
    let by: Vec<String> = serde_json::from_value(lines[1]["by"].clone()).unwrap();
    assert_eq!(by, ["x/guard ingress[0]", "x/guard ingress[1]"], "each once");
}

#[test]
fn what_cannot_be_judged_is_refused_with_a_remedy() {
    let shop = shop();
    let explain =
        |more: &[&str]| palisade(&[&["explain", "-f", &shop], more].concat()).exits(2).err;
    assert!(explain(&["shop/frontend", "shop/api"]).contains("--port"));
    let near = explain(&["shop/front", "shop/api", "--port", "1"]);
    assert!(near.contains("did you mean shop/frontend?"), "{near}");
    let elsewhere = explain(&["shop/prometheus", "shop/api", "--port", "1"]);
    assert!(elsewhere.contains("did you mean monitoring/prometheus?"), "{elsewhere}");
    let unknown = explain(&["nowhere/x", "shop/api", "--port", "1"]);
    assert!(unknown.contains("kubectl get pods -A"), "{unknown}");
    palisade(&["eval", "-f", "-", "--connections", "-"]).exits(2).complains("cannot be both");
}

#[test]
fn verify_counts_the_differences_that_it_does_not_tell() {
    let netns = Netns::new();
    let (many, none) = (Scratch::new(), Scratch::new());
    let all = policy("all", "{podSelector: {}}") + "---\n";
    let pods = (0..1_100)
        .map(|at| pod(&format!("p{at}"), &format!("10.0.{}.{}", at / 250, at % 250 + 1), ""));
    many.write("all.yaml", &(all.clone() + &pods.collect::<String>()));
    none.write("all.yaml", &all);
    netns.palisade(&["apply", "-f", many.path()]).exits(0);
    let text = netns.palisade(&["verify", "-f", none.path()]).exits(1).out;
    assert_eq!(text.lines().count(), 1_002, "{text}");
    assert!(text.contains("\n... and ") && text.contains(" more\n"), "{text}");
    let json = netns.palisade(&["verify", "-f", none.path(), "-o", "json"]).exits(1).out;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["differences"].as_array().unwrap().len(), 1_000);
    assert!(json["count"].as_u64().unwrap() > 1_000, "{json}");
}

#[test]
fn standard_input_is_a_manifest_for_one_shot_commands_only() {
    let scratch = Scratch::guarded();
    let text = std::fs::read_to_string(scratch.0.join("guard.yaml")).unwrap();
    palisade_reads(&["render", "-f", "-"], &text).exits(0);
    palisade_reads(&["render", "-f", "-"], "kind: [\n").exits(1).complains("standard input");
    palisade(&["run", "-f", "-"]).exits(2).complains("standard input");
}

/// What each command's help must teach, beside its usage.
const TAUGHT: [(&str, &[&str]); 11] = [
    (
        "run",
        &[
            "follow a cluster or manifests",
            ".yaml, .yml and .json",
            "what it last gave stays",
            "NODE_NAME",
            "in two files",
        ],
    ),
    (
        "apply",
        &[
            "once",
            "fails closed",
            "allows nothing",
            "exit status",
            "by which transactions",
            "belong to nobody",
            "standard input",
        ],
    ),
    ("flush", &["remove palisade's tables", "nothing is isolated", "stop the agent first"]),
    ("render", &["nft text", "in the place of the tables", "standard input"]),
    (
        "eval",
        &[
            "json lines",
            "{\"from\":\"shop/frontend\",\"to\"",
            "\"verdict\"",
            "\"error\"",
            "exit status is 1",
        ],
    ),
    ("explain", &["one verdict", "running agent", "destination port", "icmp", "namespace/pod"]),
    ("verify", &["prove the kernel equal", "exit status 0 only if", "with -f"]),
    ("status", &["show what is enforced", "exit status 1 unless", "where no agent answers"]),
    ("demo", &["show it at work", "touches nothing", "bridged"]),
    ("man", &["manual page", "man -l"]),
    ("completions", &["completion script", "bash", "which shell"]),
];

#[test]
fn help_teaches_each_command_and_the_list_tells_them_apart() {
    let list = palisade(&["--help"]).exits(0).out.to_lowercase();
    for (command, parts) in TAUGHT {
        let help = palisade(&[command, "--help"]).exits(0).out;
        assert!(help.contains(&format!("Usage: palisade {command}")), "{help}");
        // As one line of words, wherever it was wrapped.
        let words = help.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
        for part in parts {
            assert!(words.contains(&part.to_lowercase()), "{command}: no {part:?} in {help}");
        }
        let short = help.lines().next().unwrap().to_lowercase();
        assert!(list.contains(&short), "{command}: no {short:?} in {list}");
        assert!(short.len() < 80, "{short}");
        for line in help.lines().skip_while(|line| !line.starts_with("Options:")) {
            let option = line.trim_start().starts_with("--") || line.trim_start().starts_with('-');
            let bare =
                option && !line.trim_end().contains("  ") && help_after(&help, line).is_empty();
            assert!(!bare, "{command}: {line:?} has no description");
        }
    }
    assert!(!palisade(&["run", "--help"]).out.contains("standard input"), "run refuses it");
}

/// The line after this one.
fn help_after<'h>(help: &'h str, line: &str) -> &'h str {
    help.lines().skip_while(|other| *other != line).nth(1).unwrap_or_default().trim()
}

#[test]
fn usage_errors_exit_with_2() {
    palisade(&["run"]).exits(2);
    palisade(&["frobnicate"]).exits(2);
}

#[test]
fn completions_are_a_script_also_for_a_reader_that_stops() {
    let script = palisade(&["completions", "bash"]).exits(0).out;
    assert!(script.contains("palisade"), "{script}");
    let mut stops = std::process::Command::new("bash");
    stops.args(["-c", "\"$0\" completions bash | true; exit ${PIPESTATUS[0]}"]);
    stops.arg(env!("CARGO_BIN_EXE_palisade"));
    assert_eq!(finish(stops, "").exits(0).err, "");
}

#[test]
fn explain_judges_more_pods_than_a_kernel_set_holds() {
    let scratch = Scratch::new();
    let mut text = policy("all", "{podSelector: {}}");
    for at in 0..4_100 {
        text += "---\n";
        text += &pod(&format!("p{at}"), &format!("10.0.{}.{}", at / 250, at % 250 + 1), "");
    }
    scratch.write("all.yaml", &text);
    let args = ["explain", "-f", scratch.path(), "x/p1", "x/p2", "--port", "80"];
    let ran = palisade(&args).exits(0);
    // On a busy machine the reading takes long enough to be told.
    let is_progress = |line: &str| line.starts_with("reading: ");
    assert!(ran.out.contains("deny") && ran.err.lines().all(is_progress), "{ran:?}");
    palisade(&["render", "-f", scratch.path()]).exits(1).complains("4100 local pods");
}

#[test]
fn a_dry_run_shows_the_transactions_that_would_be() {
    let netns = Netns::new();
    let scratch = Scratch::guarded();
    let dry = || netns.palisade(&["apply", "-f", scratch.path(), "--dry-run"]).exits(0).out;
    assert!(dry().contains("1. make the tables anew"), "{}", dry());
    netns.palisade(&["apply", "-f", scratch.path()]).exits(0);
    let before = netns.ruleset();
    assert!(dry().contains("would change 0 of"), "{}", dry());
    scratch.write("guard.yaml", &guard("[{from: [{podSelector: {matchLabels: {app: a}}}]}]"));
    let told = dry();
    assert!(!told.contains("in 0 transactions") && told.contains("commit ip "), "{told}");
    assert!(told.contains("ip class +1 -1"), "{told}");
    assert_eq!(netns.ruleset(), before, "nothing was changed");
    let json = netns.palisade(&["apply", "-f", scratch.path(), "--dry-run", "-o", "json"]).exits(0);
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    let commits = json["plan"].as_array().unwrap();
    let commits = commits.iter().filter(|step| step.as_str().unwrap().starts_with("commit"));
    assert_eq!(json["transactions"], commits.count());
}
