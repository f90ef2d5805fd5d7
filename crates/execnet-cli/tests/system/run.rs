//! `execnet run`: a command on every host, and equal answers folded.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use execnet_proto::spec::sets::NodeSet;
use execnet_testkit::{Lab, alive, or_skip, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::{Net, SOON, line, piped, text, with_small_files};

/// Two ssh hosts, one with several nodes, and one whose interpreter does not work.
fn three() -> Option<Net> {
    let lab = or_skip(Lab::new())?;
    for host in ["build1", "build2", "build3"] {
        lab.host(host).start().unwrap();
    }
    let net = Net::new(Some(lab));
    let broken = net.spec("build3", "//python=/no/such/python");
    let output = net.run("start", &[&net.spec("build1", "//python=*"), &net.spec("build2", ""), &broken]);
    assert_eq!(output.status.code(), Some(6), "{}", text(&output));
    Some(net)
}

/// Four hosts that are all this machine.
fn local() -> Net {
    let net = Net::new(None);
    net.start(&["popen//id=n1", "popen//id=n2", "popen//id=n3", "popen//id=n4"]);
    net
}

impl Net {
    /// `execnet run NAME ARGS…`.
    fn on_hosts(&self, args: &[&str]) -> Command {
        let mut all = vec!["run", &self.name];
        all.extend(args);
        self.execnet(all)
    }

    fn on_hosts_fed(&self, args: &[&str], input: &[u8]) -> Output {
        let mut child = piped(self.on_hosts(args));
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        // some close stdin early
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        output
    }
}

/// Status, sorted lines of stdout, sorted lines of stderr.
fn answered(output: &Output) -> (Option<i32>, Vec<String>, Vec<String>) {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| {
        let mut lines: Vec<String> = String::from_utf8_lossy(bytes).lines().map(String::from).collect();
        lines.sort();
        lines
    });
    (output.status.code(), out, err)
}

/// Folded answers, those of most hosts first, and whose they are. Equal ones are one group, though a slow
/// machine may have made several of them. Other lines are left out.
fn groups(folded: &[u8]) -> Vec<(Vec<String>, String)> {
    let folded = String::from_utf8_lossy(folded);
    let (mut all, mut last) = (BTreeMap::<String, BTreeSet<String>>::new(), None::<(Vec<String>, String)>);
    let mut add = |group: Option<(Vec<String>, String)>| {
        if let Some((names, answer)) = group {
            all.entry(answer).or_default().extend(names);
        }
    };
    for line in folded.lines() {
        if let Some(line) = line.strip_prefix("  ") {
            let (_, answer) = last.as_mut().unwrap_or_else(|| panic!("nobody's line {line:?}"));
            *answer += &format!("{line}\n");
        } else if let Some((names, (count, rest))) =
            line.split_once(" (").and_then(|(names, rest)| Some((names, rest.split_once("):")?)))
        {
            let names = names.parse::<NodeSet>().unwrap().names().unwrap();
            assert_eq!(names.len().to_string(), count, "{line}");
            add(last.replace((names, rest.trim_start().to_owned())));
        }
    }
    add(last);
    let mut all: Vec<_> = all.into_iter().map(|(answer, names)| (Vec::from_iter(names), answer)).collect();
    all.sort_by_key(|(names, _)| Reverse(names.len()));
    all
}

/// A single group.
fn one_group(names: &[&str], answer: &str) -> Vec<(Vec<String>, String)> {
    vec![(names.iter().copied().map(String::from).collect(), answer.to_owned())]
}

const ALL: [&str; 4] = ["n1", "n2", "n3", "n4"];

fn strings<const N: usize>(lines: [&str; N]) -> Vec<String> {
    lines.map(String::from).to_vec()
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(child.id() as i32).unwrap(), signal).unwrap();
}

#[test]
fn a_host_runs_it_once_whatever_its_interpreters() {
    let Some(net) = three() else { return };
    let output = net.on_hosts(&["-b", "--", "echo", "a  b", "-b"]).output().unwrap();
    let three = ["build1", "build2", "build3"];
    assert_eq!((output.status.code(), &output.stderr[..]), (Some(0), &b"3 ok\n"[..]), "{}", text(&output));
    assert_eq!(groups(&output.stdout), one_group(&three, "a  b -b"), "{}", text(&output));
    // the rules of `python` for folder and environment
    let line = "echo $PWD $COLOUR $1 $2";
    let options = ["--chdir", "/usr", "--env", "COLOUR=deep blue", "-bc", line, "x", "-y"];
    let output = net.on_hosts(&options).output().unwrap();
    assert_eq!(groups(&output.stdout), one_group(&three, "/usr deep blue x -y"), "{}", text(&output));
    let output = net.on_hosts(&["-b", "--implementation", "cpython", "true"]).output().unwrap();
    assert_eq!((output.status.code(), &output.stderr[..]), (Some(0), &b"2 ok\n"[..]), "{}", text(&output));
    // the folder of an ssh host is the home folder
    let home = net.on_hosts(&["--node", "build2", "pwd"]).output().unwrap();
    let theirs = net.python_ok(&["--node", "build2", "-c", "import os; print(os.getcwd())"]);
    assert_eq!(String::from_utf8_lossy(&home.stdout).trim_end(), theirs);
}

