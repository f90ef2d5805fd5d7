//! A prefix of stdin: what of it may be left out, and who ends for misusing it.

#[path = "common/bench.rs"]
#[allow(dead_code)]
mod bench;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use execnet_proto::client::{Client, Launch};
use execnet_proto::feature::Features;
use execnet_proto::prefix::Prefix;
use execnet_proto::wire::{Decoder, Frame, Role, Spawn, Stream, Table};

use bench::*;

/// A SPAWN of a process whose stdin begins with so many bytes that are known.
fn spawn_with_prefix(length: u64) -> Frame {
    let option = format!("{length} {} 1", "ab".repeat(32));
    let options = vec![("prefix".to_owned(), option.into())];
    Frame::Spawn(Box::new(Spawn { role: Role::Ahead, options, ..spawn_of(ID, 1) }))
}

/// A bench with an agent that gives prefixes, which has a place for a process.
fn bench_for_prefix() -> Bench {
    let mut bench = Bench::new();
    bench.attach_with(2, AGENT, "prefix");
    bench.client(&Frame::Select { id: ID, wants: Table::new() });
    while bench.switch.poll_event().is_some() {}
    assert!(bench.switch.place(CLIENT, ID, HOST, "n", Table::new()));
    bench
}

fn stdin(position: u64, length: usize) -> Frame {
    Frame::Data { id: ID, stream: Stream::Stdin, position, bytes: vec![7; length].into() }
}

#[test]
fn an_agent_may_have_a_prefix_that_was_not_sent_and_no_more() {
    for (sent, received, next, fine) in [
        (0, 50_000, 50_000, true),
        (300, 50_000, 50_000, true),
        // what was on its way
        (300, 50_000, 300, true),
        // nothing that may be left out
        (0, 0, 50_000, false),
        (300, 50_000, 400, false),
        (300, 40_000, 50_000, false),
    ] {
        let mut bench = bench_for_prefix();
        bench.client(&spawn_with_prefix(50_000));
        if sent > 0 {
            bench.client(&stdin(0, sent));
        }
        bench.agent(&Frame::Resumed { id: ID, attempt: 1, stdin: span(received, received + 32_768) });
        let (to_client, _) = bench.told();
        assert!(to_client.iter().any(|frame| matches!(frame, Frame::Resumed { .. })));
        bench.client(&stdin(next, 100));
        assert_eq!(bench.dropped(), (!fine, false), "{sent} {received} {next}");
        let (_, to_host) = bench.told();
        let last = to_host.iter().rev().find(|frame| matches!(frame, Frame::Data { .. }));
        assert_eq!(last == Some(&stdin(next, 100)), fine);
    }
    // the agent lies
    let mut bench = bench_for_prefix();
    bench.client(&spawn_with_prefix(50_000));
    bench.agent(&Frame::Resumed { id: ID, attempt: 1, stdin: span(50_001, 50_001) });
    assert_eq!(bench.dropped(), (false, true));
}

#[test]
fn a_client_that_misuses_a_prefix_ends_itself_and_no_link() {
    for frames in [
        vec![spawn_with_prefix(0)],
        vec![spawn_with_prefix(262_145)],
        vec![match spawn_with_prefix(5) {
            Frame::Spawn(spawn) => Frame::Spawn(Box::new(Spawn { role: Role::Plain, ..*spawn })),
            other => other,
        }],
        vec![spawn_with_prefix(5), Frame::Fin { id: ID, stream: Stream::Stdin, length: 4 }],
    ] {
        let mut bench = bench_for_prefix();
        frames.iter().for_each(|frame| bench.client(frame));
        assert_eq!(bench.dropped(), (true, false), "{frames:?}");
        let (_, to_host) = bench.told();
        assert!(to_host.iter().all(|frame| !matches!(frame, Frame::Fin { .. })));
    }
}

#[test]
fn a_client_sends_a_prefix_until_it_hears_that_the_agent_has_it() {
    let prefix = || Prefix::new(vec![7; 40_000], [0xab; 32]).unwrap();
    let said = |client: &mut Client| {
        let (mut out, mut decoder) = (BytesMut::new(), Decoder::default());
        client.transmit(&mut out, usize::MAX, Duration::ZERO);
        decoder.push(&out);
        let frames = std::iter::from_fn(|| decoder.next().unwrap().map(|(frame, _)| frame));
        frames.collect::<Vec<_>>()
    };
    let options = |frames: &[Frame]| {
        let spawns = frames.iter().filter_map(|frame| match frame {
            Frame::Spawn(spawn) => Some(spawn.options.clone()),
            _ => None,
        });
        spawns
            .flatten()
            .map(|(key, text)| (key, String::from_utf8(text.to_vec()).unwrap()))
            .collect::<Vec<_>>()
    };
    let positions = |frames: &[Frame]| {
        let data = frames.iter().filter_map(|frame| match frame {
            Frame::Data { position, bytes, .. } => Some((*position, bytes.len())),
            _ => None,
        });
        data.collect::<Vec<_>>()
    };
    for (ready, knows) in [(false, true), (true, true), (false, false)] {
        let mut client = Client::new(ME, "3.0.0");
        client.connected(Duration::ZERO);
        client.handle(&marker(), Duration::ZERO).unwrap();
        client.transmit(&mut BytesMut::new(), usize::MAX, Duration::ZERO);
        for (count, id) in [(1, ID), (2, OTHER)] {
            client.select(id, Table::new());
            let facts = if knows { vec![Features::of("prefix").entry()] } else { Table::new() };
            let placed = Frame::Placed { id, incarnation: AGENT, host: "h".into(), node: "n".into(), facts };
            client.handle(&placed.to_bytes(), Duration::ZERO).unwrap();
            client.launch(id, Launch { ahead: true, prefix: Some(prefix()), ..Launch::default() });
            client.write(id, Bytes::from_static(b"more"));
            let frames = said(&mut client);
            let named = format!("40000 {} {count}", "ab".repeat(32));
            assert_eq!(options(&frames), if knows { vec![("prefix".into(), named)] } else { Vec::new() });
            assert_eq!(positions(&frames), [(0, 32_768)]);
            let received = if ready { 40_000 } else { 100 };
            let resumed = Frame::Resumed { id, attempt: 1, stdin: span(received, received + 65_536) };
            client.handle(&resumed.to_bytes(), Duration::ZERO).unwrap();
            let rest = if ready { (40_000, 4) } else { (32_768, 7_236) };
            assert_eq!(positions(&said(&mut client)), [rest]);
        }
    }
}
