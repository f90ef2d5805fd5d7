//! The heart of a daemon: forwards between clients and hosts, opens tunnels, and decides which hosts are
//! unreachable and which processes are lost.
//!
//! The driver passes in the bytes that arrived ([`Switch::client_bytes`], [`Switch::link_bytes`]), writes the
//! bytes of [`Switch::client_transmit`] and [`Switch::link_transmit`] for each peer that
//! [`Switch::poll_ready`] names, and acts on [`SwitchEvent`]s. The switch starts no process and knows no
//! clock. It ends no client's stream: queues die with their connection, and client and agent hold the state.

mod agents;
mod clients;
mod due;
mod hosts;
mod kept;
mod looking;
mod nodes;
mod noise;
mod relay;
mod replaced;
mod short;
mod taking;
mod tunnels;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use crate::allowance::Turn;
use crate::conn::Conn;
use crate::control::NodeState;
use crate::feature::Features;
use crate::id::{ClientId, Incarnation, ProcessId};
use crate::opening::{OpeningError, VERSION};
use crate::process::Process;
use crate::stream::{CreditPool, Violation};
use crate::wire::{Ending, Frame, Table, Usage};

use clients::ClientSide;
use hosts::HostSide;
pub use kept::{GoneWork, KeptWork};
use looking::Kill;
pub use looking::Running;
use relay::Relay;
pub use short::Short;
use taking::Hold;

/// Added to `linger` before the processes of an unreachable host count as lost.
const LOST_AFTER_LINGER: Duration = Duration::from_secs(30);

/// A client's connection, while it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientKey(pub u64);

/// A host of the network, while it belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostKey(pub u32);

/// A peer with bytes to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Peer {
    /// A client's socket.
    Client(ClientKey),
    /// A host's own link; hosts behind tunnels never appear.
    Host(HostKey),
}

/// An event that the driver has to act on.
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
    /// A host's agent reported a node.
    Node { host: HostKey, name: String, state: NodeState, facts: Table },
    /// A host's agent has reported all its nodes, this many.
    Nodes { host: HostKey, count: u16 },
    /// A host's agent answered [`Switch::look`].
    Looked { host: HostKey, facts: Table, rows: Vec<Usage> },
    /// The signals of [`Switch::kill`] were sent there, or the process was gone before.
    Killed { id: ProcessId, gone: bool },
    /// The agent of a removed host answered and was told to end. Its link ends with it.
    Outcast { host: HostKey },
    /// The switch has dropped this host's link: end the process that carries it, if there is one.
    LinkEnded { host: HostKey, why: LinkEnd, said: Said },
    /// A client's process on this host was released, or forgotten after that: see [`Switch::tell_releases`].
    Released { host: HostKey },
    /// A host told of work that it keeps, for the first time or because something changed: see
    /// [`Switch::kept_work`].
    Kept { host: HostKey, id: ProcessId },
    /// Work is no longer kept: see [`Switch::gone_work`].
    KeptGone { host: HostKey, id: ProcessId },
    /// A host's agent has told of all the work that it keeps.
    ToldKept { host: HostKey },
    /// This host's via became reachable or unreachable, and so did the host.
    ViaChanged { host: HostKey },
}

/// The reason why the switch dropped a link.
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
    /// Between frames. The text is the beginning of the bytes, without control characters.
    #[error("something other than its agent wrote to the link: {0}")]
    NoFrame(String),
    #[error("the process on {via} that leads to it {ending}")]
    TunnelEnded { via: String, ending: Ending },
    #[error("the process on {via} that leads to it was lost: {message}")]
    TunnelLost { via: String, message: String },
}

impl From<OpeningError> for LinkEnd {
    fn from(error: OpeningError) -> Self {
        match error {
            OpeningError::OtherVersion(version) => Self::OtherVersion(version),
            OpeningError::NoMarker | OpeningError::Noise => Self::Noise,
        }
    }
}

/// Text on a link and beside it that was not a frame, as it came: hostile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// On the link itself: the noise of a login.
    pub noise: String,
    /// The stderr of a tunnel's process.
    pub stderr: String,
    /// The agent's greeting had begun but was not complete.
    pub is_greeting_cut: bool,
    /// Its agent had answered.
    pub answered: bool,
}

/// The reason why the switch dropped a client.
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

impl From<OpeningError> for ClientEnd {
    fn from(error: OpeningError) -> Self {
        match error {
            OpeningError::OtherVersion(version) => Self::OtherVersion(version),
            OpeningError::NoMarker | OpeningError::Noise => Self::Marker,
        }
    }
}

/// The daemon's facts for its greeting.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The client id under which it owns its tunnels.
    pub owner: ClientId,
    /// The number of its starts.
    pub life: u32,
    /// Its process id.
    pub pid: u32,
    /// Version of its program.
    pub release: String,
    /// Name of the network.
    pub network: String,
    /// How long an agent outlives its link.
    pub linger: Duration,
    /// It belongs to one program and ends with it, so it keeps no work.
    pub private: bool,
}