#[test]
fn what_no_host_can_run_is_one_error() {
    let net = local();
    let long = "x".repeat(100_000);
    let mut args = vec!["-b", "echo"];
    args.resize(17, &long);
    let (status, out, err) = answered(&net.on_hosts(&args).output().unwrap());
    assert_eq!((status, out.len(), err.len()), (Some(1), 0, 1), "{err:?}");
    assert!(err[0].starts_with("Error: arguments and environment have 1500"), "{err:?}");
}

#[test]
fn an_answer_without_room_is_dropped_and_the_others_stay() {
    let net = local();
    let once = net.folder("once").join("dir");
    let line = r#"mkdir "$1" 2>/dev/null && exec yes; echo fine"#;
    for way in ["-bc", "--json"] {
        let options = if way == "--json" { vec!["--json", "-c"] } else { vec![way] };
        let args = [&options[..], &[line, once.to_str().unwrap()]].concat();
        let output = with_small_files(&net.on_hosts(&args)).output().unwrap();
        let said = text(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("was ended: cannot keep long answers in "), "{said}");
        match way {
            "--json" => assert_eq!(said.matches(r#""status": 0, "stdout": "fine\n""#).count(), 3, "{said}"),
            _ => {
                let fine = groups(&output.stdout);
                let fine = fine.iter().find(|(_, answer)| answer == "fine");
                assert!(fine.is_some_and(|(names, _)| names.len() == 3), "{said}");
                assert!(said.contains("3 ok, 1 broken off: n"), "{said}");
            }
        }
        wait_until(SOON, "the endless one to end", || net.ok("ps", &[]).starts_with("nothing runs"));
        fs::remove_dir(&once).unwrap();
    }
}

#[test]
fn what_gets_only_a_part_of_stdin_is_ended() {
    let net = local();
    let args = ["--fanout", "2", "wc", "-c"];
    let mut child = piped(with_small_files(&net.on_hosts(&args)));
    let mut stdin = child.stdin.take().unwrap();
    std::thread::spawn(move || drop(stdin.write_all(&[0; 1_000_000])));
    let output = child.wait_with_output().unwrap();
    let (status, out, err) = answered(&output);
    assert_eq!((status, out.len()), (Some(1), 0), "{}", text(&output));
    let ended = |host: &str| format!("{host}: was ended: cannot keep stdin in ");
    assert!(err[1].starts_with(&ended("n1")) && err[2].starts_with(&ended("n2")), "{}", text(&output));
    assert_eq!(err[0], "execnet: not run: n[3-4]");
}

#[test]
fn lines_say_whose_they_are_and_a_single_host_speaks_for_itself() {
    let net = local();
    let line = r#"printf 'a\033[2J\tb\nno end'; printf 'e\r\n' >&2; exit 3"#;
    let output = net.on_hosts(&["--node", "n2", "-c", line]).output().unwrap();
    assert_eq!(output.stdout, b"a\x1b[2J\tb\nno end", "{}", text(&output));
    assert_eq!((&output.stderr[..], output.status.code()), (&b"e\r\n"[..], Some(3)));
    let output = net.on_hosts(&["-c", line]).output().unwrap();
    let (status, out, err) = answered(&output);
    let all = |lines: &[&str]| -> Vec<String> {
        let hosts = ["n1", "n2", "n3", "n4"].into_iter();
        hosts.flat_map(|host| lines.iter().map(move |line| format!("{host}: {line}"))).collect()
    };
    assert_eq!((status, out), (Some(3), all(&["a\\x1b[2J\tb", "no end"])), "{}", text(&output));
    assert_eq!(err, all(&["e", "exited with status 3"]));
    // the highest status of all
    let line = "mkdir \"$1\" 2>/dev/null || exit 1; kill -TERM $$";
    let once = net.folder("once").join("dir");
    let output = net.on_hosts(&["-c", line, once.to_str().unwrap()]).output().unwrap();
    assert_eq!(output.status.code(), Some(143), "{}", text(&output));
    let output = net.on_hosts(&["--limit", "2", "-b", "no-such-program"]).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(127), 0), "{}", text(&output));
    let [(names, why)] = &groups(&output.stderr)[..] else { panic!("{}", text(&output)) };
    assert_eq!(names.len(), 2, "{}", text(&output));
    assert!(why.starts_with("could not be started: cannot execute no-such-program"), "{why}");
}

