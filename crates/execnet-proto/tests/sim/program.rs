//! A program of the simulation: a client that runs processes, talks to them at random and checks everything
//! it receives.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::BytesMut;
use execnet_proto::client::{Client, ClientEvent, Launch};
use execnet_proto::id::{ClientId, Incarnation, ProcessId};
use execnet_proto::stream::MAX_WINDOW;
use execnet_proto::terminal::TerminalSize;
use execnet_proto::wire::{Ending, Stream, Table};
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
}

impl Program {
    pub(crate) fn new(rng: &mut Rng, jobs: usize, bulk: u64, now: Duration) -> Self {
        Self {
            client: Client::new(ClientId(std::array::from_fn(|_| rng.u8(..))), "3.0.0"),
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
                    self.jobs.remove(&id);
                    self.refused += 1;
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
        let job = Job {
            behaviour,
            left,
            written: 0,
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
        };
        self.jobs.insert(id, job);
        self.client.select(id, Table::new());
    }

    /// Does something with one process.
    fn job(&mut self, id: ProcessId, now: Duration, rng: &mut Rng) -> bool {
        let job = self.jobs.get_mut(&id).expect("it is there");
        if self.client.process(id).is_none() && self.client.placement(id).is_some() && now >= job.started {
            let args = vec![job.behaviour.encode()];
            job.size = (job.behaviour == Behaviour::Signals).then(|| size(rng));
            let options = job.size.map(TerminalSize::option).into_iter().collect();
            self.client.launch(id, Launch { args, options, ..Launch::default() });
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
            return self.end(id, End::Lost(message));
        }
        // with time for a daemon that was itself stopped
        match process.unreachable() {
            Some(why) if self.link.is_some() => {
                let since = *job.unreachable.get_or_insert(now);
                assert!(
                    now < since + 2 * PATIENCE,
                    "{id} is neither reached nor lost since {since:?}: {why}"
                );
            }
            _ => job.unreachable = None,
        }
        let capacity = process.stdin_capacity();
        assert!(capacity as u64 <= MAX_WINDOW);
        if job.left > 0 && capacity > 0 {
            let most = if rng.bool() { 50_000 } else { 2_000_000 };
            let part = job.left.min(capacity.min(rng.usize(1..most)) as u64);
            let bytes = plan::pattern(id, Stream::Stdin, job.written, part as usize);
            job.left -= part;
            job.written += part;
            self.client.write(id, bytes);
            busy = true;
        }
        if job.left == 0 && job.closes && !job.closed {
            job.closed = true;
            self.client.close_stdin(id);
            busy = true;
        }
        let runs = ending.is_none();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let index = stream.index() - 1;
            let available = self.client.process(id).map_or(0, |process| process.available(stream));
            assert!(available as u64 <= MAX_WINDOW, "{available} bytes of {id} wait here");
            if available > 0 && (now >= job.next_read || !runs || self.calm) {
                if job.lazy {
                    job.next_read = now + Duration::from_millis(rng.u64(..2_000));
                }
                let bytes = self.client.read(id, stream, rng.usize(1..=65_536));
                let shown =
                    if job.behaviour == Behaviour::Echo && index == 0 { Stream::Stdin } else { stream };
                plan::check(id, shown, job.read[index], &bytes);
                job.read[index] += bytes.len() as u64;
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
            _ if !runs => None,
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
        if job.behaviour == Behaviour::Signals && runs && job.signals >> 15 & 1 == 0 && rng.u8(..64) == 0 {
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
        };
        self.client.release(id);
        self.ended.push(outcome);
        true
    }
}

fn size(rng: &mut Rng) -> TerminalSize {
    TerminalSize { rows: rng.u16(..), columns: rng.u16(..) }
}
