//! A folder here that files from a host come to. Every path is walked below it, name by name, and no link is
//! followed.

use std::collections::BTreeSet;
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::draft::{DRAFT, Draft, Spare, times};
use super::local;

/// Seconds. An unfinished file that nobody wrote to for so long was left by a copy that was killed.
const LEFT: i64 = 600;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Place {
    top: Arc<OwnedFd>,
    /// The folder that was used last, and its path.
    open: Option<(Vec<u8>, Arc<OwnedFd>)>,
}

impl Place {
    /// The folder `name` in `folder`, which is made if it is not there.
    pub(super) fn new(folder: &Path, name: &str) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let folder = File::open(folder)?;
        match rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(0o777)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let top = rustix::fs::openat(&folder, name, FOLDER, Mode::empty())?;
        Ok(Self { top: Arc::new(top), open: None })
    }

    /// The same, but nothing is made: what is not there counts as an empty folder.
    pub(super) fn only_read(folder: &Path, name: &str) -> io::Result<Self> {
        let top = match rustix::fs::open(folder.join(name), FOLDER, Mode::empty()) {
            Err(Errno::NOENT) => File::open(tempfile::tempdir()?.path())?.into(),
            top => top?,
        };
        Ok(Self { top: Arc::new(top), open: None })
    }

    /// A folder below the top.
    pub(super) fn folder(&mut self, path: &[u8]) -> io::Result<&Arc<OwnedFd>> {
        if path.is_empty() {
            return Ok(&self.top);
        }
        if self.open.as_ref().is_none_or(|(open, _)| open != path) {
            let mut at = None;
            for name in path.split(|byte| *byte == b'/') {
                at =
                    Some(rustix::fs::openat(at.as_ref().unwrap_or(&*self.top), name, FOLDER, Mode::empty())?);
            }
            self.open = at.map(|at| (path.to_vec(), Arc::new(at)));
        }
        self.open.as_ref().map(|(_, folder)| folder).ok_or_else(|| Errno::NOENT.into())
    }

    /// Makes sure that there is a folder which can be written. True if it was not there. With `dry` it may
    /// not be there after that.
    pub(super) fn make(&mut self, path: &[u8], dry: bool) -> io::Result<bool> {
        let (above, name) = split(path);
        if name.is_empty() {
            return Ok(false);
        }
        let above = match self.folder(above) {
            Ok(above) => above.clone(),
            Err(_) if dry => return Ok(true),
            Err(error) => return Err(error),
        };
        match look(&above, name)? {
            Some(found) if is(&found, FileType::Directory) => {
                if !dry {
                    make_writable(&above, name, &found)?;
                }
                return Ok(false);
            }
            Some(found) if !is_ordinary(&found) => return Err(special()),
            _ if dry => return Ok(true),
            Some(_) => rustix::fs::unlinkat(&above, name, AtFlags::empty())?,
            None => {}
        }
        self.open = None;
        rustix::fs::mkdirat(&above, name, Mode::RWXU)?;
        Ok(true)
    }

    /// What is at a path, if anything.
    pub(super) fn look(&mut self, folder: &[u8], name: &[u8]) -> io::Result<Option<Stat>> {
        match self.folder(folder) {
            Ok(folder) => look(folder, name),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens a regular file to read or change it.
    pub(super) fn open(&mut self, folder: &[u8], name: &[u8]) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(self.folder(folder)?, name, flags, Mode::empty())?;
        if !is(&rustix::fs::fstat(&file)?, FileType::RegularFile) {
            return Err(io::Error::other("it is not a regular file"));
        }
        Ok(file.into())
    }

    pub(super) fn digest(&mut self, folder: &[u8], name: &[u8]) -> io::Result<[u8; 32]> {
        local::digest(&mut self.open(folder, name)?)
    }

    /// Whether what is there has this mode and time.
    pub(super) fn is_settled(&mut self, folder: &[u8], name: &[u8], mode: u32, time: i64) -> bool {
        let found = self.look(folder, name).ok().flatten();
        found.is_some_and(|found| found.st_mode & 0o7777 == mode & 0o777 && time_of(&found) == time)
    }

    /// Sets the mode of a file, and its time if there is one.
    pub(super) fn update(
        &mut self,
        folder: &[u8],
        name: &[u8],
        mode: u32,
        time: Option<i64>,
    ) -> io::Result<()> {
        let file = self.open(folder, name)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode & 0o777))?;
        if let Some(time) = time {
            rustix::fs::futimens(&file, &times(time))?;
        }
        Ok(())
    }

    /// Sets mode and time of a folder.
    pub(super) fn update_folder(&mut self, path: &[u8], mode: u32, time: i64) -> io::Result<()> {
        self.open = None;
        let folder = self.folder(path)?;
        rustix::fs::fchmod(folder, Mode::from_raw_mode(mode & 0o777))?;
        Ok(rustix::fs::futimens(folder, &times(time))?)
    }

    pub(super) fn draft(&mut self, folder: &[u8]) -> io::Result<Draft> {
        Draft::create(self.folder(folder)?)
    }

    /// Where a link leads, if it is one.
    pub(super) fn link(&mut self, folder: &[u8], name: &[u8]) -> Option<Vec<u8>> {
        let folder = self.folder(folder).ok()?;
        Some(rustix::fs::readlinkat(folder, name, Vec::new()).ok()?.into_bytes())
    }

    pub(super) fn make_link(
        &mut self,
        folder: &[u8],
        name: &[u8],
        target: &[u8],
        delete: bool,
    ) -> io::Result<()> {
        let folder = self.folder(folder)?;
        let make = |folder: &OwnedFd, spare: &str| Ok(rustix::fs::symlinkat(target, folder, spare)?);
        let ((), spare) = Spare::make(folder, make)?;
        spare.put(|folder, spare| put(folder, spare, name, delete))
    }

    /// The names in a folder that are not among these.
    pub(super) fn others(&mut self, path: &[u8], names: &BTreeSet<Vec<u8>>) -> io::Result<Vec<Vec<u8>>> {
        let found = match self.folder(path) {
            Ok(folder) => names_in(folder)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        self.surplus(path, found, names)
    }

    /// Those that were `found` in a folder and have none of these names.
    fn surplus(
        &mut self,
        path: &[u8],
        found: Vec<Vec<u8>>,
        names: &BTreeSet<Vec<u8>>,
    ) -> io::Result<Vec<Vec<u8>>> {
        let (there, others): (Vec<_>, Vec<_>) = found.into_iter().partition(|name| names.contains(name));
        if others.is_empty() {
            return Ok(Vec::new());
        }
        let there = BTreeSet::from_iter(there);
        // where case makes no difference, what has one of these names may be listed by another
        let missing = names.difference(&there);
        let named: BTreeSet<_> = missing.filter_map(|name| self.identity(path, name)).collect();
        let mut surplus = Vec::new();
        for name in others {
            let is_named =
                !named.is_empty() && self.identity(path, &name).is_some_and(|is| named.contains(&is));
            if !is_named && !self.is_draft(path, &name)? {
                surplus.push(name);
            }
        }
        Ok(surplus)
    }

    fn identity(&mut self, folder: &[u8], name: &[u8]) -> Option<(u64, u64)> {
        let found = self.look(folder, name).ok()??;
        #[allow(clippy::unnecessary_cast)] // the types differ between systems
        Some((found.st_dev as u64, found.st_ino as u64))
    }

    /// Whether another copy is writing this file.
    fn is_draft(&mut self, folder: &[u8], name: &[u8]) -> io::Result<bool> {
        if !name.starts_with(DRAFT.as_bytes()) {
            return Ok(false);
        }
        Ok(self.look(folder, name)?.is_some_and(|found| is_fresh(&found, SystemTime::now())))
    }

    /// Deletes a file, or a folder with its content.
    pub(super) fn remove(&mut self, folder: &[u8], name: &[u8]) -> io::Result<()> {
        let at = self.folder(folder)?.clone();
        self.open = None;
        remove(&at, name)
    }
}

