//! Who looks at what, how often hosts are asked, and signals by id.

use bytes::BytesMut;
use execnet_proto::control::Verb;
use execnet_proto::id::{Epoch, ProcessId};
use execnet_proto::switch::{ClientKey, Peer};
use execnet_proto::wire::{Decoder, Frame, FrameKind, Span, Table, UNKNOWN, Usage};
use serde_json::{Value, json};

use super::{SECOND, World, kind, select};
use crate::event::Event;

impl World {
    /// The frames of this kind that were written to a host's link.
    pub(super) fn written(&self, id: &str, kind: FrameKind) -> Vec<Frame> {
        let written = &self.links[&self.host(id)];
        // frames follow the bootstrap, whose end is not marked
        (0..written.len().saturating_sub(3))
            .filter(|at| written[*at] == kind as u8 && written[*at + 1] == 0)
            .filter_map(|at| {
                let mut decoder = Decoder::default();
                decoder.push(&written[at..]);
                decoder.next().ok().flatten().map(|(frame, _)| frame)
            })
            .collect()
    }

    /// How often a host was asked, and as often as the bootstrap looks like it.
    fn asked(&self, id: &str) -> usize {
        let written = &self.links[&self.host(id)];
        written.windows(4).filter(|part| *part == [FrameKind::Look as u8, 0, 0, 0]).count()
    }

    /// The agents on all these hosts greet.
    fn greet_all(&mut self, ids: &[&str]) {
        for (at, id) in (1..).zip(ids) {
            self.greet_as(self.host(id), id, Epoch::new(1, at), at as u8);
        }
    }

    fn says(&mut self, id: &str, frame: &Frame) {
        let host = self.host(id);
        self.event(Event::LinkBytes(host, &frame.to_bytes()));
    }

    fn looked(&mut self, id: &str, rows: &[Usage]) {
        let facts = [("load", "0.50 1.00 NaN"), ("memory", "100"), ("available", "x"), ("uptime", "1e999")];
        let facts: Table = facts.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        self.says(id, &Frame::Looked { facts, rows: rows.to_vec() });
    }

    /// A process that runs on a host.
    fn runs(&mut self, client: ClientKey, host: &str, id: ProcessId, label: &str) {
        let id = select(self, client, id.0[0], &[("node", host), ("label", label)]);
        self.starts(client, id);
        self.says(host, &Frame::Resumed { id, attempt: 1, stdin: Span { received: 0, limit: 32_768 } });
    }

    fn reads_again(&mut self, key: ClientKey) {
        self.stopped.remove(&key);
        let mut out = BytesMut::new();
        self.daemon.transmit(Peer::Client(key), &mut out, usize::MAX, self.now);
        self.clients.get_mut(&key).unwrap().handle(&out, self.now).unwrap();
        self.settle();
    }

    pub(super) fn last(&self, request: u32, of: ClientKey) -> Value {
        self.replies(request, of).0.pop().unwrap_or_default()
    }
}

fn usage(id: ProcessId, age: u64, cpu: u64) -> Usage {
    Usage { id, pid: 77, processes: 2, age, cpu, memory: 4_096, command: "python\x1b[2J -c pass".into() }
}

const ID: ProcessId = ProcessId([0xab; 16]);
const PS: Verb = Verb::Ps { node: None };

