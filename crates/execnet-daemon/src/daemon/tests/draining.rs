//! Hosts that take no new work, and those that leave once they are idle.

use std::time::Duration;

use crate::event::Event;
use execnet_proto::client::ClientEvent;
use execnet_proto::control::{HostState, Verb};
use execnet_proto::id::{Epoch, ProcessId};
use execnet_proto::switch::{ClientKey, HostKey};
use serde_json::Value;

use super::{SECOND, World, kind, select};

/// Two hosts that are up, and a client.
fn two() -> (World, ClientKey) {
    let mut world = World::new(&["ssh=a", "ssh=b"]);
    world.greet_as(HostKey(1), "a", Epoch::new(1, 1), 1);
    world.greet_as(HostKey(2), "b", Epoch::new(1, 2), 2);
    let client = world.client();
    (world, client)
}

fn drain(world: &mut World, client: ClientKey, hosts: &[&str], remove: bool, wait: bool) -> u32 {
    let hosts = hosts.iter().map(ToString::to_string).collect();
    world.ask(client, Verb::Drain { hosts, remove, wait })
}

fn undrain(world: &mut World, client: ClientKey, host: &str) -> u32 {
    world.ask(client, Verb::Undrain { hosts: vec![host.into()] })
}

fn release(world: &mut World, client: ClientKey, id: ProcessId) {
    world.clients.get_mut(&client).unwrap().release(id);
    world.settle();
}

/// The host on which a process was placed, or why it was refused.
fn answer(world: &World, id: ProcessId) -> Option<Result<String, String>> {
    world.events.iter().rev().find_map(|(key, event)| match event {
        ClientEvent::Placed(of) if *of == id => {
            Some(Ok(world.clients[key].placement(id).unwrap().host.clone()))
        }
        ClientEvent::Refused(of, _, why) if *of == id => Some(Err(why.clone())),
        _ => None,
    })
}

/// The state of each reply's host; without a host nothing.
fn states(replies: &[Value]) -> Vec<&str> {
    replies.iter().map(|reply| reply["host"]["state"].as_str().unwrap_or_default()).collect()
}

#[test]
fn work_goes_to_other_hosts_unless_the_drained_one_is_named() {
    let (mut world, client) = two();
    let running = select(&mut world, client, 1, &[("node", "a")]);
    let request = drain(&mut world, client, &["a"], false, false);
    let (replies, over) = world.replies(request, client);
    assert_eq!((states(&replies), over), (vec!["up", ""], true));
    assert_eq!(replies[0]["host"]["busy"], "1 process runs there");
    assert!(world.status("a").drained && !world.status("a").removing);
    for number in 2..5 {
        let id = select(&mut world, client, number, &[]);
        assert_eq!(answer(&world, id), Some(Ok("b".into())));
    }
    let named = select(&mut world, client, 5, &[("node", "a")]);
    assert_eq!(answer(&world, named), Some(Ok("a".into())));
    let facts = |id| world.clients[&client].placement(id).unwrap().facts.clone();
    assert!(facts(named).contains(&("drained".into(), "1".into())), "whoever named it is told");
    assert!(!facts(running).iter().any(|(key, _)| key == "drained"));
    undrain(&mut world, client, "a");
    let status = world.status("a");
    assert_eq!((status.drained, status.busy, status.processes), (false, None, 2), "what ran there goes on");
    let id = select(&mut world, client, 6, &[]);
    assert_eq!(answer(&world, id), Some(Ok("a".into())));
}

#[test]
fn a_set_means_a_drained_host_only_if_no_other_one_of_it_can_be_used() {
    let (mut world, client) = two();
    select(&mut world, client, 1, &[("node", "b")]);
    drain(&mut world, client, &["a"], false, false);
    let both = select(&mut world, client, 2, &[("node", "a,b")]);
    assert_eq!(answer(&world, both), Some(Ok("b".into())), "though it has more to do");
    let without = select(&mut world, client, 3, &[("node", "!b")]);
    let why = answer(&world, without).unwrap().unwrap_err();
    assert!(why.starts_with("all hosts of net that match are drained: a\n"), "{why}");
    world.end("b", 255, "");
    let left = select(&mut world, client, 4, &[("node", "a,b")]);
    assert_eq!(answer(&world, left), Some(Ok("a".into())));
}

