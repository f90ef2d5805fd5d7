//! `execnet exec`: code on every node, and its results.

use std::fs;
use std::io::{Read, Write};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use execnet_testkit::{Lab, alive, kill, or_skip, processes_with_env, require, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::{Net, SOON, line, piped, text, with_small_files};

/// Two ssh hosts and one behind the first.
fn three() -> Option<Net> {
    let lab = or_skip(Lab::new())?;
    lab.host("inner").hidden().start().unwrap();
    lab.host("build1").reaches(["inner"]).start().unwrap();
    lab.host("build2").start().unwrap();
    let net = Net::new(Some(lab));
    net.start(&[&net.spec("build1", ""), &net.spec("build2", ""), "ssh=inner//via=build1"]);
    Some(net)
}

/// One node, on this machine.
fn local() -> Net {
    let net = Net::new(None);
    net.start(&["popen//id=here"]);
    net
}

impl Net {
    /// `execnet exec NAME ARGS…`.
    fn exec(&self, args: &[&str]) -> Command {
        let mut all = vec!["exec", &self.name];
        all.extend(args);
        self.execnet(all)
    }

    /// Runs it with this stdin.
    fn exec_fed(&self, args: &[&str], input: &[u8]) -> Output {
        let mut child = piped(self.exec(args));
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let writer = std::thread::spawn(move || {
            // some close stdin early
            let _ = stdin.write_all(&input);
        });
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        output
    }
}

/// Sorted lines, because nodes answer in any order.
fn sorted(bytes: &[u8]) -> Vec<String> {
    let mut lines: Vec<String> =
        String::from_utf8(bytes.to_vec()).unwrap().lines().map(String::from).collect();
    lines.sort();
    lines
}

fn interrupt(child: &Child) {
    kill_process(Pid::from_raw(child.id() as i32).unwrap(), Signal::INT).unwrap();
}

#[test]
fn code_runs_on_every_node_that_matches_and_lines_say_whose_they_are() {
    let Some(net) = three() else { return };
    let code = "import sys; channel.send(sys.argv); channel.send(sys.stdin.read()); print('out')\n\
                sys.stderr.write('err')";
    let output = net.exec(&[code, "--node", "a b"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let argv = "['-c', '--node', 'a b']";
    let lines = |node: &str| [format!("{node}: ''"), format!("{node}: {argv}")];
    assert_eq!(sorted(&output.stdout), ["build1", "build2", "inner"].map(lines).concat());
    let printed = |node: &str| [format!("{node}: err"), format!("{node}: out")];
    assert_eq!(sorted(&output.stderr), ["build1", "build2", "inner"].map(printed).concat());

    let code = "import os; channel.send((os.getcwd(), os.environ['COLOUR']))";
    let options = ["--node", "inner", "--chdir", "/usr", "--env", "COLOUR=deep blue"];
    let output = net.exec(&[&options[..], &[code]].concat()).output().unwrap();
    // a single node needs no mark
    assert_eq!(output.stdout, b"('/usr', 'deep blue')\n", "{}", text(&output));
    let output = net.exec(&["--one", "channel.send(1)"]).output().unwrap();
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &b"1\n"[..]), "{}", text(&output));
    // folded, what it prints is part of its answer, too
    let output = net.exec(&["--one", "-b", "print('out'); 1 / 0"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let (first, rest) = said.split_once('\n').unwrap();
    let node = first.strip_suffix(" (1):").unwrap();
    assert!(rest.starts_with("  out\n  Traceback") && rest.contains("\n  ZeroDivisionError: "), "{said}");
    assert!(rest.ends_with(&format!("\n0 ok, 1 failed: {node}\n")), "{said}");
}

#[test]
fn values_are_written_as_the_interpreter_itself_would() {
    let net = local();
    let code = r#"
import random, sys
random.seed(7)
values = [None, True, 0, -1, 2**63, -10**300, 1.0, 1e16, 1e-5, 123456789.125, float('inf'), float('nan'), 1j,
    complex(-0.0, 2), 1e22-3j,
    '', "it's", '"both\'', 'ä\n\r\t\x00\x1b\x7f\xa0\u202e\ufeff\U000e0041\ud800€🐍',
    b'', b'it\'s \x00\xff"',
    [], (), (1,), {}, set(), {1}, frozenset(), frozenset([(2,)]), {'a': [1, (2, {3: None})], (1,): b'x'}]
values += [random.choice([1, -1]) * random.random() * 10.0 ** random.randint(-320, 300) for _ in range(2000)]
values += [random.getrandbits(n) - random.getrandbits(n) for n in range(1, 2000, 7)]
blocks = list(range(0, 0x500, 64)) + [0x2000, 0x2040, 0x3000, 0xd7c0, 0xd800, 0xfe00, 0xff00]
values += [''.join(map(chr, range(n, n + 64))) for n in blocks]
for value in values:
    channel.send(value)
    print(repr(value))
"#;
    let output = net.exec(&[code]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let [ours, theirs] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(ours.lines().count() > 2_000);
    for (ours, theirs) in ours.lines().zip(theirs.lines()) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours.lines().count(), theirs.lines().count());
}

#[test]
fn json_has_node_host_and_value_or_error_in_each_line() {
    let Some(net) = three() else { return };
    let code = "import sys\n\
                values = [None, 2**70, (1.5, float('nan')), b'a\\xff', {1}]\n\
                channel.send(values + [{'k': 'ä\\x1b'}, {1: {'$x': 2}}, 1j])\n\
                print('words')\n\
                sys.exit('no\\x9b more')";
    let output = net.exec(&["--json", code]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(output.stdout.iter().all(|byte| *byte == b'\n' || *byte >= b' '), "{}", text(&output));
    let lines: Vec<Value> = output
        .stdout
        .split_inclusive(|byte| *byte == b'\n')
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    let value: Value = serde_json::from_str(
        r#"[null, 1180591620717411303424, [1.5, {"$float": "nan"}], {"$bytes": "Yf8="}, [1],
            {"k": "ä\u001b"}, {"$dict": [[1, {"$dict": [["$x", 2]]}]]}, {"$complex": [0.0, 1.0]}]"#,
    )
    .unwrap();
    for node in ["build1", "build2", "inner"] {
        let [sent, failed] = lines.iter().filter(|line| line["node"] == node).collect::<Vec<_>>()[..] else {
            panic!("{lines:?}")
        };
        assert_eq!(*sent, json!({ "node": node, "host": node, "value": value }));
        assert_eq!(failed["host"], node);
        let error = failed["error"].as_str().unwrap();
        assert!(error.starts_with("Traceback") && error.ends_with("SystemExit: no\u{9b} more"), "{error}");
    }
    assert!(!output.stderr.contains(&0x9b) && sorted(&output.stderr).contains(&"inner: words".to_owned()));
}

#[test]
fn the_standard_input_reaches_every_node() {
    let Some(net) = three() else { return };
    // more than all windows on the way to a node hold that does not read yet
    let input: String = (0..400_000).map(|n| format!("{n} ä\n")).collect();
    let code = "import sys, hashlib\n\
                first = sys.stdin.readline()\n\
                lines = list(sys.stdin)\n\
                channel.send((first, len(lines), hashlib.sha256(''.join(lines).encode()).hexdigest()))";
    let output = net.exec_fed(&[code], input.as_bytes());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let (sum, _) = crate::harness::sha256(input.split_once('\n').unwrap().1.as_bytes());
    let expected = format!("('0 ä\\n', 399999, '{sum}')");
    assert_eq!(
        sorted(&output.stdout),
        ["build1", "build2", "inner"].map(|node| format!("{node}: {expected}"))
    );

    // a node that does not read to the end delays no other
    let code = "import sys; channel.send(len(sys.stdin.read()) if sys.argv[1] in channel.gateway.id else 0)";
    let output = net.exec_fed(&[code, "inner"], input.as_bytes());
    let expected = format!("inner: {}", input.chars().count());
    assert_eq!(sorted(&output.stdout), ["build1: 0", "build2: 0", &expected], "{}", text(&output));
}

#[test]
fn nodes_take_turns_and_each_gets_all_of_the_input() {
    let net = Net::new(None);
    net.start(&["popen//id=a", "popen//id=b", "popen//id=c"]);
    let folder = net.folder("alone").join("dir");
    let code = "import hashlib, os, sys\n\
                os.mkdir(sys.argv[1])\n\
                channel.send(hashlib.sha256(sys.stdin.read().encode()).hexdigest())\n\
                os.rmdir(sys.argv[1])";
    let input = "0123456789abcdef".repeat(200_000);
    let args = ["--fanout", "1", code, folder.to_str().unwrap()];
    let output = net.exec_fed(&args, input.as_bytes());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let sum = crate::harness::sha256(input.as_bytes()).0;
    assert_eq!(sorted(&output.stdout), ["a", "b", "c"].map(|node| format!("{node}: '{sum}'")));

    // a part of it is no end for any of them
    let mut child = piped(with_small_files(&net.exec(&args)));
    let mut stdin = child.stdin.take().unwrap();
    std::thread::spawn(move || drop(stdin.write_all(&[b'x'; 1_000_000])));
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{}", text(&output));
    let told = text(&output);
    assert_eq!(told.matches("execnet: cannot keep stdin in ").count(), 1, "{told}");
    assert!(told.contains("a: ") && told.contains("FileExistsError"), "{told}");
}

#[test]
fn input_that_nobody_reads_takes_no_memory_and_keeps_nobody() {
    let net = local();
    let mut child = piped(net.exec(&["channel.send(1); import time\nwhile True: time.sleep(1)"]));
    let mut stdin = child.stdin.take().unwrap();
    assert_eq!(line(child.stdout.as_mut().unwrap()), "1");
    rustix::io::ioctl_fionbio(&stdin, true).unwrap();
    let (piece, mut taken) = (vec![b'x'; 1 << 16], 0);
    // it takes what the windows hold, and no more
    let mut full = 0;
    while full < 20 {
        match stdin.write(&piece) {
            Ok(count) => (taken, full) = (taken + count, 0),
            Err(_) => {
                full += 1;
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        assert!(taken < 4 << 20, "{taken} bytes went somewhere");
    }
    child.kill().unwrap();
    child.wait().unwrap();

    // the code ended before its input
    let mut child = piped(net.exec(&["channel.send(1)"]));
    let stdin = child.stdin.take();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    drop(stdin);
}

#[test]
fn code_comes_from_text_a_file_or_the_standard_input() {
    let net = local();
    let folder = net.state();
    fs::create_dir_all(&folder).unwrap();
    let script = folder.join("script.py");
    fs::write(
        &script,
        "\u{feff}# ä\nimport sys\nchannel.send(sys.argv)\nchannel.send(sys.stdin.read())\n1 // 0\n",
    )
    .unwrap();
    let script = script.to_str().unwrap();
    let output = net.exec_fed(&[script, "-x"], b"in");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("['{script}', '-x']\n'in'\n"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&format!("File \"{script}\", line 5, in <module>\n    1 // 0\n")), "{said}");

    let output = net.exec_fed(&["-", "x"], b"import sys; channel.send((sys.argv, sys.stdin.read()))");
    assert_eq!(output.stdout, b"(['-', 'x'], '')\n", "{}", text(&output));
    let output = net.exec(&["\n    if 1:\n      channel.send(2)\n"]).output().unwrap();
    assert_eq!(output.stdout, b"2\n", "{}", text(&output));

    fs::write(folder.join("latin.py"), b"# \xe4").unwrap();
    let latin = folder.join("latin.py");
    for (args, said) in [
        (vec!["not-there.py"], "Error: there is no file `not-there.py`"),
        (vec![latin.to_str().unwrap()], "latin.py is not UTF-8"),
        (vec![], "Error: no code to execute"),
        (vec!["-c", "print(1)"], "Error: `execnet exec` takes code without -c"),
        (vec!["--jsno", "pass"], "'--jsno'"),
        (vec!["--python-version", "x", "pass"], "`x` is not a version of Python"),
    ] {
        let output = net.exec(&args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(String::from_utf8_lossy(&output.stderr).contains(said), "{}", text(&output));
    }
}

#[test]
fn errors_say_where_and_others_carry_on() {
    let Some(net) = three() else { return };
    let code = "import os, signal\n\
                name = channel.gateway.id\n\
                if name == 'build1': raise ValueError('b\\x1bad')\n\
                if name == 'build2': print('last words'); os.kill(os.getpid(), signal.SIGKILL)\n\
                channel.send(name); print('o\\x1bdd')";
    let output = net.exec(&[code]).output().unwrap();
    assert_eq!(output.status.code(), Some(6), "{}", text(&output));
    assert_eq!(output.stdout, b"inner: 'inner'\n");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("build1: Traceback (most recent call last):\nbuild1:   File "), "{said}");
    assert!(said.contains("build1: ValueError: b\\x1bad\n"), "{said}");
    assert!(said.contains("inner: o\\x1bdd\n"), "{said}");
    let end = "build2: execnet: Python on node build2 of host build2 was ended by SIGKILL; it printed last:\n\
               build2:   last words\n";
    assert!(said.contains(end), "{said}");

    let output = net.exec(&["--node", "build1", "import sys; sys.exit(3)"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let output = net.exec(&["--chdir", "/not/there", "--node", "inner", "pass"]).output().unwrap();
    assert_eq!(output.status.code(), Some(6), "{}", text(&output));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("execnet: Python on node inner of host inner could not be started: "), "{said}");
    assert!(said.contains("/not/there") && !std::path::Path::new("/not/there").exists(), "{said}");
}

#[test]
fn who_receives_finds_the_end() {
    let net = local();
    let output = net.exec(&["for item in channel: pass\nchannel.send('after')"]).output().unwrap();
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &b"'after'\n"[..]), "{}", text(&output));
    let output = net.exec(&["channel.receive()\nchannel.send('never')"]).output().unwrap();
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(1), &b""[..]), "{}", text(&output));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.ends_with("EOFError: the other side sends nothing more on <Channel id=3 open>\n"), "{said}");
}

