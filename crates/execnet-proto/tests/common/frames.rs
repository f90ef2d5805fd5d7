//! Well-formed frames made from any bytes, of every kind, with fields that are often nearly correct.

use bytes::Bytes;
use execnet_proto::control::NodeState;
use execnet_proto::id::{ClientId, Epoch, Incarnation, ProcessId};
use execnet_proto::wire::{
    Decoder, Ending, Exit, Frame, Held, Refusal, Role, Span, Spawn, Standing, Stream, Table, Usage,
};

/// Bytes that decide; zeros once they are used up.
pub(crate) struct Input<'a> {
    bytes: &'a [u8],
    /// How many tunnels there have been. Nobody knows the ids of later ones.
    pub(crate) tunnels: u16,
}

/// The id of the process that carries this tunnel, counted from 0.
pub(crate) fn tunnel(number: u16) -> ProcessId {
    let [high, low] = number.to_be_bytes();
    let mut id = [0xff; 16];
    (id[14], id[15]) = (high, low);
    ProcessId(id)
}

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, tunnels: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        first
    }

    pub(crate) fn below(&mut self, bound: u8) -> u8 {
        self.byte() % bound
    }

    pub(crate) fn bytes(&mut self, most: u8) -> Bytes {
        let length = usize::from(self.below(most)).min(self.bytes.len());
        let (bytes, rest) = self.bytes.split_at(length);
        self.bytes = rest;
        Bytes::copy_from_slice(bytes)
    }

    /// Small most of the time, often near the bounds of the protocol, sometimes anything.
    pub(crate) fn number(&mut self) -> u64 {
        let near = u64::from(self.byte());
        match self.below(8) {
            0..=3 => near,
            4 => 16_384 + near,
            5 => 2 * 1024 * 1024 - 128 + near,
            6 => u64::MAX - near,
            _ => near << (self.below(56)),
        }
    }

    pub(crate) fn text(&mut self) -> String {
        match self.below(6) {
            0 => String::new(),
            1 => "h0".into(),
            2 => "h1".into(),
            3 => "\u{1b}[2J".into(),
            _ => String::from_utf8_lossy(&self.bytes(40)).into_owned(),
        }
    }

    /// One of a few, so that they coincide. Some are those of the latest tunnels.
    pub(crate) fn id(&mut self) -> ProcessId {
        match self.below(9) {
            small @ 0..6 => ProcessId([small; 16]),
            back => match self.tunnels.checked_sub(u16::from(back) - 5) {
                Some(number) => tunnel(number),
                None => ProcessId([0; 16]),
            },
        }
    }

    pub(crate) fn span(&mut self) -> Span {
        let received = self.number();
        Span { received, limit: received.saturating_add(self.number()) }
    }

    fn stream(&mut self) -> Stream {
        Stream::ALL[usize::from(self.below(3))]
    }

    fn table(&mut self) -> Table {
        (0..self.below(4)).map(|_| (self.text(), self.bytes(40))).collect()
    }
}

fn usage(input: &mut Input<'_>) -> Usage {
    Usage {
        id: input.id(),
        pid: input.number() as u32,
        processes: input.number() as u32,
        age: input.number(),
        cpu: input.number(),
        memory: input.number(),
        command: input.text(),
    }
}

/// Options of a SPAWN.
fn options(input: &mut Input<'_>) -> Table {
    let value = match input.below(8) {
        0 => "a 60 wait last=5",
        1 => "a all",
        2 => "a",
        3 => return input.table(),
        _ => return Table::new(),
    };
    let key = if input.below(2) == 0 { "keep" } else { "enter" };
    vec![(key.to_owned(), value.into())]
}

/// A frame about kept work.
fn kept(input: &mut Input<'_>, id: ProcessId) -> Frame {
    let owner = ClientId([input.below(3); 16]);
    match input.below(9) {
        0 => Frame::Keeps(u16::from(input.byte())),
        1 => Frame::EndAll,
        2 => {
            let name = ["a", "b", "-", ""][usize::from(input.below(4))];
            let mut facts = input.table();
            facts.push(("name".to_owned(), name.into()));
            facts.push(("left".to_owned(), input.number().to_string().into()));
            Frame::Kept { id, facts }
        }
        3 => Frame::Take {
            id,
            attempt: u32::from(input.below(5)),
            incarnation: Incarnation([input.below(3); 16]),
            owner,
            tenure: u32::from(input.below(4)),
            pid: input.number() as u32,
            program: input.text(),
            host: input.text(),
        },
        4 => {
            let mut held = || {
                let start = input.number();
                Held { start, end: start.saturating_add(input.number()) }
            };
            let (stdout, stderr) = (held(), held());
            let standing = Standing {
                attempt: input.number() as u32,
                signals: u32::from(input.byte()),
                sizes: u32::from(input.byte()),
                rows: u16::from(input.below(2)),
                columns: u16::from(input.below(2)),
                stdin_closed: input.below(2) == 1,
                stdin_ended: input.below(2) == 1,
                stdout_stopped: input.below(2) == 1,
                stderr_stopped: input.below(2) == 1,
                stdin: input.number(),
                stdout,
                stderr,
            };
            Frame::Taken {
                id,
                attempt: u32::from(input.below(9)),
                tenure: u32::from(input.below(4)),
                standing,
            }
        }
        5 => Frame::Leave { id, owner, end: input.below(2) == 1 },
        6 => Frame::Left { id, owner, pid: u32::from(input.byte()), program: input.text() },
        _ => Frame::Skip { id, stream: input.stream(), position: input.number() },
    }
}

