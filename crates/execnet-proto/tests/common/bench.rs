//! A switch with one host and one client, to which frames are said one at a time.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use execnet_proto::id::{ClientId, Epoch, Incarnation, ProcessId};
use execnet_proto::opening::OPENING;
use execnet_proto::switch::{ClientKey, HostKey, Identity, Peer, Switch, SwitchEvent};
use execnet_proto::wire::{Decoder, Frame, Role, Span, Spawn, Table};

pub(crate) const HOST: HostKey = HostKey(1);
pub(crate) const INNER: HostKey = HostKey(2);
pub(crate) const CLIENT: ClientKey = ClientKey(1);
pub(crate) const ME: ClientId = ClientId([5; 16]);
pub(crate) const AGENT: Incarnation = Incarnation([7; 16]);
pub(crate) const ID: ProcessId = ProcessId([1; 16]);
pub(crate) const OTHER: ProcessId = ProcessId([2; 16]);

/// A switch with a host that is up and a client that has greeted. It keeps the frames to both.
pub(crate) struct Bench {
    pub(crate) switch: Switch,
    pub(crate) now: Duration,
    pub(crate) to_client: Decoder,
    pub(crate) to_host: Decoder,
    /// How many frames took the short way.
    pub(crate) short: usize,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let me = Identity {
            owner: ClientId([0xdd; 16]),
            life: 1,
            pid: 1,
            release: "3.0.0".into(),
            network: "bench".into(),
            linger: Duration::from_secs(600),
            private: false,
        };
        let mut bench = Self {
            switch: Switch::new(me),
            now: Duration::ZERO,
            to_client: Decoder::default(),
            to_host: Decoder::default(),
            short: 0,
        };
        bench.switch.add_host(HOST, "h", bench.now);
        bench.attach(1, AGENT);
        bench.switch.client_opened(CLIENT, Some(4711), bench.now);
        let mut out = BytesMut::new();
        bench.switch.client_transmit(CLIENT, &mut out, usize::MAX, bench.now);
        bench.to_client.push(&out[OPENING.len()..]);
        let mut bytes = marker();
        Frame::Client { id: ME, release: String::new(), facts: Vec::new() }.encode(&mut bytes);
        bench.switch.client_bytes(CLIENT, &bytes, bench.now);
        bench.told();
        bench
    }

    pub(crate) fn attach(&mut self, attach: u32, incarnation: Incarnation) {
        self.attach_with(attach, incarnation, "");
    }

    /// Attaches an agent that names these features.
    pub(crate) fn attach_with(&mut self, attach: u32, incarnation: Incarnation, features: &'static str) {
        let epoch = Epoch::new(1, attach);
        self.switch.open_link(HOST, epoch, Bytes::new(), self.now);
        self.to_host = Decoder::default();
        self.switch.link_bytes(HOST, &hello(epoch, incarnation, features), self.now);
    }

    pub(crate) fn client(&mut self, frame: &Frame) {
        self.arrived(Peer::Client(CLIENT), &frame.to_bytes());
    }

    pub(crate) fn agent(&mut self, frame: &Frame) {
        self.arrived(Peer::Host(HOST), &frame.to_bytes());
    }

    /// These bytes arrive, and take the short way if they can.
    fn arrived(&mut self, from: Peer, bytes: &[u8]) {
        if let Some(short) = self.switch.short_way(from, bytes) {
            match short.to() {
                Peer::Client(_) => self.to_client.push(bytes),
                Peer::Host(_) => self.to_host.push(bytes),
            }
            self.switch.passed(short, self.now);
            self.short += 1;
            return;
        }
        match from {
            Peer::Client(key) => self.switch.client_bytes(key, bytes, self.now),
            Peer::Host(key) => self.switch.link_bytes(key, bytes, self.now),
        }
    }

    /// The frames for the client and the agent.
    pub(crate) fn told(&mut self) -> (Vec<Frame>, Vec<Frame>) {
        while let Some(peer) = self.switch.poll_ready() {
            let mut out = BytesMut::new();
            match peer {
                Peer::Client(key) => {
                    self.switch.client_transmit(key, &mut out, usize::MAX, self.now);
                    self.to_client.push(&out);
                }
                Peer::Host(key) => {
                    self.switch.link_transmit(key, &mut out, usize::MAX, self.now);
                    self.to_host.push(&out);
                }
            }
        }
        let all = |decoder: &mut Decoder| std::iter::from_fn(|| decoder.next().expect("frames")).collect();
        let (client, host): (Vec<_>, Vec<_>) = (all(&mut self.to_client), all(&mut self.to_host));
        let frames = |list: Vec<(Frame, usize)>| list.into_iter().map(|(frame, _)| frame).collect();
        (frames(client), frames(host))
    }

    /// The client's process runs, and its SPAWN was answered.
    pub(crate) fn spawned(mut self) -> Self {
        self.client(&Frame::Select { id: ID, wants: Table::new() });
        while self.switch.poll_event().is_some() {}
        assert!(self.switch.place(CLIENT, ID, HOST, "n", Table::new()));
        self.client(&spawn(1));
        self.agent(&Frame::Resumed { id: ID, attempt: 1, stdin: span(0, 32_768) });
        self.told();
        self
    }

    /// The client and the host that were dropped since.
    pub(crate) fn dropped(&mut self) -> (bool, bool) {
        let (mut client, mut host) = (false, false);
        while let Some(event) = self.switch.poll_event() {
            client |= matches!(event, SwitchEvent::ClientEnded { .. });
            host |= matches!(event, SwitchEvent::LinkEnded { .. });
        }
        (client, host)
    }
}

pub(crate) fn marker() -> BytesMut {
    BytesMut::from(&OPENING[..])
}

pub(crate) fn hello(epoch: Epoch, incarnation: Incarnation, features: &'static str) -> BytesMut {
    let mut bytes = marker();
    let facts = vec![("features".to_owned(), Bytes::from_static(features.as_bytes()))];
    Frame::Hello { incarnation, epoch, resume: true, pid: 1, facts }.encode(&mut bytes);
    bytes
}

pub(crate) fn span(received: u64, limit: u64) -> Span {
    Span { received, limit }
}

pub(crate) fn spawn(attempt: u32) -> Frame {
    Frame::Spawn(Box::new(spawn_of(ID, attempt)))
}

pub(crate) fn spawn_of(id: ProcessId, attempt: u32) -> Spawn {
    Spawn {
        id,
        attempt,
        incarnation: AGENT,
        owner: ME,
        role: Role::Plain,
        stdout_limit: 16_384,
        stderr_limit: 16_384,
        host: "h".into(),
        node: "n".into(),
        chdir: String::new(),
        args: Vec::new(),
        env: Table::new(),
        options: Table::new(),
    }
}
