//! The watch of one kind: lists it, follows what happens, and goes on after every failure.
//!
//! ```text
//!  no version --streaming list, or paged list--> version --watch--> version --watch--> ...
//!      ^                                                    |
//!      +------------- the server forgot the version --------+
//! ```
//!
//! A list is sent as a reset: its objects one by one between `BeginList` and `EndList`, so that nobody holds it whole.

use std::borrow::Cow;
use std::convert::Infallible;
use std::io;
use std::time::{Duration, Instant};

use futures_util::io::{AsyncBufRead, AsyncBufReadExt as _};
use palisade_compiler::parse::Severity;
use palisade_compiler::snapshot::{Change, ObjectKind};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::access::ApiServer;
use super::failure::Failure;
use super::items::{ListReader, TooLarge};
use super::kind::WatchedKind;
use super::lines::Lines;
use super::objects;
use super::request::{GetRequest, ListFrom};
use super::retry::{Retry, jitter};
use crate::sources::object::ObjectKey;
use crate::watch_state::{Outage, WatchState};

/// Within how long the server must begin to answer, and go on with a list.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How long a streaming list may pause, and how long it may be waited for in all, before a paged list is taken instead.
const STREAM_PAUSE: Duration = Duration::from_secs(10);
const STREAM_WITHIN: Duration = Duration::from_secs(180);
/// After how long without an event or a bookmark, which comes every minute, a watch is begun anew: its connection may be dead.
const QUIET_AT_MOST: Duration = Duration::from_secs(150);
/// How long the server is asked to go on with a watch, in seconds: at least, and the range above it, so that not all end at once.
const WATCH_SECONDS: (u64, u64) = (240, 240);
/// The first requests of agents that start at once are spread over this time.
const START_WITHIN: Duration = Duration::from_millis(500);
/// How often it is tried again whether an optional kind may be read.
const ASK_PERMISSION_EVERY: Duration = Duration::from_secs(600);

/// What a watch found.
#[derive(Debug)]
pub(super) enum Message {
    /// A list of the kind begins: what is not in it is gone when it ends.
    BeginList(ObjectKind),
    EndList(ObjectKind),
    Object(Box<ObjectEvent>),
    /// Nothing happened until now.
    Bookmark(ObjectKind, Instant),
    State(WatchState),
}

/// What happened to an object, or that it is in a list.
#[derive(Debug)]
pub(super) struct ObjectEvent {
    pub(super) key: ObjectKey,
    pub(super) change: Change,
    pub(super) fate: Fate,
    /// Empty where there are no problems.
    pub(super) uid: String,
    pub(super) problems: Vec<(Severity, String)>,
    pub(super) at: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Listed,
    Added,
    Changed,
    Removed,
}

/// Nobody takes messages any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Closed;

enum End {
    Closed,
    Failed(Failure),
}

impl From<Closed> for End {
    fn from(_: Closed) -> Self {
        Self::Closed
    }
}

macro_rules! failed_by {
    ($($error:ty),* $(,)?) => {$(
        impl From<$error> for End {
            fn from(error: $error) -> Self {
                Self::Failed(error.into())
            }
        }
    )*};
}

failed_by!(Failure, io::Error, serde_json::Error, kube::Error, http::Error, TooLarge);

pub(super) struct Watch {
    server: ApiServer,
    of: WatchedKind,
    messages: mpsc::Sender<Message>,
    state: WatchState,
    /// From which to go on; `None` if everything must be listed.
    version: Option<String>,
    /// The newest that was seen: no list may be older.
    newest: Option<String>,
    /// Whether the server is believed to have streaming lists.
    streams_lists: bool,
    retry: Retry,
    /// Whether anything came since the last request.
    has_heard: bool,
}

impl Watch {
    pub(super) fn new(server: ApiServer, of: WatchedKind, messages: mpsc::Sender<Message>) -> Self {
        let state = WatchState::new(of.kind, of.decides);
        Self {
            server,
            of,
            messages,
            state,
            version: None,
            newest: None,
            streams_lists: true,
            retry: Retry::default(),
            has_heard: false,
        }
    }

    /// Follows the kind until nobody takes its messages.
    pub(super) async fn run(mut self) -> Closed {
        match self.follow().await {
            Ok(never) => match never {},
            Err(closed) => closed,
        }
    }

    async fn follow(&mut self) -> Result<Infallible, Closed> {
        sleep(jitter(START_WITHIN)).await;
        loop {
            let began = Instant::now();
            self.has_heard = false;
            let pause = match self.go_on().await {
                Ok(()) if self.has_heard => Duration::ZERO,
                Ok(()) => self.retry.after_silent_end(began.elapsed()),
                Err(End::Closed) => return Err(Closed),
                Err(End::Failed(failure)) => self.failed(&failure).await?,
            };
            sleep(pause).await;
        }
    }

