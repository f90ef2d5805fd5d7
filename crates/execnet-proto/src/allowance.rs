//! How many frames a peer may send that cost it no credit, and how much work a peer gets before others have
//! their turn.
//!
//! Credit bounds DATA. Every other frame answers something that the peer was told, or reports a change there.
//! So each frame sent to a peer earns it some, and beyond that it has a stock that is larger than everything
//! that can change at once and refills with time. A peer that has used up both is flooding.

use std::time::Duration;

/// Frames in a full stock. At most this can change at once: 64 nodes twice, 1,000 processes that end with 5
/// frames each, and 4,000 ids to be forgotten; plus half as many again.
pub(crate) const STOCK: u64 = 16_384;

/// One frame returns to the stock each time this has passed: 256 per second.
const EVERY: Duration = Duration::from_nanos(3_906_250);

/// Frames that may answer one frame. A SPAWN is answered by RESUMED, STARTED, CREDIT, STOP, two FINs and
/// EXIT, and an ACK.
const PER_FRAME: u64 = 8;

/// DATA earns one more frame for each of this many bytes, for CREDIT and ACK: ours come for 16,384 bytes at
/// least.
const PER_BYTES: u64 = 1_024;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Allowance {
    left: u64,
    /// The moment up to which the stock has refilled.
    filled: Duration,
}

impl Allowance {
    pub(crate) fn new(now: Duration) -> Self {
        Self { left: STOCK, filled: now }
    }

    /// A frame with this many bytes of DATA was sent to the peer.
    pub(crate) fn earn(&mut self, bytes: usize) {
        self.left = (self.left + PER_FRAME + bytes as u64 / PER_BYTES).min(STOCK);
    }

    /// The peer sent something that costs this many frames. False if it has not earned them.
    pub(crate) fn spend(&mut self, cost: u64, now: Duration) -> bool {
        let back = now.saturating_sub(self.filled).as_nanos() / EVERY.as_nanos();
        if back >= u128::from(STOCK) {
            (self.left, self.filled) = (STOCK, now);
        } else if back > 0 {
            self.left = (self.left + back as u64).min(STOCK);
            self.filled += EVERY * back as u32;
        }
        let enough = self.left >= cost;
        self.left = self.left.saturating_sub(cost);
        enough
    }
}

/// Work that is done for a peer before others have their turn, in frames of at most 2,048 bytes: about 0.1
/// ms.
const TURN: u64 = 512;

/// Bytes that cost as much as a frame.
const PER_COST: u64 = 2_048;

/// The rest of a peer's turn.
#[derive(Debug)]
pub(crate) struct Turn(u64);

impl Turn {
    pub(crate) fn new() -> Self {
        Self(TURN)
    }

    pub(crate) fn endless() -> Self {
        Self(u64::MAX)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.0 == 0
    }

    /// A frame of this many bytes was handled.
    pub(crate) fn frame(&mut self, bytes: usize) {
        self.spend(1 + bytes as u64 / PER_COST);
    }

    /// Something was done that costs as much as this many frames.
    pub(crate) fn spend(&mut self, cost: u64) {
        self.0 = self.0.saturating_sub(cost);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stock_fills_up_with_time_and_with_what_is_told() {
        let second = Duration::from_secs(1);
        let mut allowance = Allowance::new(second);
        assert!((0..STOCK).all(|_| allowance.spend(1, second)));
        assert!(!allowance.spend(1, second));
        assert_eq!((0..1_000).filter(|_| allowance.spend(1, 2 * second)).count(), 256);
        allowance.earn(0);
        assert_eq!((0..1_000).filter(|_| allowance.spend(1, 2 * second)).count() as u64, PER_FRAME);
        allowance.earn(65_536);
        assert_eq!((0..1_000).filter(|_| allowance.spend(1, 2 * second)).count() as u64, PER_FRAME + 64);
        assert!(allowance.spend(STOCK, 1_000 * second) && !allowance.spend(1, 1_000 * second));
    }
}
