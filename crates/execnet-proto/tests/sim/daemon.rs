//! A driver of [`Switch`], as a daemon has one: it opens links and tunnels, places processes, and reopens
//! links.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use execnet_proto::id::{ClientId, Epoch, Incarnation, ProcessId};
use execnet_proto::kept::Kept;
use execnet_proto::switch::{ClientKey, HostKey, Identity, LinkEnd, Peer, Switch, SwitchEvent};
use execnet_proto::wire::{Refusal, Table};
use fastrand::Rng;

use crate::net::{LinkId, Net, Read, Side};

/// A link that has not greeted after this long is given up.
const JOIN: Duration = Duration::from_secs(20);

/// A host as in the network's file.
#[derive(Clone, Debug)]
pub(crate) struct HostPlan {
    pub(crate) name: String,
    /// Index of the host through which it is reached.
    pub(crate) via: Option<usize>,
    pub(crate) removed: bool,
}

pub(crate) struct Daemon {
    pub(crate) switch: Switch,
    pub(crate) stopped: Duration,
    pub(crate) dials: Vec<(HostKey, String)>,
    life: u32,
    /// Milliseconds until a link is opened again.
    backoff: Range<u64>,
    attaches: u32,
    keys: u32,
    hosts: BTreeMap<usize, Host>,
    clients: BTreeMap<ClientKey, Wire>,
    dirty: BTreeSet<Peer>,
    /// With the host that was asked for.
    selects: Vec<(ClientKey, ProcessId, Option<String>)>,
    /// How many frames took the short way.
    pub(crate) short: u64,
    /// When each host was last reachable, by its name.
    reached: BTreeMap<String, Duration>,
    /// The longest time for which each host was unreachable.
    pub(crate) gaps: BTreeMap<String, Duration>,
}

struct Host {
    key: HostKey,
    name: String,
    via: Option<usize>,
    wire: Option<Wire>,
    /// A link was opened, a host's own or a tunnel.
    linked: Option<Duration>,
    up: bool,
    next: Duration,
}

struct Wire {
    link: LinkId,
    out: BytesMut,
}

impl Daemon {
    pub(crate) fn new(life: u32, plans: &[HostPlan], linger: Duration, hasty: bool, now: Duration) -> Self {
        let me = Identity {
            owner: ClientId([life as u8; 16]),
            life,
            pid: life,
            release: "3.0.0".into(),
            network: "sim".into(),
            linger,
            private: false,
        };
        let mut daemon = Self {
            switch: Switch::new(me),
            stopped: now,
            dials: Vec::new(),
            life,
            backoff: if hasty { 1..100 } else { 500..2_000 },
            attaches: 0,
            keys: 0,
            hosts: BTreeMap::new(),
            clients: BTreeMap::new(),
            dirty: BTreeSet::new(),
            selects: Vec::new(),
            short: 0,
            reached: BTreeMap::new(),
            gaps: BTreeMap::new(),
        };
        for (index, plan) in plans.iter().enumerate().filter(|(_, plan)| !plan.removed) {
            daemon.add(index, plan, now);
        }
        daemon
    }

    pub(crate) fn add(&mut self, index: usize, plan: &HostPlan, now: Duration) {
        self.keys += 1;
        let key = HostKey(self.keys);
        let (name, via) = (plan.name.clone(), plan.via);
        self.switch.add_host(key, &name, now);
        self.reached.insert(name.clone(), now);
        self.hosts.insert(index, Host { key, name, via, wire: None, linked: None, up: false, next: now });
    }

    pub(crate) fn remove(&mut self, index: usize, politely: bool, net: &mut Net, now: Duration) {
        let Some(mut host) = self.hosts.remove(&index) else { return };
        if politely {
            self.switch.end_host(host.key, false, "bench was stopped");
            if let Some(wire) = &mut host.wire {
                self.switch.link_transmit(host.key, &mut wire.out, usize::MAX, now);
                net.write(wire.link, Side::Near, &mut wire.out, now, &mut Rng::with_seed(0));
            }
        }
        self.switch.remove_host(host.key, now);
        if let Some(wire) = host.wire {
            net.close(wire.link, Side::Near, now);
        }
    }

