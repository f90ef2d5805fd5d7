//! How hosts join, stay and are joined again.

use std::time::Duration;

use execnet_proto::control::NodeState;
use execnet_proto::control::{HostState, Verb};
use execnet_proto::id::Epoch;
use execnet_proto::switch::HostKey;
use execnet_proto::wire::{Decoder, Frame, Table};

use super::{SECOND, World};
use crate::event::Event;

#[test]
fn a_network_comes_up_and_whoever_watches_sees_it() {
    let mut world = World::new(&["ssh=a", "ssh=b"]);
    let client = world.client();
    let request = world.ask(client, Verb::Watch);
    assert_eq!(world.replies(request, client).0.len(), 2);
    assert!(!world.replies(request, client).1);
    for id in ["a", "b"] {
        let key = world.host(id);
        let epoch = Epoch::new(1, key.0);
        world.greet_as(key, id, epoch, key.0 as u8);
    }
    let (replies, over) = world.replies(request, client);
    assert!(over);
    assert_eq!(replies.last().unwrap(), &serde_json::json!({}));
    assert_eq!(replies[replies.len() - 2]["host"]["state"], "up");
    assert_eq!(world.status("a").nodes.len(), 1);
}

#[test]
fn a_server_gets_at_most_four_logins_at_a_time() {
    let hosts: Vec<String> =
        (0..10).map(|n| format!("ssh=u{n}@server//id=h{n}")).chain(["ssh=other".into()]).collect();
    let mut world = World::new(&hosts.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(world.links.len(), 5);
    world.greet_as(HostKey(1), "h0", Epoch::new(1, 1), 1);
    assert_eq!(world.links.len(), 6, "one more may begin");
    world.end("h1", 255, "ssh: connect to host server port 22: Connection refused");
    assert_eq!(world.links.len(), 6, "one ended, one began");
    assert_eq!(world.status("h1").state, HostState::Failed);
}

#[test]
fn what_may_be_a_refusal_is_not_tried_often_whatever_ssh_says() {
    let closed = "kex_exchange_identification: Connection closed by remote host";
    let during = "Connection closed by 10.0.0.1 port 22";
    for (stderr, least, most) in [("", 5, 6), ("Zugriff verweigert", 5, 6), (during, 5, 7), (closed, 20, 60)]
    {
        let mut world = World::new(&["ssh=a"]);
        let mut logins = 0;
        for _ in 0..600 {
            if world.links.contains_key(&world.host("a")) {
                logins += 1;
                world.end("a", 255, stderr);
            }
            world.pass(SECOND);
        }
        assert!((least..=most).contains(&logins), "{stderr:?}: {logins} logins in 10 minutes");
    }
}

#[test]
fn a_failed_host_is_tried_again_without_asking_anybody() {
    let mut world = World::new(&["ssh=a"]);
    let key = world.host("a");
    assert!(world.commands[&key].env.iter().any(|(name, _)| name == "SSH_ASKPASS"));
    assert!(!world.commands[&key].argv.contains(&"BatchMode=yes".to_owned()));
    world.end("a", 255, "ssh: connect to host a port 22: Connection refused");
    let status = world.status("a");
    assert_eq!((status.state, status.step.unwrap().as_str()), (HostState::Failed, "connect"));
    assert!(status.retry_in.is_some() && status.hint.is_some() && !status.said.is_empty());
    world.pass(SECOND);
    assert!(world.links.contains_key(&key));
    assert!(world.commands[&key].argv.contains(&"BatchMode=yes".to_owned()));
    assert!(world.commands[&key].env.is_empty());
}

#[test]
fn an_agent_that_does_not_greet_in_time_is_given_up() {
    let mut world = World::new(&["ssh=a"]);
    world.pass(31 * SECOND);
    let status = world.status("a");
    assert_eq!(status.state, HostState::Failed);
    assert!(status.error.unwrap().contains("30 s"));
}

#[test]
fn a_host_behind_another_waits_for_it_and_fails_with_it() {
    let mut world = World::new(&["ssh=in//via=out", "ssh=deep//via=in", "ssh=out"]);
    assert_eq!(world.links.len(), 1);
    assert_eq!(world.status("deep").state, HostState::Joining);
    world.end("out", 255, "ssh: connect to host out port 22: Connection refused");
    for id in ["in", "deep"] {
        let status = world.status(id);
        assert_eq!((status.state, status.step.unwrap().as_str()), (HostState::Failed, "via"), "{id}");
    }
    world.pass(SECOND);
    world.greet("out");
    // now a tunnel is open to `in`, which has not greeted
    let status = world.status("in");
    assert_eq!((status.state, status.step.unwrap().as_str()), (HostState::Joining, "connect"));
}

#[test]
fn a_link_that_breaks_is_made_again() {
    let mut world = World::new(&["ssh=a"]);
    world.greet("a");
    assert_eq!(world.status("a").state, HostState::Up);
    world.end("a", 255, "");
    assert_eq!(world.status("a").state, HostState::Unreachable);
    world.pass(SECOND);
    world.greet("a");
    assert_eq!((world.status("a").state, world.status("a").error), (HostState::Up, None));
}

#[test]
fn silence_ends_a_link() {
    let mut world = World::new(&["ssh=a"]);
    world.greet("a");
    world.pass(15 * SECOND);
    assert_eq!(world.status("a").state, HostState::Unreachable);
    assert!(world.status("a").error.unwrap().contains("silent"));
}

#[test]
fn the_bootstrap_is_written_without_waiting_for_the_host() {
    let world = World::new(&["ssh=a"]);
    let written = &world.links[&world.host("a")];
    assert!(written.starts_with(b"exec(\""));
    let secret = crate::host::bootstrap::host_secret(&world.daemon.settings.common, "a");
    assert!(written.windows(secret.len()).any(|part| part == secret.as_bytes()));
    let argv = &world.commands[&world.host("a")].argv;
    assert!(argv.iter().all(|word| !word.contains(&secret)), "the secret is seen by nobody");
}

#[test]
fn an_answered_ping_does_not_let_the_next_one_be_missed() {
    let mut world = World::new(&["ssh=a"]);
    world.greet("a");
    let key = world.host("a");
    let planned = world.daemon.deadline(world.now).unwrap(); // while the first PING is under way
    world.now += Duration::from_millis(80);
    world.event(Event::LinkBytes(key, &Frame::Pong(1).to_bytes()));
    let stale = world.daemon.deadline_is_stale();
    let due = world.daemon.deadline(world.now).unwrap();
    assert!(stale || planned <= due, "planned for {planned:?}, due at {due:?}");
}

#[test]
fn what_an_idle_network_sends_is_a_ping() {
    let mut world = World::new(&["ssh=a"]);
    world.greet("a");
    let key = world.host("a");
    world.links.get_mut(&key).unwrap().clear();
    world.pass(Duration::from_millis(10_500));
    let mut decoder = Decoder::default();
    decoder.push(&world.links[&key]);
    let kinds: Vec<_> =
        std::iter::from_fn(|| decoder.next().unwrap()).map(|(frame, _)| frame.kind()).collect();
    assert!(kinds.len() <= 1, "{kinds:?}");
}

#[test]
fn a_host_that_tells_of_foreign_nodes_ends_its_link_at_the_first_one() {
    for name in ["other", "a2", "", "a:x y", "a:\x1b[2J"] {
        let mut world = World::new(&["ssh=a"]);
        world.greet("a");
        let key = world.host("a");
        let node = Frame::Node { name: name.into(), state: NodeState::Ready, facts: Table::new() };
        world.event(Event::LinkBytes(key, &node.to_bytes()));
        assert!(world.links.is_empty(), "{name:?}");
        let status = world.status("a");
        let error = status.error.unwrap_or_default();
        assert!(error.contains("a node whose name does not begin with its host's"), "{error}");
        assert_eq!(status.nodes.len(), 1);
    }
    let mut world = World::new(&["ssh=a"]);
    world.greet("a");
    let key = world.host("a");
    for n in 0..64 {
        let node = Frame::Node { name: format!("a:{n}"), state: NodeState::Ready, facts: Table::new() };
        assert!(world.links.contains_key(&key), "{n}");
        world.event(Event::LinkBytes(key, &node.to_bytes()));
    }
    assert!(world.links.is_empty(), "it told of 65");
}

#[test]
fn only_a_link_that_lasted_brings_the_next_login_forward() {
    let logins = |lasts: Duration| {
        let mut world = World::new(&["ssh=a"]);
        let mut logins = 0;
        while world.now < Duration::from_secs(600) {
            world.greet("a");
            world.pass(lasts);
            world.end("a", 0, "");
            while world.links.is_empty() {
                world.pass(Duration::from_millis(100));
            }
            logins += 1;
        }
        logins
    };
    let at_once = logins(Duration::ZERO);
    assert!((20..32).contains(&at_once), "{at_once}");
    let lasting = logins(Duration::from_secs(11));
    assert!(lasting > 45, "{lasting}");
}
