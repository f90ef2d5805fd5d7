//! Frames: their kinds, their limits, their bytes (docs/protocol.md, section 2).
//!
//! Owns nothing but the translation between bytes and [`Frame`]. What a frame means is decided elsewhere.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::id::{ClientId, Epoch, Incarnation, ProcessId};

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

    fn of(byte: u8) -> Option<(Self, usize)> {
        Self::ALL.iter().find(|(kind, ..)| *kind as u8 == byte).map(|(kind, _, limit)| (*kind, *limit))
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
    /// The process carries a link of the daemon, and ends with the daemon's life.
    pub tunnel: bool,
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

    fn put_body(&self, out: &mut BytesMut) {
        match self {
            Self::Ping(n) | Self::Pong(n) | Self::Ack(n) => out.put_u64(*n),
            Self::Hello { incarnation, epoch, resume, pid, facts } => {
                out.put_slice(&incarnation.0);
                out.put_u64(epoch.0);
                out.put_u8(u8::from(*resume));
                out.put_u32(*pid);
                put_table(out, facts);
            }
            Self::Node { name, state, facts } => {
                put_str(out, name);
                out.put_u8(*state as u8);
                put_table(out, facts);
            }
            Self::End => {}
            Self::Nodes(count) => out.put_u16(*count),
            Self::Spawn(spawn) => put_spawn(out, spawn),
            Self::Resume { id, attempt, stdout, stderr } => {
                out.put_slice(&id.0);
                out.put_u32(*attempt);
                put_span(out, *stdout);
                put_span(out, *stderr);
            }
            Self::Resumed { id, attempt, stdin } => {
                out.put_slice(&id.0);
                out.put_u32(*attempt);
                put_span(out, *stdin);
            }
            Self::Started { id, pid } => {
                out.put_slice(&id.0);
                out.put_u32(*pid);
            }
            Self::Data { id, stream, position, bytes } => {
                out.put_slice(&id.0);
                out.put_u8(*stream as u8);
                out.put_u64(*position);
                out.put_slice(bytes);
            }
            Self::Credit { id, stream, span } => {
                out.put_slice(&id.0);
                out.put_u8(*stream as u8);
                put_span(out, *span);
            }
            Self::Fin { id, stream, length } => {
                out.put_slice(&id.0);
                out.put_u8(*stream as u8);
                out.put_u64(*length);
            }
            Self::Stop { id, stream } => {
                out.put_slice(&id.0);
                out.put_u8(*stream as u8);
            }
            Self::Signal { id, sequence, mask } => {
                out.put_slice(&id.0);
                out.put_u32(*sequence);
                out.put_u64(*mask);
            }
            Self::Signaled { id, sequence } => {
                out.put_slice(&id.0);
                out.put_u32(*sequence);
            }
            Self::Exit { id, ending, stdout, stderr } => {
                out.put_slice(&id.0);
                let (how, value, message) = match ending {
                    Ending::Exited(status) => (0, *status, ""),
                    Ending::Signaled(signal) => (1, *signal, ""),
                    Ending::NotStarted(errno, message) => (2, *errno, message.as_str()),
                };
                out.put_u8(how);
                out.put_u32(value);
                out.put_u64(*stdout);
                out.put_u64(*stderr);
                put_str(out, message);
            }
            Self::Release(id) | Self::Forget(id) | Self::Reachable(id) => out.put_slice(&id.0),
            Self::Client { id, release } => {
                out.put_slice(&id.0);
                put_str(out, release);
            }
            Self::Daemon { life, pid, release, network } => {
                out.put_u32(*life);
                out.put_u32(*pid);
                put_str(out, release);
                put_str(out, network);
            }
            Self::Select { id, wants } => {
                out.put_slice(&id.0);
                put_table(out, wants);
            }
            Self::Placed { id, incarnation, host, node, facts } => {
                out.put_slice(&id.0);
                out.put_slice(&incarnation.0);
                put_str(out, host);
                put_str(out, node);
                put_table(out, facts);
            }
            Self::Refused { id, refusal, message } => {
                out.put_slice(&id.0);
                out.put_u8(*refusal as u8);
                put_str(out, message);
            }
            Self::Claim { id, incarnation, host } => {
                out.put_slice(&id.0);
                out.put_slice(&incarnation.0);
                put_str(out, host);
            }
            Self::Unreachable { id, message } | Self::Lost { id, message } => {
                out.put_slice(&id.0);
                put_str(out, message);
            }
            Self::Request { request, json } => {
                out.put_u32(*request);
                out.put_slice(json);
            }
            Self::Reply { request, last, json } => {
                out.put_u32(*request);
                out.put_u8(u8::from(*last));
                out.put_slice(json);
            }
        }
    }

    fn parse(kind: Kind, body: Bytes) -> Result<Self, FrameError> {
        let mut body = Body { bytes: body, kind };
        let frame = body.frame()?;
        if body.bytes.is_empty() { Ok(frame) } else { Err(FrameError::Malformed(kind)) }
    }
}

