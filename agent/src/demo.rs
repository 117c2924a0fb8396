//! `palisade demo`: the shop of examples/shop in a lab, enforced by the real agent. Every connection is tried, policies are edited, and every
//! connection is tried again.

mod agent;
mod connections;
mod directory;
mod editing;
mod error;
mod forwarder;
mod interrupt;
mod live;
mod objects;
mod output;
mod tour;

use std::time::{Duration, Instant};

use palisade_compiler::model::{Connection, Family, Pod};
use palisade_compiler::snapshot::Snapshot;
use palisade_lab::packet::TCP;
use palisade_lab::{Host, Lab, LabSpec, Layout};

use agent::Agent;
use connections::{Attempts, Outcomes};
use directory::Directory;
pub use error::DemoError;
use forwarder::Forwarder;
use interrupt::Interrupt;
use output::Output;

/// The files of examples/shop, so that the demo needs nothing but this binary.
const SHOP: [(&str, &str); 6] = [
    ("namespaces.yaml", include_str!("../../examples/shop/namespaces.yaml")),
    ("pods.yaml", include_str!("../../examples/shop/pods.yaml")),
    ("default-deny.yaml", include_str!("../../examples/shop/default-deny.yaml")),
    ("frontend.yaml", include_str!("../../examples/shop/frontend.yaml")),
    ("api.yaml", include_str!("../../examples/shop/api.yaml")),
    ("db.yaml", include_str!("../../examples/shop/db.yaml")),
];

/// Clients outside of the cluster, inside and outside of the frontend's ipBlock.
const CLIENTS: [(&str, [&str; 2]); 2] = [
    ("a customer", ["10.87.0.130", "fd87:0:0:0:c::1"]),
    ("a guest", ["10.87.0.200", "fd87:0:0:0:c:1:0:1"]),
];

/// A connection that no policy of the shop allows.
const DENIED: (&str, &str, u16) = ("shop/frontend", "shop/db", 5432);
/// How often it is tried until the agent has seen it: the rules log at most 100 denied packets a second, and the table before it may have used them up.
const OBSERVED_WITHIN_TRIES: usize = 50;

/// An edit of one file: what it does, and the text that it replaces.
struct Edit {
    purpose: &'static str,
    file: &'static str,
    old: &'static str,
    new: &'static str,
}

const EDITS: [Edit; 2] = [
    Edit {
        purpose: "the namespace monitoring loses the label that the policy api asks for",
        file: "namespaces.yaml",
        old: "purpose: monitoring",
        new: "purpose: retired",
    },
    Edit {
        purpose: "the policy db also allows the namespace monitoring, by its name",
        file: "db.yaml",
        old: "            matchLabels: {app: api}\n",
        new: "            matchLabels: {app: api}\n        - namespaceSelector:\n            \
              matchLabels: {kubernetes.io/metadata.name: monitoring}\n",
    },
];

/// The longest that the agent may take to enforce what the directory says. It takes milliseconds, and seconds on an emulated processor.
const ENFORCED_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// What is kept until a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lasts {
    /// Nothing: the demo ends once everything was tried.
    No,
    /// Everything, once it was tried.
    Kept,
    /// Connections are made all the time, for the page, which edits what allows them; nothing is tried before.
    Live {
        /// Whether it begins as a tour, with steps.
        has_tour: bool,
    },
}

#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub layout: Layout,
    /// What happens until SIGINT or SIGTERM.
    pub lasts: Lasts,
    pub colours: bool,
}

/// Runs the demo. Returns true if every connection met the verdict that the policies give it.
///
/// # Errors
/// `Lab` without root, or where the kernel lacks what the lab needs; whatever kept the agent from enforcing. Everything that the demo made is
/// removed in any case.
pub fn run(options: Options) -> Result<bool, DemoError> {
    let interrupt = Interrupt::watch()?;
    directory::remove_abandoned();
    let output = Output::new(options.colours);
    if let Lasts::Live { has_tour } = options.lasts {
        return live::run(options.layout, has_tour, &output, &interrupt);
    }
    let mut directory = Directory::new()?;
    for (name, text) in SHOP {
        directory.write(name, text)?;
    }
    let attempts = attempts(&directory.snapshot()?)?;
    output.step("The shop: 4 pods in 2 namespaces, 4 policies, 2 clients outside")?;
    output.text(
        "Each pod is a network namespace with real servers. This host's own network is not touched.",
    )?;
    let lab = Lab::new(&LabSpec {
        outside: attempts.clients.iter().flat_map(|client| client.addresses.clone()).collect(),
        ..LabSpec::new(options.layout, attempts.pods.clone())
    })?;
    Demo { lab, attempts, directory, interrupt, output }.run(options.lasts)
}

/// The running demo.
struct Demo {
    lab: Lab,
    attempts: Attempts,
    directory: Directory,
    interrupt: Interrupt,
    output: Output,
}

