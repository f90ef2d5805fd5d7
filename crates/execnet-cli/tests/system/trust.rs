//! Tries every promise of the trust model.

use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use execnet_proto::opening::{OPENING, VERSION};
use execnet_testkit::{Lab, Listening, or_skip, sockets_listening, wait_until};

use crate::harness::{Net, SOON, copy_program, text};

#[test]
fn nobody_listens_on_a_port_and_the_sockets_are_private() {
    let Some(lab) = or_skip(Lab::new()) else { return };
    lab.host("build1").start().unwrap();
    let net = Net::new(Some(lab));
    net.start(&[&net.spec("build1", "")]);
    let mut sockets = vec![net.socket()];
    for listening in sockets_listening(net.agent("build1")) {
        match listening {
            Listening::Unix(path) => sockets.push(path),
            other => panic!("the agent listens on {other:?}"),
        }
    }
    assert_eq!(sockets.len(), 2);
    for path in sockets {
        let folder = std::fs::symlink_metadata(path.parent().unwrap()).unwrap();
        assert!(folder.is_dir());
        assert_eq!(
            (folder.permissions().mode() & 0o777, folder.uid()),
            (0o700, rustix::process::geteuid().as_raw())
        );
    }
}

#[test]
fn an_ssh_agent_that_is_lent_to_a_host_is_told_and_can_be_kept_back() {
    let Some(lab) = or_skip(Lab::new()) else { return };
    lab.host("build1").start().unwrap();
    let net = Net::new(Some(lab));
    let config = net.lab().ssh_config();
    let lends = std::fs::read_to_string(&config).unwrap().replace("IdentityAgent none", "ForwardAgent yes");
    assert!(lends.contains("ForwardAgent"));
    std::fs::write(&config, lends).unwrap();
    let socket = net.lab().folder().join("ssh-agent");
    let mut agent = Command::new("ssh-agent");
    let _agent = Ended(
        agent.arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap(),
    );
    let key = net.lab().folder().join("user_key");
    // the socket exists before it listens
    execnet_testkit::wait_until(SOON, "the ssh agent", || {
        Command::new("ssh-add").arg(&key).env("SSH_AUTH_SOCK", &socket).output().unwrap().status.success()
    });
    let closed = format!("ssh=-a build1//id=closed//ssh_config={}", config.display());
    let started = net
        .execnet(["start", &net.name, &net.spec("build1", ""), &closed])
        .env("SSH_AUTH_SOCK", &socket)
        .output()
        .unwrap();
    assert!(started.status.success(), "{}", text(&started));
    // the lab's hosts have a PATH of their own
    let which = Command::new("sh").args(["-c", "command -v ssh-add"]).output().unwrap();
    let ssh_add = String::from_utf8(which.stdout).unwrap().trim().to_owned();
    let list = |node: &str| {
        let code = "import subprocess, sys; raise SystemExit(subprocess.call(sys.argv[1:]))";
        net.python(&["--node", node, "-c", code, &ssh_add, "-l"]).output().unwrap()
    };
    let lent = list("build1");
    assert!(lent.status.success() && text(&lent).contains("SHA256:"), "{}", text(&lent));
    let note = net.host("build1")["note"].as_str().unwrap_or_default().to_owned();
    assert!(note.contains("your ssh agent (ForwardAgent)") && note.contains("`ssh=-a build1`"), "{note}");
    assert!(
        text(&started).contains("build1: ssh forwards, for as long as the network is up"),
        "{}",
        text(&started)
    );
    let kept = list("closed");
    assert_eq!(kept.status.code(), Some(2), "{}", text(&kept));
    assert!(net.host("closed")["note"].is_null());
}

/// A process that is killed with its test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A new user, and the command where that user can run it.
struct Stranger {
    uid: u32,
    folder: PathBuf,
}

