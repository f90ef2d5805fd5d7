//! A program of the simulation: a client that runs processes, talks to them at random and checks everything
//! it receives.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::BytesMut;
use execnet_proto::client::{Client, ClientEvent, Launch};
use execnet_proto::id::{ClientId, Incarnation, ProcessId};
use execnet_proto::kept::{Join, Keep, Kept, Policy, Replay};
use execnet_proto::prefix::Prefix;
use execnet_proto::process::Loss;
use execnet_proto::stream::MAX_WINDOW;
use execnet_proto::terminal::TerminalSize;
use execnet_proto::wire::{Ending, Role, Stream, Table};
use fastrand::Rng;

use crate::net::{LinkId, Net, Read, Side};
use crate::plan::{self, Behaviour};
use crate::world::PATIENCE;

pub(crate) struct Program {
    pub(crate) client: Client,
    pub(crate) link: Option<LinkId>,
    pub(crate) stopped: Duration,
    pub(crate) next_connect: Duration,
    pub(crate) wants_connection: bool,
    pub(crate) to_start: usize,
    pub(crate) ended: Vec<Outcome>,
    pub(crate) refused: usize,
    /// The faults that the world still allows.
    pub(crate) calm: bool,
    jobs: BTreeMap<ProcessId, Job>,
    wake: Duration,
    out: BytesMut,
    bulk: u64,
    pub(crate) id: ClientId,
    /// Of ten processes so many are kept.
    keeps: u8,
    /// Kept work that it has asked to end.
    pub(crate) asked_to_end: Vec<ProcessId>,
}

/// What is special about a process that is kept, or that reads along with one.
#[derive(Clone, Debug)]
pub(crate) struct Special {
    /// Of stdout and stderr.
    pub(crate) policies: [Policy; 2],
    pub(crate) role: Part,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Starter(Keep),
    Taker,
    /// Of this one.
    Reader(ProcessId, Join),
}

/// How a process went, as its client saw it.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) id: ProcessId,
    pub(crate) behaviour: Behaviour,
    pub(crate) host: String,
    pub(crate) incarnation: Option<Incarnation>,
    pub(crate) end: End,
    pub(crate) stopped: [bool; 2],
    pub(crate) read: [u64; 2],
    pub(crate) written: u64,
    pub(crate) closed: bool,
    pub(crate) signals: u64,
    /// The last size of its terminal, if it has one.
    pub(crate) size: Option<TerminalSize>,
    pub(crate) client: ClientId,
    pub(crate) special: Option<Special>,
    /// Where the outputs that it saw ended.
    pub(crate) at: [u64; 2],
    /// Where each gap began and ended.
    pub(crate) gaps: [Vec<(u64, u64)>; 2],
    /// Where it began.
    pub(crate) begin: [u64; 2],
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    Ended(Ending),
    Lost(String),
    /// Released before its end.
    HungUp,
}

struct Job {
    behaviour: Behaviour,
    /// Bytes of stdin still to write.
    left: u64,
    written: u64,
    /// So many are given as the prefix.
    prefix: u64,
    closes: bool,
    closed: bool,
    read: [u64; 2],
    stopped: [bool; 2],
    signals: u64,
    size: Option<TerminalSize>,
    started: Duration,
    /// Hangs up after this long.
    patience: Option<Duration>,
    lazy: bool,
    next_read: Duration,
    seen: Option<Ending>,
    /// Since when it is reported unreachable.
    unreachable: Option<Duration>,
    special: Option<Special>,
    /// Position of the next byte of each output, once it is known.
    at: Option<[u64; 2]>,
    begin: [u64; 2],
    gaps: [Vec<(u64, u64)>; 2],
    /// It is to end when it is left.
    ends: bool,
}