    /// Lists or watches, until the server ends it.
    async fn go_on(&mut self) -> Result<(), End> {
        if let Some(version) = &self.version {
            let request = self.of.watch(version, watch_seconds())?;
            return self.stream(request, false).await;
        }
        if self.streams_lists {
            let request = self.of.streaming_list(self.newest.as_deref(), watch_seconds())?;
            match self.stream(request, true).await {
                Err(End::Failed(failure))
                    if self.version.is_none() && failure.refuses_streaming_list() =>
                {
                    tracing::debug!(
                        "no streaming list of {}: {failure}; listing it in pages",
                        self.state.resource()
                    );
                    self.count(&failure);
                    self.streams_lists = false;
                }
                other => return other,
            }
        }
        let result = self.list().await;
        // Whoever may not list may not stream either, which says nothing about the server.
        self.streams_lists |=
            matches!(&result, Err(End::Failed(failure)) if failure.is_forbidden());
        result
    }

    /// Follows a watch. `is_list` says that it begins with every object that there is.
    async fn stream(&mut self, request: GetRequest, is_list: bool) -> Result<(), End> {
        let mut lines = Lines::new(Box::pin(self.send(request).await?));
        if is_list {
            self.tell(Message::BeginList(self.of.kind)).await?;
        }
        let (mut in_list, mut waited) = (is_list, Duration::ZERO);
        loop {
            let began = Instant::now();
            let patience = if in_list { STREAM_PAUSE } else { QUIET_AT_MOST };
            let line = match timeout(patience, lines.next()).await {
                Ok(line) => line?,
                Err(_) if in_list => return Err(Failure::NoEnd.into()),
                Err(_) => return Ok(()),
            };
            waited += began.elapsed();
            let Some(line) = line else {
                return if in_list { Err(cut("a streaming list").into()) } else { Ok(()) };
            };
            let ends_list = self.event(line, in_list).await?;
            in_list &= !ends_list;
            if in_list && waited > STREAM_WITHIN {
                return Err(Failure::NoEnd.into());
            }
        }
    }

