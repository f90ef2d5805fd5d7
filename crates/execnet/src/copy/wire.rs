//! What the two halves of a copy say to each other, as values on a channel.

use bytes::Bytes;
use serde::Deserialize;

use super::{Act, CopyError, Observer, PIECE};
use crate::gateway::{Channel, ChannelError, Raw};
use crate::value::{Container, DumpError, Writer};

/// What an entry of a folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Folder,
    Link,
    /// A device, a FIFO, a socket.
    Other,
}

impl Kind {
    pub(super) fn from_code(code: u8) -> Option<Self> {
        [Self::File, Self::Folder, Self::Link, Self::Other].get(usize::from(code)).copied()
    }
}

/// The entries of a folder, or some of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Folder {
    /// Relative to the top, names separated by `/`. Empty for the top itself.
    pub(super) path: Vec<u8>,
    pub(super) flags: u8,
    /// Permission bits; None if mode and time of the folder are not copied.
    pub(super) mode: Option<u32>,
    /// Nanoseconds.
    pub(super) time: i64,
    pub(super) entries: Vec<Entry>,
}

/// These are the first entries of the folder, the last ones, and the folder has no others.
pub(super) const FIRST: u8 = 1;
pub(super) const LAST: u8 = 2;
pub(super) const COMPLETE: u8 = 4;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) time: i64,
    /// Bytes of a file.
    pub(super) size: u64,
    /// Where a link leads.
    pub(super) target: Vec<u8>,
}

/// What the bytes of a file are, or why there are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flag {
    More,
    /// They are the last ones.
    End,
    /// What is there has the same content.
    Same,
    /// The file cannot be read any more.
    Gone,
}

impl Flag {
    pub(super) fn from_code(code: u8) -> Option<Self> {
        [Self::More, Self::End, Self::Same, Self::Gone].get(usize::from(code)).copied()
    }
}

/// Files that are needed, by number in the batch, with the SHA-256 of what is there if it may be the same,
/// and whether its mode and time are.
pub(super) type Needs = Vec<(u32, Option<Bytes>, bool)>;

/// Paths, with what went wrong.
pub(super) type Failures = Vec<(Bytes, String)>;

/// What is done, or would be, with paths.
pub(super) type Acts = Vec<(String, Bytes)>;

/// What a host says that receives.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum FromReceiver {
    /// The folder that everything goes to, and the name there of what comes alone, if it gets another one.
    Open(Bytes, Option<Bytes>),
    /// The answer to a batch, or to links.
    Need(Needs, Failures, Acts),
    /// Some of what is done, ahead of the answer.
    Acts(Acts),
    /// Everything is in place. The number counts all failures.
    End(Failures, Acts, u64),
    /// The copy cannot go on.
    Over(String),
}

/// What a host says that sends.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum FromSender {
    /// How many entries and folders there are, how many bytes, and whether all could be listed.
    Total(u64, u64, bool),
    /// A batch.
    Offer(Vec<WireFolder>),
    /// Number, flag and bytes of files in the oldest batch that is not complete.
    Data(Vec<(u32, u8, Bytes)>),
    End(Failures, u64),
}

type WireFolder = (Bytes, u8, i64, i64, Vec<WireEntry>);
type WireEntry = (Bytes, u8, u32, i64, u64, Bytes);

/// A folder as it arrived, if its numbers make sense.
pub(super) fn folder((path, flags, mode, time, entries): WireFolder) -> Option<Folder> {
    let entry = |(name, kind, mode, time, size, target): WireEntry| {
        let kind = Kind::from_code(kind)?;
        Some(Entry { name: name.into(), kind, mode, time, size, target: target.into() })
    };
    let entries = entries.into_iter().map(entry).collect::<Option<_>>()?;
    Some(Folder { path: path.into(), flags, mode: u32::try_from(mode).ok(), time, entries })
}

/// Tells the observer of failures and acts.
pub(super) fn tell(observer: &dyn Observer, failures: &Failures, acts: &Acts) {
    failures.iter().for_each(|(path, why)| observer.failed(path, why));
    for (act, path) in acts {
        if let Some(act) = Act::named(act) {
            observer.act(act, path);
        }
    }
}

/// The channel of a copy.
pub(super) struct Line<'a>(pub(super) &'a Channel);

