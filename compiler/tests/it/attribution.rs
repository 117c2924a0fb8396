//! Whom a verdict is put down to, also after any history: the rules that allow are those that the specification says decide, and
//! a denial names every policy that isolates.

use palisade_compiler::compile::{Compiler, Judge};
use palisade_compiler::explain::{Outcome, Side, explain};
use palisade_compiler::model::Connection;
use palisade_compiler::oracle::{self, DirectionDecision, Reason};
use palisade_compiler::testkit::{Cluster, Rng, probes};

use crate::churn::history;
use crate::parallel::{count, for_each_seed, guarded};
use crate::properties::locality;

/// Overridden by `PALISADE_ATTRIBUTED`.
const HISTORIES: u64 = 600;
/// Of each batch.
const PROBES: usize = 60;

#[test]
fn verdicts_are_put_down_to_what_decides_also_after_churn() {
    for_each_seed("", count("PALISADE_ATTRIBUTED", HISTORIES), |seed| {
        let steps = Cluster { changes: history(seed).concat() };
        let one_by_one = |steps: &Cluster| guarded(|| check(&mut steps.changes.chunks(1), seed));
        let as_made = guarded(|| {
            let batches = history(seed);
            check(&mut batches.iter().map(Vec::as_slice), seed)
        });
        let Err(message) = as_made else { return Ok(()) };
        if one_by_one(&steps).is_ok() {
            return Err(format!("{message}\n{steps}"));
        }
        let least = steps.minimized(|steps| one_by_one(steps).is_err());
        Err(format!("{message}\none by one\n{least}"))
    });
}

fn check(
    batches: &mut dyn Iterator<Item = &[palisade_compiler::snapshot::Change]>,
    seed: u64,
) -> Result<(), String> {
    let mut compiler = Compiler::new(locality(seed));
    for batch in batches {
        compiler.apply(batch.iter().cloned());
        let snapshot = compiler.snapshot();
        let mut judge = Judge::new(snapshot);
        for connection in probes(snapshot, &mut Rng::new(seed)).iter().take(PROBES) {
            let expected = oracle::decide(snapshot, connection);
            let found = explain(&mut judge, connection, None);
            attributed(connection, &found.egress, &expected.egress)?;
            attributed(connection, &found.ingress, &expected.ingress)?;
        }
    }
    Ok(())
}

fn attributed(
    connection: &Connection,
    side: &Side,
    expected: &DirectionDecision,
) -> Result<(), String> {
    let is_right = match (&side.outcome, &expected.reason) {
        (Outcome::Allowed(found), Reason::Allowed { by }) => {
            found.iter().map(|allowance| &allowance.rule).eq(by)
        }
        (Outcome::Denied { misses, further }, Reason::Denied { isolated_by }) => {
            let mut named: Vec<_> = misses.iter().map(|miss| &miss.policy).collect();
            named.sort_unstable();
            named.into_iter().eq(isolated_by) && *further == 0 && side.isolated_by == *isolated_by
        }
        (Outcome::NotAPod, Reason::NotAPod)
        | (Outcome::NotIsolated, Reason::NotIsolated)
        | (Outcome::OwnNode, Reason::OwnNode)
        | (Outcome::Itself, Reason::Itself) => true,
        _ => false,
    };
    if is_right {
        return Ok(());
    }
    Err(format!("{connection:?}\n  the oracle: {expected:?}\n  the explanation: {side:?}"))
}
