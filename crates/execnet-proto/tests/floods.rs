//! A peer that sends more than it may ends its own connection, with a sentence, and until then gets one short
//! turn after the other. A peer that sends everything the protocol asks for is left alone.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use execnet_proto::control::NodeState;
use execnet_proto::feature::Features;
use execnet_proto::id::{ClientId, Epoch, Incarnation, ProcessId};
use execnet_proto::opening::OPENING;
use execnet_proto::switch::{ClientKey, HostKey, Identity, MAX_PROCESSES, Peer, Switch, SwitchEvent};
use execnet_proto::wire::{Ending, Exit, Frame, Role, Span, Spawn, Standing, Stream, Table};

const ENDED: Exit = Exit { ending: Ending::Exited(0), stdout: 0, stderr: 0 };
const HOST: HostKey = HostKey(1);
const INNER: HostKey = HostKey(2);
const CLIENT: ClientKey = ClientKey(1);
const ME: ClientId = ClientId([5; 16]);
const AGENT: Incarnation = Incarnation([7; 16]);
const STRANGER: ProcessId = ProcessId([0xee; 16]);
const GRANTED: u64 = 65_536;

struct Scene {
    switch: Switch,
    now: Duration,
    /// The reasons why the client's and the host's connections ended.
    ended: [Option<String>; 2],
    requests: usize,
    nodes: usize,
}

impl Scene {
    /// A host that is up, and a client with running processes on it.
    fn new(processes: usize) -> Self {
        let me = Identity {
            owner: ClientId([0xdd; 16]),
            life: 1,
            pid: 1,
            release: "3.0.0".into(),
            network: "floods".into(),
            linger: Duration::from_secs(600),
            private: false,
        };
        let now = Duration::from_secs(1);
        let mut scene = Self { switch: Switch::new(me), now, ended: [None, None], requests: 0, nodes: 0 };
        scene.switch.add_host(HOST, "h", now);
        scene.attach(1);
        scene.switch.client_opened(CLIENT, Some(4711), now);
        let mut bytes = marker();
        Frame::Client { id: ME, release: String::new(), facts: Vec::new() }.encode(&mut bytes);
        scene.switch.client_bytes(CLIENT, &bytes, now);
        for n in 0..processes {
            scene.client(&[Frame::Select { id: id(n), wants: Table::new() }]);
            assert!(scene.switch.place(CLIENT, id(n), HOST, "h", Table::new()));
            scene.client(&[spawn(id(n))]);
            scene.agent(&[Frame::Resumed { id: id(n), attempt: 1, stdin: span(0, 32_768) }]);
        }
        scene.told();
        scene
    }

    fn attach(&mut self, attach: u32) {
        let epoch = Epoch::new(1, attach);
        self.switch.open_link(HOST, epoch, Bytes::new(), self.now);
        let mut bytes = marker();
        hello(epoch).encode(&mut bytes);
        self.switch.link_bytes(HOST, &bytes, self.now);
    }

    fn client(&mut self, frames: &[Frame]) {
        self.switch.client_bytes(CLIENT, &encoded(frames), self.now);
        self.look();
    }

    fn agent(&mut self, frames: &[Frame]) {
        self.switch.link_bytes(HOST, &encoded(frames), self.now);
        self.look();
    }

    /// Drops the bytes to write.
    fn told(&mut self) {
        while let Some(peer) = self.switch.poll_ready() {
            let mut out = BytesMut::new();
            match peer {
                Peer::Client(key) => self.switch.client_transmit(key, &mut out, usize::MAX, self.now),
                Peer::Host(key) => self.switch.link_transmit(key, &mut out, usize::MAX, self.now),
            }
        }
    }

    fn look(&mut self) {
        while let Some(event) = self.switch.poll_event() {
            match event {
                SwitchEvent::ClientEnded { why, .. } => self.ended[0] = Some(why.to_string()),
                SwitchEvent::LinkEnded { why, .. } => self.ended[1] = Some(why.to_string()),
                SwitchEvent::Request { .. } => self.requests += 1,
                SwitchEvent::Node { .. } => self.nodes += 1,
                _ => {}
            }
        }
    }

    /// The agent repeats this at once. Returns the sentence with which its link ends.
    fn flood(&mut self, frame: &Frame) -> String {
        let many = encoded(&vec![frame.clone(); 1_000]);
        for _ in 0..40 {
            self.switch.link_bytes(HOST, &many, self.now);
            self.look();
            if let Some(why) = self.ended[1].take() {
                return why;
            }
        }
        panic!("{frame:?} may be said without end");
    }
}

fn id(n: usize) -> ProcessId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&(n as u64 + 1).to_be_bytes());
    ProcessId(id)
}