impl Program {
    pub(crate) fn new(rng: &mut Rng, jobs: usize, bulk: u64, now: Duration) -> Self {
        let id = ClientId(std::array::from_fn(|_| rng.u8(..)));
        Self {
            client: Client::new(id, "3.0.0").program("sim"),
            id,
            keeps: if rng.bool() { 0 } else { rng.u8(1..=10) },
            asked_to_end: Vec::new(),
            link: None,
            stopped: now,
            next_connect: now,
            wants_connection: false,
            to_start: jobs,
            ended: Vec::new(),
            refused: 0,
            calm: false,
            jobs: BTreeMap::new(),
            wake: now,
            out: BytesMut::new(),
            bulk,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.to_start == 0 && self.jobs.is_empty()
    }

    pub(crate) fn connected(&mut self, link: LinkId, now: Duration) {
        self.link = Some(link);
        self.out.clear();
        self.client.connected(now);
    }

    pub(crate) fn deadline(&self) -> Duration {
        let connect = if self.link.is_none() { self.next_connect } else { Duration::MAX };
        self.wake.min(connect)
    }

    pub(crate) fn dump(&self) -> String {
        let mut text = format!("connected {}, to start {}\n", self.link.is_some(), self.to_start);
        for (id, job) in &self.jobs {
            let process = self.client.process(*id);
            text += &format!(
                "  {id} {:?} left {} written {} closed {} read {:?} stopped {:?}: {process:?}\n",
                job.behaviour, job.left, job.written, job.closed, job.read, job.stopped
            );
        }
        text
    }

    pub(crate) fn step(&mut self, net: &mut Net, now: Duration, rng: &mut Rng) -> bool {
        let mut busy = false;
        if let Some(link) = self.link {
            match net.read(link, Side::Near, 65_536, now, rng) {
                Read::Nothing => {}
                Read::Bytes(bytes) => {
                    self.client.handle(&bytes, now).expect("the daemon is honest");
                    if rng.u8(..4) > 0 {
                        self.wake = now;
                    }
                    busy = true;
                }
                Read::End => {
                    net.close(link, Side::Near, now);
                    self.link = None;
                    self.client.disconnected();
                    self.next_connect = now + Duration::from_millis(rng.u64(..500));
                    busy = true;
                }
            }
        } else if now >= self.next_connect {
            self.wants_connection = true;
            self.next_connect = now + Duration::from_millis(500);
        }
        busy |= self.events(rng, now);
        if now >= self.wake {
            let worked = self.live(now, rng);
            let pause = if worked && rng.u8(..3) > 0 { 0 } else { rng.u64(1..100_000) };
            // an idle program still looks at its clock, for what it does after a while
            self.wake = now + Duration::from_micros(pause) * if worked { 1 } else { 10 };
            busy |= worked;
        }
        let Some(link) = self.link else { return busy };
        if rng.u8(..4) == 0 {
            return true;
        }
        while net.has_room(link, Side::Near) {
            if self.out.is_empty() {
                self.client.transmit(&mut self.out, rng.usize(1..65_536), now);
            }
            if self.out.is_empty() {
                break;
            }
            net.write(link, Side::Near, &mut self.out, now, rng);
            busy = true;
        }
        busy
    }

    fn events(&mut self, rng: &mut Rng, now: Duration) -> bool {
        let mut busy = false;
        while let Some(event) = self.client.poll_event() {
            busy = true;
            match event {
                ClientEvent::Placed(id) => {
                    // one that was released meanwhile is not placed
                    let job = self.jobs.get_mut(&id).expect("it was selected");
                    job.started =
                        now + Duration::from_millis(if rng.u8(..8) == 0 { rng.u64(..40_000) } else { 0 });
                }
                ClientEvent::Refused(id, ..) => {
                    let job = self.jobs.remove(&id).expect("it was selected");
                    self.refused += 1;
                    if job.special.is_some_and(|special| matches!(special.role, Part::Reader(..))) {
                        continue;
                    }
                    self.wake = now + Duration::from_millis(rng.u64(100..2_000));
                    self.to_start += 1;
                }
                ClientEvent::Greeted { .. }
                | ClientEvent::Waits(..)
                | ClientEvent::Changed(_)
                | ClientEvent::Taken(_) => {}
                ClientEvent::Reply { .. } => panic!("nothing was asked"),
            }
        }
        busy
    }

    fn live(&mut self, now: Duration, rng: &mut Rng) -> bool {
        let mut busy = false;
        if self.to_start > 0 && self.jobs.len() < 8 && (self.jobs.is_empty() || rng.u8(..4) == 0) {
            self.to_start -= 1;
            self.start(now, rng);
            busy = true;
        }
        for id in self.jobs.keys().copied().collect::<Vec<_>>() {
            busy |= self.job(id, now, rng);
        }
        busy
    }

    fn start(&mut self, now: Duration, rng: &mut Rng) {
        let id = ProcessId(std::array::from_fn(|_| rng.u8(..)));
        let behaviour = Behaviour::random(rng, self.bulk);
        let left = match behaviour {
            Behaviour::Echo | Behaviour::Sink { .. } | Behaviour::Closer { .. } => match rng.u8(..4) {
                0 => rng.u64(..100),
                1 => rng.u64(..self.bulk),
                _ => rng.u64(..30_000),
            },
            _ => rng.u64(..40),
        };
        let mut job = Job::new(behaviour, left, now, rng);
        if rng.u8(..10) < self.keeps {
            // some want the same name
            let name = if rng.u8(..4) == 0 { format!("k{}", rng.u8(..4)) } else { id.to_string() };
            let keep = Keep {
                name: name.parse().expect("a name"),
                seconds: rng.u64(1..if self.calm { 20 } else { 150 }),
                stdout: policy(rng),
                stderr: policy(rng),
                admits: false,
            };
            let policies = [keep.stdout, keep.stderr];
            job.special = Some(Special { policies, role: Part::Starter(keep) });
            job.may_leave(rng);
        }
        self.jobs.insert(id, job);
        self.client.select(id, Table::new());
    }

    /// Takes kept work.
    pub(crate) fn take(
        &mut self,
        (host, id, incarnation, facts): (String, ProcessId, Incarnation, Kept),
        now: Duration,
        rng: &mut Rng,
    ) {
        if self.jobs.contains_key(&id) {
            return;
        }
        let behaviour = Behaviour::decode(facts.command.as_bytes());
        let mut job = Job::new(behaviour, rng.u64(..30_000), now, rng);
        let policies = [facts.stdout, facts.stderr];
        job.special = Some(Special { policies, role: Part::Taker });
        job.at = None;
        job.may_leave(rng);
        self.jobs.insert(id, job);
        self.client.take(id, incarnation, host, replay(rng));
    }

    /// Reads along with kept work.
    pub(crate) fn read_along(
        &mut self,
        (host, source, _, facts): (String, ProcessId, Incarnation, Kept),
        now: Duration,
        rng: &mut Rng,
    ) {
        if facts.name.as_str() != source.to_string() {
            // it may be given to something else meanwhile
            return;
        }
        let id = ProcessId(std::array::from_fn(|_| rng.u8(..)));
        let behaviour = Behaviour::decode(facts.command.as_bytes());
        let mut job = Job::new(behaviour, 0, now, rng);
        let policies = [facts.stdout, facts.stderr];
        let role = Part::Reader(source, Join::Read(facts.name, replay(rng)));
        job.special = Some(Special { policies, role });
        job.closes = false;
        job.may_leave(rng);
        self.jobs.insert(id, job);
        self.client.select(id, vec![("host".to_owned(), host.into())]);
    }

    /// Does something with one process.
    fn job(&mut self, id: ProcessId, now: Duration, rng: &mut Rng) -> bool {
        let job = self.jobs.get_mut(&id).expect("it is there");
        if self.client.process(id).is_none() && self.client.placement(id).is_some() && now >= job.started {
            let args = vec![job.behaviour.encode()];
            let plain = job.special.is_none();
            job.size = (job.behaviour == Behaviour::Signals && plain).then(|| size(rng));
            let options = job.size.map(TerminalSize::option).into_iter().collect();
            let role = job.special.as_ref().map(|special| &special.role);
            let keep = if let Some(Part::Starter(keep)) = role { Some(keep.clone()) } else { None };
            let join = if let Some(Part::Reader(_, join)) = role { Some(join.clone()) } else { None };
            let length = if plain && job.size.is_none() { job.prefix } else { 0 };
            let prefix = Prefix::new(plan::pattern(id, Stream::Stdin, 0, length as usize), [0; 32]);
            job.left -= length;
            job.written += length;
            let ahead = prefix.is_some();
            self.client.launch(id, Launch { args, options, keep, join, ahead, prefix, ..Launch::default() });
            return true;
        }
        let Some(process) = self.client.process(id) else {
            if job.patience.is_some_and(|patience| now >= job.started + patience) {
                return self.end(id, End::HungUp);
            }
            return false;
        };
        let mut busy = false;
        let (ending, lost) = (process.ending().cloned(), process.lost().map(str::to_owned));
        if let Some(seen) = &job.seen {
            assert_eq!(Some(seen), ending.as_ref(), "{id} ended twice");
        }
        job.seen.clone_from(&ending);
        if let Some(message) = lost {
            let taken = process.loss() == Some(Loss::TakenOver);
            assert_eq!(taken, message.starts_with("taken over by sim ("), "{message}");
            return self.end(id, End::Lost(message));
        }
        // with time for a daemon that was itself stopped
        match process.unreachable() {
            Some(why) if self.link.is_some() => {
                let since = *job.unreachable.get_or_insert(now);
                assert!(
                    now < since + 2 * PATIENCE || process.is_kept(),
                    "{id} is neither reached nor lost since {since:?}: {why}"
                );
            }
            _ => job.unreachable = None,
        }
        let is_reader = process.spawn().role == Role::Read;
        let is_there = job.special.is_none() || is_reader || process.is_held();
        if is_there && job.at.is_none() {
            job.begin = [Stream::Stdout, Stream::Stderr].map(|stream| process.position(stream));
            job.at = Some(job.begin);
        }
        let from = process.stdin_end();
        if is_reader || !is_there {
            job.left = job.left.min(if is_there { 0 } else { u64::MAX });
        }
        let capacity = if is_there { process.stdin_capacity() } else { 0 };
        assert!(capacity as u64 <= MAX_WINDOW);
        if job.left > 0 && capacity > 0 {
            let most = if rng.bool() { 50_000 } else { 2_000_000 };
            let part = job.left.min(capacity.min(rng.usize(1..most)) as u64);
            let bytes = plan::pattern(id, Stream::Stdin, from, part as usize);
            job.left -= part;
            job.written += part;
            self.client.write(id, bytes);
            busy = true;
        }
        if job.left == 0 && job.closes && !job.closed && is_there {
            job.closed = true;
            self.client.close_stdin(id);
            busy = true;
        }
        let runs = ending.is_none();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let index = stream.index() - 1;
            let available = self.client.process(id).map_or(0, |process| process.available(stream));
            assert!(available as u64 <= MAX_WINDOW, "{available} bytes of {id} wait here");
            let missing = self.client.process(id).map_or(0, |process| process.missing(stream));
            if let Some(at) = job.at.as_mut().filter(|_| missing > 0 && (rng.bool() || self.calm)) {
                assert_eq!((available, self.client.gap(id, stream)), (0, missing));
                job.gaps[index].push((at[index], at[index] + missing));
                at[index] += missing;
                busy = true;
                continue;
            }
            if available > 0 && (now >= job.next_read || !runs || self.calm) {
                if job.lazy {
                    job.next_read = now + Duration::from_millis(rng.u64(..2_000));
                }
                let bytes = self.client.read(id, stream, rng.usize(1..=65_536));
                let shown =
                    if job.behaviour == Behaviour::Echo && index == 0 { Stream::Stdin } else { stream };
                let source = match job.special.as_ref().map(|special| &special.role) {
                    Some(Part::Reader(source, _)) => *source,
                    _ => id,
                };
                let at = job.at.as_mut().expect("it is known where it is");
                plan::check(source, shown, at[index], &bytes);
                at[index] += bytes.len() as u64;
                job.read[index] += bytes.len() as u64;
                let position = self.client.process(id).map(|process| process.position(stream));
                assert_eq!(position, Some(at[index]), "{id} {stream:?}");
                busy = true;
            }
            if runs && !job.stopped[index] && rng.u16(..2_000) == 0 {
                job.stopped[index] = true;
                self.client.stop(id, stream);
                busy = true;
            }
        }
        let age = now.saturating_sub(job.started);
        let asked = |number: u32| job.signals >> number & 1 == 1;
        let ask = match job.behaviour {
            _ if !runs || is_reader || !is_there => None,
            Behaviour::Signals if asked(15) => None,
            Behaviour::Signals if age > Duration::from_secs(10) => Some(15),
            Behaviour::Signals if rng.u8(..64) == 0 => rng.choice([10, 12, 14]),
            Behaviour::Stubborn if age > Duration::from_secs(5) && !asked(9) => Some(9),
            _ => None,
        };
        if let Some(number) = ask {
            job.signals |= 1 << number;
            self.client.signal(id, number);
        }
        if job.special.is_none()
            && job.behaviour == Behaviour::Signals
            && runs
            && job.signals >> 15 & 1 == 0
            && rng.u8(..64) == 0
        {
            let size = size(rng);
            job.size = Some(size);
            self.client.resize(id, size);
        }
        let process = self.client.process(id).expect("it runs");
        let finished = [Stream::Stdout, Stream::Stderr].iter().all(|stream| process.finished(*stream));
        if let Some(ending) = ending
            && finished
        {
            return self.end(id, End::Ended(ending));
        }
        let job = &self.jobs[&id];
        if job.patience.is_some_and(|patience| now >= job.started + patience) {
            return self.end(id, End::HungUp);
        }
        busy
    }

