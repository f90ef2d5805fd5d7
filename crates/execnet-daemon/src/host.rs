//! One host of the network: its spec, its state, and what its agent told, bounded and cleaned.

pub(crate) mod attempts;
pub(crate) mod bootstrap;
pub(crate) mod command;
pub(crate) mod diagnosis;
pub(crate) mod forwards;
pub(crate) mod joining;
pub(crate) mod link;

use std::time::Duration;

use execnet_proto::control::{HostState, HostStatus, NodeState, NodeStatus, Step};
use execnet_proto::id::Incarnation;
use execnet_proto::spec::{HostSpec, Transport};
use execnet_proto::switch::HostKey;
use execnet_proto::wire::Table;

use crate::event::RequestKey;
use crate::quota::Quota;
use crate::text;
use attempts::Attempts;
use diagnosis::Diagnosis;

/// The most nodes one host may have.
const MAX_NODES: usize = execnet_proto::switch::MAX_NODES;

/// Characters kept of a fact.
const FACT: usize = 256;

/// A host of the network.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) spec: HostSpec,
    /// The host in front of it. With a pool it may be another one tomorrow, and none yet.
    way: Option<Way>,
    /// Hosts with the same server share the few unfinished logins it allows.
    pub(crate) server: String,
    pub(crate) attempts: Attempts,
    pub(crate) failure: Option<Diagnosis>,
    /// How many of the last failures in a row may have been refusals.
    pub(crate) doubts: u32,
    /// The current step while it joins.
    pub(crate) step: Step,
    pub(crate) greeting: Option<Greeting>,
    pub(crate) nodes: Vec<NodeStatus>,
    pub(crate) leave: Option<Leave>,
    /// It takes no new work, and this becomes of it when it is idle.
    pub(crate) drained: Option<Then>,
    /// An agent of another version there ends with the work that it keeps.
    pub(crate) end_kept: bool,
    /// How much the log may still say about it.
    pub(crate) quota: Quota,
    /// Since when it is unreachable, if others are reached through it.
    pub(crate) away: Option<Duration>,
    /// How many attempts in a row failed by the way that it has.
    pub(crate) in_vain: u32,
}

/// The host that leads to another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) via: HostKey,
    /// Its id.
    pub(crate) id: String,
}

/// What an agent told about itself.
#[derive(Clone, Debug)]
pub(crate) struct Greeting {
    incarnation: Incarnation,
    hostname: String,
    machine: String,
    cpus: u32,
    /// Its interpreter: `CPython 3.11.2`.
    agent: String,
    agent_pid: u32,
    pub(crate) resume: bool,
    note: Option<String>,
}

/// What becomes of a drained host when it is idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    Stays,
    Removed,
}

/// A host that leaves the network.
#[derive(Debug)]
pub(crate) struct Leave {
    pub(crate) since: Duration,
    pub(crate) stage: Leaving,
    /// The request that asked for it.
    pub(crate) asked: Option<RequestKey>,
    /// Work that it keeps ends, too.
    pub(crate) end_kept: bool,
}

/// How far a leaving host has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// Its agent was not told yet: hosts behind it leave first, and it may still be connecting.
    Waiting,
    /// Its agent was told to end, and gets time to.
    Told,
    /// It has left, and nothing of ours remains there.
    Gone,
    /// It has left, but its agent could not be told, or did not end in time.
    LeftBehind,
}

impl Leave {
    /// Whether nothing more can be done about it.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.stage, Leaving::Gone | Leaving::LeftBehind)
    }
}

impl Host {
    pub(crate) fn new(spec: HostSpec, way: Option<Way>) -> Self {
        let is_behind = spec.via.is_some();
        Self {
            server: command::server(&spec),
            attempts: Attempts::new(!is_behind),
            step: if is_behind { Step::Via } else { Step::Start },
            spec,
            way,
            away: None,
            in_vain: 0,
            failure: None,
            doubts: 0,
            greeting: None,
            nodes: Vec::new(),
            leave: None,
            drained: None,
            end_kept: false,
            quota: Quota::default(),
        }
    }

    /// The host in front of it.
    pub(crate) fn via(&self) -> Option<HostKey> {
        self.way.as_ref().map(|way| way.via)
    }

    /// The host or pool in front of it, for messages.
    pub(crate) fn via_id(&self) -> Option<&str> {
        self.way.as_ref().map(|way| way.id.as_str()).or(self.spec.via.as_deref())
    }

    /// Whether there is a host in front of it.
    pub(crate) fn is_behind(&self) -> bool {
        self.spec.via.is_some()
    }

    /// From now on another host leads to it. Returns which one did.
    pub(crate) fn take(&mut self, way: Way) -> Option<Way> {
        let before = self.way.replace(way);
        self.in_vain = 0;
        self.server = command::server(&self.spec_by_way());
        before
    }

