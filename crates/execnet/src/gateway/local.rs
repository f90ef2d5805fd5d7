//! An interpreter that is a child of this program: three pipes, and a session of its own, which ends with it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use super::carrier::{Carrier, Ending, READ, Stop};
use crate::node::Node;
use crate::status::ExitStatus;
use crate::waiting::{Interrupt, Sleeps, Waker, deadline, left, poll};

/// How often to check a child where the system cannot report its end.
const LOOK: Duration = Duration::from_millis(100);

/// The capacity of a pipe (Linux) once more than its usual capacity passes through it. With less, sending a
/// large value causes many context switches between the two processes. If the system does not allow this
/// size, the pipe keeps its own.
#[cfg(target_os = "linux")]
const PIPE: usize = 256 * 1024;

/// The usual capacity, in bytes.
const USUAL: usize = 64 * 1024;

/// See the module's documentation.
pub(super) struct Local {
    /// None once its end was reaped.
    child: Mutex<Option<Child>>,
    status: Mutex<Option<ExitStatus>>,
    pid: Pid,
    /// None once released. Closed when the last thread stops using it.
    pipes: Mutex<Option<Arc<Pipes>>>,
    buffer: Mutex<Vec<u8>>,
}

/// All descriptors for a child.
struct Pipes {
    /// Readable once the child has ended, on systems with such a descriptor.
    end: Option<OwnedFd>,
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
    /// Wakes the thread that receives.
    waker: Arc<Waker>,
    /// stdin and stdout were enlarged.
    larger: [AtomicBool; 2],
}

impl Local {
    pub(super) fn start(mut command: Command) -> io::Result<Arc<Self>> {
        let waker = Arc::new(Waker::new()?);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(io::Error::other("a pipe is missing"));
        };
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("a child without a number"))?;
        let fds = [OwnedFd::from(stdin), stdout.into(), stderr.into()];
        for fd in &fds {
            let flags = rustix::fs::fcntl_getfl(fd)?;
            rustix::fs::fcntl_setfl(fd, flags | rustix::fs::OFlags::NONBLOCK)?;
        }
        let [stdin, stdout, stderr] = fds;
        let child = Mutex::new(Some(child));
        let (end, larger) = (end_of(pid), Default::default());
        let pipes = Pipes { end, stdin, stdout, stderr, waker, larger };
        Ok(Arc::new(Self {
            child,
            status: Mutex::new(None),
            pid,
            pipes: Mutex::new(Some(Arc::new(pipes))),
            buffer: Mutex::new(Vec::new()),
        }))
    }

    fn pipes(&self) -> Option<Arc<Pipes>> {
        self.pipes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// If the child has ended, records its end, and ends what is left of its session.
    fn reap(&self) -> bool {
        let mut child = self.child();
        let Some(running) = child.as_mut() else { return true };
        // not reaped yet, so that its pid is not reused before its session has ended
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let ended = rustix::process::waitid(WaitId::Pid(self.pid), options);
        if matches!(ended, Ok(None)) {
            return false;
        }
        let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
        let status = running.wait().ok().map(|status| match (status.code(), status.signal()) {
            (Some(code), _) => ExitStatus::Exited(code as u32),
            (_, signal) => ExitStatus::Signaled(signal.unwrap_or(0) as u32),
        });
        // other code may have waited for all children
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
        *child = None;
        true
    }

    /// Waits until one of `fds` is ready, or the child has ended (true).
    fn wait<'f>(
        &self,
        end: Option<&'f OwnedFd>,
        fds: &mut Vec<PollFd<'f>>,
        deadline: Option<Instant>,
    ) -> Result<bool, Stop> {
        let before = fds.len();
        let mut most = left(deadline);
        match end {
            Some(end) => fds.push(PollFd::from_borrowed_fd(end.as_fd(), PollFlags::IN)),
            None => most = Some(most.map_or(LOOK, |most| most.min(LOOK))),
        }
        // a signal may interrupt it: the caller retries
        let ready = poll(fds, most).unwrap_or(1);
        let ended = match fds.get(before) {
            Some(end) => !end.revents().is_empty() && self.reap(),
            None => self.reap(),
        };
        fds.truncate(before);
        let late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
        if ready == 0 && !ended && late { Err(Stop::TimedOut) } else { Ok(ended) }
    }
}

/// Enlarges a pipe, once.
fn enlarge(pipe: &OwnedFd, was: &AtomicBool) {
    if !was.swap(true, Ordering::Relaxed) {
        #[cfg(target_os = "linux")]
        let _ = rustix::pipe::fcntl_setpipe_size(pipe, PIPE);
        #[cfg(not(target_os = "linux"))]
        let _ = pipe;
    }
}