fn span(received: u64, limit: u64) -> Span {
    Span { received, limit }
}

fn marker() -> BytesMut {
    BytesMut::from(&OPENING[..])
}

fn hello(epoch: Epoch) -> Frame {
    Frame::Hello { incarnation: AGENT, epoch, resume: true, pid: 1, facts: vec![Features::all().entry()] }
}

fn spawn(id: ProcessId) -> Frame {
    Frame::Spawn(Box::new(Spawn {
        id,
        attempt: 1,
        incarnation: AGENT,
        owner: ME,
        role: Role::Plain,
        stdout_limit: GRANTED,
        stderr_limit: 0,
        host: "h".into(),
        node: "h".into(),
        chdir: String::new(),
        args: Vec::new(),
        env: Table::new(),
        options: Table::new(),
    }))
}

fn encoded(frames: &[Frame]) -> BytesMut {
    let mut bytes = BytesMut::new();
    frames.iter().for_each(|frame| frame.encode(&mut bytes));
    bytes
}

fn data(id: ProcessId, position: u64, length: usize) -> Frame {
    Frame::Data { id, stream: Stream::Stdout, position, bytes: vec![7; length].into() }
}

fn node(facts: Table) -> Frame {
    Frame::Node { name: "h:1".into(), state: NodeState::Ready, facts }
}

/// Kept work, with so many bytes more than its name.
fn kept(id: ProcessId, name: &str, bytes: usize) -> Frame {
    let note = vec![b'x'; bytes].into();
    Frame::Kept { id, facts: vec![("name".into(), name.to_owned().into()), ("note".into(), note)] }
}

/// Everything that an agent sends about a process, except its output.
fn life(id: ProcessId) -> [Frame; 6] {
    [
        Frame::Started { id, pid: 7 },
        Frame::Credit { id, stream: Stream::Stdin, span: span(0, 32_768) },
        Frame::Stop { id, stream: Stream::Stdin },
        Frame::Fin { id, stream: Stream::Stdout, length: 0 },
        Frame::Fin { id, stream: Stream::Stderr, length: 0 },
        Frame::Exit { id, exit: ENDED },
    ]
}

#[test]
fn an_agent_that_says_anything_without_end_ends_its_link_with_a_sentence() {
    let p = id(0);
    let floods = [
        ("PING", Frame::Ping(1)),
        ("PONG", Frame::Pong(1)),
        ("ACK", Frame::Ack(0)),
        ("NODE", node(Table::new())),
        ("NODE", node(vec![("message".into(), vec![b'x'; 60_000].into())])),
        ("NODES", Frame::Nodes(1)),
        ("RESUMED", Frame::Resumed { id: p, attempt: 1, stdin: span(0, 32_768) }),
        ("STARTED", Frame::Started { id: p, pid: 7 }),
        ("CREDIT", Frame::Credit { id: p, stream: Stream::Stdin, span: span(0, 32_768) }),
        ("FIN", Frame::Fin { id: p, stream: Stream::Stdout, length: 0 }),
        ("STOP", Frame::Stop { id: p, stream: Stream::Stdin }),
        ("SIGNALED", Frame::Signaled { id: p, sequence: 1 }),
        ("EXIT", Frame::Exit { id: p, exit: ENDED }),
        ("FORGET", Frame::Forget(STRANGER)),
        ("STARTED", Frame::Started { id: STRANGER, pid: 7 }),
        ("KEPT", kept(STRANGER, "n", 0)),
        ("KEPT", kept(STRANGER, "n", 60_000)),
        ("KEEPS", Frame::Keeps(0)),
        ("TAKEN", Frame::Taken { id: STRANGER, attempt: 1, tenure: 1, standing: Standing::default() }),
        ("LEFT", Frame::Left { id: STRANGER, owner: ME, pid: 0, program: String::new() }),
        ("SKIP", Frame::Skip { id: STRANGER, stream: Stream::Stdout, position: 9 }),
        ("DATA", data(STRANGER, 0, 1)),
        ("DATA", data(STRANGER, 0, 60_000)),
    ];
    for (kind, frame) in floods {
        let mut scene = Scene::new(1);
        let why = scene.flood(&frame);
        let sentence = format!("its agent broke the protocol: too many {kind} frames in too short a time");
        assert_eq!(why, sentence, "{frame:?}");
        assert!(scene.nodes < 20_000);
        assert_eq!(scene.ended[0], None, "the client stays");
    }
    // the agent of a removed host
    let mut scene = Scene::new(0);
    scene.switch.remove_host(HOST, scene.now);
    scene.switch.add_host(HOST, "h", scene.now);
    scene.attach(2);
    assert!(scene.flood(&node(Table::new())).contains("too many NODE frames"));
}

