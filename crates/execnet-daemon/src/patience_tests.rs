//! How long hosts are waited for, and what comes of those that take longer.

use std::time::Duration;

use execnet_proto::control::HostState;

use super::{SECOND, World};

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