#[test]
fn a_program_that_finds_only_drained_hosts_is_told_so() {
    let (mut world, client) = two();
    drain(&mut world, client, &["a", "b"], false, false);
    let id = select(&mut world, client, 1, &[("platform", "linux")]);
    let why = answer(&world, id).unwrap().unwrap_err();
    let (why, hint) = why.split_once('\n').unwrap();
    assert_eq!(why, "all hosts of net that match are drained: a, b");
    assert!(hint.starts_with("`execnet undrain net a`"), "{hint}");
    let id = select(&mut world, client, 2, &[("platform", "java")]);
    let why = answer(&world, id).unwrap().unwrap_err();
    assert!(why.contains("a: linux cpython 3.11.2 (ready, drained)"), "{why}");
}

#[test]
fn drain_waits_until_a_host_is_idle_and_tells_what_keeps_it() {
    let (mut world, client) = two();
    let ids = [1, 2].map(|number| select(&mut world, client, number, &[("node", "a")]));
    let other = world.client();
    let waits = drain(&mut world, other, &["a", "b"], false, true);
    assert!(!world.replies(waits, other).1);
    release(&mut world, client, ids[0]);
    let (replies, over) = world.replies(waits, other);
    assert_eq!((&replies.last().unwrap()["host"]["busy"], over), (&"1 process runs there".into(), false));
    release(&mut world, client, ids[1]);
    let (replies, over) = world.replies(waits, other);
    assert_eq!((replies.last().unwrap().clone(), over), (serde_json::json!({}), true));
    assert!(world.status("a").drained, "it stays in the network, drained");

    let id = select(&mut world, client, 3, &[("node", "a")]);
    let waits = drain(&mut world, other, &["a"], false, true);
    undrain(&mut world, client, "a");
    assert_eq!(kind(&world.replies(waits, other).0), "cancelled");
    release(&mut world, client, id);
}

#[test]
fn a_host_whose_processes_are_yet_to_be_ended_is_not_idle() {
    let (mut world, client) = two();
    let id = select(&mut world, client, 1, &[("node", "a")]);
    world.starts(client, id);
    let other = world.client();
    let waits = drain(&mut world, other, &["a"], false, true);
    world.end("a", 255, "");
    world.event(Event::ClientClosed(client));
    assert_eq!(
        world.status("a").busy.as_deref(),
        Some("1 process is ended there when it is reachable again")
    );
    assert!(!world.replies(waits, other).1);
}

#[test]
fn an_idle_host_is_removed_though_nobody_waits_any_more() {
    let (mut world, client) = two();
    let id = select(&mut world, client, 1, &[("node", "a")]);
    let other = world.client();
    let request = drain(&mut world, other, &["a"], true, false);
    let (replies, over) = world.replies(request, other);
    assert_eq!((states(&replies), over), (vec!["up", ""], true));
    let status = world.status("a");
    assert_eq!((status.drained, status.removing, status.state), (true, true, HostState::Up));
    // it can still be named, and stays as long as that runs
    let late = select(&mut world, client, 2, &[("node", "a")]);
    assert_eq!(answer(&world, late), Some(Ok("a".into())));
    release(&mut world, client, id);
    assert!(!world.was_told_to_end("a"));
    release(&mut world, client, late);
    assert!(world.was_told_to_end("a"));
    assert_eq!(world.status("a").state, HostState::Leaving);
    let refused = select(&mut world, client, 3, &[("node", "a")]);
    assert!(answer(&world, refused).unwrap().is_err_and(|why| why.contains("leaving")));
    let again = undrain(&mut world, client, "a");
    assert_eq!(kind(&world.replies(again, client).0), "cancelled");
    assert!(world.forgotten.is_empty());
    world.end("a", 0, "");
    assert!(world.daemon.host_named("a").is_none());
    assert_eq!(world.forgotten, ["a"]);
}

