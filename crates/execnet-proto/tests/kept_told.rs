//! Kept work at the switch: what hosts tell of it, what is remembered, and what is said to hosts.

#[path = "common/kept.rs"]
#[allow(dead_code)]
mod bench;

use std::time::Duration;

use execnet_proto::id::{Incarnation, ProcessId};
use execnet_proto::switch::SwitchEvent;
use execnet_proto::wire::{Ending, Frame, Role, Table};

use bench::*;

#[test]
fn while_its_host_is_away_kept_work_is_taken_and_never_lost_by_time() {
    let mut bench = Bench::new().kept(A);
    bench.cut();
    bench.told();
    bench.now += Duration::from_secs(10_000);
    bench.switch.tick(bench.now);
    assert_eq!((lost(&bench.told()[1]), bench.switch.deadline()), (None, None));
    bench.says(B, &take(B, ID, 0));
    let [host, a, b] = bench.told();
    assert_eq!((host, lost(&a)), (vec![], Some("taken over by prog2 (102)")));
    assert!(matches!(&b[..], [Frame::Unreachable { message, .. }] if message.contains("ssh exited")));
    bench.attach(AGENT, "keep");
    assert_eq!(bench.told()[2], [Frame::Reachable(ID)]);
    // the next agent does not have it
    bench.cut();
    bench.attach(Incarnation([8; 16]), "keep");
    let [.., b] = bench.told();
    assert_eq!(lost(&b), Some("the agent on gpu was replaced by a new one"));
    assert_eq!(bench.gone(), ["the agent on gpu was replaced by a new one"]);
    bench.says(A, &take(A, ID, 1));
    assert_eq!(lost(&bench.told()[1]), Some("the agent on gpu was replaced by a new one"));
    assert_eq!(bench.dropped(), (vec![], false));
}

#[test]
fn each_that_left_while_the_host_was_away_is_said_to_have_left() {
    let mut bench = Bench::new().kept(A);
    bench.cut();
    bench.says(B, &take(B, ID, 0));
    bench.says(B, &leave(B, false));
    bench.attach(AGENT, "keep");
    assert_eq!(bench.told()[0], [leave(A, false)]);
    bench.agent(&left(B, 0, ""));
    assert_eq!(bench.told()[0], [], "that is no answer");
    bench.agent(&left(A, 0, ""));
    assert_eq!(bench.told()[0], [leave(B, false)]);
    assert_eq!(bench.switch.ending(HOST), 1);
    bench.agent(&left(B, 0, ""));
    assert_eq!((bench.told()[0].len(), bench.switch.ending(HOST)), (0, 0));
    // an answer to what it said before it came back is none to what it says now
    let mut bench = Bench::new().kept(A);
    bench.says(A, &leave(A, false));
    bench.told();
    bench.says(A, &take(A, ID, 0));
    bench.told();
    bench.says(A, &leave(A, false));
    assert_eq!(bench.told()[0], [leave(A, false)]);
    for ending in [1, 0] {
        bench.agent(&left(A, 0, ""));
        assert_eq!((bench.told()[0].len(), bench.switch.ending(HOST)), (ending, ending));
    }
    // nor counts a loss of which it was told too late
    let mut bench = Bench::new().kept(A);
    bench.taken(A, 3, standing());
    bench.agent(&left(A, 4711, "other"));
    bench.says(A, &resume(5, 1_000));
    assert_eq!(bench.told()[0], [resume(5, 1_000)]);
    // and to an agent of an earlier release what it knows
    let mut bench = Bench::with("look", false);
    bench.says(A, &Frame::Select { id: ID, wants: Table::new() });
    assert!(bench.switch.place(A, ID, HOST, "gpu", Table::new()));
    bench.says(A, &spawn(A, ID, 1, Role::Plain, &[]));
    bench.told();
    bench.switch.client_closed(A);
    assert_eq!(bench.told()[0], [Frame::Release(ID)]);
}

