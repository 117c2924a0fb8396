//! The kernel has no room for what it tells the agent of links and tables, since the agent stands still.

use std::fmt::Write as _;

use palisade_lab::tool;

use crate::cluster::{Cluster, until_in_sync};
use crate::prober::{D, E, Prober, edited};
use crate::scrape::scrape;

/// Elements of another program's set, and changes of a link: each more than the socket that hears of them has room for.
const ELEMENTS: u32 = 60_000;
const LINK_CHANGES: u32 = 4_000;

fn lost(cluster: &Cluster, source: &str) -> f64 {
    let series = format!("palisade_events_lost_total{{source=\"{source}\"}}");
    scrape(&cluster.node().path()).value(&series)
}

#[test]
fn an_agent_that_lost_events_looks_at_everything_and_mends_what_it_did_not_hear_of() {
    let cluster = edited();
    let mut links = "link add busy type veth peer name other\n".to_owned();
    for number in 0..LINK_CHANGES {
        writeln!(links, "link set busy mtu {}", 1400 + number % 2).unwrap();
    }
    let addresses = (0..ELEMENTS).map(|number| std::net::Ipv4Addr::from(0x0b00_0000 + number));
    let addresses: Vec<_> = addresses.map(|address| address.to_string()).collect();
    let tables = format!(
        "table ip others {{\nset addresses {{\ntype ipv4_addr; elements = {{ {} }}\n}}\n}}\n",
        addresses.join(", ")
    );
    let agent = cluster.agent_without_ownership();
    until_in_sync(&agent);
    agent.verify();
    for source in ["links", "nftables"] {
        assert_eq!(lost(&cluster, source), 0.0, "{source}");
    }
    assert!(!cluster.passes(D, E, 80));
    let before = agent.until("an answer", |_| true).drift.found;

    let prober = Prober::start(&cluster);
    agent.signal("-STOP");
    cluster.node().nft(&tables).expect("another program's table");
    cluster.node().run(|| tool::run("ip", &["-batch", "-"], &links)).unwrap().expect("links");
    // The last thing that happens is one that it should have heard of.
    cluster.node().nft(&format!("delete element ip palisade local_in {{ {E} }}")).expect("nft");
    agent.signal("-CONT");

    agent.until("the mending", |status| status.drift.found > before);
    agent.verify();
    for source in ["links", "nftables"] {
        crate::command::until(source, || lost(&cluster, source) > 0.0);
    }
    prober.end();
    assert!(!cluster.passes(D, E, 80));
    cluster.until_enforced_as_the_server_says();
}