impl Stranger {
    fn new() -> Self {
        static OTHERS: AtomicU32 = AtomicU32::new(0);
        let uid = 62_000 + std::process::id() % 1_000 * 2 + OTHERS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("execnet-stranger-{uid}"));
        std::fs::create_dir(&folder).unwrap();
        copy_program(&folder.join("execnet"));
        for name in ["home", "run"] {
            std::fs::create_dir(folder.join(name)).unwrap();
            std::os::unix::fs::chown(folder.join(name), Some(uid), Some(uid)).unwrap();
            std::fs::set_permissions(folder.join(name), std::fs::Permissions::from_mode(0o700)).unwrap();
        }
        Self { uid, folder }
    }

    /// This user's folder in /tmp, unless another user takes it first.
    fn usual(&self) -> PathBuf {
        format!("/tmp/execnet-{}", self.uid).into()
    }

    fn execnet(&self, variables: &[(&str, &str)], args: &[&str]) -> std::process::Output {
        self.execnet_in(Path::new("/"), variables, args)
    }

    fn execnet_in(&self, folder: &Path, variables: &[(&str, &str)], args: &[&str]) -> std::process::Output {
        let user = format!("{}", self.uid);
        Command::new("setpriv")
            .args(["--reuid", &user, "--regid", &user, "--clear-groups"])
            .arg(self.folder.join("execnet"))
            .args(args)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.folder.join("home"))
            .envs(variables.iter().map(|(name, folder)| (name, self.folder.join(folder))))
            .current_dir(folder)
            .output()
            .unwrap()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.execnet(&[], &["stop", "squat"]);
        let _ = std::fs::remove_dir_all(&self.folder);
        let _ = std::fs::remove_dir_all(self.usual());
    }
}

#[test]
fn who_makes_a_users_folder_first_keeps_nobody_from_a_network() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped, because only root can become another user");
        return;
    }
    let user = Stranger::new();
    std::fs::create_dir(user.usual()).unwrap();
    let said = |output: &std::process::Output| String::from_utf8_lossy(&output.stdout).into_owned();
    let started = user.execnet(&[("XDG_RUNTIME_DIR", "run")], &["start", "squat", "popen"]);
    assert!(started.status.success(), "{}", text(&started));
    let socket = user.folder.join("run/execnet/squat.daemon.sock");
    let place = format!(
        "squat: its socket is {}: {} belongs to another user",
        socket.display(),
        user.usual().display()
    );
    assert!(said(&started).contains(&place), "{}", text(&started));
    // root owns this file if the process may not be inspected
    let lock = std::fs::read_to_string(socket.with_file_name("squat.daemon.lock")).unwrap();
    assert_eq!(std::fs::metadata(format!("/proc/{}/environ", lock.trim())).unwrap().uid(), 0);
    // whatever the environment
    for variables in [&[][..], &[("XDG_STATE_HOME", "run/state")], &[("XDG_RUNTIME_DIR", "home")]] {
        let ran = user.execnet(variables, &["python", "squat", "-c", "print(1)"]);
        assert_eq!(said(&ran), "1\n", "{}", text(&ran));
    }
    assert!(said(&user.execnet(&[], &["status", "squat"])).contains(&place));
    assert!(said(&user.execnet(&[], &["list"])).contains("squat    running"));
    // still one daemon, though the usual folder is free now
    std::fs::remove_dir(user.usual()).unwrap();
    for variables in [&[][..], &[("XDG_STATE_HOME", "run/state"), ("XDG_RUNTIME_DIR", "run")]] {
        let again = user.execnet(variables, &["start", "squat"]);
        assert_eq!(again.status.code(), Some(5), "{}", text(&again));
    }
    let stopped = user.execnet(&[], &["stop", "squat"]);
    assert!(stopped.status.success(), "{}", text(&stopped));
    assert!(!user.folder.join("run/execnet").exists(), "nothing stays behind");
    let gone = user.execnet(&[], &["status", "squat"]);
    assert_eq!(gone.status.code(), Some(3), "{}", text(&gone));
}

#[test]
fn the_program_that_hands_a_password_on_closes_its_memory() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped, because only root can become another user");
        return;
    }
    let user = Stranger::new();
    let (asked, ssh) = (user.folder.join("home/asked"), user.folder.join("run/ssh"));
    // asked for its version if the question may be about a host key
    let waits = format!("#!/bin/sh\n: >{0}\nwhile test -e {0}; do sleep 0.1; done\n", asked.display());
    std::fs::write(&ssh, waits).unwrap();
    std::fs::set_permissions(&ssh, std::fs::Permissions::from_mode(0o755)).unwrap();
    let id = user.uid.to_string();
    let mut askpass = Command::new("setpriv");
    askpass.args(["--reuid", &id, "--regid", &id, "--clear-groups"]).arg(user.folder.join("execnet"));
    askpass.arg("The authenticity of host 'h' (yes/no)? ").env("EXECNET_ASKPASS", "squat/0");
    askpass.env("PATH", format!("{}:/usr/bin:/bin", user.folder.join("run").display()));
    let mut askpass = Ended(askpass.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    wait_until(SOON, "its question about ssh", || asked.exists());
    // root owns this file if the process may not be inspected
    let environ = format!("/proc/{}/environ", askpass.0.id());
    assert_eq!(std::fs::metadata(environ).unwrap().uid(), 0);
    std::fs::remove_file(asked).unwrap();
    assert!(!askpass.0.wait().unwrap().success(), "there is no such network");
}

