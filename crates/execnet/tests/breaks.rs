//! Interrupted waits and timeouts, broken links, replaced daemons, forks.

mod fake;

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::{Duration, Instant};

use execnet::{
    Connect, ConnectError, ExitStatus, Interrupt, Network, Process, ProcessError, ProcessEvent, RequestError,
    StartError, Verb,
};
use fake::{Fake, patterned};

const SHORT: Duration = Duration::from_millis(50);

fn start(network: &Network, args: &[&str]) -> Process {
    network.process().args(args).start().unwrap()
}

#[allow(clippy::needless_pass_by_value)]
fn timed_out<T: std::fmt::Debug>(result: Result<T, ProcessError>) {
    assert!(matches!(result, Err(ProcessError::TimedOut { .. })), "{result:?}");
}

/// Runs `wait` in a thread that is interrupted again and again until it returns.
fn interrupted<T: Send>(wait: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let (handle_tx, handle) = std::sync::mpsc::channel();
        let waits = scope.spawn(move || {
            handle_tx.send(Interrupt::this_thread()).unwrap();
            wait()
        });
        handle.recv().unwrap().raise();
        waits.join().unwrap()
    })
}

#[test]
fn every_wait_can_be_limited() {
    let fake = Fake::new();
    let network = fake.connect();
    let process = start(&network, &["deaf"]);
    assert_eq!(process.wait_timeout(SHORT), Ok(None));
    timed_out(process.stdout().read_timeout(&mut [0], SHORT));
    timed_out(process.stderr().receive_timeout(1, SHORT));
    while process.stdin().write_timeout(&[0; 65_536], SHORT).is_ok() {}
    timed_out(process.stdin().write_timeout(b"x", SHORT));
    let mut events = process.events();
    assert_eq!(events.next_timeout(SHORT), Ok(Some(ProcessEvent::Started(4711))));
    timed_out(events.next_timeout(SHORT));
    let mut replies = network.request(&Verb::Watch.into());
    assert!(replies.next().unwrap().is_ok());
    assert!(matches!(replies.next_timeout(SHORT), Some(Err(RequestError::TimedOut))));
    let error = network.process().node("silence").timeout(SHORT).start().unwrap_err();
    assert!(matches!(error, StartError::TimedOut { .. }), "{error:?}");
    // everything is still usable
    assert_eq!(network.status().unwrap().network, "fake");
}

#[test]
fn every_wait_can_be_interrupted() {
    let fake = Fake::new();
    let network = fake.connect();
    let process = start(&network, &["deaf"]);
    let is = |result: Result<(), ProcessError>| {
        assert!(matches!(result, Err(ProcessError::Interrupted { .. })), "{result:?}");
    };
    is(interrupted(|| process.wait().map(drop)));
    is(interrupted(|| process.stdout().receive(1).map(drop)));
    is(interrupted(|| {
        process.events().nth(1).map_or(Err(ProcessError::Interrupted { host: "".into() }), |_| Ok(()))
    }));
    let error = interrupted(|| process.stdin().write_all(&vec![0; 8 << 20]).unwrap_err());
    let error = error.get_ref().and_then(|error| error.downcast_ref::<ProcessError>()).cloned();
    is(Err(error.unwrap()));
    let error = interrupted(|| network.process().node("silence").start().unwrap_err());
    assert!(matches!(error, StartError::Interrupted), "{error:?}");
    let mut replies = network.request(&Verb::Watch.into());
    replies.next();
    let result = interrupted(|| replies.next());
    assert!(matches!(result, Some(Err(RequestError::Interrupted))), "{result:?}");
    assert_eq!(network.status().unwrap().network, "fake");
}

#[test]
fn waits_of_a_process_are_interrupted_together_and_those_of_others_are_not() {
    let fake = Fake::new();
    let network = fake.connect();
    let (one, other) = (start(&network, &["deaf"]), start(&network, &["deaf"]));
    thread::scope(|scope| {
        let waits = [
            scope.spawn(|| one.wait()),
            scope.spawn(|| one.stdout().receive(1).map(|_| ExitStatus::Exited(9))),
        ];
        let apart = scope.spawn(|| other.wait_timeout(execnet_testkit::PATIENCE));
        while waits.iter().any(|wait| !wait.is_finished()) {
            one.interrupt();
            thread::yield_now();
        }
        for wait in waits {
            assert_eq!(wait.join().unwrap(), Err(ProcessError::Interrupted { host: "alpha".into() }));
        }
        assert!(!apart.is_finished());
        while !apart.is_finished() {
            network.interrupt();
            thread::yield_now();
        }
        assert!(apart.join().unwrap().is_err());
    });
}

