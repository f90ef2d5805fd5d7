//! Encoding and decoding of simple fields: integers, ids, texts, lists, tables, the number of a stream.
//!
//! Nothing is trusted: a length is checked before its bytes are taken, and malformed bytes give `None`.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::id::{ClientId, Epoch, Incarnation, ProcessId};

/// The largest number of bytes in one DATA frame.
pub const MAX_DATA: usize = 65_536;

/// Bytes of a DATA body before its payload: id, stream, position.
pub(crate) const DATA_HEAD: usize = 16 + 1 + 8;

/// Pairs of key and value; keys may repeat.
pub type Table = Vec<(String, Bytes)>;

/// One of the three byte streams of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Stream {
    /// From the client to the process.
    Stdin = 0,
    /// From the process to the client.
    Stdout = 1,
    /// From the process to the client.
    Stderr = 2,
}

impl Stream {
    /// All three, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Stdin, Self::Stdout, Self::Stderr];

    /// Its number, as an index.
    pub fn index(self) -> usize {
        self as usize
    }
}

/// The name of a field on the wire: its own, or the one given with `as`.
macro_rules! wire_name {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $wire:literal) => {
        $wire
    };
}

/// A type that can be a field of a frame.
pub(super) trait Field: Sized {
    /// Appends its bytes.
    fn put(&self, out: &mut BytesMut);

    /// Reads it from the front of the body. `None` if the body is too short or malformed.
    fn read(body: &mut Bytes) -> Option<Self>;

