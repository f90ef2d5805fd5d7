//! Limits how many lines of the log a host or the clients can cause, so that none of them crowds out the
//! others.

use std::time::Duration;

/// How many lines may come at once.
const BURST: u32 = 100;

/// After that, one more line may come each time this has passed.
const EVERY: Duration = Duration::from_secs(60);

/// The lines that one source has left.
#[derive(Debug)]
pub(crate) struct Quota {
    most: u32,
    left: u32,
    /// When the last line was given back.
    since: Duration,
    untold: u64,
}

impl Default for Quota {
    fn default() -> Self {
        Self::of(1)
    }
}

impl Quota {
    /// A limit for this many sources together.
    pub(crate) fn of(many: u32) -> Self {
        Self { most: BURST * many, left: BURST * many, since: Duration::ZERO, untold: 0 }
    }

    /// Whether a line about `whom` may be written now. First writes how many lines were left out.
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
        // after a while it has all its lines again
        let later = Duration::from_secs(36_000);
        assert_eq!((0..1_000).filter(|_| quota.take("h", later)).count() as u32, BURST);
    }
}
