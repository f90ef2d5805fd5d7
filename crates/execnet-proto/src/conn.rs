//! One connection: frames in, frames out, the bytes in flight, and whether the peer is still there.
//!
//! It serves a client's socket, a link that is the stdio of ssh and a link inside a tunnel alike. It answers
//! PING, counts bytes for ACK and returns every other frame to its owner.

use std::time::Duration;

use bytes::Bytes;

use crate::allowance::{Allowance, Turn};
use crate::batch::Sink;
use crate::id::ProcessId;
use crate::mux::Mux;
use crate::pace::{ACK_EVERY, Open, Pace};
use crate::stream::Violation;
use crate::wire::{Decoder, Frame, FrameKind};

/// After this much silence a PING is sent.
pub const PING_AFTER: Duration = Duration::from_secs(10);

/// After this much silence the peer is in doubt. The answer to a PING gets at least the time from
/// [`PING_AFTER`] to here.
pub const DOUBTED_AFTER: Duration = Duration::from_millis(14_250);

/// A peer in doubt that stays silent this long counts as gone. If this program was itself stopped, it reads
/// in this time what had arrived.
const CONFIRMED_AFTER: Duration = Duration::from_millis(250);

/// The most bytes of replies that may wait for a client that does not read.
const MAX_FIRST: usize = 32 * 1024 * 1024;

/// The most processes with frames that wait for a client that does not read.
const MAX_WAITING: usize = 16_384;

/// A connection that has been opened. Times are durations since any fixed moment.
#[derive(Debug)]
pub struct Conn {
    decoder: Decoder,
    mux: Mux,
    pace: Option<Pace>,
    parsed: u64,
    acknowledged: u64,
    heard: Duration,
    ping: Option<(u64, Duration)>,
    doubted: Option<Duration>,
    pings: u64,
    rtt: Option<Duration>,
    allowance: Allowance,
    answered: bool,
}

impl Conn {
    /// A link: the bytes in flight on it are bounded, and silence is noticed.
    pub fn link(now: Duration) -> Self {
        Self { pace: Some(Pace::default()), ..Self::socket(now) }
    }

    /// A client's socket: the kernel bounds the bytes in flight.
    pub fn socket(now: Duration) -> Self {
        Self {
            decoder: Decoder::default(),
            mux: Mux::default(),
            pace: None,
            parsed: 0,
            acknowledged: 0,
            heard: now,
            ping: None,
            doubted: None,
            pings: 0,
            rtt: None,
            allowance: Allowance::new(now),
            answered: false,
        }
    }

    /// Takes bytes that arrived. Call [`Conn::next`] until it has no more.
    pub fn push(&mut self, bytes: &[u8], now: Duration) {
        self.decoder.push(bytes);
        self.heard = now;
        self.doubted = None;
    }

    /// The next frame that is not handled by the connection itself.
    ///
    /// # Errors
    /// For bytes that are not a frame, for an ACK of bytes that were never sent, and for a flood of PING,
    /// PONG or ACK.
    pub fn next(&mut self, now: Duration) -> Result<Option<Frame>, Violation> {
        self.next_within(&mut Turn::endless(), now)
    }

    /// The same, but `None` once the turn is over; there may be more then.
    pub(crate) fn next_within(&mut self, turn: &mut Turn, now: Duration) -> Result<Option<Frame>, Violation> {
        while !turn.is_over()
            && let Some((frame, length)) = self.decoder.next()?
        {
            self.parsed += length as u64;
            turn.frame(length);
            if self.pace.is_some() && matches!(frame, Frame::Ping(_) | Frame::Pong(_) | Frame::Ack(_)) {
                self.charge(frame.kind(), 1, now)?;
            }
            match frame {
                Frame::Ping(token) => {
                    // one answer is enough for a peer that does not read
                    if self.mux.first_len() < 4_096 {
                        self.mux.push(Frame::Pong(token));
                    }
                }
                Frame::Pong(token) => {
                    self.answered = true;
                    if let Some((_, at)) = self.ping.take_if(|(sent, _)| *sent == token) {
                        self.rtt = Some(now.saturating_sub(at));
                    }
                }
                Frame::Ack(bytes) => match &mut self.pace {
                    Some(pace) => pace.ack(bytes, now)?,
                    None => return Err(Violation::Unexpected("ACK")),
                },
                frame => return Ok(Some(frame)),
            }
        }
        Ok(None)
    }

