//! Reads files that are sent, block by block.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::packages::beneath;

/// Why a file is not sent, as the half on hosts says it, too.
const SHRUNK: &str = "it has shrunk while it was read";
const UNSIZED: &str = "it does not say its size, as files in /proc; read it with `execnet run`";

/// A file that is opened when it is first read.
pub(super) struct Source<'a> {
    pub(super) folder: &'a Path,
    pub(super) name: &'a Path,
    pub(super) file: Option<File>,
}

impl Source<'_> {
    /// Its bytes from `offset` on. `length` is 0 for a file that was listed as empty.
    ///
    /// # Errors
    /// If it is shorter than that, or has content without a size.
    pub(super) fn read(&mut self, offset: u64, length: u64) -> io::Result<Bytes> {
        let file = self.open()?;
        if length == 0 && file.metadata()?.len() == 0 && file.read_at(&mut [0], 0)? > 0 {
            return Err(io::Error::other(UNSIZED));
        }
        let mut block = vec![0; length as usize];
        let mut filled = 0;
        while filled < block.len() {
            match file.read_at(&mut block[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if filled < block.len() {
            return Err(io::Error::other(SHRUNK));
        }
        Ok(block.into())
    }

    pub(super) fn digest(&mut self) -> io::Result<[u8; 32]> {
        digest(self.open()?)
    }

    fn open(&mut self) -> io::Result<&mut File> {
        match &mut self.file {
            Some(file) => Ok(file),
            none => Ok(none.insert(beneath::open(self.folder, self.name)?.0)),
        }
    }
}

/// The SHA-256 of a file that was just opened.
pub(super) fn digest(file: &mut File) -> io::Result<[u8; 32]> {
    let mut sha = Sha256::new();
    let mut block = vec![0; 1 << 18];
    loop {
        match file.read(&mut block) {
            Ok(0) => return Ok(sha.finalize().into()),
            Ok(count) => sha.update(&block[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
