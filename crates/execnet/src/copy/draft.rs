//! Files that are written beside their place here, and what is left of them if the program is told to end.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps};

/// The name of an unfinished file begins with it.
pub(super) const DRAFT: &str = ".execnet-";

/// All that are unfinished in this program: their numbers and folders. Locked while one is made, so that none
/// escapes [`drop_drafts`].
static UNFINISHED: Mutex<Vec<(u64, Arc<OwnedFd>)>> = Mutex::new(Vec::new());

/// Deletes what copies to this machine have begun to write and not finished, for a program that is about to
/// end. No other copy may be begun after that.
pub fn drop_drafts() {
    let mut unfinished = unfinished();
    for (number, folder) in unfinished.drain(..) {
        let _ = rustix::fs::unlinkat(&folder, name(number), AtFlags::empty());
    }
    // nobody begins another one
    std::mem::forget(unfinished);
}

/// A file that is written beside its place, and is deleted unless it is kept.
#[derive(Debug)]
pub(super) struct Draft {
    file: File,
    spare: Spare,
}

impl Draft {
    pub(super) fn create(folder: &Arc<OwnedFd>) -> io::Result<Self> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (file, spare) = Spare::make(folder, |folder, name| {
            Ok(rustix::fs::openat(folder, name, flags, Mode::RUSR | Mode::WUSR)?)
        })?;
        Ok(Self { file: file.into(), spare })
    }

    pub(super) fn write(&mut self, data: &[u8]) -> io::Result<()> {
        self.file.write_all(data)
    }

    /// Sets mode and time, and gives it its name with `put`, which renames within the folder.
    pub(super) fn finish(
        self,
        mode: u32,
        time: i64,
        put: impl FnOnce(&OwnedFd, &str) -> io::Result<()>,
    ) -> io::Result<()> {
        rustix::fs::fchmod(&self.file, Mode::from_raw_mode(mode & 0o777))?;
        rustix::fs::futimens(&self.file, &times(time))?;
        self.spare.put(put)
    }
}

/// Something that has a name of ours until it gets its own, and is deleted if it does not.
#[derive(Debug)]
pub(super) struct Spare {
    folder: Arc<OwnedFd>,
    number: u64,
    kept: bool,
}

impl Spare {
    /// Makes it under a name that nothing else has.
    pub(super) fn make<T>(
        folder: &Arc<OwnedFd>,
        make: impl FnOnce(&OwnedFd, &str) -> io::Result<T>,
    ) -> io::Result<(T, Self)> {
        let mut unfinished = unfinished();
        let number = next();
        let made = make(folder, &name(number))?;
        unfinished.push((number, folder.clone()));
        Ok((made, Self { folder: folder.clone(), number, kept: false }))
    }

    /// Gives it its name with `put`, which renames within the folder.
    pub(super) fn put(mut self, put: impl FnOnce(&OwnedFd, &str) -> io::Result<()>) -> io::Result<()> {
        put(&self.folder, &name(self.number))?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        if !self.kept {
            let _ = rustix::fs::unlinkat(&self.folder, name(self.number), AtFlags::empty());
        }
        unfinished().retain(|(number, _)| *number != self.number);
    }
}

fn unfinished() -> MutexGuard<'static, Vec<(u64, Arc<OwnedFd>)>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
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

/// A time in nanoseconds, as the system takes it.
pub(super) fn times(time: i64) -> Timestamps {
    let at = Timespec { tv_sec: time.div_euclid(1_000_000_000), tv_nsec: time.rem_euclid(1_000_000_000) };
    Timestamps { last_access: at, last_modification: at }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_unfinished_is_unknown_to_who_tidies_up() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Arc::new(OwnedFd::from(File::open(folder.path()).unwrap()));
        let known = |spare: &Spare| unfinished().iter().any(|(number, _)| *number == spare.number);
        let make = |folder: &OwnedFd, name: &str| {
            assert!(UNFINISHED.try_lock().is_err(), "it can be tidied up before it is known");
            Ok(rustix::fs::symlinkat("x", folder, name)?)
        };
        let ((), spare) = Spare::make(&open(), make).unwrap();
        assert!(known(&spare));
        let number = spare.number;
        spare.put(|folder, name| Ok(rustix::fs::renameat(folder, name, folder, "link")?)).unwrap();
        let ((), dropped) = Spare::make(&open(), make).unwrap();
        drop(dropped);
        assert!(unfinished().iter().all(|(one, _)| *one != number));
        let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(names.collect::<Vec<_>>(), ["link"]);
    }
}
