//! The frames between a gateway and its kernel (docs/kernel.md, section 2), as bytes.

use std::borrow::Cow;
use std::collections::VecDeque;

use bytes::Bytes;

use super::spare::SPARE;
use crate::value::{HEAD, MAX_LENGTH};

/// What the kernel sends first.
pub(crate) const MARKER: &[u8] = b"\r\nexecnet kernel 1\r\n";

/// How much of an error's text is kept, in bytes.
pub(super) const MAX_ERROR: usize = 1 << 20;

/// How long HELLO may be, unless the kernel is kept.
pub(super) const MAX_HELLO: usize = 1 << 16;

/// The most that a payload's buffer grows before its bytes have arrived.
const AHEAD: usize = 1 << 20;

macro_rules! kinds {
    ($($name:ident $code:literal),+ $(,)?) => {
        /// The kind of a frame.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(crate) enum Kind { $($name = $code),+ }

        impl Kind {
            /// All of them.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name),+];
        }
    };
}

kinds! {
    Hello 1, Exec 2, Data 3, Close 4, Last 5, Credit 6, Status 7, StrConfig 8, Exit 9, Escaped 10,
    Interrupt 11, Packages 12, Files 13, Took 14, Name 15,
}

impl Kind {
    /// The payload lengths that the kernel may send; none if it may not send this kind.
    fn lengths(self) -> Option<std::ops::RangeInclusive<usize>> {
        Some(match self {
            Self::Status => 1..=MAX_HELLO,
            Self::Hello | Self::Packages => 1..=1 << 20,
            Self::Name => 1..=1 << 12,
            Self::Data | Self::Escaped => 1..=MAX_LENGTH,
            Self::Close => 0..=MAX_LENGTH,
            Self::Last => 0..=0,
            Self::Credit | Self::Took => 8..=8,
            Self::StrConfig => 2..=2,
            Self::Exec | Self::Exit | Self::Interrupt | Self::Files => return None,
        })
    }

    /// How much of the payload is kept. The text of an error may have any length; its beginning has to
    /// suffice.
    fn kept(self, length: usize) -> usize {
        if self == Self::Close { length.min(MAX_ERROR) } else { length }
    }
}

/// A received frame.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) kind: Kind,
    pub(crate) channel: u32,
    /// For CLOSE at most the first [`MAX_ERROR`] bytes.
    pub(crate) payload: Cow<'a, [u8]>,
    /// The length of the whole payload.
    pub(crate) length: usize,
}

/// The head of a frame.
pub(crate) fn head(kind: Kind, channel: u32, length: usize) -> [u8; HEAD] {
    let mut head = [kind as u8; HEAD];
    head[1..5].copy_from_slice(&channel.to_be_bytes());
    head[5..].copy_from_slice(&(length as u32).to_be_bytes());
    head
}

/// A whole frame.
pub(crate) fn frame(kind: Kind, channel: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = head(kind, channel, payload.len()).to_vec();
    frame.extend_from_slice(payload);
    frame
}

/// Splits a stream of bytes into frames.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    head: [u8; HEAD],
    have: usize,
    payload: Vec<u8>,
    /// How many bytes after the kept part of the payload have passed.
    passed: usize,
}

impl Decoder {
    /// The next complete frame, taken off `input`. Without a frame, all of `input` was taken. A payload may
    /// have at most `room` bytes.
    pub(crate) fn next<'a>(
        &mut self,
        input: &mut &'a [u8],
        room: usize,
    ) -> Result<Option<Frame<'a>>, String> {
        if self.have < HEAD {
            let more = input.len().min(HEAD - self.have);
            let (part, rest) = input.split_at(more);
            self.head[self.have..self.have + more].copy_from_slice(part);
            self.have += more;
            *input = rest;
            if self.have < HEAD {
                return Ok(None);
            }
        }
        let (kind, channel, length) = self.parse(room)?;
        let kept = kind.kept(length);
        let payload = if self.payload.is_empty() && input.len() >= length {
            let (payload, rest) = input.split_at(length);
            *input = rest;
            payload[..kept].into()
        } else {
            let missing = kept - self.payload.len();
            let (part, rest) = input.split_at(input.len().min(missing));
            if self.payload.capacity() == 0 {
                self.payload = SPARE.take(length);
            }
            if self.payload.capacity() - self.payload.len() < part.len() {
                let more = part.len().max(self.payload.len()).max(AHEAD).min(missing);
                self.payload.reserve_exact(more);
            }
            self.payload.extend_from_slice(part);
            let pass = rest.len().min(length - kept - self.passed);
            self.passed += pass;
            *input = &rest[pass..];
            if self.payload.len() + self.passed < length {
                return Ok(None);
            }
            self.passed = 0;
            std::mem::take(&mut self.payload).into()
        };
        self.have = 0;
        Ok(Some(Frame { kind, channel, payload, length }))
    }

    fn parse(&self, room: usize) -> Result<(Kind, u32, usize), String> {
        let [code, a, b, c, d, length @ ..] = self.head;
        let kind = Kind::ALL.iter().copied().find(|&kind| kind as u8 == code);
        let lengths = kind.and_then(Kind::lengths);
        let (Some(kind), Some(lengths)) = (kind, lengths) else {
            return Err(format!("a frame of unknown kind {code}"));
        };
        let length = u32::from_be_bytes(length) as usize;
        if !lengths.contains(&length) {
            return Err(format!("a frame {kind:?} of {length} bytes"));
        }
        if kind.kept(length) > room {
            return Err("more than 1 GiB of unreceived data".into());
        }
        Ok((kind, u32::from_be_bytes([a, b, c, d]), length))
    }
}

