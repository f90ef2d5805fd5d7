//! Decisions of the switch, one frame at a time: it detects lies and ends the connection that told them, and
//! it waits for a break beneath a tunnel.

#[path = "common/bench.rs"]
mod bench;

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use execnet_proto::client::{Client, ClientEvent, Launch};
use execnet_proto::feature::Features;
use execnet_proto::id::{ClientId, Epoch, Incarnation, ProcessId};
use execnet_proto::switch::{ClientKey, HostKey, LinkEnd, Peer, SwitchEvent};
use execnet_proto::wire::{Ending, Exit, Frame, Role, Spawn, Stream, Table};

use bench::*;

fn data(stream: Stream, position: u64, length: usize) -> Frame {
    Frame::Data { id: ID, stream, position, bytes: vec![0; length].into() }
}

fn resume(attempt: u32, stdout: u64) -> Frame {
    let stdout = span(stdout, stdout + 16_384);
    Frame::Resume { id: ID, attempt, stdout, stderr: span(0, 16_384) }
}

fn credit(stream: Stream, received: u64, limit: u64) -> Frame {
    Frame::Credit { id: ID, stream, span: span(received, limit) }
}

fn fin(stream: Stream, length: u64) -> Frame {
    Frame::Fin { id: ID, stream, length }
}

#[test]
fn a_lie_about_a_process_ends_the_client() {
    let changed = |change: fn(&mut Spawn)| {
        let mut spawn = spawn_of(ID, 2);
        change(&mut spawn);
        Frame::Spawn(Box::new(spawn))
    };
    let stdout = || credit(Stream::Stdout, 100, 16_484);
    let cases: Vec<(&str, Option<Frame>, Frame)> = vec![
        ("an attempt again", None, spawn(1)),
        ("another command", None, changed(|spawn| spawn.args.push("x".into()))),
        ("another owner", None, changed(|spawn| spawn.owner = ClientId([6; 16]))),
        ("another agent", None, changed(|spawn| spawn.incarnation = Incarnation([8; 16]))),
        ("another host", None, changed(|spawn| spawn.host = "g".into())),
        ("a tunnel", None, changed(|spawn| spawn.role = Role::Tunnel)),
        ("SPAWN after output was acknowledged", Some(stdout()), spawn(2)),
        ("RESUME after more than was sent", None, resume(2, 101)),
        ("RESUME before what was acknowledged", Some(stdout()), resume(2, 99)),
        ("DATA with a gap", None, data(Stream::Stdin, 1, 1)),
        ("DATA again", Some(data(Stream::Stdin, 0, 5)), data(Stream::Stdin, 4, 1)),
        ("DATA past the credit", None, data(Stream::Stdin, 0, 32_769)),
        ("DATA past its FIN", Some(fin(Stream::Stdin, 5)), data(Stream::Stdin, 0, 6)),
        ("FIN before what was sent", Some(data(Stream::Stdin, 0, 5)), fin(Stream::Stdin, 4)),
        ("another FIN", Some(fin(Stream::Stdin, 5)), fin(Stream::Stdin, 6)),
        ("CREDIT for what was not sent", None, credit(Stream::Stdout, 101, 16_485)),
        ("a window above 2 MiB", None, credit(Stream::Stdout, 0, 2_097_153)),
        ("CREDIT taken back", Some(stdout()), credit(Stream::Stdout, 100, 16_483)),
        ("output", None, data(Stream::Stdout, 0, 1)),
        ("an agent's frame", None, Frame::Started { id: ID, pid: 1 }),
        ("a size, without terminals", None, Frame::Size { id: ID, sequence: 1, rows: 24, columns: 80 }),
        ("a daemon's frame", None, Frame::Lost { id: ID, message: String::new() }),
        ("a claim for what it has", None, Frame::Claim { id: ID, incarnation: AGENT, host: "h".into() }),
    ];
    for (name, first, lie) in cases {
        let mut bench = Bench::new().spawned();
        bench.agent(&data(Stream::Stdout, 0, 100));
        first.iter().for_each(|frame| bench.client(frame));
        assert_eq!(bench.dropped(), (false, false), "{name}: before it");
        bench.told();
        bench.client(&lie);
        assert_eq!(bench.dropped(), (true, false), "{name}");
        // its process is hung up, and nothing of the lie reaches the agent
        assert_eq!(bench.told().1, [Frame::Release(ID)], "{name}");
    }
}

