//! What runs where, as `ps` tells it, and signals that people send with `kill`.

use std::process::Child;

use execnet_testkit::{Lab, alive, or_skip, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{Net, SOON, line, piped, text};

/// A process on a host, and its pid there.
struct Running {
    client: Child,
    pid: u32,
}

/// Runs this code on a host, behind a line that says its pid.
fn runs(net: &Net, host: &str, code: &str) -> Running {
    let code = format!("import os, signal, sys, time; print(os.getpid()); sys.stdout.flush(); {code}");
    let mut client = piped(net.python(&["--node", host, "-c", &code]));
    let pid = line(client.stdout.as_mut().unwrap()).parse().unwrap();
    Running { client, pid }
}

/// The processes that `ps --json` tells, once there are so many and each has its numbers.
fn told(net: &Net, count: usize) -> Vec<Value> {
    let mut processes = Vec::new();
    wait_until(SOON, &format!("{count} processes"), || {
        let all: Value = serde_json::from_str(&net.ok("ps", &["--json"])).unwrap();
        processes = all["processes"].as_array().unwrap().clone();
        processes.len() == count && processes.iter().all(|process| process["cpu"].is_number())
    });
    processes
}

/// The id of the process with this pid.
fn id_of(net: &Net, pid: u32) -> String {
    let mut id = None;
    wait_until(SOON, &format!("process {pid} to be told"), || {
        let all: Value = serde_json::from_str(&net.ok("ps", &["--json"])).unwrap();
        let process = all["processes"].as_array().unwrap().iter().find(|process| process["pid"] == pid);
        id = process.map(|process| process["id"].as_str().unwrap()[..8].to_owned());
        id.is_some()
    });
    id.unwrap()
}

/// The table of `ps`, once it is as expected: a host may be slow to answer, or just be told of an end.
fn table(net: &Net, what: &str, args: &[&str], is_told: impl Fn(&[&str]) -> bool) -> String {
    let mut table = String::new();
    wait_until(SOON, what, || {
        table = net.ok("ps", args);
        is_told(&table.lines().collect::<Vec<_>>())
    });
    table
}

fn said(output: &std::process::Output) -> (Option<i32>, String, String) {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8(bytes.clone()).unwrap());
    (output.status.code(), out, err)
}

