//! Kept work at the switch, one frame at a time: who holds it, and who is ended for what.

#[path = "common/kept.rs"]
#[allow(dead_code)]
mod bench;

use execnet_proto::id::{Incarnation, ProcessId};
use execnet_proto::switch::HostKey;
use execnet_proto::wire::{Frame, Held, Role, Standing, Stream, Table};

use bench::*;

#[test]
fn whoever_takes_goes_on_from_what_the_agent_says_and_the_one_before_is_told() {
    let mut bench = Bench::new().kept(A);
    bench.agent(&data(0, 1_000));
    bench.told();
    bench.says(B, &take(B, ID, 0));
    let [host, a, b] = bench.told();
    let [Frame::Take { attempt, pid: 102, program, tenure: 0, owner, .. }] = &host[..] else {
        panic!("{host:?}")
    };
    assert_eq!((program.as_str(), *owner), ("prog2", client_id(B)), "the daemon says who it is");
    assert_eq!((lost(&a), &b[..]), (Some("taken over by prog2 (102)"), &[][..]));
    // what is still under way for the one before reaches nobody
    bench.agent(&data(1_000, 10));
    bench.agent(&Frame::Taken { id: ID, attempt: attempt + 1, tenure: 2, standing: standing() });
    assert_eq!(bench.told(), [vec![], vec![], vec![]]);
    bench.agent(&Frame::Taken { id: ID, attempt: *attempt, tenure: 2, standing: standing() });
    let taken = Frame::Taken { id: ID, attempt: 5, tenure: 2, standing: standing() };
    assert_eq!(bench.told(), [vec![], vec![], vec![taken]], "with the client's own number");
    // below what is held
    bench.says(B, &resume(5, 100));
    assert_eq!(bench.told()[0], [resume(5, 100)]);
    for frame in [resumed(5), skip(900), data(900, 200)] {
        bench.agent(&frame);
    }
    assert_eq!(bench.told()[2], [resumed(5), skip(900), data(900, 200)]);
    // the one before does not know yet
    for frame in [credit(500, 20_000), resume(7, 500), take(A, ID, 1), leave(A, true), Frame::Release(ID)] {
        bench.says(A, &frame);
    }
    let [host, a, _] = bench.told();
    assert_eq!((host, lost(&a)), (vec![], Some("taken over by prog2 (102)")));
    assert_eq!(bench.dropped(), (vec![], false));
}

#[test]
fn a_client_that_holds_nothing_asks_first() {
    let mut bench = Bench::new().kept(A);
    bench.cut();
    bench.attach(AGENT, "keep");
    bench.told();
    bench.says(A, &resume(2, 0));
    assert_eq!(bench.told()[0], [], "it may be somebody else's by now");
    bench.says(A, &take(A, ID, 1));
    let number = bench.take_passed().unwrap();
    bench.agent(&Frame::Taken { id: ID, attempt: number, tenure: 1, standing: standing() });
    bench.says(A, &resume(5, 1_000));
    assert_eq!(bench.told()[0], [resume(5, 1_000)]);
    assert_eq!(bench.dropped(), (vec![], false));
}