impl Identity {
    /// What it can do.
    fn features(&self) -> Features {
        if self.private { Features::without_keeping() } else { Features::all() }
    }

    /// What it does not pass on.
    fn lacks(&self) -> Features {
        Features::all().without(self.features())
    }
}

/// An agent of a removed host, which may still live.
#[derive(Debug)]
struct Outcast {
    incarnation: Incarnation,
    /// The processes that it may have, and who has left them.
    ids: Vec<(ProcessId, Hold)>,
    /// It was told to end.
    told: bool,
    /// It is to end the work that it keeps, too.
    ends_kept: bool,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Switch {
    me: Identity,
    clients: BTreeMap<ClientKey, ClientSide>,
    hosts: BTreeMap<HostKey, HostSide>,
    /// When to look at which host, at the earliest.
    due: BTreeSet<(Duration, HostKey)>,
    forwarded: HashMap<ProcessId, Forwarded>,
    /// The host of each work that is kept, or of its record.
    kept: HashMap<ProcessId, HostKey>,
    tunnels: CreditPool,
    events: VecDeque<SwitchEvent>,
    ready: BTreeSet<Peer>,
    /// Agents of removed hosts that may still live. They are told to end when they answer again.
    outcasts: VecDeque<Outcast>,
    /// How many signals of people were sent.
    kills: u32,
    /// How many TAKEs were passed on.
    takes: u32,
    /// The rest of the turn of the peer whose bytes are being handled.
    turn: Turn,
}

/// A process that the daemon forwards for, or whose agent has yet to forget it.
#[derive(Debug)]
struct Forwarded {
    owner: Owner,
    /// Whether it is or was a client's.
    of_client: bool,
    host: HostKey,
    /// The node it was placed on; empty if an earlier daemon placed it, or if it is not a client's.
    node: String,
    incarnation: Incarnation,
    /// Whether the agent may have it.
    spawned: bool,
    /// Whether the agent has had it for certain.
    answered: bool,
    relay: Relay,
    /// The client's own name for it, and its command without that of the node, both fit for a terminal.
    label: String,
    command: String,
    kill: Kill,
    hold: Hold,
}

impl Forwarded {
    /// Whether a client has released it.
    fn is_ending(&self) -> bool {
        self.of_client && matches!(self.owner, Owner::Nobody)
    }

