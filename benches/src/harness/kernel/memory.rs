//! Memory: a process of its own loads one contender into a namespace of its own, and says what that took.

use std::path::Path;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::lane::{Expected, Lane};
use super::{Findings, KernelBench};
use crate::contender;
use crate::harness::machine::meminfo;
use crate::harness::measure::Measure;
use crate::harness::progress::Progress;
use crate::harness::run::BenchError;
use crate::harness::settings::{Cell, Settings};

/// What a load left behind, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// The rise of what the whole kernel holds in slabs, per-CPU areas and vmalloc: other processes' are in it.
    pub kernel: i64,
    /// Resident memory of the process that enforces, where one stays.
    pub user: Option<u64>,
}

/// The hidden command by which the harness calls itself.
pub const COMMAND: &str = "take-memory";

/// Loads the contender and says what that took; what it loaded ends with the process.
///
/// # Errors
/// What made the load fail, in words.
pub fn take(settings: &Settings, cell: Cell, name: &str) -> Result<Taken, String> {
    let all = contender::NAMES.into_iter().find(|known| *known == name);
    let known = all.ok_or_else(|| format!("there is no contender {name}"))?;
    let contender = contender::contender(known).map_err(|error| error.to_string())?;
    let scenario = cell.scenario(settings.seed);
    // What shows that an engine has loaded would be in the memory of who is loaded in this process.
    let expected =
        if contender.acknowledges() { Expected::none() } else { Expected::of(&scenario) };
    let mut lane = Lane::new(contender).map_err(|error| error.to_string())?;
    let before = kernel_memory();
    let patience = settings.engine_patience();
    lane.load(&scenario, &expected, patience).map_err(|error| error.to_string())?;
    let kernel = kernel_memory() - before;
    // What was loaded is not the contender's, and it gives back what the load took, as the agent does.
    drop(scenario);
    palisade_heap::give_back();
    Ok(Taken { kernel, user: lane.contender.resident() })
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
        // A wrong or failed contender's memory says nothing, and who enforces nothing takes none.
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
                    Ok(Taken { kernel, user }) => {
                        // What others gave back meanwhile can outweigh a small load.
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
) -> Result<Taken, String> {
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