impl Line<'_> {
    /// Sends a value that `write` writes.
    pub(super) fn send(
        &self,
        write: impl FnOnce(&mut Writer) -> Result<(), DumpError>,
    ) -> Result<(), CopyError> {
        let mut writer = Writer::new(self.0.writing()?);
        write(&mut writer).map_err(ChannelError::Dump)?;
        Ok(self.0.send_encoded(writer.finish().map_err(ChannelError::Dump)?)?)
    }

    pub(super) fn receive(&self) -> Result<Raw, CopyError> {
        Ok(self.0.receive_raw()?)
    }

    pub(super) fn load<T: serde::de::DeserializeOwned>(&self, raw: &Raw) -> Result<T, CopyError> {
        self.0.load(raw).map_err(|error| match error {
            ChannelError::Load(error) => CopyError::Refused(error.to_string()),
            error => error.into(),
        })
    }
}

/// A batch that is offered to a receiver.
pub(super) fn write_offer<'a>(
    writer: &mut Writer,
    folders: impl Iterator<Item = &'a Folder>,
) -> Result<(), DumpError> {
    writer.begin(Container::Tuple)?;
    writer.str("offer")?;
    writer.begin(Container::List)?;
    for folder in folders {
        writer.begin(Container::Tuple)?;
        writer.bytes(&folder.path)?;
        writer.int(folder.flags.into())?;
        writer.int(folder.mode.map_or(-1, i64::from))?;
        writer.int(folder.time)?;
        writer.begin(Container::List)?;
        for entry in &folder.entries {
            writer.begin(Container::Tuple)?;
            writer.bytes(&entry.name)?;
            writer.int(entry.kind as i64)?;
            writer.int(entry.mode.into())?;
            writer.int(entry.time)?;
            writer.int(entry.size.try_into().unwrap_or(i64::MAX))?;
            writer.end();
        }
        writer.end();
        writer.end();
    }
    writer.end();
    writer.end();
    Ok(())
}

/// Pieces of files on their way to a receiver, many in a message.
pub(super) struct Outgoing<'a> {
    line: &'a Line<'a>,
    writer: Option<Writer>,
    size: u64,
}

impl<'a> Outgoing<'a> {
    pub(super) fn new(line: &'a Line<'a>) -> Self {
        Self { line, writer: None, size: 0 }
    }

    pub(super) fn add(&mut self, number: u32, flag: Flag, data: &[u8]) -> Result<(), CopyError> {
        let write = |writer: &mut Writer| {
            writer.begin(Container::Tuple)?;
            writer.int(number.into())?;
            writer.int(flag as i64)?;
            writer.bytes(data)?;
            writer.end();
            Ok(())
        };
        let writer = match &mut self.writer {
            Some(writer) => writer,
            empty => {
                let mut writer = Writer::new(self.line.0.writing()?);
                begin_data(&mut writer).map_err(ChannelError::Dump)?;
                empty.insert(writer)
            }
        };
        write(writer).map_err(ChannelError::Dump)?;
        self.size += data.len() as u64 + 64;
        if self.size >= PIECE { self.flush() } else { Ok(()) }
    }

    pub(super) fn flush(&mut self) -> Result<(), CopyError> {
        self.size = 0;
        let Some(mut writer) = self.writer.take() else { return Ok(()) };
        writer.end();
        writer.end();
        Ok(self.line.0.send_encoded(writer.finish().map_err(ChannelError::Dump)?)?)
    }
}

fn begin_data(writer: &mut Writer) -> Result<(), DumpError> {
    writer.begin(Container::Tuple)?;
    writer.str("data")?;
    writer.begin(Container::List)
}

/// A message of a receiver's client: its name, and a list of which `item` writes each.
pub(super) fn write_list<T>(
    writer: &mut Writer,
    name: &str,
    items: &[T],
    item: impl Fn(&mut Writer, &T) -> Result<(), DumpError>,
) -> Result<(), DumpError> {
    writer.begin(Container::Tuple)?;
    writer.str(name)?;
    writer.begin(Container::List)?;
    for one in items {
        writer.begin(Container::Tuple)?;
        item(writer, one)?;
        writer.end();
    }
    writer.end();
    writer.end();
    Ok(())
}
