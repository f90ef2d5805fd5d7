//! The hosts' side of the switch: links from the first byte to the last, tunnels, silence, loss.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::kept::Keeping;
use super::nodes::Nodes;
use super::noise::{shown, text_of};
use super::relay::Outstanding;
use super::replaced::{self, Origin};
use super::{HostKey, LinkEnd, MAX_OUTCASTS, Outcast, Owner, Peer, Said, Switch, SwitchEvent};
use crate::allowance::Turn;
use crate::batch::Sink;
use crate::conn::Conn;
use crate::feature::{Feature, Features};
use crate::id::{Epoch, Incarnation, ProcessId};
use crate::opening::{Opening, OpeningError};
use crate::process::STAYS;
use crate::stream::Violation;
use crate::wire::{Frame, FrameError, FrameKind};

/// A NODE costs its agent one more frame for each of this many bytes: people read it.
const NODE_BYTES: u64 = 256;

/// Work of a NODE, in frames.
const NODE_WORK: u64 = 32;

/// One host as the switch sees it.
#[derive(Debug)]
pub(super) struct HostSide {
    pub(super) name: String,
    /// The processes here that the switch knows.
    pub(super) ids: BTreeSet<ProcessId>,
    /// Of these, the tunnels on whose links there may be bytes to write.
    pub(super) stirred: BTreeSet<ProcessId>,
    pub(super) link: Option<Link>,
    incarnation: Option<Incarnation>,
    /// What its agent can do, of what this daemon knows.
    pub(super) features: Features,
    /// Where its agent runs.
    origin: Origin,
    resume: bool,
    /// Since when it is out of reach.
    pub(super) away: Option<Duration>,
    /// The reason.
    pub(super) why: String,
    /// On the present link: bytes that were not a frame, and the stderr of the process that carries it.
    noise: Vec<u8>,
    pub(super) stderr: Vec<u8>,
    pub(super) outstanding: Outstanding,
    /// Tunnels with more bytes than the turn of this host's link allowed.
    pub(super) left: BTreeSet<ProcessId>,
    pub(super) tells_releases: bool,
    /// Its entry in the order in which hosts are looked at.
    pub(super) due: Option<Duration>,
    /// It is to end the work that it keeps when it is removed.
    ends_kept: bool,
    /// Why it was told to end, if it was.
    ends: Option<String>,
    /// The work that it keeps.
    pub(super) keeping: Keeping,
}

/// A link, from the moment it is opened.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) conn: Conn,
    epoch: Epoch,
    /// The bytes to write before the first frame.
    bootstrap: Bytes,
    pub(super) stage: Stage,
    tunnel: Option<(HostKey, ProcessId)>,
    nodes: Nodes,
    /// Its agent has a LOOK to answer.
    pub(super) looking: bool,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// The agent's opening has not arrived.
    Opening(Opening),
    Hello,
    Up,
    /// The agent of a removed host. It was told to end, and its frames do not count.
    Ending,
}

impl HostSide {
    pub(super) fn conn(&self) -> Option<&Conn> {
        self.link.as_ref().map(|link| &link.conn)
    }

    /// Its link, if it is one of its own that carries frames.
    pub(super) fn own_link(&self) -> Option<&Conn> {
        let link = self.link.as_ref()?;
        (link.tunnel.is_none() && link.bootstrap.is_empty()).then_some(&link.conn)
    }

    pub(super) fn conn_mut(&mut self) -> Option<&mut Conn> {
        self.link.as_mut().map(|link| &mut link.conn)
    }

    /// The incarnation of its agent, if it has greeted on the present link.
    pub(super) fn up(&self) -> Option<Incarnation> {
        let up = matches!(self.link.as_ref()?.stage, Stage::Up);
        self.incarnation.filter(|_| up)
    }

    /// Why it was told to end, if it was.
    pub(super) fn ends(&self) -> Option<&str> {
        self.ends.as_deref()
    }

    pub(super) fn incarnation(&self) -> Option<Incarnation> {
        self.incarnation
    }

