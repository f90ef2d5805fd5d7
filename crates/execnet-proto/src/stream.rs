//! The two ends of a stream: numbered bytes, credit, replay.
//!
//! The sender keeps every byte that the receiver has not acknowledged: the flow-control window is the replay
//! buffer. Neither end knows frames, links or clocks.

use std::collections::VecDeque;
use std::fmt;

use bytes::{Buf, Bytes, BytesMut};

use crate::wire::{MAX_DATA, Span};

/// The most credit of one stream, in bytes.
pub const MAX_WINDOW: u64 = 2 * 1024 * 1024;

/// The credit that stdin starts with, before the agent has sent anything, in bytes.
pub const STDIN_WINDOW: u64 = 32_768;

/// The credit of stdout and of stderr in a client's SPAWN, in bytes.
pub const OUTPUT_WINDOW: u64 = 16_384;

/// The most credit of all streams of one client or one host together, in bytes.
pub const POOL: u64 = 64 * 1024 * 1024;

/// Chunks below this size are copied together, so small DATA frames cannot cost many times their bytes.
const SMALL: usize = 8_192;

/// Chunks below this size are copied; as slices they would keep alive the whole 256 KiB that were read with
/// them.
const SHARED: usize = 32_768;

/// The peer broke a rule of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Violation {
    #[error("data at {position} after {received}: bytes are missing")]
    Gap { position: u64, received: u64 },
    #[error("data up to {end} past the credit of {limit}")]
    OverCredit { end: u64, limit: u64 },
    #[error("acknowledged {received} of {sent} bytes sent")]
    AcknowledgedUnsent { received: u64, sent: u64 },
    #[error("acknowledged {now} after {before}")]
    WentBack { before: u64, now: u64 },
    #[error("credit of {0} bytes for one stream")]
    TooMuchCredit(u64),
    #[error("stream of {length} bytes said to end at {end}")]
    WrongEnd { length: u64, end: u64 },
    #[error("more credit than all streams together may have")]
    PoolExceeded,
    #[error("too many {0} frames in too short a time")]
    Flood(&'static str),
    #[error("a {0} frame does not belong here")]
    Unexpected(&'static str),
    #[error("process {0} belongs to another link")]
    ForeignProcess(crate::id::ProcessId),
    #[error("a second SPAWN of process {0} differs from the first")]
    OtherSpawn(crate::id::ProcessId),
    #[error("it reported a node whose name does not begin with its host's")]
    ForeignNode,
    #[error("it reported more than 64 nodes")]
    TooManyNodes,
    #[error("its greeting is wrong: {0}")]
    Greeting(String),
    #[error(transparent)]
    Frame(#[from] crate::wire::FrameError),
}

/// Bytes in order, cheap to append to and to take from; small chunks are copied together.
#[derive(Default)]
pub struct Chunks {
    queue: VecDeque<Bytes>,
    tail: BytesMut,
    len: usize,
}

impl fmt::Debug for Chunks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunks({} bytes)", self.len)
    }
}

impl Chunks {
    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends bytes.
    pub fn push(&mut self, bytes: Bytes) {
        self.len += bytes.len();
        if bytes.len() < SMALL {
            self.tail.extend_from_slice(&bytes);
            if self.tail.len() >= SMALL {
                self.flush();
            }
        } else {
            self.flush();
            self.queue.push_back(if bytes.len() < SHARED { Bytes::copy_from_slice(&bytes) } else { bytes });
        }
    }

    /// Takes at most `max` bytes from the front; fewer if a chunk ends before. Empty only if there are none.
    pub fn pop(&mut self, max: usize) -> Bytes {
        if self.queue.is_empty() {
            self.flush();
        }
        let Some(front) = self.queue.front_mut() else { return Bytes::new() };
        let bytes =
            if front.len() <= max { self.queue.pop_front().unwrap_or_default() } else { front.split_to(max) };
        self.len -= bytes.len();
        bytes
    }

    /// Drops `count` bytes from the front.
    pub fn skip(&mut self, mut count: usize) {
        while count > 0 && !self.is_empty() {
            count -= self.pop(count).len();
        }
    }

    /// At most `max` bytes from `offset` on, without taking them.
    pub fn peek(&mut self, offset: usize, max: usize) -> Bytes {
        if offset >= self.len - self.tail.len() {
            self.flush();
        }
        let mut skip = offset;
        for chunk in &self.queue {
            if skip < chunk.len() {
                return chunk.slice(skip..chunk.len().min(skip.saturating_add(max)));
            }
            skip -= chunk.len();
        }
        Bytes::new()
    }