#[test]
fn what_starts_beside_a_user_who_cannot_enter_the_current_folder_runs_at_home() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped, because only root can become another user");
        return;
    }
    let user = Stranger::new();
    let closed = user.folder.join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).unwrap();
    let started = user.execnet_in(&closed, &[], &["start", "squat", "popen"]);
    assert!(started.status.success(), "{}", text(&started));
    let code = "import os; print(os.getcwd())";
    let ran = user.execnet_in(&closed, &[], &["python", "squat", "-c", code]);
    let home = user.folder.join("home");
    assert_eq!(String::from_utf8_lossy(&ran.stdout), format!("{}\n", home.display()), "{}", text(&ran));
    let ran = user.execnet_in(&closed, &[], &["exec", "squat", "import os; channel.send(os.getcwd())"]);
    assert_eq!(String::from_utf8_lossy(&ran.stdout), format!("'{}'\n", home.display()), "{}", text(&ran));
    let asked = user.execnet_in(&closed, &[], &["python", "squat", "--chdir", ".", "-c", code]);
    assert!(text(&asked).contains("cannot change to directory"), "{}", text(&asked));
}

#[test]
fn other_users_are_refused_even_where_the_folder_would_let_them_in() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped, because only root can become another user");
        return;
    }
    let net = Net::new(None);
    net.start(&["popen"]);
    let agent = sockets_listening(net.agent("local"))
        .into_iter()
        .find_map(|socket| if let Listening::Unix(path) = socket { Some(path) } else { None })
        .unwrap();
    let knock = "import socket, sys
s = socket.socket(socket.AF_UNIX); s.settimeout(300)
try:
    s.connect(sys.argv[1])
except OSError as error:
    print('refused'); sys.exit()
got = b''
try:
    s.sendall(bytes.fromhex(sys.argv[2]))
    while len(got) < 4096:
        data = s.recv(4096)
        if not data: break
        got += data
    print('closed', got.hex())
except OSError as error:
    print('closed' if isinstance(error, ConnectionError) else 'open', got.hex())";
    let stub = [&b"\0\0execnet:stub\0"[..], &VERSION.to_be_bytes()].concat();
    for (path, bytes) in [(net.socket(), [&OPENING[..], &CLIENT].concat()), (agent, stub)] {
        let bytes: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let by_other = |path: &PathBuf| {
            let output = Command::new("setpriv")
                .args([
                    "--reuid=65534",
                    "--regid=65534",
                    "--clear-groups",
                    "/usr/bin/env",
                    "python3",
                    "-c",
                    knock,
                ])
                .arg(path)
                .arg(&bytes)
                .env("PATH", "/usr/bin:/bin")
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", text(&output));
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        assert_eq!(by_other(&path), "refused", "the folder keeps others out");
        // a hard link elsewhere stands in for a folder with a wrong mode
        let open = std::env::temp_dir().join(format!("{}-{}", net.name, bytes.len()));
        std::fs::hard_link(&path, &open).unwrap();
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
        let answer = by_other(&open);
        std::fs::remove_file(&open).unwrap();
        assert!(answer == "closed" || answer.starts_with("closed "), "{answer}");
        assert!(!answer.contains("6578"), "not even a greeting: {answer}");
    }
    assert_eq!(net.python_ok(&["-c", "print(1)"]), "1");
}

/// The network's secret and its host's, derived with another HMAC than the daemon's.
fn secrets(net: &Net, host: &str) -> [String; 2] {
    let secret = std::fs::read_to_string(net.state().join("secret")).unwrap().trim().to_owned();
    let code = "import hashlib, hmac, sys; parts = map(str.encode, sys.stdin.read().split('|'))\n\
                print(hmac.new(*parts, hashlib.sha256).hexdigest())";
    let mut python = crate::harness::piped({
        let mut python = Command::new("python3");
        python.args(["-c", code]);
        python
    });
    let message = format!("{secret}|execnet agent secret\0{}\0{host}", net.name);
    python.stdin.take().unwrap().write_all(message.as_bytes()).unwrap();
    let said = python.wait_with_output().unwrap();
    [secret, String::from_utf8(said.stdout).unwrap().trim().to_owned()]
}