#[test]
fn ps_waits_for_hosts_but_not_for_ever() {
    let mut world = World::new(&["ssh=a", "ssh=b", "ssh=c"]);
    world.greet_all(&["a", "b"]);
    let client = world.client();
    world.runs(client, "a", ID, "gw0");
    let request = world.ask(client, PS);
    world.looked("a", &[usage(ID, 2_000, 500)]);
    assert!(world.replies(request, client).0.is_empty());
    world.pass(2 * SECOND);
    let (replies, over) = world.replies(request, client);
    assert!(over && replies.len() == 1, "{replies:?}");
    let told = &replies[0];
    assert_eq!(told["hosts"][0]["load"], Value::Null, "a load that is no number");
    assert_eq!((&told["hosts"][0]["memory"], &told["hosts"][0]["available"]), (&json!(100), &Value::Null));
    assert_eq!((&told["hosts"][0]["note"], &told["hosts"][0]["cpus"]), (&Value::Null, &json!(2)));
    assert_eq!(told["hosts"][1]["note"], "it did not answer within 2 s");
    assert_eq!((&told["hosts"][2]["state"], &told["hosts"][2]["note"]), (&json!("joining"), &Value::Null));
    let expected = json!([{
        "id": "ab".repeat(16), "host": "a", "node": "a", "pid": 77, "client_pid": 1_001, "program": "",
        "gateway": "gw0", "age": 2.0, "cpu": 0.25, "cpu_time": 0.5, "memory": 4_096, "processes": 2,
        "command": "python -c pass", "waiting": false, "kept": null,
    }]);
    assert_eq!(told["processes"], expected);
}

#[test]
fn a_host_is_asked_once_a_second_however_many_look() {
    let mut world = World::new(&["ssh=a"]);
    world.greet("a");
    let client = world.client();
    let other = world.client();
    world.runs(client, "a", ID, "");
    let before = world.asked("a");
    let tops = [world.ask(client, Verb::Top { node: None }), world.ask(other, Verb::Top { node: None })];
    assert_eq!(world.asked("a") - before, 1);
    for second in 1..=10_u64 {
        world.looked("a", &[usage(ID, 1_000 * second, 250 * second * second)]);
        let request = world.ask(other, PS);
        assert!(world.replies(request, other).1, "what is less than a second old is new enough");
        world.pass(SECOND);
        assert_eq!((world.asked("a") - before) as u64, second + 1);
    }
    assert_eq!(world.replies(tops[0], client).0.len(), 10);
    assert!(!world.replies(tops[1], other).1);
    // of the last second, not since the start
    assert_eq!(world.last(tops[1], other)["processes"][0]["cpu"], json!(0.25 * 19.0));

    // a host that does not answer is not asked again, and holds nobody up
    world.pass(3 * SECOND);
    assert_eq!(world.asked("a") - before, 11);
    let told = world.last(tops[0], client);
    assert_eq!(told["hosts"][0]["note"], "it did not answer within 0.9 s");
    assert_eq!(told["processes"][0]["memory"], 4_096, "what was last known is shown");

    // nobody looks any more
    world.looked("a", &[]);
    world.event(Event::ClientClosed(client));
    world.event(Event::ClientClosed(other));
    world.pass(5 * SECOND);
    assert_eq!(world.asked("a") - before, 11);
    assert!(world.daemon.looking.deadline().is_none());
}

#[test]
fn an_agent_of_an_older_release_is_shown_without_numbers() {
    let mut world = World::new(&["ssh=a"]);
    let key = world.host("a");
    world.greet_with(key, "a", Epoch::new(1, 1), 1, "");
    let client = world.client();
    world.runs(client, "a", ID, "");
    let request = world.ask(client, PS);
    let told = world.last(request, client);
    assert_eq!(told["hosts"][0]["note"], "its agent cannot tell what processes use");
    let process = &told["processes"][0];
    assert_eq!(
        (&process["command"], &process["pid"], &process["cpu"]),
        (&json!("-c pass"), &Value::Null, &Value::Null)
    );
    let request = world.ask(client, Verb::Kill { ids: vec!["abababab".into()], signal: 15 });
    assert_eq!(world.last(request, client)["processes"][0]["state"], "unable");
}

#[test]
fn numbers_that_a_host_cannot_tell_are_null() {
    let mut world = World::new(&["ssh=a"]);
    world.greet("a");
    let client = world.client();
    world.runs(client, "a", ID, "");
    let request = world.ask(client, PS);
    let row = Usage { pid: 0, age: UNKNOWN, cpu: UNKNOWN, memory: UNKNOWN, ..usage(ID, 0, 0) };
    world.looked("a", &[row, usage(ProcessId([9; 16]), 1, 1)]);
    let told = world.last(request, client);
    assert_eq!(told["processes"].as_array().unwrap().len(), 1, "what the daemon does not know is not shown");
    for key in ["pid", "age", "cpu", "cpu_time", "memory"] {
        assert_eq!(told["processes"][0][key], Value::Null, "{key}");
    }
}

