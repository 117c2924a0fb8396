//! `palisade`: the compiler, and the dataplane over netlink, as the agent uses them.

use std::time::Instant;

use palisade::bridged::AttachedSubjects;
use palisade::source_guard::SourceGuard;
use palisade_compiler::compile::Compiler;
use palisade_compiler::model::Family;
use palisade_compiler::program::Delta;
use palisade_compiler::program::skeleton::{self, ChainName, DenyAction, SetName};
use palisade_dataplane::dataplane::Dataplane;
use palisade_dataplane::netlink::Kernel;
use palisade_dataplane::ruleset::Ruleset as _;

use super::{Contender, ContenderError, Edited, Loaded};
use crate::process;
use crate::scenario::{Edit, Scenario};

#[derive(Debug)]
struct State {
    compiler: Compiler,
    dataplane: Dataplane<Kernel>,
    subjects: AttachedSubjects,
}

#[derive(Debug, Default)]
pub(super) struct Palisade {
    state: Option<State>,
}

impl Contender for Palisade {
    fn name(&self) -> &'static str {
        "palisade"
    }

    fn describe(&self) -> String {
        "Palisade's compiler and dataplane, over netlink in this process".to_owned()
    }

    fn load(&mut self, scenario: &Scenario) -> Result<Loaded, ContenderError> {
        let changes = scenario.changes();
        let mut dataplane = Dataplane::start(Kernel::open()?)?;
        let mut subjects =
            AttachedSubjects::open(dataplane.ruleset().features(), SourceGuard::default());
        let started = Instant::now();
        let mut compiler = Compiler::new(scenario.locality());
        let delta = compiler.apply(changes);
        subjects.update(&compiler, &delta);
        dataplane.set_host(subjects.facts().clone());
        let called = Instant::now();
        dataplane.install(compiler.program())?;
        let (elapsed, committed) = (started.elapsed(), called.elapsed());
        let chains = Family::ALL.len() * ChainName::ALL.len();
        let rules_of = |family| {
            ChainName::ALL.map(|chain| skeleton::rules(family, chain, DenyAction::Drop).len())
        };
        let loaded = Loaded {
            elapsed,
            committed,
            chains,
            rules: Family::ALL.into_iter().flat_map(rules_of).sum(),
            sets: Family::ALL.len() * SetName::ALL.len(),
            elements: compiler.program().elements(),
        };
        self.state = Some(State { compiler, dataplane, subjects });
        Ok(loaded)
    }

    fn edit(&mut self, edit: &Edit) -> Result<Edited, ContenderError> {
        let change = edit.change.clone();
        let started = Instant::now();
        let state = self.state.as_mut().ok_or(ContenderError::NotLoaded)?;
        let delta = state.compiler.apply([change]);
        // As the agent does: find the links of new subjects. The namespaces of contenders have no bridge.
        state.subjects.update(&state.compiler, &delta);
        let is_new = state.dataplane.host() != state.subjects.facts();
        if is_new {
            state.dataplane.set_host(state.subjects.facts().clone());
        }
        let called = Instant::now();
        if is_new || !delta.is_empty() {
            state.dataplane.update(&delta)?;
        }
        Ok(Edited { elapsed: started.elapsed(), committed: called.elapsed() })
    }

    fn idle(&mut self) -> Result<(), ContenderError> {
        let state = self.state.as_mut().ok_or(ContenderError::NotLoaded)?;
        while state.compiler.is_untidy() {
            let delta: Delta = state.compiler.tidy();
            if delta.is_empty() {
                break;
            }
            state.dataplane.update(&delta)?;
        }
        Ok(state.dataplane.settle()?)
    }

    fn resident(&self) -> Option<u64> {
        process::resident("self")
    }
}
