//! `palisade demo`: the shop of examples/shop on a lab, enforced by the real agent, tried with real connections, edited,
//! and tried again.

mod matrix;
mod stage;

use std::path::Path;
use std::time::{Duration, Instant};

use palisade_compiler::snapshot::Snapshot;

use crate::cli::Failure;
use crate::cli::input::Manifests;
use crate::cli::output::say;
use palisade_lab::{Host, Lab, LabError, LabSpec, Layout};
use crate::sources::disk::MAX_FILE_BYTES;
use matrix::{Matrix, Person, Plan};
use stage::{Agent, Directory, Interrupt};

/// The files of examples/shop, so that the demo needs nothing but this binary.
const SHOP: [(&str, &str); 6] = [
    ("namespaces.yaml", include_str!("../../examples/shop/namespaces.yaml")),
    ("pods.yaml", include_str!("../../examples/shop/pods.yaml")),
    ("default-deny.yaml", include_str!("../../examples/shop/default-deny.yaml")),
    ("frontend.yaml", include_str!("../../examples/shop/frontend.yaml")),
    ("api.yaml", include_str!("../../examples/shop/api.yaml")),
    ("db.yaml", include_str!("../../examples/shop/db.yaml")),
];

/// People outside of the cluster, on either side of the frontend's ipBlock.
const PEOPLE: [(&str, [&str; 2]); 2] = [
    ("a customer", ["10.87.0.130", "fd87:0:0:0:c::1"]),
    ("a guest", ["10.87.0.200", "fd87:0:0:0:c:1:0:1"]),
];

/// An edit of one file: what it does, and the text that is replaced.
struct Edit {
    said: &'static str,
    file: &'static str,
    old: &'static str,
    new: &'static str,
}

const EDITS: [Edit; 2] = [
    Edit {
        said: "a label: the namespace monitoring is no longer `purpose: monitoring`, which the policy api asks for",
        file: "namespaces.yaml",
        old: "purpose: monitoring",
        new: "purpose: retired",
    },
    Edit {
        said: "a policy: db also admits the namespace monitoring, by name",
        file: "db.yaml",
        old: "            matchLabels: {app: api}\n",
        new: "            matchLabels: {app: api}\n        - namespaceSelector:\n            \
              matchLabels: {kubernetes.io/metadata.name: monitoring}\n",
    },
];

/// The longest that the agent may take to enforce what the directory says; it is a matter of milliseconds.
const ENFORCED_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Runs the demo; `Ok(true)` if every connection met the verdict that the specification gives it.
///
/// # Errors
/// `NotPermitted` without root or what the lab needs of the kernel; whatever kept the agent from enforcing.
pub fn run(layout: Layout) -> Result<bool, Failure> {
    let interrupt = Interrupt::watch()?;
    stage::clean_up_after_the_dead();
    let directory = Directory::new()?;
    for (name, text) in SHOP {
        directory.write(name, text)?;
    }
    let snapshot = read(directory.path())?;
    step(format_args!("the shop of examples/shop, copied to {}", directory.path().display()))?;

    let begun = Instant::now();
    let plan = plan(&snapshot)?;
    let lab = Lab::new(&LabSpec {
        outside: plan.people.iter().flat_map(|person| person.addresses.clone()).collect(),
        ..LabSpec::new(layout, plan.pods.clone())
    })?;
    step(format_args!(
        "{} pods as network namespaces, {}, and {} people outside: {} ms",
        plan.pods.len(),
        match layout {
            Layout::Routed => "each on a link of its own",
            Layout::Bridged => "all on one bridge",
        },
        plan.people.len(),
        begun.elapsed().as_millis()
    ))?;
    detail("nothing of this host's own network is touched; to look inside:")?;
    detail(format_args!("nsenter --net={} nft list ruleset", lab.node().path()))?;

    let show = Show { lab, plan, directory, interrupt };
    show.perform()
}

/// What a performance needs.
struct Show {
    lab: Lab,
    plan: Plan,
    directory: Directory,
    interrupt: Interrupt,
}

