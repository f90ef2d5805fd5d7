//! No orphans: whichever part goes away, its processes end and the host is as before.

use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use execnet_testkit::{Lab, alive, kill, or_skip, processes_with_env, wait_until};

use crate::harness::{Net, SOON, line, piped};

/// Starts a child, a grandchild that left the session, and one that ignores every signal it can. Prints their
/// pids.
const FAMILY: &str = "
import os, sys, time, signal
def start(leave):
    pid = os.fork()
    if pid:
        return pid
    if leave:
        os.setsid()
        if os.fork(): os._exit(0)
    signal.signal(signal.SIGHUP, signal.SIG_IGN); signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while 1: time.sleep(1)
start(False); start(True)
print('ready'); sys.stdout.flush()
time.sleep(1000)
";

fn one_host() -> Option<Net> {
    let lab = or_skip(Lab::new())?;
    lab.host("build1").start().unwrap();
    let net = Net::new(Some(lab));
    net.start(&[&net.spec("build1", "")]);
    Some(net)
}

/// A client whose process on the host has descendants, and the mark in their environment.
fn family(net: &Net, mark: &str) -> Child {
    let mut child = piped(net.python(&["--env", &format!("FAMILY={mark}"), "-c", FAMILY]));
    assert_eq!(line(child.stdout.as_mut().unwrap()), "ready");
    wait_until(SOON, "the whole family", || members(mark).len() == 3);
    child
}

fn members(mark: &str) -> Vec<u32> {
    processes_with_env("FAMILY", mark)
}

/// The files of agents in the runtime folder that belong to this network's hosts.
fn sockets_of(agent: u32) -> Vec<PathBuf> {
    execnet_testkit::sockets_listening(agent)
        .into_iter()
        .filter_map(|socket| match socket {
            execnet_testkit::Listening::Unix(path) => Some(path),
            _ => None,
        })
        .collect()
}

#[test]
fn a_killed_client_takes_its_processes_and_their_descendants_along() {
    let Some(net) = one_host() else { return };
    let mark = format!("{}-killed", net.name);
    let mut child = family(&net, &mark);
    kill(child.id());
    child.wait().unwrap();
    wait_until(SOON, "the family to end", || members(&mark).is_empty());
    wait_until(SOON, "the network to know", || net.host("build1")["processes"] == 0);
}

#[test]
fn what_a_process_leaves_behind_ends_with_it() {
    let Some(net) = one_host() else { return };
    let mark = format!("{}-exit", net.name);
    let code = FAMILY.replace("time.sleep(1000)", "sys.exit(3)");
    let output = net.python(&["--env", &format!("FAMILY={mark}"), "-c", &code]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    wait_until(SOON, "the family to end", || members(&mark).is_empty());
}

#[test]
fn stop_leaves_no_process_and_no_file() {
    let Some(net) = one_host() else { return };
    let mark = format!("{}-stop", net.name);
    let mut child = family(&net, &mark);
    let (daemon, agent) = (net.daemon(), net.agent("build1"));
    let sockets = sockets_of(agent);
    assert!(!sockets.is_empty() && sockets.iter().all(|path| path.exists()));
    net.ok("stop", &[]);
    wait_until(SOON, "daemon and agent to end", || !alive(daemon) && !alive(agent));
    wait_until(SOON, "the family to end", || members(&mark).is_empty());
    for socket in sockets {
        assert!(!socket.exists() && !socket.with_extension("lock").exists(), "{}", socket.display());
    }
    assert!(!child.wait().unwrap().success());
    assert_eq!(net.run("status", &[]).status.code(), Some(3));
}

#[test]
fn a_removed_host_is_left_as_it_was() {
    let Some(net) = one_host() else { return };
    let mark = format!("{}-rmhost", net.name);
    let host = net.lab().hosts()[0].clone();
    let child = family(&net, &mark);
    let agent = net.agent("build1");
    let removed = net.run("rmhost", &["build1"]);
    let said = String::from_utf8_lossy(&removed.stderr).into_owned();
    assert_eq!(said.lines().collect::<Vec<_>>(), [format!("build1: removed from {}", net.name)]);
    wait_until(SOON, "the agent to end", || !alive(agent));
    wait_until(SOON, "the family to end", || members(&mark).is_empty() && host.processes().is_empty());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&output.stderr).contains("build1"));
    let mut left: Vec<_> =
        std::fs::read_dir(host.home()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.retain(|name| name != ".ssh");
    assert!(left.is_empty(), "nothing is written to a host: {left:?}");
}

#[test]
fn a_host_that_was_removed_while_it_could_not_be_reached_joins_again() {
    let Some(net) = one_host() else { return };
    let host = net.lab().hosts()[0].clone();
    let (agent, spec) = (net.agent("build1"), net.spec("build1", ""));
    host.stop_sshd();
    host.kill_ssh();
    net.wait_for("build1", "unreachable");
    let removed = net.run("rmhost", &["build1"]);
    assert!(String::from_utf8_lossy(&removed.stderr).contains("build1: unreachable"), "{removed:?}");
    assert!(alive(agent));
    host.start_sshd().unwrap();
    net.ok("addhost", &[&spec]);
    assert_ne!(net.agent("build1"), agent);
    wait_until(SOON, "the old agent to end", || !alive(agent));
}

