//! The program -> the kernel: claims the tables, keeps them equal, compares and heals.

use std::time::Instant;

use palisade_compiler::compile::Compiler;
use palisade_compiler::program::{Delta, Program, TablesDelta};
use palisade_dataplane::bridges::Placement;
use palisade_dataplane::compare::Difference;
use palisade_dataplane::dataplane::Dataplane;
use palisade_dataplane::netlink::Kernel;
use palisade_dataplane::ruleset::RulesetError;

use crate::bridged;
use crate::ipvs;
use crate::progress::{LOG_EVERY, ObservedRuleset, Pace};

/// Holds the kernel's tables as long as it lives: where tables have an owner it is the engine's socket, so the engine is never
/// dropped for a failure.
pub(super) struct Enforcer {
    dataplane: Dataplane<ObservedRuleset<Kernel>>,
    /// Whether the kernel is known to hold the program of the last `enforce`.
    in_step: bool,
    placement: Placement,
    /// What policy speaks of and bridges hide from us.
    gaps: Vec<String>,
}

impl Enforcer {
    /// Reads what the kernel has; changes nothing. Returns the program found, to take ids from.
    pub(super) fn open(owns_tables: bool) -> Result<(Self, Program), RulesetError> {
        let kernel = if owns_tables { Kernel::open()? } else { Kernel::open_without_owner()? };
        let dataplane = Dataplane::start(logged(kernel))?;
        let found = dataplane.found();
        let placement = Placement::default();
        Ok((Self { dataplane, in_step: false, placement, gaps: Vec::new() }, found))
    }

    pub(super) fn is_in_step(&self) -> bool {
        self.in_step
    }

    pub(super) fn is_unsettled(&self) -> bool {
        self.dataplane.is_unsettled()
    }

    /// The kernel may hold anything: the next `enforce` reads it.
    pub(super) fn lose_step(&mut self) {
        self.in_step = false;
    }

    /// Puts the compiler's program into force, of which `delta` is what changed since the last time. Bridges are looked for
    /// where subjects came or went, and if `look` says so: it takes the kernel an answer for each subject.
    pub(super) fn enforce(
        &mut self,
        compiler: &Compiler,
        delta: Delta,
        look: bool,
    ) -> Result<(), RulesetError> {
        let moved = |d: &TablesDelta| !d.local_in.is_empty() || !d.local_out.is_empty();
        if look || !self.in_step || moved(&delta.v4) || moved(&delta.v6) {
            self.look_at_bridges(compiler.program());
        }
        // What is bridged must be seen before anything claims that it is judged.
        self.switch_on();
        let host = bridged::facts(&self.placement);
        if self.in_step {
            if delta.is_empty() && *self.dataplane.host() == host {
                return Ok(());
            }
            self.dataplane.set_host(host);
            self.dataplane.ruleset().begin();
            let result = self.dataplane.update(&delta);
            self.in_step = false;
            result?;
        } else {
            self.dataplane.set_host(host);
            self.dataplane.ruleset().begin();
            self.dataplane.install(compiler.program())?;
        }
        self.in_step = true;
        Ok(())
    }

    /// Deletes from the kernel what no packet can meet any more, after a grace period.
    pub(super) fn settle(&mut self) -> Result<(), RulesetError> {
        let result = self.dataplane.settle();
        self.in_step &= result.is_ok();
        result
    }

    /// How the kernel differs from the program. To be called when in step.
    pub(super) fn verify(&mut self, compiler: &Compiler) -> Result<Vec<Difference>, RulesetError> {
        self.dataplane.verify(compiler.program())
    }

    pub(super) fn bridge_names(&self) -> Vec<String> {
        let name = |index: &u32| {
            nix::net::if_::if_indextoname(*index)
                .ok()
                .and_then(|name| name.into_string().ok())
                .unwrap_or_else(|| format!("interface {index}"))
        };
        self.placement.bridges.iter().map(name).collect()
    }

    /// What policy speaks of and this host's forward path does not show us.
    pub(super) fn not_enforced(&self) -> Vec<String> {
        self.gaps.iter().cloned().chain(ipvs::gap()).collect()
    }

    fn look_at_bridges(&mut self, program: &Program) {
        match bridged::find(program) {
            Ok(placement) => self.placement = placement,
            Err(error) => {
                tracing::warn!(%error, "the bridges of this host's pods cannot be found; those known stay");
            }
        }
    }

    fn switch_on(&mut self) {
        let switched = bridged::switch_on(&self.placement);
        for family in switched.were_off {
            tracing::info!(?family, "bridged packets now pass nftables (br_netfilter)");
        }
        self.gaps = switched.gaps;
    }
}

/// Logs the progress of long work.
fn logged(kernel: Kernel) -> ObservedRuleset<Kernel> {
    let mut pace = Pace::new(LOG_EVERY);
    ObservedRuleset::new(kernel, move |since, elements| {
        if pace.is_due(since, Instant::now()) {
            tracing::info!(elements, "still programming the kernel");
        }
    })
}
