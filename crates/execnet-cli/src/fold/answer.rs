//! What a host wrote: its length and hash, and the bytes.

use std::io::{self, Write};

use base64::engine::general_purpose::STANDARD;
use base64::write::EncoderWriter;
use execnet_proto::text;
use sha2::{Digest, Sha256};

use super::End;
use super::spill::{BLOCK, Spill};
use crate::lines::LONGEST;

/// What a host wrote to stdout and stderr.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) out: Text,
    pub(crate) err: Text,
}

/// Equal for equal answers, and for no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key(pub(super) [u8; 32]);

/// One stream.
#[derive(Debug, Default)]
pub(crate) struct Text {
    hash: Sha256,
    length: u64,
    /// Full blocks in the file, in order.
    blocks: Vec<u32>,
    /// What follows, less than a block.
    tail: Vec<u8>,
    lines: u64,
    unfinished: bool,
    utf8: Utf8,
}

/// Whether bytes that come in pieces are UTF-8.
#[derive(Debug, Default)]
struct Utf8 {
    wrong: bool,
    /// The beginning of a character.
    begun: Vec<u8>,
}

impl Answer {
    /// Nobody needs it any more.
    pub(crate) fn drop_from(self, spill: &mut Spill) {
        spill.give_back(self.out.blocks);
        spill.give_back(self.err.blocks);
    }

    /// In bytes.
    pub(crate) fn length(&self) -> u64 {
        self.out.length + self.err.length
    }

    /// How much of it is in the file, in blocks.
    pub(crate) fn blocks(&self) -> usize {
        self.out.blocks.len() + self.err.blocks.len()
    }

    pub(super) fn key(&self, end: &End) -> Key {
        let mut hash = Sha256::new();
        for text in [&self.out, &self.err] {
            hash.update(text.length.to_be_bytes());
            hash.update(text.hash.clone().finalize());
        }
        if let End::Failed(words) = end {
            hash.update([1]);
            hash.update(words);
        }
        Key(hash.finalize().into())
    }
}

impl Text {
    /// Adds bytes, and takes away those that are kept. Full blocks go to the file.
    ///
    /// # Errors
    /// If the file takes no more.
    pub(crate) fn push(&mut self, bytes: &mut &[u8], spill: &mut Spill) -> io::Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK - self.tail.len()));
            if now.len() == BLOCK {
                self.blocks.push(spill.put(now)?);
            } else {
                let before = self.tail.len();
                self.tail.extend_from_slice(now);
                if self.tail.len() == BLOCK {
                    let block = spill.put(&self.tail).inspect_err(|_| self.tail.truncate(before))?;
                    self.blocks.push(block);
                    self.tail.clear();
                }
            }
            self.hash.update(now);
            self.length += now.len() as u64;
            self.lines += now.iter().filter(|byte| **byte == b'\n').count() as u64;
            self.unfinished = !now.ends_with(b"\n");
            self.utf8.push(now);
            *bytes = later;
        }
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Whether it is one line, with or without its end, that is shown in one piece.
    pub(super) fn is_line(&self) -> bool {
        self.lines + u64::from(self.unfinished) == 1 && self.length <= LONGEST as u64
    }

    /// Calls `piece` with its bytes in order.
    pub(super) fn each(&self, spill: &Spill, mut piece: impl FnMut(&[u8])) -> io::Result<()> {
        let mut bytes = [0; BLOCK];
        for block in &self.blocks {
            spill.get(*block, &mut bytes)?;
            piece(&bytes);
        }
        piece(&self.tail);
        Ok(())
    }

    /// Writes it as a JSON value: a string, or `{"$bytes": "base64"}` if it is not UTF-8.
    pub(super) fn json(&self, spill: &Spill, out: &mut impl Write) -> io::Result<()> {
        let mut written = Ok(());
        if self.utf8.is_wrong() {
            out.write_all(b"{\"$bytes\": \"")?;
            let mut encoder = EncoderWriter::new(&mut *out, &STANDARD);
            self.each(spill, |piece| {
                if written.is_ok() {
                    written = encoder.write_all(piece);
                }
            })?;
            written?;
            encoder.finish()?;
            drop(encoder);
            return out.write_all(b"\"}");
        }
        out.write_all(b"\"")?;
        let mut rest: Vec<u8> = Vec::new();
        self.each(spill, |piece| {
            rest.extend_from_slice(piece);
            let whole = match std::str::from_utf8(&rest) {
                Ok(text) => text.len(),
                Err(error) => error.valid_up_to(),
            };
            let later = rest.split_off(whole);
            let piece = String::from_utf8(std::mem::replace(&mut rest, later)).unwrap_or_default();
            if written.is_ok() {
                let json = text::json(&serde_json::Value::from(piece).to_string());
                written = out.write_all(&json.as_bytes()[1..json.len() - 1]);
            }
        })?;
        written.and_then(|()| out.write_all(b"\""))
    }
}

