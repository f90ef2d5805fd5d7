//! Frames: their kinds, their limits, their bytes (docs/protocol.md, section 2).
//!
//! Owns nothing but the translation between bytes and [`Frame`]. What a frame means is decided elsewhere.

mod codec;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::id::{ClientId, Epoch, Incarnation, ProcessId};

pub use codec::encode_table;

/// The version of the protocol that this code speaks.
pub const VERSION: u16 = 1;

/// What precedes the first frame; the two bytes of the version follow.
pub const MARKER: [u8; 14] = *b"\0execnet:link\0";

/// The largest number of bytes in one DATA frame.
pub const MAX_DATA: usize = 65_536;

/// Bytes of a frame's header.
pub const HEADER: usize = 4;

/// What a frame is, by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs)] // each is documented in docs/protocol.md, which a test checks
pub enum Kind {
    Ping = 0x01,
    Pong = 0x02,
    Ack = 0x03,
    Hello = 0x10,
    Node = 0x11,
    End = 0x12,
    Nodes = 0x13,
    Spawn = 0x20,
    Resume = 0x21,
    Resumed = 0x22,
    Started = 0x23,
    Data = 0x24,
    Credit = 0x25,
    Fin = 0x26,
    Stop = 0x27,
    Signal = 0x28,
    Signaled = 0x29,
    Exit = 0x2a,
    Release = 0x2b,
    Forget = 0x2c,
    Client = 0x30,
    Daemon = 0x31,
    Select = 0x32,
    Placed = 0x33,
    Refused = 0x34,
    Claim = 0x35,
    Reachable = 0x36,
    Unreachable = 0x37,
    Lost = 0x38,
    Request = 0x3a,
    Reply = 0x3b,
}

impl Kind {
    /// Every kind, with its name in the documents and the largest body it may have.
    pub const ALL: [(Self, &'static str, usize); 31] = [
        (Self::Ping, "PING", 8),
        (Self::Pong, "PONG", 8),
        (Self::Ack, "ACK", 8),
        (Self::Hello, "HELLO", 65_536),
        (Self::Node, "NODE", 65_536),
        (Self::End, "END", 0),
        (Self::Nodes, "NODES", 2),
        (Self::Spawn, "SPAWN", 1_048_576),
        (Self::Resume, "RESUME", 256),
        (Self::Resumed, "RESUMED", 256),
        (Self::Started, "STARTED", 20),
        (Self::Data, "DATA", 16 + 1 + 8 + MAX_DATA),
        (Self::Credit, "CREDIT", 33),
        (Self::Fin, "FIN", 25),
        (Self::Stop, "STOP", 17),
        (Self::Signal, "SIGNAL", 28),
        (Self::Signaled, "SIGNALED", 20),
        (Self::Exit, "EXIT", 8_192),
        (Self::Release, "RELEASE", 16),
        (Self::Forget, "FORGET", 16),
        (Self::Client, "CLIENT", 1_024),
        (Self::Daemon, "DAEMON", 1_024),
        (Self::Select, "SELECT", 65_536),
        (Self::Placed, "PLACED", 65_536),
        (Self::Refused, "REFUSED", 65_536),
        (Self::Claim, "CLAIM", 512),
        (Self::Reachable, "REACHABLE", 16),
        (Self::Unreachable, "UNREACHABLE", 1_024),
        (Self::Lost, "LOST", 8_192),
        (Self::Request, "REQUEST", 1_048_576),
        (Self::Reply, "REPLY", 16_777_215),
    ];

    /// Whether agents send frames whose first byte is this.
    pub fn is_of_agents(byte: u8) -> bool {
        use Kind::{
            Ack, Credit, Data, Exit, Fin, Forget, Hello, Node, Nodes, Ping, Pong, Resumed, Signaled, Started,
            Stop,
        };
        let theirs = [
            Ping, Pong, Ack, Hello, Node, Nodes, Resumed, Started, Data, Credit, Fin, Stop, Signaled, Exit,
            Forget,
        ];
        theirs.iter().any(|kind| *kind as u8 == byte)
    }

    fn of(byte: u8) -> Option<(Self, usize)> {
        Self::ALL.iter().find(|(kind, ..)| *kind as u8 == byte).map(|(kind, _, limit)| (*kind, *limit))
    }

    /// Its name in the documents.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, ..)| *kind == self).map_or("", |(_, name, _)| name)
    }

    /// Whether client and agent say it to each other, of a process.
    pub fn is_of_process(self) -> bool {
        (Self::Spawn as u8..=Self::Forget as u8).contains(&(self as u8))
    }

    /// The largest body of this kind, in bytes.
    pub fn limit(self) -> usize {
        Self::of(self as u8).map_or(0, |(_, limit)| limit)
    }
}