#[test]
fn what_is_said_at_the_end_of_the_interpreter_is_not_lost() {
    let net = local();
    let code = "import atexit, sys; atexit.register(lambda: print('by atexit'))\n\
                sys.stderr.write('x' * 300000 + '\\n')\n\
                print('no end of line', end='')";
    let output = net.exec(&[code]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.matches('x').count() - "by atexit".matches('x').count(), 300_000);
    assert!(said.ends_with("no end of lineby atexit\n"), "{}", &said[300_000..]);
    let output =
        net.exec(&["import atexit, os; atexit.register(os.abort); channel.send(1)"]).output().unwrap();
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(6), &b"1\n"[..]), "{}", text(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("SIGABRT"), "{}", text(&output));
}

#[test]
fn hosts_that_cannot_be_used_are_named_and_no_match_lists_what_there_is() {
    let Some(lab) = or_skip(Lab::new()) else { return };
    lab.host("build1").start().unwrap();
    lab.host("build2").start().unwrap();
    let net = Net::new(Some(lab));
    net.start(&[&net.spec("build1", ""), &net.spec("build2", "")]);
    let output = net.exec(&["--platform", "java", "pass"]).output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", text(&output));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("matches platform java; there are:\n  build1: linux cpython"), "{said}");

    let hosts = net.lab().hosts();
    let build2 = hosts.iter().find(|host| host.name() == "build2").unwrap();
    build2.stop_sshd();
    build2.kill_ssh();
    net.wait_for("build2", "unreachable");
    let output = net.exec(&["channel.send(1)"]).output().unwrap();
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(6), &b"1\n"[..]), "{}", text(&output));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.starts_with("execnet: skipped: build2: unreachable"), "{said}");
    let output = net.exec(&["--node", "build2", "pass"]).output().unwrap();
    assert_eq!(output.status.code(), Some(6), "{}", text(&output));
    let said = String::from_utf8_lossy(&output.stderr);
    let end = said.find("execnet: build2: unreachable: connect: ").unwrap_or_else(|| panic!("{said}"));
    assert!(said[end..].contains("\nHint: ") && said[end..].lines().count() == 2, "{said}");
    let python = net.python(&["--node", "build2", "-V"]).output().unwrap();
    let said = String::from_utf8_lossy(&python.stderr);
    // it was waited for, and a line says so
    assert!(said.contains("Error: the host build2 is unreachable: ") && said.contains("\nHint: "), "{said}");
    build2.start_sshd().unwrap();
    let output = net.exec(&["--node", "build2", "channel.send(2)"]).output().unwrap();
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &b"2\n"[..]), "{}", text(&output));

    net.ok("stop", &[]);
    assert_eq!(net.exec(&["pass"]).output().unwrap().status.code(), Some(3));
}

