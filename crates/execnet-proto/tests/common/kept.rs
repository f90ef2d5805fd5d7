//! A switch with a host that keeps work, and the frames about that.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use execnet_proto::id::{ClientId, Epoch, Incarnation, ProcessId};
use execnet_proto::opening::OPENING;
use execnet_proto::switch::{ClientKey, HostKey, Identity, Peer, Switch, SwitchEvent};
use execnet_proto::wire::{Decoder, Frame, Held, Role, Span, Spawn, Standing, Stream, Table};

pub(crate) const HOST: HostKey = HostKey(1);
pub(crate) const A: ClientKey = ClientKey(1);
pub(crate) const B: ClientKey = ClientKey(2);
pub(crate) const AGENT: Incarnation = Incarnation([7; 16]);
pub(crate) const ID: ProcessId = ProcessId([1; 16]);
pub(crate) const OTHER: ProcessId = ProcessId([2; 16]);

pub(crate) fn client_id(key: ClientKey) -> ClientId {
    ClientId([key.0 as u8; 16])
}

/// A switch with a host that keeps work, and two clients.
pub(crate) struct Bench {
    pub(crate) switch: Switch,
    pub(crate) now: Duration,
    attaches: u32,
    to: [Decoder; 3],
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with("terminal look keep", false)
    }

    pub(crate) fn with(features: &'static str, private: bool) -> Self {
        let now = Duration::from_secs(1_000);
        let switch = Switch::new(Identity {
            owner: ClientId([0xdd; 16]),
            life: 3,
            pid: 1,
            release: "3.0.0".into(),
            network: "bench".into(),
            linger: Duration::from_secs(600),
            private,
        });
        let mut bench = Self { switch, now, attaches: 0, to: Default::default() };
        bench.switch.add_host(HOST, "gpu", now);
        bench.attach(AGENT, features);
        for client in [A, B] {
            bench.open(client, client_id(client));
        }
        bench.told();
        bench.events();
        bench
    }

    pub(crate) fn open(&mut self, client: ClientKey, id: ClientId) {
        self.switch.client_opened(client, Some(100 + client.0 as u32), self.now);
        let mut out = BytesMut::new();
        self.switch.client_transmit(client, &mut out, usize::MAX, self.now);
        self.to[client.0 as usize] = Decoder::default();
        let mut bytes = BytesMut::from(&OPENING[..]);
        let program = vec![("program".to_owned(), Bytes::from(format!("prog{}", client.0)))];
        Frame::Client { id, release: String::new(), facts: program }.encode(&mut bytes);
        self.switch.client_bytes(client, &bytes, self.now);
    }

    pub(crate) fn attach(&mut self, incarnation: Incarnation, features: &'static str) {
        self.attach_at(HOST, incarnation, features);
    }

    pub(crate) fn attach_at(&mut self, host: HostKey, incarnation: Incarnation, features: &'static str) {
        self.attaches += 1;
        let epoch = Epoch::new(3, self.attaches);
        self.switch.open_link(host, epoch, Bytes::new(), self.now);
        self.to[0] = Decoder::default();
        let mut bytes = BytesMut::from(&OPENING[..]);
        let facts = vec![("features".to_owned(), Bytes::from_static(features.as_bytes()))];
        Frame::Hello { incarnation, epoch, resume: true, pid: 1, facts }.encode(&mut bytes);
        self.switch.link_bytes(host, &bytes, self.now);
    }

    pub(crate) fn cut(&mut self) {
        self.switch.link_closed(HOST, "ssh exited", self.now);
    }

    pub(crate) fn says(&mut self, client: ClientKey, frame: &Frame) {
        self.switch.client_bytes(client, &frame.to_bytes(), self.now);
    }

    pub(crate) fn agent(&mut self, frame: &Frame) {
        self.switch.link_bytes(HOST, &frame.to_bytes(), self.now);
    }

    /// The frames for the agent and both clients.
    pub(crate) fn told(&mut self) -> [Vec<Frame>; 3] {
        while let Some(peer) = self.switch.poll_ready() {
            let mut out = BytesMut::new();
            let to = match peer {
                Peer::Client(key) => {
                    self.switch.client_transmit(key, &mut out, usize::MAX, self.now);
                    key.0 as usize
                }
                Peer::Host(key) => {
                    self.switch.link_transmit(key, &mut out, usize::MAX, self.now);
                    0
                }
            };
            self.to[to].push(&out);
        }
        self.to.each_mut().map(|decoder| {
            let frames = std::iter::from_fn(|| decoder.next().expect("frames"));
            frames.map(|(frame, _)| frame).filter(|frame| !matches!(frame, Frame::Ping(_))).collect()
        })
    }

    pub(crate) fn events(&mut self) -> Vec<SwitchEvent> {
        std::iter::from_fn(|| self.switch.poll_event()).collect()
    }

    /// Who was dropped: the clients, and the host.
    pub(crate) fn dropped(&mut self) -> (Vec<ClientKey>, bool) {
        let mut dropped = (Vec::new(), false);
        for event in self.events() {
            match event {
                SwitchEvent::ClientEnded { client, .. } => dropped.0.push(client),
                SwitchEvent::LinkEnded { .. } => dropped.1 = true,
                _ => {}
            }
        }
        dropped
    }

    /// A client starts kept work, which is answered and told.
    pub(crate) fn kept(mut self, client: ClientKey) -> Self {
        self.says(client, &Frame::Select { id: ID, wants: Table::new() });
        assert!(self.switch.place(client, ID, HOST, "gpu", Table::new()));
        self.says(client, &spawn(client, ID, 1, Role::Plain, &[("keep", "train 60 last=100 wait")]));
        self.agent(&Frame::Resumed { id: ID, attempt: 1, stdin: span(0, 32_768) });
        self.agent(&Frame::Started { id: ID, pid: 7 });
        self.agent(&kept(ID, &[("name", "train")]));
        self.told();
        assert_eq!(self.dropped(), (vec![], false));
        self
    }

    /// A client takes it, and the agent answers.
    pub(crate) fn taken(&mut self, client: ClientKey, tenure: u32, standing: Standing) {
        self.says(client, &take(client, ID, 0));
        let number = self.take_passed().expect("a TAKE passes");
        self.agent(&Frame::Taken { id: ID, attempt: number, tenure, standing });
    }

    /// The number of the TAKE that the agent was told.
    pub(crate) fn take_passed(&mut self) -> Option<u32> {
        let [host, ..] = self.told();
        host.iter().find_map(|frame| match frame {
            Frame::Take { attempt, .. } => Some(*attempt),
            _ => None,
        })
    }

    pub(crate) fn gone(&self) -> Vec<String> {
        self.switch.gone_work().map(|(_, gone)| gone.why.clone()).collect()
    }
}

