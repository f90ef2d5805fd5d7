//! Failed attempts: what they started on a host ends with them, however far they came.

use std::path::PathBuf;

use execnet_testkit::{Lab, LabHost, alive, or_skip, wait_until};

use crate::harness::{Net, SOON, sha256, text};

/// An interpreter that never comes up, and has a child of its own.
const HANGS: &str = "#!/bin/sh\nsleep 4711 & wait\n";

/// A slow login shell.
const SLOW: &str = "#!/bin/sh\nsleep 3\nexec /bin/sh \"$@\"\n";

fn host_of(net: &Net, name: &str) -> LabHost {
    net.lab().hosts().into_iter().find(|host| host.name() == name).unwrap()
}

/// The files of a host's agent.
fn files_of(net: &Net, host: &str) -> Vec<PathBuf> {
    let secret = std::fs::read_to_string(net.state().join("secret")).unwrap();
    let about = format!("{}{}\0{host}", secret.trim(), net.name);
    let (digest, _) = sha256(about.as_bytes());
    let folder = format!("/tmp/execnet-{}", rustix::process::geteuid().as_raw());
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    files.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(&digest[..16])).collect()
}

#[test]
fn an_interpreter_that_hangs_ends_with_the_attempt_that_started_it() {
    let Some(lab) = or_skip(Lab::new()) else { return };
    let mut names = Vec::new();
    for shell in ["sh", "bash", "csh", "fish", "zsh"] {
        let host = lab.host(shell).login_shell(shell).no_python().script("python3", HANGS);
        if or_skip(host.start()).is_none() {
            return;
        }
        names.push(shell);
    }
    lab.host("gate").start().unwrap();
    lab.host("inner").no_python().script("python3", HANGS).start().unwrap();
    let net = Net::new(Some(lab));
    let mut specs: Vec<_> = names.iter().map(|name| net.spec(name, "//patience=2")).collect();
    specs.extend([net.spec("gate", ""), net.spec("inner", "//via=gate//patience=2")]);
    let output = net.run("start", &specs.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(output.status.code(), Some(6), "{}", text(&output));
    names.push("inner");
    for name in &names {
        let host = host_of(&net, name);
        assert!(net.host(name)["error"].as_str().unwrap().contains("within 2 s"), "{}", net.host(name));
        // another attempt
        let mut tried = Vec::new();
        wait_until(SOON, "the next attempt", || {
            tried = host.processes();
            tried.len() >= 3
        });
        wait_until(SOON, "that attempt to be over", || !tried.iter().any(|pid| alive(*pid)));
    }
    net.ok("stop", &[]);
    for name in names {
        wait_until(SOON, &format!("{name} to be as it was"), || host_of(&net, name).processes().is_empty());
    }
}

#[test]
fn a_link_that_is_lost_during_a_slow_login_leaves_nothing_on_the_host() {
    let Some(lab) = or_skip(Lab::new()) else { return };
    let host = lab.host("slow").script("sh", SLOW).start().unwrap();
    let net = Net::new(Some(lab));
    let mut start = net.execnet(["start", &net.name, &net.spec("slow", "")]).spawn().unwrap();
    wait_until(SOON, "the login", || !host.processes().is_empty());
    host.kill_ssh();
    net.ok("stop", &[]);
    start.wait().unwrap();
    wait_until(SOON, "the login to be over", || host.processes().is_empty());
    assert_eq!(files_of(&net, "slow"), Vec::<PathBuf>::new());
}

#[test]
fn a_slow_login_joins_with_the_patience_that_it_needs() {
    let Some(lab) = or_skip(Lab::new()) else { return };
    lab.host("slow").script("sh", SLOW).start().unwrap();
    let net = Net::new(Some(lab));
    let output = net.run("start", &[&net.spec("slow", "//patience=1")]);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(6), "{said}");
    assert!(said.contains("did not greet within 1 s") && said.contains("`patience=`"), "{said}");
    net.ok("rmhost", &["slow"]);
    net.ok("addhost", &[&net.spec("slow", "//patience=2m")]);
    assert_eq!(net.python_ok(&["-c", "print(1)"]), "1");
}

/// Submits a job: cancels it slowly when asked to, and logs the signals it gets.
const JOB: &str = "#!/bin/sh
trap 'echo HUP >>$0.log' HUP
# one that has not submitted it yet takes nothing back
trap '
    grep -qx \"start $$\" $0.log || exit 143
    echo TERM >>$0.log; sleep 1; echo end >>$0.log; exit 143
' TERM
echo start $$ >>$0.log
sleep 4711 & wait
";

/// A program for `cmd=`, and its log.
fn program(net: &Net, name: &str, text: &str) -> (String, impl Fn() -> Vec<String> + use<>) {
    use std::os::unix::fs::PermissionsExt;
    let path = net.config().with_file_name(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let log = path.with_extension("log");
    let said = move || {
        let log = std::fs::read_to_string(&log).unwrap_or_default();
        log.lines().filter_map(|line| Some(line.split(' ').next()?.to_owned())).collect::<Vec<_>>()
    };
    (format!("cmd={}", path.display()), said)
}

#[test]
fn a_job_is_taken_back_before_another_one_is_submitted_and_when_the_network_ends() {
    for (via, first) in [("", None), ("//via=local", Some("popen"))] {
        let net = Net::new(None);
        let (cmd, said) = program(&net, "submit", JOB);
        let spec = format!("{cmd}//id=job//patience=1{via}");
        let specs: Vec<_> = first.into_iter().chain([spec.as_str()]).collect();
        assert_eq!(net.run("start", &specs).status.code(), Some(6));
        assert!(net.host("job")["hint"].as_str().unwrap().contains("`patience=`"), "{}", net.host("job"));
        let tries = |count: usize| said().iter().filter(|line| *line == "start").count() >= count;
        wait_until(SOON, "a second try", || tries(2));
        // SIGTERM to the daemon does what stop does
        if via.is_empty() {
            let daemon = net.daemon();
            rustix::process::kill_process(
                rustix::process::Pid::from_raw(daemon.cast_signed()).unwrap(),
                rustix::process::Signal::TERM,
            )
            .unwrap();
            wait_until(SOON, "the daemon's end", || !alive(daemon));
        } else {
            net.ok("stop", &[]);
        }
        wait_until(SOON, "the last job to be taken back", || said().last().is_some_and(|line| line == "end"));
        let said = said();
        if via.is_empty() {
            assert!(said.chunks(3).all(|one| one == ["start", "TERM", "end"]), "one at a time: {said:?}");
        }
        let count = |what: &str| said.iter().filter(|line| *line == what).count();
        assert_eq!((count("TERM"), count("end")), (count("start"), count("start")), "{said:?}");
        assert_eq!(count("HUP"), 0, "{said:?}");
    }
}

#[test]
fn a_command_that_does_not_want_to_end_is_killed_in_the_end() {
    let net = Net::new(None);
    let stubborn = "#!/bin/sh\ntrap '' TERM HUP INT\necho $$ >>$0.log\nwhile :; do sleep 1; done\n";
    let (cmd, said) = program(&net, "stubborn", stubborn);
    let mut start = net.execnet(["start", &net.name, &format!("{cmd}//id=job")]).spawn().unwrap();
    wait_until(SOON, "it to run", || said().len() == 1);
    let pid = said()[0].parse().unwrap();
    net.ok("stop", &[]);
    start.wait().unwrap();
    assert!(!alive(pid), "stop waits for its end");
}
