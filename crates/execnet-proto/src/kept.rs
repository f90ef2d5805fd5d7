//! Kept work: what a program asks for, and what a host tells of it (docs/protocol.md, section 6).
//!
//! Everything that a host tells is hostile: it is bounded, and its text is made fit for a terminal, here.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;

use crate::feature::Feature;
use crate::id::ClientId;
use crate::text::line;
use crate::wire::{Ending, Table};

/// The longest name of kept work, in bytes.
const MAX_NAME: usize = 64;

/// Characters kept of a command, and of a message or note.
const MAX_TEXT: usize = 256;

/// Characters kept of the name of a program.
pub(crate) const MAX_PROGRAM: usize = 64;

/// A name of kept work: letters, digits, `.`, `_` and `-`, at most 64, of which the first is a letter or a
/// digit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeptName(String);

/// A text that cannot name kept work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` cannot name kept work (letters, digits, `.`, `_` and `-`, at most 64; first a letter or digit)",
    line(.0)
)]
pub struct KeptNameError(String);

impl KeptName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeptName {
    type Err = KeptNameError;

    fn from_str(text: &str) -> Result<Self, KeptNameError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let begins = text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
        if begins && text.len() <= MAX_NAME && text.bytes().all(plain) {
            return Ok(Self(text.to_owned()));
        }
        Err(KeptNameError(text.chars().take(MAX_TEXT).collect()))
    }
}

impl fmt::Display for KeptName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What becomes of output while nobody takes it. Sizes are bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// The process waits when its window is full.
    #[default]
    Wait,
    /// The last of it is held in memory.
    Last(u64),
    /// The last of it is held on disk.
    Spill(u64),
}

/// A text that is no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` does not say what becomes of output (`wait`, `last=BYTES` or `spill=BYTES`)", line(.0))]
pub struct PolicyError(String);

impl FromStr for Policy {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let error = || PolicyError(text.chars().take(MAX_TEXT).collect());
        match text.split_once('=') {
            None if text == "wait" => Ok(Self::Wait),
            Some(("last", bytes)) => number(bytes).map(Self::Last).map_err(|_| error()),
            Some(("spill", bytes)) => number(bytes).map(Self::Spill).map_err(|_| error()),
            _ => Err(error()),
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wait => f.write_str("wait"),
            Self::Last(bytes) => write!(f, "last={bytes}"),
            Self::Spill(bytes) => write!(f, "spill={bytes}"),
        }
    }
}

/// How a process is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Its name.
    pub name: KeptName,
    /// How long it stays while nobody holds it, in seconds.
    pub seconds: u64,
    /// What becomes of its stdout.
    pub stdout: Policy,
    /// What becomes of its stderr.
    pub stderr: Policy,
    /// It admits programs: see [`Join::Enter`]. Needs the feature `enter`.
    pub admits: bool,
}

impl Keep {
    /// The options of a SPAWN that ask for it.
    pub(crate) fn options(&self) -> Vec<(String, Bytes)> {
        let Self { name, seconds, stdout, stderr, .. } = self;
        let keep = option(Feature::Keep, format!("{name} {seconds} {stdout} {stderr}"));
        let enter = self.admits.then(|| option(Feature::Enter, String::new()));
        [keep].into_iter().chain(enter).collect()
    }

    /// Whether this text asks to keep a process.
    pub(crate) fn is_asked(text: &str) -> bool {
        let words: Vec<&str> = text.split(' ').collect();
        let [name, seconds, stdout, stderr] = words[..] else { return false };
        let policies = [stdout, stderr].iter().all(|policy| policy.parse::<Policy>().is_ok());
        name.parse::<KeptName>().is_ok() && number(seconds).is_ok() && policies
    }
}

/// How much of what was written before is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// Everything.
    All,
    /// At most so many bytes of each stream.
    Last(u64),
}

impl Replay {
    /// Nothing.
    pub const NONE: Self = Self::Last(0);

    /// The first position that is wanted, of so many bytes.
    pub(crate) fn from(self, end: u64) -> u64 {
        match self {
            Self::All => 0,
            Self::Last(bytes) => end.saturating_sub(bytes),
        }
    }
}

impl fmt::Display for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Last(bytes) => bytes.fmt(f),
        }
    }
}

/// A process that joins kept work on its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Join {
    /// Its stdin and stdout are a connection to kept work that admits programs. Only the holder enters.
    Enter(KeptName),
    /// Its stdout, stderr and end are those of the kept work. It never holds that up.
    Read(KeptName, Replay),
    /// Its stdout and stderr are what is held of those of the kept work now, and then it ends.
    ReadOnce(KeptName, Replay),
}

