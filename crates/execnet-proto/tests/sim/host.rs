//! A host of the simulation: its agent, its processes, and the stubs that wait to hand a link to the agent.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use execnet_proto::id::{Epoch, Incarnation, ProcessId};
use execnet_proto::terminal::TerminalSize;
use execnet_proto::wire::{Ending, Role, Spawn, Stream};
use fastrand::Rng;

use crate::agent::{Action, Agent};
use crate::net::{LinkId, Net, Read, Side};
use crate::plan::{self, Behaviour};

/// Bytes of the bootstrap: the word, then the epoch.
pub(crate) const BOOTSTRAP: usize = 12;

/// Bytes that a process's pipe holds.
const PIPE: usize = 65_536;

/// How a process really ended, and what it really wrote and read.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    pub(crate) forks: u32,
    pub(crate) ending: Option<Ending>,
    pub(crate) written: [u64; 2],
    pub(crate) read: u64,
    pub(crate) signals: Vec<u32>,
    /// Of its terminal, if it has one.
    pub(crate) sizes: Vec<TerminalSize>,
    pub(crate) kept: bool,
}

pub(crate) struct SimHost {
    pub(crate) name: String,
    pub(crate) resume: bool,
    pub(crate) agent: Option<Agent>,
    /// Incarnations whose agent was killed or has ended.
    pub(crate) dead: BTreeSet<Incarnation>,
    pub(crate) truths: BTreeMap<ProcessId, Truth>,
    pub(crate) unclaimed: BTreeSet<ProcessId>,
    /// Kept work that agents ended or forgot, and readers of it.
    ended: BTreeMap<ProcessId, &'static str>,
    attached: Option<(LinkId, BytesMut)>,
    waiting: Vec<(LinkId, BytesMut)>,
    children: BTreeMap<ProcessId, Child>,
    linger: Duration,
    /// Links that its tunnels want; the driver of the world opens them.
    pub(crate) dials: Vec<(ProcessId, String)>,
}

#[derive(Debug)]
struct Child {
    work: Work,
    wake: Duration,
    started: Duration,
    read: u64,
    pipes: [BytesMut; 2],
    written: [u64; 2],
    closed: [bool; 2],
    told_closed: [bool; 2],
    stdin_closed: bool,
    ending: Option<Ending>,
    told_ending: bool,
    hung_up: Option<Duration>,
}

#[derive(Debug)]
enum Work {
    Behaviour(Behaviour),
    Tunnel { link: Option<LinkId>, stdin: BytesMut },
}

impl SimHost {
    pub(crate) fn new(name: &str, resume: bool, linger: Duration) -> Self {
        Self {
            name: name.into(),
            resume,
            agent: None,
            dead: BTreeSet::new(),
            truths: BTreeMap::new(),
            unclaimed: BTreeSet::new(),
            ended: BTreeMap::new(),
            attached: None,
            waiting: Vec::new(),
            children: BTreeMap::new(),
            linger,
            dials: Vec::new(),
        }
    }

    pub(crate) fn children(&self) -> usize {
        self.children.len()
    }

    pub(crate) fn dump(&self) -> String {
        let agent = self.agent.as_ref().map(Agent::dump);
        format!("{}: {agent:?}\n  children {:?}", self.name, self.children)
    }

    /// Whether no program has a process here.
    pub(crate) fn is_idle(&self) -> bool {
        self.children.values().all(|child| matches!(child.work, Work::Tunnel { .. }))
            && self.agent.as_ref().is_none_or(|agent| agent.processes() <= self.children.len())
    }

    /// Whether an agent hung this up because nobody claimed it.
    pub(crate) fn forgot(&self, id: ProcessId) -> bool {
        self.unclaimed.contains(&id) || self.agent.as_ref().is_some_and(|agent| agent.unclaimed.contains(&id))
    }

