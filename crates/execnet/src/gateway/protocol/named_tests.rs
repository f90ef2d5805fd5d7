use super::super::tests::{data, encode, hello_with, said};
use super::super::{MAX_HELD, WINDOW};
use super::*;

/// A channel as HELLO tells of it.
fn told(name: &str, number: i64, took: i64, received: i64, credit: i64, end: bool) -> Value {
    let counts = [number, took, received, credit].map(Value::Int);
    Value::Tuple([&[Value::from(name)][..], &counts, &[Value::Bool(end)]].concat())
}

fn greet(window: u64, channels: Vec<Value>) -> Result<Protocol, String> {
    let mut protocol = Protocol::new(1);
    protocol.keep();
    let window = ("window", Value::Int(window as i64));
    protocol.handle(&hello_with(vec![window, ("channels", Value::List(channels))]))?;
    Ok(protocol)
}

fn named(name: &str, question: u32, counts: [i64; 3]) -> Value {
    let [took, received, credit] = counts;
    let parts = [question.into(), took, received, credit].map(Value::Int);
    Value::Tuple([&[Value::from(name)][..], &parts, &[Value::Bool(false)]].concat())
}

fn name(number: u32, value: &Value) -> Vec<u8> {
    frame(Kind::Name, number, encode(value).as_bytes())
}

fn took(number: u32, count: u64) -> Vec<u8> {
    frame(Kind::Took, number, &count.to_be_bytes())
}

fn said_took(protocol: &mut Protocol) -> Vec<(u32, u64)> {
    let count = |payload: Vec<u8>| u64::from_be_bytes(payload.try_into().unwrap());
    let frames = said(protocol).into_iter();
    let frames = frames.filter(|(kind, ..)| *kind == Kind::Took as u8);
    frames.map(|(_, number, payload)| (number, count(payload))).collect()
}

/// A gateway with one channel, opened, with a handle.
fn opened(window: u64) -> Protocol {
    let mut protocol = greet(window, vec![told("work", 2, 3, 7, 50, false)]).unwrap();
    assert_eq!(protocol.open_named("work"), Some(Opened::At(2)));
    protocol.take_handle(2);
    assert_eq!(said_took(&mut protocol), [(2, 3)]);
    protocol
}

