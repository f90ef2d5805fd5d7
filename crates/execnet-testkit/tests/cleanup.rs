//! A lab leaves nothing behind, however its program ends. Also tests the process-table helpers that show it.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use execnet_testkit::{
    Lab, Listening, alive, children_of, descendants_of, kill, or_skip, proc_rss_kib, processes_with_env,
    sockets_listening, wait_until,
};

const SOON: Duration = execnet_testkit::PATIENCE;

#[test]
fn a_dropped_lab_leaves_no_process_and_no_folder() {
    let Some(lab) = or_skip(Lab::new()) else {
        return;
    };
    let (folder, mark) = (lab.folder().to_owned(), lab.folder().display().to_string());
    let (first, second) = (lab.host("a").start().unwrap(), lab.host("b").through_proxy().start().unwrap());
    // one in the session, one that left it, one whose sshd no longer listens
    let mut clients =
        vec![first.ssh("exec sleep 1000").spawn().unwrap(), second.ssh("exec sleep 1000").spawn().unwrap()];
    assert!(first.ssh("setsid sleep 1000 >/dev/null 2>&1 </dev/null &").status().unwrap().success());
    wait_until(SOON, "three sleeps", || lab.processes().len() == 3);
    assert_eq!((first.processes().len(), second.processes().len()), (2, 1));
    let mut seen = lab.processes();
    for host in [&first, &second] {
        seen.extend(host.sshd_pid());
        seen.extend(descendants_of(host.sshd_pid().unwrap()));
    }
    first.stop_sshd();

    drop(lab);
    assert_eq!(seen.iter().copied().filter(|pid| alive(*pid)).collect::<Vec<_>>(), [0; 0]);
    assert!(processes_with_env("EXECNET_TESTKIT_LAB", &mark).is_empty());
    assert!(!folder.exists());
    assert!(std::net::TcpStream::connect(first.address()).is_err());
    assert!(std::net::TcpStream::connect(second.address()).is_err());
    assert!(first.start_sshd().unwrap_err().to_string().contains("the lab of a was dropped"));
    for client in &mut clients {
        assert_eq!(client.wait().unwrap().code(), Some(255));
    }
}

#[test]
fn a_lab_started_by_hand_ends_at_the_end_of_stdin() {
    let Some(mut by_hand) = ByHand::start(&["--hosts", "2", "--inner"]) else {
        return;
    };
    assert!(by_hand.network.contains("ssh=build1//ssh_config="));
    assert!(by_hand.network.ends_with(" ssh=inner//via=build1"));
    let answer = by_hand.ssh("build1", "ssh inner echo from inner").output().unwrap();
    assert_eq!(answer.stdout, b"from inner\n", "{answer:?}");
    drop(by_hand.process.stdin.take());
    assert!(by_hand.process.wait().unwrap().success());
    by_hand.left_nothing();
}

