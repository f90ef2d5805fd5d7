//! Answers of many hosts or nodes, folded (`-b`): collected here, shown in groups, counted at the end.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Instant;

use execnet_proto::spec::sets::fold;

use super::outlet::Outlet;
use crate::fold::{Answer, End, Fold};
use crate::print;
use crate::progress::WaitProgress;
use crate::text::size;

/// How many hosts that are waited for are named.
const NAMED: usize = 200;

/// The longest answer that is kept, in bytes.
const LONGEST: u64 = 1 << 30;

/// Collects answers, and shows those that are equal once.
pub(super) struct Folded {
    fold: Fold,
    /// Those that have begun to answer, with the time when they were asked.
    asked: BTreeMap<String, (Answer, Instant)>,
    /// Those whose answers are not kept any more, and why.
    cut: BTreeMap<String, String>,
    longest: u64,
    progress: WaitProgress,
    /// What was last drawn.
    drawn: String,
}

/// Which stream bytes belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Out,
    Err,
}

impl Folded {
    pub(super) fn new() -> Self {
        Self {
            fold: Fold::new(),
            asked: BTreeMap::new(),
            cut: BTreeMap::new(),
            longest: LONGEST,
            progress: WaitProgress::stderr(),
            drawn: String::new(),
        }
    }

    /// An answer of this name is expected from now on.
    pub(super) fn ask(&mut self, name: &str, now: Instant) {
        self.asked.entry(name.to_owned()).or_insert_with(|| (Answer::default(), now));
    }

    /// Part of the answer of a name. Returns whose answers are not kept any more, and why: one that is too
    /// long, and the longest ones if there is no room.
    pub(super) fn add(&mut self, name: &str, side: Side, mut bytes: &[u8]) -> Vec<(String, String)> {
        let mut cut = Vec::new();
        while !self.cut.contains_key(name) {
            let (answer, _) =
                self.asked.entry(name.to_owned()).or_insert_with(|| (Answer::default(), Instant::now()));
            let (victim, why) = if answer.length() + bytes.len() as u64 > self.longest {
                (name.to_owned(), format!("its answer is longer than {}", size(self.longest)))
            } else {
                let text = match side {
                    Side::Out => &mut answer.out,
                    Side::Err => &mut answer.err,
                };
                match text.push(&mut bytes, self.fold.spill()) {
                    Ok(()) => break,
                    Err(error) => {
                        let longest = self.asked.iter().max_by_key(|(_, (answer, _))| answer.blocks());
                        let longest = longest.filter(|(_, (answer, _))| answer.blocks() > 0);
                        (longest.map_or(name, |(name, _)| name).to_owned(), error.to_string())
                    }
                }
            };
            if let Some((answer, _)) = self.asked.get_mut(&victim) {
                std::mem::take(answer).drop_from(self.fold.spill());
            }
            self.cut.insert(victim.clone(), why.clone());
            cut.push((victim, why));
        }
        cut
    }

    /// Why what a name wrote is not kept, if so.
    pub(super) fn why_cut(&self, name: &str) -> Option<&str> {
        self.cut.get(name).map(String::as_str)
    }

    /// The answer of this key is complete, and shown as that of a name, which is mostly the same.
    pub(super) fn heard(&mut self, key: &str, name: &str, end: End, now: Instant) {
        let end = match (self.cut.remove(key), end) {
            (Some(why), End::Fine) => End::Failed(why),
            (_, end) => end,
        };
        let (answer, asked) = self.asked.remove(key).unwrap_or_else(|| (Answer::default(), now));
        self.fold.heard(name.to_owned(), answer, end, asked, now);
    }

    /// Drops what a name has answered.
    pub(super) fn forget(&mut self, name: &str) {
        if let Some((answer, _)) = self.asked.remove(name) {
            answer.drop_from(self.fold.spill());
        }
    }

    /// Whether a name that has not ended wrote something.
    pub(super) fn has_begun(&self, name: &str) -> bool {
        self.asked.get(name).is_some_and(|(answer, _)| !answer.out.is_empty() || !answer.err.is_empty())
    }

