//! Which lines of joining hosts stay on the screen, and what is drawn meanwhile.

use indicatif::InMemoryTerm;

use super::*;

fn host(id: &str, state: HostState) -> HostStatus {
    let mut host = HostStatus { id: id.into(), spec: format!("ssh={id}"), state, ..HostStatus::default() };
    host.step = matches!(state, HostState::Joining | HostState::Failed).then_some(Step::Connect);
    host
}

fn up(id: &str, python: &str, states: &[NodeState]) -> HostStatus {
    let node = |state: &NodeState| execnet_proto::control::NodeStatus {
        name: format!("{id}:x"),
        state: *state,
        implementation: "cpython".into(),
        version: "3.11.2".into(),
        ..Default::default()
    };
    HostStatus {
        spec: format!("ssh={id}//python={python}"),
        nodes: states.iter().map(node).collect(),
        ..host(id, HostState::Up)
    }
}

/// The output if nothing can be drawn.
fn written(updates: &[HostStatus]) -> String {
    let mut out = Vec::new();
    let mut progress = JoinProgress::written_to(&mut out);
    updates.iter().for_each(|status| progress.update(status));
    progress.finish();
    drop(progress);
    style::plain(&String::from_utf8(out).unwrap())
}

#[test]
fn a_host_has_one_line_when_it_is_up_or_has_failed() {
    use NodeState::{Probing, Ready};
    let updates = [
        host("a", HostState::Joining),
        host("b", HostState::Joining),
        host("a", HostState::Up),
        up("a", "pypy3", &[Probing]),
        up("a", "pypy3", &[Ready]),
        up("a", "pypy3", &[Ready]),
        host("b", HostState::Failed),
        host("b", HostState::Joining),
        host("b", HostState::Failed),
        host("b", HostState::Joining),
        up("b", "", &[Ready]),
    ];
    assert_eq!(written(&updates), "a: up: CPython 3.11.2\nb: failed: connect\nb: up: CPython 3.11.2\n");
}

#[test]
fn a_host_that_is_searched_for_interpreters_is_told_when_it_is_up() {
    let ready = NodeState::Ready;
    let updates = [host("a", HostState::Joining), up("a", "*", &[ready]), up("a", "*", &[ready, ready])];
    assert_eq!(written(&updates), "a: up\n");
    assert_eq!(written(&[host("b", HostState::Up)]), "b: up\n", "one of which nothing more came");
}

/// A screen of this size, and progress that is drawn on it.
fn drawn<'a>(
    out: &'a mut Vec<u8>,
    count: usize,
    rows: u16,
    columns: u16,
) -> (InMemoryTerm, JoinProgress<'a>) {
    let screen = InMemoryTerm::new(rows, columns);
    let mut progress = JoinProgress::written_to(out);
    progress.live = Live::new(screen.clone(), count, rows.into(), columns.into());
    (screen, progress)
}

/// Waits until the screen shows it; draws are rate-limited.
#[track_caller]
fn shows(screen: &InMemoryTerm, text: &str) {
    let shown = || screen.contents().contains(text);
    execnet_testkit::wait_until(execnet_testkit::PATIENCE, text, shown);
}

#[test]
fn hosts_that_join_have_a_line_each_that_goes_when_they_have_settled() {
    let mut out = Vec::new();
    let (screen, mut progress) = drawn(&mut out, 2, 24, 40);
    progress.update(&host("a", HostState::Joining));
    progress.update(&host("build2", HostState::Joining));
    shows(&screen, "a: joining: connect\n");
    shows(&screen, "build2: joining: connect");
    progress.update(&host("a", HostState::Failed));
    progress.update(&up("a", "*", &[NodeState::Ready]));
    shows(&screen, "a: up: CPython 3.11.2");
    progress.update(&host("build2", HostState::Failed));
    assert!(!screen.contents().contains("build2"), "{}", screen.contents());
    progress.suspend(|| assert_eq!(screen.contents(), ""));
    progress.finish();
    assert_eq!(screen.contents(), "");
    drop(progress);
    let kept = style::plain(&String::from_utf8(out).unwrap());
    assert_eq!(kept, "a: failed: connect\nbuild2: failed: connect\na: up: CPython 3.11.2\n");
}

#[test]
fn many_hosts_share_a_bar_above_which_failures_are_told() {
    for (count, rows) in [(30, 50), (8, 10)] {
        let mut out = Vec::new();
        let (screen, mut progress) = drawn(&mut out, count, rows, 80);
        for number in 0..count {
            progress.update(&host(&format!("h{number}"), HostState::Joining));
        }
        progress.update(&up("h0", "", &[NodeState::Ready]));
        progress.update(&host("h1", HostState::Failed));
        shows(&screen, &format!(" 1/{count} up, 1 failed; joining: h2, h3"));
        assert_eq!(screen.contents().lines().count(), 1, "{}", screen.contents());
        progress.finish();
        assert_eq!(screen.contents(), "");
        drop(progress);
        assert_eq!(style::plain(&String::from_utf8(out).unwrap()), "h1: failed: connect\n");
    }
}

#[test]
fn what_a_bar_counts_follows_every_change() {
    let mut out = Vec::new();
    let (screen, mut progress) = drawn(&mut out, 300, 24, 78);
    let name = |number: usize| format!("h{number:03}");
    (0..300).for_each(|number| progress.update(&host(&name(number), HostState::Joining)));
    shows(&screen, "0/300 up; joining: h000, h001, h002");
    (0..200).for_each(|number| progress.update(&up(&name(number), "", &[NodeState::Ready])));
    (200..220).for_each(|number| progress.update(&host(&name(number), HostState::Failed)));
    shows(&screen, "200/300 up, 20 failed; joining: h220, h221");
    // again and back
    for state in [HostState::Unreachable, HostState::Failed, HostState::Joining, HostState::Joining] {
        progress.update(&host(&name(210), state));
    }
    progress.update(&host(&name(7), HostState::Leaving));
    progress.update(&up(&name(215), "", &[NodeState::Ready]));
    shows(&screen, "200/300 up, 18 failed; joining: h210, h220");
}

#[test]
fn a_terminal_that_takes_nothing_does_not_end_the_command() {
    let broken = || std::fs::File::from(rustix::pipe::pipe().unwrap().1);
    for count in [2, 30] {
        let mut out = broken();
        let mut progress = JoinProgress::written_to(&mut out);
        progress.live = Live::new(Screen::new(broken()), count, 50, 80);
        progress.update(&host("a", HostState::Joining));
        progress.update(&host("b", HostState::Failed));
        assert_eq!(progress.suspend(|| "asked"), "asked");
        progress.update(&up("a", "", &[NodeState::Ready]));
        progress.finish();
    }
}