    /// Takes in an event. Returns whether it ends the list that the watch began with.
    async fn event(&mut self, line: &[u8], in_list: bool) -> Result<bool, End> {
        #[derive(Deserialize)]
        struct Event<'a> {
            #[serde(rename = "type", borrow)]
            kind: Cow<'a, str>,
            #[serde(borrow)]
            object: &'a RawValue,
        }
        let event: Event<'_> = serde_json::from_slice(line)?;
        let json = event.object.get();
        let fate = match &*event.kind {
            "ADDED" if in_list => Fate::Listed,
            "ADDED" => Fate::Added,
            "MODIFIED" => Fate::Changed,
            "DELETED" => Fate::Removed,
            "BOOKMARK" => {
                let (version, is_end) = objects::bookmark(json)?;
                if in_list && is_end {
                    self.listed(version).await?;
                    return Ok(true);
                }
                self.heard(in_list, version);
                self.tell(Message::Bookmark(self.of.kind, Instant::now())).await?;
                return Ok(false);
            }
            "ERROR" => return Err(Failure::Refused(serde_json::from_str(json)?).into()),
            other => {
                let message = format!("the server sent an event of the unknown type {other:?}");
                return Err(Failure::Garbled(message).into());
            }
        };
        let version = self.object(json, fate).await?;
        self.heard(in_list, version);
        Ok(false)
    }

    /// Lists everything, in pages.
    async fn list(&mut self) -> Result<(), End> {
        let request = self.of.list(ListFrom::Version(self.newest.as_deref()))?;
        let body = self.send(request).await?;
        self.tell(Message::BeginList(self.of.kind)).await?;
        let first = self.page(body).await?;
        let mut next = first.next;
        while let Some(token) = next.filter(|token| !token.is_empty()) {
            let body = self.send(self.of.list(ListFrom::Page(&token))?).await?;
            next = self.page(body).await?.next;
        }
        self.listed(first.resource_version).await
    }

    async fn page(&mut self, body: impl AsyncBufRead) -> Result<PageMetadata, End> {
        #[derive(Deserialize)]
        struct Page {
            metadata: PageMetadata,
        }
        let mut body = Box::pin(body);
        let mut reader = ListReader::new(self.of.item_begin);
        loop {
            let filled = timeout(ANSWER_WITHIN, body.fill_buf()).await;
            let piece = filled.map_err(|_elapsed| Failure::Silent(ANSWER_WITHIN))??;
            if piece.is_empty() {
                break;
            }
            let (taken, item) = reader.take(piece)?;
            if let Some(item) = item {
                let json = std::str::from_utf8(item)
                    .map_err(|error| Failure::Garbled(format!("an object is no text: {error}")))?;
                self.object(json, Fate::Listed).await?;
                reader.done();
            }
            body.as_mut().consume(taken);
        }
        match serde_json::from_slice::<Page>(reader.rest()) {
            Ok(page) => Ok(page.metadata),
            Err(error) if error.is_eof() => Err(cut("a list").into()),
            Err(error) => Err(error.into()),
        }
    }

    /// Hands on what an object means. Returns its version.
    async fn object(&mut self, json: &str, fate: Fate) -> Result<String, End> {
        let at = Instant::now();
        let metadata = objects::metadata(json)?;
        let key = objects::key(self.of.kind, &metadata);
        let (change, problems) = match fate {
            Fate::Removed => (objects::deletion(key.clone(), &metadata), Vec::new()),
            Fate::Listed | Fate::Added | Fate::Changed => {
                let objects::Read { change, problems } = objects::read(&key, json);
                (change, problems)
            }
        };
        let uid = if problems.is_empty() { String::new() } else { metadata.uid.into_owned() };
        let event = ObjectEvent { key, change, fate, uid, problems, at };
        self.tell(Message::Object(Box::new(event))).await?;
        Ok(metadata.resource_version.into_owned())
    }

    /// Sends a request; its answer ends an outage.
    async fn send(&mut self, request: GetRequest) -> Result<impl AsyncBufRead + use<>, End> {
        let answer = timeout(ANSWER_WITHIN, self.server.client.request_stream(request)).await;
        let body = answer.map_err(|_elapsed| Failure::Silent(ANSWER_WITHIN))??;
        let ended = self.state.outage.take();
        if ended.is_some() || !self.state.is_permitted {
            self.state.is_permitted = true;
            self.tell(Message::State(self.state.clone())).await?;
        }
        if let Some(outage) = ended.filter(|_| self.state.in_sync) {
            tracing::info!(
                "{} are watched again, after {} s",
                self.state.resource(),
                outage.since.elapsed().as_secs()
            );
        }
        Ok(body)
    }

    /// Something came that was handed on. Within a list there is no version to go on from.
    fn heard(&mut self, in_list: bool, version: String) {
        self.has_heard = true;
        self.retry.succeeded();
        if !in_list && !version.is_empty() {
            self.version = Some(version);
        }
    }

    /// Every object was listed.
    async fn listed(&mut self, version: String) -> Result<(), End> {
        self.has_heard = true;
        self.retry.succeeded();
        self.version = Some(version);
        self.state.lists += 1;
        self.state.is_listing = false;
        self.state.in_sync = true;
        self.tell(Message::EndList(self.of.kind)).await?;
        self.tell(Message::State(self.state.clone())).await?;
        Ok(())
    }

    fn count(&mut self, failure: &Failure) {
        *self.state.errors.entry(failure.kind()).or_default() += 1;
    }

    /// Notes a failure. Returns how long to wait.
    async fn failed(&mut self, failure: &Failure) -> Result<Duration, Closed> {
        self.count(failure);
        let resource = self.state.resource();
        let is_lasting = failure.is_forbidden() && !self.of.decides;
        if failure.is_gone() {
            tracing::info!("{resource} are listed anew: {failure}");
            self.newest = self.version.take().or(self.newest.take());
            // From now until the list has ended it is not known what happened.
            self.state.is_listing = true;
        } else if is_lasting {
            if self.state.is_permitted {
                tracing::info!("{resource} may not be read, so that explain does not know them");
            }
            self.state.is_permitted = false;
        } else {
            let since = self.state.outage.as_ref().map_or_else(Instant::now, |out| out.since);
            self.state.outage = Some(Outage { since, error: failure.to_string() });
        }
        if self.version.is_none() && failure.refuses_version() && !failure.is_gone() {
            self.newest = None;
        }
        self.tell(Message::State(self.state.clone())).await?;
        let pause = self.retry.after_failure();
        let asked = failure.retry_after().unwrap_or_default();
        Ok(if is_lasting { ASK_PERMISSION_EVERY } else { pause.max(asked) })
    }

    async fn tell(&self, message: Message) -> Result<(), Closed> {
        self.messages.send(message).await.map_err(|_closed| Closed)
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageMetadata {
    resource_version: String,
    #[serde(rename = "continue")]
    next: Option<String>,
}

fn cut(what: &str) -> Failure {
    Failure::Connection(format!("{what} was cut short"))
}

fn watch_seconds() -> u64 {
    let (least, range) = WATCH_SECONDS;
    least + jitter(Duration::from_secs(range)).as_secs()
}
