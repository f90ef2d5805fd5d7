//! An unlinked file for what is too long for memory, in blocks that are used again.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes of a block, and so the most of a text that is held in memory.
pub(super) const BLOCK: usize = 16 * 1024;

/// The file is made when it is needed, in `$TMPDIR` or `/tmp`.
#[derive(Debug, Default)]
pub(crate) struct Spill {
    file: Option<File>,
    blocks: u32,
    free: Vec<u32>,
}

impl Spill {
    /// Stores a block.
    pub(super) fn put(&mut self, bytes: &[u8]) -> io::Result<u32> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile().map_err(|error| in_folder(&error))?),
        };
        let block = self.free.pop().unwrap_or_else(|| {
            self.blocks += 1;
            self.blocks - 1
        });
        match file.write_all_at(bytes, u64::from(block) * BLOCK as u64) {
            Ok(()) => Ok(block),
            Err(error) => {
                self.free.push(block);
                Err(in_folder(&error))
            }
        }
    }

    /// Reads a block.
    pub(super) fn get(&self, block: u32, bytes: &mut [u8]) -> io::Result<()> {
        let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        file.read_exact_at(bytes, u64::from(block) * BLOCK as u64).map_err(|error| in_folder(&error))
    }

    /// Nobody needs these blocks any more.
    pub(super) fn give_back(&mut self, blocks: impl IntoIterator<Item = u32>) {
        self.free.extend(blocks);
    }

    /// How many blocks the file has.
    #[cfg(test)]
    pub(super) fn blocks(&self) -> u32 {
        self.blocks
    }
}

/// The error with the folder in which there may be no room.
fn in_folder(error: &io::Error) -> io::Error {
    let folder = std::env::temp_dir();
    let message = format!("cannot keep long answers in {} ($TMPDIR): {error}", folder.display());
    io::Error::new(error.kind(), message)
}
