//! What is kept, and how: the options of `run`.

use std::time::Duration;

use clap::Args;
use execnet::{Keep, KeptName, Policy};
use execnet_proto::control::KeptChoice;
use execnet_proto::spec::time;

/// How long it stays if nobody says otherwise.
const WEEK: &str = "7d";

/// How much output is held of each stream, if nobody says otherwise.
const RING: &str = "last=4M";

/// The least of these sizes, in bytes.
const LEAST: u64 = 4_096;

/// The options that ask for kept work.
#[derive(Clone, Debug, Args)]
pub(crate) struct KeepOptions {
    /// Keep it under this name: it stays when this command is left, and `execnet attach` comes back to it
    #[arg(long, value_name = "NAME", conflicts_with = "timeout")]
    keep: Option<KeptName>,
    /// End it when nobody was attached for so long: `90s`, `12h`, `30d`
    #[arg(long, value_name = "TIME", default_value = WEEK, value_parser = span, requires = "keep")]
    keep_for: Duration,
    /// What becomes of output while nobody is attached: `last=SIZE` holds its end, `spill=SIZE` does so on
    /// the host's disk, `wait` lets the program wait. SIZE is `65536`, `64K`, `4M`, `1G`
    #[arg(long, value_name = "POLICY", default_value = RING, value_parser = policy, requires = "keep")]
    keep_output: Policy,
}

impl KeepOptions {
    /// How to keep it, if it is kept.
    pub(crate) fn keep(&self) -> Option<Keep> {
        let name = self.keep.clone()?;
        let (stdout, stderr) = (self.keep_output, self.keep_output);
        Some(Keep { name, seconds: self.keep_for.as_secs(), stdout, stderr, admits: false })
    }
}

/// What becomes of kept work when hosts leave.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct KeptOptions {
    /// Leave kept work there: a host with the same id finds it again
    #[arg(long, conflicts_with = "end_kept")]
    leave_kept: bool,
    /// End kept work, too
    #[arg(long)]
    end_kept: bool,
}

impl KeptOptions {
    /// What was chosen, if anything was.
    pub(crate) fn choice(self) -> Option<KeptChoice> {
        match (self.leave_kept, self.end_kept) {
            (true, _) => Some(KeptChoice::Leave),
            (_, true) => Some(KeptChoice::End),
            _ => None,
        }
    }
}

/// Reads a time of at least a second.
fn span(text: &str) -> Result<Duration, String> {
    // agents count kept time in seconds, not in a poll's milliseconds
    let days = text.trim().strip_suffix('d').and_then(|days| days.trim().parse::<u64>().ok());
    let span = days.filter(|days| *days <= 3_650).map(|days| Duration::from_secs(days * 86_400));
    let span = span.or_else(|| time(text)).filter(|span| !span.is_zero());
    span.ok_or_else(|| "expected a time of at least a second, such as `90s`, `12h` or `30d`".to_owned())
}

/// Reads a policy whose size may have a unit.
fn policy(text: &str) -> Result<Policy, String> {
    let wrong = || {
        "expected `last=SIZE`, `spill=SIZE` or `wait`, with a SIZE from `4K` such as `4M` or `1G`".to_owned()
    };
    let size = |bytes| size(bytes).filter(|bytes| *bytes >= LEAST);
    match text.split_once('=') {
        None if text == "wait" => Ok(Policy::Wait),
        Some(("last", bytes)) => size(bytes).map(Policy::Last).ok_or_else(wrong),
        Some(("spill", bytes)) => size(bytes).map(Policy::Spill).ok_or_else(wrong),
        _ => Err(wrong()),
    }
}

/// Reads a number of bytes: `65536`, `64K`, `4M`, `1G`.
pub(crate) fn size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let unit = match text[digits..].to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KB" | "KIB" => 10,
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(1 << unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in
            [("0", 0), ("65536", 65_536), ("64K", 65_536), ("4M", 4 << 20), ("1GiB", 1 << 30)]
        {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in ["", "K", "1T", "-1", "1.5M", "99999999999999999999", "99999999999G", "é"] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    #[test]
    fn policies_and_times_are_read_and_others_refused() {
        assert_eq!(policy("last=4M"), Ok(Policy::Last(4 << 20)));
        assert_eq!(policy("spill=1G"), Ok(Policy::Spill(1 << 30)));
        assert_eq!(policy("wait"), Ok(Policy::Wait));
        for text in ["", "last", "last=", "last=4095", "spill=0", "wait=1", "disk=1G", "last=4T"] {
            assert!(policy(text).is_err(), "{text}");
        }
        let seconds = |text| span(text).map(|span| span.as_secs());
        assert_eq!(
            [seconds("90s"), seconds("30d"), seconds("365d")],
            [Ok(90), Ok(2_592_000), Ok(31_536_000)]
        );
        for text in ["0", "", "1y", "99999d", "-1d"] {
            assert!(span(text).is_err(), "{text}");
        }
    }
}
