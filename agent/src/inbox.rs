//! The loop's inbox: what sources found, what clients ask, that the kernel's links changed, and the end of the process.
//!
//! ```text
//! source  --Input-->  +-------+
//! client  --Ask---->  | Inbox |  --take-->  loop
//! page    --Look--->  |       |
//! denied  --Batch-->  |       |
//! kernel  --------->  |       |
//! signal  --------->  +-------+
//! ```
//!
//! Each kind waits in a queue of its own with a bound of its own, so that none keeps another out. A source waits where its
//! queue is full (what happens meanwhile gathers where the source looks for it), a client is refused. Of denied packets one
//! batch waits: who sends it waits for its answer. That links changed, and that the process should end, are flags.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use palisade_compiler::parse::Severity;
use palisade_compiler::snapshot::{Change, Snapshot};
use tokio::sync::oneshot;

use crate::flows::observation::Batch;
use crate::protocol::{Request, Response};
use crate::watch_state::KubernetesState;

/// Inputs that wait at most.
pub const MAX_INPUTS: usize = 8;
/// Questions that wait at most.
pub const MAX_ASKS: usize = 64;
/// Changes that an input describes in words.
pub const MAX_DESCRIBED: usize = 3;

/// What a source found since the last input.
#[derive(Debug)]
pub struct Input {
    /// In order. Those that come before the source is in sync are compiled when it is.
    pub changes: Vec<Change>,
    /// The first `MAX_DESCRIBED` of them in words, as in `NetworkPolicy shop/db changed (shop/db.yaml)`.
    pub described: Vec<String>,
    /// When the first event came that led to the changes; `None` where no event did.
    pub since: Option<Instant>,
    /// Whether the source has given everything that is declared once; if not, what it waits for.
    pub in_sync: Result<(), String>,
    pub state: Arc<SourceState>,
}

/// How a source is now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceState {
    pub files: usize,
    /// Files of which an earlier version is enforced than what they hold now.
    pub held: Vec<HeldFile>,
    /// What a human should mend or know.
    pub problems: Vec<(Severity, String)>,
    /// Of the API source.
    pub kubernetes: Option<KubernetesState>,
}

impl SourceState {
    /// Whether a server is asked for everything, and answers.
    pub fn is_listing(&self) -> bool {
        self.kubernetes.as_ref().is_some_and(|state| state.outage().is_none())
    }

    /// Whether what verdicts depend on may have changed without the source having heard of it, after it was in sync.
    pub fn is_behind(&self) -> bool {
        self.kubernetes.as_ref().is_some_and(KubernetesState::is_behind)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeldFile {
    pub file: String,
    /// A predicate, as in `is being written`.
    pub reason: String,
    pub since: Instant,
}

/// A question of a client.
#[derive(Debug)]
pub struct Ask {
    pub question: Request,
    pub answer: oneshot::Sender<Response>,
}

/// What the loop has, for somebody who looks at it.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    pub snapshot: &'a Snapshot,
    /// The revision of the snapshot.
    pub revision: u64,
    /// The node whose policies the agent enforces; all are where there is none.
    pub node: Option<&'a str>,
}

/// A look at what the loop has. The loop does nothing else meanwhile: it takes a copy of a bounded part, which is judged
/// elsewhere. It is dropped where there is nothing to look at yet.
pub struct Look(Box<dyn FnOnce(View<'_>) + Send>);

impl Look {
    pub fn new(look: impl FnOnce(View<'_>) + Send + 'static) -> Self {
        Self(Box::new(look))
    }

    pub fn at(self, view: View<'_>) {
        (self.0)(view);
    }
}

impl fmt::Debug for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Look")
    }
}

/// Why a question was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// `MAX_ASKS` wait.
    Full,
    Ended(Ended),
}

/// The loop ended, or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended;

#[derive(Debug, Default)]
struct Queues {
    inputs: VecDeque<Input>,
    asks: VecDeque<Ask>,
    looks: VecDeque<Look>,
    batch: Option<Batch>,
    /// Links, addresses or routes of the network namespace changed.
    links_changed: bool,
    /// Another thread of the loop has something for it.
    woken: bool,
    shutdown: bool,
    /// Whether the receiver is gone.
    ended: bool,
}

#[derive(Debug, Default)]
struct Shared {
    queues: Mutex<Queues>,
    /// Something came.
    arrived: Condvar,
    /// Inputs were taken, or the receiver is gone.
    taken: Condvar,
}

impl Shared {
    fn queues(&self) -> MutexGuard<'_, Queues> {
        // A panic elsewhere leaves the queues whole.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes an inbox with its two ends.
pub fn inbox() -> (Sender, Inbox) {
    let shared = Arc::new(Shared::default());
    (Sender(Arc::clone(&shared)), Inbox(shared))
}

/// Puts things into the inbox.
#[derive(Debug, Clone)]
pub struct Sender(Arc<Shared>);

impl Sender {
    /// Waits as long as `MAX_INPUTS` wait.
    ///
    /// # Errors
    ///
    /// `Ended`: nobody takes inputs any more.
    pub fn input(&self, input: Input) -> Result<(), Ended> {
        let mut queues = self.0.queues();
        while queues.inputs.len() >= MAX_INPUTS && !queues.ended {
            queues = self.0.taken.wait(queues).unwrap_or_else(PoisonError::into_inner);
        }
        if queues.ended {
            return Err(Ended);
        }
        queues.inputs.push_back(input);
        self.0.arrived.notify_one();
        Ok(())
    }

