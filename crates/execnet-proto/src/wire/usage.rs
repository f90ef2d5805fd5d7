//! A row of LOOKED: what one process of a client uses.

use bytes::{Bytes, BytesMut};

use super::codec::Field;
use crate::id::ProcessId;

/// The value of a number that the host cannot tell.
pub const UNKNOWN: u64 = u64::MAX;

/// The longest command in a row, in bytes.
const MAX_COMMAND: usize = 256;

/// The most rows in a frame: as many processes as a host may have.
const MAX_ROWS: usize = 1_000;

/// What a process and everything in its session use. [`UNKNOWN`] stands for what the host cannot tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The process.
    pub id: ProcessId,
    /// Its number on the host; 0 if the host cannot tell.
    pub pid: u32,
    /// Processes in its session, itself among them.
    pub processes: u32,
    /// Milliseconds since it was started.
    pub age: u64,
    /// Milliseconds of processor time that its session has used.
    pub cpu: u64,
    /// Bytes of memory that its session has resident.
    pub memory: u64,
    /// Its command, cut to 256 bytes. Hostile.
    pub command: String,
}

macro_rules! usage {
    ($($field:ident: $type:ty),+) => {
        impl Usage {
            fn read(mut blob: Bytes) -> Option<Self> {
                let row = Self { $($field: <$type>::read(&mut blob)?),+ };
                (blob.is_empty() && row.command.len() <= MAX_COMMAND).then_some(row)
            }

            fn put(&self, out: &mut BytesMut) {
                $(self.$field.put(out);)+
            }
        }
    };
}

// in the order of their bytes
usage!(id: ProcessId, pid: u32, processes: u32, age: u64, cpu: u64, memory: u64, command: String);

/// A list of rows, each a blob.
impl Field for Vec<Usage> {
    fn put(&self, out: &mut BytesMut) {
        let blobs = self.iter().map(|row| {
            let mut blob = BytesMut::new();
            row.put(&mut blob);
            blob.freeze()
        });
        blobs.collect::<Vec<Bytes>>().put(out);
    }

    fn read(body: &mut Bytes) -> Option<Self> {
        let blobs = <Vec<Bytes> as Field>::read(body).filter(|blobs| blobs.len() <= MAX_ROWS)?;
        blobs.into_iter().map(Usage::read).collect()
    }

    fn describe(name: &str, fields: &mut Vec<(String, &'static str)>) {
        <Vec<Bytes> as Field>::describe(name, fields);
    }
}
