//! Equal answers of many hosts, shown once: `build[1-3] (3): 6.1.0`.
//!
//! Answers are equal if stdout, stderr and end are, byte by byte. They are hashed while they come. What is
//! long goes to an unlinked file, so memory is bounded by the number of hosts.

mod answer;
mod groups;
mod spill;

use std::io::{self, Write};
use std::time::Instant;

use execnet_proto::spec::sets::fold;

pub(crate) use answer::Answer;
use answer::Text;
pub(crate) use groups::{Group, Groups};
pub(crate) use spill::Spill;

use crate::lines::{Lines, shown};

/// How an answer ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum End {
    Fine,
    /// It failed: the rest of a sentence about the host.
    Failed(String),
}

/// Answers that come, and the groups they make.
pub(crate) struct Fold {
    spill: Spill,
    groups: Groups<Answer>,
}

impl Fold {
    pub(crate) fn new() -> Self {
        Self { spill: Spill::default(), groups: Groups::new() }
    }

    /// Where answers keep what they do not hold in memory.
    pub(crate) fn spill(&mut self) -> &mut Spill {
        &mut self.spill
    }

    /// The answer of this name is complete. It was asked for at this time.
    pub(crate) fn heard(&mut self, name: String, answer: Answer, end: End, asked: Instant, now: Instant) {
        let key = answer.key(&end);
        if let Some(same) = self.groups.heard(name, key, answer, end, asked, now) {
            same.drop_from(&mut self.spill);
        }
    }

    /// When groups are due, unless more answers come.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.groups.deadline()
    }

    /// Whether groups were shown before all had answered.
    pub(crate) fn has_shown(&self) -> bool {
        self.groups.has_shown()
    }

    /// Writes the groups that are due. With `all`, no more answers are waited for.
    pub(crate) fn show(
        &mut self,
        now: Instant,
        all: bool,
        mut out: impl FnMut(&str) -> io::Result<()>,
        mut err: impl FnMut(&str) -> io::Result<()>,
    ) -> io::Result<()> {
        for group in self.groups.due(now, all) {
            let Group { names, answer, end } = group;
            let head = format!("{:#}", fold(&names));
            self.text(&head, &answer.out, &mut out)?;
            self.text(&head, &answer.err, &mut err)?;
            if let End::Failed(words) = &end {
                err(&format!("{head}: {}\n", execnet_proto::text::line(words)))?;
            }
            answer.drop_from(&mut self.spill);
        }
        Ok(())
    }

    /// A text below the names of its hosts; beside them if it is a single line.
    fn text(&self, head: &str, text: &Text, to: &mut dyn FnMut(&str) -> io::Result<()>) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let single = text.is_line();
        if !single {
            to(&format!("{head}:\n"))?;
        }
        let mut lines = Lines::default();
        let mut failed = Ok(());
        let mut ready = String::new();
        let add = |line: &[u8], ready: &mut String| {
            if single {
                ready.push_str(&format!("{head}: {}\n", shown(line)));
            } else {
                ready.push_str("  ");
                ready.push_str(&shown(line));
                ready.push('\n');
            }
        };
        text.each(&self.spill, |piece| {
            lines.push(piece, |line| add(line, &mut ready));
            if failed.is_ok() {
                failed = to(&std::mem::take(&mut ready));
            }
        })?;
        lines.end(|line| add(line, &mut ready));
        failed.and_then(|()| to(&ready))
    }

    /// Writes a text as a JSON value: a string, or its bytes in base64.
    pub(crate) fn json(&self, text: &Text, out: &mut impl Write) -> io::Result<()> {
        text.json(&self.spill, out)
    }
}
