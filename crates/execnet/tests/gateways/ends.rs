//! How gateways end, and what waiting threads are told.

use std::time::Duration;

use execnet::{ChannelError, ExitStatus, Gateway, OpenError};
use execnet_testkit::{alive, kill, wait_until};

use crate::support::{PATIENCE, open, quiet};

fn pid(gateway: &Gateway) -> u32 {
    gateway.info().pid
}

#[test]
fn a_killed_interpreter_ends_every_wait_with_what_is_known() {
    let gateway = open();
    let channel = gateway
        .remote_exec(
            "import sys\nsys.stderr.write('last words\\n')\nsys.stderr.flush()\n\
             channel.send(1)\nchannel.receive()",
        )
        .unwrap();
    assert_eq!(channel.receive::<i64>(), Ok(1));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let channel = gateway.remote_exec("channel.receive()").unwrap();
            std::thread::spawn(move || channel.receive::<i64>())
        })
        .collect();
    let waits = channel.clone();
    let close = std::thread::spawn(move || waits.wait_close());
    kill(pid(&gateway));
    let errors = threads.into_iter().map(|thread| thread.join().unwrap().unwrap_err());
    for error in errors.chain([close.join().unwrap().unwrap_err(), channel.receive::<i64>().unwrap_err()]) {
        let ChannelError::GatewayDied(death) = &error else { panic!("{error:?}") };
        assert_eq!(death.status, Some(ExitStatus::Signaled(9)));
        assert_eq!((death.gateway.as_str(), death.stderr.as_str()), (gateway.id(), "last words\n"));
        let sentence = format!("gateway {} was ended by SIGKILL; it printed last:\nlast words", gateway.id());
        assert_eq!(error.to_string(), sentence);
    }
    assert!(!gateway.is_alive() && channel.is_closed());
    assert!(matches!(channel.send(1), Err(ChannelError::GatewayDied(_))));
    assert!(matches!(gateway.remote_exec("pass"), Err(ChannelError::GatewayDied(_))));
    assert_eq!(gateway.join().unwrap().status, Some(ExitStatus::Signaled(9)));
}

#[test]
fn values_that_arrived_can_be_received_after_the_end() {
    let gateway = open();
    let channel = gateway.remote_exec("import os\nfor i in range(3): channel.send(i)\nos._exit(3)").unwrap();
    assert_eq!(gateway.join_timeout(PATIENCE).unwrap().status, Some(ExitStatus::Exited(3)));
    for number in 0..3 {
        assert_eq!(channel.receive::<i64>(), Ok(number));
    }
    assert!(matches!(channel.receive::<i64>(), Err(ChannelError::GatewayDied(_))));
}

#[test]
fn a_gateway_that_is_told_to_end_ends() {
    let gateway = open();
    let channel = gateway.remote_exec("channel.receive()").unwrap();
    gateway.exit().unwrap();
    assert_eq!(gateway.join_timeout(PATIENCE).unwrap().status, Some(ExitStatus::Exited(0)));
    assert_eq!(channel.receive::<i64>(), Err(ChannelError::Closed));
    assert_eq!(channel.send(1), Err(ChannelError::Closed));
    assert!(matches!(gateway.remote_exec("pass"), Err(ChannelError::Closed)));
    gateway.exit().unwrap();
}

#[test]
fn children_of_the_interpreter_end_with_it() {
    let gateway = open();
    let source = "import subprocess, sys\n\
                  child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)'])\n\
                  channel.send(child.pid)\nchannel.receive()";
    let channel = gateway.remote_exec(source).unwrap();
    let child: u32 = channel.receive().unwrap();
    gateway.kill().unwrap();
    assert_eq!(gateway.join_timeout(PATIENCE).unwrap().status, Some(ExitStatus::Signaled(9)));
    wait_until(PATIENCE, "the child to end", || !alive(child));
}

#[test]
fn a_killed_interpreter_is_noticed_although_a_child_of_it_holds_its_pipes() {
    let gateway = open();
    let source = "import os, time\n\
                  pid = os.fork()\n\
                  if not pid:\n\
                  \x20   os.setsid()\n\
                  \x20   time.sleep(1000)\n\
                  \x20   os._exit(0)\n\
                  channel.send(pid)\nchannel.receive()";
    let channel = gateway.remote_exec(source).unwrap();
    let child: u32 = channel.receive().unwrap();
    kill(pid(&gateway));
    assert!(matches!(channel.receive::<i64>(), Err(ChannelError::GatewayDied(_))));
    kill(child);
}

