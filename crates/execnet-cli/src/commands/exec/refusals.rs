//! Nodes to which the packages cannot be sent. What is wrong with the packages themselves is the same for all
//! nodes, and is told once.

use std::collections::{BTreeMap, BTreeSet};

use execnet::PackagesError;

use super::NodeOutcome;
use super::printer::{Origin, Printer};
use crate::commands::package_options::{PackageOptions, is_for_all};
use crate::error::CommandError;
use crate::text::one_line;

/// The nodes whose packages were refused, and why.
pub(super) struct Refusals<'a> {
    printer: &'a Printer,
    options: &'a PackageOptions,
    /// Those that were not told yet: as long as no gateway is open, it may be that none will.
    held: Vec<(Origin, CommandError)>,
    opened: bool,
    /// How many nodes there are.
    nodes: usize,
    /// The first node with each reason.
    told: BTreeMap<String, String>,
}

impl<'a> Refusals<'a> {
    pub(super) fn new(printer: &'a Printer, options: &'a PackageOptions, nodes: usize) -> Self {
        Self { printer, options, held: Vec::new(), opened: false, nodes, told: BTreeMap::new() }
    }

    /// Adds a node.
    ///
    /// # Errors
    /// If the packages can be sent to no node at all.
    pub(super) fn add(&mut self, origin: Origin, error: &PackagesError) -> Result<(), CommandError> {
        let failure = self.options.refused(error);
        if is_for_all(error) {
            return Err(failure);
        }
        self.held.push((origin, failure));
        if self.opened {
            self.tell();
        }
        Ok(())
    }

    /// A gateway is open, so refusals are about single nodes.
    pub(super) fn tell(&mut self) {
        self.opened = true;
        for (origin, failure) in self.held.drain(..) {
            let words = failure.to_string();
            let words = match self.told.get(&words) {
                Some(first) => format!("execnet: the packages cannot be sent, as those for {first}"),
                None => {
                    self.told.insert(words.clone(), one_line(&origin.node));
                    words
                }
            };
            self.printer.error(&origin, &words);
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
}
