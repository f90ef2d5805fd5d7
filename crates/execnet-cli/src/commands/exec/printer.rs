//! Prints values, output and errors of nodes, line by line, or keeps them until they are folded.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use execnet::Raw;
use execnet::value::LoadError;

use super::NodeOutcome;
use super::show::{Notation, Shown};
use crate::commands::folded::{Folded, Side, Tally};
use crate::commands::outlet::{Outlet, json_text};
use crate::error::{CommandError, Exit};
use crate::fold::End;
use crate::print;

/// Writes to our stdout and stderr for all nodes.
pub(super) struct Printer {
    pub(super) outlet: Outlet,
    notation: Notation,
    /// What was not shown yet, if equal answers are shown once.
    folded: Option<Mutex<(Folded, Tally)>>,
    one: bool,
}

/// The node that a line comes from.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) node: String,
    pub(super) host: String,
}

/// How values, output and errors of nodes are shown.
pub(super) struct Look {
    pub(super) json: bool,
    /// Lines begin with the node's name.
    pub(super) marked: bool,
    /// Equal answers are shown once.
    pub(super) folded: bool,
    /// There is one node, whose name is known later.
    pub(super) one: bool,
}

impl Printer {
    pub(super) fn new(look: &Look) -> io::Result<Self> {
        Ok(Self {
            outlet: Outlet::new(look.marked)?,
            notation: if look.json { Notation::Json } else { Notation::Python },
            folded: look.folded.then(|| Mutex::new((Folded::new(), Tally::default()))),
            one: look.one,
        })
    }

    /// Prints a value that a node sent.
    ///
    /// # Errors
    /// If the bytes are not a valid value.
    pub(super) fn value(&self, from: &Origin, raw: &Raw) -> Result<(), LoadError> {
        let value = Shown::new(raw.reader(), self.notation)?;
        if self.folded.is_some() {
            let mut text = Vec::new();
            // writing to memory does not fail
            let _ = value.write(&mut text);
            text.push(b'\n');
            self.keep(from, Side::Out, &text);
            return Ok(());
        }
        let head = match self.notation {
            Notation::Json => json_head(from) + "\"value\": ",
            Notation::Python => self.outlet.mark(&from.node),
        };
        let tail: &[u8] = if self.notation == Notation::Json { b"}\n" } else { b"\n" };
        self.outlet.write(|out| {
            out.write_all(head.as_bytes())?;
            value.write(out)?;
            out.write_all(tail)
        });
        Ok(())
    }

    /// Prints a line of a node's output.
    pub(super) fn line(&self, from: &Origin, line: &[u8]) {
        if self.folded.is_some() {
            self.keep(from, Side::Err, line);
            self.keep(from, Side::Err, b"\n");
        } else {
            self.outlet.aside(&from.node, line.strip_suffix(b"\r").unwrap_or(line));
        }
    }

    /// Prints why the code failed: a traceback, or our own words.
    pub(super) fn error(&self, from: &Origin, error: &str) {
        if self.folded.is_some() {
            return self.keep(from, Side::Err, format!("{}\n", error.trim_end()).as_bytes());
        }
        self.outlet.words(&from.node, error);
        if self.notation == Notation::Json {
            let line = format!("{}\"error\": {}}}\n", json_head(from), json_text(error.trim_end()));
            self.outlet.write(|out| out.write_all(line.as_bytes()));
        }
    }

    /// Whether lines say by themselves whose they are.
    pub(super) fn names_nodes(&self) -> bool {
        self.outlet.marked || self.folded.is_some()
    }

    /// A node is asked now.
    pub(super) fn asks(&self, from: &Origin) {
        self.with(|folded, _| folded.ask(self.key(from), Instant::now()));
    }

    /// A node has ended. Returns how, also for what reads its answer.
    pub(super) fn ended(&self, from: &Origin, mut outcome: NodeOutcome) -> NodeOutcome {
        self.with(|folded, tally| {
            if folded.why_cut(self.key(from)).is_some() {
                outcome = NodeOutcome::Broken;
            }
            let how = match outcome {
                NodeOutcome::Fine => None,
                NodeOutcome::Failed => Some("failed"),
                NodeOutcome::Broken => Some("broken"),
            };
            match how {
                None => tally.ok(),
                Some(how) => tally.add(how, &from.node),
            }
            folded.heard(self.key(from), &from.node, End::Fine, Instant::now());
        });
        outcome
    }

    /// A node that matches was left out.
    pub(super) fn left_out(&self, name: &str) {
        self.with(|_, tally| tally.add("left out", name));
    }

    /// When answers are due, if some are.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.with(|folded, _| folded.deadline()).flatten()
    }

    /// Shows the answers that are due; with `all`, all of them, and counts them.
    pub(super) fn show(&self, all: bool) {
        self.with(|folded, tally| {
            folded.show(Instant::now(), all, &self.outlet).unwrap_or_else(|error| lost(&error));
            if all {
                print::say(&tally.line());
            }
        });
    }

    fn keep(&self, from: &Origin, side: Side, bytes: &[u8]) {
        // the code goes on: what it does may be worth more than what it says
        self.with(|folded, _| drop(folded.add(self.key(from), side, bytes)));
    }

    /// The name of its answer until that is complete.
    fn key<'a>(&self, from: &'a Origin) -> &'a str {
        if self.one { "" } else { &from.node }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Folded, &mut Tally) -> T) -> Option<T> {
        let folded = self.folded.as_ref()?;
        let (folded, tally) = &mut *folded.lock().unwrap_or_else(PoisonError::into_inner);
        Some(act(folded, tally))
    }
}

/// Exits, because answers cannot be read back.
fn lost(error: &io::Error) -> ! {
    print::error(&CommandError::new(Exit::Failed, error));
    std::process::exit(1);
}

fn json_head(from: &Origin) -> String {
    format!("{{\"node\": {}, \"host\": {}, ", json_text(&from.node), json_text(&from.host))
}
