//! How output is shown: unchanged, in marked lines, folded, or as JSON.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Instant;

use execnet::ExitStatus;

use super::outcome::Outcome;
use crate::commands::folded::{Folded, Side, Tally};
use crate::commands::outlet::{Outlet, json_text};
use crate::fold::End;
use crate::lines::{Lines, shown};
use crate::print::say;
use crate::stdio::OwnStream;

/// See the module's documentation.
pub(super) struct Show {
    way: Way,
    outlet: Outlet,
    tally: Tally,
}

enum Way {
    /// Of a single host, byte by byte.
    Raw,
    /// With the lines that have no end yet.
    Marked(BTreeMap<(String, bool), Lines>),
    Folded(Folded),
    Json(Folded),
}

/// Ways that a person can choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Live,
    Folded,
    Json,
}

impl Show {
    /// For so many hosts.
    pub(super) fn new(wanted: Wanted, hosts: usize) -> io::Result<Self> {
        let way = match wanted {
            Wanted::Live if hosts == 1 => Way::Raw,
            Wanted::Live => Way::Marked(BTreeMap::new()),
            Wanted::Folded => Way::Folded(Folded::new()),
            Wanted::Json => Way::Json(Folded::new()),
        };
        let outlet = Outlet::new(matches!(way, Way::Marked(_)))?;
        Ok(Self { way, outlet, tally: Tally::default() })
    }

    /// A host is asked now.
    pub(super) fn ask(&mut self, host: &str) {
        if let Way::Folded(folded) | Way::Json(folded) = &mut self.way {
            folded.ask(host, Instant::now());
        }
    }

    /// Output of a host. Returns the hosts whose answers are not kept any more, and why.
    pub(super) fn output(&mut self, host: &str, side: Side, bytes: &[u8]) -> Vec<(String, String)> {
        match &mut self.way {
            Way::Raw => {
                match side {
                    Side::Out => self.outlet.write(|out| out.write_all(bytes)),
                    // as for any program, it is no error if nobody reads it
                    Side::Err => drop(OwnStream::new(&io::stderr()).and_then(|mut err| err.write_all(bytes))),
                }
                Vec::new()
            }
            Way::Marked(lines) => {
                let mark = self.outlet.mark(host);
                let mut text = String::new();
                let lines = lines.entry((host.to_owned(), side == Side::Out)).or_default();
                lines.push(bytes, |line| add(&mut text, &mark, line));
                print(&self.outlet, side, &text);
                Vec::new()
            }
            Way::Folded(folded) | Way::Json(folded) => folded.add(host, side, bytes),
        }
    }

    /// A host was started, and is over.
    ///
    /// # Errors
    /// If long answers cannot be read back.
    pub(super) fn ended(&mut self, host: &str, outcome: &Outcome) -> io::Result<()> {
        self.count(host, outcome);
        match &mut self.way {
            Way::Raw => {
                // a status says itself what happened, as with ssh
                let told = matches!(outcome, Outcome::Ended(status) if is_status(status));
                if outcome.is_failure() && !told {
                    say(&format!("execnet: {host}: {}", outcome.words()));
                }
            }
            Way::Marked(lines) => {
                let mark = self.outlet.mark(host);
                for side in [Side::Out, Side::Err] {
                    if let Some(mut lines) = lines.remove(&(host.to_owned(), side == Side::Out)) {
                        let mut text = String::new();
                        lines.end(|line| add(&mut text, &mark, line));
                        print(&self.outlet, side, &text);
                    }
                }
                if outcome.is_failure() {
                    self.outlet.words(host, &outcome.words());
                }
            }
            Way::Folded(folded) => match outcome {
                Outcome::Interrupted(_) | Outcome::NotHeard | Outcome::EndedEarly
                    if !folded.has_begun(host) =>
                {
                    folded.forget(host);
                }
                outcome => {
                    let end = if outcome.is_fine() { End::Fine } else { End::Failed(outcome.words()) };
                    folded.heard(host, host, end, Instant::now());
                }
            },
            Way::Json(folded) => folded.json(host, &json_head(host, outcome), &self.outlet)?,
        }
        Ok(())
    }

    /// A host was not started: it was left out, or its turn did not come.
    pub(super) fn not_started(&mut self, host: &str, outcome: &Outcome) -> io::Result<()> {
        self.count(host, outcome);
        match &mut self.way {
            Way::Json(folded) => folded.json(host, &json_head(host, outcome), &self.outlet),
            _ => Ok(()),
        }
    }

    /// When there is something to show, if nothing else happens.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.way {
            Way::Folded(folded) => folded.deadline(),
            _ => None,
        }
    }

    /// Shows what is due.
    ///
    /// # Errors
    /// If long answers cannot be read back.
    pub(super) fn turn(&mut self) -> io::Result<()> {
        match &mut self.way {
            Way::Folded(folded) => folded.show(Instant::now(), false, &self.outlet),
            _ => Ok(()),
        }
    }

    /// Shows all that is left, and what a person should know about hosts that did not run to their end.
    pub(super) fn end(&mut self) -> io::Result<()> {
        if let Way::Folded(folded) = &mut self.way {
            folded.show(Instant::now(), true, &self.outlet)?;
            say(&self.tally.line());
            return Ok(());
        }
        let interrupted = Outcome::Interrupted(ExitStatus::Signaled(0));
        for outcome in [interrupted, Outcome::EndedEarly, Outcome::NotHeard, Outcome::NotRun] {
            let names = self.tally.named(outcome.kind());
            if !names.is_empty() {
                say(&format!("execnet: {}: {}", outcome.kind(), execnet_proto::spec::sets::fold(names)));
            }
        }
        Ok(())
    }

    fn count(&mut self, host: &str, outcome: &Outcome) {
        match outcome.is_fine() {
            true => self.tally.ok(),
            false => self.tally.add(outcome.kind(), host),
        }
    }
}

/// Whether it ran, however it ended.
fn is_status(status: &execnet::ExitStatus) -> bool {
    !matches!(status, execnet::ExitStatus::NotStarted { .. })
}

fn add(text: &mut String, mark: &str, line: &[u8]) {
    text.push_str(mark);
    text.push_str(&shown(line));
    text.push('\n');
}

/// Prints whole lines.
fn print(outlet: &Outlet, side: Side, text: &str) {
    match side {
        _ if text.is_empty() => {}
        Side::Out => outlet.write(|out| out.write_all(text.as_bytes())),
        Side::Err => say(text.trim_end_matches('\n')),
    }
}

fn json_head(host: &str, outcome: &Outcome) -> String {
    format!("{{\"host\": {}, {}", json_text(host), outcome.json())
}