    /// The daemon ends: all its sockets and links close.
    pub(crate) fn die(&mut self, net: &mut Net, now: Duration) {
        for wire in self.clients.values().chain(self.hosts.values().filter_map(|host| host.wire.as_ref())) {
            let side =
                if self.clients.values().any(|w| w.link == wire.link) { Side::Far } else { Side::Near };
            net.close(wire.link, side, now);
        }
    }

    pub(crate) fn accept(&mut self, client: ClientKey, link: LinkId, now: Duration) {
        self.switch.client_opened(client, Some(client.0 as u32), now);
        self.clients.insert(client, Wire { link, out: BytesMut::new() });
    }

    /// The ssh for a host runs.
    pub(crate) fn dialed(&mut self, key: HostKey, link: LinkId, net: &mut Net, now: Duration) {
        let bootstrap = self.bootstrap();
        match self.hosts.values_mut().find(|host| host.key == key) {
            Some(host) => {
                host.wire = Some(Wire { link, out: BytesMut::new() });
                host.linked = Some(now);
                self.switch.open_link(key, bootstrap.0, bootstrap.1, now);
            }
            None => net.close(link, Side::Near, now),
        }
    }

    pub(crate) fn own_links(&self) -> Vec<LinkId> {
        self.hosts.values().filter_map(|host| Some(host.wire.as_ref()?.link)).collect()
    }

    pub(crate) fn everything_is_up(&self) -> bool {
        self.hosts.values().all(|host| host.up)
    }

    pub(crate) fn clients(&self) -> usize {
        self.clients.len()
    }

    /// Kept work, as a person would see it: the host's name, id and agent, and what is told of it.
    pub(crate) fn kept(&self) -> Vec<(String, ProcessId, Incarnation, Kept)> {
        let name = |key| self.hosts.values().find(|host| host.key == key).map(|host| host.name.clone());
        let works = self.switch.kept_work();
        works
            .filter_map(|work| Some((name(work.host)?, work.id, work.incarnation, work.facts.clone())))
            .collect()
    }

    fn bootstrap(&mut self) -> (Epoch, Bytes) {
        self.attaches += 1;
        let epoch = Epoch::new(self.life, self.attaches);
        let mut bytes = BytesMut::from(&b"boot"[..]);
        bytes.put_u64(epoch.0);
        (epoch, bytes.freeze())
    }

    pub(crate) fn deadline(&mut self) -> Option<Duration> {
        let hosts = self.hosts.values().map(|host| host.linked.map_or(host.next, |since| since + JOIN));
        let hosts: Vec<_> = hosts.collect();
        hosts.into_iter().chain(self.switch.deadline()).min()
    }

    pub(crate) fn step(&mut self, net: &mut Net, now: Duration, rng: &mut Rng) -> bool {
        let mut busy = self.read(net, now, rng);
        if self.switch.deadline().is_some_and(|at| now >= at) {
            self.switch.tick(now);
            busy = true;
        }
        busy |= self.events(net, now, rng);
        busy |= self.place(rng);
        busy |= self.connect(net, now, rng);
        busy |= self.write(net, now, rng);
        for host in self.hosts.values() {
            let gap = now - self.reached[&host.name];
            let longest = self.gaps.entry(host.name.clone()).or_default();
            *longest = gap.max(*longest);
            if self.switch.is_reachable(host.key) {
                self.reached.insert(host.name.clone(), now);
            }
        }
        busy
    }

