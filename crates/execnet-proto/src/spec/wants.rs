//! What a process asks of its place: the table of a SELECT frame.

use std::fmt;

use super::selection::{NodeSelection, SelectionError};
use crate::feature::Features;
use crate::text::line;

/// The key for a host as such, whatever nodes it has.
const HOST: &str = "host";

/// The key for the features that its agent must have.
const NEEDS: &str = "needs";

/// The key for the client's own name for the process, for people. A daemon knows it if it names the feature
/// `look`.
const LABEL: &str = "label";

/// Characters kept of a label.
const MAX_LABEL: usize = 64;

/// Conditions on the place of a process. All that are given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wants {
    /// The host with this id, for a command of its own: no node is chosen.
    pub host: Option<String>,
    /// Conditions on the node.
    pub selection: NodeSelection,
    /// Features that the host's agent must have.
    pub needs: Features,
    /// The client's own name for the process, fit for a terminal; empty without one.
    pub label: String,
}

impl Wants {
    /// Reads the table of a SELECT frame.
    ///
    /// # Errors
    /// Those of [`NodeSelection::set`]; if a host is named beside conditions on a node; if a feature is
    /// needed that this release does not know.
    pub fn from_pairs<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, SelectionError> {
        let mut wants = Self::default();
        for (key, value) in pairs {
            match key {
                HOST | NEEDS if value.trim().is_empty() => {
                    return Err(SelectionError::Empty(if key == HOST { HOST } else { NEEDS }));
                }
                HOST => {
                    let before = wants.host.replace(value.to_owned());
                    before.map_or(Ok(()), |_| Err(SelectionError::Doubled(HOST)))?;
                }
                NEEDS => {
                    wants.needs = Features::of(value);
                    if let Some(word) = value.split(' ').find(|word| !wants.needs.has_named(word)) {
                        return Err(SelectionError::UnknownFeature(word.to_owned()));
                    }
                }
                LABEL => wants.label = line(value).chars().take(MAX_LABEL).collect(),
                _ => wants.selection.set(key, value)?,
            }
        }
        if wants.host.is_some() && wants.selection != NodeSelection::default() {
            return Err(SelectionError::HostAndNode);
        }
        Ok(wants)
    }

    /// The table of a SELECT frame.
    #[must_use]
    pub fn to_pairs(&self) -> Vec<(&'static str, String)> {
        let host = self.host.iter().map(|host| (HOST, host.clone()));
        let needs = (!self.needs.is_empty()).then(|| (NEEDS, self.needs.to_string()));
        let label = (!self.label.is_empty()).then(|| (LABEL, self.label.clone()));
        host.chain(self.selection.to_pairs()).chain(needs).chain(label).collect()
    }
}

impl From<NodeSelection> for Wants {
    fn from(selection: NodeSelection) -> Self {
        Self { selection, ..Self::default() }
    }
}

/// `host build1`, or the conditions on the node; `any node` without any.
impl fmt::Display for Wants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Some(host) => write!(f, "host {host}"),
            None => self.selection.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feature::Feature;

    #[test]
    fn a_select_tells_everything_it_wants() {
        let read = |pairs: &[(&str, &str)]| Wants::from_pairs(pairs.iter().copied());
        for pairs in [
            &[][..],
            &[("host", "build1")],
            &[("host", "build1"), ("needs", "terminal")],
            &[("node", "build1"), ("platform", "java"), ("needs", "terminal look")],
            &[("node", "build1"), ("label", "gw0")],
        ] {
            let wants = read(pairs).unwrap();
            let told = wants.to_pairs();
            assert_eq!(told.iter().map(|(key, value)| (*key, value.as_str())).collect::<Vec<_>>(), pairs);
        }
        assert_eq!(read(&[("needs", "terminal")]).unwrap().needs, Feature::Terminal.into());
        assert_eq!(read(&[("label", "\x1b[2Jgw")]).unwrap().label, r"\x1b[2Jgw");
        assert_eq!(read(&[("label", &"x".repeat(1_000))]).unwrap().label.len(), MAX_LABEL);
        for (pairs, said) in [
            (&[("host", "a"), ("host", "b")][..], "`host` is given twice"),
            (&[("host", "")], "`host` needs a value"),
            (&[("needs", " ")], "`needs` needs a value"),
            (
                &[("needs", "later")],
                "this release of the network does not know `later`; stop it and start it again",
            ),
            (&[("host", "a"), ("platform", "java")], "a host is chosen by its id alone"),
            (&[("colour", "red")], "a node cannot be selected by `colour`"),
        ] {
            assert_eq!(read(pairs).unwrap_err().to_string(), said);
        }
    }
}
