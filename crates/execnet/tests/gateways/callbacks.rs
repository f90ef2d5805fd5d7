//! Callbacks of channels: when they are called, and what happens when they fail.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use execnet::ChannelError;
use serde::Deserialize;

use crate::support::{PATIENCE, open, quiet};

#[test]
fn values_come_to_callbacks_while_nobody_waits() {
    let gateway = open();
    let channel =
        gateway.remote_exec("for number in range(1000): channel.send(number)\nchannel.receive()").unwrap();
    let (seen, see) = mpsc::channel();
    channel.set_callback(move |number: Option<i64>| seen.send(number).unwrap()).unwrap();
    for number in 0..1_000 {
        assert_eq!(see.recv(), Ok(Some(number)));
    }
    channel.send(()).unwrap();
    assert_eq!(see.recv(), Ok(None));
}

#[test]
fn a_callback_that_fails_closes_its_channel_with_an_error() {
    let gateway = open();
    let channel = gateway
        .remote_exec(
            "report = channel.receive()\n\
             channel.send('no number')\n\
             try: channel.waitclose()\n\
             except channel.RemoteError as error: report.send(str(error))",
        )
        .unwrap();
    let report = gateway.new_channel().unwrap();
    channel.send(&report).unwrap();
    channel.set_callback(|_: Option<i64>| {}).unwrap();
    let error = report.receive::<String>().unwrap();
    assert!(error.contains("i64"), "{error}");
    let failed = channel.wait_close_timeout(PATIENCE);
    assert!(matches!(&failed, Err(ChannelError::Load(why)) if why.to_string() == error), "{failed:?}");
    assert_eq!(channel.wait_close_timeout(PATIENCE), Ok(()));
}

/// Panics when it is deserialized.
#[derive(Debug)]
struct Bomb;

impl<'de> Deserialize<'de> for Bomb {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("as it should")
    }
}

#[test]
fn a_panic_of_a_callback_is_told() {
    let gateway = open();
    let channel = gateway.remote_exec("channel.send(1); channel.receive()").unwrap();
    channel.set_callback(|value: Option<i64>| assert_ne!(value, Some(1))).unwrap();
    assert_eq!(channel.wait_close_timeout(PATIENCE), Err(ChannelError::CallbackPanicked));

    let channel = gateway.remote_exec("channel.send(1); channel.receive()").unwrap();
    let (seen, see) = mpsc::channel();
    channel.set_callback(move |value: Option<Bomb>| seen.send(value.is_none()).unwrap()).unwrap();
    assert_eq!(channel.wait_close_timeout(PATIENCE), Err(ChannelError::CallbackPanicked));
    assert_eq!(see.recv(), Ok(true));
}

#[test]
fn a_queue_tells_of_what_it_cannot_take() {
    let gateway = open();
    let channel = gateway.remote_exec("for value in (1, 'text', 3): channel.send(value)").unwrap();
    let mut queue = execnet::MultiChannel::new(vec![channel]).make_receive_queue::<i64>().unwrap();
    assert_eq!(queue.receive_timeout(PATIENCE).unwrap().unwrap().1, 1);
    assert!(matches!(queue.receive_timeout(PATIENCE), Err(ChannelError::Load(_))));
    assert!(queue.receive_timeout(PATIENCE).unwrap().is_none());
}

#[test]
fn waiting_for_a_channel_to_close_waits_for_its_callback() {
    for dies in [false, true] {
        let gateway = quiet().start().unwrap();
        let end = if dies { "import os; os._exit(3)" } else { "" };
        let code = format!("for number in range(3): channel.send(number)\nchannel.receive()\n{end}");
        let channel = gateway.remote_exec(code).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (sees, own) = (seen.clone(), channel.clone());
        channel
            .set_callback(move |number: Option<i64>| {
                if number.is_none() {
                    // it does not wait for itself
                    let _ = own.wait_close_timeout(PATIENCE);
                } else {
                    std::thread::sleep(Duration::from_millis(100));
                }
                sees.lock().unwrap().push(number);
            })
            .unwrap();
        assert_eq!(channel.wait_close_timeout(Duration::from_millis(20)), Err(ChannelError::TimedOut));
        channel.send(()).unwrap();
        let closed = channel.wait_close_timeout(PATIENCE);
        assert_eq!(*seen.lock().unwrap(), [Some(0), Some(1), Some(2), None]);
        assert_eq!(matches!(closed, Err(ChannelError::GatewayDied(_))), dies, "{closed:?}");
    }
}