#[test]
fn a_lie_about_a_process_ends_the_agents_link() {
    let exit = |stdout| Frame::Exit { id: ID, exit: Exit { ending: Ending::Exited(0), stdout, stderr: 0 } };
    let cases: Vec<(&str, Option<Frame>, Frame)> = vec![
        ("DATA with a gap", None, data(Stream::Stdout, 1, 1)),
        ("DATA past the credit", None, data(Stream::Stdout, 0, 16_385)),
        ("DATA past its FIN", Some(fin(Stream::Stdout, 5)), data(Stream::Stdout, 0, 6)),
        ("DATA past its EXIT", Some(exit(5)), data(Stream::Stdout, 0, 6)),
        ("FIN before what was sent", Some(data(Stream::Stdout, 0, 5)), fin(Stream::Stdout, 4)),
        ("EXIT with another length", Some(fin(Stream::Stdout, 5)), exit(6)),
        ("CREDIT for what was not sent", None, credit(Stream::Stdin, 1, 32_768)),
        ("a window above 2 MiB", None, credit(Stream::Stdin, 0, 2_097_153)),
        ("stdin", None, data(Stream::Stdin, 0, 1)),
        ("a client's frame", None, Frame::Signal { id: ID, sequence: 1, mask: 2 }),
        ("a daemon's frame", None, Frame::Lost { id: ID, message: String::new() }),
        ("an ACK of what was not sent", None, Frame::Ack(1_000_000)),
    ];
    for (name, first, lie) in cases {
        let mut bench = Bench::new().spawned();
        first.iter().for_each(|frame| bench.agent(frame));
        assert_eq!(bench.dropped(), (false, false), "{name}: before it");
        bench.told();
        bench.agent(&lie);
        assert_eq!(bench.dropped(), (false, true), "{name}");
        let (client, _) = bench.told();
        assert!(matches!(client[..], [Frame::Unreachable { .. }]), "{name}: {client:?}");
    }
}

#[test]
fn text_between_frames_is_shown_instead_of_a_broken_protocol() {
    for (printed, shown, kept) in [
        (&b"new\n"[..], "`new`", "new\n"),
        (
            b"\r\nBroadcast message from root@h (pts/0)\r\n",
            "`Broadcast message from root@h (pts/0)`",
            "\r\nBroadcast message from root@h (pts/0)\r\n",
        ),
        // texts that begin like kinds of frames, of agents and of others
        (b"2026-11-29 12:00\n", "`2026-11-29 12:00`", "2026-11-29 12:00\n"),
        (b"$HOME\n", "`$HOME`", "$HOME\n"),
        (b";", "`;`", ";"),
        (b" \n", "` \\n`", " \n"),
        ("é\n".as_bytes(), "`é`", "é\n"),
        (b"\x1b]0;title\x07$ ", "`\\x1b]0;title\\x07$`", "\x1b]0;title\x07$ "),
        (
            "\u{fc}ber\n".chars().map(|c| c as u8).collect::<Vec<u8>>().leak(),
            "`\u{fffd}ber`",
            "\u{fffd}ber\n",
        ),
        (b"\0\0\0\0\0", "5 zero bytes", ""),
    ] {
        let mut bench = Bench::new();
        while bench.switch.poll_event().is_some() {}
        let mut bytes = Frame::Ping(7).to_bytes().to_vec();
        bytes.extend_from_slice(printed);
        bench.switch.link_bytes(HOST, &bytes, bench.now);
        let Some(SwitchEvent::LinkEnded { why, said, .. }) = bench.switch.poll_event() else {
            panic!("{printed:?} is taken for a frame")
        };
        assert_eq!((&why, said.noise.as_str()), (&LinkEnd::NoFrame(shown.into()), kept), "{printed:?}");
    }
}

#[test]
fn of_a_long_noise_the_beginning_and_the_end_are_kept() {
    let mut bench = Bench::new();
    bench.switch.open_link(HOST, Epoch::new(1, 2), Bytes::new(), bench.now);
    for part in [&b"begin"[..], &[b'.'; 9_000], &[b'.'; 9_000], b"end"] {
        bench.switch.link_bytes(HOST, part, bench.now);
    }
    let noise = bench.switch.link_closed(HOST, "ssh exited", bench.now).noise;
    assert!(noise.starts_with("begin...") && noise.ends_with("...end") && noise.contains("\n…\n"), "{noise}");
    assert!(noise.len() < 5_000, "{}", noise.len());
}

