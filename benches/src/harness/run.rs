//! Measures one cell after another. Each finished cell is stored on disk, so that a stopped run continues where it ended.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::figures;
use super::goals;
use super::machine::Machine;
use super::page;
use super::plot::PlotError;
use super::progress::{Interrupted, Progress};
use super::report::{Absence, CellReport, Description, FORMAT, Report};
use super::settings::{Cell, Settings};

/// Measures a cell: in the kernel, or in tests by a formula.
pub trait Bench {
    /// Facts for the report: the contenders, and those that are left out of everything.
    fn contenders(&self) -> (Vec<Description>, Vec<Absence>);

    /// # Errors
    /// `Interrupted`. `Failed` if nothing can be measured. A contender that fails is an [`Absence`] instead.
    fn measure(
        &mut self,
        cell: Cell,
        progress: &mut Progress<'_>,
    ) -> Result<CellReport, BenchError>;
}

#[derive(Debug, Error)]
pub enum BenchError {
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    #[error("{0}")]
    Failed(String),
}

#[derive(Debug, Error)]
pub enum RunError {
    #[error("{path}: {error}")]
    Io { path: String, error: io::Error },
    #[error("{path} cannot be read ({error}): remove it, or give another --out")]
    State { path: String, error: serde_json::Error },
    #[error(
        "{path} was written with other settings or on another machine: give another --out, or --fresh to remove it"
    )]
    OtherRun { path: String },
    #[error("a plot could not be drawn: {0}")]
    Plot(#[from] PlotError),
    #[error(transparent)]
    Bench(#[from] BenchError),
}

/// The directory in which a run keeps finished cells and writes its report.
#[derive(Debug)]
pub struct Output {
    directory: PathBuf,
}

/// What the finished cells in a directory were measured with.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Origin {
    settings: Settings,
    machine: Vec<String>,
}

impl Output {
    /// Creates the directory. If `fresh` is set, removes what an earlier run left.
    ///
    /// # Errors
    /// `OtherRun` if there are finished cells of other settings or another machine.
    pub fn open(
        directory: &Path,
        settings: &Settings,
        machine: &Machine,
        fresh: bool,
    ) -> Result<Self, RunError> {
        let output = Self { directory: directory.to_owned() };
        let state = output.state();
        if fresh && state.exists() {
            fs::remove_dir_all(&state).map_err(|error| failed(&state, error))?;
        }
        fs::create_dir_all(&state).map_err(|error| failed(&state, error))?;
        let machine = machine.identity().map(str::to_owned).to_vec();
        let origin = Origin { settings: settings.clone(), machine };
        let file = state.join("origin.json");
        match read::<Origin>(&file)? {
            Some(found) if found == origin => {}
            Some(_) => return Err(RunError::OtherRun { path: state.display().to_string() }),
            None => write_json(&file, &origin)?,
        }
        Ok(output)
    }

    fn state(&self) -> PathBuf {
        self.directory.join("state")
    }

    fn file(&self, cell: Cell) -> PathBuf {
        self.state().join(format!("{}.json", cell.to_string().replace('/', "_")))
    }

    /// Writes the report in all formats.
    ///
    /// # Errors
    /// `Io`.
    pub fn write(&self, report: &Report) -> Result<(), RunError> {
        write_json(&self.directory.join("report.json"), report)?;
        let put = |name: &str, text: &str| write(&self.directory.join(name), text.as_bytes());
        put("report.csv", &report.csv())?;
        put("report.html", &page::html(report)?)?;
        let plots = self.directory.join("plots");
        fs::create_dir_all(&plots).map_err(|error| failed(&plots, error))?;
        for figure in figures::all(report) {
            put(&format!("plots/{}.svg", figure.name), &figure.svg()?)?;
        }
        Ok(())
    }
}

/// Measures every cell that is not finished yet, and writes the report. If the user stops the run or a cell fails, the
/// report of the finished cells is written before the error is returned.
///
/// # Errors
/// The errors of the bench and of writing files.
pub fn run(
    settings: &Settings,
    machine: Machine,
    bench: &mut dyn Bench,
    output: &Output,
    progress: &mut Progress<'_>,
) -> Result<Report, RunError> {
    let mut cells = Vec::new();
    let mut failure = None;
    for (number, cell) in settings.cells.iter().copied().enumerate() {
        let file = output.file(cell);
        if let Some(finished) = read::<CellReport>(&file)? {
            cells.push(finished);
            continue;
        }
        let left = settings.cells.get(number..).unwrap_or_default();
        let line = format!("[{}/{}] {cell}", number + 1, settings.cells.len());
        progress.cell(line, remaining(&cells, left));
        let began = Instant::now();
        match bench.measure(cell, progress) {
            Ok(mut finished) => {
                finished.seconds = began.elapsed().as_secs_f64();
                write_json(&file, &finished)?;
                cells.push(finished);
            }
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    let (contenders, left_out) = bench.contenders();
    let settings = settings.clone();
    let goals = Vec::new();
    let mut report =
        Report { format: FORMAT, settings, machine, contenders, left_out, cells, goals };
    report.goals = goals::judge(&report);
    output.write(&report)?;
    failure.map_or(Ok(report), |error| Err(error.into()))
}

/// Estimates the remaining time from the finished cells: by cells of the same size if there are any, otherwise by a typical
/// growth.
fn remaining(finished: &[CellReport], left: &[Cell]) -> Option<Duration> {
    let largest = finished.iter().max_by_key(|cell| cell.cell.policies)?;
    let guess = |cell: &Cell| -> f64 {
        let same: Vec<f64> = finished
            .iter()
            .filter(|done| done.cell.policies == cell.policies)
            .map(|done| done.seconds)
            .collect();
        if same.is_empty() {
            let grown = cell.policies as f64 / largest.cell.policies.max(1) as f64;
            return largest.seconds * grown.powf(0.4);
        }
        same.iter().sum::<f64>() / same.len() as f64
    };
    Duration::try_from_secs_f64(left.iter().map(guess).sum()).ok()
}

fn failed(path: &Path, error: io::Error) -> RunError {
    RunError::Io { path: path.display().to_string(), error }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, RunError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(path, error)),
    };
    let value = serde_json::from_slice(&text);
    value.map(Some).map_err(|error| RunError::State { path: path.display().to_string(), error })
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), RunError> {
    let text = serde_json::to_vec(value)
        .map_err(|error| RunError::State { path: path.display().to_string(), error })?;
    write(path, &text)
}

/// Writes to a temporary file and renames it, so that a file is complete whenever it exists.
fn write(path: &Path, text: &[u8]) -> Result<(), RunError> {
    let beside = path.with_extension("part");
    fs::write(&beside, text).map_err(|error| failed(&beside, error))?;
    fs::rename(&beside, path).map_err(|error| failed(path, error))
}
