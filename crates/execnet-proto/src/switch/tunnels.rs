//! Tunnels: a host's link inside a process on another host, and what a break beneath means for the links
//! above.
//!
//! The daemon is the client of a tunnel's process. The bytes of the inner link are its stdin and stdout.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::hosts::HostSide;
use super::noise::SAID;
use super::{Forwarded, HostKey, LinkEnd, Owner, Switch, SwitchEvent};
use crate::id::{Epoch, ProcessId};
use crate::process::Process;
use crate::wire::{Frame, Role, Spawn, Stream, Table};

/// The variable that tells an agent, and the command itself, that the command gets time to take back its job.
const CANCEL: &str = "EXECNET_CANCEL";

/// Bytes of a tunnel's link that may wait on their way down, so turns stay short.
const AHEAD: usize = 65_536;

impl Switch {
    /// Opens a host's link inside a process on another host that is up. `args` is its command, `id` a fresh
    /// id. Returns false if that host is not up, or is itself reached through this one.
    #[allow(clippy::too_many_arguments)]
    pub fn open_tunnel(
        &mut self,
        host: HostKey,
        via: HostKey,
        id: ProcessId,
        args: Vec<Bytes>,
        epoch: Epoch,
        bootstrap: Bytes,
        now: Duration,
    ) -> bool {
        self.open_tunnel_with(host, via, id, args, false, epoch, bootstrap, now)
    }

    /// The same. If the command is `cancelled` when it is no longer needed, it gets SIGTERM, and SIGKILL 10 s
    /// later.
    #[allow(clippy::too_many_arguments)]
    pub fn open_tunnel_with(
        &mut self,
        host: HostKey,
        via: HostKey,
        id: ProcessId,
        args: Vec<Bytes>,
        cancelled: bool,
        epoch: Epoch,
        bootstrap: Bytes,
        now: Duration,
    ) -> bool {
        let mut on_the_way = Some(via);
        while let Some(key) = on_the_way {
            if key == host {
                return false;
            }
            on_the_way = self.hosts.get(&key).and_then(HostSide::via);
        }
        if !self.hosts.contains_key(&host) {
            return false;
        }
        let owner = self.me.owner;
        let Some(carrier) = self.hosts.get_mut(&via) else { return false };
        let Some(incarnation) = carrier.up() else { return false };
        let mut process = Box::new(Process::new(Spawn {
            id,
            attempt: 0,
            incarnation,
            owner,
            role: Role::Tunnel,
            stdout_limit: 0,
            stderr_limit: 0,
            host: carrier.name.clone(),
            node: String::new(),
            chdir: String::new(),
            args,
            env: cancelled.then(|| (CANCEL.into(), Bytes::from_static(b"1"))).into_iter().collect(),
            options: Table::new(),
        }));
        if let Some(conn) = carrier.conn_mut() {
            process.reachable(conn);
        }
        let (owner, relay) = (Owner::Tunnel(host, process), super::Relay::default());
        self.insert_forwarded(id, Forwarded::new(owner, via, incarnation, relay));
        self.open(host, epoch, bootstrap, Some((via, id)), now);
        true
    }

    /// Hands on the output of a tunnel's process, as far as the turn allows.
    pub(super) fn drain_tunnel(&mut self, inner: HostKey, via: HostKey, id: ProcessId, now: Duration) {
        // whatever it says may make room for more
        if let Some(carrier) = self.hosts.get_mut(&via) {
            carrier.stirred.insert(id);
        }
        // some of what was handed on before may be left
        let mut bytes = Bytes::new();
        loop {
            if let Err(why) = self.link_frames(inner, &bytes, now) {
                self.drop_link(inner, why, now);
            }
            if self.turn.is_over() {
                if let Some(carrier) = self.hosts.get_mut(&via) {
                    carrier.left.insert(id);
                }
                return;
            }
            let Some(Forwarded { owner: Owner::Tunnel(_, process), .. }) = self.forwarded.get_mut(&id) else {
                return;
            };
            let Some(carrier) = self.hosts.get_mut(&via) else { return };
            let mut take = |stream| {
                let conn = carrier.link.as_mut().map(|link| &mut link.conn);
                process.read(stream, usize::MAX, conn, &mut self.tunnels)
            };
            let said;
            (bytes, said) = (take(Stream::Stdout), take(Stream::Stderr));
            let ending = process.ending().cloned();
            if let Some(host) = self.hosts.get_mut(&inner)
                && !said.is_empty()
            {
                host.stderr.extend_from_slice(&said);
                let from = host.stderr.len().saturating_sub(SAID);
                host.stderr.drain(..from);
            }
            self.turn.frame(said.len());
            if bytes.is_empty() && said.is_empty() {
                if let Some(ending) = ending {
                    let via = self.hosts.get(&via).map(|host| host.name.clone()).unwrap_or_default();
                    self.drop_link(inner, LinkEnd::TunnelEnded { via, ending }, now);
                }
                return;
            }
        }
    }