impl Demo {
    fn run(mut self, lasts: Lasts) -> Result<bool, DemoError> {
        self.output.step("Without policies, everyone reaches everyone")?;
        let (mut good, _) = self.try_all(&Outcomes::all_allowed(&self.attempts))?;

        self.output.step("The agent starts: palisade run -f MANIFESTS")?;
        let mut agent = Agent::start(&self.lab, &self.directory)?;
        self.await_enforcement(&mut agent)?;
        let mut before = Outcomes::expected(&self.attempts, &self.directory.snapshot()?);
        let (as_expected, outcomes) = self.try_all(&before)?;
        good &= as_expected;
        self.output.lines(&connections::table(&self.attempts, &outcomes, self.output.colours))?;

        self.show_denied()?;
        for edit in &EDITS {
            self.output.step(format_args!("Edit {}: {}", edit.file, edit.purpose))?;
            self.directory.edit(edit.file, edit.old, edit.new)?;
            self.await_enforcement(&mut agent)?;
            let after = Outcomes::expected(&self.attempts, &self.directory.snapshot()?);
            let (as_expected, outcomes) = self.try_all(&after)?;
            good &= as_expected;
            self.output.lines(&connections::changes(&self.attempts, &before, &outcomes))?;
            before = after;
        }
        self.output.step("What the agent says of itself")?;
        self.show_command(&["verify"])?;
        self.show_command(&["status"])?;

        if lasts == Lasts::Kept {
            self.keep_open(&mut agent)?;
        }
        agent.stop()?;
        self.output.step("The agent stops: its rules stay, and so do the verdicts")?;
        good &= self.try_all(&before)?.0;
        self.output.blank()?;
        self.output.line(if good {
            "Every connection met the verdict that the policies give it."
        } else {
            "Some connections did not meet the verdict that the policies give them: see the\nlines that begin with ! above."
        })?;
        Ok(good)
    }

    /// Tries every connection. Returns whether all outcomes were as expected, and the outcomes.
    fn try_all(&self, expected: &Outcomes) -> Result<(bool, Outcomes), DemoError> {
        self.interrupt.check()?;
        let begun = Instant::now();
        let connections = self.attempts.connections();
        let outcomes = Outcomes::observed(&self.lab.converse(&connections)?);
        let took = begun.elapsed().as_millis();
        let (allowed, denied) = outcomes.counts();
        let unexpected = connections::unexpected(&self.attempts, expected, &outcomes);
        self.output.text(format_args!(
            "{} connections by TCP and UDP over IPv4 and IPv6, in {took} ms: {allowed} answered, {denied} dropped, {}.",
            connections.len(),
            if unexpected.is_empty() { "each as expected" } else { "and NOT as expected" },
        ))?;
        self.output.lines(&unexpected)?;
        Ok((unexpected.is_empty(), outcomes))
    }

    fn await_enforcement(&self, agent: &mut Agent) -> Result<(), DemoError> {
        await_enforcement(&self.lab, &self.directory, agent, &self.output, &self.interrupt)
    }

    /// Makes a connection that is denied, and shows what the agent saw of it, and why it is denied.
    fn show_denied(&self) -> Result<(), DemoError> {
        let (from, to, port) = DENIED;
        self.output.step(format_args!("A denied connection: {from} -> {to}, port {port}"))?;
        self.show_observed()?;
        let arguments = ["explain", from, to, "--port", &port.to_string()];
        self.output.command(format_args!("palisade {}", arguments.join(" ")))?;
        let text = agent::ask(&self.lab, &self.directory, &arguments)?;
        // IPv4 is explained first, and IPv6 in the same way.
        let (first, others) = first_block(&text);
        self.output.quote(first)?;
        if others.is_empty() { Ok(()) } else { self.output.quote("...") }
    }

    /// Tries the denied connection until the agent has seen it.
    fn show_observed(&self) -> Result<(), DemoError> {
        let (from, to, port) = DENIED;
        let address = |name| {
            let machine = self.lab.machine_named(name);
            let v4 =
                machine.and_then(|m| m.addresses.iter().find(|a| Family::of(**a) == Family::V4));
            v4.copied().ok_or_else(|| DemoError::Failed(format!("{name} has no IPv4 address")))
        };
        let connection = Connection { from: address(from)?, to: address(to)?, protocol: TCP, port };
        let (last, port) = (["--no-follow", "--last", "1", "-o", "text"], port.to_string());
        let filters = ["--pod", from, "--address", &connection.to.to_string(), "--port", &port]
            .map(ToOwned::to_owned);
        let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
        let arguments = [&["observe"], &last[..], &filters].concat();
        for _ in 0..OBSERVED_WITHIN_TRIES {
            self.interrupt.check()?;
            self.lab.converse(&[connection])?;
            let text = agent::ask(&self.lab, &self.directory, &arguments)?;
            if text.is_empty() {
                std::thread::sleep(POLL);
                continue;
            }
            self.output.command(format_args!("palisade observe {}", filters.join(" ")))?;
            return self.output.quote(&text);
        }
        // A kernel without NFLOG, most likely: the status says what is missing.
        self.output.text("The agent sees no denied connection; palisade status says why.")
    }

