//! The links of the tree: bytes arrive after a delay, in order, or never because the link was cut.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use bytes::Bytes;
use execnet_proto::id::ProcessId;
use execnet_proto::opening::OPENING;

use crate::host::BOOTSTRAP;

/// How long bytes are on their way, on a link of any depth.
pub(crate) const DELAY: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LinkId(u64);

/// Who reads the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    /// The daemon, or the process that carries the link.
    Near,
    /// The host that the link leads to.
    Far,
}

pub(crate) struct Link {
    pub(crate) host: u32,
    /// The process that carries it, and its host.
    pub(crate) carrier: Option<(u32, ProcessId)>,
    frames: [Frames; 2],
}

type Parcel = (Duration, u64, LinkId, End, Bytes);

#[derive(Default)]
pub(crate) struct Net {
    links: HashMap<LinkId, Link>,
    /// By the time of arrival, then in the order of sending.
    parcels: BinaryHeap<Reverse<Parcel>>,
    count: u64,
    /// What the daemon's own links have carried, both ways.
    pub(crate) carried: Carried,
}

/// Bytes, and the frames among them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Carried {
    pub(crate) bytes: u64,
    pub(crate) frames: u64,
}

impl Carried {
    pub(crate) fn since(self, before: Self) -> Self {
        Self { bytes: self.bytes - before.bytes, frames: self.frames - before.frames }
    }
}

impl Net {
    pub(crate) fn open(&mut self, host: u32, carrier: Option<(u32, ProcessId)>) -> LinkId {
        self.count += 1;
        let id = LinkId(self.count);
        let frames = [Frames::behind(OPENING.len()), Frames::behind(BOOTSTRAP)];
        self.links.insert(id, Link { host, carrier, frames });
        id
    }

    /// Nothing that is on its way arrives.
    pub(crate) fn cut(&mut self, id: LinkId) {
        self.links.remove(&id);
    }

    pub(crate) fn send(&mut self, id: LinkId, to: End, bytes: Bytes, now: Duration) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.carrier.is_none() {
            self.carried.bytes += bytes.len() as u64;
            link.frames[to as usize].take(&bytes, |_| self.carried.frames += 1);
        }
        self.count += 1;
        self.parcels.push(Reverse((now + DELAY, self.count, id, to, bytes)));
    }

    pub(crate) fn next(&self) -> Option<Duration> {
        self.parcels.peek().map(|Reverse((at, ..))| *at)
    }

    /// The next bytes that have arrived by now.
    pub(crate) fn take(&mut self, now: Duration) -> Option<(LinkId, End, Bytes)> {
        while self.next().is_some_and(|at| at <= now) {
            let Reverse((_, _, id, to, bytes)) = self.parcels.pop()?;
            if self.links.contains_key(&id) {
                return Some((id, to, bytes));
            }
        }
        None
    }

    pub(crate) fn link(&self, id: LinkId) -> &Link {
        &self.links[&id]
    }
}

/// Finds the frames in a flow of bytes by their headers.
#[derive(Default)]
pub(crate) struct Frames {
    /// The header of a frame, and the id that follows it if it is of a process.
    head: Vec<u8>,
    /// Bytes that come before the end of the frame, or before the first one.
    skip: usize,
}

impl Frames {
    /// In a flow that begins with so many bytes of something else.
    pub(crate) fn behind(skip: usize) -> Self {
        Self { head: Vec::new(), skip }
    }

    /// Names the beginning of each frame that is complete, up to 20 bytes.
    pub(crate) fn take(&mut self, mut bytes: &[u8], mut found: impl FnMut(&[u8])) {
        loop {
            let part = self.skip.min(bytes.len());
            (self.skip, bytes) = (self.skip - part, &bytes[part..]);
            if self.skip > 0 {
                return;
            }
            let length = match self.head[..] {
                [_, a, b, c, ..] => Some(usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)),
                _ => None,
            };
            let wanted = 4 + length.map_or(0, |length| length.min(16));
            if length.is_some() && self.head.len() == wanted {
                found(&self.head);
                self.head.clear();
            } else if bytes.is_empty() {
                return;
            } else {
                let part = (wanted - self.head.len()).min(bytes.len());
                self.head.extend_from_slice(&bytes[..part]);
                bytes = &bytes[part..];
                if let Some(length) = length.filter(|_| self.head.len() == wanted) {
                    self.skip = length - length.min(16);
                }
            }
        }
    }
}