#[test]
fn a_host_tells_nothing_of_processes_of_another() {
    let mut world = World::new(&["ssh=a", "ssh=b"]);
    world.greet_all(&["a", "b"]);
    let client = world.client();
    world.runs(client, "a", ID, "");
    let request = world.ask(client, PS);
    world.looked("a", &[usage(ID, 1_000, 500)]);
    world.looked("b", &[Usage { command: "lies".into(), pid: 1, ..usage(ID, 1_000, 999) }]);
    let told = world.last(request, client);
    let processes = told["processes"].as_array().unwrap();
    assert_eq!((processes.len(), &processes[0]["host"], &processes[0]["pid"]), (1, &json!("a"), &json!(77)));
    assert_eq!(processes[0]["command"], "python -c pass");
}

#[test]
fn a_host_of_ps_must_be_there() {
    let mut world = World::new(&["ssh=a", "ssh=b"]);
    world.greet_all(&["a", "b"]);
    let client = world.client();
    let request = world.ask(client, Verb::Ps { node: Some("aa".into()) });
    assert_eq!(kind(&world.replies(request, client).0), "no-such-host");
    let request = world.ask(client, Verb::Ps { node: Some("a[".into()) });
    assert_eq!(kind(&world.replies(request, client).0), "usage");
    let before = [world.asked("a"), world.asked("b")];
    let request = world.ask(client, Verb::Ps { node: Some("!a".into()) });
    assert_eq!([world.asked("a") - before[0], world.asked("b") - before[1]], [0, 1]);
    world.looked("b", &[]);
    assert_eq!(world.last(request, client)["hosts"].as_array().unwrap().len(), 1);
}

#[test]
fn a_signal_goes_to_the_process_with_that_id() {
    let mut world = World::new(&["ssh=a"]);
    world.greet("a");
    let (client, other) = (world.client(), world.client());
    world.runs(client, "a", ID, "");
    world.runs(client, "a", ProcessId([0xac; 16]), "");
    let kill = |world: &mut World, ids: &[&str]| {
        let ids = ids.iter().map(|id| (*id).to_owned()).collect();
        world.ask(other, Verb::Kill { ids, signal: 15 })
    };
    let request = kill(&mut world, &["ABABabab", "abab", "77", "beef"]);
    assert!(world.replies(request, other).0.is_empty());
    let sent = world.written("a", FrameKind::Kill);
    assert_eq!(sent, [Frame::Kill { id: ID, sequence: 1 << 32 | 1, mask: 1 << 15 }]);
    world.says("a", &Frame::Killed { id: ID, sequence: 1 << 32 | 1 });
    let told = world.last(request, other);
    assert_eq!(told["unknown"], json!(["77", "beef"]));
    assert_eq!(told["processes"].as_array().unwrap().len(), 1);
    let one = &told["processes"][0];
    assert_eq!(
        (&one["state"], &one["client_pid"], &one["command"]),
        (&json!("sent"), &json!(1_001), &json!("-c pass"))
    );

    // the next one, to a process that ends meanwhile
    let request = kill(&mut world, &["abababab"]);
    world.says("a", &Frame::Forget(ID));
    assert_eq!(world.last(request, other)["processes"][0]["state"], "gone");
}

#[test]
fn the_beginning_of_several_ids_is_refused_with_all_of_them() {
    let mut world = World::new(&["ssh=a"]);
    world.greet("a");
    let client = world.client();
    for last in [1, 2] {
        let mut id = [0xab; 16];
        id[5] = last;
        world.clients.get_mut(&client).unwrap().select(ProcessId(id), Table::new());
        world.settle();
        world.starts(client, ProcessId(id));
    }
    let request = world.ask(client, Verb::Kill { ids: vec!["abababab".into()], signal: 15 });
    let error = &world.last(request, client)["error"];
    assert_eq!(error["kind"], "usage");
    let message = error["message"].as_str().unwrap();
    assert!(message.starts_with("2 processes have an id that begins with `abababab`:\n"), "{message}");
    assert!(
        message.contains("\nababababab01 on a: -c pass") && message.contains("\nababababab02 on a"),
        "{message}"
    );
    assert!(world.written("a", FrameKind::Kill).is_empty());
}

