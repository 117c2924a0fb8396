//! Clusters and shapes for the benches.