#[test]
fn all_hosts_get_all_of_stdin_however_few_run_at_a_time() {
    let net = local();
    let mut input = Vec::new();
    crate::harness::Noise(7).write(&mut input, 5 << 20, |_| ()).unwrap();
    let sum = crate::harness::sha256(&input[..]).0;
    for options in [&["-b"][..], &["-b", "--fanout", "1"]] {
        let output = net.on_hosts_fed(&[options, &["sha256sum"]].concat(), &input);
        let expected = one_group(&ALL, &format!("{sum}  -"));
        assert_eq!(groups(&output.stdout), expected, "{options:?} {}", text(&output));
    }
    // one that reads nothing stalls nobody
    let once = net.folder("once").join("dir");
    let line = "mkdir \"$1\" 2>/dev/null && exit; sha256sum";
    let output = net.on_hosts_fed(&["-bc", line, once.to_str().unwrap()], &input);
    let [(names, answer)] = &groups(&output.stdout)[..] else { panic!("{}", text(&output)) };
    assert_eq!((names.len(), answer), (3, &format!("{sum}  -")));
    let output = net.on_hosts_fed(&["-n", "-b", "cat"], &input);
    assert_eq!((output.stdout.len(), &output.stderr[..]), (0, &b"4 ok\n"[..]), "{}", text(&output));
}

#[test]
fn what_runs_too_long_is_ended_and_a_failure_can_end_all() {
    let net = local();
    // as much time as it takes until all have said something
    let heard = [0.5, 5.0, 50.0].into_iter().any(|seconds: f64| {
        let begin = Instant::now();
        let timeout = seconds.to_string();
        let args = ["--timeout", &timeout, "-b", "-c", "echo a; sleep 1000"];
        let output = net.on_hosts(&args).output().unwrap();
        let (status, _, err) = answered(&output);
        assert_eq!((status, err[0].as_str()), (Some(124), "0 ok, 4 timed out: n[1-4]"), "{}", text(&output));
        let late = one_group(&ALL, &format!("timed out after {timeout} s"));
        assert_eq!(groups(&output.stderr), late, "{}", text(&output));
        assert!(begin.elapsed() >= Duration::from_secs_f64(seconds));
        groups(&output.stdout) == one_group(&ALL, "a")
    });
    assert!(heard);
    let output = net.on_hosts(&["--fanout", "1", "--fail-fast", "-c", "exit 9"]).output().unwrap();
    let (status, _, err) = answered(&output);
    assert_eq!((status, err), (Some(9), strings(["execnet: not run: n[2-4]", "n1: exited with status 9"])));
    // those that run get SIGTERM
    let once = net.folder("once").join("dir");
    let line = "if mkdir \"$1\" 2>/dev/null; then exit 5; fi; exec sleep 1000";
    let args = ["--fail-fast", "-bc", line, once.to_str().unwrap()];
    let output = net.on_hosts(&args).output().unwrap();
    let (status, _, err) = answered(&output);
    assert_eq!((status, err.len()), (Some(5), 2), "{}", text(&output));
    assert!(err[0].starts_with("0 ok, 1 failed: n") && err[0].contains(", 3 ended early: n"), "{err:?}");
}

