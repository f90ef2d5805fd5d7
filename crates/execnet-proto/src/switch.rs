//! The heart of a daemon: forwards between clients and hosts, opens tunnels, and decides who is unreachable and who is lost.
//!
//! Pure: the driver hands in what arrived ([`Switch::client_bytes`], [`Switch::link_bytes`]), writes what
//! [`Switch::client_transmit`] and [`Switch::link_transmit`] have for each peer that [`Switch::poll_ready`] names, and acts on
//! [`SwitchEvent`]s. It starts no process and knows no clock. Ends no client's stream: queues die with their connection, state lives
//! in client and agent.

mod hosts;
mod relay;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};

use crate::conn::Conn;
use crate::frame::{Ending, Frame, MARKER, NodeState, Refusal, Table, VERSION};
use crate::id::{ClientId, Incarnation, ProcessId};
use crate::process::Process;
use crate::stream::{CreditPool, Violation};

use hosts::Host;
use relay::{Outstanding, Relay};

/// Added to `linger` before an unreachable host's processes count as lost.
const LOST_AFTER_LINGER: Duration = Duration::from_secs(30);

/// A client's connection, for as long as it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientKey(pub u64);

/// A host of the network, for as long as it is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostKey(pub u32);

/// Someone to write to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Peer {
    /// A client's socket.
    Client(ClientKey),
    /// A host's own link; hosts behind tunnels never appear.
    Host(HostKey),
}

/// What the driver has to act on.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum SwitchEvent {
    /// A client asks for a place: answer with [`Switch::place`] or [`Switch::refuse`].
    Select { client: ClientKey, id: ProcessId, wants: Table },
    /// A client's request: answer with [`Switch::reply`].
    Request { client: ClientKey, request: u32, json: Bytes },
    /// The switch has dropped this client: close its socket.
    ClientEnded { client: ClientKey, why: ClientEnd },
    /// A host's agent has greeted.
    Up { host: HostKey, incarnation: Incarnation, resume: bool, pid: u32, facts: Table },
    /// A host's agent told of a node.
    Node { host: HostKey, name: String, state: NodeState, facts: Table },
    /// A host's agent has told of all its nodes, this many.
    Nodes { host: HostKey, count: u16 },
    /// The switch has dropped this host's link: end the process that carries it, if there is one.
    LinkEnded { host: HostKey, why: LinkEnd, said: String },
    /// A way to this host's via is there again or gone: its state changed with it.
    ViaChanged { host: HostKey },
}

/// Why the switch dropped a link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum LinkEnd {
    #[error("more than 1 MiB arrived before the agent's greeting")]
    Noise,
    #[error("its agent speaks version {0} of the protocol, this program version {VERSION}")]
    OtherVersion(u16),
    #[error("the link was silent for 15 seconds")]
    Silent,
    #[error("its agent broke the protocol: {0}")]
    Violation(#[from] Violation),
    #[error("the process on {via} that leads to it {}", describe(ending))]
    TunnelEnded { via: String, ending: Ending },
    #[error("the process on {via} that leads to it was lost: {message}")]
    TunnelLost { via: String, message: String },
}

/// Why the switch dropped a client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum ClientEnd {
    #[error("not a client of this protocol")]
    Marker,
    #[error("it speaks version {0} of the protocol, this daemon version {VERSION}")]
    OtherVersion(u16),
    #[error("it broke the protocol: {0}")]
    Violation(#[from] Violation),
    #[error("it does not read its replies")]
    Clogged,
}

/// Who the daemon is, for its greeting.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The client id under which it owns its tunnels.
    pub owner: ClientId,
    /// Count of its starts.
    pub life: u32,
    /// Its process id.
    pub pid: u32,
    /// Version of its program.
    pub release: String,
    /// Name of the network.
    pub network: String,
    /// How long an agent outlives its link.
    pub linger: Duration,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Switch {
    me: Identity,
    clients: BTreeMap<ClientKey, ClientSide>,
    hosts: BTreeMap<HostKey, Host>,
    entries: HashMap<ProcessId, Entry>,
    tunnels: CreditPool,
    events: VecDeque<SwitchEvent>,
    ready: BTreeSet<Peer>,
    expected: Option<Duration>,
}

#[derive(Debug)]
struct ClientSide {
    conn: Conn,
    opening: Option<BytesMut>,
    id: Option<ClientId>,
    processes: usize,
    outstanding: Outstanding,
}