#[test]
fn all_windows_of_a_client_together_are_bounded() {
    let mut bench = Bench::new();
    for index in 0..20 {
        let id = ProcessId([100 + index; 16]);
        bench.client(&Frame::Select { id, wants: Table::new() });
        assert!(bench.switch.place(CLIENT, id, HOST, "n", Table::new()));
        let both = Spawn { stdout_limit: 2_097_152, stderr_limit: 2_097_152, ..spawn_of(id, 1) };
        bench.client(&Frame::Spawn(Box::new(both)));
        assert_eq!(
            bench.dropped(),
            (index == 16, false),
            "after {index} processes with all that one may have"
        );
        if index == 16 {
            return;
        }
    }
}

#[test]
fn a_break_beneath_a_tunnel_is_waited_for() {
    let mut bench = Bench::new();
    bench.switch.add_host(INNER, "inner", bench.now);
    let epoch = Epoch::new(1, 2);
    assert!(bench.switch.open_tunnel(INNER, HOST, ID, Vec::new(), epoch, Bytes::new(), bench.now));
    bench.agent(&Frame::Resumed { id: ID, attempt: 1, stdin: span(0, 32_768) });
    let greeting = hello(epoch, Incarnation([8; 16]), "");
    let (length, bytes) = (greeting.len() as u64, greeting.freeze());
    bench.agent(&Frame::Data { id: ID, stream: Stream::Stdout, position: 0, bytes });
    assert!(bench.switch.is_reachable(INNER));
    bench.client(&Frame::Select { id: OTHER, wants: Table::new() });
    assert!(bench.switch.place(CLIENT, OTHER, INNER, "n", Table::new()));
    bench.told();
    assert_eq!(bench.dropped(), (false, false));

    bench.switch.link_closed(HOST, "ssh exited", bench.now);
    assert!(!bench.switch.is_reachable(INNER));
    let (client, _) = bench.told();
    assert!(matches!(&client[..], [Frame::Unreachable { id: OTHER, .. }]), "{client:?}");
    for _ in 0..40 {
        bench.now += Duration::from_secs(1);
        bench.switch.tick(bench.now);
    }
    bench.attach(3, AGENT);
    let (client, host) = bench.told();
    assert_eq!(client, [Frame::Reachable(OTHER)]);
    let resumed: Vec<_> = host.iter().filter(|frame| matches!(frame, Frame::Resume { id: ID, .. })).collect();
    assert_eq!(resumed.len(), 1, "{host:?}");
    bench.now += Duration::from_secs(9);
    bench.switch.tick(bench.now);
    assert_eq!(bench.dropped(), (false, false), "the inner link was quiet because the outer one was down");
    bench.agent(&Frame::Resumed { id: ID, attempt: 2, stdin: span(0, 32_768) });
    let bytes = Frame::Nodes(0).to_bytes();
    bench.agent(&Frame::Data { id: ID, stream: Stream::Stdout, position: length, bytes });
    let event = std::iter::from_fn(|| bench.switch.poll_event()).last();
    assert!(matches!(event, Some(SwitchEvent::Nodes { host: INNER, .. })), "{event:?}");
}

#[test]
fn frames_about_a_tunnel_do_not_excuse_the_silence_of_the_inner_host() {
    let mut bench = Bench::new();
    bench.switch.add_host(INNER, "inner", bench.now);
    let epoch = Epoch::new(1, 2);
    assert!(bench.switch.open_tunnel(INNER, HOST, ID, Vec::new(), epoch, Bytes::new(), bench.now));
    bench.agent(&Frame::Resumed { id: ID, attempt: 1, stdin: span(0, 32_768) });
    let bytes = hello(epoch, Incarnation([8; 16]), "").freeze();
    bench.agent(&Frame::Data { id: ID, stream: Stream::Stdout, position: 0, bytes });
    let mut ended = None;
    for second in 0..30 {
        bench.now += Duration::from_secs(1);
        bench.agent(&Frame::Started { id: ID, pid: second });
        bench.switch.tick(bench.now);
        bench.told();
        while let Some(event) = bench.switch.poll_event() {
            if let SwitchEvent::LinkEnded { host, why, .. } = event {
                ended.get_or_insert((host, why.to_string()));
            }
        }
    }
    assert_eq!(ended, Some((INNER, "the link was silent for 15 seconds".into())));
}

