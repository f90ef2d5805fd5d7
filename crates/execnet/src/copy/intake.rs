//! What comes from a host, which may be hostile: checked, and put in its place. No waiting, no channel.
//!
//! Everything the host says is held against what was asked for and what it announced. A breach ends the copy;
//! a path that cannot be taken is told, and the others go on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;

use rustix::fs::FileType;

use super::draft::Draft;
use super::place::{Place, full_folder, is, is_ordinary, put, special, split, time_of};
use super::push::below;
use super::wire::{COMPLETE, Entry, FIRST, Flag, Folder, FromSender, Kind, LAST, folder};
use super::{AHEAD, Act, CopyError, ENTRIES, Observer, Options, TOLD};

/// How many entries may be announced, and how long paths and names may be.
const ENTRIES_OF_HOST: u64 = 1 << 24;
const PATH: usize = 4096;
const NAME: usize = 255;
const DEPTH: usize = 255;

/// What grows while it is copied may exceed the announced numbers by an eighth, and by this.
const MORE_ENTRIES: u64 = 1024;
const MORE_BYTES: u64 = 64 << 20;

/// Bytes of links, and of folders' names, that are remembered until the end.
const HELD: usize = 64 << 20;

/// Names of a folder that are remembered to delete the others.
const NAMES_OF_FOLDER: usize = 64 << 20;

/// See the module's documentation.
pub(super) struct Intake<'a> {
    place: Place,
    options: Options,
    observer: &'a dyn Observer,
    /// The names that were asked for at the top; none if the content of a folder was.
    asked: Option<BTreeSet<Vec<u8>>>,
    /// Entries and bytes that may still come.
    left: Option<(u64, u64)>,
    /// The folder whose entries come.
    at: Option<At>,
    /// Files that were asked for and are still to come, for each batch, by number.
    waiting: VecDeque<BTreeMap<u32, Option<Wanted>>>,
    receiving: Option<Receiving>,
    links: Vec<(Vec<u8>, Vec<u8>)>,
    folders: Vec<(Vec<u8>, u32, i64)>,
    held: usize,
    failed: u64,
}

/// What is answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Nothing,
    /// Files that are needed, with the SHA-256 of what is here.
    Needs(Vec<(u32, Option<[u8; 32]>)>),
    /// Everything is in place.
    Done,
}

struct At {
    path: Vec<u8>,
    /// It cannot be entered.
    dead: bool,
    fresh: bool,
    /// What it contains at the host, if the rest is to be deleted, and the bytes of these names.
    names: Option<(BTreeSet<Vec<u8>>, usize)>,
}

struct Wanted {
    folder: Vec<u8>,
    name: Vec<u8>,
    mode: u32,
    time: i64,
    size: u64,
}

struct Receiving {
    number: u32,
    /// None once it could not be written.
    draft: Option<Draft>,
    received: u64,
}

impl<'a> Intake<'a> {
    pub(super) fn new(
        place: Place,
        options: Options,
        asked: Option<BTreeSet<Vec<u8>>>,
        observer: &'a dyn Observer,
    ) -> Self {
        Self {
            place,
            options,
            observer,
            asked,
            left: None,
            at: None,
            waiting: VecDeque::new(),
            receiving: None,
            links: Vec::new(),
            folders: Vec::new(),
            held: 0,
            failed: 0,
        }
    }