/// Renames within a folder, also onto a folder if that is empty or may be deleted.
pub(super) fn put(folder: &OwnedFd, from: &str, to: &[u8], delete: bool) -> io::Result<()> {
    let failed = match rustix::fs::renameat(folder, from, folder, to) {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    if !look(folder, to)?.is_some_and(|found| is(&found, FileType::Directory)) {
        return Err(failed.into());
    }
    if delete {
        remove(folder, to)?;
    } else if rustix::fs::unlinkat(folder, to, AtFlags::REMOVEDIR).is_err() {
        return Err(full_folder());
    }
    Ok(rustix::fs::renameat(folder, from, folder, to)?)
}

pub(super) fn full_folder() -> io::Error {
    io::Error::other("a folder that is not empty is there")
}

/// Whether it may be replaced: it is a file, a folder or a link.
pub(super) fn is_ordinary(found: &Stat) -> bool {
    [FileType::RegularFile, FileType::Directory, FileType::Symlink].iter().any(|kind| is(found, *kind))
}

pub(super) fn special() -> io::Error {
    io::Error::other("a device, FIFO or socket is there")
}

/// Whether somebody may still write this unfinished file. It may have the time of its source by now, but not
/// as the time of its last change.
#[allow(clippy::unnecessary_cast)] // the types differ between systems
fn is_fresh(found: &Stat, now: SystemTime) -> bool {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i64;
    (now - found.st_ctime as i64).abs() < LEFT
}

/// When it was changed, in nanoseconds.
#[allow(clippy::unnecessary_cast)] // the types differ between systems
pub(super) fn time_of(found: &Stat) -> i64 {
    (found.st_mtime as i64).saturating_mul(1_000_000_000).saturating_add(found.st_mtime_nsec as i64)
}

/// Makes sure that the owner of a folder can fill and empty it.
fn make_writable(above: impl AsFd, name: &[u8], found: &Stat) -> io::Result<()> {
    if found.st_mode & 0o700 == 0o700 {
        return Ok(());
    }
    let above = above.as_fd();
    let mode = Mode::from_raw_mode(found.st_mode & 0o7777 | 0o700);
    match rustix::fs::openat(above, name, FOLDER, Mode::empty()) {
        Ok(folder) => rustix::fs::fchmod(&folder, mode)?,
        // it cannot be opened to change that
        Err(Errno::ACCESS) => rustix::fs::chmodat(above, name, mode, AtFlags::empty())?,
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

pub(super) fn is(found: &Stat, kind: FileType) -> bool {
    FileType::from_raw_mode(found.st_mode) == kind
}

/// The folder above, and the last name.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

fn look(folder: impl AsFd, name: &[u8]) -> io::Result<Option<Stat>> {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn names_in(folder: &OwnedFd) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name: &CStr = entry.file_name();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name.to_bytes().to_vec());
        }
    }
    names.sort();
    Ok(names)
}