    fn end(&mut self, id: ProcessId, end: End) -> bool {
        let job = self.jobs.remove(&id).expect("it is there");
        let place = self.client.placement(id);
        let outcome = Outcome {
            id,
            behaviour: job.behaviour,
            host: place.map(|place| place.host.clone()).unwrap_or_default(),
            incarnation: place.map(|place| place.incarnation),
            end,
            stopped: job.stopped,
            read: job.read,
            written: job.written,
            closed: job.closed,
            signals: job.signals,
            size: job.size,
            client: self.id,
            special: job.special,
            at: job.at.unwrap_or_default(),
            gaps: job.gaps,
            begin: job.begin,
        };
        if job.ends {
            self.asked_to_end.push(id);
            self.client.end(id);
        } else {
            self.client.release(id);
        }
        self.ended.push(outcome);
        true
    }
}

impl Job {
    fn new(behaviour: Behaviour, left: u64, now: Duration, rng: &mut Rng) -> Self {
        Self {
            behaviour,
            left,
            written: 0,
            prefix: if rng.u8(..3) == 0 { left.min(rng.u64(1..100_000)) } else { 0 },
            closes: true,
            closed: false,
            read: [0; 2],
            stopped: [false; 2],
            signals: 0,
            size: None,
            started: now,
            patience: match rng.u8(..16) {
                0 => Some(Duration::from_micros(rng.u64(..2_000))),
                1 => Some(Duration::from_millis(rng.u64(..10_000))),
                _ => None,
            },
            lazy: rng.u8(..4) == 0,
            next_read: now,
            seen: None,
            unreachable: None,
            special: None,
            at: Some([0; 2]),
            begin: [0; 2],
            gaps: Default::default(),
            ends: false,
        }
    }

    /// It is left at some time, and perhaps ended, or held until it ends or is lost: whoever is not told of a
    /// loss waits without end.
    fn may_leave(&mut self, rng: &mut Rng) {
        if rng.u8(..4) == 0 {
            self.patience = None;
            return;
        }
        self.closes &= rng.bool();
        self.ends = rng.u8(..6) == 0;
        let most = if rng.bool() { 3_000 } else { 60_000 };
        self.patience = Some(Duration::from_millis(rng.u64(..most)));
    }
}

fn policy(rng: &mut Rng) -> Policy {
    let bytes = if rng.bool() { rng.u64(..300) } else { rng.u64(..200_000) };
    *rng.choice(&[Policy::Wait, Policy::Last(bytes), Policy::Spill(bytes)]).expect("one")
}

fn replay(rng: &mut Rng) -> Replay {
    let bytes = rng.u64(..50_000);
    *rng.choice(&[Replay::All, Replay::NONE, Replay::Last(bytes)]).expect("one")
}

fn size(rng: &mut Rng) -> TerminalSize {
    TerminalSize { rows: rng.u16(..), columns: rng.u16(..) }
}
