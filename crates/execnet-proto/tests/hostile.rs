//! Peers that send anything, beside honest ones on the same switch. What they break ends only their own
//! connection, and memory stays bounded.

#[path = "sim/agent.rs"]
#[allow(dead_code)] // the simulation uses all of it
mod agent;
#[path = "common/frames.rs"]
#[allow(dead_code)]
mod frames;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use execnet_proto::client::{Client, ClientEvent, Launch};
use execnet_proto::feature::Features;
use execnet_proto::id::{ClientId, Epoch, Incarnation, ProcessId};
use execnet_proto::opening::OPENING;
use execnet_proto::stream::POOL;
use execnet_proto::switch::{ClientKey, HostKey, Identity, Peer, Switch, SwitchEvent};
use execnet_proto::wire::{Decoder, Ending, Frame, FrameKind, Refusal, Role, Stream, Table};
use fastrand::Rng;

use agent::{Action, Agent};

const GOOD: HostKey = HostKey(0);
const BAD: HostKey = HostKey(1);
const HONEST: ClientKey = ClientKey(0);
const BAD_INCARNATION: Incarnation = Incarnation([0xbb; 16]);
const LIAR: ClientId = ClientId([0x66; 16]);

/// Kinds that clients send about a process.
const CLIENTS: [FrameKind; 10] = [
    FrameKind::Take,
    FrameKind::Leave,
    FrameKind::Spawn,
    FrameKind::Resume,
    FrameKind::Data,
    FrameKind::Credit,
    FrameKind::Fin,
    FrameKind::Stop,
    FrameKind::Signal,
    FrameKind::Release,
];

/// Kinds that agents send about a process.
const AGENTS: [FrameKind; 14] = [
    FrameKind::Kept,
    FrameKind::Keeps,
    FrameKind::Taken,
    FrameKind::Left,
    FrameKind::Skip,
    FrameKind::Resumed,
    FrameKind::Started,
    FrameKind::Data,
    FrameKind::Credit,
    FrameKind::Fin,
    FrameKind::Stop,
    FrameKind::Signaled,
    FrameKind::Exit,
    FrameKind::Forget,
];

struct Scene {
    rng: Rng,
    switch: Switch,
    now: Duration,
    agent: Agent,
    running: BTreeSet<ProcessId>,
    honest: Client,
    /// The honest client's echo on the good host, and the bytes it wrote and read.
    echo: ProcessId,
    written: u64,
    read: u64,
    liar: ClientKey,
    heard: Decoder,
    /// The placements of the liar, and the attempts it made.
    places: BTreeMap<ProcessId, (Incarnation, String, u32)>,
    /// What it has asked to keep, and how often it has taken something.
    kept: BTreeMap<ProcessId, (Incarnation, String)>,
    taken: u64,
    attaches: u32,
    /// Processes that the liar's agent was told of.
    victims: BTreeSet<ProcessId>,
    attempts: BTreeMap<ProcessId, u32>,
    takes: BTreeMap<ProcessId, u32>,
    told: Decoder,
    ended: [u32; 2],
}