/// One of the three byte streams of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Stream {
    /// From the client to the process.
    Stdin = 0,
    /// From the process to the client.
    Stdout = 1,
    /// From the process to the client.
    Stderr = 2,
}

impl Stream {
    /// The three of them, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Stdin, Self::Stdout, Self::Stderr];

    /// Its number, as an index.
    pub fn index(self) -> usize {
        self as usize
    }
}

/// Named texts of a greeting; keys may repeat.
pub type Table = Vec<(String, Bytes)>;

/// What SPAWN asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spawn {
    /// The process.
    pub id: ProcessId,
    /// Raised by the client for each SPAWN or RESUME.
    pub attempt: u32,
    /// The agent that may run it.
    pub incarnation: Incarnation,
    /// The client that owns it.
    pub owner: ClientId,
    /// What kind of process it is.
    pub role: Role,
    /// First credit: nothing at or past this position may be sent on stdout.
    pub stdout_limit: u64,
    /// The same for stderr.
    pub stderr_limit: u64,
    /// Id of the host.
    pub host: String,
    /// Name of the node; empty for a tunnel.
    pub node: String,
    /// Working directory; empty for the node's own.
    pub chdir: String,
    /// Arguments behind the node's own command; for a tunnel the whole command.
    pub args: Vec<Bytes>,
    /// Environment entries that override the node's.
    pub env: Table,
}

/// What an agent may do with a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Nothing but start it.
    #[default]
    Plain = 0,
    /// It carries a link of the daemon, and ends with the daemon's life.
    Tunnel = 1,
    /// It does nothing before its stdin speaks: another one like it may be started ahead of the SPAWN that gets it.
    Ahead = 2,
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It exited with this status.
    Exited(u32),
    /// This signal (its number on Linux) ended it.
    Signaled(u32),
    /// It could not be started: an errno (0 if there is none) and a sentence.
    NotStarted(u32, String),
}

/// Why SELECT was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Refusal {
    /// No node that is up matches.
    NoMatch = 1,
    /// A bound on the number of processes is reached.
    TooMany = 2,
    /// The network is closing.
    Closing = 3,
}

/// A frame. Fields are described in docs/protocol.md.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // each is documented in docs/protocol.md, which a test checks
pub enum Frame {
    Ping(u64),
    Pong(u64),
    Ack(u64),
    Hello { incarnation: Incarnation, epoch: Epoch, resume: bool, pid: u32, facts: Table },
    Node { name: String, state: NodeState, facts: Table },
    End,
    Nodes(u16),
    Spawn(Box<Spawn>),
    Resume { id: ProcessId, attempt: u32, stdout: Span, stderr: Span },
    Resumed { id: ProcessId, attempt: u32, stdin: Span },
    Started { id: ProcessId, pid: u32 },
    Data { id: ProcessId, stream: Stream, position: u64, bytes: Bytes },
    Credit { id: ProcessId, stream: Stream, span: Span },
    Fin { id: ProcessId, stream: Stream, length: u64 },
    Stop { id: ProcessId, stream: Stream },
    Signal { id: ProcessId, sequence: u32, mask: u64 },
    Signaled { id: ProcessId, sequence: u32 },
    Exit { id: ProcessId, ending: Ending, stdout: u64, stderr: u64 },
    Release(ProcessId),
    Forget(ProcessId),
    Client { id: ClientId, release: String },
    Daemon { life: u32, pid: u32, release: String, network: String },
    Select { id: ProcessId, wants: Table },
    Placed { id: ProcessId, incarnation: Incarnation, host: String, node: String, facts: Table },
    Refused { id: ProcessId, refusal: Refusal, message: String },
    Claim { id: ProcessId, incarnation: Incarnation, host: String },
    Reachable(ProcessId),
    Unreachable { id: ProcessId, message: String },
    Lost { id: ProcessId, message: String },
    Request { request: u32, json: Bytes },
    Reply { request: u32, last: bool, json: Bytes },
}

/// State of a node, as its agent tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum NodeState {
    /// Its interpreter answered.
    Ready = 0,
    /// Its interpreter is not there, or is none.
    Failed = 1,
    /// Its interpreter was asked and has not answered yet.
    Probing = 2,
}

/// What a receiver says of a stream: how far it has it, how far it may be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Every byte before this position has arrived.
    pub received: u64,
    /// No byte at or past this position may be sent.
    pub limit: u64,
}

/// Bytes that are not a frame of this protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum FrameError {
    #[error("unknown frame kind {0:#04x}")]
    UnknownKind(u8),
    #[error("{kind:?} frame of {length} bytes, at most {} are allowed", kind.limit())]
    TooLong { kind: Kind, length: usize },
    #[error("malformed {0:?} frame")]
    Malformed(Kind),
}

