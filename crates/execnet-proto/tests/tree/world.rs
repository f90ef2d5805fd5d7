//! A daemon's switch, the hosts that it reaches directly and through each other, and one client.

use std::alloc::System;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use execnet_proto::client::{Client, ClientEvent, Launch};
use execnet_proto::id::{ClientId, Epoch, ProcessId};
use execnet_proto::switch::{ClientKey, HostKey, Identity, Peer, Switch, SwitchEvent};
use execnet_proto::wire::{Ending, Stream, Table};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use crate::host::{BOOTSTRAP, Host, name, number};
use crate::net::{End, LinkId, Net};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CLIENT: ClientKey = ClientKey(1);
const ME: ClientId = ClientId([5; 16]);

/// The daemon checks its links at multiples of this.
const COARSE: u128 = 250;

/// Bytes of the script in the command of a tunnel, as docs/bootstrap.md counts them.
const SCRIPT: usize = 1_224;

/// Processes that the client runs at a time.
const AT_ONCE: usize = 500;

pub(crate) struct World {
    pub(crate) now: Duration,
    pub(crate) net: Net,
    pub(crate) heap: Heap,
    switch: Switch,
    hosts: Vec<Host>,
    sites: Vec<Site>,
    /// Tunnels that each host may have that do not lead to an agent yet.
    opening: usize,
    attaches: u32,
    client: Client,
    client_is_ready: bool,
    jobs: BTreeMap<ProcessId, Job>,
    jobs_left: VecDeque<(u32, u64)>,
    ids: u64,
    out: BytesMut,
    /// Hosts whose agents have greeted on their present link.
    pub(crate) up: usize,
    /// Greetings so far.
    pub(crate) joins: usize,
    /// How often a host became reachable or unreachable because its via did.
    pub(crate) via_changes: usize,
    /// Bytes that came back to the client from its processes.
    pub(crate) echoed: u64,
    /// Processes of the client that have ended as they should.
    pub(crate) done: usize,
}

/// A host as the daemon sees it.
#[derive(Default)]
struct Site {
    via: Option<u32>,
    link: Option<LinkId>,
    /// Hosts to reach through it.
    inner: VecDeque<u32>,
}

/// A process of the client, which sends this much and reads as much.
struct Job {
    host: u32,
    length: u64,
    read: u64,
}

/// What the switch alone has taken from the heap.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Heap {
    /// What it holds now.
    pub(crate) held: u64,
    pub(crate) most: u64,
    /// All that it ever took.
    pub(crate) taken: u64,
    /// How often it was called.
    pub(crate) calls: u64,
}

impl Heap {
    fn during<T>(&mut self, act: impl FnOnce() -> T) -> T {
        let before = INSTRUMENTED_SYSTEM.stats();
        let done = act();
        let after = INSTRUMENTED_SYSTEM.stats();
        let taken = (after.bytes_allocated - before.bytes_allocated) as u64;
        let freed = (after.bytes_deallocated - before.bytes_deallocated) as u64;
        self.taken += taken;
        self.held = (self.held + taken).saturating_sub(freed);
        self.most = self.most.max(self.held);
        self.calls += 1;
        done
    }
}

impl World {
    /// A daemon whose hosts are reached through these, if not directly. All of them are asked to join.
    pub(crate) fn new(vias: &[Option<u32>], opening: usize) -> Self {
        let me = Identity {
            owner: ClientId([0xdd; 16]),
            life: 1,
            pid: 1,
            release: "3.0.0".into(),
            network: "tree".into(),
            linger: Duration::from_secs(600),
            private: false,
        };
        let mut sites: Vec<Site> = vias.iter().map(|via| Site { via: *via, ..Site::default() }).collect();
        for (inner, via) in (0..).zip(vias) {
            if let Some(via) = via {
                sites[*via as usize].inner.push_back(inner);
            }
        }
        let mut world = Self {
            now: Duration::ZERO,
            net: Net::default(),
            heap: Heap::default(),
            switch: Switch::new(me),
            hosts: (0..vias.len() as u32).map(Host::new).collect(),
            sites,
            opening,
            attaches: 0,
            client: Client::new(ME, "3.0.0"),
            client_is_ready: false,
            jobs: BTreeMap::new(),
            jobs_left: VecDeque::new(),
            ids: 0,
            out: BytesMut::with_capacity(1 << 20),
            up: 0,
            joins: 0,
            via_changes: 0,
            echoed: 0,
            done: 0,
        };
        for host in 0..vias.len() as u32 {
            world.ask(|switch, now| switch.add_host(key(host), &name(host), now));
        }
        world.ask(|switch, now| switch.client_opened(CLIENT, None, now));
        world.client.connected(Duration::ZERO);
        for host in (0..).zip(vias).filter(|(_, via)| via.is_none()).map(|(host, _)| host) {
            world.connect(host);
        }
        world
    }

