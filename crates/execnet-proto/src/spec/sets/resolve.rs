//! Which nodes of a network a set stands for.

use std::collections::{BTreeMap, HashMap};

use super::{Groups, NodeSet, Operand, Operator, Unresolved, fold};
use crate::spec::nearest;

/// A host, as far as sets look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member<'a> {
    /// Its id.
    pub id: &'a str,
    /// The names of its known nodes. Each is the id, or begins with the id and `:`.
    pub nodes: Vec<&'a str>,
    /// Whether it has no others.
    pub settled: bool,
}

/// The hosts, nodes and groups of a network: what names in a set can mean.
///
/// A host's id means all its nodes. The name of a node means that node; it may be unknown as long as its host
/// has not told of all of them.
#[derive(Debug)]
pub struct Universe<'a> {
    hosts: Vec<Member<'a>>,
    groups: &'a Groups,
    /// Hosts by id.
    ids: HashMap<&'a str, usize>,
    /// The places of each host: of its first known node, and behind these the place of those not known.
    places: Vec<(usize, usize)>,
    /// What each place is.
    slots: Vec<Slot<'a>>,
}

/// Whether a set means what is at a place. One node of those that are not known may be meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Meant {
    No,
    Maybe,
    Yes,
}

impl Meant {
    fn or(self, other: Meant) -> Meant {
        self.max(other)
    }

    fn and(self, other: Meant) -> Meant {
        self.min(other)
    }

    fn not(self) -> Meant {
        match self {
            Meant::No => Meant::Yes,
            Meant::Maybe => Meant::Maybe,
            Meant::Yes => Meant::No,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Slot<'a> {
    host: usize,
    /// `None`: its unknown nodes.
    node: Option<&'a str>,
}

/// The nodes that a set stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen<'a> {
    /// In the order of the network.
    hosts: Vec<(&'a str, Part<'a>)>,
    at: HashMap<&'a str, usize>,
}

/// What is chosen of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Part<'a> {
    nodes: Vec<&'a str>,
    /// Also nodes that are not known yet.
    unknown: bool,
}

impl<'a> Universe<'a> {
    /// These hosts, in the order of the network, and these groups.
    pub fn new(hosts: impl IntoIterator<Item = Member<'a>>, groups: &'a Groups) -> Self {
        let hosts: Vec<Member<'a>> = hosts.into_iter().collect();
        let (mut slots, mut places) = (Vec::new(), Vec::new());
        for (host, member) in hosts.iter().enumerate() {
            let first = slots.len();
            slots.extend(member.nodes.iter().map(|node| Slot { host, node: Some(node) }));
            places.push((first, slots.len()));
            slots.push(Slot { host, node: None });
        }
        let ids = hosts.iter().enumerate().map(|(at, host)| (host.id, at)).collect();
        Universe { hosts, groups, ids, places, slots }
    }

