//! A queue of bytes whose memory is in proportion to them, however small the pieces were.

use std::collections::VecDeque;
use std::fmt;

use bytes::{Bytes, BytesMut};

/// Chunks below this size are copied together, so small DATA frames cannot cost many times their bytes.
const SMALL: usize = 8_192;

/// Chunks below this size are copied; as slices they would keep alive the whole 256 KiB that were read with
/// them.
const SHARED: usize = 32_768;

/// Bytes in order, cheap to append to and to take from; small chunks are copied together.
#[derive(Default)]
pub struct Chunks {
    queue: VecDeque<Bytes>,
    tail: BytesMut,
    len: usize,
}

impl fmt::Debug for Chunks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunks({} bytes)", self.len)
    }
}

impl Chunks {
    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends bytes.
    pub fn push(&mut self, bytes: Bytes) {
        self.len += bytes.len();
        if bytes.len() < SMALL {
            self.tail.extend_from_slice(&bytes);
            if self.tail.len() >= SMALL {
                self.flush();
            }
        } else {
            self.flush();
            self.queue.push_back(if bytes.len() < SHARED { Bytes::copy_from_slice(&bytes) } else { bytes });
        }
    }

    /// Takes at most `max` bytes from the front; fewer if a chunk ends before. Empty only if there are none.
    pub fn pop(&mut self, max: usize) -> Bytes {
        if self.queue.is_empty() {
            self.flush();
        }
        let Some(front) = self.queue.front_mut() else { return Bytes::new() };
        let bytes =
            if front.len() <= max { self.queue.pop_front().unwrap_or_default() } else { front.split_to(max) };
        self.len -= bytes.len();
        bytes
    }

    /// Drops `count` bytes from the front.
    pub fn skip(&mut self, mut count: usize) {
        while count > 0 && !self.is_empty() {
            let before = self.queue.front().map_or(0, Bytes::len);
            let part = self.pop(count).len();
            count -= part;
            // once for each chunk, however often a bit of it is dropped
            if let Some(rest) = self.queue.front_mut().filter(|_| before > part)
                && before >= SHARED
                && rest.len() < SHARED
            {
                *rest = Bytes::copy_from_slice(rest);
            }
        }
    }

    /// Keeps only the first `len` bytes.
    pub(super) fn truncate(&mut self, len: usize) {
        if len < self.len {
            self.flush();
        }
        while len < self.len {
            let Some(back) = self.queue.back_mut() else { return };
            let drop = back.len().min(self.len - len);
            back.truncate(back.len() - drop);
            self.len -= drop;
            if back.is_empty() {
                self.queue.pop_back();
            }
        }
    }

    /// At most `max` bytes from `offset` on, without taking them.
    pub fn peek(&mut self, offset: usize, max: usize) -> Bytes {
        if offset >= self.len - self.tail.len() {
            self.flush();
        }
        let mut skip = offset;
        for chunk in &self.queue {
            if skip < chunk.len() {
                return chunk.slice(skip..chunk.len().min(skip.saturating_add(max)));
            }
            skip -= chunk.len();
        }
        Bytes::new()
    }

    /// Drops all bytes.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn flush(&mut self) {
        if !self.tail.is_empty() {
            // a copy of exact size: a frozen BytesMut would pin its whole capacity
            self.queue.push_back(Bytes::copy_from_slice(&self.tail));
            self.tail.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_part_does_not_keep_what_was_read_with_it() {
        let mut chunks = Chunks::default();
        for (length, kept) in [(100, false), (SMALL, false), (SHARED - 1, false), (SHARED, true)] {
            let read = Bytes::from(vec![7; 262_144]);
            chunks.push(read.slice(1_000..1_000 + length));
            assert_eq!(read.is_unique(), !kept, "{length}");
        }
        assert_eq!(chunks.len(), 100 + SMALL + 2 * SHARED - 1);
    }

    #[test]
    fn a_small_rest_does_not_keep_what_was_dropped() {
        let mut chunks = Chunks::default();
        let read: Bytes = (0..SHARED + 10).map(|at| at as u8).collect();
        chunks.push(read.clone());
        chunks.push(read.clone());
        chunks.skip(10);
        assert!(!read.is_unique(), "the rest is large");
        chunks.skip(1);
        assert_eq!(chunks.pop(usize::MAX), read[11..]);
        chunks.skip(SHARED);
        assert!(read.is_unique());
        assert_eq!(chunks.pop(usize::MAX), read[SHARED..]);
        assert!(chunks.is_empty());
    }

    #[test]
    fn small_pieces_do_not_cost_many_times_their_bytes() {
        let mut chunks = Chunks::default();
        for _ in 0..100_000 {
            chunks.push(Bytes::from_static(b"x"));
        }
        assert!(chunks.queue.len() <= 100_000 / SMALL + 1);
        assert_eq!(chunks.peek(99_999, 10).len(), 1);
        chunks.skip(99_999);
        assert_eq!(chunks.pop(10).len(), 1);
        assert!(chunks.is_empty());
    }
}
