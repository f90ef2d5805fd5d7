//! The compound fields of frames, each type with its bytes: streams, spans, the contents of SPAWN and EXIT.

use std::fmt;

use bytes::{Bytes, BytesMut};

use super::codec::{Field, Table, put_str};
use crate::control::NodeState;
use crate::id::{ClientId, Incarnation, ProcessId};
use crate::signal::Signal;
use crate::text::line;

/// Types that are one byte on the wire; any other value is malformed.
macro_rules! byte {
    ($type:ident, $form:literal: $($variant:ident),+) => {
        impl $type {
            fn of(byte: u8) -> Option<Self> {
                [$(Self::$variant),+].into_iter().find(|value| *value as u8 == byte)
            }
        }

        impl Field for $type {
            #[inline]
            fn put(&self, out: &mut BytesMut) {
                (*self as u8).put(out);
            }

            #[inline]
            fn read(body: &mut Bytes) -> Option<Self> {
                Self::of(u8::read(body)?)
            }

            fn describe(name: &str, fields: &mut Vec<(String, &'static str)>) {
                fields.push((name.into(), $form));
            }
        }
    };
}

/// A receiver's position in a stream, and the credit it gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Every byte before this position has arrived.
    pub received: u64,
    /// No byte at or past this position may be sent.
    pub limit: u64,
}

impl Field for Span {
    #[inline]
    fn put(&self, out: &mut BytesMut) {
        self.received.put(out);
        self.limit.put(out);
    }

    #[inline]
    fn read(body: &mut Bytes) -> Option<Self> {
        let span = Self { received: u64::read(body)?, limit: u64::read(body)? };
        (span.received <= span.limit).then_some(span)
    }

    fn describe(name: &str, fields: &mut Vec<(String, &'static str)>) {
        let prefix = if name.is_empty() { String::new() } else { format!("{name}_") };
        u64::describe(&format!("{prefix}received"), fields);
        u64::describe(&format!("{prefix}limit"), fields);
    }
}

/// The contents of SPAWN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spawn {
    /// The process.
    pub id: ProcessId,
    /// The client raises it for each SPAWN or RESUME.
    pub attempt: u32,
    /// The agent that may run it.
    pub incarnation: Incarnation,
    /// The client that owns it.
    pub owner: ClientId,
    /// How the agent treats it.
    pub role: Role,
    /// First credit: stdout may not send anything at or past this position.
    pub stdout_limit: u64,
    /// The same for stderr.
    pub stderr_limit: u64,
    /// Id of the host.
    pub host: String,
    /// Name of the node; empty for a tunnel, and for a command of the host.
    pub node: String,
    /// Working directory; empty for the node's own.
    pub chdir: String,
    /// Arguments after the node's own command; without a node the whole command.
    pub args: Vec<Bytes>,
    /// Environment entries that override the node's.
    pub env: Table,
    /// What only an agent with the feature of the same name understands.
    pub options: Table,
}

macro_rules! spawn {
    ($($field:ident $(as $wire:literal)?: $type:ty),+) => {
        impl Field for Box<Spawn> {
            #[inline]
            fn put(&self, out: &mut BytesMut) {
                $(self.$field.put(out);)+
            }

            #[inline]
            fn read(body: &mut Bytes) -> Option<Self> {
                Some(Self::new(Spawn { $($field: <$type>::read(body)?),+ }))
            }

            fn describe(_: &str, fields: &mut Vec<(String, &'static str)>) {
                $(<$type>::describe(wire_name!($field $($wire)?), fields);)+
            }

            #[inline]
            fn process(&self) -> Option<ProcessId> {
                Some(self.id)
            }
        }
    };
}

// in the order of their bytes
spawn! {
    id: ProcessId, attempt: u32, incarnation: Incarnation, owner: ClientId, role: Role,
    stdout_limit: u64, stderr_limit: u64, host: String, node: String, chdir: String,
    args as "argv": Vec<Bytes>, env: Table, options: Table
}

/// How an agent treats a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// It only starts it.
    #[default]
    Plain = 0,
    /// The process carries a link of the daemon and ends with the daemon's life.
    Tunnel = 1,
    /// The process does nothing until something comes on its stdin: the agent may start another one like it
    /// ahead of the next SPAWN.
    Ahead = 2,
    /// It is an entry into a kept process that admits programs.
    Enter = 3,
    /// It reads along with a kept process.
    Read = 4,
}

byte!(Role, "role": Plain, Tunnel, Ahead, Enter, Read);

