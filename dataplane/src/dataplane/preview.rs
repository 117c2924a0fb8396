//! What an `install` would do, without doing it.

use palisade_compiler::program::{Delta, Program};

use super::managed::ManagedTables;
use crate::compare::Soundness;
use crate::host::{HostDelta, HostFacts};
use crate::plan::Step;

/// What an `install` would change, and how.
#[derive(Debug)]
pub struct Preview {
    pub delta: Delta,
    pub host: HostDelta,
    pub way: Way,
}

/// How an `install` would come to its program.
#[derive(Debug)]
pub enum Way {
    /// The tables stay.
    InPlace {
        /// Whether chains and rules that are not as they should be are written anew first.
        mends: bool,
        steps: Vec<Step>,
    },
    /// The tables are made anew. Where there are some in force, stand-in tables enforce meanwhile.
    Anew,
}

impl Preview {
    /// How many elements come, go or change.
    pub fn changed(&self) -> usize {
        self.delta.len() + self.host.len()
    }

    /// How many transactions it takes; `None` where the tables are made anew: by how many is not known before.
    pub fn transactions(&self) -> Option<usize> {
        match &self.way {
            Way::InPlace { steps, .. } => {
                Some(steps.iter().filter(|step| matches!(step, Step::Commit(_))).count())
            }
            Way::Anew => None,
        }
    }

    /// Of tables as they were read.
    pub(super) fn of(tables: &ManagedTables, program: &Program, host: &HostFacts) -> Self {
        let (found, held) = (tables.program(), tables.host());
        let delta = Delta::between(&found, program);
        let way = match tables.soundness() {
            Soundness::Table => Way::Anew,
            soundness @ (Soundness::Sound | Soundness::Mendable) => {
                tables.steps_to(&delta, host).map_or(Way::Anew, |steps| Way::InPlace {
                    mends: soundness == Soundness::Mendable,
                    steps,
                })
            }
        };
        Self { delta, host: HostDelta::between(&held, host), way }
    }
}
