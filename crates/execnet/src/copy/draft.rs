//! Files that are written beside their place here, and what is left of them if the program is told to end.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps};

/// The name of an unfinished file begins with it.
pub(super) const DRAFT: &str = ".execnet-";

/// All that are unfinished in this program.
static UNFINISHED: Mutex<Vec<Unfinished>> = Mutex::new(Vec::new());

struct Unfinished {
    number: u64,
    folder: OwnedFd,
}

/// Deletes what copies to this machine have begun to write and not finished, for a program that is about to
/// end. No other copy may be begun after that.
pub fn drop_drafts() {
    let mut unfinished = UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner);
    for Unfinished { number, folder } in unfinished.drain(..) {
        let _ = rustix::fs::unlinkat(&folder, name(number), AtFlags::empty());
    }
    // nobody begins another one
    std::mem::forget(unfinished);
}

/// A file that is written beside its place, and is deleted unless it is kept.
#[derive(Debug)]
pub(super) struct Draft {
    file: File,
    folder: OwnedFd,
    number: u64,
    kept: bool,
}

impl Draft {
    pub(super) fn create(folder: impl AsFd) -> io::Result<Self> {
        let folder = folder.as_fd().try_clone_to_owned()?;
        let number = register(&folder)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&folder, name(number), flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => Ok(Self { file: file.into(), folder, number, kept: false }),
            Err(error) => {
                forget(number);
                Err(error.into())
            }
        }
    }

    pub(super) fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.file.write_all(data)
    }

    /// Sets mode and time, and gives it its name with `put`, which renames within the folder.
    pub(super) fn finish(
        mut self,
        mode: u32,
        time: i64,
        put: impl FnOnce(&OwnedFd, &str) -> io::Result<()>,
    ) -> io::Result<()> {
        rustix::fs::fchmod(&self.file, Mode::from_raw_mode(mode & 0o777))?;
        rustix::fs::futimens(&self.file, &times(time))?;
        put(&self.folder, &name(self.number))?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.kept {
            let _ = rustix::fs::unlinkat(&self.folder, name(self.number), AtFlags::empty());
        }
        forget(self.number);
    }
}

/// A name beside others that nothing else has.
pub(super) fn spare_name() -> String {
    name(next())
}

fn next() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn name(number: u64) -> String {
    // that of a program that was killed may still be there
    static MARK: OnceLock<u32> = OnceLock::new();
    let mark = MARK.get_or_init(|| {
        let mut bytes = [0; 4];
        let random = getrandom::fill(&mut bytes);
        random.map_or_else(|_| std::process::id(), |()| u32::from_ne_bytes(bytes))
    });
    format!("{DRAFT}{mark:08x}-{number}")
}

fn register(folder: &OwnedFd) -> io::Result<u64> {
    let number = next();
    let unfinished = Unfinished { number, folder: folder.try_clone()? };
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner).push(unfinished);
    Ok(number)
}

fn forget(number: u64) {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner).retain(|one| one.number != number);
}

/// A time in nanoseconds, as the system takes it.
pub(super) fn times(time: i64) -> Timestamps {
    let at = Timespec { tv_sec: time.div_euclid(1_000_000_000), tv_nsec: time.rem_euclid(1_000_000_000) };
    Timestamps { last_access: at, last_modification: at }
}