#[test]
fn no_secret_is_in_an_argv_or_in_the_environment_of_a_process() {
    let Some(lab) = or_skip(Lab::new()) else { return };
    lab.host("build1").start().unwrap();
    let net = Net::new(Some(lab));
    net.start(&[&net.spec("build1", "")]);
    let file = net.state().join("secret");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let secrets = secrets(&net, "build1");
    assert!(secrets.iter().all(|secret| secret.len() == 64));
    let mut child = crate::harness::piped(
        net.python(&["-c", "import sys; print(1); sys.stdout.flush(); sys.stdin.read()"]),
    );
    crate::harness::line(child.stdout.as_mut().unwrap());
    for entry in std::fs::read_dir("/proc").unwrap() {
        let path = entry.unwrap().path();
        for file in ["cmdline", "environ"] {
            let bytes = std::fs::read(path.join(file)).unwrap_or_default();
            let shown = String::from_utf8_lossy(&bytes);
            assert!(secrets.iter().all(|secret| !shown.contains(secret)), "{}/{file}", path.display());
        }
    }
    drop(child.stdin.take());
    child.wait().unwrap();
}

/// CLIENT without a release, features or a name.
const CLIENT: [u8; 24] = [0x30, 0, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 0, 0, 0, 0];

#[test]
fn garbage_from_a_client_ends_that_client_only() {
    let net = Net::new(None);
    net.start(&["popen"]);
    let path = net.socket();
    // before a greeting, and behind one
    let garbage: [(bool, &[u8]); 5] = [
        (false, b"GET / HTTP/1.0\r\n\r\n"),
        (false, &[&OPENING[..], &[0xff; 64]].concat()),
        (false, &[&OPENING[..], &[0x20, 0, 0, 4, 0, 0, 0, 0]].concat()),
        (true, &[0x24, 0xff, 0xff, 0xff]),
        (true, &[0x10, 0, 0, 1, 0]),
    ];
    for (greets, bytes) in garbage {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        if greets {
            stream.write_all(&[&OPENING[..], &CLIENT].concat()).unwrap();
            let mut greeting = [0; OPENING.len() + 1];
            stream.read_exact(&mut greeting).unwrap();
            assert_eq!(greeting[OPENING.len()], 0x31, "the daemon took it for a client");
        }
        stream.write_all(bytes).unwrap();
        let mut rest = Vec::new();
        // closed by the daemon: end of stream, or a reset if it left bytes unread
        let end = stream.read_to_end(&mut rest);
        assert!(end.is_ok() || end.unwrap_err().kind() == std::io::ErrorKind::ConnectionReset);
    }
    assert_eq!(net.python_ok(&["-c", "print(1)"]), "1");
}

/// A host whose "Python" writes what the test wants.
fn liar(net: &Net, name: &str, script: &str) -> String {
    let path = net.lab().folder().join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    format!("cmd={}//id={name}", path.display())
}

#[test]
fn a_host_that_sends_back_what_it_gets_does_not_have_the_secret_shown() {
    let Some(lab) = or_skip(Lab::new()) else { return };
    let net = Net::new(Some(lab));
    let echo = liar(&net, "echo", "exec cat") + "//patience=2";
    // only its end, so that it is not recognized again
    let code = "import os, sys; got = b''
while b'linger' not in got: got += os.read(0, 65536)
os.write(int(sys.argv[1]), got[-300:])";
    let [out, err] =
        [1, 2].map(|fd| liar(&net, &format!("end{fd}"), &format!("exec python3 -c \"{code}\" {fd}")));
    let output = net.execnet(["start", &net.name, &echo, &out, &err]).output().unwrap();
    let said = text(&output);
    assert!(said.contains("echo: failed"), "{said}");
    let log = std::fs::read_to_string(net.state().join("log")).unwrap();
    let status = net.ok("status", &["--json"]);
    for host in ["end1", "end2"] {
        assert!(net.host(host)["said"].to_string().contains("secret"), "{status}");
    }
    for secret in ["echo", "end1", "end2"].iter().flat_map(|host| secrets(&net, host)) {
        for shown in [&said, &log, &status] {
            assert!(!shown.contains(&secret[..16]) && !shown.contains(&secret[48..]), "{shown}");
        }
    }
}