    /// Whether its link, or one beneath it, is down.
    pub(super) fn is_away(&self) -> bool {
        self.away.is_some()
    }

    pub(super) fn via(&self) -> Option<HostKey> {
        self.tunnel().map(|(via, _)| via)
    }

    /// The process that carries its link, and where it runs.
    pub(super) fn tunnel(&self) -> Option<(HostKey, ProcessId)> {
        self.link.as_ref()?.tunnel
    }

    /// The report of bytes that are not an agent's frame. A report of a broken protocol would send people
    /// after a broken agent; but if text or zeros came, the agent is fine.
    fn not_a_frame(&mut self, violation: Violation) -> LinkEnd {
        let rest = self.conn().map_or(&[][..], Conn::rest);
        let zeros = rest.iter().take_while(|byte| **byte == 0).count();
        let text = text_of(rest).to_vec();
        if zeros > 0 {
            return LinkEnd::NoFrame(format!("{zeros} zero bytes"));
        }
        if text.is_empty() {
            return violation.into();
        }
        let shown = shown(&text);
        self.noise = text;
        LinkEnd::NoFrame(shown)
    }

    pub(super) fn reachable(&self, hosts: &BTreeMap<HostKey, Self>) -> Result<(), String> {
        if let Some(via) = self.via().and_then(|via| hosts.get(&via)) {
            via.reachable(hosts)?;
        }
        if self.up().is_some() && !self.is_away() { Ok(()) } else { Err(self.why.clone()) }
    }
}

impl Switch {
    /// A host joins the network. It has no link yet.
    pub fn add_host(&mut self, host: HostKey, name: &str, now: Duration) {
        let state = HostSide {
            name: name.into(),
            ids: BTreeSet::new(),
            stirred: BTreeSet::new(),
            link: None,
            incarnation: None,
            features: Features::default(),
            origin: Origin::default(),
            resume: true,
            away: Some(now),
            why: format!("{name} is not connected yet"),
            noise: Vec::new(),
            stderr: Vec::new(),
            outstanding: Outstanding::default(),
            left: BTreeSet::new(),
            tells_releases: false,
            due: None,
            ends_kept: false,
            ends: None,
            keeping: Keeping::default(),
        };
        self.hosts.insert(host, state);
    }

    /// Whether there is a [`SwitchEvent::Released`] when a client's process is released, and when it leaves a
    /// host.
    pub fn tell_releases(&mut self, host: HostKey, tells: bool) {
        if let Some(host) = self.hosts.get_mut(&host) {
            host.tells_releases = tells;
        }
    }

    /// A host leaves the network. Its link is dropped, and its processes are lost.
    pub fn remove_host(&mut self, host: HostKey, now: Duration) {
        self.link_closed(host, "it was removed from the network", now);
        let Some(state) = self.hosts.get(&host) else { return };
        let (name, incarnation, ends_kept) = (state.name.clone(), state.incarnation, state.ends_kept);
        let mut ids = Vec::new();
        self.lose_host(host, &format!("host {name} was removed from the network"));
        for id in self.forwarded_on(host) {
            ids.extend(self.forwarded.get(&id).map(|entry| (id, entry.hold.clone())));
            self.forget(id, now);
        }
        self.drop_kept(host);
        self.disarm(host);
        self.hosts.remove(&host);
        self.ready.remove(&Peer::Host(host));
        if let Some(incarnation) = incarnation {
            if self.outcasts.len() >= MAX_OUTCASTS {
                self.outcasts.pop_front();
            }
            self.outcasts.push_back(Outcast { incarnation, ids, told: false, ends_kept });
        }
    }

    /// The clients' processes on a host are lost, for this reason. They are told of kept work that it stays,
    /// if [`Switch::end_host`] has left it.
    pub fn lose_host(&mut self, host: HostKey, why: &str) {
        let ends_kept = self.hosts.get(&host).is_some_and(|state| state.ends_kept);
        for id in self.forwarded_on(host) {
            match self.is_kept(id) && !ends_kept {
                true => self.lose(id, &format!("{STAYS}{why}")),
                false => self.lose(id, why),
            }
        }
    }

