//! A program that is taken back by the deltas since: what a packet met then.

use palisade_compiler::compile::Compiler;
use palisade_compiler::model::Family;
use palisade_compiler::program::earlier::tables_before;
use palisade_compiler::program::eval::{Packet, eval, eval_program};
use palisade_compiler::program::{Delta, Program};
use palisade_compiler::testkit::{Rng, probes};

use crate::churn::history;
use crate::parallel::{count, for_each_seed};
use crate::properties::locality;

/// Overridden by `PALISADE_HISTORIES_BACK`.
const HISTORIES: u64 = 300;

#[test]
fn a_packet_walks_through_what_there_was_before_the_deltas() {
    for_each_seed("", count("PALISADE_HISTORIES_BACK", HISTORIES), |seed| {
        let mut rng = Rng::new(seed);
        let mut compiler = Compiler::new(locality(seed));
        let mut states: Vec<(Program, Delta)> = Vec::new();
        let mut connections = Vec::new();
        for batch in history(seed) {
            let before = compiler.program().clone();
            states.push((before, compiler.apply(batch)));
            connections.extend(probes(compiler.snapshot(), &mut rng));
        }
        for (at, (before, _)) in states.iter().enumerate() {
            let since = states.get(at..).unwrap_or_default();
            let deltas: Vec<&Delta> = since.iter().rev().map(|(_, delta)| delta).collect();
            for connection in &connections {
                let packet = Packet::first(*connection);
                let tables = tables_before(compiler.program(), &deltas, connection);
                let family = Family::of(connection.to);
                let (found, then) =
                    (eval(&mut &tables, family, &packet), eval_program(before, &packet));
                if found != then {
                    return Err(format!("{connection:?} {at}: {found} instead of {then}"));
                }
            }
        }
        Ok(())
    });
}