    /// Drops all bytes.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn flush(&mut self) {
        if !self.tail.is_empty() {
            // a copy of exact size: a frozen BytesMut would pin its whole capacity
            self.queue.push_back(Bytes::copy_from_slice(&self.tail));
            self.tail.clear();
        }
    }
}

/// The sending end: bytes that were written but not acknowledged yet.
#[derive(Debug, Default)]
pub struct SendStream {
    chunks: Chunks,
    acknowledged: u64,
    sent: u64,
    limit: u64,
    finished: bool,
    stopped: bool,
}

impl SendStream {
    /// A stream whose receiver accepts `limit` bytes at first.
    pub fn new(limit: u64) -> Self {
        Self { limit, ..Self::default() }
    }

    /// How many more bytes may be written now without holding more than a full window.
    pub fn capacity(&self) -> usize {
        if self.finished || self.stopped {
            return 0;
        }
        (MAX_WINDOW as usize).saturating_sub(self.chunks.len())
    }

    /// Takes bytes to send. Bytes for a stopped or finished stream are dropped.
    pub fn write(&mut self, bytes: Bytes) {
        if !self.stopped && !self.finished && !bytes.is_empty() {
            self.chunks.push(bytes);
        }
    }

    /// Position after the last byte written.
    pub fn end(&self) -> u64 {
        self.acknowledged + self.chunks.len() as u64
    }

    /// Position of the next byte to send.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Position up to which the receiver has everything.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Position at which the receiver's credit ends.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes written but not sent yet.
    pub fn unsent(&self) -> u64 {
        self.end() - self.sent
    }

    /// Bytes that [`SendStream::next_data`] would return now.
    pub fn sendable(&self) -> u64 {
        if self.stopped { 0 } else { self.limit.min(self.end()).saturating_sub(self.sent) }
    }

    /// No more will be written.
    pub fn finish(&mut self) {
        self.finished = true;
    }

    /// The final length, once it is known.
    pub fn length(&self) -> Option<u64> {
        (self.finished && !self.stopped).then(|| self.end())
    }

    /// Whether the receiver wants no more.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Whether no more can be written.
    pub fn is_closed(&self) -> bool {
        self.stopped || self.finished
    }

    /// The next piece that credit allows to send, with its position.
    pub fn next_data(&mut self) -> Option<(u64, Bytes)> {
        let most = self.sendable().min(MAX_DATA as u64);
        if most == 0 {
            return None;
        }
        let position = self.sent;
        let bytes = self.chunks.peek((position - self.acknowledged) as usize, most as usize);
        self.sent += bytes.len() as u64;
        Some((position, bytes))
    }

    /// Takes the receiver's CREDIT.
    ///
    /// # Errors
    /// If it acknowledges bytes that were not sent, or grants more than a window. A frame that arrives late
    /// is not an error.
    pub fn credit(&mut self, span: Span) -> Result<(), Violation> {
        if self.stopped {
            return Ok(());
        }
        if span.received > self.sent {
            return Err(Violation::AcknowledgedUnsent { received: span.received, sent: self.sent });
        }
        check_window(span)?;
        if span.received > self.acknowledged {
            self.chunks.skip((span.received - self.acknowledged) as usize);
            self.acknowledged = span.received;
        }
        self.limit = self.limit.max(span.limit);
        Ok(())
    }

    /// A new attempt: the receiver has everything before `span.received`, and sending continues there.
    ///
    /// # Errors
    /// If that position was never sent, or is below what was acknowledged.
    pub fn resume(&mut self, span: Span) -> Result<(), Violation> {
        if self.stopped {
            return Ok(());
        }
        if span.received < self.acknowledged {
            return Err(Violation::WentBack { before: self.acknowledged, now: span.received });
        }
        self.credit(span)?;
        self.sent = self.acknowledged;
        Ok(())
    }

    /// The receiver wants no more.
    pub fn stop(&mut self) {
        self.stopped = true;
        self.chunks.clear();
        self.acknowledged = self.sent;
    }
}

/// The receiving end: bytes that have arrived but were not taken yet.
#[derive(Debug)]
pub struct RecvStream {
    chunks: Chunks,
    received: u64,
    limit: u64,
    told: Span,
    initial: u64,
    window: u64,
    length: Option<u64>,
    stopped: bool,
}

