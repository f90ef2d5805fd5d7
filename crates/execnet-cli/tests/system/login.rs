//! Logins that do not run the command they are given, and an ssh that does not say why it fails: what a
//! person reads then.

use std::time::Instant;

use execnet_testkit::{Lab, LabHost, or_skip, wait_until};
use serde_json::Value;

use crate::harness::{Net, SOON, text};

/// A host whose login shell is bash, with this in its `.bashrc`.
fn bash(lab: &Lab, name: &str, bashrc: &str) -> Option<LabHost> {
    let host = or_skip(lab.host(name).login_shell("bash").start())?;
    std::fs::write(host.home().join(".bashrc"), format!("{bashrc}\n")).unwrap();
    Some(host)
}

/// The error of a failed host and its hint.
#[track_caller]
fn told(net: &Net, id: &str) -> (String, String, Value) {
    let host = net.host(id);
    let word = |key: &str| host[key].as_str().unwrap_or_default().to_owned();
    (format!("{}: {}", word("step"), word("error")), word("hint"), host)
}

/// A failed login is repeated after 24 s or more, however long ago it was by now.
#[track_caller]
fn is_tried_late(host: &Value, begun: Instant) {
    let retry_in = host["retry_in"].as_f64();
    assert!(retry_in.is_none_or(|seconds| seconds + begun.elapsed().as_secs_f64() > 23.0), "{host:#}");
}

#[test]
fn a_login_file_that_reads_exits_or_becomes_something_else_is_named() {
    let Some(lab) = or_skip(Lab::new()) else { return };
    let read = "login: something on the host read what was sent to its Python";
    let cases = [
        ("reads-a-line", "read -t 60 x", read),
        ("reads-a-part", "read -n 20 x", read),
        ("reads-more", "dd bs=600 count=1 of=/dev/null 2>/dev/null", read),
        ("reads-all", "exec 0</dev/null", "login: nothing that was sent reached its Python"),
        ("exits", "exit", "login: its login ends without running the command it is given"),
        ("fails", "exit 3", "login: its login ends with status 3 without running the command it is given"),
        (
            "becomes",
            "exec nothing-of-this-name",
            "login: its login cannot start the command it is given (status 127)",
        ),
        (
            "finds-no-sh",
            "PATH=/nowhere",
            "login: its login cannot start the command it is given (status 127)",
        ),
        (
            "says-why",
            "echo closed for today; exit",
            "noise: its login ends without running the command it is given; it wrote: closed for today",
        ),
    ];
    let mut specs = Vec::new();
    for (name, bashrc, _) in cases {
        let Some(_) = bash(&lab, name, bashrc) else { return };
        specs.push(name);
    }
    let net = Net::new(Some(lab));
    let specs: Vec<String> = specs.iter().map(|name| net.spec(name, "")).collect();
    let begun = Instant::now();
    let output = net.run("start", &specs.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(output.status.code(), Some(6), "{}", text(&output));
    for (name, bashrc, error) in cases {
        let (said, hint, host) = told(&net, name);
        assert_eq!(said, error, "{bashrc}: {host:#}");
        assert!(hint.contains(".bashrc"), "{bashrc}: {hint}");
        is_tried_late(&host, begun);
    }
    // the command in the hint shows the cause
    let hint = told(&net, "exits").1;
    let command = hint.split('`').find(|words| words.ends_with("python3 -V")).unwrap().to_owned();
    let run = || std::process::Command::new("sh").args(["-c", &command]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&run().stdout), "");
    let exits = net.lab().hosts().into_iter().find(|host| host.name() == "exits").unwrap();
    std::fs::remove_file(exits.home().join(".bashrc")).unwrap();
    assert!(String::from_utf8_lossy(&run().stdout).starts_with("Python 3"), "{command}");
    net.ok("addhost", &[&net.spec("exits", "")]);
}

#[test]
fn what_a_job_of_the_login_prints_between_frames_is_shown() {
    let Some(lab) = or_skip(Lab::new()) else { return };
    let job = "( until [ -e ~/go ]; do sleep 0.1; done; rm ~/go; echo 2026: you have new mail ) &";
    let Some(host) = bash(&lab, "build1", job) else { return };
    lab.host("gate").reaches(["build1"]).start().unwrap();
    let net = Net::new(Some(lab));
    net.start(&[&net.spec("build1", ""), &net.spec("gate", ""), "ssh=build1//via=gate//id=behind"]);
    let log = || std::fs::read_to_string(net.log()).unwrap_or_default();
    for id in ["build1", "behind"] {
        let shown = format!(
            "{id}: noise: something other than its agent wrote to the link: `2026: you have new mail`"
        );
        wait_until(SOON, &format!("the mail of {id}"), || {
            // both have such a job, and either may take the file
            std::fs::write(host.home().join("go"), "").unwrap();
            log().contains(&shown)
        });
    }
    assert!(!log().contains("broke the protocol"), "{}", log());
}

