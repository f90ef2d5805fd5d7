//! One connection: frames in, frames out, what is under way, and whether the other end still speaks.
//!
//! Used for a client's socket, for a link that is the stdio of ssh and for a link inside a tunnel alike. Answers
//! PING, counts for ACK and hands every other frame to its owner.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::frame::{Decoder, Frame};
use crate::id::ProcessId;
use crate::mux::Mux;
use crate::stream::Violation;

/// After this silence a PING is sent.
pub const PING_AFTER: Duration = Duration::from_secs(10);

/// After this silence, and as long as a PING has to be answered, the other end is doubted.
pub const DOUBTED_AFTER: Duration = Duration::from_millis(14_250);

/// A doubted end that still says nothing counts as gone. A program that was itself stopped reads in this time what had arrived.
const CONFIRMED_AFTER: Duration = Duration::from_millis(250);

/// An ACK is sent for at least every this many bytes.
const ACK_EVERY: u64 = 65_536;

const MIN_WINDOW: u64 = 262_144;
const MAX_WINDOW: u64 = 4_194_304;

/// The smallest window of a process that shares the link with nobody.
const ALONE: u64 = 1_048_576;

/// How long a measured rate or round trip counts.
const LATELY: Duration = Duration::from_secs(10);

/// A rate is that of so much time at least: in shorter times ACKs come in bursts.
const LONG: Duration = Duration::from_millis(10);

/// Replies that may wait for a client that does not read, in bytes.
const MAX_FIRST: usize = 32 * 1024 * 1024;

/// Processes for which something may wait, for a client that does not read.
const MAX_WAITING: usize = 16_384;

/// A connection that has been opened; times are durations since any fixed moment.
#[derive(Debug)]
pub struct Conn {
    decoder: Decoder,
    mux: Mux,
    window: Option<Window>,
    parsed: u64,
    acknowledged: u64,
    heard: Duration,
    ping: Option<(u64, Duration)>,
    doubted: Option<Duration>,
    pings: u64,
    rtt: Option<Duration>,
}

impl Conn {
    /// A link: what is under way on it is bounded, and silence is noticed.
    pub fn link(now: Duration) -> Self {
        Self { window: Some(Window::default()), ..Self::socket(now) }
    }

    /// A client's socket: the kernel bounds what is under way.
    pub fn socket(now: Duration) -> Self {
        Self {
            decoder: Decoder::default(),
            mux: Mux::default(),
            window: None,
            parsed: 0,
            acknowledged: 0,
            heard: now,
            ping: None,
            doubted: None,
            pings: 0,
            rtt: None,
        }
    }

    /// Takes bytes that arrived. Call [`Conn::next`] until it has no more.
    pub fn push(&mut self, bytes: &[u8], now: Duration) {
        self.decoder.push(bytes);
        self.heard = now;
        self.doubted = None;
    }

    /// The next frame that is not of the connection itself.
    ///
    /// # Errors
    /// For bytes that are no frame, and for an ACK of bytes that were never sent.
    pub fn next(&mut self, now: Duration) -> Result<Option<Frame>, Violation> {
        while let Some((frame, length)) = self.decoder.next()? {
            self.parsed += length as u64;
            match frame {
                Frame::Ping(token) => {
                    // one answer is enough for a peer that does not read
                    if self.mux.first_len() < 4_096 {
                        self.mux.push(Frame::Pong(token));
                    }
                }
                Frame::Pong(token) => {
                    if let Some((_, at)) = self.ping.take_if(|(sent, _)| *sent == token) {
                        self.rtt = Some(now.saturating_sub(at));
                    }
                }
                Frame::Ack(bytes) => match &mut self.window {
                    Some(window) => window.ack(bytes, now)?,
                    None => return Err(Violation::Unexpected("ACK")),
                },
                frame => return Ok(Some(frame)),
            }
        }
        Ok(None)
    }

    /// Queues a frame.
    pub fn send(&mut self, frame: Frame) {
        self.mux.push(frame);
    }

    /// Queues bytes that are no frame, or a frame that must not wait: they go before everything else.
    pub fn send_first(&mut self, bytes: Bytes) {
        self.mux.push_first(bytes);
    }

    /// Whether more waits than a client that reads would leave.
    pub fn is_clogged(&self) -> bool {
        self.mux.first_len() > MAX_FIRST || self.mux.processes() > MAX_WAITING
    }

    /// Forgets what waits for a process.
    pub fn void(&mut self, id: ProcessId) {
        self.mux.void(id);
    }

