//! Hosts of the lab, seen through the real ssh.

use std::process::{Command, Output, Stdio};

use execnet_testkit::{Lab, LabHost, PATIENCE, alive, interpreters, or_skip, require, wait_until};

#[test]
fn each_host_has_its_own_interpreters_home_and_user_side_alias() {
    let Some(lab) = or_skip(Lab::new()) else {
        return;
    };
    let first = lab.host("build1").start().unwrap();
    let second = lab.host("build2").no_python().start().unwrap();
    let question = "echo hi; command -v python3; command -v python; pwd; echo $HOME $PATH";

    let (bin, home) = (first.bin().display().to_string(), first.home().display().to_string());
    assert_eq!(said(&first, question), format!("hi\n{bin}/python3\n{home}\n{home} {bin}\n"));
    let (bin, home) = (second.bin().display().to_string(), second.home().display().to_string());
    assert_eq!(said(&second, question), format!("hi\n{home}\n{home} {bin}\n"));

    let plain = Command::new("ssh")
        .arg("-F")
        .arg(lab.ssh_config())
        .args(["build1", "python3 -c 'print(1+1)'"])
        .output();
    assert_eq!(plain.unwrap().stdout, b"2\n");
}

#[test]
fn every_interpreter_runs_on_a_host_that_has_only_it() {
    let Some(lab) = or_skip(Lab::new()) else {
        return;
    };
    let wanted = ["2.7", "3.6", "3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "pypy3", "jython"];
    for interpreter in or_skip(require(&wanted)).unwrap_or_default() {
        let name = interpreter.name.as_str();
        let host = lab.host(&format!("only-{name}")).pythons([name]).start().unwrap();
        let program = if name.starts_with(|first: char| first.is_ascii_digit()) {
            format!("python{name}")
        } else {
            name.to_owned()
        };
        let version =
            said(&host, &format!("{program} -c 'import sys; print(\"%d.%d\" % sys.version_info[:2])'"));
        assert!(
            interpreter.version.starts_with(version.trim()),
            "{name} says {version}, not {}",
            interpreter.version
        );
        assert_eq!(
            said(&host, "command -v python3 >/dev/null && echo yes"),
            if name.starts_with("3.") { "yes\n" } else { "" }
        );
        assert_eq!(
            said(&host, "command -v python2 >/dev/null && echo yes"),
            if name.starts_with("2.") { "yes\n" } else { "" }
        );
    }
}

#[test]
fn what_is_missing_is_said_with_how_to_get_it() {
    let Some(lab) = or_skip(Lab::new()) else {
        return;
    };
    let error = lab.host("a").pythons(["3.99", "pypy3"]).start().unwrap_err();
    assert!(error.is::<execnet_testkit::Missing>());
    assert!(error.to_string().contains("CPython 3.99 (`pyenv install 3.99`)"), "{error}");
    assert!(lab.host("b").pythons(["perl"]).start().unwrap_err().to_string().contains("an interpreter perl"));
    let names: Vec<&str> = interpreters().iter().map(|found| found.name.as_str()).collect();
    assert!(
        !names.is_empty()
            && names.iter().all(|name| names.iter().filter(|other| *other == name).count() == 1)
    );
}

#[test]
fn a_login_prints_its_noise_first() {
    let Some(lab) = or_skip(Lab::new()) else {
        return;
    };
    let host = lab.host("chatty").login_noise("It's\na \\n %s \"day\"\n").start().unwrap();
    assert_eq!(said(&host, "echo done"), "It's\na \\n %s \"day\"\ndone\n");
}

#[test]
fn endless_noise_never_runs_the_command_and_ends_with_the_connection() {
    let Some(lab) = or_skip(Lab::new()) else {
        return;
    };
    let host = lab.host("loud").login_noise_forever().start().unwrap();
    let mut ssh = host.ssh("touch ran").stdout(Stdio::piped()).spawn().unwrap();
    let mut noise = vec![0; 1 << 20];
    std::io::Read::read_exact(&mut ssh.stdout.take().unwrap(), &mut noise).unwrap();
    ssh.kill().unwrap();
    ssh.wait().unwrap();
    wait_until(PATIENCE, "the noise to end", || host.processes().is_empty());
    assert!(!host.home().join("ran").exists());
}

#[test]
fn a_host_may_have_another_login_shell() {
    let Some(lab) = or_skip(Lab::new()) else {
        return;
    };
    let Some(host) = or_skip(lab.host("b").login_shell("bash").start()) else {
        return;
    };
    assert_eq!(said(&host, "echo ${BASH_VERSION:+bash} $SHELL").split_whitespace().next(), Some("bash"));
    assert!(
        lab.host("c").login_shell("no-such-shell").start().unwrap_err().to_string().contains("no-such-shell")
    );
}

#[test]
fn a_login_leaves_no_shell_of_the_lab_behind() {
    let Some(lab) = or_skip(Lab::new()) else {
        return;
    };
    let host = lab.host("a").start().unwrap();
    let mut ssh = host.ssh("exec sleep 1000").stdin(Stdio::null()).spawn().unwrap();
    wait_until(PATIENCE, "sleep to run", || {
        let running = host.processes();
        running.len() == 1
            && std::fs::read(format!("/proc/{}/cmdline", running[0]))
                .is_ok_and(|line| line == b"sleep\x001000\0")
    });
    assert_eq!(said(&host, "env | grep -c SSH_ORIGINAL"), "0\n");
    ssh.kill().unwrap();
    ssh.wait().unwrap();
}

#[test]
fn refused_keys_changed_host_keys_and_closed_ports_have_sshs_own_words() {
    let Some(lab) = or_skip(Lab::new()) else {
        return;
    };
    let refusing = lab.host("refusing").refuse_auth().start().unwrap();
    let changed = lab.host("changed").wrong_host_key().start().unwrap();
    let unknown = lab.host("unknown").unknown_host_key().start().unwrap();
    let down = lab.host("down").down().start().unwrap();

    fails_with(&refusing, "Permission denied (publickey)");
    fails_with(&changed, "REMOTE HOST IDENTIFICATION HAS CHANGED");
    fails_with(&unknown, "Host key verification failed");
    fails_with(&down, "Connection refused");
    down.start_sshd().unwrap();
    assert_eq!(said(&down, "echo up"), "up\n");
}

#[test]
fn max_startups_turns_connects_away() {
    let Some(lab) = or_skip(Lab::new()) else {
        return;
    };
    let host = lab.host("narrow").max_startups(1).start().unwrap();
    let _unfinished = std::net::TcpStream::connect(host.address()).unwrap();
    wait_until(PATIENCE, "the connect to be taken", || host.sessions().len() == 1);
    let output = host.ssh("true").output().unwrap();
    assert_eq!(output.status.code(), Some(255), "{output:?}");
}

#[test]
fn an_inner_host_is_reached_only_through_the_host_that_reaches_it() {
    let Some(lab) = or_skip(Lab::new()) else {
        return;
    };
    let gate = lab.host("gate").reaches(["inner"]).start().unwrap();
    let other = lab.host("other").start().unwrap();
    let inner = lab.host("inner").hidden().start().unwrap();

    assert_eq!(said(&gate, "ssh inner 'echo $HOME'"), format!("{}\n", inner.home().display()));
    assert_eq!(
        said(&gate, "ssh inner 'ssh -V 2>/dev/null; ssh gate true 2>/dev/null || echo no way back'"),
        "no way back\n"
    );
    assert_eq!(said(&other, "ssh inner true 2>/dev/null || echo no way"), "no way\n");
    assert!(!inner.ssh("true").output().unwrap().status.success());
    let (port, key) = (inner.address().port().to_string(), lab.folder().join("user_key"));
    let direct = Command::new("ssh")
        .args([
            "-F",
            "none",
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
        ])
        .args(["-o", "IdentityAgent=none", "-p", &port, "-i"])
        .arg(key)
        .args(["127.0.0.1", "true"])
        .output()
        .unwrap();
    assert!(text(&direct.stderr).contains("Permission denied"), "{direct:?}");
}

#[test]
fn sshd_stops_and_starts_again_on_its_port_while_connections_stay() {
    let Some(lab) = or_skip(Lab::new()) else {
        return;
    };
    let host = lab.host("a").start().unwrap();
    let mut cat = host.ssh("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    echoes(&mut cat);
    let (pid, sessions) = (host.sshd_pid().unwrap(), host.sessions());
    assert_eq!(sessions.len(), 1);

    host.stop_sshd();
    assert!(!alive(pid) && host.sshd_pid().is_none());
    assert_eq!(host.sessions(), sessions);
    echoes(&mut cat);
    fails_with(&host, "Connection refused");

    host.start_sshd().unwrap();
    assert_eq!(said(&host, "echo again"), "again\n");
    host.kill_sessions();
    assert_eq!(cat.wait().unwrap().code(), Some(255));
}

#[test]
fn kill_ssh_ends_the_clients_of_that_host_alone() {
    let Some(lab) = or_skip(Lab::new()) else {
        return;
    };
    let (first, second) = (lab.host("a").start().unwrap(), lab.host("b").through_proxy().start().unwrap());
    let mut to_first = first.ssh("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut to_second = second.ssh("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    echoes(&mut to_first);
    echoes(&mut to_second);

    assert_eq!(first.ssh_pids(), [to_first.id()]);
    assert_eq!(lab.kill_ssh("a"), [to_first.id()]);
    assert!(!to_first.wait().unwrap().success());
    echoes(&mut to_second);
    assert_eq!(second.kill_ssh(), [to_second.id()]);
    to_second.wait().unwrap();
    assert!(second.ssh_pids().is_empty());
}

fn echoes(cat: &mut std::process::Child) {
    use std::io::{Read, Write};
    let mut answer = [0; 5];
    cat.stdin.as_mut().unwrap().write_all(b"hello").unwrap();
    cat.stdout.as_mut().unwrap().read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello");
}

#[track_caller]
fn said(host: &LabHost, command: &str) -> String {
    let Output { stdout, stderr, .. } = host.ssh(command).stdin(Stdio::null()).output().unwrap();
    assert_eq!(text(&stderr), "");
    text(&stdout)
}

#[track_caller]
fn fails_with(host: &LabHost, words: &str) {
    let output = host.ssh("true").output().unwrap();
    assert_eq!(output.status.code(), Some(255), "{output:?}");
    assert!(text(&output.stderr).contains(words), "{output:?}");
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
