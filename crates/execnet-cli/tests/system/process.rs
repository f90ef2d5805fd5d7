//! `execnet python` behaves like `python` on that host.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Stdio};

use execnet_testkit::{Lab, or_skip, require, wait_until};
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Net, SOON, line, piped, sha256, text};

/// A network of one ssh host.
fn net() -> Option<Net> {
    let lab = or_skip(Lab::new())?;
    lab.host("build1").start().unwrap();
    let net = Net::new(Some(lab));
    net.start(&[&net.spec("build1", "")]);
    Some(net)
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(child.id() as i32).unwrap(), signal).unwrap();
}

#[test]
fn status_output_and_errors_are_those_of_the_process() {
    let Some(net) = net() else { return };
    let output = net
        .python(&["-c", "import sys; print('out'); sys.stderr.write('err\\n'); sys.exit(7)"])
        .output()
        .unwrap();
    assert_eq!(
        (output.status.code(), &output.stdout[..], &output.stderr[..]),
        (Some(7), &b"out\n"[..], &b"err\n"[..])
    );
    let output = net.python(&["-c", "raise SystemExit('sorry')"]).output().unwrap();
    assert_eq!((output.status.code(), &output.stderr[..]), (Some(1), &b"sorry\n"[..]));
    let output =
        net.python(&["-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"]).output().unwrap();
    assert_eq!(output.status.code(), Some(137));
    let output = net.python(&["-c", "import os; os.abort()"]).output().unwrap();
    assert_eq!(output.status.code(), Some(134));
}

#[test]
fn output_that_cannot_be_written_is_no_success() {
    let Some(net) = net() else { return };
    for (code, status) in [("print(5)", 125), ("import sys; print(5); sys.exit(3)", 3)] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = net.python(&["-c", code]).stdout(full).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("cannot write to stdout: No space left"), "{said}");
        assert_eq!(output.status.code(), Some(status));
    }
    let (unread, closed) = std::io::pipe().unwrap();
    drop(unread);
    let output = net.python(&["-c", "print(5)"]).stdout(closed).stderr(Stdio::piped()).output().unwrap();
    assert_eq!((output.status.code(), &output.stderr[..]), (Some(0), &b""[..]));
}

#[test]
fn the_first_argument_that_selects_nothing_begins_python_s_own() {
    let Some(net) = net() else { return };
    let code = "import sys; print(sys.argv[1:])";
    assert_eq!(net.python_ok(&["--node", "build1", "-c", code, "--node", "-x", ""]), "['--node', '-x', '']");
    assert_eq!(net.python_ok(&["--node=build1", "--", "-c", code, "a b"]), "['a b']");
    assert!(net.python_ok(&["-V"]).starts_with("Python 3"));
    let mut child = piped(net.python(&["-", "x"]));
    child.stdin.take().unwrap().write_all(b"import sys; print(sys.argv)").unwrap();
    assert_eq!(child.wait_with_output().unwrap().stdout, b"['-', 'x']\n");
}

