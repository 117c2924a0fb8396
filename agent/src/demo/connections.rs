//! Every connection that the demo tries, what became of it, and that as text.

use std::collections::BTreeSet;
use std::net::IpAddr;

use palisade_compiler::model::{Connection, Family, Protocol, Verdict};
use palisade_compiler::oracle::decide;
use palisade_compiler::snapshot::Snapshot;
use palisade_lab::{Conversation, Host};

/// The connections from every pod and client to every other pod on every service, over both IP versions.
#[derive(Debug)]
pub(super) struct Attempts {
    pub(super) pods: Vec<Host>,
    /// Hosts outside of the cluster.
    pub(super) clients: Vec<Host>,
    services: Vec<(Protocol, u16)>,
    attempts: Vec<Attempt>,
}

#[derive(Debug, Clone, Copy)]
struct Attempt {
    cell: Cell,
    connection: Connection,
}

/// The indexes of source, target and service. A cell has one attempt for each IP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Cell {
    from: usize,
    to: usize,
    service: usize,
}

/// A service besides the named ports of the pods, which no policy of the shop allows.
const DNS: (Protocol, u16) = (Protocol::Udp, 53);

impl Attempts {
    pub(super) fn new(pods: Vec<Host>, clients: Vec<Host>, snapshot: &Snapshot) -> Self {
        let named = snapshot.pods().flat_map(|pod| pod.ports.iter());
        let services: BTreeSet<_> =
            named.map(|port| (port.protocol, port.port)).chain([DNS]).collect();
        // Ordinary sockets are used, and not every kernel has those of SCTP.
        let services = services.into_iter().filter(|(p, _)| *p != Protocol::Sctp).collect();
        let mut all = Self { pods, clients, services, attempts: Vec::new() };
        all.attempts = all.all_attempts();
        all
    }

    pub(super) fn connections(&self) -> Vec<Connection> {
        self.attempts.iter().map(|attempt| attempt.connection).collect()
    }

    fn all_attempts(&self) -> Vec<Attempt> {
        let mut attempts = Vec::new();
        for (from, source) in self.sources().enumerate() {
            for (to, pod) in self.pods.iter().enumerate().filter(|(to, _)| *to != from) {
                for (service, (protocol, port)) in self.services.iter().enumerate() {
                    for (&from_address, &to_address) in pairs(&source.addresses, &pod.addresses) {
                        let cell = Cell { from, to, service };
                        let connection = Connection {
                            from: from_address,
                            to: to_address,
                            protocol: protocol.number(),
                            port: *port,
                        };
                        attempts.push(Attempt { cell, connection });
                    }
                }
            }
        }
        attempts
    }

    /// Pods first, so that a pod has the same index as source and as target.
    fn sources(&self) -> impl Iterator<Item = &Host> {
        self.pods.iter().chain(&self.clients)
    }

    fn describe(&self, cell: Cell) -> String {
        let from = self.sources().nth(cell.from).map_or("", |host| &host.name);
        let to = self.pods.get(cell.to).map_or("", |pod| &pod.name);
        let service = self.services.get(cell.service);
        let service =
            service.map_or_else(String::new, |(protocol, port)| format!("{port}/{protocol}"));
        format!("{from} -> {to} {service}")
    }

    /// The cells for which two lists of outcomes differ, described, with the outcome in each list.
    fn differences(&self, left: &Outcomes, right: &Outcomes) -> Vec<(String, Outcome, Outcome)> {
        let mut differences: Vec<(Cell, Outcome, Outcome, Vec<Family>)> = Vec::new();
        for (attempt, (&left, &right)) in self.attempts.iter().zip(left.0.iter().zip(&right.0)) {
            if left == right {
                continue;
            }
            let family = Family::of(attempt.connection.from);
            match differences.last_mut() {
                Some((cell, l, r, families)) if (*cell, *l, *r) == (attempt.cell, left, right) => {
                    families.push(family);
                }
                _ => differences.push((attempt.cell, left, right, vec![family])),
            }
        }
        let line = |(cell, left, right, families): (_, _, _, Vec<Family>)| {
            let only = match families.as_slice() {
                [Family::V4] => " (IPv4 only)",
                [Family::V6] => " (IPv6 only)",
                _ => "",
            };
            (format!("{}{only}", self.describe(cell)), left, right)
        };
        differences.into_iter().map(line).collect()
    }
}

/// The pairs of addresses of one IP version.
fn pairs<'a>(
    from: &'a [IpAddr],
    to: &'a [IpAddr],
) -> impl Iterator<Item = (&'a IpAddr, &'a IpAddr)> {
    let same = |(a, b): &(&IpAddr, &IpAddr)| Family::of(**a) == Family::of(**b);
    from.iter().flat_map(move |a| to.iter().map(move |b| (a, b))).filter(same)
}

/// What became of each attempt, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcomes(Vec<Outcome>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Allowed,
    Denied,
    /// Its first packet passed, but it was not answered. No verdict leads to this.
    Unanswered,
}

impl Outcomes {
    /// The outcomes without policies.
    pub(super) fn all_allowed(attempts: &Attempts) -> Self {
        Self(attempts.attempts.iter().map(|_| Outcome::Allowed).collect())
    }

