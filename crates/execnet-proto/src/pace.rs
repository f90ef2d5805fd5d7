//! How many bytes may be in flight on a link.

use std::time::Duration;

use crate::id::ProcessId;
use crate::stream::Violation;

/// An ACK is sent at least for this many bytes.
pub(crate) const ACK_EVERY: u64 = 65_536;

const MIN_WINDOW: u64 = 262_144;
const MAX_WINDOW: u64 = 4_194_304;

/// The smallest window of a process that has the link to itself.
const ALONE: u64 = 1_048_576;

/// By this much, in bytes, terminals may exceed the window.
const BEYOND: u64 = 65_536;

/// How long a measured rate or round trip counts.
const LATELY: Duration = Duration::from_secs(10);

/// A process that takes a turn again within this time comes back.
const BACK: Duration = Duration::from_secs(5);

/// How many processes' turns are remembered.
const REMEMBERED: usize = 8;

/// Rates are measured over at least this long; over shorter spans ACKs arrive in bursts.
const LONG: Duration = Duration::from_millis(10);

/// How many bytes may be in flight: about twice the bandwidth-delay product.
///
/// A round trip counts only if it began with almost nothing in flight, because behind a full window it
/// measures the window. If there was none for a while, the link is left to run empty once.
///
/// A small message of another process waits behind the bytes in flight. If no two processes took turns
/// lately, nobody waits, and a larger window bridges the pauses of busy machines.
///
/// While somebody sits before a terminal, a key waits behind the bytes in flight: then the window is as small
/// as it can be without a pause, the bandwidth-delay product.
#[derive(Debug)]
pub(crate) struct Pace {
    size: u64,
    sent: u64,
    acknowledged: u64,
    /// The rate being measured.
    busy: Option<Busy>,
    rate: Lately,
    /// A round trip being measured: the position to be acknowledged, and when it was sent.
    light: Option<(u64, Duration)>,
    round_trip: Lately,
    measured: Duration,
    emptying: bool,
    turns: Turns,
}

/// Processes that took turns lately.
///
/// Two processes take turns if both came back within [`BACK`]. A tunnel whose link is idle sends its PING
/// every 10 s and does not count.
#[derive(Debug, Default)]
struct Turns {
    /// The process whose DATA was sent last.
    who: Option<ProcessId>,
    /// When the last processes began their turns, the newest last.
    began: Vec<(ProcessId, Duration)>,
    /// The process that came back last, and when.
    back: Option<(ProcessId, Duration)>,
    /// When two took turns last.
    shared: Option<Duration>,
}

/// A moment when much was in flight: how much had been sent and acknowledged.
#[derive(Debug)]
struct Busy {
    sent: u64,
    acknowledged: u64,
    at: Duration,
}

/// The best measurement in this period and the one before.
#[derive(Debug, Default)]
struct Lately {
    now: Option<f64>,
    before: Option<f64>,
    since: Duration,
}

/// Whose DATA may be sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Open {
    pub(crate) terminals: bool,
    pub(crate) others: bool,
}

impl Open {
    pub(crate) const ALL: Self = Self { terminals: true, others: true };
}

impl Default for Pace {
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
            turns: Turns::default(),
        }
    }
}

impl Pace {
    /// Whether DATA may be sent: that of terminals, and that of others.
    pub(crate) fn is_open(&self, has_terminal: bool, now: Duration) -> Open {
        let size = match self.size {
            _ if self.emptying => ACK_EVERY,
            size if has_terminal => (size / 2).max(MIN_WINDOW),
            size if self.turns.are_shared(now) => size,
            size => size.max(ALONE),
        };
        let under_way = self.sent - self.acknowledged;
        Open { terminals: under_way < size + BEYOND, others: under_way < size }
    }

    /// Whether so little is in flight with this many bytes more that they may be sent, and nothing is
    /// measured.
    pub(crate) fn is_light(&self, bytes: u64) -> bool {
        self.sent - self.acknowledged + bytes < ACK_EVERY
    }

