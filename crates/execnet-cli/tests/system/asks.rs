//! ssh's questions reach the person at the terminal, and the answers reach ssh.

use std::fs::{File, OpenOptions, copy, read_to_string, write};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};

use anstream::adapter::StripBytes;
use execnet_testkit::{Lab, or_skip, wait_until};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::harness::{Net, SOON, piped, text};

const PASSPHRASE: &str = "open sesame";

/// A command on its own terminal, and the person at that terminal.
struct Person {
    child: Child,
    keyboard: File,
    shown: Receiver<Vec<u8>>,
    seen: String,
}

impl Person {
    fn runs(command: &Command) -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).and_then(|()| unlockpt(&terminal)).unwrap();
        tcsetwinsize(&terminal, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let path = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
        let screen = OpenOptions::new().read(true).write(true).open(path).unwrap();
        // its own session with this terminal
        let mut child = Command::new("setsid");
        child.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => child.env(name, value),
                None => child.env_remove(name),
            };
        }
        let [stdin, stdout, stderr] = [(); 3].map(|()| screen.try_clone().unwrap());
        let child = child.env("TERM", "xterm").stdin(stdin).stdout(stdout).stderr(stderr).spawn().unwrap();
        let keyboard = File::from(terminal);
        let mut reader = keyboard.try_clone().unwrap();
        let (shown_tx, shown) = channel();
        std::thread::spawn(move || {
            let (mut bytes, mut colours) = ([0; 4096], StripBytes::new());
            // reading fails when nobody has the terminal open any more
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                let text = colours.strip_next(&bytes[..count]).flatten().copied().collect();
                if shown_tx.send(text).is_err() {
                    return;
                }
            }
        });
        Self { child, keyboard, shown, seen: String::new() }
    }

    /// Waits until the terminal shows it, and drops everything up to there.
    #[track_caller]
    fn sees(&mut self, what: &str) {
        loop {
            if let Some(at) = self.seen.find(what) {
                self.seen.drain(..at + what.len());
                return;
            }
            let Ok(more) = self.shown.recv_timeout(SOON) else {
                panic!("{what:?} is not shown, but {:?}", self.seen)
            };
            self.seen += &String::from_utf8_lossy(&more);
        }
    }

    fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for the command's end. Returns its exit status and the rest of the output.
    fn ends(mut self) -> (i32, String) {
        let status = self.child.wait().unwrap();
        while let Ok(more) = self.shown.recv_timeout(SOON) {
            self.seen += &String::from_utf8_lossy(&more);
        }
        (status.code().unwrap(), self.seen)
    }
}

/// A network of one lab host that is not started, so that its ssh configuration can be changed.
fn net(host: impl FnOnce(&Lab)) -> Option<Net> {
    let lab = or_skip(Lab::new())?;
    host(&lab);
    Some(Net::new(Some(lab)))
}

fn change_config(net: &Net, from: &str, to: &str) {
    let path = net.lab().ssh_config();
    let config = read_to_string(&path).unwrap();
    assert!(config.contains(from));
    write(path, config.replace(from, to)).unwrap();
}

/// A host whose login key has a passphrase.
fn locked() -> Option<Net> {
    let net = net(|lab| drop(lab.host("build1").start().unwrap()))?;
    let [open, locked]: [PathBuf; 2] = ["user_key", "locked_key"].map(|name| net.lab().folder().join(name));
    copy(open, &locked).unwrap();
    let mut keygen = Command::new("ssh-keygen");
    assert!(
        keygen
            .args(["-q", "-p", "-P", "", "-N", PASSPHRASE, "-f"])
            .arg(locked)
            .output()
            .unwrap()
            .status
            .success()
    );
    change_config(&net, "user_key", "locked_key");
    Some(net)
}

/// `execnet python` as a background job of a shell with job control, and the shell's next commands.
fn job(net: &Net, code: &str, then: &str) -> Person {
    let python = net.python(&["-c", code]);
    let mut shell = Command::new("bash");
    shell.args(["--norc", "-c", &format!("set -m; \"$@\" & {then}"), "bash"]);
    shell.arg(python.get_program()).args(python.get_args());
    for (name, value) in python.get_envs() {
        value.map(|value| shell.env(name, value));
    }
    Person::runs(&shell)
}

#[test]
fn a_job_in_the_background_runs_on_and_reads_in_the_foreground() {
    let net = Net::new(None);
    net.start(&["popen"]);
    let mut person = job(&net, "print(6 * 7)", "wait $!; echo ended with $?");
    person.sees("42");
    person.sees("ended with 0");
    let mut person = job(&net, "print('what?', flush=True); print(input() * 2)", "fg; echo ended with $?");
    person.sees("what?");
    person.types("ab\n");
    person.sees("abab");
    person.sees("ended with 0");
}

