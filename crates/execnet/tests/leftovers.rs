//! A dropped connection leaves nothing behind. Alone in its program, because it counts threads and
//! descriptors.

mod fake;

use std::time::Duration;

use fake::Fake;

fn entries(folder: &str) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

#[test]
fn a_dropped_connection_leaves_no_thread_and_no_descriptor() {
    if !std::path::Path::new("/proc/self/task").exists() {
        println!("skipped, because this system has no /proc to count in");
        return;
    }
    let fake = Fake::new();
    let once = || {
        let network = fake.connect();
        let process = network.process().arg("deaf").start().unwrap();
        drop(network);
        // the process keeps the connection
        assert_eq!(process.wait_timeout(Duration::ZERO), Ok(None));
        let failed = execnet::connect("surely-not-running");
        assert!(failed.is_err());
    };
    // counted next to one more connection: once that one is answered, the fake daemon has noticed that the
    // earlier ones are gone
    let count = || {
        let network = fake.connect();
        network.status().unwrap();
        (entries("/proc/self/task"), entries("/proc/self/fd"))
    };
    once();
    let before = count();
    for _ in 0..50 {
        once();
    }
    // a joined thread may be listed for a moment longer
    let settled = (0..1_000).any(|_| count() == before);
    assert!(settled, "{:?} became {:?}", before, count());
}
