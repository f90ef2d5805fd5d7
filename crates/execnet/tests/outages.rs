//! Unreachable hosts: what a program is told, and how long it waits.

mod fake;

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use execnet::{
    Connect, Network, Outage, Outages, Process, ProcessError, Reach, RequestError, StartError, Verb,
};
use execnet_testkit::PATIENCE;
use fake::Fake;

const NEVER: Duration = Duration::from_secs(1_000_000);

/// Connects. Outages are reported at once, and not on stderr.
fn connect(fake: &Fake, say: impl FnOnce(Connect) -> Connect) -> (Network, Outages) {
    let network = say(Connect::at(&fake.socket).tell_after(Duration::ZERO)).open().unwrap();
    network.on_outage(|_| {});
    let outages = network.outages().unwrap();
    (network, outages)
}

fn deaf(network: &Network) -> Process {
    network.process().arg("deaf").start().unwrap()
}

fn next(outages: &Outages) -> Outage {
    outages.next_timeout(PATIENCE).unwrap()
}

fn unreachable(outages: &Outages) -> Outage {
    let outage = next(outages);
    assert_eq!((outage.state, outage.node.host.as_str()), (Reach::Unreachable, "alpha"), "{outage:?}");
    outage
}

fn lost(process: &Process) -> String {
    let Err(ProcessError::Lost(lost)) = process.wait() else { panic!("it was not lost") };
    lost.message
}

#[test]
fn a_program_hears_once_of_a_host_that_is_away_and_once_that_it_is_back() {
    let fake = Fake::new();
    let (network, outages) = connect(&fake, |connect| connect);
    let (said_tx, said) = channel();
    network.on_outage(move |outage| said_tx.send(outage.to_string()).unwrap());
    let processes = [deaf(&network), deaf(&network), deaf(&network)];
    for _ in 0..2 {
        fake.cut();
        let outage = unreachable(&outages);
        assert_eq!(outage.node, *processes[0].node());
        assert_eq!(outage.reason, "the test cut its link");
        // `linger` and half a minute
        let limit = outage.limit.unwrap().as_secs();
        assert!((330..=630).contains(&limit), "{limit}");
        let text = said.recv().unwrap();
        assert!(
            text.starts_with("alpha is unreachable (the test cut its link); waiting, at most "),
            "{text}"
        );
        fake.join();
        assert_eq!(next(&outages).state, Reach::Reachable);
        assert_eq!(said.recv().unwrap(), "alpha is reachable again");
    }
    fake.cut();
    unreachable(&outages);
    fake.reboot();
    fake.join();
    let outage = next(&outages);
    assert_eq!((outage.state, outage.reason), (Reach::Lost, lost(&processes[0])));
    drop((network, processes));
    assert_eq!(outages.count(), 0);
}

#[test]
fn the_daemon_says_best_what_is_wrong() {
    let fake = Fake::new();
    let (network, outages) = connect(&fake, |connect| connect);
    let _process = deaf(&network);
    fake.fail("alpha is unreachable: ssh: connect to host alpha port 22: \x1b[1mno route");
    fake.cut();
    let outage = unreachable(&outages);
    assert_eq!(outage.reason, "ssh: connect to host alpha port 22: \x1b[1mno route");
    assert!(outage.to_string().contains(r"port 22: \x1b[1mno route); waiting"), "{outage}");
}

#[test]
fn a_break_that_is_soon_over_is_not_worth_a_word() {
    let fake = Fake::new();
    let (network, outages) = connect(&fake, |connect| connect.tell_after(NEVER));
    let process = deaf(&network);
    let mut events = process.events();
    fake.cut();
    while process.unreachable().is_none() {
        events.next_timeout(PATIENCE).unwrap();
    }
    fake.join();
    while process.unreachable().is_some() {
        events.next_timeout(PATIENCE).unwrap();
    }
    drop((network, process, events));
    assert_eq!(outages.count(), 0);
}