#[test]
fn a_lie_about_kept_work_ends_the_client() {
    let keep = |value| spawn(B, OTHER, 1, Role::Plain, &[("keep", value)]);
    let cases: Vec<(&str, Frame)> = vec![
        ("TAKE as somebody else", take(A, ID, 0)),
        ("a tenure that nobody has", take(B, ID, u32::MAX)),
        ("RESUME after the end", resume(5, 1_001)),
        ("an attempt again", resume(4, 1_000)),
        ("an attempt that leaves no other", resume(u32::MAX, 1_000)),
        ("SPAWN of what it took", spawn(B, ID, 5, Role::Plain, &[])),
        ("LEAVE as somebody else", Frame::Leave { id: ID, owner: client_id(A), end: false }),
        ("KEEPS", Frame::Keeps(1)),
        ("END_ALL", Frame::EndAll),
        ("an id that is kept, for something new", Frame::Select { id: ID, wants: Table::new() }),
        ("no name", keep(" 60 wait wait")),
        ("no policy", keep("b 60 wait")),
        ("a reader without a name", spawn(B, OTHER, 1, Role::Read, &[])),
        ("an entry without a name", spawn(B, OTHER, 1, Role::Enter, &[])),
        ("a kept spare", spawn(B, OTHER, 1, Role::Ahead, &[("keep", "b 60 wait wait")])),
    ];
    for (name, lie) in cases {
        let mut bench = Bench::new().kept(A);
        bench.taken(B, 2, standing());
        bench.says(B, &Frame::Select { id: OTHER, wants: Table::new() });
        assert!(bench.switch.place(B, OTHER, HOST, "gpu", Table::new()));
        assert_eq!(bench.dropped(), (vec![], false), "{name}: before it");
        bench.told();
        bench.says(B, &lie);
        assert_eq!(bench.dropped(), (vec![B], false), "{name}");
        assert_eq!(bench.told()[0], [leave(B, false)], "{name}: it has left, and nothing else is said");
    }
    // beyond what it resumed with
    for (name, lie) in [
        ("CREDIT for what was not sent", credit(1_001, 20_000)),
        ("SKIP", skip(1_050)),
        ("TAKEN", Frame::Taken { id: ID, attempt: 1, tenure: 3, standing: standing() }),
        ("LEFT", left(B, 0, "")),
        ("KEPT", kept(ID, &[("name", "a")])),
        ("a signal that leaves no other", Frame::Signal { id: ID, sequence: u32::MAX, mask: 2 }),
        ("a size that leaves no other", Frame::Size { id: ID, sequence: u32::MAX, rows: 1, columns: 1 }),
    ] {
        let mut bench = Bench::new().kept(A);
        bench.taken(B, 2, standing());
        bench.says(B, &resume(5, 1_000));
        bench.agent(&resumed(5));
        bench.told();
        bench.says(B, &lie);
        assert_eq!(bench.dropped(), (vec![B], false), "{name}");
    }
    // what is not kept cannot be taken
    let mut bench = Bench::new();
    bench.says(A, &Frame::Select { id: ID, wants: Table::new() });
    assert!(bench.switch.place(A, ID, HOST, "gpu", Table::new()));
    bench.says(A, &spawn(A, ID, 1, Role::Plain, &[]));
    bench.says(B, &take(B, ID, 0));
    assert_eq!(bench.dropped(), (vec![B], false));
}

#[test]
fn a_lie_about_kept_work_ends_the_agents_link() {
    let held = |end| Standing { stdout: Held { start: 0, end }, ..Standing::default() };
    let cases: Vec<(&str, Frame)> = vec![
        ("a name that is none", kept(OTHER, &[("name", "a b")])),
        ("no name", kept(OTHER, &[])),
        ("a step back", skip(4)),
        ("DATA before what was skipped", data(19, 1)),
        ("DATA after a gap", data(21, 1)),
        ("SKIP of stdin", Frame::Skip { id: ID, stream: Stream::Stdin, position: 3 }),
        ("a client's frame", take(A, ID, 0)),
        ("a client's leave", leave(A, false)),
    ];
    for (name, lie) in cases {
        let mut bench = Bench::new().kept(A);
        bench.agent(&data(0, 5));
        bench.agent(&skip(20));
        assert_eq!(bench.dropped(), (vec![], false), "{name}: before it");
        bench.agent(&lie);
        assert_eq!(bench.dropped(), (vec![], true), "{name}");
    }
    for (name, tenure, standing) in [
        ("a tenure above all", u32::MAX, held(0)),
        ("an attempt above all", 1, Standing { attempt: u32::MAX, ..held(0) }),
        ("a signal above all", 1, Standing { signals: u32::MAX, ..held(0) }),
    ] {
        let mut bench = Bench::new().kept(A);
        bench.taken(B, tenure, standing);
        assert_eq!(bench.dropped(), (vec![], true), "{name}");
    }
    // what it does not keep
    let mut bench = Bench::new();
    bench.says(A, &Frame::Select { id: ID, wants: Table::new() });
    assert!(bench.switch.place(A, ID, HOST, "gpu", Table::new()));
    bench.says(A, &spawn(A, ID, 1, Role::Plain, &[]));
    bench.agent(&resumed(1));
    assert_eq!(bench.dropped(), (vec![], false));
    for lie in [skip(3), kept(ID, &[("name", "a")])] {
        bench.agent(&lie);
        assert_eq!(bench.dropped(), (vec![], true), "{lie:?}");
        bench.attach(AGENT, "keep");
    }
    // it has not said that it keeps anything
    for lie in [Frame::Keeps(0), kept(OTHER, &[("name", "a")])] {
        for mut bench in [Bench::with("look", false), Bench::with("keep", true)] {
            bench.agent(&lie);
            assert_eq!(bench.dropped(), (vec![], true), "{lie:?}");
        }
    }
    let mut bench = Bench::new();
    for n in 0..301_u16 {
        let mut id = [9; 16];
        id[..2].copy_from_slice(&n.to_be_bytes());
        bench.agent(&kept(ProcessId(id), &[("name", &format!("n{n}"))]));
        assert_eq!(bench.dropped(), (vec![], n == 300), "{n}");
    }
}

