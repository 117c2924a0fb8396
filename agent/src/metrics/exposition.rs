//! Everything that is measured, as text in the format of OpenMetrics 1.0.

use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

use super::process::ProcessSamples;
use super::status_samples::StatusSamples;
use crate::published_status::PublishedStatus;

/// The media type of what `Exposition::text` writes.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The prefix of all names but those of the process.
const PREFIX: &str = "palisade";

/// Writes what is measured whenever somebody asks.
#[derive(Debug)]
pub struct Exposition(Registry);

impl Exposition {
    pub fn new(published: &PublishedStatus) -> Self {
        let mut registry = Registry::default();
        let own = registry.sub_registry_with_prefix(PREFIX);
        published.metrics.register(own);
        own.register_collector(Box::new(StatusSamples(published.clone())));
        registry.register_collector(Box::new(ProcessSamples));
        Self(registry)
    }

    /// The text of this moment. Denied packets are counted in the network namespace of the calling thread.
    pub fn text(&self) -> String {
        let mut text = String::new();
        if let Err(error) = text::encode(&mut text, &self.0) {
            // A string takes everything, so that nothing is left that could fail.
            tracing::error!(%error, "metrics cannot be written");
        }
        text
    }
}