fn next(protocol: &mut Protocol, number: u32) -> Option<usize> {
    match protocol.receive(number, true) {
        Next::Value { bytes, .. } => {
            protocol.took(number, bytes.len());
            Some(bytes.len())
        }
        Next::Nothing => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_value_is_given_when_the_kernel_has_heard_that_it_was_taken() {
    let mut protocol = opened(WINDOW);
    let has_something = |protocol: &Protocol| protocol.channels[&2].has_something();
    protocol.handle(&data(2, &Value::Int(1))).unwrap();
    protocol.handle(&data(2, &Value::Int(2))).unwrap();
    assert!(!has_something(&protocol) && said(&mut protocol).is_empty(), "nobody wants one");
    protocol.want(2);
    assert_eq!(said_took(&mut protocol), [(2, 4)]);
    assert!(!has_something(&protocol));
    assert_eq!(next(&mut protocol, 2), None);
    protocol.handle(&took(2, 3)).unwrap(); // the answer to its opening
    assert!(!has_something(&protocol));
    protocol.handle(&took(2, 4)).unwrap();
    assert!(has_something(&protocol) && protocol.take_touched());
    assert_eq!(next(&mut protocol, 2), Some(5));
    protocol.unwant(2);
    assert!(!has_something(&protocol) && said(&mut protocol).is_empty(), "no CREDIT either");
    assert_eq!(next(&mut protocol, 2), None);
}

#[test]
fn as_many_are_taken_as_threads_wait_and_each_when_it_arrives() {
    let mut protocol = opened(WINDOW);
    protocol.want(2);
    protocol.want(2);
    assert!(said(&mut protocol).is_empty());
    for number in 4..=5 {
        protocol.handle(&data(2, &Value::Int(1))).unwrap();
        assert_eq!(said_took(&mut protocol), [(2, number)]);
    }
    protocol.handle(&data(2, &Value::Int(1))).unwrap();
    assert!(said(&mut protocol).is_empty());
    // one waits no longer: what was taken for it is the next one's
    protocol.unwant(2);
    protocol.handle(&took(2, 5)).unwrap();
    assert_eq!(
        [next(&mut protocol, 2), next(&mut protocol, 2), next(&mut protocol, 2)],
        [Some(5), Some(5), None]
    );
    protocol.unwant(2);
    protocol.want(2);
    assert_eq!(said_took(&mut protocol), [(2, 6)]);
}

#[test]
fn a_value_that_is_given_back_comes_next_and_is_not_taken_again() {
    let mut protocol = opened(WINDOW);
    protocol.handle(&data(2, &Value::from("one"))).unwrap();
    protocol.handle(&data(2, &Value::from("second"))).unwrap();
    protocol.want(2);
    protocol.handle(&took(2, 4)).unwrap();
    let Next::Value { bytes, escaped } = protocol.receive(2, true) else { panic!("nothing there") };
    protocol.took(2, bytes.len());
    protocol.unwant(2);
    protocol.give_back(2, bytes, escaped);
    said(&mut protocol);
    protocol.want(2);
    assert!(said(&mut protocol).is_empty());
    assert_eq!(next(&mut protocol, 2), Some(8));
    protocol.unwant(2);
    protocol.want(2);
    assert_eq!(said_took(&mut protocol), [(2, 5)]);
}

#[test]
fn the_window_is_what_was_not_said_to_be_taken() {
    let mut protocol = opened(10);
    protocol.handle(&data(2, &Value::Int(1))).unwrap();
    protocol.handle(&data(2, &Value::Int(1))).unwrap();
    let mut other = opened(10);
    for _ in 0..2 {
        other.handle(&data(2, &Value::Int(1))).unwrap();
    }
    assert!(other.handle(&data(2, &Value::Int(1))).unwrap_err().contains("than it has credit for"));
    protocol.want(2);
    protocol.handle(&data(2, &Value::Int(1))).unwrap();
    assert!(protocol.handle(&data(2, &Value::Int(1))).is_err());
}

#[test]
fn what_may_be_sent_at_first_is_what_the_kernel_said() {
    let mut protocol = opened(WINDOW);
    assert!(protocol.channels[&2].can_send());
    protocol.send(2, encode(&Value::from("x".repeat(45).as_str())));
    assert!(!protocol.channels[&2].can_send());
    protocol.handle(&frame(Kind::Credit, 2, &51_u64.to_be_bytes())).unwrap();
    assert!(protocol.channels[&2].can_send());
    assert_eq!(protocol.received_before(2), 7);
    let mut full = greet(WINDOW, vec![told("full", 4, 0, 9, 0, false)]).unwrap();
    full.open_named("full");
    assert!(!full.channels[&4].can_send());
}

#[test]
fn a_name_that_is_not_known_is_asked_for() {
    let mut protocol = opened(WINDOW);
    assert_eq!(protocol.open_named("new"), Some(Opened::Asked(1)));
    assert_eq!(protocol.open_named("new"), Some(Opened::Asked(3)));
    let asked: Vec<u32> = said(&mut protocol).iter().map(|(_, number, _)| *number).collect();
    assert_eq!(asked, [1, 3]);
    assert!(!protocol.is_answered(1));
    protocol.handle(&name(4, &named("new", 1, [0, 0, 100]))).unwrap();
    assert!(protocol.is_answered(1) && protocol.take_touched());
    protocol.handle(&data(4, &Value::Int(1))).unwrap();
    protocol.handle(&name(4, &named("new", 3, [0, 0, 100]))).unwrap();
    assert_eq!((protocol.take_answer(1), protocol.take_answer(3)), (Some(Ok(4)), Some(Ok(4))));
    assert!(said(&mut protocol).is_empty(), "it is open without a word");
    protocol.want(4);
    assert_eq!(said_took(&mut protocol), [(4, 1)]);
    assert_eq!(protocol.open_named("new"), Some(Opened::At(4)));
    // refused
    assert_eq!(protocol.open_named("other"), Some(Opened::Asked(5)));
    protocol.handle(&frame(Kind::Close, 5, encode(&Value::from("too many")).as_bytes())).unwrap();
    assert_eq!(protocol.take_answer(5), Some(Err("too many".into())));
    // one that code has named
    protocol.handle(&name(6, &named("by code", 0, [0, 0, 100]))).unwrap();
    assert_eq!(protocol.open_named("by code"), Some(Opened::At(6)));
    assert_eq!(Protocol::new(10).open_named("any"), None);
}

#[test]
fn code_with_a_name_is_found_by_it() {
    let mut protocol = greet(WINDOW, vec![]).unwrap();
    let number = protocol.open_for_code("train");
    assert_eq!(protocol.open_named("train"), Some(Opened::At(number)));
    protocol.handle(&data(number, &Value::Int(1))).unwrap();
    protocol.want(number);
    assert_eq!(said_took(&mut protocol), [(number, 1)]);
    // the kernel tells it again
    protocol.handle(&name(number, &named("train", 0, [0, 0, 100]))).unwrap();
    assert_eq!(protocol.held, Inbox::cost(5));
}

#[test]
fn the_end_is_answered_when_the_program_has_seen_it() {
    let mut protocol = opened(WINDOW);
    let closed = frame(Kind::Close, 2, encode(&Value::from("boom")).as_bytes());
    protocol.handle(&data(2, &Value::Int(1))).unwrap();
    protocol.handle(&closed).unwrap();
    assert!(said(&mut protocol).is_empty() && !protocol.channels[&2].has_something());
    assert!(protocol.channels[&2].is_closed());
    // a handle that is lost is no end
    protocol.drop_handle(2);
    assert!(said(&mut protocol).is_empty());
    assert_eq!(protocol.open_named("work"), Some(Opened::At(2)));
    protocol.take_handle(2);
    protocol.want(2);
    assert_eq!(said_took(&mut protocol), [(2, 4)]);
    protocol.handle(&took(2, 4)).unwrap();
    assert_eq!(next(&mut protocol, 2), Some(5));
    // a callback leaves the error to others
    assert!(matches!(protocol.receive(2, false), Next::Closed));
    assert!(said(&mut protocol).is_empty());
    assert!(matches!(protocol.receive(2, true), Next::Error(text) if text == "boom"));
    assert_eq!(said(&mut protocol), [(Kind::Close as u8, 2, vec![])]);
    assert!(matches!(protocol.receive(2, true), Next::Closed));
    assert_eq!(protocol.open_named("work"), Some(Opened::Asked(1)), "its name is free");
    protocol.drop_handle(2);
    assert!(!protocol.channels.contains_key(&2) && protocol.held == 0 && protocol.untold.is_empty());
}

#[test]
fn a_callback_that_has_seen_the_end_frees_the_name() {
    let mut protocol = opened(WINDOW);
    protocol.channels.get_mut(&2).unwrap().has_callback = true;
    protocol.drop_handle(2);
    assert!(said(&mut protocol).is_empty(), "no LAST");
    protocol.handle(&frame(Kind::Close, 2, b"")).unwrap();
    assert!(said(&mut protocol).is_empty());
    protocol.callback_over(2);
    assert_eq!(said(&mut protocol), [(Kind::Close as u8, 2, vec![])]);
    assert!(protocol.channels.is_empty());
}

#[test]
fn what_was_not_taken_is_dropped_when_the_program_closes_the_channel() {
    let mut protocol = opened(WINDOW);
    for _ in 0..3 {
        protocol.handle(&data(2, &Value::Int(1))).unwrap();
    }
    protocol.want(2);
    protocol.handle(&took(2, 4)).unwrap();
    said(&mut protocol);
    protocol.close(2, None);
    assert_eq!(said(&mut protocol), [(Kind::Close as u8, 2, vec![])]);
    assert_eq!(next(&mut protocol, 2), Some(5));
    assert!(matches!(protocol.receive(2, true), Next::Closed));
    assert!(said(&mut protocol).is_empty());
    protocol.handle(&frame(Kind::Close, 2, encode(&Value::from("late")).as_bytes())).unwrap();
    protocol.drop_handle(2);
    assert!(protocol.channels.is_empty() && protocol.held == 0 && protocol.untold.is_empty());
}

#[test]
fn a_kernel_that_lies_about_names_breaks_the_rules() {
    let fine = || told("work", 2, 3, 7, 50, false);
    for (bad, why) in [
        (vec![fine(), told("work2", 2, 0, 0, 0, false)], "channel 2, which is another one"),
        (vec![told("odd", 3, 0, 0, 0, false)], "channel 3, which is another one"),
        (vec![told("zero", 0, 0, 0, 0, false)], "channel 0"),
        (vec![told("", 2, 0, 0, 0, false)], "1 to 64 characters"),
        (vec![told(&"x".repeat(65), 2, 0, 0, 0, false)], "1 to 64 characters"),
        (vec![told("a\u{9b}b", 2, 0, 0, 0, false)], "control characters"),
        (vec![told("less", 2, -1, 0, 0, false)], "counts"),
        (vec![told("less", 2, 0, 0, -5, false)], "counts"),
        (vec![told("more", 1 << 33, 0, 0, 0, false)], "number"),
        (vec![Value::Int(1)], "parts"),
        (vec![Value::Tuple(vec![Value::from("x")])], "parts"),
        ((0..=1_000).map(|at| told(&at.to_string(), 2 * at + 2, 0, 0, 0, false)).collect(), "1000 channels"),
    ] {
        let error = greet(WINDOW, bad).map(|_| ()).unwrap_err();
        assert!(error.starts_with("HELLO: ") && error.contains(why), "{error}");
    }
    let window = |window| ("window", Value::Int(window));
    for (bad, why) in [
        (vec![], "without a `window`"),
        (vec![window(0)], "without a `window`"),
        (vec![window(-1)], "without a `window`"),
        (vec![window(1)], "no `channels`"),
    ] {
        let mut protocol = Protocol::new(WINDOW);
        protocol.keep();
        assert!(protocol.handle(&hello_with(bad)).unwrap_err().contains(why));
    }

    let unopened = || greet(WINDOW, vec![fine()]).unwrap();
    let ordinary = || {
        let mut protocol = opened(WINDOW);
        protocol.open();
        protocol
    };
    let taken = || {
        let mut protocol = opened(WINDOW);
        protocol.handle(&data(2, &Value::Int(1))).unwrap();
        protocol.want(2);
        protocol.handle(&took(2, 4)).unwrap();
        protocol
    };
    let asked = || {
        let mut protocol = opened(WINDOW);
        protocol.open_named("new");
        protocol
    };
    let channel_in = [&b"(\x03\0\0\0.i\0\0\0\0i"[..], &[2, 0, 0, 0]].concat();
    let many = (4..=1_002).map(|at| name(2 * at, &named(&at.to_string(), 0, [0, 0, 0])));
    for (mut protocol, bytes, why) in [
        (opened(WINDOW), took(2, 4), "TOOK of 4 values, of which 3 were taken"),
        (taken(), took(2, 3), "TOOK of 3 values after 4"),
        (ordinary(), took(1, 0), "has no name"),
        (unopened(), data(2, &Value::Int(1)), "nobody has asked for"),
        (opened(WINDOW), frame(Kind::Escaped, 2, &channel_in), "a channel in a value"),
        (opened(WINDOW), name(4, &named("new", 1, [0, 0, 0])), "nobody asked"),
        (asked(), name(4, &named("other", 1, [0, 0, 0])), "nobody asked"),
        (asked(), name(2, &named("new", 1, [0, 0, 0])), "which is another one"),
        (asked(), name(5, &named("new", 1, [0, 0, 0])), "which is another one"),
        (opened(WINDOW), name(4, &Value::Int(1)), "parts"),
        (opened(WINDOW), many.collect::<Vec<_>>().concat(), "1000 channels"),
        (opened(WINDOW), name(4, &named("a\nb", 0, [0, 0, 0])), "control characters"),
    ] {
        let flood = why == "1000 channels";
        let result = protocol.handle(&bytes);
        let error = match result {
            Ok(()) if flood => protocol.handle(&name(9_000, &named("more", 0, [0, 0, 0]))).unwrap_err(),
            other => other.unwrap_err(),
        };
        assert!(error.contains(why), "{error}, not {why}");
    }
    for kind in [Kind::Took, Kind::Name] {
        let mut ordinary = Protocol::new(WINDOW);
        ordinary.handle(&hello_with(vec![])).unwrap();
        let error = ordinary.handle(&frame(kind, 2, &[0; 8])).unwrap_err();
        assert!(error.contains("where there cannot be one"), "{error}");
    }
}

#[test]
fn hello_may_be_long_only_if_the_kernel_is_kept() {
    let names = (1..=1_000).map(|at| told(&format!("{at:0>64}"), 2 * at, 0, 0, 0, false));
    let mut kept = greet(WINDOW, names.collect()).unwrap();
    assert_eq!(kept.open_named(&format!("{:0>64}", 7)), Some(Opened::At(14)));
    let long = hello_with(vec![("channels", Value::from("x".repeat(70_000).as_str()))]);
    let error = Protocol::new(WINDOW).handle(&long).unwrap_err();
    assert!(error.contains("a HELLO of 7"), "{error}");
}

#[test]
fn any_frames_on_names_are_no_panic_and_hold_no_more_than_they_are() {
    let mut random = 7_u64;
    let mut next = move |most: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % most
    };
    for _ in 0..500 {
        let mut protocol =
            greet(50, vec![told("a", 2, 1, 0, 9, false), told("b", 4, 0, 0, 9, true)]).unwrap();
        for number in [2, 4] {
            protocol.open_named(if number == 2 { "a" } else { "b" });
            protocol.take_handle(number);
        }
        for _ in 0..80 {
            let channel = next(8) as u32;
            let bytes = match next(6) {
                0 => took(channel, next(6)),
                1 => name(channel, &named(["a", "b", "c"][next(3) as usize], next(4) as u32, [0, 0, 9])),
                2 => frame(Kind::Close, channel, b""),
                _ => data(channel, &Value::Int(1)),
            };
            if protocol.handle(&bytes).is_err() {
                break;
            }
            match next(8) {
                0 => drop(protocol.receive(channel, true)),
                1 => protocol.want(channel),
                2 => protocol.unwant(channel),
                3 => protocol.close(channel, None),
                4 => drop(protocol.open_named(["a", "c", "d"][next(3) as usize])),
                5 => protocol.saw_end(channel),
                _ => {}
            }
            let held: usize = protocol.channels.values().map(|chan| chan.inbox.held()).sum();
            assert_eq!(protocol.held, held);
            assert!(protocol.held < MAX_HELD);
        }
        for number in [2, 4] {
            protocol.drop_handle(number);
        }
    }
}
