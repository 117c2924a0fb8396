//! `ebpf-hash`: a BPF program in the forward hook that looks up the compiler's program in BPF maps.
//!
//! It is meant to be as fast as such a program can be without leaving out anything that decides a verdict. A packet of a
//! connection that conntrack knows costs one comparison. Any other packet costs two hash lookups, which give the class of
//! each address and whether it is isolated. Each end that is isolated costs two more (row and port), or one if every port
//! is allowed. Prefix tries are looked up only if the hash has nothing. A packet that no policy applies to pays for the
//! lookup of its remote address too; in return, packets that policies apply to need one lookup less. In contrast to most
//! engines it has no connection map of its own, which would cost an insertion for every connection. It also lacks the
//! hairpins of Services, bridges, counters and logs of denials, and the rule about mid-stream segments. An edit changes one
//! element after another, so packets may see half of it.

mod maps;
mod program;
#[cfg(test)]
mod tests;

use std::time::Instant;

use palisade_compiler::compile::Compiler;
use palisade_compiler::model::Family;
use palisade_compiler::program::Delta;

use super::nft::Ruleset;
use super::{Contender, ContenderError, Edited, Loaded, families, nftables};
use crate::scenario::{Edit, Scenario};
use crate::sys::Link;
use maps::{Change, Maps};
use program::KernelLayout;

/// What enforces one address family.
#[derive(Debug)]
struct FamilyState {
    family: Family,
    maps: Maps,
    /// The program stays attached as long as this link exists.
    _link: Link,
}

#[derive(Debug)]
struct State {
    compiler: Compiler,
    families: Vec<FamilyState>,
}

#[derive(Debug)]
pub(super) struct EbpfHash {
    kernel: KernelLayout,
    state: Option<State>,
}

impl EbpfHash {
    /// # Errors
    /// Why this kernel or this user cannot load the program.
    pub(super) fn new() -> Result<Self, String> {
        Ok(Self { kernel: KernelLayout::find()?, state: None })
    }
}

impl Contender for EbpfHash {
    fn name(&self) -> &'static str {
        "ebpf-hash"
    }

    fn describe(&self) -> String {
        "a BPF netfilter program that finds the verdict in BPF hashes and prefix tries made from Palisade's compiled program, behind \
         `conntrack`'s rule; the fastest case: established is what conntrack says, and there is no connection map to fill"
            .to_owned()
    }

    fn load(&mut self, scenario: &Scenario) -> Result<Loaded, ContenderError> {
        // The contenders that it is compared with have the same rule, and do not time it either.
        let base = nftables::conntrack();
        Ruleset::default().commit(&base)?;
        let changes = scenario.changes();
        let started = Instant::now();
        let mut compiler = Compiler::new(scenario.locality());
        let delta = compiler.apply(changes);
        let families = families(scenario);
        let contents: Vec<(Family, Vec<Change>)> = families
            .into_iter()
            .map(|family| (family, contents(&delta, &compiler, family)))
            .collect();
        let called = Instant::now();
        let mut states = Vec::new();
        for (family, contents) in &contents {
            states.push(self.attach_family(*family, contents)?);
        }
        let (elapsed, committed) = (started.elapsed(), called.elapsed());
        self.state = Some(State { compiler, families: states });
        Ok(Loaded {
            elapsed,
            committed,
            sets: contents.len() * Maps::COUNT,
            elements: contents.iter().map(|(_, contents)| contents.len()).sum(),
            ..base.size()
        })
    }

    fn edit(&mut self, edit: &Edit) -> Result<Edited, ContenderError> {
        let change = edit.change.clone();
        let started = Instant::now();
        let state = self.state.as_mut().ok_or(ContenderError::NotLoaded)?;
        let delta = state.compiler.apply([change]);
        let called = Instant::now();
        state.follow(&delta)?;
        Ok(Edited { elapsed: started.elapsed(), committed: called.elapsed() })
    }

    fn idle(&mut self) -> Result<(), ContenderError> {
        let state = self.state.as_mut().ok_or(ContenderError::NotLoaded)?;
        while state.compiler.is_untidy() {
            let delta = state.compiler.tidy();
            if delta.is_empty() {
                break;
            }
            state.follow(&delta)?;
        }
        Ok(())
    }
}

impl EbpfHash {
    /// Fills the maps before the program is attached. Until then nothing is denied.
    fn attach_family(
        &self,
        family: Family,
        contents: &[Change],
    ) -> Result<FamilyState, ContenderError> {
        let maps = Maps::new(family, contents)?;
        maps.commit(contents)?;
        let link = program::attach(family, &self.kernel, &maps)?;
        Ok(FamilyState { family, maps, _link: link })
    }
}

impl State {
    fn follow(&self, delta: &Delta) -> Result<(), ContenderError> {
        for state in &self.families {
            state.maps.commit(&contents(delta, &self.compiler, state.family))?;
        }
        Ok(())
    }
}

fn contents(delta: &Delta, compiler: &Compiler, family: Family) -> Vec<Change> {
    maps::changes(delta.family(family), compiler.program().family(family))
}
