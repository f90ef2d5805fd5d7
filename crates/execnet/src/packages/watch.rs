//! Whether files and folders are still as they were when something was made from them.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// Clocks of file systems are coarse: a file that is written twice within this time may look the same.
const COARSE: Duration = Duration::from_millis(100);

/// What something was made from.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Watch {
    /// Before the first of them was read.
    started: Option<SystemTime>,
    stamps: BTreeMap<PathBuf, Option<Stamp>>,
    /// Files that count only by being there.
    present: Vec<(PathBuf, u32)>,
}

/// What changes when a file or a folder does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    device: u64,
    inode: u64,
    mode: u32,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Watch {
    /// Call this before the first file is read.
    pub(super) fn start() -> Self {
        Self { started: Some(SystemTime::now()), ..Self::default() }
    }

    /// As if nothing had changed lately.
    #[cfg(test)]
    pub(super) fn settled() -> Self {
        let started = SystemTime::now().checked_add(Duration::from_secs(1));
        Self { started, ..Self::default() }
    }

    /// Watches what this path leads to, or that there is nothing.
    pub(super) fn path(&mut self, path: &Path) {
        if !self.stamps.contains_key(path) {
            self.stamps.insert(path.to_owned(), Stamp::of(path));
        }
    }

    /// Watches that a file is there, and whether it can be executed: its content is somebody else's care.
    pub(super) fn file(&mut self, path: PathBuf, metadata: &Metadata) {
        self.present.push((path, metadata.mode()));
    }

    /// Watches a file's content, which is read after these metadata were.
    pub(super) fn content(&mut self, path: PathBuf, metadata: &Metadata) {
        self.stamps.entry(path).or_insert(Some(Stamp::new(metadata)));
    }

    /// Whether all is as it was.
    pub(super) fn holds(&self) -> bool {
        let Some(started) = self.started else { return false };
        // what changed so late may have changed again, with the same stamp
        let late = started - COARSE;
        let late = late.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let late = (late.as_secs() as i64, i64::from(late.subsec_nanos()));
        let same = |(path, stamp): (&PathBuf, &Option<Stamp>)| {
            Stamp::of(path) == *stamp && stamp.is_none_or(|stamp| stamp.changed < late)
        };
        let present = |(path, mode): &(PathBuf, u32)| {
            std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.mode() == *mode)
        };
        self.stamps.iter().all(same) && self.present.iter().all(present)
    }
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().as_ref().map(Self::new)
    }

    fn new(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            mode: metadata.mode(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}
