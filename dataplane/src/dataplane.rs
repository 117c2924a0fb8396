//! The engine: keeps a `Ruleset` equal to a program, and says what it did.
//!
//! ```text
//! read -> sound? -> found program -> plan -> transactions, grace periods
//!           |
//!           +-- chains or rules are not as they should be: mended in place
//!           +-- more than that: a stand-in enforces beside the tables while they are deleted and built anew
//! ```
//!
//! A packet passes the tables of both names and goes on only if both allow it. So while one holds the old program and the
//! other the new one, its verdict is that of either; and while both hold the new one, each can go or come unseen.
//!
//! After any failure the ruleset is read again, so that what the engine believes is what the kernel has.

mod build;
mod keeper;
mod writer;

use palisade_compiler::program::{Delta, Program};

use crate::compare::{self, Difference};
use crate::host::HostFacts;
use crate::netlink::describe_owner;
use crate::ruleset::{Ruleset, RulesetError, TableName};
use keeper::Keeper;
use writer::Writer;

pub use writer::Counters;

/// How often a change is tried again after nftables changed under it, or its outcome was not known.
pub const ATTEMPTS: usize = 5;

/// Keeps both families' tables of a ruleset equal to a program.
#[derive(Debug)]
pub struct Dataplane<R> {
    writer: Writer<R>,
    main: Keeper,
    /// Nothing, but while the main tables are replaced, or after a process died doing so.
    stand_in: Keeper,
    /// What the tables must hold of the host.
    host: HostFacts,
}

impl<R: Ruleset> Dataplane<R> {
    /// Reads what is there and changes nothing.
    ///
    /// # Errors
    ///
    /// `Owned` if a table belongs to another live process; else those of reading.
    pub fn start(ruleset: R) -> Result<Self, RulesetError> {
        let mut writer = Writer { ruleset, counters: Counters::default() };
        let main = Keeper::read(TableName::Main, &mut writer)?;
        let stand_in = Keeper::read(TableName::StandIn, &mut writer)?;
        main.owner()
            .or(stand_in.owner())
            .map_or(Ok(()), |owner| Err(RulesetError::Owned { owner: describe_owner(owner) }))?;
        let host = main.host();
        Ok(Self { writer, main, stand_in, host })
    }

    /// What the kernel holds that a compile should take its ids from; nothing if the tables are not ours to keep.
    pub fn found(&self) -> Program {
        if self.main.is_usable() { self.main.program() } else { self.stand_in.program() }
    }

    /// The facts of the host that `verify` expects, and that the next `install` or `update` puts into force.
    pub fn host(&self) -> &HostFacts {
        &self.host
    }

    /// Sets the facts of the host that the next `install` or `update` puts into force with the program. Until then they are
    /// those that were found.
    pub fn set_host(&mut self, host: HostFacts) {
        self.host = host;
    }

    pub fn counters(&self) -> Counters {
        self.writer.counters
    }

    pub fn ruleset(&self) -> &R {
        &self.writer.ruleset
    }

    /// Ends the engine, and leaves the tables as they are.
    pub fn into_ruleset(self) -> R {
        self.writer.ruleset
    }

    /// Makes the kernel's contents those of the program: only the difference is committed, and nothing if there is none.
    ///
    /// # Errors
    ///
    /// Any of `RulesetError`; the kernel then holds the old contents or some of the new, and every packet still gets a verdict of
    /// one of them. Calling it again goes on from there.
    pub fn install(&mut self, program: &Program) -> Result<(), RulesetError> {
        for attempt in 1.. {
            let Err(error) = self.try_install(program) else { break };
            self.recover(error, attempt)?;
        }
        Ok(())
    }

    /// Puts a change of the program into force that the last `install` or `update`, which succeeded, left.
    ///
    /// # Errors
    ///
    /// As `install`; `Unknown` also if nothing is installed. After an error only `install` leads on.
    pub fn update(&mut self, delta: &Delta) -> Result<(), RulesetError> {
        if !self.main.is_sound() {
            return Err(RulesetError::Unknown { what: "no program is installed".to_owned() });
        }
        self.main.set_host(&self.host);
        let result = self.main.carry_out(&mut self.writer, delta);
        if matches!(result, Ok(true)) {
            return Ok(());
        }
        // What was planned before it failed is in the planner's program already; the delta over it changes nothing.
        let mut program = self.main.program();
        delta.apply_to(&mut program);
        if result.is_err() {
            self.writer.counters.retries += 1;
            self.read_again()?;
        }
        self.install(&program)
    }

    /// Removes what has no meaning any more, after a grace period. For when nothing else waits.
    ///
    /// # Errors
    ///
    /// As `install`; what was not removed is harmless, and removed by the next `install`.
    pub fn settle(&mut self) -> Result<(), RulesetError> {
        for attempt in 1.. {
            let Err(error) = self.main.settle(&mut self.writer) else { break };
            let program = self.main.program();
            self.recover(error, attempt)?;
            // Finds what was not removed, and has it wait again.
            self.install(&program)?;
        }
        Ok(())
    }

