//! The one loop: files and questions in, the kernel's tables and answers out.
//!
//! ```text
//! files, questions, time -> Event -> look at the files -> compile -> commit -> answer -> publish the status
//! ```
//!
//! It has a thread of its own, which also holds the kernel's socket. What comes while it works waits, and is then taken
//! as one batch; nothing sleeps in order to batch. When nothing waits it settles, tidies and compares.

mod enforcer;
mod inputs;
mod report;

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use palisade_compiler::compile::{Compiler, Locality};
use palisade_compiler::program::{Delta, Program};
use palisade_dataplane::ruleset::RulesetError;
use tokio::sync::oneshot;

use crate::connection::Question;
use crate::explanation::explain;
use crate::protocol::{MAX_TOLD, Request, Response, State, Verified};
use crate::socket::server::Published;
use enforcer::Enforcer;
use inputs::Inputs;
use report::Report;

/// Events that wait at most; a question beyond is refused, and a wake-up beyond is not needed.
pub const MAX_WAITING: usize = 64;

/// How often all files are looked at and the kernel is compared with the program.
const CHECK_EVERY: Duration = Duration::from_secs(60);
/// How often the bridges of pods are looked at: an interface may come after its pod's manifest.
const BRIDGES_EVERY: Duration = Duration::from_secs(5);
/// How long to wait before what failed, or a table that another process owns, is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How long nothing is done at least, unless something happens: a deadline that is always past must not take a processor.
const REST: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub enum Event {
    /// There may be something new in the files.
    Files,
    Request(Request, oneshot::Sender<Response>),
    /// Ends the loop; what the kernel has stays.
    Shutdown,
}

#[derive(Debug, Clone)]
pub struct Config {
    pub files: Vec<PathBuf>,
    /// In bytes.
    pub max_file_size: u64,
    pub node: Option<String>,
}

/// Runs until it is told to shut down. `events` is the other end of `received`.
///
/// # Errors
///
/// What makes it useless to wait: the kernel's tables may not be touched, or the kernel cannot do it.
pub fn run(
    config: Config,
    events: &SyncSender<Event>,
    received: &Receiver<Event>,
    published: Published,
) -> Result<(), RulesetError> {
    let mut report = Report::new(published, config.node.clone());
    let Some((enforcer, found)) = open(&mut report, received)? else { return Ok(()) };
    let locality = match &config.node {
        Some(node) => Locality::Node(node.as_str().into()),
        None => Locality::Everywhere,
    };
    let wake = events.clone();
    // A full channel will wake the loop as well.
    let inputs = Inputs::new(config.files, config.max_file_size, move || {
        _ = wake.try_send(Event::Files);
    });
    let now = Instant::now();
    let mut reconciler = Reconciler {
        inputs,
        compiler: Compiler::adopting(locality, &found),
        enforcer,
        report,
        node: config.node,
        begun: false,
        behind: Delta::default(),
        check_at: now,
        bridges_at: now,
        retry_at: None,
    };
    reconciler.run(received)
}

