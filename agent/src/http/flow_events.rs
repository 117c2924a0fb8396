//! Flows as server-sent events, as they come, and each second how the agent is.
//!
//! | event | data |
//! |---|---|
//! | `flow` | a line of `palisade observe -o json` |
//! | `missed` | such a line too: so many flows were left out, since the reader was too slow |
//! | `status` | [`Summary`] |

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::connection::Lasting;
use super::shared::Shared;
use super::state::API_VERSION;
use crate::flows::counts::FlowCounts;
use crate::flows::filter::Filter;
use crate::flows::flow::{Flow, FlowVerdict, Line, LineContent};
use crate::flows::store::{MAX_DIVERGENCES, MAX_FLOWS, MAX_READERS, Subscription};
use crate::protocol;
use crate::published_status::PublishedStatus;

/// How often a reader hears how the agent is. A reader that hears nothing for longer is cut off, and can know it.
const STATUS_EVERY: Duration = Duration::from_secs(1);
/// All flows that are stored.
const MAX_SEEN: usize = 2 * MAX_FLOWS + MAX_DIVERGENCES;

#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    /// How many flows of those seen before, of each verdict.
    #[serde(default)]
    last: usize,
    /// Only flows of this verdict.
    verdict: Option<FlowVerdict>,
}

pub(super) async fn flows(
    State(shared): State<Arc<Shared>>,
    Extension(lasting): Extension<Lasting>,
    Query(Wanted { last, verdict }): Query<Wanted>,
) -> Response {
    let published = shared.server.status.clone();
    let filter = Filter { verdicts: verdict.into_iter().collect(), ..Filter::default() };
    let subscribed = published.flows.subscribe(if last == 0 { 0 } else { MAX_SEEN }, filter);
    let Some(mut subscription) = subscribed else {
        let reason = format!("{MAX_READERS} readers of flows are there already; end one of them\n");
        return (StatusCode::SERVICE_UNAVAILABLE, reason).into_response();
    };
    lasting.set();
    let latest = latest_of_each(std::mem::take(&mut subscription.latest), last);
    let mut status_at = interval(STATUS_EVERY);
    status_at.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let reader = Reader { published, subscription, latest, status_at };
    let events = stream::unfold(reader, |mut reader| async {
        let event = reader.next().await?;
        Some((Ok::<_, Infallible>(event), reader))
    });
    Sse::new(events).into_response()
}

/// The last so many of each verdict, in their order: allowed connections, of which there are most, leave room for denied ones.
fn latest_of_each(flows: Vec<Arc<Flow>>, last: usize) -> VecDeque<Arc<Flow>> {
    let (mut allowed, mut denied) = (0, 0);
    let is_late = |flow: &Arc<Flow>| {
        let count = match flow.verdict {
            FlowVerdict::Allow => &mut allowed,
            FlowVerdict::Deny => &mut denied,
        };
        *count += 1;
        *count <= last
    };
    let mut latest: VecDeque<_> = flows.into_iter().rev().filter(is_late).collect();
    latest.make_contiguous().reverse();
    latest
}

struct Reader {
    published: PublishedStatus,
    subscription: Subscription,
    /// Seen before and not sent yet.
    latest: VecDeque<Arc<Flow>>,
    status_at: Interval,
}

impl Reader {
    /// The next event; `None` where there will be none.
    async fn next(&mut self) -> Option<Event> {
        if let Some(flow) = self.latest.pop_front() {
            return event("flow", &Line::new(LineContent::Flow(&flow)));
        }
        let count = self.subscription.take_missed();
        if count > 0 {
            return event("missed", &Line::new(LineContent::Missed { count }));
        }
        tokio::select! {
            biased;
            _ = self.status_at.tick() => event("status", &Summary::of(&self.published)),
            flow = self.subscription.next() => event("flow", &Line::new(LineContent::Flow(&*flow?))),
        }
    }
}

fn event(name: &str, data: &impl Serialize) -> Option<Event> {
    Event::default().event(name).json_data(data).ok()
}

/// How the agent is, in few words.
#[derive(Debug, Serialize)]
struct Summary {
    version: u32,
    state: protocol::State,
    detail: Option<String>,
    doing: Option<String>,
    behind_seconds: Option<u64>,
    revision: u64,
    enforced_revision: u64,
    flows: FlowCounts,
}

impl Summary {
    fn of(published: &PublishedStatus) -> Self {
        let summary = published.look(|at| Self {
            version: API_VERSION,
            state: at.status.state,
            detail: at.status.detail.clone(),
            doing: at.status.doing.clone(),
            behind_seconds: at.behind_since.map(|since| since.elapsed().as_secs()),
            revision: at.status.revision,
            enforced_revision: at.status.enforced_revision,
            flows: FlowCounts::default(),
        });
        Self { flows: published.flows.counts(), ..summary }
    }
}