#[test]
fn agents_end_when_the_daemon_is_gone_for_longer_than_linger() {
    let Some(lab) = or_skip(Lab::new()) else { return };
    lab.host("build1").start().unwrap();
    let net = Net::new(Some(lab));
    std::fs::create_dir_all(net.config().parent().unwrap()).unwrap();
    std::fs::write(net.config(), format!("linger = \"3s\"\nhosts = [\"{}\"]\n", net.spec("build1", "")))
        .unwrap();
    net.start(&[]);
    let mark = format!("{}-linger", net.name);
    let mut child = family(&net, &mark);
    let agent = net.agent("build1");
    let sockets = sockets_of(agent);
    net.kill_daemon();
    kill(child.id());
    child.wait().unwrap();
    wait_until(SOON, "the agent to end", || !alive(agent));
    wait_until(SOON, "the family to end", || members(&mark).is_empty());
    assert!(sockets.iter().all(|path| !path.exists()));
}

#[test]
fn no_ssh_is_left_when_the_daemon_is_killed() {
    let Some(net) = one_host() else { return };
    let host = net.lab().hosts()[0].clone();
    assert_eq!(host.ssh_pids().len(), 1);
    net.kill_daemon();
    wait_until(SOON, "ssh to end", || host.ssh_pids().is_empty());
    // the watch of the login sleeps for its second
    wait_until(SOON, "just the agent to wait", || host.processes().len() == 1);
    net.ok("start", &[]);
    assert_eq!(net.python_ok(&["-c", "print(1)"]), "1");
}

#[test]
fn a_reader_that_stops_costs_each_part_at_most_its_window_and_slows_nobody() {
    let Some(net) = one_host() else { return };
    let (daemon, agent) = (net.daemon(), net.agent("build1"));
    let rss = |pid| execnet_testkit::proc_rss_kib(pid).unwrap();
    let before = [rss(daemon), rss(agent)];
    let mut idle = piped(net.python(&["-c", "print(1, flush=True); input()"]));
    assert_eq!(line(idle.stdout.as_mut().unwrap()), "1");
    let code = "import os\nwhile 1: os.write(1, b'x' * 65536)";
    let stuck: Vec<_> = (0..4).map(|_| piped(net.python(&["-c", code]))).collect();
    // until nothing moves any more, as the writing processes show
    let settled = |pids: &[u32]| {
        let look = || {
            pids.iter()
                .map(|pid| std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap())
                .collect::<Vec<_>>()
        };
        let first = look();
        let since = Instant::now();
        while since.elapsed() < Duration::from_millis(500) {
            if look() != first {
                return false;
            }
        }
        true
    };
    let pids: Vec<_> = stuck.iter().map(Child::id).chain([daemon, agent]).collect();
    wait_until(SOON, "everything to stand still", || settled(&pids[..4]));
    for (pid, before) in [daemon, agent].into_iter().zip(before) {
        assert!(rss(pid) < before + 4 * 2048 * 2 + 4096, "{before} KiB, then {} KiB", rss(pid));
    }
    for child in &stuck {
        let (rss, idle) = (rss(child.id()), rss(idle.id()));
        assert!(rss < idle + 2048 * 2 + 4096, "{idle} KiB when idle, then {rss} KiB");
    }
    idle.kill().unwrap();
    idle.wait().unwrap();
    assert_eq!(net.python_ok(&["-c", "print(1)"]), "1");
    for mut child in stuck {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    wait_until(SOON, "the processes to be hung up", || net.host("build1")["processes"] == 0);
}

#[test]
fn what_a_host_s_command_has_started_is_gone_when_stop_returns() {
    // one process that ends when its stdin is closed, and one that must be killed
    for (name, last) in [("goes", "cat > /dev/null"), ("stays", "sleep 1000")] {
        let net = Net::new(None);
        let mark = format!("{}-command", net.name);
        let file = std::env::temp_dir().join(format!("{mark}-{name}"));
        std::fs::write(&file, format!("trap '' TERM HUP\nsleep 1000 &\nsleep 1000 <&- &\n{last}\n")).unwrap();
        net.start(&["popen"]);
        let spec = format!("cmd=env FAMILY={mark} sh {}//id={name}", file.display());
        let mut joining = piped(net.execnet(["addhost", &net.name, &spec]));
        wait_until(SOON, "the command to start", || members(&mark).len() >= 3);
        net.ok("stop", &[]);
        assert_eq!(members(&mark), Vec::<u32>::new());
        joining.wait().unwrap();
        std::fs::remove_file(file).unwrap();
    }
}
