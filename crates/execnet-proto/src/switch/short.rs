//! The short way: a small DATA frame that is all that has arrived from a peer, and that goes to a peer for
//! which nothing waits, passes as the bytes that it is. It is checked and counted as on the way of every
//! other frame, which it takes whenever anything is unusual.

use std::time::Duration;

use super::hosts::HostSide;
use super::{Owner, Peer, Switch};
use crate::id::ProcessId;
use crate::wire::{DataHead, Stream};

/// Longer frames go the usual way.
const LONGEST: usize = 16_384;

/// A frame that can take the short way.
#[derive(Clone, Copy, Debug)]
pub struct Short {
    from: Peer,
    to: Peer,
    id: ProcessId,
    stream: Stream,
    /// Bytes of DATA.
    length: usize,
    /// Bytes of the frame.
    size: usize,
}

impl Short {
    /// The peer for which it is.
    pub fn to(&self) -> Peer {
        self.to
    }
}

impl Switch {
    /// Whether bytes that arrived from a peer can take the short way. Then write them to the other peer,
    /// before anything else, and call [`Switch::passed`]. If earlier bytes still wait to be written to it,
    /// pass them on the usual way.
    pub fn short_way(&self, from: Peer, bytes: &[u8]) -> Option<Short> {
        let size = bytes.len();
        let DataHead { id, stream, position, length } =
            DataHead::of(bytes).filter(|head| head.size() == size && size <= LONGEST)?;
        let entry = self.forwarded.get(&id)?;
        let Owner::Client(client) = entry.owner else { return None };
        let side = self.clients.get(&client)?;
        let host = self.hosts.get(&entry.host)?;
        let link = host.own_link()?;
        let is_up = host.up() == Some(entry.incarnation) && !host.is_away();
        if !is_up || !side.is_open() || !entry.relay.passes(stream, position, length as u64) {
            return None;
        }
        let (here, there, to) = match (from, stream) {
            (Peer::Client(key), Stream::Stdin) if key == client => (&side.conn, link, Peer::Host(entry.host)),
            (Peer::Host(key), Stream::Stdout | Stream::Stderr) if key == entry.host => {
                (link, &side.conn, Peer::Client(client))
            }
            _ => return None,
        };
        (here.rest().is_empty() && there.has_nothing_to_say(size as u64)).then_some(Short {
            from,
            to,
            id,
            stream,
            length,
            size,
        })
    }

    /// A frame has taken the short way.
    pub fn passed(&mut self, short: Short, now: Duration) {
        let Short { from, to, id, stream, length, size } = short;
        if let Some(entry) = self.forwarded.get_mut(&id) {
            entry.relay.passed(stream, length as u64);
        }
        let mut is_due = false;
        for peer in [from, to] {
            let conn = match peer {
                Peer::Client(key) => self.clients.get_mut(&key).map(|side| &mut side.conn),
                Peer::Host(key) => self.hosts.get_mut(&key).and_then(HostSide::conn_mut),
            };
            let Some(conn) = conn else { continue };
            if peer == from {
                is_due = conn.passed_in(size, now);
            } else {
                conn.passed_out(id, length, size, now);
            }
        }
        if is_due {
            self.ready.insert(from);
        }
    }

    /// Whether [`Switch::poll_ready`] would name somebody.
    pub fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }
}
