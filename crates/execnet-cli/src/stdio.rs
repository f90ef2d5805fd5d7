//! Our own standard streams, unbuffered.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::thread::sleep;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::getpgrp;
use rustix::termios::{isatty, tcgetpgrp};

/// How often a background job with pending terminal input checks whether it is in the foreground again.
const LOOK: Duration = Duration::from_millis(100);

/// One of our own standard streams, unbuffered. Waits if another process made it non-blocking.
///
/// A shell stops a background job that reads the terminal. We read ahead of the process on the host, so we
/// leave the terminal alone until the job is in the foreground.
pub(crate) struct OwnStream {
    file: File,
    is_terminal: bool,
}

impl OwnStream {
    /// Duplicates `fd`.
    pub(crate) fn new(fd: &impl AsFd) -> io::Result<OwnStream> {
        let file = File::from(fd.as_fd().try_clone_to_owned()?);
        Ok(OwnStream { is_terminal: isatty(&file), file })
    }

    /// Waits until the terminal has input and is ours to read.
    fn wait_for_turn(&self) {
        loop {
            if poll(&mut [PollFd::new(&self.file, PollFlags::IN)], None).is_ok() {
                // a terminal of another session has no foreground group for us
                if tcgetpgrp(&self.file).is_ok_and(|group| group != getpgrp()) {
                    sleep(LOOK);
                } else {
                    return;
                }
            }
        }
    }

    fn blocking<T>(
        &mut self,
        flags: PollFlags,
        mut act: impl FnMut(&mut File) -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            match act(&mut self.file) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let _ = poll(&mut [PollFd::new(&self.file, flags)], None);
                }
                done => return done,
            }
        }
    }
}

impl Read for OwnStream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.is_terminal {
            self.wait_for_turn();
        }
        self.blocking(PollFlags::IN, |file| file.read(bytes))
    }
}

impl Write for OwnStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.blocking(PollFlags::OUT, |file| file.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