    /// Takes what the host says.
    pub(super) fn handle(&mut self, said: FromSender) -> Result<Reply, CopyError> {
        match (said, self.left) {
            (FromSender::Total(entries, bytes, finished), None) => {
                if entries > ENTRIES_OF_HOST {
                    return Err(refused(format!("more than {ENTRIES_OF_HOST} files at a time")));
                }
                if self.options.delete && !finished {
                    self.options.delete = false;
                    self.observer.deletes_nothing();
                }
                let more =
                    |announced: u64, more| announced.saturating_add(announced / 8).saturating_add(more);
                self.left = Some((more(entries, MORE_ENTRIES), more(bytes, MORE_BYTES)));
                self.observer.total(entries, bytes);
                Ok(Reply::Nothing)
            }
            (FromSender::Offer(folders), Some(_)) => {
                if self.waiting.len() > AHEAD {
                    return Err(refused("it offers more before it sends what was asked for"));
                }
                let folders: Option<Vec<Folder>> = folders.into_iter().map(folder).collect();
                self.offer(folders.ok_or_else(|| refused("a file of an unknown kind"))?)
            }
            (FromSender::Data(pieces), Some(_)) => {
                for (number, flag, data) in pieces {
                    let flag = Flag::from_code(flag).ok_or_else(|| refused("data of an unknown kind"))?;
                    self.data(number, flag, &data)?;
                }
                Ok(Reply::Nothing)
            }
            (FromSender::End(failures, count), Some(_)) => {
                if !self.waiting.is_empty() {
                    return Err(refused("it ends before it sends what was asked for"));
                }
                for (path, why) in failures.iter().take(TOLD as usize) {
                    self.observer.failed(path, why);
                }
                if count > failures.len() as u64 {
                    self.observer.more_failed(count - failures.len() as u64);
                }
                self.finish()?;
                Ok(Reply::Done)
            }
            _ => Err(refused("something out of turn")),
        }
    }

    fn offer(&mut self, folders: Vec<Folder>) -> Result<Reply, CopyError> {
        let (mut needs, mut files, mut number) = (Vec::new(), BTreeMap::new(), 0);
        if folders.len() > 2 * ENTRIES * ENTRIES {
            return Err(refused("too many folders in one message"));
        }
        for Folder { path, flags, mode, time, entries } in folders {
            self.count(entries.len() as u64 + u64::from(flags & FIRST))?;
            self.check_path(&path)?;
            if flags & FIRST == 0 {
                if self.at.as_ref().is_none_or(|at| at.path != path) {
                    return Err(refused("more of a folder that it did not begin"));
                }
            } else {
                self.enter(path, flags, mode, time)?;
            }
            for entry in entries {
                self.check_entry(&entry)?;
                if let Some(need) = self.entry(entry, number, &mut files)? {
                    needs.push((number, need));
                }
                number += 1;
            }
            if flags & LAST != 0 {
                self.clear()?;
            }
        }
        if !files.is_empty() {
            self.waiting.push_back(files);
        }
        Ok(Reply::Needs(needs))
    }

    fn count(&mut self, entries: u64) -> Result<(), CopyError> {
        let (left, _) = self.left.as_mut().ok_or_else(|| refused("something out of turn"))?;
        match left.checked_sub(entries) {
            Some(rest) => *left = rest,
            None => return Err(refused("more files than it announced; copy again if there are more now")),
        }
        Ok(())
    }

    /// Whether a folder may be entered: only plain names, and only below what was asked for.
    fn check_path(&self, path: &[u8]) -> Result<(), CopyError> {
        if path.is_empty() {
            return Ok(());
        }
        let mut names = path.split(|byte| *byte == b'/');
        if path.len() > PATH || names.clone().count() > DEPTH || !names.clone().all(is_name) {
            return Err(refused(format!("the path {}", shown(path))));
        }
        self.check_top(names.next().unwrap_or_default())
    }

    fn check_entry(&self, entry: &Entry) -> Result<(), CopyError> {
        let at = self.at.as_ref().map_or(&b""[..], |at| &at.path);
        if !is_name(&entry.name) || at.len() + entry.name.len() >= PATH {
            return Err(refused(format!("the name {}", shown(&entry.name))));
        }
        if at.is_empty() { self.check_top(&entry.name) } else { Ok(()) }
    }

