//! Processes that ask for a place.

use std::time::Duration;

use execnet_proto::control::{HostState, NodeState, NodeStatus};
use execnet_proto::feature::{Feature, Features};
use execnet_proto::id::ProcessId;
use execnet_proto::spec::sets::{Chosen, Member, NodeSet, Universe, Unresolved};
use execnet_proto::spec::{NodeSelection, Wants, nearest};
use execnet_proto::switch::{ClientKey, HostKey, MAX_PROCESSES};
use execnet_proto::wire::{Refusal, Table};

use super::Daemon;
use super::placement::{self, Candidate, Placement, Wish};
use crate::host;

/// After this long a client hears that it waits for joining hosts.
const JOINING: Duration = Duration::from_secs(5);

/// How long a process waits for an unreachable host, if that host has a node that matches.
const AWAY: Duration = Duration::from_secs(10);

/// A process that waits for a place.
#[derive(Debug)]
pub(super) struct Selecting {
    pub(super) client: ClientKey,
    pub(super) id: ProcessId,
    pub(super) wants: Wants,
    /// The nodes that are named.
    pub(super) set: Option<NodeSet>,
    /// Until when it waits for an unreachable host.
    pub(super) until: Duration,
    /// Its client knows that it waits for one.
    pub(super) told: bool,
    /// When its client hears that it waits for joining hosts.
    pub(super) tell_at: Duration,
    /// The next of these two times.
    pub(super) wake: Option<Duration>,
}

impl Daemon {
    /// A client asks for a place.
    pub(super) fn select(&mut self, client: ClientKey, id: ProcessId, wants: &Table, now: Duration) {
        if self.closing.is_some() {
            let message = format!("the network {} is stopping", self.settings.common.network);
            self.switch.refuse(client, id, Refusal::Closing, message);
            return;
        }
        let texts: Vec<(&str, &str)> = wants
            .iter()
            .map(|(key, value)| (key.as_str(), std::str::from_utf8(value).unwrap_or("\u{fffd}")))
            .collect();
        let read = Wants::from_pairs(texts).and_then(|wants| {
            let set = wants.selection.set_of_nodes()?;
            Ok((wants, set))
        });
        match read {
            Ok((wants, set)) => {
                let (until, tell_at) = (now + AWAY, now + JOINING);
                let selecting = Selecting { client, id, wants, set, until, told: false, tell_at, wake: None };
                if let Placement::Away(host) = self.placement(&selecting, Duration::MAX) {
                    self.is_needed(host);
                }
                self.selecting.push(selecting);
            }
            Err(error) => {
                let message = crate::text::clean(&error.to_string(), 500);
                self.switch.refuse(client, id, Refusal::NoMatch, message);
            }
        }
    }

    /// Places what can be placed, and refuses what no longer can be.
    pub(super) fn place_waiting(&mut self, now: Duration) {
        for mut selecting in std::mem::take(&mut self.selecting) {
            let times = [selecting.tell_at, selecting.until];
            // each time counts once: afterwards only hosts can help
            let due = selecting.wake == Some(selecting.tell_at) && selecting.tell_at <= now;
            selecting.wake = times.into_iter().filter(|at| *at > now).min();
            match self.placement(&selecting, selecting.until) {
                Placement::Place(host, node) => {
                    let name = node.map_or_else(String::new, |node| node.name.clone());
                    let mut facts = node.map_or_else(Table::new, host::facts);
                    if self.hosts[&host].is_this_machine() {
                        let free = self.hosts[&host].spec.chdir.is_none();
                        facts.push(("local".into(), if free { "1" } else { "0" }.into()));
                    }
                    if self.hosts[&host].drained.is_some() {
                        facts.push(("drained".into(), "1".into()));
                    }
                    if !self.switch.place(selecting.client, selecting.id, host, &name, facts) {
                        let id = &self.hosts[&host].spec.id;
                        let message = format!("{id} runs {MAX_PROCESSES} processes, and no more are allowed");
                        self.switch.refuse(selecting.client, selecting.id, Refusal::TooMany, message);
                    }
                    self.switch.label(selecting.id, &selecting.wants.label);
                }
                Placement::Joining => {
                    if due {
                        let why = self.why_joining(&selecting);
                        self.switch.keep_waiting(selecting.client, selecting.id, why);
                    }
                    self.selecting.push(selecting);
                }
                Placement::Away(host) if now < selecting.until => {
                    if !std::mem::replace(&mut selecting.told, true) {
                        let why = self.why_away(host);
                        self.switch.keep_waiting(selecting.client, selecting.id, why);
                    }
                    self.selecting.push(selecting);
                }
                Placement::Away(_) | Placement::Nothing => {
                    let message = self.refusal(&selecting, now);
                    self.switch.refuse(selecting.client, selecting.id, Refusal::NoMatch, message);
                }
            }
        }
    }

