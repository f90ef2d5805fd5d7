//! What there is to send: files, folders and links below the sources, parents first.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use super::push::below;
use super::spool::{Spool, SpoolWriter};
use super::wire::{COMPLETE, Entry, FIRST, Folder, Kind, LAST};
use super::{ENTRIES, ListError, Observer, TOLD};

/// The files, folders and links below some sources. Kept in an unlinked file.
#[derive(Debug)]
pub struct Listing {
    pub(super) spool: Spool,
    /// How many files there are, and their bytes.
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) has_links: bool,
    /// There is one source, which is no folder.
    pub(super) alone: bool,
    /// Folders at the top whose other content may be deleted; an empty name is the target itself.
    pub(super) kept: Vec<Vec<u8>>,
    /// The source, if absolute links into it lead into the copy instead.
    pub(super) inside: Option<PathBuf>,
    /// Everything could be listed.
    finished: bool,
    failures: Vec<(Vec<u8>, String)>,
    more_failures: u64,
}

/// Says of a path whether it is copied.
pub type Filter<'a> = dyn FnMut(&Path) -> io::Result<bool> + 'a;

/// A folder, or part of it, with where it is here.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) folder: Folder,
    pub(super) from: PathBuf,
}

struct Lister<'a> {
    spool: SpoolWriter,
    listing: Counted,
    /// Only what it takes is listed, and nothing may be left out for another reason.
    filter: Option<&'a mut Filter<'a>>,
}

#[derive(Default)]
struct Counted {
    files: u64,
    bytes: u64,
    has_links: bool,
    unfinished: bool,
    failures: Vec<(Vec<u8>, String)>,
    more_failures: u64,
}

/// A folder that is still to be listed.
struct Below {
    path: Vec<u8>,
    from: PathBuf,
    mode: Option<u32>,
    time: i64,
}

impl Listing {
    /// Lists these sources. A folder with a `/` at its end stands for what it contains.
    ///
    /// # Errors
    /// When a source cannot be read, or two bring the same name. What cannot be read below a source is left
    /// out, and told to the observer of each copy.
    pub fn of(sources: &[PathBuf]) -> Result<Self, ListError> {
        Self::with(sources, None)
    }

