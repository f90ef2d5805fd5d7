//! Why a text is not a set, or why a set stands for no nodes of a network.

use std::fmt;

use super::{MAX_LENGTH, MAX_NAMES, MAX_TEXT};
use crate::text::line;

/// How much of a text is quoted, in characters.
const QUOTED: usize = 60;

/// The reason why a text is not a set of nodes. The message says where, and what may be meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetError {
    /// The text, as far as it is quoted.
    text: String,
    /// Where: what begins there, as far as it is quoted. Empty for the end.
    from: String,
    wrong: Wrong,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wrong {
    Nothing,
    TooLong,
    TooMany(u64),
    LongName,
    LongNumber,
    /// No name between these two operators.
    Missing(Option<char>, Option<char>),
    NoComma,
    Character(char),
    Wildcard,
    Group,
    Source,
    NotOpen,
    NotClosed,
    EmptyRange,
    NotARange(String),
    Backwards(String),
    Padding(String),
    NoStep(String),
    StepOfOne(String),
    NeedsNetwork,
}

impl SetError {
    pub(super) fn new(text: &str, at: usize, wrong: Wrong) -> Self {
        SetError { text: quoted(text.trim()), from: quoted(text[at..].trim_end()), wrong }
    }

    pub(super) fn needs_network(text: &str) -> Self {
        Self::new(text, 0, Wrong::NeedsNetwork)
    }
}

/// The beginning of a text, safe to show.
fn quoted(text: &str) -> String {
    let short: String = text.chars().take(QUOTED).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    format!("{}{more}", line(&short))
}

impl fmt::Display for SetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text, from, wrong } = self;
        match wrong {
            Wrong::Nothing => return f.write_str("a set of nodes is empty; write `build[1-3,7]` or `@web`"),
            Wrong::NeedsNetwork => {
                return write!(f, "`{text}` has a group or means all but some; only a network knows these");
            }
            _ => {}
        }
        write!(f, "`{text}` is not a set of nodes: ")?;
        match wrong {
            Wrong::TooLong => write!(f, "it is longer than {MAX_TEXT} bytes"),
            Wrong::TooMany(count) => {
                write!(f, "with `{from}` it stands for {count} names; at most {MAX_NAMES} are allowed")
            }
            Wrong::LongName => {
                write!(f, "the names of `{from}` are too long; at most {MAX_LENGTH} characters are allowed")
            }
            Wrong::LongNumber => write!(f, "the number at `{from}` has more than 18 digits"),
            Wrong::Missing(before, after) => {
                f.write_str("a name is missing ")?;
                match (before, after) {
                    (None, Some(after)) => write!(f, "before the first `{after}`")?,
                    (Some(before), None) => write!(f, "behind the last `{before}`")?,
                    (Some(before), Some(after)) => write!(f, "between `{before}` and `{from}`{}", {
                        if *before == ',' && *after == '!' { " " } else { "" }
                    })?,
                    (None, None) => f.write_str("in it")?,
                }
                f.write_str("; `,` adds, `!` takes away, `&` keeps what is in both, `^` what is in one")
            }
            Wrong::NoComma => write!(f, "names are separated by commas, not by spaces: `,{from}`"),
            Wrong::Character(_) => write!(
                f,
                "no name has the character at `{from}`; names consist of letters, digits and `._+-:`"
            ),
            Wrong::Wildcard => {
                write!(
                    f,
                    "there are no wildcards (`{from}`); write a range, `build[1-20]`, or a group, `@web`"
                )
            }
            Wrong::Group => write!(
                f,
                "`{from}` does not begin with the name of a group; write `@web`, with letters, digits, \
                 `.`, `_` and `-`"
            ),
            Wrong::Source => write!(
                f,
                "`{from}` names a source of groups; groups come from the network's file alone: write `@web`"
            ),
            Wrong::NotOpen => write!(f, "there is no `[` before `{from}`; write `build[1-3,7]`"),
            Wrong::NotClosed => write!(f, "the bracket at `{from}` is not closed; write `build[1-3,7]`"),
            Wrong::EmptyRange => write!(f, "a number is missing at `{from}`; write `[1-3,7]`"),
            Wrong::NotARange(range) => {
                write!(f, "`{}` is not a range of numbers; write `1-20`, `7` or `1-20/2`", quoted(range))
            }
            Wrong::Backwards(range) => write!(f, "the range `{}` ends before it begins", quoted(range)),
            Wrong::Padding(range) => write!(
                f,
                "the ends of `{}` differ in their zeros in front; write both with as many digits, `01-20`",
                quoted(range)
            ),
            Wrong::NoStep(range) => write!(f, "the step of `{}` is 0", quoted(range)),
            Wrong::StepOfOne(range) => {
                write!(f, "`{}` has a step and no end; write `1-20/2`", quoted(range))
            }
            Wrong::Nothing | Wrong::NeedsNetwork => Ok(()),
        }
    }
}

impl std::error::Error for SetError {}

/// The reason why a table of groups cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// A name that no group can have.
    #[error(
        "`{}` cannot be the name of a group; use letters, digits, `.`, `_` and `-`, beginning with a \
         letter or digit, at most 64",
        quoted(.0)
    )]
    Name(String),
    /// A group that is not a set.
    #[error("the group `{group}` cannot be read: {error}")]
    Set {
        /// Its name.
        group: String,
        /// What is wrong.
        error: SetError,
    },
    /// A group that names another one that does not exist.
    #[error("the group `{group}` names `@{unknown}`, which is not a group{}", meant(near.as_ref()))]
    Unknown {
        /// Its name.
        group: String,
        /// The name that is not known.
        unknown: String,
        /// The most similar group, with `@`.
        near: Option<String>,
    },
    /// Groups that name each other.
    #[error("groups name each other in a circle: {0}")]
    Circle(String),
    /// Too many groups.
    #[error("there are {0} groups; at most {max} are allowed", max = super::groups::MAX_GROUPS)]
    TooMany(usize),
}

/// The reason why a set stands for no nodes of a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// Names of neither hosts nor nodes.
    #[error("there is no host or node `{names}`{}", of(group.as_ref()))]
    Names {
        /// The names, as a set.
        names: String,
        /// The group that has them.
        group: Option<String>,
        /// The most similar name.
        near: Option<String>,
    },
    /// A name of no group.
    #[error("there is no group `@{name}`{}", known_groups(known))]
    Group {
        /// The name.
        name: String,
        /// The groups that there are.
        known: Vec<String>,
        /// The most similar one, with `@`.
        near: Option<String>,
    },
    /// The set has nothing in it.
    #[error("`{0}` stands for no node at all")]
    Empty(String),
}

impl Unresolved {
    /// What may be meant.
    #[must_use]
    pub fn near(&self) -> Option<&str> {
        match self {
            Unresolved::Names { near, .. } | Unresolved::Group { near, .. } => near.as_deref(),
            Unresolved::Empty(_) => None,
        }
    }
}

fn meant(near: Option<&String>) -> String {
    near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
}

fn of(group: Option<&String>) -> String {
    group.map_or_else(String::new, |group| format!(", which the group `@{group}` names"))
}

fn known_groups(known: &[String]) -> String {
    const MOST: usize = 10;
    let more = if known.len() > MOST { format!(" and {} more", known.len() - MOST) } else { String::new() };
    let listed: Vec<String> = known.iter().take(MOST).map(|name| format!("`@{name}`")).collect();
    match listed.is_empty() {
        true => "; the network has no groups: its file names them in the table `[groups]`".to_owned(),
        false => format!("; there are {}{more}", listed.join(", ")),
    }
}