    fn read(&mut self, net: &mut Net, now: Duration, rng: &mut Rng) -> bool {
        let mut busy = false;
        let mut ended = Vec::new();
        let mut arrived = Vec::new();
        for (&key, wire) in &self.clients {
            match net.read(wire.link, Side::Far, 65_536, now, rng) {
                Read::Nothing => continue,
                Read::Bytes(bytes) => arrived.push((key, bytes)),
                Read::End => ended.push(key),
            }
            busy = true;
        }
        for (key, bytes) in arrived {
            if !self.pass(Peer::Client(key), &bytes, now) {
                self.switch.client_bytes(key, &bytes, now);
            }
        }
        for key in ended {
            self.switch.client_closed(key);
            if let Some(wire) = self.clients.remove(&key) {
                net.close(wire.link, Side::Far, now);
            }
        }
        let mut arrived = Vec::new();
        for host in self.hosts.values_mut() {
            let Some(wire) = &host.wire else { continue };
            match net.read(wire.link, Side::Near, 65_536, now, rng) {
                Read::Nothing => continue,
                Read::Bytes(bytes) => arrived.push((host.key, bytes)),
                Read::End => {
                    self.switch.link_closed(host.key, "ssh exited with status 255", now);
                    host.unlink(&self.backoff, net, now, rng);
                }
            }
            busy = true;
        }
        for (key, bytes) in arrived {
            if !self.pass(Peer::Host(key), &bytes, now) {
                self.switch.link_bytes(key, &bytes, now);
            }
        }
        busy
    }

    /// Passes bytes on by the short way, if they can take it.
    fn pass(&mut self, from: Peer, bytes: &[u8], now: Duration) -> bool {
        let Some(short) = self.switch.short_way(from, bytes) else { return false };
        let wire = match short.to() {
            Peer::Client(key) => self.clients.get_mut(&key),
            Peer::Host(key) => {
                let host = self.hosts.values_mut().find(|host| host.key == key);
                host.and_then(|host| host.wire.as_mut())
            }
        };
        let Some(wire) = wire.filter(|wire| wire.out.is_empty()) else { return false };
        wire.out.extend_from_slice(bytes);
        self.dirty.insert(short.to());
        self.switch.passed(short, now);
        self.short += 1;
        true
    }

    fn events(&mut self, net: &mut Net, now: Duration, rng: &mut Rng) -> bool {
        let mut busy = false;
        while let Some(event) = self.switch.poll_event() {
            busy = true;
            match event {
                SwitchEvent::Select { client, id, wants } => {
                    let host = wants.iter().find(|(key, _)| key == "host").map(|(_, host)| host.to_vec());
                    let host = host.map(|host| String::from_utf8(host).expect("a name"));
                    self.selects.push((client, id, host));
                }
                SwitchEvent::Request { client, request, json } => {
                    self.switch.reply(client, request, true, json);
                }
                SwitchEvent::ClientEnded { client, why } => panic!("client {client:?} was dropped: {why}"),
                SwitchEvent::LinkEnded { host, why, said } => {
                    let expected = matches!(
                        why,
                        LinkEnd::Silent | LinkEnd::TunnelEnded { .. } | LinkEnd::TunnelLost { .. }
                    );
                    assert!(expected, "the link to {host:?} was dropped: {why} ({said:?})");
                    if let Some(host) = self.hosts.values_mut().find(|other| other.key == host) {
                        host.unlink(&self.backoff, net, now, rng);
                    }
                }
                SwitchEvent::Up { host, .. } => {
                    let host = self.hosts.values_mut().find(|other| other.key == host).expect("a host");
                    host.up = true;
                }
                SwitchEvent::Node { .. }
                | SwitchEvent::Nodes { .. }
                | SwitchEvent::Looked { .. }
                | SwitchEvent::Killed { .. }
                | SwitchEvent::Outcast { .. }
                | SwitchEvent::Released { .. }
                | SwitchEvent::Kept { .. }
                | SwitchEvent::KeptGone { .. }
                | SwitchEvent::ToldKept { .. }
                | SwitchEvent::ViaChanged { .. } => {}
            }
        }
        busy
    }

