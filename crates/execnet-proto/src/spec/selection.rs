//! Node selections: which nodes of a network match.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use super::sets::{NodeSet, SetError};

/// The conditions on a node. All that are given must hold; without any, every node matches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeSelection {
    /// A set of nodes ([`sets`](super::sets)): a node's name, a host's id for any of its nodes,
    /// `build[1-20]`.
    pub node: Option<String>,
    /// Beginning of `sys.platform` or of the implementation, ignoring case: `linux`, `java`, `pypy`.
    pub platform: Option<String>,
    /// `cpython`, `pypy` or `jython`, ignoring case.
    pub implementation: Option<String>,
    /// Bounds on the version.
    pub python_version: Option<VersionRequirement>,
}

/// The facts of a node that selections look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeInfo<'a> {
    /// `sys.platform`.
    pub platform: &'a str,
    /// `cpython`, `pypy`, `jython`.
    pub implementation: &'a str,
    /// `3.11.2`.
    pub version: &'a str,
}

/// Version bounds, all of which must hold: `>=3.8`, `>=3.8,<3.12`, `3.11`, `==3.11.2`, `!=3.9`.
///
/// Versions are compared number by number, and only as many numbers as the bound gives: `3.11` means every
/// 3.11, `<=3.11` includes all of them, and `>3.11` begins with 3.12. Without an operator, `==` is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionRequirement(Vec<(Operator, Vec<u32>)>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    Unequal,
    AtLeast,
    AtMost,
    Above,
    Below,
}

const OPERATORS: [(&str, Operator); 6] = [
    (">=", Operator::AtLeast),
    ("<=", Operator::AtMost),
    ("==", Operator::Equal),
    ("!=", Operator::Unequal),
    (">", Operator::Above),
    ("<", Operator::Below),
];

/// The reason why a selection is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// A text that is not a version with an operator.
    #[error("`{0}` is not a version of Python; write `3.11`, `==3.11.2`, `>=3.8` or `>=3.8,<3.12`")]
    Version(String),
    /// A key without a value.
    #[error("`{0}` needs a value")]
    Empty(&'static str),
    /// A key that selections do not have.
    #[error("a node cannot be selected by `{0}`")]
    UnknownKey(String),
    /// A key that is given twice.
    #[error("`{0}` is given twice")]
    Doubled(&'static str),
    /// A feature that the daemon does not know.
    #[error("this release of the network does not know `{0}`; stop it and start it again")]
    UnknownFeature(String),
    /// A host beside conditions on a node.
    #[error("a host is chosen by its id alone")]
    HostAndNode,
    /// A text that is not a set of nodes.
    #[error(transparent)]
    Set(#[from] SetError),
}

impl NodeSelection {
    /// The keys in the table of a SELECT frame.
    pub const KEYS: [&'static str; 4] = ["node", "platform", "implementation", "python-version"];

    /// Sets a condition, by a key of the SELECT table or the option of the same name.
    ///
    /// # Errors
    /// If the key is unknown or was given before, or the value is empty, not a set or not a version.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), SelectionError> {
        let Some(&key) = Self::KEYS.iter().find(|known| **known == key) else {
            return Err(SelectionError::UnknownKey(key.to_owned()));
        };
        if value.trim().is_empty() {
            return Err(SelectionError::Empty(key));
        }
        let slot = match key {
            "node" => {
                value.parse::<NodeSet>()?;
                &mut self.node
            }
            "platform" => &mut self.platform,
            "implementation" => &mut self.implementation,
            _ => {
                let before = self.python_version.replace(value.parse()?);
                return before.map_or(Ok(()), |_| Err(SelectionError::Doubled(key)));
            }
        };
        slot.replace(value.to_owned()).map_or(Ok(()), |_| Err(SelectionError::Doubled(key)))
    }

    /// Reads the table of a SELECT frame.
    ///
    /// # Errors
    /// Those of [`NodeSelection::set`].
    pub fn from_pairs<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, SelectionError> {
        let mut selection = NodeSelection::default();
        for (key, value) in pairs {
            selection.set(key, value)?;
        }
        Ok(selection)
    }

    /// The table of a SELECT frame.
    #[must_use]
    pub fn to_pairs(&self) -> Vec<(&'static str, String)> {
        let version = self.python_version.as_ref().map(ToString::to_string);
        let values = [self.node.clone(), self.platform.clone(), self.implementation.clone(), version];
        Self::KEYS.into_iter().zip(values).filter_map(|(key, value)| Some((key, value?))).collect()
    }

    /// The nodes that are named, if some are.
    ///
    /// # Errors
    /// If they are not written as a set.
    pub fn set_of_nodes(&self) -> Result<Option<NodeSet>, SetError> {
        self.node.as_deref().map(str::parse).transpose()
    }

    /// Whether the node meets all conditions except on its name. [`Universe`](super::sets::Universe) says
    /// which nodes are named.
    #[must_use]
    pub fn fits(&self, node: &NodeInfo<'_>) -> bool {
        let platform = self.platform.as_ref().is_none_or(|prefix| {
            let prefix = prefix.to_lowercase();
            [node.platform, node.implementation].iter().any(|text| text.to_lowercase().starts_with(&prefix))
        });
        let implementation =
            self.implementation.as_ref().is_none_or(|name| name.eq_ignore_ascii_case(node.implementation));
        let version = self.python_version.as_ref().is_none_or(|bounds| bounds.matches(node.version));
        platform && implementation && version
    }
}

/// `platform java, Python >=3.8`; `any node` without conditions.
impl fmt::Display for NodeSelection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |key| if key == "python-version" { "Python" } else { key };
        let wishes: Vec<String> =
            self.to_pairs().iter().map(|(key, value)| format!("{} {value}", word(*key))).collect();
        f.write_str(if wishes.is_empty() { "any node".to_owned() } else { wishes.join(", ") }.as_str())
    }
}