impl Frame {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Ping(..) => Kind::Ping,
            Self::Pong(..) => Kind::Pong,
            Self::Ack(..) => Kind::Ack,
            Self::Hello { .. } => Kind::Hello,
            Self::Node { .. } => Kind::Node,
            Self::End => Kind::End,
            Self::Nodes(..) => Kind::Nodes,
            Self::Spawn(..) => Kind::Spawn,
            Self::Resume { .. } => Kind::Resume,
            Self::Resumed { .. } => Kind::Resumed,
            Self::Started { .. } => Kind::Started,
            Self::Data { .. } => Kind::Data,
            Self::Credit { .. } => Kind::Credit,
            Self::Fin { .. } => Kind::Fin,
            Self::Stop { .. } => Kind::Stop,
            Self::Signal { .. } => Kind::Signal,
            Self::Signaled { .. } => Kind::Signaled,
            Self::Exit { .. } => Kind::Exit,
            Self::Release(..) => Kind::Release,
            Self::Forget(..) => Kind::Forget,
            Self::Client { .. } => Kind::Client,
            Self::Daemon { .. } => Kind::Daemon,
            Self::Select { .. } => Kind::Select,
            Self::Placed { .. } => Kind::Placed,
            Self::Refused { .. } => Kind::Refused,
            Self::Claim { .. } => Kind::Claim,
            Self::Reachable(..) => Kind::Reachable,
            Self::Unreachable { .. } => Kind::Unreachable,
            Self::Lost { .. } => Kind::Lost,
            Self::Request { .. } => Kind::Request,
            Self::Reply { .. } => Kind::Reply,
        }
    }

    /// The process it speaks of, if any.
    pub fn process(&self) -> Option<ProcessId> {
        match self {
            Self::Spawn(spawn) => Some(spawn.id),
            Self::Resume { id, .. }
            | Self::Resumed { id, .. }
            | Self::Started { id, .. }
            | Self::Data { id, .. }
            | Self::Credit { id, .. }
            | Self::Fin { id, .. }
            | Self::Stop { id, .. }
            | Self::Signal { id, .. }
            | Self::Signaled { id, .. }
            | Self::Exit { id, .. }
            | Self::Release(id)
            | Self::Forget(id)
            | Self::Select { id, .. }
            | Self::Placed { id, .. }
            | Self::Refused { id, .. }
            | Self::Claim { id, .. }
            | Self::Reachable(id)
            | Self::Unreachable { id, .. }
            | Self::Lost { id, .. } => Some(*id),
            _ => None,
        }
    }

    /// Appends its bytes to `out`.
    ///
    /// # Panics
    /// Never for frames whose parts came from [`Decoder`]; texts and lists that this program makes itself must fit their
    /// kind's limit: see [`Frame::fits`].
    pub fn encode(&self, out: &mut BytesMut) {
        let start = out.len();
        out.put_u32(0);
        self.put_body(out);
        let length = out.len() - start - HEADER;
        let header = u32::from(self.kind() as u8) << 24 | (length as u32 & 0x00ff_ffff);
        out[start..start + HEADER].copy_from_slice(&header.to_be_bytes());
    }

    /// Its bytes.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(64);
        self.encode(&mut out);
        out.freeze()
    }

    /// Whether its body keeps to its kind's limit.
    pub fn fits(&self) -> bool {
        let mut body = BytesMut::new();
        self.put_body(&mut body);
        body.len() <= self.kind().limit()
    }
}

/// Cuts a byte stream into frames. Holds at most one incomplete frame and what was handed in with it.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: BytesMut,
}

impl Decoder {
    /// Takes bytes that arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame and the number of its bytes, or `None` when it is not complete yet.
    ///
    /// # Errors
    /// For bytes that are no frame of this protocol. Nothing can be read after that.
    #[allow(clippy::should_implement_trait)] // its errors are final, an iterator's are not
    pub fn next(&mut self) -> Result<Option<(Frame, usize)>, FrameError> {
        let Some(header) = self.buffer.get(..HEADER) else { return Ok(None) };
        let (kind, limit) = Kind::of(header[0]).ok_or(FrameError::UnknownKind(header[0]))?;
        let length = usize::from(header[1]) << 16 | usize::from(header[2]) << 8 | usize::from(header[3]);
        if length > limit {
            return Err(FrameError::TooLong { kind, length });
        }
        if self.buffer.len() < HEADER + length {
            return Ok(None);
        }
        let mut bytes = self.buffer.split_to(HEADER + length).freeze();
        bytes.advance(HEADER);
        Frame::parse(kind, bytes).map(|frame| Some((frame, HEADER + length)))
    }

    /// Bytes that wait for the rest of their frame.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// These bytes; behind an error about a header they begin with it.
    pub fn rest(&self) -> &[u8] {
        &self.buffer
    }
}
