//! When attempts follow each other, and what brings the next one forward.

use super::super::link::Bearer;
use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

fn seconds(n: f64) -> Duration {
    Duration::from_secs_f64(n)
}

fn link(now: Duration, patience: Duration) -> Link {
    Link::start(Bearer::Process, Vec::new(), now, patience)
}

#[test]
fn a_host_joins() {
    let mut host = Attempts::new(true);
    assert_eq!(host.state(false), HostState::Joining);
    assert!(host.is_queued() && !host.is_settled());
    host.connect(link(seconds(0.0), PATIENCE));
    assert!(host.is_first_attempt());
    assert_eq!(host.deadline(), Some(PATIENCE));
    host.greeted(seconds(1.0));
    assert_eq!((host.state(true), host.is_settled()), (HostState::Up, false));
    host.settle();
    assert_eq!((host.is_settled(), host.deadline()), (true, None));
}

#[test]
fn retries_come_later_and_later_up_to_half_a_minute() {
    let mut host = Attempts::new(true);
    let mut now = seconds(0.0);
    let mut delays = Vec::new();
    for _ in 0..9 {
        host.connect(link(now, PATIENCE));
        host.ended(now, 0.5, false);
        let at = host.retry_at().unwrap();
        delays.push((at - now).as_secs_f64());
        assert_eq!(host.state(false), HostState::Failed);
        assert!(!host.tick(now) && !host.is_queued());
        now = at;
        assert!(!host.tick(now) && host.is_queued());
    }
    assert_eq!(delays, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]);
}

#[test]
fn who_is_refused_knocks_ever_more_rarely() {
    let mut host = Attempts::new(true);
    let refused = |host: &mut Attempts| {
        host.ended(seconds(0.0), 0.5, true);
        host.retry_at().unwrap().as_secs_f64()
    };
    let delays: Vec<_> = (0..7).map(|_| refused(&mut host)).collect();
    assert_eq!(delays, [30.0, 60.0, 120.0, 240.0, 480.0, 600.0, 600.0]);
    host.retry(seconds(0.0));
    assert_eq!(refused(&mut host), 30.0, "a person came");
}

#[test]
fn a_link_that_lasted_is_made_again_soon() {
    let mut host = Attempts::new(true);
    for _ in 0..5 {
        host.ended(seconds(0.0), 0.5, false);
    }
    host.connect(link(seconds(0.0), PATIENCE));
    host.greeted(seconds(0.0));
    host.ended(seconds(20.0), 0.5, false);
    assert_eq!(host.retry_at(), Some(seconds(20.5)));
    assert_eq!(host.state(false), HostState::Unreachable);
    host.ended(seconds(21.0), 0.5, true);
    assert_eq!(host.retry_at(), Some(seconds(51.0)));
    host.hurry();
    assert!(host.is_queued());
}

#[test]
fn a_host_that_greets_and_ends_at_once_is_tried_ever_more_rarely() {
    let mut host = Attempts::new(true);
    let mut now = seconds(0.0);
    let mut logins = 0;
    while now < seconds(600.0) {
        host.connect(link(now, PATIENCE));
        host.greeted(now);
        host.settle();
        now += seconds(1.0);
        host.ended(now, 0.5, false);
        now = host.retry_at().unwrap();
        host.tick(now);
        logins += 1;
    }
    assert!((20..30).contains(&logins), "{logins}");
    host.connect(link(now, PATIENCE));
    host.greeted(now);
    now += LASTED;
    host.ended(now, 0.5, false);
    assert_eq!(host.retry_at(), Some(now + FIRST_RETRY), "it lasted");
}

#[test]
fn who_needs_a_host_brings_its_next_try_forward_unless_it_is_refused() {
    let mut host = Attempts::new(true);
    host.connect(link(seconds(0.0), PATIENCE));
    host.greeted(seconds(0.0));
    for _ in 0..6 {
        host.ended(seconds(0.0), 0.5, false);
    }
    assert!(host.may_come(seconds(16.1)) && !host.may_come(seconds(10.0)));
    host.is_needed();
    assert!(host.is_queued() && host.may_come(seconds(0.0)));
    host.ended(seconds(0.0), 0.5, true);
    host.is_needed();
    assert!(!host.is_queued() && !host.may_come(seconds(10.0)));
}

#[test]
fn jitter_spreads_retries() {
    let delay = |jitter| {
        let mut host = Attempts::new(true);
        host.ended(seconds(0.0), jitter, false);
        host.retry_at().unwrap()
    };
    assert_eq!((delay(0.0), delay(1.0)), (seconds(0.4), seconds(0.6)));
}

