//! Virtual links: two byte pipes with delay and bounded buffers. They stall, are cut, and deliver in odd
//! pieces.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use fastrand::Rng;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LinkId(pub(crate) u64);

/// One end of a link: the side that opened it, or the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Near = 0,
    Far = 1,
}

pub(crate) enum Read {
    Bytes(Bytes),
    Nothing,
    /// The other end closed it, or it was cut.
    End,
}

#[derive(Default)]
pub(crate) struct Net {
    links: BTreeMap<LinkId, Link>,
    count: u64,
}

struct Link {
    delay: Duration,
    capacity: usize,
    long: bool,
    /// The bytes that each side will read.
    pipes: [Pipe; 2],
}

#[derive(Default)]
struct Pipe {
    queue: VecDeque<(Duration, Bytes)>,
    length: usize,
    stalled: Duration,
    end: Option<Duration>,
    /// Nobody reads it any more.
    abandoned: bool,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Near => Self::Far,
            Self::Far => Self::Near,
        }
    }
}

impl Net {
    pub(crate) fn open(&mut self, delay: Duration, capacity: usize, long: bool) -> LinkId {
        self.count += 1;
        let id = LinkId(self.count);
        self.links.insert(id, Link { delay, capacity, long, pipes: Default::default() });
        id
    }

    pub(crate) fn ids(&self) -> Vec<LinkId> {
        self.links.keys().copied().collect()
    }

    /// Whether it is a link, not a socket on this machine.
    pub(crate) fn is_long(&self, id: LinkId) -> bool {
        self.links.get(&id).is_some_and(|link| link.long)
    }

    /// Writes as much as fits. Bytes written to a closed link vanish: its end will be read.
    pub(crate) fn write(
        &mut self,
        id: LinkId,
        side: Side,
        bytes: &mut BytesMut,
        now: Duration,
        rng: &mut Rng,
    ) {
        let Some(link) = self.links.get_mut(&id) else { return bytes.clear() };
        let pipe = &mut link.pipes[side.other() as usize];
        if pipe.end.is_some() || pipe.abandoned {
            return bytes.clear();
        }
        let room = link.capacity - pipe.length;
        let part = bytes.len().min(room);
        if part == 0 {
            return;
        }
        let part = if rng.u8(..8) == 0 { rng.usize(1..=part) } else { part };
        let last = pipe.queue.back().map_or(Duration::ZERO, |(at, _)| *at);
        let at = (now + link.delay).max(last).max(pipe.stalled);
        pipe.queue.push_back((at, bytes.split_to(part).freeze()));
        pipe.length += part;
    }

    pub(crate) fn has_room(&self, id: LinkId, side: Side) -> bool {
        let Some(link) = self.links.get(&id) else { return true };
        let pipe = &link.pipes[side.other() as usize];
        pipe.end.is_some() || pipe.abandoned || pipe.length < link.capacity
    }

    pub(crate) fn read(&mut self, id: LinkId, side: Side, most: usize, now: Duration, rng: &mut Rng) -> Read {
        let Some(link) = self.links.get_mut(&id) else { return Read::End };
        let pipe = &mut link.pipes[side as usize];
        if now >= pipe.stalled
            && let Some((at, bytes)) = pipe.queue.front_mut()
        {
            if *at > now {
                return Read::Nothing;
            }
            let most = if rng.u8(..4) == 0 { rng.usize(1..=most) } else { most };
            let part = bytes.split_to(most.min(bytes.len()));
            if !bytes.has_remaining() {
                pipe.queue.pop_front();
            }
            pipe.length -= part.len();
            return Read::Bytes(part);
        }
        if pipe.queue.is_empty() && pipe.end.is_some_and(|end| now >= end) {
            Read::End
        } else {
            Read::Nothing
        }
    }

    /// One side closes. The other still reads the bytes on their way.
    pub(crate) fn close(&mut self, id: LinkId, side: Side, now: Duration) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let delay = link.delay;
        let theirs = &mut link.pipes[side.other() as usize];
        theirs.end.get_or_insert(now + delay);
        let ours = &mut link.pipes[side as usize];
        ours.abandoned = true;
        ours.queue.clear();
        ours.length = 0;
        if link.pipes.iter().all(|pipe| pipe.abandoned) {
            self.links.remove(&id);
        }
    }

    /// Cuts a link. Some of the bytes on their way arrive, and each side learns of it in its own time.
    pub(crate) fn cut(&mut self, id: LinkId, now: Duration, rng: &mut Rng) {
        let Some(link) = self.links.get_mut(&id) else { return };
        for pipe in &mut link.pipes {
            let keep = rng.usize(..=pipe.queue.len());
            pipe.queue.truncate(keep);
            if let Some((_, last)) = pipe.queue.back_mut() {
                last.truncate(rng.usize(1..=last.len()));
            }
            pipe.length = pipe.queue.iter().map(|(_, bytes)| bytes.len()).sum();
            pipe.stalled = pipe.stalled.min(now);
            let late = Duration::from_millis(if rng.bool() { 0 } else { rng.u64(..3_000) });
            let end = pipe.end.unwrap_or(now + late).min(now + late);
            pipe.end = Some(end);
        }
    }

    /// Nothing arrives until then, one way or both.
    pub(crate) fn stall(&mut self, id: LinkId, until: Duration, rng: &mut Rng) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let which = rng.u8(..4);
        for (index, pipe) in link.pipes.iter_mut().enumerate() {
            if which >= 2 || usize::from(which) == index {
                pipe.stalled = pipe.stalled.max(until);
            }
        }
    }

    /// Nothing ever arrives again, and nobody is told.
    pub(crate) fn deafen(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(&id) {
            for pipe in &mut link.pipes {
                pipe.stalled = Duration::MAX;
            }
        }
    }

    pub(crate) fn end_stalls(&mut self, now: Duration) {
        for pipe in self.links.values_mut().flat_map(|link| &mut link.pipes) {
            if pipe.stalled == Duration::MAX {
                continue;
            }
            pipe.stalled = pipe.stalled.min(now);
            for (at, _) in &mut pipe.queue {
                *at = (*at).min(now + Duration::from_secs(1));
            }
        }
    }

    /// When more bytes can next be read.
    pub(crate) fn next(&self, now: Duration) -> Option<Duration> {
        let pipes = self.links.values().flat_map(|link| &link.pipes).filter(|pipe| !pipe.abandoned);
        let times = pipes.filter_map(|pipe| match pipe.queue.front() {
            Some((at, _)) => Some((*at).max(pipe.stalled)),
            None => pipe.end,
        });
        times.filter(|at| *at > now).min()
    }
}