#[test]
fn a_result_that_is_there_comes_before_an_interruption() {
    let fake = Fake::new();
    let network = fake.connect();
    let process = start(&network, &["exit", "0"]);
    process.wait().unwrap();
    Interrupt::this_thread().raise();
    assert_eq!(process.wait(), Ok(ExitStatus::Exited(0)));
    assert!(Interrupt::this_thread().clear());
    assert!(!Interrupt::this_thread().clear());
}

#[test]
fn a_daemon_that_does_nothing_leaves_waits_their_limits_and_takes_no_memory() {
    let fake = Fake::new();
    let network = fake.connect();
    let process = start(&network, &["echo"]);
    let written = fake.paused(|| {
        timed_out(process.stdout().receive_timeout(1, SHORT));
        let mut written = 0;
        while let Ok(count) = process.stdin().write_timeout(&patterned(written, 65_536), SHORT) {
            written += count as u64;
        }
        assert!((2 << 20..=4 << 20).contains(&written), "{written}");
        written
    });
    let mut bytes = vec![0; written as usize];
    process.stdout().read_exact(&mut bytes).unwrap();
    assert!(bytes == patterned(0, bytes.len()));
}

/// Echoes `length` bytes of the pattern. Calls `disturb` whenever another tenth was read.
fn echo_through(process: &Process, length: u64, mut disturb: impl FnMut(u64)) {
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut stdin = process.stdin().close_on_drop();
            let mut count = 0;
            while count < length {
                let part = (length - count).min(65_536) as usize;
                stdin.write_all(&patterned(count, part)).unwrap();
                count += part as u64;
            }
        });
        let mut stdout = process.stdout();
        let (mut count, mut tenth) = (0, 1);
        let mut buffer = vec![0; 65_536];
        loop {
            let read = stdout.read(&mut buffer).unwrap();
            if read == 0 {
                break;
            }
            assert!(buffer[..read] == patterned(count, read), "wrong bytes behind {count}");
            count += read as u64;
            if count >= length / 10 * tenth {
                tenth += 1;
                disturb(tenth);
            }
        }
        assert_eq!(count, length);
    });
    assert_eq!(process.wait(), Ok(ExitStatus::Exited(0)));
}

#[test]
fn nothing_is_lost_when_a_link_breaks() {
    let fake = Fake::new();
    let network = fake.connect();
    let process = start(&network, &["echo"]);
    echo_through(&process, 30_000_000, |_| {
        fake.cut();
        fake.join();
    });
}

#[test]
fn nothing_is_lost_when_the_daemon_is_replaced() {
    let mut fake = Fake::new();
    let network = fake.connect();
    let process = start(&network, &["echo"]);
    echo_through(&process, 30_000_000, |_| {
        fake.kill();
        fake.start();
    });
    // the same connection continues to work
    assert!(start(&network, &["exit", "0"]).wait().unwrap().success());
    assert!(network.is_connected());
}

#[test]
fn an_unreachable_process_says_why_until_it_is_back() {
    let mut fake = Fake::new();
    let network = fake.connect();
    let process = start(&network, &["trap"]);
    let mut events = process.events();
    assert_eq!(events.next(), Some(ProcessEvent::Started(4711)));

    fake.cut();
    let why = "alpha is unreachable: the test cut its link".to_owned();
    assert_eq!(events.next(), Some(ProcessEvent::Unreachable(why.clone())));
    assert_eq!(process.unreachable(), Some(why));
    process.signal(execnet::Signal::Int).unwrap();
    timed_out(process.stdout().receive_timeout(1, SHORT));
    fake.join();
    assert_eq!(events.next(), Some(ProcessEvent::Reachable));
    assert_eq!(process.unreachable(), None);
    assert_eq!(process.stdout().receive(9).unwrap(), "2 ");

    fake.kill();
    assert_eq!(events.next(), Some(ProcessEvent::Unreachable("the network's daemon is gone".into())));
    assert!(!network.is_connected());
    let error = network.status().unwrap_err();
    assert!(matches!(error, RequestError::Connect(_) | RequestError::Disconnected { .. }), "{error:?}");
    let error = network.process().start().unwrap_err();
    assert!(matches!(error, StartError::Connect(_) | StartError::Disconnected { .. }), "{error:?}");
    fake.start();
    // the new daemon may say that it has not reached the host yet
    while events.next() != Some(ProcessEvent::Reachable) {}
    process.signal(execnet::Signal::Hup).unwrap();
    assert_eq!(process.stdout().receive(9).unwrap(), "1 ");
    process.stdin().close().unwrap();
    assert_eq!(events.next(), Some(ProcessEvent::Ended(ExitStatus::Exited(0))));
    assert_eq!(events.next(), None);
}

