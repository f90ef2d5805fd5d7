//! A client that holds kept work: what it says, what it goes on from, and what its program learns.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use execnet_proto::client::{Client, ClientEvent, DAEMON_KEEPS_NOTHING, Launch};
use execnet_proto::feature::Features;
use execnet_proto::id::{ClientId, Incarnation, ProcessId};
use execnet_proto::kept::{Join, Keep, Policy, Replay};
use execnet_proto::opening::OPENING;
use execnet_proto::process::{Loss, Process};
use execnet_proto::terminal::TerminalSize;
use execnet_proto::wire::{Decoder, Ending, Exit, Frame, Held, Role, Span, Standing, Stream, Table};

const NOW: Duration = Duration::ZERO;
const ME: ClientId = ClientId([5; 16]);
const AGENT: Incarnation = Incarnation([7; 16]);
const ID: ProcessId = ProcessId([1; 16]);

/// A client, and the frames that it sends.
struct Program {
    client: Client,
    sent: Decoder,
}

impl Program {
    fn new() -> Self {
        let mut program = Self { client: Client::new(ME, "3.0.0"), sent: Decoder::default() };
        program.connect(Features::all());
        program
    }

    /// A daemon with these features greets.
    fn connect(&mut self, features: Features) {
        self.client.connected(NOW);
        let mut out = BytesMut::new();
        self.client.transmit(&mut out, usize::MAX, NOW);
        self.sent = Decoder::default();
        self.sent.push(&out[OPENING.len()..]);
        let mut bytes = BytesMut::from(&OPENING[..]);
        let (release, network, facts) = (String::new(), "net".into(), vec![features.entry()]);
        Frame::Daemon { life: 1, pid: 1, release, network, facts }.encode(&mut bytes);
        self.client.handle(&bytes, NOW).unwrap();
        self.events();
    }

    fn hear(&mut self, frame: &Frame) {
        self.client.handle(&frame.to_bytes(), NOW).unwrap();
    }

    fn said(&mut self) -> Vec<Frame> {
        let mut out = BytesMut::new();
        self.client.transmit(&mut out, usize::MAX, NOW);
        self.sent.push(&out);
        let frames = std::iter::from_fn(|| self.sent.next().unwrap());
        frames.map(|(frame, _)| frame).filter(|frame| !matches!(frame, Frame::Client { .. })).collect()
    }

    fn events(&mut self) -> Vec<ClientEvent> {
        std::iter::from_fn(|| self.client.poll_event()).collect()
    }

    fn process(&self) -> &Process {
        self.client.process(ID).expect("it runs")
    }

    /// It has started kept work, as far as STARTED.
    fn started() -> Self {
        let mut program = Self::launched();
        program.hear(&resumed(1));
        program.hear(&Frame::Started { id: ID, pid: 7 });
        program.said();
        program
    }

    fn launched() -> Self {
        let mut program = Self::new();
        program.client.select(ID, Table::new());
        let (host, node, facts) = ("gpu".into(), "gpu".into(), vec![Features::all().entry()]);
        program.hear(&Frame::Placed { id: ID, incarnation: AGENT, host, node, facts });
        let name = "train".parse().unwrap();
        let (stdout, stderr) = (Policy::Last(100), Policy::Wait);
        let keep = Some(Keep { name, seconds: 60, stdout, stderr, admits: false });
        program.client.launch(ID, Launch { keep, ..Launch::default() });
        program
    }

    /// It has asked to take kept work.
    fn taking(replay: Replay) -> (Self, u32) {
        let mut program = Self::new();
        program.said();
        program.client.take(ID, AGENT, "gpu", replay);
        let said = program.said();
        let [Frame::Take { attempt, tenure: 0, owner: ME, .. }] = said[..] else { panic!("{said:?}") };
        (program, attempt)
    }
}

fn resumed(attempt: u32) -> Frame {
    Frame::Resumed { id: ID, attempt, stdin: span(0, 32_768) }
}

fn span(received: u64, limit: u64) -> Span {
    Span { received, limit }
}

fn skip(position: u64) -> Frame {
    Frame::Skip { id: ID, stream: Stream::Stdout, position }
}

fn data(position: u64, bytes: &'static str) -> Frame {
    Frame::Data { id: ID, stream: Stream::Stdout, position, bytes: bytes.into() }
}