    fn check_top(&self, name: &[u8]) -> Result<(), CopyError> {
        match &self.asked {
            Some(asked) if !asked.contains(name) => {
                Err(refused(format!("{}, which was not asked for", shown(name))))
            }
            _ => Ok(()),
        }
    }

    fn enter(&mut self, path: Vec<u8>, flags: u8, mode: Option<u32>, time: i64) -> Result<(), CopyError> {
        let made = self.place.make(&path, self.options.dry);
        let (dead, fresh) = match made {
            Ok(fresh) => (false, fresh),
            Err(error) => {
                // what is below a folder that cannot be entered is not told again
                let above_is_there = path.is_empty() || self.place.folder(split(&path).0).is_ok();
                if above_is_there {
                    self.fail(&path, &error)?;
                }
                (true, false)
            }
        };
        if fresh && self.options.dry {
            let (above, name) = split(&path);
            if self.place.look(above, name).is_ok_and(|found| found.is_some()) {
                self.observer.act(Act::Delete, &path);
            }
            self.observer.act(Act::Make, &path);
        }
        if let Some(mode) = mode.filter(|_| !dead && !self.options.dry) {
            self.hold(path.len() + 32)?;
            self.folders.push((path.clone(), mode, time));
        }
        // the folder that named sources come to has others, too
        let is_ours = self.asked.is_none() || !path.is_empty();
        let deletes = self.options.delete && flags & COMPLETE != 0 && is_ours && !fresh && !dead;
        let names = deletes.then(|| (BTreeSet::new(), 0));
        self.at = Some(At { path, dead, fresh, names });
        Ok(())
    }

    fn hold(&mut self, bytes: usize) -> Result<(), CopyError> {
        self.held += bytes;
        if self.held > HELD { Err(refused("more links and folders than can be remembered")) } else { Ok(()) }
    }

    /// Compares an entry with what is here. Says whether it is needed.
    fn entry(
        &mut self,
        entry: Entry,
        number: u32,
        files: &mut BTreeMap<u32, Option<Wanted>>,
    ) -> Result<Option<Option<[u8; 32]>>, CopyError> {
        let Some(at) = &mut self.at else { return Ok(None) };
        if let Some((names, bytes)) = &mut at.names {
            *bytes += entry.name.len() + 64;
            if *bytes > NAMES_OF_FOLDER {
                return Err(refused("a folder with more names than can be remembered"));
            }
            names.insert(entry.name.clone());
        }
        let folder = at.path.clone();
        if at.dead {
            self.observer.settled(entry.size);
            return Ok(None);
        }
        match entry.kind {
            Kind::File => {}
            Kind::Link => {
                let path = below(&folder, &entry.name);
                if leaves(&folder, &entry.target) {
                    self.tell(&path, "it is a link that leaves the folder");
                } else {
                    self.hold(path.len() + entry.target.len() + 48)?;
                    self.links.push((path, entry.target));
                }
                return Ok(None);
            }
            // a folder comes by itself; of others the host has told
            Kind::Folder | Kind::Other => return Ok(None),
        }
        let fresh = at.fresh;
        let need = if fresh { Ok(Some(None)) } else { self.compare(&folder, &entry) };
        let need = match need {
            Ok(need) => need,
            Err(error) => {
                self.fail(&below(&folder, &entry.name), &error)?;
                None
            }
        };
        if need.is_none() {
            self.observer.settled(entry.size);
        }
        if self.options.dry && need == Some(None) {
            self.observer.act(Act::Send, &below(&folder, &entry.name));
            return Ok(None);
        }
        if need.is_some() {
            let Entry { name, mode, time, size, .. } = entry;
            files.insert(number, Some(Wanted { folder, name, mode, time, size }));
        }
        Ok(need)
    }