    /// # Errors
    ///
    /// `Refused`: nobody answers this question.
    pub fn ask(&self, ask: Ask) -> Result<(), Refused> {
        self.offer(ask, |queues| &mut queues.asks)
    }

    /// Has somebody look at what the loop has.
    ///
    /// # Errors
    ///
    /// `Refused`: there will be no look.
    pub fn look(&self, look: Look) -> Result<(), Refused> {
        self.offer(look, |queues| &mut queues.looks)
    }

    /// Puts something into a queue that is bounded by `MAX_ASKS`.
    fn offer<T>(
        &self,
        item: T,
        queue: impl FnOnce(&mut Queues) -> &mut VecDeque<T>,
    ) -> Result<(), Refused> {
        let mut queues = self.0.queues();
        if queues.ended {
            return Err(Refused::Ended(Ended));
        }
        let queue = queue(&mut queues);
        if queue.len() >= MAX_ASKS {
            return Err(Refused::Full);
        }
        queue.push_back(item);
        self.0.arrived.notify_one();
        Ok(())
    }

    /// Has packets or connections judged, in the place of a batch that waits: there is one at a time.
    ///
    /// # Errors
    ///
    /// `Ended`: nobody judges any more.
    pub fn judge(&self, batch: Batch) -> Result<(), Ended> {
        let mut queues = self.0.queues();
        if queues.ended {
            return Err(Ended);
        }
        queues.batch = Some(batch);
        self.0.arrived.notify_one();
        Ok(())
    }

    /// Notes that links, addresses or routes changed. A flag: it takes no place in a queue.
    ///
    /// # Errors
    ///
    /// `Ended`: nobody looks any more.
    pub fn links_changed(&self) -> Result<(), Ended> {
        let mut queues = self.0.queues();
        if queues.ended {
            return Err(Ended);
        }
        queues.links_changed = true;
        self.0.arrived.notify_one();
        Ok(())
    }

    /// Asks the loop to end.
    pub fn shut_down(&self) {
        self.0.queues().shutdown = true;
        self.0.arrived.notify_one();
    }
}

/// What was in the inbox.
#[derive(Debug, Default)]
pub struct Contents {
    pub inputs: Vec<Input>,
    pub asks: Vec<Ask>,
    pub looks: Vec<Look>,
    /// Packets or connections to be judged.
    pub batch: Option<Batch>,
    /// Whether links, addresses or routes changed.
    pub links_changed: bool,
    /// Whether the loop should end.
    pub shutdown: bool,
}

/// Takes things out of the inbox.
#[derive(Debug)]
pub struct Inbox(Arc<Shared>);

impl Inbox {
    /// What ends a `take` that waits, for threads that have something for the loop elsewhere. A flag: it takes no place in a
    /// queue.
    pub fn waker(&self) -> impl Fn() + Send + Sync + 'static {
        let shared = Arc::clone(&self.0);
        move || {
            shared.queues().woken = true;
            shared.arrived.notify_one();
        }
    }

    /// Takes all there is, or waits for something until the deadline.
    pub fn take(&self, deadline: Instant) -> Contents {
        let mut queues = self.wait(deadline, |q| {
            !q.inputs.is_empty() || q.links_changed || q.woken || q.batch.is_some()
        });
        queues.woken = false;
        let contents = Contents {
            inputs: queues.inputs.drain(..).collect(),
            asks: queues.asks.drain(..).collect(),
            looks: queues.looks.drain(..).collect(),
            batch: queues.batch.take(),
            links_changed: std::mem::take(&mut queues.links_changed),
            shutdown: queues.shutdown,
        };
        self.0.taken.notify_all();
        contents
    }

