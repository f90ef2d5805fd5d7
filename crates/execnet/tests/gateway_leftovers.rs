//! Gateways leave nothing behind. Alone in its program, because it counts threads, descriptors and children.

use std::time::Duration;

use execnet::Gateway;
use execnet_testkit::{children_of, require, wait_until};

fn entries(folder: &str) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

#[test]
fn two_hundred_gateways_leave_no_process_no_thread_and_no_descriptor() {
    let python = require(&["3.11"]).unwrap();
    let python = python.first().map_or("python3".into(), |found| found.path.to_str().unwrap().to_owned());
    let once = |count: usize| {
        let gateways = Gateway::popen().python(&python).start_many(count).unwrap();
        for (number, gateway) in gateways.iter().enumerate() {
            let channel = gateway.remote_exec("channel.send(channel.receive())").unwrap();
            channel.send(number).unwrap();
            if number % 2 == 0 {
                assert_eq!(channel.receive::<usize>(), Ok(number));
            } else {
                channel.set_callback(|_: Option<usize>| {}).unwrap();
            }
        }
        // some are told to end, some are killed, some are dropped
        for (number, gateway) in gateways.iter().enumerate() {
            match number % 3 {
                0 => gateway.exit().unwrap(),
                1 => gateway.kill().unwrap(),
                _ => {}
            }
        }
    };
    let count = || {
        let me = std::process::id();
        (children_of(me).len(), entries("/proc/self/task"), entries("/proc/self/fd"))
    };
    once(1);
    wait_until(execnet_testkit::PATIENCE, "the first one to end", || {
        children_of(std::process::id()).is_empty()
    });
    wait_until(execnet_testkit::PATIENCE, "its threads to end", || entries("/proc/self/task") <= 2);
    let before = count();
    for _ in 0..5 {
        once(40);
    }
    let mut last = count();
    for _ in 0..6_000 {
        if last == before {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
        last = count();
    }
    panic!("{before:?} became {last:?}");
}
