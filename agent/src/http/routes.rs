//! What each path answers. No request changes anything; the body of `what-if` is a question.
//!
//! Metrics and health are for whoever reaches the listener, since probes and Prometheus name the host as they like; what the page
//! shows, which names pods, is for those whom `access` lets.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::access::Access;
use super::findings::{FindingLists, lint};
use super::flow_events::flows;
use super::page::{CONTENT_SECURITY_POLICY, files};
use super::pod_lists::PodLists;
use super::shared::Shared;
use super::state::{explain, state};
use super::views::{MAX_BODY_BYTES, policy, reach, what_if};
use crate::health;
use crate::metrics::exposition::{CONTENT_TYPE, Exposition};
use crate::socket::server::Server;

pub(super) fn router(server: Server, access: Access) -> Router {
    let exposition = Exposition::new(&server.status);
    let data = Router::new()
        .route("/api/v1/state", get(state))
        .route("/api/v1/explain", get(explain))
        .route("/api/v1/flows", get(flows))
        .route("/api/v1/lint", get(lint))
        .route("/api/v1/policy", get(policy))
        .route("/api/v1/reach", get(reach))
        .route("/api/v1/what-if", post(what_if))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .route_layer(from_fn_with_state(access.clone(), check));
    let page = files().route_layer(from_fn_with_state(access, check_host));
    let open = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz));
    let shared =
        Shared { server, pods: PodLists::default(), findings: FindingLists::default(), exposition };
    open.merge(page).merge(data).layer(from_fn(guard)).with_state(Arc::new(shared))
}

async fn check(State(access): State<Access>, request: Request, next: Next) -> Response {
    match access.check(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

async fn check_host(State(access): State<Access>, request: Request, next: Next) -> Response {
    match access.check_host(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

/// Tells browsers to do nothing with an answer but what the page does.
async fn guard(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let set = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    for (name, value) in set {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], shared.exposition.text()).into_response()
}

async fn healthz(State(shared): State<Arc<Shared>>) -> Response {
    let published = &shared.server.status;
    answer(published.look(|at| health::liveness(&published.heartbeat, at)))
}

async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    answer(shared.server.status.look(health::readiness))
}

fn answer(health: Result<String, String>) -> Response {
    match health {
        Ok(text) => text.into_response(),
        Err(text) => (StatusCode::SERVICE_UNAVAILABLE, text).into_response(),
    }
}