#[test]
fn what_hosts_tell_is_kept_and_what_went_is_told_with_the_reason() {
    let mut bench = Bench::new();
    assert!(!bench.switch.has_told_kept(HOST));
    let all = [("name", "train"), ("left", "5000"), ("command", "\x1b[2Jx")];
    bench.agent(&kept(ID, &all));
    bench.agent(&kept(OTHER, &[("name", "eval"), ("exit", "0 3"), ("left", "600000")]));
    bench.agent(&Frame::Keeps(2));
    assert!(bench.switch.has_told_kept(HOST) && bench.switch.keeps(HOST) == 1 && !bench.switch.is_idle());
    let work = bench.switch.kept_work().find(|work| work.id == ID).unwrap();
    assert_eq!((work.host, work.incarnation, work.here, work.present), (HOST, AGENT, None, true));
    assert_eq!((work.facts.name.as_str(), work.facts.command.as_str()), ("train", "\\x1b[2Jx"));
    let told = |event: &SwitchEvent| matches!(event, SwitchEvent::Kept { .. } | SwitchEvent::ToldKept { .. });
    assert_eq!(bench.events().iter().filter(|event| told(event)).count(), 3);
    // as last known
    bench.cut();
    assert_eq!(bench.switch.kept_work().filter(|work| !work.present).count(), 2);
    assert!(!bench.switch.has_told_kept(HOST));
    bench.now += Duration::from_secs(9);
    bench.attach(AGENT, "keep");
    bench.agent(&kept(OTHER, &[("name", "eval"), ("exit", "0 3"), ("left", "600000")]));
    bench.agent(&Frame::Keeps(1));
    assert_eq!(bench.gone(), ["its time was over, so gpu has ended it"]);
    bench.agent(&Frame::Forget(OTHER));
    assert_eq!(bench.gone()[1], "it exited with status 3, and gpu no longer keeps this");
    bench.says(A, &take(A, OTHER, 0));
    assert_eq!(lost(&bench.told()[1]), Some("it exited with status 3, and gpu no longer keeps this"));
    // a name goes to the next
    bench.agent(&kept(ID, &[("name", "train")]));
    bench.agent(&kept(ProcessId([3; 16]), &[("name", "train")]));
    assert_eq!(
        (bench.gone()[2].as_str(), bench.switch.keeps(HOST)),
        ("its name was given to something else", 1)
    );
    for n in 0..200 {
        bench.agent(&kept(ProcessId([100 + (n % 100) as u8; 16]), &[("name", &format!("n{n}"))]));
        bench.agent(&Frame::Forget(ProcessId([100 + (n % 100) as u8; 16])));
    }
    assert_eq!((bench.gone().len(), bench.dropped()), (100, (vec![], false)));
}

#[test]
fn ending_kept_work_is_said_until_it_is_answered() {
    let mut bench = Bench::new().kept(A);
    bench.cut();
    bench.says(A, &leave(A, true));
    bench.told();
    bench.says(B, &take(B, ID, 0));
    assert_eq!(lost(&bench.told()[2]), Some("it is being ended on gpu"));
    for _ in 0..2 {
        bench.attach(AGENT, "keep");
        assert_eq!(bench.told()[0], [leave(A, true)]);
    }
    bench.agent(&kept(ID, &[("name", "train")]));
    bench.agent(&Frame::Forget(ID));
    assert_eq!(bench.gone(), ["it was ended on gpu"]);
    assert!(bench.switch.is_idle());
}

#[test]
fn people_send_signals_to_work_that_nobody_holds() {
    let mut bench = Bench::new();
    assert!(!bench.switch.kill(ID, 1 << 15));
    bench.agent(&kept(ID, &[("name", "train")]));
    assert!(bench.switch.kill(ID, 1 << 15));
    let kill = Frame::Kill { id: ID, sequence: 3 << 32 | 1, mask: 1 << 15 };
    assert_eq!(bench.told()[0], std::slice::from_ref(&kill));
    bench.cut();
    bench.attach(AGENT, "look keep");
    bench.agent(&kept(ID, &[("name", "train")]));
    assert_eq!(bench.told()[0], [kill]);
    bench.events();
    // whoever takes it changes nothing
    bench.taken(A, 2, standing());
    bench.says(A, &leave(A, false));
    bench.agent(&left(A, 0, ""));
    bench.agent(&Frame::Killed { id: ID, sequence: 3 << 32 | 1 });
    let answered = |event: &SwitchEvent| matches!(event, SwitchEvent::Killed { id: ID, gone: false });
    assert_eq!(bench.events().iter().filter(|event| answered(event)).count(), 1);
    // the next one has another number, also after it was told anew
    assert!(bench.switch.kill(ID, 1 << 9));
    bench.agent(&Frame::Forget(ID));
    let gone = |event: &SwitchEvent| matches!(event, SwitchEvent::Killed { id: ID, gone: true });
    assert_eq!(bench.events().iter().filter(|event| gone(event)).count(), 1);
    bench.agent(&kept(ID, &[("name", "train"), ("exit", "1 9")]));
    assert!(!bench.switch.kill(ID, 1 << 9), "it has ended");
}

#[test]
fn the_agent_of_a_removed_host_that_keeps_work_is_told_to_end_once() {
    let mut bench = Bench::new().kept(A);
    bench.switch.remove_host(HOST, bench.now);
    assert_eq!(lost(&bench.told()[1]), Some("stays there: host gpu was removed from the network"));
    bench.switch.add_host(HOST, "gpu", bench.now);
    bench.attach(AGENT, "keep");
    assert_eq!(bench.told()[0], [Frame::End]);
    bench.cut();
    bench.attach(AGENT, "keep");
    assert_eq!(bench.told()[0], [leave(A, false)], "that may not have arrived");
    assert!(bench.switch.is_reachable(HOST));
    bench.agent(&kept(ID, &[("name", "train")]));
    bench.agent(&left(A, 0, ""));
    assert_eq!((bench.switch.keeps(HOST), bench.switch.ending(HOST)), (1, 0));
    bench.switch.end_host(HOST, true, "bench was stopped");
    assert_eq!(bench.told()[0], [Frame::EndAll]);
    // also if somebody has asked for it since
    let mut bench = Bench::new().kept(A);
    bench.switch.remove_host(HOST, bench.now);
    bench.switch.add_host(HOST, "gpu", bench.now);
    bench.says(B, &take(B, ID, 0));
    bench.says(B, &leave(B, false));
    for _ in 0..2 {
        bench.told();
        bench.attach(AGENT, "keep");
    }
    assert_eq!(bench.told()[0], [leave(A, false)]);
    bench.agent(&left(A, 0, ""));
    assert_eq!(bench.told()[0], [leave(B, false)]);
    let mut bench = Bench::with("look", false);
    bench.switch.end_host(HOST, true, "bench was stopped");
    assert_eq!(bench.told()[0], [Frame::End], "it knows nothing else");
}