/// The contents of TAKEN: from where whoever takes kept work goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The last attempt of SPAWN or RESUME.
    pub attempt: u32,
    /// The last sequence of SIGNAL.
    pub signals: u32,
    /// The last sequence of SIZE.
    pub sizes: u32,
    /// Rows of its terminal; 0 without one.
    pub rows: u16,
    /// Columns of its terminal.
    pub columns: u16,
    /// It has closed its stdin.
    pub stdin_closed: bool,
    /// Its stdin has ended.
    pub stdin_ended: bool,
    /// Its stdout was stopped.
    pub stdout_stopped: bool,
    /// Its stderr was stopped.
    pub stderr_stopped: bool,
    /// How much of its stdin was received.
    pub stdin: u64,
    /// Its stdout.
    pub stdout: Held,
    /// Its stderr.
    pub stderr: Held,
}

/// What an agent has of an output of kept work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Position of the first byte that it still has.
    pub start: u64,
    /// Position after the last byte.
    pub end: u64,
}

impl Field for Standing {
    fn put(&self, out: &mut BytesMut) {
        for number in [self.attempt, self.signals, self.sizes] {
            number.put(out);
        }
        self.rows.put(out);
        self.columns.put(out);
        let ends = [self.stdin_closed, self.stdin_ended, self.stdout_stopped, self.stderr_stopped];
        ends.iter().enumerate().map(|(bit, end)| u8::from(*end) << bit).sum::<u8>().put(out);
        self.stdin.put(out);
        for held in [self.stdout, self.stderr] {
            held.start.put(out);
            held.end.put(out);
        }
    }

    fn read(body: &mut Bytes) -> Option<Self> {
        let (attempt, signals, sizes) = (u32::read(body)?, u32::read(body)?, u32::read(body)?);
        let (rows, columns) = (u16::read(body)?, u16::read(body)?);
        let ends = u8::read(body).filter(|ends| *ends < 16)?;
        let stdin = u64::read(body)?;
        let mut held = || {
            let held = Held { start: u64::read(body)?, end: u64::read(body)? };
            Some(held).filter(|held| held.start <= held.end)
        };
        let (stdout, stderr) = (held()?, held()?);
        Some(Self {
            attempt,
            signals,
            sizes,
            rows,
            columns,
            stdin_closed: ends & 1 != 0,
            stdin_ended: ends & 2 != 0,
            stdout_stopped: ends & 4 != 0,
            stderr_stopped: ends & 8 != 0,
            stdin,
            stdout,
            stderr,
        })
    }

    fn describe(_: &str, fields: &mut Vec<(String, &'static str)>) {
        for name in ["last", "signals", "sizes"] {
            u32::describe(name, fields);
        }
        for name in ["rows", "columns"] {
            u16::describe(name, fields);
        }
        u8::describe("ends", fields);
        for name in ["stdin", "stdout_start", "stdout_end", "stderr_start", "stderr_end"] {
            u64::describe(name, fields);
        }
    }
}

/// The contents of EXIT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// How the process ended.
    pub ending: Ending,
    /// Length of its stdout, in bytes.
    pub stdout: u64,
    /// Length of its stderr, in bytes.
    pub stderr: u64,
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

/// The rest of a sentence: `exited with status 3`, `was ended by SIGKILL`.
impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "exited with status {status}"),
            Self::Signaled(number) => match Signal::from_number(*number) {
                Some(signal) => write!(f, "was ended by {signal}"),
                None => write!(f, "was ended by signal {number}"),
            },
            Self::NotStarted(_, message) => write!(f, "could not be started: {}", line(message)),
        }
    }
}

impl Field for Exit {
    #[inline]
    fn put(&self, out: &mut BytesMut) {
        let (how, value, message) = match &self.ending {
            Ending::Exited(status) => (0_u8, status, ""),
            Ending::Signaled(signal) => (1, signal, ""),
            Ending::NotStarted(errno, message) => (2, errno, message.as_str()),
        };
        how.put(out);
        value.put(out);
        self.stdout.put(out);
        self.stderr.put(out);
        put_str(message, out);
    }

    #[inline]
    fn read(body: &mut Bytes) -> Option<Self> {
        let (how, value) = (u8::read(body)?, u32::read(body)?);
        let (stdout, stderr, message) = (u64::read(body)?, u64::read(body)?, String::read(body)?);
        let ending = match how {
            0 => Ending::Exited(value),
            1 => Ending::Signaled(value),
            2 => Ending::NotStarted(value, message),
            _ => return None,
        };
        Some(Self { ending, stdout, stderr })
    }

    fn describe(_: &str, fields: &mut Vec<(String, &'static str)>) {
        u8::describe("how", fields);
        u32::describe("value", fields);
        u64::describe("stdout_length", fields);
        u64::describe("stderr_length", fields);
        String::describe("message", fields);
    }
}

/// The reason why SELECT was refused.
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

byte!(Refusal, "B": NoMatch, TooMany, Closing);

byte!(NodeState, "B": Ready, Failed, Probing);