impl VersionRequirement {
    /// Whether `version` (`3.11.2`, `2.7.18+`, `3.15.0a1`) meets all the bounds. A text without a number
    /// meets none.
    #[must_use]
    pub fn matches(&self, version: &str) -> bool {
        let version = numbers_of(version);
        !version.is_empty() && self.0.iter().all(|(operator, bound)| holds(*operator, bound, &version))
    }
}

fn holds(operator: Operator, bound: &[u32], version: &[u32]) -> bool {
    let at = |i: usize| version.get(i).copied().unwrap_or(0);
    let order = bound.iter().enumerate().map(|(i, number)| at(i).cmp(number)).find(|order| order.is_ne());
    let order = order.unwrap_or(Ordering::Equal);
    match operator {
        Operator::Equal => order.is_eq(),
        Operator::Unequal => order.is_ne(),
        Operator::AtLeast => order.is_ge(),
        Operator::AtMost => order.is_le(),
        Operator::Above => order.is_gt(),
        Operator::Below => order.is_lt(),
    }
}

/// The numbers at the beginning: `[3, 15, 0]` of `3.15.0a1`.
fn numbers_of(version: &str) -> Vec<u32> {
    let mut numbers = Vec::new();
    for part in version.split('.') {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let Ok(number) = part[..digits].parse() else {
            break;
        };
        numbers.push(number);
        if digits < part.len() {
            break;
        }
    }
    numbers
}

impl FromStr for VersionRequirement {
    type Err = SelectionError;

    fn from_str(text: &str) -> Result<Self, SelectionError> {
        let wrong = || SelectionError::Version(text.to_owned());
        let mut bounds = Vec::new();
        for part in text.split(',').map(str::trim) {
            let found =
                OPERATORS.iter().find_map(|(sign, operator)| Some((part.strip_prefix(sign)?, *operator)));
            let (version, operator) = found.unwrap_or((part, Operator::Equal));
            let version = version.trim();
            let version = match operator {
                Operator::Equal | Operator::Unequal => version.strip_suffix(".*").unwrap_or(version),
                _ => version,
            };
            let numbers: Result<Vec<u32>, _> = version.split('.').map(number).collect();
            let numbers = numbers.map_err(|()| wrong())?;
            if numbers.len() > 3 {
                return Err(wrong());
            }
            bounds.push((operator, numbers));
        }
        Ok(VersionRequirement(bounds))
    }
}

fn number(text: &str) -> Result<u32, ()> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if plain { text.parse().map_err(|_| ()) } else { Err(()) }
}

