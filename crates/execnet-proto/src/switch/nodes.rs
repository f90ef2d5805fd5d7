//! Which names of nodes a host may report.

use std::collections::BTreeSet;

use super::MAX_NODES;
use crate::stream::Violation;

/// The longest name of a node, in bytes.
const MAX_NODE_NAME: usize = 128;

/// The names of the nodes reported on a link.
#[derive(Debug, Default)]
pub(super) struct Nodes(BTreeSet<String>);

impl Nodes {
    /// Checks that a host with this id may have a node with this name.
    pub(super) fn check(&mut self, host: &str, name: &str) -> Result<(), Violation> {
        let own = name.strip_prefix(host).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'));
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b":._+-".contains(&byte);
        if !own || name.len() > MAX_NODE_NAME || !name.bytes().all(plain) {
            return Err(Violation::ForeignNode);
        }
        if !self.0.contains(name) {
            self.0.insert(name.to_owned());
        }
        if self.0.len() > MAX_NODES { Err(Violation::TooManyNodes) } else { Ok(()) }
    }
}
