//! Groups: sets with names.

use std::collections::{BTreeMap, BTreeSet};

use super::{GroupError, NodeSet};
use crate::spec::{is_name, nearest};

/// How many groups a network may have.
pub(super) const MAX_GROUPS: usize = 1_024;

/// The groups of a network. Each group that one of them names is here, and none names itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Groups {
    sets: BTreeMap<String, NodeSet>,
    /// The names, those before whose groups name them.
    order: Vec<String>,
}

impl Groups {
    /// Reads names and sets. A later one of the same name replaces the earlier.
    ///
    /// # Errors
    /// If a name or a set is none, a group names one that is not here, or groups name each other in a circle.
    pub fn new<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, GroupError> {
        let mut sets: BTreeMap<String, NodeSet> = BTreeMap::new();
        for (name, text) in pairs {
            if !is_name(name) {
                return Err(GroupError::Name(name.to_owned()));
            }
            let set = text.parse().map_err(|error| GroupError::Set { group: name.to_owned(), error })?;
            sets.insert(name.to_owned(), set);
        }
        if sets.len() > MAX_GROUPS {
            return Err(GroupError::TooMany(sets.len()));
        }
        for (name, set) in &sets {
            if let Some(unknown) = set.groups().find(|other| !sets.contains_key(*other)) {
                let near = nearest(unknown, sets.keys().map(String::as_str)).map(|near| format!("@{near}"));
                let (group, unknown) = (name.clone(), unknown.to_owned());
                return Err(GroupError::Unknown { group, unknown, near });
            }
        }
        let order = order(&sets)?;
        Ok(Self { sets, order })
    }

    /// The set of a group.
    #[must_use]
    pub fn set(&self, name: &str) -> Option<&NodeSet> {
        self.sets.get(name)
    }

    /// Their names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.sets.keys().map(String::as_str)
    }

    /// Names and sets as text.
    #[must_use]
    pub fn to_texts(&self) -> BTreeMap<String, String> {
        self.sets.iter().map(|(name, set)| (name.clone(), set.to_string())).collect()
    }

    /// The groups that a set needs, each behind those that it names itself. Names of no group are left out.
    pub(super) fn needed(&self, set: &NodeSet) -> Vec<(&str, &NodeSet)> {
        let mut needed: BTreeSet<&str> = BTreeSet::new();
        let mut open: Vec<&str> = set.groups().collect();
        while let Some(name) = open.pop() {
            let Some((name, set)) = self.sets.get_key_value(name) else { continue };
            if needed.insert(name) {
                open.extend(set.groups());
            }
        }
        let all = self.order.iter().filter(|name| needed.contains(name.as_str()));
        all.filter_map(|name| Some((name.as_str(), self.sets.get(name)?))).collect()
    }
}

/// The groups, each behind those that it names.
fn order(sets: &BTreeMap<String, NodeSet>) -> Result<Vec<String>, GroupError> {
    let mut left: BTreeMap<&str, BTreeSet<&str>> =
        sets.iter().map(|(name, set)| (name.as_str(), set.groups().collect())).collect();
    let mut named_by: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, others) in &left {
        others.iter().for_each(|other| named_by.entry(other).or_default().push(name));
    }
    let mut ready: Vec<&str> =
        left.iter().filter(|(_, others)| others.is_empty()).map(|(name, _)| *name).collect();
    let mut order = Vec::new();
    while let Some(name) = ready.pop() {
        left.remove(name);
        order.push(name.to_owned());
        for &by in named_by.get(name).into_iter().flatten() {
            if let Some(others) = left.get_mut(by)
                && others.remove(name)
                && others.is_empty()
            {
                ready.push(by);
            }
        }
    }
    // each of the others names one that is left, so this way comes back to itself
    let mut way: Vec<&str> = Vec::new();
    let mut next = left.keys().next().copied();
    while let Some(name) = next {
        if let Some(at) = way.iter().position(|known| *known == name) {
            way.push(name);
            let circle: Vec<String> = way[at..].iter().map(|name| format!("@{name}")).collect();
            return Err(GroupError::Circle(circle.join(" names ")));
        }
        way.push(name);
        next = left.get(name).and_then(|others| others.first().copied());
    }
    Ok(order)
}