    /// Bytes of DATA that wait for a process.
    pub fn queued(&self, id: ProcessId) -> usize {
        self.mux.queued(id)
    }

    /// Bytes of DATA that wait for all processes.
    pub fn queued_in_all(&self) -> usize {
        self.mux.queued_in_all()
    }

    /// Appends frames to `out` until it holds at least `most` bytes or nothing may be sent now.
    pub fn transmit(&mut self, out: &mut BytesMut, most: usize, now: Duration) {
        if self.window.is_some() && self.parsed - self.acknowledged >= ACK_EVERY {
            self.acknowledged = self.parsed;
            self.mux.push_first(Frame::Ack(self.parsed).to_bytes());
        }
        while out.len() < most {
            let before = out.len();
            let with_data = self.window.as_ref().is_none_or(|window| window.is_open(now));
            if !self.mux.pop(out, with_data) {
                break;
            }
            if let Some(window) = &mut self.window {
                window.turn(self.mux.last_data(), now);
                window.sent((out.len() - before) as u64, now);
            }
        }
    }

    /// Sends a PING now, to measure the round trip, unless one is under way.
    pub fn measure(&mut self, now: Duration) {
        if self.ping.is_none() {
            self.pings += 1;
            self.ping = Some((self.pings, now));
            self.mux.push(Frame::Ping(self.pings));
        }
    }

    /// The last round trip measured.
    pub fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// When [`Conn::tick`] is to be called.
    pub fn deadline(&self) -> Duration {
        match (self.doubted, self.ping) {
            (Some(since), _) => since + CONFIRMED_AFTER,
            (None, Some((_, at))) => (self.heard + DOUBTED_AFTER).max(at + (DOUBTED_AFTER - PING_AFTER)),
            (None, None) => self.heard + PING_AFTER,
        }
    }

    /// Notices silence: sends a PING, or says false when the other end counts as gone.
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

    /// Takes silence up to now for explained: the link beneath was down.
    pub fn excuse(&mut self, now: Duration) {
        self.heard = now;
        self.doubted = None;
        self.ping = None;
    }
}

/// How many bytes may be under way: about twice what the path holds.
///
/// A round trip counts only if it began with almost nothing under way, because behind a full window it measures the window. When
/// there was none for a while, the link is left to run empty once.
///
/// What is under way is what a small message of another process waits behind. Where no other process sent any DATA lately nobody
/// waits, and a larger window bridges the pauses of busy machines.
#[derive(Debug)]
struct Window {
    size: u64,
    sent: u64,
    acknowledged: u64,
    /// The rate that is being measured.
    busy: Option<Busy>,
    rate: Lately,
    /// Up to where a round trip that is being measured must be acknowledged, and since when it is.
    light: Option<(u64, Duration)>,
    round_trip: Lately,
    measured: Duration,
    emptying: bool,
    /// Whose DATA was sent last, and when two took turns last.
    who: Option<ProcessId>,
    shared: Option<Duration>,
}

/// A moment when much was under way: how much had been sent and acknowledged.
#[derive(Debug)]
struct Busy {
    sent: u64,
    acknowledged: u64,
    at: Duration,
}

/// The best of what was measured in this period and the one before.
#[derive(Debug, Default)]
struct Lately {
    now: Option<f64>,
    before: Option<f64>,
    since: Duration,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            size: MIN_WINDOW,
            sent: 0,
            acknowledged: 0,
            busy: None,
            rate: Lately::default(),
            light: None,
            round_trip: Lately::default(),
            measured: Duration::ZERO,
            emptying: false,
            who: None,
            shared: None,
        }
    }
}

impl Window {
    fn is_open(&self, now: Duration) -> bool {
        let is_shared = self.shared.is_some_and(|since| now.saturating_sub(since) < LATELY);
        let size = if is_shared { self.size } else { self.size.max(ALONE) };
        self.sent - self.acknowledged < if self.emptying { ACK_EVERY } else { size }
    }

    /// DATA of this process was sent last.
    fn turn(&mut self, who: Option<ProcessId>, now: Duration) {
        if self.who != who {
            self.shared = self.who.and(Some(now));
            self.who = who;
        }
    }

    fn sent(&mut self, bytes: u64, now: Duration) {
        let before = self.sent - self.acknowledged;
        self.sent += bytes;
        // only then an ACK is sure to come at once
        if before < ACK_EVERY && before + bytes >= ACK_EVERY && self.light.is_none() {
            self.light = Some((self.acknowledged + ACK_EVERY, now));
        }
        if before + bytes >= 2 * ACK_EVERY && self.busy.is_none() {
            self.busy = Some(Busy { sent: self.sent, acknowledged: self.acknowledged, at: now });
        }
    }

