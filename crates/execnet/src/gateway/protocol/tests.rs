use super::*;
use crate::gateway::prologue::{MAX_WAITS, NOISE};
use crate::gateway::wire::MARKER;
use crate::packages::ask::Ask;
use crate::value::{Writer, Writing};

pub(super) fn encode(value: &Value) -> Encoded {
    let mut writer = Writer::new(Writing::default());
    value.write(&mut writer).unwrap();
    writer.finish().unwrap()
}

pub(super) fn data(channel: u32, value: &Value) -> Vec<u8> {
    frame(Kind::Data, channel, encode(value).as_bytes())
}

fn hello() -> Vec<u8> {
    hello_with(vec![])
}

pub(super) fn hello_with(more: Vec<(&str, Value)>) -> Vec<u8> {
    let text = |text: &str| Value::from(text);
    let pairs = [
        ("version", Value::Int(1)),
        ("pid", Value::Int(7)),
        ("executable", text("/python")),
        ("version_info", Value::Tuple(vec![Value::Int(3), Value::Int(11)])),
        ("platform", text("linux")),
        ("implementation", text("cpython")),
        ("cwd", text("/")),
        ("dialect", Value::Int(3)),
        ("maxsize", Value::Int(i64::MAX)),
    ];
    let pairs = pairs.into_iter().chain(more).map(|(key, value)| (Value::from(key), value)).collect();
    [MARKER, &frame(Kind::Hello, 0, encode(&Value::Dict(pairs)).as_bytes())].concat()
}

/// A gateway whose kernel has sent its greeting.
fn greeted(window: u64) -> Protocol {
    let mut protocol = Protocol::new(window);
    protocol.handle(&hello()).unwrap();
    protocol
}

/// The frames that were put into the outbox: kind, channel, payload.
pub(super) fn said(protocol: &mut Protocol) -> Vec<(u8, u32, Vec<u8>)> {
    let queue = std::mem::take(&mut protocol.out.queue);
    queue
        .iter()
        .map(|frame| (frame[0], u32::from_be_bytes(frame[1..5].try_into().unwrap()), frame[HEAD..].to_vec()))
        .collect()
}

fn channel_in(number: u8) -> Vec<u8> {
    [&b"(\x03\0\0\0.i\0\0\0\0i"[..], &[number, 0, 0, 0]].concat()
}

#[test]
fn noise_before_the_marker_is_kept_however_it_comes() {
    for size in [1, 7, 10_000] {
        let mut protocol = Protocol::new(WINDOW);
        let bytes = [&b"welcome\n"[..], &hello()].concat();
        for (at, part) in bytes.chunks(size).enumerate() {
            if (size, at) == (1, 8) {
                assert_eq!(protocol.prologue.noise(), b"welcome\n");
            }
            protocol.handle(part).unwrap();
        }
        assert_eq!(protocol.info().unwrap().version(), (3, 11));
    }
    let mut protocol = Protocol::new(WINDOW);
    protocol.handle(&vec![b'x'; 1 << 20]).unwrap();
    assert!(protocol.prologue.noise().len() <= NOISE + MARKER.len());
}

#[test]
fn a_kernel_that_ignores_its_credit_breaks_the_rules() {
    let mut protocol = greeted(10);
    let number = protocol.open();
    // the last one begins within the credit
    let value = encode(&Value::from("123456")).as_bytes().to_vec();
    protocol.handle(&frame(Kind::Data, number, &value)).unwrap();
    let error = protocol.handle(&frame(Kind::Data, number, &value)).unwrap_err();
    assert_eq!(error, "more on channel 1 than it has credit for");
}

#[test]
fn credit_is_given_for_what_was_taken_in_quarters_of_the_window() {
    let mut protocol = greeted(100);
    let number = protocol.open();
    let value = Value::from("1234567");
    for _ in 0..8 {
        protocol.handle(&data(number, &value)).unwrap();
    }
    let mut told = Vec::new();
    for _ in 0..8 {
        let Next::Value { bytes, .. } = protocol.receive(number, true) else { panic!("nothing there") };
        assert!(said(&mut protocol).is_empty(), "taken is not received");
        protocol.took(number, bytes.len());
        told.extend(said(&mut protocol).into_iter().map(|(kind, _, payload)| {
            assert_eq!(kind, Kind::Credit as u8);
            u64::from_be_bytes(payload.try_into().unwrap())
        }));
    }
    assert_eq!(told, [136, 172]);
}

