//! Blocks of files that were read or hashed for one target and may be wanted by others. A target that is
//! slower than the others finds nothing here and reads by itself, so memory stays bounded.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;

/// What is kept at most, in bytes: of blocks, and of digests.
const MOST: u64 = 16 << 20;

/// What a block costs besides its bytes.
const OVERHEAD: u64 = 256;

/// A file in a listing: its batch, and its number there.
pub(super) type FileId = (usize, u32);

type Slot<T> = Arc<OnceLock<Result<T, Arc<io::Error>>>>;

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct Blocks {
    kept: Mutex<Kept<(FileId, u64), Bytes>>,
    digests: Mutex<Kept<FileId, [u8; 32]>>,
}

#[derive(Debug)]
struct Kept<K, T> {
    slots: HashMap<K, Slot<T>>,
    /// With the bytes of each.
    order: VecDeque<(K, u64)>,
    bytes: u64,
}

impl Blocks {
    /// The block of a file at this offset, of about `length` bytes. Who comes first reads it.
    pub(super) fn block(
        &self,
        file: FileId,
        offset: u64,
        length: u64,
        read: impl FnOnce() -> io::Result<Bytes>,
    ) -> Result<Bytes, Arc<io::Error>> {
        let slot = self.kept.lock().unwrap_or_else(PoisonError::into_inner).slot((file, offset), length);
        slot.get_or_init(|| read().map_err(Arc::new)).clone()
    }

    /// The SHA-256 of a file.
    pub(super) fn digest(
        &self,
        file: FileId,
        hash: impl FnOnce() -> io::Result<[u8; 32]>,
    ) -> Result<[u8; 32], Arc<io::Error>> {
        let slot = self.digests.lock().unwrap_or_else(PoisonError::into_inner).slot(file, 32);
        slot.get_or_init(|| hash().map_err(Arc::new)).clone()
    }
}

impl<K, T> Default for Kept<K, T> {
    fn default() -> Self {
        Self { slots: HashMap::new(), order: VecDeque::new(), bytes: 0 }
    }
}

impl<K: Copy + Eq + Hash, T> Kept<K, T> {
    fn slot(&mut self, key: K, length: u64) -> Slot<T> {
        if let Some(slot) = self.slots.get(&key) {
            return slot.clone();
        }
        let cost = length + OVERHEAD;
        self.bytes += cost;
        self.order.push_back((key, cost));
        while self.bytes > MOST
            && let Some((oldest, cost)) = self.order.pop_front()
        {
            self.bytes -= cost;
            self.slots.remove(&oldest);
        }
        self.slots.entry(key).or_default().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_read_once_as_long_as_there_is_room() {
        let blocks = Blocks::default();
        let reads = std::cell::Cell::new(0);
        let read = |offset: u64| {
            let block = blocks.block((0, 1), offset, 1 << 18, || {
                reads.set(reads.get() + 1);
                Ok(Bytes::from(vec![offset as u8; 1 << 18]))
            });
            assert_eq!(block.unwrap()[7], offset as u8);
        };
        (0..50).for_each(read);
        (0..50).for_each(read);
        assert_eq!(reads.get(), 50);
        (0..300).for_each(read);
        read(0);
        assert_eq!(reads.get(), 301);
        let kept = blocks.kept.lock().unwrap();
        assert!(kept.bytes <= MOST && kept.slots.len() == kept.order.len() && kept.slots.len() < 64);
    }

    #[test]
    fn digests_of_any_number_of_files_take_little_memory() {
        let blocks = Blocks::default();
        for file in 0..100_000 {
            blocks.digest((file, 0), || Ok([0; 32])).unwrap();
        }
        blocks.digest((99_999, 0), || unreachable!("it is kept")).unwrap();
        assert!(blocks.digests.lock().unwrap().slots.len() < 60_000);
    }
}