#[test]
fn a_signal_for_a_host_that_is_away_waits_and_is_said_to() {
    let mut world = World::new(&["ssh=a"]);
    world.greet("a");
    let client = world.client();
    world.runs(client, "a", ID, "");
    world.end("a", 255, "");
    let request = world.ask(client, Verb::Kill { ids: vec!["abababab".into()], signal: 9 });
    world.pass(5 * SECOND);
    assert_eq!(world.last(request, client)["processes"][0]["state"], "waiting");
    world.greet("a");
    let sent = world.written("a", FrameKind::Kill);
    assert_eq!(sent, [Frame::Kill { id: ID, sequence: 1 << 32 | 1, mask: 1 << 9 }]);
}

#[test]
fn a_program_that_does_not_read_holds_no_replies_and_asks_nobody() {
    let mut world = World::new(&["ssh=a"]);
    world.greet("a");
    let client = world.client();
    let request = world.ask(client, Verb::Top { node: None });
    world.looked("a", &[]);
    assert_eq!(world.replies(request, client).0.len(), 1);
    let before = world.asked("a");
    let mut asked = before;
    world.stopped.insert(client);
    for _ in 0..60 {
        world.pass(SECOND);
        if let Some(Frame::Ping(token)) = world.written("a", FrameKind::Ping).pop() {
            world.says("a", &Frame::Pong(token));
        }
        if world.asked("a") > asked {
            asked += 1;
            world.looked("a", &[]);
        }
    }
    assert_eq!(world.asked("a") - before, 1, "the round whose reply nobody reads");
    world.reads_again(client);
    assert_eq!(world.replies(request, client).0.len(), 2);
    world.pass(SECOND);
    world.looked("a", &[]);
    assert_eq!(world.replies(request, client).0.len(), 3);
}

#[test]
fn the_answer_of_a_slow_host_is_waited_for_and_taken() {
    let mut world = World::new(&["ssh=a"]);
    world.greet("a");
    let client = world.client();
    world.runs(client, "a", ID, "");
    let request = world.ask(client, PS);
    world.pass(2 * SECOND);
    assert_eq!(world.last(request, client)["hosts"][0]["note"], "it did not answer within 2 s");
    world.pass(SECOND / 2);
    let request = world.ask(client, PS);
    assert!(!world.replies(request, client).1, "it was asked before, and has 2 s");
    world.pass(SECOND / 2);
    world.looked("a", &[usage(ID, 2_000, 500)]);
    let told = world.last(request, client);
    assert_eq!((&told["hosts"][0]["note"], &told["processes"][0]["pid"]), (&Value::Null, &json!(77)));

    // nor does the question outlive its link
    let request = world.ask(client, PS);
    world.pass(2 * SECOND);
    assert!(world.replies(request, client).1);
    world.end("a", 255, "");
    world.pass(SECOND / 2);
    world.greet("a");
    let request = world.ask(client, PS);
    world.looked("a", &[usage(ID, 4_000, 500)]);
    assert_eq!(world.last(request, client)["processes"][0]["age"], 4.0);
    world.pass(2 * SECOND);
    assert!(world.daemon.looking.deadline().is_none());
}

#[test]
fn a_host_that_answers_from_an_earlier_look_changes_no_rate() {
    let mut world = World::new(&["ssh=a"]);
    world.greet("a");
    let client = world.client();
    world.runs(client, "a", ID, "");
    let request = world.ask(client, Verb::Top { node: None });
    let mut told = |age, cpu| {
        world.looked("a", &[usage(ID, age, cpu)]);
        world.pass(SECOND);
        world.last(request, client)["processes"][0]["cpu"].clone()
    };
    assert_eq!(told(100_000, 10_000), 0.1);
    for _ in 0..4 {
        assert_eq!(told(105_000, 15_000), 1.0);
    }
    for _ in 0..2 {
        assert_eq!(told(110_000, 15_000), 0.0);
    }
}