#[test]
fn hosts_that_are_joining_are_waited_for() {
    let net = local();
    let folder = net.state();
    let (script, gate) = (folder.join("slow"), folder.join("gate"));
    let waits = format!("while ! test -e '{}'; do sleep 0.05; done; exec python3 \"$@\"", gate.display());
    fs::write(&script, waits).unwrap();
    let spec = format!("cmd=sh {}//id=slow", script.display());
    let mut joining = piped(net.execnet(["addhost", &net.name, &spec]));
    let joins = || net.status()["hosts"].as_array().unwrap().iter().any(|host| host["state"] == "joining");
    wait_until(SOON, "the host to be joining", joins);
    // another one is not waited for
    assert_eq!(net.exec(&["--node", "here", "channel.send(1)"]).output().unwrap().stdout, b"1\n");
    // nor where there are enough without it
    let enough = net.exec(&["--limit", "1", "channel.send(1)"]).output().unwrap();
    assert_eq!((&enough.stdout[..], &enough.stderr[..]), (&b"1\n"[..], &b""[..]));
    let enough = net.run("run", &["--limit", "1", "echo", "1"]);
    assert_eq!((&enough.stdout[..], &enough.stderr[..]), (&b"1\n"[..], &b""[..]));
    let mut child = piped(net.exec(&["channel.send(1)"]));
    let said = line(child.stderr.as_mut().unwrap());
    assert_eq!(said, "execnet: waiting for hosts that are joining: slow");
    fs::write(&gate, "").unwrap();
    assert!(joining.wait().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(sorted(&output.stdout), ["here: 1", "slow: 1"]);
    assert_eq!(output.stderr, b"");
}

/// Starts code with a mark in its environment on every node, and waits for the first line.
fn marked(net: &Net, mark: &str, count: usize) -> Child {
    let code = "import subprocess, sys, time\n\
                subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)'])\n\
                channel.send('ready')\n\
                while True: time.sleep(1000)";
    let mut child = piped(net.exec(&["--env", &format!("EXEC_TEST={mark}"), code]));
    for _ in 0..count {
        assert!(line(child.stdout.as_mut().unwrap()).contains("'ready'"));
    }
    // a process just being executed has no environment yet
    wait_until(SOON, "all processes", || processes_with_env("EXEC_TEST", mark).len() == 2 * count);
    child
}

#[test]
fn an_interrupt_ends_all_at_once_and_leaves_no_process_behind() {
    let Some(net) = three() else { return };
    let mark = format!("{}-interrupt", net.name);
    let mut child = marked(&net, &mark, 3);
    interrupt(&child);
    let status = child.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(2), "{status}");
    wait_until(SOON, "no process to be left", || processes_with_env("EXEC_TEST", &mark).is_empty());
}

