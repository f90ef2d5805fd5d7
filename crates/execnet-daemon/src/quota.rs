//! How many lines of the log a host or the clients can cause, so that none of them washes out what the log says of the others.

use std::time::Duration;

/// Lines that may be told at once.
const BURST: u32 = 100;

/// After that there is one more each time this has passed.
const EVERY: Duration = Duration::from_secs(60);

/// The lines that one of those who cause them has left.
#[derive(Debug)]
pub(crate) struct Quota {
    most: u32,
    left: u32,
    /// When the last one was given back.
    since: Duration,
    untold: u64,
}

impl Default for Quota {
    fn default() -> Self {
        Self::of(1)
    }
}

impl Quota {
    /// For that many of whom each may cause as much as one.
    pub(crate) fn of(many: u32) -> Self {
        Self { most: BURST * many, left: BURST * many, since: Duration::ZERO, untold: 0 }
    }

    /// Whether a line about `whom` may be told now. How many were left out is told first.
    pub(crate) fn take(&mut self, whom: &str, now: Duration) -> bool {
        if self.left == self.most {
            self.since = now;
        }
        let back = now.saturating_sub(self.since).div_duration_f64(EVERY) as u32;
        self.since += EVERY * back;
        self.left = self.left.saturating_add(back).min(self.most);
        if self.left == 0 {
            self.untold += 1;
            return false;
        }
        self.left -= 1;
        if let untold @ 1.. = std::mem::take(&mut self.untold) {
            tracing::warn!("{whom}: {untold} lines were left out of the log");
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_says_much_has_a_line_a_minute() {
        let mut quota = Quota::default();
        let mut told = 0;
        for second in 0..3_600 {
            for _ in 0..10 {
                told += u32::from(quota.take("h", Duration::from_secs(second)));
            }
        }
        assert!((BURST + 59..=BURST + 60).contains(&told), "{told}");
        assert!(quota.untold > 0, "counted, and told with the next line");
        // later it has its lines again
        let later = Duration::from_secs(36_000);
        assert_eq!((0..1_000).filter(|_| quota.take("h", later)).count() as u32, BURST);
    }
}
