//! The bytes of each frame's body, both ways.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{Ending, Frame, FrameError, Kind, NodeState, Refusal, Role, Span, Spawn, Stream, Table};
use crate::id::{ClientId, Epoch, Incarnation, ProcessId};

impl Frame {
    pub(super) fn put_body(&self, out: &mut BytesMut) {
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

    pub(super) fn parse(kind: Kind, body: Bytes) -> Result<Self, FrameError> {
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
    out.put_u8(spawn.role as u8);
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
                role: match self.u8()? {
                    0 => Role::Plain,
                    1 => Role::Tunnel,
                    2 => Role::Ahead,
                    _ => return Err(self.malformed()),
                },
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
