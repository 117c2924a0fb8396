//! The command line of `palisade-bench`.

mod privilege;
mod signals;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::compare::Comparison;
use super::figures;
use super::goals;
use super::kernel::{KernelBench, memory};
use super::machine::Machine;
use super::page;
use super::plot::PlotError;
use super::progress::Progress;
use super::report::Report;
use super::run::{self, BenchError, Output, RunError};
use super::settings::{Cell, Settings};
use crate::contender;
use crate::inject::InjectError;
use crate::scenario::ScenarioShape;

/// Enforces the same clusters in several ways, side by side in one run and one kernel, and measures each: the rule-scale harness.
#[derive(Debug, Parser)]
#[command(name = "palisade-bench", version, max_term_width = 100, after_long_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  palisade-bench run --out results --quick
  palisade-bench run --out results                  # stopped? the same command continues
  palisade-bench run --out apps --shape apps --policies 10,1000 --contender none,conntrack,palisade
  palisade-bench compare before/report.json after/report.json
  palisade-bench render results/report.json --out page

A run needs root, or a user namespace of its own (it makes one, and then falls back to packet sockets). Everything is inside
network namespaces that end with the process.

Exit status:
  0    done
  1    compare: something became worse; run: interrupted or failed, what is finished is kept
  2    usage, or files that cannot be read or written
  3    this kernel or this user cannot do it; the message names what is missing";

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure, and write report.json, report.csv, report.html and plots/*.svg
    Run(RunArgs),
    /// Show what became worse or better between two reports, and whether that is more than noise
    Compare(CompareArgs),
    /// Write the page, the plots and the CSV of a report again
    Render(RenderArgs),
    /// Print a completion script for a shell
    Completions { shell: Shell },
    /// The command that `run` calls to measure memory in a separate process.
    #[command(name = memory::COMMAND, hide = true)]
    TakeMemory { settings: String, cell: String, contender: String },
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    /// Directory for the report, and for finished cells until then
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Two shapes, one of them at two sizes, in less than two minutes
    #[arg(long)]
    quick: bool,
    /// Draws the clusters, the connections and the edits
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Only these shapes
    #[arg(long, value_delimiter = ',', value_name = "SHAPE", value_parser = shapes())]
    shape: Vec<String>,
    /// Only these sizes, with ten pods for each policy (and at least 100 pods)
    #[arg(long, value_delimiter = ',', value_name = "N")]
    policies: Vec<usize>,
    /// Only these contenders; without `none` there is nothing to subtract
    #[arg(long, value_delimiter = ',', value_name = "NAME", value_parser = PossibleValuesParser::new(contender::NAMES))]
    contender: Vec<String>,
    /// Leave the dual-stack clusters out
    #[arg(long)]
    ipv4_only: bool,
    /// Rounds of each match measure
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Remove finished cells of an earlier run
    #[arg(long)]
    fresh: bool,
}

#[derive(Debug, clap::Args)]
struct CompareArgs {
    before: PathBuf,
    after: PathBuf,
    /// The smallest change that counts, in per cent
    #[arg(long, default_value_t = 5.0, value_name = "PERCENT")]
    threshold: f64,
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

#[derive(Debug, clap::Args)]
struct RenderArgs {
    report: PathBuf,
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// The exit status of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Done = 0,
    No = 1,
    Usage = 2,
    Cannot = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command ended without a result, and its exit status.
struct Failure(Exit, String);

impl Failure {
    fn usage(reason: impl ToString) -> Self {
        Self(Exit::Usage, reason.to_string())
    }

    fn plot(error: PlotError) -> Self {
        RunError::from(error).into()
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        let exit = match &error {
            RunError::Bench(_) | RunError::Plot(_) => Exit::No,
            RunError::Io { .. } | RunError::State { .. } | RunError::OtherRun { .. } => Exit::Usage,
        };
        Self(exit, error.to_string())
    }
}

/// Runs the command that the process was started with. If it fails, prints the reason to standard error.
pub fn main() -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are not errors. An error in printing them means that nobody can read them.
            _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Done };
        }
    };
    let result = match cli.command {
        Command::Run(args) => measure(&args),
        Command::Compare(args) => compare(&args),
        Command::Render(args) => render(&args),
        Command::Completions { shell } => {
            clap_complete::generate(
                shell,
                &mut Cli::command(),
                "palisade-bench",
                &mut std::io::stdout(),
            );
            Ok(Exit::Done)
        }
        Command::TakeMemory { settings, cell, contender } => {
            take_memory(&settings, &cell, &contender)
        }
    };
    result.unwrap_or_else(|Failure(exit, reason)| {
        print_error(&format!("palisade-bench: {reason}\n"));
        exit
    })
}

/// Prints to standard error. There is nowhere to report a failure of this.
fn print_error(text: &str) {
    _ = std::io::stderr().write_all(text.as_bytes());
}

fn print(text: &str) -> Result<(), Failure> {
    std::io::stdout().write_all(text.as_bytes()).map_err(Failure::usage)
}

impl RunArgs {
    fn settings(&self) -> Result<Settings, Failure> {
        let mut settings = if self.quick { Settings::quick() } else { Settings::full() };
        settings.seed = self.seed.unwrap_or(settings.seed);
        settings.rounds = self.rounds.unwrap_or(settings.rounds).max(1);
        settings.contenders.clone_from(&self.contender);
        if !self.shape.is_empty() {
            settings.cells.retain(|cell| self.shape.iter().any(|name| name == cell.shape.name()));
        }
        settings.cells.retain(|cell| !(self.ipv4_only && cell.dual_stack));
        if !self.policies.is_empty() {
            settings.cells = self.sized(&settings.cells);
        }
        if settings.cells.is_empty() {
            return Err(Failure::usage("no cluster has that shape and size"));
        }
        Ok(settings)
    }

    /// The shapes of these cells at the requested sizes, which need not be among the default ones.
    fn sized(&self, cells: &[Cell]) -> Vec<Cell> {
        let mut sized: Vec<Cell> = Vec::new();
        for &policies in &self.policies {
            for cell in cells {
                let cell = Cell { dual_stack: cell.dual_stack, ..Cell::new(cell.shape, policies) };
                if !sized.contains(&cell) {
                    sized.push(cell);
                }
            }
        }
        sized
    }
}

fn shapes() -> PossibleValuesParser {
    ScenarioShape::ALL.map(ScenarioShape::name).into()
}

fn measure(args: &RunArgs) -> Result<Exit, Failure> {
    let settings = args.settings()?;
    // Both before any other thread is started, because threads keep the namespaces and signal mask that they start with.
    privilege::acquire().map_err(|reason| Failure(Exit::Cannot, reason))?;
    let stop = signals::stop_on_interrupt().map_err(Failure::usage)?;
    let program = std::env::current_exe().ok();
    let mut bench = KernelBench::new(settings.clone(), contender::contenders, program).map_err(
        |error: InjectError| {
            Failure(Exit::Cannot, format!("nothing can be measured here: {error}"))
        },
    )?;
    let mut machine = Machine::detect();
    machine.method = bench.method().to_string();
    machine.fallback = bench.fallback().map(str::to_owned);
    let mut progress = Progress::new(stop);
    if let Some(reason) = &machine.fallback {
        progress.print(&format!(
            "packets are sent by packet sockets and timed in user space, since {reason}"
        ));
    }
    if !machine.optimized {
        progress.print("this is a build without optimisation: the harness's own times mean little");
    }
    let output = Output::open(&args.out, &settings, &machine, args.fresh)?;
    let result = run::run(&settings, machine, &mut bench, &output, &mut progress);
    let page = args.out.join("report.html");
    match result {
        Ok(report) => {
            progress.print(&format!("{} cells; see {}", report.cells.len(), page.display()));
            Ok(Exit::Done)
        }
        Err(error @ RunError::Bench(BenchError::Interrupted(_))) => Err(error.into()),
        Err(error) => Err(error.into()),
    }
}

fn compare(args: &CompareArgs) -> Result<Exit, Failure> {
    let before = Report::read(&args.before).map_err(Failure::usage)?;
    let after = Report::read(&args.after).map_err(Failure::usage)?;
    let comparison = Comparison::of(&before, &after, args.threshold / 100.0);
    match args.output {
        Format::Text => print(&comparison.text())?,
        Format::Json => {
            let text = serde_json::to_string_pretty(&comparison).map_err(Failure::usage)?;
            print(&format!("{text}\n"))?;
        }
    }
    let worse = comparison.regressions().next().is_some();
    Ok(if worse { Exit::No } else { Exit::Done })
}

fn render(args: &RenderArgs) -> Result<Exit, Failure> {
    let mut report = Report::read(&args.report).map_err(Failure::usage)?;
    report.goals = goals::judge(&report);
    let put = |name: &str, text: &str| {
        let path = args.out.join(name);
        std::fs::write(&path, text)
            .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
    };
    std::fs::create_dir_all(&args.out)
        .map_err(|error| Failure::usage(format!("{}: {error}", args.out.display())))?;
    put("report.html", &page::html(&report).map_err(Failure::plot)?)?;
    put("report.csv", &report.csv())?;
    for figure in figures::all(&report) {
        put(&format!("{}.svg", figure.name), &figure.svg().map_err(Failure::plot)?)?;
    }
    Ok(Exit::Done)
}

fn take_memory(settings: &str, cell: &str, contender: &str) -> Result<Exit, Failure> {
    let settings: Settings = serde_json::from_str(settings).map_err(Failure::usage)?;
    let cell: Cell = serde_json::from_str(cell).map_err(Failure::usage)?;
    let taken = memory::measure_load(&settings, cell, contender)
        .map_err(|reason| Failure(Exit::Cannot, reason))?;
    let text = serde_json::to_string(&taken).map_err(Failure::usage)?;
    print(&format!("{text}\n"))?;
    Ok(Exit::Done)
}
