//! Kept work in requests: whom a name waits for, and hosts that leave while they keep work.

use std::time::Duration;

use execnet_proto::control::{KeptChoice, Verb};
use execnet_proto::id::{Epoch, ProcessId};
use execnet_proto::wire::{Frame, FrameKind};
use serde_json::Value;

use super::{SECOND, World};
use crate::event::Event;

/// The agent of a host greets on the link that was opened as this one of all, and keeps this.
fn keeps(world: &mut World, id: &str, name: &str, attach: u32) {
    let key = world.host(id);
    let epoch = Epoch::new(1, attach);
    world.greet_with(key, id, epoch, id.as_bytes()[0], "look keep");
    let facts = vec![("name".to_owned(), name.to_owned().into())];
    for frame in [Frame::Kept { id: ProcessId([id.as_bytes()[0]; 16]), facts }, Frame::Keeps(1)] {
        world.event(Event::LinkBytes(key, &frame.to_bytes()));
    }
}

/// The work that a host keeps has ended.
fn ends(world: &mut World, id: &str, name: &str) {
    let facts = [("name", name), ("exit", "0 0"), ("ended", "5")];
    let facts = facts.map(|(key, value)| (key.to_owned(), value.to_owned().into())).to_vec();
    let frame = Frame::Kept { id: ProcessId([id.as_bytes()[0]; 16]), facts };
    world.event(Event::LinkBytes(world.host(id), &frame.to_bytes()));
}

/// The answer to a request for names, and after how many seconds it came.
fn found(world: &mut World, names: &[&str]) -> (Value, u32) {
    let client = world.client();
    let request =
        world.ask(client, Verb::Kept { names: names.iter().map(|name| (*name).to_owned()).collect() });
    for seconds in 0..10 {
        let (replies, over) = world.replies(request, client);
        if over {
            return (replies[0].clone(), seconds);
        }
        world.pass(SECOND);
    }
    panic!("no answer");
}

#[test]
fn a_name_waits_for_the_hosts_that_may_have_it() {
    let mut world = World::new(&["ssh=a", "ssh=b"]);
    assert_eq!(found(&mut world, &["train@a"]).1, 5);
    keeps(&mut world, "a", "train", 1);
    let (reply, seconds) = found(&mut world, &["train@a"]);
    assert_eq!((reply["kept"][0]["host"].as_str(), seconds), (Some("a"), 0));
    assert_eq!(found(&mut world, &["train"]).1, 5, "b may have one, too");
    assert_eq!(found(&mut world, &[]).1, 5);
    // a host that fails again and again is not waited for, but what only it can have
    for _ in 0..2 {
        world.end("b", 255, "ssh: connect to host b port 22: No route to host");
        while !world.links.contains_key(&world.host("b")) {
            world.pass(SECOND);
        }
    }
    assert_eq!(found(&mut world, &["train"]).1, 0);
    let (reply, seconds) = found(&mut world, &["train", "other"]);
    assert_eq!((reply["unknown"][0].as_str(), seconds), (Some("other"), 5));
}

#[test]
fn a_plain_name_means_what_runs() {
    let mut world = World::new(&["ssh=a", "ssh=b"]);
    keeps(&mut world, "a", "train", 1);
    keeps(&mut world, "b", "train", 2);
    assert_eq!(found(&mut world, &["train"]).0["error"]["kind"], "usage");
    ends(&mut world, "b", "train");
    let (reply, _) = found(&mut world, &["train"]);
    assert_eq!((&reply["kept"][0]["host"], reply["kept"].as_array().unwrap().len()), (&"a".into(), 1));
    ends(&mut world, "a", "train");
    assert_eq!(found(&mut world, &["train"]).0["error"]["kind"], "usage");
}

#[test]
fn a_host_that_leaves_out_of_reach_is_told_later_what_becomes_of_its_work() {
    for (choice, said, told) in
        [(KeptChoice::Leave, "", 0x12), (KeptChoice::End, "; add the host again to end that, too", 0x18)]
    {
        let mut world = World::new(&["ssh=a"]);
        keeps(&mut world, "a", "train", 1);
        world.end("a", 255, "");
        let client = world.client();
        let request = world.ask(client, Verb::RmHost { host: "a".into(), kept: Some(choice) });
        world.pass(30 * SECOND);
        let (replies, over) = world.replies(request, client);
        assert!(over);
        let left = "its agent could not be told to end; it ends all but what it keeps within 600 s";
        assert_eq!(replies[0]["host"]["error"], format!("{left}{said}"));
        assert_eq!(replies[0]["kept"][0]["name"], "train");
        world.ask(client, Verb::AddHost { spec: "ssh=a".into(), end_kept: false });
        world.greet_with(world.host("a"), "a", Epoch::new(1, world.daemon.attaches), b'a', "look keep");
        let written = &world.links[&world.host("a")];
        assert!(written.windows(4).any(|part| part == [told, 0, 0, 0]), "{choice:?}");
    }
}

#[test]
fn an_agent_of_another_version_is_ended_with_its_work_once() {
    let mut world = World::new(&[]);
    let client = world.client();
    world.ask(client, Verb::AddHost { spec: "ssh=a".into(), end_kept: true });
    let says_end = |world: &World| {
        let written = &world.links[&world.host("a")];
        written.windows(8).any(|part| part == b"end_kept")
    };
    assert!(says_end(&world));
    world.end("a", 255, "");
    world.pass(Duration::from_secs(60));
    assert!(says_end(&world), "nobody was told yet");
    let attach = world.daemon.attaches;
    keeps(&mut world, "a", "train", attach);
    world.end("a", 255, "");
    world.pass(Duration::from_secs(60));
    assert!(!says_end(&world));
}

#[test]
fn a_signal_finds_what_nobody_holds_by_its_id() {
    let mut world = World::new(&["ssh=a"]);
    keeps(&mut world, "a", "train", 1);
    let client = world.client();
    let kill =
        |world: &mut World, id: &str| world.ask(client, Verb::Kill { ids: vec![id.into()], signal: 15 });
    let request = kill(&mut world, "6161");
    let id = ProcessId([b'a'; 16]);
    let sent = world.written("a", FrameKind::Kill);
    assert_eq!(sent, [Frame::Kill { id, sequence: 1 << 32 | 1, mask: 1 << 15 }]);
    world.event(Event::LinkBytes(world.host("a"), &Frame::Killed { id, sequence: 1 << 32 | 1 }.to_bytes()));
    let told = world.last(request, client);
    assert_eq!(
        (&told["processes"][0]["state"], &told["processes"][0]["gateway"]),
        (&"sent".into(), &"train".into())
    );
    // its record has the id, too
    ends(&mut world, "a", "train");
    let request = kill(&mut world, "61616161");
    assert_eq!(world.last(request, client)["processes"][0]["state"], "gone");
}