/// Joins small frames into one piece of about `most` bytes.
pub(super) fn gather(first: &Bytes, queue: &mut VecDeque<Bytes>, most: usize) -> Bytes {
    let mut batch = first.to_vec();
    while let Some(next) = queue.front()
        && batch.len() + next.len() <= most
    {
        batch.extend_from_slice(next);
        queue.pop_front();
    }
    batch.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(bytes: &[u8], size: usize) -> Result<Vec<(Kind, u32, Vec<u8>)>, String> {
        let (mut decoder, mut frames) = (Decoder::default(), Vec::new());
        for mut part in bytes.chunks(size) {
            while let Some(frame) = decoder.next(&mut part, MAX_LENGTH)? {
                frames.push((frame.kind, frame.channel, frame.payload.into_owned()));
            }
            assert!(part.is_empty());
        }
        Ok(frames)
    }

    #[test]
    fn frames_are_the_same_however_their_bytes_come() {
        let long = vec![7; 100_000];
        let bytes =
            [frame(Kind::Data, 1, b"N"), frame(Kind::Last, 2, b""), frame(Kind::Data, 1 << 31, &long)]
                .concat();
        let whole = decode(&bytes, bytes.len()).unwrap();
        assert_eq!(whole.len(), 3);
        assert_eq!(whole[2], (Kind::Data, 1 << 31, long));
        for size in [1, 2, 9, 10, 1_000] {
            assert_eq!(decode(&bytes, size).unwrap(), whole);
        }
    }

    #[test]
    fn frames_that_the_kernel_may_not_send_are_errors() {
        for bad in [
            frame(Kind::Exec, 1, b"N"),
            frame(Kind::Data, 1, b""),
            frame(Kind::Credit, 1, b"1234567"),
            vec![3, 0, 0, 0, 1, 0x40, 0, 0, 0],
            vec![99, 0, 0, 0, 1, 0, 0, 0, 0],
        ] {
            assert!(decode(&bad, 3).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn of_the_text_of_an_error_the_beginning_is_kept() {
        let long = frame(Kind::Close, 1, &vec![b'x'; 3 * MAX_ERROR]);
        let bytes = [&long[..], &frame(Kind::Data, 1, b"N")].concat();
        for size in [bytes.len(), 65_536, 65_537] {
            let (mut decoder, mut seen) = (Decoder::default(), Vec::new());
            for mut part in bytes.chunks(size) {
                while let Some(frame) = decoder.next(&mut part, MAX_LENGTH).unwrap() {
                    seen.push((frame.kind, frame.payload.len(), frame.length));
                }
                assert!(decoder.payload.capacity() <= 2 * MAX_ERROR);
            }
            assert_eq!(seen, [(Kind::Close, MAX_ERROR, 3 * MAX_ERROR), (Kind::Data, 1, 1)]);
        }
    }

    #[test]
    fn an_announced_length_takes_no_memory() {
        let mut decoder = Decoder::default();
        let mut input = &[3, 0, 0, 0, 1, 0x3f, 0xff, 0xff, 0xff, b'N'][..];
        assert!(decoder.next(&mut input, MAX_LENGTH).unwrap().is_none());
        assert!(decoder.payload.capacity() <= 2 * AHEAD);
    }
}