    /// The nodes that a set stands for; without one, all.
    ///
    /// # Errors
    /// If it names a host, node or group that does not exist, or stands for nothing.
    pub fn choose(&self, set: Option<&NodeSet>) -> Result<Chosen<'a>, Unresolved> {
        let Some(set) = set else { return Ok(self.chosen(&self.all())) };
        let mut unknown = Vec::new();
        let nodes = self.meant(set, &mut unknown)?;
        if !unknown.is_empty() {
            return Err(self.unknown(&unknown));
        }
        let chosen = self.chosen(&nodes);
        if chosen.hosts.is_empty() { Err(Unresolved::Empty(set.to_string())) } else { Ok(chosen) }
    }

    /// The hosts of a set, whole or in part, in the order of the network. Names that mean nothing are passed
    /// over, and there may be no host.
    ///
    /// # Errors
    /// If it names a group that does not exist.
    pub fn hosts(&self, set: &NodeSet) -> Result<Vec<&'a str>, Unresolved> {
        let nodes = self.meant(set, &mut Vec::new())?;
        Ok(self.chosen(&nodes).hosts().collect())
    }

    /// What a set means at each place. Adds names that mean nothing.
    fn meant<'s>(
        &'s self,
        set: &'s NodeSet,
        unknown: &mut Vec<(String, Option<&'s str>)>,
    ) -> Result<Vec<Meant>, Unresolved> {
        let mut known: HashMap<&str, Vec<Meant>> = HashMap::new();
        for (name, set) in self.groups.needed(set) {
            let nodes = self.evaluate(set, Some(name), &known, unknown)?;
            known.insert(name, nodes);
        }
        self.evaluate(set, None, &known, unknown)
    }

    fn all(&self) -> Vec<Meant> {
        let is_there = |slot: &Slot<'_>| slot.node.is_some() || !self.is_known(slot.host);
        self.slots.iter().map(|slot| if is_there(slot) { Meant::Yes } else { Meant::No }).collect()
    }

    /// Whether all nodes of a host are known, and there are some.
    fn is_known(&self, host: usize) -> bool {
        self.hosts[host].settled && !self.hosts[host].nodes.is_empty()
    }

    /// What a set means at each place, with what is known of the groups. Adds names that mean nothing.
    fn evaluate<'s>(
        &self,
        set: &NodeSet,
        group: Option<&'s str>,
        known: &HashMap<&str, Vec<Meant>>,
        unknown: &mut Vec<(String, Option<&'s str>)>,
    ) -> Result<Vec<Meant>, Unresolved> {
        let none = || vec![Meant::No; self.slots.len()];
        let mut nodes = if set.but { self.all() } else { none() };
        for (operator, operand) in &set.terms {
            let named;
            let own = match operand {
                Operand::Group(name) => known.get(name.as_str()).ok_or_else(|| self.no_group(name))?,
                Operand::Names(pattern) => {
                    let mut own = none();
                    pattern.each(|name| {
                        if !self.mark(name, &mut own) {
                            unknown.push((name.to_owned(), group));
                        }
                    });
                    named = own;
                    &named
                }
            };
            for (node, own) in nodes.iter_mut().zip(own) {
                *node = match operator {
                    Operator::Add => (*node).or(*own),
                    Operator::Without => (*node).and(own.not()),
                    Operator::Both => (*node).and(*own),
                    Operator::Either => (*node).and(own.not()).or(node.not().and(*own)),
                };
            }
        }
        Ok(nodes)
    }

    /// Marks what a name means. False if it means nothing.
    fn mark(&self, name: &str, own: &mut [Meant]) -> bool {
        let id = name.split_once(':').map_or(name, |(id, _)| id);
        let Some(&host) = self.ids.get(id) else { return false };
        let (first, unknown) = self.places[host];
        let node = self.hosts[host].nodes.iter().position(|node| *node == name);
        match node {
            _ if id == name => {
                own[first..unknown].fill(Meant::Yes);
                if !self.is_known(host) {
                    own[unknown] = Meant::Yes;
                }
            }
            Some(at) => own[first + at] = Meant::Yes,
            None if self.is_known(host) => return false,
            None => own[unknown] = own[unknown].or(Meant::Maybe),
        }
        true
    }

    fn chosen(&self, nodes: &[Meant]) -> Chosen<'a> {
        let mut chosen = Chosen { hosts: Vec::new(), at: HashMap::new() };
        let meant = self.slots.iter().zip(nodes).filter(|(_, meant)| **meant != Meant::No);
        for (slot, _) in meant {
            let id = self.hosts[slot.host].id;
            if chosen.hosts.last().is_none_or(|(last, _)| *last != id) {
                chosen.at.insert(id, chosen.hosts.len());
                chosen.hosts.push((id, Part::default()));
            }
            if let Some((_, part)) = chosen.hosts.last_mut() {
                part.nodes.extend(slot.node);
                part.unknown |= slot.node.is_none();
            }
        }
        chosen
    }

    fn no_group(&self, name: &str) -> Unresolved {
        let near = nearest(name, self.groups.names()).map(|near| format!("@{near}"));
        let known = self.groups.names().map(str::to_owned).collect();
        Unresolved::Group { name: name.to_owned(), known, near }
    }

    /// The error for names that mean nothing: those of the set itself, else those of its first group.
    fn unknown(&self, unknown: &[(String, Option<&str>)]) -> Unresolved {
        let mut of: BTreeMap<Option<&str>, Vec<&str>> = BTreeMap::new();
        unknown.iter().for_each(|(name, group)| of.entry(*group).or_default().push(name));
        let (group, names) = of.into_iter().next().unwrap_or_default();
        let all = || self.hosts.iter().flat_map(|host| host.nodes.iter().copied().chain([host.id]));
        let near = match names[..] {
            [only] => nearest(only, all()).map(str::to_owned),
            _ => None,
        };
        Unresolved::Names { names: fold(names).set, group: group.map(str::to_owned), near }
    }
}

impl<'a> Chosen<'a> {
    /// The ids of the hosts that are chosen, whole or in part, in the order of the network.
    pub fn hosts(&self) -> impl Iterator<Item = &'a str> {
        self.hosts.iter().map(|(id, _)| *id)
    }

    /// Whether this known node of this host is chosen.
    #[must_use]
    pub fn has(&self, host: &str, node: &str) -> bool {
        self.part(host).is_some_and(|part| part.nodes.contains(&node))
    }

    /// Whether nodes of this host that are not known yet may be chosen.
    #[must_use]
    pub fn may_have(&self, host: &str) -> bool {
        self.part(host).is_some_and(|part| part.unknown)
    }

    fn part(&self, host: &str) -> Option<&Part<'a>> {
        self.at.get(host).map(|at| &self.hosts[*at].1)
    }
}
