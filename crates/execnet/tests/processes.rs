//! Processes over a real socket: bytes, ends, signals, memory, many threads.

mod fake;

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use execnet::{
    ExitStatus, Interrupt, Network, News, Process, ProcessError, ProcessEvent, Signal, StartError,
};
use fake::{Fake, patterned};

fn start(network: &Network, args: &[&str]) -> Process {
    network.process().args(args).start().unwrap()
}

fn read_all(mut output: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    output.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Reads the pattern to its end, and returns its length.
fn read_pattern(mut output: impl Read) -> u64 {
    let mut buffer = vec![0; 256 * 1024];
    let mut count = 0;
    loop {
        let read = output.read(&mut buffer).unwrap();
        if read == 0 {
            return count;
        }
        assert!(buffer[..read] == patterned(count, read), "wrong bytes behind {count}");
        count += read as u64;
    }
}

fn write_pattern(mut stdin: impl Write, length: u64) {
    let mut count = 0;
    while count < length {
        let part = (length - count).min(1 << 20) as usize;
        stdin.write_all(&patterned(count, part)).unwrap();
        count += part as u64;
    }
}

#[test]
fn a_process_echoes_and_ends() {
    let fake = Fake::new();
    let network = fake.connect();
    let process = network.process().arg("echo").platform("linux").start().unwrap();
    let node = process.node();
    assert_eq!((node.name.as_str(), node.version.as_str()), ("alpha", "3.11.2"));
    let mut stdin = process.stdin().close_on_drop();
    let mut stdout = process.stdout();
    for text in ["hello", "again"] {
        stdin.write_all(text.as_bytes()).unwrap();
        let mut buffer = [0; 5];
        stdout.read_exact(&mut buffer).unwrap();
        assert_eq!(buffer, text.as_bytes());
    }
    assert_eq!(process.try_wait(), Ok(None));
    assert!(!stdin.is_closed());
    drop(stdin);
    assert_eq!(process.wait(), Ok(ExitStatus::Exited(0)));
    assert_eq!(process.pid(), Some(4711));
    assert_eq!(read_all(stdout), b"");
    assert_eq!(process.wait_timeout(Duration::ZERO), Ok(Some(ExitStatus::Exited(0))));
}

#[test]
fn a_hundred_megabytes_pass_in_each_direction_at_a_time() {
    const LENGTH: u64 = 100_000_000;
    let fake = Fake::new();
    let network = fake.connect();
    let up = start(&network, &["compare"]);
    let down = start(&network, &["source", &LENGTH.to_string()]);
    thread::scope(|scope| {
        scope.spawn(|| write_pattern(up.stdin().close_on_drop(), LENGTH));
        assert_eq!(read_pattern(down.stdout()), LENGTH);
    });
    assert_eq!(String::from_utf8(read_all(up.stdout())).unwrap(), format!("{LENGTH} false"));
    assert_eq!(up.wait(), Ok(ExitStatus::Exited(0)));
    assert_eq!(down.wait(), Ok(ExitStatus::Exited(0)));
}

#[test]
fn ends_are_told_as_they_are() {
    let fake = Fake::new();
    let network = fake.connect();
    let process = start(&network, &["exit", "3"]);
    assert_eq!(process.wait(), Ok(ExitStatus::Exited(3)));
    assert_eq!(read_all(process.stderr()), b"bye");

    let process = start(&network, &["deaf"]);
    process.signal(Signal::Term).unwrap();
    let status = process.wait().unwrap();
    assert_eq!((status.clone(), status.code()), (ExitStatus::Signaled(15), 143));

    let process = start(&network, &["missing"]);
    let status = process.wait().unwrap();
    assert_eq!(status, ExitStatus::NotStarted { errno: 2, message: "no such file".into() });
    let events: Vec<_> = process.events().collect();
    assert_eq!(events, [ProcessEvent::Ended(status)]);
}

#[test]
fn signals_reach_a_process_that_handles_them() {
    let fake = Fake::new();
    let network = fake.connect();
    let process = start(&network, &["trap"]);
    for (signal, said) in [(Signal::Int, "2 "), (Signal::Usr1, "10 "), (Signal::Int, "2 ")] {
        process.signal(signal).unwrap();
        let mut buffer = vec![0; said.len()];
        process.stdout().read_exact(&mut buffer).unwrap();
        assert_eq!(buffer, said.as_bytes());
    }
    process.stdin().close().unwrap();
    assert!(process.wait().unwrap().success());
    process.signal(Signal::Int).unwrap();
}

#[test]
fn writing_to_a_closed_stdin_is_a_broken_pipe() {
    let fake = Fake::new();
    let network = fake.connect();
    let process = start(&network, &["shut"]);
    // a writer that waits for room is told, too
    let error = process.stdin().write_all(&vec![0; 4 << 20]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    assert!(process.stdin().is_closed());

    let process = start(&network, &["echo"]);
    process.stdin().close().unwrap();
    process.stdin().close().unwrap();
    assert_eq!(process.stdin().write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);

    let process = start(&network, &["exit", "0"]);
    process.wait().unwrap();
    assert_eq!(process.stdin().write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
}

#[test]
fn closing_output_ends_its_reader_and_tells_the_process() {
    let fake = Fake::new();
    let network = fake.connect();
    let process = start(&network, &["source", "1000000000000"]);
    let mut stdout = process.stdout();
    stdout.read_exact(&mut [0; 1000]).unwrap();
    stdout.close().unwrap();
    assert_eq!(read_all(stdout), b"");
    assert_eq!(process.wait(), Ok(ExitStatus::Exited(1)));
}

#[test]
fn a_reader_that_stops_costs_a_window_and_delays_nobody_else() {
    let fake = Fake::new();
    let network = fake.connect();
    let lazy = start(&network, &["source", "300000000"]);
    lazy.stdout().read_exact(&mut [0; 1]).unwrap();
    let deaf = start(&network, &["deaf"]);
    let (mut written, least) = (0, 2 << 20);
    // what must fit may take its time
    let limit =
        |written| if written < least { execnet_testkit::PATIENCE } else { Duration::from_millis(200) };
    while let Ok(count) = deaf.stdin().write_timeout(&[0; 65_536], limit(written)) {
        written += count;
    }
    assert!((least..=4 << 20).contains(&written), "{written}");

    let lively = start(&network, &["source", "20000000"]);
    assert_eq!(read_pattern(lively.stdout()), 20_000_000);
    let echo = start(&network, &["echo"]);
    for _ in 0..100 {
        echo.stdin().write_all(b"x").unwrap();
        echo.stdout().read_exact(&mut [0]).unwrap();
    }
    assert_eq!(lazy.wait_timeout(Duration::ZERO), Ok(None));
}

#[test]
fn many_threads_use_one_connection() {
    let fake = Fake::new();
    let network = fake.connect();
    thread::scope(|scope| {
        for number in 0..16_u64 {
            let network = network.clone();
            scope.spawn(move || {
                for round in 0..10 {
                    let process = start(&network, &["echo"]);
                    let length = 1 + (number * 10 + round) * 3_001;
                    thread::scope(|scope| {
                        scope.spawn(|| write_pattern(process.stdin().close_on_drop(), length));
                        assert_eq!(read_pattern(process.stdout()), length);
                    });
                    assert!(process.wait().unwrap().success());
                }
            });
        }
    });
    network.status().unwrap();
    assert!(fake.running().is_empty());
}

#[test]
fn a_selection_without_a_match_is_refused_with_the_daemons_words() {
    let fake = Fake::new();
    let network = fake.connect();
    let error = network.process().node("nowhere").start().unwrap_err();
    assert!(matches!(error, StartError::NoMatch { .. }), "{error:?}");
    assert_eq!(error.to_string(), "no node is called nowhere; there is alpha");
    assert!(network.process().python_version("new").is_err());
}

#[test]
fn impossible_arguments_are_refused_before_they_are_sent() {
    let fake = Fake::new();
    let network = fake.connect();
    let errors = [
        network.process().arg("a\0b").start().unwrap_err(),
        network.process().env("A=B", "c").start().unwrap_err(),
        network.process().arg("x".repeat(2 << 20)).start().unwrap_err(),
        network.process().args(vec![""; 70_000]).start().unwrap_err(),
        network.process().chdir("x".repeat(70_000)).start().unwrap_err(),
    ];
    assert!(matches!(errors[0], StartError::Invalid { .. }));
    assert!(matches!(errors[1], StartError::Invalid { .. }));
    assert!(errors[2..].iter().all(|error| matches!(error, StartError::TooLong { .. })), "{errors:?}");
    let most = network.process().arg("exit").arg("0").arg("x".repeat(1_000_000)).start().unwrap();
    assert!(most.wait().unwrap().success());
}

#[test]
fn a_dropped_process_is_hung_up_and_its_streams_say_so() {
    let fake = Fake::new();
    let network = fake.connect();
    let process = start(&network, &["deaf"]);
    let stdout = process.stdout();
    let reader = thread::spawn(move || stdout.receive(1));
    let seen = process.events().next();
    assert_eq!(seen, Some(ProcessEvent::Started(4711)));
    assert_eq!(fake.running(), [process.id()]);
    drop(process);
    assert_eq!(reader.join().unwrap(), Err(ProcessError::HungUp { host: "alpha".into() }));
    // the daemon answers in order: it has forwarded the hang-up before
    network.status().unwrap();
    assert!(fake.running().is_empty());
}

#[test]
fn a_small_round_trip_is_not_slow() {
    let fake = Fake::new();
    let network = fake.connect();
    let process = start(&network, &["echo"]);
    let (mut stdin, mut stdout) = (process.stdin(), process.stdout());
    // the fastest one: on a busy machine others may be slow
    let round_trip = |_| {
        let begin = Instant::now();
        stdin.write_all(b"x").unwrap();
        stdout.read_exact(&mut [0]).unwrap();
        begin.elapsed()
    };
    let quickest = (0..2_000).map(round_trip).min().unwrap();
    assert!(quickest < Duration::from_millis(5), "{quickest:?}");
}

#[test]
fn one_thread_starts_and_watches_many_processes() {
    const LENGTH: u64 = 3_000_000;
    let fake = Fake::new();
    let network = fake.connect();
    let mut all = network.processes();
    let length = LENGTH.to_string();
    for number in 0..40 {
        let arguments = match number % 4 {
            0 => vec!["source", &length],
            1 => vec!["compare"],
            2 => vec!["missing"],
            _ => vec!["exit", "7"],
        };
        all.start(number, network.process().args(arguments)).unwrap();
    }
    all.start(40, network.process().node("nowhere")).unwrap();
    let (mut heard, mut ends, mut fed) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let input = bytes::Bytes::from(patterned(0, LENGTH as usize));
    while !all.is_empty() {
        for (number, news) in all.wait(None).unwrap() {
            assert!(!ends.contains_key(&number), "{number}: {news:?} after its end");
            match news {
                News::Placed => all.feed(number, number % 4 == 1),
                News::Stdout(bytes) => {
                    let count: &mut u64 = heard.entry(number).or_default();
                    match number % 4 {
                        0 => assert!(bytes == patterned(*count, bytes.len())),
                        _ => assert_eq!(bytes, format!("{LENGTH} false")),
                    }
                    *count += bytes.len() as u64;
                }
                News::Stderr(bytes) => assert_eq!((number % 4, &bytes[..]), (3, &b"bye"[..])),
                News::Room => {
                    let position: &mut usize = fed.entry(number).or_default();
                    *position += all.write(number, &input.slice(*position..));
                    if *position == input.len() {
                        all.close_stdin(number);
                        all.feed(number, false);
                    }
                }
                News::Ended(status) => drop(ends.insert(number, Some(status))),
                News::NotStarted(StartError::NoMatch { .. }) => drop(ends.insert(number, None)),
                other => panic!("{number}: {other:?}"),
            }
        }
    }
    assert_eq!(ends.len(), 41);
    for (number, end) in ends {
        match (number, number % 4) {
            (40, _) => assert_eq!(end, None),
            (_, 0) => assert_eq!((end, heard[&number]), (Some(ExitStatus::Exited(0)), LENGTH)),
            (_, 1) => assert_eq!((end, fed[&number]), (Some(ExitStatus::Exited(0)), input.len())),
            (_, 2) => assert!(matches!(end, Some(ExitStatus::NotStarted { errno: 2, .. }))),
            _ => assert_eq!(end, Some(ExitStatus::Exited(7))),
        }
    }
}

#[test]
fn a_wait_for_many_can_be_ended_and_processes_let_go() {
    let fake = Fake::new();
    let network = fake.connect();
    let mut all = network.processes();
    all.start(1, network.process().arg("deaf")).unwrap();
    all.start(2, network.process().arg("trap")).unwrap();
    let mut placed = 0;
    while placed < 2 {
        placed += all.wait(None).unwrap().iter().filter(|(_, news)| matches!(news, News::Placed)).count();
    }
    assert!(all.wait(Some(Duration::ZERO)).unwrap().is_empty());
    let me = Interrupt::this_thread();
    thread::spawn(move || me.raise());
    assert!(all.wait(None).unwrap().is_empty());
    assert!(all.signal(2, Signal::Term) && !all.signal(3, Signal::Term));
    all.release(1);
    assert!(!all.is_empty());
    all.release(2);
    assert!(all.is_empty());
    assert!(all.wait(Some(Duration::ZERO)).unwrap().is_empty());
}