#[test]
fn a_sender_has_credit_until_it_began_past_it() {
    let mut protocol = greeted(10);
    let number = protocol.open();
    let can = |protocol: &Protocol| protocol.channels[&number].can_send();
    protocol.send(number, encode(&Value::from("12")));
    assert!(can(&protocol));
    protocol.send(number, encode(&Value::from("a long one")));
    assert!(!can(&protocol));
    let credit = |credit: u64| frame(Kind::Credit, number, &credit.to_be_bytes());
    protocol.handle(&credit(22)).unwrap();
    assert!(!can(&protocol));
    protocol.handle(&credit(23)).unwrap();
    assert!(can(&protocol));
    // an older credit takes nothing back
    protocol.handle(&credit(5)).unwrap();
    assert!(can(&protocol));
}

#[test]
fn a_close_is_answered_once_and_the_channel_forgotten_with_its_last_handle() {
    let mut protocol = greeted(100);
    let number = protocol.open();
    protocol.handle(&data(number, &Value::Int(1))).unwrap();
    protocol.handle(&frame(Kind::Close, number, encode(&Value::from("boom")).as_bytes())).unwrap();
    protocol.handle(&frame(Kind::Close, number, b"")).unwrap();
    assert_eq!(said(&mut protocol), [(Kind::Close as u8, number, vec![])]);
    assert!(protocol.channels[&number].is_closed());
    assert!(matches!(protocol.receive(number, true), Next::Value { .. }));
    assert!(matches!(protocol.receive(number, true), Next::Error(text) if text == "boom"));
    assert!(matches!(protocol.receive(number, true), Next::Closed));
    protocol.drop_handle(number);
    assert!(protocol.channels.is_empty() && said(&mut protocol).is_empty());

    // closed here first: kept until the other end has answered
    let number = protocol.open();
    protocol.handle(&data(number, &Value::Int(1))).unwrap();
    protocol.drop_handle(number);
    assert_eq!(said(&mut protocol), [(Kind::Close as u8, number, vec![])]);
    protocol.handle(&data(number, &Value::Int(1))).unwrap();
    assert_eq!(protocol.held, 0);
    protocol.handle(&frame(Kind::Close, number, b"")).unwrap();
    assert!(protocol.channels.is_empty() && said(&mut protocol).is_empty());
}

#[test]
fn channels_that_the_kernel_opens_are_bounded_until_somebody_takes_them() {
    let mut protocol = greeted(100);
    for number in 1..=MAX_UNTAKEN as u32 {
        protocol.handle(&data(2 * number, &Value::None)).unwrap();
    }
    let one_more = data(2 * MAX_UNTAKEN as u32 + 2, &Value::None);
    protocol.take_handle(2);
    protocol.handle(&one_more).unwrap();
    let error = protocol.handle(&data(2 * MAX_UNTAKEN as u32 + 4, &Value::None)).unwrap_err();
    assert!(error.contains("4096 channels"), "{error}");
}

#[test]
fn a_channel_in_a_value_exists_from_its_arrival_and_ends_with_the_value() {
    let mut protocol = greeted(100);
    let carrier = protocol.open();
    protocol.handle(&frame(Kind::Escaped, carrier, &channel_in(2))).unwrap();
    assert!(protocol.channels.contains_key(&2));
    // nobody receives the value, so its channel is closed with it
    protocol.drop_handle(carrier);
    assert_eq!(said(&mut protocol), [(Kind::Close as u8, carrier, vec![]), (Kind::Close as u8, 2, vec![])]);
    assert_eq!(protocol.untaken, 0);

    // a channel that never existed cannot be in a value
    let carrier = protocol.open();
    assert!(protocol.handle(&frame(Kind::Escaped, carrier, &channel_in(99))).is_err());
    // nor can malformed values
    let mut protocol = greeted(100);
    let carrier = protocol.open();
    assert!(protocol.handle(&frame(Kind::Escaped, carrier, b"[")).is_err());
}

