//! Wakes a thread that polls file descriptors.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};

use super::interrupt::Sleeps;

/// Two ends of a socket: a byte on the first makes the second readable.
#[derive(Debug)]
pub(crate) struct Waker {
    near: UnixStream,
    far: UnixStream,
}

impl Waker {
    pub(crate) fn new() -> io::Result<Self> {
        let (near, far) = UnixStream::pair()?;
        near.set_nonblocking(true)?;
        far.set_nonblocking(true)?;
        Ok(Self { near, far })
    }

    /// What the thread polls, besides its own descriptors.
    pub(crate) fn poll_fd(&self) -> PollFd<'_> {
        PollFd::new(&self.far, PollFlags::IN)
    }

    /// Forgets all earlier calls of `wake`.
    pub(crate) fn drain(&self) {
        let mut bytes = [0; 64];
        while (&self.far).read(&mut bytes).is_ok_and(|count| count == bytes.len()) {}
    }
}

impl Sleeps for Waker {
    fn wake(&self) {
        // a full socket wakes as well
        let _ = (&self.near).write(&[1]);
    }
}

/// Polls for at most `timeout`; without one there is no limit.
///
/// # Errors
/// When a signal interrupted it.
pub(crate) fn poll(fds: &mut [PollFd<'_>], timeout: Option<Duration>) -> rustix::io::Result<usize> {
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    rustix::event::poll(fds, timeout.as_ref())
}