impl RecvStream {
    /// A stream whose sender may send `initial` bytes at once.
    pub fn new(initial: u64) -> Self {
        Self {
            chunks: Chunks::default(),
            received: 0,
            limit: initial,
            told: Span { received: 0, limit: initial },
            initial,
            window: initial,
            length: None,
            stopped: false,
        }
    }

    /// Its part of RESUME or RESUMED. The credit counts as granted.
    pub fn span(&mut self) -> Span {
        self.told = Span { received: self.received, limit: self.limit };
        self.told
    }

    /// Bytes that have arrived but were not taken.
    pub fn available(&self) -> usize {
        self.chunks.len()
    }

    /// Position up to which everything has arrived.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Position at which the sender's credit ends.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Whether everything has arrived and was taken.
    pub fn is_finished(&self) -> bool {
        self.stopped || (self.chunks.is_empty() && self.length == Some(self.received))
    }

    /// Whether everything has arrived.
    pub fn is_complete(&self) -> bool {
        self.stopped || self.length == Some(self.received)
    }

    /// Whether it was stopped.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Takes DATA that arrived.
    ///
    /// # Errors
    /// For a gap, and for bytes past the credit or the stream's end.
    pub fn data(&mut self, position: u64, mut bytes: Bytes) -> Result<(), Violation> {
        let end = position + bytes.len() as u64;
        if position > self.received {
            return Err(Violation::Gap { position, received: self.received });
        }
        if end > self.limit {
            return Err(Violation::OverCredit { end, limit: self.limit });
        }
        if let Some(length) = self.length
            && end > length
        {
            return Err(Violation::WrongEnd { length, end });
        }
        if end <= self.received {
            return Ok(());
        }
        bytes.advance((self.received - position) as usize);
        self.received = end;
        if !self.stopped {
            self.chunks.push(bytes);
        }
        Ok(())
    }

    /// Takes FIN: the stream is `length` bytes long.
    ///
    /// # Errors
    /// If more has arrived already, or FIN gave another length before.
    pub fn fin(&mut self, length: u64) -> Result<(), Violation> {
        if self.received > length || self.length.is_some_and(|before| before != length) {
            let end = self.length.unwrap_or(self.received);
            return Err(Violation::WrongEnd { length, end });
        }
        self.length = Some(length);
        Ok(())
    }

    /// Takes at most `max` bytes.
    pub fn read(&mut self, max: usize) -> Bytes {
        self.chunks.pop(max)
    }

    /// New credit, if it is time to tell the sender.
    pub fn credit(&mut self, pool: &mut CreditPool) -> Option<Span> {
        // half, so a stream in full flow is seen to use up its window and gets a larger one
        let enough = (self.window / 2).max(1);
        if !self.is_complete() {
            let consumed = self.received - self.chunks.len() as u64;
            let used = (consumed + self.window).saturating_sub(self.told.limit);
            if used * 2 >= self.window && self.window < MAX_WINDOW && pool.grow(self.window) {
                self.window *= 2;
            }
            self.limit = self.limit.max(consumed + self.window);
        }
        let due = self.limit - self.told.limit >= enough || self.received - self.told.received >= enough;
        due.then(|| self.span())
    }

    /// No more is wanted: bytes that have arrived are dropped, and so are those still to come.
    pub fn stop(&mut self) {
        self.stopped = true;
        self.chunks.clear();
    }

    /// Gives the growth of its window back to the pool; it is not granted again.
    pub fn close(&mut self, pool: &mut CreditPool) {
        pool.grown -= self.window - self.initial;
        self.window = self.initial;
    }
}

/// How much the windows of one receiver have grown, all together. Half of [`POOL`] is for growth, the other
/// half for the windows that streams start with. So a stream can always get its own window again.
#[derive(Debug)]
pub struct CreditPool {
    grown: u64,
    most: u64,
}

impl Default for CreditPool {
    fn default() -> Self {
        Self { grown: 0, most: POOL / 2 }
    }
}

impl CreditPool {
    /// From now on windows grow by no more than this, all together. What has grown stays.
    pub fn limit(&mut self, most: u64) {
        self.most = most.min(POOL / 2);
    }

    fn grow(&mut self, more: u64) -> bool {
        let fits = self.grown + more <= self.most;
        if fits {
            self.grown += more;
        }
        fits
    }
}

