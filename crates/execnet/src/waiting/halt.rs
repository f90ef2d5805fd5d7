//! How long a wait may take, and why it ended early.

use std::time::{Duration, Instant};

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
