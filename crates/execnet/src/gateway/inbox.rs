//! Values that have arrived on a channel and were not received yet. Small ones share memory: a million of
//! them cost little more than their bytes.

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Values below this size share memory.
const SMALL: usize = 4_096;

/// The overhead of a value, in bytes.
const PREFIX: usize = 4;

const ESCAPED: u32 = 1 << 31;
const LARGE: u32 = 1 << 30;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    /// For each value its length, with the flags above, then its bytes if it is small.
    values: BytesMut,
    large: VecDeque<Bytes>,
    /// Values that were given back. The last one comes out first, before all others.
    returned: Vec<(Bytes, bool)>,
    /// The bytes of all values, including their overhead.
    held: usize,
}

impl Inbox {
    pub(crate) fn push(&mut self, value: std::borrow::Cow<'_, [u8]>, escaped: bool) {
        let mark = if escaped { ESCAPED } else { 0 };
        self.held += Self::cost(value.len());
        if value.len() < SMALL {
            self.values.put_u32(value.len() as u32 | mark);
            self.values.put_slice(&value);
        } else {
            self.values.put_u32(value.len() as u32 | mark | LARGE);
            self.large.push_back(value.into_owned().into());
        }
    }

    /// The first value, and whether it has escapes.
    pub(crate) fn pop(&mut self) -> Option<(Bytes, bool)> {
        if let Some((value, escaped)) = self.returned.pop() {
            self.held -= Self::cost(value.len());
            return Some((value, escaped));
        }
        if self.values.is_empty() {
            return None;
        }
        let prefix = self.values.get_u32();
        let length = (prefix & (LARGE - 1)) as usize;
        let value = if prefix & LARGE != 0 {
            self.large.pop_front().unwrap_or_default()
        } else {
            let value = Bytes::copy_from_slice(&self.values[..length]);
            self.values.advance(length);
            value
        };
        self.held -= Self::cost(length);
        if self.values.is_empty() {
            if self.values.capacity() > 16 * SMALL {
                self.values = BytesMut::new();
            } else {
                self.values.clear();
            }
        }
        Some((value, prefix & ESCAPED != 0))
    }

    /// Puts back the value that came out last.
    pub(crate) fn give_back(&mut self, value: Bytes, escaped: bool) {
        self.held += Self::cost(value.len());
        self.returned.push((value, escaped));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.values.is_empty() && self.returned.is_empty()
    }

    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// The cost of a value with this length.
    pub(crate) fn cost(length: usize) -> usize {
        length + PREFIX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_out_as_they_went_in() {
        let mut inbox = Inbox::default();
        let lengths = [1, SMALL - 1, SMALL, 100_000, 2];
        for round in 0..100_usize {
            for length in lengths {
                inbox.push(vec![round as u8; length].into(), length == SMALL);
            }
            if round % 2 == 1 {
                for old in [round - 1, round] {
                    for length in lengths {
                        let (value, escaped) = inbox.pop().unwrap();
                        assert_eq!((value.len(), escaped), (length, length == SMALL));
                        assert!(value.iter().all(|&byte| byte == old as u8));
                    }
                }
                assert!(inbox.is_empty() && inbox.held() == 0);
            }
        }
        assert_eq!(inbox.pop(), None);
    }

    #[test]
    fn values_given_back_come_out_before_the_others() {
        let mut inbox = Inbox::default();
        for length in [1, SMALL, 2] {
            inbox.push(vec![7; length].into(), length == 1);
        }
        let first = inbox.pop().unwrap();
        let second = inbox.pop().unwrap();
        inbox.give_back(second.0, second.1);
        inbox.give_back(first.0, first.1);
        assert_eq!(inbox.held(), 3 * PREFIX + 3 + SMALL);
        let lengths: Vec<_> =
            std::iter::from_fn(|| inbox.pop()).map(|(value, escaped)| (value.len(), escaped)).collect();
        assert_eq!(lengths, [(1, true), (SMALL, false), (2, false)]);
        assert!(inbox.is_empty() && inbox.held() == 0);
    }

    #[test]
    fn a_million_small_values_cost_little_more_than_their_bytes() {
        let mut inbox = Inbox::default();
        for _ in 0..1_000_000 {
            inbox.push(b"N"[..].into(), false);
        }
        assert!(inbox.values.capacity() <= 2 * inbox.held());
        assert_eq!(inbox.held(), 1_000_000 * (1 + PREFIX));
    }
}
