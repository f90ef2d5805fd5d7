//! The memory in which a large value came, kept for the next one: fresh memory costs a page fault for each 4 KiB of it, almost half of the
//! client's time where values of 1 MB come one after the other.

use std::mem;
use std::ops::RangeInclusive;
use std::sync::Mutex;

use bytes::Bytes;

/// Sizes that are worth it, and that a program may be left with.
const KEPT: RangeInclusive<usize> = 128 << 10..=4 << 20;

/// That of the whole program.
pub(super) static SPARE: Spare = Spare(Mutex::new(Vec::new()));

/// See the module's documentation. Never waits: a child that the program forked may find the lock held by nobody.
pub(super) struct Spare(Mutex<Vec<u8>>);

impl Spare {
    /// An empty payload that is to have this length: with room if there is some to spare.
    pub(super) fn take(&self, length: usize) -> Vec<u8> {
        match self.0.try_lock() {
            Ok(mut memory) if KEPT.contains(&length) => mem::take(&mut *memory),
            _ => Vec::new(),
        }
    }

    /// Keeps the memory of a payload, unless somebody else has it too.
    pub(super) fn give(&self, payload: Bytes) {
        if KEPT.contains(&payload.len())
            && let Ok(payload) = payload.try_into_mut()
            && let Ok(mut memory) = self.0.try_lock()
        {
            *memory = payload.into();
            memory.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_once_nobody_has_it() {
        let spare = Spare(Mutex::default());
        let one = Bytes::from(vec![7; 1 << 20]);
        let (place, other) = (one.as_ptr(), one.clone());
        spare.give(one);
        assert_eq!(spare.take(1 << 20).capacity(), 0);
        spare.give(other);
        assert_eq!(spare.take(1 << 10).capacity(), 0, "a small one needs none");
        let again = spare.take(1 << 20);
        assert_eq!((again.as_ptr(), again.len(), again.capacity()), (place, 0, 1 << 20));
        assert_eq!(spare.take(1 << 20).capacity(), 0, "it is taken");
    }

    #[test]
    fn what_is_too_large_to_keep_is_not_kept() {
        let spare = Spare(Mutex::default());
        spare.give(vec![7; KEPT.end() + 1].into());
        assert_eq!(spare.take(1 << 20).capacity(), 0);
    }
}