/// A descriptor that becomes readable when the child ends.
#[cfg(target_os = "linux")]
fn end_of(pid: Pid) -> Option<OwnedFd> {
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()
}

/// Other systems have none: the child is polled.
#[cfg(not(target_os = "linux"))]
fn end_of(_: Pid) -> Option<OwnedFd> {
    None
}

/// Reads what is there; none if there is nothing yet.
fn read(fd: &OwnedFd, buffer: &mut [u8]) -> Option<Result<usize, Stop>> {
    loop {
        match rustix::io::read(fd, &mut *buffer) {
            Ok(0) => return Some(Err(Stop::End)),
            Ok(count) => return Some(Ok(count)),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return None,
            Err(_) => return Some(Err(Stop::End)),
        }
    }
}

impl Carrier for Local {
    fn receive(&self, deadline: Option<Instant>, take: &mut dyn FnMut(&[u8])) -> Result<(), Stop> {
        let me = Interrupt::this_thread();
        let pipes = self.pipes().ok_or(Stop::End)?;
        let place: Arc<dyn Sleeps> = pipes.waker.clone();
        let asleep = me.enter(Arc::downgrade(&place));
        let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        if buffer.is_empty() {
            // the system zeroes it page by page, on first use
            *buffer = vec![0; READ];
        }
        loop {
            if me.clear() {
                return Err(Stop::Interrupted);
            }
            let mut fds = vec![PollFd::new(&pipes.stdout, PollFlags::IN), pipes.waker.poll_fd()];
            let ended = self.wait(pipes.end.as_ref(), &mut fds, deadline)?;
            let nothing_there = fds[0].revents().is_empty();
            if !fds[1].revents().is_empty() {
                pipes.waker.drain();
            }
            if nothing_there && !ended {
                continue;
            }
            match read(&pipes.stdout, &mut buffer) {
                Some(Ok(count)) => {
                    drop(asleep);
                    if count >= USUAL {
                        enlarge(&pipes.stdout, &pipes.larger[1]);
                    }
                    take(&buffer[..count]);
                    return Ok(());
                }
                Some(Err(stop)) => return Err(stop),
                // another process holds it open now
                None if ended => return Err(Stop::End),
                None => {}
            }
        }
    }

    fn send(&self, bytes: &[u8], wait: bool) -> Result<usize, Stop> {
        let pipes = self.pipes().ok_or(Stop::End)?;
        if bytes.len() > USUAL {
            enlarge(&pipes.stdin, &pipes.larger[0]);
        }
        loop {
            match rustix::io::write(&pipes.stdin, bytes) {
                Ok(count) => return Ok(count),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) if wait => {
                    let mut fds = vec![PollFd::new(&pipes.stdin, PollFlags::OUT)];
                    if self.wait(pipes.end.as_ref(), &mut fds, None)? {
                        return Err(Stop::End);
                    }
                }
                Err(rustix::io::Errno::AGAIN) => return Err(Stop::TimedOut),
                Err(_) => return Err(Stop::End),
            }
        }
    }

    fn errors(&self, take: &mut dyn FnMut(&[u8])) {
        let Some(pipes) = self.pipes() else { return };
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let mut fds = vec![PollFd::new(&pipes.stderr, PollFlags::IN)];
            let ended = self.wait(pipes.end.as_ref(), &mut fds, None) != Ok(false);
            match read(&pipes.stderr, &mut buffer) {
                Some(Ok(count)) => take(&buffer[..count]),
                Some(Err(_)) => return,
                None if ended => return,
                None => {}
            }
        }
    }

    fn ending(&self, timeout: Duration) -> Option<Ending> {
        let deadline = deadline(timeout);
        let pipes = self.pipes();
        let end = pipes.as_ref().and_then(|pipes| pipes.end.as_ref());
        while !self.reap() {
            match self.wait(end, &mut Vec::new(), deadline) {
                Ok(false) => {}
                Ok(true) => break,
                Err(_) => return None,
            }
        }
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Some(status.map_or(Ending::Lost("its exit status is not known".into()), Ending::Status))
    }

    fn kill(&self) {
        // while the lock is held, its pid is not reused
        if self.child().is_some() {
            let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
            let _ = rustix::process::kill_process(self.pid, Signal::KILL);
        }
    }

    /// It is killed without this.
    fn close_output(&self) {}

    fn release(&self) {
        let pipes = self.pipes.lock().unwrap_or_else(PoisonError::into_inner).take();
        if pipes.is_some() {
            self.kill();
        }
    }

    fn node(&self) -> Option<&Node> {
        None
    }
}