impl Scene {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let linger = Duration::from_secs(1_000_000);
        let me = Identity {
            owner: ClientId([0xdd; 16]),
            life: 1,
            pid: 1,
            release: "3.0.0".into(),
            network: "hostile".into(),
            linger,
            private: false,
        };
        let now = Duration::ZERO;
        let mut scene = Self {
            switch: Switch::new(me),
            now,
            agent: Agent::new(Incarnation([0xaa; 16]), true, linger, now),
            running: BTreeSet::new(),
            honest: Client::new(ClientId([0x11; 16]), "3.0.0"),
            echo: ProcessId(std::array::from_fn(|_| rng.u8(..))),
            written: 0,
            read: 0,
            liar: ClientKey(1),
            heard: Decoder::default(),
            places: BTreeMap::new(),
            kept: BTreeMap::new(),
            taken: 0,
            attaches: 1,
            victims: BTreeSet::new(),
            attempts: BTreeMap::new(),
            takes: BTreeMap::new(),
            told: Decoder::default(),
            ended: [0; 2],
            rng,
        };
        scene.switch.add_host(GOOD, "good", now);
        scene.switch.add_host(BAD, "bad", now);
        scene.switch.open_link(GOOD, Epoch::new(1, 1), Bytes::new(), now);
        scene.agent.name = "good".into();
        scene.agent.attach(Epoch::new(1, 1), now);
        scene.switch.client_opened(HONEST, Some(11), now);
        scene.honest.connected(now);
        scene.attach_bad();
        scene.open_liar();
        scene.settle();
        scene.honest.select(scene.echo, Table::new());
        scene.settle();
        assert!(scene.honest.process(scene.echo).is_some(), "the echo runs");
        scene
    }

    fn attach_bad(&mut self) {
        self.attaches += 1;
        let epoch = Epoch::new(1, self.attaches);
        self.switch.open_link(BAD, epoch, Bytes::new(), self.now);
        self.told = Decoder::default();
        let mut bytes = marker();
        let incarnation = BAD_INCARNATION;
        let facts = vec![Features::all().entry()];
        Frame::Hello { incarnation, epoch, resume: true, pid: 1, facts }.encode(&mut bytes);
        self.switch.link_bytes(BAD, &bytes, self.now);
    }

    fn open_liar(&mut self) {
        self.switch.client_closed(self.liar);
        self.liar = ClientKey(self.liar.0 + 1);
        self.switch.client_opened(self.liar, Some(666), self.now);
        self.heard = Decoder::default();
        self.places.clear();
        let mut bytes = marker();
        Frame::Client { id: LIAR, release: String::new(), facts: Vec::new() }.encode(&mut bytes);
        self.switch.client_bytes(self.liar, &bytes, self.now);
    }

    /// Carries all bytes to where they go until nothing is sent any more.
    fn settle(&mut self) {
        loop {
            let mut busy = self.events();
            while let Some(peer) = self.switch.poll_ready() {
                let mut out = BytesMut::new();
                match peer {
                    Peer::Client(key) => self.switch.client_transmit(key, &mut out, usize::MAX, self.now),
                    Peer::Host(key) => self.switch.link_transmit(key, &mut out, usize::MAX, self.now),
                }
                busy |= !out.is_empty();
                match peer {
                    Peer::Client(HONEST) => {
                        self.honest.handle(&out, self.now).expect("the honest client is told no lies");
                    }
                    Peer::Client(_) => self.liar_hears(&out),
                    Peer::Host(GOOD) => {
                        self.agent.handle(&out, self.now).expect("the good agent is told no lies");
                    }
                    Peer::Host(_) => self.liar_is_told(&out),
                }
            }
            while let Some(event) = self.honest.poll_event() {
                if let ClientEvent::Placed(id) = event {
                    self.honest.launch(id, Launch::default());
                }
            }
            busy |= self.work();
            let mut out = BytesMut::new();
            self.agent.transmit(&mut out, usize::MAX, self.now);
            busy |= !out.is_empty();
            self.switch.link_bytes(GOOD, &out, self.now);
            let mut out = BytesMut::new();
            self.honest.transmit(&mut out, usize::MAX, self.now);
            busy |= !out.is_empty();
            self.switch.client_bytes(HONEST, &out, self.now);
            if !busy {
                return;
            }
        }
    }

    /// The processes on the good host: all of them are echoes.
    fn work(&mut self) -> bool {
        let mut busy = false;
        while let Some(action) = self.agent.actions.pop_front() {
            busy = true;
            match action {
                Action::Start(spawn) => {
                    assert!(self.running.insert(spawn.id), "{} was started twice", spawn.id);
                    self.agent.started(spawn.id, 7);
                }
                Action::HangUp(id) => {
                    self.running.remove(&id);
                }
                Action::Detach | Action::End => panic!("the good agent was told to end"),
                Action::Close(..) | Action::Signal(..) | Action::Size(..) => {}
            }
        }
        for id in self.running.clone() {
            let room = self.agent.room(id, Stream::Stdout);
            if room > 0 {
                let bytes = self.agent.take_stdin(id, room);
                busy |= !bytes.is_empty();
                self.agent.output(id, Stream::Stdout, bytes);
            }
            if self.agent.stdin_ended(id) {
                self.agent.output_closed(id, Stream::Stdout);
                self.agent.output_closed(id, Stream::Stderr);
                self.agent.exited(id, Ending::Exited(0));
                self.running.remove(&id);
                busy = true;
            }
        }
        busy
    }

    fn events(&mut self) -> bool {
        let mut busy = false;
        while let Some(event) = self.switch.poll_event() {
            busy = true;
            match event {
                SwitchEvent::Select { client, id, .. } => {
                    let host = if id == self.echo || self.rng.bool() { GOOD } else { BAD };
                    if !self.switch.place(client, id, host, "n", Table::new()) {
                        self.switch.refuse(client, id, Refusal::TooMany, String::new());
                    }
                }
                SwitchEvent::Request { client, request, json } => {
                    self.switch.reply(client, request, true, json);
                }
                SwitchEvent::ClientEnded { client, why } => {
                    assert_eq!(client, self.liar, "{why}");
                    self.ended[0] += 1;
                    self.open_liar();
                }
                SwitchEvent::LinkEnded { host, why, .. } => {
                    assert_eq!(host, BAD, "{why}");
                    self.ended[1] += 1;
                    self.attach_bad();
                }
                _ => {}
            }
        }
        busy
    }

    fn liar_hears(&mut self, bytes: &[u8]) {
        let mut bytes = bytes;
        if bytes.starts_with(&OPENING) {
            bytes = &bytes[OPENING.len()..];
        }
        self.heard.push(bytes);
        while let Ok(Some((frame, _))) = self.heard.next() {
            match frame {
                Frame::Placed { id, incarnation, host, .. } => {
                    self.places.insert(id, (incarnation, host, 0));
                }
                Frame::Taken { id, standing, .. } => {
                    self.taken += 1;
                    if let Some((.., attempt)) = self.places.get_mut(&id) {
                        *attempt = standing.attempt.max(*attempt).min(1 << 20);
                    }
                }
                _ => {}
            }
        }
    }

    fn liar_is_told(&mut self, bytes: &[u8]) {
        self.told.push(bytes);
        while let Ok(Some((frame, _))) = self.told.next() {
            match frame {
                Frame::Spawn(spawn) => {
                    self.victims.insert(spawn.id);
                    self.attempts.insert(spawn.id, spawn.attempt);
                }
                Frame::Resume { id, attempt, .. } => {
                    self.attempts.insert(id, attempt);
                }
                Frame::Take { id, attempt, .. } => {
                    self.takes.insert(id, attempt);
                }
                _ => {}
            }
        }
    }

    /// A nearly correct frame for a client.
    fn lie_of_client(&mut self) -> Bytes {
        if self.rng.u8(..40) == 0 {
            return (0..self.rng.usize(1..50)).map(|_| self.rng.u8(..)).collect();
        }
        if self.places.is_empty() || self.rng.u8(..30) == 0 {
            let id = ProcessId(std::array::from_fn(|_| self.rng.u8(..)));
            return Frame::Select { id, wants: Table::new() }.to_bytes();
        }
        let ids: Vec<_> = self.places.keys().copied().collect();
        let id = *self.rng.choice(&ids).expect("there is one");
        let id = if self.rng.u8(..200) == 0 { self.echo } else { id };
        let right = self.rng.u8(..20) > 0;
        let mut frame = self.any(id, &CLIENTS);
        if let Frame::Take { id: of, incarnation, owner, host, tenure, .. } = &mut frame
            && right
        {
            // nearly always what it has asked to keep, also in an earlier connection
            let kept: Vec<_> = self.kept.iter().collect();
            if let Some((kept, (agent, name))) = self.rng.choice(kept) {
                (*of, *incarnation, *host) = (*kept, *agent, name.clone());
                self.places.entry(*kept).or_insert((*agent, name.clone(), 0));
            }
            *owner = LIAR;
            *tenure = if self.rng.bool() { 0 } else { self.rng.u32(..4) };
        }
        if let Frame::Leave { owner, .. } = &mut frame
            && right
        {
            *owner = LIAR;
        }
        if let Frame::Spawn(spawn) = &mut frame
            && let Some((incarnation, host, attempt)) = self.places.get_mut(&id)
            && right
        {
            *attempt += 1;
            spawn.attempt = *attempt;
            (spawn.incarnation, spawn.host, spawn.owner, spawn.role) =
                (*incarnation, host.clone(), LIAR, Role::Plain);
            (spawn.stdout_limit, spawn.stderr_limit) = (16_384, 16_384);
            if self.rng.u8(..10) > 0 {
                (spawn.args, spawn.env, spawn.chdir, spawn.node) = <_>::default();
                spawn.options = Table::new();
                // the same in each SPAWN of an id
                if id.0[0] < 200 {
                    let value = format!("k{} 60 wait last=50", id.0[1]);
                    spawn.options.push(("keep".to_owned(), value.into()));
                    self.kept.insert(id, (*incarnation, host.clone()));
                }
            }
        }
        if let Frame::Resume { attempt, .. } = &mut frame
            && let Some((.., known)) = self.places.get_mut(&id)
            && right
        {
            *known += 1;
            *attempt = *known;
        }
        frame.to_bytes()
    }

    /// A nearly correct frame for an agent.
    fn lie_of_agent(&mut self) -> Bytes {
        if self.victims.is_empty() || self.rng.u8(..40) == 0 {
            return (0..self.rng.usize(1..50)).map(|_| self.rng.u8(..)).collect();
        }
        let ids: Vec<_> = self.victims.iter().copied().collect();
        let id = *self.rng.choice(&ids).expect("there is one");
        let id = if self.rng.u8(..200) == 0 { self.echo } else { id };
        let mut frame = self.any(id, &AGENTS);
        if self.rng.u8(..8) == 0 {
            let name = format!("k{}", self.rng.u8(..4)).into();
            frame = Frame::Kept { id, facts: vec![("name".to_owned(), name)] };
        }
        if let Frame::Taken { attempt, .. } = &mut frame
            && self.rng.u8(..4) > 0
        {
            *attempt = self.takes.get(&id).copied().unwrap_or(1);
        }
        if self.rng.u8(..4) == 0 {
            let stdin = execnet_proto::wire::Span { received: 0, limit: 32_768 };
            frame = Frame::Resumed { id, attempt: self.attempts.get(&id).copied().unwrap_or(1), stdin };
        }
        frame.to_bytes()
    }

    /// Any frame, about this process if it is about one, and nearly always of a kind that this peer may send.
    fn any(&mut self, id: ProcessId, kinds: &[FrameKind]) -> Frame {
        let strange = self.rng.u8(..60) == 0;
        let mut encoded = loop {
            let bytes: Vec<_> = (0..120).map(|_| self.rng.u8(..)).collect();
            let frame = frames::frame(&mut frames::Input::new(&bytes));
            if strange || kinds.contains(&frame.kind()) {
                break BytesMut::from(&frame.to_bytes()[..]);
            }
        };
        // all frames of a process begin with its id
        if matches!(encoded[0], 0x16 | 0x20..=0x2c | 0x32..=0x38 | 0x40..=0x44) {
            encoded[4..20].copy_from_slice(&id.0);
        }
        let mut decoder = Decoder::default();
        decoder.push(&encoded);
        decoder.next().expect("a frame").expect("a whole one").0
    }

    fn honest_goes_on(&mut self) {
        let capacity = self.honest.process(self.echo).expect("it runs").stdin_capacity();
        let part = capacity.min(self.rng.usize(..20_000));
        let bytes: Bytes = (self.written..self.written + part as u64).map(|at| (at % 251) as u8).collect();
        self.honest.write(self.echo, bytes);
        self.written += part as u64;
        self.settle();
        loop {
            let bytes = self.honest.read(self.echo, Stream::Stdout, 65_536);
            if bytes.is_empty() {
                break;
            }
            for (at, byte) in (self.read..).zip(&bytes) {
                assert_eq!(*byte, (at % 251) as u8);
            }
            self.read += bytes.len() as u64;
            self.settle();
        }
        assert_eq!(self.read, self.written, "{:?}", self.honest.process(self.echo));
    }
}