    /// The reason why an agent ended or forgot kept work, or a reader of it.
    pub(crate) fn ended(&self, id: ProcessId) -> Option<&'static str> {
        self.agent.as_ref().and_then(|agent| agent.ended.get(&id)).or_else(|| self.ended.get(&id)).copied()
    }

    /// Everything that agents ended, and why.
    pub(crate) fn all_ended(&self) -> impl Iterator<Item = (ProcessId, &'static str)> {
        let agent = self.agent.iter().flat_map(|agent| &agent.ended);
        self.ended.iter().chain(agent).map(|(id, why)| (*id, *why))
    }

    /// A stub was started here, with this link as its stdio.
    pub(crate) fn stub(&mut self, link: LinkId) {
        self.waiting.push((link, BytesMut::new()));
    }

    /// The link that a tunnel's process wanted.
    pub(crate) fn dialed(&mut self, id: ProcessId, link: LinkId, net: &mut Net, now: Duration) {
        match self.children.get_mut(&id).map(|child| &mut child.work) {
            Some(Work::Tunnel { link: slot, .. }) => *slot = Some(link),
            _ => net.close(link, Side::Near, now),
        }
    }

    /// The agent dies at once, and its processes with it.
    pub(crate) fn kill_agent(&mut self, net: &mut Net, now: Duration) {
        if let Some(agent) = self.agent.take() {
            self.unclaimed.extend(&agent.unclaimed);
            self.ended.extend(&agent.ended);
            self.dead.insert(agent.incarnation);
        }
        if let Some((link, _)) = self.attached.take() {
            net.close(link, Side::Far, now);
        }
        for (id, child) in std::mem::take(&mut self.children) {
            self.bury(id, &child, net, now);
        }
    }

    pub(crate) fn deadline(&self) -> Option<Duration> {
        let agent = self.agent.as_ref().map(Agent::deadline);
        let children = self.children.values().flat_map(|child| {
            let kill = child.hung_up.map(|at| at + Duration::from_secs(5));
            [Some(child.wake), kill]
        });
        children.flatten().chain(agent).min()
    }

    /// Does the next work. Returns whether there was any.
    pub(crate) fn step(&mut self, net: &mut Net, now: Duration, rng: &mut Rng) -> bool {
        let mut busy = self.attach(net, now, rng);
        busy |= self.link(net, now, rng);
        if let Some(agent) = &mut self.agent
            && now >= agent.deadline()
        {
            agent.tick(now);
            busy = true;
        }
        busy |= self.act(net, now, rng);
        for id in self.children.keys().copied().collect::<Vec<_>>() {
            busy |= self.child(id, net, now, rng);
        }
        busy |= self.act(net, now, rng);
        self.transmit(net, now, rng) | busy
    }

    /// Stubs that have read the bootstrap hand their link to the agent.
    fn attach(&mut self, net: &mut Net, now: Duration, rng: &mut Rng) -> bool {
        let mut busy = false;
        for (link, mut bytes) in std::mem::take(&mut self.waiting) {
            match net.read(link, Side::Far, BOOTSTRAP - bytes.len(), now, rng) {
                Read::Nothing => self.waiting.push((link, bytes)),
                Read::End => {
                    net.close(link, Side::Far, now);
                    busy = true;
                }
                Read::Bytes(part) => {
                    busy = true;
                    bytes.extend_from_slice(&part);
                    if bytes.len() < BOOTSTRAP {
                        self.waiting.push((link, bytes));
                        continue;
                    }
                    assert_eq!(&bytes[..4], b"boot");
                    bytes.advance(4);
                    self.take(link, Epoch(bytes.get_u64()), net, now, rng);
                }
            }
        }
        busy
    }

    fn take(&mut self, link: LinkId, epoch: Epoch, net: &mut Net, now: Duration, rng: &mut Rng) {
        let (resume, linger) = (self.resume, self.linger);
        let mut noise = BytesMut::new();
        if rng.u8(..4) == 0 {
            noise.extend_from_slice(&b"Welcome!\r\n\0execnet:lin"[..rng.usize(..22)]);
        }
        if self.agent.as_ref().is_some_and(|agent| epoch <= agent.epoch || !resume) {
            net.close(link, Side::Far, now);
            return;
        }
        let agent = self.agent.get_or_insert_with(|| {
            let incarnation = Incarnation(std::array::from_fn(|_| rng.u8(..)));
            let mut agent = Agent::new(incarnation, resume, linger, now);
            agent.waiting = Some(plan::waiting);
            agent
        });
        agent.name.clone_from(&self.name);
        agent.attach(epoch, now);
        if let Some((old, _)) = self.attached.replace((link, noise)) {
            net.close(old, Side::Far, now);
        }
    }

    fn link(&mut self, net: &mut Net, now: Duration, rng: &mut Rng) -> bool {
        let (Some((link, _)), Some(agent)) = (&self.attached, &mut self.agent) else { return false };
        let link = *link;
        match net.read(link, Side::Far, 65_536, now, rng) {
            Read::Nothing => false,
            Read::Bytes(bytes) => {
                if let Err(violation) = agent.handle(&bytes, now) {
                    panic!("the agent on {} found: {violation}", self.name);
                }
                true
            }
            Read::End => {
                self.attached = None;
                net.close(link, Side::Far, now);
                agent.detach(now);
                if !self.resume {
                    self.kill_agent(net, now);
                }
                true
            }
        }
    }

    fn transmit(&mut self, net: &mut Net, now: Duration, rng: &mut Rng) -> bool {
        let (Some((link, out)), Some(agent)) = (&mut self.attached, &mut self.agent) else { return false };
        if rng.u8(..4) == 0 && net.has_room(*link, Side::Far) {
            return true;
        }
        let mut busy = false;
        while net.has_room(*link, Side::Far) {
            if out.is_empty() {
                agent.transmit(out, rng.usize(1..65_536), now);
            }
            if out.is_empty() {
                break;
            }
            net.write(*link, Side::Far, out, now, rng);
            busy = true;
        }
        busy
    }

    fn act(&mut self, net: &mut Net, now: Duration, rng: &mut Rng) -> bool {
        let mut busy = false;
        while let Some(action) = self.agent.as_mut().and_then(|agent| agent.actions.pop_front()) {
            busy = true;
            match action {
                Action::Start(spawn) => self.start(&spawn, now, rng),
                Action::Close(id, stream) => {
                    // a writer gets SIGPIPE at its next write
                    if let Some(child) = self.children.get_mut(&id) {
                        let writes = !matches!(
                            child.work,
                            Work::Behaviour(
                                Behaviour::Stubborn | Behaviour::Signals | Behaviour::Sink { .. }
                            )
                        );
                        if child.ending.is_none() && writes && !child.closed[stream.index() - 1] {
                            child.die(Ending::Signaled(13));
                        }
                        child.pipes[stream.index() - 1].clear();
                    }
                }
                Action::Signal(id, numbers) => {
                    for number in numbers {
                        self.signal(id, number);
                    }
                }
                Action::Size(id, size) => {
                    if self.children.get(&id).is_some_and(|child| child.ending.is_none()) {
                        self.truths.entry(id).or_default().sizes.push(size);
                    }
                }
                Action::HangUp(id) => {
                    if let Some(child) = self.children.get_mut(&id) {
                        child.hung_up = Some(now);
                        self.signal(id, 1);
                    }
                }
                Action::Detach => {
                    if let Some((link, _)) = self.attached.take() {
                        net.close(link, Side::Far, now);
                    }
                    if let Some(agent) = &mut self.agent {
                        agent.detach(now);
                    }
                }
                Action::End => {
                    self.kill_agent(net, now);
                }
            }
        }
        busy
    }

    fn start(&mut self, spawn: &Spawn, now: Duration, rng: &mut Rng) {
        let id = spawn.id;
        let truth = self.truths.entry(id).or_default();
        truth.forks += 1;
        assert_eq!(truth.forks, 1, "{id} was started twice");
        truth.kept = spawn.options.iter().any(|(key, _)| key == "keep");
        truth.sizes.extend(TerminalSize::asked(&spawn.options));
        let work = if spawn.role == Role::Tunnel {
            let target = String::from_utf8(spawn.args[1].to_vec()).expect("a name");
            self.dials.push((id, target));
            Work::Tunnel { link: None, stdin: BytesMut::new() }
        } else {
            Work::Behaviour(Behaviour::decode(&spawn.args[0]))
        };
        let mut child = Child {
            work,
            wake: now,
            started: now,
            read: 0,
            pipes: Default::default(),
            written: [0; 2],
            closed: [false; 2],
            told_closed: [false; 2],
            stdin_closed: false,
            ending: None,
            told_ending: false,
            hung_up: None,
        };
        if matches!(child.work, Work::Behaviour(Behaviour::Missing)) {
            child.die(Ending::NotStarted(2, "no such file".into()));
        } else if let Some(agent) = &mut self.agent {
            agent.started(id, rng.u32(1..30_000));
        }
        self.children.insert(id, child);
    }

    fn signal(&mut self, id: ProcessId, number: u32) {
        let Some(child) = self.children.get_mut(&id) else { return };
        if child.ending.is_some() {
            return;
        }
        self.truths.entry(id).or_default().signals.push(number);
        let stubborn = matches!(child.work, Work::Behaviour(Behaviour::Stubborn));
        if number == 9 || (!stubborn && matches!(number, 1 | 15)) {
            child.die(Ending::Signaled(number));
        }
    }

    fn child(&mut self, id: ProcessId, net: &mut Net, now: Duration, rng: &mut Rng) -> bool {
        let (Some(child), Some(agent)) = (self.children.get_mut(&id), &mut self.agent) else { return false };
        if child.hung_up.is_some_and(|at| now >= at + Duration::from_secs(5)) && child.ending.is_none() {
            child.die(Ending::Signaled(9));
        }
        let mut busy = child.live(id, agent, net, now, rng);
        for stream in [Stream::Stdout, Stream::Stderr] {
            let index = stream.index() - 1;
            let pipe = &mut child.pipes[index];
            let room = agent.room(id, stream);
            if !pipe.is_empty() && room > 0 {
                let part = pipe.len().min(rng.usize(1..=room));
                agent.output(id, stream, pipe.split_to(part).freeze());
                busy = true;
            }
            if child.closed[index] && pipe.is_empty() && !child.told_closed[index] {
                child.told_closed[index] = true;
                agent.output_closed(id, stream);
                busy = true;
            }
        }
        if let Some(ending) = &child.ending
            && !child.told_ending
        {
            child.told_ending = true;
            agent.exited(id, ending.clone());
            busy = true;
        }
        let gone = !agent.has(id);
        if child.ending.is_some() && (gone || child.told_closed == [true; 2]) {
            let child = self.children.remove(&id).expect("it is there");
            self.bury(id, &child, net, now);
            busy = true;
        }
        busy
    }

    fn bury(&mut self, id: ProcessId, child: &Child, net: &mut Net, now: Duration) {
        let truth = self.truths.entry(id).or_default();
        truth.ending = child.ending.clone();
        truth.written = child.written;
        truth.read = child.read;
        if let Work::Tunnel { link: Some(link), .. } = child.work {
            net.close(link, Side::Near, now);
        }
    }
}