#[test]
fn a_reader_that_goes_away_ends_all_quietly() {
    let Some(net) = three() else { return };
    // while values come
    let mut child = piped(net.exec(&["while True: channel.send('y' * 1000)"]));
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 10_000]).unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), &output.stderr[..]), (Some(0), &b""[..]), "{}", text(&output));
    // and while none do
    let mark = format!("{}-unread", net.name);
    let mut child = marked(&net, &mark, 3);
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), &output.stderr[..]), (Some(0), &b""[..]), "{}", text(&output));
    wait_until(SOON, "no process to be left", || processes_with_env("EXEC_TEST", &mark).is_empty());
}

#[test]
fn a_slow_reader_slows_the_senders_and_loses_nothing() {
    let Some(net) = three() else { return };
    let mut child = net.exec(&["for n in range(20000): channel.send((n, 'z' * 1000))"]);
    let mut child = child.stdout(Stdio::piped()).spawn().unwrap();
    let mut all = String::new();
    child.stdout.take().unwrap().read_to_string(&mut all).unwrap();
    assert!(child.wait().unwrap().success());
    for node in ["build1", "build2", "inner"] {
        let of_node = all.lines().filter_map(|line| line.strip_prefix(node)?.strip_prefix(": ("));
        let numbers = of_node.map(|line| line.split_once(',').unwrap().0.parse::<usize>().unwrap());
        assert!(numbers.eq(0..20_000), "{node}");
    }

    // nobody reads: memory use stops growing early
    let mut child = piped(net.exec(&["while True: channel.send('z' * 100000)"]));
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 1]).unwrap();
    let (mut most, mut same) = (0, 0);
    while same < 20 {
        std::thread::sleep(Duration::from_millis(20));
        let memory = execnet_testkit::proc_rss_kib(child.id()).unwrap();
        assert!(memory < 96 << 10, "{memory} KiB");
        same = if memory > most { 0 } else { same + 1 };
        most = most.max(memory);
    }
    kill(child.id());
    child.wait().unwrap();
}

