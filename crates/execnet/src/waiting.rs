//! Waiting, for all of this crate. Knows nothing of networks or gateways.
//!
//! A [`Room`] is a state behind a lock on which threads wait for conditions, and a source that one of them reads meanwhile. A thread that waits reads the
//! source itself when nobody else does, so a message wakes one thread. A [`Monitor`] is a value that threads wait on and nobody reads for.
//! [`Interrupt`] ends the wait of a thread wherever it is: what a thread sleeps at is all that it knows, as [`Sleeps`].

mod interrupt;
mod monitor;
mod owner;
mod room;
mod waker;

use std::time::{Duration, Instant};

pub use interrupt::Interrupt;
pub(crate) use interrupt::Sleeps;
pub(crate) use monitor::Monitor;
pub(crate) use owner::Owner;
pub(crate) use room::{Alarm, Base, Guard, Room, Seat, Turn, Waiters};
pub(crate) use waker::{Waker, poll};

/// Why a wait ended without its condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Halt {
    TimedOut,
    Interrupted,
    Forked,
}

/// When a wait of this length ends. `None`, and a time past the end of the clock, mean no limit.
pub(crate) fn deadline(timeout: impl Into<Option<Duration>>) -> Option<Instant> {
    timeout.into().and_then(|timeout| Instant::now().checked_add(timeout))
}

/// How much time is left; `None` means no limit.
pub(crate) fn left(deadline: Option<Instant>) -> Option<Duration> {
    deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
}