    fn ack(&mut self, bytes: u64, now: Duration) -> Result<(), Violation> {
        if bytes > self.sent {
            return Err(Violation::AcknowledgedUnsent { received: bytes, sent: self.sent });
        }
        self.acknowledged = self.acknowledged.max(bytes);
        if let Some((_, since)) = self.light.take_if(|(until, _)| *until <= bytes) {
            self.round_trip.add(now.saturating_sub(since).as_secs_f64(), now, f64::min);
            self.measured = now;
        }
        let is_long = |busy: &mut Busy| busy.sent <= bytes && now.saturating_sub(busy.at) >= LONG;
        if let Some(busy) = self.busy.take_if(is_long) {
            let took = now.saturating_sub(busy.at).as_secs_f64();
            self.rate.add((self.acknowledged - busy.acknowledged) as f64 / took, now, f64::max);
        }
        if let (Some(rate), Some(round_trip)) = (self.rate.best(f64::max), self.round_trip.best(f64::min)) {
            self.size = ((2.0 * rate * round_trip) as u64).clamp(MIN_WINDOW, MAX_WINDOW);
        }
        self.emptying = self.size > MIN_WINDOW && now.saturating_sub(self.measured) > LATELY;
        Ok(())
    }
}

impl Lately {
    fn add(&mut self, value: f64, now: Duration, better: fn(f64, f64) -> f64) {
        if now.saturating_sub(self.since) > LATELY {
            self.before = self.now.take();
            self.since = now;
        }
        self.now = Some(self.now.map_or(value, |best| better(best, value)));
    }

    fn best(&self, better: fn(f64, f64) -> f64) -> Option<f64> {
        match (self.now, self.before) {
            (Some(now), Some(before)) => Some(better(now, before)),
            (now, before) => now.or(before),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::frame::{MAX_DATA, Stream};

    const IDS: [ProcessId; 2] = [ProcessId([7; 16]), ProcessId([8; 16])];

    /// Sends for a minute over a path with this round trip and rate; returns the highest amount under way.
    fn peak(processes: usize, round_trip: Duration, bytes_per_second: f64) -> u64 {
        let mut conn = Conn::link(Duration::ZERO);
        let (mut now, mut position, mut peak) = (Duration::ZERO, 0_u64, 0);
        let mut path: VecDeque<(Duration, u64)> = VecDeque::new();
        let (mut parsed, mut busy_until) = (0, Duration::ZERO);
        while now < Duration::from_secs(60) {
            while conn.queued(IDS[0]) < 1 << 20 {
                for id in &IDS[..processes] {
                    let bytes = Bytes::from(vec![0; MAX_DATA]);
                    conn.send(Frame::Data { id: *id, stream: Stream::Stdin, position, bytes });
                }
                position += MAX_DATA as u64;
            }
            loop {
                let mut out = BytesMut::new();
                conn.transmit(&mut out, 1, now);
                if out.is_empty() {
                    break;
                }
                let took = Duration::from_secs_f64(out.len() as f64 / bytes_per_second);
                busy_until = busy_until.max(now) + took;
                path.push_back((busy_until + round_trip, out.len() as u64));
            }
            peak = peak.max(path.iter().map(|(_, length)| length).sum());
            let (at, length) = path.pop_front().expect("something is under way");
            now = at;
            parsed += length;
            conn.push(&Frame::Ack(parsed).to_bytes(), now);
            assert_eq!(conn.next(now), Ok(None));
        }
        peak
    }

    #[test]
    fn the_window_follows_the_bandwidth_delay_product() {
        for processes in [1, 2] {
            let far = peak(processes, Duration::from_millis(100), 20e6);
            assert!(far >= 2_000_000, "{far}");
            assert!(far <= MAX_WINDOW + 2 * MAX_DATA as u64, "{far}");
        }
    }

    #[test]
    fn who_shares_a_near_link_waits_behind_little() {
        let near = |processes| peak(processes, Duration::from_micros(300), 100e6);
        let (alone, shared) = (near(1), near(2));
        assert!(alone <= ALONE + 2 * MAX_DATA as u64, "{alone}");
        // before the second one's first turn the first was alone
        assert!(shared <= MIN_WINDOW + 3 * MAX_DATA as u64, "{shared}");
    }

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
    fn who_was_stopped_does_not_take_the_silence_for_the_others() {
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