#[test]
fn a_loss_is_reported_and_never_an_end_of_file() {
    let mut fake = Fake::new();
    let network = fake.connect();
    let process = start(&network, &["deaf"]);
    assert_eq!(process.events().next(), Some(ProcessEvent::Started(4711)));
    let stdout = process.stdout();
    let reader = thread::spawn(move || stdout.receive(1));
    fake.kill();
    fake.reboot();
    fake.start();
    let error = reader.join().unwrap().unwrap_err();
    let said = error.to_string();
    assert!(said.starts_with("the process on host `alpha` was lost: "), "{said}");
    assert_eq!(process.wait(), Err(error.clone()));
    assert_eq!(process.stdin().write_timeout(b"x", SHORT), Err(error.clone()));
    assert_eq!(process.signal(execnet::Signal::Int), Err(error.clone()));
    assert!(process.stdin().write(b"x").is_err());
    let ProcessError::Lost(lost) = error else { panic!("{error:?}") };
    assert_eq!(process.events().last(), Some(ProcessEvent::Lost(lost)));
}

#[test]
fn a_removed_host_loses_its_processes_at_once() {
    let fake = Fake::new();
    let network = fake.connect();
    let process = start(&network, &["deaf"]);
    assert_eq!(process.events().next(), Some(ProcessEvent::Started(4711)));
    fake.remove_host();
    let said = process.wait().unwrap_err().to_string();
    assert_eq!(said, "the process on host `alpha` was lost: host alpha was removed from the network");
}

#[test]
fn a_daemon_that_stays_away_is_given_up_after_the_patience() {
    let mut fake = Fake::new();
    let network = Connect::at(&fake.socket).patience(Duration::from_millis(300)).open().unwrap();
    let process = start(&network, &["deaf"]);
    fake.kill();
    let said = process.wait().unwrap_err().to_string();
    assert!(said.contains("the network's daemon was gone for"), "{said}");
}

#[test]
fn without_processes_a_later_daemon_is_found_by_the_next_request() {
    let mut fake = Fake::new();
    let network = fake.connect();
    let mut replies = network.request(&Verb::Watch.into());
    replies.next().unwrap().unwrap();
    fake.kill();
    assert!(matches!(replies.next(), Some(Err(RequestError::Disconnected { .. }))));
    assert!(replies.next().is_none());
    let error = network.status().unwrap_err();
    assert!(matches!(error, RequestError::Connect(ConnectError::NotRunning { .. })), "{error:?}");
    fake.start();
    assert_eq!(network.status().unwrap().network, "fake");
}

#[test]
fn replies_come_in_order_and_refusals_are_errors() {
    let fake = Fake::new();
    let network = fake.connect();
    let watch = network.request(&Verb::Watch.into());
    let stop = network.request(&Verb::Stop { kept: None }.into());
    let parts: Vec<_> = stop.map(|reply| reply.unwrap()["left"][0].as_str().unwrap().to_owned()).collect();
    assert_eq!(parts, (0..1000).map(|part| part.to_string()).collect::<Vec<_>>());
    drop(watch);
    let error =
        network.ask::<serde_json::Value>(&Verb::RmHost { host: "x".into(), kept: None }.into()).unwrap_err();
    let RequestError::Refused(error) = error else { panic!("{error:?}") };
    assert_eq!((error.kind, error.message.as_str()), (execnet::control::ErrorKind::NoSuchHost, "no host x"));
    let daemon = network.daemon();
    assert_eq!((daemon.release.as_str(), daemon.pid), ("0.0.1", std::process::id()));
}