#[test]
fn a_callback_outlives_the_handles_and_says_last() {
    let mut protocol = greeted(100);
    let number = protocol.open();
    protocol.channels.get_mut(&number).unwrap().has_callback = true;
    protocol.drop_handle(number);
    assert_eq!(said(&mut protocol), [(Kind::Last as u8, number, vec![])]);
    protocol.handle(&data(number, &Value::None)).unwrap();
    assert!(matches!(protocol.receive(number, true), Next::Value { .. }));
    protocol.handle(&frame(Kind::Close, number, b"")).unwrap();
    protocol.callback_over(number);
    assert!(protocol.channels.is_empty());
}

#[test]
fn after_last_nothing_comes_but_something_can_be_sent() {
    let mut protocol = greeted(100);
    let number = protocol.open();
    protocol.handle(&data(number, &Value::None)).unwrap();
    protocol.handle(&frame(Kind::Last, number, b"")).unwrap();
    assert!(matches!(protocol.receive(number, true), Next::Value { .. }));
    assert!(matches!(protocol.receive(number, true), Next::Closed));
    assert!(!protocol.channels[&number].is_closed());
}

#[test]
fn an_answer_that_nobody_asked_for_breaks_the_rules() {
    let mut protocol = greeted(100);
    let status = frame(Kind::Status, 0, encode(&Value::Dict(vec![])).as_bytes());
    let number = protocol.ask_status();
    protocol.handle(&status).unwrap();
    assert!(protocol.answers[&number].is_some());
    assert!(protocol.handle(&status).is_err());
}

#[test]
fn any_frames_are_no_panic_and_hold_no_more_than_they_are() {
    let mut random = 1_u64;
    let mut next = move |most: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % most
    };
    for _ in 0..300 {
        let mut protocol = greeted(50);
        let numbers: Vec<u32> = (0..3).map(|_| protocol.open()).collect();
        for _ in 0..60 {
            let kind = Kind::ALL[next(Kind::ALL.len() as u64) as usize];
            let channel = next(9) as u32;
            let payload = match next(5) {
                0 => vec![],
                1 => b"N".to_vec(),
                2 => channel_in(next(9) as u8),
                3 => (next(100)).to_be_bytes().to_vec(),
                _ => vec![1, 0],
            };
            if protocol.handle(&frame(kind, channel, &payload)).is_err() {
                break;
            }
            match next(4) {
                0 => drop(protocol.receive(channel, true)),
                1 => protocol.took(channel, 1),
                2 => protocol.close(channel, None),
                _ => {}
            }
            let held: usize = protocol.channels.values().map(|chan| chan.inbox.held()).sum();
            assert_eq!(protocol.held, held);
        }
        numbers.into_iter().for_each(|number| protocol.drop_handle(number));
        let untaken = protocol.channels.values().filter(|chan| chan.untaken).count();
        assert_eq!(protocol.untaken, untaken);
    }
}

#[test]
fn all_channels_together_hold_a_bounded_amount() {
    let mut protocol = greeted(WINDOW);
    let number = protocol.open();
    protocol.held = MAX_HELD - 1_000;
    protocol.handle(&data(number, &Value::Bytes(vec![0; 500]))).unwrap();
    let error = protocol.handle(&data(number, &Value::Bytes(vec![0; 500]))).unwrap_err();
    assert_eq!(error, "more than 1 GiB of unreceived data");
    // refused before it has arrived
    assert!(protocol.handle(&frame(Kind::Data, number, &[0; 600])[..HEAD]).is_err());
}

fn close(channel: u32, error: &str) -> Vec<u8> {
    frame(Kind::Close, channel, encode(&Value::from(error)).as_bytes())
}

#[test]
fn an_error_that_nobody_receives_is_told_once() {
    let mut protocol = greeted(WINDOW);
    // it arrived before the channel was dropped
    let number = protocol.open();
    protocol.handle(&close(number, "unread")).unwrap();
    assert!(protocol.untold.is_empty());
    protocol.drop_handle(number);
    // it arrives afterwards
    let number = protocol.open();
    protocol.drop_handle(number);
    assert_eq!(said(&mut protocol).last(), Some(&(Kind::Close as u8, number, Vec::new())));
    protocol.handle(&close(number, "late")).unwrap();
    protocol.handle(&close(number, "twice")).unwrap();
    assert_eq!(std::mem::take(&mut protocol.untold), ["unread", "late"]);
    assert!(protocol.channels.is_empty() && protocol.held == 0);
}