    /// The verdicts of the specification, read literally.
    pub(super) fn expected(attempts: &Attempts, snapshot: &Snapshot) -> Self {
        let outcome = |attempt: &Attempt| match decide(snapshot, &attempt.connection).verdict {
            Verdict::Allow => Outcome::Allowed,
            Verdict::Deny => Outcome::Denied,
        };
        Self(attempts.attempts.iter().map(outcome).collect())
    }

    /// What became of the connections of `Attempts::connections`.
    pub(super) fn observed(conversations: &[Conversation]) -> Self {
        let outcome = |conversation: &Conversation| match conversation {
            Conversation::Answered => Outcome::Allowed,
            Conversation::Dropped => Outcome::Denied,
            Conversation::Unanswered => Outcome::Unanswered,
        };
        Self(conversations.iter().map(outcome).collect())
    }

    /// How many were allowed, and how many denied.
    pub(super) fn counts(&self) -> (usize, usize) {
        let count = |wanted| self.0.iter().filter(|outcome| **outcome == wanted).count();
        (count(Outcome::Allowed), count(Outcome::Denied))
    }

    /// The outcomes of one cell: one for each IP version.
    fn of<'a>(
        &'a self,
        attempts: &'a Attempts,
        cell: Cell,
    ) -> impl Iterator<Item = (Family, Outcome)> + 'a {
        let all = attempts.attempts.iter().zip(&self.0);
        let here = all.filter(move |(attempt, _)| attempt.cell == cell);
        here.map(|(attempt, outcome)| (Family::of(attempt.connection.from), *outcome))
    }

    /// The service's letter where it is allowed, a dot where it is denied, the IP version's digit where only that version is allowed.
    fn symbol(&self, attempts: &Attempts, cell: Cell) -> char {
        let outcomes: Vec<_> = self.of(attempts, cell).collect();
        let allowed = |(_, outcome): &&(Family, Outcome)| *outcome == Outcome::Allowed;
        let families: Vec<_> = outcomes.iter().filter(allowed).map(|(family, _)| *family).collect();
        match (outcomes.is_empty(), families.as_slice()) {
            _ if outcomes.iter().any(|(_, outcome)| *outcome == Outcome::Unanswered) => '?',
            (true, _) => ' ',
            (false, []) => '.',
            (false, [Family::V4]) if outcomes.len() > 1 => '4',
            (false, [Family::V6]) if outcomes.len() > 1 => '6',
            (false, _) => letter(cell.service),
        }
    }
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Self::Allowed => "answered",
            Self::Denied => "dropped",
            Self::Unanswered => "passed but not answered",
        }
    }
}

/// Who reached whom on which service: a legend, then a line for each source.
pub(super) fn table(attempts: &Attempts, outcomes: &Outcomes, colours: bool) -> Vec<String> {
    let legend = attempts.services.iter().enumerate();
    let legend = legend.map(|(n, (protocol, port))| format!("{} {port}/{protocol}", letter(n)));
    let legend: Vec<_> = legend.chain([". dropped".to_owned()]).collect();
    let width = |pod: &Host| short(&pod.name).len().max(attempts.services.len()) + 2;
    let label = attempts.sources().map(|host| host.name.len()).max().unwrap_or(0) + 2;
    let names = attempts.pods.iter().map(|pod| format!("{:1$}", short(&pod.name), width(pod)));
    let head = format!("{:label$}{}", "from \\ to", names.collect::<String>());
    let mut lines = vec![String::new(), legend.join("   "), head.trim_end().to_owned()];
    for (from, source) in attempts.sources().enumerate() {
        let cells = |(to, pod): (usize, &Host)| {
            let cells = (0..attempts.services.len()).map(|service| Cell { from, to, service });
            let symbols = cells.map(|cell| paint(outcomes.symbol(attempts, cell), colours));
            let padding = width(pod).saturating_sub(attempts.services.len());
            symbols.collect::<String>() + &" ".repeat(padding)
        };
        let cells: String = attempts.pods.iter().enumerate().map(cells).collect();
        lines.push(format!("{:label$}{cells}", source.name).trim_end().to_owned());
    }
    lines
}

/// The connections whose outcome is not the expected one.
pub(super) fn unexpected(
    attempts: &Attempts,
    expected: &Outcomes,
    observed: &Outcomes,
) -> Vec<String> {
    let line = |(what, expected, observed): (String, Outcome, Outcome)| {
        format!("! {what}: expected {}, observed {}", expected.word(), observed.word())
    };
    attempts.differences(expected, observed).into_iter().map(line).collect()
}

/// The connections whose outcome has changed.
pub(super) fn changes(attempts: &Attempts, before: &Outcomes, after: &Outcomes) -> Vec<String> {
    let line = |(what, before, after): (String, Outcome, Outcome)| {
        format!("{what}: was {}, now {}", before.word(), after.word())
    };
    attempts.differences(before, after).into_iter().map(line).collect()
}

fn letter(service: usize) -> char {
    ('a'..='z').nth(service).unwrap_or('*')
}

/// The pod's name without its namespace.
fn short(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, name)| name)
}

/// Green where allowed, dim where dropped, red where neither (ECMA-48, 8.3.117).
fn paint(symbol: char, colours: bool) -> String {
    let colour = match symbol {
        _ if !colours => return symbol.to_string(),
        ' ' => return symbol.to_string(),
        '?' => "1;31",
        '.' => "2",
        _ => "32",
    };
    format!("\x1b[{colour}m{symbol}\x1b[0m")
}
