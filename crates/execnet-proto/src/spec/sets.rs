//! Sets of nodes: `build[1-20]`, `a,b`, `@web,!web7`.
//!
//! The grammar is that of ClusterShell's node sets. Operators are evaluated from left to right: `,` adds, `!`
//! takes away, `&` keeps what is in both, `^` what is in one of the two. A bracket has numbers and ranges,
//! with zeros in front (`n[01-10]`) and steps (`n[1-9/2]`); a name may have several. `@web` is a group. In
//! addition to ClusterShell, `!x` at the beginning or behind a comma means "without x": alone, all but x.
//!
//! [`NodeSet`] is such a text, read. [`fold`] writes names as a set. [`Universe::choose`] says which nodes of
//! a network a set stands for, or why it stands for none.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

mod error;
mod fold;
mod groups;
mod parse;
mod pattern;
mod resolve;
#[cfg(test)]
mod tests;

pub use error::{GroupError, SetError, Unresolved};
pub use fold::{Folded, fold, natural_order};
pub use groups::Groups;
use pattern::Pattern;
pub use resolve::{Chosen, Member, Universe};

/// How many names a set may stand for, counting each as often as it is given.
pub const MAX_NAMES: usize = 65_536;

/// Longest text of a set, in bytes: it fits into a SELECT frame.
pub const MAX_TEXT: usize = 32_768;

/// Longest name in a set, in bytes.
const MAX_LENGTH: usize = 256;

/// The characters that join names to a set.
pub const OPERATORS: [char; 4] = [',', '!', '&', '^'];

/// A set of nodes, as a person writes it.
#[derive(Debug, Clone)]
pub struct NodeSet {
    text: String,
    /// It begins with `!`: with all nodes.
    but: bool,
    terms: Vec<(Operator, Operand)>,
}

/// What an operand does to the set of all before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Add,
    Without,
    Both,
    Either,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Operand {
    Names(Pattern),
    Group(String),
}

impl NodeSet {
    /// The name, if the set is a single one.
    #[must_use]
    pub fn plain(&self) -> Option<&str> {
        match &self.terms[..] {
            [(Operator::Add, Operand::Names(pattern))] => pattern.plain(),
            _ => None,
        }
    }

    /// Whether it says which nodes are left out, not which are meant.
    #[must_use]
    pub fn is_all_but(&self) -> bool {
        self.but
    }

    /// The groups that it names.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.terms.iter().filter_map(|(_, operand)| match operand {
            Operand::Group(name) => Some(name.as_str()),
            Operand::Names(_) => None,
        })
    }

    /// The names it stands for, in natural order, without regard to any network.
    ///
    /// # Errors
    /// If it has groups or begins with `!`, because only a network knows these.
    pub fn names(&self) -> Result<Vec<String>, SetError> {
        if self.but || self.groups().next().is_some() {
            return Err(SetError::needs_network(&self.text));
        }
        let mut names: HashSet<String> = HashSet::new();
        for (operator, operand) in &self.terms {
            let Operand::Names(pattern) = operand else { continue };
            let mut own = HashSet::new();
            pattern.each(|name| {
                own.insert(name.to_owned());
            });
            match operator {
                Operator::Add => names.extend(own),
                Operator::Without => own.iter().for_each(|name| {
                    names.remove(name);
                }),
                Operator::Both => {
                    own.retain(|name| names.contains(name));
                    names = own;
                }
                Operator::Either => own.into_iter().for_each(|name| {
                    if !names.remove(&name) {
                        names.insert(name);
                    }
                }),
            }
        }
        let mut names: Vec<String> = names.into_iter().collect();
        natural_order(&mut names);
        Ok(names)
    }
}

impl FromStr for NodeSet {
    type Err = SetError;

    fn from_str(text: &str) -> Result<Self, SetError> {
        parse::parse(text)
    }
}

/// As it was written.
impl fmt::Display for NodeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Two sets are equal if they are written alike.
impl PartialEq for NodeSet {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for NodeSet {}
