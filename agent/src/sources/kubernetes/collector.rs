//! What the watches found -> inputs of the loop, each with a bounded number of changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use palisade_compiler::parse::Severity;
use palisade_compiler::snapshot::{Change, ObjectKind};
use tokio::sync::mpsc::Receiver;

use super::fault_events::{PolicyFault, Reporter};
use super::local_namespaces::LocalNamespaces;
use super::watch::{Fate, Message, ObjectEvent};
use crate::inbox::{Ended, Input, MAX_DESCRIBED, Sender, SourceState};
use crate::sources::object::ObjectKey;
use crate::watch_state::{KubernetesState, WatchState};

/// Changes of one input at most.
const MAX_CHANGES: usize = 512;
/// Objects of which problems are kept at most; more are counted.
const MAX_PROBLEM_OBJECTS: usize = 1000;
/// How often at most the state is sent only because time went on.
const STATE_EVERY: Duration = Duration::from_secs(1);

type Problems = Vec<(Severity, String)>;

/// What is wrong with an object.
struct Noted {
    /// In or after which list of its kind it was found.
    list: u64,
    uid: String,
    problems: Problems,
}

/// Gathers what has come and hands it to the loop as one input. Where the loop is slow this waits, and the watches with it:
/// their connections fill, and the server waits.
pub(super) struct Collector {
    state: KubernetesState,
    problems: BTreeMap<ObjectKey, Noted>,
    /// Objects with problems that found no place above.
    unlisted: usize,
    /// How many lists of each kind began: of a list that ended, the problems of an earlier number are gone.
    lists: BTreeMap<ObjectKind, u64>,
    local: LocalNamespaces,
    reporter: Reporter,
    in_sync: Result<(), String>,
    sent: Option<(Arc<SourceState>, Instant)>,
    /// Whether the state says something new, beside when something was last heard.
    is_new: bool,
}

#[derive(Default)]
struct Batch {
    changes: Vec<Change>,
    described: Vec<String>,
    since: Option<Instant>,
}

impl Collector {
    /// For the node of that name.
    pub(super) fn new(
        server: String,
        node: String,
        watches: Vec<WatchState>,
        reporter: Reporter,
    ) -> Self {
        let mut collector = Self {
            state: KubernetesState { server, watches },
            problems: BTreeMap::new(),
            unlisted: 0,
            lists: BTreeMap::new(),
            local: LocalNamespaces::new(node),
            reporter,
            in_sync: Ok(()),
            sent: None,
            is_new: true,
        };
        collector.in_sync = collector.obstacle();
        collector
    }

    /// Goes on until the watches or the loop end.
    pub(super) fn run(mut self, mut messages: Receiver<Message>, inbox: &Sender) {
        if inbox.input(self.input(Batch::default())) == Err(Ended) {
            return;
        }
        while let Some(message) = messages.blocking_recv() {
            let mut batch = Batch::default();
            self.take(message, &mut batch);
            while batch.changes.len() < MAX_CHANGES
                && let Ok(message) = messages.try_recv()
            {
                self.take(message, &mut batch);
            }
            if !batch.changes.is_empty() || self.is_state_due() {
                let input = self.input(batch);
                if inbox.input(input) == Err(Ended) {
                    return;
                }
            }
        }
    }

    fn is_state_due(&self) -> bool {
        self.is_new || self.sent.as_ref().is_none_or(|(_, at)| at.elapsed() >= STATE_EVERY)
    }

    fn take(&mut self, message: Message, batch: &mut Batch) {
        match message {
            Message::BeginList(kind) => {
                *self.lists.entry(kind).or_default() += 1;
                self.set_listing(kind, true);
                if kind == ObjectKind::Pod {
                    self.local.clear();
                }
                batch.changes.push(Change::BeginReset(kind));
            }
            Message::EndList(kind) => {
                batch.changes.push(Change::EndReset(kind));
                self.set_listing(kind, false);
                let latest = self.lists.get(&kind).copied().unwrap_or_default();
                let before = self.problems.len();
                self.problems.retain(|key, noted| key.kind() != kind || noted.list >= latest);
                self.is_new |= self.problems.len() != before;
            }
            Message::Object(event) => self.object(*event, batch),
            Message::Bookmark(kind, at) => self.heard(kind, at),
            Message::State(state) => {
                let own = self.state.watches.iter_mut().find(|watch| watch.kind == state.kind);
                if let Some(own) = own {
                    let is_listing = own.is_listing || state.is_listing;
                    *own = WatchState { heard: own.heard, is_listing, ..state };
                }
                self.in_sync = self.obstacle();
                self.is_new = true;
            }
        }
    }

