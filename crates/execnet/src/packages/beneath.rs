//! Opens files beneath a folder, and nothing that only looks as if it were there.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path};

use rustix::fs::{CWD, Mode, OFlags, Stat};

/// What tells whether a file has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Stamp {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) size: u64,
    /// Seconds and nanoseconds.
    pub(crate) mtime: (i64, u32),
    pub(crate) ctime: (i64, u32),
}

impl Stamp {
    /// None if it is no regular file.
    #[allow(clippy::unnecessary_cast)] // the types differ between systems
    fn new(stat: &Stat) -> Option<Self> {
        let is_file = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file();
        is_file.then_some(Self {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            size: stat.st_size as u64,
            mtime: (stat.st_mtime as i64, stat.st_mtime_nsec as u32),
            ctime: (stat.st_ctime as i64, stat.st_ctime_nsec as u32),
        })
    }
}

/// The stamp of a file, which is not opened.
pub(crate) fn stamp(root: &Path, file: &Path) -> io::Result<Stamp> {
    let stat = rustix::fs::statat(CWD, root.join(file), rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?;
    Stamp::new(&stat).ok_or_else(irregular)
}

/// Opens a regular file. No component below the root may be a link, and nothing is waited for.
pub(crate) fn open(root: &Path, file: &Path) -> io::Result<(File, Stamp)> {
    let inside = file.strip_prefix(root).unwrap_or(file);
    let names: Option<Vec<_>> = inside
        .components()
        .map(|part| match part {
            Component::Normal(name) => Some(name),
            _ => None,
        })
        .collect();
    let names = names.ok_or_else(|| io::Error::other("it is not beneath its folder"))?;
    let (last, folders) = names.split_last().ok_or_else(irregular)?;
    let folder = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at: OwnedFd = rustix::fs::open(root, folder, Mode::empty())?;
    for name in folders {
        at = rustix::fs::openat(&at, *name, folder | OFlags::NOFOLLOW, Mode::empty())?;
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&at, *last, flags, Mode::empty())?;
    let stamp = Stamp::new(&rustix::fs::fstat(&file)?).ok_or_else(irregular)?;
    Ok((File::from(file), stamp))
}

fn irregular() -> io::Error {
    io::Error::other("it is not a regular file")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_regular_files_beneath_the_root_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/b/c.py"), "inside").unwrap();
        fs::write(folder.path().join("secret"), "outside").unwrap();
        symlink("../secret", root.join("link")).unwrap();
        symlink("a", root.join("folder")).unwrap();
        rustix::fs::mknodat(
            CWD,
            root.join("fifo"),
            rustix::fs::FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let (file, stamp) = open(&root, Path::new("a/b/c.py")).unwrap();
        assert_eq!(io::read_to_string(file).unwrap(), "inside");
        assert_eq!(stamp, super::stamp(&root, Path::new("a/b/c.py")).unwrap());
        assert!(open(&root, &root.join("a/b/c.py")).is_ok());
        for bad in ["link", "folder/b/c.py", "fifo", "a", "../secret", "a/../../secret", "none", ""] {
            assert!(open(&root, Path::new(bad)).is_err(), "{bad}");
        }
        assert!(open(&root, &folder.path().join("secret")).is_err());
        // the root itself may be reached over a link
        symlink(&root, folder.path().join("here")).unwrap();
        assert!(open(&folder.path().join("here"), Path::new("a/b/c.py")).is_ok());
    }
}