impl Join {
    /// The option of a SPAWN that asks for it.
    pub(crate) fn option(&self) -> (String, Bytes) {
        match self {
            Self::Enter(name) => option(Feature::Enter, name.to_string()),
            Self::Read(name, replay) => option(Feature::Keep, format!("{name} {replay}")),
            Self::ReadOnce(name, replay) => option(Feature::Keep, format!("{name} {replay} once")),
        }
    }

    /// Whether this text asks for an entry.
    pub(crate) fn is_entry(text: &str) -> bool {
        text.parse::<KeptName>().is_ok()
    }

    /// Whether this text asks to read along.
    pub(crate) fn is_reader(text: &str) -> bool {
        let text = text.strip_suffix(" once").unwrap_or(text);
        let Some((name, bytes)) = text.split_once(' ') else { return false };
        name.parse::<KeptName>().is_ok() && (bytes == "all" || number(bytes).is_ok())
    }
}

fn option(feature: Feature, value: String) -> (String, Bytes) {
    (feature.name().to_owned(), value.into())
}

/// Decimal digits and nothing else.
fn number(text: &str) -> Result<u64, ParseIntError> {
    // FromStr takes a plus sign
    if text.starts_with('+') { "".parse() } else { text.parse() }
}

/// Whoever holds kept work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The client.
    pub client: ClientId,
    /// The name of its program, fit for a terminal; empty if it gave none.
    pub program: String,
    /// Its process id on the daemon's machine; 0 if that is not known.
    pub pid: u32,
}

/// What a host told of kept work, at one moment. Text is bounded and fit for a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its name.
    pub name: KeptName,
    /// Its node; empty for a command of the host.
    pub node: String,
    /// Its command.
    pub command: String,
    /// Its process id on the host; 0 if the host does not say.
    pub pid: u32,
    /// How often somebody became its holder.
    pub tenure: u32,
    /// Whoever holds it.
    pub holder: Option<Holder>,
    /// What becomes of its stdout, as asked for.
    pub stdout: Policy,
    /// What becomes of its stderr.
    pub stderr: Policy,
    /// How long it stays while nobody holds it, in seconds.
    pub seconds: u64,
    /// How long it stays from that moment on, if nobody takes it.
    pub left: Option<Duration>,
    /// Since its start.
    pub age: Duration,
    /// How it ended, and how long before that moment.
    pub ending: Option<(Ending, Duration)>,
    /// It has a terminal.
    pub terminal: bool,
    /// It admits programs.
    pub admits: bool,
    /// Its code waits for somebody who reads.
    pub waits: bool,
    /// What may end it early, or what is wrong; empty if nothing.
    pub note: String,
}

impl Kept {
    /// Reads the table of a KEPT. What is missing or no number is as if it were not known; only a name must
    /// be there and be one.
    pub(crate) fn of(table: &Table) -> Option<Self> {
        let fact = |key: &str| {
            let value = table.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_ref());
            value.and_then(|value| std::str::from_utf8(value).ok())
        };
        let text = |key: &str| shown(fact(key).unwrap_or_default(), MAX_TEXT);
        let count = |key: &str| fact(key).and_then(|text| number(text).ok());
        let small = |key: &str| count(key).and_then(|count| u32::try_from(count).ok()).unwrap_or(0);
        let span = |key: &str| count(key).map(Duration::from_millis);
        let flag = |key: &str| fact(key) == Some("1");
        let policy = |key: &str| fact(key).and_then(|text| text.parse().ok()).unwrap_or_default();
        let holder = fact("holder").and_then(client).map(|client| Holder {
            client,
            program: shown(fact("program").unwrap_or_default(), MAX_PROGRAM),
            pid: small("program-pid"),
        });
        let ending = fact("exit").and_then(|text| {
            let (how, value) = text.split_once(' ')?;
            let value = u32::try_from(number(value).ok()?).ok()?;
            Some(match how {
                "0" => Ending::Exited(value),
                "1" => Ending::Signaled(value),
                "2" => Ending::NotStarted(value, text_of(fact("message"))),
                _ => return None,
            })
        });
        Some(Self {
            name: fact("name")?.parse().ok()?,
            node: text("node"),
            command: text("command"),
            pid: small("pid"),
            tenure: small("tenure"),
            holder,
            stdout: policy("stdout"),
            stderr: policy("stderr"),
            seconds: count("seconds").unwrap_or(0),
            left: span("left"),
            age: span("age").unwrap_or_default(),
            ending: ending.map(|ending| (ending, span("ended").unwrap_or_default())),
            terminal: flag("terminal"),
            admits: flag("enter"),
            waits: flag("waits"),
            note: text("note"),
        })
    }
}

fn text_of(text: Option<&str>) -> String {
    shown(text.unwrap_or_default(), MAX_TEXT)
}