#[test]
fn a_flood_that_answers_nothing_is_not_paid_by_our_own_answers() {
    let mut scene = Scene::new(0);
    for _ in 0..20_000 {
        scene.agent(&[Frame::Ping(1)]);
        scene.told();
    }
    assert!(scene.ended[1].take().is_some_and(|why| why.contains("too many PING frames")));
}

#[test]
fn an_agent_may_say_all_that_holds_at_once_after_each_break() {
    let mut scene = Scene::new(MAX_PROCESSES);
    for attach in 2..6 {
        scene.attach(attach);
        scene.told();
        let mut says: Vec<Frame> = (0..64)
            .flat_map(|n| {
                let node = |state| Frame::Node { name: format!("h:{n}"), state, facts: Table::new() };
                [node(NodeState::Probing), node(NodeState::Ready)]
            })
            .collect();
        says.push(Frame::Nodes(64));
        // ids that an earlier daemon told it to forget and that it did not know
        says.extend((0..3_000).map(|n| Frame::Forget(id(1_000_000 + n))));
        for n in 0..MAX_PROCESSES {
            let (stdout, stderr) = (span(0, GRANTED), span(0, 0));
            scene.client(&[Frame::Resume { id: id(n), attempt: attach, stdout, stderr }]);
            says.push(Frame::Resumed { id: id(n), attempt: attach, stdin: span(0, 32_768) });
            says.extend(life(id(n)));
        }
        scene.agent(&says);
        assert_eq!(scene.ended, [None, None], "attach {attach}");
        scene.told();
    }
}

#[test]
fn an_agent_may_tell_of_all_that_it_keeps_after_each_break_and_whenever_it_changes() {
    let mut scene = Scene::new(0);
    for attach in 2..6 {
        scene.attach(attach);
        // processes and records; beside them their changes at once: left, ended, gone
        let all = |bytes| (0..300).map(move |n| kept(id(n), &format!("n{n}"), bytes));
        let mut says: Vec<Frame> = all(700).collect();
        says.push(Frame::Keeps(300));
        says.extend(all(701).chain(all(702)));
        says.extend((0..100).map(|n| Frame::Forget(id(n))));
        scene.agent(&says);
        scene.told();
        assert_eq!((scene.ended.clone(), scene.switch.keeps(HOST)), ([None, None], 200), "attach {attach}");
        scene.now += Duration::from_secs(30);
    }
}

#[test]
fn a_client_that_takes_without_end_is_dropped_alone() {
    let mut scene = Scene::new(0);
    scene.agent(&[kept(id(0), "n", 0)]);
    let (incarnation, host, program) = (AGENT, "h".to_owned(), String::new());
    let take =
        Frame::Take { id: id(0), attempt: 1, incarnation, owner: ME, tenure: 0, pid: 0, program, host };
    for _ in 0..40 {
        scene.client(&vec![take.clone(); 1_000]);
    }
    let why = scene.ended[0].take().unwrap_or_default();
    assert_eq!(why, "it broke the protocol: too many TAKE frames in too short a time");
    assert_eq!(scene.ended[1], None, "the link stays");
}

#[test]
fn small_frames_within_the_credit_are_no_flood_at_any_rate() {
    let mut scene = Scene::new(1);
    let p = id(0);
    let mut position = 0;
    while position < 400_000 {
        let bytes: Vec<Frame> = (position..position + 32_768).map(|at| data(p, at, 1)).collect();
        scene.agent(&bytes);
        position += 32_768;
        // a reader that grants as little as it may, and an agent that acknowledges each frame it gets
        scene.client(&[Frame::Credit {
            id: p,
            stream: Stream::Stdout,
            span: span(position, position + GRANTED),
        }]);
        scene.told();
    }
    assert_eq!(scene.ended, [None, None]);
}

#[test]
fn data_in_flight_when_a_process_is_released_is_no_flood() {
    let mut scene = Scene::new(1);
    scene.client(&[Frame::Release(id(0))]);
    let under_way: Vec<Frame> = (0..GRANTED).map(|at| data(id(0), at, 1)).collect();
    scene.agent(&under_way);
    assert_eq!(scene.ended, [None, None]);
    assert!(scene.flood(&data(id(0), GRANTED, 1)).contains("too many DATA frames"));
}

#[test]
fn an_agent_may_acknowledge_and_grant_for_every_little_that_it_gets() {
    let mut scene = Scene::new(1);
    let p = id(0);
    for n in 0..50_000_u64 {
        let bytes = Bytes::from_static(b"x");
        scene.client(&[Frame::Data { id: p, stream: Stream::Stdin, position: n, bytes }]);
        scene.told();
        let (received, limit) = (n + 1, n + 32_769);
        scene.agent(&[
            Frame::Ack(30 * (n + 1)),
            Frame::Credit { id: p, stream: Stream::Stdin, span: span(received, limit) },
        ]);
    }
    assert_eq!(scene.ended, [None, None]);
}