    /// Where a process may run, with hosts that may be reachable by `until`.
    fn placement(&self, selecting: &Selecting, until: Duration) -> Placement<'_, HostKey> {
        match self.named(selecting.set.as_ref()) {
            Ok(named) => placement::choose(
                &wish(&selecting.wants, selecting.set.as_ref(), named),
                self.candidates(until),
            ),
            Err(_) => Placement::Nothing,
        }
    }

    /// The nodes that a set means, if there is one.
    pub(super) fn named(&self, set: Option<&NodeSet>) -> Result<Option<Chosen<'_>>, Unresolved> {
        let Some(set) = set else { return Ok(None) };
        // a plain name needs no index of all hosts
        if let Some(name) = set.plain() {
            let own = Universe::new(self.members(name.split(':').next()), &self.groups);
            if let Ok(chosen) = own.choose(Some(set)) {
                return Ok(Some(chosen));
            }
        }
        Universe::new(self.members(None), &self.groups).choose(Some(set)).map(Some)
    }

    /// The hosts, or the one with this id, as sets see them.
    fn members<'a>(&'a self, only: Option<&str>) -> Vec<Member<'a>> {
        let here = |host: &&host::Host| host.leave.is_none() && only.is_none_or(|id| host.spec.id == id);
        let member = |host: &'a host::Host| Member {
            id: &host.spec.id,
            nodes: host.nodes.iter().map(|node| node.name.as_str()).collect(),
            settled: host.attempts.is_settled(),
        };
        self.hosts.values().filter(here).map(member).collect()
    }

    /// Whether a process that waits for a place names this host, or what may be a node of it.
    pub(super) fn is_named(&self, selecting: &Selecting, id: &str) -> bool {
        if selecting.wants.host.as_deref() == Some(id) {
            return true;
        }
        let by_name = selecting.set.as_ref().is_some_and(|set| !set.is_all_but());
        let named = || self.named(selecting.set.as_ref());
        by_name && named().is_ok_and(|named| named.is_some_and(|named| named.hosts().any(|host| host == id)))
    }

    /// Hosts that may be reachable by `until`.
    fn candidates(&self, until: Duration) -> impl Iterator<Item = Candidate<'_, HostKey>> {
        self.hosts.iter().filter(|(_, host)| host.leave.is_none()).map(move |(&key, host)| {
            let reachable = self.switch.is_reachable(key);
            Candidate {
                key,
                id: &host.spec.id,
                reachable,
                away: host.state(reachable) == HostState::Unreachable && self.may_come(key, until),
                joining: !host.attempts.is_settled(),
                drained: host.drained.is_some(),
                cpus: host.cpus(),
                processes: self.switch.processes(key),
                features: self.switch.features(key),
                nodes: &host.nodes,
            }
        })
    }

    /// Whether a host that was up may be reachable before `until`.
    fn may_come(&self, key: HostKey, until: Duration) -> bool {
        let Some(host) = self.hosts.get(&key).filter(|host| host.leave.is_none()) else { return false };
        match host.via().filter(|via| !self.switch.is_reachable(*via)) {
            Some(via) => self.may_come(via, until),
            None => host.attempts.may_come(until),
        }
    }

    /// Somebody waits for a host, and so for those on the way to it.
    fn is_needed(&mut self, key: HostKey) {
        let mut next = Some(key);
        while let Some(host) = next.and_then(|key| self.hosts.get_mut(&key)) {
            host.attempts.is_needed();
            next = host.via();
        }
    }

    /// What to tell a client that waits for an unreachable host.
    fn why_away(&self, key: HostKey) -> String {
        let host = &self.hosts[&key];
        let (id, failure) = (&host.spec.id, host.failure.as_ref());
        let failed = failure.map(|failure| format!("{id} is unreachable: {}", failure.error));
        let why = failed.or_else(|| self.switch.unreachable(key));
        crate::text::clean(&why.unwrap_or_else(|| format!("{id} is unreachable")), 500)
    }

    /// What to tell a client that waits for hosts that may tell of more nodes.
    fn why_joining(&self, selecting: &Selecting) -> String {
        const MOST: usize = 5;
        let wants = &selecting.wants;
        let named = self.named(selecting.set.as_ref()).ok().flatten();
        let is_meant = |id: &str| {
            wants.host.as_deref().is_none_or(|host| host == id)
                && named.as_ref().is_none_or(|named| named.hosts().any(|host| host == id))
        };
        let joining = self.hosts.iter().filter(|(_, host)| {
            host.leave.is_none() && !host.attempts.is_settled() && is_meant(&host.spec.id)
        });
        let mut told: Vec<String> = joining
            .map(|(key, host)| match host.state(self.switch.is_reachable(*key)) {
                HostState::Up => format!("{} (looking for its Pythons)", host.spec.id),
                state => format!("{} ({state}: {})", host.spec.id, host.step),
            })
            .collect();
        let more = told.len().saturating_sub(MOST);
        told.truncate(MOST);
        if more > 0 {
            told.push(format!("{more} more"));
        }
        let wanted = match &wants.host {
            Some(host) => format!("the host {host}"),
            None if wants.selection == NodeSelection::default() => "a node".to_owned(),
            None => format!("a node that matches {}", wants.selection),
        };
        crate::text::clean(&format!("waiting for {wanted}: {}", told.join(", ")), 500)
    }

    fn refusal(&self, selecting: &Selecting, now: Duration) -> String {
        let wants = &selecting.wants;
        let state = |key: &HostKey, host: &host::Host| host.state(self.switch.is_reachable(*key));
        let Wants { host, selection, needs, .. } = wants;
        if !needs.is_empty()
            && let without = (Wants { needs: Features::default(), ..wants.clone() })
            && let Ok(named) = self.named(selecting.set.as_ref())
            && let Placement::Place(key, _) =
                placement::choose(&wish(&without, selecting.set.as_ref(), named), self.candidates(now))
        {
            return self.unable(key, wants);
        }
        let named = self.named(selecting.set.as_ref());
        let only = host
            .as_deref()
            .or_else(|| only_host(selecting.set.as_ref(), named.as_ref().ok().and_then(Option::as_ref)));
        let only = only.and_then(|id| self.hosts.iter().find(|(_, host)| host.spec.id == id));
        if let Some((key, host)) = only.filter(|(key, host)| state(key, host) != HostState::Up) {
            return not_up(host, state(key, host), now);
        }
        if let Some(id) = host {
            return self.no_host(id);
        }
        let network = &self.settings.common.network;
        let (wish, unresolved) = match named {
            Ok(named) => (Some(wish(wants, selecting.set.as_ref(), named)), None),
            Err(error) => (None, Some(error)),
        };
        let would_do = |host: &&host::Host| {
            let ready = |node: &&NodeStatus| node.state == NodeState::Ready;
            let matches = |node| wish.as_ref().is_some_and(|wish| wish.matches(&host.spec.id, node));
            host.nodes.iter().filter(ready).any(matches)
        };
        let would_do: Vec<&host::Host> = self.hosts.values().filter(would_do).collect();
        let drained = |host: &&host::Host| host.drained.is_some() && host.leave.is_none();
        if wish.is_some_and(|wish| !wish.by_name) && !would_do.is_empty() && would_do.iter().all(drained) {
            let ids: Vec<&str> = would_do.iter().map(|host| host.spec.id.as_str()).collect();
            return placement::all_drained(network, &ids);
        }
        let nodes = self.hosts.iter().flat_map(|(key, host)| {
            let up = state(key, host);
            host.nodes.iter().map(move |node| {
                let state = match (up, node.state) {
                    (HostState::Up, NodeState::Failed) => {
                        format!("failed: {}", node.message.as_deref().unwrap_or("no working Python"))
                    }
                    (HostState::Up, state) => state.to_string(),
                    (state, _) => state.to_string(),
                };
                (node, if host.drained.is_some() { state + ", drained" } else { state })
            })
        });
        let without = self.hosts.iter().filter(|(_, host)| host.nodes.is_empty());
        let without = without.map(|(key, host)| (host.spec.id.as_str(), state(key, host).to_string()));
        placement::refusal(selection, unresolved.as_ref(), network, nodes, without)
    }

    /// Why a process gets no place although hosts like this one match otherwise.
    fn unable(&self, key: HostKey, wants: &Wants) -> String {
        let host = &self.hosts[&key];
        let missing = in_words(wants.needs.without(self.switch.features(key)));
        let agent = host.agent();
        let others = match &wants.host {
            None if wants.selection.node.is_none() => "; no other host that matches can",
            _ => "",
        };
        format!("the host {} cannot {missing}: its agent is {agent}{others}", host.spec.id)
    }

    /// The refusal of a host that does not exist.
    fn no_host(&self, id: &str) -> String {
        let network = &self.settings.common.network;
        let ids = || self.hosts.values().map(|host| host.spec.id.as_str());
        let meant = nearest(id, ids()).map(|near| format!("\ndid you mean `{near}`?")).unwrap_or_default();
        format!("the network {network} has no host {}{meant}", crate::text::clean(id, 100))
    }
}