#[test]
fn no_tunnel_leads_through_itself() {
    let mut bench = Bench::new();
    bench.switch.add_host(INNER, "inner", bench.now);
    let epoch = Epoch::new(1, 2);
    assert!(bench.switch.open_tunnel(INNER, HOST, ID, Vec::new(), epoch, Bytes::new(), bench.now));
    for (host, via) in [(HOST, INNER), (HOST, HOST), (INNER, INNER)] {
        assert!(!bench.switch.open_tunnel(host, via, OTHER, Vec::new(), epoch, Bytes::new(), bench.now));
    }
    assert!(bench.switch.is_reachable(HOST));
}

#[test]
fn the_agent_of_a_removed_host_is_told_to_end_when_it_answers_again() {
    let mut bench = Bench::new().spawned();
    bench.switch.remove_host(HOST, bench.now);
    assert!(matches!(bench.told().0[..], [Frame::Lost { id: ID, .. }]));
    bench.switch.add_host(HOST, "h", bench.now);
    bench.attach(2, AGENT);
    assert_eq!(bench.told().1, [Frame::End]);
    assert!(!bench.switch.is_reachable(HOST));
    bench.attach(3, Incarnation([9; 16]));
    assert!(bench.switch.is_reachable(HOST));
}

#[test]
fn a_process_lost_while_its_agent_was_away_is_ended_when_it_answers() {
    let mut bench = Bench::new().spawned();
    bench.switch.link_closed(HOST, "ssh exited", bench.now);
    bench.now += Duration::from_secs(631);
    bench.switch.tick(bench.now);
    let (client, _) = bench.told();
    assert!(matches!(client.last(), Some(Frame::Lost { id: ID, .. })), "{client:?}");
    assert_eq!(bench.switch.deadline(), None, "nobody waits for it any more");
    bench.attach(2, AGENT);
    assert!(bench.told().1.contains(&Frame::Release(ID)));
    assert!(!bench.switch.is_idle());
    bench.agent(&Frame::Forget(ID));
    assert!(bench.switch.is_idle());
}

#[test]
fn a_place_that_is_lost_before_it_was_told_is_asked_for_again() {
    let mut client = Client::new(ME, "3.0.0");
    client.connected(Duration::ZERO);
    client.select(ID, Table::new());
    let mut out = BytesMut::new();
    client.transmit(&mut out, usize::MAX, Duration::ZERO);
    let mut bytes = marker();
    Frame::Lost { id: ID, message: "removed".into() }.encode(&mut bytes);
    client.handle(&bytes, Duration::ZERO).unwrap();
    out.clear();
    client.transmit(&mut out, usize::MAX, Duration::ZERO);
    assert_eq!(&out[..], &Frame::Select { id: ID, wants: Table::new() }.to_bytes()[..]);
}

/// A client with `count` launched processes that were answered, with full credit for their stdin.
fn running(count: u32) -> (Client, Vec<ProcessId>) {
    let mut client = Client::new(ME, "3.0.0");
    client.connected(Duration::ZERO);
    client.handle(&marker(), Duration::ZERO).unwrap();
    let ids: Vec<_> = (0..count)
        .map(|index| {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&index.to_be_bytes());
            ProcessId(id)
        })
        .collect();
    for &id in &ids {
        client.select(id, Table::new());
        let (host, node, facts) = ("h".into(), "n".into(), Table::new());
        let mut bytes = Frame::Placed { id, incarnation: AGENT, host, node, facts }.to_bytes();
        client.handle(&bytes, Duration::ZERO).unwrap();
        assert_eq!(client.poll_event(), Some(ClientEvent::Placed(id)));
        client.launch(id, Launch::default());
        bytes = Frame::Resumed { id, attempt: 1, stdin: span(0, 2_097_152) }.to_bytes();
        client.handle(&bytes, Duration::ZERO).unwrap();
    }
    (client, ids)
}