    /// The bytes of the next, incomplete frame. After an error about a header, everything from that header
    /// on.
    pub fn rest(&self) -> &[u8] {
        self.decoder.rest()
    }

    /// Queues a frame. A frame about a process earns the peer answers.
    pub fn send(&mut self, frame: Frame) {
        if frame.kind().is_of_process() {
            let bytes = if let Frame::Data { bytes, .. } = &frame { bytes.len() } else { 0 };
            self.allowance.earn(bytes);
        }
        self.mux.push(frame);
    }

    /// The peer has reason to send something more.
    pub(crate) fn invite(&mut self) {
        self.allowance.earn(0);
    }

    /// The peer sent a frame of this kind that costs it no credit, but as much as this many frames.
    pub(crate) fn charge(&mut self, kind: FrameKind, cost: u64, now: Duration) -> Result<(), Violation> {
        if self.allowance.spend(cost, now) { Ok(()) } else { Err(Violation::Flood(kind.name())) }
    }

    /// Queues bytes that are not a frame, or a frame that must not wait: they go before everything else.
    pub fn send_first(&mut self, bytes: Bytes) {
        self.mux.push_first(bytes);
    }

    /// Whether more is queued than a client that reads would leave.
    pub fn is_clogged(&self) -> bool {
        self.mux.first_len() > MAX_FIRST || self.mux.processes() > MAX_WAITING
    }

    /// The place behind all frames of no process, such as replies, that were queued so far.
    pub fn first_end(&self) -> u64 {
        self.mux.first_end()
    }

    /// Whether everything before this place was given out.
    pub fn has_sent(&self, end: u64) -> bool {
        self.mux.first_taken() >= end
    }

    /// Forgets the frames queued for a process.
    pub fn void(&mut self, id: ProcessId) {
        self.mux.void(id);
    }

    /// Bytes of DATA queued for a process.
    pub fn queued(&self, id: ProcessId) -> usize {
        self.mux.queued(id)
    }

    /// Bytes of DATA queued for all processes.
    pub fn queued_in_all(&self) -> usize {
        self.mux.queued_in_all()
    }

    /// Appends frames to `out` until it holds at least `most` bytes or nothing more may be sent now.
    pub fn transmit(&mut self, out: &mut impl Sink, most: usize, now: Duration) {
        if self.pace.is_some() && self.parsed - self.acknowledged >= ACK_EVERY {
            self.acknowledged = self.parsed;
            self.mux.push_first(Frame::Ack(self.parsed).to_bytes());
        }
        while out.len() < most {
            let before = out.len();
            let has_terminal = self.mux.has_terminal();
            let open = self.pace.as_ref().map_or(Open::ALL, |pace| pace.is_open(has_terminal, now));
            if !self.mux.pop(out, open) {
                break;
            }
            if let Some(pace) = &mut self.pace {
                pace.turn(self.mux.last_data(), now);
                pace.sent((out.len() - before) as u64, now);
            }
        }
    }

    /// Whether nothing waits to be said, and a DATA frame of this many bytes may be sent without measuring
    /// anything.
    pub(crate) fn has_nothing_to_say(&self, size: u64) -> bool {
        let light = |pace: &Pace| pace.is_light(size) && self.parsed - self.acknowledged < ACK_EVERY;
        self.mux.is_empty() && self.pace.as_ref().is_none_or(light)
    }

    /// A whole frame arrived and was passed on. Returns whether there is something to say of it.
    pub(crate) fn passed_in(&mut self, size: usize, now: Duration) -> bool {
        self.heard = now;
        self.doubted = None;
        self.parsed += size as u64;
        self.pace.is_some() && self.parsed - self.acknowledged >= ACK_EVERY
    }