    /// Writes the complete answer of a name as an object of JSON, with these fields first.
    pub(super) fn json(&mut self, name: &str, head: &str, outlet: &Outlet) -> io::Result<()> {
        let (answer, _) = self.asked.remove(name).unwrap_or_else(|| (Answer::default(), Instant::now()));
        let mut failed = Ok(());
        outlet.write(|out| {
            out.write_all(head.as_bytes())?;
            out.write_all(b", \"stdout\": ")?;
            failed = self.fold.json(&answer.out, out);
            out.write_all(b", \"stderr\": ")?;
            failed = std::mem::replace(&mut failed, Ok(())).and_then(|()| self.fold.json(&answer.err, out));
            out.write_all(b"}\n")
        });
        answer.drop_from(self.fold.spill());
        failed
    }

    /// When something is to be shown, unless more comes.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.fold.deadline()
    }

    /// Shows the groups that are due; with `all`, all of them. Then says on a terminal who is waited for.
    ///
    /// # Errors
    /// If long answers cannot be read back.
    pub(super) fn show(&mut self, now: Instant, all: bool, outlet: &Outlet) -> io::Result<()> {
        self.fold.show(
            now,
            all,
            |text| {
                outlet.write(|out| out.write_all(text.as_bytes()));
                Ok(())
            },
            |text| {
                let _ = print::above(|| io::stderr().write_all(text.as_bytes()));
                Ok(())
            },
        )?;
        self.draw(all);
        Ok(())
    }

    fn draw(&mut self, all: bool) {
        let text = match self.asked.keys() {
            asked if all || asked.len() == 0 || !self.fold.has_shown() => String::new(),
            asked => {
                let more = asked.len().saturating_sub(NAMED);
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                format!("waiting for {}{more}", fold(self.asked.keys().take(NAMED)))
            }
        };
        if self.drawn != text {
            self.progress.show(&text);
            self.drawn = text;
        }
    }
}

/// How many answered how, as the last line says: `17 ok, 2 failed: build[4,9]`.
#[derive(Debug, Default)]
pub(super) struct Tally {
    ok: usize,
    others: Vec<(&'static str, Vec<String>)>,
}

impl Tally {
    pub(super) fn ok(&mut self) {
        self.ok += 1;
    }

    /// One that is not ok, in this way.
    pub(super) fn add(&mut self, how: &'static str, name: &str) {
        let at = self.others.iter().position(|(known, _)| *known == how).unwrap_or_else(|| {
            self.others.push((how, Vec::new()));
            self.others.len() - 1
        });
        self.others[at].1.push(name.to_owned());
    }

    /// The names of those that are not ok in this way.
    pub(super) fn named(&self, how: &str) -> &[String] {
        self.others.iter().find(|(known, _)| *known == how).map_or(&[], |(_, names)| names)
    }

    pub(super) fn line(&self) -> String {
        let mut parts = vec![format!("{} ok", self.ok)];
        parts
            .extend(self.others.iter().map(|(how, names)| format!("{} {how}: {}", names.len(), fold(names))));
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_too_long_is_dropped_alone() {
        let mut folded = Folded::new();
        folded.longest = 100_000;
        let now = Instant::now();
        ["a", "b"].iter().for_each(|name| folded.ask(name, now));
        assert!(folded.add("b", Side::Out, &[b'b'; 90_000]).is_empty());
        assert!(folded.add("a", Side::Out, &[b'a'; 60_000]).is_empty());
        let why = "its answer is longer than 98 KiB".to_owned();
        assert_eq!(folded.add("a", Side::Err, &[b'a'; 60_000]), [("a".to_owned(), why.clone())]);
        assert_eq!((folded.why_cut("a"), folded.why_cut("b")), (Some(why.as_str()), None));
        assert!(folded.add("a", Side::Out, b"more").is_empty());
        assert!(!folded.has_begun("a") && folded.has_begun("b"));
        assert_eq!(folded.asked["b"].0.length(), 90_000);
        folded.heard("a", "a", End::Fine, now);
        assert_eq!(folded.why_cut("a"), None);
    }

    #[test]
    fn the_last_line_counts() {
        let mut tally = Tally::default();
        assert_eq!(tally.line(), "0 ok");
        (0..17).for_each(|_| tally.ok());
        for name in ["build9", "build4", "web"] {
            tally.add("failed", name);
        }
        tally.add("timed out", "build5");
        assert_eq!(tally.line(), "17 ok, 3 failed: build[4,9],web, 1 timed out: build5");
        assert_eq!(tally.named("timed out"), ["build5"]);
    }
}