    /// DATA of this process was sent last.
    pub(crate) fn turn(&mut self, who: Option<ProcessId>, now: Duration) {
        if let Some(who) = who
            && self.turns.who != Some(who)
        {
            self.turns.begin(who, now);
        }
    }

    pub(crate) fn sent(&mut self, bytes: u64, now: Duration) {
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

    pub(crate) fn ack(&mut self, bytes: u64, now: Duration) -> Result<(), Violation> {
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

impl Turns {
    fn are_shared(&self, now: Duration) -> bool {
        self.shared.is_some_and(|since| now.saturating_sub(since) < LATELY)
    }

    fn begin(&mut self, who: ProcessId, now: Duration) {
        self.who = Some(who);
        let known = self.began.iter().position(|(id, _)| *id == who);
        let before = known.map(|index| self.began.remove(index).1);
        self.began.push((who, now));
        if self.began.len() > REMEMBERED {
            self.began.remove(0);
        }
        if before.is_none_or(|before| now.saturating_sub(before) >= BACK) {
            return;
        }
        if self.back.is_some_and(|(other, at)| other != who && now.saturating_sub(at) < BACK) {
            self.shared = Some(now);
        }
        self.back = Some((who, now));
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

    use bytes::{Bytes, BytesMut};

    use super::*;
    use crate::conn::Conn;
    use crate::wire::{Frame, MAX_DATA, Stream};

    const IDS: [ProcessId; 2] = [ProcessId([7; 16]), ProcessId([8; 16])];

    /// Sends for a minute over a path with this round trip and rate. Returns the highest number of bytes in
    /// flight.
    fn peak(processes: usize, round_trip: Duration, bytes_per_second: f64) -> u64 {
        peak_on(Conn::link(Duration::ZERO), processes, round_trip, bytes_per_second)
    }

    fn peak_on(mut conn: Conn, processes: usize, round_trip: Duration, bytes_per_second: f64) -> u64 {
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
    fn sharing_a_near_link_means_short_waits() {
        let near = |processes| peak(processes, Duration::from_micros(300), 100e6);
        let (alone, shared) = (near(1), near(2));
        assert!(alone <= ALONE + 2 * MAX_DATA as u64, "{alone}");
        // before the second one's first turn the first was alone
        assert!(shared <= MIN_WINDOW + 3 * MAX_DATA as u64, "{shared}");
    }

    #[test]
    fn before_a_terminal_the_window_is_the_product_and_no_more() {
        let held = || {
            let mut conn = Conn::link(Duration::ZERO);
            conn.send(Frame::Size { id: ProcessId([9; 16]), sequence: 0, rows: 24, columns: 80 });
            conn
        };
        let far = peak_on(held(), 1, Duration::from_millis(100), 20e6);
        assert!((1_500_000..=MAX_WINDOW / 2 + 2 * MAX_DATA as u64).contains(&far), "{far}");
        let near = peak_on(held(), 1, Duration::from_micros(300), 100e6);
        assert!(near <= MIN_WINDOW + 2 * MAX_DATA as u64, "{near}");
    }

    #[test]
    fn only_those_who_come_back_share_a_link() {
        let id = |number: u8| ProcessId([number; 16]);
        let seconds = Duration::from_secs_f64;
        let mut turns = Turns::default();
        for second in 0..100 {
            let now = seconds(f64::from(second));
            // bulk, beside the PINGs of ten idle links
            turns.begin(id(100), now);
            turns.begin(id((second % 10) as u8), now + seconds(0.5));
            assert!(!turns.are_shared(now), "{second}");
        }
        let mut now = seconds(200.0);
        for _ in 0..2 {
            turns.begin(id(100), now);
            turns.begin(id(101), now);
            now += seconds(2.0);
        }
        assert!(turns.are_shared(now), "who sends something every two seconds waits behind the other");
        assert!(!turns.are_shared(now + LATELY));
    }
}
