//! Compresses blocks of files, unless the link is faster than that.
//!
//! The link's speed shows only once everything on the way is full, after some MiB. So a small transfer is
//! always compressed. If the link kept up until then, a few MiB go as they are, to see how fast it is.

use std::time::{Duration, Instant};

use flate2::{Compress, Compression, FlushCompress, Status};

/// The largest block, in bytes before compression.
pub(crate) const BLOCK: usize = 64 * 1024;

/// How the bytes of a block are written.
const STORED: u8 = 0;
const ZLIB: u8 = 1;

/// More bytes than the parts of a link hold on the way.
const ON_THE_WAY: u64 = 6 << 20;

/// How long the trial is, in bytes.
const TRIAL: u64 = 6 << 20;

/// The link keeps up if less than this part of the time is spent waiting for it.
const KEEPS_UP: f64 = 0.1;

/// See the module's documentation.
pub(crate) struct Squeeze {
    compress: Compress,
    pace: Pace,
}

/// Decides whether to compress. Its clock is what it is told.
#[derive(Clone, Debug, Default)]
struct Pace {
    phase: Phase,
    /// Bytes before compression, and how long that took.
    taken: u64,
    spent: Duration,
    /// Bytes on the link, and how long was waited for it.
    sent: u64,
    waited: Duration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Begin,
    /// Bytes go as they are, to see how long they take.
    Trial,
    Compress,
    Store,
}

impl Squeeze {
    pub(crate) fn new() -> Self {
        Self { compress: Compress::new(Compression::new(1), true), pace: Pace::default() }
    }

    /// The payload of FILES for a block, behind `head` free bytes.
    pub(crate) fn block(&mut self, block: &[u8], head: usize) -> Vec<u8> {
        let mut out = vec![0; head];
        if self.pace.compresses() {
            let begun = Instant::now();
            out.push(ZLIB);
            out.reserve(block.len());
            self.compress.reset();
            // there is room only for less than the block itself
            let done = self.compress.compress_vec(block, &mut out, FlushCompress::Finish);
            let shrunk = matches!(done, Ok(Status::StreamEnd)) && out.len() <= head + block.len();
            self.pace.compressed(block.len(), begun.elapsed());
            if shrunk {
                return out;
            }
            out.truncate(head);
        }
        out.push(STORED);
        out.extend_from_slice(block);
        out
    }

    /// So many bytes were sent, which took so long, with what was waited for room.
    pub(crate) fn sent(&mut self, bytes: usize, took: Duration) {
        self.pace.sent(bytes, took);
    }
}

impl Pace {
    fn compresses(&self) -> bool {
        matches!(self.phase, Phase::Begin | Phase::Compress)
    }

    fn compressed(&mut self, bytes: usize, took: Duration) {
        self.taken += bytes as u64;
        self.spent += took;
    }

    fn sent(&mut self, bytes: usize, took: Duration) {
        self.sent += bytes as u64;
        self.waited += took;
        match self.phase {
            Phase::Begin if self.sent >= ON_THE_WAY => {
                let keeps_up =
                    self.waited.as_secs_f64() < KEEPS_UP * (self.waited + self.spent).as_secs_f64();
                self.phase = if keeps_up { Phase::Trial } else { Phase::Compress };
                (self.sent, self.waited) = (0, Duration::ZERO);
            }
            Phase::Trial if self.sent >= ON_THE_WAY + TRIAL => {
                let link = speed(self.sent - ON_THE_WAY, self.waited);
                let here = speed(self.taken, self.spent);
                self.phase = if link > here { Phase::Store } else { Phase::Compress };
            }
            _ => {}
        }
    }
}

/// Bytes in a second.
fn speed(bytes: u64, time: Duration) -> f64 {
    bytes as f64 / time.as_secs_f64().max(1e-9)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn open(payload: &[u8]) -> Vec<u8> {
        match payload.split_first().unwrap() {
            (&STORED, rest) => rest.to_vec(),
            (&ZLIB, rest) => {
                let mut out = Vec::new();
                flate2::read::ZlibDecoder::new(rest).read_to_end(&mut out).unwrap();
                out
            }
            (other, _) => panic!("method {other}"),
        }
    }

    #[test]
    fn blocks_shrink_or_stay_as_they_are() {
        let mut squeeze = Squeeze::new();
        let text = b"import execnet\n".repeat(4_000);
        let noise: Vec<u8> = (0..BLOCK).map(|_| fastrand()).collect();
        for (block, method) in [(&text[..], ZLIB), (&noise, STORED), (b"x", STORED), (&text[..100], ZLIB)] {
            let frame = squeeze.block(block, 9);
            assert_eq!(frame[..9], [0; 9]);
            assert_eq!((frame[9], open(&frame[9..])), (method, block.to_vec()));
            assert!(frame.len() <= 9 + 1 + block.len());
        }
    }

    fn fastrand() -> u8 {
        let mut byte = [0];
        getrandom::fill(&mut byte).unwrap();
        byte[0]
    }

    /// What is chosen for a link and a compressor of these speeds, in MiB/s, and after how many MiB.
    fn chosen(link: f64, compressor: f64, ratio: f64) -> (Phase, u64) {
        let mut pace = Pace::default();
        // both work at the same time; so much may be on the way
        let (mut now, mut free, mut bytes) = (0.0, 0.0, 0);
        while matches!(pace.phase, Phase::Begin | Phase::Trial) {
            let block = BLOCK as f64 / MIB as f64;
            let mut wire = block;
            if pace.compresses() {
                now += block / compressor;
                pace.compressed(BLOCK, Duration::from_secs_f64(block / compressor));
                wire = block / ratio;
            }
            free = f64::max(free, now) + wire / link;
            let wait = (free - now - 3.0 / link).max(0.0);
            now += wait;
            pace.sent((wire * MIB as f64) as usize, Duration::from_secs_f64(wait));
            bytes += BLOCK as u64;
        }
        (pace.phase, bytes / MIB)
    }

    #[test]
    fn a_link_that_is_faster_gets_bytes_as_they_are() {
        assert_eq!(chosen(200.0, 40.0, 3.0).0, Phase::Store);
        assert_eq!(chosen(1_000.0, 200.0, 3.0).0, Phase::Store);
        assert_eq!(chosen(100.0, 250.0, 3.0).0, Phase::Compress);
        assert_eq!(chosen(20.0, 40.0, 3.0).0, Phase::Compress);
        // no trial on a slow link
        assert_eq!(chosen(1.0, 250.0, 3.0), (Phase::Compress, 18));
    }
}
