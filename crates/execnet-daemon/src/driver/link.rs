//! The task of a host's own link: the process that carries it, its three pipes, and its end.

use std::cell::RefCell;
use std::env;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::rc::Rc;
use std::time::Duration;

use execnet_proto::switch::{HostKey, Peer};
use execnet_proto::wire::Ending;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::process::Child;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::outlet::Outlet;
use super::{Driver, Reading};
use crate::event::{Command, Event, LinkOver};

/// How many bytes of stderr to keep.
const STDERR: usize = 4_096;

/// The wait between full reads of stderr. It lets 64 KiB, what a pipe holds, be read within [`DRAIN`].
const SLOWLY: Duration = Duration::from_millis(5);

/// How long a process may go on after its link is over, before it is killed.
pub(super) const GRACE: Duration = Duration::from_millis(500);

/// How long a `cmd=` gets from SIGTERM to SIGKILL, to take back a job or to stop a container.
pub(super) const CANCEL: Duration = Duration::from_secs(10);

/// How often to look whether a killed process is gone.
const SWEEP: Duration = Duration::from_millis(5);

/// How long the pipes of a process that has exited may still deliver its last output.
const DRAIN: Duration = Duration::from_millis(300);

/// The size of each pipe of a busy link, in bytes, where the system allows it. An idle link leaves the user's
/// share of pipe memory alone.
#[cfg(target_os = "linux")]
const PIPE: usize = 524_288;

/// A read of this many bytes emptied a full pipe.
const FULL: usize = 65_536;

/// What the driver holds of a link's task.
#[derive(Default)]
pub(super) struct LinkHandle {
    outlet: RefCell<Option<Rc<Outlet>>>,
    /// The process has to end.
    end: Notify,
    is_cmd: bool,
}

/// A started process and this side's ends of its pipes.
struct Started {
    child: Child,
    stdin: OwnedFd,
    stdout: pipe::Receiver,
    stderr: pipe::Receiver,
}

impl LinkHandle {
    pub(super) fn new(command: &Command) -> Self {
        Self { is_cmd: command.is_cmd, ..Self::default() }
    }

    /// How long its process may take to end.
    pub(super) fn patience(&self) -> Duration {
        if self.is_cmd { GRACE + CANCEL } else { GRACE }
    }

    /// Makes the task end the process.
    pub(super) fn end(&self) {
        self.end.notify_one();
    }

    pub(super) fn outlet(&self) -> Option<Rc<Outlet>> {
        self.outlet.borrow().clone()
    }
}

/// Starts a link's process and serves it until it is over.
pub(super) async fn run(driver: Rc<Driver>, host: HostKey, mut command: Command, handle: Rc<LinkHandle>) {
    let mut group = None;
    let is_wanted = tokio::select! {
        biased;
        () = handle.end.notified() => false,
        said = driver.ssh_config.apply(&mut command) => {
            if let Some(said) = said {
                driver.handle(Event::SshConfig(host, &said));
            }
            true
        }
    };
    let over = match is_wanted.then(|| start(&command)) {
        None => LinkOver { ending: None, stderr: String::new() },
        Some(Ok(started)) => {
            group = started.child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
            carry(&driver, host, started, group, &handle).await
        }
        Some(Err(error)) => {
            let errno = error.raw_os_error().unwrap_or(0).unsigned_abs();
            LinkOver { ending: Some(Ending::NotStarted(errno, error.to_string())), stderr: String::new() }
        }
    };
    driver.links.borrow_mut().remove(&host);
    driver.sweeps.update(|count| count + 1);
    driver.handle(Event::LinkEnded(host, over));
    if let Some(group) = group {
        let _ = timeout(GRACE, sweep(group)).await;
    }
    driver.sweeps.update(|count| count - 1);
    driver.gone.notify_one();
}

/// Prepares a program to start as it would from a login on another host.
pub(super) fn process(program: &str, env: &[(String, String)]) -> tokio::process::Command {
    let mut process = tokio::process::Command::new(program);
    process.envs(env.iter().map(|(name, value)| (name, value))).process_group(0);
    if let Some(home) = env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_dir()) {
        process.current_dir(home);
    }
    process
}

fn start(command: &Command) -> std::io::Result<Started> {
    let (stdin, their_stdin) = pipe::pipe()?;
    let (their_stdout, stdout) = pipe::pipe()?;
    let (their_stderr, stderr) = pipe::pipe()?;
    let theirs = |fd: OwnedFd| Stdio::from(fd);
    let mut process = process(&command.argv[0], &command.env);
    process
        .args(&command.argv[1..])
        .stdin(theirs(their_stdin.into_blocking_fd()?))
        .stdout(theirs(their_stdout.into_blocking_fd()?))
        .stderr(theirs(their_stderr.into_blocking_fd()?));
    Ok(Started { child: process.spawn()?, stdin: stdin.into_nonblocking_fd()?, stdout, stderr })
}