#[test]
fn the_right_passphrase_lets_a_host_join_and_is_not_shown() {
    let Some(net) = locked() else { return };
    let mut person = Person::runs(&net.execnet(["start", &net.name, &net.spec("build1", "")]));
    person.sees("build1: Enter passphrase for key");
    person.types(&format!("{PASSPHRASE}\r"));
    let (code, shown) = person.ends();
    assert!(code == 0 && shown.contains("up: CPython 3"), "{code}: {shown}");
    assert!(!shown.contains(PASSPHRASE), "{shown}");
    assert_eq!(net.python_ok(&["-c", "print(1)"]), "1");
    // likewise for a host that joins later
    let spec = net.spec("build1", "//id=later");
    let mut person = Person::runs(&net.execnet(["addhost", &net.name, &spec]));
    person.sees("later: Enter passphrase for key");
    person.types(&format!("{PASSPHRASE}\r"));
    let (code, shown) = person.ends();
    assert!(code == 0 && shown.contains("up: CPython 3"), "{code}: {shown}");
    assert_eq!(net.python_ok(&["--node", "later", "-c", "print(1)"]), "1");
}

#[test]
fn a_host_whose_link_broke_asks_again_when_somebody_is_there() {
    let Some(net) = locked() else { return };
    let spec = net.spec("build1", "");
    let mut person = Person::runs(&net.execnet(["start", &net.name, &spec]));
    person.sees("build1: Enter passphrase for key");
    person.types(&format!("{PASSPHRASE}\r"));
    assert_eq!(person.ends().0, 0);
    let mut running = piped(net.execnet(["python", &net.name, "-c", "print(input())"]));
    wait_until(SOON, "the process", || net.host("build1")["processes"] == 1);
    net.lab().hosts()[0].kill_ssh();
    net.wait_for("build1", "unreachable");
    let mut person = Person::runs(&net.execnet(["addhost", &net.name, &spec]));
    person.sees("build1: Enter passphrase for key");
    person.types(&format!("{PASSPHRASE}\r"));
    let (code, shown) = person.ends();
    assert!(code == 0 && shown.contains("up: CPython 3"), "{code}: {shown}");
    // nothing was lost
    running.stdin.take().unwrap().write_all(b"carried on\n").unwrap();
    let output = running.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "carried on\n", "{}", text(&output));
    let again = net.execnet(["addhost", &net.name, &spec]).output().unwrap();
    assert_eq!(again.status.code(), Some(2), "{}", text(&again));
    assert!(text(&again).contains("is already a host of this network"), "{}", text(&again));
}

#[test]
fn a_wrong_passphrase_is_a_failed_login() {
    let Some(net) = locked() else { return };
    let mut person = Person::runs(&net.execnet(["start", &net.name, &net.spec("build1", "")]));
    // ssh asks three times
    for _ in 0..3 {
        person.sees("build1: Enter passphrase for key");
        person.types("wrong\r");
    }
    let (code, shown) = person.ends();
    assert_eq!(code, 6, "{shown}");
    assert!(
        shown.contains("failed: authenticate") && shown.contains("Hint: ") && !shown.contains("wrong"),
        "{shown}"
    );
    assert_eq!(net.host("build1")["step"], "authenticate");
}

#[test]
fn ctrl_c_at_a_question_ends_the_command_and_the_login() {
    let Some(net) = locked() else { return };
    let mut person = Person::runs(&net.execnet(["start", &net.name, &net.spec("build1", "")]));
    person.sees("build1: Enter passphrase for key");
    person.types("op\x03");
    let (code, shown) = person.ends();
    assert!(code == 1 && shown.contains("Error: interrupted"), "{code}: {shown}");
    net.wait_for("build1", "failed");
    let host = net.host("build1");
    assert_eq!(host["step"], "authenticate", "{host}");
    assert!(host["error"].as_str().unwrap().contains("got no answer"), "{host}");
    assert!(!host["said"].to_string().contains("Error"), "{host}");
    wait_until(SOON, "ssh to end", || net.lab().hosts()[0].ssh_pids().is_empty());
    // as the hint says
    let spec = net.spec("build1", "");
    assert!(
        host["hint"].as_str().unwrap().contains(&format!("`execnet addhost {} {spec}`", net.name)),
        "{host}"
    );
    let mut person = Person::runs(&net.execnet(["addhost", &net.name, &spec]));
    person.sees("build1: Enter passphrase for key");
    person.types(&format!("{PASSPHRASE}\r"));
    assert_eq!(person.ends().0, 0);
}

