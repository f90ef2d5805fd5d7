//! The daemon's decisions, without IO: hosts are scripts that speak frames, clients are state machines.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use execnet_proto::client::{Client, ClientEvent};
use execnet_proto::control::{HostState, HostStatus, PromptKind, Request, Verb};
use execnet_proto::id::{ClientId, Epoch, Incarnation, ProcessId};
use execnet_proto::switch::{ClientKey, HostKey, Peer};
use execnet_proto::wire::{Decoder, Ending, Frame, MARKER, NodeState, Table, VERSION};
use serde_json::Value;

use super::{Action, Command, Daemon, Event, LinkOver, Settings};
use crate::bootstrap::Common;

#[path = "patience_tests.rs"]
mod patience;

/// A daemon with clients and scripted hosts around it.
struct World {
    daemon: Daemon,
    now: Duration,
    clients: BTreeMap<ClientKey, Client>,
    /// Links whose process runs, with what the daemon wrote on them.
    links: BTreeMap<HostKey, BytesMut>,
    commands: HashMap<HostKey, Command>,
    events: Vec<(ClientKey, ClientEvent)>,
    exited: bool,
}

impl World {
    fn new(hosts: &[&str]) -> Self {
        let settings = Settings {
            common: Common { network: "net".into(), secret: "5e".repeat(32), linger: 600 },
            life: 1,
            pid: 7,
            release: "3.0.0".into(),
            linger: Duration::from_secs(600),
            file: None,
            askpass: Some("/bin/execnet".into()),
            has_display: false,
            local_connects: 2,
            seed: 1,
        };
        let hosts = hosts.iter().map(|spec| spec.parse().unwrap()).collect();
        let mut world = Self {
            daemon: Daemon::new(settings, hosts, Duration::ZERO),
            now: Duration::ZERO,
            clients: BTreeMap::new(),
            links: BTreeMap::new(),
            commands: HashMap::new(),
            events: Vec::new(),
            exited: false,
        };
        world.settle();
        world
    }

    fn event(&mut self, event: Event<'_>) {
        self.hand(event);
        self.settle();
    }

    /// Hands an event in, in as many turns as it takes.
    fn hand(&mut self, event: Event<'_>) {
        let again = match event {
            Event::LinkBytes(host, _) => Ok(host),
            Event::ClientBytes(client, _) => Err(client),
            _ => return assert!(!self.daemon.handle(event, self.now)),
        };
        let mut more = self.daemon.handle(event, self.now);
        while more {
            let event =
                again.map_or_else(|key| Event::ClientBytes(key, &[]), |key| Event::LinkBytes(key, &[]));
            more = self.daemon.handle(event, self.now);
        }
    }

    /// Passes on everything that waits.
    fn settle(&mut self) {
        loop {
            let mut moved = false;
            for action in self.daemon.take_actions() {
                moved = true;
                match action {
                    Action::StartLink(host, command) => {
                        assert!(
                            self.links.insert(host, BytesMut::new()).is_none(),
                            "two processes for one link"
                        );
                        self.commands.insert(host, command);
                    }
                    Action::EndLink(host) => {
                        self.links.remove(&host);
                        let over = LinkOver { ending: None, stderr: String::new() };
                        self.daemon.handle(Event::LinkEnded(host, over), self.now);
                    }
                    Action::CloseClient(key) => {
                        self.clients.remove(&key);
                    }
                    Action::Exit => self.exited = true,
                }
            }
            while let Some(peer) = self.daemon.poll_ready() {
                let mut out = BytesMut::new();
                self.daemon.transmit(peer, &mut out, usize::MAX, self.now);
                moved |= !out.is_empty();
                match peer {
                    Peer::Host(host) => {
                        if let Some(link) = self.links.get_mut(&host) {
                            link.extend_from_slice(&out);
                        }
                    }
                    Peer::Client(key) => {
                        if let Some(client) = self.clients.get_mut(&key) {
                            client.handle(&out, self.now).unwrap();
                        }
                    }
                }
            }
            for key in self.clients.keys().copied().collect::<Vec<_>>() {
                let client = self.clients.get_mut(&key).unwrap();
                while let Some(event) = client.poll_event() {
                    self.events.push((key, event));
                }
                let mut out = BytesMut::new();
                client.transmit(&mut out, usize::MAX, self.now);
                if !out.is_empty() {
                    moved = true;
                    self.hand(Event::ClientBytes(key, &out));
                }
            }
            if !moved {
                break;
            }
        }
    }

    fn client(&mut self) -> ClientKey {
        let key = ClientKey(self.clients.len() as u64 + 1);
        let mut client = Client::new(ClientId([key.0 as u8; 16]), "3.0.0");
        client.connected(self.now);
        self.clients.insert(key, client);
        self.event(Event::ClientOpened(key));
        key
    }

    fn ask(&mut self, key: ClientKey, verb: Verb) -> u32 {
        self.ask_with(key, &Request::from(verb))
    }

    fn ask_with(&mut self, key: ClientKey, request: &Request) -> u32 {
        let json = serde_json::to_vec(request).unwrap();
        let number = self.clients.get_mut(&key).unwrap().request(json.into());
        self.settle();
        number
    }

    /// The replies to a request so far, and whether the last one was among them.
    fn replies(&self, request: u32, of: ClientKey) -> (Vec<Value>, bool) {
        let mut over = false;
        let mut replies = Vec::new();
        for (key, event) in &self.events {
            if let ClientEvent::Reply { request: number, last, json } = event
                && (*number, *key) == (request, of)
            {
                over |= last;
                replies.push(serde_json::from_slice(json).unwrap());
            }
        }
        (replies, over)
    }