    /// Moves bytes of an inner link into the process that carries it. If there may be more, the tunnel stays
    /// stirred.
    pub(super) fn feed_tunnel(&mut self, via: HostKey, id: ProcessId, now: Duration) {
        loop {
            let Some(Forwarded { owner: Owner::Tunnel(inner, process), .. }) = self.forwarded.get_mut(&id)
            else {
                return;
            };
            let inner = *inner;
            let Some(carrier) = self.hosts.get_mut(&via) else { return };
            let Some(link) = &mut carrier.link else { return };
            process.pump(&mut link.conn);
            let ahead = process.stdin_unsent() as usize + link.conn.queued(id);
            if ahead >= AHEAD || process.stdin_capacity() < 4 * AHEAD {
                carrier.stirred.insert(id);
                return;
            }
            let mut bytes = BytesMut::new();
            self.link_transmit(inner, &mut bytes, AHEAD, now);
            if bytes.is_empty() {
                return;
            }
            let Some(Forwarded { owner: Owner::Tunnel(_, process), .. }) = self.forwarded.get_mut(&id) else {
                return;
            };
            let conn = self.hosts.get_mut(&via).and_then(HostSide::conn_mut);
            process.write(bytes.freeze(), conn);
        }
    }

    /// A host went out of reach: tells its clients, and those of the hosts behind it.
    pub(super) fn away(&mut self, host: HostKey, why: &str, now: Duration) {
        let Some(state) = self.hosts.get_mut(&host) else { return };
        state.away.get_or_insert(now);
        state.why = why.into();
        for id in self.forwarded_on(host) {
            self.shut(id);
            match self.forwarded.get_mut(&id).map(|entry| &mut entry.owner) {
                Some(Owner::Client(client)) => {
                    let client = *client;
                    self.tell_client(client, Frame::Unreachable { id, message: why.into() });
                }
                Some(Owner::Tunnel(inner, process)) => {
                    let inner = *inner;
                    process.broken(why.into());
                    if self.hosts.get(&inner).and_then(HostSide::up).is_some() {
                        self.events.push_back(SwitchEvent::ViaChanged { host: inner });
                    }
                    let name = self.hosts.get(&inner).map(|host| host.name.clone()).unwrap_or_default();
                    self.away(inner, &format!("{name} is unreachable: {why}"), now);
                }
                _ => {}
            }
        }
        self.arm(host);
    }

    /// A host can be reached again, with the same agent: everything there goes on.
    pub(super) fn back(&mut self, host: HostKey, now: Duration) {
        let Some(state) = self.hosts.get_mut(&host) else { return };
        state.away = None;
        for id in self.forwarded_on(host) {
            let Some(entry) = self.forwarded.get_mut(&id) else { continue };
            match &mut entry.owner {
                Owner::Client(client) => {
                    let client = *client;
                    self.tell_client(client, Frame::Reachable(id));
                    if let Some(side) = self.clients.get_mut(&client) {
                        side.conn.invite();
                    }
                    self.say_kill(id);
                }
                Owner::Nobody => self.say_farewell(host, id),
                Owner::Tunnel(inner, process) => {
                    let inner = *inner;
                    if let Some(conn) = self.hosts.get_mut(&host).and_then(HostSide::conn_mut) {
                        process.reachable(conn);
                    }
                    if let Some(conn) = self.hosts.get_mut(&inner).and_then(HostSide::conn_mut) {
                        conn.excuse(now);
                    }
                    if self.hosts.get(&inner).and_then(HostSide::up).is_some() {
                        self.events.push_back(SwitchEvent::ViaChanged { host: inner });
                        self.back(inner, now);
                    }
                }
            }
        }
        self.arm(host);
        self.touch(host);
    }

