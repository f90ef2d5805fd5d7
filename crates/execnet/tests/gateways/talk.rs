//! Values and errors, both ways.

use std::collections::BTreeMap;
use std::time::Duration;

use execnet::value::{BigInt, StrConfig, Text, Value};
use execnet::{Channel, ChannelError, Code, ExecModel, Gateway};
use serde::{Deserialize, Serialize};

use crate::support::{PATIENCE, open, path, python, pythons, quiet};

const ECHO: &str = "for value in channel: channel.send(value)";

fn values(dialect: i64) -> Vec<Value> {
    let mut values = vec![
        Value::None,
        Value::Bool(true),
        Value::Int(0),
        Value::Int(-1),
        Value::Int(i32::MAX.into()),
        Value::Int(i64::from(i32::MIN) - 1),
        Value::Int(i64::MAX),
        Value::Int(i64::MIN),
        Value::BigInt(BigInt::from(i128::MAX)),
        Value::BigInt(BigInt::new(true, vec![7; 1_000])),
        Value::Float(0.1),
        Value::Float(f64::NEG_INFINITY),
        Value::Complex(1.5, -2.5),
        Value::from(""),
        Value::from("grüße \u{1f600}"),
        Value::List(vec![]),
        Value::Tuple(vec![Value::Int(1), Value::List(vec![Value::from("x")])]),
        Value::Dict(vec![
            (Value::from("a"), Value::None),
            (Value::Tuple(vec![Value::Int(1)]), Value::Dict(vec![])),
        ]),
        Value::Set(vec![Value::Int(5)]),
        Value::FrozenSet(vec![Value::from("f")]),
        Value::Str(Text::from_bytes(&b"lone \xed\xa0\x80"[..]).unwrap()),
        Value::List(vec![Value::from("x".repeat(100_000)), Value::Int(1)]),
    ];
    if dialect == 3 {
        values.push(Value::Bytes(vec![0, 255, 128]));
    }
    values
}

fn check_echo(gateway: &Gateway) {
    let channel = gateway.remote_exec(ECHO).unwrap();
    let dialect = if gateway.info().version().0 == 2 { 2 } else { 3 };
    for value in values(dialect) {
        channel.send(&value).unwrap();
        assert_eq!(channel.receive::<Value>().unwrap(), value);
    }
    let deep = (0..1_900).fold(Value::None, |value, _| Value::List(vec![value]));
    channel.send(&deep).unwrap();
    assert!(channel.receive::<Value>().unwrap() == deep);
}

#[test]
fn values_come_back_as_they_went_on_every_interpreter() {
    for interpreter in pythons() {
        let gateway = quiet().python(path(&interpreter)).start().unwrap();
        let (major, minor) = gateway.info().version();
        assert!(interpreter.version.starts_with(&format!("{major}.{minor}.")), "{:?}", gateway.info());
        assert_eq!(gateway.info().implementation == "pypy", interpreter.name == "pypy3");
        check_echo(&gateway);
    }
}