    /// Shows a command that asks the agent, and what it prints.
    fn show_command(&self, arguments: &[&str]) -> Result<(), DemoError> {
        self.output.command(format_args!("palisade {}", arguments.join(" ")))?;
        let text = agent::ask(&self.lab, &self.directory, arguments)?;
        self.output.quote(&text)
    }

    /// Keeps everything, with servers that answer, until the user ends it.
    fn keep_open(&self, agent: &mut Agent) -> Result<(), DemoError> {
        let servers = self.lab.serve(&self.attempts.connections())?;
        let forwarder = Forwarder::start(&self.lab, None)?;
        self.output.step("Kept open until Ctrl-C. In a browser on this host:")?;
        self.output.commands(&[("", forwarder.url())])?;
        self.output.step("In another terminal, as root:")?;
        let (binary, node) = (agent::binary()?, self.lab.node().path());
        let (from, to, port) = DENIED;
        // Shell variables keep these lines short enough for a terminal.
        self.output.commands(&[
            ("first, two names for what follows", format!("P={}", binary.display())),
            ("", format!("D={}", self.directory.root().display())),
            ("ask the agent", "$P status --socket $D/agent.sock".to_owned()),
            ("", format!("$P explain {from} {to} --port {port} --socket $D/agent.sock")),
            ("change a policy: it is enforced when you save it", "vi $D/manifests/db.yaml".into()),
            ("list the rules", format!("nsenter --net={node} nft list ruleset")),
            ("see what is denied as it happens", "$P observe --socket $D/agent.sock".to_owned()),
        ])?;
        for machine in self.lab.machines().iter().filter(|machine| machine.name.contains('/')) {
            let addresses: Vec<_> = machine.addresses.iter().map(ToString::to_string).collect();
            let title = format!("a shell in {} ({})", machine.name, addresses.join(", "));
            let command = format!("nsenter --net={} bash", machine.namespace().path());
            self.output.commands(&[(&title, command)])?;
        }
        let ask = "timeout 2 bash -c ': </dev/tcp/10.87.0.20/8080' && echo yes".to_owned();
        self.output.commands(&[("there: is api's port 8080 open to this pod?", ask)])?;
        while !self.interrupt.is_requested() {
            agent.check()?;
            std::thread::sleep(POLL);
        }
        drop(servers);
        Err(DemoError::Interrupted)
    }
}

/// Waits until the kernel holds what the directory says, by `palisade verify`.
fn await_enforcement(
    lab: &Lab,
    directory: &Directory,
    agent: &mut Agent,
    output: &Output,
    interrupt: &Interrupt,
) -> Result<(), DemoError> {
    let begun = Instant::now();
    loop {
        interrupt.check()?;
        agent.check()?;
        if agent::is_enforced(lab, directory)? {
            let took = begun.elapsed().as_millis();
            return output.text(format_args!(
                "The kernel holds what the manifests say, after at most {took} ms."
            ));
        }
        if begun.elapsed() > ENFORCED_WITHIN {
            let seconds = ENFORCED_WITHIN.as_secs();
            return Err(agent
                .failure(format!("the agent did not enforce the manifests within {seconds} s")));
        }
        std::thread::sleep(POLL);
    }
}

/// The first line and the indented ones that follow it, and the rest.
fn first_block(text: &str) -> (&str, &str) {
    let next = text.match_indices('\n').map(|(at, _)| at + 1);
    let mut next = next.filter(|&at| text.get(at..).is_some_and(|rest| !rest.starts_with(' ')));
    text.split_at(next.next().unwrap_or(text.len()))
}

/// Who tries which connections.
fn attempts(snapshot: &Snapshot) -> Result<Attempts, DemoError> {
    let host = |pod: &Pod| Host {
        name: format!("{}/{}", pod.namespace, pod.name),
        addresses: pod.addresses.iter().collect(),
    };
    let mut pods: Vec<_> = snapshot.pods().map(host).collect();
    pods.sort_by(|a, b| a.addresses.cmp(&b.addresses));
    let client = |(name, addresses): (&str, [&str; 2])| {
        let addresses: Result<_, _> = addresses.iter().map(|text| text.parse()).collect();
        let addresses = addresses.map_err(|error| DemoError::Failed(format!("{name}: {error}")))?;
        Ok(Host { name: name.to_owned(), addresses })
    };
    let clients = CLIENTS.into_iter().map(client).collect::<Result<_, DemoError>>()?;
    Ok(Attempts::new(pods, clients, snapshot))
}