fn in_words(needs: Features) -> String {
    needs.iter().map(Feature::ability).collect::<Vec<_>>().join(" and ")
}

fn wish<'a>(wants: &'a Wants, set: Option<&NodeSet>, named: Option<Chosen<'a>>) -> Wish<'a> {
    Wish { wants, named, by_name: set.is_some_and(|set| !set.is_all_but()) }
}

/// The host that is named, if it is one.
fn only_host<'a>(set: Option<&'a NodeSet>, named: Option<&Chosen<'a>>) -> Option<&'a str> {
    let set = set.filter(|set| !set.is_all_but())?;
    let mut hosts = named.into_iter().flat_map(Chosen::hosts);
    set.plain().or_else(|| hosts.next().filter(|_| hosts.next().is_none()))
}

/// Why nothing can run on a host for now, and when it is tried again. The hint has a line of its own.
fn not_up(host: &host::Host, state: HostState, now: Duration) -> String {
    let id = &host.spec.id;
    let failure = match state {
        HostState::Failed | HostState::Unreachable => host.failure.as_ref(),
        _ => None,
    };
    let is = match state {
        HostState::Failed => "has not come up".to_owned(),
        state => format!("is {state}"),
    };
    let why = failure.map_or_else(String::new, |why| format!(": {}: {}", why.step, why.error));
    let retry = match host.attempts.retry_at() {
        Some(at) => format!("; the next attempt is in {} s", at.saturating_sub(now).as_secs_f64().ceil()),
        None if host.attempts.is_connecting() => "; an attempt is under way".to_owned(),
        None => String::new(),
    };
    let hint = failure.and_then(|failure| failure.hint.as_ref());
    let hint = hint.map_or_else(String::new, |hint| format!("\n{}", crate::text::clean(hint, 1_000)));
    format!("the host {id} {is}{}{retry}{hint}", crate::text::clean(&why, 500))
}
