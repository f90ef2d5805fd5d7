//! The one table of frames. Kind, limit, directions, rank, process id and bytes of a frame all follow from
//! its row.
//!
//! A row is
//!
//! ```text
//! BYTE "NAME" limit LARGEST_BODY, way [FROM->TO …], rank N => Variant { field: Type, … };
//! ```
//!
//! Fields are in the order of their bytes; [`codec`](super::codec) and [`fields`](super::fields) define the
//! bytes of each type. `as` gives the name of a field in docs/protocol.md and in the agent, if it is another
//! one. A frame with a field of type [`ProcessId`] belongs to that process. `rank` orders the control frames
//! of one process in the queue of a connection, which keeps one frame for each rank (and stream). DATA, SKIP,
//! KEPT, and frames that belong to no process, have no rank.
//!
//! A new kind needs a row here, a row in docs/protocol.md and a golden frame in protocol/vectors; a kind of
//! the agent's also needs a row and a handler in remote/agent, and any other kind a row in
//! remote/tests/wire_tests.py. A test compares the tables.

use bytes::{Bytes, BytesMut};

use super::codec::{DATA_HEAD, Field, MAX_DATA, Stream, Table};
use super::fields::{Exit, Refusal, Span, Spawn, Standing};
use super::usage::Usage;
use crate::control::NodeState;
use crate::id::{ClientId, Epoch, Incarnation, ProcessId};

/// One end of a frame's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Party {
    Client,
    Daemon,
    Agent,
}

use Party::{Agent as A, Client as C, Daemon as D};

macro_rules! frames {
    ($(
        $byte:literal $name:literal limit $limit:expr, way [$($from:ident -> $to:ident)+]
            $(, rank $rank:literal)?
            => $kind:ident
                $(($only:ident $(as $only_wire:literal)? : $only_type:ty))?
                $({ $($field:ident $(as $wire:literal)? : $type:ty),+ })?;
    )+) => {
        /// The kind of a frame, by its first byte.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        #[allow(missing_docs)] // docs/protocol.md documents each; a test checks that it does
        pub enum FrameKind {
            $($kind = $byte),+
        }

        impl FrameKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$kind),+];

            /// The kind with this first byte.
            pub fn of(byte: u8) -> Option<Self> {
                match byte {
                    $($byte => Some(Self::$kind),)+
                    _ => None,
                }
            }

            /// Its name in the documents.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name),+
                }
            }

            /// The largest body of this kind, in bytes.
            pub fn limit(self) -> usize {
                match self {
                    $(Self::$kind => $limit),+
                }
            }

            /// Its senders and receivers.
            pub fn ways(self) -> &'static [(Party, Party)] {
                match self {
                    $(Self::$kind => &[$(($from, $to)),+]),+
                }
            }

            /// Whether client and agent send it to each other, about a process; the daemon forwards it.
            pub fn is_of_process(self) -> bool {
                match self {
                    $(Self::$kind => const { is_forwarded(&[$(($from, $to)),+]) }),+
                }
            }

            /// Its place among the control frames of a process; `None` for DATA and for frames that belong to
            /// no process.
            pub(crate) const fn rank(self) -> Option<u8> {
                match self {
                    $(Self::$kind => optional!($($rank)?)),+
                }
            }

            /// Name and form of each field of the body, in order. The forms are those of
            /// remote/agent/wire.py: `16` is 16 bytes, `B`, `H`, `I` and `Q` are integers of 1, 2, 4 and 8
            /// bytes, `rest` is everything up to the end.
            pub fn fields(self) -> Vec<(String, &'static str)> {
                #[allow(unused_mut)] // END has none
                let mut fields = Vec::new();
                match self {
                    $(Self::$kind => {
                        $(<$only_type>::describe(wire_name!($only $($only_wire)?), &mut fields);)?
                        $($(<$type>::describe(wire_name!($field $($wire)?), &mut fields);)+)?
                    })+
                }
                fields
            }
        }

        /// A frame. docs/protocol.md describes the fields.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[allow(missing_docs)] // docs/protocol.md documents each; a test checks that it does
        pub enum Frame {
            $($kind $(($only_type))? $({ $($field: $type),+ })?),+
        }

        impl Frame {
            /// Its kind.
            pub fn kind(&self) -> FrameKind {
                match self {
                    $(Self::$kind { .. } => FrameKind::$kind),+
                }
            }

            /// The process that it belongs to, if any.
            #[allow(unused_variables)] // only a field of type ProcessId or Spawn has an answer
            pub fn process(&self) -> Option<ProcessId> {
                match self {
                    $(Self::$kind $(($only))? $({ $($field),+ })? => {
                        None $(.or(Field::process($only)))? $($(.or(Field::process($field)))+)?
                    })+
                }
            }

            /// The stream that it is about, if any.
            #[allow(unused_variables)]
            pub(crate) fn stream(&self) -> Option<Stream> {
                match self {
                    $(Self::$kind $(($only))? $({ $($field),+ })? => {
                        None $(.or(Field::stream($only)))? $($(.or(Field::stream($field)))+)?
                    })+
                }
            }

            pub(super) fn put_body(&self, out: &mut BytesMut) {
                match self {
                    $(Self::$kind $(($only))? $({ $($field),+ })? => {
                        $($only.put(out);)?
                        $($($field.put(out);)+)?
                    })+
                }
            }

            pub(super) fn read_body(kind: FrameKind, body: &mut Bytes) -> Option<Self> {
                Some(match kind {
                    $(FrameKind::$kind => {
                        Self::$kind $((<$only_type>::read(body)?))? $({ $($field: <$type>::read(body)?),+ })?
                    })+
                })
            }
        }
    };
}

