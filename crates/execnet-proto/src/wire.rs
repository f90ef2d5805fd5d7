//! Frames and their bytes (docs/protocol.md, section 2). `wire/table.rs` has a row for each kind.
//!
//! This module only translates between bytes and [`Frame`]; other modules give frames their meaning.

#[macro_use]
mod codec;
mod fields;
mod table;
mod usage;

use bytes::{Buf, Bytes, BytesMut};

use crate::id::ProcessId;

use codec::{DATA_HEAD, Field};
pub use codec::{MAX_DATA, Stream, Table, encode_table};
pub use fields::{Ending, Exit, Held, Refusal, Role, Span, Spawn, Standing};
pub use table::{Frame, FrameKind, Party};
pub use usage::{UNKNOWN, Usage};

/// Bytes of a frame's header.
pub const HEADER: usize = 4;

/// The reason why bytes are not a frame of this protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum FrameError {
    #[error("unknown frame kind {0:#04x}")]
    UnknownKind(u8),
    #[error("{kind:?} frame of {length} bytes, at most {} are allowed", kind.limit())]
    TooLong { kind: FrameKind, length: usize },
    #[error("malformed {0:?} frame")]
    Malformed(FrameKind),
}

impl Frame {
    /// Appends its bytes to `out`.
    ///
    /// # Panics
    /// Never. Texts and lists that this program makes itself must fit their kind's limit: see
    /// [`Frame::fits`].
    pub fn encode(&self, out: &mut BytesMut) {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER]);
        self.put_body(out);
        let length = out.len() - start - HEADER;
        out[start..start + HEADER].copy_from_slice(&header(self.kind(), length));
    }

    fn parse(kind: FrameKind, mut body: Bytes) -> Result<Self, FrameError> {
        let frame = Self::read_body(kind, &mut body).filter(Self::holds);
        frame.filter(|_| body.is_empty()).ok_or(FrameError::Malformed(kind))
    }

    /// Whether its fields fit each other; only those of DATA depend on one another.
    fn holds(&self) -> bool {
        let Self::Data { position, bytes, .. } = self else { return true };
        !bytes.is_empty() && position.checked_add(bytes.len() as u64).is_some()
    }

    /// Its bytes.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(64);
        self.encode(&mut out);
        out.freeze()
    }

    /// Whether its body is within its kind's limit.
    pub fn fits(&self) -> bool {
        let mut body = BytesMut::new();
        self.put_body(&mut body);
        body.len() <= self.kind().limit()
    }
}

/// Appends everything before the payload of a DATA frame with `length` bytes: header, id, stream, position.
pub(crate) fn put_data_head(out: &mut BytesMut, id: ProcessId, stream: Stream, position: u64, length: usize) {
    out.extend_from_slice(&header(FrameKind::Data, DATA_HEAD + length));
    id.put(out);
    stream.put(out);
    position.put(out);
}

/// The header of a frame with a body of `length` bytes.
fn header(kind: FrameKind, length: usize) -> [u8; HEADER] {
    (u32::from(kind as u8) << 24 | (length as u32 & 0x00ff_ffff)).to_be_bytes()
}

/// First byte and body length of a header.
fn split_header(header: [u8; HEADER]) -> (u8, usize) {
    let header = u32::from_be_bytes(header);
    ((header >> 24) as u8, (header & 0x00ff_ffff) as usize)
}

/// Everything before the payload of a DATA frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DataHead {
    pub(crate) id: ProcessId,
    pub(crate) stream: Stream,
    pub(crate) position: u64,
    /// Bytes of the payload.
    pub(crate) length: usize,
}

impl DataHead {
    /// What these bytes begin with, if that is a DATA frame.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        let (header, rest) = bytes.split_first_chunk::<HEADER>()?;
        let (id, rest) = rest.split_first_chunk::<16>()?;
        let (stream, rest) = rest.split_first()?;
        let (position, _) = rest.split_first_chunk::<8>()?;
        let (byte, body) = split_header(*header);
        let length = body.checked_sub(DATA_HEAD).filter(|length| (1..=MAX_DATA).contains(length))?;
        let stream = Stream::ALL.into_iter().find(|each| *each as u8 == *stream)?;
        let (id, position) = (ProcessId(*id), u64::from_be_bytes(*position));
        (byte == FrameKind::Data as u8).then_some(Self { id, stream, position, length })
    }

    /// Bytes of the whole frame.
    pub(crate) fn size(&self) -> usize {
        HEADER + DATA_HEAD + self.length
    }
}

/// Cuts a byte stream into frames. It holds at most one incomplete frame and the bytes pushed with it.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: BytesMut,
}

impl Decoder {
    /// Takes bytes that arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame and the number of its bytes, or `None` if it is not complete yet.
    ///
    /// # Errors
    /// For bytes that are not a frame of this protocol. Nothing can be read after an error.
    #[allow(clippy::should_implement_trait)] // its errors are final, an iterator's are not
    pub fn next(&mut self) -> Result<Option<(Frame, usize)>, FrameError> {
        let Some(header) = self.buffer.first_chunk() else { return Ok(None) };
        let (byte, length) = split_header(*header);
        let kind = FrameKind::of(byte).ok_or(FrameError::UnknownKind(byte))?;
        if length > kind.limit() {
            return Err(FrameError::TooLong { kind, length });
        }
        if self.buffer.len() < HEADER + length {
            return Ok(None);
        }
        let mut bytes = self.buffer.split_to(HEADER + length).freeze();
        bytes.advance(HEADER);
        Frame::parse(kind, bytes).map(|frame| Some((frame, HEADER + length)))
    }

    /// The number of bytes that wait for the rest of their frame.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// These bytes. After an error about a header they begin with that header.
    pub fn rest(&self) -> &[u8] {
        &self.buffer
    }
}