#[test]
fn stdin_goes_on_when_the_socket_has_room_again() {
    let (mut client, ids) = running(1);
    client.write(ids[0], vec![0; 2_000_000].into());
    let mut sent = 0;
    loop {
        let mut out = BytesMut::new();
        client.transmit(&mut out, 65_536, Duration::ZERO);
        if out.is_empty() {
            break;
        }
        sent += out.len();
    }
    assert!(sent > 2_000_000, "{sent}");
}

#[test]
#[allow(clippy::disallowed_methods)] // the crate reads no clock; this test measures time
fn a_thousand_processes_cost_a_transmit_nothing() {
    let (mut client, _) = running(1_000);
    let mut out = BytesMut::new();
    client.transmit(&mut out, usize::MAX, Duration::ZERO);
    let start = Instant::now();
    for _ in 0..10_000 {
        client.transmit(&mut out, usize::MAX, Duration::ZERO);
    }
    assert!(start.elapsed() < Duration::from_secs(1), "10,000 took {:?}", start.elapsed());
}

#[test]
fn what_needs_a_feature_goes_only_to_an_agent_that_named_it() {
    // "later" is what a later release can do
    for (named, option, passes) in [
        ("look", "terminal", false),
        ("terminal later", "terminal", true),
        ("terminal later", "later", false),
        ("", "look", false),
    ] {
        let mut bench = Bench::new();
        bench.attach_with(2, AGENT, named);
        bench.client(&Frame::Select { id: ID, wants: Table::new() });
        while bench.switch.poll_event().is_some() {}
        assert!(bench.switch.place(CLIENT, ID, HOST, "n", Table::new()));
        let (to_client, _) = bench.told();
        let known = to_client.iter().find_map(|frame| match frame {
            Frame::Placed { facts, .. } => Some(Features::named(facts)),
            _ => None,
        });
        assert_eq!(known, Some(Features::of(named)));
        let options = vec![(option.to_owned(), Bytes::from_static(b"24 80"))];
        bench.client(&Frame::Spawn(Box::new(Spawn { options, ..spawn_of(ID, 1) })));
        let (to_client, to_host) = bench.told();
        let lost = to_client.iter().any(|frame| matches!(frame, Frame::Lost { .. }));
        let spawned = to_host.iter().any(|frame| matches!(frame, Frame::Spawn(_)));
        assert_eq!((spawned, lost), (passes, !passes), "{named}: {option}");
        assert_eq!(bench.dropped(), (false, false));
    }
}

#[test]
fn a_client_is_known_by_the_name_of_its_program() {
    let mut bench = Bench::new();
    assert_eq!(bench.switch.program(CLIENT), "");
    let other = ClientKey(7);
    bench.switch.client_opened(other, Some(4711), bench.now);
    let mut bytes = marker();
    let name = format!("job\x1b[2J{}", "x".repeat(200));
    let facts = vec![("later".to_owned(), Bytes::new()), ("program".to_owned(), name.into())];
    Frame::Client { id: ClientId([7; 16]), release: "9.9".into(), facts }.encode(&mut bytes);
    bench.switch.client_bytes(other, &bytes, bench.now);
    assert_eq!(bench.dropped(), (false, false));
    let known = bench.switch.program(other);
    assert!(known.starts_with("job\\x1b[2Jxxx") && known.len() == 64, "{known}");
}

#[test]
fn only_what_is_usual_takes_the_short_way() {
    let usual = || (data(Stream::Stdin, 0, 10), data(Stream::Stdout, 0, 10));
    let short = |change: &dyn Fn(&mut Bench)| {
        let mut bench = Bench::new().spawned();
        bench.told();
        change(&mut bench);
        let (to_host, to_client) = usual();
        bench.short = 0;
        bench.client(&to_host);
        bench.agent(&to_client);
        assert_eq!(bench.dropped(), (false, false));
        let (client, host) = bench.told();
        assert!(client.contains(&to_client) && host.contains(&to_host), "{client:?} {host:?}");
        bench.short
    };
    assert_eq!(short(&|_| {}), 2);
    // something waits for the host, or for the client
    assert_eq!(short(&|bench| bench.client(&Frame::Signal { id: ID, sequence: 1, mask: 2 })), 1);
    assert_eq!(short(&|bench| bench.agent(&Frame::Started { id: ID, pid: 7 })), 1);
}