/// Waits until the kernel's tables can be read and are nobody else's; `None` if told to shut down meanwhile.
fn open(
    report: &mut Report,
    received: &Receiver<Event>,
) -> Result<Option<(Enforcer, Program)>, RulesetError> {
    loop {
        match Enforcer::open() {
            Ok(opened) => return Ok(Some(opened)),
            Err(error) if is_hopeless(&error) => return Err(error),
            Err(error) => report.state(state_of(&error), Some(error.to_string())),
        }
        report.publish();
        match received.recv_timeout(RETRY_AFTER) {
            Ok(Event::Shutdown) | Err(RecvTimeoutError::Disconnected) => return Ok(None),
            Ok(Event::Request(_, reply)) => {
                // Who asked may be gone.
                _ = reply.send(Response::NotReady { reason: report.why_not() });
            }
            Ok(Event::Files) | Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

fn state_of(error: &RulesetError) -> State {
    match error {
        RulesetError::Owned { .. } => State::WaitingForTable,
        RulesetError::NotPermitted { .. }
        | RulesetError::Unsupported { .. }
        | RulesetError::Retry { .. }
        | RulesetError::Unknown { .. }
        | RulesetError::Full { .. }
        | RulesetError::Refused { .. }
        | RulesetError::Io(_) => State::Behind,
    }
}

fn is_hopeless(error: &RulesetError) -> bool {
    match error {
        RulesetError::NotPermitted { .. } | RulesetError::Unsupported { .. } => true,
        RulesetError::Retry { .. }
        | RulesetError::Unknown { .. }
        | RulesetError::Full { .. }
        | RulesetError::Owned { .. }
        | RulesetError::Refused { .. }
        | RulesetError::Io(_) => false,
    }
}

struct Reconciler {
    inputs: Inputs,
    compiler: Compiler,
    enforcer: Enforcer,
    report: Report,
    node: Option<String>,
    /// Whether the manifests were known once, so that there is something to enforce.
    begun: bool,
    /// What the program changed by and the kernel has not.
    behind: Delta,
    check_at: Instant,
    bridges_at: Instant,
    retry_at: Option<Instant>,
}

impl Reconciler {
    fn run(&mut self, received: &Receiver<Event>) -> Result<(), RulesetError> {
        let mut waiting = vec![Event::Files];
        loop {
            let mut questions = Vec::new();
            for event in waiting.drain(..) {
                match event {
                    Event::Files => {}
                    Event::Request(request, reply) => questions.push((request, reply)),
                    Event::Shutdown => return Ok(()),
                }
            }
            self.turn()?;
            for (request, reply) in questions {
                // Who asked may be gone.
                _ = reply.send(self.answer(request));
            }
            self.report.publish();
            match received.recv_timeout(self.patience()) {
                Ok(event) => waiting.push(event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            waiting.extend(received.try_iter().take(MAX_WAITING));
        }
    }

    /// How long nothing needs to be done unless something happens.
    fn patience(&self) -> Duration {
        if self.has_idle_work() {
            return REST;
        }
        // Nothing is enforced, nor bridges looked for, before the manifests were known once.
        let bridges_at = Some(self.bridges_at).filter(|_| self.begun);
        let deadlines = [Some(self.check_at), bridges_at, self.retry_at, self.inputs.next_look()];
        let next = deadlines.into_iter().flatten().min().unwrap_or(self.check_at);
        next.saturating_duration_since(Instant::now()).max(REST)
    }

    fn has_idle_work(&self) -> bool {
        self.enforcer.is_in_step() && (self.enforcer.is_unsettled() || self.compiler.is_untidy())
    }

    /// Everything that is due, once.
    fn turn(&mut self) -> Result<(), RulesetError> {
        let now = Instant::now();
        let check = now >= self.check_at;
        let look = self.inputs.look(check, self.compiler.snapshot());
        self.report.inputs(&self.inputs);
        let news = !look.changes.is_empty();
        if news {
            let started = Instant::now();
            let delta = self.compiler.apply(look.changes);
            self.report.revision += 1;
            self.behind.then(delta);
            self.report.compiled(&self.compiler, started.elapsed());
        }
        if !self.inputs.is_complete() {
            self.report.state(State::WaitingForManifests, Some(self.inputs.obstacle()));
            if check {
                self.check_at = now + CHECK_EVERY;
            }
            return Ok(());
        }
        let first = !std::mem::replace(&mut self.begun, true);
        let due = self.retry_at.is_some_and(|at| now >= at) || now >= self.bridges_at;
        let idle = !news && self.has_idle_work();
        if first || news || due {
            self.enforce(look.since.filter(|_| news))?;
        } else if idle {
            self.idle()?;
        }
        if check {
            self.check_at = Instant::now() + CHECK_EVERY;
            self.check()?;
            // At the start too, whose load is the largest there is; and reading the kernel back takes some.
            palisade_heap::give_back();
        }
        Ok(())
    }

    /// Commits what the kernel does not have yet.
    fn enforce(&mut self, since: Option<Instant>) -> Result<(), RulesetError> {
        let now = Instant::now();
        let look_at_bridges = now >= self.bridges_at;
        if look_at_bridges {
            self.bridges_at = now + BRIDGES_EVERY;
        }
        self.retry_at = None;
        let was_in_step = self.enforcer.is_in_step();
        let delta = std::mem::take(&mut self.behind);
        let elements = delta.len();
        let result = self.enforcer.enforce(&self.compiler, delta, look_at_bridges);
        if result.is_ok() {
            self.report.enforced(since, elements, !was_in_step);
            self.report.facts(&self.enforcer);
            return Ok(());
        }
        self.judge_failure(result)
    }

    /// A failure is waited out, except at the start one that waiting does not mend.
    fn judge_failure(&mut self, result: Result<(), RulesetError>) -> Result<(), RulesetError> {
        let Err(error) = result else { return Ok(()) };
        self.enforcer.lose_step();
        self.retry_at = Some(Instant::now() + RETRY_AFTER);
        if is_hopeless(&error) && self.report.enforced_revision().is_none() {
            return Err(error);
        }
        self.report.state(state_of(&error), Some(error.to_string()));
        Ok(())
    }

    /// A piece of what nobody waits for.
    fn idle(&mut self) -> Result<(), RulesetError> {
        match self.enforcer.settle() {
            Ok(true) => Ok(()),
            Ok(false) => {
                let delta = self.compiler.tidy();
                self.report.sizes(&self.compiler);
                self.behind.then(delta);
                self.enforce(None)
            }
            Err(error) => self.judge_failure(Err(error)),
        }
    }

    /// Compares the kernel with the program, and heals.
    fn check(&mut self) -> Result<(), RulesetError> {
        if !self.enforcer.is_in_step() {
            return Ok(());
        }
        match self.enforcer.verify(&self.compiler) {
            Ok(differences) => {
                self.report.checked(&differences);
                if differences.is_empty() {
                    return Ok(());
                }
                self.enforcer.lose_step();
                self.enforce(None)
            }
            Err(error) => self.judge_failure(Err(error)),
        }
    }

    fn answer(&mut self, request: Request) -> Response {
        if !self.begun {
            let reason = self.inputs.obstacle();
            return Response::NotReady { reason };
        }
        match request {
            Request::Status => Response::Status(Box::new(self.report.status())),
            Request::Explain { from, to, protocol, port } => {
                let question = Question { from, to, protocol, port };
                match explain(&self.compiler, &question, self.node.as_deref()) {
                    Ok(explanation) => Response::Explanation(Box::new(explanation)),
                    Err(reason) => Response::Bad { reason },
                }
            }
            Request::Verify => self.verify(),
        }
    }

    fn verify(&mut self) -> Response {
        if !self.enforcer.is_in_step() {
            return Response::NotReady { reason: self.report.why_not() };
        }
        let differences = match self.enforcer.verify(&self.compiler) {
            Ok(differences) => differences,
            Err(error) => return Response::Failed { reason: error.to_string() },
        };
        self.report.checked(&differences);
        palisade_heap::give_back();
        if !differences.is_empty() {
            // The answer says what was found; healing comes with the next turn.
            self.enforcer.lose_step();
            self.retry_at = Some(Instant::now());
        }
        Response::Verified(Verified {
            revision: self.report.revision,
            elements: self.compiler.stats().elements,
            count: differences.len(),
            differences: differences.iter().take(MAX_TOLD).map(ToString::to_string).collect(),
        })
    }
}