    /// Tells a host's agent to end everything and itself, and `all`: the work that it keeps, too. The end of
    /// the link confirms it. An agent that keeps work and is not to end that lives on. One that is out of
    /// reach is told when it answers after the host was removed and added again.
    /// Clients are told `why` their processes end.
    pub fn end_host(&mut self, host: HostKey, all: bool, why: &str) {
        if let Some(state) = self.hosts.get_mut(&host) {
            state.ends_kept = all;
            state.ends = Some(why.to_owned());
        }
        let all = all && self.features(host).has(Feature::Keep);
        self.tell_host(host, if all { Frame::EndAll } else { Frame::End });
    }

    /// The process that carries a host's own link runs. `bootstrap` is written to it, then frames.
    pub fn open_link(&mut self, host: HostKey, epoch: Epoch, bootstrap: Bytes, now: Duration) {
        self.open(host, epoch, bootstrap, None, now);
    }

    pub(super) fn open(
        &mut self,
        host: HostKey,
        epoch: Epoch,
        bootstrap: Bytes,
        tunnel: Option<(HostKey, ProcessId)>,
        now: Duration,
    ) {
        self.link_closed(host, "it is being connected again", now);
        let Some(state) = self.hosts.get_mut(&host) else { return };
        state.noise.clear();
        state.stderr.clear();
        let stage = Stage::Opening(Opening::of_link());
        let (conn, nodes) = (Conn::link(now), Nodes::default());
        state.link = Some(Link { conn, epoch, bootstrap, stage, tunnel, nodes, looking: false });
        self.touch(host);
    }

    /// Takes all bytes that arrived on a host's own link.
    pub fn link_bytes(&mut self, host: HostKey, bytes: &[u8], now: Duration) {
        let mut more = self.link_turn(host, bytes, now);
        while more {
            more = self.link_turn(host, &[], now);
        }
    }

    /// Takes bytes that arrived on a host's own link, and does one turn of work. Returns true if there may be
    /// more: then call it again without bytes after others had their turn, and pass it new ones only once it
    /// has returned false.
    pub fn link_turn(&mut self, host: HostKey, bytes: &[u8], now: Duration) -> bool {
        self.turn = Turn::new();
        if let Err(why) = self.link_frames(host, bytes, now) {
            self.drop_link(host, why, now);
        }
        self.touch(host);
        self.turn.is_over()
    }

