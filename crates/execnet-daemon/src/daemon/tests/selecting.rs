//! Where processes are placed, and what they wait for.

use execnet_proto::client::ClientEvent;
use execnet_proto::control::Verb;
use execnet_proto::id::Epoch;
use execnet_proto::switch::{ClientKey, HostKey};

use super::{SECOND, World, select};

#[test]
fn a_process_waits_for_hosts_that_join_and_is_refused_when_none_fits() {
    let mut world = World::new(&["ssh=a", "ssh=b"]);
    let client = world.client();
    let any = select(&mut world, client, 1, &[]);
    let java = select(&mut world, client, 2, &[("platform", "java")]);
    assert!(
        !world
            .events
            .iter()
            .any(|(_, event)| matches!(event, ClientEvent::Placed(_) | ClientEvent::Refused(..)))
    );
    world.greet_as(HostKey(1), "a", Epoch::new(1, 1), 1);
    assert!(world.events.contains(&(client, ClientEvent::Placed(any))));
    assert!(!world.events.iter().any(|(_, event)| matches!(event, ClientEvent::Refused(..))));
    world.end("b", 255, "ssh: Could not resolve hostname b: Name or service not known");
    let refused = world.events.iter().find_map(|(_, event)| match event {
        ClientEvent::Refused(id, _, message) if *id == java => Some(message.clone()),
        _ => None,
    });
    let message = refused.unwrap();
    assert!(
        message.contains("a: linux cpython 3.11.2 (ready)") && message.contains("b (failed)"),
        "{message}"
    );
    assert_eq!(world.status("a").nodes[0].processes, 1);
    select(&mut world, client, 3, &[("node", "b")]);
    let Some((_, ClientEvent::Refused(_, _, message))) = world.events.last() else { panic!("no answer") };
    assert!(message.starts_with("the host b has not come up: resolve: "), "{message}");
    assert!(
        message.contains("; the next attempt is in ") && message.contains("\ncheck the spelling"),
        "{message}"
    );
}

#[test]
fn a_process_that_waits_long_for_hosts_that_join_is_told_once_for_which() {
    let mut world = World::new(&["ssh=a", "ssh=b"]);
    let client = world.client();
    world.greet_as(HostKey(1), "a", Epoch::new(1, 1), 1);
    let id = select(&mut world, client, 1, &[("platform", "java")]);
    let told = |world: &World| -> Vec<String> {
        let waits = |(_, event): &(ClientKey, ClientEvent)| match event {
            ClientEvent::Waits(of, message) if *of == id => Some(message.clone()),
            _ => None,
        };
        world.events.iter().filter_map(waits).collect()
    };
    world.pass(4 * SECOND);
    assert!(told(&world).is_empty());
    world.pass(SECOND);
    world.pass(10 * SECOND);
    assert_eq!(told(&world), ["waiting for a node that matches platform java: b (joining: connect)"]);
}

#[test]
fn a_process_waits_a_while_for_a_link_that_is_made_again() {
    let mut world = World::new(&["ssh=a"]);
    let client = world.client();
    world.greet("a");
    world.end("a", 255, "");
    let id = select(&mut world, client, 1, &[]);
    world.pass(SECOND);
    world.greet("a");
    assert!(world.events.contains(&(client, ClientEvent::Placed(id))));
    let told = |world: &World, id| {
        let waits =
            |(_, event): &&(ClientKey, ClientEvent)| matches!(event, ClientEvent::Waits(of, _) if *of == id);
        world.events.iter().filter(waits).count()
    };
    assert_eq!(told(&world, id), 1, "it is told that it waits");
    world.end("a", 255, "ssh: connect to host a port 22: No route to host");
    let id = select(&mut world, client, 2, &[("node", "a")]);
    for _ in 0..20 {
        world.pass(SECOND / 2);
        if world.links.contains_key(&world.host("a")) {
            world.end("a", 255, "ssh: connect to host a port 22: No route to host");
        }
    }
    assert_eq!(told(&world, id), 1);
    let Some((_, ClientEvent::Refused(_, _, message))) = world.events.last() else { panic!("no answer") };
    assert!(message.starts_with("the host a is unreachable: connect: "), "{message}");
    assert!(message.contains("; the next attempt is in "), "{message}");
}