/// The first characters of a text, fit for a terminal.
pub(crate) fn shown(text: &str, most: usize) -> String {
    let begins = text.char_indices().nth(most).map_or(text, |(at, _)| &text[..at]);
    line(begins).chars().take(most).collect()
}

fn client(hex: &str) -> Option<ClientId> {
    let mut id = [0; 16];
    if hex.len() != 32 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in id.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(ClientId(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(pairs: &[(&str, &str)]) -> Table {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), Bytes::from(value.to_string()))).collect()
    }

    #[test]
    fn names_are_those_of_hosts() {
        for name in ["train", "a", "0", "a.b_c-9", &"x".repeat(64)] {
            assert_eq!(name.parse::<KeptName>().unwrap().as_str(), name);
        }
        for name in ["", ".a", "-a", "_a", "a b", "a@b", "a/b", "é", "a\n", &"x".repeat(65)] {
            assert!(name.parse::<KeptName>().is_err(), "{name:?}");
        }
        assert!("\x1b[2J".parse::<KeptName>().unwrap_err().to_string().starts_with("`\\x1b[2J` cannot name"));
    }

    #[test]
    fn policies_are_read_as_they_are_written() {
        for policy in [Policy::Wait, Policy::Last(4_194_304), Policy::Spill(0), Policy::Last(u64::MAX)] {
            assert_eq!(policy.to_string().parse(), Ok(policy));
        }
        for text in ["", "last", "last=", "last=+1", "last=1M", "spill=-1", "Wait", "wait ", "last=1 "] {
            assert!(text.parse::<Policy>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_is_asked_for_is_said_in_options() {
        let keep = Keep {
            name: "train".parse().unwrap(),
            seconds: 60,
            stdout: Policy::Last(5),
            stderr: Policy::Wait,
            admits: true,
        };
        let expected =
            [("keep".to_owned(), "train 60 last=5 wait".into()), ("enter".to_owned(), Bytes::new())];
        assert_eq!(keep.options(), expected);
        let name: KeptName = "a".parse().unwrap();
        assert_eq!(Join::Enter(name.clone()).option(), ("enter".into(), "a".into()));
        assert_eq!(Join::Read(name.clone(), Replay::All).option(), ("keep".into(), "a all".into()));
        assert_eq!(Join::ReadOnce(name.clone(), Replay::All).option(), ("keep".into(), "a all once".into()));
        assert_eq!(Join::Read(name, Replay::NONE).option(), ("keep".into(), "a 0".into()));
        assert!(Keep::is_asked("train 60 last=5 wait") && Join::is_entry("a"));
        assert!(Join::is_reader("a all") && Join::is_reader("a 0") && Join::is_reader("a 7 once"));
        for text in ["", "a", "a 1 wait", "a 1 wait wait wait", "a -1 wait wait", "a  1 wait wait", "a all"] {
            assert!(!Keep::is_asked(text), "{text:?}");
        }
        assert!(!Join::is_entry("") && !Join::is_reader("a") && !Join::is_reader("a ALL"));
        assert!(!Join::is_reader("a once") && !Join::is_reader("a all once once"));
    }

    #[test]
    fn what_a_host_tells_is_bounded_and_cleaned() {
        let long = "\x1b]0;x\x07".repeat(1_000);
        let told = Kept::of(&table(&[
            ("name", "train"),
            ("command", &long),
            ("note", &long),
            ("holder", "20212223242526272829 2b2c2d2e2f3"),
            ("program", &long),
            ("tenure", "99999999999999999999"),
            ("left", "nan"),
            ("age", "1e9"),
            ("exit", "2 13"),
            ("message", "no\nsuch file"),
            ("ended", "1500"),
        ]));
        let told = told.unwrap();
        assert!(told.command.chars().count() == MAX_TEXT && told.command.starts_with("\\x1b]0;x\\x07"));
        assert_eq!((told.tenure, told.left, told.age, told.holder), (0, None, Duration::ZERO, None));
        let ending = Ending::NotStarted(13, "no\\nsuch file".into());
        assert_eq!(told.ending, Some((ending, Duration::from_millis(1_500))));
        assert_eq!(Kept::of(&table(&[("name", "a b")])), None);
        assert_eq!(Kept::of(&Table::new()), None);
        let told = Kept::of(&table(&[
            ("name", "a"),
            ("holder", "202122232425262728292a2b2c2d2e2f"),
            ("program", &long),
            ("program-pid", "7"),
        ]));
        let holder = told.unwrap().holder.unwrap();
        assert_eq!((holder.client.0[15], holder.pid, holder.program.chars().count()), (0x2f, 7, MAX_PROGRAM));
    }
}