fn leave(end: bool) -> Frame {
    Frame::Leave { id: ID, owner: ME, end }
}

fn standing() -> Standing {
    Standing {
        attempt: 9,
        signals: 3,
        sizes: 2,
        rows: 24,
        columns: 80,
        stdin: 50,
        stdout: Held { start: 900, end: 1_000 },
        ..Standing::default()
    }
}

fn taken(attempt: u32, tenure: u32, standing: Standing) -> Frame {
    Frame::Taken { id: ID, attempt, tenure, standing }
}

fn tenure(frame: &Frame) -> Option<u32> {
    if let Frame::Take { tenure, .. } = frame { Some(*tenure) } else { None }
}

#[test]
fn a_taker_goes_on_from_the_numbers_of_the_agent() {
    let (mut program, number) = Program::taking(Replay::Last(300));
    // what it asks for meanwhile is said then
    program.client.write(ID, Bytes::from_static(b"hello"));
    program.client.signal(ID, 2);
    program.client.resize(ID, TerminalSize { rows: 50, columns: 100 });
    assert_eq!((program.said(), program.process().is_held()), (vec![], false));
    program.hear(&taken(number + 1, 2, Standing::default()));
    assert_eq!(program.events(), [], "that answers something else");
    program.hear(&taken(number, 2, standing()));
    assert_eq!(program.events(), [ClientEvent::Taken(ID)]);
    let resume =
        Frame::Resume { id: ID, attempt: 10, stdout: span(900, 900 + 16_384), stderr: span(0, 16_384) };
    assert_eq!(program.said(), [resume]);
    program.hear(&Frame::Resumed { id: ID, attempt: 10, stdin: span(50, 32_768) });
    program.hear(&Frame::Started { id: ID, pid: 7 });
    let said = program.said();
    for frame in [
        Frame::Signal { id: ID, sequence: 4, mask: 1 << 2 },
        Frame::Size { id: ID, sequence: 3, rows: 50, columns: 100 },
        Frame::Data { id: ID, stream: Stream::Stdin, position: 50, bytes: "hello".into() },
    ] {
        assert!(said.contains(&frame), "{said:?}");
    }
    let process = program.process();
    assert_eq!((process.pid(), process.has_terminal(), process.stdin_closed()), (Some(7), true, false));
    assert_eq!((process.old_end(Stream::Stdout), process.stdin_end()), (1_000, 55));
    // of 300 bytes that it wants 200 are gone
    program.hear(&data(900, "old"));
    assert_eq!(program.client.read(ID, Stream::Stdout, 99), "");
    assert_eq!(
        (program.process().position(Stream::Stdout), program.client.gap(ID, Stream::Stdout)),
        (700, 200)
    );
    assert_eq!(program.client.read(ID, Stream::Stdout, 99), "old");
    assert_eq!(program.client.gap(ID, Stream::Stdout), 0);
}

#[test]
fn what_is_wanted_of_the_past_is_asked_for_and_the_rest_told() {
    for (replay, from, missing) in [
        (Replay::All, 900, 900),
        (Replay::NONE, 1_000, 0),
        (Replay::Last(40), 960, 0),
        (Replay::Last(100), 900, 0),
        (Replay::Last(101), 900, 1),
    ] {
        let (mut program, number) = Program::taking(replay);
        program.hear(&taken(number, 2, standing()));
        let said = program.said();
        let [Frame::Resume { stdout, .. }] = said[..] else { panic!("{said:?}") };
        assert_eq!((stdout.received, program.client.gap(ID, Stream::Stdout)), (from, missing), "{replay:?}");
    }
}

#[test]
fn what_it_took_may_have_closed_its_stdin_or_have_no_terminal() {
    let (mut program, number) = Program::taking(Replay::NONE);
    let ended = Standing { stdin_ended: true, rows: 0, columns: 0, ..standing() };
    program.client.write(ID, Bytes::from_static(b"late"));
    program.client.resize(ID, TerminalSize { rows: 50, columns: 100 });
    program.hear(&taken(number, 2, ended));
    program.hear(&Frame::Resumed { id: ID, attempt: 10, stdin: span(50, 32_768) });
    assert!(program.process().stdin_closed() && !program.process().has_terminal());
    let said = program.said();
    assert!(!said.iter().any(|frame| matches!(frame, Frame::Data { .. } | Frame::Size { .. })), "{said:?}");
    assert!(said.contains(&Frame::Fin { id: ID, stream: Stream::Stdin, length: 50 }), "{said:?}");
}

