//! The daemon's process: `execnet start` starts it with the hidden command `daemon`.
//!
//! Its parameters come as JSON on stdin, because every user can see arguments. It replies with one line on
//! stdout: `ready PID`, `running` if the network has a daemon already, or `error SENTENCE`, optionally with a
//! tab and a hint. After that it writes only to the network's log.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::Args;
use execnet_daemon::DaemonError;
use execnet_proto::spec::sets::Groups;
use execnet_proto::spec::{HostSpec, NetworkName};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};

use crate::config::NetworkFile;
use crate::error::{CommandError, CommandResult, Exit, no_room};
use crate::print::print;
use crate::text::one_line;

/// How long a daemon may take until it is ready. It needs a few milliseconds.
const READY: Duration = Duration::from_secs(20);

/// The reply of a daemon that finds another one of its network.
const RUNNING: &str = "running";

/// The parameters of a daemon.
#[derive(Debug, Serialize, Deserialize)]
struct DaemonParameters {
    hosts: Vec<String>,
    /// In seconds.
    linger: u64,
    #[serde(default)]
    drained: Vec<String>,
    #[serde(default)]
    groups: BTreeMap<String, String>,
    /// The network's file.
    #[serde(default)]
    file: Option<PathBuf>,
}

/// Starts a network's daemon and returns when it is ready.
pub(super) fn launch(
    name: &NetworkName,
    hosts: &[HostSpec],
    linger: Duration,
    drained: &[String],
    groups: &Groups,
) -> Result<(), CommandError> {
    let fail = |what: &str, error: &io::Error| {
        CommandError::new(Exit::Failed, format!("cannot start the daemon of `{name}`: {what}")).because(error)
    };
    let executable =
        std::env::current_exe().map_err(|error| fail("cannot find the path of this program", &error))?;
    let parameters = DaemonParameters {
        hosts: hosts.iter().map(ToString::to_string).collect(),
        linger: linger.as_secs(),
        drained: drained.to_vec(),
        groups: groups.to_texts(),
        // JSON is text
        file: crate::paths::network_file(name).ok().filter(|file| file.to_str().is_some()),
    };
    let parameters = serde_json::to_vec(&parameters)
        .map_err(|error| fail("cannot encode its hosts as JSON", &error.into()))?;
    let mut child = Command::new(executable)
        .args(["daemon", name.as_str()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| fail("cannot start its process", &error))?;
    // if it ends without reading this, its reply says why
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(&parameters));
    let said = child.stdout.take().map_or(Ok(None), first_line);
    match said.map_err(|error| fail("cannot read its answer", &error))? {
        Some(line) if line.starts_with("ready ") => Ok(()),
        // another command was faster
        Some(line) if line == RUNNING => Err(crate::connection::already_running(name)),
        Some(line) => {
            let _ = child.wait();
            let sentence = line.strip_prefix("error ").unwrap_or(&line);
            let (sentence, hint) = sentence.split_once('\t').unwrap_or((sentence, ""));
            let failure =
                CommandError::new(Exit::Failed, format!("the daemon of `{name}` did not start: {sentence}"));
            Err(if hint.is_empty() { failure } else { failure.hint(hint) })
        }
        None => Err(silent(name, &mut child)),
    }
}

fn silent(name: &NetworkName, child: &mut Child) -> CommandError {
    let how = match child.try_wait() {
        Ok(Some(status)) => format!("exited at once ({status})"),
        _ => {
            let _ = child.kill().and_then(|()| child.wait());
            format!("was not ready within {} s", READY.as_secs())
        }
    };
    CommandError::new(Exit::Failed, format!("the daemon of `{name}` {how}"))
        .hint(format!("`execnet logs {name}` shows its log"))
}

/// The first line of a pipe, or `None` if none comes in time.
fn first_line(mut pipe: ChildStdout) -> io::Result<Option<String>> {
    let deadline = Instant::now() + READY;
    let mut line = Vec::new();
    let mut bytes = [0; 4_096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&pipe, PollFlags::IN)], Some(&left)) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let read = pipe.read(&mut bytes)?;
        line.extend_from_slice(&bytes[..read]);
        if let Some(end) = line.iter().position(|byte| *byte == b'\n') {
            return Ok(Some(String::from_utf8_lossy(&line[..end]).into_owned()));
        }
        if read == 0 || line.len() > 65_536 {
            // leave the process time to exit, so that it can be reaped
            std::thread::sleep(Duration::from_millis(50));
            return Ok(None);
        }
    }
}