fn marker() -> BytesMut {
    BytesMut::from(&OPENING[..])
}

#[test]
fn lies_end_the_liars_connection_and_nothing_else() {
    let (mut ended, mut taken) = ([0; 2], 0);
    #[allow(clippy::disallowed_methods)] // the crate reads no environment; its test may
    let seeds = std::env::var("EXECNET_HOSTILE_SEEDS").map_or(60, |value| value.parse().expect("a number"));
    for seed in 0..seeds {
        let mut scene = Scene::new(seed);
        // an honest process on the bad host must not drag the honest client down with it
        scene.honest.select(ProcessId([0x77; 16]), Table::new());
        scene.settle();
        for _ in 0..120 {
            for _ in 0..scene.rng.usize(..12) {
                if scene.rng.bool() {
                    let lie = scene.lie_of_client();
                    scene.switch.client_bytes(scene.liar, &lie, scene.now);
                } else {
                    let lie = scene.lie_of_agent();
                    scene.switch.link_bytes(BAD, &lie, scene.now);
                }
                scene.events();
            }
            assert!(scene.switch.queued() as u64 <= 3 * POOL);
            scene.settle();
            scene.honest_goes_on();
            scene.now += Duration::from_millis(scene.rng.u64(..100));
        }
        ended = [ended[0] + scene.ended[0], ended[1] + scene.ended[1]];
        taken += scene.taken;
    }
    assert!(ended[0] > 100 && ended[1] > 100, "the lies were too mild: {ended:?}");
    assert!(taken > 50, "only {taken} times something was taken");
}

#[test]
fn a_client_that_does_not_read_is_dropped_before_it_costs_much() {
    let mut scene = Scene::new(1);
    let before = scene.ended[0];
    for index in 0..50_000_u64 {
        let mut id = [1; 16];
        id[..8].copy_from_slice(&index.to_be_bytes());
        let claim = Frame::Claim { id: ProcessId(id), incarnation: BAD_INCARNATION, host: "nowhere".into() };
        scene.switch.client_bytes(scene.liar, &claim.to_bytes(), scene.now);
        scene.events();
    }
    assert!(scene.ended[0] > before);
    scene.honest_goes_on();
}