#[test]
fn after_each_break_it_asks_whether_its_tenure_lasts() {
    let mut program = Program::started();
    program.hear(&data(0, "one"));
    program.hear(&Frame::Unreachable { id: ID, message: "cut".into() });
    program.hear(&Frame::Reachable(ID));
    let said = program.said();
    let [Frame::Take { attempt, tenure: 1, .. }] = said[..] else { panic!("{said:?}") };
    program.hear(&taken(attempt, 1, Standing { stdout: Held { start: 10, end: 20 }, ..standing() }));
    let said = program.said();
    let [Frame::Resume { attempt: 10, stdout, .. }] = said[..] else { panic!("{said:?}") };
    assert_eq!(stdout.received, 10, "the rest is gone");
    // a new daemon: nothing is claimed before it has said what it can do
    program.client.disconnected();
    program.client.connected(NOW);
    let mut out = BytesMut::new();
    program.client.transmit(&mut out, usize::MAX, NOW);
    assert!(!out.windows(16).any(|bytes| bytes == ID.0), "neither CLAIM nor TAKE");
    program.connect(Features::all());
    let said = program.said();
    assert_eq!(said.iter().filter_map(tenure).collect::<Vec<_>>(), [1], "{said:?}");
    assert_eq!(
        (program.client.read(ID, Stream::Stdout, 9), program.client.gap(ID, Stream::Stdout)),
        ("one".into(), 7)
    );
}

#[test]
fn until_it_is_certain_that_it_is_kept_its_start_is_repeated() {
    let mut program = Program::launched();
    program.hear(&resumed(1));
    program.said();
    program.hear(&Frame::Unreachable { id: ID, message: "cut".into() });
    program.hear(&Frame::Reachable(ID));
    let said = program.said();
    assert!(matches!(&said[..], [Frame::Spawn(spawn)] if spawn.attempt == 2), "{said:?}");
    // the name was taken
    program.hear(&resumed(2));
    let ending = Ending::NotStarted(0, "taken".into());
    program.hear(&Frame::Exit { id: ID, exit: Exit { ending: ending.clone(), stdout: 0, stderr: 0 } });
    assert_eq!(program.process().ending(), Some(&ending));
}

#[test]
fn a_loss_to_another_program_is_told_from_others() {
    for (message, loss) in [("taken over by pytest (4711)", Loss::TakenOver), ("it was rebooted", Loss::Gone)]
    {
        let mut program = Program::started();
        program.hear(&Frame::Lost { id: ID, message: message.into() });
        let process = program.process();
        assert_eq!((process.lost(), process.loss()), (Some(message), Some(loss)));
        assert!(!process.is_held());
        // harmless if it is gone, and needed if it was taken again meanwhile
        program.client.release(ID);
        assert_eq!(program.said(), [leave(false)]);
    }
}

#[test]
fn what_nobody_reads_here_may_be_wanted_by_others() {
    let mut program = Program::started();
    let unread: &str = Box::leak("x".repeat(16_384).into_boxed_str());
    let error = Frame::Data { id: ID, stream: Stream::Stderr, position: 0, bytes: unread.into() };
    program.hear(&error);
    program.said();
    program.client.stop(ID, Stream::Stderr);
    let said = program.said();
    assert!(matches!(said[..], [Frame::Credit { stream: Stream::Stderr, .. }]), "it goes on: {said:?}");
    program.client.stop(ID, Stream::Stdout);
    assert!(program.process().finished(Stream::Stdout));
    let long: &str = Box::leak("x".repeat(16_384).into_boxed_str());
    program.hear(&data(0, long));
    let said = program.said();
    assert!(matches!(said[..], [Frame::Credit { stream: Stream::Stdout, .. }]), "no STOP: {said:?}");
    program.hear(&Frame::Fin { id: ID, stream: Stream::Stderr, length: 16_384 });
    let exit = Exit { ending: Ending::Exited(0), stdout: 16_385, stderr: 16_384 };
    program.hear(&Frame::Exit { id: ID, exit });
    assert_eq!(program.process().ending(), None);
    program.hear(&skip(16_385));
    assert_eq!(program.process().ending(), Some(&Ending::Exited(0)));
}

