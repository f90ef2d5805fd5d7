//! The behaviours of the simulation's processes, and the bytes that they and their clients send.

use bytes::Bytes;
use execnet_proto::feature::Feature;
use execnet_proto::id::ProcessId;
use execnet_proto::wire::{Spawn, Stream};
use fastrand::Rng;

/// The behaviour of a process; it travels as its only argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// Writes its stdin to stdout.
    Echo,
    /// Writes this much to stdout and stderr, then exits.
    Source { out: u64, err: u64, status: u32 },
    /// Reads its stdin slowly up to the end.
    Sink { status: u32 },
    /// Closes stdin after this many bytes.
    Closer { after: u64, status: u32 },
    /// Writes, and dies after this many milliseconds.
    Mortal { after: u64 },
    /// Does nothing, and ends only by SIGKILL.
    Stubborn,
    /// Records signals until SIGTERM.
    Signals,
    /// Cannot be started.
    Missing,
}

impl Behaviour {
    pub(crate) fn random(rng: &mut Rng, bulk: u64) -> Self {
        let mut amount = || match rng.u8(..8) {
            0 => 0,
            1 => rng.u64(..10),
            2..=4 => rng.u64(..20_000),
            5 | 6 => rng.u64(..bulk / 8),
            _ => rng.u64(..bulk),
        };
        let (out, err) = (amount(), amount());
        let status = u32::from(rng.u8(..));
        match rng.u8(..16) {
            0..=3 => Self::Echo,
            4..=7 => Self::Source { out, err, status },
            8 | 9 => Self::Sink { status },
            10 => Self::Closer { after: out, status },
            11 | 12 => Self::Mortal { after: rng.u64(..20_000) },
            13 => Self::Stubborn,
            14 => Self::Signals,
            _ => Self::Missing,
        }
    }

    pub(crate) fn encode(&self) -> Bytes {
        let text = match self {
            Self::Echo => "echo".into(),
            Self::Source { out, err, status } => format!("source {out} {err} {status}"),
            Self::Sink { status } => format!("sink {status}"),
            Self::Closer { after, status } => format!("closer {after} {status}"),
            Self::Mortal { after } => format!("mortal {after}"),
            Self::Stubborn => "stubborn".into(),
            Self::Signals => "signals".into(),
            Self::Missing => "missing".into(),
        };
        Bytes::from(text.into_bytes())
    }

    pub(crate) fn decode(bytes: &[u8]) -> Self {
        let text = std::str::from_utf8(bytes).expect("a kind");
        let mut words = text.split(' ');
        let name = words.next().expect("a kind");
        let mut number = || words.next().expect("a number").parse::<u64>().expect("a number");
        match name {
            "echo" => Self::Echo,
            "source" => Self::Source { out: number(), err: number(), status: number() as u32 },
            "sink" => Self::Sink { status: number() as u32 },
            "closer" => Self::Closer { after: number(), status: number() as u32 },
            "mortal" => Self::Mortal { after: number() },
            "stubborn" => Self::Stubborn,
            "signals" => Self::Signals,
            "missing" => Self::Missing,
            other => panic!("no kind {other}"),
        }
    }
}

/// The byte at this position of a stream: each position of each stream of each process has its own sequence.
fn byte(id: ProcessId, stream: Stream, position: u64) -> u8 {
    let mixed =
        (position ^ u64::from(id.0[0]) << 40 ^ (stream as u64) << 50).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 56) as u8
}

pub(crate) fn pattern(id: ProcessId, stream: Stream, position: u64, length: usize) -> Bytes {
    (position..position + length as u64).map(|at| byte(id, stream, at)).collect()
}

/// What a process that was started ahead has of its stdin already; for every other SPAWN one has waited.
pub(crate) fn waiting(spawn: &Spawn) -> Option<Bytes> {
    let (_, text) = spawn.options.iter().find(|(key, _)| key == Feature::Prefix.name())?;
    let length = std::str::from_utf8(text).ok()?.split(' ').next()?.parse().ok()?;
    (spawn.id.0[15] & 1 == 0).then(|| pattern(spawn.id, Stream::Stdin, 0, length))
}

/// Checks that `bytes` belong at this position.
pub(crate) fn check(id: ProcessId, stream: Stream, position: u64, bytes: &[u8]) {
    for (at, found) in (position..).zip(bytes) {
        assert_eq!(*found, byte(id, stream, at), "{id} {stream:?} at {at}");
    }
}
