//! What the linter finds, for readers of the page: looked for anew once objects have changed, and not too often.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use palisade_compiler::lint::Finding;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::Mutex;

use super::shared::Shared;
use super::state::{API_VERSION, json};
use crate::findings::{LostMatch, UsageStatus};
use crate::protocol::{self, Request};
use crate::socket::server::Server;

/// Findings that are sent, the most severe; the rest is counted.
pub(super) const MAX_SENT: usize = 500;
/// How many times as long as a look took its findings are kept at least: the loop looks, and does nothing else meanwhile.
const KEPT_FOR: u32 = 20;

#[derive(Debug, Serialize)]
struct Answer {
    version: u32,
    /// The revision of the objects that were looked at; later ones may have come meanwhile.
    revision: u64,
    /// By object and code.
    findings: Vec<Finding>,
    further: usize,
    /// Accepted by annotations.
    ignored: usize,
    lost_matches: Vec<LostMatch>,
}

/// The last answer.
#[derive(Debug, Clone)]
struct Kept {
    revision: u64,
    /// How often something had lost its match.
    lost_matches: u64,
    usage: UsageStatus,
    until: Instant,
    json: Arc<RawValue>,
}

#[derive(Debug, Default)]
pub(super) struct FindingLists(Mutex<Option<Kept>>);

impl FindingLists {
    /// # Errors
    ///
    /// Why there is none: a sentence.
    async fn latest(&self, server: &Server) -> Result<Arc<RawValue>, String> {
        // Others wait, and find what this reader gets.
        let mut kept = self.0.lock().await;
        let (revision, lost_matches, usage) = server.status.look(|at| {
            let lint = &at.status.lint;
            (at.status.revision, lint.lost_matches, lint.usage.clone())
        });
        if let Some(found) = kept.as_ref()
            && ((found.revision, found.lost_matches, &found.usage)
                == (revision, lost_matches, &usage)
                || Instant::now() < found.until)
        {
            return Ok(Arc::clone(&found.json));
        }
        let began = Instant::now();
        let found = match server.answer(Request::Lint).await {
            protocol::Response::Findings(found) => *found,
            protocol::Response::NotReady { reason } | protocol::Response::Failed { reason } => {
                return Err(reason);
            }
            _ => return Err("the agent does not answer".to_owned()),
        };
        let took = began.elapsed().max(Duration::from_millis(1));
        let further = found.report.further();
        let mut findings = found.report.findings;
        let cut = findings.len().saturating_sub(MAX_SENT);
        if cut > 0 {
            findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
            findings.truncate(MAX_SENT);
        }
        let answer = Answer {
            version: API_VERSION,
            revision,
            findings,
            further: further + cut,
            ignored: found.report.ignored,
            lost_matches: found.lost_matches,
        };
        let json = to_raw_value(&answer).map(Arc::from).map_err(|error| error.to_string())?;
        let until = Instant::now() + took * KEPT_FOR;
        *kept = Some(Kept { revision, lost_matches, usage, until, json: Arc::clone(&json) });
        Ok(json)
    }
}

pub(super) async fn lint(State(shared): State<Arc<Shared>>) -> Response {
    match shared.findings.latest(&shared.server).await {
        Ok(found) => json(&found),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason).into_response(),
    }
}
