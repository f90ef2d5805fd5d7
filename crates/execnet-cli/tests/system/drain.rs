//! Hosts that take no new work: `drain` and `undrain`.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Output};

use execnet_testkit::wait_until;
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Net, SOON, line, piped, text};

/// Two hosts on this machine.
fn two() -> Net {
    let net = Net::new(None);
    net.start(&["popen//id=a", "popen//id=b"]);
    net
}

/// A process on a host that ends with its stdin. It runs when this returns.
fn runs_on(net: &Net, host: &str) -> Child {
    let code = "import sys; print('runs', flush=True); sys.stdin.read()";
    let mut child = piped(net.python(&["--node", host, "-c", code]));
    assert_eq!(line(child.stdout.as_mut().unwrap()), "runs");
    child
}

fn end(mut child: Child) -> Output {
    drop(child.stdin.take());
    child.wait_with_output().unwrap()
}

fn file(net: &Net) -> String {
    std::fs::read_to_string(net.config()).unwrap()
}

#[test]
fn a_drained_host_is_used_by_name_only_and_stays_drained_after_a_restart() {
    let net = two();
    std::fs::write(net.config(), format!("# ours\n{}", file(&net))).unwrap();
    let before = file(&net);
    let output = net.run("drain", &["a", "a"]);
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "a: drained\n");
    assert_eq!(file(&net), format!("{before}drained = [\"a\"]\n"));
    for _ in 0..2 {
        let status = net.ok("status", &[]);
        assert!(
            status.lines().any(|line| line.starts_with("a   ") && line.contains("  up, drained  linux ")),
            "{status}"
        );
        let one = net.run("exec", &["--one", "--json", "channel.send(1)"]);
        assert!(text(&one).contains(r#""host": "b""#), "{}", text(&one));
        let all = net.run("exec", &["channel.send(1)"]);
        let mut lines: Vec<&str> = std::str::from_utf8(&all.stdout).unwrap().lines().collect();
        lines.sort_unstable();
        assert_eq!((lines, all.stderr.len()), (vec!["a: 1", "b: 1"], 0));
        for named in [net.run("python", &["--node", "a", "-c", ""]), net.run("exec", &["--node", "a", "1"])] {
            assert!(named.status.success(), "{}", text(&named));
            let said = String::from_utf8_lossy(&named.stderr);
            assert_eq!(said, "execnet: a is drained, and used because it was named\n");
        }
        net.ok("stop", &[]);
        net.start(&[]);
    }
    net.ok("drain", &["b"]);
    let none = net.run("python", &["-c", "pass"]);
    assert_eq!(none.status.code(), Some(125));
    assert!(text(&none).contains("that match are drained: a, b\nHint: `execnet undrain "), "{}", text(&none));
    let output = net.run("undrain", &["b,a", "a"]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "a: takes new work\nb: takes new work\n");
    assert_eq!(file(&net), before);
    assert_eq!(net.host("a")["drained"], false);
}

#[test]
fn a_busy_host_is_removed_when_it_is_idle_though_the_command_has_ended() {
    let net = two();
    let runs = runs_on(&net, "a");
    let output = net.run("drain", &["a", "--remove"]);
    assert_eq!(
        (output.status.code(), String::from_utf8_lossy(&output.stderr)),
        (Some(0), "a: drained; rmhost when idle: 1 process runs there (execnet python)\n".into())
    );
    let status = net.ok("status", &[]);
    assert!(
        status.contains("\na: draining: rmhost when idle; 1 process runs there (execnet python)\n"),
        "{status}"
    );
    assert_eq!(net.host("a")["removing"], true);
    assert!(end(runs).status.success());
    wait_until(SOON, "the host to leave", || net.status()["hosts"].as_array().unwrap().len() == 1);
    wait_until(SOON, "the file to be written", || file(&net) == "hosts = [\n    \"popen//id=b\",\n]\n");
    let gone = net.run("undrain", &["a"]);
    assert_eq!(gone.status.code(), Some(4), "{}", text(&gone));
    let output = net.run("drain", &["b", "--remove"]);
    let said = format!("b: removed from {}\n", net.name);
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr)), (Some(0), said.into()));
}

#[test]
fn drain_waits_for_what_runs_and_ctrl_c_ends_only_the_waiting() {
    let net = two();
    let runs = runs_on(&net, "a");
    let waits = |args: &[&str]| {
        let mut waits = piped(net.execnet([&["drain", &net.name][..], args].concat()));
        let stderr = BufReader::new(waits.stderr.take().unwrap());
        (waits, stderr.lines().map(Result::unwrap))
    };
    let (mut first, mut said) = waits(&["a", "b", "--wait"]);
    assert_eq!(
        said.next().unwrap(),
        "a: drained; waiting until it is idle: 1 process runs there (execnet python)"
    );
    assert_eq!(said.next().unwrap(), "b: drained");
    kill_process(Pid::from_child(&first), Signal::INT).unwrap();
    assert_eq!(first.wait().unwrap().signal(), Some(Signal::INT.as_raw()));
    assert_eq!((net.host("a")["drained"].clone(), said.next()), (true.into(), None));
    let (mut second, mut said) = waits(&["a", "--wait"]);
    said.next().unwrap();
    assert!(end(runs).status.success());
    assert_eq!(said.collect::<Vec<_>>(), ["a: idle"]);
    assert!(second.wait().unwrap().success());

    let runs = runs_on(&net, "a");
    let (third, mut said) = waits(&["a", "--wait"]);
    said.next().unwrap();
    net.ok("undrain", &["a"]);
    assert_eq!(said.collect::<Vec<_>>(), ["Error: `a` was undrained in the meantime"]);
    assert_eq!(third.wait_with_output().unwrap().status.code(), Some(1));
    assert!(end(runs).status.success());
}

