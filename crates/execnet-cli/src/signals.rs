//! Signals that this command handles itself.

use std::io;

use signal_hook::iterator::Signals;

/// Handles these signals from now on, except those that were ignored at our start (`nohup`): they stay so.
pub(crate) fn handled(wanted: &[i32]) -> io::Result<Signals> {
    let ignored = ignored();
    Signals::new(wanted.iter().filter(|number| ignored >> (*number - 1) & 1 == 0))
}

/// The signals ignored at our start, bit n − 1 for signal n. Empty on systems other than Linux.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