#[test]
fn removing_an_idle_host_is_told_to_its_end() {
    let (mut world, client) = two();
    let request = drain(&mut world, client, &["a"], true, false);
    assert!(world.was_told_to_end("a") && !world.replies(request, client).1);
    world.end("a", 0, "");
    let (replies, over) = world.replies(request, client);
    assert_eq!((states(&replies).last(), over), (Some(&""), true));
    assert!(states(&replies).contains(&"leaving"));
    assert!(replies.iter().all(|reply| reply["host"]["error"].is_null()));
    // one that was removed by hand is nobody's to forget
    world.ask(client, Verb::RmHost { host: "b".into(), kept: None });
    world.end("b", 0, "");
    assert_eq!(world.forgotten, ["a"]);
}

#[test]
fn an_undrained_host_is_not_removed() {
    let (mut world, client) = two();
    let id = select(&mut world, client, 1, &[("node", "a")]);
    drain(&mut world, client, &["a"], true, false);
    undrain(&mut world, client, "a");
    release(&mut world, client, id);
    world.pass(SECOND);
    assert_eq!(world.status("a").state, HostState::Up);
}

#[test]
fn a_program_that_waits_for_a_host_by_name_keeps_it() {
    let mut world = World::new(&["ssh=a"]);
    let client = world.client();
    let id = select(&mut world, client, 1, &[("node", "a")]);
    drain(&mut world, client, &["a"], true, false);
    assert_eq!(world.status("a").busy.as_deref(), Some("a program waits for it"));
    world.greet("a");
    assert_eq!(answer(&world, id), Some(Ok("a".into())));
    release(&mut world, client, id);
    assert_eq!(world.status("a").state, HostState::Leaving);
}

#[test]
fn hosts_that_others_are_reached_through_are_not_removed() {
    let mut world = World::new(&["ssh=a"]);
    world.greet("a");
    let client = world.client();
    world.ask(client, Verb::AddHost { spec: "ssh=b//via=a".into(), end_kept: false });
    let refused = drain(&mut world, client, &["b", "a"], true, false);
    assert_eq!(kind(&world.replies(refused, client).0), "in-use");
    assert!(!world.status("b").drained, "all of them or none");
    let drained = drain(&mut world, client, &["a"], false, false);
    assert!(world.replies(drained, client).1);
    assert_eq!(world.status("a").busy.as_deref(), Some("`b` is reached through it"));
    let refused = drain(&mut world, client, &["a", "nosuch"], false, false);
    assert_eq!(kind(&world.replies(refused, client).0), "no-such-host");
}

#[test]
fn a_host_behind_one_that_is_to_leave_keeps_it() {
    let (mut world, client) = two();
    let id = select(&mut world, client, 1, &[("node", "a")]);
    drain(&mut world, client, &["a"], true, false);
    let added = world.ask(client, Verb::AddHost { spec: "ssh=c//via=a".into(), end_kept: false });
    assert!(!world.replies(added, client).1, "it joins");
    release(&mut world, client, id);
    assert_eq!(world.status("a").state, HostState::Up);
    world.ask(client, Verb::RmHost { host: "c".into(), kept: None });
    world.pass(4 * SECOND);
    assert_eq!(world.status("a").state, HostState::Leaving);
}

#[test]
fn a_daemon_after_another_one_waits_for_the_programs_that_may_come_back() {
    let (mut world, client) = two();
    world.daemon.settings.life = 2;
    drain(&mut world, client, &["a"], true, false);
    assert!(!world.was_told_to_end("a"));
    world.pass(Duration::from_secs(6));
    assert_eq!(world.status("a").state, HostState::Leaving);
}

#[test]
fn stopping_ends_those_who_wait() {
    let (mut world, client) = two();
    select(&mut world, client, 1, &[("node", "a")]);
    let waits = drain(&mut world, client, &["a"], false, true);
    world.ask(client, Verb::Stop { kept: None });
    assert_eq!(kind(&world.replies(waits, client).0), "closing");
}