#[test]
fn drain_waits_on_when_the_daemon_was_killed_and_started_again() {
    let net = two();
    let runs = runs_on(&net, "a");
    for remove in [false, true] {
        let mut args = vec!["drain", &net.name, "a", "--wait"];
        args.extend(remove.then_some("--remove"));
        let mut waits = piped(net.execnet(args));
        let mut said = BufReader::new(waits.stderr.take().unwrap()).lines().map(Result::unwrap);
        let then = if remove { "rmhost when idle" } else { "waiting until it is idle" };
        assert_eq!(
            said.next().unwrap(),
            format!("a: drained; {then}: 1 process runs there (execnet python)")
        );
        net.kill_daemon();
        assert_eq!(
            said.next().unwrap(),
            format!(
                "execnet: the daemon of {0} is gone; waiting up to 630 s for `execnet start {0}`",
                net.name
            )
        );
        net.start(&[]);
        assert_eq!(said.next().unwrap(), format!("execnet: the daemon of {} is back", net.name));
        assert_eq!(net.host("a")["drained"], true);
        if !remove {
            // it drains the host once more when the daemon is back
            wait_until(SOON, "the end of the waiting", || {
                net.ok("undrain", &["a"]);
                waits.try_wait().unwrap().is_some()
            });
            assert_eq!(said.collect::<Vec<_>>(), ["Error: `a` was undrained in the meantime"]);
            assert_eq!(waits.wait().unwrap().code(), Some(1));
            continue;
        }
        wait_until(SOON, "the host to be leaving when it is idle", || net.host("a")["removing"] == true);
        let mut runs = runs;
        drop(runs.stdin.take());
        assert!(runs.wait().unwrap().success());
        assert_eq!(said.collect::<Vec<_>>(), [format!("a: removed from {}", net.name)]);
        assert!(waits.wait().unwrap().success());
        break;
    }
    let waits = piped(net.execnet(["drain", &net.name, "b", "--wait"]));
    assert!(waits.wait_with_output().unwrap().status.success());
}

#[test]
fn what_cannot_be_drained_is_refused_and_changes_nothing() {
    let net = two();
    net.ok("addhost", &["popen//id=c//via=a"]);
    let before = file(&net);
    let refused = net.run("drain", &["b", "a", "--remove"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused).contains("`c` is reached through `a`\nHint: remove `c` first"),
        "{}",
        text(&refused)
    );
    let unknown = net.run("drain", &["b", "aa"]);
    assert_eq!(unknown.status.code(), Some(4));
    assert_eq!(file(&net), before);
    assert!(net.status()["hosts"].as_array().unwrap().iter().all(|host| host["drained"] == false));
    // behind a drained host all goes on
    net.ok("drain", &["a"]);
    assert_eq!(net.python_ok(&["--node", "c", "-c", "print(1)"]), "1");
    net.ok("rmhost", &["c"]);
    net.ok("rmhost", &["a"]);
    assert_eq!(
        file(&net),
        before.replace("    \"popen//id=a\",\n", "").replace("    \"popen//via=a//id=c\",\n", "")
    );
}

#[test]
fn a_network_without_hosts_in_its_file_keeps_its_machine_drained() {
    let net = Net::new(None);
    net.start(&[]);
    assert_eq!(String::from_utf8_lossy(&net.run("drain", &["local"]).stderr), "local: drained\n");
    net.ok("stop", &[]);
    assert_eq!(file(&net), "drained = [\"local\"]\n");
    std::fs::write(net.config(), "drained = [\"local\", \"lokal\"]\n").unwrap();
    let output = net.run("start", &[]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains(" lists `lokal`, which is not a host\n"), "{}", text(&output));
    assert_eq!(net.host("local")["drained"], true);
    net.ok("rmhost", &["local"]);
    assert_eq!(file(&net), "drained = [\"lokal\"]\n");
}

#[test]
fn a_host_of_no_file_is_drained_until_the_network_stops() {
    let net = two();
    let listed = "hosts = [\"popen//id=b\"]\n";
    std::fs::write(net.config(), listed).unwrap();
    let output = net.run("drain", &["a"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.ends_with(".toml does not list a: drained until the network stops\n"), "{said}");
    assert_eq!((file(&net), net.host("a")["drained"].clone()), (listed.to_owned(), true.into()));
}
