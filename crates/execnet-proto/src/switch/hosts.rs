//! The hosts' side of the switch: links from the first byte to the last, tunnels, silence, loss.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};

use super::relay::Outstanding;
use super::{Entry, HostKey, LOST_AFTER_LINGER, LinkEnd, Owner, Peer, Switch, SwitchEvent};
use crate::conn::Conn;
use crate::frame::{Frame, MARKER, Spawn, Stream, VERSION};
use crate::id::{Epoch, Incarnation, ProcessId};
use crate::process::Process;
use crate::stream::Violation;

/// Bytes of noise that are read before the marker.
const MAX_NOISE: usize = 1024 * 1024;

/// Bytes of noise, or of what a tunnel's process says on stderr, that are kept.
const SAID: usize = 4096;

/// Bytes of a tunnel's link that may wait on their way down, so that turns stay short.
const AHEAD: usize = 65_536;

/// A late tick by this much means that this program was stopped, not that all links are silent.
const STOPPED: Duration = Duration::from_secs(3);

/// One host as the switch sees it.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) name: String,
    link: Option<Link>,
    incarnation: Option<Incarnation>,
    resume: bool,
    /// Since when it cannot be reached.
    away: Option<Duration>,
    /// Why.
    why: String,
    said: Vec<u8>,
    pub(super) outstanding: Outstanding,
}

/// A link, from the moment it is opened.
#[derive(Debug)]
struct Link {
    conn: Conn,
    epoch: Epoch,
    /// What is to be written before the first frame.
    bootstrap: Bytes,
    stage: Stage,
    tunnel: Option<(HostKey, ProcessId)>,
}

#[derive(Debug)]
enum Stage {
    /// Looking for the marker in what arrives; counts the noise.
    Marker {
        pending: Vec<u8>,
        noise: usize,
    },
    Hello,
    Up,
}

impl Host {
    pub(super) fn conn(&self) -> Option<&Conn> {
        self.link.as_ref().map(|link| &link.conn)
    }

    pub(super) fn conn_mut(&mut self) -> Option<&mut Conn> {
        self.link.as_mut().map(|link| &mut link.conn)
    }

    /// The incarnation of its agent, if that has greeted on the present link.
    pub(super) fn up(&self) -> Option<Incarnation> {
        let up = matches!(self.link.as_ref()?.stage, Stage::Up);
        self.incarnation.filter(|_| up)
    }

    pub(super) fn incarnation(&self) -> Option<Incarnation> {
        self.incarnation
    }

    /// Whether its link, or one beneath it, is down.
    pub(super) fn is_away(&self) -> bool {
        self.away.is_some()
    }

    pub(super) fn via(&self) -> Option<HostKey> {
        self.link.as_ref()?.tunnel.map(|(via, _)| via)
    }

    pub(super) fn reachable(&self, hosts: &BTreeMap<HostKey, Self>) -> Result<(), String> {
        match self.via().and_then(|via| hosts.get(&via)) {
            Some(via) => via.reachable(hosts)?,
            None => {}
        }
        if self.up().is_some() && !self.is_away() { Ok(()) } else { Err(self.why.clone()) }
    }
}

impl Switch {
    /// A host joins the network. It has no link yet.
    pub fn add_host(&mut self, host: HostKey, name: &str, now: Duration) {
        let state = Host {
            name: name.into(),
            link: None,
            incarnation: None,
            resume: true,
            away: Some(now),
            why: format!("{name} is not connected yet"),
            said: Vec::new(),
            outstanding: Outstanding::default(),
        };
        self.hosts.insert(host, state);
    }

    /// A host leaves the network; its link is dropped, what ran there is lost.
    pub fn remove_host(&mut self, host: HostKey, now: Duration) {
        self.link_closed(host, "it was removed from the network", now);
        let Some(name) = self.hosts.get(&host).map(|host| host.name.clone()) else { return };
        for id in self.entries_of(host) {
            self.lose(id, &format!("host {name} was removed from the network"));
            self.entries.remove(&id);
        }
        self.hosts.remove(&host);
    }

    /// Tells a host's agent to end everything and itself; the link's end says that it has.
    pub fn end_host(&mut self, host: HostKey) {
        self.to_host(host, Frame::End);
    }

    /// The process that carries a host's own link runs: `bootstrap` is written to it, then frames.
    pub fn open_link(&mut self, host: HostKey, epoch: Epoch, bootstrap: Bytes, now: Duration) {
        self.open(host, epoch, bootstrap, None, now);
    }

