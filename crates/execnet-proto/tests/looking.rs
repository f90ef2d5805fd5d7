//! LOOK and KILL at the switch: what is asked of which agent, what an answer may be, and signals that survive
//! breaks.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use execnet_proto::id::{ClientId, Epoch, Incarnation, ProcessId};
use execnet_proto::opening::OPENING;
use execnet_proto::switch::{ClientKey, HostKey, Identity, Switch, SwitchEvent};
use execnet_proto::wire::{Decoder, Frame, Role, Span, Spawn, Table, UNKNOWN, Usage};

const HOST: HostKey = HostKey(1);
const CLIENT: ClientKey = ClientKey(1);
const ME: ClientId = ClientId([5; 16]);
const AGENT: Incarnation = Incarnation([7; 16]);
const ID: ProcessId = ProcessId([1; 16]);
const NOW: Duration = Duration::ZERO;
const STDIN: Span = Span { received: 0, limit: 32_768 };

/// A switch with a host that is up and a client with a process there, whose SPAWN was passed on.
struct Bench {
    switch: Switch,
    to_host: Decoder,
}

impl Bench {
    fn new(features: &'static str) -> Self {
        let switch = Switch::new(Identity {
            owner: ClientId([0xdd; 16]),
            life: 3,
            pid: 1,
            release: "3.0.0".into(),
            network: "bench".into(),
            linger: Duration::from_secs(600),
            private: false,
        });
        let mut bench = Self { switch, to_host: Decoder::default() };
        bench.switch.add_host(HOST, "h", NOW);
        bench.attach(1, features);
        bench.switch.client_opened(CLIENT, Some(4711), NOW);
        let mut bytes = BytesMut::from(&OPENING[..]);
        Frame::Client { id: ME, release: String::new(), facts: Vec::new() }.encode(&mut bytes);
        bench.switch.client_bytes(CLIENT, &bytes, NOW);
        bench.client(&Frame::Select { id: ID, wants: Table::new() });
        assert!(bench.switch.place(CLIENT, ID, HOST, "n", Table::new()));
        bench.client(&Frame::Spawn(Box::new(Spawn {
            id: ID,
            attempt: 1,
            incarnation: AGENT,
            owner: ME,
            role: Role::Plain,
            stdout_limit: 16_384,
            stderr_limit: 16_384,
            host: "h".into(),
            node: "n".into(),
            chdir: String::new(),
            args: vec!["-c".into(), "a\x1b[2J b".into(), "é".repeat(300).into()],
            env: Table::new(),
            options: Table::new(),
        })));
        bench.agent_told();
        bench.events();
        bench
    }

    fn attach(&mut self, attach: u32, features: &'static str) {
        let epoch = Epoch::new(3, attach);
        self.switch.open_link(HOST, epoch, Bytes::new(), NOW);
        self.to_host = Decoder::default();
        let mut bytes = BytesMut::from(&OPENING[..]);
        let facts = vec![("features".to_owned(), Bytes::from_static(features.as_bytes()))];
        Frame::Hello { incarnation: AGENT, epoch, resume: true, pid: 1, facts }.encode(&mut bytes);
        self.switch.link_bytes(HOST, &bytes, NOW);
    }

    fn client(&mut self, frame: &Frame) {
        self.switch.client_bytes(CLIENT, &frame.to_bytes(), NOW);
    }

    fn agent(&mut self, frame: &Frame) {
        self.switch.link_bytes(HOST, &frame.to_bytes(), NOW);
    }

    fn resumed(&mut self, attempt: u32) {
        self.agent(&Frame::Resumed { id: ID, attempt, stdin: STDIN });
    }

    /// The frames for the agent, without those that measure the link.
    fn agent_told(&mut self) -> Vec<Frame> {
        let mut out = BytesMut::new();
        self.switch.link_transmit(HOST, &mut out, usize::MAX, NOW);
        self.to_host.push(&out);
        std::iter::from_fn(|| self.to_host.next().expect("frames"))
            .map(|(frame, _)| frame)
            .filter(|frame| !matches!(frame, Frame::Ping(_) | Frame::Ack(_)))
            .collect()
    }

    fn events(&mut self) -> Vec<SwitchEvent> {
        std::iter::from_fn(|| self.switch.poll_event()).collect()
    }

    /// The process whose signals are reported as sent, and whether it was gone.
    fn killed(&mut self) -> Option<(ProcessId, bool)> {
        self.events().into_iter().find_map(|event| match event {
            SwitchEvent::Killed { id, gone } => Some((id, gone)),
            _ => None,
        })
    }

    fn is_dropped(&mut self) -> bool {
        self.events().iter().any(|event| matches!(event, SwitchEvent::LinkEnded { .. }))
    }
}

fn kill(count: u64, mask: u64) -> Frame {
    Frame::Kill { id: ID, sequence: 3 << 32 | count, mask }
}

