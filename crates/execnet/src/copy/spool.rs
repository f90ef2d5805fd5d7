//! Batches of folders in an unlinked file, so that a listing of any size takes little memory.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::wire::{Entry, Folder, Kind};
use super::{ENTRIES, NAMES};
use crate::copy::listing::Listed;

/// Batches, in the order in which they were written.
#[derive(Debug)]
pub(super) struct Spool {
    file: File,
    /// Where each batch begins, and the end.
    starts: Vec<u64>,
}

/// Writes a spool.
pub(super) struct SpoolWriter {
    out: BufWriter<File>,
    starts: Vec<u64>,
    at: u64,
    /// Entries and bytes of names in the batch that is being written.
    entries: usize,
    names: usize,
    record: Vec<u8>,
}

impl SpoolWriter {
    pub(super) fn new() -> io::Result<Self> {
        let out = BufWriter::new(tempfile::tempfile()?);
        Ok(Self { out, starts: Vec::new(), at: 0, entries: 0, names: 0, record: Vec::new() })
    }

    /// Adds a folder, or part of one, of at most [`ENTRIES`] entries.
    pub(super) fn add(&mut self, listed: &Listed) -> io::Result<()> {
        let Listed { folder, from } = listed;
        if self.starts.is_empty() || self.entries + folder.entries.len() > ENTRIES || self.names > NAMES {
            self.starts.push(self.at);
            (self.entries, self.names) = (0, 0);
        }
        let record = &mut self.record;
        record.clear();
        put_bytes(record, &folder.path);
        put_bytes(record, from.as_os_str().as_encoded_bytes());
        record.push(folder.flags);
        record.extend_from_slice(&folder.mode.unwrap_or(u32::MAX).to_le_bytes());
        record.extend_from_slice(&folder.time.to_le_bytes());
        record.extend_from_slice(&(folder.entries.len() as u32).to_le_bytes());
        for entry in &folder.entries {
            put_bytes(record, &entry.name);
            record.push(entry.kind as u8);
            record.extend_from_slice(&entry.mode.to_le_bytes());
            record.extend_from_slice(&entry.time.to_le_bytes());
            record.extend_from_slice(&entry.size.to_le_bytes());
            put_bytes(record, &entry.target);
            self.names += entry.name.len() + 8;
        }
        self.names += folder.path.len();
        self.entries += folder.entries.len();
        self.at += record.len() as u64;
        self.out.write_all(record)
    }

    pub(super) fn finish(mut self) -> io::Result<Spool> {
        self.starts.push(self.at);
        let file = self.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(Spool { file, starts: self.starts })
    }
}

impl Spool {
    /// How many batches there are.
    pub(super) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    pub(super) fn batch(&self, number: usize) -> io::Result<Vec<Listed>> {
        let (start, end) = (self.starts[number], self.starts[number + 1]);
        let mut bytes = vec![0; (end - start) as usize];
        self.file.read_exact_at(&mut bytes, start)?;
        let mut rest = &bytes[..];
        let mut batch = Vec::new();
        while !rest.is_empty() {
            batch.push(record(&mut rest).ok_or_else(|| io::Error::other("the list is damaged"))?);
        }
        Ok(batch)
    }
}

fn record(rest: &mut &[u8]) -> Option<Listed> {
    let path = take_bytes(rest)?.to_vec();
    let from = take_path(take_bytes(rest)?);
    let flags = take::<1>(rest)?[0];
    let mode = Some(u32::from_le_bytes(take(rest)?)).filter(|mode| *mode != u32::MAX);
    let time = i64::from_le_bytes(take(rest)?);
    let count = u32::from_le_bytes(take(rest)?);
    let entries = (0..count)
        .map(|_| {
            Some(Entry {
                name: take_bytes(rest)?.to_vec(),
                kind: Kind::from_code(take::<1>(rest)?[0])?,
                mode: u32::from_le_bytes(take(rest)?),
                time: i64::from_le_bytes(take(rest)?),
                size: u64::from_le_bytes(take(rest)?),
                target: take_bytes(rest)?.to_vec(),
            })
        })
        .collect::<Option<_>>()?;
    Some(Listed { folder: Folder { path, flags, mode, time, entries }, from })
}

fn put_bytes(record: &mut Vec<u8>, bytes: &[u8]) {
    record.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    record.extend_from_slice(bytes);
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*head)
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u32::from_le_bytes(take(rest)?) as usize;
    let (head, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(head)
}

fn take_path(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::OsStr::from_bytes(bytes).into()
}
