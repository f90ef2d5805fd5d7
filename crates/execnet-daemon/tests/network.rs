//! The daemon as a whole, with agents on this machine: hosts join, processes run, links break, everything
//! ends.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use execnet_daemon::{Config, DaemonError, run};
use execnet_proto::client::{Client, ClientEvent, Launch};
use execnet_proto::control::{HostState, HostStatus, Request, Status, StopReply, Verb};
use execnet_proto::id::{ClientId, ProcessId};
use execnet_proto::process::Process;
use execnet_proto::wire::{Ending, Stream};
use rustix::process::{Pid, Signal, getpid, kill_process, test_kill_process};
use serde::de::DeserializeOwned;

/// Long enough for a busy machine, on which everything takes ten times as long.
const PATIENCE: Duration = Duration::from_secs(300);

/// A daemon in a thread of this process, in a folder of its own.
struct Network {
    folder: PathBuf,
    config: Config,
    daemon: Option<JoinHandle<Result<(), DaemonError>>>,
}

impl Network {
    fn start(name: &str, hosts: &[&str]) -> Self {
        Self::start_in(name, hosts, |_| {})
    }

    fn start_in(name: &str, hosts: &[&str], change: impl FnOnce(&mut Config)) -> Self {
        let folder = std::env::temp_dir().join(format!("execnet-daemon-{}-{name}", std::process::id()));
        fs::DirBuilder::new().mode(0o700).create(&folder).unwrap();
        let hosts = hosts.iter().map(|spec| spec.parse().unwrap()).collect();
        let mut config = Config::new(name.parse().unwrap(), hosts, 2 * PATIENCE);
        config.runtime_folders = vec![folder.join("run")];
        config.state_folder = Some(folder.join("state"));
        config.home_state_folder = None;
        config.askpass = None;
        config.detach = false;
        change(&mut config);
        let mut network = Self { folder, config, daemon: None };
        network.run();
        network
    }

    fn run(&mut self) {
        let (ready_tx, ready_rx) = mpsc::channel();
        let config = self.config.clone();
        let told = move |_| ready_tx.send(()).unwrap();
        self.daemon = Some(std::thread::spawn(move || run(config, told)));
        ready_rx.recv_timeout(PATIENCE).expect("the daemon gets ready");
    }

    fn socket(&self) -> PathBuf {
        self.config.runtime_folders[0].join(format!("{}.daemon.sock", self.config.network))
    }

    fn connect(&self) -> Connection {
        Connection::new(&self.socket())
    }

    /// Waits until no host is joining any more.
    fn joined(&self) -> Connection {
        let mut connection = self.connect();
        connection.ask(Verb::Watch);
        connection
    }

