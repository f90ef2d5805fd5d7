//! No byte is lost: killed ssh, killed daemon, silent links. Losses that cannot be avoided are reported.

use std::io::Write;
use std::process::Child;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use execnet_testkit::{Lab, alive, kill, or_skip, wait_until};

use crate::harness::{Net, Noise, SOON, line, piped, sha256};

const SIZE: usize = 200 << 20;

/// Reads stdin to its end and prints its SHA-256. Plain Python 2.7 and later.
const TAKE: &str = "
import sys, os, hashlib
h = hashlib.sha256()
while 1:
    data = os.read(0, 65536)
    if not data: break
    h.update(data)
print(h.hexdigest())
";

/// Writes `argv[1]` pseudo-random bytes to stdout, then their SHA-256 to stderr.
const GIVE: &str = "
import sys, os, hashlib, struct
count = int(sys.argv[1]); base = os.urandom(65528); h = hashlib.sha256(); n = 0
def put(data):
    while data: data = data[os.write(1, data):]
while n * 65536 < count:
    data = (struct.pack('>Q', n) + base)[:count - n * 65536]; n += 1
    h.update(data); put(data)
sys.stderr.write(h.hexdigest() + '\\n')
";

/// Transfers up and down at once through `execnet python`, and calls `disturb` at each tenth.
#[track_caller]
pub(crate) fn transfer(net: &Net, node: &str, size: usize, mut disturb: impl FnMut(usize)) {
    let count = size.to_string();
    let mut give = piped(net.python(&["--node", node, "-c", GIVE, &count]));
    let mut take = piped(net.python(&["--node", node, "-c", TAKE]));
    drop(give.stdin.take());

    let (done_tx, done_rx) = mpsc::channel();
    let moved = Arc::new(AtomicUsize::new(0));
    let mut stdin = take.stdin.take().unwrap();
    let expected = std::thread::spawn({
        let (moved, done_tx) = (moved.clone(), done_tx.clone());
        move || {
            let (reader, mut writer) = std::io::pipe().unwrap();
            let sum = std::thread::spawn(move || sha256(reader).0);
            let mut both = Both(&mut stdin, &mut writer);
            Noise(88_172_645_463_325_252)
                .write(&mut both, size, |n| moved.store(n, Ordering::Relaxed))
                .unwrap();
            drop((stdin, writer));
            done_tx.send(()).unwrap();
            sum.join().unwrap()
        }
    });
    let stdout = give.stdout.take().unwrap();
    let received = std::thread::spawn(move || {
        let sum = sha256(stdout);
        done_tx.send(()).unwrap();
        sum
    });

    let mut tenth = 0;
    let mut left = 2;
    while left > 0 {
        match done_rx.recv_timeout(Duration::from_millis(5)) {
            Ok(()) => left -= 1,
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(error) => panic!("{error}"),
        }
        let now = moved.load(Ordering::Relaxed) * 10 / size;
        if now > tenth && now < 10 {
            tenth = now;
            disturb(tenth);
        }
    }

    let (received, bytes) = received.join().unwrap();
    assert_eq!((line(give.stderr.as_mut().unwrap()), size as u64), (received, bytes), "down from {node}");
    assert_eq!(line(take.stdout.as_mut().unwrap()), expected.join().unwrap(), "up to {node}");
    assert!(give.wait().unwrap().success());
    assert!(take.wait().unwrap().success());
}

/// Writes the same to two writers.
struct Both<'a, A, B>(&'a mut A, &'a mut B);

impl<A: Write, B: Write> Write for Both<'_, A, B> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.0.write(bytes)?;
        self.1.write_all(&bytes[..count])?;
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// One host per interpreter, and one behind each, all in one network.
fn each_with_one_behind(names: &[&str]) -> Option<Net> {
    let lab = or_skip(Lab::new())?;
    let mut specs = Vec::new();
    for name in names {
        let id = name.replace('.', "");
        let (host, inner) = (format!("h{id}"), format!("i{id}"));
        or_skip(lab.host(&inner).pythons([*name]).hidden().start())?;
        or_skip(lab.host(&host).pythons([*name]).reaches([inner.as_str()]).start())?;
        specs.push((host, inner));
    }
    let net = Net::new(Some(lab));
    let specs: Vec<_> = specs
        .iter()
        .flat_map(|(host, inner)| [net.spec(host, ""), format!("ssh={inner}//via={host}")])
        .collect();
    net.start(&specs.iter().map(String::as_str).collect::<Vec<_>>());
    Some(net)
}

/// Kills ssh in the middle of 200 MB each way: three times on each hop in turn for a host behind a via, and
/// three times for a direct one. After each kill of a short-lived link, the next login comes later.
fn survives_killed_ssh(names: &[&str]) {
    let Some(net) = each_with_one_behind(names) else { return };
    for name in names {
        let id = name.replace('.', "");
        for hops in [&["h", "i"][..], &["h"]] {
            let node = format!("{}{id}", hops.last().unwrap());
            transfer(&net, &node, SIZE, |tenth| {
                if tenth % 3 == 1 || hops.len() == 2 && tenth % 3 == 2 {
                    net.lab().kill_ssh(&format!("{}{id}", hops[tenth % hops.len()]));
                }
            });
        }
    }
}

#[test]
fn two_hundred_megabytes_survive_killed_ssh_on_old_pythons() {
    survives_killed_ssh(&["2.7", "3.6"]);
}

