//! Where `palisade run` writes flows.

use std::path::PathBuf;

use clap::ValueEnum as _;

use super::Failure;
use super::observe::{block, bounded, in_namespace};
use crate::flow_log::{Settings, Target};
use crate::flows::filter::Filter;
use crate::flows::flow::{FlowDirection, FlowVerdict};

const MIB: u64 = 1 << 20;

#[derive(Debug, Clone, clap::Args)]
pub(super) struct FlowLog {
    /// Write the flows of palisade observe to this file, as its JSON lines; - for standard output. What cannot be written is tried
    /// again and then counted as lost, and delays nothing else. The directory must be there
    #[arg(long, value_name = "PATH")]
    flow_log: Option<PathBuf>,
    /// The size in MiB at which the next file is begun. The full one is then named PATH.1, the one before it PATH.2, and so on
    #[arg(long, value_name = "MIB", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    flow_log_size: u64,
    /// How many files are kept, PATH among them
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(2..=1000))]
    flow_log_files: u16,
    /// Write only such flows: a filter of palisade observe, as in verdict=deny, direction=ingress, namespace=shop, pod=shop/web,
    /// label=app=db, address=10.0.0.0/8, port=53, policy=shop/db, or divergences. Those of one kind widen each other, those of
    /// different kinds narrow
    #[arg(long, value_name = "FILTER", requires = "flow_log")]
    flow_log_only: Vec<String>,
}

impl FlowLog {
    pub(super) fn settings(&self) -> Result<Option<Settings>, Failure> {
        let Some(path) = &self.flow_log else { return Ok(None) };
        let mut filter = Filter::default();
        for text in &self.flow_log_only {
            add(&mut filter, text)
                .map_err(|error| Failure::Usage(format!("--flow-log-only {text}: {error}")))?;
        }
        let target = match path.as_os_str().as_encoded_bytes() {
            b"-" => Target::StandardOutput,
            _ => Target::File(path.clone()),
        };
        let max_bytes = self.flow_log_size.saturating_mul(MIB);
        Ok(Some(Settings {
            target,
            max_bytes,
            files: usize::from(self.flow_log_files),
            filter: bounded(filter)?,
        }))
    }
}

/// Adds a filter as it is written on the command line.
fn add(filter: &mut Filter, text: &str) -> Result<(), String> {
    if text == "divergences" {
        filter.divergences = true;
        return Ok(());
    }
    let (kind, value) = text.split_once('=').ok_or("write KIND=VALUE, as in verdict=deny")?;
    if value.is_empty() {
        return Err("the value is missing".into());
    }
    match kind {
        "verdict" => filter.verdicts.push(FlowVerdict::from_str(value, false)?),
        "direction" => filter.directions.push(FlowDirection::from_str(value, false)?),
        "namespace" => filter.namespaces.push(value.to_owned()),
        "pod" => filter.pods.push(in_namespace(value)?),
        "label" => filter.labels.push(value.to_owned()),
        "address" => filter.addresses.push(block(value)?),
        "port" => filter.ports.push(value.parse().map_err(|_none| "a port is 0 to 65535")?),
        "policy" => filter.policies.push(in_namespace(value)?),
        _ => {
            return Err(
                "the kinds are verdict, direction, namespace, pod, label, address, port, policy and divergences".into(),
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_those_of_observe() {
        let mut filter = Filter::default();
        let texts = [
            "verdict=deny",
            "direction=egress",
            "namespace=shop",
            "pod=shop/web",
            "label=app=db",
            "address=10.0.0.7",
            "port=53",
            "policy=shop/db",
            "divergences",
        ];
        texts.iter().for_each(|text| add(&mut filter, text).unwrap());
        assert_eq!((filter.len(), filter.divergences), (8, true));
        assert_eq!(filter.labels, ["app=db"]);
        for wrong in ["deny", "verdict=no", "pod=web", "port=x", "port=", "since=10m", "address=x"]
        {
            assert!(add(&mut filter, wrong).is_err(), "{wrong}");
        }
    }
}