impl Utf8 {
    fn push(&mut self, bytes: &[u8]) {
        if self.wrong {
            return;
        }
        let mut bytes = bytes;
        // finish the character that has begun
        while !self.begun.is_empty() && !self.wrong {
            let Some((first, rest)) = bytes.split_first() else { return };
            self.begun.push(*first);
            bytes = rest;
            match std::str::from_utf8(&self.begun) {
                Ok(_) => self.begun.clear(),
                Err(error) => self.wrong = error.error_len().is_some(),
            }
        }
        match std::str::from_utf8(bytes) {
            Ok(_) => {}
            Err(error) if error.error_len().is_none() => {
                self.begun.extend_from_slice(&bytes[error.valid_up_to()..]);
            }
            Err(_) => self.wrong = true,
        }
    }

    fn is_wrong(&self) -> bool {
        self.wrong || !self.begun.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8], piece: usize, spill: &mut Spill) -> Text {
        let mut text = Text::default();
        bytes.chunks(piece).for_each(|mut piece| text.push(&mut piece, spill).unwrap());
        text
    }

    fn read(text: &Text, spill: &Spill) -> Vec<u8> {
        let mut all = Vec::new();
        text.each(spill, |piece| all.extend_from_slice(piece)).unwrap();
        all
    }

    fn json(text: &Text, spill: &Spill) -> serde_json::Value {
        let mut out = Vec::new();
        text.json(spill, &mut out).unwrap();
        assert!(!out.contains(&0x1b), "nothing may control a terminal");
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn bytes_come_back_as_they_went_in_and_blocks_are_used_again() {
        let mut spill = Spill::default();
        let bytes: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 10 * BLOCK, 300_007] {
            for piece in [7, BLOCK, 65_536] {
                let out = text(&bytes[..length], piece, &mut spill);
                assert_eq!(read(&out, &spill), bytes[..length], "{length} {piece}");
                assert!(out.tail.len() < BLOCK);
                Answer { out, err: Text::default() }.drop_from(&mut spill);
            }
        }
        assert_eq!(spill.blocks(), (300_007 / BLOCK) as u32);
    }

    #[test]
    fn answers_are_equal_only_if_both_streams_and_the_end_are() {
        let mut spill = Spill::default();
        let failed = End::Failed("exited with status 1".into());
        let mut key = |out: &[u8], err: &[u8], end: &End, piece| {
            let (out, err) = (text(out, piece, &mut spill), text(err, piece, &mut spill));
            Answer { out, err }.key(end)
        };
        let keys = [
            key(b"ab", b"", &End::Fine, 1),
            key(b"a", b"b", &End::Fine, 1),
            key(b"", b"ab", &End::Fine, 1),
            key(b"ab\n", b"", &End::Fine, 1),
            key(b"ab", b"", &failed, 1),
        ];
        let different: std::collections::BTreeSet<_> = keys.iter().collect();
        assert_eq!(different.len(), keys.len());
        assert_eq!(key(b"ab", b"", &End::Fine, 2), keys[0], "however it came");
    }

    #[test]
    fn json_is_text_where_it_can_be() {
        let mut spill = Spill::default();
        let long = "aé\u{1F40D}\u{1b}\n".repeat(20_000);
        for piece in [1, 3, 4096] {
            let good = text(long.as_bytes(), piece, &mut spill);
            assert_eq!(json(&good, &spill), long.as_str());
        }
        for (bytes, encoded) in [(&b"\xff"[..], "/w=="), (b"a\xc3", "YcM="), (b"\xc3(", "wyg=")] {
            let bad = text(bytes, 1, &mut spill);
            assert_eq!(json(&bad, &spill), serde_json::json!({"$bytes": encoded}));
        }
        assert_eq!(json(&Text::default(), &spill), "");
    }

    #[test]
    fn a_single_line_may_lack_its_end() {
        let mut spill = Spill::default();
        let is_line = |bytes: &[u8], spill: &mut Spill| text(bytes, 2, spill).is_line();
        assert!(is_line(b"6.1.0\n", &mut spill) && is_line(b"6.1.0", &mut spill));
        assert!(is_line(b"\n", &mut spill));
        assert!(!is_line(b"a\nb", &mut spill) && !is_line(b"a\n\n", &mut spill) && !is_line(b"", &mut spill));
    }
}