#[test]
fn binary_data_passes_unchanged_and_stdin_ends() {
    let Some(net) = net() else { return };
    let bytes: Vec<u8> = (0..3 << 20).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut child = piped(
        net.python(&["-c", "import sys, shutil; shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)"]),
    );
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn({
        let bytes = bytes.clone();
        move || stdin.write_all(&bytes).unwrap()
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    assert!(output.stdout == bytes);
}

#[test]
fn a_million_lines_arrive() {
    let Some(net) = net() else { return };
    let mut child = piped(net.python(&["-c", "for n in range(1000000): print(n)"]));
    let (sum, bytes) = sha256(child.stdout.take().unwrap());
    let all: String = (0..1_000_000).map(|n| format!("{n}\n")).collect();
    assert_eq!((sum, bytes), sha256(all.as_bytes()));
    assert!(child.wait().unwrap().success());
}

#[test]
fn signals_reach_the_process() {
    let Some(net) = net() else { return };
    // print() must not be called within print()
    let code = "import os, signal, sys, time
def tell(number, frame):
    os.write(1, b'%d\\n' % number)
    number == 15 and sys.exit(9)
for name in sys.argv[1:]:
    signal.signal(getattr(signal, name), tell)
print('ready', flush=True)
while 1: time.sleep(1)";
    let mut child = piped(net.python(&["-c", code, "SIGINT", "SIGUSR1", "SIGTERM"]));
    let mut stdout = child.stdout.take().unwrap();
    assert_eq!(line(&mut stdout), "ready");
    for (signal, number) in [(Signal::USR1, "10"), (Signal::INT, "2"), (Signal::TERM, "15")] {
        send(&child, signal);
        assert_eq!(line(&mut stdout), number);
    }
    assert_eq!(child.wait().unwrap().code(), Some(9));

    let mut child = piped(net.python(&["-c", "import time; print('ready', flush=True); time.sleep(1000)"]));
    assert_eq!(line(child.stdout.as_mut().unwrap()), "ready");
    send(&child, Signal::INT);
    let output = child.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("KeyboardInterrupt"), "{}", text(&output));
    assert_eq!(output.status.code(), Some(130));

    let mut child = piped(net.python(&["-c", "import time; print('ready', flush=True); time.sleep(1000)"]));
    assert_eq!(line(child.stdout.as_mut().unwrap()), "ready");
    send(&child, Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

#[test]
fn a_closed_pipe_ends_the_writer() {
    let Some(net) = net() else { return };
    let mut child = piped(net.python(&["-u", "-c", "while 1: print('y' * 1000)"]));
    let mut some = [0; 10_000];
    child.stdout.as_mut().unwrap().read_exact(&mut some).unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("BrokenPipeError"), "{}", text(&output));
}

#[test]
fn a_process_that_closes_stdin_stops_the_one_who_feeds_it() {
    let Some(net) = net() else { return };
    let mut child =
        piped(net.python(&[
            "-c",
            "import os; os.close(0); print('closed', flush=True); import time; time.sleep(3)",
        ]));
    assert_eq!(line(child.stdout.as_mut().unwrap()), "closed");
    let mut stdin = child.stdin.take().unwrap();
    let piece = [0; 65_536];
    // without a STOP this would continue until credit ends, and then hang
    wait_until(SOON, "a broken pipe", || stdin.write_all(&piece).is_err());
    assert!(child.wait().unwrap().success());
}

#[test]
fn directory_and_environment_are_as_asked() {
    let Some(net) = net() else { return };
    let code = "import os; print(os.getcwd(), os.environ['COLOUR'])";
    assert_eq!(
        net.python_ok(&["--chdir", "/usr", "--env", "COLOUR=deep blue", "-c", code]),
        "/usr deep blue"
    );
    let output = net.python(&["--chdir", "/not/there", "-c", "pass"]).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/not/there"), "{}", text(&output));
    let home = net.lab().hosts()[0].home();
    assert_eq!(net.python_ok(&["-c", "import os; print(os.getcwd())"]), home.to_str().unwrap());
}

#[test]
fn a_relative_folder_is_the_clients_on_this_machine_and_below_home_elsewhere() {
    let Some(net) = net() else { return };
    let [home, here] = [net.lab().hosts()[0].home(), net.state()];
    for folder in [home.join("sub"), here.join("sub"), here.join("~")] {
        std::fs::create_dir_all(folder).unwrap();
    }
    net.ok("addhost", &["popen"]);
    net.ok("addhost", &["popen//chdir=/usr//id=there"]);
    let runs_in = |node: &str, options: &[&str]| {
        let args = [&["--node", node], options, &["-c", "import os; print(os.getcwd())"]].concat();
        let output = net.python(&args).current_dir(&here).output().unwrap();
        assert!(output.status.success(), "{node} {options:?}: {}", text(&output));
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end())
    };
    let here = here.canonicalize().unwrap();
    for (node, options, folder) in [
        ("build1", &["--chdir", "sub"][..], home.join("sub")),
        ("local", &["--chdir", "sub"], here.join("sub")),
        ("local", &["--chdir", "/usr"], PathBuf::from("/usr")),
        ("local", &["--chdir", "."], here.clone()),
        ("local", &[], here.clone()),
        ("there", &["--chdir", "sub"], here.join("sub")),
        ("there", &[], PathBuf::from("/usr")),
    ] {
        assert_eq!(runs_in(node, options), folder, "{node} {options:?}");
    }
    assert_ne!(runs_in("local", &["--chdir", "~"]), here.join("~"));
}

#[test]
fn a_hundred_processes_at_a_time_share_one_link() {
    let Some(net) = net() else { return };
    let code = "import sys; sys.stdout.write(sys.stdin.read().upper())";
    let mut children: Vec<_> = (0..100).map(|_| piped(net.python(&["-c", code]))).collect();
    assert_eq!(net.lab().hosts()[0].ssh_pids().len(), 1);
    for (n, child) in children.iter_mut().enumerate() {
        write!(child.stdin.take().unwrap(), "child {n}").unwrap();
    }
    for (n, child) in children.into_iter().enumerate() {
        assert_eq!(child.wait_with_output().unwrap().stdout, format!("CHILD {n}").into_bytes());
    }
}

#[test]
fn every_interpreter_is_a_node_of_any_host() {
    let names = ["2.7", "3.6", "3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "pypy3", "jython"];
    let Some(found) = or_skip(require(&names)) else { return };
    let Some(lab) = or_skip(Lab::new()) else { return };
    lab.host("all").pythons(found.iter().map(|interpreter| interpreter.name.clone())).start().unwrap();
    let net = Net::new(Some(lab));
    net.start(&[&net.spec("all", "//python=*")]);
    let host = net.host("all");
    let nodes = host["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), found.len(), "{host:#}");
    for node in nodes {
        let name = node["name"].as_str().unwrap();
        let code =
            "import sys; sys.stdout.write('%d.%d' % sys.version_info[:2] + sys.stdin.read()); sys.exit(5)";
        let mut child = net.python(&["--node", name, "-c", code]);
        let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"!").unwrap();
        let output = child.wait_with_output().unwrap();
        let version: Vec<_> =
            node["version"].as_str().unwrap().split('.').take(2).map(String::from).collect();
        assert_eq!(String::from_utf8_lossy(&output.stdout), version.join(".") + "!", "{name}");
        assert_eq!(output.status.code(), Some(5), "{name}");
    }
    assert!(net.python_ok(&["--platform", "pypy", "-c", "import sys; print(sys.version)"]).contains("PyPy"));
    assert!(
        net.python_ok(&["--platform", "java", "-c", "import sys; print(sys.platform)"]).starts_with("java")
    );
    assert!(
        net.python_ok(&[
            "--python-version",
            "<3",
            "--implementation",
            "cpython",
            "-c",
            "import sys; print(sys.version)"
        ])
        .starts_with("2.7")
    );
}