impl Child {
    fn die(&mut self, ending: Ending) {
        self.ending = Some(ending);
        self.closed = [true; 2];
        self.stdin_closed = true;
        self.wake = Duration::MAX;
    }

    fn say(&mut self, id: ProcessId, stream: Stream, most: u64) {
        let index = stream.index() - 1;
        let room = (PIPE - self.pipes[index].len()) as u64;
        let part = most.min(room) as usize;
        let bytes = plan::pattern(id, stream, self.written[index], part);
        self.pipes[index].extend_from_slice(&bytes);
        self.written[index] += part as u64;
    }

    fn hear(&mut self, id: ProcessId, agent: &mut Agent, most: usize) -> Bytes {
        let bytes = agent.take_stdin(id, most);
        plan::check(id, Stream::Stdin, self.read, &bytes);
        self.read += bytes.len() as u64;
        bytes
    }

    /// The process itself does something, if it is due.
    fn live(
        &mut self,
        id: ProcessId,
        agent: &mut Agent,
        net: &mut Net,
        now: Duration,
        rng: &mut Rng,
    ) -> bool {
        if self.ending.is_some() {
            return false;
        }
        let gone = self.hung_up.is_some();
        let ended = gone || agent.stdin_ended(id);
        let kind = match &mut self.work {
            Work::Tunnel { .. } => return self.carry(id, ended, agent, net, now, rng),
            Work::Behaviour(behaviour) => behaviour.clone(),
        };
        if now < self.wake {
            return false;
        }
        let before = (self.read, self.written);
        let pause = Duration::from_micros(if rng.u8(..3) == 0 { rng.u64(..200_000) } else { 0 });
        match kind {
            Behaviour::Echo => {
                let room = PIPE - self.pipes[0].len();
                if room > 0 {
                    let bytes = self.hear(id, agent, rng.usize(1..=room));
                    self.pipes[0].extend_from_slice(&bytes);
                    self.written[0] += bytes.len() as u64;
                }
                if ended {
                    self.die(Ending::Exited(0));
                    return true;
                }
            }
            Behaviour::Source { out, err, status } => {
                let (out, err) = (out - self.written[0], err - self.written[1]);
                self.say(id, Stream::Stdout, out.min(rng.u64(1..40_000)));
                self.say(id, Stream::Stderr, err.min(rng.u64(1..40_000)));
                if out == 0 && err == 0 {
                    self.die(Ending::Exited(status));
                    return true;
                }
            }
            Behaviour::Sink { status } => {
                self.hear(id, agent, rng.usize(1..20_000));
                if ended {
                    self.die(Ending::Exited(status));
                    return true;
                }
            }
            Behaviour::Closer { after, status } => {
                if self.stdin_closed {
                    self.say(id, Stream::Stdout, 100);
                    self.die(Ending::Exited(status));
                    return true;
                }
                let left = after - self.read;
                self.hear(id, agent, left.min(5_000) as usize);
                if self.read == after || ended {
                    self.stdin_closed = true;
                    agent.stdin_closed(id);
                    self.wake = now + Duration::from_millis(rng.u64(..2_000));
                    return true;
                }
            }
            Behaviour::Mortal { after } => {
                if now >= self.started + Duration::from_millis(after) {
                    self.die(Ending::Signaled(9));
                    return true;
                }
                self.say(id, Stream::Stdout, rng.u64(..3_000));
                self.say(id, Stream::Stderr, rng.u64(..300));
                self.wake = now + Duration::from_millis(rng.u64(1..3_000));
                return true;
            }
            Behaviour::Stubborn | Behaviour::Signals | Behaviour::Missing => {}
        }
        let busy = before != (self.read, self.written);
        if busy {
            self.wake = now + pause;
        }
        busy
    }