#[test]
fn two_hundred_megabytes_survive_killed_ssh_on_pythons_3_7_to_3_9() {
    survives_killed_ssh(&["3.7", "3.8", "3.9"]);
}

#[test]
fn two_hundred_megabytes_survive_killed_ssh_on_pythons_3_10_and_3_11() {
    survives_killed_ssh(&["3.10", "3.11"]);
}

#[test]
fn two_hundred_megabytes_survive_killed_ssh_on_pythons_3_12_and_3_13() {
    survives_killed_ssh(&["3.12", "3.13"]);
}

#[test]
fn two_hundred_megabytes_survive_killed_ssh_on_pypy() {
    survives_killed_ssh(&["pypy3"]);
}

#[test]
fn clients_carry_on_when_the_daemon_is_killed_and_started_again() {
    let Some(net) = each_with_one_behind(&["3.11", "2.7"]) else { return };
    for node in ["h311", "i311", "h27"] {
        transfer(&net, node, SIZE / 2, |tenth| {
            if tenth == 3 || tenth == 7 {
                net.kill_daemon();
                net.ok("start", &[]);
            }
        });
    }
}

#[test]
fn a_link_that_goes_silent_is_noticed_and_resumes_when_it_is_back() {
    let Some(lab) = or_skip(Lab::new()) else { return };
    let host = lab.host("far").through_proxy().start().unwrap();
    let net = Net::new(Some(lab));
    net.start(&[&net.spec("far", "")]);
    let mut child = echo(&net, "far");
    assert_eq!(ask(&mut child, "before"), "before");
    host.proxy().stall();
    let mut far = net.host("far");
    wait_until(SOON, "the silence to be noticed", || {
        far = net.host("far");
        far["state"] == "unreachable"
    });
    assert!(far["error"].as_str().unwrap().contains("silent"), "{far}");
    writeln!(child.stdin.as_mut().unwrap(), "during").unwrap();
    host.proxy().resume();
    host.proxy().cut();
    assert_eq!(line(child.stdout.as_mut().unwrap()), "during");
    net.wait_for("far", "up");
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_host_that_is_cut_off_is_noticed_and_resumes_when_it_is_back() {
    let Some(lab) = or_skip(Lab::new()) else { return };
    let Some(host) = or_skip(lab.netns_host("remote").start()) else { return };
    let net = Net::new(Some(lab));
    net.start(&[&net.spec("remote", "")]);
    let mut child = echo(&net, "remote");
    assert_eq!(ask(&mut child, "before"), "before");
    host.link_down().unwrap();
    net.wait_for("remote", "unreachable");
    writeln!(child.stdin.as_mut().unwrap(), "during").unwrap();
    host.link_up().unwrap();
    assert_eq!(line(child.stdout.as_mut().unwrap()), "during");
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_killed_agent_is_reported_as_a_loss_by_name() {
    let Some(lab) = or_skip(Lab::new()) else { return };
    lab.host("build1").start().unwrap();
    let net = Net::new(Some(lab));
    net.start(&[&net.spec("build1", "")]);
    let mut child = echo(&net, "build1");
    assert_eq!(ask(&mut child, "before"), "before");
    kill(net.agent("build1"));
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(125), "{said}");
    assert!(said.contains("build1") && said.contains("lost"), "{said}");
    net.wait_for("build1", "up");
    assert_eq!(net.python_ok(&["-c", "print(1)"]), "1");
}

#[test]
fn a_jython_host_works_and_its_broken_link_is_a_loss() {
    let Some(lab) = or_skip(Lab::new()) else { return };
    let Some(_) = or_skip(lab.host("java").pythons(["jython"]).start()) else { return };
    let net = Net::new(Some(lab));
    net.start(&[&net.spec("java", "//patience=5m")]);
    assert_eq!(net.host("java")["resume"], false);
    assert!(
        net.python_ok(&["--platform", "java", "-c", "import sys; print(sys.platform)"]).starts_with("java")
    );
    let mut child = echo(&net, "java");
    assert_eq!(ask(&mut child, "before"), "before");
    net.lab().kill_ssh("java");
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(125), "{said}");
    assert!(said.contains("java") && said.contains("lost"), "{said}");
    net.wait_for("java", "up");
}

#[test]
fn a_stopped_daemon_does_not_take_the_silence_for_a_broken_link() {
    let Some(lab) = or_skip(Lab::new()) else { return };
    lab.host("build1").start().unwrap();
    let net = Net::new(Some(lab));
    net.start(&[&net.spec("build1", "")]);
    let ssh = net.lab().hosts()[0].ssh_pids();
    let daemon = net.daemon();
    let pid = rustix::process::Pid::from_raw(daemon as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    // the test needs this time: longer than the silence that ends a link
    std::thread::sleep(Duration::from_secs(17));
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    assert_eq!(net.python_ok(&["-c", "print(1)"]), "1");
    assert!(alive(daemon));
    assert_eq!(net.lab().hosts()[0].ssh_pids(), ssh, "the link is still the same");
}

fn echo(net: &Net, node: &str) -> Child {
    let code = "import sys\nwhile 1:\n    line = sys.stdin.readline()\n    if not line: break\n    \
                sys.stdout.write(line); sys.stdout.flush()";
    piped(net.python(&["--node", node, "-c", code]))
}

fn ask(child: &mut Child, text: &str) -> String {
    writeln!(child.stdin.as_mut().unwrap(), "{text}").unwrap();
    line(child.stdout.as_mut().unwrap())
}