    /// Forgets the host in front of it, unless a link leads through that.
    pub(crate) fn forget_way(&mut self) {
        if self.attempts.link().is_none() {
            self.way = None;
        }
    }

    /// Its spec, with the host that leads to it in the place of a pool.
    pub(crate) fn spec_by_way(&self) -> HostSpec {
        HostSpec { via: self.via_id().map(str::to_owned), ..self.spec.clone() }
    }

    /// Whether the log may take another line about it.
    pub(crate) fn may_log(&mut self, now: Duration) -> bool {
        self.quota.take(&self.spec.id, now)
    }

    /// Whether its link is up and its round trip is not measured yet.
    pub(crate) fn is_unmeasured(&self) -> bool {
        self.attempts.link().is_some_and(|link| link.is_up() && !link.measured)
    }

    /// Its state, as users see it.
    pub(crate) fn state(&self, reachable: bool) -> HostState {
        if self.leave.is_some() { HostState::Leaving } else { self.attempts.state(reachable) }
    }

    /// Its agent has greeted.
    pub(crate) fn greeted(
        &mut self,
        incarnation: Incarnation,
        resume: bool,
        pid: u32,
        facts: &Table,
        now: Duration,
    ) {
        let cpus = fact(facts, "cpus").parse::<u32>().unwrap_or(1).clamp(1, 65_536);
        let (hostname, machine) = (fact(facts, "hostname"), fact(facts, "machine"));
        let is_new = self.greeting.as_ref().is_none_or(|before| before.incarnation != incarnation);
        if is_new {
            self.nodes.clear();
        }
        let note = note(facts, is_new);
        let agent = format!("{} {}", fact(facts, "implementation"), fact(facts, "version")).trim().to_owned();
        let agent_pid = pid;
        self.greeting =
            Some(Greeting { incarnation, hostname, machine, cpus, agent, agent_pid, resume, note });
        self.failure = None;
        self.in_vain = 0;
        // that was asked for this one time
        self.end_kept = false;
        self.attempts.greeted(now);
    }

    /// Its agent told of a node. The switch has checked the node's name and how many there are.
    pub(crate) fn node(&mut self, name: String, state: NodeState, facts: &Table) {
        let message = Some(fact(facts, "message")).filter(|message| !message.is_empty());
        let node = NodeStatus {
            name,
            host: self.spec.id.clone(),
            state,
            platform: fact(facts, "platform"),
            implementation: fact(facts, "implementation"),
            version: fact(facts, "version"),
            executable: fact(facts, "executable"),
            machine: fact(facts, "machine"),
            processes: 0,
            message,
        };
        match self.nodes.iter().position(|known| known.name == node.name) {
            Some(at) => self.nodes[at] = node,
            // on an earlier link the same agent may have had other nodes
            None if self.nodes.len() < MAX_NODES => self.nodes.push(node),
            None => {}
        }
    }

    /// What a person should know about it while it is up.
    pub(crate) fn note(&self) -> Option<String> {
        let told = self.greeting.as_ref()?.note.clone();
        let lent = self.attempts.link().and_then(|link| forwards::note(&link.forwards, &self.spec));
        let notes: Vec<String> = told.into_iter().chain(lent).collect();
        (!notes.is_empty()).then(|| notes.join("; "))
    }

    /// The interpreter of its agent, in words.
    pub(crate) fn agent(&self) -> &str {
        self.greeting.as_ref().map_or("unknown", |greeting| &greeting.agent)
    }

    /// How many processors it has, 1 if unknown.
    pub(crate) fn cpus(&self) -> u32 {
        self.greeting.as_ref().map_or(1, |greeting| greeting.cpus)
    }

    /// Everything users see of it, except what only the switch knows.
    pub(crate) fn status(&self, reachable: bool, now: Duration) -> HostStatus {
        let state = self.state(reachable);
        let failure = self.failure.as_ref().filter(|_| state != HostState::Up && state != HostState::Joining);
        let greeting = self.greeting.as_ref();
        let joining = state == HostState::Joining;
        HostStatus {
            id: self.spec.id.clone(),
            spec: self.spec.to_string(),
            via: self.via_id().map(str::to_owned),
            state,
            step: match state {
                HostState::Joining => Some(self.step),
                HostState::Failed => failure.map(|failure| failure.step),
                _ => None,
            },
            error: failure.map(|failure| failure.error.clone()),
            said: failure.map_or_else(Vec::new, |failure| failure.said.clone()),
            hint: failure.and_then(|failure| failure.hint.clone()),
            retry_in: self
                .attempts
                .retry_at()
                .filter(|_| !joining)
                .map(|at| at.saturating_sub(now).as_secs_f64()),
            hostname: greeting.map(|greeting| greeting.hostname.clone()),
            machine: greeting.map(|greeting| greeting.machine.clone()),
            cpus: greeting.map(|greeting| greeting.cpus),
            agent_pid: greeting.map(|greeting| greeting.agent_pid),
            resume: greeting.is_none_or(|greeting| greeting.resume),
            note: self.note().filter(|_| state == HostState::Up),
            drained: self.drained.is_some(),
            removing: self.drained == Some(Then::Removed),
            busy: None,
            rtt: None,
            processes: 0,
            nodes: self.nodes.clone(),
        }
    }
}

