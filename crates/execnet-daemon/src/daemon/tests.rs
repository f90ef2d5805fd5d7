//! The daemon's decisions, without IO: hosts are scripts that speak frames, clients are state machines.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use bytes::BytesMut;
use execnet_proto::client::{Client, ClientEvent, Launch};
use execnet_proto::control::NodeState;
use execnet_proto::control::{HostStatus, Request, Verb};
use execnet_proto::id::{ClientId, Epoch, Incarnation, ProcessId};
use execnet_proto::opening::OPENING;
use execnet_proto::spec::sets::Groups;
use execnet_proto::switch::{ClientKey, HostKey, Peer};
use execnet_proto::wire::{Ending, Frame, Table};
use serde_json::Value;

use super::{Daemon, Settings};
use crate::event::{Action, Command, Event, LinkOver};
use crate::host::bootstrap::Common;

mod draining;
mod joining;
mod keeping;
mod looking;
mod patience;
mod pools;
mod requests;
mod selecting;

/// A daemon with clients and scripted hosts around it.
struct World {
    daemon: Daemon,
    now: Duration,
    clients: BTreeMap<ClientKey, Client>,
    /// Clients that read nothing.
    stopped: BTreeSet<ClientKey>,
    /// Links with a running process, and what the daemon wrote to them.
    links: BTreeMap<HostKey, BytesMut>,
    commands: HashMap<HostKey, Command>,
    events: Vec<(ClientKey, ClientEvent)>,
    /// Hosts that the network's file names no more.
    forgotten: Vec<String>,
    exited: bool,
}

impl World {
    fn new(hosts: &[&str]) -> Self {
        let settings = Settings {
            common: Common {
                network: "net".into(),
                secret: "5e".repeat(32),
                linger: Duration::from_secs(600),
                keeps: true,
            },
            life: 1,
            pid: 7,
            release: "3.0.0".into(),
            private: false,
            file: Some("/net.toml".into()),
            drained: Vec::new(),
            groups: Groups::new([("odd", "a,c"), ("gw", "g[1-9]")]).unwrap(),
            askpass: Some("/bin/execnet".into()),
            has_display: false,
            local_connects: 2,
            seed: 1,
        };
        let hosts = hosts.iter().map(|spec| spec.parse().unwrap()).collect();
        let mut world = Self {
            daemon: Daemon::new(settings, hosts, Duration::ZERO),
            now: Duration::ZERO,
            clients: BTreeMap::new(),
            stopped: BTreeSet::new(),
            links: BTreeMap::new(),
            commands: HashMap::new(),
            events: Vec::new(),
            forgotten: Vec::new(),
            exited: false,
        };
        world.settle();
        world
    }

    fn event(&mut self, event: Event<'_>) {
        self.hand(event);
        self.settle();
    }

    /// Passes an event in, in as many turns as it takes.
    fn hand(&mut self, event: Event<'_>) {
        let again = match event {
            Event::LinkBytes(host, _) => Ok(host),
            Event::ClientBytes(client, _) => Err(client),
            _ => return assert!(!self.daemon.handle(event, self.now)),
        };
        let mut more = self.daemon.handle(event, self.now);
        while more {
            let event =
                again.map_or_else(|key| Event::ClientBytes(key, &[]), |key| Event::LinkBytes(key, &[]));
            more = self.daemon.handle(event, self.now);
        }
    }

    /// Delivers everything that waits.
    fn settle(&mut self) {
        loop {
            let mut moved = false;
            for action in self.daemon.take_actions() {
                moved = true;
                match action {
                    Action::StartLink(host, command) => {
                        assert!(
                            self.links.insert(host, BytesMut::new()).is_none(),
                            "two processes for one link"
                        );
                        self.commands.insert(host, command);
                    }
                    Action::EndLink(host) => {
                        self.links.remove(&host);
                        let over = LinkOver { ending: None, stderr: String::new() };
                        self.daemon.handle(Event::LinkEnded(host, over), self.now);
                    }
                    Action::CloseClient(key) => {
                        self.clients.remove(&key);
                    }
                    Action::Forget(id) => self.forgotten.push(id),
                    Action::Exit => self.exited = true,
                }
            }
            while let Some(peer) = self.daemon.poll_ready() {
                if matches!(peer, Peer::Client(key) if self.stopped.contains(&key)) {
                    continue;
                }
                let mut out = BytesMut::new();
                self.daemon.transmit(peer, &mut out, usize::MAX, self.now);
                moved |= !out.is_empty();
                match peer {
                    Peer::Host(host) => {
                        if let Some(link) = self.links.get_mut(&host) {
                            link.extend_from_slice(&out);
                        }
                    }
                    Peer::Client(key) => {
                        if let Some(client) = self.clients.get_mut(&key) {
                            client.handle(&out, self.now).unwrap();
                        }
                    }
                }
            }
            for key in self.clients.keys().copied().collect::<Vec<_>>() {
                let client = self.clients.get_mut(&key).unwrap();
                while let Some(event) = client.poll_event() {
                    self.events.push((key, event));
                }
                let mut out = BytesMut::new();
                client.transmit(&mut out, usize::MAX, self.now);
                if !out.is_empty() {
                    moved = true;
                    self.hand(Event::ClientBytes(key, &out));
                }
            }
            if !moved {
                break;
            }
        }
    }