#[test]
fn credit_that_crosses_a_skip_is_no_breach_and_counts_from_there() {
    let mut bench = Bench::new().kept(A);
    bench.agent(&data(0, 100));
    bench.agent(&skip(50_000));
    bench.told();
    // it does not know of the skip yet
    bench.says(A, &credit(100, 16_484));
    assert_eq!(bench.told()[0], [credit(100, 16_484)]);
    bench.says(A, &credit(50_000, 60_000));
    bench.agent(&data(50_000, 10_000));
    assert_eq!(bench.dropped(), (vec![], false));
    bench.agent(&data(60_000, 1));
    assert_eq!(bench.dropped(), (vec![], true), "past the credit");
}

#[test]
fn the_pool_of_a_client_is_exact_whatever_is_taken_and_skipped() {
    let mut bench = Bench::new().kept(A);
    let most = 2_097_152;
    let all =
        |attempt| Frame::Resume { id: ID, attempt, stdout: span(1_000, 1_000 + most), stderr: span(0, most) };
    // 64 MiB are 16 times both; each time what was granted before counts no more
    for n in 0..40_u32 {
        let client = if n.is_multiple_of(2) { B } else { A };
        bench.taken(client, n + 2, Standing { attempt: 4 + n, ..standing() });
        bench.says(client, &all(5 + n));
        bench.agent(&resumed(5 + n));
        bench.agent(&skip(1_000 + u64::from(n)));
        bench.agent(&skip(1_000 + most + u64::from(n)));
        bench.told();
        assert_eq!(bench.dropped(), (vec![], false), "{n}");
    }
}

#[test]
fn an_old_tenure_is_asked_for_and_the_answer_decides() {
    // another program took it while no daemon ran
    let mut bench = Bench::new();
    bench.agent(&kept(ID, &[("name", "train")]));
    bench.says(A, &take(A, ID, 1));
    bench.told();
    bench.agent(&left(A, 4711, "py\x1b[2Jtest"));
    let [host, a, _] = bench.told();
    assert_eq!(lost(&a), Some("taken over by py\\x1b[2Jtest (4711)"));
    assert_eq!(host, [], "nobody is told to end it");
    assert!(bench.switch.running().next().is_none());
    // of two with old tenures the higher one counts
    for (first, second, wins) in [(1, 2, B), (2, 1, A), (0, 2, A), (1, 0, B), (2, 2, A)] {
        let mut bench = Bench::new();
        bench.agent(&kept(ID, &[("name", "train")]));
        bench.says(A, &take(A, ID, first));
        bench.says(B, &take(B, ID, second));
        let [_, a, b] = bench.told();
        let loser = if wins == A { lost(&b) } else { lost(&a) };
        assert!(loser.is_some_and(|why| why.starts_with("taken over by prog")), "{first} {second}");
        let winner = if wins == A { lost(&a) } else { lost(&b) };
        assert_eq!(winner, None, "{first} {second}");
        assert_eq!(bench.switch.kept_work().next().unwrap().here, Some(wins));
        assert_eq!(bench.dropped(), (vec![], false));
    }
}

#[test]
fn a_client_that_holds_enough_takes_nothing_from_the_holder() {
    const MORE: HostKey = HostKey(2);
    let mut bench = Bench::new().kept(A);
    bench.switch.add_host(MORE, "cpu", bench.now);
    bench.attach_at(MORE, Incarnation([8; 16]), "keep");
    for number in 0..1_000_u16 {
        let [high, low] = number.to_be_bytes();
        let id = ProcessId([9, high, low, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        bench.says(B, &Frame::Select { id, wants: Table::new() });
        assert!(bench.switch.place(B, id, MORE, "cpu", Table::new()));
    }
    bench.told();
    bench.says(B, &take(B, ID, 0));
    let [host, a, b] = bench.told();
    assert_eq!(lost(&b), Some("a program may run 1000 processes at a time"));
    assert_eq!((host, a), (vec![], vec![]));
    bench.agent(&data(0, 10));
    assert_eq!(bench.told()[1], [data(0, 10)]);
    assert_eq!(bench.dropped(), (vec![], false));
}
