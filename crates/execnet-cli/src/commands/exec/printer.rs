//! Prints values, output and errors of nodes, line by line. Lines of different nodes never mix.

use std::io::{self, BufWriter, ErrorKind, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use execnet::Raw;
use execnet::value::LoadError;
use execnet_proto::text;
use rustix::event::{PollFd, PollFlags, poll};

use super::show::{Notation, Shown};
use crate::error::{CommandError, Exit};
use crate::print;
use crate::print::say;
use crate::stdio::OwnStream;
use crate::text::one_line;

/// Writes to our stdout and stderr for all nodes.
pub(super) struct Printer {
    out: Mutex<BufWriter<OwnStream>>,
    notation: Notation,
    /// Lines begin with the node's name.
    pub(super) marked: bool,
}

/// The node that a line comes from.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) node: String,
    pub(super) host: String,
}

impl Printer {
    pub(super) fn new(json: bool, marked: bool) -> io::Result<Self> {
        let out = Mutex::new(BufWriter::new(OwnStream::new(&io::stdout())?));
        Ok(Self { out, notation: if json { Notation::Json } else { Notation::Python }, marked })
    }

    /// Prints a value that a node sent.
    ///
    /// # Errors
    /// If the bytes are not a valid value.
    pub(super) fn value(&self, from: &Origin, raw: &Raw) -> Result<(), LoadError> {
        let value = Shown::new(raw.reader(), self.notation)?;
        let mut out = self.out();
        let head = match self.notation {
            Notation::Json => json_head(from) + "\"value\": ",
            Notation::Python => self.mark(from),
        };
        let tail: &[u8] = if self.notation == Notation::Json { b"}\n" } else { b"\n" };
        let written = print::above_on_stdout(|| {
            out.write_all(head.as_bytes())
                .and_then(|()| value.write(&mut *out))
                .and_then(|()| out.write_all(tail))
                .and_then(|()| out.flush())
        });
        written.unwrap_or_else(|error| end(&error));
        Ok(())
    }

    /// Prints a line of a node's output.
    pub(super) fn line(&self, from: &Origin, line: &[u8]) {
        let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
        say(&(self.mark(from) + &line));
    }

    /// Prints why the code failed: a traceback, or our own words.
    pub(super) fn error(&self, from: &Origin, error: &str) {
        let mark = self.mark(from);
        let lines = error.trim_end().lines().map(|line| mark.clone() + line);
        say(&lines.collect::<Vec<_>>().join("\n"));
        if self.notation == Notation::Json {
            let error = text::json(&serde_json::Value::from(error.trim_end()).to_string());
            let line = format!("{}\"error\": {error}}}\n", json_head(from));
            let mut out = self.out();
            print::above_on_stdout(|| out.write_all(line.as_bytes()).and_then(|()| out.flush()))
                .unwrap_or_else(|error| end(&error));
        }
    }

    fn mark(&self, from: &Origin) -> String {
        if self.marked { one_line(&from.node) + ": " } else { String::new() }
    }

    fn out(&self) -> MutexGuard<'_, BufWriter<OwnStream>> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
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

/// Exits because stdout is broken. The daemon ends what runs on the nodes.
fn end(error: &io::Error) -> ! {
    if error.kind() == ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
    print::error(&CommandError::new(Exit::Failed, "cannot write to stdout").because(error));
    std::process::exit(1);
}

fn json_head(from: &Origin) -> String {
    let name = |name: &str| text::json(&serde_json::Value::from(name).to_string());
    format!("{{\"node\": {}, \"host\": {}, ", name(&from.node), name(&from.host))
}