#[test]
fn an_ssh_that_is_configured_to_say_nothing_still_says_why_and_is_not_tried_often() {
    let Some(lab) = or_skip(Lab::new()) else { return };
    lab.host("refused").refuse_auth().start().unwrap();
    lab.host("gate").reaches(["refused"]).start().unwrap();
    let quiet = lab.folder().join("quiet_config");
    let lines = format!("Host *\nLogLevel QUIET\nInclude {}\n", lab.ssh_config().display());
    std::fs::write(&quiet, lines).unwrap();
    let net = Net::new(Some(lab));
    let spec = |rest: &str| format!("ssh={rest}//ssh_config={}", quiet.display());
    let told_so = "authenticate: the server does not accept this login";
    let cases = [
        (spec("refused"), told_so),
        (spec("-v refused//id=verbose"), told_so),
        (spec("-q refused//id=silent"), "connect: `ssh` failed without saying why (status 255)"),
        (
            spec("-o LogLevel=QUIET refused//id=chosen"),
            "connect: `ssh` failed without saying why (status 255)",
        ),
        (
            spec("-o ProxyJump=refused gate//id=jump"),
            "connect: the jump host or proxy command of the ssh configuration ended without a message",
        ),
        (
            "ssh=-o LogLevel=QUIET refused//via=gate//id=behind".into(),
            "connect: `ssh` failed without saying why (status 255)",
        ),
    ];
    let gate = net.spec("gate", "");
    let mut specs: Vec<&str> = cases.iter().map(|(spec, _)| spec.as_str()).collect();
    specs.push(&gate);
    let begun = Instant::now();
    let output = net.run("start", &specs);
    assert_eq!(output.status.code(), Some(6), "{}", text(&output));
    for ((spec, error), id) in cases.iter().zip(["refused", "verbose", "silent", "chosen", "jump", "behind"])
    {
        let (said, hint, host) = told(&net, id);
        assert_eq!(&said, error, "{spec}: {host:#}");
        assert!(!hint.is_empty(), "{host:#}");
        is_tried_late(&host, begun);
    }
}

#[test]
fn settings_that_make_something_else_of_a_link_are_set_back() {
    let Some(lab) = or_skip(Lab::new()) else { return };
    lab.host("build1").start().unwrap();
    let odd = lab.folder().join("odd_config");
    let lines = "Host *\nRequestTTY force\nRemoteCommand date\nPermitLocalCommand yes\nLocalCommand cat\n";
    let mut lines = lines.to_owned();
    let known = std::process::Command::new("ssh").args(["-G", "nowhere.invalid"]).output().unwrap();
    if String::from_utf8_lossy(&known.stdout).contains("\nstdinnull ") {
        lines += "StdinNull yes\nSessionType none\nForkAfterAuthentication yes\n";
    }
    std::fs::write(&odd, format!("{lines}Include {}\n", lab.ssh_config().display())).unwrap();
    let net = Net::new(Some(lab));
    net.start(&[&format!("ssh=build1//ssh_config={}", odd.display())]);
    assert_eq!(net.python_ok(&["-c", "print(1)"]), "1");
}

#[test]
fn a_command_that_passes_no_input_or_makes_a_terminal_is_named() {
    let net = Net::new(None);
    let folder = net.state();
    std::fs::create_dir_all(&folder).unwrap();
    let script = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        path.display().to_string()
    };
    let terminal =
        "exec python3 -c 'import os, pty, sys; sys.exit(os.WEXITSTATUS(pty.spawn(sys.argv[1:])))' \"$@\"";
    let cases = [
        (script("no-input", "exec \"$@\" </dev/null"), "start: `", "passes no stdin to its Python"),
        (
            script("reads-some", "head -c 600 >/dev/null; exec \"$@\""),
            "start: ",
            "read part of what was sent",
        ),
        (script("terminal", terminal), "", "terminal"),
    ];
    net.start(&["popen"]);
    for (path, step, error) in &cases {
        let id = path.rsplit('/').next().unwrap();
        let output = net.run("addhost", &[&format!("cmd={path} python3//id={id}")]);
        assert_eq!(output.status.code(), Some(6), "{}", text(&output));
        let (said, hint, host) = told(&net, id);
        assert!(said.starts_with(step) && said.contains(error) && !hint.is_empty(), "{host:#}");
    }
}

#[test]
fn ports_are_taken_as_people_write_them() {
    let Some(lab) = or_skip(Lab::new()) else { return };
    let port = lab.host("build1").start().unwrap().address().port();
    let config = lab.folder().join("loopback_config");
    // only the address, because a host's name cannot hold a port
    let lines = std::fs::read_to_string(lab.ssh_config()).unwrap();
    let lines = lines.replace("Host build1", "Host build1 127.0.0.1");
    let lines: Vec<&str> = lines.lines().filter(|line| !line.trim().starts_with("Port ")).collect();
    std::fs::write(&config, lines.join("\n")).unwrap();
    let net = Net::new(Some(lab));
    net.start(&["popen"]);
    for (at, written) in ["127.0.0.1:", "[127.0.0.1]:", "ssh://127.0.0.1:"].iter().enumerate() {
        let spec = format!("ssh={written}{port}//id=h{at}//ssh_config={}", config.display());
        net.ok("addhost", &[&spec]);
        assert_eq!(net.python_ok(&["--node", &format!("h{at}"), "-c", "print(1)"]), "1");
    }
}