    fn place(&mut self, rng: &mut Rng) -> bool {
        let selects = std::mem::take(&mut self.selects);
        let busy = !selects.is_empty();
        for (client, id, wanted) in selects {
            if rng.u8(..3) == 0 {
                self.selects.push((client, id, wanted));
                continue;
            }
            let fits = |host: &&Host| {
                self.switch.is_reachable(host.key)
                    && wanted.as_ref().is_none_or(|wanted| host.name == *wanted)
            };
            let up: Vec<_> = self.hosts.values().filter(fits).collect();
            let placed = rng
                .choice(up)
                .is_some_and(|host| self.switch.place(client, id, host.key, "model", Table::new()));
            if !placed {
                self.switch.refuse(client, id, Refusal::NoMatch, "nothing is up".into());
            }
        }
        busy
    }

    fn connect(&mut self, net: &mut Net, now: Duration, rng: &mut Rng) -> bool {
        let mut busy = false;
        for index in self.hosts.keys().copied().collect::<Vec<_>>() {
            let host = &self.hosts[&index];
            let key = host.key;
            match host.linked {
                Some(since) if !host.up && now >= since + JOIN => {
                    self.switch.link_closed(key, "its agent did not answer in time", now);
                    self.hosts.get_mut(&index).expect("it is there").unlink(&self.backoff, net, now, rng);
                    busy = true;
                }
                None if now >= host.next => {
                    busy = true;
                    let Some(via) = host.via else {
                        self.dials.push((key, host.name.clone()));
                        self.hosts.get_mut(&index).expect("it is there").next = now + JOIN;
                        continue;
                    };
                    let name = host.name.clone();
                    let via = self.hosts.get(&via).map(|via| via.key);
                    let (epoch, bootstrap) = self.bootstrap();
                    let opened = via.filter(|via| self.switch.is_reachable(*via)).is_some_and(|via| {
                        let args = vec![Bytes::from_static(b"ssh"), Bytes::from(name.into_bytes())];
                        let id = ProcessId(std::array::from_fn(|_| rng.u8(..)));
                        self.switch.open_tunnel(key, via, id, args, epoch, bootstrap, now)
                    });
                    let host = self.hosts.get_mut(&index).expect("it is there");
                    host.next = now + Duration::from_millis(rng.u64(self.backoff.clone()));
                    host.linked = opened.then_some(now);
                }
                _ => {}
            }
        }
        busy
    }

    fn write(&mut self, net: &mut Net, now: Duration, rng: &mut Rng) -> bool {
        let mut busy = false;
        while let Some(peer) = self.switch.poll_ready() {
            self.dirty.insert(peer);
        }
        for peer in self.dirty.iter().copied().collect::<Vec<_>>() {
            // the next event may make void what waits here
            if rng.u8(..4) == 0 {
                busy = true;
                continue;
            }
            let (wire, side) = match peer {
                Peer::Client(key) => (self.clients.get_mut(&key), Side::Far),
                Peer::Host(key) => {
                    let host = self.hosts.values_mut().find(|host| host.key == key);
                    (host.and_then(|host| host.wire.as_mut()), Side::Near)
                }
            };
            let Some(Wire { link, out }) = wire else {
                self.dirty.remove(&peer);
                continue;
            };
            while net.has_room(*link, side) {
                if out.is_empty() {
                    let most = rng.usize(1..65_536);
                    match peer {
                        Peer::Client(key) => self.switch.client_transmit(key, out, most, now),
                        Peer::Host(key) => self.switch.link_transmit(key, out, most, now),
                    }
                }
                if out.is_empty() {
                    self.dirty.remove(&peer);
                    break;
                }
                net.write(*link, side, out, now, rng);
                busy = true;
            }
        }
        busy
    }
}

impl Host {
    fn unlink(&mut self, backoff: &Range<u64>, net: &mut Net, now: Duration, rng: &mut Rng) {
        if let Some(wire) = self.wire.take() {
            net.close(wire.link, Side::Near, now);
        }
        self.linked = None;
        self.up = false;
        self.next = now + Duration::from_millis(rng.u64(backoff.clone()));
    }
}
