//! Lengths of time as people write them.

use std::time::Duration;

/// Agents wait in poll(2), which counts milliseconds in 31 bits.
const LONGEST: u64 = 24 * 86_400;

/// `90s`, `10m`, `2h`, `1d`, or a number of seconds; at most 24 days.
#[must_use]
pub fn time(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let unit = match text[digits..].trim() {
        "" | "s" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    let seconds = text[..digits].parse::<u64>().ok()?.checked_mul(unit)?;
    (seconds <= LONGEST).then(|| Duration::from_secs(seconds))
}
