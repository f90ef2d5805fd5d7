//! Our stdout and stderr, for what many hosts write: line by line, each marked with a name. Lines never mix.

use std::io::{self, BufWriter, ErrorKind, Write};
use std::sync::{Mutex, PoisonError};

use execnet_proto::text;
use rustix::event::{PollFd, PollFlags, poll};

use crate::error::{CommandError, Exit};
use crate::lines::shown;
use crate::print::{self, say};
use crate::stdio::OwnStream;
use crate::text::one_line;

/// Writes to our stdout and stderr for all.
pub(super) struct Outlet {
    out: Mutex<BufWriter<OwnStream>>,
    /// Lines begin with a name.
    pub(super) marked: bool,
}

impl Outlet {
    pub(super) fn new(marked: bool) -> io::Result<Self> {
        Ok(Self { out: Mutex::new(BufWriter::new(OwnStream::new(&io::stdout())?)), marked })
    }

    /// Writes to stdout, at once. Ends the command if nobody reads it any more: the daemon then ends what
    /// runs on hosts.
    pub(super) fn write(&self, write: impl FnOnce(&mut BufWriter<OwnStream>) -> io::Result<()>) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let written = print::above_on_stdout(|| write(&mut out).and_then(|()| out.flush()));
        written.unwrap_or_else(|error| end(&error));
    }

    /// Prints a line of a host's output on stderr.
    pub(super) fn aside(&self, name: &str, line: &[u8]) {
        say(&(self.mark(name) + &shown(line)));
    }

    /// Prints words about a host on stderr, each line marked.
    pub(super) fn words(&self, name: &str, words: &str) {
        let mark = self.mark(name);
        let lines = words.trim_end().lines().map(|line| mark.clone() + line);
        say(&lines.collect::<Vec<_>>().join("\n"));
    }

    pub(super) fn mark(&self, name: &str) -> String {
        if self.marked { one_line(name) + ": " } else { String::new() }
    }
}

/// A text as a JSON string, safe for a terminal.
pub(super) fn json_text(text: &str) -> String {
    text::json(&serde_json::Value::from(text).to_string())
}

/// Waits until nobody reads our stdout any more, then exits.
pub(super) fn end_when_unread() {
    let out = io::stdout();
    loop {
        let mut polled = [PollFd::new(&out, PollFlags::empty())];
        match poll(&mut polled, None) {
            Ok(_) if polled[0].revents().contains(PollFlags::ERR) => std::process::exit(0),
            Ok(_) => return,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// Exits because stdout is broken. The daemon ends what runs on the hosts.
pub(super) fn end(error: &io::Error) -> ! {
    if error.kind() == ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
    print::error(&CommandError::new(Exit::Failed, "cannot write to stdout").because(error));
    std::process::exit(1);
}