#[test]
fn a_process_that_waits_for_a_host_brings_its_next_try_forward() {
    let mut world = World::new(&["ssh=a"]);
    let client = world.client();
    world.greet("a");
    let fail = |world: &mut World| {
        world.end("a", 255, "ssh: connect to host a port 22: No route to host");
    };
    fail(&mut world);
    while world.status("a").retry_in.unwrap() < 20.0 {
        world.pass(SECOND / 10);
        if world.links.contains_key(&world.host("a")) {
            fail(&mut world);
        }
    }
    let refused =
        |world: &World| world.events.iter().any(|(_, event)| matches!(event, ClientEvent::Refused(..)));
    select(&mut world, client, 1, &[("node", "a")]);
    assert!(world.links.contains_key(&world.host("a")), "it is tried at once");
    assert!(!refused(&world));
    fail(&mut world);
    assert!(refused(&world), "nothing is under way that could help");
}

#[test]
fn who_waits_for_a_set_is_told_of_the_hosts_that_it_names() {
    let mut world = World::new(&["ssh=a", "ssh=b", "ssh=c"]);
    let client = world.client();
    select(&mut world, client, 1, &[("node", "@odd")]);
    world.pass(6 * SECOND);
    let told = world.events.iter().find_map(|(_, event)| match event {
        ClientEvent::Waits(_, message) => Some(message.clone()),
        _ => None,
    });
    let told = told.unwrap();
    assert!(told.starts_with("waiting for a node that matches node @odd: a (joining: "), "{told}");
    assert!(told.contains(", c (joining: ") && !told.contains("b ("), "{told}");
}

/// What a process that asked for these nodes was told: its node, or the first line of the refusal.
fn answer(world: &mut World, client: ClientKey, id: u8, set: &str) -> String {
    let id = select(world, client, id, &[("node", set)]);
    let told = world.events.iter().rev().find_map(|(key, event)| match event {
        ClientEvent::Placed(of) if *of == id => Some(world.clients[key].placement(id)?.node.clone()),
        ClientEvent::Refused(of, _, why) if *of == id => why.lines().next().map(str::to_owned),
        _ => None,
    });
    told.unwrap_or_else(|| "waits".into())
}

#[test]
fn one_node_of_a_set_is_chosen_and_names_that_mean_nothing_are_refused() {
    let mut world = World::new(&["ssh=a", "ssh=b", "ssh=c", "ssh=d"]);
    let client = world.client();
    for (key, id) in [(1, "a"), (2, "b"), (3, "c")] {
        world.greet_as(HostKey(key), id, Epoch::new(1, key), id.as_bytes()[0]);
    }
    let mut told = |id, set: &str| answer(&mut world, client, id, set);
    assert_eq!(told(1, "a,b"), "a");
    assert_eq!(told(2, "a,b"), "b");
    assert_eq!(told(3, "@odd"), "c");
    assert_eq!(told(4, "!a!b!d"), "c");
    assert_eq!(told(5, "d:pypy3.9"), "waits");
    let refused = told(6, "a,[e-f]");
    assert!(refused.starts_with("`a,[e-f]` is not a set of nodes: "), "{refused}");
    let refused = told(7, "a,e[1-2]");
    let said = "no node of net matches node a,e[1-2]: there is no host or node `e[1-2]`; there are:";
    assert_eq!(refused, said);
    assert_eq!(
        told(8, "a!a"),
        "no node of net matches node a!a: `a!a` stands for no node at all; there are:"
    );
    let refused = told(9, "@web");
    assert!(refused.contains(": there is no group `@web`; there are `@gw`, `@odd`; there are:"), "{refused}");
    assert_eq!(told(10, "e"), "no node of net matches node e; there are:");
}

#[test]
fn groups_follow_the_file_from_which_the_network_was_started() {
    let mut world = World::new(&["ssh=a", "ssh=b"]);
    world.greet_as(HostKey(1), "a", Epoch::new(1, 1), 1);
    world.greet_as(HostKey(2), "b", Epoch::new(1, 2), 2);
    let client = world.client();
    let mut last = 0;
    let mut regroup = |file: &str, web: &str| {
        last += 1;
        let groups = [("web".into(), web.into())].into();
        let request = world.ask(client, Verb::Groups { file: file.into(), groups });
        let (replies, over) = world.replies(request, client);
        assert!(over);
        (replies[0].to_string(), answer(&mut world, client, last, "@web"))
    };
    let (reply, placed) = regroup("/net.toml", "b");
    assert_eq!((reply.as_str(), placed.as_str()), (r#"{"groups":{"web":"b"}}"#, "b"));
    assert_eq!(regroup("/other/net.toml", "a").0, r#"{"groups":{"web":"b"}}"#);
    let (reply, _) = regroup("/net.toml", "b[1-");
    assert!(reply.contains(r#""kind":"usage""#), "{reply}");
    let request = world.ask(client, Verb::Status);
    assert_eq!(world.replies(request, client).0[0]["groups"]["web"], "b");
}
