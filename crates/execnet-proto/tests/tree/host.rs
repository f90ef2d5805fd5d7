//! A host of the tree: its agent, and the processes that run there. They answer at once.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use execnet_proto::id::{Epoch, Incarnation, ProcessId};
use execnet_proto::wire::{Ending, Role, Spawn, Stream};

use crate::agent::{Action, Agent};
use crate::net::{End, Frames, LinkId, Net};

/// Bytes before the first frame to an agent, as docs/bootstrap.md counts them.
pub(crate) const BOOTSTRAP: usize = 58_900;

/// No agent is without a link for so long.
const LINGER: Duration = Duration::from_secs(600);

pub(crate) struct Host {
    number: u32,
    agent: Agent,
    link: Option<LinkId>,
    /// What has arrived of the bootstrap.
    bootstrap: BytesMut,
    attached: bool,
    frames: Frames,
    children: BTreeMap<ProcessId, Child>,
}

struct Child {
    work: Work,
    /// What it has written and the agent has not read.
    pipe: BytesMut,
}

enum Work {
    /// An ssh to another host.
    Tunnel(LinkId),
    /// Writes its stdin to stdout.
    Echo,
}

impl Host {
    pub(crate) fn new(number: u32) -> Self {
        let mut incarnation = [0; 16];
        incarnation[..4].copy_from_slice(&number.to_be_bytes());
        let mut agent = Agent::new(Incarnation(incarnation), true, LINGER, Duration::ZERO);
        agent.name = name(number);
        Self {
            number,
            agent,
            link: None,
            bootstrap: BytesMut::new(),
            attached: false,
            frames: Frames::default(),
            children: BTreeMap::new(),
        }
    }

    /// Its link was cut.
    pub(crate) fn detach(&mut self, now: Duration) {
        self.link = None;
        self.attached = false;
        self.agent.detach(now);
    }

    /// Bytes have arrived on a link that leads here.
    pub(crate) fn arrived(&mut self, link: LinkId, mut bytes: Bytes, net: &mut Net, now: Duration) {
        if self.link != Some(link) {
            assert!(!self.attached, "h{} has another link", self.number);
            self.link = Some(link);
            self.bootstrap.clear();
        }
        if !self.attached {
            let part = bytes.len().min(BOOTSTRAP - self.bootstrap.len());
            self.bootstrap.extend_from_slice(&bytes.split_to(part));
            if self.bootstrap.len() < BOOTSTRAP {
                return;
            }
            self.agent.attach(Epoch(std::mem::take(&mut self.bootstrap).get_u64()), now);
            (self.attached, self.frames) = (true, Frames::default());
        }
        let mut named = Vec::new();
        self.frames.take(&bytes, |head| {
            named.extend(head.get(4..20).map(|id| ProcessId(id.try_into().expect("16 bytes"))));
        });
        self.agent.handle(&bytes, now).expect("what the daemon says is right");
        while let Some(action) = self.agent.actions.pop_front() {
            match action {
                Action::Start(spawn) => self.start(&spawn, net),
                // it has ended before
                Action::HangUp(id) if !self.children.contains_key(&id) => {}
                other => panic!("h{} is told to {other:?}", self.number),
            }
        }
        for id in named {
            self.run(id, net, now);
        }
        self.transmit(net, now);
    }

    /// Bytes have arrived on a link that one of its processes carries.
    pub(crate) fn brought(&mut self, id: ProcessId, bytes: &[u8], net: &mut Net, now: Duration) {
        let child = self.children.get_mut(&id).expect("its tunnel lives");
        child.pipe.extend_from_slice(bytes);
        self.run(id, net, now);
        self.transmit(net, now);
    }

    fn start(&mut self, spawn: &Spawn, net: &mut Net) {
        let id = spawn.id;
        let work = match spawn.role {
            Role::Tunnel => Work::Tunnel(net.open(number(&spawn.args[1]), Some((self.number, id)))),
            _ => Work::Echo,
        };
        self.agent.started(id, 1);
        self.children.insert(id, Child { work, pipe: BytesMut::new() });
    }

    /// A process does what it can.
    fn run(&mut self, id: ProcessId, net: &mut Net, now: Duration) {
        let Some(child) = self.children.get_mut(&id) else { return };
        loop {
            let bytes = self.agent.take_stdin(id, usize::MAX);
            match child.work {
                _ if bytes.is_empty() => break,
                Work::Tunnel(link) => net.send(link, End::Far, bytes, now),
                Work::Echo => child.pipe.extend_from_slice(&bytes),
            }
        }
        while let part @ 1.. = child.pipe.len().min(self.agent.room(id, Stream::Stdout)) {
            self.agent.output(id, Stream::Stdout, child.pipe.split_to(part).freeze());
        }
        if matches!(child.work, Work::Echo) && child.pipe.is_empty() && self.agent.stdin_ended(id) {
            self.agent.output_closed(id, Stream::Stdout);
            self.agent.output_closed(id, Stream::Stderr);
            self.agent.exited(id, Ending::Exited(0));
            self.children.remove(&id);
        }
    }

    fn transmit(&mut self, net: &mut Net, now: Duration) {
        let Some(link) = self.link.filter(|_| self.attached) else { return };
        let mut out = BytesMut::new();
        self.agent.transmit(&mut out, usize::MAX, now);
        if !out.is_empty() {
            net.send(link, End::Near, out.freeze(), now);
        }
    }
}

pub(crate) fn name(number: u32) -> String {
    format!("h{number}")
}

pub(crate) fn number(name: &[u8]) -> u32 {
    let name = std::str::from_utf8(name).expect("a name");
    name[1..].parse().expect("a number")
}