    fn host(&self, id: &str) -> HostKey {
        self.daemon.host_named(id).unwrap()
    }

    fn status(&self, id: &str) -> HostStatus {
        self.daemon.host_status(self.host(id), self.now).unwrap()
    }

    /// The agent on a host's own link greets, with one node.
    fn greet(&mut self, id: &str) {
        let key = self.host(id);
        let epoch = Epoch::new(1, self.daemon.attaches);
        self.greet_as(key, id, epoch, id.as_bytes()[0]);
    }

    fn greet_as(&mut self, key: HostKey, id: &str, epoch: Epoch, incarnation: u8) {
        let mut bytes = BytesMut::from(&MARKER[..]);
        bytes.put_u16(VERSION);
        let facts = |pairs: &[(&str, &str)]| -> Table {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), value.to_string().into())).collect()
        };
        let incarnation = Incarnation([incarnation; 16]);
        Frame::Hello { incarnation, epoch, resume: true, pid: 9, facts: facts(&[("cpus", "2")]) }
            .encode(&mut bytes);
        let node = facts(&[("platform", "linux"), ("implementation", "cpython"), ("version", "3.11.2")]);
        Frame::Node { name: id.into(), state: NodeState::Ready, facts: node }.encode(&mut bytes);
        Frame::Nodes(1).encode(&mut bytes);
        self.event(Event::LinkBytes(key, &bytes));
    }

    /// The process of a host's link ends by itself.
    fn end(&mut self, id: &str, status: u32, stderr: &str) {
        let key = self.host(id);
        self.links.remove(&key);
        let over = LinkOver { ending: Some(Ending::Exited(status)), stderr: stderr.into() };
        self.event(Event::LinkEnded(key, over));
    }

    /// Lets time pass, with every tick that falls due.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.daemon.deadline(self.now)
            && at <= end
        {
            self.now = self.now.max(at);
            self.event(Event::Tick);
            assert_ne!(self.daemon.deadline(self.now), Some(at), "a tick that changes nothing");
        }
        self.now = end;
    }

    /// Whether END was written on a host's link.
    fn was_told_to_end(&self, id: &str) -> bool {
        let written = &self.links[&self.host(id)];
        written.windows(4).any(|part| part == [0x12, 0, 0, 0])
    }
}

const SECOND: Duration = Duration::from_secs(1);

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

fn select(world: &mut World, client: ClientKey, id: u8, pairs: &[(&str, &str)]) -> ProcessId {
    let id = ProcessId([id; 16]);
    let wants = pairs.iter().map(|(key, value)| ((*key).to_owned(), value.to_string().into())).collect();
    world.clients.get_mut(&client).unwrap().select(id, wants);
    world.settle();
    id
}

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
        message.contains("; it is tried again in ") && message.contains("\ncheck the spelling"),
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
    assert!(message.contains("; it is tried again in "), "{message}");
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

fn kind(replies: &[Value]) -> &str {
    replies.last().unwrap()["error"]["kind"].as_str().unwrap()
}

#[test]
fn hosts_come_and_go_by_request() {
    let mut world = World::new(&["ssh=a"]);
    world.greet("a");
    let client = world.client();
    for (spec, expected) in
        [("ssh=a", "duplicate-host"), ("ssh=x//via=nosuch", "no-such-host"), ("shh=x", "usage")]
    {
        let request = world.ask(client, Verb::AddHost { spec: spec.into() });
        let (replies, over) = world.replies(request, client);
        assert_eq!((kind(&replies), over), (expected, true), "{spec}");
    }
    let request = world.ask(client, Verb::AddHost { spec: "ssh=b".into() });
    assert!(!world.replies(request, client).1);
    world.greet("b");
    let (replies, over) = world.replies(request, client);
    assert_eq!((&replies.last().unwrap()["host"]["state"], over), (&Value::from("up"), true));

    let request = world.ask(client, Verb::AddHost { spec: "ssh=c//via=b".into() });
    let refused = world.ask(client, Verb::RmHost { host: "b".into() });
    assert_eq!(kind(&world.replies(refused, client).0), "in-use");
    let refused = world.ask(client, Verb::RmHost { host: "nosuch".into() });
    assert_eq!(kind(&world.replies(refused, client).0), "no-such-host");

    // c is still joining: it gets a moment, then is let go
    let removed = world.ask(client, Verb::RmHost { host: "c".into() });
    world.pass(4 * SECOND);
    assert!(world.replies(removed, client).1);
    assert_eq!(kind(&world.replies(request, client).0), "cancelled");

    let removed = world.ask(client, Verb::RmHost { host: "b".into() });
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
    let request = world.ask(client, Verb::Stop);
    assert!(world.was_told_to_end("a") && !world.exited);
    let late = world.ask(client, Verb::Watch);
    assert_eq!(kind(&world.replies(late, client).0), "closing");
    world.end("a", 0, "");
    assert!(world.exited);
    assert_eq!(world.replies(request, client), (vec![serde_json::json!({"left": ["gone"]})], true));
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
    world.ask(client, Verb::AddHost { spec: "ssh=a".into() });
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

#[test]
fn the_bootstrap_is_written_without_waiting_for_the_host() {
    let world = World::new(&["ssh=a"]);
    let written = &world.links[&world.host("a")];
    assert!(written.starts_with(b"exec(\""));
    let secret = crate::bootstrap::host_secret(&world.daemon.settings.common, "a");
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
        assert!(error.contains("a node whose name does not begin with that of its host"), "{error}");
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