#[test]
fn the_agent_of_a_removed_host_that_is_to_end_everything_is_told_so_until_it_does() {
    let mut bench = Bench::new().kept(A);
    bench.cut();
    bench.switch.end_host(HOST, true, "bench was stopped");
    bench.switch.remove_host(HOST, bench.now);
    bench.switch.add_host(HOST, "gpu", bench.now);
    for _ in 0..2 {
        bench.told();
        bench.attach(AGENT, "keep");
        assert_eq!(bench.told()[0], [Frame::EndAll]);
        bench.cut();
    }
    bench.attach(Incarnation([8; 16]), "keep");
    assert_eq!(bench.told()[0], []);
    assert!(bench.switch.is_reachable(HOST));
}

#[test]
fn what_was_told_before_a_break_does_not_count_as_told_now() {
    let id = |link: u8, number: u16| {
        let [high, low] = number.to_be_bytes();
        ProcessId([link, high, low, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    };
    let mut bench = Bench::new();
    for link in 1..=4 {
        for number in 0..300 {
            let name = format!("{link}-{number}");
            bench.agent(&kept(id(link, number), &[("name", &name)]));
        }
        assert_eq!(bench.dropped(), (vec![], false), "{link}");
        assert!(bench.switch.kept_work().count() <= 600);
        if link < 4 {
            bench.cut();
            bench.attach(AGENT, "keep");
        }
    }
    bench.agent(&Frame::Keeps(300));
    assert_eq!(bench.switch.kept_work().count(), 300);
    bench.agent(&kept(OTHER, &[("name", "one-more")]));
    assert!(bench.dropped().1);
}

#[test]
fn what_keeps_nothing_says_so() {
    for (mut bench, why) in [
        (Bench::with("look", false), "gpu or the network's daemon does not know `keep`"),
        (Bench::with("keep", true), "gpu or the network's daemon does not know `keep`"),
    ] {
        bench.says(A, &Frame::Select { id: ID, wants: Table::new() });
        assert!(bench.switch.place(A, ID, HOST, "gpu", Table::new()));
        bench.says(A, &spawn(A, ID, 1, Role::Plain, &[("keep", "train 60 wait wait")]));
        let [host, a, _] = bench.told();
        assert_eq!((host, lost(&a)), (vec![], Some(why)));
    }
    let mut bench = Bench::with("look", false);
    bench.says(A, &take(A, ID, 0));
    assert_eq!(lost(&bench.told()[1]), Some("gpu or the network's daemon keeps no work"));
    let mut bench = Bench::new();
    bench.agent(&Frame::Keeps(0));
    bench.says(A, &take(A, ID, 0));
    assert_eq!(lost(&bench.told()[1]), Some("gpu keeps nothing with this id"));
    let elsewhere = Frame::Take {
        id: ID,
        attempt: 1,
        incarnation: AGENT,
        owner: client_id(A),
        tenure: 0,
        pid: 0,
        program: String::new(),
        host: "cpu".into(),
    };
    bench.says(A, &elsewhere);
    assert_eq!(lost(&bench.told()[1]), Some("host cpu is no longer in the network"));
    assert_eq!(bench.dropped(), (vec![], false));
    // nothing new is said by a private daemon
    let mut bench = Bench::with("keep", true);
    bench.says(A, &take(A, ID, 0));
    assert_eq!(bench.dropped(), (vec![A], false));
}

#[test]
fn an_id_that_is_kept_and_was_given_to_something_new_costs_its_client_that_alone() {
    let mut bench = Bench::new();
    bench.says(A, &Frame::Select { id: ID, wants: Table::new() });
    assert!(bench.switch.place(A, ID, HOST, "gpu", Table::new()));
    bench.told();
    bench.agent(&kept(ID, &[("name", "train")]));
    assert_eq!(lost(&bench.told()[1]), Some("something else is kept under its id"));
    assert_eq!(bench.dropped(), (vec![], false));
    let ending = Ending::Exited(0);
    assert!(bench.switch.kept_work().all(|work| work.facts.ending != Some((ending.clone(), Duration::ZERO))));
}