    fn compare(&mut self, folder: &[u8], entry: &Entry) -> io::Result<Option<Option<[u8; 32]>>> {
        let Some(found) = self.place.look(folder, &entry.name)? else { return Ok(Some(None)) };
        if !is(&found, FileType::RegularFile) || found.st_size as u64 != entry.size {
            self.tell_way(folder, &entry.name)?;
            return Ok(Some(None));
        }
        if self.options.checksum || time_of(&found) != entry.time {
            return Ok(Some(self.place.digest(folder, &entry.name).ok()));
        }
        if found.st_mode & 0o7777 != entry.mode & 0o777 {
            if self.options.dry {
                self.observer.act(Act::Update, &below(folder, &entry.name));
            } else {
                self.place.update(folder, &entry.name, entry.mode, None)?;
            }
        }
        Ok(None)
    }

    /// Refuses to replace a device, FIFO or socket by a file or link. Tells what becomes of a folder that is
    /// there, if nothing is changed.
    fn tell_way(&mut self, folder: &[u8], name: &[u8]) -> io::Result<()> {
        let found = self.place.look(folder, name)?;
        if found.is_some_and(|found| !is_ordinary(&found)) {
            return Err(special());
        }
        if self.options.dry && found.is_some_and(|found| is(&found, FileType::Directory)) {
            let path = below(folder, name);
            if self.options.delete {
                self.observer.act(Act::Delete, &path);
            } else if !self.place.others(&path, &BTreeSet::new())?.is_empty() {
                return Err(full_folder());
            }
        }
        Ok(())
    }

    /// Deletes what the folder does not have at the host.
    fn clear(&mut self) -> Result<(), CopyError> {
        let Some(At { path, names: Some((names, _)), .. }) = &self.at else { return Ok(()) };
        let path = path.clone();
        let others = match self.place.others(&path, names) {
            Ok(others) => others,
            Err(error) => return self.fail(&path, &error),
        };
        for name in others {
            let full = below(&path, &name);
            if self.options.dry {
                self.observer.act(Act::Delete, &full);
            } else if let Err(error) = self.place.remove(&path, &name) {
                self.fail(&full, &error)?;
            }
        }
        Ok(())
    }

    fn data(&mut self, number: u32, flag: Flag, data: &[u8]) -> Result<(), CopyError> {
        let wanted = self.waiting.front_mut().and_then(|files| files.get_mut(&number));
        let Some(Some(wanted)) = wanted else { return Err(refused("data that was not asked for")) };
        if self.receiving.as_ref().is_some_and(|receiving| receiving.number != number) {
            return Err(refused("data of a file before the end of another one"));
        }
        let left = self.left.as_mut().map(|(_, bytes)| bytes);
        let left = left.ok_or_else(|| refused("something out of turn"))?;
        match left.checked_sub(data.len() as u64) {
            Some(rest) => *left = rest,
            None => return Err(refused("more data than it announced; copy again if there is more now")),
        }
        let received = self.receiving.as_ref().map_or(0, |receiving| receiving.received) + data.len() as u64;
        if received > wanted.size || self.options.dry && !data.is_empty() {
            return Err(refused("more data than a file has"));
        }
        self.observer.moved(data.len() as u64);
        let path = below(&wanted.folder, &wanted.name);
        let done = if self.options.dry {
            match flag {
                Flag::Same
                    if self.place.is_settled(&wanted.folder, &wanted.name, wanted.mode, wanted.time) => {}
                Flag::Same => self.observer.act(Act::Update, &path),
                _ => self.observer.act(Act::Send, &path),
            }
            Ok(())
        } else {
            write(&mut self.place, &mut self.receiving, self.options.delete, wanted, (number, flag, data))
        };
        let (size, more) = (wanted.size, flag == Flag::More);
        if let Err(error) = done {
            self.receiving = more.then_some(Receiving { number, draft: None, received });
            self.fail(&path, &error)?;
        }
        if more {
            if let Some(receiving) = &mut self.receiving {
                receiving.received = received;
            }
            return Ok(());
        }
        self.receiving = None;
        self.observer.settled(size - received);
        if let Some(files) = self.waiting.front_mut() {
            files.remove(&number);
            if files.is_empty() {
                self.waiting.pop_front();
            }
        }
        Ok(())
    }