impl Show {
    fn perform(&self) -> Result<bool, Failure> {
        step("before the agent starts, everyone reaches everyone")?;
        let free = Matrix::free(&self.plan);
        let mut good = self.act(&free, None)?;

        let mut agent = Agent::start(&self.lab, &self.directory)?;
        step(format_args!(
            "the agent is started in the node's namespace (process {})",
            agent.id()
        ))?;
        self.await_enforcement(&mut agent)?;
        let mut before = Matrix::expected(&self.plan, &read(self.directory.path())?);
        good &= self.act(&before, None)?;

        for edit in &EDITS {
            step(format_args!("edit {}: {}", edit.file, edit.said))?;
            self.directory.edit(edit.file, edit.old, edit.new)?;
            self.await_enforcement(&mut agent)?;
            let after = Matrix::expected(&self.plan, &read(self.directory.path())?);
            good &= self.act(&after, Some(&before))?;
            before = after;
        }
        agent.stop()?;
        step("the agent is stopped; its rules stay, and so do the verdicts")?;
        good &= self.act(&before, None)?;
        say(if good {
            "\nEvery connection met the verdict that its policies give it."
        } else {
            "\nSome connections did not meet the verdict that their policies give them: see the ! above."
        })?;
        Ok(good)
    }

    /// Tries every connection and shows what was seen beside what was expected.
    fn act(&self, expected: &Matrix, before: Option<&Matrix>) -> Result<bool, Failure> {
        self.interrupt.check()?;
        let begun = Instant::now();
        let talks = self.lab.converse(&self.plan.connections())?;
        let seen = Matrix::seen(&self.plan, &talks);
        detail(format_args!(
            "{} TCP and UDP connections over IPv4 and IPv6, with servers that answer: {} ms",
            talks.len(),
            begun.elapsed().as_millis()
        ))?;
        matrix::print(&self.plan, &seen, expected, before)?;
        Ok(seen == *expected)
    }

    /// Until the kernel holds what the directory says, by `palisade verify`.
    fn await_enforcement(&self, agent: &mut Agent) -> Result<(), Failure> {
        let begun = Instant::now();
        loop {
            self.interrupt.check()?;
            agent.check()?;
            let looked = Instant::now();
            if stage::is_enforced(&self.lab, &self.directory)? {
                let took = looked.duration_since(begun).as_millis();
                return detail(format_args!(
                    "the kernel holds what is written, after at most {took} ms"
                ));
            }
            if begun.elapsed() > ENFORCED_WITHIN {
                let seconds = ENFORCED_WITHIN.as_secs();
                return Err(agent.failure(format!(
                    "the agent did not enforce the directory within {seconds} s"
                )));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

fn step(text: impl std::fmt::Display) -> Result<(), Failure> {
    say(format_args!("\n==> {text}"))
}

fn detail(text: impl std::fmt::Display) -> Result<(), Failure> {
    say(format_args!("    {text}"))
}

/// What the directory means.
fn read(directory: &Path) -> Result<Snapshot, Failure> {
    let files = vec![directory.to_owned()];
    let input = Manifests { files, max_file_size: MAX_FILE_BYTES }.load()?;
    let mut snapshot = Snapshot::new();
    input.changes.into_iter().for_each(|change| snapshot.apply(change));
    Ok(snapshot)
}

/// Who tries what.
fn plan(snapshot: &Snapshot) -> Result<Plan, Failure> {
    let host = |pod: &palisade_compiler::model::Pod| Host {
        name: format!("{}/{}", pod.namespace, pod.name),
        addresses: pod.addresses.iter().collect(),
    };
    let mut pods: Vec<_> = snapshot.pods().map(host).collect();
    pods.sort_by(|a, b| a.addresses.cmp(&b.addresses));
    let person = |(name, addresses): (&str, [&str; 2])| {
        let addresses: Result<_, _> = addresses.iter().map(|text| text.parse()).collect();
        let addresses = addresses.map_err(|error| Failure::Usage(format!("{name}: {error}")))?;
        Ok(Person { name: name.to_owned(), addresses })
    };
    let people = PEOPLE.into_iter().map(person).collect::<Result<_, Failure>>()?;
    Ok(Plan::new(pods, people, snapshot))
}

impl From<LabError> for Failure {
    fn from(error: LabError) -> Self {
        let said = format!("the lab: {error}");
        match error {
            LabError::NotPermitted { .. } | LabError::Missing { .. } => Self::NotPermitted(said),
            LabError::Io { source, what } => Self::Io { what, error: source },
            LabError::Address { .. }
            | LabError::TooMany(_)
            | LabError::NoPath { .. }
            | LabError::MarkerLost { .. }
            | LabError::Tool(_)
            | LabError::Overrun { .. } => Self::No(said),
        }
    }
}