#[test]
fn a_host_that_lies_ends_its_own_link_only() {
    let Some(lab) = or_skip(Lab::new()) else { return };
    let net = Net::new(Some(lab));
    let marker = format!(r"\000execnet:link\000\000\{VERSION:03o}");
    let huge = liar(&net, "huge", &format!("printf '{marker}\\020\\377\\377\\377'; exec sleep 1000"));
    let unknown = liar(&net, "unknown", &format!("printf '{marker}\\356\\000\\000\\001'; exec sleep 1000"));
    let early = liar(
        &net,
        "early",
        &format!("printf '{marker}\\047\\000\\000\\021'; head -c 17 /dev/zero; exec sleep 1000"),
    );
    let newer = liar(&net, "newer", r"printf '\000execnet:link\000\000\143'; exec sleep 1000");
    let output = net.run("start", &["popen", &huge, &unknown, &early, &newer]);
    assert_eq!(output.status.code(), Some(6), "{}", text(&output));
    for (id, says) in [("huge", "65536"), ("unknown", "0xee"), ("early", "first"), ("newer", "version 99")] {
        let host = net.host(id);
        assert_eq!(host["state"], "failed", "{host}");
        assert!(host["error"].as_str().unwrap().contains(says), "{host}");
    }
    assert_eq!(net.python_ok(&["-c", "print(1)"]), "1");
}

#[test]
fn control_characters_of_a_host_do_not_reach_the_terminal() {
    let Some(lab) = or_skip(Lab::new()) else { return };
    let net = Net::new(Some(lab));
    let evil = liar(
        &net,
        "evil",
        r"printf 'nice\033]0;owned\007\033[31mred\r\n\233stuff\n'; printf '\033[2Jerr\n' >&2; exit 3",
    );
    let output = net.run("start", &["popen", &evil]);
    for bytes in
        [&output.stdout, &output.stderr, &net.run("status", &[]).stdout, &net.run("logs", &[]).stdout]
    {
        let said = String::from_utf8_lossy(bytes);
        assert!(said.chars().all(|c| c == '\n' || !c.is_control()), "{said:?}");
    }
    let said = text(&output);
    assert!(said.contains("nice") && said.contains("err"), "the host's own words are shown: {said}");
}

#[test]
fn endless_noise_has_an_end_and_costs_little() {
    let Some(lab) = or_skip(Lab::new()) else { return };
    lab.host("noisy").login_noise_forever().start().unwrap();
    let net = Net::new(Some(lab));
    let output = net.run("start", &["popen", &net.spec("noisy", "")]);
    assert_eq!(output.status.code(), Some(6), "{}", text(&output));
    assert_eq!(net.host("noisy")["step"], "noise");
    assert!(execnet_testkit::proc_rss_kib(net.daemon()).unwrap() < 40 * 1024);
    assert_eq!(net.python_ok(&["-c", "print(1)"]), "1");
}

/// The spec of a host that floods, as `bench/hostile.py` does.
fn hostile(kind: &str) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../bench/hostile.py");
    format!("cmd=python3 {script} {kind} {kind}//id={kind}")
}

#[test]
fn a_host_that_floods_loses_its_link_and_the_others_do_not_notice() {
    let net = Net::new(None);
    net.start(&["popen"]);
    for kind in ["ping", "pong", "ack", "node", "forget", "data"] {
        net.run("addhost", &[&hostile(kind)]);
        let sentence = format!("too many {} frames in too short a time", kind.to_uppercase());
        wait_until(SOON, &format!("the link of {kind} to end"), || {
            net.host(kind)["error"].as_str().is_some_and(|error| error.contains(&sentence))
        });
        assert_eq!(net.python_ok(&["--node", "local", "-c", "print(1)"]), "1");
        net.ok("rmhost", &[kind]);
    }
}

#[test]
fn a_host_that_tells_of_foreign_nodes_does_not_wash_out_the_log() {
    let net = Net::new(None);
    net.start(&["popen"]);
    net.run("addhost", &[&hostile("foreign")]);
    let mut log = String::new();
    wait_until(SOON, "the third login", || {
        log = std::fs::read_to_string(net.log()).unwrap();
        log.matches("foreign is up").count() >= 3
    });
    // until then: there may be a fourth one by now
    let (at, _) = log.match_indices("foreign is up").nth(2).unwrap();
    let log = &log[..at];
    assert!(log.lines().next().is_some_and(|line| line.contains("life 1")), "{log}");
    let ends = log.matches("does not begin with its host's").count();
    assert!(ends == 2 && log.lines().count() < 30, "{log}");
}

#[test]
fn a_host_that_greets_and_ends_at_once_is_tried_ever_more_rarely() {
    let net = Net::new(None);
    net.start(&["popen"]);
    net.run("addhost", &[&hostile("end")]);
    // 0.5 s, 1 s, 2 s, 4 s, with a fifth of jitter
    wait_until(SOON, "a retry that takes 3 s at least", || {
        net.host("end")["retry_in"].as_f64().is_some_and(|wait| wait > 2.5)
    });
    let log = std::fs::read_to_string(net.log()).unwrap();
    assert!(log.lines().filter(|line| line.contains("end is up")).count() >= 4, "{log}");
}