    fn object(&mut self, event: ObjectEvent, batch: &mut Batch) {
        let ObjectEvent { key, change, fate, uid, problems, at } = event;
        self.heard(key.kind(), at);
        if fate != Fate::Listed {
            batch.since.get_or_insert(at);
        }
        if batch.described.len() < MAX_DESCRIBED {
            batch.described.extend(describe(&key, fate));
        }
        let came = self.local.take(&key, &change);
        if let Some(namespace) = came.filter(|_| !self.problems.is_empty()) {
            self.report_all(&namespace);
        }
        self.note(key, uid, problems);
        batch.changes.push(change);
    }

    fn heard(&mut self, kind: ObjectKind, at: Instant) {
        let own = self.state.watches.iter_mut().find(|watch| watch.kind == kind);
        if let Some(own) = own {
            own.heard = Some(at);
        }
    }

    fn set_listing(&mut self, kind: ObjectKind, is_listing: bool) {
        let own = self.state.watches.iter_mut().find(|watch| watch.kind == kind);
        if let Some(own) = own {
            own.is_listing = is_listing;
            self.is_new = true;
        }
    }

    /// Notes what is wrong with an object, or that nothing is.
    fn note(&mut self, key: ObjectKey, uid: String, problems: Problems) {
        if problems.is_empty() {
            self.is_new |= self.problems.remove(&key).is_some();
            return;
        }
        let list = self.lists.get(&key.kind()).copied().unwrap_or_default();
        self.is_new = true;
        if self.problems.len() < MAX_PROBLEM_OBJECTS || self.problems.contains_key(&key) {
            let noted = Noted { list, uid, problems };
            self.report(&key, &noted);
            self.problems.insert(key, noted);
        } else {
            self.unlisted += 1;
        }
    }

    /// Reports the faults of all policies of a namespace that has a pod here from now on.
    fn report_all(&self, namespace: &str) {
        let is_of = |key: &ObjectKey| matches!(key, ObjectKey::Policy(policy) if &*policy.namespace == namespace);
        for (key, noted) in self.problems.iter().filter(|(key, _)| is_of(key)) {
            self.report(key, noted);
        }
    }

    /// Reports what of a policy is not enforced as it is written, if that may concern pods of this node.
    fn report(&self, key: &ObjectKey, noted: &Noted) {
        let ObjectKey::Policy(policy) = key else { return };
        if !self.local.has(&policy.namespace) {
            return;
        }
        let errors = noted.problems.iter().filter(|(severity, _)| *severity == Severity::Error);
        let notes: Vec<&str> = errors.map(|(_, what)| what.as_str()).collect();
        if !notes.is_empty() {
            let (key, uid) = (policy.clone(), noted.uid.clone());
            self.reporter.report(PolicyFault { key, uid, note: notes.join("; ") });
        }
    }

    fn input(&mut self, batch: Batch) -> Input {
        let state = match &self.sent {
            Some((state, at)) if !self.is_new && at.elapsed() < STATE_EVERY => Arc::clone(state),
            _ => {
                let state = Arc::new(self.source_state());
                self.sent = Some((Arc::clone(&state), Instant::now()));
                self.is_new = false;
                state
            }
        };
        let Batch { changes, described, since } = batch;
        Input { changes, described, since, in_sync: self.in_sync.clone(), state }
    }

    /// What is not known yet.
    fn obstacle(&self) -> Result<(), String> {
        let missing = || self.state.watches.iter().filter(|watch| watch.decides && !watch.in_sync);
        let resources: Vec<&str> = missing().map(WatchState::resource).collect();
        if resources.is_empty() {
            return Ok(());
        }
        let (server, resources) = (&self.state.server, resources.join(", "));
        Err(match missing().find_map(|watch| watch.outage.as_ref()) {
            Some(outage) => format!("{server} gave no list of {resources} yet: {}", outage.error),
            None => format!("{server} is asked for its {resources}"),
        })
    }

    fn source_state(&self) -> SourceState {
        let out = self.state.watches.iter().filter_map(|watch| {
            let outage = watch.outage.as_ref()?;
            let severity = if watch.decides { Severity::Error } else { Severity::Warning };
            let (server, resource) = (&self.state.server, watch.resource());
            let what = format!(
                "{server} cannot be asked for {resource}, and what is known of them stays in force: {}",
                outage.error
            );
            Some((severity, what))
        });
        let unlisted = (self.unlisted > 0).then(|| {
            let what = format!("{} more findings about objects are not listed", self.unlisted);
            (Severity::Error, what)
        });
        let of_objects = self.problems.values().flat_map(|noted| &noted.problems).cloned();
        SourceState {
            problems: out.chain(unlisted).chain(of_objects).collect(),
            kubernetes: Some(self.state.clone()),
            ..SourceState::default()
        }
    }
}

/// In words, as in `NetworkPolicy shop/db changed`; nothing of what is only listed.
fn describe(key: &ObjectKey, fate: Fate) -> Option<String> {
    let fate = match fate {
        Fate::Listed => return None,
        Fate::Added => "added",
        Fate::Changed => "changed",
        Fate::Removed => "removed",
    };
    Some(format!("{key} {fate}"))
}
