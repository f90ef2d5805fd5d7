//! Sends a listing to one host. Each host has a thread of its own that does this.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bytes::Bytes;

use super::blocks::Blocks;
use super::listing::{Listed, Listing};
use super::local::Source;
use super::wire::{FIRST, Flag, FromReceiver, Kind, Line, Needs, Outgoing, tell, write_list, write_offer};
use super::{AHEAD, Act, CopyError, Observer, Options, PIECE, TOLD};
use crate::gateway::{Channel, ChannelError, Code, Gateway};
use crate::value::{Container, StrConfig};

/// The host's half.
const RECEIVE: &str = include_str!(concat!(env!("OUT_DIR"), "/receive.py"));

/// Its name: code of ours imports from the standard library only.
pub(super) const FILENAME: &str = "<execnet copy>";

/// Sends what is listed to `target`, a path on the host of the gateway. Returns when everything is in place.
///
/// # Errors
/// When the copy cannot go on. A file that cannot be copied stops nothing: the observer hears of it.
pub fn push(
    gateway: &Gateway,
    listing: &Listing,
    blocks: &Blocks,
    target: &[u8],
    options: Options,
    observer: &dyn Observer,
) -> Result<(), CopyError> {
    push_over(&receiver(gateway)?, listing, blocks, target, options, observer)
}

/// Starts the host's half, which waits on the channel for [`push_over`].
///
/// # Errors
/// As [`Gateway::remote_exec`].
pub fn receiver(gateway: &Gateway) -> Result<Channel, ChannelError> {
    gateway.remote_exec(Code::module(RECEIVE, FILENAME))
}

/// [`push`] to a [`receiver`].
///
/// # Errors
/// As [`push`].
pub fn push_over(
    channel: &Channel,
    listing: &Listing,
    blocks: &Blocks,
    target: &[u8],
    options: Options,
    observer: &dyn Observer,
) -> Result<(), CopyError> {
    channel.reconfigure(StrConfig::default())?;
    let push = Push { line: Line(channel), listing, blocks, options, observer };
    match push.run(target) {
        // it may have said why before it closed the channel
        Err(CopyError::Channel(ChannelError::Closed)) => Err(push.last_words()),
        done => done,
    }
}

struct Push<'a> {
    line: Line<'a>,
    listing: &'a Listing,
    blocks: &'a Blocks,
    options: Options,
    observer: &'a dyn Observer,
}

/// A batch that was offered and is not answered yet.
struct Offered {
    number: usize,
    folders: Vec<Listed>,
}