    /// Whether `settle` has something to do.
    pub fn is_unsettled(&self) -> bool {
        self.main.is_unsettled()
    }

    /// Deletes our tables and nothing else. No packet is denied by it that was allowed before.
    ///
    /// # Errors
    ///
    /// As `install`; calling it again goes on from there.
    pub fn remove(&mut self) -> Result<(), RulesetError> {
        self.claim()?;
        let result = self
            .main
            .delete(&mut self.writer)
            .and_then(|()| self.stand_in.delete(&mut self.writer));
        self.read_again()?;
        result
    }

    /// Reads the kernel back and names every difference from the program; empty if it is proved equal. Differences are told
    /// only if two reads agree on them.
    ///
    /// # Errors
    ///
    /// Those of reading.
    pub fn verify(&mut self, program: &Program) -> Result<Vec<Difference>, RulesetError> {
        self.settle()?;
        verify(&mut self.writer.ruleset, program, &self.host)
    }

    fn claim(&mut self) -> Result<(), RulesetError> {
        self.main.claim(&mut self.writer)?;
        self.stand_in.claim(&mut self.writer)
    }

    fn read_again(&mut self) -> Result<(), RulesetError> {
        self.main = Keeper::read(TableName::Main, &mut self.writer)?;
        self.stand_in = Keeper::read(TableName::StandIn, &mut self.writer)?;
        Ok(())
    }

    /// Reads again what a failure left; the error, if trying once more is of no use.
    fn recover(&mut self, error: RulesetError, attempt: usize) -> Result<(), RulesetError> {
        self.writer.counters.retries += 1;
        self.read_again()?;
        match error {
            RulesetError::Retry { .. }
            | RulesetError::Unknown { .. }
            | RulesetError::Full { .. }
            | RulesetError::Refused { .. }
                if attempt < ATTEMPTS =>
            {
                Ok(())
            }
            RulesetError::Retry { .. }
            | RulesetError::Unknown { .. }
            | RulesetError::Full { .. }
            | RulesetError::Refused { .. }
            | RulesetError::NotPermitted { .. }
            | RulesetError::Owned { .. }
            | RulesetError::Unsupported { .. }
            | RulesetError::Io(_) => Err(error),
        }
    }

    fn try_install(&mut self, program: &Program) -> Result<(), RulesetError> {
        self.claim()?;
        if !self.stand_in.is_in_force() {
            self.stand_in.delete(&mut self.writer)?;
        }
        if !self.main.bring(&mut self.writer, program, &self.host)? {
            self.replace(program)?;
        }
        self.dismiss()
    }

    /// Puts new tables with this program in the place of whatever is there, unseen by any packet.
    fn replace(&mut self, program: &Program) -> Result<(), RulesetError> {
        let is_enforced = self.main.is_in_force() || self.stand_in.is_in_force();
        if is_enforced {
            self.post(program)?;
            // Packets that entered before the stand-in did are judged by the main tables alone.
            self.writer.grace()?;
        }
        self.writer.counters.replaced += u64::from(self.main.is_present());
        self.main.delete(&mut self.writer)?;
        self.main.build(&mut self.writer, program, &self.host)
    }

    /// Has the stand-in enforce the program.
    fn post(&mut self, program: &Program) -> Result<(), RulesetError> {
        if !self.stand_in.is_present() {
            return self.stand_in.build(&mut self.writer, program, &self.host);
        }
        if self.stand_in.bring(&mut self.writer, program, &self.host)? {
            return Ok(());
        }
        // The tables of both names are damaged, and there is no third.
        self.stand_in.rebuild(&mut self.writer, program, &self.host)
    }

    /// Ends the stand-in's duty, once the main tables enforce the same.
    fn dismiss(&mut self) -> Result<(), RulesetError> {
        if !self.stand_in.is_present() {
            return Ok(());
        }
        self.writer.grace()?;
        self.stand_in.delete(&mut self.writer)
    }
}

/// Reads a ruleset, owned by whomever, and names every difference from the program with the host's facts; see
/// `Dataplane::verify`.
///
/// # Errors
///
/// Those of reading.
pub fn verify<R: Ruleset>(
    ruleset: &mut R,
    program: &Program,
    host: &HostFacts,
) -> Result<Vec<Difference>, RulesetError> {
    let owned = ruleset.features().persistent_owner;
    let mut last = None;
    for _ in 0..ATTEMPTS {
        // Last what is there for long: a kernel that owns it does not go on listening for others.
        let stand_in = ruleset.read(TableName::StandIn)?;
        let mut found = compare::differences(&ruleset.read(TableName::Main)?, program, host, owned);
        found.extend(compare::stand_ins(&stand_in));
        if found.is_empty() || last.as_ref() == Some(&found) {
            return Ok(found);
        }
        last = Some(found);
    }
    Err(RulesetError::Retry { what: "no two reads agreed".to_owned() })
}