    /// A tunnel's process is lost, and the link in it with it.
    pub(super) fn lose_tunnel(&mut self, id: ProcessId, message: &str, now: Duration) {
        let Some(Forwarded { owner: Owner::Tunnel(inner, process), host, .. }) = self.forwarded.get_mut(&id)
        else {
            return;
        };
        let (inner, message) = (*inner, message.to_owned());
        process.lose(message.clone(), &mut self.tunnels);
        let via = self.hosts.get(host).map(|host| host.name.clone()).unwrap_or_default();
        self.drop_link(inner, LinkEnd::TunnelLost { via, message }, now);
    }

    /// The process that carried a tunnel is no longer needed.
    pub(super) fn end_tunnel(&mut self, id: ProcessId) {
        if let Some(Forwarded { owner: Owner::Tunnel(_, process), host, .. }) = self.forwarded.get_mut(&id) {
            process.close(&mut self.tunnels);
            let (open, host) = (process.open(), *host);
            if let Some(carrier) = self.hosts.get_mut(&host) {
                carrier.outstanding.expect_late(open);
            }
            self.release(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{ClientId, Incarnation};
    use crate::opening::OPENING;
    use crate::stream::STDIN_WINDOW;
    use crate::switch::Identity;
    use crate::wire::Span;

    const NOW: Duration = Duration::ZERO;
    const OUTER: HostKey = HostKey(0);

    fn greeting(epoch: Epoch, number: u8) -> BytesMut {
        let mut bytes = BytesMut::from(&OPENING[..]);
        let incarnation = Incarnation([number; 16]);
        Frame::Hello { incarnation, epoch, resume: true, pid: 1, facts: Table::new() }.encode(&mut bytes);
        bytes
    }

    fn transmitted(switch: &mut Switch) -> usize {
        let mut out = BytesMut::new();
        switch.link_transmit(OUTER, &mut out, usize::MAX, NOW);
        out.len()
    }

    #[test]
    fn only_a_tunnel_with_something_to_say_is_looked_at() {
        let mut switch = Switch::new(Identity {
            owner: ClientId([9; 16]),
            life: 1,
            pid: 1,
            release: String::new(),
            network: String::new(),
            linger: Duration::from_secs(600),
            private: false,
        });
        for number in 0..=3 {
            switch.add_host(HostKey(number), "h", NOW);
        }
        switch.open_link(OUTER, Epoch::new(1, 0), Bytes::new(), NOW);
        switch.link_bytes(OUTER, &greeting(Epoch::new(1, 0), 0), NOW);
        for number in 1..=3 {
            let (id, epoch) = (ProcessId([number; 16]), Epoch::new(1, number.into()));
            let bootstrap = Bytes::from_static(b"boot");
            assert!(switch.open_tunnel(HostKey(number.into()), OUTER, id, Vec::new(), epoch, bootstrap, NOW));
            let stdin = Span { received: 0, limit: STDIN_WINDOW };
            switch.link_bytes(OUTER, &Frame::Resumed { id, attempt: 1, stdin }.to_bytes(), NOW);
            let bytes = greeting(epoch, number).freeze();
            let greeted = Frame::Data { id, stream: Stream::Stdout, position: 0, bytes };
            switch.link_bytes(OUTER, &greeted.to_bytes(), NOW);
        }
        assert_eq!(switch.hosts[&OUTER].stirred.len(), 3);
        assert!(transmitted(&mut switch) > 0);
        assert!(switch.hosts[&OUTER].stirred.is_empty());
        assert_eq!(transmitted(&mut switch), 0);
        switch.measure_afresh(HostKey(2), NOW);
        assert!(switch.hosts[&OUTER].stirred.iter().eq([&ProcessId([2; 16])]));
        assert_eq!(transmitted(&mut switch), 41, "a PING in a DATA");
        assert!(switch.hosts[&OUTER].stirred.is_empty());
    }
}
