//! Commands that need no kernel: render, eval, explain, help.

use std::path::Path;

use super::command::{Netns, Scratch, finish, palisade, palisade_reads};

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
    netns.palisade(&["apply", "-f", &shop()]).exits(0);
    netns.palisade(&["verify", "-f", &shop()]).exits(0);
    let dry = netns.palisade(&["apply", "-f", &shop(), "--dry-run"]).exits(0);
    assert!(dry.out.contains("would change 0 of"), "{dry:?}");
    netns.palisade(&["flush"]).exits(0);
    netns.palisade(&["verify", "-f", &shop()]).exits(1);
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
        (&json["verdict"], &json["divergence"]),
        (&"allow".into(), &serde_json::Value::Null)
    );
    palisade(&["explain", "-f", &shop(), "shop/frontend", "shop/api"]).exits(2).complains("port");
}

#[test]
fn standard_input_is_a_manifest_for_one_shot_commands_only() {
    let scratch = Scratch::guarded();
    let text = std::fs::read_to_string(scratch.0.join("guard.yaml")).unwrap();
    palisade_reads(&["render", "-f", "-"], &text).exits(0);
    palisade_reads(&["render", "-f", "-"], "kind: [\n").exits(1).complains("standard input");
    palisade(&["run", "-f", "-"]).exits(2).complains("standard input");
}

#[test]
fn help_teaches_and_usage_errors_exit_with_2() {
    for command in
        ["run", "apply", "flush", "render", "eval", "explain", "verify", "status", "completions"]
    {
        let help = palisade(&[command, "--help"]).exits(0).out;
        assert!(help.contains("Usage: palisade"), "{help}");
    }
    palisade(&["run"]).exits(2);
    palisade(&["frobnicate"]).exits(2);
    let script = palisade(&["completions", "bash"]).exits(0).out;
    assert!(script.contains("palisade"), "{script}");
}
