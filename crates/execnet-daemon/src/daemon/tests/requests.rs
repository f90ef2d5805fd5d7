//! What people ask for: adding and removing hosts, answering questions, stopping.

use std::collections::BTreeMap;

use execnet_proto::client::ClientEvent;
use execnet_proto::control::{HostState, PromptKind, Request, Verb};
use execnet_proto::id::Epoch;
use execnet_proto::switch::{ClientKey, HostKey};
use serde_json::Value;

use super::{SECOND, World, kind, select};
use crate::event::Event;

#[test]
fn hosts_come_and_go_by_request() {
    let mut world = World::new(&["ssh=a"]);
    world.greet("a");
    let client = world.client();
    for (spec, expected) in
        [("ssh=a", "duplicate-host"), ("ssh=x//via=nosuch", "no-such-host"), ("shh=x", "usage")]
    {
        let request = world.ask(client, Verb::AddHost { spec: spec.into(), end_kept: false });
        let (replies, over) = world.replies(request, client);
        assert_eq!((kind(&replies), over), (expected, true), "{spec}");
    }
    let request = world.ask(client, Verb::AddHost { spec: "ssh=b".into(), end_kept: false });
    assert!(!world.replies(request, client).1);
    world.greet("b");
    let (replies, over) = world.replies(request, client);
    assert_eq!((&replies.last().unwrap()["host"]["state"], over), (&Value::from("up"), true));

    let request = world.ask(client, Verb::AddHost { spec: "ssh=c//via=b".into(), end_kept: false });
    let refused = world.ask(client, Verb::RmHost { host: "b".into(), kept: None });
    assert_eq!(kind(&world.replies(refused, client).0), "in-use");
    let refused = world.ask(client, Verb::RmHost { host: "nosuch".into(), kept: None });
    assert_eq!(kind(&world.replies(refused, client).0), "no-such-host");

    // c is still joining: it gets a moment to greet before it is removed
    let removed = world.ask(client, Verb::RmHost { host: "c".into(), kept: None });
    world.pass(4 * SECOND);
    assert!(world.replies(removed, client).1);
    assert_eq!(kind(&world.replies(request, client).0), "cancelled");

    let removed = world.ask(client, Verb::RmHost { host: "b".into(), kept: None });
    assert!(world.was_told_to_end("b") && !world.replies(removed, client).1);
    assert_eq!(world.status("b").state, HostState::Leaving);
    world.end("b", 0, "");
    let (replies, over) = world.replies(removed, client);
    assert_eq!((&replies[0]["host"]["state"], over), (&Value::from("leaving"), true));
    assert!(world.daemon.host_named("b").is_none());
}

#[test]
fn stop_tells_agents_to_end_and_names_those_it_could_not_tell() {
    let mut world = World::new(&["ssh=a", "ssh=gone", "ssh=never"]);
    world.greet_as(HostKey(1), "a", Epoch::new(1, 1), 1);
    world.greet_as(HostKey(2), "gone", Epoch::new(1, 2), 2);
    world.end("gone", 255, "");
    world.end("never", 255, "ssh: connect to host never port 22: Connection refused");
    let client = world.client();
    let request = world.ask(client, Verb::Stop { kept: None });
    assert!(world.was_told_to_end("a") && !world.exited);
    let late = world.ask(client, Verb::Watch);
    assert_eq!(kind(&world.replies(late, client).0), "closing");
    world.end("a", 0, "");
    assert!(world.exited);
    assert_eq!(
        world.replies(request, client),
        (vec![serde_json::json!({"left": ["gone"], "kept": []})], true)
    );
}

#[test]
fn an_agent_that_does_not_end_does_not_keep_the_daemon() {
    let mut world = World::new(&["ssh=a"]);
    world.greet("a");
    world.event(Event::Terminate);
    assert!(!world.exited);
    world.pass(9 * SECOND);
    assert!(world.exited);
}