/// A process that the daemon forwards for, or must still see forgotten.
#[derive(Debug)]
struct Entry {
    owner: Owner,
    host: HostKey,
    incarnation: Incarnation,
    /// The agent may have it.
    spawned: bool,
    relay: Relay,
}

#[derive(Debug)]
enum Owner {
    Client(ClientKey),
    /// It carries the link of this host.
    Tunnel(HostKey, Box<Process>),
    /// Its client went away: it is released until the agent has forgotten it.
    Nobody,
}

/// The most processes that one client or one host may have.
pub const MAX_PROCESSES: usize = 1_000;

impl Switch {
    /// A daemon without hosts and clients.
    pub fn new(me: Identity) -> Self {
        Self {
            me,
            clients: BTreeMap::new(),
            hosts: BTreeMap::new(),
            entries: HashMap::new(),
            tunnels: CreditPool::default(),
            events: VecDeque::new(),
            ready: BTreeSet::new(),
            expected: None,
        }
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<SwitchEvent> {
        self.events.pop_front()
    }

    /// Someone for whom there may be bytes to write. Named again only when something changed.
    pub fn poll_ready(&mut self) -> Option<Peer> {
        self.ready.pop_first()
    }

    /// A client has connected.
    pub fn client_opened(&mut self, client: ClientKey, now: Duration) {
        let mut conn = Conn::socket(now);
        let mut marker = BytesMut::from(&MARKER[..]);
        marker.extend_from_slice(&VERSION.to_be_bytes());
        conn.send_first(marker.freeze());
        conn.send(Frame::Daemon {
            life: self.me.life,
            pid: self.me.pid,
            release: self.me.release.clone(),
            network: self.me.network.clone(),
        });
        let side = ClientSide {
            conn,
            opening: Some(BytesMut::new()),
            id: None,
            processes: 0,
            outstanding: Outstanding::default(),
        };
        self.clients.insert(client, side);
        self.ready.insert(Peer::Client(client));
    }

    /// Bytes arrived from a client.
    pub fn client_bytes(&mut self, client: ClientKey, bytes: &[u8], now: Duration) {
        if let Err(why) = self.client_frames(client, bytes, now) {
            self.client_closed(client);
            self.events.push_back(SwitchEvent::ClientEnded { client, why });
        }
    }

    /// A client's socket is closed: what it ran is hung up.
    pub fn client_closed(&mut self, client: ClientKey) {
        if self.clients.remove(&client).is_none() {
            return;
        }
        self.ready.remove(&Peer::Client(client));
        let theirs = |entry: &Entry| matches!(entry.owner, Owner::Client(key) if key == client);
        let ids: Vec<_> = self.entries.iter().filter(|(_, entry)| theirs(entry)).map(|(id, _)| *id).collect();
        for id in ids {
            self.release(id);
        }
    }

    /// Appends what may be written to a client now.
    pub fn client_transmit(&mut self, client: ClientKey, out: &mut BytesMut, most: usize, now: Duration) {
        if let Some(side) = self.clients.get_mut(&client) {
            side.conn.transmit(out, most, now);
        }
    }

    /// The number of connected clients.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    /// The number of processes of clients on a host, by the name of their node.
    pub fn processes(&self, host: HostKey) -> usize {
        let on_host = |entry: &&Entry| entry.host == host && matches!(entry.owner, Owner::Client(_));
        self.entries.values().filter(on_host).count()
    }

    /// Ids of the processes of clients on a host.
    pub fn process_ids(&self, host: HostKey) -> impl Iterator<Item = ProcessId> {
        let on_host = move |(_, entry): &(&ProcessId, &Entry)| {
            entry.host == host && matches!(entry.owner, Owner::Client(_))
        };
        self.entries.iter().filter(on_host).map(|(id, _)| *id)
    }

    /// Bytes of DATA that wait in all queues.
    pub fn queued(&self) -> usize {
        let clients = self.clients.values().map(|side| side.conn.queued_in_all());
        let hosts = self.hosts.values().filter_map(Host::conn).map(Conn::queued_in_all);
        clients.chain(hosts).sum()
    }

    /// Places a process on a node of a host that is up. False if the host is not up, or too much runs there.
    pub fn place(
        &mut self,
        client: ClientKey,
        id: ProcessId,
        host: HostKey,
        node: &str,
        facts: Table,
    ) -> bool {
        let Some(incarnation) = self.hosts.get(&host).and_then(Host::up) else { return false };
        if self.processes(host) >= MAX_PROCESSES {
            return false;
        }
        let Some(side) = self.clients.get_mut(&client) else { return true };
        side.processes += 1;
        let relay = Relay::default();
        let owner = Owner::Client(client);
        self.entries.insert(id, Entry { owner, host, incarnation, spawned: false, relay });
        let (host, node) = (self.hosts[&host].name.clone(), node.to_owned());
        self.to_client(client, Frame::Placed { id, incarnation, host, node, facts });
        true
    }

    /// Refuses a process a place.
    pub fn refuse(&mut self, client: ClientKey, id: ProcessId, refusal: Refusal, message: String) {
        self.to_client(client, Frame::Refused { id, refusal, message });
    }

    /// Answers a request.
    pub fn reply(&mut self, client: ClientKey, request: u32, last: bool, json: Bytes) {
        self.to_client(client, Frame::Reply { request, last, json });
        if self.clients.get(&client).is_some_and(|side| side.conn.is_clogged()) {
            self.client_closed(client);
            self.events.push_back(SwitchEvent::ClientEnded { client, why: ClientEnd::Clogged });
        }
    }

    fn client_frames(&mut self, client: ClientKey, mut bytes: &[u8], now: Duration) -> Result<(), ClientEnd> {
        let Some(side) = self.clients.get_mut(&client) else { return Ok(()) };
        if let Some(opening) = &mut side.opening {
            let missing = (MARKER.len() + 2).saturating_sub(opening.len()).min(bytes.len());
            opening.extend_from_slice(&bytes[..missing]);
            bytes = &bytes[missing..];
            let known = opening.len().min(MARKER.len());
            if opening[..known] != MARKER[..known] {
                return Err(ClientEnd::Marker);
            }
            if opening.len() < MARKER.len() + 2 {
                return Ok(());
            }
            let version = (&opening[MARKER.len()..]).get_u16();
            if version != VERSION {
                return Err(ClientEnd::OtherVersion(version));
            }
            side.opening = None;
        }
        side.conn.push(bytes, now);
        while let Some(side) = self.clients.get_mut(&client)
            && let Some(frame) = side.conn.next(now)?
        {
            self.client_frame(client, frame)?;
        }
        self.ready.insert(Peer::Client(client));
        Ok(())
    }

    fn client_frame(&mut self, client: ClientKey, frame: Frame) -> Result<(), Violation> {
        let Some(side) = self.clients.get_mut(&client) else { return Ok(()) };
        match frame {
            Frame::Client { id, .. } if side.id.is_none() => side.id = Some(id),
            _ if side.id.is_none() => return Err(Violation::Unexpected("client's first")),
            Frame::Request { request, json } => {
                self.events.push_back(SwitchEvent::Request { client, request, json });
            }
            Frame::Select { id, wants } => {
                if self.entries.contains_key(&id) {
                    return Err(Violation::ForeignProcess(id));
                }
                if side.processes >= MAX_PROCESSES {
                    let message = format!("a program may run {MAX_PROCESSES} processes at a time");
                    self.refuse(client, id, Refusal::TooMany, message);
                } else {
                    self.events.push_back(SwitchEvent::Select { client, id, wants });
                }
            }
            Frame::Claim { id, incarnation, host } => self.claim(client, id, incarnation, &host)?,
            frame => {
                let id = frame.process().ok_or(Violation::Unexpected("client's"))?;
                self.from_client(client, id, frame)?;
            }
        }
        Ok(())
    }

    /// A client that came from an earlier daemon says what it runs.
    fn claim(
        &mut self,
        client: ClientKey,
        id: ProcessId,
        incarnation: Incarnation,
        name: &str,
    ) -> Result<(), Violation> {
        if let Some(entry) = self.entries.get(&id) {
            if !matches!(entry.owner, Owner::Nobody) {
                return Err(Violation::ForeignProcess(id));
            }
            let message = "it was hung up when its client went away".into();
            self.to_client(client, Frame::Lost { id, message });
            return Ok(());
        }
        let Some((&key, host)) = self.hosts.iter().find(|(_, host)| host.name == name) else {
            let message = format!("host {name} is not in the network any more");
            self.to_client(client, Frame::Lost { id, message });
            return Ok(());
        };
        if host.incarnation().is_some_and(|known| known != incarnation) {
            let message = format!("the agent on {name} was replaced by a new one");
            self.to_client(client, Frame::Lost { id, message });
            return Ok(());
        }
        let answer = match host.reachable(&self.hosts) {
            Ok(()) => Frame::Reachable(id),
            Err(message) => Frame::Unreachable { id, message },
        };
        if let Some(side) = self.clients.get_mut(&client) {
            if side.processes >= MAX_PROCESSES {
                return Err(Violation::Unexpected("CLAIM above the bound"));
            }
            side.processes += 1;
        }
        let (owner, relay) = (Owner::Client(client), Relay::default());
        self.entries.insert(id, Entry { owner, host: key, incarnation, spawned: true, relay });
        self.to_client(client, answer);
        Ok(())
    }

    /// A frame of a process, from its client.
    fn from_client(&mut self, client: ClientKey, id: ProcessId, frame: Frame) -> Result<(), Violation> {
        let Some(entry) = self.entries.get_mut(&id) else {
            if let Frame::Spawn(_) | Frame::Resume { .. } = frame {
                let message = "the daemon does not know it any more".into();
                self.to_client(client, Frame::Lost { id, message });
            }
            return Ok(());
        };
        match entry.owner {
            Owner::Client(owner) if owner == client => {}
            // what the client said before it learned that the process is gone
            Owner::Nobody => return Ok(()),
            _ => return Err(Violation::ForeignProcess(id)),
        }
        if let Frame::Release(_) = frame {
            self.release(id);
            return Ok(());
        }
        let Some(host) = self.hosts.get_mut(&entry.host) else { return Ok(()) };
        if let Frame::Spawn(spawn) = &frame {
            if spawn.tunnel || spawn.incarnation != entry.incarnation || spawn.host != host.name {
                return Err(Violation::Unexpected("SPAWN for another place"));
            }
            if self.clients.get(&client).and_then(|side| side.id) != Some(spawn.owner) {
                return Err(Violation::Unexpected("SPAWN with another owner"));
            }
        }
        if host.up() != Some(entry.incarnation) || host.is_away() {
            return Ok(());
        }
        let Some(side) = self.clients.get_mut(&client) else { return Ok(()) };
        if entry.relay.from_client(&frame, &mut side.outstanding, &mut host.outstanding)? {
            entry.spawned |= matches!(frame, Frame::Spawn(_) | Frame::Resume { .. });
            let key = entry.host;
            self.to_host(key, frame);
        }
        Ok(())
    }

    /// The client wants nothing more of a process.
    fn release(&mut self, id: ProcessId) {
        self.shut(id);
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if let Owner::Client(client) = std::mem::replace(&mut entry.owner, Owner::Nobody)
            && let Some(side) = self.clients.get_mut(&client)
        {
            side.processes -= 1;
            side.conn.void(id);
        }
        let (key, incarnation) = (entry.host, entry.incarnation);
        if !entry.spawned {
            self.entries.remove(&id);
        } else if self.hosts.get(&key).and_then(Host::up) == Some(incarnation) {
            self.to_host(key, Frame::Release(id));
        }
    }

    /// A process is lost for its client, and is ended if its agent still has it.
    fn lose(&mut self, id: ProcessId, message: &str) {
        let Some(entry) = self.entries.get(&id) else { return };
        if let Owner::Client(client) = entry.owner {
            self.release(id);
            self.to_client(client, Frame::Lost { id, message: message.into() });
        }
    }

    /// Nothing of a process passes until its next attempt.
    fn shut(&mut self, id: ProcessId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let Some(host) = self.hosts.get_mut(&entry.host) else { return };
        let client = match entry.owner {
            Owner::Client(client) => self.clients.get_mut(&client).map(|side| &mut side.outstanding),
            _ => None,
        };
        entry.relay.shut(client, &mut host.outstanding);
        if let Some(conn) = host.conn_mut() {
            conn.void(id);
        }
    }

    fn to_client(&mut self, client: ClientKey, frame: Frame) {
        if let Some(side) = self.clients.get_mut(&client) {
            side.conn.send(frame);
            self.ready.insert(Peer::Client(client));
        }
    }

    fn to_host(&mut self, host: HostKey, frame: Frame) {
        if let Some(conn) = self.hosts.get_mut(&host).and_then(Host::conn_mut) {
            conn.send(frame);
            self.touch(host);
        }
    }

    /// There may be something to write on the link that leads to this host.
    fn touch(&mut self, mut host: HostKey) {
        while let Some(via) = self.hosts.get(&host).and_then(Host::via) {
            host = via;
        }
        self.ready.insert(Peer::Host(host));
    }
}

/// How a process ended, as the rest of a sentence.
pub fn describe(ending: &Ending) -> String {
    match ending {
        Ending::Exited(status) => format!("exited with status {status}"),
        Ending::Signaled(signal) => format!("was ended by signal {signal}"),
        Ending::NotStarted(_, message) => format!("could not be started: {message}"),
    }
}
