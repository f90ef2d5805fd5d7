use super::*;
use crate::value::{Writer, Writing};

fn encode(value: &Value) -> Encoded {
    let mut writer = Writer::new(Writing::default());
    value.write(&mut writer).unwrap();
    writer.finish().unwrap()
}

fn data(channel: u32, value: &Value) -> Vec<u8> {
    frame(Kind::Data, channel, encode(value).as_bytes())
}

fn hello() -> Vec<u8> {
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
    let pairs = pairs.map(|(key, value)| (Value::from(key), value)).to_vec();
    [MARKER, &frame(Kind::Hello, 0, encode(&Value::Dict(pairs)).as_bytes())].concat()
}

/// A gateway whose kernel has greeted.
fn greeted(window: u64) -> State {
    let mut state = State::new(window);
    state.handle(&hello()).unwrap();
    state
}

/// The frames that were put into the outbox: kind, channel, payload.
fn said(state: &mut State) -> Vec<(u8, u32, Vec<u8>)> {
    let queue = std::mem::take(&mut state.out.queue);
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
        let mut state = State::new(WINDOW);
        let bytes = [&b"welcome\n"[..], &hello()].concat();
        for (at, part) in bytes.chunks(size).enumerate() {
            if (size, at) == (1, 8) {
                assert_eq!(state.noise(), b"welcome\n");
            }
            state.handle(part).unwrap();
        }
        assert_eq!(state.info().unwrap().version(), (3, 11));
    }
    let mut state = State::new(WINDOW);
    state.handle(&vec![b'x'; 1 << 20]).unwrap();
    assert!(state.noise().len() <= NOISE + MARKER.len());
}

#[test]
fn a_kernel_that_ignores_its_credit_breaks_the_rules() {
    let mut state = greeted(10);
    let number = state.open();
    // the last one begins within the credit
    let value = encode(&Value::from("123456")).as_bytes().to_vec();
    state.handle(&frame(Kind::Data, number, &value)).unwrap();
    let error = state.handle(&frame(Kind::Data, number, &value)).unwrap_err();
    assert_eq!(error, "more on channel 1 than it has credit for");
}

#[test]
fn credit_is_given_for_what_was_taken_in_quarters_of_the_window() {
    let mut state = greeted(100);
    let number = state.open();
    let value = Value::from("1234567");
    for _ in 0..8 {
        state.handle(&data(number, &value)).unwrap();
    }
    let mut told = Vec::new();
    for _ in 0..8 {
        let Next::Value { bytes, .. } = state.receive(number, true) else { panic!("nothing there") };
        assert!(said(&mut state).is_empty(), "taken is not received");
        state.took(number, bytes.len());
        told.extend(said(&mut state).into_iter().map(|(kind, _, payload)| {
            assert_eq!(kind, Kind::Credit as u8);
            u64::from_be_bytes(payload.try_into().unwrap())
        }));
    }
    assert_eq!(told, [136, 172]);
}

#[test]
fn a_sender_has_credit_until_it_began_past_it() {
    let mut state = greeted(10);
    let number = state.open();
    let can = |state: &State| state.channels[&number].can_send();
    state.send(number, encode(&Value::from("12")));
    assert!(can(&state));
    state.send(number, encode(&Value::from("a long one")));
    assert!(!can(&state));
    let credit = |credit: u64| frame(Kind::Credit, number, &credit.to_be_bytes());
    state.handle(&credit(22)).unwrap();
    assert!(!can(&state));
    state.handle(&credit(23)).unwrap();
    assert!(can(&state));
    // an older one takes nothing back
    state.handle(&credit(5)).unwrap();
    assert!(can(&state));
}