macro_rules! optional {
    () => {
        None
    };
    ($value:literal) => {
        Some($value)
    };
}

frames! {
    // of a connection itself
    0x01 "PING" limit 8, way [C->D D->C D->A A->D] => Ping(token: u64);
    0x02 "PONG" limit 8, way [C->D D->C D->A A->D] => Pong(token: u64);
    0x03 "ACK" limit 8, way [D->A A->D] => Ack(bytes: u64);

    // of a link
    0x10 "HELLO" limit 65_536, way [A->D]
        => Hello { incarnation: Incarnation, epoch: Epoch, resume: bool, pid: u32, facts as "table": Table };
    0x11 "NODE" limit 65_536, way [A->D] => Node { name: String, state: NodeState, facts as "table": Table };
    0x12 "END" limit 0, way [D->A] => End;
    0x13 "NODES" limit 2, way [A->D] => Nodes(count: u16);
    0x14 "LOOK" limit 0, way [D->A] => Look;
    0x15 "LOOKED" limit 524_288, way [A->D] => Looked { facts as "table": Table, rows: Vec<Usage> };
    0x16 "KEPT" limit 65_536, way [A->D] => Kept { id: ProcessId, facts as "table": Table };
    0x17 "KEEPS" limit 2, way [A->D] => Keeps(count: u16);
    0x18 "END_ALL" limit 0, way [D->A] => EndAll;

    // of a process, between client and agent
    0x20 "SPAWN" limit 1_048_576, way [C->A], rank 5 => Spawn(spawn: Box<Spawn>);
    0x21 "RESUME" limit 256, way [C->A], rank 5
        => Resume { id: ProcessId, attempt: u32, stdout: Span, stderr: Span };
    0x22 "RESUMED" limit 256, way [A->C], rank 6 => Resumed { id: ProcessId, attempt: u32, stdin: Span };
    0x23 "STARTED" limit 20, way [A->C], rank 7 => Started { id: ProcessId, pid: u32 };
    0x24 "DATA" limit DATA_HEAD + MAX_DATA, way [C->A A->C]
        => Data { id: ProcessId, stream: Stream, position: u64, bytes as "data": Bytes };
    0x25 "CREDIT" limit 33, way [C->A A->C], rank 8
        => Credit { id: ProcessId, stream: Stream, span as "": Span };
    0x26 "FIN" limit 25, way [C->A A->C], rank 9 => Fin { id: ProcessId, stream: Stream, length: u64 };
    0x27 "STOP" limit 17, way [C->A A->C], rank 10 => Stop { id: ProcessId, stream: Stream };
    0x28 "SIGNAL" limit 28, way [C->A], rank 12 => Signal { id: ProcessId, sequence: u32, mask: u64 };
    0x29 "SIGNALED" limit 20, way [A->C], rank 13 => Signaled { id: ProcessId, sequence: u32 };
    0x2a "EXIT" limit 8_192, way [A->C], rank 14 => Exit { id: ProcessId, exit: Exit };
    0x2b "RELEASE" limit 16, way [C->A D->A], rank 15 => Release(id: ProcessId);
    0x2c "FORGET" limit 16, way [A->D], rank 16 => Forget(id: ProcessId);
    0x2d "SIZE" limit 24, way [C->A], rank 11
        => Size { id: ProcessId, sequence: u32, rows: u16, columns: u16 };
    // the rank of KILL stands before those that a new attempt makes void
    0x2e "KILL" limit 32, way [D->A], rank 4 => Kill { id: ProcessId, sequence: u64, mask: u64 };
    0x2f "KILLED" limit 24, way [A->D], rank 17 => Killed { id: ProcessId, sequence: u64 };

    // between client and daemon
    0x30 "CLIENT" limit 4_096, way [C->D]
        => Client { id as "client": ClientId, release: String, facts as "table": Table };
    0x31 "DAEMON" limit 4_096, way [D->C]
        => Daemon { life: u32, pid: u32, release: String, network: String, facts as "table": Table };
    0x32 "SELECT" limit 65_536, way [C->D], rank 0 => Select { id: ProcessId, wants as "table": Table };
    0x33 "PLACED" limit 65_536, way [D->C], rank 1
        => Placed {
            id: ProcessId, incarnation: Incarnation, host: String, node: String, facts as "table": Table
        };
    0x34 "REFUSED" limit 65_536, way [D->C], rank 1
        => Refused { id: ProcessId, refusal as "reason": Refusal, message: String };
    0x35 "CLAIM" limit 512, way [C->D], rank 2
        => Claim { id: ProcessId, incarnation: Incarnation, host: String };
    0x36 "REACHABLE" limit 16, way [D->C], rank 3 => Reachable(id: ProcessId);
    0x37 "UNREACHABLE" limit 1_024, way [D->C], rank 3 => Unreachable { id: ProcessId, message: String };
    0x38 "LOST" limit 8_192, way [D->C], rank 4 => Lost { id: ProcessId, message: String };
    0x3a "REQUEST" limit 1_048_576, way [C->D] => Request { request: u32, json: Bytes };
    0x3b "REPLY" limit 16_777_215, way [D->C] => Reply { request: u32, last: bool, json: Bytes };

    // of kept work
    0x40 "TAKE" limit 1_024, way [C->A], rank 5
        => Take {
            id: ProcessId, attempt: u32, incarnation: Incarnation, owner: ClientId, tenure: u32, pid: u32,
            program: String, host: String
        };
    0x41 "TAKEN" limit 256, way [A->C], rank 6
        => Taken { id: ProcessId, attempt: u32, tenure: u32, standing: Standing };
    0x42 "LEAVE" limit 33, way [C->A D->A], rank 15 => Leave { id: ProcessId, owner: ClientId, end: bool };
    0x43 "LEFT" limit 1_024, way [A->D], rank 16
        => Left { id: ProcessId, owner: ClientId, pid: u32, program: String };
    // it goes in the order of DATA
    0x44 "SKIP" limit 25, way [A->C] => Skip { id: ProcessId, stream: Stream, position: u64 };
}

impl FrameKind {
    /// Whether agents send frames with this first byte.
    pub fn is_of_agents(byte: u8) -> bool {
        Self::of(byte).is_some_and(|kind| kind.ways().iter().any(|(from, _)| *from == A))
    }
}

const fn is_forwarded(mut ways: &[(Party, Party)]) -> bool {
    while let [way, rest @ ..] = ways {
        if matches!(way, (C, A) | (A, C)) {
            return true;
        }
        ways = rest;
    }
    false
}