    /// As `take`, but leaves the inputs and the denied packets, for a time at which nothing can be done with them.
    pub fn take_asks(&self, deadline: Instant) -> Contents {
        let mut queues = self.wait(deadline, |_| false);
        let asks = queues.asks.drain(..).collect();
        let looks = queues.looks.drain(..).collect();
        Contents { asks, looks, shutdown: queues.shutdown, ..Contents::default() }
    }

    fn wait(&self, deadline: Instant, or: impl Fn(&Queues) -> bool) -> MutexGuard<'_, Queues> {
        let mut queues = self.0.queues();
        while queues.asks.is_empty() && queues.looks.is_empty() && !queues.shutdown && !or(&queues)
        {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.0.arrived.wait_timeout(queues, left);
            (queues, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        queues
    }
}

impl Drop for Inbox {
    /// Frees whoever waits: sources by the flag, clients by their dropped answers.
    fn drop(&mut self) {
        let mut queues = self.0.queues();
        queues.ended = true;
        queues.inputs.clear();
        queues.asks.clear();
        queues.looks.clear();
        queues.batch = None;
        self.0.taken.notify_all();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    fn input(files: usize) -> Input {
        let state = SourceState { files, ..SourceState::default() };
        Input {
            changes: Vec::new(),
            described: Vec::new(),
            since: None,
            in_sync: Ok(()),
            state: Arc::new(state),
        }
    }

    fn ask() -> (Ask, oneshot::Receiver<Response>) {
        let (answer, receiver) = oneshot::channel();
        (Ask { question: Request::Verify, answer }, receiver)
    }

    #[test]
    fn a_source_that_waits_for_room_keeps_no_question_out() {
        let (sender, inbox) = inbox();
        for files in 0..MAX_INPUTS {
            sender.input(input(files)).unwrap();
        }
        let source = std::thread::spawn({
            let sender = sender.clone();
            move || sender.input(input(MAX_INPUTS))
        });
        for _ in 0..MAX_ASKS {
            sender.ask(ask().0).unwrap();
        }
        assert_eq!(sender.ask(ask().0), Err(Refused::Full));
        let later = Instant::now() + Duration::from_secs(30);
        assert_eq!(inbox.take_asks(later).asks.len(), MAX_ASKS);
        sender.ask(ask().0).unwrap();
        let mut files = Vec::new();
        while files.len() <= MAX_INPUTS {
            files.extend(inbox.take(later).inputs.iter().map(|input| input.state.files));
        }
        assert_eq!(files, (0..=MAX_INPUTS).collect::<Vec<_>>());
        assert_eq!(source.join().unwrap(), Ok(()));
    }

    #[test]
    fn the_end_of_the_loop_frees_all_who_wait_for_it() {
        let (sender, inbox) = inbox();
        for files in 0..MAX_INPUTS {
            sender.input(input(files)).unwrap();
        }
        let source = std::thread::spawn({
            let sender = sender.clone();
            move || sender.input(input(0))
        });
        let (question, mut answer) = ask();
        sender.ask(question).unwrap();
        sender.shut_down();
        assert!(inbox.take_asks(Instant::now()).shutdown);
        drop(inbox);
        assert_eq!(source.join().unwrap(), Err(Ended));
        assert!(answer.try_recv().is_err());
        assert_eq!(sender.ask(ask().0), Err(Refused::Ended(Ended)));
    }

    #[test]
    fn denied_packets_wait_for_a_turn_and_their_sender_is_freed_at_the_end() {
        let (sender, inbox) = inbox();
        let send = || {
            let (answer, judged) = mpsc::channel();
            let sent = sender.judge(Batch::Denied { observations: Vec::new(), answer });
            (sent, judged)
        };
        let (sent, _judged) = send();
        assert_eq!(sent, Ok(()));
        let later = Instant::now() + Duration::from_secs(30);
        assert!(inbox.take_asks(Instant::now()).batch.is_none(), "nothing can be judged by yet");
        assert!(inbox.take(later).batch.is_some());
        let (_, judged) = send();
        drop(inbox);
        assert!(judged.recv().is_err());
        assert_eq!(send().0, Err(Ended));
    }

    #[test]
    fn taking_ends_at_the_deadline() {
        let (_sender, inbox) = inbox();
        let contents = inbox.take(Instant::now() + Duration::from_millis(5));
        assert!(contents.inputs.is_empty() && contents.asks.is_empty() && !contents.shutdown);
    }
}
