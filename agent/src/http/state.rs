//! What the page shows at first, and when something has changed: the status, the pods, and why a connection has its verdict.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::shared::Shared;
use crate::connection::Port;
use crate::protocol::{self, Request, Status};

/// The version of what `/api/v1` answers. Goes up when a field changes its meaning or goes.
pub(super) const API_VERSION: u32 = 1;

/// The answer of `/api/v1/state`.
#[derive(Debug, Serialize)]
struct Answer {
    version: u32,
    status: Box<Status>,
    /// `null` where they are those of the revision that the reader knows, and while nothing is known; the status says why.
    pods: Option<Arc<RawValue>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Known {
    /// The revision of the pods that the reader has.
    known: Option<u64>,
}

pub(super) async fn state(
    State(shared): State<Arc<Shared>>,
    Query(Known { known }): Query<Known>,
) -> Response {
    let revision = shared.server.status.look(|at| at.status.revision);
    let pods = match known {
        Some(known) if known == revision => None,
        _ => shared.pods.latest(&shared.server).await,
    };
    let protocol::Response::Status(status) = shared.server.answer(Request::Status).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    json(&Answer { version: API_VERSION, status, pods })
}

/// As on the command line of `palisade explain`.
#[derive(Debug, Deserialize)]
pub(super) struct Question {
    from: String,
    to: String,
    #[serde(default = "tcp")]
    protocol: String,
    port: Option<String>,
}

fn tcp() -> String {
    "TCP".to_owned()
}

pub(super) async fn explain(
    State(shared): State<Arc<Shared>>,
    Query(Question { from, to, protocol, port }): Query<Question>,
) -> Response {
    let port = match port.filter(|port| !port.is_empty()).map(|port| port.parse::<Port>()) {
        Some(Err(reason)) => return (StatusCode::BAD_REQUEST, reason).into_response(),
        Some(Ok(port)) => Some(port),
        None => None,
    };
    match shared.server.answer(Request::Explain { from, to, protocol, port }).await {
        protocol::Response::Explanation(explanation) => json(&explanation),
        protocol::Response::Bad { reason } => (StatusCode::BAD_REQUEST, reason).into_response(),
        protocol::Response::NotReady { reason } | protocol::Response::Failed { reason } => {
            (StatusCode::SERVICE_UNAVAILABLE, reason).into_response()
        }
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

pub(super) fn json(answer: &impl Serialize) -> Response {
    match serde_json::to_vec(answer) {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
