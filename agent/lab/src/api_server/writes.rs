//! Changes of objects by requests of their own, many at once. kubectl needs a tenth of a second for each.

use std::error::Error;
use std::fmt;

use futures_util::stream::{self, TryStreamExt as _};
use http::header::CONTENT_TYPE;
use http::{Method, Request};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::runtime::{Builder, Runtime};

use super::ApiServer;
use crate::{LabError, Namespace};

/// Requests under way at once.
const PARALLEL: usize = 32;

/// A request that changes one object. Objects and patches are JSON, and paths are those of the API, for example
/// `/api/v1/namespaces/x/pods/a`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    method: Method,
    path: String,
    /// The media type of the body.
    content: &'static str,
    body: String,
}

impl Write {
    /// Creates an object in the collection at `path`. It is refused if there is one of that name.
    pub fn create(path: impl Into<String>, object: impl Into<String>) -> Self {
        let (path, body) = (path.into(), object.into());
        Self { method: Method::POST, path, content: "application/json", body }
    }

    /// Creates the object at `path`, or changes it, by a server-side apply: it has then what `object` has. What `object` lacks
    /// but an earlier `apply` had, for example a label, is removed. `object` needs its apiVersion, kind and name.
    pub fn apply(path: impl fmt::Display, object: impl Into<String>) -> Self {
        let path = format!("{path}?fieldManager=palisade-lab&force=true");
        let content = "application/apply-patch+yaml";
        Self { method: Method::PATCH, path, content, body: object.into() }
    }

    /// Changes those fields of the object at `path` that `patch` has, by a JSON merge patch. An object's status has a path of
    /// its own, which ends in `/status`.
    pub fn patch(path: impl Into<String>, patch: impl Into<String>) -> Self {
        let content = "application/merge-patch+json";
        Self { method: Method::PATCH, path: path.into(), content, body: patch.into() }
    }

    /// Deletes the object at `path`. A pod has no grace period, as when a kubelet deletes it after its containers have ended.
    pub fn delete(path: impl fmt::Display) -> Self {
        let path = format!("{path}?gracePeriodSeconds=0");
        Self { method: Method::DELETE, path, content: "application/json", body: String::new() }
    }
}

/// A client of an [`ApiServer`] that may do everything. It keeps its connections for the next request.
pub struct ApiClient {
    namespace: Namespace,
    runtime: Runtime,
    client: Client,
}

impl fmt::Debug for ApiClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiClient").finish_non_exhaustive()
    }
}

impl ApiServer {
    /// A client of this server. It connects with its first request.
    ///
    /// # Errors
    /// `Io` if there is no memory or no file descriptor left for it; `Request` if this server's kubeconfig cannot be used.
    pub fn client(&self) -> Result<ApiClient, LabError> {
        let path = self.admin_kubeconfig();
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| LabError::io("start a runtime", error))?;
        let client = runtime.block_on(async {
            let kubeconfig = Kubeconfig::read_from(&path)?;
            let options = KubeConfigOptions::default();
            let config = Config::from_custom_kubeconfig(kubeconfig, &options).await?;
            Ok(Client::try_from(config)?)
        });
        let request = || format!("the kubeconfig {}", path.display());
        let client = client.map_err(|source| LabError::Request { request: request(), source })?;
        Ok(ApiClient { namespace: self.namespace.try_clone()?, runtime, client })
    }

    /// Sends requests by a client of its own: see [`ApiClient::write_all`].
    ///
    /// # Errors
    /// As `client` and `ApiClient::write_all`.
    pub fn write_all<W>(&self, writes: W) -> Result<(), LabError>
    where
        W: IntoIterator<Item = Write>,
        W::IntoIter: Send,
    {
        self.client()?.write_all(writes)
    }
}

impl ApiClient {
    /// Sends requests, many at once and so in no certain order, and returns when all are answered. A request that needs another
    /// one's effect, for example a pod's status the pod, belongs into a later call.
    ///
    /// # Errors
    /// `Request` for the first that is refused or not answered. Requests after it may or may not have been carried out.
    pub fn write_all<W>(&self, writes: W) -> Result<(), LabError>
    where
        W: IntoIterator<Item = Write>,
        W::IntoIter: Send,
    {
        let writes = writes.into_iter().map(Ok);
        let send_all = || {
            let all = stream::iter(writes);
            self.runtime.block_on(all.try_for_each_concurrent(PARALLEL, |write| self.send(write)))
        };
        self.namespace.run(send_all)?
    }

    async fn send(&self, write: Write) -> Result<(), LabError> {
        let Write { method, path, content, body } = write;
        let failed = |source: Box<dyn Error + Send + Sync>| LabError::Request {
            request: format!("{method} {path}"),
            source,
        };
        let request = Request::builder().method(&method).uri(&path).header(CONTENT_TYPE, content);
        let request = request.body(body.into_bytes()).map_err(|error| failed(error.into()))?;
        self.client.request_text(request).await.map(drop).map_err(|error| failed(error.into()))
    }
}
