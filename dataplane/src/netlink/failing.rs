//! Receptions that fail on demand, for the tests of this crate.

use std::cell::RefCell;
use std::collections::VecDeque;

/// What the next receptions come to; `None` for what is there.
#[derive(Default)]
pub(super) struct Failing(RefCell<VecDeque<Option<nix::Error>>>);

impl Failing {
    /// Has the reception after so many others fail.
    pub(super) fn fail(&self, after: usize, errno: nix::Error) {
        let mut next: VecDeque<_> = (0..after).map(|_| None).collect();
        next.push_back(Some(errno));
        *self.0.borrow_mut() = next;
    }

    /// Whether none is to fail any more.
    pub(super) fn is_over(&self) -> bool {
        self.0.borrow().is_empty()
    }

    pub(super) fn next(&self) -> Option<nix::Error> {
        self.0.borrow_mut().pop_front().flatten()
    }
}