#[test]
fn an_agent_that_never_greets_is_given_up_unless_a_person_is_asked() {
    let mut host = Attempts::new(true);
    host.connect(link(seconds(0.0), PATIENCE));
    host.hold();
    assert!(!host.tick(seconds(500.0)));
    host.release(seconds(500.0), PATIENCE);
    assert!(!host.tick(seconds(529.0)));
    assert!(host.tick(seconds(530.0)));
    assert!(!host.tick(seconds(531.0)), "said once");
}

#[test]
fn what_a_slow_login_needed_is_kept_and_no_more() {
    let mut host = Attempts::new(true);
    for doubled in [1, 2, 3, 4, 4] {
        host.connect(link(seconds(0.0), PATIENCE));
        assert!(host.tick(PATIENCE));
        host.too_short();
        assert_eq!(host.doubled(), doubled);
        host.ended(PATIENCE, 0.5, false);
    }
    host.connect(link(seconds(100.0), PATIENCE));
    host.greeted(seconds(134.0));
    assert_eq!(host.doubled(), 2, "twice 34 s are within 120 s");
    host.connect(link(seconds(200.0), PATIENCE));
    host.greeted(seconds(201.0));
    assert_eq!(host.doubled(), 0);
}

#[test]
fn somebody_who_comes_does_not_wait_for_a_long_try() {
    let mut host = Attempts::new(true);
    host.connect(link(seconds(0.0), PATIENCE));
    host.ended(seconds(1.0), 0.5, false);
    host.tick(seconds(10.0));
    host.connect(link(seconds(10.0), seconds(480.0)));
    host.retry(seconds(20.0));
    assert_eq!(host.deadline(), Some(seconds(50.0)));
}

#[test]
fn somebody_who_came_is_asked_at_the_next_try() {
    let mut host = Attempts::new(true);
    host.connect(link(seconds(0.0), PATIENCE));
    host.ended(seconds(1.0), 0.5, true);
    host.retry(seconds(0.0));
    assert!(host.is_queued() && host.is_awaited());
    host.connect(link(seconds(1.0), PATIENCE));
    assert!(host.is_first_attempt());
    host.ended(seconds(2.0), 0.5, true);
    assert!(!host.is_awaited() && !host.is_queued());
    // while an attempt runs that asks nobody
    host.tick(seconds(100.0));
    host.connect(link(seconds(100.0), PATIENCE));
    assert!(!host.is_first_attempt());
    host.retry(seconds(0.0));
    assert!(host.is_awaited());
    host.ended(seconds(101.0), 0.5, true);
    assert!(host.is_awaited() && host.is_queued());
    host.connect(link(seconds(101.0), PATIENCE));
    assert!(host.is_first_attempt());
    host.greeted(seconds(102.0));
    assert!(!host.is_awaited());
    host.retry(seconds(0.0));
    assert!(!host.is_awaited() && host.is_up());
}

#[test]
fn what_was_left_of_a_host_is_waited_for_once() {
    let mut host = Attempts::new(true);
    host.connect(link(seconds(0.0), PATIENCE));
    host.once_more();
    host.ended(seconds(1.0), 0.5, false);
    assert!(host.is_queued() && host.is_awaited());
    host.connect(link(seconds(1.0), PATIENCE));
    host.once_more();
    host.ended(seconds(2.0), 0.5, false);
    assert!(!host.is_queued() && !host.is_awaited());
}

#[test]
fn a_link_is_made_again_at_once_where_somebody_wants_it() {
    let mut host = Attempts::new(true);
    host.connect(link(seconds(0.0), PATIENCE));
    host.greeted(seconds(0.0));
    host.settle();
    host.renew(seconds(1000.0));
    host.tick(seconds(1000.0));
    assert!(host.is_up() && !host.is_settled() && host.is_awaited());
    host.ended(seconds(1000.0), 0.5, false);
    assert!(host.is_queued() && host.is_awaited());
    host.connect(link(seconds(1001.0), PATIENCE));
    host.greeted(seconds(1001.0));
    assert!(host.is_up() && !host.is_settled());
}

#[test]
fn a_host_waits_for_the_one_in_front_of_it() {
    let mut host = Attempts::new(false);
    assert!(!host.is_queued());
    host.fail_with_via();
    assert_eq!((host.state(false), host.is_settled()), (HostState::Failed, true));
    host.via(true);
    assert!(host.is_queued());
    assert_eq!((host.state(false), host.is_settled()), (HostState::Joining, false));
    host.via(false);
    assert!(!host.is_queued());
}

#[test]
fn nodes_that_are_never_told_do_not_keep_anybody_waiting() {
    let mut host = Attempts::new(true);
    host.connect(link(seconds(0.0), PATIENCE));
    host.greeted(seconds(0.0));
    assert_eq!(host.deadline(), Some(SETTLE));
    host.tick(SETTLE);
    assert!(host.is_settled());
}