    /// A DATA frame of a process was sent that was not queued.
    pub(crate) fn passed_out(&mut self, id: ProcessId, length: usize, size: usize, now: Duration) {
        self.allowance.earn(length);
        self.mux.passed(id);
        if let Some(pace) = &mut self.pace {
            pace.turn(Some(id), now);
            pace.sent(size as u64, now);
        }
    }

    /// Sends a PING now, to measure the round trip, unless one is on its way.
    pub fn measure(&mut self, now: Duration) {
        if self.ping.is_none() {
            self.pings += 1;
            self.ping = Some((self.pings, now));
            self.mux.push(Frame::Ping(self.pings));
        }
    }

    /// Forgets the last round trip and measures again. An answer to an earlier PING does not count.
    pub fn measure_afresh(&mut self, now: Duration) {
        self.rtt = None;
        self.ping = None;
        self.measure(now);
    }

    /// Whether the peer has ever answered a PING.
    pub fn has_answered(&self) -> bool {
        self.answered
    }

    /// The last measured round trip.
    pub fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// When to call [`Conn::tick`].
    pub fn deadline(&self) -> Duration {
        match (self.doubted, self.ping) {
            (Some(since), _) => since + CONFIRMED_AFTER,
            (None, Some((_, at))) => (self.heard + DOUBTED_AFTER).max(at + (DOUBTED_AFTER - PING_AFTER)),
            (None, None) => self.heard + PING_AFTER,
        }
    }

    /// Whether [`Conn::tick`] will send a PING by then, unless the peer says something.
    pub(crate) fn asks_by(&self, then: Duration) -> bool {
        self.doubted.is_none() && self.ping.is_none() && self.deadline() <= then
    }

    /// Notices silence: sends a PING, or returns false if the peer counts as gone.
    pub fn tick(&mut self, now: Duration) -> bool {
        if now < self.deadline() {
            return true;
        }
        if self.ping.is_none() {
            self.measure(now);
            return true;
        }
        self.doubted.replace(self.doubted.unwrap_or(now)).is_none()
    }

    /// Excuses the silence up to now: the link beneath was down.
    pub fn excuse(&mut self, now: Duration) {
        self.heard = now;
        self.doubted = None;
        self.ping = None;
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;

    #[test]
    fn silence_is_asked_about_and_then_noticed() {
        let mut conn = Conn::link(Duration::ZERO);
        assert_eq!(conn.deadline(), PING_AFTER);
        assert!(conn.tick(PING_AFTER));
        let mut out = BytesMut::new();
        conn.transmit(&mut out, 100, PING_AFTER);
        assert_eq!(&out[..], &Frame::Ping(1).to_bytes()[..]);
        assert_eq!(conn.deadline(), DOUBTED_AFTER);
        assert!(conn.tick(DOUBTED_AFTER));
        let gone = conn.deadline();
        assert!(gone < Duration::from_secs(15));
        assert!(!conn.tick(gone));
        conn.push(&Frame::Pong(1).to_bytes(), gone);
        assert_eq!(conn.next(gone), Ok(None));
        assert_eq!(conn.rtt(), Some(gone - PING_AFTER));
        assert!(conn.tick(gone));
        assert_eq!(conn.deadline(), gone + PING_AFTER);
    }

    #[test]
    fn a_stopped_program_does_not_blame_its_peer_for_the_silence() {
        let minute = Duration::from_secs(60);
        let mut never_asked = Conn::link(Duration::ZERO);
        assert!(never_asked.tick(minute));
        assert_eq!(never_asked.deadline(), minute + DOUBTED_AFTER - PING_AFTER, "the answer has its time");

        let mut asked = Conn::link(Duration::ZERO);
        asked.measure(Duration::ZERO);
        assert!(asked.tick(minute), "the answer may have arrived");
        asked.push(&Frame::Pong(1).to_bytes(), minute);
        assert_eq!(asked.next(minute), Ok(None));
        assert!(asked.tick(minute + CONFIRMED_AFTER));
    }
}
