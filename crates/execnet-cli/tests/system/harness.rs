//! A network for one test, with its own name, configuration and state, and hosts from a lab. Dropping it
//! removes everything.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use execnet_testkit::{Lab, Listening, alive, kill, processes_with_env, sockets_listening, wait_until};
use serde_json::Value;

/// A limit that nothing working reaches, even on a slow machine.
pub(crate) const SOON: Duration = execnet_testkit::PATIENCE;

/// How long a test may take with one network. What it then still waits for, such as a line of a command,
/// would never come.
const FOREVER: Duration = Duration::from_secs(3600);

/// A network's name and folders.
pub(crate) struct Net {
    pub(crate) name: String,
    folder: PathBuf,
    /// The hosts; `None` for a network of this machine only.
    pub(crate) lab: Option<Lab>,
    /// Dropped with it.
    _ends: Sender<()>,
}

impl Net {
    /// A network that is not started yet.
    pub(crate) fn new(lab: Option<Lab>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("test-{}-{count}", std::process::id());
        let folder = std::env::temp_dir().join(format!("execnet-{name}"));
        std::fs::create_dir_all(&folder).unwrap();
        let _ends = end_what_hangs(folder.join("state"));
        Self { name, folder, lab, _ends }
    }

    /// The hosts' lab.
    pub(crate) fn lab(&self) -> &Lab {
        self.lab.as_ref().expect("this network has a lab")
    }

    /// The path of the network's file.
    pub(crate) fn config(&self) -> PathBuf {
        self.folder.join("config/execnet").join(format!("{}.toml", self.name))
    }