/// Run a network's daemon
#[derive(Debug, Args)]
pub(crate) struct DaemonArgs {
    /// Name of the network; the rest comes as JSON on stdin
    #[arg(required_unless_present = "private")]
    network: Option<String>,
    /// Run the daemon of one program, at the other end of the socket on stdin
    #[arg(long, conflicts_with = "network")]
    private: bool,
}

/// Closes inherited locks, pipes and sockets: the daemon must not hold them as long as the network runs.
fn close_inherited() {
    let folder = if cfg!(target_os = "linux") { "/proc/self/fd" } else { "/dev/fd" };
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let number = |name: OsString| name.to_str()?.parse::<RawFd>().ok();
    let open: Vec<RawFd> = entries.flatten().filter_map(|entry| number(entry.file_name())).collect();
    for fd in open.into_iter().filter(|fd| *fd > 2) {
        // the folder's own descriptor is closed already
        let _ = nix::unistd::close(fd);
    }
}

impl DaemonArgs {
    pub(crate) fn run(self) -> CommandResult {
        close_inherited();
        let told = || {
            CommandError::new(
                Exit::Usage,
                "only `execnet start` runs this command, with a description of the network on stdin",
            )
        };
        let Some(network) = self.network.filter(|_| !self.private) else {
            return private().map(|()| ExitCode::SUCCESS);
        };
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map_err(|error| told().because(&error))?;
        let parameters: DaemonParameters =
            serde_json::from_str(&text).map_err(|error| told().because(&error))?;
        let hosts = parameters.hosts.iter().map(|host| host.parse()).collect::<Result<Vec<HostSpec>, _>>();
        let hosts = hosts.map_err(|error| told().because(&error))?;
        let network: NetworkName = network.parse().map_err(|_| told())?;
        let mut config = execnet_daemon::Config::new(network, hosts, Duration::from_secs(parameters.linger));
        config.file = parameters.file;
        config.drained = parameters.drained;
        let texts = parameters.groups.iter().map(|(name, set)| (name.as_str(), set.as_str()));
        config.groups = Groups::new(texts).map_err(|error| told().because(&error))?;
        config.forget = Some(forget);
        let ran = execnet_daemon::run(config, |pid| {
            // if the starter is gone, nobody needs it
            let _ = print(&format!("ready {pid}\n"));
        });
        if let Err(error) = ran {
            if let DaemonError::Running { .. } = error {
                print(&format!("{RUNNING}\n"))?;
                return Ok(Exit::Running.into());
            }
            let hint = match &error {
                DaemonError::File { source, .. } => no_room(source).map(|hint| format!("\t{hint}")),
                _ => None,
            };
            print(&format!("error {}{}\n", one_line(&error.to_string()), hint.unwrap_or_default()))?;
            return Ok(Exit::Failed.into());
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Takes a host that has left out of the network's file.
fn forget(file: &Path, host: &str) -> Result<(), String> {
    let forget = || -> CommandResult<()> {
        let mut file = NetworkFile::edit(file)?;
        let was_drained = file.drained().iter().any(|id| id == host);
        if !file.remove(host) && !was_drained {
            return Ok(());
        }
        file.check()?;
        file.prepare()?.commit()
    };
    forget().map_err(|failure| one_line(&failure.to_string()))
}

/// Runs the daemon of the program at the other end of stdin.
fn private() -> Result<(), CommandError> {
    let fail = || CommandError::new(Exit::Failed, "cannot run the private daemon");
    let socket = io::stdin().as_fd().try_clone_to_owned().map_err(|error| fail().because(&error))?;
    // processes of the daemon must not hold its client's socket
    if let Ok(null) = std::fs::File::open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(&null);
    }
    execnet_daemon::run_private(socket.into()).map_err(|error| fail().because(&error))
}
