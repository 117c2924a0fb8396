//! Full tables: what finds no room is denied, never allowed, and is written when there is room again.

use palisade_compiler::compile::{Bounds, Compiler, Locality, Warning};
use palisade_compiler::model::{Family, Verdict};
use palisade_compiler::program::Program;
use palisade_compiler::program::eval::{Packet, run};
use palisade_compiler::snapshot::Change;
use palisade_compiler::testkit::{Rng, probes};

use crate::churn::{contents, history};
use crate::parallel::for_each_seed;
use crate::properties::{agree, asked, locality};

const HISTORIES: u64 = 1_500;

/// So small that most clusters meet one of them.
fn bounds(rng: &mut Rng) -> Bounds {
    Bounds {
        matrix: rng.below(30),
        rows: rng.below(12),
        ports: rng.below(8),
        port_ranges: rng.below(3),
    }
}

fn lacks(compiler: &Compiler) -> bool {
    compiler.warnings().iter().any(|warning| matches!(warning, Warning::TablesFull { .. }))
}

#[test]
fn what_finds_no_room_is_denied_and_written_when_there_is_room_again() {
    for_each_seed(HISTORIES, |seed| {
        let mut rng = Rng::new(seed);
        let bounds = bounds(&mut rng);
        let locality = locality(seed);
        let mut compiler = Compiler::bounded(locality.clone(), bounds);
        let mut mirror = Program::default();
        for batch in history(seed) {
            compiler.apply(batch).apply_to(&mut mirror);
            check(&compiler, &locality, &mirror, bounds, &mut rng)?;
            if rng.chance(30) {
                compiler.tidy().apply_to(&mut mirror);
                check(&compiler, &locality, &mirror, bounds, &mut rng)?;
            }
        }
        make_room(compiler, &locality, bounds)
    });
}

/// Everything that is bounded keeps its bound; every subject is one; and nobody is allowed what the policies forbid.
fn check(
    compiler: &Compiler,
    locality: &Locality,
    mirror: &Program,
    bounds: Bounds,
    rng: &mut Rng,
) -> Result<(), String> {
    let program = compiler.program();
    if program != mirror {
        return Err("the deltas do not add up to the program".to_owned());
    }
    let mut whole = Compiler::new(locality.clone());
    whole.apply(contents(compiler.snapshot()));
    for family in Family::ALL {
        let (here, there) = (program.family(family), whole.program().family(family));
        let is_within = here.allow_in.len().max(here.allow_out.len()) <= bounds.rows
            && here.ports.len() <= bounds.ports
            && here.port_ranges.len() <= bounds.port_ranges;
        if !is_within {
            return Err(format!("over {bounds:?}: {here:#?}"));
        }
        if (&here.local_in, &here.local_out) != (&there.local_in, &there.local_out) {
            return Err("a subject is not isolated".to_owned());
        }
    }
    let probes = probes(compiler.snapshot(), rng);
    if !lacks(compiler) {
        return agree(compiler.snapshot(), locality, program, &probes);
    }
    for connection in &probes {
        let asked = asked(compiler.snapshot(), locality, connection);
        let packet =
            Packet { dnat: connection.from == connection.to, ..Packet::first(*connection) };
        let family = Family::of(connection.to);
        let seen = run(&mut program.family(family), family, &packet, &mut ()).0;
        if seen == Verdict::Allow && asked == Verdict::Deny {
            return Err(format!("{connection:?} is allowed where the tables are full"));
        }
    }
    Ok(())
}

/// Takes policies away until the rest fits; then nobody goes without.
fn make_room(mut compiler: Compiler, locality: &Locality, bounds: Bounds) -> Result<(), String> {
    loop {
        let mut scratch = Compiler::bounded(locality.clone(), bounds);
        scratch.apply(contents(compiler.snapshot()));
        if !lacks(&scratch) {
            break;
        }
        let Some(policy) = compiler.snapshot().policies().next().map(|policy| policy.key.clone())
        else {
            break;
        };
        compiler.apply([Change::DeletePolicy(policy)]);
    }
    while compiler.is_untidy() {
        if compiler.tidy().is_empty() {
            break;
        }
    }
    let mut whole = Compiler::new(locality.clone());
    whole.apply(contents(compiler.snapshot()));
    if lacks(&compiler) {
        return Err(format!("somebody still goes without: {:?}", compiler.warnings()));
    }
    if compiler.program().canonical() != whole.program().canonical() {
        return Err("with room for all the program is not the whole one".to_owned());
    }
    Ok(())
}