#[test]
fn a_dropped_gateway_ends_although_it_is_busy() {
    let gateway = open();
    let pid = pid(&gateway);
    let channel = gateway.remote_exec("channel.send(1)\nchannel.receive()").unwrap();
    assert_eq!(channel.receive::<i64>(), Ok(1));
    drop(gateway);
    // the channel keeps it open
    channel.send(1).unwrap();
    assert!(alive(pid));
    drop(channel);
    wait_until(PATIENCE, "the interpreter to end", || !alive(pid));
}

#[test]
fn a_group_ends_what_does_not_end_by_itself() {
    let group = execnet::Group::new();
    let gateway = group.popen().on_output(|_, _| {}).start().unwrap();
    let source = "import signal, time\n\
                  signal.signal(signal.SIGINT, signal.SIG_IGN)\n\
                  channel.send(1)\n\
                  while True: time.sleep(1)";
    let channel = gateway.remote_exec(source).unwrap();
    assert_eq!(channel.receive::<i64>(), Ok(1));
    group.terminate_timeout(Duration::from_millis(100)).unwrap();
    assert!(!alive(pid(&gateway)));
}

#[test]
fn an_interruption_reaches_the_main_thread() {
    let gateway = open();
    let channel = gateway.remote_exec("import time\nchannel.send(1)\nwhile True: time.sleep(0.01)").unwrap();
    assert_eq!(channel.receive::<i64>(), Ok(1));
    gateway.interrupt().unwrap();
    let error = channel.wait_close_timeout(PATIENCE).unwrap_err();
    assert!(error.to_string().contains("keyboard-interrupted"), "{error}");
    let channel = gateway.remote_exec("channel.send(2)").unwrap();
    assert_eq!(channel.receive::<i64>(), Ok(2));
}

#[test]
fn a_program_that_is_no_interpreter_fails_with_its_own_words() {
    let script = "echo 'Welcome to \x1b[1mthis\x1b[0m machine'; echo 'no Python here' >&2; exit 3";
    let error = Gateway::popen()
        .id("x")
        .on_output(|_, _| {})
        .python_args(["sh", "-c", script, "sh"])
        .start()
        .unwrap_err();
    let OpenError::Failed { death, noise, .. } = &error else { panic!("{error:?}") };
    assert_eq!(death.status, Some(ExitStatus::Exited(3)));
    assert_eq!(
        (noise.as_str(), death.stderr.as_str()),
        ("Welcome to \\x1b[1mthis\\x1b[0m machine\n", "no Python here\n")
    );
    let text = "gateway x exited with status 3; it printed last:\nno Python here; it wrote to stdout:\n\
                Welcome to \\x1b[1mthis\\x1b[0m machine";
    assert_eq!(error.to_string(), text);

    let error = Gateway::popen().python("/nowhere/python").start().unwrap_err();
    assert_eq!(error.to_string(), "cannot start `/nowhere/python`");
    let error = Gateway::popen().id("x").python("true").start().unwrap_err();
    assert_eq!(error.to_string(), "gateway x exited with status 0 without any output: is `true` a Python?");
    let error = Gateway::popen().node("x").start().unwrap_err();
    assert!(matches!(error, OpenError::Invalid(_)), "{error}");
    let error = quiet().chdir("/dev/null/x").start().unwrap_err();
    assert!(
        matches!(&error, OpenError::Failed { death, .. } if death.status == Some(ExitStatus::Exited(94))),
        "{error}"
    );
    let told = error.to_string();
    assert!(told.contains(" did not start: cannot make the folder /dev/null/x: "), "{told}");
    assert!(!told.contains("94") && !told.contains('\n'), "{told}");
    let script = "echo before >&2; echo 'execnet: cannot do it' >&2; exit 94";
    let error = quiet().id("y").python_args(["sh", "-c", script, "sh"]).start().unwrap_err();
    assert_eq!(error.to_string(), "gateway y did not start: cannot do it; it printed before:\nbefore");
}

#[test]
fn a_program_that_echoes_is_said_to_be_no_python_and_cut_short() {
    let error = quiet().id("x").python_args(["echo", "hi"]).start().unwrap_err();
    let (told, was) = (error.to_string(), "gateway x exited with status 0; `echo hi` is no Python: ");
    assert_eq!(told, format!("{was}it printed its input: hi -u -c exec(\"…"));
    let long = format!("printf '%s' {}; exit 1", "x".repeat(4_000));
    let told = quiet().python_args(["sh", "-c", &long, "sh"]).start().unwrap_err().to_string();
    assert!(told.ends_with("x…") && told.len() < 400, "{told}");
}