#[test]
fn a_daemon_that_is_killed_and_started_again_loses_nothing() {
    let Some(net) = three() else { return };
    let mut child = piped(net.exec(&["import sys\nfor line in sys.stdin: channel.send(line)"]));
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    stdin.write_all(b"one\n").unwrap();
    let mut lines: Vec<String> = (0..3).map(|_| line(&mut stdout)).collect();
    let daemon = net.daemon();
    kill(daemon);
    wait_until(SOON, "the daemon to end", || !alive(daemon));
    stdin.write_all(b"two\n").unwrap();
    net.start(&[]);
    drop(stdin);
    lines.extend((0..3).map(|_| line(&mut stdout)));
    lines.sort();
    let expected =
        ["build1", "build2", "inner"].map(|node| [format!("{node}: 'one\\n'"), format!("{node}: 'two\\n'")]);
    assert_eq!(lines, expected.concat());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn a_host_that_cannot_be_reached_meanwhile_is_waited_for_and_named() {
    let Some(net) = three() else { return };
    let mut child = piped(net.exec(&["import sys\nfor line in sys.stdin: channel.send(line)"]));
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut stderr = child.stderr.take().unwrap();
    stdin.write_all(b"one\n").unwrap();
    (0..3).for_each(|_| drop(line(&mut stdout)));
    let hosts = net.lab().hosts();
    let build2 = hosts.iter().find(|host| host.name() == "build2").unwrap();
    build2.stop_sshd();
    build2.kill_ssh();
    let said = line(&mut stderr);
    assert!(
        said.starts_with("execnet: build2 is unreachable (") && said.contains("); waiting, at most "),
        "{said}"
    );
    stdin.write_all(b"two\n").unwrap();
    build2.start_sshd().unwrap();
    assert_eq!(line(&mut stderr), "execnet: build2 is reachable again");
    drop(stdin);
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(
        sorted(rest.as_bytes()),
        ["build1", "build2", "inner"].map(|node| format!("{node}: 'two\\n'"))
    );
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn every_interpreter_executes_code() {
    let names = ["2.7", "3.6", "3.8", "3.13", "pypy3", "jython"];
    let Some(found) = or_skip(require(&names)) else { return };
    let Some(lab) = or_skip(Lab::new()) else { return };
    lab.host("all").pythons(found.iter().map(|interpreter| interpreter.name.clone())).start().unwrap();
    let net = Net::new(Some(lab));
    net.start(&[&net.spec("all", "//python=*")]);
    let host = net.host("all");
    let nodes: Vec<&str> =
        host["nodes"].as_array().unwrap().iter().map(|node| node["name"].as_str().unwrap()).collect();
    assert_eq!(nodes.len(), found.len(), "{host:#}");
    let code = "import sys\n\
                channel.send([sys.argv, [line for line in sys.stdin], 2 ** 70, None, 1.5, (u'\\xe4',)])\n\
                print('words')";
    let output = net.exec_fed(&["--node", "all", "--json", code, "x"], b"one\ntwo\n");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let mut lines: Vec<Value> =
        sorted(&output.stdout).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), nodes.len(), "{}", text(&output));
    for line in &mut lines {
        assert!(nodes.contains(&line["node"].as_str().unwrap()) && line["host"] == "all");
        let expected = r#"[["-c", "x"], ["one\n", "two\n"], 1180591620717411303424, null, 1.5, ["ä"]]"#;
        assert_eq!(line["value"], serde_json::from_str::<Value>(expected).unwrap(), "{}", line["node"]);
    }
    let printed: Vec<String> = nodes.iter().map(|node| format!("{node}: words")).collect();
    assert_eq!(sorted(&output.stderr).len(), printed.len(), "{}", text(&output));
    assert!(sorted(&output.stderr).iter().all(|line| printed.contains(line)), "{}", text(&output));
    let output =
        net.exec(&["--platform", "java", "import sys; channel.send(sys.platform)"]).output().unwrap();
    assert!(output.stdout.starts_with(b"'java"), "{}", text(&output));
}