impl fmt::Display for VersionRequirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (operator, numbers)) in self.0.iter().enumerate() {
            let sign = OPERATORS.iter().find(|(_, known)| known == operator).map_or("", |(sign, _)| sign);
            let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
            write!(f, "{}{sign}{}", if i > 0 { "," } else { "" }, numbers.join("."))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeps(requirement: &str, version: &str) -> bool {
        requirement.parse::<VersionRequirement>().unwrap().matches(version)
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        for (requirement, version) in [
            (">=3.8", "3.13.1"),
            (">=3.8,<3.12", "3.11.2"),
            ("3.11", "3.11.2"),
            ("3", "3.6.0"),
            ("==3.11.2", "3.11.2"),
            ("==3.11.*", "3.11.9"),
            ("!=3.9", "3.10.1"),
            ("<3", "2.7.18+"),
            (">= 3.15 , < 4", "3.15.0a1"),
            ("<=3.11.2", "3.11.2"),
            ("<=3.11", "3.11.2"),
            (">=3.11", "3.11.0"),
            (">3.11", "3.12.0"),
            (">3.11.1", "3.11.2"),
            ("<3.11.3", "3.11.2"),
            ("<=3", "3.13.1"),
        ] {
            assert!(keeps(requirement, version), "{requirement} {version}");
        }
        for (requirement, version) in [
            (">=3.8", "3.6.15"),
            ("3.1", "3.11.2"),
            ("3.11.0", "3.11.2"),
            ("==3.11.2", "3.11.20"),
            ("!=3.9", "3.9.18"),
            (">3.11", "3.11.2"),
            ("<3.11", "3.11.2"),
            ("<=3.11.1", "3.11.2"),
            (">3", "3.13.1"),
            (">=3.8,<3.12", "3.12.0"),
            ("3", "unknown"),
            ("3", ""),
        ] {
            assert!(!keeps(requirement, version), "{requirement} {version}");
        }
    }

    #[test]
    fn a_version_that_is_none_is_refused() {
        for text in
            ["", "3.x", "=3.8", "~=3.8", ">=", "3..1", "3.8,", "3.8.1.2", "99999999999", "+3", ">=3.*"]
        {
            let error = text.parse::<VersionRequirement>().unwrap_err();
            assert!(error.to_string().contains(&format!("`{text}`")), "{error}");
        }
    }

    const JYTHON: NodeInfo<'_> =
        NodeInfo { platform: "java17.0.13", implementation: "jython", version: "2.7.3" };

    fn selected(pairs: &[(&str, &str)]) -> bool {
        NodeSelection::from_pairs(pairs.iter().copied()).unwrap().fits(&JYTHON)
    }

    #[test]
    fn everything_asked_for_must_hold() {
        assert!(selected(&[]));
        assert!(selected(&[("platform", "java")]));
        assert!(selected(&[("platform", "Jython")]));
        assert!(selected(&[("implementation", "Jython"), ("python-version", "2.7")]));
        assert!(!selected(&[("platform", "linux")]));
        assert!(!selected(&[("implementation", "jyth")]));
        assert!(!selected(&[("platform", "java"), ("python-version", ">=3")]));
    }

    #[test]
    fn a_selection_survives_its_table() {
        let mut selection = NodeSelection::default();
        selection.set("platform", "linux").unwrap();
        selection.set("python-version", ">= 3.8, <3.12").unwrap();
        assert_eq!(selection.to_string(), "platform linux, Python >=3.8,<3.12");
        let pairs = selection.to_pairs();
        assert_eq!(
            NodeSelection::from_pairs(pairs.iter().map(|(k, v)| (*k, v.as_str()))).unwrap(),
            selection
        );
        assert_eq!(selection.set("platform", "java"), Err(SelectionError::Doubled("platform")));
        assert_eq!(selection.set("cpus", "4"), Err(SelectionError::UnknownKey("cpus".into())));
        assert_eq!(selection.set("node", " "), Err(SelectionError::Empty("node")));
        let said = selection.set("node", "build[1-").unwrap_err().to_string();
        assert!(said.starts_with("`build[1-` is not a set of nodes: "), "{said}");
        selection.set("node", "build[1-3],!build2").unwrap();
        assert!(selection.to_string().starts_with("node build[1-3],!build2, platform "));
    }
}
