//! One policy, one pod's matrix, and what an edit would change: parts of the loop's snapshot, judged off the loop.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::shared::Shared;
use super::state::{API_VERSION, json};
use crate::inbox::View;
use crate::policy_view::{PolicyView, policy_key};
use crate::what_if::{MAX_MANIFEST_BYTES, Proposal, Refused, WhatIf};

/// The largest body of a request, in bytes: a proposal with everything escaped.
pub(super) const MAX_BODY_BYTES: usize = 4 * MAX_MANIFEST_BYTES;

/// An answer of a version.
#[derive(Debug, Serialize)]
struct Versioned<T> {
    version: u32,
    #[serde(flatten)]
    content: T,
}

fn versioned<T: Serialize>(content: T) -> Response {
    json(&Versioned { version: API_VERSION, content })
}

fn bad(reason: String) -> Response {
    (StatusCode::BAD_REQUEST, reason).into_response()
}

fn unavailable(reason: String) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, reason).into_response()
}

#[derive(Debug, Deserialize)]
pub(super) struct Named {
    /// `namespace/name`
    name: String,
}

pub(super) async fn policy(
    State(shared): State<Arc<Shared>>,
    Query(Named { name }): Query<Named>,
) -> Response {
    let key = match policy_key(&name) {
        Ok(key) => key,
        Err(reason) => return bad(reason),
    };
    let look = move |view: View<'_>| PolicyView::of(view.snapshot, view.revision, &key);
    match shared.server.look(look).await {
        Ok(Some(view)) => versioned(view.with_hits(&shared.server.status.flows.hits)),
        Ok(None) => (StatusCode::NOT_FOUND, format!("there is no policy {name}")).into_response(),
        Err(reason) => unavailable(reason),
    }
}

pub(super) async fn reach(
    State(shared): State<Arc<Shared>>,
    Query(Named { name }): Query<Named>,
) -> Response {
    match shared.server.reach(name).await {
        Ok(Ok(reach)) => versioned(reach),
        Ok(Err(reason)) => bad(reason),
        Err(reason) => unavailable(reason),
    }
}

/// An answer either way, since the one who asks wants to know what is wrong.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    WhatIf(Box<WhatIf>),
    Refused(Refused),
}

pub(super) async fn what_if(
    State(shared): State<Arc<Shared>>,
    Json(proposal): Json<Proposal>,
) -> Response {
    match shared.server.what_if(proposal).await {
        Ok(Ok(answer)) => versioned(Outcome::WhatIf(Box::new(answer))),
        Ok(Err(refused)) => versioned(Outcome::Refused(refused)),
        Err(reason) => unavailable(reason),
    }
}
