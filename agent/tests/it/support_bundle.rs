//! `palisade support-bundle`: everything a bug report needs, and no secret.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use flate2::read::GzDecoder;
use palisade::protocol::State;
use serde_json::Value;

use super::command::{Netns, Scratch, finish};
use super::openmetrics::Scrape;

const SECRET: &str = "correct-horse-battery-staple";

/// The files of an archive by name; all are in one directory.
#[track_caller]
fn unpack(path: &Path) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(GzDecoder::new(File::open(path).unwrap()));
    let mut files = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_str().unwrap().to_owned();
        let name = name.strip_prefix("palisade-support/").unwrap().to_owned();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        files.insert(name, text);
    }
    files
}

#[track_caller]
fn json(files: &BTreeMap<String, String>, name: &str) -> Value {
    serde_json::from_str(&files[name]).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn a_bundle_has_all_that_is_known_of_the_agent_and_the_host_but_secrets() {
    let netns = Netns::new();
    let scratch = Scratch::guarded();
    scratch.write(
        "secret.yaml",
        &format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{namespace: x, name: s}}\nstringData: {{password: {SECRET}}}\n"
        ),
    );
    let agent = netns.agent_with(&scratch.0, &["--node-name", "n1", "--listen", "off"]);
    agent.until("enforcement", |status| status.state == State::Enforcing);
    let out = Scratch::new();
    let path = out.0.join("bundle.tar.gz");
    let socket = agent.socket.to_str().unwrap();
    let args = ["support-bundle", "-o", path.to_str().unwrap(), "--socket", socket];
    let mut command = netns.command(env!("CARGO_BIN_EXE_palisade"), &args);
    command.env("PASSWORD", SECRET);
    finish(command, "").exits(0).complains("look at it before you pass it on");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    let files = unpack(&path);
    assert_eq!(json(&files, "status.json")["response"], "status");
    assert_eq!(json(&files, "status.json")["node"], "n1");
    assert_eq!(json(&files, "verify.json")["count"], 0);
    let findings = json(&files, "check.json");
    assert!(findings.as_array().unwrap().iter().any(|finding| finding["id"] == "nftables"));
    let command_line = json(&files, "agent.json");
    assert!(command_line.as_array().unwrap().contains(&"--node-name".into()), "{command_line}");
    assert_eq!(Scrape::parse(&files["metrics.txt"]).value("palisade_policies"), 1.0);
    assert!(files["log.txt"].contains("palisade starts"), "{}", files["log.txt"]);
    assert!(files["tables.nft"].contains("map class"), "{}", files["tables.nft"]);
    assert!(files["chains.txt"].contains("ip palisade forward hook forward priority 0\n"));
    assert!(files["interfaces.txt"].contains("1 lo kind -"), "{}", files["interfaces.txt"]);
    assert!(files["network.txt"].contains("/proc/net/route"));
    assert!(files["settings.txt"].contains("/proc/sys/net/ipv4/ip_forward: 0\n"));
    assert!(files["version.txt"].starts_with("palisade "));
    // The index names every other file.
    for name in files.keys().filter(|name| *name != "README.txt") {
        assert!(files["README.txt"].contains(name.as_str()), "{name}");
        assert!(!files[name].is_empty(), "{name} is empty");
    }
    for (name, text) in &files {
        assert!(!text.contains(SECRET), "{name} has the secret");
    }

    // What is there stays.
    netns.palisade(&args).exits(2).complains("bundle.tar.gz");
    assert_eq!(unpack(&path).len(), files.len());
}

#[test]
fn the_tables_of_a_bundle_load_again_into_what_the_kernel_held() {
    let netns = Netns::new();
    let scratch = Scratch::guarded();
    netns.palisade(&["apply", "-f", scratch.path()]).exits(0);
    let out = Scratch::new();
    let path = out.0.join("bundle.tar.gz");
    netns.palisade(&["support-bundle", "-o", path.to_str().unwrap(), "--socket", "/none"]).exits(0);
    let files = unpack(&path);
    assert!(files["status.json"].contains("no agent answers"), "{}", files["status.json"]);
    assert!(files["tables.nft"].contains("10.0.0.2"), "{}", files["tables.nft"]);
    let other = Netns::new();
    finish(other.command("nft", &["-f", "-"]), &files["tables.nft"]).exits(0);
    other.palisade(&["verify", "-f", scratch.path()]).exits(0);
}