impl Push<'_> {
    fn run(&self, target: &[u8]) -> Result<(), CopyError> {
        let listing = self.listing;
        self.observer.total(listing.files, listing.bytes);
        self.open(target)?;
        let mut base = None;
        let (mut next, mut needed) = (0, 0);
        let mut offered: VecDeque<Offered> = VecDeque::new();
        loop {
            while offered.len() < AHEAD && next < listing.spool.len() {
                let folders = self.batch(next)?;
                self.line.send(|writer| write_offer(writer, folders.iter().map(|listed| &listed.folder)))?;
                offered.push_back(Offered { number: next, folders });
                next += 1;
            }
            let Some(first) = offered.pop_front() else { break };
            let base = match &mut base {
                Some(base) => base,
                none => none.insert(self.base()?),
            };
            let needs = self.answer()?;
            needed += first.size_of(&needs);
            if offered.is_empty() {
                self.observer.compared(needed);
            }
            self.fill(&first, &needs, base)?;
        }
        if let (true, Some(base)) = (listing.has_links, base) {
            self.links(&base.folder)?;
        }
        self.folders()?;
        self.line.send(|writer| write_list(writer, "end", &[(); 0], |_, ()| Ok(())))?;
        match self.hear()? {
            FromReceiver::End(failures, acts, count) => {
                tell(self.observer, &failures, &acts);
                if count > TOLD {
                    self.observer.more_failed(count - TOLD);
                }
                Ok(())
            }
            _ => Err(unexpected()),
        }
    }

    fn open(&self, target: &[u8]) -> Result<(), CopyError> {
        let Options { delete, checksum, dry, exact } = self.options;
        let delete = delete && self.listing.is_finished();
        self.line.send(|writer| {
            writer.begin(Container::Tuple)?;
            writer.bytes(target)?;
            writer.bool(self.listing.alone)?;
            writer.begin(Container::List)?;
            self.listing.kept.iter().try_for_each(|name| writer.bytes(name))?;
            writer.end();
            writer.begin_dict()?;
            let options = [("delete", delete), ("checksum", checksum), ("dry", dry), ("exact", exact)];
            for (name, value) in options {
                writer.str(name)?;
                writer.bool(value)?;
            }
            writer.end();
            writer.end();
            Ok(())
        })
    }

    fn batch(&self, number: usize) -> Result<Vec<Listed>, CopyError> {
        let batch = self.listing.spool.batch(number);
        batch.map_err(|error| CopyError::Over(format!("cannot read the list of files: {error}")))
    }

    fn hear(&self) -> Result<FromReceiver, CopyError> {
        loop {
            match self.line.load(&self.line.receive()?)? {
                FromReceiver::Acts(acts) => tell(self.observer, &Vec::new(), &acts),
                FromReceiver::Over(why) => return Err(CopyError::Over(why)),
                said => return Ok(said),
            }
        }
    }

    fn answer(&self) -> Result<Needs, CopyError> {
        match self.hear()? {
            FromReceiver::Need(needs, failures, acts) => {
                tell(self.observer, &failures, &acts);
                Ok(needs)
            }
            _ => Err(unexpected()),
        }
    }

    /// Where everything goes.
    fn base(&self) -> Result<Base, CopyError> {
        match self.hear()? {
            FromReceiver::Open(folder, name) => Ok(Base { folder, name }),
            _ => Err(unexpected()),
        }
    }

    /// Why the channel was closed.
    fn last_words(&self) -> CopyError {
        loop {
            match self.hear() {
                Ok(_) => {}
                Err(error) => return error,
            }
        }
    }

    /// Sends the files of a batch that are needed.
    fn fill(&self, batch: &Offered, needs: &Needs, base: &Base) -> Result<(), CopyError> {
        let mut outgoing = Outgoing::new(&self.line);
        let mut needs = needs.iter().peekable();
        let mut number = 0;
        for Listed { folder, from } in &batch.folders {
            for entry in &folder.entries {
                let need = needs.next_if(|(needed, ..)| *needed == number);
                match need {
                    Some((_, hashed, is_settled)) if entry.kind == Kind::File => {
                        let name = Path::new(OsStr::from_bytes(&entry.name));
                        let mut source = Source { folder: from, name, file: None };
                        let wanted = Wanted {
                            batch: batch.number,
                            number,
                            size: entry.size,
                            is_settled: *is_settled,
                            path: [&folder.path, &entry.name[..]],
                            base,
                        };
                        self.file(&mut outgoing, &mut source, &wanted, hashed.as_deref())?;
                    }
                    Some(_) => return Err(CopyError::Refused("it asks for what is no file".into())),
                    None => self.observer.settled(entry.size),
                }
                number += 1;
            }
        }
        if needs.next().is_some() {
            return Err(CopyError::Refused("it asks for a file that it was not offered".into()));
        }
        outgoing.flush()
    }

    fn file(
        &self,
        outgoing: &mut Outgoing<'_>,
        source: &mut Source<'_>,
        wanted: &Wanted<'_>,
        hashed: Option<&[u8]>,
    ) -> Result<(), CopyError> {
        let Wanted { number, size, .. } = *wanted;
        let id = (wanted.batch, number);
        let ours = hashed.map(|_| self.blocks.digest(id, || source.digest()));
        let is_same = matches!((&ours, hashed), (Some(Ok(ours)), Some(theirs)) if ours == theirs);
        if self.options.dry {
            if !is_same || !wanted.is_settled {
                let act = if is_same { Act::Update } else { Act::Send };
                self.observer.act(act, &wanted.shown());
            }
            return Ok(());
        }
        if is_same {
            self.observer.settled(size);
            self.observer.handed(size);
            return outgoing.add(number, Flag::Same, b"");
        }
        let mut offset = 0;
        loop {
            let length = PIECE.min(size - offset);
            let block = self.blocks.block(id, offset, length, || source.read(offset, length));
            let block = match block {
                Ok(block) => block,
                Err(error) => {
                    let path = source.folder.join(source.name);
                    self.observer.unread(path.as_os_str().as_bytes(), &error.to_string());
                    self.observer.settled(size - offset);
                    self.observer.handed(0);
                    return outgoing.add(number, Flag::Gone, b"");
                }
            };
            if offset == 0 {
                self.observer.sends(&below(wanted.path[0], wanted.path[1]));
            }
            offset += block.len() as u64;
            let is_last = offset == size;
            outgoing.add(number, if is_last { Flag::End } else { Flag::More }, &block)?;
            self.observer.moved(block.len() as u64);
            if is_last {
                self.observer.handed(offset);
                return Ok(());
            }
        }
    }

    fn links(&self, base: &[u8]) -> Result<(), CopyError> {
        for number in 0..self.listing.spool.len() {
            let batch = self.batch(number)?;
            let mut links = Vec::new();
            for Listed { folder, .. } in &batch {
                for entry in folder.entries.iter().filter(|entry| entry.kind == Kind::Link) {
                    let target = self.listing.leads(&entry.target, base);
                    links.push((below(&folder.path, &entry.name), target));
                }
            }
            if links.is_empty() {
                continue;
            }
            self.line.send(|writer| {
                write_list(writer, "links", &links, |writer, (path, target)| {
                    writer.bytes(path)?;
                    writer.bytes(target)
                })
            })?;
            self.answer()?;
        }
        Ok(())
    }

    /// Sends modes and times of folders, inner ones first.
    fn folders(&self) -> Result<(), CopyError> {
        for number in (0..self.listing.spool.len()).rev() {
            let batch = self.batch(number)?;
            let firsts = batch.iter().rev().map(|listed| &listed.folder);
            let firsts = firsts.filter(|folder| folder.flags & FIRST != 0);
            let folders: Vec<_> = firsts.filter_map(|folder| Some((folder, folder.mode?))).collect();
            if folders.is_empty() {
                continue;
            }
            self.line.send(|writer| {
                write_list(writer, "folders", &folders, |writer, (folder, mode)| {
                    writer.bytes(&folder.path)?;
                    writer.int((*mode).into())?;
                    writer.int(folder.time)
                })
            })?;
        }
        Ok(())
    }
}

