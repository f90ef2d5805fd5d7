//! Sends files, and notices when one is no longer what its manifest says.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Instant;

use sha2::{Digest, Sha256};

use super::beneath::{self, Stamp};
use super::hashes;
use super::manifest::{Entry, Hash};
use super::plan::{File, Source};
use super::progress::Progress;
use super::squeeze::{BLOCK, Squeeze};
use super::supply::{Link, Trouble};
use crate::value::HEAD;

/// A file has changed since its manifest was made: which, and how that shows.
#[derive(Debug)]
pub(super) struct Changed(pub(super) PathBuf, pub(super) String);

/// Why not all files were sent.
pub(super) enum Halt {
    Changed(Changed),
    Trouble(Trouble),
}

/// Files on their way, cut into blocks.
pub(super) struct Sending<'a> {
    link: &'a mut dyn Link,
    progress: &'a mut Progress,
    squeeze: Squeeze,
    block: Vec<u8>,
}

impl<'a> Sending<'a> {
    pub(super) fn new(link: &'a mut dyn Link, progress: &'a mut Progress) -> Self {
        Self { link, progress, squeeze: Squeeze::new(), block: Vec::with_capacity(BLOCK) }
    }

    /// Sends these files, one after the other.
    pub(super) fn all(mut self, files: &[(&File, &Entry)]) -> Result<(), Halt> {
        for (file, entry) in files {
            match &file.source {
                Source::Bytes(bytes) => self.put(bytes).map_err(Halt::Trouble)?,
                Source::Path { root, file } => self.file(root, file, entry)?,
            }
            self.progress.sent_file();
        }
        self.flush().map_err(Halt::Trouble)
    }

    fn file(&mut self, root: &Path, file: &Path, entry: &Entry) -> Result<(), Halt> {
        let path = || root.join(file);
        let (mut source, stamp) = match beneath::open(root, file) {
            Ok(opened) => opened,
            Err(error) => return Err(Halt::Changed(Changed(path(), error.to_string()))),
        };
        let changed = || {
            hashes::forget(&stamp);
            Halt::Changed(Changed(path(), "it changes while it is sent".into()))
        };
        if (stamp.size, mtime(&stamp)) != (entry.size, entry.mtime) {
            return Err(changed());
        }
        let mut digest = Sha256::new();
        let mut left = entry.size;
        while left > 0 {
            let begun = self.block.len();
            let most = left.min((BLOCK - begun) as u64) as usize;
            self.block.resize(begun + most, 0);
            let count = match source.read(&mut self.block[begun..]) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    self.block.truncate(begun);
                    continue;
                }
                Err(error) => return Err(Halt::Changed(Changed(path(), error.to_string()))),
            };
            if count == 0 {
                return Err(changed());
            }
            self.block.truncate(begun + count);
            digest.update(&self.block[begun..]);
            left -= count as u64;
            // its last bytes do not leave before its hash is known: the kernel would refuse it
            if left > 0 && self.block.len() == BLOCK {
                self.flush().map_err(Halt::Trouble)?;
            }
        }
        let hash: Hash = digest.finalize().into();
        if hash != entry.hash {
            return Err(changed());
        }
        if self.block.len() == BLOCK { self.flush().map_err(Halt::Trouble) } else { Ok(()) }
    }

    fn put(&mut self, mut bytes: &[u8]) -> Result<(), Trouble> {
        while !bytes.is_empty() {
            let (part, rest) = bytes.split_at(bytes.len().min(BLOCK - self.block.len()));
            self.block.extend_from_slice(part);
            bytes = rest;
            if self.block.len() == BLOCK {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Trouble> {
        if self.block.is_empty() {
            return Ok(());
        }
        let payload = self.squeeze.block(&self.block, HEAD);
        let (size, begun) = (payload.len(), Instant::now());
        self.link.files(payload)?;
        self.squeeze.sent(size, begun.elapsed());
        self.progress.sent_bytes(self.block.len() as u64);
        self.block.clear();
        Ok(())
    }
}

/// In whole seconds, within what compiled files can hold.
pub(super) fn mtime(stamp: &Stamp) -> u32 {
    u32::try_from(stamp.mtime.0.max(0)).unwrap_or(u32::MAX)
}