#[test]
fn jython_is_an_interpreter_like_others() {
    for interpreter in execnet_testkit::require(&["jython"]).unwrap() {
        let gateway = quiet().python(path(&interpreter)).start().unwrap();
        assert_eq!(gateway.info().implementation, "jython");
        let channel = gateway.remote_exec(ECHO).unwrap();
        let text = Value::from("grüße \u{1f600}");
        for value in [Value::Int(5), text, Value::Float(2.5), Value::Tuple(vec![])] {
            channel.send(&value).unwrap();
            assert_eq!(channel.receive::<Value>().unwrap(), value);
        }
        let lone = Value::Str(Text::from_bytes(&b"lone \xed\xa0\x80"[..]).unwrap());
        let error = channel.send([Value::None, lone]).unwrap_err();
        assert!(matches!(&error, ChannelError::Dump(error) if error.place() == "[1]"), "{error}");
        channel.send(gateway.new_channel().unwrap()).unwrap();
        assert!(channel.receive::<Channel>().is_ok());
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Job {
    name: String,
    sizes: Vec<u64>,
    limit: Option<f64>,
    data: bytes::Bytes,
    tags: BTreeMap<String, (i64, bool)>,
    kind: Kind,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    Fast,
    Slow { factor: u8 },
}

#[test]
fn types_of_the_program_travel_as_what_python_knows() {
    let gateway = open();
    let channel = gateway
        .remote_exec(
            "job = channel.receive()\n\
             assert job['name'] == 'x' and job['sizes'] == [1, 2**63] and job['limit'] is None, job\n\
             assert job['data'] == b'\\x00\\xff' and job['tags'] == {'t': (-1, True)}, job\n\
             assert job['kind'] == {'Slow': {'factor': 3}}, job\n\
             job['kind'] = 'Fast'\n\
             channel.send(job)",
        )
        .unwrap();
    let job = Job {
        name: "x".into(),
        sizes: vec![1, 1 << 63],
        limit: None,
        data: bytes::Bytes::from_static(b"\0\xff"),
        tags: BTreeMap::from([("t".into(), (-1, true))]),
        kind: Kind::Slow { factor: 3 },
    };
    channel.send(&job).unwrap();
    assert_eq!(channel.receive::<Job>().unwrap(), Job { kind: Kind::Fast, ..job });
    assert_eq!(channel.wait_close_timeout(PATIENCE), Ok(()));
}

#[test]
fn a_value_of_another_type_is_an_error_and_the_channel_goes_on() {
    let gateway = open();
    let channel = gateway.remote_exec("channel.send([1, {'k': 'text'}]); channel.send(5)").unwrap();
    let error = channel.receive::<(i64, BTreeMap<String, i64>)>().unwrap_err();
    assert!(matches!(&error, ChannelError::Load(error) if error.place() == "[1]['k']"), "{error}");
    assert_eq!(channel.receive::<i64>(), Ok(5));
}

#[test]
fn the_error_of_code_that_failed_is_its_traceback_and_comes_once() {
    let gateway = open();
    let channel = gateway.remote_exec("channel.send(1)\nraise ValueError('so nicht')").unwrap();
    assert_eq!(channel.receive::<i64>(), Ok(1));
    let Err(ChannelError::Remote(text)) = channel.receive::<i64>() else { panic!("no remote error") };
    assert!(text.contains("ValueError: so nicht") && text.contains("line 2"), "{text}");
    assert_eq!(channel.receive::<i64>(), Err(ChannelError::Closed));
    assert_eq!(channel.send(1), Err(ChannelError::Closed));
    assert!(channel.is_closed());

    let channel = gateway.remote_exec("this is no python").unwrap();
    assert!(matches!(
        channel.wait_close_timeout(PATIENCE),
        Err(ChannelError::Remote(text)) if text.contains("SyntaxError")
    ));
    assert_eq!(channel.wait_close_timeout(PATIENCE), Ok(()));
}

#[test]
fn functions_and_modules_are_executed_with_what_they_are_given() {
    let gateway = open();
    let source = "def twice(channel, number, text):\n    channel.send([2 * number, text])\n";
    let kwargs = [("number", Value::Int(21)), ("text", Value::from("t"))];
    let channel = gateway.remote_exec(Code::function(source, "twice", kwargs)).unwrap();
    assert_eq!(channel.receive::<(i64, String)>(), Ok((42, "t".into())));

    let code =
        Code::module("import sys; channel.send([__file__, sys.argv])", "/some/where.py").argv(["prog", "-v"]);
    let channel = gateway.remote_exec(code).unwrap();
    assert_eq!(channel.receive(), Ok(("/some/where.py".to_owned(), ("prog".to_owned(), "-v".to_owned()))));
}

#[test]
fn a_channel_can_be_the_stdin_of_code() {
    let gateway = open();
    let stdin = gateway.new_channel().unwrap();
    let code = Code::source("import sys; channel.send([line for line in sys.stdin])").stdin(&stdin);
    let channel = gateway.remote_exec(code.clone()).unwrap();
    for part in [&b"on"[..], b"e\ntwo\n", b"th\xc3", b"\xa4"] {
        stdin.send(Value::from(part)).unwrap();
    }
    stdin.close().unwrap();
    assert_eq!(channel.receive(), Ok(["one\n", "two\n", "thä"].map(String::from)));

    let other = open();
    assert!(matches!(other.remote_exec(code), Err(ChannelError::Dump(_))));

    let stdin = gateway.new_channel().unwrap();
    let channel = gateway.remote_exec(Code::source("pass").stdin(&stdin)).unwrap();
    channel.wait_close_timeout(PATIENCE).unwrap();
    stdin.wait_close_timeout(PATIENCE).unwrap();
    assert_eq!(stdin.send(1), Err(ChannelError::Closed));
}

#[test]
fn the_folder_and_the_environment_are_there_from_the_start() {
    let builder = Gateway::popen().start_in("/usr").env("PYTHONHASHSEED", "0").env("COLOUR", "blue");
    let gateway = builder.start().unwrap();
    let source =
        "import os, sys; channel.send((os.getcwd(), os.environ['COLOUR'], sys.flags.hash_randomization))";
    let channel = gateway.remote_exec(source).unwrap();
    assert_eq!(channel.receive(), Ok(("/usr".to_owned(), "blue".to_owned(), 0)));
    assert!(Gateway::popen().start_in("/not/there").start().is_err());
}

#[test]
fn channels_travel_in_values_both_ways() {
    let gateway = open();
    let channel = gateway
        .remote_exec(
            "theirs = channel.receive()['c']\n\
             mine = channel.gateway.newchannel()\n\
             channel.send([1, mine])\n\
             theirs.send(mine.receive() + 1)",
        )
        .unwrap();
    let ours = gateway.new_channel().unwrap();
    channel.send(BTreeMap::from([("c", &ours)])).unwrap();
    let (one, mine): (i64, Channel) = channel.receive().unwrap();
    assert_eq!((one, mine.gateway().id()), (1, gateway.id()));
    mine.send(41).unwrap();
    assert_eq!(ours.receive::<i64>(), Ok(42));
    assert_ne!(mine, ours);

    let stranger = open().new_channel().unwrap();
    let error = channel.send(&stranger).unwrap_err();
    assert_eq!(error.to_string(), "cannot send a channel of another gateway");
}

#[test]
fn text_of_python_2_is_what_the_program_says() {
    let Some(interpreter) = pythons().into_iter().find(|found| found.name == "2.7") else { return };
    let gateway = quiet().python(path(&interpreter)).start().unwrap();
    let source = "channel.send('s\\xff')\nchannel.send('s\\xff')\n\
                  channel.send(repr(channel.receive()))\nchannel.send(repr(channel.receive()))";
    let channel = gateway.remote_exec(source).unwrap();
    assert_eq!(channel.receive::<String>().unwrap(), "s\u{ff}");
    channel.reconfigure(StrConfig::new(false, true)).unwrap();
    assert_eq!(channel.receive::<Value>().unwrap(), Value::Bytes(b"s\xff".to_vec()));
    channel.send("é").unwrap();
    assert_eq!(channel.receive::<bytes::Bytes>().unwrap(), &b"'\\xc3\\xa9'"[..]);
    channel.reconfigure(StrConfig::default()).unwrap();
    channel.send("é").unwrap();
    assert_eq!(channel.receive::<String>().unwrap(), "u'\\xe9'");

    // bytes are available on request
    let source = "for n in range(2): channel.send({'deep': ['\\x00\\xff']})\nchannel.send(channel.receive())";
    let channel = gateway.remote_exec(source).unwrap();
    let deep = channel.receive::<BTreeMap<String, Vec<bytes::Bytes>>>().unwrap();
    assert_eq!(deep["deep"][0], &b"\0\xff"[..]);
    assert_eq!(channel.receive::<BTreeMap<String, Vec<Vec<u8>>>>().unwrap()["deep"][0], b"\0\xff");
    let data = bytes::Bytes::from_static(b"\0\xff\xe9");
    channel.send(&data).unwrap();
    assert_eq!(channel.receive::<bytes::Bytes>().unwrap(), data);
}

#[test]
fn settings_that_no_interpreter_can_start_with_are_named() {
    let fails = |builder: execnet::GatewayBuilder| builder.start().unwrap_err().to_string();
    assert_eq!(fails(quiet().python("")), "the name of the interpreter is empty");
    assert_eq!(fails(quiet().env("", "x")), "\"\" cannot be the name of a variable");
    assert_eq!(fails(quiet().env("A=", "x")), "\"A=\" cannot be the name of a variable");
    assert_eq!(fails(quiet().env("A", "\0")), "the variable `A` cannot have a NUL in its value");
}

#[test]
fn the_interpreter_is_set_up_as_the_builder_says() {
    let folder = std::env::temp_dir().join(format!("execnet-gateway-{}", std::process::id()));
    let gateway = quiet()
        .chdir(folder.join("new").to_str().unwrap())
        .env("EXECNET_TRY", "ä")
        .nice(3)
        .id("me")
        .dont_write_bytecode(true)
        .execmodel(ExecModel::MainThreadOnly)
        .start()
        .unwrap();
    let channel = gateway
        .remote_exec(
            "import os, sys\n\
             channel.send((os.getcwd(), os.environ['EXECNET_TRY'], os.nice(0), sys.dont_write_bytecode,\n\
                           channel.gateway.id, os.getsid(0) == os.getpid()))",
        )
        .unwrap();
    let (cwd, variable, nice, dont, id, leads): (String, String, i64, bool, String, bool) =
        channel.receive().unwrap();
    assert_eq!(cwd, folder.canonicalize().unwrap().join("new").to_str().unwrap());
    assert_eq!((variable.as_str(), dont, id.as_str(), leads), ("ä", true, "me", true));
    assert!(nice >= 3, "{nice}");
    assert_eq!((gateway.id(), gateway.node()), ("me", None));
    let status = gateway.remote_status_timeout(PATIENCE).unwrap();
    assert_eq!(status.execmodel, "main_thread_only");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_status_tells_what_runs() {
    let gateway = open();
    let channel = gateway.remote_exec("channel.send(1); channel.receive()").unwrap();
    assert_eq!(channel.receive::<i64>(), Ok(1));
    assert_eq!(gateway.remote_status_timeout(PATIENCE).unwrap().numexecuting, 1);
    channel.send(()).unwrap();
    channel.wait_close_timeout(PATIENCE).unwrap();
    let idle = || gateway.remote_status_timeout(PATIENCE).unwrap().numexecuting == 0;
    execnet_testkit::wait_until(PATIENCE, "the execution to end", idle);
}

#[test]
fn an_iterator_ends_with_the_channel() {
    let gateway = open();
    let channel = gateway.remote_exec("for number in range(5): channel.send(number)").unwrap();
    let numbers: Vec<i64> = channel.iter().collect::<Result<_, _>>().unwrap();
    assert_eq!(numbers, [0, 1, 2, 3, 4]);
    let channel = gateway.remote_exec("channel.send(1); 1 / 0").unwrap();
    let results: Vec<Result<i64, _>> = channel.iter().collect();
    assert!(matches!(&results[..], [Ok(1), Err(ChannelError::Remote(_))]), "{results:?}");
}

#[test]
fn several_channels_are_used_as_one() {
    let group = execnet::Group::new();
    group.popen().python(python()).on_output(|_, _| {}).start_many(3).unwrap();
    let mut ids: Vec<String> = group.gateways().iter().map(|gateway| gateway.id().to_owned()).collect();
    ids.sort();
    assert_eq!(ids, ["gw0", "gw1", "gw2"]);
    assert!(group.get("gw1").is_some() && group.get("gw3").is_none() && group.at(2).is_some());
    assert!(group.popen().id("gw1").start().is_err());
    // either all of them are opened or none
    assert!(group.popen().python(python()).id("gw").start_many(4).is_err());
    assert_eq!(group.len(), 3);

    let channels = group.remote_exec("channel.send(channel.receive() + 1); channel.send('end')").unwrap();
    channels.send_each(1).unwrap();
    let received = channels.receive_each::<i64>().unwrap();
    assert!(received.len() == 3 && received.iter().all(|(_, value)| *value == 2));
    let mut queue = channels.make_receive_queue::<String>().unwrap();
    let mut from = Vec::new();
    while let Some((channel, value)) = queue.receive_timeout(PATIENCE).unwrap() {
        assert_eq!(value, "end");
        from.push(channel.gateway().id().to_owned());
    }
    from.sort();
    assert_eq!(from, ids);
    channels.wait_close_timeout(PATIENCE).unwrap();
    group.terminate_timeout(PATIENCE).unwrap();
    assert!(group.is_empty() && received.iter().all(|(gateway, _)| !gateway.is_alive()));
}

#[test]
fn waiting_ends_in_time_and_by_interruption_and_nothing_is_lost() {
    let gateway = open();
    let channel = gateway.remote_exec(ECHO).unwrap();
    assert_eq!(channel.receive_timeout::<i64>(Duration::from_millis(20)), Err(ChannelError::TimedOut));
    channel.send(1).unwrap();
    assert_eq!(channel.receive::<i64>(), Ok(1));

    // as the reader, and as one of two that wait
    for _ in 0..20 {
        let (told, telling) = std::sync::mpsc::channel();
        let waits = |channel: Channel| {
            let told = told.clone();
            std::thread::spawn(move || {
                told.send(execnet::Interrupt::this_thread()).unwrap();
                channel.receive::<i64>()
            })
        };
        let threads = [waits(channel.clone()), waits(gateway.new_channel().unwrap())];
        for _ in &threads {
            telling.recv().unwrap().raise();
        }
        for thread in threads {
            assert_eq!(thread.join().unwrap(), Err(ChannelError::Interrupted));
        }
        channel.send(2).unwrap();
        assert_eq!(channel.receive::<i64>(), Ok(2));
    }
}

#[test]
fn each_waiting_thread_gets_its_value_however_many_wait() {
    let gateway = open();
    std::thread::scope(|scope| {
        for number in 0..16_i64 {
            let channel = gateway.remote_exec(ECHO).unwrap();
            scope.spawn(move || {
                for round in 0..200 {
                    channel.send(1_000 * number + round).unwrap();
                    assert_eq!(channel.receive::<i64>(), Ok(1_000 * number + round));
                }
            });
        }
    });
}

#[test]
fn closing_ends_a_wait_in_another_thread() {
    let gateway = open();
    let channel = gateway.remote_exec(ECHO).unwrap();
    channel.send(1).unwrap();
    assert_eq!(channel.receive::<i64>(), Ok(1));
    for by in [Channel::close, |channel: &Channel| channel.gateway().kill()] {
        let channel = gateway.remote_exec(ECHO).unwrap();
        let waits = channel.clone();
        let thread = std::thread::spawn(move || waits.receive::<i64>());
        by(&channel).unwrap();
        let error = thread.join().unwrap().unwrap_err();
        assert!(matches!(error, ChannelError::Closed | ChannelError::GatewayDied(_)), "{error}");
    }
}

#[test]
fn nothing_is_lost_or_stuck_among_waits_that_end_early() {
    let gateway = open();
    std::thread::scope(|scope| {
        let (told, telling) = std::sync::mpsc::channel();
        let mut threads = Vec::new();
        for number in 0..6_i64 {
            let (channel, told) = (gateway.remote_exec(ECHO).unwrap(), told.clone());
            threads.push(scope.spawn(move || {
                told.send(execnet::Interrupt::this_thread()).unwrap();
                for round in 0..400 {
                    let value = 1_000 * number + round;
                    while let Err(error) = channel.send_timeout(value, Duration::from_micros(50)) {
                        assert!(
                            matches!(error, ChannelError::TimedOut | ChannelError::Interrupted),
                            "{error}"
                        );
                    }
                    let timeout = Duration::from_micros(20 * (value % 7).unsigned_abs());
                    let received = loop {
                        match channel.receive_timeout::<i64>(timeout) {
                            Err(ChannelError::TimedOut | ChannelError::Interrupted) => {}
                            result => break result,
                        }
                    };
                    assert_eq!(received, Ok(value));
                }
            }));
        }
        let marks: Vec<_> = threads.iter().map(|_| telling.recv().unwrap()).collect();
        while threads.iter().any(|thread| !thread.is_finished()) {
            marks.iter().for_each(execnet::Interrupt::raise);
            // channels that come and go wake the reader
            let passing = gateway.new_channel().unwrap();
            passing.close().unwrap();
            std::thread::yield_now();
        }
    });
}

#[test]
fn opening_many_can_be_interrupted() {
    let (me, told) = (execnet::Interrupt::this_thread(), std::time::Instant::now());
    let script = "exec sleep 1000";
    let builder = Gateway::popen().python_args(["sh", "-c", script, "sh"]);
    me.raise();
    assert!(matches!(builder.start_many(4), Err(execnet::OpenError::Interrupted)));
    assert!(told.elapsed() < PATIENCE);
}

#[test]
fn nothing_is_sent_on_a_channel_that_was_closed_for_sending() {
    let gateway = open();
    let channel = gateway.remote_exec("channel.send(list(channel))").unwrap();
    channel.send(1).unwrap();
    channel.close_sending().unwrap();
    assert!(channel.is_closed());
    assert_eq!(channel.send(2), Err(ChannelError::Closed));
    assert_eq!(channel.receive::<Vec<i64>>(), Ok(vec![1]));
}
