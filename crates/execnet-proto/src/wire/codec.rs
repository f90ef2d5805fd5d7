//! Encoding and decoding of a frame's fields: integers, ids, texts, lists, tables. It also owns the layout of
//! DATA.
//!
//! Nothing is trusted: a length is checked before its bytes are taken, and bytes without a meaning are
//! [`FrameError::Malformed`].

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{Frame, FrameError, FrameKind, HEADER, Stream, Table};
use crate::id::{ClientId, Epoch, Incarnation, ProcessId};

/// Bytes of a DATA body before its payload: id, stream, position.
pub(crate) const DATA_HEAD: usize = 16 + 1 + 8;

/// A type that can be a field of a frame.
pub(super) trait Field: Sized {
    /// Appends its bytes.
    fn put(&self, out: &mut BytesMut);

    /// Reads it from the front of the body.
    fn read(body: &mut Body) -> Result<Self, FrameError>;

    /// Adds the wire fields of a field called `name`: see [`FrameKind::fields`].
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

/// The unread rest of a frame's body.
pub(super) struct Body {
    pub(super) bytes: Bytes,
    pub(super) kind: FrameKind,
}

impl Body {
    pub(super) fn malformed(&self) -> FrameError {
        FrameError::Malformed(self.kind)
    }

    pub(super) fn take(&mut self, count: usize) -> Result<Bytes, FrameError> {
        if self.bytes.len() < count {
            return Err(self.malformed());
        }
        Ok(self.bytes.split_to(count))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let array = *self.bytes.first_chunk().ok_or_else(|| self.malformed())?;
        self.bytes.advance(N);
        Ok(array)
    }

    fn blob(&mut self) -> Result<Bytes, FrameError> {
        let length = u32::read(self)? as usize;
        self.take(length)
    }
}

impl Frame {
    pub(super) fn parse(kind: FrameKind, bytes: Bytes) -> Result<Self, FrameError> {
        let mut body = Body { bytes, kind };
        let frame = Self::read_body(kind, &mut body)?;
        if body.bytes.is_empty() && frame.holds() { Ok(frame) } else { Err(body.malformed()) }
    }

    /// Whether its fields fit each other; only those of DATA depend on one another.
    fn holds(&self) -> bool {
        let Self::Data { position, bytes, .. } = self else { return true };
        !bytes.is_empty() && position.checked_add(bytes.len() as u64).is_some()
    }
}

/// Appends everything before the payload of a DATA frame with `length` bytes: header, id, stream, position.
pub(crate) fn put_data_head(out: &mut BytesMut, id: ProcessId, stream: Stream, position: u64, length: usize) {
    out.put_slice(&header(FrameKind::Data, DATA_HEAD + length));
    id.put(out);
    stream.put(out);
    position.put(out);
}

/// The header of a frame with a body of `length` bytes.
pub(super) fn header(kind: FrameKind, length: usize) -> [u8; HEADER] {
    (u32::from(kind as u8) << 24 | (length as u32 & 0x00ff_ffff)).to_be_bytes()
}

/// First byte and body length of a header.
pub(super) fn split_header(header: [u8; HEADER]) -> (u8, usize) {
    let header = u32::from_be_bytes(header);
    ((header >> 24) as u8, (header & 0x00ff_ffff) as usize)
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
            fn read(body: &mut Body) -> Result<Self, FrameError> {
                body.array().map(Self::from_be_bytes)
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
    fn read(body: &mut Body) -> Result<Self, FrameError> {
        match u8::read(body)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(body.malformed()),
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
    fn read(body: &mut Body) -> Result<Self, FrameError> {
        body.array()
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
            fn read(body: &mut Body) -> Result<Self, FrameError> {
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
    fn read(body: &mut Body) -> Result<Self, FrameError> {
        body.array().map(Self)
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
    fn read(body: &mut Body) -> Result<Self, FrameError> {
        let length = usize::from(u16::read(body)?);
        let bytes = body.take(length)?;
        Self::from_utf8(bytes.to_vec()).map_err(|_| body.malformed())
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
    fn read(body: &mut Body) -> Result<Self, FrameError> {
        Ok(std::mem::take(&mut body.bytes))
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
    fn read(body: &mut Body) -> Result<Self, FrameError> {
        let count = u16::read(body)?;
        (0..count).map(|_| body.blob()).collect()
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
    fn read(body: &mut Body) -> Result<Self, FrameError> {
        let count = u16::read(body)?;
        (0..count).map(|_| Ok((String::read(body)?, body.blob()?))).collect()
    }

    fn describe(name: &str, fields: &mut Vec<(String, &'static str)>) {
        fields.push((name.into(), "table"));
    }
}
