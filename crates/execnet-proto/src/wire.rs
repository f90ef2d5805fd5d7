//! Frames and their bytes (docs/protocol.md, section 2). `wire/table.rs` has a row for each
//! kind.
//!
//! This module only translates between bytes and [`Frame`]; other modules give frames their meaning.

mod codec;
#[macro_use]
mod table;
mod fields;

use bytes::{Buf, Bytes, BytesMut};

pub use codec::encode_table;
pub(crate) use codec::put_data_head;
pub use fields::{Ending, Exit, Refusal, Role, Span, Spawn, Stream, Table};
pub use table::{Frame, FrameKind, Party};

/// The largest number of bytes in one DATA frame.
pub const MAX_DATA: usize = 65_536;

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
    /// # Panics Never. Texts and lists that this program makes itself must fit their kind's limit: see
    /// [`Frame::fits`].
    /// kind's limit: see [`Frame::fits`].
    pub fn encode(&self, out: &mut BytesMut) {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER]);
        self.put_body(out);
        let length = out.len() - start - HEADER;
        out[start..start + HEADER].copy_from_slice(&codec::header(self.kind(), length));
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
    /// # Errors For bytes that are not a frame of this protocol. Nothing can be read after an error.
    #[allow(clippy::should_implement_trait)] // its errors are final, an iterator's are not
    pub fn next(&mut self) -> Result<Option<(Frame, usize)>, FrameError> {
        let Some(header) = self.buffer.first_chunk() else { return Ok(None) };
        let (byte, length) = codec::split_header(*header);
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