#[test]
fn an_interpreter_that_is_not_ready_in_time_is_ended() {
    let script = "echo $$; exec sleep 1000";
    let mut limit = Duration::from_millis(300);
    let pid: u32 = loop {
        let error = Gateway::popen().python_args(["sh", "-c", script, "sh"]).timeout(limit).start();
        let Err(OpenError::TimedOut { noise, .. }) = error else { panic!("{error:?}") };
        // on a busy machine nothing is said in such a time
        let Some(pid) = noise.lines().next() else {
            assert!(limit < PATIENCE);
            limit *= 2;
            continue;
        };
        break pid.parse().unwrap();
    };
    wait_until(PATIENCE, "it to end", || !alive(pid));
}

#[test]
fn a_kernel_that_breaks_the_rules_is_ended_with_a_sentence() {
    let marker = r"\r\nexecnet kernel 1\r\n";
    for (said, why) in [
        (r"\143\0\0\0\0\0\0\0\0", "a frame of unknown kind 99"),
        (r"\03\0\0\0\02\0\0\0\01N", "a frame Data before HELLO"),
        (r"\01\0\0\0\0\0\0\0\01[", "HELLO: malformed value, byte 0: it ends too early"),
        (r"\01\0\0\0\0\0\0\0\02{0", "HELLO: no `version`"),
    ] {
        let script = format!("printf '{marker}{said}'; exec sleep 1000");
        let error = Gateway::popen().python_args(["sh", "-c", &script, "sh"]).start().unwrap_err();
        let OpenError::Failed { death, .. } = &error else { panic!("{error:?}") };
        assert_eq!(death.reason, Some(format!("its kernel broke the protocol: {why}")));
    }
}

/// A kernel that greets, waits for code, and then sends `frames`, a Python expression in which `frame(kind,
/// channel, payload)` makes a frame.
fn liar(frames: &str) -> Gateway {
    let script = format!(
        "import marshal, os, struct, time\n\
         def frame(kind, channel, payload):\n \
         return struct.pack('>BII', kind, channel, len(payload)) + payload\n\
         hello = dict(version=1, pid=os.getpid(), executable='', version_info=(3, 11), platform='', cwd='',\n\
         \x20            implementation='cpython', dialect=3, maxsize=5)\n\
         os.write(1, b'\\r\\nexecnet kernel 1\\r\\n' + frame(1, 0, marshal.dumps(hello, 2)))\n\
         data = b''\n\
         while b'the code' not in data: data += os.read(0, 65536)\n\
         os.write(1, {frames})\n\
         time.sleep(1000)"
    );
    // after `-c` comes the stage, which this one does not execute
    Gateway::popen().python_args([crate::support::python(), "-c".into(), script]).start().unwrap()
}

#[test]
fn a_malformed_value_ends_its_gateway_and_nothing_else() {
    let other = open();
    for (frames, why) in [
        ("frame(3, 1, b'[')", "malformed value, byte 0: it ends too early"),
        ("frame(10, 1, b'[')", "malformed value, byte 0: it ends too early"),
        (
            "frame(10, 1, b'(\\x03\\0\\0\\0.i\\0\\0\\0\\0i\\x09\\0\\0\\0')",
            "a value with channel 9, which does not exist",
        ),
        ("frame(4, 1, b'N')", "CLOSE with a None"),
        ("frame(3, 1, b'N' * (8 << 20)) + frame(3, 1, b'N')", "more on channel 1 than it has credit for"),
        (
            "b''.join(frame(3, 2 * n, b'N') for n in range(1, 5000))",
            "it opened 4096 channels that nobody has taken",
        ),
    ] {
        let gateway = liar(frames);
        let channel = gateway.remote_exec("the code").unwrap();
        // nobody has to receive it; malformed values are found by the thread that receives them
        let first = channel.receive::<i64>().unwrap_err();
        assert!(matches!(first, ChannelError::Load(_) | ChannelError::GatewayDied(_)), "{first}");
        let death = gateway.join_timeout(PATIENCE).unwrap();
        assert_eq!(death.reason, Some(format!("its kernel broke the protocol: {why}")));
        assert_eq!(death.status, Some(ExitStatus::Signaled(9)));
    }
    let channel = other.remote_exec("channel.send(1)").unwrap();
    assert_eq!(channel.receive::<i64>(), Ok(1));
}