#[test]
fn kept_work_of_a_host_that_tells_late_is_found() {
    let fake = Fake::new();
    let network = fake.connect();
    assert!(network.kept(["late"]).unwrap().kept.is_empty());
    assert_eq!(network.find_kept("late").unwrap().host, "alpha");
    let fake = Fake::new();
    let said = fake.connect().find_kept("lste").unwrap_err().to_string();
    let why = "\nalpha may keep it, but could not be asked: it has not told yet";
    assert!(said.ends_with(&format!(" is kept as `lste`; did you mean `late`?{why}")), "{said}");
}

#[test]
fn connecting_fails_with_what_is_wrong() {
    let error = execnet::connect("no such name").unwrap_err();
    assert!(matches!(error, ConnectError::BadName(_)), "{error:?}");
    let error = execnet::connect("surely-not-running").unwrap_err();
    assert!(matches!(error, ConnectError::NotRunning { .. }), "{error:?}");
    let said = error.to_string();
    assert!(said.starts_with("the network `surely-not-running` is not running; "), "{said}");

    let folder = std::env::temp_dir().join(format!("execnet-connect-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("socket");
    std::fs::write(&path, "").unwrap();
    let error = Connect::at(&path).open().unwrap_err();
    assert!(matches!(error, ConnectError::NotOurs { .. }), "{error:?}");
    std::fs::remove_file(&path).unwrap();

    // a stale socket
    let listener = UnixListener::bind(&path).unwrap();
    drop(listener);
    let error = Connect::at(&path).open().unwrap_err();
    assert!(matches!(error, ConnectError::NotRunning { .. }), "{error:?}");
    std::fs::remove_file(&path).unwrap();

    let listener = UnixListener::bind(&path).unwrap();
    // only root can give it away
    if std::os::unix::fs::chown(&path, Some(65_534), None).is_ok() {
        let error = Connect::at(&path).open().unwrap_err();
        assert!(error.to_string().contains("belongs to user 65534; it is not trusted"), "{error}");
        std::os::unix::fs::chown(&path, Some(0), None).unwrap();
    }
    type Expected = fn(&ConnectError) -> bool;
    let answers: [(&[u8], Expected); 3] = [
        (b"HTTP/1.1 400 Bad Request\r\n", |error| matches!(error, ConnectError::NotADaemon { .. })),
        (b"\0execnet:link\0\0\x07", |error| matches!(error, ConnectError::OtherVersion { daemon: 7, .. })),
        (b"", |error| matches!(error, ConnectError::Closed { .. })),
    ];
    for (answer, expected) in answers {
        thread::scope(|scope| {
            scope.spawn(|| listener.accept().unwrap().0.write_all(answer).unwrap());
            let error = Connect::at(&path).open().unwrap_err();
            assert!(expected(&error), "{error:?}");
        });
    }
    // a stopped daemon
    let begin = Instant::now();
    let error = Connect::at(&path).timeout(SHORT).open().unwrap_err();
    assert!(matches!(error, ConnectError::Silent { .. }), "{error:?}");
    assert!(begin.elapsed() < Duration::from_secs(20));
    let error = interrupted(|| Connect::at(&path).open().unwrap_err());
    assert!(matches!(error, ConnectError::Interrupted), "{error:?}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_daemon_at_the_other_end_of_a_given_socket_ends_with_it() {
    let fake = Fake::new();
    let socket = UnixStream::connect(&fake.socket).unwrap();
    let other = socket.try_clone().unwrap();
    let network = Connect::over(socket).open().unwrap();
    let process = start(&network, &["deaf"]);
    assert_eq!(network.status().unwrap().network, "fake");
    other.shutdown(std::net::Shutdown::Both).unwrap();
    assert!(matches!(process.wait(), Err(ProcessError::Lost(_))));
    assert!(matches!(network.status(), Err(RequestError::Connect(ConnectError::Closed { .. }))));
}

#[test]
fn a_place_that_comes_too_late_is_given_back() {
    let fake = Fake::new();
    let network = fake.connect();
    let error = network.process().node("late").timeout(SHORT).start().unwrap_err();
    assert!(matches!(error, StartError::TimedOut { .. }), "{error:?}");
    // the daemon places it before it answers this
    assert_eq!(network.status().unwrap().hosts[0].processes, 1);
    while network.status().unwrap().hosts[0].processes > 0 {}
    assert!(fake.running().is_empty());
}