    /// A host's link has ended, as the driver noticed. Clients that wait for the host are told `why`. Returns
    /// the bytes on it that were not a frame.
    pub fn link_closed(&mut self, host: HostKey, why: &str, now: Duration) -> Said {
        let Some(state) = self.hosts.get_mut(&host) else { return Said::default() };
        let Some(link) = state.link.take() else { return Said::default() };
        if let Stage::Opening(opening) = &link.stage {
            state.noise = opening.noise();
        }
        let [noise, stderr] =
            [&state.noise, &state.stderr].map(|said| String::from_utf8_lossy(said).into_owned());
        let is_greeting_cut = matches!(link.stage, Stage::Hello);
        let said = Said { noise, stderr, is_greeting_cut, answered: link.conn.has_answered() };
        let was_up = matches!(link.stage, Stage::Up);
        state.keeping.unlink();
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
            for id in self.forwarded_on(host) {
                self.lose(id, &format!("{name} cannot resume, and its link ended: {why}"));
                self.forget(id, now);
            }
            if let Some(state) = self.hosts.get_mut(&host) {
                state.incarnation = None;
            }
        }
        said
    }

    /// Appends the bytes to write on a host's own link now.
    pub fn link_transmit(&mut self, host: HostKey, out: &mut impl Sink, most: usize, now: Duration) {
        let Some(state) = self.hosts.get_mut(&host).filter(|state| state.link.is_some()) else { return };
        for id in std::mem::take(&mut state.stirred) {
            self.feed_tunnel(host, id, now);
        }
        let Some(link) = self.hosts.get_mut(&host).and_then(|host| host.link.as_mut()) else { return };
        let part = link.bootstrap.len().min(most.saturating_sub(out.len()));
        out.share(link.bootstrap.split_to(part));
        if link.bootstrap.is_empty() {
            link.conn.transmit(out, most, now);
        }
    }

    /// Measures the round trip of a host's link.
    pub fn measure(&mut self, host: HostKey, now: Duration) {
        if self.hosts.get(&host).and_then(HostSide::up).is_some()
            && let Some(conn) = self.hosts.get_mut(&host).and_then(HostSide::conn_mut)
        {
            conn.measure(now);
            self.touch(host);
        }
    }

    /// Forgets the last round trip of a host's link and measures it again.
    pub fn measure_afresh(&mut self, host: HostKey, now: Duration) {
        if self.hosts.get(&host).and_then(HostSide::up).is_some()
            && let Some(conn) = self.hosts.get_mut(&host).and_then(HostSide::conn_mut)
        {
            conn.measure_afresh(now);
            self.touch(host);
        }
    }

    /// The last round trip of a host's link.
    pub fn rtt(&self, host: HostKey) -> Option<Duration> {
        self.hosts.get(&host)?.conn()?.rtt()
    }

    /// Whether a host's agent has greeted, and it and all hosts on the way are connected.
    pub fn is_reachable(&self, host: HostKey) -> bool {
        self.hosts.get(&host).is_some_and(|state| state.reachable(&self.hosts).is_ok())
    }

    /// What a host's agent can do, of what this daemon knows.
    pub fn features(&self, host: HostKey) -> Features {
        self.hosts.get(&host).map_or_else(Features::default, |state| state.features)
    }

    /// The reason why a host cannot be reached, if it cannot. Clients that wait for it are told this.
    pub fn unreachable(&self, host: HostKey) -> Option<String> {
        self.hosts.get(&host)?.reachable(&self.hosts).err()
    }

    pub(super) fn link_frames(&mut self, host: HostKey, bytes: &[u8], now: Duration) -> Result<(), LinkEnd> {
        let Some(state) = self.hosts.get_mut(&host) else { return Ok(()) };
        let Some(link) = &mut state.link else { return Ok(()) };
        if let Stage::Opening(opening) = &mut link.stage {
            self.turn.frame(bytes.len());
            let opened = opening.take(bytes);
            if let Ok(None) | Err(OpeningError::Noise) = opened {
                return opened.map(drop).map_err(LinkEnd::from);
            }
            state.noise = opening.noise();
            link.stage = Stage::Hello;
            link.conn.push(&opened?.unwrap_or_default(), now);
        } else if !bytes.is_empty() {
            link.conn.push(bytes, now);
        }
        self.go_on(host, now);
        while let Some(state) = self.hosts.get_mut(&host)
            && let Some(link) = &mut state.link
        {
            match link.conn.next_within(&mut self.turn, now) {
                Ok(Some(frame)) => self.link_frame(host, frame, now)?,
                Ok(None) if link.conn.rest().first().is_none_or(|byte| FrameKind::is_of_agents(*byte)) => {
                    break;
                }
                // an agent writes no such header: a job of the login prints this, or `wall`
                Ok(None) => return Err(state.not_a_frame(Violation::Unexpected("agent's"))),
                Err(
                    violation @ Violation::Frame(FrameError::UnknownKind(_) | FrameError::TooLong { .. }),
                ) => return Err(state.not_a_frame(violation)),
                Err(violation) => return Err(violation.into()),
            }
        }
        // an answered PING brings the next one forward
        self.arm(host);
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
                let features = Features::named(&facts).without(self.me.lacks());
                let outcast = self.outcasts.iter().position(|outcast| outcast.incarnation == incarnation);
                let mut left_over = Vec::new();
                if let Some(at) = outcast {
                    let keeps = features.has(Feature::Keep);
                    let all = keeps && self.outcasts[at].ends_kept;
                    // one that answers again afterwards keeps work
                    if !std::mem::replace(&mut self.outcasts[at].told, true) || !keeps || all {
                        link.stage = Stage::Ending;
                        link.conn.send(if all { Frame::EndAll } else { Frame::End });
                        self.events.push_back(SwitchEvent::Outcast { host });
                        return Ok(());
                    }
                    left_over = self.outcasts.remove(at).map(|outcast| outcast.ids).unwrap_or_default();
                }
                link.stage = Stage::Up;
                link.conn.measure(now);
                let known = state.incarnation.replace(incarnation);
                state.resume = resume;
                state.features = features;
                let origin = Origin::of(&facts);
                let before = std::mem::replace(&mut state.origin, origin.clone());
                let away = state.away.map_or(Duration::ZERO, |since| now.saturating_sub(since));
                let name = state.name.clone();
                self.events.push_back(SwitchEvent::Up { host, incarnation, resume, pid, facts });
                if known != Some(incarnation) {
                    let linger = self.me.linger;
                    let message = replaced::message(&name, &before, &origin, away, Some(linger));
                    let kept = replaced::message(&name, &before, &origin, away, None);
                    for id in self.forwarded_on(host) {
                        if self.forwarded.get(&id).is_some_and(|entry| entry.incarnation != incarnation) {
                            let message = if self.is_kept(id) { &kept } else { &message };
                            self.lose(id, message);
                            self.forget(id, now);
                        }
                    }
                    self.kept_is_gone(host, &kept, now);
                }
                self.let_go(host, incarnation, left_over);
                self.back(host, now);
                Ok(())
            }
            (Stage::Up, Frame::Node { name, state: node, facts }) => {
                let bytes: usize = facts.iter().map(|(key, value)| key.len() + value.len()).sum();
                link.conn.charge(FrameKind::Node, 1 + bytes as u64 / NODE_BYTES, now)?;
                self.turn.spend(NODE_WORK);
                link.nodes.check(&state.name, &name)?;
                let state = node;
                self.events.push_back(SwitchEvent::Node { host, name, state, facts });
                Ok(())
            }
            (Stage::Up, Frame::Nodes(count)) => {
                link.conn.charge(FrameKind::Nodes, 1, now)?;
                self.events.push_back(SwitchEvent::Nodes { host, count });
                Ok(())
            }
            (Stage::Up, Frame::Kept { id, facts }) => {
                let bytes: usize = facts.iter().map(|(key, value)| key.len() + value.len()).sum();
                link.conn.charge(FrameKind::Kept, 1 + bytes as u64 / NODE_BYTES, now)?;
                self.turn.spend(NODE_WORK);
                self.told_kept(host, id, &facts, now)
            }
            (Stage::Up, Frame::Keeps(_)) => {
                link.conn.charge(FrameKind::Keeps, 1, now)?;
                self.told_all_kept(host, now)
            }
            (Stage::Up, Frame::Looked { facts, rows }) => self.looked(host, facts, rows),
            (Stage::Ending, frame) => Ok(link.conn.charge(frame.kind(), 1, now)?),
            (Stage::Up, frame) => {
                let id = frame.process().ok_or(Violation::Unexpected("agent's"))?;
                self.agent_says(host, id, frame, now)
            }
            _ => Err(Violation::Greeting("something else came first".into()).into()),
        }
    }

    /// Continues with tunnels that had more bytes than a turn allows.
    fn go_on(&mut self, host: HostKey, now: Duration) {
        let Some(state) = self.hosts.get_mut(&host) else { return };
        for id in std::mem::take(&mut state.left) {
            if let Some(Owner::Tunnel(inner, _)) = self.forwarded.get(&id).map(|entry| &entry.owner) {
                self.drain_tunnel(*inner, host, id, now);
            }
        }
    }

    /// Ends a host's link from this side.
    pub(super) fn drop_link(&mut self, host: HostKey, why: LinkEnd, now: Duration) {
        let said = self.link_closed(host, &why.to_string(), now);
        self.events.push_back(SwitchEvent::LinkEnded { host, why, said });
    }

    pub(super) fn forwarded_on(&self, host: HostKey) -> Vec<ProcessId> {
        self.hosts.get(&host).map(|host| host.ids.iter().copied().collect()).unwrap_or_default()
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
