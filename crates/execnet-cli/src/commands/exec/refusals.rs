//! Nodes to which the packages cannot be sent. What is wrong with all of them in the same way is one error;
//! otherwise each node is named.

use std::collections::{BTreeMap, BTreeSet};

use super::NodeOutcome;
use super::printer::Origin;
use crate::error::CommandError;
use crate::text::one_line;

/// The nodes whose packages were refused, and why.
pub(super) struct Refusals<T> {
    /// Prints what is wrong with a node.
    print: T,
    /// How many nodes there are.
    nodes: usize,
    /// A gateway was opened.
    opened: bool,
    /// Those that were not told yet: as long as no gateway is open, it may be that none will.
    held: Vec<(Origin, CommandError)>,
    /// The first node with each reason.
    told: BTreeMap<String, String>,
}

impl<T: FnMut(&Origin, &str)> Refusals<T> {
    pub(super) fn new(nodes: usize, print: T) -> Self {
        Self { print, nodes, opened: false, held: Vec::new(), told: BTreeMap::new() }
    }

    /// A gateway is open, so refusals are about single nodes.
    pub(super) fn opened(&mut self) {
        self.opened = true;
        self.tell();
    }

    /// A node was refused.
    pub(super) fn add(&mut self, origin: Origin, failure: CommandError) {
        self.held.push((origin, failure));
        if self.opened {
            self.tell();
        }
    }

    /// What the refusals mean for the outcome.
    ///
    /// # Errors
    /// If all nodes were refused for the same reason.
    pub(super) fn end(mut self) -> Result<NodeOutcome, CommandError> {
        let reasons: BTreeSet<String> = self.held.iter().map(|(_, failure)| failure.to_string()).collect();
        if self.held.len() == self.nodes && reasons.len() == 1 {
            return self.held.pop().map_or(Ok(NodeOutcome::Fine), |(_, failure)| Err(failure));
        }
        self.tell();
        Ok(if self.told.is_empty() { NodeOutcome::Fine } else { NodeOutcome::Broken })
    }

    fn tell(&mut self) {
        for (origin, failure) in self.held.drain(..) {
            let words = failure.to_string();
            match self.told.get(&words) {
                Some(first) => {
                    let same = format!("execnet: the packages cannot be sent, as those for {first}");
                    (self.print)(&origin, &same);
                }
                None => {
                    (self.print)(&origin, &words);
                    self.told.insert(words, one_line(&origin.node));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Exit;

    /// What is printed, and the outcome, if these nodes are refused for these reasons, of which an empty one
    /// means that the node's gateway is open.
    fn outcome(nodes: usize, refused: &[(&str, &str)]) -> (String, Result<NodeOutcome, String>) {
        let mut printed = String::new();
        let mut refusals = Refusals::new(nodes, |origin: &Origin, words: &str| {
            printed += &format!("{}: {}\n", origin.node, words.trim_end());
        });
        for (node, why) in refused {
            match *why {
                "" => refusals.opened(),
                why => {
                    let origin = Origin { node: (*node).into(), host: (*node).into() };
                    refusals.add(origin, CommandError::new(Exit::Usage, why));
                }
            }
        }
        let outcome = refusals.end().map_err(|failure| failure.to_string());
        (printed, outcome)
    }

    #[test]
    fn what_is_wrong_with_all_nodes_is_one_error() {
        let all = outcome(2, &[("a", "no x"), ("b", "no x")]);
        assert_eq!(all, (String::new(), Err("Error: no x\n".into())));
        assert_eq!(outcome(0, &[]), (String::new(), Ok(NodeOutcome::Fine)));
    }

    #[test]
    fn what_is_wrong_with_some_nodes_is_told_with_their_names() {
        let different = outcome(2, &[("a", "no x"), ("b", "no y")]);
        assert_eq!(different, ("a: Error: no x\nb: Error: no y\n".into(), Ok(NodeOutcome::Broken)));
        let told = "a: Error: no x\nb: execnet: the packages cannot be sent, as those for a\n";
        for refused in [
            [("a", "no x"), ("b", "no x"), ("c", "")],
            [("c", ""), ("a", "no x"), ("b", "no x")],
            [("a", "no x"), ("c", ""), ("b", "no x")],
        ] {
            assert_eq!(outcome(3, &refused), (told.into(), Ok(NodeOutcome::Broken)), "{refused:?}");
        }
    }
}
