//! The live demo's edits by HTTP: on loopback alone, for the page that has the demo's token.
//!
//! The token is made at the start and stands in the page's address, behind the `#`: it is sent to no server, and other users of
//! the host do not know it.

use std::io::Read as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use super::DemoError;
use super::objects::{Labelled, Labels, Listed, MAX_POLICY_BYTES, Objects, Refused};
use super::tour::{Shown, scene};
use crate::http::access::Access;

/// The header that carries the token.
const TOKEN: HeaderName = HeaderName::from_static("x-palisade-demo");
const TOKEN_BYTES: usize = 16;
/// The largest body of a request, in bytes: a policy with everything escaped.
const MAX_BODY_BYTES: usize = 4 * MAX_POLICY_BYTES;

/// What can be edited, shared by the server, the terminal and the traffic.
#[derive(Debug, Clone)]
pub(super) struct Editing(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    token: String,
    state: Mutex<Editable>,
    /// Whether something was edited that connections did not show yet.
    is_edited: AtomicBool,
}

#[derive(Debug)]
struct Editable {
    objects: Objects,
    /// The step of the tour, if there is one.
    step: Option<usize>,
}

impl Editing {
    pub(super) fn new(objects: Objects, has_tour: bool) -> Result<Self, DemoError> {
        let mut bytes = [0; TOKEN_BYTES];
        let read = std::fs::File::open("/dev/urandom").and_then(|mut it| it.read_exact(&mut bytes));
        read.map_err(|error| DemoError::io("read /dev/urandom", error))?;
        let token = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let state = Mutex::new(Editable { objects, step: has_tour.then_some(0) });
        Ok(Self(Arc::new(Shared { token, state, is_edited: AtomicBool::new(false) })))
    }

    pub(super) fn token(&self) -> &str {
        &self.0.token
    }

    fn state(&self) -> MutexGuard<'_, Editable> {
        // A panic elsewhere leaves the objects as their files say.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The scene of the tour.
    pub(super) fn scene(&self) -> Option<Shown> {
        self.state().step.map(|step| scene(step).1)
    }

    /// Goes to a step of the tour; does nothing without one.
    pub(super) fn go_to(&self, step: usize) -> Result<(), DemoError> {
        let mut state = self.state();
        if state.step.is_some() {
            let (scene, shown) = scene(step);
            state.step = Some(shown.step);
            state.objects.set(scene.policies, scene.labels)?;
            self.edited();
        }
        Ok(())
    }

    fn edited(&self) {
        self.0.is_edited.store(true, Ordering::Relaxed);
    }

    /// Whether something was edited since the last call.
    pub(super) fn take_edited(&self) -> bool {
        self.0.is_edited.swap(false, Ordering::Relaxed)
    }

    pub(super) fn is_edited(&self) -> bool {
        self.0.is_edited.load(Ordering::Relaxed)
    }

    pub(super) fn router(&self, access: Access) -> Router {
        Router::new()
            .route("/demo/v1/objects", get(objects))
            .route("/demo/v1/apply", post(apply))
            .route("/demo/v1/remove", post(remove))
            .route("/demo/v1/labels", post(labels))
            .route("/demo/v1/step", post(step))
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .route_layer(from_fn_with_state((access, self.clone()), check))
            .layer(from_fn(guard))
            .with_state(self.clone())
    }

    fn edit(&self, edit: impl FnOnce(&mut Objects) -> Result<(), Refused>) -> Json<Outcome> {
        let outcome = edit(&mut self.state().objects);
        if outcome.is_ok() {
            self.edited();
        }
        Json(Outcome { refused: outcome.err() })
    }
}

async fn check(
    State((access, editing)): State<(Access, Editing)>,
    request: Request,
    next: Next,
) -> Response {
    if let Err(refusal) = access.check(request.headers()) {
        return refusal.into_response();
    }
    let given = request.headers().get(TOKEN).map_or(&[][..], HeaderValue::as_bytes);
    if !bool::from(given.ct_eq(editing.token().as_bytes())) {
        let reason = "edits need the token that stands in the address that palisade demo prints\n";
        return (StatusCode::FORBIDDEN, reason).into_response();
    }
    next.run(request).await
}

/// Tells browsers to do nothing with an answer but what the page does.
async fn guard(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let set = [
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in set {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// What became of an edit.
#[derive(Debug, Serialize)]
struct Outcome {
    /// `null` if it is done.
    refused: Option<Refused>,
}

#[derive(Debug, Serialize)]
struct Answer {
    #[serde(flatten)]
    listed: Listed,
    tour: Option<Shown>,
}

async fn objects(State(editing): State<Editing>) -> Response {
    let listed = editing.state().objects.listed();
    match listed {
        Ok(listed) => Json(Answer { listed, tour: editing.scene() }).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[derive(Debug, Deserialize)]
struct Apply {
    manifest: String,
}

async fn apply(
    State(editing): State<Editing>,
    Json(Apply { manifest }): Json<Apply>,
) -> Json<Outcome> {
    editing.edit(|objects| objects.apply(&manifest))
}

#[derive(Debug, Deserialize)]
struct Remove {
    /// `namespace/name`
    policy: String,
}

async fn remove(
    State(editing): State<Editing>,
    Json(Remove { policy }): Json<Remove>,
) -> Json<Outcome> {
    editing.edit(|objects| objects.remove(&policy))
}

#[derive(Debug, Deserialize)]
struct Label {
    kind: Labelled,
    /// Of a pod, `namespace/name`.
    name: String,
    labels: Labels,
}

async fn labels(
    State(editing): State<Editing>,
    Json(Label { kind, name, labels }): Json<Label>,
) -> Json<Outcome> {
    editing.edit(|objects| objects.label(kind, &name, labels))
}

#[derive(Debug, Deserialize)]
struct Step {
    step: usize,
}

async fn step(State(editing): State<Editing>, Json(Step { step }): Json<Step>) -> Response {
    match editing.go_to(step) {
        Ok(()) => objects(State(editing)).await,
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