impl Host {
    /// Whether its processes run on this machine.
    pub(crate) fn is_this_machine(&self) -> bool {
        self.spec.transport == Transport::Popen && !self.is_behind()
    }
}

/// The facts that PLACED carries about a node.
pub(crate) fn facts(node: &NodeStatus) -> Table {
    let pairs = [
        ("executable", &node.executable),
        ("platform", &node.platform),
        ("implementation", &node.implementation),
        ("version", &node.version),
        ("machine", &node.machine),
    ];
    pairs.map(|(key, value)| (key.to_owned(), value.clone().into())).into()
}

/// A note about the agent: at its first greeting, that another agent had to end for it; always, why it cannot
/// outlive its link.
fn note(facts: &Table, is_new: bool) -> Option<String> {
    let replaced = Some(fact(facts, "replaced")).filter(|version| is_new && !version.is_empty());
    let replaced = replaced.map(|version| {
        format!(
            "the agent found there spoke version {version} of the protocol and had to end, with \
             everything it ran"
        )
    });
    let message = Some(fact(facts, "message")).filter(|message| !message.is_empty());
    let place = Some(fact(facts, "place")).filter(|place| !place.is_empty());
    let place = place.map(|place| format!("its agent's socket is in {place}"));
    let notes: Vec<String> = replaced.into_iter().chain(message).chain(place).collect();
    (!notes.is_empty()).then(|| notes.join("; "))
}

fn fact(facts: &Table, key: &str) -> String {
    let value = facts.iter().find(|(name, _)| name == key);
    value.map_or_else(String::new, |(_, value)| text::clean(&String::from_utf8_lossy(value), FACT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(spec: &str) -> Host {
        Host::new(spec.parse().unwrap(), None)
    }

    fn table(pairs: &[(&str, &str)]) -> Table {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), value.to_string().into())).collect()
    }

    #[test]
    fn what_an_agent_says_of_its_nodes_is_cleaned_and_has_an_end() {
        let mut host = host("ssh=h");
        host.node("h".into(), NodeState::Ready, &table(&[("version", "3.1\x1b[31m1\n")]));
        assert_eq!((host.nodes.len(), host.nodes[0].version.as_str()), (1, "3.11 "));
        for n in 0..100 {
            host.node(format!("h:{n}"), NodeState::Ready, &Table::new());
        }
        assert_eq!(host.nodes.len(), MAX_NODES);
        host.node("h:62".into(), NodeState::Failed, &Table::new());
        assert_eq!(host.nodes[MAX_NODES - 1].state, NodeState::Failed);
    }

    #[test]
    fn what_an_agent_says_of_itself_is_told_and_of_another_one_once() {
        let mut host = host("ssh=h");
        let mut greet = |number: u8, pairs: &[(&str, &str)]| {
            host.greeted(Incarnation([number; 16]), true, 1, &table(pairs), Duration::ZERO);
            host.status(true, Duration::ZERO).note.unwrap_or_default()
        };
        let replaced = [("replaced", "2")];
        assert!(greet(1, &replaced).starts_with("the agent found there spoke version 2 of the protocol"));
        assert_eq!(greet(1, &replaced), "", "the same agent on another link");
        assert!(!greet(2, &replaced).is_empty());
        assert_eq!(greet(3, &[("message", "no \x1b[1mroom")]), "no room");
        assert_eq!(greet(3, &[("message", "no room")]), "no room");
        assert_eq!(greet(4, &[]), "");
        let place = greet(4, &[("place", "/run/user/7/execnet: /tmp/execnet-7 belongs to another user")]);
        assert!(place.starts_with("its agent's socket is in /run/user/7/execnet: "), "{place}");
    }

    #[test]
    fn forged_facts_are_bounded() {
        let mut host = host("ssh=h");
        let mut greet = |pairs: &[(&str, &str)]| {
            host.greeted(Incarnation([0; 16]), true, 1, &table(pairs), Duration::ZERO);
            host.status(true, Duration::ZERO)
        };
        let status = greet(&[("cpus", "4000000000"), ("hostname", &"x".repeat(60_000))]);
        assert_eq!((status.cpus, status.hostname.map(|name| name.len())), (Some(65_536), Some(FACT)));
        assert_eq!(greet(&[("cpus", "-1")]).cpus, Some(1));
    }
}