#[test]
fn the_short_way_counts_as_the_usual_one_does() {
    // credit, positions and acknowledgements are the same, whatever went before by which way
    let mut bench = Bench::new().spawned();
    bench.told();
    let mut at = 0;
    for round in 0..40 {
        bench.agent(&data(Stream::Stdout, at, 400));
        at += 400;
        // with something else behind it, a frame takes the usual way
        if round % 3 == 0 {
            bench.agent(&Frame::Started { id: ID, pid: 7 });
        }
        let (client, _) = bench.told();
        assert!(client.contains(&data(Stream::Stdout, at - 400, 400)));
        bench.client(&credit(Stream::Stdout, at, at + 16_384));
        bench.told();
    }
    assert!(bench.short > 30, "{}", bench.short);
    // what was passed counts: neither again, nor with a gap, nor beyond the credit
    for (position, length) in [(at - 1, 10), (at + 1, 10), (at, 16_385)] {
        let mut bench = Bench::new().spawned();
        bench.told();
        bench.agent(&data(Stream::Stdout, 0, 100));
        bench.client(&credit(Stream::Stdout, 100, at + 16_384));
        for from in (100..at).step_by(100) {
            bench.agent(&data(Stream::Stdout, from, 100));
        }
        assert_eq!(bench.dropped(), (false, false));
        bench.agent(&data(Stream::Stdout, position, length));
        assert_eq!(bench.dropped(), (false, true), "{position} {length}");
    }
}

#[test]
fn hosts_that_fall_silent_within_a_second_are_asked_together() {
    let mut bench = Bench::new();
    let at = Duration::from_millis;
    bench.agent(&Frame::Pong(1));
    for (key, since) in [(HostKey(21), 900), (HostKey(22), 1_100)] {
        let epoch = Epoch::new(1, key.0);
        bench.switch.add_host(key, "g", at(since));
        bench.switch.open_link(key, epoch, Bytes::new(), at(since));
        bench.switch.link_bytes(key, &hello(epoch, Incarnation([key.0 as u8; 16]), ""), at(since));
        bench.switch.link_bytes(key, &Frame::Pong(1).to_bytes(), at(since));
    }
    bench.told();
    bench.now = at(10_000);
    assert_eq!(bench.switch.deadline(), Some(bench.now));
    bench.switch.tick(bench.now);
    let asked: Vec<_> = std::iter::from_fn(|| bench.switch.poll_ready()).collect();
    assert_eq!(asked, [Peer::Host(HOST), Peer::Host(HostKey(21))]);
    assert_eq!(bench.switch.deadline(), Some(at(11_100)), "the third one is asked later");
    bench.switch.tick(at(14_249));
    assert_eq!(bench.switch.deadline(), Some(at(14_250)));
    bench.switch.tick(at(14_250));
    assert_eq!(bench.switch.deadline(), Some(at(14_500)), "it looks once more");
}

#[test]
fn the_host_that_was_silent_longest_is_looked_at_first() {
    let mut bench = Bench::new();
    let at = Duration::from_secs;
    assert_eq!(bench.switch.deadline(), Some(Duration::from_millis(14_250)), "it was asked at once");
    bench.now = at(1);
    bench.agent(&Frame::Pong(1));
    assert_eq!(bench.switch.deadline(), Some(at(11)), "an answered PING brings the next one forward");
    bench.now = at(2);
    bench.switch.add_host(INNER, "g", bench.now);
    assert_eq!(bench.switch.deadline(), Some(at(11)), "one that was never there is not waited for");
    bench.switch.open_link(INNER, Epoch::new(1, 2), Bytes::new(), bench.now);
    bench.switch.link_bytes(INNER, &hello(Epoch::new(1, 2), Incarnation([8; 16]), ""), bench.now);
    bench.switch.link_bytes(INNER, &Frame::Pong(1).to_bytes(), bench.now);
    bench.now = at(5);
    bench.agent(&Frame::Nodes(0));
    assert_eq!(bench.switch.deadline(), Some(at(12)), "bytes put it off");
    bench.told();
    bench.now = at(12);
    bench.switch.tick(bench.now);
    assert_eq!(bench.switch.poll_ready(), Some(Peer::Host(INNER)));
    assert_eq!((bench.switch.poll_ready(), bench.switch.deadline()), (None, Some(at(15))));
    bench.switch.remove_host(HOST, bench.now);
    assert_eq!(bench.switch.deadline(), Some(Duration::from_millis(16_250)));
}