pub(crate) fn span(received: u64, limit: u64) -> Span {
    Span { received, limit }
}

pub(crate) fn spawn(
    client: ClientKey,
    id: ProcessId,
    attempt: u32,
    role: Role,
    options: &[(&str, &str)],
) -> Frame {
    let options = options.iter().map(|(key, value)| ((*key).to_owned(), value.to_string().into())).collect();
    Frame::Spawn(Box::new(Spawn {
        id,
        attempt,
        incarnation: AGENT,
        owner: client_id(client),
        role,
        stdout_limit: 16_384,
        stderr_limit: 16_384,
        host: "gpu".into(),
        node: "gpu".into(),
        chdir: String::new(),
        args: Vec::new(),
        env: Table::new(),
        options,
    }))
}

pub(crate) fn take(client: ClientKey, id: ProcessId, tenure: u32) -> Frame {
    Frame::Take {
        id,
        attempt: 5,
        incarnation: AGENT,
        owner: client_id(client),
        tenure,
        pid: 1,
        program: "a lie".into(),
        host: "gpu".into(),
    }
}

pub(crate) fn leave(client: ClientKey, end: bool) -> Frame {
    Frame::Leave { id: ID, owner: client_id(client), end }
}

pub(crate) fn left(client: ClientKey, pid: u32, program: &str) -> Frame {
    Frame::Left { id: ID, owner: client_id(client), pid, program: program.into() }
}

pub(crate) fn kept(id: ProcessId, facts: &[(&str, &str)]) -> Frame {
    let facts = facts.iter().map(|(key, value)| ((*key).to_owned(), value.to_string().into())).collect();
    Frame::Kept { id, facts }
}

pub(crate) fn data(position: u64, length: usize) -> Frame {
    Frame::Data { id: ID, stream: Stream::Stdout, position, bytes: vec![0; length].into() }
}

pub(crate) fn skip(position: u64) -> Frame {
    Frame::Skip { id: ID, stream: Stream::Stdout, position }
}

pub(crate) fn credit(received: u64, limit: u64) -> Frame {
    Frame::Credit { id: ID, stream: Stream::Stdout, span: span(received, limit) }
}

pub(crate) fn resume(attempt: u32, stdout: u64) -> Frame {
    Frame::Resume { id: ID, attempt, stdout: span(stdout, stdout + 16_384), stderr: span(0, 16_384) }
}

pub(crate) fn resumed(attempt: u32) -> Frame {
    Frame::Resumed { id: ID, attempt, stdin: span(0, 32_768) }
}

/// From 900 to 1,000 bytes of stdout are held, and 4 attempts were made.
pub(crate) fn standing() -> Standing {
    Standing { attempt: 4, stdout: Held { start: 900, end: 1_000 }, ..Standing::default() }
}

pub(crate) fn lost(frames: &[Frame]) -> Option<&str> {
    frames.iter().find_map(|frame| match frame {
        Frame::Lost { message, .. } => Some(message.as_str()),
        _ => None,
    })
}
