//! The two ends of a stream: numbered bytes, credit, replay.
//!
//! The sender keeps every byte that the receiver has not acknowledged: the flow-control window is the replay
//! buffer. Neither end knows frames, links or clocks.

mod chunks;

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

use crate::wire::{MAX_DATA, Span};

pub use chunks::Chunks;

/// The most credit of one stream, in bytes.
pub const MAX_WINDOW: u64 = 2 * 1024 * 1024;

/// The credit that stdin starts with, before the agent has sent anything, in bytes.
pub const STDIN_WINDOW: u64 = 32_768;

/// The credit of stdout and of stderr in a client's SPAWN, in bytes.
pub const OUTPUT_WINDOW: u64 = 16_384;

/// The most credit of all streams of one client or one host together, in bytes.
pub const POOL: u64 = 64 * 1024 * 1024;

/// The most gaps of a stream that wait to be read.
const MAX_GAPS: usize = 1_024;

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
    #[error("a number is higher than anything that was counted")]
    TooHigh,
    #[error("it reported more than 300 kept processes")]
    TooMuchKept,
    #[error("it reported kept work without a name that may be one")]
    KeptName,
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

    /// A stream whose receiver has everything before this position, and accepts nothing for now.
    pub fn at(position: u64) -> Self {
        Self { acknowledged: position, sent: position, limit: position, ..Self::default() }
    }

    /// Bytes written so far, none of which was sent, begin at this position.
    pub(crate) fn rebase(&mut self, position: u64) {
        (self.acknowledged, self.sent, self.limit) = (position, position, position);
    }

    /// It has ended at this position already; bytes written since do not count.
    pub(crate) fn close_at(&mut self, position: u64) {
        self.chunks.clear();
        self.rebase(position);
        self.finished = true;
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

    /// The receiver has everything before this position, from elsewhere: what was written up to there need
    /// not be sent.
    pub(crate) fn has(&mut self, position: u64) {
        if !self.stopped {
            self.sent = self.sent.max(position.min(self.end()));
        }
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
    /// Bytes that never come, in order, none of them behind another one.
    gaps: VecDeque<Gap>,
    /// Its bytes are dropped as they arrive.
    discards: bool,
}

/// Bytes of a stream that its sender has skipped.
#[derive(Clone, Copy, Debug)]
struct Gap {
    at: u64,
    missing: u64,
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
            gaps: VecDeque::new(),
            discards: false,
        }
    }

    /// A stream that begins at this position, and whose sender may then send `initial` bytes.
    pub fn at(position: u64, initial: u64) -> Self {
        let limit = position.saturating_add(initial);
        let told = Span { received: position, limit };
        Self { received: position, limit, told, ..Self::new(initial) }
    }

    /// Its part of RESUME or RESUMED. The credit counts as granted.
    pub fn span(&mut self) -> Span {
        self.told = Span { received: self.received, limit: self.limit };
        self.told
    }

    /// Bytes that have arrived but were not taken, up to the next gap.
    pub fn available(&self) -> usize {
        let to_gap = self.gaps.front().map_or(u64::MAX, |gap| gap.at - self.position());
        self.chunks.len().min(usize::try_from(to_gap).unwrap_or(usize::MAX))
    }

    /// Bytes that have arrived but were not taken.
    pub fn waiting(&self) -> usize {
        self.chunks.len()
    }

    /// Position of the next byte to take, or of the gap before it.
    pub fn position(&self) -> u64 {
        let missing: u64 = self.gaps.iter().map(|gap| gap.missing).sum();
        self.received - missing - self.chunks.len() as u64
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
        let taken = self.chunks.is_empty() && self.gaps.is_empty();
        self.stopped || self.discards || (taken && self.length == Some(self.received))
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
        if !self.stopped && !self.discards {
            self.chunks.push(bytes);
        }
        Ok(())
    }

    /// Takes SKIP: everything before this position that has not arrived never will.
    ///
    /// # Errors
    /// If the stream ends before.
    pub fn skip(&mut self, position: u64) -> Result<(), Violation> {
        if let Some(length) = self.length
            && position > length
        {
            return Err(Violation::WrongEnd { length, end: position });
        }
        let Some(missing) = position.checked_sub(self.received).filter(|missing| *missing > 0) else {
            return Ok(());
        };
        if !self.stopped && !self.discards {
            let crowded = self.gaps.len() >= MAX_GAPS;
            match self.gaps.back_mut() {
                // the bytes between count as missing too
                Some(last) if crowded || last.at + last.missing == self.received => {
                    let between = self.received - last.at - last.missing;
                    self.chunks.truncate(self.chunks.len() - between as usize);
                    last.missing += between + missing;
                }
                _ => self.gaps.push_back(Gap { at: self.received, missing }),
            }
        }
        self.received = position;
        self.limit = self.limit.max(position);
        Ok(())
    }

    /// How many bytes are missing right before the next byte.
    pub fn missing(&self) -> u64 {
        self.gaps.front().filter(|gap| gap.at == self.position()).map_or(0, |gap| gap.missing)
    }

    /// The same, once: then the next byte can be taken.
    pub fn take_gap(&mut self) -> u64 {
        let missing = self.missing();
        if missing > 0 {
            self.gaps.pop_front();
        }
        missing
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

    /// An end that was said counts no more, unless everything up to it has arrived: whoever said it is gone.
    pub fn void_end(&mut self) {
        self.length = self.length.filter(|length| *length == self.received);
    }

    /// Takes at most `max` bytes, and none across a gap.
    pub fn read(&mut self, max: usize) -> Bytes {
        self.chunks.pop(max.min(self.available()))
    }

    /// New credit, if it is time to tell the sender.
    pub fn credit(&mut self, pool: &mut CreditPool) -> Option<Span> {
        // half, so a stream in full flow is seen to use up its window and gets a larger one
        let enough = (self.window / 2).max(1);
        if !self.is_complete() {
            let consumed = self.received - self.chunks.len() as u64;
            let used = consumed.saturating_add(self.window).saturating_sub(self.told.limit);
            if used >= self.window.div_ceil(2) && self.window < MAX_WINDOW && pool.grow(self.window) {
                self.window *= 2;
            }
            self.limit = self.limit.max(consumed.saturating_add(self.window));
        }
        let due = self.limit - self.told.limit >= enough || self.received - self.told.received >= enough;
        due.then(|| self.span())
    }

    /// No more is wanted: bytes that have arrived are dropped, and so are those still to come.
    pub fn stop(&mut self) {
        self.stopped = true;
        self.chunks.clear();
        self.gaps.clear();
    }

    /// The same, but the sender is not to notice: it gets credit as if somebody read.
    pub fn discard(&mut self) {
        self.discards = true;
        self.chunks.clear();
        self.gaps.clear();
    }

    /// Whether its bytes are dropped as they arrive, and the sender does not know.
    pub(crate) fn discards(&self) -> bool {
        self.discards
    }

    /// Grants its whole window again, in the RESUME that follows.
    pub(crate) fn renew(&mut self) {
        let consumed = self.received - self.chunks.len() as u64;
        self.limit = self.limit.max(consumed.saturating_add(self.window));
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
mod tests;