    /// Lets time pass until this holds.
    pub(crate) fn run(&mut self, most: Duration, mut is_done: impl FnMut(&Self) -> bool) {
        let end = self.now + most;
        while !is_done(self) {
            assert!(self.now < end, "not done after {most:?}: {} up, {} done", self.up, self.done);
            self.step(end);
        }
    }

    /// Lets this much time pass.
    pub(crate) fn settle(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.step(end);
        }
    }

    /// Goes on to the next moment at which something happens, or to `end`.
    fn step(&mut self, end: Duration) {
        let deadline = self.ask(|switch, _| switch.deadline()).map(coarse);
        self.now = [self.net.next(), deadline].into_iter().flatten().fold(end, Duration::min);
        if deadline.is_some_and(|at| at <= self.now) {
            self.ask(Switch::tick);
            self.answer();
        }
        while let Some((id, to, bytes)) = self.net.take(self.now) {
            let link = self.net.link(id);
            let host = link.host;
            match (to, link.carrier) {
                (End::Far, _) => self.hosts[host as usize].arrived(id, bytes, &mut self.net, self.now),
                (End::Near, Some((via, id))) => {
                    self.hosts[via as usize].brought(id, &bytes, &mut self.net, self.now);
                }
                (End::Near, None) => {
                    self.ask(|switch, now| switch.link_bytes(key(host), &bytes, now));
                    self.answer();
                }
            }
        }
        self.run_client();
    }

    /// Cuts the link of a host that is reached directly.
    pub(crate) fn cut(&mut self, host: u32) {
        let link = self.sites[host as usize].link.take().expect("it has a link");
        self.net.cut(link);
        self.hosts[host as usize].detach(self.now);
        self.up -= 1;
        self.ask(|switch, now| switch.link_closed(key(host), "ssh exited with status 255", now));
        self.answer();
    }

    /// Opens the link of a host.
    pub(crate) fn connect(&mut self, host: u32) {
        self.attaches += 1;
        let (epoch, id) = (Epoch::new(1, self.attaches), self.new_id());
        let via = self.sites[host as usize].via;
        if via.is_none() {
            self.sites[host as usize].link = Some(self.net.open(host, None));
        }
        let opened = self.ask(|switch, now| {
            let mut bytes = BytesMut::with_capacity(BOOTSTRAP);
            bytes.put_u64(epoch.0);
            bytes.resize(BOOTSTRAP, 0);
            let Some(via) = via else {
                switch.open_link(key(host), epoch, bytes.freeze(), now);
                return true;
            };
            let words = ["ssh".into(), name(host), " ".repeat(SCRIPT)];
            let args = words.map(Bytes::from).to_vec();
            switch.open_tunnel(key(host), key(via), id, args, epoch, bytes.freeze(), now)
        });
        assert!(opened, "the host in front of h{host} is up");
        self.answer();
    }

    /// Runs a process on each of these hosts, which sends back as many bytes as it gets.
    pub(crate) fn start(&mut self, jobs: impl IntoIterator<Item = (u32, u64)>) {
        self.jobs_left.extend(jobs);
        self.run_client();
    }

    fn new_id(&mut self) -> ProcessId {
        self.ids += 1;
        ProcessId(
            (u128::from(self.ids).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835)).to_be_bytes(),
        )
    }

    fn ask<T>(&mut self, question: impl FnOnce(&mut Switch, Duration) -> T) -> T {
        let Self { heap, switch, now, .. } = self;
        heap.during(|| question(switch, *now))
    }

    /// Does what the switch asks for.
    fn answer(&mut self) {
        while let Some(event) = self.ask(|switch, _| switch.poll_event()) {
            match event {
                SwitchEvent::Select { client, id, wants } => {
                    let host = key(number(&wants[0].1));
                    let placed = self.ask(|switch, _| switch.place(client, id, host, "node", Table::new()));
                    assert!(placed, "{host:?} is up");
                }
                SwitchEvent::Up { host, .. } => {
                    self.up += 1;
                    self.joins += 1;
                    let host = host.0 - 1;
                    self.connect_inner(host, self.opening);
                    if let Some(via) = self.sites[host as usize].via {
                        self.connect_inner(via, 1);
                    }
                }
                SwitchEvent::ViaChanged { .. } => self.via_changes += 1,
                SwitchEvent::Node { .. } | SwitchEvent::Nodes { .. } | SwitchEvent::ToldKept { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        while let Some(peer) = self.switch.poll_ready() {
            let Peer::Host(host) = peer else {
                self.client_is_ready = true;
                continue;
            };
            let Some(link) = self.sites[host.0 as usize - 1].link else { continue };
            loop {
                let mut out = std::mem::take(&mut self.out);
                self.ask(|switch, now| switch.link_transmit(host, &mut out, 65_536, now));
                let bytes = Bytes::copy_from_slice(&out);
                out.clear();
                self.out = out;
                if bytes.is_empty() {
                    break;
                }
                self.net.send(link, End::Far, bytes, self.now);
            }
        }
    }

    fn connect_inner(&mut self, via: u32, count: usize) {
        for _ in 0..count {
            if let Some(inner) = self.sites[via as usize].inner.pop_front() {
                self.connect(inner);
            }
        }
    }

    /// The client and the daemon say what they have to say to each other.
    fn run_client(&mut self) {
        loop {
            let mut out = BytesMut::new();
            while self.jobs.len() < AT_ONCE
                && let Some((host, length)) = self.jobs_left.pop_front()
            {
                let id = self.new_id();
                self.client.select(id, vec![("host".into(), Bytes::from(name(host)))]);
                self.jobs.insert(id, Job { host, length, read: 0 });
            }
            self.client.transmit(&mut out, usize::MAX, self.now);
            if out.is_empty() && !std::mem::take(&mut self.client_is_ready) {
                return;
            }
            if !out.is_empty() {
                self.ask(|switch, now| switch.client_bytes(CLIENT, &out, now));
                self.answer();
                self.client_is_ready = false;
            }
            out = std::mem::take(&mut self.out);
            self.ask(|switch, now| switch.client_transmit(CLIENT, &mut out, usize::MAX, now));
            self.client.handle(&out, self.now).expect("what the daemon says is right");
            out.clear();
            self.out = out;
            while let Some(event) = self.client.poll_event() {
                match event {
                    ClientEvent::Placed(id) => {
                        let length = self.jobs[&id].length;
                        self.client.launch(id, Launch::default());
                        self.client.write(id, text(id, 0, length));
                        self.client.close_stdin(id);
                    }
                    ClientEvent::Greeted { .. } | ClientEvent::Changed(_) => {}
                    other => panic!("{other:?}"),
                }
            }
            self.read();
        }
    }

    fn read(&mut self) {
        let Self { client, jobs, echoed, done, .. } = self;
        jobs.retain(|&id, job| {
            let Some(process) = client.process(id) else { return true };
            assert_eq!(process.lost(), None, "on h{}", job.host);
            loop {
                let bytes = client.read(id, Stream::Stdout, usize::MAX);
                if bytes.is_empty() {
                    break;
                }
                let length = bytes.len() as u64;
                assert_eq!(bytes, text(id, job.read, length), "from h{} at {}", job.host, job.read);
                job.read += length;
                *echoed += length;
            }
            let Some(ending) = client.process(id).and_then(|process| process.ending()) else { return true };
            assert_eq!((ending, job.read), (&Ending::Exited(0), job.length), "on h{}", job.host);
            client.release(id);
            *done += 1;
            false
        });
    }
}

fn key(host: u32) -> HostKey {
    HostKey(host + 1)
}

fn coarse(at: Duration) -> Duration {
    Duration::from_millis((at.as_millis().div_ceil(COARSE) * COARSE) as u64)
}

/// What the client sends to a process, from this position on.
fn text(id: ProcessId, from: u64, length: u64) -> Bytes {
    (from..from + length).map(|at| (at % 251) as u8 ^ id.0[0] ^ (at >> 8) as u8).collect()
}
