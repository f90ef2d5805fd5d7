//! The outputs of the simulation's processes, as their agent holds them: plain ones, those of kept work, and
//! those of readers.

use std::collections::VecDeque;

use bytes::Bytes;
use execnet_proto::conn::Conn;
use execnet_proto::id::ProcessId;
use execnet_proto::kept::{Policy, Replay};
use execnet_proto::stream::{SendStream, Violation};
use execnet_proto::wire::{Frame, Span, Stream};

use super::AHEAD;

/// Bytes that are read from kept work while nobody takes them, and nothing may be dropped.
const WINDOW: u64 = 65_536;

/// Bytes of one DATA frame.
const PIECE: usize = 65_536;

#[derive(Debug)]
pub(super) enum Out {
    Plain(SendStream),
    Ring(Ring),
    Reader(Reader),
}

/// What is held of an output of kept work.
#[derive(Debug)]
pub(super) struct Ring {
    policy: Policy,
    base: u64,
    bytes: VecDeque<u8>,
    sent: u64,
    acknowledged: u64,
    limit: u64,
    finished: bool,
    stopped: bool,
    /// Somebody takes it.
    present: bool,
}

/// A reader's place in a ring of somebody else.
#[derive(Debug)]
pub(super) struct Reader {
    from: u64,
    sent: u64,
    limit: u64,
    stopped: bool,
}

impl Ring {
    pub(super) fn new(policy: Policy, limit: u64) -> Self {
        Self {
            policy,
            base: 0,
            bytes: VecDeque::new(),
            sent: 0,
            acknowledged: 0,
            limit,
            finished: false,
            stopped: false,
            present: true,
        }
    }

    pub(super) fn base(&self) -> u64 {
        self.base
    }

    pub(super) fn end(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    fn piece(&mut self, from: u64, most: usize) -> Bytes {
        let from = (from - self.base) as usize;
        let bytes = &self.bytes.make_contiguous()[from..];
        Bytes::copy_from_slice(&bytes[..bytes.len().min(most)])
    }

    fn trim(&mut self) {
        let from = match self.policy {
            Policy::Wait => self.acknowledged,
            Policy::Last(bytes) | Policy::Spill(bytes) => {
                let last = self.end().saturating_sub(bytes);
                if self.present { last.min(self.acknowledged) } else { last }
            }
        };
        if from > self.base {
            self.bytes.drain(..((from - self.base) as usize).min(self.bytes.len()));
            self.base = from;
        }
    }

    pub(super) fn is_present(&mut self, present: bool) {
        self.present = present;
        self.trim();
    }
}

impl Reader {
    pub(super) fn new(replay: Replay, end: u64, limit: u64) -> Self {
        let from = match replay {
            Replay::All => 0,
            Replay::Last(bytes) => end.saturating_sub(bytes),
        };
        Self { from, sent: 0, limit, stopped: false }
    }

    /// Sends what is there of its source, which ends at `length` if that is gone.
    pub(super) fn pump(
        &mut self,
        id: ProcessId,
        stream: Stream,
        source: Result<&mut Ring, u64>,
        conn: &mut Conn,
    ) {
        if self.stopped {
            return;
        }
        let base = source.as_ref().map_or_else(|length| *length, |ring| ring.base).max(self.from);
        if self.sent < base {
            (self.sent, self.limit) = (base, self.limit.max(base));
            conn.send(Frame::Skip { id, stream, position: base });
        }
        let Ok(ring) = source else { return };
        while conn.queued(id) < AHEAD && self.sent < self.limit.min(ring.end()) {
            let bytes = ring.piece(self.sent, PIECE.min((self.limit - self.sent) as usize));
            let position = self.sent;
            self.sent += bytes.len() as u64;
            conn.send(Frame::Data { id, stream, position, bytes });
        }
    }
}

impl Out {
    pub(super) fn ring(&mut self) -> Option<&mut Ring> {
        if let Self::Ring(ring) = self { Some(ring) } else { None }
    }

    pub(super) fn end(&self) -> u64 {
        match self {
            Self::Plain(send) => send.end(),
            Self::Ring(ring) => ring.end(),
            Self::Reader(reader) => reader.sent,
        }
    }

    /// Bytes that it holds.
    pub(super) fn held(&self) -> u64 {
        match self {
            Self::Plain(send) => send.end() - send.acknowledged(),
            Self::Ring(ring) => ring.bytes.len() as u64,
            Self::Reader(_) => 0,
        }
    }

