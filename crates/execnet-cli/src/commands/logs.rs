//! `execnet logs`: prints the log of a network's daemon, or what kept work has printed.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use execnet::Replay;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::kept::{Tail, Work, not_attached, read_beside, reader};
use crate::error::{CommandError, CommandResult, Exit};
use crate::{connection, paths, print};

/// Print the log of a network's daemon, or what kept work has printed
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  execnet logs mynet
  execnet logs mynet -f -n 20
  execnet logs mynet train --tail 100K -f")]
pub(crate) struct LogsArgs {
    #[command(flatten)]
    network: super::NetworkArg,
    /// Name of kept work: print what is held of its output
    #[arg(value_name = "NAME", add = super::complete::kept())]
    name: Option<String>,
    /// How much of the output of kept work: `all`, or a size such as `100K`
    #[arg(long, value_name = "SIZE", requires = "name")]
    tail: Option<Tail>,
    /// Keep printing what comes, until Ctrl-C or until kept work ends
    #[arg(short, long)]
    follow: bool,
    /// Number of last lines to print
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100, conflicts_with = "name")]
    #[arg(value_parser = count, allow_negative_numbers = true)]
    lines: usize,
}

impl LogsArgs {
    pub(crate) fn run(self) -> CommandResult {
        if let Some(work) = &self.name {
            return self.of_work(work);
        }
        let name = self.network.network;
        let path = paths::log_file(&name)?;
        let fail = |error: io::Error| CommandError::file("read", &path, &error);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let known = paths::known();
                return Err(if connection::is_running(&name) {
                    let message =
                        format!("the network `{name}` is running, but has no log at {}", path.display());
                    CommandError::new(Exit::Failed, message).hint(
                        "it was started with a different HOME or XDG_STATE_HOME, or the file was removed; \
                         the next start creates it",
                    )
                } else if known.contains(&name) {
                    CommandError::new(Exit::Failed, format!("the network `{name}` has no log yet"))
                } else {
                    connection::not_running(&name, &known, false)
                });
            }
            Err(error) => return Err(fail(error)),
        };
        let mut at = tail(&mut file, self.lines).map_err(fail)?;
        loop {
            at = print_from(&mut file, at, self.follow).map_err(fail)??;
            if !self.follow {
                return Ok(ExitCode::SUCCESS);
            }
            if is_unread() {
                return Ok(ExitCode::SUCCESS);
            }
            // a log that grew long was rotated
            if let Ok(next) = File::open(&path)
                && !is_same(&file, &next)
            {
                print_from(&mut file, at, false).map_err(fail)??;
                (file, at) = (next, 0);
            }
        }
    }
}

impl LogsArgs {
    /// What is held of the output of kept work.
    fn of_work(&self, name: &str) -> CommandResult {
        let network = connection::open_patiently(&self.network.network)?;
        let found = network.find_kept(name);
        let status = found.map_err(|error| not_attached(&self.network.network, error))?;
        let replay = self.tail.map_or(Replay::All, Replay::from);
        let reader = reader(&network, &status, replay, !self.follow)?;
        read_beside(&reader, &Arc::new(Work::of(&self.network.network, &status)), replay)
    }
}

/// Waits a moment. True if the reader of our stdout is gone (`execnet logs -f | grep -m 1 …`).
fn is_unread() -> bool {
    let out = io::stdout();
    let mut polled = [PollFd::new(&out, PollFlags::empty())];
    let moment = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
    matches!(poll(&mut polled, Some(&moment)), Ok(1..)) && polled[0].revents().contains(PollFlags::ERR)
}

fn count(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "expected a number of lines, such as 20".to_owned())
}

fn is_same(one: &File, other: &File) -> bool {
    let id = |file: &File| file.metadata().map(|metadata| (metadata.dev(), metadata.ino())).ok();
    id(one) == id(other)
}

/// Prints the file from a position on, only whole lines if more may follow. Returns the position after them.
fn print_from(file: &mut File, from: u64, whole_lines: bool) -> io::Result<Result<u64, CommandError>> {
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    if whole_lines {
        bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
    }
    let text = execnet_proto::text::lines(&String::from_utf8_lossy(&bytes)).into_owned();
    Ok(print::print(&text).map(|()| from + bytes.len() as u64))
}

/// The position at which the last `lines` lines begin.
fn tail(file: &mut File, lines: usize) -> io::Result<u64> {
    const BLOCK: u64 = 65_536;
    let len = file.seek(SeekFrom::End(0))?;
    // a line end at the end of the file begins no line
    let mut end = len.saturating_sub(1);
    let mut left = lines;
    while left > 0 && end > 0 {
        let start = end.saturating_sub(BLOCK);
        let mut block = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        file.by_ref().take(end - start).read_to_end(&mut block)?;
        for at in (0..block.len()).rev().filter(|at| block[*at] == b'\n') {
            left -= 1;
            if left == 0 {
                return Ok(start + at as u64 + 1);
            }
        }
        end = start;
    }
    Ok(if lines == 0 { len } else { 0 })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_last_lines_are_found() {
        let path = std::env::temp_dir().join(format!("execnet-logs-{}", std::process::id()));
        let long = format!("{}\nlast\n", "x".repeat(70_000));
        for (text, lines, rest) in [
            ("a\nb\nc\n", 2, "b\nc\n"),
            ("a\nb\nc", 2, "b\nc"),
            ("a\nb\n", 2, "a\nb\n"),
            ("a\nb\n", 9, "a\nb\n"),
            ("a\n\n", 1, "\n"),
            ("a\nb\n", 0, ""),
            ("", 3, ""),
            (&long, 1, "last\n"),
            (&long, 2, &long),
        ] {
            fs::write(&path, text).unwrap();
            let at = tail(&mut File::open(&path).unwrap(), lines).unwrap();
            assert_eq!(&text[usize::try_from(at).unwrap()..], rest, "{lines} of {text:.9}");
        }
        fs::remove_file(&path).unwrap();
    }
}
