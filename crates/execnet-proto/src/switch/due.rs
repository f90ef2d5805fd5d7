//! What time does to hosts: silent links are asked and dropped, and processes on hosts that were out of reach
//! too long are lost.
//!
//! Hosts stand in the order of the moments at which they have to be looked at. Bytes that arrive put that
//! off, which is noticed only when the moment comes; a moment that comes nearer is noted at once.

use std::time::Duration;

use super::hosts::{Link, Stage};
use super::{Forwarded, HostKey, LOST_AFTER_LINGER, LinkEnd, Owner, Switch};
use crate::id::ProcessId;

/// Where a silent host is asked, those that would be asked within this time are asked, too: what comes
/// together takes less of everybody's time.
const TOGETHER: Duration = Duration::from_secs(1);

impl Switch {
    /// When to call [`Switch::tick`].
    pub fn deadline(&mut self) -> Option<Duration> {
        while let Some(&(at, host)) = self.due.first() {
            if self.due_at(host) == Some(at) {
                return Some(at);
            }
            self.disarm(host);
            self.arm(host);
        }
        None
    }

    /// Time has passed: asks silent links, drops dead ones, gives up on hosts that were away too long.
    pub fn tick(&mut self, now: Duration) {
        let due = self.due.iter().take_while(|(at, _)| *at <= now);
        let hosts: Vec<_> = due.map(|(_, host)| *host).collect();
        let mut asks = false;
        for host in hosts {
            asks |= self.look_after(host, now);
            self.disarm(host);
            self.arm(host);
        }
        if asks {
            let soon = self.due.iter().take_while(|(at, _)| *at <= now + TOGETHER);
            let hosts: Vec<_> = soon.map(|(_, host)| *host).collect();
            for host in hosts {
                self.ask_early(host, now);
            }
        }
    }

    /// Asks a silent host that would be asked soon.
    fn ask_early(&mut self, key: HostKey, now: Duration) {
        let Some(state) = self.hosts.get_mut(&key).filter(|state| state.away.is_none()) else { return };
        let Some(link) = state.link.as_mut().filter(|link| matches!(link.stage, Stage::Up)) else { return };
        if link.conn.asks_by(now + TOGETHER) {
            link.conn.measure(now);
            self.touch(key);
            self.disarm(key);
            self.arm(key);
        }
    }

    /// Looks at a host. Returns whether it is asked something.
    fn look_after(&mut self, key: HostKey, now: Duration) -> bool {
        let patience = self.me.linger + LOST_AFTER_LINGER;
        let Some(host) = self.hosts.get_mut(&key) else { return false };
        match (&mut host.link, host.away) {
            (Some(link), None) if matches!(link.stage, Stage::Up) => {
                let due = now >= link.conn.deadline();
                if !link.conn.tick(now) {
                    self.drop_link(key, LinkEnd::Silent, now);
                } else if due {
                    self.touch(key);
                    return true;
                }
            }
            (_, Some(since)) if now >= since + patience => {
                let seconds = patience.as_secs();
                let message = format!("{}; it has been out of reach for {seconds} s", host.why);
                for id in self.forwarded_on(key) {
                    if !self.expires(id) {
                        continue;
                    }
                    // not forgotten: if the agent answers after all, it is told to end it
                    self.lose(id, &message);
                    self.lose_tunnel(id, &message, now);
                }
            }
            _ => {}
        }
        false
    }

    /// When this host has to be looked at, as things are.
    fn due_at(&self, host: HostKey) -> Option<Duration> {
        let state = self.hosts.get(&host)?;
        match (&state.link, state.away) {
            (_, Some(since)) => {
                let patience = self.me.linger + LOST_AFTER_LINGER;
                state.ids.iter().any(|id| self.expires(*id)).then_some(since + patience)
            }
            (Some(Link { conn, stage: Stage::Up, .. }), None) => Some(conn.deadline()),
            _ => None,
        }
    }

    /// Whether a process is lost once its host was out of reach too long. Kept work waits.
    fn expires(&self, id: ProcessId) -> bool {
        let owned = |entry: &Forwarded| !matches!(entry.owner, Owner::Nobody);
        self.forwarded.get(&id).is_some_and(owned) && !self.is_kept(id)
    }

    /// A host may have to be looked at earlier than was known.
    pub(super) fn arm(&mut self, host: HostKey) {
        let Some(at) = self.due_at(host) else { return };
        let Some(state) = self.hosts.get_mut(&host) else { return };
        if state.due.is_none_or(|due| at < due) {
            if let Some(due) = state.due.replace(at) {
                self.due.remove(&(due, host));
            }
            self.due.insert((at, host));
        }
    }

    /// Takes a host out of the order.
    pub(super) fn disarm(&mut self, host: HostKey) {
        if let Some(due) = self.hosts.get_mut(&host).and_then(|state| state.due.take()) {
            self.due.remove(&(due, host));
        }
    }
}
