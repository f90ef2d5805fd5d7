//! Copies bytes between our standard streams and those of a process, unchanged and without delay.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::thread::sleep;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::getpgrp;
use rustix::termios::{isatty, tcgetpgrp};

/// Bytes per read: the payload of one frame.
const CHUNK: usize = 65_536;

/// Why a stream ended early.
#[derive(Debug)]
pub(super) enum PumpError {
    /// The source failed.
    Reading,
    /// The destination failed.
    Writing(io::Error),
}

/// Copies bytes until the end of `from`, or until `to` takes no more. Dropping both tells the two sides.
pub(super) fn pump(mut from: impl Read, mut to: impl Write) -> Result<(), PumpError> {
    let mut bytes = vec![0; CHUNK];
    loop {
        match from.read(&mut bytes) {
            Ok(0) => return Ok(()),
            Ok(read) => match to.write_all(&bytes[..read]).and_then(|()| to.flush()) {
                Ok(()) => {}
                Err(error) => return Err(PumpError::Writing(error)),
            },
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Err(PumpError::Reading),
        }
    }
}

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

#[cfg(test)]
mod tests {
    use std::thread;

    use rustix::pipe::pipe;

    use super::*;

    #[test]
    fn bytes_pass_unchanged() {
        let sent: Vec<u8> = (0..=255).cycle().take(300_000).collect();
        let mut received = Vec::new();
        pump(sent.as_slice(), &mut received).unwrap();
        assert!(received == sent);
    }

    #[test]
    fn a_reader_that_goes_away_ends_the_pump() {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let Err(PumpError::Writing(error)) = pump(io::repeat(7), File::from(writer)) else { panic!() };
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_stream_that_does_not_block_is_waited_for() {
        let (reader, writer) = pipe().unwrap();
        for fd in [&reader, &writer] {
            rustix::io::ioctl_fionbio(fd, true).unwrap();
        }
        let to = OwnStream::new(&writer).unwrap();
        drop(writer);
        let sender = thread::spawn(move || pump(vec![1_u8; 500_000].as_slice(), to).unwrap());
        let mut received = Vec::new();
        pump(OwnStream::new(&reader).unwrap(), &mut received).unwrap();
        sender.join().unwrap();
        assert_eq!(received.len(), 500_000);
    }
}