#[test]
fn an_error_that_was_received_or_is_not_wanted_is_not_told() {
    let mut protocol = greeted(WINDOW);
    let received = protocol.open();
    protocol.handle(&close(received, "received")).unwrap();
    assert_eq!(protocol.take_error(received).as_deref(), Some("received"));
    let closed = protocol.open();
    protocol.close(closed, None);
    protocol.drop_handle(closed);
    protocol.handle(&close(closed, "not wanted")).unwrap();
    let interrupted = protocol.open();
    protocol.drop_handle(interrupted);
    protocol.handle(&close(interrupted, remote_error::INTERRUPTED)).unwrap();
    let late = protocol.open();
    protocol.say(Kind::Exit);
    protocol.handle(&close(late, "because of the exit")).unwrap();
    for number in [received, late] {
        protocol.drop_handle(number);
    }
    assert!(protocol.untold.is_empty() && protocol.channels.is_empty() && protocol.held == 0);
}

#[test]
fn errors_count_as_what_a_gateway_holds() {
    let mut protocol = greeted(WINDOW);
    let number = protocol.open();
    protocol.held = MAX_HELD - 10;
    protocol.handle(&close(number, "short")).unwrap();
    assert_eq!(protocol.held, MAX_HELD - 5);
    let number = protocol.open();
    protocol.handle(&close(number, "short as well")).unwrap_err();
}

/// A PACKAGES frame.
fn asked(verb: &str, content: Value) -> Vec<u8> {
    frame(Kind::Packages, 0, encode(&Value::Tuple(vec![verb.into(), content])).as_bytes())
}

/// A gateway with packages, whose kernel has sent its marker.
fn with_packages() -> Protocol {
    let mut protocol = Protocol::new(WINDOW);
    protocol.prologue.expect_asks();
    protocol.handle(MARKER).unwrap();
    protocol
}

#[test]
fn packages_are_asked_for_between_the_marker_and_hello() {
    let mut protocol = with_packages();
    protocol.handle(&asked("lacks", Value::List(vec![0.into()]))).unwrap();
    assert!(protocol.prologue.has_asked() && protocol.take_touched());
    assert_eq!(protocol.prologue.take_ask(), Some(Ask::Lacks(vec![0])));
    assert_eq!(protocol.prologue.take_ask(), None);
    protocol.handle(&hello()[MARKER.len()..]).unwrap();
    assert!(protocol.info().is_some());
    let error = protocol.handle(&asked("waits", "late".into())).unwrap_err();
    assert_eq!(error, "a frame Packages where there cannot be one");
}

#[test]
fn packages_that_were_not_given_are_not_asked_for() {
    let mut protocol = Protocol::new(WINDOW);
    protocol.handle(MARKER).unwrap();
    let error = protocol.handle(&asked("lacks", Value::List(vec![]))).unwrap_err();
    assert_eq!(error, "a frame Packages before HELLO");
    // and nobody is sent files
    assert!(with_packages().handle(&frame(Kind::Files, 0, b"\0x")).is_err());
}

#[test]
fn a_flood_of_questions_takes_no_memory() {
    let mut protocol = with_packages();
    for number in 0..MAX_WAITS {
        protocol.handle(&asked("waits", format!("for {number}").as_str().into())).unwrap();
    }
    protocol.handle(&asked("lacks", Value::List(vec![]))).unwrap();
    let error = protocol.handle(&asked("lacks", Value::List(vec![]))).unwrap_err();
    assert_eq!(error, "more PACKAGES than it had answers");
    assert_eq!(protocol.prologue.take_ask(), Some(Ask::Waits(format!("for {}", MAX_WAITS - 1))));
    let error = protocol.handle(&asked("waits", "for more".into())).unwrap_err();
    assert_eq!(error, "it waits for packages without end");
    let mut long = frame(Kind::Packages, 0, b"");
    long[5..9].copy_from_slice(&(1u32 << 20).wrapping_add(1).to_be_bytes());
    assert!(with_packages().handle(&long).unwrap_err().contains("a frame Packages of 1048577 bytes"));
    let error = with_packages().handle(&frame(Kind::Packages, 0, b"N")).unwrap_err();
    assert_eq!(error, "PACKAGES: no tuple");
}
