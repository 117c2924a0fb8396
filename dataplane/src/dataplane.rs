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
//! After any failure the ruleset is read again, so that what the engine believes is what the kernel has. The connection to
//! the kernel stays: where tables have an owner, it is this connection, and without it anybody could write to them.

mod managed;
mod preview;
mod rehearsal;
mod sizing;
mod transactions;
mod writer;

use palisade_compiler::program::skeleton::DenyAction;
use palisade_compiler::program::{Delta, Program};

use crate::compare::{self, Difference, Structure};
use crate::host::HostFacts;
use crate::netlink::describe_owner;
use crate::ruleset::{Ruleset, RulesetError, TableName};
use managed::ManagedTables;
use sizing::Sizing;
use writer::Writer;

pub use preview::{Preview, Way};
pub use rehearsal::rehearse;
pub use sizing::Capacities;
pub use writer::Counters;

/// How often a change is tried again after nftables changed under it, or its outcome was not known.
pub const ATTEMPTS: usize = 5;

/// How tables are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    pub capacities: Capacities,
    pub deny_action: DenyAction,
}

/// Keeps both families' tables of a ruleset equal to a program.
#[derive(Debug)]
pub struct Dataplane<R> {
    writer: Writer<R>,
    main: ManagedTables,
    /// Nothing, but while the main tables are replaced, or after a process died doing so.
    stand_in: ManagedTables,
    /// What the tables must hold of the host.
    host: HostFacts,
    /// Whether these are as the kernel has them. Not after a failure, until they are read again.
    is_current: bool,
}

impl<R: Ruleset> Dataplane<R> {
    /// Reads what is there and changes nothing.
    ///
    /// # Errors
    ///
    /// `Owned` if a table belongs to another live process; else those of reading.
    pub fn start(ruleset: R) -> Result<Self, RulesetError> {
        Self::start_with(ruleset, Options::default())
    }

    /// As `start`, with other options. Tables that were made with others are brought to these by the next `install`.
    ///
    /// # Errors
    ///
    /// As `start`.
    pub fn start_with(ruleset: R, options: Options) -> Result<Self, RulesetError> {
        let mut dataplane = Self::of_nothing(ruleset, options);
        dataplane.read_again()?;
        dataplane.host = dataplane.main.host();
        Ok(dataplane)
    }

    /// As `start_with`, but tables of another live process are read, too: for `found`, `owner` and `preview`. Whatever would write
    /// to them fails with `Owned` as long as that process lives.
    ///
    /// # Errors
    ///
    /// Those of reading.
    pub fn inspect(ruleset: R, options: Options) -> Result<Self, RulesetError> {
        let mut dataplane = Self::of_nothing(ruleset, options);
        match dataplane.read_again() {
            Ok(()) | Err(RulesetError::Owned { .. }) => {}
            Err(error) => return Err(error),
        }
        dataplane.host = dataplane.main.host();
        Ok(dataplane)
    }

    fn of_nothing(ruleset: R, options: Options) -> Self {
        Self {
            writer: Writer {
                ruleset,
                counters: Counters::default(),
                sizing: Sizing::new(options.capacities),
                deny_action: options.deny_action,
            },
            main: ManagedTables::of_nothing(TableName::Main),
            stand_in: ManagedTables::of_nothing(TableName::StandIn),
            host: HostFacts::default(),
            is_current: false,
        }
    }

    /// The live process that the tables belong to, if it is another one.
    pub fn owner(&self) -> Option<String> {
        let port = self.writer.ruleset.port();
        let owner = self.main.owner_other_than(port).or(self.stand_in.owner_other_than(port));
        owner.map(describe_owner)
    }

    /// What an `install` of the program with the facts of the host would do now.
    pub fn preview(&self, program: &Program, host: &HostFacts) -> Preview {
        let tables = if self.main.is_usable() { &self.main } else { &self.stand_in };
        let preview = Preview::of(tables, program, host);
        // What the stand-in tables hold goes on in main tables that are not there yet.
        let way = if self.main.is_usable() { preview.way } else { Way::Anew };
        Preview { way, ..preview }
    }

    /// What the kernel holds that a compile should take its ids from; nothing if the tables are not ours to keep.
    pub fn found(&self) -> Program {
        if self.main.is_usable() { self.main.program() } else { self.stand_in.program() }
    }

    /// Whether packets are judged by tables of ours, as they were last read.
    pub fn is_in_force(&self) -> bool {
        self.main.is_in_force() || self.stand_in.is_in_force()
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

    /// Ends the engine, and leaves the tables as they are. They have no owner any more when the ruleset is dropped.
    pub fn into_ruleset(self) -> R {
        self.writer.ruleset
    }

    /// Makes the kernel's contents those of the program: only the difference is committed, and nothing if there is none.
    ///
    /// After an error of anything, or if `verify` found a difference, the kernel is read first. So whatever happened, calling this
    /// on the same object is what leads on; it keeps the ownership of the tables over every failure but that of a dead socket.
    ///
    /// # Errors
    ///
    /// Any of `RulesetError`; the kernel then holds the old contents or some of the new, and every packet still gets a verdict of
    /// one of them. Calling it again goes on from there. `Owned` only if another live process owns a table.
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
        self.expect_current()?;
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
        if let Err(error) = result {
            self.note_failure(&error);
            self.read_after(&error)?;
        }
        self.install(&program)
    }

    /// Removes what has no meaning any more, after a grace period. For when nothing else waits.
    ///
    /// # Errors
    ///
    /// As `install`; what was not removed is harmless, and removed by the next `install`.
    pub fn settle(&mut self) -> Result<(), RulesetError> {
        self.expect_current()?;
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
        self.is_current && self.main.is_unsettled()
    }