async fn carry(
    driver: &Rc<Driver>,
    host: HostKey,
    started: Started,
    group: Option<Pid>,
    handle: &LinkHandle,
) -> LinkOver {
    let Started { mut child, stdin, mut stdout, stderr } = started;
    let said = Rc::new(RefCell::new(Vec::new()));
    let listener = tokio::task::spawn_local(listen(stderr, Rc::clone(&said)));
    let outlet = Rc::new(Outlet::new(stdin));
    *handle.outlet.borrow_mut() = Some(Rc::clone(&outlet));
    driver.write(Peer::Host(host));

    let mut exited: Option<(ExitStatus, Instant)> = None;
    let (mut wide_in, mut wide_out) = (false, false);
    let mut reading = Reading::Now;
    loop {
        let drained = exited.map_or_else(Instant::now, |(_, at)| at + DRAIN);
        tokio::select! {
            biased;
            () = handle.end.notified() => break,
            () = outlet.changed() => if !wide_in && let Some(stdin) = outlet.sink() {
                wide_in = true;
                widen(&*stdin);
            },
            () = outlet.writable(), if outlet.is_blocked() => driver.write(Peer::Host(host)),
            () = yield_now(), if reading != Reading::Now => {
                let rest = reading == Reading::RestAfterOthers;
                reading = Reading::after(0, rest && driver.handle(Event::LinkBytes(host, &[])));
            }
            length = super::read(&mut stdout, driver), if reading == Reading::Now => match length {
                Ok(length @ 1..) => {
                    if !wide_out && length >= FULL {
                        wide_out = true;
                        widen(&stdout);
                    }
                    let input = driver.input.borrow();
                    reading = Reading::after(length, driver.arrived(Peer::Host(host), &input[..length]));
                }
                Ok(0) | Err(_) => break,
            },
            status = child.wait(), if exited.is_none() => {
                exited = status.ok().map(|status| (status, Instant::now()));
            }
            () = sleep_until(drained), if exited.is_some() => break,
        }
    }
    handle.outlet.borrow_mut().take();
    outlet.close();
    drop(outlet);
    drop(stdout);
    let mut ending = exited.map(|(status, _)| describe(status));
    if ending.is_none() {
        match timeout(GRACE, child.wait()).await {
            Ok(status) => ending = status.ok().map(describe),
            Err(_) if handle.is_cmd => {}
            Err(_) => {
                if let Some(group) = group {
                    let _ = kill_process_group(group, Signal::KILL);
                }
                let _ = child.wait().await;
            }
        }
    }
    if let Some(group) = group.filter(|_| handle.is_cmd) {
        cancel(&mut child, group).await;
    }
    let _ = timeout(DRAIN, listener).await;
    let stderr = String::from_utf8_lossy(&said.borrow()).into_owned();
    LinkOver { ending, stderr }
}

/// Ends what is left of a `cmd=` before the next one starts, which would submit the same job again.
async fn cancel(child: &mut Child, group: Pid) {
    let until = Instant::now() + CANCEL;
    for signal in [Signal::TERM, Signal::CONT] {
        let _ = kill_process_group(group, signal);
    }
    // the leader stays in its group until it is waited for
    while child.try_wait().is_ok_and(|status| status.is_none()) || test_kill_process_group(group).is_ok() {
        if Instant::now() >= until {
            let _ = kill_process_group(group, Signal::KILL);
            let _ = child.wait().await;
            break;
        }
        sleep(SWEEP).await;
    }
}

/// Ends what the process left behind in its group, and waits until it is gone. An agent leads a session of
/// its own.
async fn sweep(group: Pid) {
    while kill_process_group(group, Signal::KILL).is_ok() {
        sleep(SWEEP).await;
    }
}

/// Makes a pipe larger. The system refuses it to users who hold many pipes; then the pipe stays as it is.
fn widen(pipe: impl AsFd) {
    #[cfg(target_os = "linux")]
    let _ = rustix::pipe::fcntl_setpipe_size(pipe, PIPE);
    #[cfg(not(target_os = "linux"))]
    let _ = pipe;
}

/// Keeps the end of what is written to stderr. Reads slowly if much is written.
async fn listen(mut stderr: pipe::Receiver, said: Rc<RefCell<Vec<u8>>>) {
    let mut bytes = [0; STDERR];
    while let Ok(length @ 1..) = stderr.read(&mut bytes).await {
        keep(&mut said.borrow_mut(), &bytes[..length]);
        if length == STDERR {
            sleep(SLOWLY).await;
        }
    }
}

/// Appends bytes, and drops the oldest above the limit.
fn keep(said: &mut Vec<u8>, bytes: &[u8]) {
    said.extend_from_slice(bytes);
    let old = said.len().saturating_sub(STDERR);
    said.drain(..old);
}

fn describe(status: ExitStatus) -> Ending {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => Ending::Exited(code.unsigned_abs()),
        (None, signal) => Ending::Signaled(signal.unwrap_or(0).unsigned_abs()),
    }
}
