//! The wall clock jumps, as after a machine slept or its time was corrected.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use palisade::http::DEFAULT;

use crate::cluster::{Cluster, until_in_sync};
use crate::command::{Agent, Scratch, until};
use crate::prober::{D, E, Prober, edit, edited};
use crate::scrape;

/// Of Debian's package `faketime`: it answers a program's questions for the time of day, by what a file says.
const LIBRARY: &str = "faketime/libfaketime.so.1";
const DAY: f64 = 86_400.0;

/// Below the directory of the machine's architecture.
fn library() -> PathBuf {
    let directories = fs::read_dir("/usr/lib").unwrap();
    let mut libraries = directories.map(|directory| directory.unwrap().path().join(LIBRARY));
    libraries.find(|library| library.exists()).expect("the package faketime")
}

/// An agent whose wall clock is apart from the machine's by what the file says.
fn agent_with_clock(cluster: &Cluster, file: &str) -> Agent {
    let mut command = cluster.agent_command(&cluster.server.admin_kubeconfig());
    command.env("LD_PRELOAD", library()).env("FAKETIME_TIMESTAMP_FILE", file);
    command.env("FAKETIME_NO_CACHE", "1");
    // The clock that counts from the start of the machine does not jump.
    command.env("DONT_FAKE_MONOTONIC", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    Agent::start_by(command, Scratch::new(), None)
}

/// By how many days the agent's clock is ahead of the machine's, as its metrics show.
fn days_ahead(cluster: &Cluster) -> f64 {
    let metric = "palisade_last_verified_timestamp_seconds";
    let shown = scrape::scrape(&cluster.node().path()).value(metric);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    (shown - now.as_secs_f64()) / DAY
}

#[test]
fn a_wall_clock_that_jumps_changes_no_verdict_and_delays_no_change() {
    let scratch = Scratch::new();
    let clock = scratch.write("clock", "+0d\n").display().to_string();
    let cluster = edited();
    let agent = agent_with_clock(&cluster, &clock);
    until_in_sync(&agent);
    let client = cluster.server.client().expect("a client");
    let prober = Prober::start(&cluster);
    let jumps = [("+10d", 10.0), ("-10d", -10.0), ("+3000d", 3000.0), ("+0d", 0.0)];
    for (number, (jump, days)) in jumps.into_iter().enumerate() {
        scratch.write("clock", &format!("{jump}\n"));
        let takes = number % 2 == 0;
        client.write_all([edit(takes)]).expect("a policy");
        let verdict = if takes { "allow" } else { "deny" };
        agent.until(jump, |_| agent.verdict("x/d", "x/e") == verdict);
        agent.verify();
        until("the agent's clock", || (days_ahead(&cluster) - days).abs() < 1.0);
        for path in ["/healthz", "/readyz"] {
            let (code, _, text) = scrape::get(&cluster.node().path(), DEFAULT, path).unwrap();
            assert_eq!(code, 200, "{jump}: {path}: {text}");
        }
    }
    cluster.until_enforced_as_the_server_says();
    prober.end();
    assert!(!cluster.passes(D, E, 80));
}