    /// An ssh: bytes from stdin go out on the link, bytes from the link go to stdout.
    fn carry(
        &mut self,
        id: ProcessId,
        ended: bool,
        agent: &mut Agent,
        net: &mut Net,
        now: Duration,
        rng: &mut Rng,
    ) -> bool {
        self.wake = Duration::MAX;
        let room = PIPE - self.pipes[0].len();
        let Work::Tunnel { link: Some(link), stdin } = &mut self.work else { return false };
        let link = *link;
        let mut busy = false;
        while net.has_room(link, Side::Near) {
            if stdin.is_empty() {
                stdin.extend_from_slice(&agent.take_stdin(id, 32_768));
            }
            if stdin.is_empty() {
                break;
            }
            net.write(link, Side::Near, stdin, now, rng);
            busy = true;
        }
        if ended && stdin.is_empty() {
            self.die(Ending::Exited(0));
            return true;
        }
        if room > 0 {
            match net.read(link, Side::Near, room, now, rng) {
                Read::Bytes(bytes) => {
                    self.pipes[0].extend_from_slice(&bytes);
                    busy = true;
                }
                Read::End => {
                    self.pipes[1].extend_from_slice(b"Connection closed by remote host\r\n");
                    self.die(Ending::Exited(255));
                    busy = true;
                }
                Read::Nothing => {}
            }
        }
        busy
    }
}
