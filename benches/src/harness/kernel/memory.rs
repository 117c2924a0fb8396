//! Measures memory: a separate process loads one contender into a network namespace and reports how much that took.

use std::path::Path;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::testbed::{Expected, Testbed};
use super::{Findings, KernelBench};
use crate::contender;
use crate::harness::machine::meminfo;
use crate::harness::measure::Measure;
use crate::harness::progress::Progress;
use crate::harness::run::BenchError;
use crate::harness::settings::{Cell, Settings};

/// The memory that is in use after a load, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadMemory {
    /// The increase of the kernel's memory in slabs, per-CPU areas and vmalloc. It includes that of other processes.
    pub kernel: i64,
    /// The resident memory of the process that enforces, if one keeps running.
    pub user: Option<u64>,
}

/// The hidden command with which the harness starts itself.
pub const COMMAND: &str = "take-memory";

/// Loads the contender and returns how much memory that took. What was loaded is removed when the process ends.
///
/// # Errors
/// A text that says why the load failed.
pub fn measure_load(settings: &Settings, cell: Cell, name: &str) -> Result<LoadMemory, String> {
    let all = contender::NAMES.into_iter().find(|known| *known == name);
    let known = all.ok_or_else(|| format!("there is no contender {name}"))?;
    let contender = contender::contender(known).map_err(|error| error.to_string())?;
    let scenario = cell.scenario(settings.seed);
    // For a contender that is loaded in this process, the expected verdicts would count as its memory. Only an engine needs
    // them.
    let expected =
        if contender.acknowledges() { Expected::none() } else { Expected::of(&scenario) };
    let mut testbed = Testbed::new(contender).map_err(|error| error.to_string())?;
    // The memory of an API server is not that of the engine.
    testbed.prepare(&scenario).map_err(|error| error.to_string())?;
    let before = kernel_memory();
    let patience = settings.engine_patience();
    testbed.load(&scenario, &expected, patience).map_err(|error| error.to_string())?;
    let kernel = kernel_memory() - before;
    // As the agent does after a load.
    palisade_heap::return_unused();
    Ok(LoadMemory { kernel, user: testbed.contender.resident() })
}

fn kernel_memory() -> i64 {
    let parts = ["Slab", "Percpu", "VmallocUsed"].into_iter().filter_map(meminfo);
    parts.sum::<u64>() as i64
}

impl KernelBench {
    pub(super) fn memory(
        &self,
        findings: &mut Findings,
        progress: &mut Progress<'_>,
    ) -> Result<(), BenchError> {
        let Some(program) = &self.program else { return Ok(()) };
        let cell = findings.report.cell;
        // The memory of a contender with wrong verdicts or a failed load means nothing, and one that enforces nothing uses
        // none.
        let give_up = self.settings.give_up();
        let loaded = |name: &&str| {
            let time = findings.load_time(name);
            !time.is_zero() && time <= give_up
        };
        let names: Vec<&str> = contender::NAMES.into_iter().filter(loaded).collect();
        for _ in 0..self.settings.loads {
            for &name in &names {
                progress.step(|| format!("memory of {name}"))?;
                match in_a_process(program, &self.settings, cell, name) {
                    Ok(LoadMemory { kernel, user }) => {
                        // Memory that other processes freed meanwhile can exceed that of a small load.
                        if kernel > 0 {
                            findings.sample(name, Measure::KernelMemory, kernel as f64);
                        }
                        if let Some(user) = user {
                            findings.sample(name, Measure::UserMemory, user as f64);
                        }
                    }
                    Err(reason) => findings.absent(name, Some(Measure::KernelMemory), reason),
                }
            }
        }
        Ok(())
    }
}

fn in_a_process(
    program: &Path,
    settings: &Settings,
    cell: Cell,
    name: &str,
) -> Result<LoadMemory, String> {
    let settings = serde_json::to_string(settings).map_err(|error| error.to_string())?;
    let cell = serde_json::to_string(&cell).map_err(|error| error.to_string())?;
    let output = Command::new(program)
        .args([COMMAND, &settings, &cell, name])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
}