fn killed(count: u64) -> Frame {
    Frame::Killed { id: ID, sequence: 3 << 32 | count }
}

fn looked(count: usize) -> Frame {
    let row =
        Usage { id: ID, pid: 7, processes: 1, age: 5, cpu: UNKNOWN, memory: 9, command: "x".repeat(256) };
    Frame::Looked { facts: vec![("load".into(), "0 0 0".into())], rows: vec![row; count] }
}

#[test]
fn an_agent_is_asked_once_and_answers_once() {
    let mut bench = Bench::new("look");
    assert!(bench.switch.look(HOST) && !bench.switch.look(HOST));
    assert_eq!(bench.agent_told(), [Frame::Look]);
    assert!(looked(1_000).fits());
    bench.agent(&looked(1_000));
    assert!(
        matches!(&bench.events()[..], [SwitchEvent::Looked { host: HOST, rows, .. }] if rows.len() == 1_000)
    );
    bench.agent(&looked(0));
    assert!(bench.is_dropped(), "an answer that nobody asked for");

    // the question died with its link
    bench.attach(2, "look");
    assert!(bench.switch.look(HOST));
    bench.attach(3, "look");
    bench.events();
    bench.agent(&looked(0));
    assert!(bench.is_dropped());
}

#[test]
fn an_agent_that_did_not_name_it_is_not_asked() {
    let mut bench = Bench::new("terminal");
    bench.resumed(1);
    bench.agent_told();
    assert!(!bench.switch.look(HOST));
    assert!(bench.switch.kill(ID, 2));
    assert_eq!(bench.agent_told(), []);
    // it may be another agent after the next attach
    bench.attach(2, "look");
    assert_eq!(bench.agent_told(), [kill(1, 2)]);
}

#[test]
fn signals_of_others_wait_for_the_answer_to_the_last_ones() {
    let mut bench = Bench::new("look");
    assert!(bench.switch.kill(ID, 1 << 15));
    assert_eq!(bench.agent_told(), [], "the agent may not have its SPAWN yet");
    bench.resumed(1);
    assert_eq!(bench.agent_told(), [kill(1, 1 << 15)]);
    bench.switch.kill(ID, 1 << 1);
    bench.switch.kill(ID, 1 << 2);
    assert_eq!(bench.agent_told(), []);
    bench.agent(&killed(9));
    bench.agent(&killed(1));
    assert_eq!((bench.agent_told(), bench.killed()), (vec![kill(2, 6)], None));
    bench.agent(&killed(2));
    assert_eq!(bench.killed(), Some((ID, false)));
    bench.agent(&killed(2));
    assert_eq!(bench.killed(), None);
    assert!(!bench.switch.kill(ProcessId([9; 16]), 2));
}

#[test]
fn signals_of_others_are_said_again_after_a_break_whatever_the_client_does() {
    let mut bench = Bench::new("look");
    bench.resumed(1);
    bench.switch.kill(ID, 1 << 9);
    bench.agent_told();
    bench.switch.link_closed(HOST, "cut", NOW);
    bench.attach(2, "look");
    let resume = Frame::Resume { id: ID, attempt: 2, stdout: Span::default(), stderr: Span::default() };
    bench.client(&resume);
    // the client's next attempt does not void it
    assert_eq!(bench.agent_told(), [kill(1, 1 << 9), resume]);
    bench.agent(&killed(1));
    assert_eq!(bench.killed(), Some((ID, false)));
}

#[test]
fn whoever_waits_for_a_signal_hears_that_the_process_is_gone() {
    for end in [
        |bench: &mut Bench| bench.client(&Frame::Release(ID)),
        |bench: &mut Bench| bench.agent(&Frame::Forget(ID)),
        |bench: &mut Bench| bench.switch.client_closed(CLIENT),
        |bench: &mut Bench| bench.switch.remove_host(HOST, NOW),
    ] {
        let mut bench = Bench::new("look");
        bench.resumed(1);
        bench.switch.kill(ID, 1 << 9);
        end(&mut bench);
        assert_eq!(bench.killed(), Some((ID, true)));
        assert_eq!(bench.killed(), None);
    }
}

#[test]
fn what_runs_is_listed_with_its_command_fit_for_a_terminal() {
    let mut bench = Bench::new("");
    bench.switch.label(ID, "gw0");
    let running: Vec<_> = bench.switch.running().collect();
    let [only] = running[..] else { panic!("{running:?}") };
    assert_eq!((only.id, only.host, only.client, only.node, only.label), (ID, HOST, CLIENT, "n", "gw0"));
    assert!(only.command.starts_with(r"-c a\x1b[2J b éé") && only.command.len() <= 256, "{}", only.command);
    bench.client(&Frame::Release(ID));
    assert_eq!(bench.switch.running().count(), 0);
}