    /// Lists one source for [`Options::exact`](super::Options::exact): what `filter` takes of a folder, or a
    /// file. Absolute links into the folder will lead into the copy, and folders in the copy can be written.
    ///
    /// # Errors
    /// As [`of`](Self::of), also for what cannot be listed below the source, and for what is neither a file,
    /// a folder nor a link ([`Unsupported`](io::ErrorKind::Unsupported)); and when the filter fails.
    pub fn chosen<'a>(source: &Path, filter: &'a mut Filter<'a>) -> Result<Self, ListError> {
        let is_folder = fs::metadata(source).is_ok_and(|about| about.is_dir());
        // a link to a file is sent as that file
        let file = || source.canonicalize().unwrap_or_else(|_| source.to_owned());
        let listed = if is_folder { source.join("") } else { file() };
        let inside = std::path::absolute(source).ok().map(|source| normal(&source));
        Ok(Self { inside, ..Self::with(&[listed], Some(filter))? })
    }

    fn with<'a>(sources: &[PathBuf], filter: Option<&'a mut Filter<'a>>) -> Result<Self, ListError> {
        let mut lister = Lister { spool: SpoolWriter::new()?, listing: Counted::default(), filter };
        let (mut top, mut below) = (Vec::new(), Vec::new());
        let (mut kept, mut own, mut alone) = (Vec::new(), None, sources.len() == 1);
        for source in sources {
            let fail = |error| ListError::Source { path: source.clone(), error };
            match name_of(source) {
                Some(name) => {
                    let about = fs::symlink_metadata(source).map_err(fail)?;
                    let from = source.parent().map_or_else(PathBuf::new, Path::to_owned);
                    let from = if from.as_os_str().is_empty() { PathBuf::from(".") } else { from };
                    if about.is_dir() {
                        kept.push(name.as_bytes().to_vec());
                        alone = false;
                    }
                    let entry = lister.entry(name.as_bytes(), &about, &from.join(name))?;
                    top.extend(entry.map(|entry| (entry, from, source.clone())));
                }
                None => {
                    let about = fs::metadata(source).map_err(fail)?;
                    if !about.is_dir() {
                        return Err(ListError::NoFolder(source.clone()));
                    }
                    alone = false;
                    kept.push(Vec::new());
                    if sources.len() == 1 {
                        own = Some((lister.mode(&about), time_of(&about)));
                    }
                    let names = names_in(source).map_err(fail)?;
                    for entry in lister.entries(source, names)? {
                        let path = source.join(OsStr::from_bytes(&entry.name));
                        top.push((entry, source.clone(), path));
                    }
                }
            }
        }
        let mut names = BTreeSet::new();
        if let Some((twice, ..)) = top.iter().find(|(entry, ..)| !names.insert(entry.name.clone())) {
            return Err(ListError::Twice(String::from_utf8_lossy(&twice.name).into_owned()));
        }
        let complete = if kept.iter().any(Vec::is_empty) { COMPLETE } else { 0 };
        let mut groups: Vec<(PathBuf, Vec<Entry>)> = Vec::new();
        for (entry, from, path) in top {
            if entry.kind == Kind::Folder {
                let (mode, time) = (Some(entry.mode), entry.time);
                below.push(Below { path: entry.name.clone(), from: path, mode, time });
            }
            match groups.last_mut() {
                Some((last, entries)) if *last == from && entries.len() < ENTRIES => entries.push(entry),
                _ => groups.push((from, vec![entry])),
            }
        }
        if groups.is_empty() {
            groups.push((PathBuf::from("."), Vec::new()));
        }
        let last = groups.len() - 1;
        for (number, (from, entries)) in groups.into_iter().enumerate() {
            let flags =
                complete | if number == 0 { FIRST } else { 0 } | if number == last { LAST } else { 0 };
            let (mode, time) = own.unzip();
            let folder = Folder { path: Vec::new(), flags, mode, time: time.unwrap_or(0), entries };
            lister.spool.add(&Listed { folder, from })?;
        }
        below.reverse();
        while let Some(folder) = below.pop() {
            lister.folder(folder, &mut below)?;
        }
        let Lister { spool, listing, .. } = lister;
        Ok(Self {
            spool: spool.finish()?,
            files: listing.files,
            bytes: listing.bytes,
            has_links: listing.has_links,
            alone,
            kept,
            inside: None,
            finished: !listing.unfinished,
            failures: listing.failures,
            more_failures: listing.more_failures,
        })
    }

    /// How many files there are, and their bytes.
    #[must_use]
    pub fn totals(&self) -> (u64, u64) {
        (self.files, self.bytes)
    }

    /// Whether everything below the sources could be listed. If not, nothing is deleted.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Where a link leads in a copy that is in `base`.
    pub(super) fn leads<'a>(&self, target: &'a [u8], base: &[u8]) -> Cow<'a, [u8]> {
        let path = Path::new(OsStr::from_bytes(target));
        let within = self.inside.as_ref().filter(|_| path.is_absolute()).and_then(|inside| {
            let path = normal(path);
            path.strip_prefix(inside).ok().map(|within| within.as_os_str().as_bytes().to_vec())
        });
        match within {
            Some(within) if !within.is_empty() => Cow::Owned(below(base, &within)),
            _ => Cow::Borrowed(target),
        }
    }

    /// Tells of what cannot be sent, to any host.
    pub fn tell_failures(&self, observer: &dyn Observer) {
        self.failures.iter().for_each(|(path, why)| observer.failed(path, why));
        if self.more_failures > 0 {
            observer.more_failed(self.more_failures);
        }
    }
}