    /// Opens a host's link inside a process on another host that is up: `args` is its command, `id` its fresh id.
    /// False if that host is not up.
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
        let owner = self.me.owner;
        let Some(carrier) = self.hosts.get_mut(&via) else { return false };
        let Some(incarnation) = carrier.up() else { return false };
        let mut process = Box::new(Process::new(Spawn {
            id,
            attempt: 0,
            incarnation,
            owner,
            tunnel: true,
            stdout_limit: 0,
            stderr_limit: 0,
            host: carrier.name.clone(),
            node: String::new(),
            chdir: String::new(),
            args,
            env: Vec::new(),
        }));
        if let Some(conn) = carrier.conn_mut() {
            process.reachable(conn);
        }
        let (owner, relay) = (Owner::Tunnel(host, process), super::Relay::default());
        self.entries.insert(id, Entry { owner, host: via, incarnation, spawned: true, relay });
        self.open(host, epoch, bootstrap, Some((via, id)), now);
        true
    }

    fn open(
        &mut self,
        host: HostKey,
        epoch: Epoch,
        bootstrap: Bytes,
        tunnel: Option<(HostKey, ProcessId)>,
        now: Duration,
    ) {
        self.link_closed(host, "it is being connected again", now);
        let Some(state) = self.hosts.get_mut(&host) else { return };
        state.said.clear();
        let stage = Stage::Marker { pending: Vec::new(), noise: 0 };
        state.link = Some(Link { conn: Conn::link(now), epoch, bootstrap, stage, tunnel });
        self.touch(host);
    }

    /// Bytes arrived on a host's own link.
    pub fn link_bytes(&mut self, host: HostKey, bytes: &[u8], now: Duration) {
        if let Err(why) = self.link_frames(host, bytes, now) {
            self.drop_link(host, why, now);
        }
        self.touch(host);
    }

    /// A host's link has ended, which the driver noticed. `why` is told to those who wait for the host.
    /// Returns what was said on it that was no frame.
    pub fn link_closed(&mut self, host: HostKey, why: &str, now: Duration) -> String {
        let Some(state) = self.hosts.get_mut(&host) else { return String::new() };
        let Some(link) = state.link.take() else { return String::new() };
        if let Stage::Marker { pending, .. } = &link.stage {
            let from = pending.len().saturating_sub(SAID);
            state.said.splice(..0, pending[from..].iter().copied());
        }
        let said = String::from_utf8_lossy(&state.said).into_owned();
        let was_up = matches!(link.stage, Stage::Up);
        let name = state.name.clone();
        let gone_for_good = was_up && !state.resume;
        if was_up {
            self.away(host, &format!("{name} is unreachable: {why}"), now);
        } else {
            state.why = format!("{name} is unreachable: {why}");
        }
        if let Some((_, id)) = link.tunnel {
            self.end_tunnel(id);
        }
        if gone_for_good {
            for id in self.entries_of(host) {
                self.lose(id, &format!("{name} cannot resume, and its link ended: {why}"));
                self.forget(id, now);
            }
            if let Some(state) = self.hosts.get_mut(&host) {
                state.incarnation = None;
            }
        }
        said
    }

    /// Appends what may be written on a host's own link now.
    pub fn link_transmit(&mut self, host: HostKey, out: &mut BytesMut, most: usize, now: Duration) {
        let inner: Vec<_> = self
            .hosts
            .iter()
            .filter_map(|(&key, inner)| match inner.link.as_ref()?.tunnel {
                Some((via, id)) if via == host => Some((key, id)),
                _ => None,
            })
            .collect();
        for (key, id) in inner {
            self.feed_tunnel(key, host, id, now);
        }
        let Some(link) = self.hosts.get_mut(&host).and_then(|host| host.link.as_mut()) else { return };
        let part = link.bootstrap.len().min(most.saturating_sub(out.len()));
        out.extend_from_slice(&link.bootstrap.split_to(part));
        if link.bootstrap.is_empty() {
            link.conn.transmit(out, most, now);
        }
    }

    /// Measures the round trip of a host's link.
    pub fn measure(&mut self, host: HostKey, now: Duration) {
        if self.hosts.get(&host).and_then(Host::up).is_some()
            && let Some(conn) = self.hosts.get_mut(&host).and_then(Host::conn_mut)
        {
            conn.measure(now);
            self.touch(host);
        }
    }

    /// The last round trip of a host's link.
    pub fn rtt(&self, host: HostKey) -> Option<Duration> {
        self.hosts.get(&host)?.conn()?.rtt()
    }

    /// Whether a host's agent has greeted and it and all hosts on the way are connected.
    pub fn is_reachable(&self, host: HostKey) -> bool {
        self.hosts.get(&host).is_some_and(|state| state.reachable(&self.hosts).is_ok())
    }

    /// When [`Switch::tick`] is to be called.
    pub fn deadline(&mut self) -> Option<Duration> {
        let patience = self.me.linger + LOST_AFTER_LINGER;
        let waits = |key| self.entries.values().any(|entry| entry.host == key);
        let deadline = self.hosts.iter().filter_map(|(&key, host)| match (&host.link, host.away) {
            (_, Some(since)) => waits(key).then_some(since + patience),
            (Some(Link { conn, stage: Stage::Up, .. }), None) => Some(conn.deadline()),
            _ => None,
        });
        self.expected = deadline.min();
        self.expected
    }

    /// Time has passed: asks silent links, drops dead ones, gives up on hosts that stayed away too long.
    pub fn tick(&mut self, now: Duration) {
        let stopped = self.expected.take().is_some_and(|expected| now > expected + STOPPED);
        let patience = self.me.linger + LOST_AFTER_LINGER;
        let keys: Vec<_> = self.hosts.keys().copied().collect();
        for key in keys {
            let Some(host) = self.hosts.get_mut(&key) else { continue };
            match (&mut host.link, host.away) {
                (Some(link), None) if matches!(link.stage, Stage::Up) => {
                    if stopped {
                        link.conn.excuse(now);
                    } else if !link.conn.tick(now) {
                        self.drop_link(key, LinkEnd::Silent, now);
                        continue;
                    }
                    self.touch(key);
                }
                (_, Some(since)) if now >= since + patience => {
                    let seconds = patience.as_secs();
                    let message = format!("{}, for {seconds} s", host.why);
                    for id in self.entries_of(key) {
                        self.lose(id, &message);
                        self.forget(id, now);
                    }
                }
                _ => {}
            }
        }
    }

    fn link_frames(&mut self, host: HostKey, bytes: &[u8], now: Duration) -> Result<(), LinkEnd> {
        let Some(state) = self.hosts.get_mut(&host) else { return Ok(()) };
        let Some(link) = &mut state.link else { return Ok(()) };
        if let Stage::Marker { pending, noise } = &mut link.stage {
            pending.extend_from_slice(bytes);
            let Some(at) = pending.windows(MARKER.len()).position(|part| part == MARKER) else {
                let keep = pending.len().min(SAID + MARKER.len());
                *noise += pending.len() - keep;
                pending.drain(..pending.len() - keep);
                return if *noise > MAX_NOISE { Err(LinkEnd::Noise) } else { Ok(()) };
            };
            let Some(mut version) = pending.get(at + MARKER.len()..at + MARKER.len() + 2) else {
                return Ok(());
            };
            let version = version.get_u16();
            state.said = pending[at.saturating_sub(SAID)..at].to_vec();
            if version != VERSION {
                link.stage = Stage::Hello;
                return Err(LinkEnd::OtherVersion(version));
            }
            link.conn.push(&pending[at + MARKER.len() + 2..], now);
            link.stage = Stage::Hello;
        } else {
            link.conn.push(bytes, now);
        }
        while let Some(link) = self.hosts.get_mut(&host).and_then(|host| host.link.as_mut())
            && let Some(frame) = link.conn.next(now)?
        {
            self.link_frame(host, frame, now)?;
        }
        Ok(())
    }

    fn link_frame(&mut self, host: HostKey, frame: Frame, now: Duration) -> Result<(), LinkEnd> {
        let Some(state) = self.hosts.get_mut(&host) else { return Ok(()) };
        let Some(link) = &mut state.link else { return Ok(()) };
        match (&link.stage, frame) {
            (Stage::Hello, Frame::Hello { incarnation, epoch, resume, pid, facts }) => {
                if epoch != link.epoch {
                    let text = format!("it answers epoch {:x}, not {:x}", epoch.0, link.epoch.0);
                    return Err(Violation::Greeting(text).into());
                }
                link.stage = Stage::Up;
                link.conn.measure(now);
                let known = state.incarnation.replace(incarnation);
                state.resume = resume;
                let name = state.name.clone();
                self.events.push_back(SwitchEvent::Up { host, incarnation, resume, pid, facts });
                if known != Some(incarnation) {
                    let message = format!("the agent on {name} was replaced by a new one");
                    for id in self.entries_of(host) {
                        if self.entries.get(&id).is_some_and(|entry| entry.incarnation != incarnation) {
                            self.lose(id, &message);
                            self.forget(id, now);
                        }
                    }
                }
                self.back(host, now);
                Ok(())
            }
            (Stage::Up, Frame::Node { name, state, facts }) => {
                self.events.push_back(SwitchEvent::Node { host, name, state, facts });
                Ok(())
            }
            (Stage::Up, Frame::Nodes(count)) => {
                self.events.push_back(SwitchEvent::Nodes { host, count });
                Ok(())
            }
            (Stage::Up, frame) => {
                let id = frame.process().ok_or(Violation::Unexpected("agent's"))?;
                self.from_agent(host, id, frame, now)
            }
            _ => Err(Violation::Greeting("something else came first".into()).into()),
        }
    }

    /// A frame of a process, from the agent that runs it.
    fn from_agent(
        &mut self,
        host: HostKey,
        id: ProcessId,
        frame: Frame,
        now: Duration,
    ) -> Result<(), LinkEnd> {
        let Some(entry) = self.entries.get_mut(&id) else { return Ok(()) };
        if entry.host != host {
            return Err(Violation::ForeignProcess(id).into());
        }
        let Some(state) = self.hosts.get_mut(&host) else { return Ok(()) };
        if let Frame::Forget(_) = frame {
            let message = format!("the agent on {} does not have it any more", state.name);
            self.lose(id, &message);
            self.forget(id, now);
            return Ok(());
        }
        match &mut entry.owner {
            Owner::Nobody => Ok(()),
            Owner::Client(client) => {
                let client = *client;
                if entry.relay.from_agent(&frame, &mut state.outstanding)? {
                    self.to_client(client, frame);
                }
                Ok(())
            }
            Owner::Tunnel(inner, process) => {
                if matches!(frame, Frame::Reachable(_) | Frame::Unreachable { .. } | Frame::Lost { .. }) {
                    return Err(Violation::Unexpected("agent's").into());
                }
                let inner = *inner;
                if let Some(conn) = state.conn_mut() {
                    process.handle(frame, conn, &mut self.tunnels)?;
                }
                self.drain_tunnel(inner, host, id, now);
                Ok(())
            }
        }
    }

    /// Hands on what came out of a tunnel's process.
    fn drain_tunnel(&mut self, inner: HostKey, via: HostKey, id: ProcessId, now: Duration) {
        loop {
            let Some(Entry { owner: Owner::Tunnel(_, process), .. }) = self.entries.get_mut(&id) else {
                return;
            };
            let Some(carrier) = self.hosts.get_mut(&via) else { return };
            let mut take = |stream| {
                let conn = carrier.link.as_mut().map(|link| &mut link.conn);
                process.read(stream, usize::MAX, conn, &mut self.tunnels)
            };
            let (bytes, said) = (take(Stream::Stdout), take(Stream::Stderr));
            let ending = process.ending().cloned();
            if let Some(host) = self.hosts.get_mut(&inner)
                && !said.is_empty()
            {
                host.said.extend_from_slice(&said);
                let from = host.said.len().saturating_sub(SAID);
                host.said.drain(..from);
            }
            if !bytes.is_empty() {
                if let Err(why) = self.link_frames(inner, &bytes, now) {
                    self.drop_link(inner, why, now);
                }
            } else if said.is_empty() {
                if let Some(ending) = ending {
                    let via = self.hosts.get(&via).map(|host| host.name.clone()).unwrap_or_default();
                    self.drop_link(inner, LinkEnd::TunnelEnded { via, ending }, now);
                }
                return;
            }
        }
    }

    /// Moves what is to be written on an inner link into the process that carries it.
    fn feed_tunnel(&mut self, inner: HostKey, via: HostKey, id: ProcessId, now: Duration) {
        loop {
            let Some(Entry { owner: Owner::Tunnel(_, process), .. }) = self.entries.get_mut(&id) else {
                return;
            };
            let Some(conn) = self.hosts.get_mut(&via).and_then(Host::conn_mut) else { return };
            process.pump(conn);
            let ahead = process.stdin_unsent() as usize + conn.queued(id);
            if ahead >= AHEAD || process.stdin_capacity() < 4 * AHEAD {
                return;
            }
            let mut bytes = BytesMut::new();
            self.link_transmit(inner, &mut bytes, AHEAD, now);
            if bytes.is_empty() {
                return;
            }
            let Some(Entry { owner: Owner::Tunnel(_, process), .. }) = self.entries.get_mut(&id) else {
                return;
            };
            let conn = self.hosts.get_mut(&via).and_then(Host::conn_mut);
            process.write(bytes.freeze(), conn);
        }
    }

    /// A host cannot be reached: its clients are told, and so are those of the hosts behind it.
    fn away(&mut self, host: HostKey, why: &str, now: Duration) {
        let Some(state) = self.hosts.get_mut(&host) else { return };
        state.away.get_or_insert(now);
        state.why = why.into();
        for id in self.entries_of(host) {
            self.shut(id);
            match self.entries.get_mut(&id).map(|entry| &mut entry.owner) {
                Some(Owner::Client(client)) => {
                    let client = *client;
                    self.to_client(client, Frame::Unreachable { id, message: why.into() });
                }
                Some(Owner::Tunnel(inner, process)) => {
                    let inner = *inner;
                    process.broken(why.into());
                    if self.hosts.get(&inner).and_then(Host::up).is_some() {
                        self.events.push_back(SwitchEvent::ViaChanged { host: inner });
                    }
                    let name = self.hosts.get(&inner).map(|host| host.name.clone()).unwrap_or_default();
                    self.away(inner, &format!("{name} is unreachable: {why}"), now);
                }
                _ => {}
            }
        }
    }

    /// A host can be reached again, by the same agent: everything there goes on.
    fn back(&mut self, host: HostKey, now: Duration) {
        let Some(state) = self.hosts.get_mut(&host) else { return };
        state.away = None;
        for id in self.entries_of(host) {
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            match &mut entry.owner {
                Owner::Client(client) => {
                    let client = *client;
                    self.to_client(client, Frame::Reachable(id));
                }
                Owner::Nobody => self.to_host(host, Frame::Release(id)),
                Owner::Tunnel(inner, process) => {
                    let inner = *inner;
                    if let Some(conn) = self.hosts.get_mut(&host).and_then(Host::conn_mut) {
                        process.reachable(conn);
                    }
                    if let Some(conn) = self.hosts.get_mut(&inner).and_then(Host::conn_mut) {
                        conn.excuse(now);
                    }
                    if self.hosts.get(&inner).and_then(Host::up).is_some() {
                        self.events.push_back(SwitchEvent::ViaChanged { host: inner });
                        self.back(inner, now);
                    }
                }
            }
        }
        self.touch(host);
    }

    /// Ends a host's link from this side.
    fn drop_link(&mut self, host: HostKey, why: LinkEnd, now: Duration) {
        let said = self.link_closed(host, &why.to_string(), now);
        self.events.push_back(SwitchEvent::LinkEnded { host, why, said });
    }

    /// The process that carried a tunnel is not needed any more.
    fn end_tunnel(&mut self, id: ProcessId) {
        if let Some(Entry { owner: Owner::Tunnel(_, process), .. }) = self.entries.get_mut(&id) {
            process.close(&mut self.tunnels);
            self.release(id);
        }
    }

    /// Drops the entry of a process that its agent does not have.
    fn forget(&mut self, id: ProcessId, now: Duration) {
        self.shut(id);
        let Some(entry) = self.entries.remove(&id) else { return };
        if let Owner::Tunnel(inner, mut process) = entry.owner {
            let message = "its agent does not have it any more".to_owned();
            process.lose(message.clone(), &mut self.tunnels);
            let via = self.hosts.get(&entry.host).map(|host| host.name.clone()).unwrap_or_default();
            self.drop_link(inner, LinkEnd::TunnelLost { via, message }, now);
        }
    }

    fn entries_of(&self, host: HostKey) -> Vec<ProcessId> {
        let mut ids: Vec<_> =
            self.entries.iter().filter(|(_, entry)| entry.host == host).map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }
}

impl Peer {
    /// The host, if it is one.
    pub fn host(self) -> Option<HostKey> {
        match self {
            Self::Host(host) => Some(host),
            Self::Client(_) => None,
        }
    }
}