#[test]
fn ssh_asks_the_person_who_watches() {
    let mut world = World::new(&["ssh=a"]);
    let (watcher, askpass) = (world.client(), world.client());
    let watch = world.ask(watcher, Verb::Watch);
    let env = &world.commands[&world.host("a")].env;
    let token = env.iter().find(|(name, _)| name == "EXECNET_ASKPASS").unwrap().1.clone();
    let (network, token) = token.split_once('/').unwrap();
    assert_eq!(network, "net");
    let asked = world.ask(
        askpass,
        Verb::AskPass { token: token.into(), prompt: "a's password: ".into(), kind: PromptKind::Text },
    );
    let prompt =
        world.replies(watch, watcher).0.into_iter().find(|reply| reply.get("prompt").is_some()).unwrap();
    assert_eq!(prompt["prompt"]["text"], "a's password: ");
    assert_eq!(world.status("a").step.unwrap().as_str(), "authenticate");
    world.pass(100 * SECOND);
    assert_eq!(world.status("a").state, HostState::Joining, "a person may take time");
    let id = prompt["prompt"]["id"].as_u64().unwrap();
    let answered = world.ask(watcher, Verb::Answer { prompt: id, answer: Some("pw".into()) });
    assert_eq!(world.replies(asked, askpass), (vec![serde_json::json!({"answer": "pw"})], true));
    assert!(world.replies(answered, watcher).1);

    let forged = world
        .ask(askpass, Verb::AskPass { token: "0".repeat(32), prompt: "?".into(), kind: PromptKind::Text });
    assert_eq!(kind(&world.replies(forged, askpass).0), "cancelled");
}

#[test]
fn a_host_that_is_tried_again_for_somebody_is_joining_and_not_failed() {
    let mut world = World::new(&["ssh=a"]);
    let client = world.client();
    world.end("a", 255, "Host key verification failed.");
    assert_eq!(world.status("a").state, HostState::Failed);
    world.ask(client, Verb::AddHost { spec: "ssh=a".into(), end_kept: false });
    let status = world.status("a");
    assert_eq!((status.state, status.step.unwrap().as_str()), (HostState::Joining, "connect"));
    let id = select(&mut world, client, 7, &[("node", "a")]);
    world.end("a", 255, "Host key verification failed.");
    assert_eq!(world.status("a").state, HostState::Failed);
    let refused =
        |(_, event): &(ClientKey, ClientEvent)| matches!(event, ClientEvent::Refused(of, ..) if *of == id);
    assert!(world.events.iter().any(refused), "it was waited for, and no longer");
}

#[test]
fn a_question_without_a_person_is_refused() {
    let mut world = World::new(&["ssh=a"]);
    let askpass = world.client();
    let env = &world.commands[&world.host("a")].env;
    let token = env.iter().find(|(name, _)| name == "EXECNET_ASKPASS").unwrap().1.clone();
    let token = token.split_once('/').unwrap().1.to_owned();
    let asked =
        world.ask(askpass, Verb::AskPass { token, prompt: "a's password: ".into(), kind: PromptKind::Text });
    assert!(!world.replies(asked, askpass).1);
    world.pass(6 * SECOND);
    assert_eq!(kind(&world.replies(asked, askpass).0), "cancelled");
    world.end("a", 255, "ann@a: Permission denied (password).");
    assert!(world.status("a").error.unwrap().contains("got no answer"));
    assert!(world.status("a").hint.unwrap().contains("`execnet addhost net ssh=a`"));
}

#[test]
fn a_fresh_ssh_agent_lets_hosts_in_that_could_not_log_in() {
    let mut world = World::new(&["ssh=a"]);
    world.end("a", 255, "ann@a: Permission denied (publickey).");
    world.pass(5 * SECOND);
    assert!(world.links.is_empty(), "what a person must mend is not tried again soon");
    let client = world.client();
    let env = BTreeMap::from([("SSH_AUTH_SOCK".to_owned(), "/tmp/agent".to_owned())]);
    world.ask_with(client, &Request { verb: Verb::Status, env });
    let key = world.host("a");
    assert!(world.links.contains_key(&key));
    assert_eq!(world.commands[&key].env, [("SSH_AUTH_SOCK".to_owned(), "/tmp/agent".to_owned())]);
}