#[test]
fn without_a_terminal_a_question_is_told_and_not_waited_for() {
    let Some(net) = locked() else { return };
    let start = net.execnet(["start", &net.name, &net.spec("build1", "")]);
    let mut alone = Command::new("setsid");
    alone.arg("--wait").arg(start.get_program()).args(start.get_args());
    alone.envs(start.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = alone.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(6), "{said}");
    assert!(said.contains("build1: ssh asks `Enter passphrase for key"), "{said}");
    assert_eq!(net.host("build1")["step"], "authenticate");
}

#[test]
fn a_new_host_key_is_asked_about_and_remembered() {
    let Some(net) = net(|lab| drop(lab.host("build1").unknown_host_key().start().unwrap())) else { return };
    change_config(&net, "StrictHostKeyChecking yes", "StrictHostKeyChecking ask");
    let spec = net.spec("build1", "");
    let mut person = Person::runs(&net.execnet(["start", &net.name, &spec]));
    person.sees("fingerprint is SHA256:");
    person.sees("yes/no");
    person.types("no\r");
    let (code, shown) = person.ends();
    assert!(code == 6 && shown.contains("failed: host-key"), "{code}: {shown}");
    net.ok("stop", &[]);
    let mut person = Person::runs(&net.execnet(["start", &net.name]));
    person.sees("yes/no/[fingerprint])? ");
    person.types("yes\r");
    // ssh's own question: the answer is echoed
    person.sees("yes");
    let (code, shown) = person.ends();
    assert!(code == 0 && shown.contains("up: CPython 3"), "{code}: {shown}");
    net.ok("stop", &[]);
    net.ok("start", &[]);
}

#[test]
fn a_question_of_a_servers_shows_no_answer_however_it_is_worded() {
    let net = Net::new(None);
    // an ssh whose server asks in ssh's own words
    let bin = net.state().join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let ssh = r#"#!/bin/sh
case "$1" in -V) echo OpenSSH_9.2p1 >&2; exit ;; -G) exit 1 ;; esac
[ -n "$SSH_ASKPASS" ] || exit 255
ask() { "$SSH_ASKPASS" "$1" || echo refused; }
{ ask "(ann@h) The authenticity of host 'h' can't be established.
ED25519 key fingerprint is SHA256:x.
Are you sure you want to continue connecting (yes/no/[fingerprint])? "
  SSH_ASKPASS_PROMPT=confirm ask "Add key to agent?"
  SSH_ASKPASS_PROMPT=confirm ask "Add another?"; } > "$ANSWERS"
SSH_ASKPASS_PROMPT=none ask "Confirm user presence for key" &
while ! test -e "$ANSWERS.seen"; do sleep 0.1; done
echo "Permission denied (publickey)." >&2
kill 0
exit 255
"#;
    write(bin.join("ssh"), ssh).unwrap();
    std::fs::set_permissions(bin.join("ssh"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let answers = bin.join("answers");
    let mut start = net.execnet(["start", &net.name, "ssh=h"]);
    start.env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()));
    start.env("ANSWERS", &answers);
    let mut person = Person::runs(&start);
    person.sees("yes/no/[fingerprint])? ");
    person.types("s3cret\r");
    person.sees("Add key to agent? (yes/no) ");
    person.types("\r");
    person.sees("Add another? (yes/no) ");
    person.types("yes\r");
    person.sees("Confirm user presence for key");
    write(bin.join("answers.seen"), "").unwrap();
    let (_, shown) = person.ends();
    assert!(!shown.contains("s3cret"), "{shown}");
    assert_eq!(read_to_string(answers).unwrap(), "s3cret\nrefused\nyes\n");
}

#[test]
fn while_a_question_is_open_others_may_change_the_network() {
    let Some(net) = locked() else { return };
    let spec = net.spec("build1", "");
    std::fs::create_dir_all(net.config().parent().unwrap()).unwrap();
    write(net.config(), format!("hosts = ['{spec}']\n")).unwrap();
    let mut person = Person::runs(&net.execnet(["start", &net.name, &spec]));
    person.sees("build1: Enter passphrase for key");
    let mut other = piped(net.execnet(["addhost", &net.name, "popen"]));
    wait_until(SOON, "the other command", || other.try_wait().unwrap().is_some());
    let output = other.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(net.python_ok(&["--node", "local", "-c", "print(1)"]), "1");
    person.types(&format!("{PASSPHRASE}\r"));
    let (code, shown) = person.ends();
    assert_eq!(code, 0, "{shown}");
    assert!(read_to_string(net.config()).unwrap().contains("popen"));
}
