//! Abilities that not every release and not every interpreter has (docs/protocol.md, 2.4).
//!
//! Each end of a connection names its own in its greeting. What only an end with a feature understands is
//! never said to one that did not name it, so that releases of one protocol version work together.

use std::fmt;

use bytes::Bytes;

use crate::wire::Table;

/// The key of a greeting's table, and of a SELECT's for what its process needs.
pub const FEATURES: &str = "features";

/// An ability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// An agent can give a process a pseudo-terminal.
    Terminal,
    /// An agent tells what its processes use, and ends one that another client owns.
    Look,
    /// An agent keeps work that its client leaves; a daemon passes on what is said of it.
    Keep,
    /// An agent lets programs enter work that it keeps.
    Enter,
    /// An agent gives processes that it starts ahead what their stdin begins with; a daemon passes on that
    /// they have it.
    Prefix,
}

impl Feature {
    /// Every feature that this release knows.
    pub const ALL: [Self; 5] = [Self::Terminal, Self::Look, Self::Keep, Self::Enter, Self::Prefix];

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Terminal => "terminal",
            Self::Look => "look",
            Self::Keep => "keep",
            Self::Enter => "enter",
            Self::Prefix => "prefix",
        }
    }

    /// What a host with it can do, as the rest of a sentence.
    pub fn ability(self) -> &'static str {
        match self {
            Self::Terminal => "give a process a terminal",
            Self::Look => "tell what its processes use",
            Self::Keep => "keep work that its program leaves",
            Self::Enter => "let programs enter work that it keeps",
            Self::Prefix => "start interpreters ahead that are ready",
        }
    }

    fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// A set of features.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Features(u32);

impl Features {
    /// All that this release knows.
    pub fn all() -> Self {
        Feature::ALL.into_iter().collect()
    }

    /// Those that a daemon or a client has that keeps no work.
    pub fn without_keeping() -> Self {
        Self::all().without([Feature::Keep, Feature::Enter].into_iter().collect())
    }

    /// Reads words separated by spaces. Those that this release does not know are left out.
    pub fn of(words: &str) -> Self {
        let words: Vec<&str> = words.split(' ').collect();
        Feature::ALL.into_iter().filter(|feature| words.contains(&feature.name())).collect()
    }

    /// The features that a greeting names.
    pub fn named(table: &Table) -> Self {
        let words = table.iter().find(|(key, _)| key == FEATURES);
        words.map_or_else(Self::default, |(_, words)| Self::of(&String::from_utf8_lossy(words)))
    }

    /// An entry for a table that names them.
    pub fn entry(self) -> (String, Bytes) {
        (FEATURES.to_owned(), self.to_string().into())
    }

    /// Whether this is one of them.
    pub fn has(self, feature: Feature) -> bool {
        self.0 & feature.bit() != 0
    }

    /// Whether one of them has this name.
    pub fn has_named(self, name: &str) -> bool {
        self.iter().any(|feature| feature.name() == name)
    }

    /// Those of these that `others` lacks.
    #[must_use]
    pub fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Its features, one after the other.
    pub fn iter(self) -> impl Iterator<Item = Feature> {
        Feature::ALL.into_iter().filter(move |feature| self.has(*feature))
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<Feature> for Features {
    fn from_iter<I: IntoIterator<Item = Feature>>(features: I) -> Self {
        Self(features.into_iter().fold(0, |bits, feature| bits | feature.bit()))
    }
}

impl From<Feature> for Features {
    fn from(feature: Feature) -> Self {
        Self(feature.bit())
    }
}

/// The words, separated by spaces.
impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.iter().map(Feature::name).collect();
        f.write_str(&names.join(" "))
    }
}

impl fmt::Debug for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Features({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_of_later_releases_are_left_out() {
        let told = Features::of("keeps look terminals  look");
        assert_eq!(told, Feature::Look.into());
        assert_eq!(told.to_string(), "look");
        assert_eq!(Features::of(&Features::all().to_string()), Features::all());
        assert!(Features::of("").is_empty() && Features::named(&Table::new()).is_empty());
        assert_eq!(Features::named(&vec![told.entry()]), told);
        assert!(Features::of("\u{fffd} look").has_named("look") && !told.has_named("terminal"));
        assert_eq!(Features::all().without(told).to_string(), "terminal keep enter prefix");
        assert_eq!(Features::without_keeping().to_string(), "terminal look prefix");
    }
}