/// Checks that `span` grants no more than a window.
///
/// # Errors
/// If it grants more.
pub fn check_window(span: Span) -> Result<(), Violation> {
    match span.limit.checked_sub(span.received) {
        Some(credit) if credit <= MAX_WINDOW => Ok(()),
        Some(credit) => Err(Violation::TooMuchCredit(credit)),
        None => Err(Violation::WentBack { before: span.received, now: span.limit }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_part_does_not_keep_what_was_read_with_it() {
        let mut chunks = Chunks::default();
        for (length, kept) in [(100, false), (SMALL, false), (SHARED - 1, false), (SHARED, true)] {
            let read = Bytes::from(vec![7; 262_144]);
            chunks.push(read.slice(1_000..1_000 + length));
            assert_eq!(read.is_unique(), !kept, "{length}");
        }
        assert_eq!(chunks.len(), 100 + SMALL + 2 * SHARED - 1);
    }

    #[test]
    fn unacknowledged_bytes_are_sent_again() {
        let mut send = SendStream::new(8);
        send.write(Bytes::from_static(b"hello world"));
        assert_eq!(send.next_data(), Some((0, Bytes::from_static(b"hello wo"))));
        assert_eq!(send.next_data(), None);
        send.credit(Span { received: 3, limit: 100 }).unwrap();
        send.resume(Span { received: 5, limit: 100 }).unwrap();
        assert_eq!(send.next_data(), Some((5, Bytes::from_static(b" world"))));
        assert!(send.resume(Span { received: 4, limit: 100 }).is_err());
        assert!(send.credit(Span { received: 12, limit: 100 }).is_err());
    }

    #[test]
    fn duplicates_are_dropped_and_gaps_are_errors() {
        let mut recv = RecvStream::new(OUTPUT_WINDOW);
        recv.data(0, Bytes::from_static(b"abc")).unwrap();
        recv.data(1, Bytes::from_static(b"bcde")).unwrap();
        assert_eq!(recv.read(100), "abcde");
        assert!(recv.data(6, Bytes::from_static(b"x")).is_err());
        let far = Bytes::from(vec![0; OUTPUT_WINDOW as usize]);
        assert!(recv.data(5, far).is_err());
    }

    #[test]
    fn the_window_of_a_stream_in_full_flow_grows_to_the_largest() {
        let (mut pool, mut recv) = (CreditPool::default(), RecvStream::new(OUTPUT_WINDOW));
        for _ in 0..1_000 {
            let most = (recv.limit - recv.received).min(MAX_DATA as u64) as usize;
            recv.data(recv.received, Bytes::from(vec![0; most])).unwrap();
            while !recv.read(usize::MAX).is_empty() {}
            recv.credit(&mut pool);
        }
        assert_eq!(recv.window, MAX_WINDOW);
    }

    #[test]
    fn windows_grow_only_as_far_as_the_pool_goes_and_are_always_granted_again() {
        let mut pool = CreditPool::default();
        let mut streams: Vec<_> = (0..100).map(|_| RecvStream::new(OUTPUT_WINDOW)).collect();
        let mut granted = 0;
        for _ in 0..20 {
            granted = 0;
            for recv in &mut streams {
                let most = (recv.limit - recv.received) as usize;
                recv.data(recv.received, Bytes::from(vec![0; most])).unwrap();
                while !recv.read(usize::MAX).is_empty() {}
                let span = recv.credit(&mut pool).expect("everything was used");
                assert!(span.limit - span.received >= OUTPUT_WINDOW);
                granted += span.limit - span.received;
            }
            assert!(granted <= POOL);
        }
        assert!(granted > POOL / 2);
    }

    #[test]
    fn a_pool_can_be_smaller() {
        let mut pool = CreditPool::default();
        pool.limit(4 * OUTPUT_WINDOW);
        assert!(pool.grow(3 * OUTPUT_WINDOW) && !pool.grow(2 * OUTPUT_WINDOW) && pool.grow(OUTPUT_WINDOW));
        pool.limit(u64::MAX);
        assert!(!pool.grow(POOL / 2) && pool.grow(POOL / 2 - 4 * OUTPUT_WINDOW));
    }

    #[test]
    fn small_pieces_do_not_cost_many_times_their_bytes() {
        let mut chunks = Chunks::default();
        for _ in 0..100_000 {
            chunks.push(Bytes::from_static(b"x"));
        }
        assert!(chunks.queue.len() <= 100_000 / SMALL + 1);
        assert_eq!(chunks.peek(99_999, 10).len(), 1);
        chunks.skip(99_999);
        assert_eq!(chunks.pop(10).len(), 1);
        assert!(chunks.is_empty());
    }
}