#[test]
fn it_leaves_or_ends_what_it_holds_also_without_a_daemon() {
    for (end, without_daemon) in [(false, false), (true, false), (true, true), (false, true)] {
        let mut program = Program::started();
        if without_daemon {
            program.client.disconnected();
        }
        if end {
            program.client.end(ID);
        } else {
            program.client.release(ID);
        }
        assert!(program.client.process(ID).is_none());
        if !without_daemon {
            assert_eq!(program.said(), [leave(end)]);
            continue;
        }
        program.connect(Features::all());
        let said = program.said();
        // the agent takes whoever does not come back for one that has left
        assert_eq!(said.iter().filter_map(tenure).count(), usize::from(end), "{said:?}");
        if let [Frame::Take { attempt, .. }] = said[..] {
            program.hear(&Frame::Unreachable { id: ID, message: "away".into() });
            program.hear(&Frame::Reachable(ID));
            let said = program.said();
            assert_eq!(said.iter().filter_map(tenure).count(), 1);
            program.hear(&taken(attempt + 1, 1, standing()));
            assert_eq!(program.said(), [leave(true)]);
            program.hear(&taken(attempt + 1, 1, standing()));
            assert_eq!((program.said(), program.events()), (vec![], vec![]));
        }
    }
}

#[test]
fn to_a_daemon_that_keeps_nothing_nothing_new_is_said() {
    let mut program = Program::started();
    program.client.disconnected();
    program.connect(Features::without_keeping());
    program.client.take(ProcessId([2; 16]), AGENT, "gpu", Replay::All);
    assert_eq!(program.process().unreachable(), Some(DAEMON_KEEPS_NOTHING));
    program.client.release(ID);
    assert_eq!(program.said(), [Frame::Release(ID)]);
    program.client.disconnected();
    program.connect(Features::all());
    assert_eq!(program.said().iter().filter_map(tenure).collect::<Vec<_>>(), [0]);
}

#[test]
fn readers_and_entries_are_processes_of_their_own() {
    let name = || "train".parse().unwrap();
    for (join, role, option) in [
        (Join::Read(name(), Replay::Last(5)), Role::Read, ("keep", "train 5")),
        (Join::Enter(name()), Role::Enter, ("enter", "train")),
    ] {
        let mut program = Program::new();
        program.client.select(ID, Table::new());
        let (host, node, facts) = ("gpu".into(), String::new(), Table::new());
        program.hear(&Frame::Placed { id: ID, incarnation: AGENT, host, node, facts });
        program.said();
        program.client.launch(ID, Launch { join: Some(join), ..Launch::default() });
        let said = program.said();
        let [Frame::Spawn(spawn)] = &said[..] else { panic!("{said:?}") };
        assert_eq!(spawn.role, role);
        assert_eq!(spawn.options, [(option.0.to_owned(), Bytes::from(option.1))]);
        program.hear(&resumed(1));
        program.hear(&skip(700));
        let lost = program.process().lost().is_some();
        assert_eq!(
            (lost, program.client.gap(ID, Stream::Stdout)),
            if role == Role::Read { (false, 700) } else { (true, 0) }
        );
        program.client.release(ID);
        let released = program.said().contains(&Frame::Release(ID));
        assert!(released, "as any process");
    }
}

#[test]
fn a_host_that_lies_of_kept_work_loses_only_that() {
    for standing in [
        Standing { attempt: u32::MAX, ..standing() },
        Standing { stdin: u64::MAX, ..standing() },
        Standing { stdout: Held { start: 0, end: u64::MAX }, ..standing() },
    ] {
        let (mut program, number) = Program::taking(Replay::All);
        program.hear(&taken(number, 2, standing));
        assert!(program.process().lost().is_some_and(|why| why.contains("broke the protocol")));
        assert_eq!(program.said(), [leave(false)]);
    }
    // less than was received already
    let mut program = Program::started();
    program.hear(&data(0, "hello"));
    program.hear(&Frame::Reachable(ID));
    program.hear(&taken(1, 1, Standing { stdout: Held { start: 0, end: 4 }, ..standing() }));
    assert!(program.process().lost().is_some());
}