    /// Deletes our tables and nothing else. No packet is denied by it that was allowed before.
    ///
    /// # Errors
    ///
    /// As `install`; calling it again goes on from there.
    pub fn remove(&mut self) -> Result<(), RulesetError> {
        if !self.is_current {
            self.read_again()?;
        }
        self.is_current = false;
        self.claim()?;
        let result = self
            .main
            .delete(&mut self.writer)
            .and_then(|()| self.stand_in.delete(&mut self.writer));
        self.read_again()?;
        result
    }

    /// Reads the kernel back and names every difference from the program; empty if it is proved equal. Differences are reported
    /// only if two reads agree on them. If there are any, or after an error, only `install` leads on.
    ///
    /// # Errors
    ///
    /// Those of reading, and of `settle`.
    pub fn verify(&mut self, program: &Program) -> Result<Vec<Difference>, RulesetError> {
        self.settle()?;
        let differences =
            verify(&mut self.writer.ruleset, program, &self.host, self.writer.deny_action);
        // After a failed read, too, the next `install` reads first: it opens a dead socket anew.
        self.is_current &= differences.as_ref().is_ok_and(Vec::is_empty);
        differences
    }

    fn claim(&mut self) -> Result<(), RulesetError> {
        self.main.claim(&mut self.writer)?;
        self.stand_in.claim(&mut self.writer)
    }

    fn expect_current(&self) -> Result<(), RulesetError> {
        if self.is_current {
            return Ok(());
        }
        let what = "what the kernel holds after a failure: install the program again".to_owned();
        Err(RulesetError::Unknown { what })
    }

    fn read_again(&mut self) -> Result<(), RulesetError> {
        self.is_current = false;
        self.main = ManagedTables::read(TableName::Main, &mut self.writer)?;
        self.stand_in = ManagedTables::read(TableName::StandIn, &mut self.writer)?;
        self.owner().map_or(Ok(()), |owner| Err(RulesetError::Owned { owner }))?;
        self.is_current = true;
        Ok(())
    }

    /// Notes a failure, after which nothing is certain.
    fn note_failure(&mut self, error: &RulesetError) {
        self.is_current = false;
        if let RulesetError::Full { family, set } = error {
            self.writer.sizing.note_full(*family, set.set);
        }
    }

    /// Reads again what a failure left.
    fn read_after(&mut self, error: &RulesetError) -> Result<(), RulesetError> {
        self.writer.counters.retries += 1;
        if error.is_dead_socket() {
            self.writer.ruleset.reopen()?;
            self.writer.counters.reopened += 1;
        }
        self.read_again()
    }

    /// Prepares another attempt after a failure; the error, if that is of no use.
    fn recover(&mut self, error: RulesetError, attempt: usize) -> Result<(), RulesetError> {
        self.note_failure(&error);
        let may_pass = match &error {
            RulesetError::Retry { .. }
            | RulesetError::Unknown { .. }
            | RulesetError::Full { .. }
            | RulesetError::Refused { .. } => true,
            RulesetError::Io(_) => error.is_dead_socket(),
            RulesetError::NotPermitted { .. }
            | RulesetError::Owned { .. }
            | RulesetError::Unsupported { .. } => false,
        };
        if may_pass && attempt < ATTEMPTS { self.read_after(&error) } else { Err(error) }
    }

    fn try_install(&mut self, program: &Program) -> Result<(), RulesetError> {
        if !self.is_current {
            self.read_again()?;
        }
        self.claim()?;
        if !self.stand_in.is_in_force() {
            self.stand_in.delete(&mut self.writer)?;
        }
        if !self.main.bring(&mut self.writer, program, &self.host)? {
            self.replace(program)?;
        }
        self.remove_stand_in()
    }

    /// Puts new tables with this program in the place of whatever is there, unseen by any packet.
    fn replace(&mut self, program: &Program) -> Result<(), RulesetError> {
        let is_enforced = self.main.is_in_force() || self.stand_in.is_in_force();
        if is_enforced {
            self.bring_stand_in(program)?;
            // Packets that entered before the stand-in did are judged by the main tables alone.
            self.writer.grace()?;
        }
        self.writer.counters.replaced += u64::from(self.main.is_present());
        self.main.delete(&mut self.writer)?;
        self.main.build(&mut self.writer, program, &self.host)
    }

    /// Has the stand-in enforce the program.
    fn bring_stand_in(&mut self, program: &Program) -> Result<(), RulesetError> {
        if !self.stand_in.is_present() {
            return self.stand_in.build(&mut self.writer, program, &self.host);
        }
        if self.stand_in.bring(&mut self.writer, program, &self.host)? {
            return Ok(());
        }
        // The tables of both names are damaged, and there is no third.
        self.stand_in.rebuild(&mut self.writer, program, &self.host)
    }

    /// Takes the stand-in away, once the main tables enforce the same.
    fn remove_stand_in(&mut self) -> Result<(), RulesetError> {
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
    deny_action: DenyAction,
) -> Result<Vec<Difference>, RulesetError> {
    let expected = Structure { owned: ruleset.features().persistent_owner, deny_action };
    let mut last = None;
    for _ in 0..ATTEMPTS {
        // Last what is there for long: a kernel that owns it does not go on listening for others.
        let stand_in = ruleset.read(TableName::StandIn)?;
        let mut found =
            compare::differences(&ruleset.read(TableName::Main)?, program, host, expected);
        found.extend(compare::stand_ins(&stand_in));
        if found.is_empty() || last.as_ref() == Some(&found) {
            return Ok(found);
        }
        last = Some(found);
    }
    Err(RulesetError::Retry { what: "no two reads agreed".to_owned() })
}