#[test]
fn ctrl_c_ends_everything_and_says_what_was_not_heard() {
    let net = local();
    for (name, deaf, how) in [("one", "", "interrupted"), ("two", "trap '' INT TERM HUP; ", "not heard")] {
        let folder = net.folder(name);
        let line = format!(
            "cd \"$1\"; mkdir once 2>/dev/null || {{ echo done; : > done$$; exit; }}; {deaf}echo $$ > pid; \
             mv pid ready; while :; do sleep 1; done"
        );
        let child = piped(net.on_hosts(&["-bc", &line, folder.to_str().unwrap()]));
        wait_until(SOON, "the slow one to run, and the others to end", || {
            let names = names(&folder);
            names.contains(&"ready".to_owned()) && names.len() == 5
        });
        let pid: u32 = fs::read_to_string(folder.join("ready")).unwrap().trim().parse().unwrap();
        // those whose end was heard are let go
        wait_until(SOON, "the others to be heard", || {
            let all: Value = serde_json::from_str(&net.ok("ps", &["--json"])).unwrap();
            all["processes"].as_array().unwrap().len() == 1
        });
        signal(&child, Signal::INT);
        let output = child.wait_with_output().unwrap();
        let (status, _, err) = answered(&output);
        assert_eq!((status, err.len()), (None, 1), "{}", text(&output));
        let [(names, answer)] = &groups(&output.stdout)[..] else { panic!("{}", text(&output)) };
        assert_eq!((names.len(), answer.as_str()), (3, "done"), "{}", text(&output));
        assert!(err[0].starts_with(&format!("3 ok, 1 {how}: n")), "{}", text(&output));
        wait_until(SOON, "the slow one to end", || !alive(pid));
    }
}

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).collect()
}

/// Says its pid and more and more, and ends when it is hung up.
const NOISY: &str = "trap '' INT; echo $$ > \"$1/$$\"; echo started; while :; do echo more; sleep 1; done";

fn pids(folder: &Path) -> Vec<u32> {
    names(folder).iter().map(|name| name.parse().unwrap()).collect()
}

#[test]
fn a_second_ctrl_c_leaves_at_once() {
    let net = local();
    let leaves = |attempt: u32| {
        let folder = net.folder(&format!("pids{attempt}"));
        let mut child = net.on_hosts(&["-c", NOISY, folder.to_str().unwrap()]);
        let mut child = child.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        wait_until(SOON, "all to run", || pids(&folder).len() == 4);
        // one that comes before another is taken is one with it
        wait_until(SOON, "the end", || {
            signal(&child, Signal::INT);
            child.try_wait().unwrap().is_some()
        });
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), None, "{}", text(&output));
        wait_until(SOON, "all to end", || !pids(&folder).into_iter().any(alive));
        !text(&output).contains("not heard")
    };
    // where this test gets no time, the first one has ended it before there is a second
    assert!((0..10).any(leaves), "the second one changes nothing");
}

#[test]
fn a_closed_stdout_ends_everything() {
    let net = local();
    let folder = net.folder("others");
    let mut child = piped(net.on_hosts(&["-c", NOISY, folder.to_str().unwrap()]));
    let mut stdout = child.stdout.take().unwrap();
    assert!(line(&mut stdout).ends_with(": started"));
    wait_until(SOON, "all to run", || pids(&folder).len() == 4);
    drop(stdout);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    wait_until(SOON, "all to end", || !pids(&folder).into_iter().any(alive));
}

#[test]
fn one_that_hangs_does_not_hold_back_the_answers_of_others() {
    let net = local();
    let folder = net.folder("late");
    let slow = "cd \"$1\"; mkdir once 2>/dev/null || { echo quick; exit; }
                while ! test -e go; do sleep 0.1; done; echo late";
    let mut child = piped(net.on_hosts(&["-bc", slow, folder.to_str().unwrap()]));
    let mut stdout = child.stdout.take().unwrap();
    // in one group, unless one of them was late itself
    let mut quick = 0;
    while quick < 3 {
        let said = line(&mut stdout);
        let (_, count) =
            said.strip_suffix("): quick").unwrap_or_else(|| panic!("{said}")).split_once('(').unwrap();
        quick += count.parse::<u32>().unwrap();
    }
    assert_eq!(quick, 3);
    fs::write(folder.join("go"), "").unwrap();
    assert!(line(&mut stdout).ends_with(" (1): late"));
    assert!(child.wait().unwrap().success());
}

