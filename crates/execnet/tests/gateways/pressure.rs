//! A sender blocks when it sends more than is received; nobody else does.

use std::sync::mpsc;
use std::time::Duration;

use execnet::ChannelError;
use execnet::value::Value;

use crate::support::{PATIENCE, open, quiet};

const ECHO: &str = "for value in channel: channel.send(value)";
const WINDOW: usize = 1 << 20;

#[test]
fn a_sender_waits_for_a_receiver_that_is_busy_and_others_go_on() {
    let gateway = quiet().window(WINDOW as u64).start().unwrap();
    let lazy = gateway.remote_exec("channel.gateway.newchannel().receive()").unwrap();
    let chunk = bytes::Bytes::from(vec![7; 100_000]);
    let mut sent = 0;
    // what must fit may take its time
    let limit = |sent| if sent < WINDOW { PATIENCE } else { Duration::from_millis(50) };
    while lazy.send_timeout(&chunk, limit(sent)).is_ok() {
        sent += chunk.len();
    }
    assert!((WINDOW..=WINDOW + 2 * chunk.len()).contains(&sent), "{sent}");
    let echo = gateway.remote_exec(ECHO).unwrap();
    for number in 0..100 {
        echo.send(number).unwrap();
        assert_eq!(echo.receive::<i64>(), Ok(number));
    }
    assert_eq!(lazy.send_timeout(1, Duration::from_millis(20)), Err(ChannelError::TimedOut));

    // closing tells it to continue
    let sender = lazy.clone();
    let thread = std::thread::spawn(move || sender.send(1));
    lazy.close().unwrap();
    assert_eq!(thread.join().unwrap(), Err(ChannelError::Closed));
}

#[test]
fn a_sender_goes_on_when_something_was_received() {
    let gateway = quiet().window(WINDOW as u64).start().unwrap();
    let channel = gateway
        .remote_exec(
            "go = channel.receive()\n\
             go.receive()\n\
             total = 0\n\
             while total < 20000000: total += len(channel.receive())\n\
             channel.send(total)",
        )
        .unwrap();
    let go = gateway.new_channel().unwrap();
    channel.send(&go).unwrap();
    let sender = channel.clone();
    let thread = std::thread::spawn(move || {
        let chunk = bytes::Bytes::from(vec![7; 100_000]);
        (0..200).try_for_each(|_| sender.send(&chunk))
    });
    go.send(()).unwrap();
    assert_eq!(channel.receive::<i64>(), Ok(20_000_000));
    assert_eq!(thread.join().unwrap(), Ok(()));
}

#[test]
fn the_other_end_waits_for_us_too() {
    let gateway = quiet().window(WINDOW as u64).start().unwrap();
    let channel = gateway
        .remote_exec(
            "sent = channel.gateway.newchannel()\n\
             channel.send(sent)\n\
             for number in range(100):\n\
             \x20   channel.send(b'x' * 100000)\n\
             \x20   sent.send(number)",
        )
        .unwrap();
    let sent: execnet::Channel = channel.receive().unwrap();
    // within its window, then one that began there, and no more
    let most = WINDOW / 100_000 + 1;
    for number in 0..most - 1 {
        assert_eq!(sent.receive::<usize>(), Ok(number));
    }
    while let Ok(number) = sent.receive_timeout::<usize>(Duration::from_millis(300)) {
        assert!(number < most, "{number}");
    }
    let echo = gateway.remote_exec(ECHO).unwrap();
    echo.send(1).unwrap();
    assert_eq!(echo.receive::<i64>(), Ok(1));
    for _ in 0..100 {
        assert_eq!(channel.receive::<bytes::Bytes>().unwrap().len(), 100_000);
    }
    assert_eq!(channel.wait_close_timeout(PATIENCE), Ok(()));
}

#[test]
fn an_interpreter_that_stands_still_loses_nothing_and_keeps_nobody_for_ever() {
    use rustix::process::{Pid, Signal, kill_process};
    let gateway = quiet().window(1 << 30).start().unwrap();
    let pid = Pid::from_raw(gateway.info().pid.try_into().unwrap()).unwrap();
    let (first, second) = (gateway.remote_exec(ECHO).unwrap(), gateway.remote_exec(ECHO).unwrap());
    kill_process(pid, Signal::STOP).unwrap();
    let chunk = bytes::Bytes::from(vec![7; 1_000_000]);
    let mut sent = 0;
    let limit = |sent| if sent < 4 { PATIENCE } else { Duration::from_millis(50) };
    while first.send_timeout(&chunk, limit(sent)).is_ok() {
        sent += 1;
    }
    assert!((4..=6).contains(&sent), "{sent}");
    assert_eq!(second.send_timeout(1, Duration::from_millis(20)), Err(ChannelError::TimedOut));
    let waits = second.clone();
    let (told, telling) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        told.send(execnet::Interrupt::this_thread()).unwrap();
        waits.send(1)
    });
    telling.recv().unwrap().raise();
    assert_eq!(thread.join().unwrap(), Err(ChannelError::Interrupted));
    kill_process(pid, Signal::CONT).unwrap();
    second.send(2).unwrap();
    assert_eq!(second.receive::<i64>(), Ok(2));
    for _ in 0..sent {
        assert!(first.receive::<bytes::Bytes>().unwrap() == chunk);
    }
}

#[test]
fn a_value_larger_than_the_window_passes() {
    let gateway = quiet().window(WINDOW as u64).start().unwrap();
    let channel = gateway.remote_exec(ECHO).unwrap();
    let large = Value::Bytes((0..50_000_000_u32).map(|n| (n % 251) as u8).collect());
    channel.send(&large).unwrap();
    assert!(channel.receive::<Value>().unwrap() == large);
}

#[test]
fn a_slow_callback_delays_only_its_own_channel() {
    let gateway = open();
    let slow = gateway.remote_exec("for number in range(3): channel.send(number)").unwrap();
    let (seen, see) = mpsc::channel();
    let (go, wait) = mpsc::channel::<()>();
    slow.set_callback(move |number: Option<i64>| {
        seen.send(number).unwrap();
        let _ = wait.recv();
    })
    .unwrap();
    assert_eq!(slow.set_callback(|_: Option<i64>| {}), Err(ChannelError::HasCallback));
    assert_eq!(slow.receive::<i64>(), Err(ChannelError::HasCallback));
    assert_eq!(see.recv(), Ok(Some(0)));
    let echo = gateway.remote_exec(ECHO).unwrap();
    for number in 0..100 {
        echo.send(number).unwrap();
        assert_eq!(echo.receive::<i64>(), Ok(number));
    }
    assert!(see.try_recv().is_err());
    // a dropped handle leaves the callback in place
    drop(slow);
    drop(go);
    assert_eq!([see.recv(), see.recv(), see.recv()], [Ok(Some(1)), Ok(Some(2)), Ok(None)]);
    assert!(see.recv().is_err());
}
