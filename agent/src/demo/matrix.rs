//! Who reaches whom on what: seen, expected, and changed, as text.

use std::collections::BTreeSet;
use std::net::IpAddr;

use palisade_compiler::model::{Connection, Family, Protocol, Verdict};
use palisade_compiler::oracle::decide;
use palisade_compiler::snapshot::Snapshot;

use crate::cli::Failure;
use crate::cli::output::{colours, say};
use palisade_lab::{Conversation, Host};

/// Somebody outside.
#[derive(Debug, Clone)]
pub(super) struct Person {
    pub(super) name: String,
    pub(super) addresses: Vec<IpAddr>,
}

/// All connections that are tried: from every pod and person to every pod on every service, in both families.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) pods: Vec<Host>,
    pub(super) people: Vec<Person>,
    services: Vec<(Protocol, u16)>,
    attempts: Vec<Attempt>,
}

#[derive(Debug, Clone, Copy)]
struct Attempt {
    cell: Cell,
    connection: Connection,
}

/// Source, target, service: each an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Cell {
    from: usize,
    to: usize,
    service: usize,
}

/// Tried besides the ports that the pods name: a protocol that no policy of the shop allows.
const DNS: (Protocol, u16) = (Protocol::Udp, 53);

impl Plan {
    /// The services are all named ports of the pods, and DNS.
    pub(super) fn new(pods: Vec<Host>, people: Vec<Person>, snapshot: &Snapshot) -> Self {
        let named = snapshot.pods().flat_map(|pod| pod.ports.iter());
        let services: BTreeSet<_> =
            named.map(|port| (port.protocol, port.port)).chain([DNS]).collect();
        let services = services.into_iter().filter(|(p, _)| *p != Protocol::Sctp).collect();
        let mut plan = Self { pods, people, services, attempts: Vec::new() };
        plan.attempts = plan.all_attempts();
        plan
    }

    pub(super) fn connections(&self) -> Vec<Connection> {
        self.attempts.iter().map(|attempt| attempt.connection).collect()
    }