#[test]
fn outages_of_unused_hosts_are_not_reported() {
    let fake = Fake::new();
    let (network, outages) = connect(&fake, |connect| connect);
    let process = deaf(&network);
    fake.cut();
    unreachable(&outages);
    drop(process);
    fake.join();
    // it has joined when the next answer arrives
    network.status().unwrap();
    let process = deaf(&network);
    fake.cut();
    unreachable(&outages);
    drop((network, process));
    assert_eq!(outages.count(), 0);
}

#[test]
fn a_process_past_its_limit_is_given_up_and_others_continue() {
    let fake = Fake::new();
    let (network, outages) = connect(&fake, |connect| connect.give_up(Duration::from_millis(20)));
    let (hasty, patient) = (deaf(&network), network.process().arg("trap").give_up(NEVER).start().unwrap());
    fake.cut();
    let said = lost(&hasty);
    assert_eq!(said, "alpha is unreachable: the test cut its link; given up after 0.02 s");
    unreachable(&outages);
    fake.join();
    assert_eq!(next(&outages).state, Reach::Reachable);
    patient.signal(execnet::Signal::Int).unwrap();
    assert_eq!(patient.stdout().receive(9).unwrap(), "2 ");
    // what was given up was ended meanwhile
    while fake.running().len() > 1 {
        network.status().unwrap();
    }
    assert!(lost(&hasty) == said);

    // processes that were given up, and those that were dropped
    let again = deaf(&network);
    fake.cut();
    lost(&again);
    unreachable(&outages);
    drop(patient);

    // nobody is left that waits
    fake.join();
    network.status().unwrap();
    let hasty = deaf(&network);
    fake.cut();
    lost(&hasty);
    let mut ends: Vec<Outage> = vec![next(&outages)];
    if ends[0].state == Reach::Unreachable {
        ends.push(next(&outages));
    }
    let end = ends.pop().unwrap();
    assert_eq!(end.state, Reach::Lost);
    assert_eq!(
        end.to_string(),
        "the processes on alpha are lost (the test cut its link; given up after 0.02 s)"
    );
}

#[test]
fn a_daemon_that_is_gone_is_told_and_given_up_like_a_host() {
    let mut fake = Fake::new();
    let (network, outages) = connect(&fake, |connect| connect);
    let patient = deaf(&network);
    let hasty = network.process().arg("deaf").give_up(Duration::from_millis(20)).start().unwrap();
    fake.kill();
    let outage = unreachable(&outages);
    assert!(
        outage.reason.starts_with("the daemon of ") && outage.reason.ends_with(" starts it again"),
        "{outage}"
    );
    assert!((330..=630).contains(&outage.limit.unwrap().as_secs()), "{outage:?}");
    assert!(lost(&hasty).ends_with("; given up after 0.02 s"));
    fake.start();
    assert_eq!(next(&outages).state, Reach::Reachable);
    assert_eq!(patient.unreachable(), None);
}

#[test]
fn a_daemon_that_does_not_answer_is_told_and_given_up_like_one_that_is_gone() {
    let fake = Fake::new();
    let (network, outages) = connect(&fake, |connect| connect);
    let patient = network.process().arg("trap").start().unwrap();
    let hasty = network.process().arg("deaf").give_up(Duration::from_millis(20)).start().unwrap();
    fake.paused(|| {
        let outage = unreachable(&outages);
        assert!(outage.reason.ends_with(" says what to do"), "{outage}");
        assert!(outage.reason.contains(" does not answer: `execnet status "), "{outage}");
        assert!(lost(&hasty).ends_with("; given up after 0.02 s"));
        assert!(patient.unreachable().unwrap().contains("does not answer"));
        // it waits
        patient.signal(execnet::Signal::Int).unwrap();
    });
    assert_eq!(next(&outages).state, Reach::Reachable);
    assert_eq!(patient.stdout().receive(9).unwrap(), "2 ");
    assert_eq!(patient.unreachable(), None);
}

