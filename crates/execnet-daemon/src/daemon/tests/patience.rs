//! How long hosts get, and what happens to those that take longer.

use std::time::Duration;

use bytes::BytesMut;
use execnet_proto::control::HostState;
use execnet_proto::id::Epoch;
use execnet_proto::opening::OPENING;
use execnet_proto::switch::HostKey;
use execnet_proto::wire::Frame;

use super::{SECOND, World};
use crate::event::Event;

#[test]
fn a_login_that_is_slow_gets_twice_the_time_up_to_eight_minutes() {
    let mut world = World::new(&["ssh=a"]);
    let mut waited = Vec::new();
    for _ in 0..6 {
        let began = world.now;
        let due = world.daemon.deadline(began).unwrap();
        world.pass(due - began);
        waited.push((world.now - began).as_secs());
        let status = world.status("a");
        assert_eq!(status.state, HostState::Failed);
        assert!(status.error.unwrap().contains(&format!("within {} s", waited.last().unwrap())));
        assert!(status.hint.unwrap().contains("`patience=`"));
        world.pass(Duration::from_secs_f64(status.retry_in.unwrap()));
    }
    assert_eq!(waited, [30, 60, 120, 240, 480, 480]);
}

#[test]
fn patience_in_the_spec_is_what_an_agent_has() {
    for (spec, seconds) in [("ssh=a//patience=5", 5), ("cmd=srun python3//id=a//patience=2m", 120)] {
        let mut world = World::new(&[spec]);
        world.pass(seconds * SECOND - Duration::from_millis(1));
        assert_eq!(world.status("a").state, HostState::Joining, "{spec}");
        world.pass(Duration::from_millis(1));
        let status = world.status("a");
        assert!(status.error.unwrap().contains(&format!("within {seconds} s")), "{spec}");
        assert!(status.hint.unwrap().contains("give it more with `patience=`"), "{spec}");
    }
}

#[test]
fn what_a_login_needed_is_remembered_when_its_link_breaks() {
    let mut world = World::new(&["ssh=a"]);
    world.pass(31 * SECOND);
    world.pass(34 * SECOND);
    world.greet("a");
    assert_eq!(world.status("a").state, HostState::Up);
    world.end("a", 255, "");
    world.pass(SECOND);
    world.pass(45 * SECOND);
    assert!(world.links.contains_key(&world.host("a")), "it is not given up after 30 s");
    world.greet("a");
    assert_eq!(world.status("a").state, HostState::Up);
}

#[test]
fn a_command_that_greets_and_falls_silent_is_told_why_and_is_not_run_again_at_once() {
    let mut world = World::new(&["cmd=srun python3//id=a"]);
    let mut waits = Vec::new();
    for _ in 0..4 {
        world.greet("a");
        world.pass(16 * SECOND);
        let status = world.status("a");
        assert_eq!(status.state, HostState::Unreachable);
        assert!(status.error.unwrap().contains("silent for 15 seconds right after its agent's greeting"));
        assert!(status.hint.unwrap().contains("`srun -u`"));
        waits.push(status.retry_in.unwrap());
        world.pass(Duration::from_secs_f64(waits[waits.len() - 1]));
    }
    assert!(waits[0] > 20.0 && waits.windows(2).all(|two| two[1] > 1.3 * two[0]), "{waits:?}");
}

#[test]
fn a_greeting_of_which_only_a_part_comes_is_told_to_be_buffered() {
    let mut world = World::new(&["cmd=srun python3//id=a"]);
    let part = BytesMut::from(&OPENING[..]);
    let key = world.host("a");
    world.event(Event::LinkBytes(key, &part));
    world.pass(31 * SECOND);
    let status = world.status("a");
    assert!(status.error.unwrap().contains("only part of its agent's greeting"));
    assert!(status.hint.unwrap().contains("`srun -u`"));
}

/// Answers the PINGs written to a host's link since the last time.
fn answer(world: &mut World, id: &str, after: Duration) {
    let key = world.host(id);
    world.now += after;
    let written = world.links.get_mut(&key).unwrap().split();
    let pings: Vec<_> = written.windows(12).filter(|part| part[..4] == [0x01, 0, 0, 8]).collect();
    assert!(!pings.is_empty(), "no PING");
    for ping in pings {
        let token = u64::from_be_bytes(ping[4..].try_into().unwrap());
        world.event(Event::LinkBytes(key, &Frame::Pong(token).to_bytes()));
    }
}

#[test]
fn a_round_trip_is_shown_once_it_was_measured_in_a_quiet_moment() {
    let mut world = World::new(&["ssh=a", "ssh=b"]);
    world.greet_as(HostKey(1), "a", Epoch::new(1, 1), 1);
    answer(&mut world, "a", Duration::from_millis(150));
    assert_eq!(world.status("a").rtt, None, "the agent was still starting");
    world.pass(Duration::from_millis(500));
    world.greet_as(HostKey(2), "b", Epoch::new(1, 2), 2);
    world.pass(Duration::from_millis(600));
    assert_eq!(world.status("a").rtt, None, "another host is joining");
    world.pass(Duration::from_millis(400));
    answer(&mut world, "a", Duration::from_millis(2));
    let rtt = world.status("a").rtt.unwrap();
    assert!(rtt < 0.003, "{rtt}");
    world.end("a", 255, "");
    assert_eq!(world.status("a").rtt, None, "of a link that is no more");
}
