//! Loads one scenario into every contender, each in a separate network namespace, and makes some edits, to be looked at by
//! eye. As root: `cargo run --release -p palisade-benches --example contenders -- apps 1000 10000`.

#![allow(clippy::print_stdout, reason = "its output is the point")]

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use palisade_benches::contender::{Contender, contenders, engines};
use palisade_benches::scenario::{Edit, Scenario, ScenarioShape};
use palisade_lab::Namespace;

/// The number of edits.
const EDITS: usize = 26;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let shape = arguments.next().context("usage: contenders SHAPE POLICIES PODS [NAME [EDITS]]")?;
    let shapes = ScenarioShape::ALL.into_iter();
    let shape = shapes.into_iter().find(|s| s.name() == shape).context("no such shape")?;
    let mut number = || arguments.next().context("a number is missing");
    let scenario = Scenario::new(shape, number()?.parse()?, number()?.parse()?, 1);
    let only = arguments.next();
    let count = arguments.next().map_or(Ok(EDITS), |count| count.parse())?;
    println!("{}", scenario.name());
    let edits: Vec<Edit> = scenario.edits().take(count).collect();
    for contender in contenders() {
        match contender {
            // An engine is left out: only packets could show what it did.
            Ok(contender) if !contender.acknowledges() => {}
            Ok(mut contender) if only.as_deref().is_none_or(|name| name == contender.name()) => {
                show(contender.as_mut(), &scenario, &edits)?;
            }
            Ok(_) => {}
            Err(left_out) => println!("{left_out}"),
        }
    }
    engines().iter().for_each(|left_out| println!("{left_out}"));
    Ok(())
}

fn show(contender: &mut dyn Contender, scenario: &Scenario, edits: &[Edit]) -> anyhow::Result<()> {
    let namespace = Namespace::new()?;
    let name = contender.name();
    let loaded = match namespace.run(|| contender.load(scenario))? {
        Ok(loaded) => loaded,
        Err(error) => {
            println!("{name:<18} {error}");
            return Ok(());
        }
    };
    println!("{name:<18} {loaded:?}");
    let mut times: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    for edit in edits {
        let edited = namespace.run(|| contender.edit(edit))??;
        times.entry(edit.kind.name()).or_default().push(edited.elapsed);
        namespace.run(|| contender.idle())??;
    }
    for (kind, mut times) in times {
        times.sort_unstable();
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        println!("    {kind:<22} {median:>12.1?}  n={}", times.len());
    }
    Ok(())
}
