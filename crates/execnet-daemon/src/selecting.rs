//! Processes that ask for a place.

use std::collections::HashSet;
use std::time::Duration;

use execnet_proto::control::{HostState, NodeState};
use execnet_proto::frame::{Refusal, Table};
use execnet_proto::id::ProcessId;
use execnet_proto::spec::NodeSelection;
use execnet_proto::switch::{ClientKey, HostKey, MAX_PROCESSES};

use crate::daemon::{Daemon, Selecting};
use crate::host;
use crate::placement::{self, Candidate, Choice};

/// So long a host that is away is waited for, if only it has a node that matches.
const AWAY: Duration = Duration::from_secs(15);

impl Daemon {
    /// A client asks for a place.
    pub(crate) fn select(&mut self, client: ClientKey, id: ProcessId, wants: &Table, now: Duration) {
        if self.closing.is_some() {
            let message = format!("the network {} is stopping", self.settings.common.network);
            self.switch.refuse(client, id, Refusal::Closing, message);
            return;
        }
        let texts: Vec<(&str, &str)> = wants
            .iter()
            .map(|(key, value)| (key.as_str(), std::str::from_utf8(value).unwrap_or("\u{fffd}")))
            .collect();
        match NodeSelection::from_pairs(texts) {
            Ok(wants) => self.selecting.push(Selecting { client, id, wants, until: now + AWAY }),
            Err(error) => {
                let message = crate::text::clean(&error.to_string(), 500);
                self.switch.refuse(client, id, Refusal::NoMatch, message);
            }
        }
    }

    /// Places what can be placed, refuses what cannot be any more.
    pub(crate) fn place_waiting(&mut self, now: Duration) {
        for selecting in std::mem::take(&mut self.selecting) {
            let choice = placement::choose(&selecting.wants, self.candidates());
            match choice {
                Choice::Node(host, node) => {
                    let (name, mut facts) = (node.name.clone(), host::facts(node));
                    if self.hosts[&host].is_this_machine() {
                        let free = self.hosts[&host].spec.chdir.is_none();
                        facts.push(("local".into(), if free { "1" } else { "0" }.into()));
                    }
                    if self.switch.place(selecting.client, selecting.id, host, &name, facts) {
                        self.note_place(selecting.id, name);
                    } else {
                        let id = &self.hosts[&host].spec.id;
                        let message = format!("{id} runs {MAX_PROCESSES} processes, more are not allowed");
                        self.switch.refuse(selecting.client, selecting.id, Refusal::TooMany, message);
                    }
                }
                Choice::Joining => self.selecting.push(selecting),
                Choice::Away if now < selecting.until => self.selecting.push(selecting),
                Choice::Away | Choice::Nothing => {
                    let message = self.refusal(&selecting.wants);
                    self.switch.refuse(selecting.client, selecting.id, Refusal::NoMatch, message);
                }
            }
        }
    }

    fn candidates(&self) -> impl Iterator<Item = Candidate<'_, HostKey>> {
        self.hosts.iter().filter(|(_, host)| host.leave.is_none()).map(|(&key, host)| {
            let reachable = self.switch.is_reachable(key);
            Candidate {
                key,
                reachable,
                joining: !host.machine.is_settled(),
                cpus: host.cpus(),
                processes: self.switch.processes(key),
                nodes: &host.nodes,
            }
        })
    }

    fn refusal(&self, wants: &NodeSelection) -> String {
        let state = |key: &HostKey, host: &host::Host| host.state(self.switch.is_reachable(*key));
        let named =
            wants.node.as_ref().and_then(|name| self.hosts.iter().find(|(_, host)| host.spec.id == *name));
        if let Some((key, host)) = named.filter(|(key, host)| state(key, host) != HostState::Up) {
            let why = host.failure.as_ref().map(|why| format!(": {}: {}", why.step, why.error));
            let (id, state) = (&host.spec.id, state(key, host));
            return crate::text::clean(&format!("the host {id} is {state}{}", why.unwrap_or_default()), 500);
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
                (node, state)
            })
        });
        let without = self.hosts.iter().filter(|(_, host)| host.nodes.is_empty());
        let without = without.map(|(key, host)| (host.spec.id.as_str(), state(key, host).to_string()));
        placement::refusal(wants, &self.settings.common.network, nodes, without)
    }

    fn note_place(&mut self, id: ProcessId, node: String) {
        const SWEEP: usize = 4 * MAX_PROCESSES;
        if self.placed.len() >= SWEEP {
            let live: HashSet<ProcessId> =
                self.hosts.keys().flat_map(|key| self.switch.process_ids(*key)).collect();
            self.placed.retain(|id, _| live.contains(id));
        }
        self.placed.insert(id, node);
    }
}