    fn client(&mut self) -> ClientKey {
        let key = ClientKey(self.clients.len() as u64 + 1);
        let mut client = Client::new(ClientId([key.0 as u8; 16]), "3.0.0");
        client.connected(self.now);
        self.clients.insert(key, client);
        self.event(Event::ClientOpened(key, Some(1_000 + key.0 as u32)));
        key
    }

    fn ask(&mut self, key: ClientKey, verb: Verb) -> u32 {
        self.ask_with(key, &Request::from(verb))
    }

    fn ask_with(&mut self, key: ClientKey, request: &Request) -> u32 {
        let json = serde_json::to_vec(request).unwrap();
        let number = self.clients.get_mut(&key).unwrap().request(json.into());
        self.settle();
        number
    }

    /// The replies to a request so far, and whether the last one was among them.
    fn replies(&self, request: u32, of: ClientKey) -> (Vec<Value>, bool) {
        let mut over = false;
        let mut replies = Vec::new();
        for (key, event) in &self.events {
            if let ClientEvent::Reply { request: number, last, json } = event
                && (*number, *key) == (request, of)
            {
                over |= last;
                replies.push(serde_json::from_slice(json).unwrap());
            }
        }
        (replies, over)
    }

    fn host(&self, id: &str) -> HostKey {
        self.daemon.host_named(id).unwrap()
    }

    fn status(&self, id: &str) -> HostStatus {
        self.daemon.host_status(self.host(id), self.now).unwrap()
    }

    /// The agent on a host's own link greets, with one node.
    fn greet(&mut self, id: &str) {
        let key = self.host(id);
        let epoch = Epoch::new(1, self.daemon.attaches);
        self.greet_as(key, id, epoch, id.as_bytes()[0]);
    }

    fn greet_as(&mut self, key: HostKey, id: &str, epoch: Epoch, incarnation: u8) {
        self.greet_with(key, id, epoch, incarnation, "look");
    }

    /// With these features.
    fn greet_with(&mut self, key: HostKey, id: &str, epoch: Epoch, incarnation: u8, features: &str) {
        let mut bytes = BytesMut::from(&OPENING[..]);
        let facts = |pairs: &[(&str, &str)]| -> Table {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), value.to_string().into())).collect()
        };
        let incarnation = Incarnation([incarnation; 16]);
        Frame::Hello {
            incarnation,
            epoch,
            resume: true,
            pid: 9,
            facts: facts(&[("cpus", "2"), ("features", features)]),
        }
        .encode(&mut bytes);
        let node = facts(&[("platform", "linux"), ("implementation", "cpython"), ("version", "3.11.2")]);
        Frame::Node { name: id.into(), state: NodeState::Ready, facts: node }.encode(&mut bytes);
        Frame::Nodes(1).encode(&mut bytes);
        self.event(Event::LinkBytes(key, &bytes));
    }

    /// Starts a process that was placed.
    fn starts(&mut self, client: ClientKey, id: ProcessId) {
        let launch = Launch { args: vec!["-c".into(), "pass".into()], ..Launch::default() };
        self.clients.get_mut(&client).unwrap().launch(id, launch);
        self.settle();
    }

    /// The process of a host's link ends by itself.
    fn end(&mut self, id: &str, status: u32, stderr: &str) {
        let key = self.host(id);
        self.links.remove(&key);
        let over = LinkOver { ending: Some(Ending::Exited(status)), stderr: stderr.into() };
        self.event(Event::LinkEnded(key, over));
    }

    /// Lets time pass, with every tick that falls due.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.daemon.deadline(self.now)
            && at <= end
        {
            self.now = self.now.max(at);
            self.event(Event::Tick);
            assert_ne!(self.daemon.deadline(self.now), Some(at), "a tick that changes nothing");
        }
        self.now = end;
    }

    /// Whether END was written to a host's link.
    fn was_told_to_end(&self, id: &str) -> bool {
        let written = &self.links[&self.host(id)];
        written.windows(4).any(|part| part == [0x12, 0, 0, 0])
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn select(world: &mut World, client: ClientKey, id: u8, pairs: &[(&str, &str)]) -> ProcessId {
    let id = ProcessId([id; 16]);
    let wants = pairs.iter().map(|(key, value)| ((*key).to_owned(), value.to_string().into())).collect();
    world.clients.get_mut(&client).unwrap().select(id, wants);
    world.settle();
    id
}

fn kind(replies: &[Value]) -> &str {
    replies.last().unwrap()["error"]["kind"].as_str().unwrap()
}
