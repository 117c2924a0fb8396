//! What each path answers. No request changes anything, and none has a body that is read.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::health;
use crate::metrics::exposition::{CONTENT_TYPE, Exposition};
use crate::published_status::PublishedStatus;

const INDEX: &str = "\
/metrics  what is measured, for Prometheus (OpenMetrics 1.0)
/healthz  200 while the process is alive, else 503 with what it hangs in
/readyz   200 once what the latest objects mean is enforced, else 503 with what is waited for
";

/// What the answers come from.
#[derive(Debug)]
struct Shared {
    published: PublishedStatus,
    exposition: Exposition,
}

pub(super) fn router(published: PublishedStatus) -> Router {
    let exposition = Exposition::new(&published);
    Router::new()
        .route("/", get(|| async { INDEX }))
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(Arc::new(Shared { published, exposition }))
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], shared.exposition.text()).into_response()
}

async fn healthz(State(shared): State<Arc<Shared>>) -> Response {
    let published = &shared.published;
    answer(published.look(|at| health::liveness(&published.heartbeat, at)))
}

async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    answer(shared.published.look(health::readiness))
}

fn answer(health: Result<String, String>) -> Response {
    match health {
        Ok(text) => text.into_response(),
        Err(text) => (StatusCode::SERVICE_UNAVAILABLE, text).into_response(),
    }
}
