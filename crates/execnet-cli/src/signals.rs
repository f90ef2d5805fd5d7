//! Signals that this command handles itself.

use std::io;

use rustix::process::{Signal, getpgrp, getsid, kill_current_process_group};
use signal_hook::iterator::Signals;

/// Handles these signals from now on, except those that were ignored at our start (`nohup`): they stay so.
pub(crate) fn handled(wanted: &[i32]) -> io::Result<Signals> {
    let ignored = ignored();
    Signals::new(wanted.iter().filter(|number| ignored >> (*number - 1) & 1 == 0))
}

/// Stops this job until it goes on, as the terminal does for ^Z: a script that runs this command stops, too.
/// A job that no shell watches goes on at once. Give the terminal back before: a shell may take it at once.
pub(crate) fn stop_job() {
    // the leader of a session has no shell beside it
    if getsid(None) != Ok(getpgrp()) {
        // SIGTSTP, which is handled here, looks the same to the shell
        let _ = kill_current_process_group(Signal::STOP);
    }
}

/// The signals ignored at our start, bit n − 1 for signal n. Empty on systems other than Linux.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