    fn all_attempts(&self) -> Vec<Attempt> {
        let mut attempts = Vec::new();
        for (from, (_, sources)) in self.sources().enumerate() {
            for (to, pod) in self.pods.iter().enumerate().filter(|(to, _)| *to != from) {
                for (service, (protocol, port)) in self.services.iter().enumerate() {
                    for (&from_address, &to_address) in pairs(sources, &pod.addresses) {
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
    fn sources(&self) -> impl Iterator<Item = (&str, &[IpAddr])> {
        let pods = self.pods.iter().map(|pod| (pod.name.as_str(), pod.addresses.as_slice()));
        pods.chain(self.people.iter().map(|p| (p.name.as_str(), p.addresses.as_slice())))
    }
}

/// Those of one family.
fn pairs<'a>(
    from: &'a [IpAddr],
    to: &'a [IpAddr],
) -> impl Iterator<Item = (&'a IpAddr, &'a IpAddr)> {
    let same = |(a, b): &(&IpAddr, &IpAddr)| Family::of(**a) == Family::of(**b);
    from.iter().flat_map(move |a| to.iter().map(move |b| (a, b))).filter(same)
}

/// The outcome of every attempt of a plan, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Matrix(Vec<Outcome>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Allowed,
    Denied,
    /// Let through, but not answered: no verdict gives this.
    Broken,
}

impl Matrix {
    /// Without policy.
    pub(super) fn free(plan: &Plan) -> Self {
        Self(plan.attempts.iter().map(|_| Outcome::Allowed).collect())
    }

    /// By the specification, read literally.
    pub(super) fn expected(plan: &Plan, snapshot: &Snapshot) -> Self {
        let outcome = |attempt: &Attempt| match decide(snapshot, &attempt.connection).verdict {
            Verdict::Allow => Outcome::Allowed,
            Verdict::Deny => Outcome::Denied,
        };
        Self(plan.attempts.iter().map(outcome).collect())
    }

    /// By what became of the plan's connections.
    pub(super) fn seen(plan: &Plan, conversations: &[Conversation]) -> Self {
        let outcome = |conversation: &Conversation| match conversation {
            Conversation::Answered => Outcome::Allowed,
            Conversation::Dropped => Outcome::Denied,
            Conversation::Unanswered => Outcome::Broken,
        };
        Self(plan.attempts.iter().zip(conversations).map(|(_, one)| outcome(one)).collect())
    }

    /// The outcomes in one cell: one for each family.
    fn at<'a>(
        &'a self,
        plan: &'a Plan,
        cell: Cell,
    ) -> impl Iterator<Item = (Family, Outcome)> + 'a {
        let all = plan.attempts.iter().zip(&self.0);
        let here = all.filter(move |(attempt, _)| attempt.cell == cell);
        here.map(|(attempt, outcome)| (Family::of(attempt.connection.from), *outcome))
    }

    /// A service's letter where it is allowed, a dot where not; a digit where only that family allows it.
    fn sign(&self, plan: &Plan, cell: Cell) -> char {
        let outcomes: Vec<_> = self.at(plan, cell).collect();
        let allowed = |(_, outcome): &&(Family, Outcome)| *outcome == Outcome::Allowed;
        let families: Vec<_> = outcomes.iter().filter(allowed).map(|(family, _)| *family).collect();
        match (outcomes.is_empty(), families.as_slice()) {
            _ if outcomes.iter().any(|(_, outcome)| *outcome == Outcome::Broken) => '?',
            (true, _) => ' ',
            (false, []) => '.',
            (false, [Family::V4]) if outcomes.len() > 1 => '4',
            (false, [Family::V6]) if outcomes.len() > 1 => '6',
            (false, _) => letter(cell.service),
        }
    }
}

fn letter(service: usize) -> char {
    ('a'..='z').nth(service).unwrap_or('*')
}

/// Prints both matrices side by side, then what differs between them, and what changed since `before`.
pub(super) fn print(
    plan: &Plan,
    seen: &Matrix,
    expected: &Matrix,
    before: Option<&Matrix>,
) -> Result<(), Failure> {
    let paint = if colours() { colour } else { plain };
    let legend = plan.services.iter().enumerate();
    let legend = legend.map(|(n, (protocol, port))| format!("{} {port}/{protocol}", letter(n)));
    say(format_args!("    {}   . denied", legend.collect::<Vec<_>>().join("   ")))?;
    let widths: Vec<_> =
        plan.pods.iter().map(|p| short(&p.name).len().max(plan.services.len()) + 2).collect();
    let label = plan.sources().map(|(name, _)| name.len()).max().unwrap_or(0) + 3;
    let total: usize = widths.iter().sum();
    say(format_args!("    {:label$}{:total$} | expected", "", "seen"))?;
    let names = plan.pods.iter().zip(&widths);
    let names: String = names.map(|(pod, &width)| format!("{:width$}", short(&pod.name))).collect();
    say(format!("    {:label$}{names} | {names}", "from \\ to").trim_end())?;
    for (from, (name, _)) in plan.sources().enumerate() {
        let half = |matrix: &Matrix| -> String {
            let group = |(to, &width): (usize, &usize)| {
                let cells = (0..plan.services.len()).map(|service| Cell { from, to, service });
                let signs = cells.map(|cell| {
                    let agreed = seen.at(plan, cell).eq(expected.at(plan, cell));
                    let changed =
                        before.is_some_and(|b| !b.at(plan, cell).eq(matrix.at(plan, cell)));
                    paint(matrix.sign(plan, cell), agreed, changed)
                });
                signs.collect::<String>() + &" ".repeat(width.saturating_sub(plan.services.len()))
            };
            widths.iter().enumerate().map(group).collect()
        };
        let line = format!("    {name:label$}{} | {}", half(seen), half(expected));
        say(line.trim_end())?;
    }
    for (attempt, (was, is)) in plan.attempts.iter().zip(expected.0.iter().zip(&seen.0)) {
        if was != is {
            say(format_args!(
                "    ! {}: expected {}, seen {}",
                attempt.describe(plan),
                was.word(),
                is.word()
            ))?;
        }
    }
    before.map_or(Ok(()), |before| print_changes(plan, seen, before))
}

fn print_changes(plan: &Plan, seen: &Matrix, before: &Matrix) -> Result<(), Failure> {
    for (attempt, (was, is)) in plan.attempts.iter().zip(before.0.iter().zip(&seen.0)) {
        if was != is {
            say(format_args!(
                "    changed: {}: {} -> {}",
                attempt.describe(plan),
                was.word(),
                is.word()
            ))?;
        }
    }
    Ok(())
}

impl Attempt {
    fn describe(&self, plan: &Plan) -> String {
        let from = plan.sources().nth(self.cell.from).map_or("", |(name, _)| name);
        let to = plan.pods.get(self.cell.to).map_or("", |pod| &pod.name);
        let service = plan.services.get(self.cell.service);
        let service =
            service.map_or_else(String::new, |(protocol, port)| format!("{port}/{protocol}"));
        let family = match Family::of(self.connection.from) {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        };
        format!("{from} -> {to} {service} over {family}")
    }
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Self::Allowed => "allow",
            Self::Denied => "deny",
            Self::Broken => "let through but not answered",
        }
    }
}

/// The pod's name without its namespace.
fn short(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, name)| name)
}

fn plain(sign: char, _agreed: bool, _changed: bool) -> String {
    sign.to_string()
}

/// Green where allowed, dim where denied, red where seen and expected differ, reversed where it changed (ECMA-48, 8.3.117).
fn colour(sign: char, agreed: bool, changed: bool) -> String {
    let hue = match (agreed, sign) {
        (false, _) => "1;31",
        (true, '.' | ' ') => "2",
        (true, _) => "32",
    };
    let reverse = if changed { ";7" } else { "" };
    format!("\x1b[{hue}{reverse}m{sign}\x1b[0m")
}