    fn new(owner: Owner, host: HostKey, incarnation: Incarnation, relay: Relay) -> Self {
        Self {
            of_client: matches!(owner, Owner::Client(_)),
            owner,
            host,
            node: String::new(),
            incarnation,
            spawned: true,
            answered: false,
            relay,
            label: String::new(),
            command: String::new(),
            kill: Kill::default(),
            hold: Hold::default(),
        }
    }
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

/// The most nodes that one host may have.
pub const MAX_NODES: usize = 64;

/// The most processes of a host that are known here, including those that its agent has yet to forget.
const MAX_FORWARDED: usize = 4 * MAX_PROCESSES;

/// The most agents of removed hosts that are remembered.
const MAX_OUTCASTS: usize = 1_000;

impl Switch {
    /// A daemon without hosts and clients.
    pub fn new(me: Identity) -> Self {
        // an agent remembers some numbers of earlier lives
        let takes = me.life.wrapping_mul(1 << 16);
        Self {
            me,
            clients: BTreeMap::new(),
            hosts: BTreeMap::new(),
            due: BTreeSet::new(),
            forwarded: HashMap::new(),
            kept: HashMap::new(),
            tunnels: CreditPool::default(),
            events: VecDeque::new(),
            ready: BTreeSet::new(),
            outcasts: VecDeque::new(),
            kills: 0,
            takes,
            turn: Turn::new(),
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<SwitchEvent> {
        self.events.pop_front()
    }

    /// A peer for which there may be bytes to write. It is named again only after a change.
    pub fn poll_ready(&mut self) -> Option<Peer> {
        self.ready.pop_first()
    }

    /// The number of processes of clients on a host.
    pub fn processes(&self, host: HostKey) -> usize {
        self.nodes_in_use(host).count()
    }

    /// How many processes on a host were released by clients, and its agent has yet to forget.
    pub fn ending(&self, host: HostKey) -> usize {
        let ids = self.hosts.get(&host).into_iter().flat_map(|host| &host.ids);
        let entries = ids.filter_map(|id| self.forwarded.get(id));
        entries.filter(|entry| entry.is_ending()).count()
    }

    /// The node of each client's process on a host; empty if an earlier daemon placed it.
    pub fn nodes_in_use(&self, host: HostKey) -> impl Iterator<Item = &str> {
        let ids = self.hosts.get(&host).into_iter().flat_map(|host| &host.ids);
        let entries = ids.filter_map(|id| self.forwarded.get(id));
        let of_clients = entries.filter(|entry| matches!(entry.owner, Owner::Client(_)));
        of_clients.map(|entry| entry.node.as_str())
    }

    /// The programs with processes on a host, by the names that they gave, each once.
    pub fn programs(&self, host: HostKey) -> BTreeSet<&str> {
        let ids = self.hosts.get(&host).into_iter().flat_map(|host| &host.ids);
        let programs = ids.filter_map(|id| match self.forwarded.get(id)?.owner {
            Owner::Client(client) => Some(self.program(client)),
            _ => None,
        });
        programs.filter(|name| !name.is_empty()).collect()
    }

    /// Bytes of DATA in all queues.
    pub fn queued(&self) -> usize {
        let clients = self.clients.values().map(|side| side.conn.queued_in_all());
        let hosts = self.hosts.values().filter_map(HostSide::conn).map(Conn::queued_in_all);
        clients.chain(hosts).sum()
    }

    /// Whether no client has a process, no agent has yet to forget one, no host keeps work that runs, and no
    /// DATA is queued.
    pub fn is_idle(&self) -> bool {
        self.hosts.keys().all(|host| self.keeps(*host) == 0)
            && self.forwarded.values().all(|entry| matches!(entry.owner, Owner::Tunnel(..)))
            && self.queued() == 0
    }

    fn insert_forwarded(&mut self, id: ProcessId, entry: Forwarded) {
        if let Some(host) = self.hosts.get_mut(&entry.host) {
            host.ids.insert(id);
        }
        let host = entry.host;
        self.forwarded.insert(id, entry);
        self.arm(host);
    }

    fn remove_forwarded(&mut self, id: ProcessId) -> Option<Forwarded> {
        let entry = self.forwarded.remove(&id)?;
        if entry.kill.is_open() {
            self.events.push_back(SwitchEvent::Killed { id, gone: true });
        }
        if let Some(host) = self.hosts.get_mut(&entry.host) {
            host.ids.remove(&id);
            host.stirred.remove(&id);
            if host.tells_releases && entry.is_ending() {
                self.events.push_back(SwitchEvent::Released { host: entry.host });
            }
        }
        Some(entry)
    }

    /// The client wants nothing more of a process.
    fn release(&mut self, id: ProcessId) {
        self.shut(id);
        let Some(entry) = self.forwarded.get_mut(&id) else { return };
        let (key, incarnation) = (entry.host, entry.incarnation);
        if entry.kill.close() {
            self.events.push_back(SwitchEvent::Killed { id, gone: true });
        }
        match std::mem::replace(&mut entry.owner, Owner::Nobody) {
            Owner::Client(client) => {
                let owner = self.clients.get(&client).and_then(|side| side.id);
                entry.hold.left_by(owner);
                if self.hosts.get(&key).is_some_and(|host| host.tells_releases) {
                    self.events.push_back(SwitchEvent::Released { host: key });
                }
                if let Some(side) = self.clients.get_mut(&client) {
                    side.processes -= 1;
                    side.conn.void(id);
                }
            }
            Owner::Tunnel(..) | Owner::Nobody => {}
        }
        if self.forwarded.get(&id).is_some_and(|entry| !entry.spawned) {
            self.remove_forwarded(id);
        } else if self.hosts.get(&key).and_then(HostSide::up) == Some(incarnation) {
            self.say_farewell(key, id);
        }
    }

    /// A process is lost for its client; if its agent still has it, it is ended.
    fn lose(&mut self, id: ProcessId, message: &str) {
        let Some(entry) = self.forwarded.get(&id) else { return };
        if let Owner::Client(client) = entry.owner {
            self.release(id);
            self.tell_client(client, Frame::Lost { id, message: message.into() });
        }
    }

    /// Nothing of a process passes until its next attempt.
    fn shut(&mut self, id: ProcessId) {
        let Some(entry) = self.forwarded.get_mut(&id) else { return };
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

    fn tell_client(&mut self, client: ClientKey, frame: Frame) {
        if let Some(side) = self.clients.get_mut(&client) {
            side.conn.send(frame);
            self.ready.insert(Peer::Client(client));
        }
    }

    fn tell_host(&mut self, host: HostKey, frame: Frame) {
        if let Some(conn) = self.hosts.get_mut(&host).and_then(HostSide::conn_mut) {
            conn.send(frame);
            self.touch(host);
        }
    }

    /// There may be bytes to write on the link that leads to this host.
    fn touch(&mut self, mut host: HostKey) {
        while let Some((via, id)) = self.hosts.get(&host).and_then(HostSide::tunnel) {
            if let Some(carrier) = self.hosts.get_mut(&via) {
                carrier.stirred.insert(id);
            }
            host = via;
        }
        self.ready.insert(Peer::Host(host));
    }
}
