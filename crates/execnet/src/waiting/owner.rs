//! Which process something belongs to. A forked child must not touch it.

use std::sync::atomic::{AtomicU32, Ordering};

use super::halt::Halt;

/// The process that made it.
#[derive(Debug)]
pub(crate) struct Owner(AtomicU32);

impl Default for Owner {
    fn default() -> Self {
        Self(AtomicU32::new(std::process::id()))
    }
}

impl Owner {
    /// Whether this is a forked child. Then nothing may be touched, least of all locks: their holders do not
    /// exist here.
    pub(crate) fn is_forked(&self) -> bool {
        std::process::id() != self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn check(&self) -> Result<(), Halt> {
        if self.is_forked() { Err(Halt::Forked) } else { Ok(()) }
    }

    /// Behaves as in a forked child, or as usual again.
    #[cfg(test)]
    pub(crate) fn pretend_to_be_forked(&self, forked: bool) {
        self.0.store(if forked { 0 } else { std::process::id() }, Ordering::Relaxed);
    }
}