    /// How many bytes of it may be read from the process now.
    pub(super) fn room(&self) -> u64 {
        match self {
            Self::Plain(send) if send.is_closed() => 0,
            Self::Plain(send) => send.limit() - send.end(),
            Self::Ring(ring) if ring.stopped || ring.finished => 0,
            Self::Ring(ring) if ring.present => ring.limit.saturating_sub(ring.end()),
            Self::Ring(ring) if ring.policy == Policy::Wait => WINDOW.saturating_sub(ring.bytes.len() as u64),
            Self::Ring(_) => WINDOW,
            Self::Reader(_) => 0,
        }
    }

    pub(super) fn write(&mut self, bytes: Bytes) {
        match self {
            Self::Plain(send) => send.write(bytes),
            Self::Ring(ring) => {
                ring.bytes.extend(&bytes);
                ring.trim();
            }
            Self::Reader(_) => panic!("a reader has no process"),
        }
    }

    pub(super) fn finish(&mut self) {
        match self {
            Self::Plain(send) => send.finish(),
            Self::Ring(ring) => ring.finished = true,
            Self::Reader(_) => {}
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        match self {
            Self::Plain(send) => send.is_stopped(),
            Self::Ring(ring) => ring.stopped,
            Self::Reader(reader) => reader.stopped,
        }
    }

    pub(super) fn stop(&mut self) {
        match self {
            Self::Plain(send) => send.stop(),
            Self::Ring(ring) => ring.stopped = true,
            Self::Reader(reader) => reader.stopped = true,
        }
    }

    pub(super) fn credit(&mut self, span: Span) -> Result<(), Violation> {
        let sent = match self {
            Self::Plain(send) => return send.credit(span),
            Self::Ring(ring) => ring.sent,
            Self::Reader(reader) => reader.sent,
        };
        if span.received > sent {
            return Err(Violation::AcknowledgedUnsent { received: span.received, sent });
        }
        match self {
            Self::Ring(ring) => {
                ring.acknowledged = ring.acknowledged.max(span.received);
                ring.limit = ring.limit.max(span.limit);
                ring.trim();
            }
            Self::Reader(reader) => reader.limit = reader.limit.max(span.limit),
            Self::Plain(_) => {}
        }
        Ok(())
    }

    pub(super) fn resume(&mut self, span: Span) -> Result<(), Violation> {
        let end = match self {
            Self::Plain(send) => return send.resume(span),
            Self::Ring(ring) => ring.end(),
            Self::Reader(reader) => reader.sent,
        };
        if span.received > end {
            return Err(Violation::AcknowledgedUnsent { received: span.received, sent: end });
        }
        match self {
            Self::Ring(ring) => {
                (ring.sent, ring.acknowledged, ring.limit) = (span.received, span.received, span.limit);
                ring.is_present(true);
            }
            Self::Reader(reader) => (reader.sent, reader.limit) = (span.received, span.limit),
            Self::Plain(_) => {}
        }
        Ok(())
    }

    /// The final length, once it is known.
    pub(super) fn length(&self) -> Option<u64> {
        match self {
            Self::Plain(send) => send.length(),
            Self::Ring(ring) => (ring.finished && !ring.stopped).then(|| ring.end()),
            Self::Reader(_) => None,
        }
    }

    pub(super) fn pump(&mut self, id: ProcessId, stream: Stream, conn: &mut Conn) {
        match self {
            Self::Plain(send) => {
                while conn.queued(id) < AHEAD
                    && let Some((position, bytes)) = send.next_data()
                {
                    conn.send(Frame::Data { id, stream, position, bytes });
                }
            }
            Self::Ring(ring) => {
                if ring.sent < ring.base {
                    ring.sent = ring.base;
                    ring.acknowledged = ring.acknowledged.max(ring.base);
                    ring.limit = ring.limit.max(ring.base);
                    conn.send(Frame::Skip { id, stream, position: ring.base });
                }
                while !ring.stopped && conn.queued(id) < AHEAD && ring.sent < ring.limit.min(ring.end()) {
                    let bytes = ring.piece(ring.sent, PIECE.min((ring.limit - ring.sent) as usize));
                    let position = ring.sent;
                    ring.sent += bytes.len() as u64;
                    conn.send(Frame::Data { id, stream, position, bytes });
                }
            }
            Self::Reader(_) => {}
        }
    }
}