impl Offered {
    /// The bytes of the files that are needed.
    fn size_of(&self, needs: &Needs) -> u64 {
        let entries = self.folders.iter().flat_map(|listed| &listed.folder.entries);
        let mut needs = needs.iter().peekable();
        let needed = entries.zip(0..).filter(|(_, number)| needs.next_if(|need| need.0 == *number).is_some());
        needed.map(|(entry, _)| entry.size).sum()
    }
}

/// A file that is needed.
struct Wanted<'a> {
    batch: usize,
    number: u32,
    size: u64,
    /// What is there has its mode and time.
    is_settled: bool,
    /// Its folder in the copy, and its name.
    path: [&'a [u8]; 2],
    base: &'a Base,
}

/// The folder on the host that everything goes to, and the name there of what comes alone.
struct Base {
    folder: Bytes,
    name: Option<Bytes>,
}

impl Wanted<'_> {
    /// Its path on the host.
    fn shown(&self) -> Vec<u8> {
        let [folder, name] = self.path;
        match &self.base.name {
            Some(name) => below(&self.base.folder, name),
            None => below(&self.base.folder, &below(folder, name)),
        }
    }
}

/// The path of an entry of a folder.
pub(super) fn below(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() { name.to_vec() } else { [folder, b"/", name].concat() }
}

fn unexpected() -> CopyError {
    CopyError::Refused("it answers what was not asked".into())
}

#[cfg(test)]
#[path = "push_tests.rs"]
mod tests;
