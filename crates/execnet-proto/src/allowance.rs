//! What a peer may say that costs it no credit, and how much of what it says is taken before others have their turn.
//!
//! DATA is bounded by credit. Every other frame answers something that was said to the peer, or tells of a change there. So a peer
//! earns what it may say by what it is told; beside that it has a stock, larger than all that can change at once, which fills up
//! again with time. Who says more than that floods.

use std::time::Duration;

/// Frames of the stock. What changes at once, at the most: 64 nodes twice, 1,000 processes that end and say 5 frames each for it,
/// 4,000 to be forgotten; and then half as many again.
pub(crate) const STOCK: u64 = 16_384;

/// One frame of the stock comes back each time this has passed: 256 a second.
const EVERY: Duration = Duration::from_nanos(3_906_250);

/// A frame may be answered by so many. A SPAWN is: by RESUMED, STARTED, CREDIT, STOP, two FINs and EXIT, and an ACK.
const PER_FRAME: u64 = 8;

/// DATA may be answered by one more frame for each of so many bytes, CREDIT and ACK: ours come for 16,384 at the least.
const PER_BYTES: u64 = 1_024;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Allowance {
    left: u64,
    /// Up to when the stock has filled up.
    filled: Duration,
}

impl Allowance {
    pub(crate) fn new(now: Duration) -> Self {
        Self { left: STOCK, filled: now }
    }

    /// The peer is told something in a frame, with so many bytes of DATA.
    pub(crate) fn earn(&mut self, bytes: usize) {
        self.left = (self.left + PER_FRAME + bytes as u64 / PER_BYTES).min(STOCK);
    }

    /// The peer says something that costs so many frames. False if it may not.
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

/// What is taken from a peer before others have their turn, in frames of 2,048 bytes at the most: about 0.1 ms of work.
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

    /// A frame of so many bytes was taken.
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