fn remove(folder: impl AsFd, name: &[u8]) -> io::Result<()> {
    let folder = folder.as_fd();
    let found = match look(folder, name)? {
        Some(found) if is(&found, FileType::Directory) => found,
        _ => return Ok(rustix::fs::unlinkat(folder, OsStr::from_bytes(name), AtFlags::empty())?),
    };
    make_writable(folder, name, &found)?;
    let inner = rustix::fs::openat(folder, name, FOLDER, Mode::empty())?;
    for name in names_in(&inner)? {
        remove(&inner, &name)?;
    }
    Ok(rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR)?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_draft_is_as_old_as_its_last_change_whatever_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("draft");
        std::fs::write(&path, "").unwrap();
        let now = SystemTime::now();
        File::open(&path).unwrap().set_modified(now - Duration::from_secs(3600)).unwrap();
        let found = rustix::fs::stat(&path).unwrap();
        assert!(is_fresh(&found, now) && is_fresh(&found, now + Duration::from_secs(500)));
        assert!(!is_fresh(&found, now + Duration::from_secs(700)));
    }

    #[test]
    fn what_is_listed_by_another_name_is_no_surplus() {
        let folder = tempfile::tempdir().unwrap();
        let mut place = Place::new(folder.path(), "host").unwrap();
        for name in ["Makefile", "old", "there"] {
            std::fs::write(folder.path().join("host").join(name), "").unwrap();
        }
        // as where case makes no difference: both names open one file
        std::fs::hard_link(folder.path().join("host/Makefile"), folder.path().join("host/makefile")).unwrap();
        let names = |names: &[&str]| names.iter().map(|name| name.as_bytes().to_vec()).collect::<Vec<_>>();
        let offered = BTreeSet::from_iter(names(&["Makefile", "new", "there"]));
        let mut surplus = |found: &[&str]| place.surplus(b"", names(found), &offered).unwrap();
        assert_eq!(surplus(&["makefile", "old", "there"]), names(&["old"]));
        assert_eq!(surplus(&["Makefile", "makefile", "old"]), names(&["makefile", "old"]));
    }
}