fn put_spawn(out: &mut BytesMut, spawn: &Spawn) {
    out.put_slice(&spawn.id.0);
    out.put_u32(spawn.attempt);
    out.put_slice(&spawn.incarnation.0);
    out.put_slice(&spawn.owner.0);
    out.put_u8(u8::from(spawn.tunnel));
    out.put_u64(spawn.stdout_limit);
    out.put_u64(spawn.stderr_limit);
    put_str(out, &spawn.host);
    put_str(out, &spawn.node);
    put_str(out, &spawn.chdir);
    out.put_u16(spawn.args.len() as u16);
    for arg in &spawn.args {
        put_blob(out, arg);
    }
    put_table(out, &spawn.env);
}

/// Texts longer than a str can say are cut at a character's boundary: they are messages.
fn put_str(out: &mut BytesMut, text: &str) {
    let most = text.len().min(usize::from(u16::MAX));
    let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    out.put_u16(end as u16);
    out.put_slice(&text.as_bytes()[..end]);
}

fn put_blob(out: &mut BytesMut, blob: &[u8]) {
    out.put_u32(blob.len() as u32);
    out.put_slice(blob);
}

fn put_span(out: &mut BytesMut, span: Span) {
    out.put_u64(span.received);
    out.put_u64(span.limit);
}

fn put_table(out: &mut BytesMut, table: &[(String, Bytes)]) {
    out.put_u16(table.len() as u16);
    for (key, value) in table {
        put_str(out, key);
        put_blob(out, value);
    }
}

/// The bytes of a table alone: the form of the bootstrap's config.
pub fn encode_table(table: &[(String, Bytes)]) -> Bytes {
    let mut out = BytesMut::new();
    put_table(&mut out, table);
    out.freeze()
}

/// The unread rest of a frame's body.
struct Body {
    bytes: Bytes,
    kind: Kind,
}