#[test]
fn lines_on_stdin_change_the_links_of_a_lab_started_by_hand() {
    let Some(mut by_hand) = ByHand::start(&["--hosts", "1", "--proxies"]) else {
        return;
    };
    let mut cat = by_hand.ssh("build1", "cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut echo = [0; 2];
    cat.stdin.as_mut().unwrap().write_all(b"a\n").unwrap();
    cat.stdout.as_mut().unwrap().read_exact(&mut echo).unwrap();
    for (line, answer) in [
        ("delay build1 1", "ok"),
        ("stall build1", "ok"),
        ("resume build1", "ok"),
        ("cut build2", "error: there is no such host"),
        ("delay build1 much", "error: that is no number of milliseconds"),
        ("cut build1 now", "error: that is not cut, stall, resume or delay"),
        ("cut", "error: it has no verb and host"),
    ] {
        assert_eq!(by_hand.ask(line), answer, "{line}");
    }
    assert!(cat.try_wait().unwrap().is_none());
    assert_eq!(by_hand.ask("cut build1"), "ok");
    assert_eq!(cat.wait().unwrap().code(), Some(255));
    drop(by_hand.process.stdin.take());
    assert!(by_hand.process.wait().unwrap().success());
}

#[test]
fn a_lab_started_by_hand_ends_at_ctrl_c() {
    let Some(mut by_hand) = ByHand::start(&["--hosts", "1"]) else {
        return;
    };
    let interrupt = ["-INT", &by_hand.process.id().to_string()];
    assert!(Command::new("kill").args(interrupt).status().unwrap().success());
    assert!(by_hand.process.wait().unwrap().success());
    by_hand.left_nothing();
}

#[test]
fn a_lab_whose_program_is_killed_ends_too() {
    let Some(mut by_hand) = ByHand::start(&["--hosts", "2"]) else {
        return;
    };
    let left = by_hand.ssh("build2", "setsid sleep 1000 >/dev/null 2>&1 </dev/null &").status().unwrap();
    assert!(left.success());
    let mark = by_hand.folder();
    assert_eq!(processes_with_env("EXECNET_TESTKIT_LAB", &mark).len(), 1);
    by_hand.process.kill().unwrap();
    by_hand.process.wait().unwrap();
    wait_until(SOON, "the folder to go", || !std::path::Path::new(&mark).exists());
    by_hand.left_nothing();
}

#[test]
fn the_process_table_tells_children_memory_and_sockets() {
    let folder = std::env::temp_dir().join(format!("execnet-testkit-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let tcp = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let unix = std::os::unix::net::UnixListener::bind(folder.join("a socket")).unwrap();
    let _quiet = std::os::unix::net::UnixDatagram::unbound().unwrap();
    let listening = sockets_listening(std::process::id());
    assert!(listening.contains(&Listening::Tcp(tcp.local_addr().unwrap())), "{listening:?}");
    assert!(listening.contains(&Listening::Unix(folder.join("a socket"))), "{listening:?}");
    drop(unix);
    std::fs::remove_dir_all(folder).unwrap();

    let mark = std::process::id().to_string();
    let mut child =
        Command::new("sh").args(["-c", "sleep 1000; :"]).env("TESTKIT_MARK", &mark).spawn().unwrap();
    wait_until(SOON, "the grandchild", || processes_with_env("TESTKIT_MARK", &mark).len() == 2);
    assert!(children_of(std::process::id()).contains(&child.id()));
    let grandchild = children_of(child.id())[0];
    assert_eq!(descendants_of(child.id()), [grandchild]);
    assert!(proc_rss_kib(child.id()).unwrap() > 100);
    assert!(sockets_listening(child.id()).is_empty());

    kill(child.id());
    wait_until(SOON, "a zombie not to be alive", || !alive(child.id()));
    assert!(alive(grandchild));
    child.wait().unwrap();
    kill(grandchild);
    wait_until(SOON, "the grandchild to end", || !alive(grandchild));
    assert_eq!(proc_rss_kib(child.id()), None);
}

/// The program, as a person starts it.
struct ByHand {
    process: Child,
    config: String,
    network: String,
    sshds: Vec<u32>,
}

impl ByHand {
    fn start(arguments: &[&str]) -> Option<ByHand> {
        or_skip(Lab::new())?;
        let mut tool = Command::new(env!("CARGO_BIN_EXE_execnet-testkit"));
        let mut process =
            tool.arg("lab").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines: Vec<String> =
            BufReader::new(process.stdout.as_mut().unwrap()).lines().map(Result::unwrap).take(4).collect();
        let after =
            |start: &str| lines.iter().find_map(|line| line.strip_prefix(start)).unwrap().trim().to_owned();
        let sshds = children_of(process.id());
        Some(ByHand { config: after("ssh_config:"), network: after("a network:"), sshds, process })
    }

    fn folder(&self) -> String {
        self.config.strip_suffix("/ssh_config").unwrap().to_owned()
    }

    fn ssh(&self, host: &str, command: &str) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", &self.config, "-o", "BatchMode=yes", host, command]);
        ssh
    }

    /// Writes a line to its stdin, and reads one of its answer.
    fn ask(&mut self, line: &str) -> String {
        writeln!(self.process.stdin.as_mut().unwrap(), "{line}").unwrap();
        let mut answer = String::new();
        BufReader::new(self.process.stdout.as_mut().unwrap()).read_line(&mut answer).unwrap();
        answer.trim_end().to_owned()
    }

    fn left_nothing(&self) {
        assert!(!std::path::Path::new(&self.folder()).exists());
        assert!(self.sshds.len() > 1);
        wait_until(SOON, "every process to end", || !self.sshds.iter().any(|pid| alive(*pid)));
        assert!(processes_with_env("EXECNET_TESTKIT_LAB", &self.folder()).is_empty());
    }
}