    /// Adds the wire fields of a field called `name`: see `FrameKind::fields`.
    fn describe(name: &str, fields: &mut Vec<(String, &'static str)>);

    /// The process that a frame with this field belongs to.
    #[inline]
    fn process(&self) -> Option<ProcessId> {
        None
    }

    /// The stream that a frame with this field is about.
    #[inline]
    fn stream(&self) -> Option<Stream> {
        None
    }
}

/// Takes this many bytes from the front of a body.
fn take(body: &mut Bytes, count: usize) -> Option<Bytes> {
    (body.len() >= count).then(|| body.split_to(count))
}

#[inline]
fn array<const N: usize>(body: &mut Bytes) -> Option<[u8; N]> {
    let array = *body.first_chunk()?;
    body.advance(N);
    Some(array)
}

fn blob(body: &mut Bytes) -> Option<Bytes> {
    let length = u32::read(body)? as usize;
    take(body, length)
}

/// The bytes of a table by itself: the form of the bootstrap's config.
pub fn encode_table(table: &[(String, Bytes)]) -> Bytes {
    let mut out = BytesMut::new();
    put_table(table, &mut out);
    out.freeze()
}

fn put_table(table: &[(String, Bytes)], out: &mut BytesMut) {
    out.put_u16(table.len() as u16);
    for (key, value) in table {
        key.put(out);
        put_blob(value, out);
    }
}

fn put_blob(blob: &[u8], out: &mut BytesMut) {
    out.put_u32(blob.len() as u32);
    out.put_slice(blob);
}

/// Appends a str. A longer text is cut at a character's boundary: it is a message.
pub(super) fn put_str(text: &str, out: &mut BytesMut) {
    let most = text.len().min(usize::from(u16::MAX));
    let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    out.put_u16(end as u16);
    out.put_slice(&text.as_bytes()[..end]);
}

macro_rules! integer {
    ($($type:ty: $form:literal),+) => {$(
        impl Field for $type {
            #[inline]
            fn put(&self, out: &mut BytesMut) {
                out.put_slice(&self.to_be_bytes());
            }

            #[inline]
            fn read(body: &mut Bytes) -> Option<Self> {
                array(body).map(Self::from_be_bytes)
            }

            fn describe(name: &str, fields: &mut Vec<(String, &'static str)>) {
                fields.push((name.into(), $form));
            }
        }
    )+};
}

integer!(u8: "B", u16: "H", u32: "I", u64: "Q");

impl Field for bool {
    #[inline]
    fn put(&self, out: &mut BytesMut) {
        out.put_u8(u8::from(*self));
    }

    #[inline]
    fn read(body: &mut Bytes) -> Option<Self> {
        match u8::read(body)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn describe(name: &str, fields: &mut Vec<(String, &'static str)>) {
        u8::describe(name, fields);
    }
}

impl Field for [u8; 16] {
    #[inline]
    fn put(&self, out: &mut BytesMut) {
        out.put_slice(self);
    }

    #[inline]
    fn read(body: &mut Bytes) -> Option<Self> {
        array(body)
    }

    fn describe(name: &str, fields: &mut Vec<(String, &'static str)>) {
        fields.push((name.into(), "16"));
    }
}

macro_rules! newtype {
    ($($type:ident($inner:ty)),+) => {$(
        impl Field for $type {
            #[inline]
            fn put(&self, out: &mut BytesMut) {
                self.0.put(out);
            }

            #[inline]
            fn read(body: &mut Bytes) -> Option<Self> {
                <$inner>::read(body).map(Self)
            }

            fn describe(name: &str, fields: &mut Vec<(String, &'static str)>) {
                <$inner>::describe(name, fields);
            }
        }
    )+};
}

newtype!(ClientId([u8; 16]), Incarnation([u8; 16]), Epoch(u64));

impl Field for ProcessId {
    #[inline]
    fn put(&self, out: &mut BytesMut) {
        self.0.put(out);
    }

    #[inline]
    fn read(body: &mut Bytes) -> Option<Self> {
        array(body).map(Self)
    }

    fn describe(name: &str, fields: &mut Vec<(String, &'static str)>) {
        <[u8; 16]>::describe(name, fields);
    }

    #[inline]
    fn process(&self) -> Option<ProcessId> {
        Some(*self)
    }
}

impl Field for String {
    #[inline]
    fn put(&self, out: &mut BytesMut) {
        put_str(self, out);
    }

    #[inline]
    fn read(body: &mut Bytes) -> Option<Self> {
        let length = usize::from(u16::read(body)?);
        Self::from_utf8(take(body, length)?.to_vec()).ok()
    }

    fn describe(name: &str, fields: &mut Vec<(String, &'static str)>) {
        fields.push((name.into(), "str"));
    }
}

/// Everything up to the end of the body.
impl Field for Bytes {
    #[inline]
    fn put(&self, out: &mut BytesMut) {
        out.put_slice(self);
    }

    #[inline]
    fn read(body: &mut Bytes) -> Option<Self> {
        Some(std::mem::take(body))
    }

    fn describe(name: &str, fields: &mut Vec<(String, &'static str)>) {
        fields.push((name.into(), "rest"));
    }
}

/// A list of blobs.
impl Field for Vec<Bytes> {
    #[inline]
    fn put(&self, out: &mut BytesMut) {
        out.put_u16(self.len() as u16);
        for blob in self {
            put_blob(blob, out);
        }
    }

    #[inline]
    fn read(body: &mut Bytes) -> Option<Self> {
        let count = u16::read(body)?;
        (0..count).map(|_| blob(body)).collect()
    }

    fn describe(name: &str, fields: &mut Vec<(String, &'static str)>) {
        fields.push((name.into(), "list"));
    }
}

impl Field for Table {
    #[inline]
    fn put(&self, out: &mut BytesMut) {
        put_table(self, out);
    }

    #[inline]
    fn read(body: &mut Bytes) -> Option<Self> {
        let count = u16::read(body)?;
        (0..count).map(|_| Some((String::read(body)?, blob(body)?))).collect()
    }

    fn describe(name: &str, fields: &mut Vec<(String, &'static str)>) {
        fields.push((name.into(), "table"));
    }
}

impl Field for Stream {
    #[inline]
    fn put(&self, out: &mut BytesMut) {
        (*self as u8).put(out);
    }

    #[inline]
    fn read(body: &mut Bytes) -> Option<Self> {
        let index = usize::from(u8::read(body)?);
        Self::ALL.get(index).copied()
    }

    fn describe(name: &str, fields: &mut Vec<(String, &'static str)>) {
        fields.push((name.into(), "stream"));
    }

    #[inline]
    fn stream(&self) -> Option<Stream> {
        Some(*self)
    }
}