impl Body {
    fn frame(&mut self) -> Result<Frame, FrameError> {
        Ok(match self.kind {
            Kind::Ping => Frame::Ping(self.u64()?),
            Kind::Pong => Frame::Pong(self.u64()?),
            Kind::Ack => Frame::Ack(self.u64()?),
            Kind::Hello => Frame::Hello {
                incarnation: Incarnation(self.id()?),
                epoch: Epoch(self.u64()?),
                resume: self.flag()?,
                pid: self.u32()?,
                facts: self.table()?,
            },
            Kind::Node => Frame::Node {
                name: self.str()?,
                state: match self.u8()? {
                    0 => NodeState::Ready,
                    1 => NodeState::Failed,
                    2 => NodeState::Probing,
                    _ => return Err(self.malformed()),
                },
                facts: self.table()?,
            },
            Kind::End => Frame::End,
            Kind::Nodes => Frame::Nodes(self.u16()?),
            Kind::Spawn => Frame::Spawn(Box::new(Spawn {
                id: self.process()?,
                attempt: self.u32()?,
                incarnation: Incarnation(self.id()?),
                owner: ClientId(self.id()?),
                tunnel: self.flag()?,
                stdout_limit: self.u64()?,
                stderr_limit: self.u64()?,
                host: self.str()?,
                node: self.str()?,
                chdir: self.str()?,
                args: {
                    let count = self.u16()?;
                    (0..count).map(|_| self.blob()).collect::<Result<_, _>>()?
                },
                env: self.table()?,
            })),
            Kind::Resume => Frame::Resume {
                id: self.process()?,
                attempt: self.u32()?,
                stdout: self.span()?,
                stderr: self.span()?,
            },
            Kind::Resumed => {
                Frame::Resumed { id: self.process()?, attempt: self.u32()?, stdin: self.span()? }
            }
            Kind::Started => Frame::Started { id: self.process()?, pid: self.u32()? },
            Kind::Data => {
                let (id, stream, position) = (self.process()?, self.stream()?, self.u64()?);
                let bytes = std::mem::take(&mut self.bytes);
                if bytes.is_empty() || position.checked_add(bytes.len() as u64).is_none() {
                    return Err(self.malformed());
                }
                Frame::Data { id, stream, position, bytes }
            }
            Kind::Credit => Frame::Credit { id: self.process()?, stream: self.stream()?, span: self.span()? },
            Kind::Fin => Frame::Fin { id: self.process()?, stream: self.stream()?, length: self.u64()? },
            Kind::Stop => Frame::Stop { id: self.process()?, stream: self.stream()? },
            Kind::Signal => Frame::Signal { id: self.process()?, sequence: self.u32()?, mask: self.u64()? },
            Kind::Signaled => Frame::Signaled { id: self.process()?, sequence: self.u32()? },
            Kind::Exit => {
                let id = self.process()?;
                let (how, value) = (self.u8()?, self.u32()?);
                let (stdout, stderr, message) = (self.u64()?, self.u64()?, self.str()?);
                let ending = match how {
                    0 => Ending::Exited(value),
                    1 => Ending::Signaled(value),
                    2 => Ending::NotStarted(value, message),
                    _ => return Err(self.malformed()),
                };
                Frame::Exit { id, ending, stdout, stderr }
            }
            Kind::Release => Frame::Release(self.process()?),
            Kind::Forget => Frame::Forget(self.process()?),
            Kind::Client => Frame::Client { id: ClientId(self.id()?), release: self.str()? },
            Kind::Daemon => Frame::Daemon {
                life: self.u32()?,
                pid: self.u32()?,
                release: self.str()?,
                network: self.str()?,
            },
            Kind::Select => Frame::Select { id: self.process()?, wants: self.table()? },
            Kind::Placed => Frame::Placed {
                id: self.process()?,
                incarnation: Incarnation(self.id()?),
                host: self.str()?,
                node: self.str()?,
                facts: self.table()?,
            },
            Kind::Refused => Frame::Refused {
                id: self.process()?,
                refusal: match self.u8()? {
                    1 => Refusal::NoMatch,
                    2 => Refusal::TooMany,
                    3 => Refusal::Closing,
                    _ => return Err(self.malformed()),
                },
                message: self.str()?,
            },
            Kind::Claim => {
                Frame::Claim { id: self.process()?, incarnation: Incarnation(self.id()?), host: self.str()? }
            }
            Kind::Reachable => Frame::Reachable(self.process()?),
            Kind::Unreachable => Frame::Unreachable { id: self.process()?, message: self.str()? },
            Kind::Lost => Frame::Lost { id: self.process()?, message: self.str()? },
            Kind::Request => Frame::Request { request: self.u32()?, json: std::mem::take(&mut self.bytes) },
            Kind::Reply => Frame::Reply {
                request: self.u32()?,
                last: self.flag()?,
                json: std::mem::take(&mut self.bytes),
            },
        })
    }

    fn malformed(&self) -> FrameError {
        FrameError::Malformed(self.kind)
    }

    fn take(&mut self, count: usize) -> Result<Bytes, FrameError> {
        if self.bytes.len() < count {
            return Err(self.malformed());
        }
        Ok(self.bytes.split_to(count))
    }

    fn u8(&mut self) -> Result<u8, FrameError> {
        Ok(self.take(1)?.get_u8())
    }

    fn u16(&mut self) -> Result<u16, FrameError> {
        Ok(self.take(2)?.get_u16())
    }

    fn u32(&mut self) -> Result<u32, FrameError> {
        Ok(self.take(4)?.get_u32())
    }

    fn u64(&mut self) -> Result<u64, FrameError> {
        Ok(self.take(8)?.get_u64())
    }

    fn flag(&mut self) -> Result<bool, FrameError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.malformed()),
        }
    }

    fn id(&mut self) -> Result<[u8; 16], FrameError> {
        let mut id = [0; 16];
        self.take(16)?.copy_to_slice(&mut id);
        Ok(id)
    }

    fn process(&mut self) -> Result<ProcessId, FrameError> {
        self.id().map(ProcessId)
    }

    fn stream(&mut self) -> Result<Stream, FrameError> {
        let index = usize::from(self.u8()?);
        Stream::ALL.get(index).copied().ok_or_else(|| self.malformed())
    }

    fn span(&mut self) -> Result<Span, FrameError> {
        let span = Span { received: self.u64()?, limit: self.u64()? };
        if span.limit < span.received {
            return Err(self.malformed());
        }
        Ok(span)
    }

    fn str(&mut self) -> Result<String, FrameError> {
        let length = usize::from(self.u16()?);
        let bytes = self.take(length)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| self.malformed())
    }

    fn blob(&mut self) -> Result<Bytes, FrameError> {
        let length = self.u32()? as usize;
        self.take(length)
    }

    fn table(&mut self) -> Result<Table, FrameError> {
        let count = self.u16()?;
        (0..count).map(|_| Ok((self.str()?, self.blob()?))).collect()
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
}