#[test]
fn a_close_is_answered_once_and_the_channel_forgotten_with_its_last_handle() {
    let mut state = greeted(100);
    let number = state.open();
    state.handle(&data(number, &Value::Int(1))).unwrap();
    state.handle(&frame(Kind::Close, number, encode(&Value::from("boom")).as_bytes())).unwrap();
    state.handle(&frame(Kind::Close, number, b"")).unwrap();
    assert_eq!(said(&mut state), [(Kind::Close as u8, number, vec![])]);
    assert!(state.channels[&number].is_closed());
    assert!(matches!(state.receive(number, true), Next::Value { .. }));
    assert!(matches!(state.receive(number, true), Next::Error(text) if text == "boom"));
    assert!(matches!(state.receive(number, true), Next::Closed));
    state.drop_handle(number);
    assert!(state.channels.is_empty() && said(&mut state).is_empty());

    // closed here first: known until the other end has answered
    let number = state.open();
    state.handle(&data(number, &Value::Int(1))).unwrap();
    state.drop_handle(number);
    assert_eq!(said(&mut state), [(Kind::Close as u8, number, vec![])]);
    state.handle(&data(number, &Value::Int(1))).unwrap();
    assert_eq!(state.held, 0);
    state.handle(&frame(Kind::Close, number, b"")).unwrap();
    assert!(state.channels.is_empty() && said(&mut state).is_empty());
}

#[test]
fn channels_that_the_kernel_opens_are_bounded_until_somebody_takes_them() {
    let mut state = greeted(100);
    for number in 1..=MAX_UNTAKEN as u32 {
        state.handle(&data(2 * number, &Value::None)).unwrap();
    }
    let one_more = data(2 * MAX_UNTAKEN as u32 + 2, &Value::None);
    state.take_handle(2);
    state.handle(&one_more).unwrap();
    let error = state.handle(&data(2 * MAX_UNTAKEN as u32 + 4, &Value::None)).unwrap_err();
    assert!(error.contains("4096 channels"), "{error}");
}

#[test]
fn a_channel_in_a_value_exists_from_its_arrival_and_ends_with_the_value() {
    let mut state = greeted(100);
    let carrier = state.open();
    state.handle(&frame(Kind::Escaped, carrier, &channel_in(2))).unwrap();
    assert!(state.channels.contains_key(&2));
    // nobody receives the value: its channel is closed with it
    state.drop_handle(carrier);
    assert_eq!(said(&mut state), [(Kind::Close as u8, carrier, vec![]), (Kind::Close as u8, 2, vec![])]);
    assert_eq!(state.untaken, 0);

    // one that was never ours cannot be in a value
    let carrier = state.open();
    assert!(state.handle(&frame(Kind::Escaped, carrier, &channel_in(99))).is_err());
    // nor can what is no value
    let mut state = greeted(100);
    let carrier = state.open();
    assert!(state.handle(&frame(Kind::Escaped, carrier, b"[")).is_err());
}

#[test]
fn a_callback_outlives_the_handles_and_says_last() {
    let mut state = greeted(100);
    let number = state.open();
    state.channels.get_mut(&number).unwrap().has_callback = true;
    state.drop_handle(number);
    assert_eq!(said(&mut state), [(Kind::Last as u8, number, vec![])]);
    state.handle(&data(number, &Value::None)).unwrap();
    assert!(matches!(state.receive(number, true), Next::Value { .. }));
    state.handle(&frame(Kind::Close, number, b"")).unwrap();
    state.callback_over(number);
    assert!(state.channels.is_empty());
}

#[test]
fn after_last_nothing_comes_but_something_can_be_sent() {
    let mut state = greeted(100);
    let number = state.open();
    state.handle(&data(number, &Value::None)).unwrap();
    state.handle(&frame(Kind::Last, number, b"")).unwrap();
    assert!(matches!(state.receive(number, true), Next::Value { .. }));
    assert!(matches!(state.receive(number, true), Next::Closed));
    assert!(!state.channels[&number].is_closed());
}