#[test]
fn long_answers_fold_and_come_back_as_they_were() {
    let net = local();
    let once = net.folder("once").join("dir");
    let line = "seq 300000; mkdir \"$1\" 2>/dev/null && echo more; true";
    let output = net.on_hosts(&["-bc", line, once.to_str().unwrap()]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let [(three, numbers), (one, more)] = &groups(&output.stdout)[..] else { panic!("not two answers") };
    assert_eq!((three.len(), one.len()), (3, 1));
    assert!(numbers.lines().eq((1..=300_000).map(|number| number.to_string())));
    assert_eq!(more.strip_prefix(numbers.as_str()), Some("more\n"));
}

#[test]
fn json_has_an_object_for_each_host() {
    let net = local();
    let once = net.folder("once").join("dir");
    let line = "printf 'é\\n'; mkdir \"$1\" 2>/dev/null || exit 2; printf '\\377' >&2; kill -9 $$";
    let output = net.on_hosts(&["--json", "-c", line, once.to_str().unwrap()]).output().unwrap();
    assert_eq!(output.status.code(), Some(137), "{}", text(&output));
    let lines = String::from_utf8(output.stdout).unwrap();
    let all: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(all.len(), 4);
    let killed: Vec<&Value> = all.iter().filter(|one| one["signal"] == "SIGKILL").collect();
    assert_eq!((killed.len(), &killed[0]["stderr"]), (1, &json!({"$bytes": "/w=="})));
    let others = all.iter().filter(|one| one["status"] == 2 && one["stderr"] == "");
    assert_eq!(others.count(), 3);
    assert!(all.iter().all(|one| one["stdout"] == "é\n" && one["host"].is_string()));
}

#[test]
fn hosts_that_are_down_are_named_and_left_out() {
    let net = Net::new(None);
    let output = net.run("start", &["popen//id=here", "cmd=false//id=gone"]);
    assert_eq!(output.status.code(), Some(6), "{}", text(&output));
    let output = net.on_hosts(&["-b", "echo", "hi"]).output().unwrap();
    let (status, out, err) = answered(&output);
    assert_eq!((status, out), (Some(6), strings(["here (1): hi"])), "{}", text(&output));
    assert_eq!(err[0], "1 ok, 1 out of reach: gone");
    assert!(err[1].starts_with("execnet: skipped: gone: failed: "), "{err:?}");
    for (options, status, said) in [
        (&["--node", "gone", "true"][..], 6, "cannot be used: gone: failed"),
        (&["--node", "her", "true"], 4, "`her`"),
        (&["--platform", "java", "true"], 4, "no host of"),
        (&["--fanout", "0", "true"], 2, "0"),
        (&["--timeout", "x", "true"], 2, "such as"),
        (&[], 2, "no command to run"),
    ] {
        let output = net.on_hosts(options).output().unwrap();
        let (code, out, err) = answered(&output);
        assert_eq!((code, out.len()), (Some(status), 0), "{options:?} {}", text(&output));
        assert!(err.join("\n").contains(said), "{options:?} {err:?}");
    }
    let other = Net::new(None);
    assert_eq!(other.on_hosts(&["true"]).output().unwrap().status.code(), Some(3));
}

#[test]
fn a_host_whose_interpreter_has_not_answered_yet_runs_commands() {
    let net = Net::new(None);
    let folder = net.folder("bin");
    let (python, gate) = (folder.join("python"), folder.join("gate"));
    let waits = format!(
        "#!/bin/sh\nwhile ! test -e '{}'; do sleep 0.05; done\nexec python3 \"$@\"\n",
        gate.display()
    );
    fs::write(&python, waits).unwrap();
    fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).unwrap();
    let mut start =
        piped(net.execnet(["start", &net.name, &format!("popen//id=slow//python={}", python.display())]));
    wait_until(SOON, "its interpreter to be looked at", || {
        let status = net.run("status", &["--json"]).stdout;
        String::from_utf8_lossy(&status).contains("\"state\": \"probing\"")
    });
    for args in [&["echo", "1"][..], &["--node", "slow", "echo", "1"], &["--one", "echo", "1"]] {
        assert_eq!(answered(&net.on_hosts(args).output().unwrap()), (Some(0), strings(["1"]), vec![]));
    }
    fs::write(&gate, "").unwrap();
    assert!(start.wait().unwrap().success());
}

#[test]
fn equal_answers_of_nodes_are_folded_too() {
    let net = local();
    let code = "channel.send('a'); channel.send(2); print('said')";
    let output = net.execnet(["exec", &net.name, "-b", code]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(groups(&output.stdout), one_group(&ALL, "'a'\n2\n"), "{}", text(&output));
    assert_eq!(groups(&output.stderr), one_group(&ALL, "said"), "{}", text(&output));
    assert!(text(&output).contains("4 ok\n"), "{}", text(&output));
    let output = net.execnet(["exec", &net.name, "-b", "raise ValueError('no')"]).output().unwrap();
    let (status, _, err) = answered(&output);
    assert_eq!(status, Some(1), "{}", text(&output));
    assert!(err.contains(&"0 ok, 4 failed: n[1-4]".to_owned()), "{}", text(&output));
    let [(names, error)] = &groups(&output.stderr)[..] else { panic!("{}", text(&output)) };
    assert!(names.len() == 4 && error.ends_with("\nValueError: no\n"), "{}", text(&output));
}
