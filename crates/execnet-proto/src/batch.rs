//! Output for the next write: small frames are copied together, large payloads are kept as they are.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

/// Payloads below this size are copied.
const SMALL: usize = 4_096;

/// Collects the bytes that a connection has to send.
pub trait Sink {
    /// Number of bytes in it.
    fn len(&self) -> usize;

    /// Whether it holds no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The end of it, to append to.
    fn tail(&mut self) -> &mut BytesMut;

    /// Appends bytes; the sink may keep them instead of a copy.
    fn share(&mut self, bytes: Bytes);
}

impl Sink for BytesMut {
    fn len(&self) -> usize {
        Self::len(self)
    }

    fn tail(&mut self) -> &mut BytesMut {
        self
    }

    fn share(&mut self, bytes: Bytes) {
        self.extend_from_slice(&bytes);
    }
}

/// A [`Sink`] for one gathering write: `writev` or `sendmsg`.
#[derive(Debug, Default)]
pub struct Batch {
    parts: VecDeque<Bytes>,
    /// Bytes in `parts`.
    sealed: usize,
    tail: BytesMut,
}

impl Sink for Batch {
    fn len(&self) -> usize {
        self.sealed + self.tail.len()
    }

    fn tail(&mut self) -> &mut BytesMut {
        &mut self.tail
    }

    fn share(&mut self, bytes: Bytes) {
        if bytes.len() < SMALL {
            self.tail.extend_from_slice(&bytes);
            return;
        }
        self.sealed += self.tail.len() + bytes.len();
        if !self.tail.is_empty() {
            self.parts.push_back(self.tail.split().freeze());
        }
        self.parts.push_back(bytes);
    }
}

impl Batch {
    /// The most slices that [`Batch::slices`] returns.
    pub const PARTS: usize = 16;

    /// The first bytes, for one write.
    pub fn slices(&self) -> ([IoSlice<'_>; Self::PARTS], usize) {
        let mut slices = [IoSlice::new(&[]); Self::PARTS];
        let mut count = 0;
        let parts = self.parts.iter().map(|part| &part[..]);
        for (slice, part) in
            slices.iter_mut().zip(parts.chain([&self.tail[..]]).filter(|part| !part.is_empty()))
        {
            *slice = IoSlice::new(part);
            count += 1;
        }
        (slices, count)
    }

    /// Drops this many bytes, which were written.
    ///
    /// # Panics
    /// If it holds fewer.
    pub fn advance(&mut self, mut count: usize) {
        while let Some(front) = self.parts.front_mut() {
            if count < front.len() {
                front.advance(count);
                self.sealed -= count;
                return;
            }
            count -= front.len();
            self.sealed -= front.len();
            self.parts.pop_front();
        }
        self.tail.advance(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_in_order_however_they_went_in_and_are_taken() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..200 {
            let (mut batch, mut all) = (Batch::default(), BytesMut::new());
            for _ in 0..random.usize(0..40) {
                let mut bytes = vec![0; random.usize(0..9_000)];
                random.fill(&mut bytes);
                let bytes = Bytes::from(bytes);
                if random.bool() {
                    batch.share(bytes.clone());
                    all.share(bytes);
                } else {
                    batch.tail().extend_from_slice(&bytes);
                    all.tail().extend_from_slice(&bytes);
                }
            }
            while !batch.is_empty() {
                assert_eq!(batch.len(), all.len());
                let (slices, count) = batch.slices();
                let some: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
                assert!(!some.is_empty() && all.starts_with(&some));
                let taken = random.usize(1..=some.len());
                batch.advance(taken);
                all.advance(taken);
            }
            assert!(all.is_empty());
        }
    }
}