    /// Stops the network, and checks that nothing of it is left.
    fn stop(mut self, mut connection: Connection) {
        let agents: Vec<u32> = connection.status().hosts.iter().filter_map(|host| host.agent_pid).collect();
        let reply: StopReply = connection.ask_for(Verb::Stop { kept: None });
        assert!(reply.left.is_empty(), "{:?}", reply.left);
        self.daemon.take().unwrap().join().unwrap().unwrap();
        assert!(!self.config.runtime_folders[0].exists(), "socket, lock and folder are gone");
        for agent in agents {
            wait("an agent to end", || !is_alive(agent));
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A client and its socket.
struct Connection {
    client: Client,
    socket: UnixStream,
    started: Instant,
    replies: Vec<(u32, bool, Bytes)>,
}

impl Connection {
    fn new(path: &Path) -> Self {
        let socket = UnixStream::connect(path).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut client = Client::new(ClientId(fastrand::u128(..).to_be_bytes()), "3.0.0");
        client.connected(Duration::ZERO);
        Self { client, socket, started: Instant::now(), replies: Vec::new() }
    }

    /// One round of reading and writing.
    fn turn(&mut self) {
        let now = self.started.elapsed();
        let mut out = BytesMut::new();
        self.client.transmit(&mut out, 1 << 20, now);
        self.socket.write_all(&out).unwrap();
        let mut bytes = [0; 65_536];
        match self.socket.read(&mut bytes) {
            Ok(0) => panic!("the daemon closed the socket"),
            Ok(length) => self.client.handle(&bytes[..length], now).unwrap(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error}"),
        }
        while let Some(event) = self.client.poll_event() {
            match event {
                ClientEvent::Reply { request, last, json } => self.replies.push((request, last, json)),
                ClientEvent::Refused(_, _, message) => panic!("refused: {message}"),
                _ => {}
            }
        }
    }

    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let start = Instant::now();
        while !done(self) {
            assert!(start.elapsed() < PATIENCE, "waited too long for {what}");
            self.turn();
        }
    }

    /// Sends a request, and waits for the last reply.
    fn ask(&mut self, verb: Verb) -> Bytes {
        let json = serde_json::to_vec(&Request::from(verb)).unwrap();
        let number = self.client.request(json.into());
        let last = |connection: &mut Self| {
            connection.replies.iter().any(|(request, last, _)| *request == number && *last)
        };
        self.until("a reply", last);
        self.replies.iter().rev().find(|(request, ..)| *request == number).unwrap().2.clone()
    }

    fn ask_for<T: DeserializeOwned>(&mut self, verb: Verb) -> T {
        serde_json::from_slice(&self.ask(verb)).unwrap()
    }

    fn status(&mut self) -> Status {
        self.ask_for(Verb::Status)
    }

    fn host(&mut self, id: &str) -> HostStatus {
        self.status().hosts.into_iter().find(|host| host.id == id).unwrap()
    }

    /// Starts Python on a node.
    fn python(&mut self, node: &str, source: &str) -> ProcessId {
        let id = ProcessId(fastrand::u128(..).to_be_bytes());
        self.client.select(id, vec![("node".into(), Bytes::copy_from_slice(node.as_bytes()))]);
        self.until("a place", |connection| connection.client.placement(id).is_some());
        let args = ["-c", source].map(|arg| Bytes::copy_from_slice(arg.as_bytes())).into();
        self.client.launch(id, Launch { args, ..Launch::default() });
        id
    }

    /// Sends input and collects output until the process is over. Gives the status with which it exits.
    fn communicate(&mut self, id: ProcessId, mut input: Bytes) -> (Vec<u8>, Ending) {
        let mut output = Vec::new();
        let mut closed = false;
        self.until("a process", |connection| {
            let capacity = connection.client.process(id).map_or(0, Process::stdin_capacity);
            let part = input.split_to(input.len().min(capacity));
            if !part.is_empty() {
                connection.client.write(id, part);
            }
            if input.is_empty() && !std::mem::replace(&mut closed, true) {
                connection.client.close_stdin(id);
            }
            loop {
                let part = connection.client.read(id, Stream::Stdout, usize::MAX);
                if part.is_empty() {
                    break;
                }
                output.extend_from_slice(&part);
            }
            let said = connection.client.read(id, Stream::Stderr, usize::MAX);
            assert!(said.is_empty(), "{}", String::from_utf8_lossy(&said));
            let process = connection.client.process(id).unwrap();
            assert_eq!(process.lost(), None);
            process.is_over()
        });
        let ending = self.client.process(id).and_then(|process| process.ending().cloned()).unwrap();
        self.client.release(id);
        (output, ending)
    }
}

const ECHO: &str = "import sys, shutil; shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)";

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn is_alive(pid: u32) -> bool {
    test_kill_process(Pid::from_raw(pid.cast_signed()).unwrap()).is_ok()
}

/// The processes that carry links of this process's daemons, found by the text in their arguments.
fn carriers(mark: &str) -> Vec<Pid> {
    let ours = format!("PPid:\t{}\n", getpid().as_raw_nonzero());
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_one = |pid: &i32| {
        let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let (status, argv) = (read("status"), read("cmdline"));
        String::from_utf8_lossy(&status).contains(&ours) && String::from_utf8_lossy(&argv).contains(mark)
    };
    pids.filter(is_one).filter_map(Pid::from_raw).collect()
}

#[test]
fn a_process_on_this_machine_runs_and_everything_ends() {
    let network = Network::start("simple", &["popen"]);
    let mut connection = network.joined();
    let host = connection.host("local");
    assert_eq!((host.state, host.nodes.len()), (HostState::Up, 1), "{host:?}");
    let id = connection.python("local", ECHO);
    let input: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let (output, ending) = connection.communicate(id, input.clone().into());
    assert!(output == input);
    assert_eq!(ending, Ending::Exited(0));
    let id = connection.python("local", "import os; os._exit(7)");
    assert_eq!(connection.communicate(id, Bytes::new()), (Vec::new(), Ending::Exited(7)));
    network.stop(connection);
}

#[test]
fn three_hops_carry_a_process_and_end_from_the_inside_out() {
    let network = Network::start("hops", &["popen//id=c//via=b", "popen//id=b//via=a", "popen//id=a"]);
    let mut connection = network.joined();
    let status = connection.status();
    assert!(status.hosts.iter().all(|host| host.state == HostState::Up), "{:#?}", status.hosts);
    let id = connection.python("c", ECHO);
    let input: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    assert!(connection.communicate(id, input.clone().into()).0 == input);
    network.stop(connection);
}

#[test]
fn a_transfer_survives_the_death_of_its_link() {
    let mark = "/nowhere/survives";
    // the path is tried after the usual ones; it marks the process that carries the link
    let network = Network::start("survives", &[&format!("popen//id=h//python={mark}")]);
    let mut connection = network.joined();
    let node = connection.host("h").nodes.pop().unwrap();
    assert_eq!(node.state.as_str(), "failed", "{node:?}");
    let request = Verb::AddHost { spec: "popen//id=inner//via=h".into(), end_kept: false };
    let reply: serde_json::Value = connection.ask_for(request);
    assert_eq!(reply["host"]["state"], "up");
    let id = connection.python("inner", ECHO);
    let killer = std::thread::spawn(move || {
        for _ in 0..3 {
            let mut killed = Vec::new();
            wait("a link to kill", || {
                killed = carriers(mark);
                !killed.is_empty()
            });
            std::thread::sleep(Duration::from_millis(200));
            for pid in killed {
                let _ = kill_process(pid, Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(600));
        }
    });
    let input: Vec<u8> = (0..64_000_000_u32).map(|n| (n % 251) as u8).collect();
    let (output, ending) = connection.communicate(id, input.clone().into());
    killer.join().unwrap();
    assert_eq!(ending, Ending::Exited(0));
    assert!(output == input);
    network.stop_when_back(connection);
}

impl Network {
    /// Stops the network when all hosts can be told to end.
    fn stop_when_back(self, mut connection: Connection) {
        wait("the hosts", || connection.status().hosts.iter().all(|host| host.state == HostState::Up));
        self.stop(connection);
    }
}

#[test]
fn there_is_one_daemon_and_its_socket_comes_back() {
    let network = Network::start("single", &[]);
    let error = run(network.config.clone(), |_| panic!("a second daemon is ready")).unwrap_err();
    assert!(
        matches!(error, DaemonError::Running { pid: Some(pid), .. } if pid == std::process::id()),
        "{error}"
    );
    fs::remove_file(network.socket()).unwrap();
    wait("the socket", || network.socket().exists());
    let mode = fs::metadata(network.socket()).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let connection = network.connect();
    network.stop(connection);
}

#[test]
fn a_folder_that_is_not_private_is_passed_over_and_none_is_refused() {
    let network = Network::start("folders", &[]);
    let open = network.folder.join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, PermissionsExt::from_mode(0o755)).unwrap();
    let mut second = Network::start_in("folders-2", &[], |config| {
        config.runtime_folders = vec![open.clone(), config.runtime_folders[0].clone()];
    });
    let mut connection = Connection::new(&second.config.runtime_folders[1].join("folders-2.daemon.sock"));
    let status = connection.status();
    assert_eq!(status.socket_note, Some(format!("{} is open to other users", open.display())));
    assert!(status.socket.unwrap().ends_with("run/folders-2.daemon.sock"));
    second.config.runtime_folders.remove(0);
    second.stop(connection);

    let mut config = network.config.clone();
    config.runtime_folders = vec![network.folder.join("other")];
    config.state_folder = Some(Path::new("/dev/full").join("state"));
    let error = run(config.clone(), |_| ()).unwrap_err();
    assert!(matches!(error, DaemonError::File { .. }), "{error}");
    assert!(!config.runtime_folders[0].exists(), "a daemon that cannot start leaves nothing");
    let connection = network.connect();
    network.stop(connection);
}

#[test]
fn a_stranger_on_the_socket_is_dropped_alone() {
    let network = Network::start("stranger", &[]);
    let mut connection = network.connect();
    connection.status();
    let mut stranger = UnixStream::connect(network.socket()).unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut bytes = Vec::new();
    let _ = stranger.read_to_end(&mut bytes);
    assert!(bytes.starts_with(b"\0execnet:link\0"), "the daemon says who it is, then hangs up");
    assert_eq!(connection.status().clients, 1);
    network.stop(connection);
}
