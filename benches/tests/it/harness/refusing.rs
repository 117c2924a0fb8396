use palisade_benches::contender::{Contender, ContenderError, Edited, LeftOut, Loaded, contender};
use palisade_benches::harness::kernel::KernelBench;
use palisade_benches::harness::progress::Progress;
use palisade_benches::harness::report::PALISADE;
use palisade_benches::scenario::{Edit, Scenario};

use super::*;

/// Palisade under another name, with a fault.
struct Wrong {
    name: &'static str,
    inner: Box<dyn Contender>,
}

impl Contender for Wrong {
    fn name(&self) -> &'static str {
        self.name
    }

    fn describe(&self) -> String {
        "deliberately wrong".into()
    }

    fn load(&mut self, scenario: &Scenario) -> Result<Loaded, ContenderError> {
        match self.name {
            "open" => Ok(Loaded::default()),
            "of-another-cluster" => {
                self.inner.load(&Scenario { seed: scenario.seed + 1, ..scenario.clone() })
            }
            _ => self.inner.load(scenario),
        }
    }

    fn edit(&mut self, edit: &Edit) -> Result<Edited, ContenderError> {
        if self.name == "asleep" { Ok(Edited::default()) } else { self.inner.edit(edit) }
    }
}

fn wrong_and_right() -> Vec<Result<Box<dyn Contender>, LeftOut>> {
    let wrong = |name| -> Result<Box<dyn Contender>, LeftOut> {
        Ok(Box::new(Wrong { name, inner: contender(PALISADE)? }))
    };
    vec![
        contender("none"),
        contender(PALISADE),
        wrong("open"),
        wrong("of-another-cluster"),
        wrong("asleep"),
        Err(LeftOut { name: "absent", reason: "it is not here".into() }),
    ]
}

/// Rules that let everything pass are the fastest possible, so the harness must detect that they are wrong.
#[test]
fn who_judges_wrongly_is_not_timed() {
    let cell = Cell::new(ScenarioShape::Apps, 20);
    let settings = Settings { cells: vec![cell], rounds: 3, edits: 30, ..Settings::quick() };
    let mut bench = KernelBench::new(settings, wrong_and_right, None).expect("root and nf_tables");
    let report = bench.measure(cell, &mut Progress::new(&NEVER_STOP).quiet()).expect("measured");
    let timed = |name: &str| report.series.iter().filter(|series| series.contender == name).count();
    for name in ["open", "of-another-cluster"] {
        assert_eq!(timed(name), 0, "{name} was timed");
        let reason = report.absent.iter().find(|a| a.contender == name && a.measure.is_none());
        let reason = &reason.unwrap_or_else(|| panic!("{name}: {:?}", report.absent)).reason;
        assert!(reason.contains("is not the oracle's"), "{name}: {reason}");
    }
    assert!(timed(PALISADE) > 10 && timed("none") > 3, "{:?}", report.absent);
    // Its rules are right until the first edit, which it ignores.
    let enforced = |name: &str| {
        let is_enforced = |series: &&Series| matches!(series.measure, Measure::Enforced(..));
        report.series.iter().filter(is_enforced).filter(|series| series.contender == name).count()
    };
    assert_eq!(enforced("asleep"), 0);
    assert!(report.absent.iter().any(|a| a.contender == "asleep"), "{:?}", report.absent);
    assert!(enforced(PALISADE) > 0, "{:?}", report.absent);
    let (_, left_out) = bench.contenders();
    assert!(left_out.iter().any(|a| a.contender == "absent" && a.reason == "it is not here"));
}