#[test]
fn an_answer_that_nobody_asked_for_breaks_the_rules() {
    let mut state = greeted(100);
    let status = frame(Kind::Status, 0, encode(&Value::Dict(vec![])).as_bytes());
    let number = state.ask_status();
    state.handle(&status).unwrap();
    assert!(state.answers[&number].is_some());
    assert!(state.handle(&status).is_err());
}

#[test]
fn any_frames_are_no_panic_and_hold_no_more_than_they_are() {
    let mut random = 1_u64;
    let mut next = move |most: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % most
    };
    for _ in 0..300 {
        let mut state = greeted(50);
        let numbers: Vec<u32> = (0..3).map(|_| state.open()).collect();
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
            if state.handle(&frame(kind, channel, &payload)).is_err() {
                break;
            }
            match next(4) {
                0 => drop(state.receive(channel, true)),
                1 => state.took(channel, 1),
                2 => state.close(channel, None),
                _ => {}
            }
            let held: usize = state.channels.values().map(|chan| chan.inbox.held()).sum();
            assert_eq!(state.held, held);
        }
        numbers.into_iter().for_each(|number| state.drop_handle(number));
        let untaken = state.channels.values().filter(|chan| chan.untaken).count();
        assert_eq!(state.untaken, untaken);
    }
}

#[test]
fn what_all_channels_hold_together_is_bounded() {
    let mut state = greeted(WINDOW);
    let number = state.open();
    state.held = MAX_HELD - 1_000;
    state.handle(&data(number, &Value::Bytes(vec![0; 500]))).unwrap();
    let error = state.handle(&data(number, &Value::Bytes(vec![0; 500]))).unwrap_err();
    assert_eq!(error, "more than 1 GiB that was not received");
    // it is refused before it has come
    assert!(state.handle(&frame(Kind::Data, number, &[0; 600])[..HEAD]).is_err());
}

fn close(channel: u32, error: &str) -> Vec<u8> {
    frame(Kind::Close, channel, encode(&Value::from(error)).as_bytes())
}

#[test]
fn an_error_that_nobody_receives_is_told_once() {
    let mut state = greeted(WINDOW);
    // it came before the channel was let go
    let number = state.open();
    state.handle(&close(number, "unread")).unwrap();
    assert!(state.untold.is_empty());
    state.drop_handle(number);
    // it comes behind that
    let number = state.open();
    state.drop_handle(number);
    assert_eq!(said(&mut state).last(), Some(&(Kind::Close as u8, number, Vec::new())));
    state.handle(&close(number, "late")).unwrap();
    state.handle(&close(number, "twice")).unwrap();
    assert_eq!(std::mem::take(&mut state.untold), ["unread", "late"]);
    assert!(state.channels.is_empty() && state.held == 0);
}

#[test]
fn an_error_that_was_received_or_is_not_wanted_is_not_told() {
    let mut state = greeted(WINDOW);
    let received = state.open();
    state.handle(&close(received, "received")).unwrap();
    assert_eq!(state.take_error(received).as_deref(), Some("received"));
    let closed = state.open();
    state.close(closed, None);
    state.drop_handle(closed);
    state.handle(&close(closed, "not wanted")).unwrap();
    let interrupted = state.open();
    state.drop_handle(interrupted);
    state.handle(&close(interrupted, failed::INTERRUPTED)).unwrap();
    let late = state.open();
    state.say(Kind::Exit);
    state.handle(&close(late, "because of the exit")).unwrap();
    for number in [received, late] {
        state.drop_handle(number);
    }
    assert!(state.untold.is_empty() && state.channels.is_empty() && state.held == 0);
}

#[test]
fn errors_count_as_what_a_gateway_holds() {
    let mut state = greeted(WINDOW);
    let number = state.open();
    state.held = MAX_HELD - 10;
    state.handle(&close(number, "short")).unwrap();
    assert_eq!(state.held, MAX_HELD - 5);
    let number = state.open();
    state.handle(&close(number, "short as well")).unwrap_err();
}