#[test]
fn a_client_that_floods_an_agent_is_dropped_alone() {
    let p = id(0);
    let floods = [
        ("CREDIT", Frame::Credit { id: p, stream: Stream::Stdout, span: span(0, GRANTED) }),
        ("STOP", Frame::Stop { id: p, stream: Stream::Stdout }),
        ("SIGNAL", Frame::Signal { id: p, sequence: 1, mask: 2 }),
        ("SIZE", Frame::Size { id: p, sequence: 1, rows: 24, columns: 80 }),
        ("FIN", Frame::Fin { id: p, stream: Stream::Stdin, length: 0 }),
    ];
    for (kind, frame) in floods {
        let mut scene = Scene::new(1);
        let many = vec![frame; 1_000];
        for _ in 0..40 {
            scene.client(&many);
        }
        let why = scene.ended[0].take().unwrap_or_default();
        assert_eq!(why, format!("it broke the protocol: too many {kind} frames in too short a time"));
        assert_eq!(scene.ended[1], None, "the link stays");
    }
}

#[test]
fn a_client_may_ask_as_often_as_it_likes_but_others_have_their_turn_between() {
    let mut scene = Scene::new(0);
    let asks: Vec<Frame> =
        (0..1_000).map(|request| Frame::Request { request, json: Bytes::from_static(b"{}") }).collect();
    assert!(scene.switch.client_turn(CLIENT, &encoded(&asks), scene.now));
    for turn in 1..=1_000 {
        scene.look();
        assert_eq!(scene.requests, turn, "one in each turn");
        scene.switch.client_turn(CLIENT, &[], scene.now);
    }
    assert!(!scene.switch.client_turn(CLIENT, &[], scene.now));
    let pings = encoded(&vec![Frame::Ping(1); 100_000]);
    assert!(scene.switch.client_turn(CLIENT, &pings, scene.now));
    let turns = std::iter::repeat_with(|| scene.switch.client_turn(CLIENT, &[], scene.now));
    assert!(turns.take_while(|more| *more).count() > 100);
    scene.look();
    assert_eq!(scene.ended, [None, None]);
}

#[test]
fn an_inner_host_has_no_longer_turns_than_its_via_and_its_flood_ends_its_own_link() {
    let mut scene = Scene::new(0);
    scene.switch.add_host(INNER, "inner", scene.now);
    let (epoch, tunnel) = (Epoch::new(1, 2), id(5));
    assert!(scene.switch.open_tunnel(INNER, HOST, tunnel, Vec::new(), epoch, Bytes::new(), scene.now));
    scene.agent(&[Frame::Resumed { id: tunnel, attempt: 1, stdin: span(0, 32_768) }]);
    let mut inner = marker();
    hello(epoch).encode(&mut inner);
    let mut position = 0;
    let mut say = |scene: &mut Scene, bytes: Bytes| {
        let length = bytes.len() as u64;
        let frame = Frame::Data { id: tunnel, stream: Stream::Stdout, position, bytes };
        position += length;
        scene.switch.link_turn(HOST, &frame.to_bytes(), scene.now)
    };
    assert!(!say(&mut scene, inner.freeze()));
    assert!(scene.switch.is_reachable(INNER));
    let nodes: Vec<Frame> = (0..200)
        .map(|n| Frame::Node {
            name: format!("inner:{}", n % 60),
            state: NodeState::Ready,
            facts: Table::new(),
        })
        .collect();
    scene.nodes = 0;
    assert!(say(&mut scene, encoded(&nodes).freeze()), "that is more than a turn");
    scene.look();
    let in_one_turn = scene.nodes;
    assert!((1..50).contains(&in_one_turn), "{in_one_turn}");
    while scene.switch.link_turn(HOST, &[], scene.now) {
        let before = scene.nodes;
        scene.look();
        assert!(scene.nodes - before <= in_one_turn);
    }
    scene.look();
    assert_eq!(scene.nodes, nodes.len(), "nothing is left behind");
    let mut ended = None;
    for _ in 0..200 {
        let mut more = say(&mut scene, encoded(&vec![Frame::Ack(0); 1_000]).freeze());
        while more {
            more = scene.switch.link_turn(HOST, &[], scene.now);
        }
        scene.told();
        scene.look();
        ended = scene.ended[1].take();
        if ended.is_some() {
            break;
        }
    }
    assert!(ended.is_some_and(|why| why.contains("too many ACK frames")));
    assert!(scene.switch.is_reachable(HOST) && !scene.switch.is_reachable(INNER));
}