pub(crate) fn frame(input: &mut Input<'_>) -> Frame {
    let id = input.id();
    match input.below(37) {
        33..=36 => kept(input, id),
        0 => Frame::Ping(input.number()),
        1 => Frame::Pong(input.number()),
        2 => Frame::Ack(input.number()),
        3 => Frame::Hello {
            incarnation: Incarnation([input.below(3); 16]),
            epoch: Epoch(input.number()),
            resume: input.below(2) == 1,
            pid: input.number() as u32,
            facts: input.table(),
        },
        4 => Frame::Node {
            name: input.text(),
            state: [NodeState::Ready, NodeState::Failed, NodeState::Probing][usize::from(input.below(3))],
            facts: input.table(),
        },
        5 => Frame::End,
        6 => Frame::Nodes(input.number() as u16),
        7 => Frame::Spawn(Box::new(Spawn {
            id,
            attempt: u32::from(input.below(5)),
            incarnation: Incarnation([input.below(3); 16]),
            owner: ClientId([input.below(3); 16]),
            role: match input.below(8) {
                7 => Role::Tunnel,
                6 => Role::Ahead,
                5 => Role::Read,
                4 => Role::Enter,
                _ => Role::Plain,
            },
            stdout_limit: input.number(),
            stderr_limit: input.number(),
            host: input.text(),
            node: input.text(),
            chdir: input.text(),
            args: (0..input.below(3)).map(|_| input.bytes(20)).collect(),
            env: input.table(),
            options: options(input),
        })),
        8 => Frame::Resume {
            id,
            attempt: u32::from(input.below(8)),
            stdout: input.span(),
            stderr: input.span(),
        },
        9 => Frame::Resumed { id, attempt: u32::from(input.below(8)), stdin: input.span() },
        10 => Frame::Started { id, pid: input.number() as u32 },
        11..=13 => {
            let mut bytes = input.bytes(60);
            if bytes.is_empty() {
                bytes = Bytes::from(vec![0; 1 + usize::from(input.byte()) * 257]);
            }
            let most = u64::MAX - bytes.len() as u64;
            Frame::Data { id, stream: input.stream(), position: input.number().min(most), bytes }
        }
        14 => Frame::Credit { id, stream: input.stream(), span: input.span() },
        15 => Frame::Fin { id, stream: input.stream(), length: input.number() },
        16 => Frame::Stop { id, stream: input.stream() },
        31 => Frame::Size {
            id,
            sequence: u32::from(input.below(5)),
            rows: input.number() as u16,
            columns: input.number() as u16,
        },
        17 => Frame::Signal { id, sequence: u32::from(input.below(5)), mask: input.number() },
        18 => Frame::Signaled { id, sequence: u32::from(input.below(5)) },
        19 => Frame::Exit {
            id,
            exit: Exit {
                ending: match input.below(3) {
                    0 => Ending::Exited(input.number() as u32),
                    1 => Ending::Signaled(input.number() as u32),
                    _ => Ending::NotStarted(input.number() as u32, input.text()),
                },
                stdout: input.number(),
                stderr: input.number(),
            },
        },
        20 => Frame::Release(id),
        21 => Frame::Forget(id),
        22 => {
            Frame::Client { id: ClientId([input.below(3); 16]), release: input.text(), facts: input.table() }
        }
        23 => Frame::Daemon {
            life: input.number() as u32,
            pid: input.number() as u32,
            release: input.text(),
            network: input.text(),
            facts: input.table(),
        },
        24 => Frame::Select { id, wants: input.table() },
        25 => Frame::Placed {
            id,
            incarnation: Incarnation([input.below(3); 16]),
            host: input.text(),
            node: input.text(),
            facts: input.table(),
        },
        26 => Frame::Refused {
            id,
            refusal: [Refusal::NoMatch, Refusal::TooMany, Refusal::Closing][usize::from(input.below(3))],
            message: input.text(),
        },
        27 => Frame::Claim { id, incarnation: Incarnation([input.below(3); 16]), host: input.text() },
        28 => match input.below(3) {
            0 => Frame::Reachable(id),
            1 => Frame::Unreachable { id, message: input.text() },
            _ => Frame::Lost { id, message: input.text() },
        },
        29 => Frame::Request { request: input.number() as u32, json: input.bytes(50) },
        30 => match input.below(4) {
            0 => Frame::Look,
            1 => Frame::Kill { id, sequence: input.number(), mask: input.number() },
            2 => Frame::Killed { id, sequence: input.number() },
            _ => Frame::Looked {
                facts: input.table(),
                rows: (0..input.below(3)).map(|_| usage(input)).collect(),
            },
        },
        _ => {
            Frame::Reply { request: input.number() as u32, last: input.below(2) == 1, json: input.bytes(50) }
        }
    }
}

/// Any bytes are frames or refused, and a frame survives encoding and decoding.
pub(crate) fn again(bytes: &[u8]) -> Vec<Frame> {
    let mut decoder = Decoder::default();
    decoder.push(bytes);
    let mut frames = Vec::new();
    while let Ok(Some((frame, length))) = decoder.next() {
        assert!(length <= bytes.len());
        let encoded = frame.to_bytes();
        let mut other = Decoder::default();
        other.push(&encoded);
        assert_eq!(other.next(), Ok(Some((frame.clone(), encoded.len()))));
        frames.push(frame);
    }
    // however they come; behind an error is nothing
    let mut other = Decoder::default();
    let mut count = 0;
    'all: for part in bytes.chunks(7) {
        other.push(part);
        loop {
            match other.next() {
                Ok(Some((frame, _))) => assert_eq!(Some(&frame), frames.get(count)),
                Ok(None) => break,
                Err(_) => break 'all,
            }
            count += 1;
        }
    }
    assert_eq!(count, frames.len());
    frames
}
