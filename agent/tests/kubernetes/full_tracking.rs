//! The node can track no more connections.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use palisade_lab::{Flood, Lab};

use crate::cluster::{A, B, C, connection, until_in_sync};
use crate::prober::{D, E, edit, edited};

/// Packets between the machines' markers, and the API server's, are not tracked, so that they need no room.
const UNTRACKED: &str = "table ip untracked {
    chain prerouting { type filter hook prerouting priority raw
        iif lo notrack
        ip saddr 198.18.0.0/24 notrack
    }
    chain output { type filter hook output priority raw
        oif lo notrack
    }
}
";

/// A connection, with its end at the client.
struct Established<'l> {
    lab: &'l Lab,
    client: TcpStream,
    pair: (usize, usize),
    _served: TcpStream,
}

impl<'l> Established<'l> {
    #[track_caller]
    fn new(lab: &'l Lab, from: &str, to: &str) -> Self {
        let number = |address: &str| {
            let is_own = |machine: &palisade_lab::Machine| {
                machine.addresses.contains(&address.parse().unwrap())
            };
            lab.machines().iter().position(is_own).unwrap()
        };
        let pair = (number(from), number(to));
        let at = SocketAddr::new(to.parse().unwrap(), 80);
        let enter = |number: usize| lab.machines()[number].namespace();
        let listener = enter(pair.1).run(|| TcpListener::bind(at)).unwrap().unwrap();
        let dial = || TcpStream::connect_timeout(&at, Duration::from_secs(10));
        let client = enter(pair.0).run(dial).unwrap().expect("connected");
        let (served, _) = listener.accept().unwrap();
        Self { lab, client, pair, _served: served }
    }

    /// Whether what the client says arrives.
    #[track_caller]
    fn carries(&mut self, word: &[u8]) -> bool {
        let client = &mut self.client;
        let say = || {
            client.write_all(word).expect("written");
            Ok(())
        };
        let arrivals = self.lab.observe(&[self.pair], say).expect("observed");
        arrivals[self.pair.1].iter().any(|arrival| arrival.body.ends_with(word))
    }
}

#[test]
fn where_no_more_connections_can_be_tracked_nothing_forbidden_passes_and_what_is_established_goes_on()
 {
    let cluster = edited();
    cluster.node().nft(UNTRACKED).expect("nft");
    let agent = cluster.agent();
    until_in_sync(&agent);
    let client = cluster.server.client().expect("a client");
    client.write_all([edit(true)]).expect("a policy");
    cluster.until_passes(D, E, 81, true);
    let mut kept = Established::new(&cluster.lab, A, B);
    let mut forbidden = Established::new(&cluster.lab, D, E);
    assert!(kept.carries(b"before") && forbidden.carries(b"before"));

    // Of no pods, so that no policy has a say in them.
    let (from, to) = ("203.0.113.1".parse().unwrap(), "203.0.113.2".parse().unwrap());
    let tracked = cluster.node().fill_tracking(from, to).expect("filled");
    let flood = Flood::start(&cluster.lab, &[connection(A, B, 80), connection(C, B, 80)]);
    let flood = flood.expect("a flood");
    flood.await_round();
    let counts = flood.stop().expect("counted");
    assert_eq!(counts[1].arrived, 0, "{counts:?}");
    assert!(kept.carries(b"full"));

    let before = agent.until("an answer", |_| true).connections;
    client.write_all([edit(false)]).expect("a policy");
    let after = agent.until("the cut", |s| s.connections.cut > before.cut).connections;
    assert_eq!(after.failures, before.failures);
    assert!(!forbidden.carries(b"full") && kept.carries(b"still full"));
    eprintln!(
        "{tracked} connections tracked: of {} new ones {} passed, of {} forbidden ones none; the look at connections took {} us",
        counts[0].sent,
        counts[0].arrived,
        counts[1].sent,
        after.last_us.unwrap_or_default()
    );

    // There is room again, and nobody knows any connection.
    cluster.node().forget_tracked().expect("forgotten");
    assert!(kept.carries(b"after") && !forbidden.carries(b"after"));
    assert!(cluster.passes(A, B, 81) && !cluster.passes(C, B, 81) && !cluster.passes(D, E, 81));
    agent.verify();
    cluster.until_enforced_as_the_server_says();
}