#[test]
fn ps_shows_whose_process_runs_where_and_what_it_uses() {
    let Some(lab) = or_skip(Lab::new()) else { return };
    lab.host("build1").start().unwrap();
    let net = Net::new(Some(lab));
    net.start(&[&net.spec("build1", ""), "popen//id=here"]);
    table(&net, "nothing to run", &[], |rows| rows == ["nothing runs on 2 hosts"]);

    let ballast = "x = bytearray(64 << 20); os.fork()\nwhile True: pass";
    let busy = runs(&net, "build1", ballast);
    let quiet =
        piped(net.execnet(["run", &net.name, "--node", "here", "--", "sh", "-c", "sleep 1000; true"]));
    let gateway = piped(net.execnet(["exec", &net.name, "--node", "here", "import time; time.sleep(1000)"]));
    let processes = told(&net, 3);
    let of = |client: &Child| {
        let process = processes.iter().find(|process| process["client_pid"] == client.id());
        process.unwrap_or_else(|| panic!("none of {}: {processes:?}", client.id()))
    };
    let process = of(&busy.client);
    assert_eq!(
        [&process["host"], &process["node"], &process["program"], &process["gateway"]],
        ["build1", "build1", "execnet python", ""]
    );
    assert_eq!(process["pid"], busy.pid);
    assert_eq!(process["id"].as_str().unwrap().len(), 32);
    assert!(process["command"].as_str().unwrap().contains("-c import os, signal, sys, time;"), "{process}");
    wait_until(SOON, "processor time and memory of both", || {
        let processes = told(&net, 3);
        let process = processes.iter().find(|process| process["pid"] == busy.pid).unwrap();
        let number = |key: &str| process[key].as_f64().unwrap();
        let used = number("cpu") > 0.01 && number("cpu_time") > 0.1 && number("memory") > 64e6;
        used && number("age") > 0.1 && process["processes"] == 2
    });
    let process = of(&quiet);
    assert_eq!(
        [&process["host"], &process["node"], &process["program"], &process["command"]],
        ["here", "", "execnet run", "sh -c sleep 1000; true"]
    );
    assert_eq!([&of(&gateway)["gateway"], &of(&gateway)["program"]], ["here", "execnet exec"]);

    let told = table(&net, "three processes", &[], |rows| {
        let memory = |row: &&str| row.contains("iB  ") || row.contains(" B  ");
        rows.len() == 4 && rows[1..].iter().all(memory)
    });
    let rows: Vec<&str> = told.lines().collect();
    let head: Vec<&str> = rows[0].split_whitespace().collect();
    assert_eq!(head, "NODE ID PID CLIENT GATEWAY AGE CPU % MEMORY COMMAND".split(' ').collect::<Vec<_>>());
    let cell = |row: &str, column: &str| {
        let at = rows[0].find(column).unwrap();
        row[at..].split("  ").next().unwrap().to_owned()
    };
    let row = rows.iter().find(|row| cell(row, "PID") == busy.pid.to_string()).unwrap();
    assert_eq!(cell(row, "NODE"), "build1");
    assert_eq!(cell(row, "CLIENT"), format!("execnet python ({})", busy.client.id()));
    assert_eq!((cell(row, "GATEWAY"), cell(row, "ID")), ("-".into(), id_of(&net, busy.pid)));
    assert!(cell(row, "MEMORY").ends_with(" MiB") && cell(row, "AGE").contains(' '), "{told}");
    assert!(cell(row, "CPU %").parse::<f64>().unwrap() > 0.0, "{told}");
    let row = rows.iter().find(|row| cell(row, "GATEWAY") == "here").unwrap();
    assert!(cell(row, "COMMAND").ends_with(" (gateway)") && !row.contains("exec("), "{told}");

    table(&net, "the process of build1", &["--node", "build1"], |rows| {
        rows.len() == 2 && rows[1].contains(&busy.pid.to_string())
    });
    let (status, _, error) = said(&net.run("ps", &["--node", "biuld1"]));
    assert_eq!(status, Some(4), "{error}");
    assert!(error.contains("biuld1") && error.contains("Hint: did you mean `build1`?"), "{error}");
    for mut client in [busy.client, quiet, gateway] {
        client.kill().unwrap();
        client.wait().unwrap();
    }
    table(&net, "nothing to run any more", &[], |rows| rows == ["nothing runs on 2 hosts"]);
    // the daemon forgets it first
    wait_until(SOON, "the process on build1 to end", || !alive(busy.pid));
}

