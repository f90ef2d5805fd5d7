//! Keeps the memory of a large received value for the next one. Fresh memory costs a page fault per 4 KiB,
//! which is almost half of the client's time if values of 1 MB follow each other.

use std::mem;
use std::ops::RangeInclusive;
use std::sync::Mutex;

use bytes::Bytes;

/// Sizes worth keeping, and small enough to keep.
const KEPT: RangeInclusive<usize> = 128 << 10..=4 << 20;

/// For the whole program.
pub(super) static SPARE: Spare = Spare(Mutex::new(Vec::new()));

/// See the module's documentation. Never blocks: in a forked child, the holder of the lock may not exist.
pub(super) struct Spare(Mutex<Vec<u8>>);

impl Spare {
    /// An empty buffer for a payload of this length: the kept memory, if it fits.
    pub(super) fn take(&self, length: usize) -> Vec<u8> {
        match self.0.try_lock() {
            Ok(mut memory) if KEPT.contains(&length) => mem::take(&mut *memory),
            _ => Vec::new(),
        }
    }

    /// Keeps the memory of a payload, unless it is shared.
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
    fn memory_too_large_to_keep_is_not_kept() {
        let spare = Spare(Mutex::default());
        spare.give(vec![7; KEPT.end() + 1].into());
        assert_eq!(spare.take(1 << 20).capacity(), 0);
    }
}