    /// Makes links, then sets modes and times of folders, inner ones first.
    fn finish(&mut self) -> Result<(), CopyError> {
        for (path, target) in std::mem::take(&mut self.links) {
            let (folder, name) = split(&path);
            if self.place.link(folder, name).is_some_and(|found| found == target) {
                continue;
            }
            let made = match self.tell_way(folder, name) {
                Ok(()) if !self.options.dry => {
                    self.place.make_link(folder, name, &target, self.options.delete)
                }
                Ok(()) => {
                    self.observer.act(Act::Link, &path);
                    Ok(())
                }
                Err(error) => Err(error),
            };
            if let Err(error) = made {
                self.fail(&path, &error)?;
            }
        }
        for (path, mode, time) in std::mem::take(&mut self.folders).into_iter().rev() {
            if let Err(error) = self.place.update_folder(&path, mode, time) {
                self.fail(&path, &error)?;
            }
        }
        if self.failed > TOLD {
            self.observer.more_failed(self.failed - TOLD);
        }
        Ok(())
    }

    fn tell(&mut self, path: &[u8], why: &str) {
        self.failed += 1;
        if self.failed <= TOLD {
            self.observer.failed(path, why);
        }
    }

    /// Notes that something here could not be written.
    ///
    /// # Errors
    /// If nothing can be written any more.
    fn fail(&mut self, path: &[u8], error: &io::Error) -> Result<(), CopyError> {
        use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        if matches!(error.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem) {
            let message = format!("cannot write {}: {error}; what follows is not copied", shown(path));
            return Err(CopyError::Over(message));
        }
        self.tell(path, &error.to_string());
        Ok(())
    }
}

/// Takes a piece of a file.
fn write(
    place: &mut Place,
    receiving: &mut Option<Receiving>,
    delete: bool,
    wanted: &Wanted,
    (number, flag, data): (u32, Flag, &[u8]),
) -> io::Result<()> {
    let Wanted { folder, name, mode, time, .. } = wanted;
    match flag {
        Flag::Gone => return Ok(()),
        Flag::Same => return place.update(folder, name, *mode, Some(*time)),
        Flag::More | Flag::End => {}
    }
    let receiving = match receiving {
        Some(receiving) => receiving,
        none => none.insert(Receiving { number, draft: Some(place.draft(folder)?), received: 0 }),
    };
    // it failed before, which was told
    let Some(draft) = &mut receiving.draft else { return Ok(()) };
    draft.write(data)?;
    if flag == Flag::End
        && let Some(draft) = receiving.draft.take()
    {
        draft.finish(*mode, *time, |folder, draft| put(folder, draft, name, delete))?;
    }
    Ok(())
}

/// Whether this can be the name of a file.
fn is_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..")
        && name.len() <= NAME
        && !name.iter().any(|byte| matches!(byte, b'/' | 0))
}

/// Whether a link in this folder may lead out of the top, whatever other links there are.
///
/// Names that follow a name may be links, of which none leads out; only `..` behind one could.
fn leaves(folder: &[u8], target: &[u8]) -> bool {
    let mut depth = if folder.is_empty() { 0 } else { folder.split(|byte| *byte == b'/').count() };
    if target.is_empty() || target.starts_with(b"/") || target.len() >= PATH || target.contains(&0) {
        return true;
    }
    let mut descends = false;
    for name in target.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." if descends || depth == 0 => return true,
            b".." => depth -= 1,
            _ => descends = true,
        }
    }
    false
}

fn shown(path: &[u8]) -> String {
    format!("`{}`", String::from_utf8_lossy(path))
}

fn refused(what: impl Into<String>) -> CopyError {
    CopyError::Refused(what.into())
}

#[cfg(test)]
#[path = "intake_tests.rs"]
mod tests;