#[test]
fn a_signal_is_sent_to_what_has_this_id_and_that_is_said() {
    let net = Net::new(None);
    net.start(&["popen//id=a", "popen//id=b"]);
    let code = "signal.signal(signal.SIGUSR1, lambda *_: os.write(1, b'usr1\\n')); \
                signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); os.write(1, b'ready\\n')\n\
                while True: time.sleep(0.05)";
    let mut one = runs(&net, "a", code);
    assert_eq!(line(one.client.stdout.as_mut().unwrap()), "ready");
    let two = runs(&net, "b", "time.sleep(1000)");
    let (first, second) = (id_of(&net, one.pid), id_of(&net, two.pid));

    let (status, out, err) = said(&net.run("kill", &[&first, "-s", "usr1"]));
    assert_eq!((status, err.as_str()), (Some(0), ""));
    let begin = format!("{first} on a of execnet python ({}): SIGUSR1 sent: python", one.client.id());
    assert!(out.starts_with(&begin) && out.lines().count() == 1, "{out}");
    assert_eq!(line(one.client.stdout.as_mut().unwrap()), "usr1", "its handler ran");
    assert!(alive(one.pid), "and nothing else happened");

    // its client's own end is not the network's
    let (status, out, _) = said(&net.run("kill", &[&first.to_uppercase(), &second[..6], "--wait"]));
    assert_eq!(status, Some(0), "{out}");
    let mut lines: Vec<&str> = out.lines().skip(2).collect();
    lines.sort_unstable();
    let mut ended = [format!("{first} on a: has ended"), format!("{second} on b: has ended")];
    ended.sort_unstable();
    assert_eq!(lines, ended);
    assert!(!alive(one.pid) && !alive(two.pid));
    assert_eq!(one.client.wait().unwrap().code(), Some(7));
    assert_eq!(two.client.wait_with_output().unwrap().status.code(), Some(143));

    for (name, what) in [
        (first.as_str(), "gone"),
        ("0123456789abcdef", "mistyped"),
        (&first[..3], "short"),
        ("nginx", "no id"),
    ] {
        let (status, out, err) = said(&net.run("kill", &[name]));
        assert_eq!((status, out.as_str()), (Some(4), ""), "{what} {err}");
        assert!(
            err.starts_with(&format!(
                "Error: no process of {} has the id or name `{name}`\nHint: it may have ended; ",
                net.name
            )),
            "{what} {err}"
        );
    }
    let (status, _, err) = said(&net.run("kill", &["0123", "-s", "NONE"]));
    assert_eq!(status, Some(2));
    assert!(err.contains("expected a signal, such as TERM or 15"), "{err}");
}

#[test]
fn kill_waits_for_as_long_as_it_takes_and_ctrl_c_ends_only_the_waiting() {
    let net = Net::new(None);
    net.start(&["popen//id=a"]);
    let deaf = runs(
        &net,
        "a",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(1000)",
    );
    let mut stdout = deaf.client.stdout.unwrap();
    assert_eq!(line(&mut stdout), "deaf");
    let id = id_of(&net, deaf.pid);
    let mut waits = piped(net.execnet(["kill", &net.name, &id, "--wait"]));
    assert!(line(waits.stdout.as_mut().unwrap()).contains("SIGTERM sent"));
    kill_process(Pid::from_child(&waits), Signal::INT).unwrap();
    assert!(!waits.wait().unwrap().success());
    assert!(alive(deaf.pid));
    // also beside an id that no process has
    let mut waits = piped(net.execnet(["kill", &net.name, &id, "0123456789", "--wait"]));
    assert!(line(waits.stdout.as_mut().unwrap()).contains("SIGTERM sent"));
    net.ok("kill", &[&id, "-s", "9"]);
    let (status, out, err) = said(&waits.wait_with_output().unwrap());
    assert_eq!((status, out), (Some(4), format!("{id} on a: has ended\n")), "{err}");
    assert!(!alive(deaf.pid));
}

#[test]
fn a_signal_for_a_host_that_is_away_is_sent_when_it_is_back() {
    let Some(lab) = or_skip(Lab::new()) else { return };
    let host = lab.host("build1").start().unwrap();
    let net = Net::new(Some(lab));
    net.start(&[&net.spec("build1", ""), "popen//id=here"]);
    let mut far = runs(&net, "build1", "time.sleep(1000)");
    let mut near = runs(&net, "here", "time.sleep(1000)");
    let id = id_of(&net, far.pid);
    host.stop_sshd();
    host.kill_ssh();
    net.wait_for("build1", "unreachable");
    table(&net, "both processes, and that one is behind a break", &[], |rows| {
        let row = |words: &str| rows.iter().any(|row| row.contains(words));
        rows.last() == Some(&"build1: unreachable") && row(&id) && row(&near.pid.to_string())
    });
    let output = net.run("kill", &[&id]);
    let (status, out, _) = said(&output);
    assert_eq!(status, Some(6), "{}", text(&output));
    assert!(out.contains("SIGTERM is sent when its host is back"), "{out}");
    assert!(alive(far.pid));
    host.start_sshd().unwrap();
    wait_until(SOON, "the signal to arrive", || !alive(far.pid));
    assert_eq!(far.client.wait().unwrap().code(), Some(143));
    near.client.kill().unwrap();
    near.client.wait().unwrap();
}