/// Starts a process that waits for an unreachable host.
fn start_away(network: &Network, node: &'static str) -> Receiver<Result<Process, StartError>> {
    let (started_tx, started) = channel();
    let builder = network.process().arg("deaf").node(node);
    std::thread::spawn(move || started_tx.send(builder.start()).unwrap());
    started
}

#[test]
fn a_start_that_waits_for_a_host_is_told_at_once() {
    let fake = Fake::new();
    let (network, outages) = connect(&fake, |connect| connect.tell_after(NEVER));
    let starts = [start_away(&network, "away"), start_away(&network, "away")];
    fake.until_waiting(starts.len());
    let outage = unreachable(&outages);
    assert_eq!((outage.node.name.as_str(), outage.node.version.as_str()), ("alpha", ""));
    let text = outage.to_string();
    assert!(text.starts_with("alpha is unreachable (its ssh ended); waiting, at most "), "{text}");
    assert!(outage.limit.unwrap() <= Duration::from_secs(10));
    // the fake places those that wait at the next request
    network.request(&Verb::Status.into()).for_each(drop);
    let processes = starts.map(|start| start.recv().unwrap().unwrap());
    assert_eq!(next(&outages).state, Reach::Reachable);

    let start = start_away(&network, "gone");
    fake.until_waiting(1);
    unreachable(&outages);
    network.request(&Verb::Status.into()).for_each(drop);
    let error = start.recv().unwrap().unwrap_err();
    assert!(matches!(error, StartError::NoMatch { .. }), "{error:?}");
    drop((network, processes));
    // the error has said it
    assert_eq!(outages.count(), 0);
}

#[test]
fn a_start_waits_for_a_host_no_longer_than_it_said() {
    let fake = Fake::new();
    let limit = Duration::from_millis(20);
    let (network, outages) = connect(&fake, |connect| connect.give_up(limit));
    for node in ["away", "gone"] {
        let error = network.process().arg("deaf").node(node).start().unwrap_err();
        assert!(matches!(error, StartError::NoMatch { .. }), "{error:?}");
        assert_eq!(error.to_string(), "alpha is unreachable: its ssh ended; given up after 0.02 s");
        if let Ok(outage) = outages.next_timeout(Duration::ZERO) {
            assert!(outage.state == Reach::Unreachable && outage.limit.unwrap() <= limit, "{outage:?}");
        }
    }
    // a process that is placed nevertheless is released there
    network.request(&Verb::Status.into()).for_each(drop);
    assert_eq!(network.status().unwrap().hosts[0].processes, 0);
    assert!(fake.running().is_empty());
    let patient = network.process().arg("deaf").node("away").give_up(NEVER);
    let start = std::thread::spawn(move || patient.start());
    while !start.is_finished() {
        network.request(&Verb::Status.into()).for_each(drop);
    }
    start.join().unwrap().unwrap();
}

#[test]
fn a_callback_that_panics_does_not_keep_others_from_hearing() {
    let fake = Fake::new();
    let (network, outages) = connect(&fake, |connect| connect);
    network.on_outage(|_| panic!("as tests do"));
    let _process = deaf(&network);
    fake.cut();
    unreachable(&outages);
    fake.join();
    assert_eq!(next(&outages).state, Reach::Reachable);
}

#[test]
fn a_callback_can_hold_a_process_and_be_replaced() {
    let fake = Fake::new();
    let network = Connect::at(&fake.socket).open().unwrap();
    let process = deaf(&network);
    network.on_outage(move |_| drop(process.events()));
    network.on_outage(|_| {});
    // the hang-up was sent before
    network.status().unwrap();
    assert!(fake.running().is_empty());
}

#[test]
fn outages_end_with_the_connection() {
    let fake = Fake::new();
    let (network, outages) = connect(&fake, |connect| connect);
    let waits = std::thread::spawn(move || outages.count());
    let process = deaf(&network);
    fake.cut();
    while !matches!(network.status(), Err(RequestError::Connect(_))) && process.unreachable().is_none() {}
    drop((network, process));
    assert!(waits.join().unwrap() <= 1);
}
