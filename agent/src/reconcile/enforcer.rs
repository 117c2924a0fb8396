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
use crate::progress::{Heard, LOG_EVERY, Pace};

/// Holds the kernel's tables; no engine after a failure to open or to read them.
pub(super) struct Enforcer {
    dataplane: Option<Dataplane<Heard<Kernel>>>,
    /// Whether the kernel is known to hold the program of the last `enforce`.
    in_step: bool,
    placement: Placement,
    /// What policy speaks of and bridges hide from us.
    gaps: Vec<String>,
}

impl Enforcer {
    /// Reads what the kernel has; changes nothing. Returns the program found, to take ids from.
    pub(super) fn open() -> Result<(Self, Program), RulesetError> {
        let dataplane = Dataplane::start(heard(Kernel::open()?))?;
        let found = dataplane.found();
        let placement = Placement::default();
        let dataplane = Some(dataplane);
        Ok((Self { dataplane, in_step: false, placement, gaps: Vec::new() }, found))
    }

    pub(super) fn is_in_step(&self) -> bool {
        self.in_step
    }

    pub(super) fn is_unsettled(&self) -> bool {
        self.dataplane.as_ref().is_some_and(Dataplane::is_unsettled)
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
            let dataplane = self.engine()?;
            if delta.is_empty() && *dataplane.host() == host {
                return Ok(());
            }
            dataplane.set_host(host);
            dataplane.ruleset().begin();
            let result = dataplane.update(&delta);
            self.in_step = false;
            result?;
        } else {
            let dataplane = self.restart()?;
            dataplane.set_host(host);
            dataplane.ruleset().begin();
            dataplane.install(compiler.program())?;
        }
        self.in_step = true;
        Ok(())
    }

    /// Work that nobody waits for. Returns whether there was some.
    pub(super) fn settle(&mut self) -> Result<bool, RulesetError> {
        let Some(dataplane) = self.dataplane.as_mut().filter(|d| d.is_unsettled()) else {
            return Ok(false);
        };
        let result = dataplane.settle();
        self.in_step &= result.is_ok();
        result.map(|()| true)
    }

    /// How the kernel differs from the program. To be called when in step.
    pub(super) fn verify(&mut self, compiler: &Compiler) -> Result<Vec<Difference>, RulesetError> {
        self.engine()?.verify(compiler.program())
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

    fn engine(&mut self) -> Result<&mut Dataplane<Heard<Kernel>>, RulesetError> {
        if self.dataplane.is_none() {
            self.dataplane = Some(Dataplane::start(heard(Kernel::open()?))?);
        }
        let missing = || RulesetError::Unknown { what: "no engine".to_owned() };
        self.dataplane.as_mut().ok_or_else(missing)
    }

    /// The engine, with what the kernel has now read afresh.
    fn restart(&mut self) -> Result<&mut Dataplane<Heard<Kernel>>, RulesetError> {
        if let Some(dataplane) = self.dataplane.take() {
            self.dataplane = Some(Dataplane::start(dataplane.into_ruleset())?);
        }
        self.engine()
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

/// The log hears of long work.
fn heard(kernel: Kernel) -> Heard<Kernel> {
    let mut pace = Pace::new(LOG_EVERY);
    Heard::new(kernel, move |since, elements| {
        if pace.is_due(since, Instant::now()) {
            tracing::info!(elements, "still programming the kernel");
        }
    })
}