    /// The folder with the daemon's log, secret and count of starts.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.join("state/execnet").join(&self.name)
    }

    /// A folder of this test.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        let folder = self.folder.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// The daemon's log.
    pub(crate) fn log(&self) -> PathBuf {
        self.state().join("log")
    }

    /// `execnet ARGS…`, with this network's folders.
    pub(crate) fn execnet<T: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = T>) -> Command {
        // signals ignored by the shell of the tests, as in the background, would stay ignored in the command
        let mut command = Command::new("env");
        command
            .args(["--default-signal", env!("CARGO_BIN_EXE_execnet")])
            .args(args)
            .env("XDG_CONFIG_HOME", self.folder.join("config"))
            .env("XDG_STATE_HOME", self.folder.join("state"))
            .env("XDG_CACHE_HOME", self.folder.join("cache"))
            .env_remove("SSH_AUTH_SOCK")
            .stdin(Stdio::null());
        command
    }

    /// Runs `execnet COMMAND NAME ARGS…`.
    pub(crate) fn run(&self, verb: &str, args: &[&str]) -> Output {
        let mut all = vec![verb, &self.name];
        all.extend(args);
        self.execnet(all).output().unwrap()
    }

    /// The same, must succeed. Returns its stdout.
    #[track_caller]
    pub(crate) fn ok(&self, verb: &str, args: &[&str]) -> String {
        let output = self.run(verb, args);
        assert!(output.status.success(), "execnet {verb} {args:?}: {}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The spec of a lab's host with more keys, such as `//python=pypy3`.
    pub(crate) fn spec(&self, host: &str, more: &str) -> String {
        format!("ssh={host}//ssh_config={}{more}", self.lab().ssh_config().display())
    }

    /// Starts the network with these specs.
    #[track_caller]
    pub(crate) fn start(&self, specs: &[&str]) {
        self.ok("start", specs);
    }

    /// `execnet python NAME ARGS…`.
    pub(crate) fn python(&self, args: &[&str]) -> Command {
        let mut all = vec!["python", &self.name];
        all.extend(args);
        self.execnet(all)
    }

    /// Runs it, must succeed. Returns its stdout without the final line end.
    #[track_caller]
    pub(crate) fn python_ok(&self, args: &[&str]) -> String {
        let output = self.python(args).output().unwrap();
        assert!(output.status.success(), "execnet python {args:?}: {}", text(&output));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// `execnet status --json`.
    #[track_caller]
    pub(crate) fn status(&self) -> Value {
        serde_json::from_str(&self.ok("status", &["--json"])).unwrap()
    }

    /// The daemon's process id.
    #[track_caller]
    pub(crate) fn daemon(&self) -> u32 {
        self.status()["pid"].as_u64().unwrap() as u32
    }

    /// The one socket on which the daemon listens.
    #[track_caller]
    pub(crate) fn socket(&self) -> PathBuf {
        let paths: Vec<_> = sockets_listening(self.daemon())
            .into_iter()
            .map(|socket| match socket {
                Listening::Unix(path) => path,
                other => panic!("the daemon listens on {other:?}"),
            })
            .collect();
        assert_eq!(paths.len(), 1, "one socket for clients: {paths:?}");
        paths[0].clone()
    }

    /// One host's status.
    #[track_caller]
    pub(crate) fn host(&self, id: &str) -> Value {
        let status = self.status();
        let hosts = status["hosts"].as_array().unwrap();
        hosts.iter().find(|host| host["id"] == id).unwrap_or_else(|| panic!("no host {id}: {status}")).clone()
    }

    /// Process id of a host's agent.
    #[track_caller]
    pub(crate) fn agent(&self, id: &str) -> u32 {
        self.host(id)["agent_pid"].as_u64().unwrap() as u32
    }

    /// Waits until a host is in this state.
    #[track_caller]
    pub(crate) fn wait_for(&self, id: &str, state: &str) {
        wait_until(SOON, &format!("{id} to be {state}"), || self.host(id)["state"] == state);
    }

    /// Kills the daemon with SIGKILL.
    pub(crate) fn kill_daemon(&self) {
        let daemon = self.daemon();
        kill(daemon);
        wait_until(SOON, "the daemon to be dead", || !alive(daemon));
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let output = self.run("stop", &["--end-kept"]);
        if std::thread::panicking() {
            eprintln!("stop: {}", text(&output));
            eprintln!("log:\n{}", std::fs::read_to_string(self.log()).unwrap_or_default());
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Kills what a network runs on this machine after [`FOREVER`], again and again until the returned half is
/// dropped: a test that hangs then fails where it waits.
fn end_what_hangs(state: PathBuf) -> Sender<()> {
    let (ends, ended) = channel();
    let test = thread::current().name().unwrap_or_default().to_owned();
    thread::spawn(move || {
        let mut limit = FOREVER;
        while ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            eprintln!("{test} hangs: what it runs is killed");
            processes_with_env("XDG_STATE_HOME", state.to_str().unwrap()).into_iter().for_each(kill);
            limit = Duration::from_secs(5);
        }
    });
    ends
}

/// Status and output of a command.
pub(crate) fn text(output: &Output) -> String {
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    format!("{}\nstdout: {stdout}\nstderr: {stderr}", output.status)
}

/// Copies the command, in a process of its own: one that another test starts meanwhile would have the copy
/// open, and a file that is open for writing cannot be executed.
pub(crate) fn copy_program(to: &Path) {
    let status = Command::new("cp").arg(env!("CARGO_BIN_EXE_execnet")).arg(to).status().unwrap();
    assert!(status.success());
}

/// A child whose output is read by the test.
pub(crate) fn piped(mut command: Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The command where a file may have 100 KiB, as on a disk that is almost full.
pub(crate) fn with_small_files(command: &Command) -> Command {
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -f 200; exec \"$@\"", "sh", "env", "--default-signal"]);
    // behind `env --default-signal`
    limited.arg("--ignore-signal=XFSZ").args(command.get_args().skip(1));
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    limited
}

/// The next line of a reader, read byte by byte so that nothing after it is consumed.
pub(crate) fn line(from: &mut impl Read) -> String {
    let (mut line, mut byte) = (Vec::new(), [0]);
    while from.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap()
}

/// SHA-256 of a reader's bytes in hex, and their number.
pub(crate) fn sha256(mut from: impl Read) -> (String, u64) {
    let mut sum = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let count = std::io::copy(&mut from, sum.stdin.as_mut().unwrap()).unwrap();
    let output = sum.wait_with_output().unwrap();
    (String::from_utf8(output.stdout).unwrap()[..64].to_owned(), count)
}

/// Pseudo-random bytes, the same for a seed.
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    /// Writes `count` bytes, in pieces of 1 MiB; calls `each` after each piece.
    pub(crate) fn write(
        &mut self,
        mut to: impl Write,
        count: usize,
        mut each: impl FnMut(usize),
    ) -> std::io::Result<()> {
        let mut piece = vec![0; 1 << 20];
        let mut written = 0;
        while written < count {
            for word in piece.chunks_exact_mut(8) {
                self.0 ^= self.0 << 13;
                self.0 ^= self.0 >> 7;
                self.0 ^= self.0 << 17;
                word.copy_from_slice(&self.0.to_le_bytes());
            }
            let part = piece.len().min(count - written);
            to.write_all(&piece[..part])?;
            written += part;
            each(written);
        }
        to.flush()
    }
}