#[test]
fn top_shows_the_hosts_that_there_are() {
    let mut world = World::new(&["ssh=a", "ssh=b"]);
    world.greet("a");
    let client = world.client();
    let all = world.ask(client, Verb::Top { node: None });
    let odd = world.ask(client, Verb::Top { node: Some("a,b".into()) });
    let hosts = |world: &mut World, request| -> Vec<String> {
        // the round that had begun, and one of now
        for _ in 0..2 {
            world.looked("a", &[]);
            world.pass(SECOND);
        }
        let told = world.last(request, client);
        told["hosts"].as_array().unwrap().iter().map(|host| host["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(hosts(&mut world, all), ["a", "b"]);
    world.ask(client, Verb::AddHost { spec: "ssh=d".into(), end_kept: false });
    assert_eq!(hosts(&mut world, all), ["a", "b", "d"]);
    world.ask(client, Verb::RmHost { host: "b".into(), kept: None });
    hosts(&mut world, all);
    assert_eq!(hosts(&mut world, all), ["a", "d"]);
    assert_eq!(hosts(&mut world, odd), ["a"]);
    world.ask(client, Verb::AddHost { spec: "ssh=b".into(), end_kept: false });
    assert_eq!(hosts(&mut world, odd), ["a", "b"]);
}

#[test]
fn what_is_seen_after_a_signal_was_looked_at_after_it() {
    let mut world = World::new(&["ssh=a"]);
    world.greet("a");
    let client = world.client();
    let top = world.ask(client, Verb::Top { node: None });
    world.looked("a", &[]);
    world.runs(client, "a", ID, "");
    let mut sequence = 0;
    let mut kill = |world: &mut World| {
        sequence += 1;
        let request = world.ask(client, Verb::Kill { ids: vec!["abababab".into()], signal: 15 });
        world.says("a", &Frame::Killed { id: ID, sequence: 1 << 32 | sequence });
        assert_eq!(world.last(request, client)["processes"][0]["state"], "sent");
    };
    kill(&mut world);
    let before = world.asked("a");
    let request = world.ask(client, PS);
    assert!(!world.replies(request, client).1);
    assert_eq!(world.asked("a") - before, 1);
    world.looked("a", &[usage(ID, 100, 1)]);
    assert_eq!(world.last(request, client)["processes"][0]["pid"], 77);

    // an answer that was on its way
    world.pass(SECOND);
    assert_eq!(world.asked("a") - before, 2);
    kill(&mut world);
    let request = world.ask(client, PS);
    world.looked("a", &[]);
    assert!(!world.replies(request, client).1);
    assert_eq!(world.asked("a") - before, 3);
    world.looked("a", &[usage(ID, 1_100, 1)]);
    assert_eq!(world.last(request, client)["processes"][0]["pid"], 77);
    assert_eq!(world.last(top, client)["hosts"][0]["note"], Value::Null);
}

#[test]
fn a_signal_for_what_its_host_does_not_have_yet_waits_for_that() {
    let mut world = World::new(&["ssh=a"]);
    world.greet("a");
    let client = world.client();
    let id = select(&mut world, client, ID.0[0], &[("node", "a")]);
    world.starts(client, id);
    let request = world.ask(client, Verb::Kill { ids: vec!["abababab".into()], signal: 15 });
    world.pass(5 * SECOND);
    assert_eq!(world.last(request, client)["processes"][0]["state"], "starting");
    let waits = |world: &mut World| {
        let request = world.ask(client, PS);
        world.looked("a", &[]);
        world.last(request, client)["processes"][0]["waiting"].clone()
    };
    assert_eq!(waits(&mut world), true);
    world.says("a", &Frame::Resumed { id: ID, attempt: 1, stdin: Span { received: 0, limit: 32_768 } });
    world.says("a", &Frame::Killed { id: ID, sequence: 1 << 32 | 1 });
    assert_eq!(waits(&mut world), false);
}