impl Lister<'_> {
    /// Lists a folder, and adds those in it to `below`.
    fn folder(&mut self, folder: Below, below: &mut Vec<Below>) -> Result<(), ListError> {
        let Below { path, from, mode, time } = folder;
        let (entries, complete) = match names_in(&from) {
            Ok(names) => (self.entries(&from, names)?, COMPLETE),
            Err(error) => {
                self.fail(&from, error)?;
                self.listing.unfinished = true;
                (Vec::new(), 0)
            }
        };
        for entry in entries.iter().rev().filter(|entry| entry.kind == Kind::Folder) {
            let inner = [&path, &b"/"[..], &entry.name].concat();
            let from = from.join(OsStr::from_bytes(&entry.name));
            below.push(Below { path: inner, from, mode: Some(entry.mode), time: entry.time });
        }
        let count = entries.len();
        let mut entries = entries.into_iter();
        for at in (0..count.max(1)).step_by(ENTRIES) {
            let first = if at == 0 { FIRST } else { 0 };
            let flags = complete | first | if at + ENTRIES >= count { LAST } else { 0 };
            let entries = entries.by_ref().take(ENTRIES).collect();
            let folder = Folder { path: path.clone(), flags, mode, time, entries };
            self.spool.add(&Listed { folder, from: from.clone() })?;
        }
        Ok(())
    }

    /// The entries of a folder that have these names and are chosen.
    fn entries(&mut self, from: &Path, names: Vec<OsString>) -> Result<Vec<Entry>, ListError> {
        let mut entries = Vec::with_capacity(names.len());
        for name in names {
            let path = from.join(&name);
            if let Some(filter) = &mut self.filter {
                match filter(&path) {
                    Ok(true) => {}
                    Ok(false) => continue,
                    Err(error) => return Err(ListError::Source { path, error }),
                }
            }
            match fs::symlink_metadata(&path) {
                Ok(about) => entries.extend(self.entry(name.as_bytes(), &about, &path)?),
                // removed meanwhile
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    self.fail(&path, error)?;
                    self.listing.unfinished = true;
                }
            }
        }
        Ok(entries)
    }

    /// An entry, counted.
    fn entry(&mut self, name: &[u8], about: &Metadata, path: &Path) -> Result<Option<Entry>, ListError> {
        let is = about.file_type();
        let (mut size, mut target) = (0, Vec::new());
        let kind = if is.is_file() {
            size = about.len();
            self.listing.files += 1;
            self.listing.bytes += size;
            Kind::File
        } else if is.is_dir() {
            Kind::Folder
        } else if is.is_symlink() {
            match fs::read_link(path) {
                Ok(leads) => target = leads.into_os_string().into_vec(),
                Err(error) => {
                    self.fail(path, error)?;
                    self.listing.unfinished = true;
                    return Ok(None);
                }
            }
            self.listing.has_links = true;
            Kind::Link
        } else {
            let why = "it is neither a file, a folder nor a link";
            self.fail(path, io::Error::new(io::ErrorKind::Unsupported, why))?;
            Kind::Other
        };
        let (mode, time) = (self.mode(about), time_of(about));
        Ok(Some(Entry { name: name.to_vec(), kind, mode, time, size, target }))
    }

    /// The permission bits that it gets.
    fn mode(&self, about: &Metadata) -> u32 {
        let writable = if self.filter.is_some() && about.is_dir() { 0o700 } else { 0 };
        about.mode() & 0o7777 | writable
    }

    /// Notes that something is left out.
    ///
    /// # Errors
    /// If nothing may be.
    fn fail(&mut self, path: &Path, error: io::Error) -> Result<(), ListError> {
        if self.filter.is_some() {
            return Err(ListError::Source { path: path.to_owned(), error });
        }
        if (self.listing.failures.len() as u64) < TOLD {
            self.listing.failures.push((path.as_os_str().as_bytes().to_vec(), error.to_string()));
        } else {
            self.listing.more_failures += 1;
        }
        Ok(())
    }
}

fn names_in(folder: &Path) -> io::Result<Vec<OsString>> {
    let names: io::Result<Vec<_>> = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect();
    let mut names = names?;
    names.sort();
    Ok(names)
}

/// A path without `.` and `..`, whatever is there.
pub(super) fn normal(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut normal, part| {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(normal.pop()),
            part => normal.push(part),
        }
        normal
    })
}

/// The name that a source gets at the target; none if only what it contains is meant.
fn name_of(source: &Path) -> Option<&OsStr> {
    let bytes = source.as_os_str().as_bytes();
    let last = bytes.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    (!matches!(last, b"" | b"." | b"..")).then(|| OsStr::from_bytes(last))
}

/// When it was changed, in nanoseconds.
pub(super) fn time_of(about: &Metadata) -> i64 {
    about.mtime().saturating_mul(1_000_000_000).saturating_add(about.mtime_nsec())
}
