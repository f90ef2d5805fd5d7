//! Copies bytes between our standard streams and those of a process, unchanged and without delay.

use std::io::{self, ErrorKind, Read, Write};

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

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::thread;

    use rustix::pipe::pipe;

    use super::*;
    use crate::stdio::OwnStream;

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
