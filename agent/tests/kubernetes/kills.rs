//! The agent is killed again and again while policies change, at whatever it happens to be doing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::Duration;

use palisade_lab::ApiClient;

use crate::cluster::until_in_sync;
use crate::prober::{D, E, Prober, chance, edit, edited, relabel};

/// How long an agent lives at most: it lists, adopts, compiles, commits and cuts connections in this time.
const MOST: Duration = Duration::from_millis(1500);

fn kills() -> usize {
    let name = "PALISADE_KILLS";
    std::env::var(name).map_or(8, |text| text.parse().expect("a number of kills"))
}

/// Edits until it is stopped. Returns whether d may reach e in the end.
fn keep_editing(client: &ApiClient, stop: &AtomicBool) -> bool {
    let mut takes = false;
    for number in 0.. {
        takes = number % 2 == 0;
        let app = if number % 3 == 0 { "other" } else { "d" };
        client.write_all([edit(takes)]).expect("a policy");
        client.write_all([relabel("d", app)]).expect("a pod");
        if stop.load(Ordering::Relaxed) {
            return takes && app == "d";
        }
    }
    takes
}

#[test]
fn an_agent_that_is_killed_at_any_moment_leaves_right_verdicts_and_the_next_one_goes_on() {
    let mut random = chance();
    let cluster = edited();
    let mut agent = cluster.agent();
    until_in_sync(&agent);
    let prober = Prober::start(&cluster);
    let client = cluster.server.client().expect("a client");
    let stop = AtomicBool::new(false);
    let may = scope(|scope| {
        let editor = scope.spawn(|| keep_editing(&client, &stop));
        for _ in 0..kills() {
            sleep(MOST.mul_f64(random.f64()));
            assert_eq!(agent.end("-KILL"), None, "it ran until it was killed");
            agent = cluster.agent();
        }
        stop.store(true, Ordering::Relaxed);
        editor.join().unwrap()
    });
    until_in_sync(&agent);
    cluster.until_enforced_as_the_server_says();
    agent.verify();
    let [allowed, denied] = prober.end();
    assert_eq!(cluster.passes(D, E, 80), may);
    eprintln!(
        "{} kills: of {} allowed packets none was lost, of {} others none came",
        kills(),
        allowed.sent,
        denied.sent
    );
}
