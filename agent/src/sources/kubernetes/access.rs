//! How the API server is reached: by a kubeconfig, or as a pod of the cluster.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use thiserror::Error;

/// How long a connection may take to be made.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// Where the agent gets the address of the API server and its own credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// From this file, by its current context.
    Kubeconfig(PathBuf),
    /// From the environment and the service account of the pod that the agent runs in.
    InCluster,
}

/// Why it is not known how to reach the API server.
#[derive(Debug, Error)]
pub enum AccessError {
    #[error("{path}: {source}", path = .path.display())]
    Kubeconfig { path: PathBuf, source: Box<kube::config::KubeconfigError> },
    #[error(
        "this is no pod of a cluster ({0}); name the API server by --kubeconfig, or manifests by -f"
    )]
    InCluster(Box<kube::config::InClusterError>),
    #[error("no client for {server}: {source}")]
    Client { server: String, source: Box<kube::Error> },
}

/// A client of the API server.
#[derive(Clone)]
pub(crate) struct ApiServer {
    pub(crate) client: Client,
    /// Its URL.
    pub(crate) url: String,
}

impl Access {
    /// Reads the configuration; connects to nothing. To be called in the runtime that the client is used in.
    pub(crate) async fn open(&self) -> Result<ApiServer, AccessError> {
        let mut config = match self {
            Self::Kubeconfig(path) => from_kubeconfig(path).await.map_err(|source| {
                AccessError::Kubeconfig { path: path.clone(), source: Box::new(source) }
            })?,
            Self::InCluster => {
                Config::incluster().map_err(|source| AccessError::InCluster(Box::new(source)))?
            }
        };
        config.connect_timeout = Some(CONNECT_WITHIN);
        // Watches are tried again with a backoff of their own, which all failures share.
        config.default_retry = false;
        let url = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        match Client::try_from(config) {
            Ok(client) => Ok(ApiServer { client, url }),
            Err(source) => Err(AccessError::Client { server: url, source: Box::new(source) }),
        }
    }
}

async fn from_kubeconfig(path: &Path) -> Result<Config, kube::config::KubeconfigError> {
    let kubeconfig = Kubeconfig::read_from(path)?;
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await
}
