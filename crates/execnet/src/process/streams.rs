//! Stdin, stdout and stderr of a process.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use bytes::Bytes;
use execnet_proto::wire::Stream;

use super::error::ProcessError;
use super::shared::Shared;
use crate::hub::Condition;
use crate::waiting::deadline;

/// The most that one write takes, in bytes.
const WRITE: usize = 128 * 1024;

/// Stdin of a process. Up to 2 MiB that the process has not read are buffered here; then writes block.
///
/// Written bytes are sent at once; there is nothing to flush. Errors of [`Write`] hold a [`ProcessError`].
#[derive(Debug)]
pub struct Stdin {
    shared: Shared,
    closes: bool,
}

/// Stdout or stderr of a process. Up to 2 MiB that nobody has read are buffered here; then the process
/// blocks.
///
/// After the process was lost, what had arrived can be read; then reads fail, so an end of file is always a
/// real one. Errors of [`Read`] hold a [`ProcessError`].
#[derive(Clone, Debug)]
pub struct Output {
    shared: Shared,
    stream: Stream,
}

/// A piece of an output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// How many bytes are gone right before it: only kept work and its readers lose bytes, while nobody takes
    /// them.
    pub gone: u64,
    /// The bytes; none at the end, and none if only a gap is known so far.
    pub bytes: Bytes,
    /// Nothing follows.
    pub is_end: bool,
}

impl Stdin {
    pub(crate) fn new(shared: Shared) -> Self {
        Self { shared, closes: false }
    }

    /// Closes stdin when this handle is dropped, for all other handles of the same stdin, too.
    #[must_use]
    pub fn close_on_drop(mut self) -> Self {
        self.closes = true;
        self
    }

    /// Writes some of `bytes`, as [`Write::write`] does; waits at most this long for room.
    ///
    /// # Errors
    /// When stdin is closed, the process was lost, there was no room in time, or the wait was interrupted.
    /// Then nothing was written.
    pub fn write_timeout(&self, bytes: &[u8], timeout: Duration) -> Result<usize, ProcessError> {
        self.write_by(bytes, deadline(timeout))
    }

    /// Closes stdin: after what was written, the process reads an end of file. Calling it again does nothing.
    ///
    /// # Errors
    /// Only in a forked child.
    pub fn close(&self) -> Result<(), ProcessError> {
        let mut state = self.shared.enter()?;
        state.client.close_stdin(self.shared.id);
        self.shared.handle.hub.leave(state);
        Ok(())
    }

    /// Whether nothing can be written any more: stdin was closed here or by the process, or the process is
    /// gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        let Ok(state) = self.shared.enter() else { return true };
        state.client.process(self.shared.id).is_none_or(execnet_proto::process::Process::stdin_closed)
    }

    fn write_by(&self, bytes: &[u8], deadline: Option<Instant>) -> Result<usize, ProcessError> {
        // copied before the lock is taken
        self.put(Bytes::copy_from_slice(&bytes[..bytes.len().min(WRITE)]), deadline)
    }

    /// Writes some of `bytes` without copying them. Their buffer is kept until the process's host has them.
    pub(crate) fn share(&self, bytes: &Bytes, timeout: Duration) -> Result<usize, ProcessError> {
        self.put(bytes.slice(..bytes.len().min(WRITE)), deadline(timeout))
    }

    fn put(&self, mut chunk: Bytes, deadline: Option<Instant>) -> Result<usize, ProcessError> {
        if chunk.is_empty() {
            return Ok(0);
        }
        let id = self.shared.id;
        let mut state = self.shared.wait(&Condition::Write(id), deadline)?;
        if let Some(lost) = self.shared.lost(&state) {
            return Err(lost.into());
        }
        let process = state.client.process(id).ok_or_else(|| self.shared.hung_up())?;
        let room = process.stdin_capacity();
        if process.stdin_closed() || room == 0 {
            return Err(ProcessError::Closed { host: self.shared.host.to_string() });
        }
        if room < chunk.len() / 2 {
            // a small part must not keep the whole buffer
            chunk = Bytes::copy_from_slice(&chunk[..room]);
        } else {
            chunk.truncate(room);
        }
        let length = chunk.len();
        state.client.write(id, chunk);
        self.shared.handle.hub.flush(state);
        Ok(length)
    }
}

impl Write for &Stdin {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(self.write_by(bytes, None)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for Stdin {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Stdin {
    fn drop(&mut self) {
        if self.closes {
            let _ = self.close();
        }
    }
}

impl Output {
    pub(crate) fn new(shared: Shared, stream: Stream) -> Self {
        Self { shared, stream }
    }

    /// Reads into `buffer`, as [`Read::read`] does; waits at most this long. 0 is the end.
    ///
    /// # Errors
    /// When the process was lost, nothing came in time, or the wait was interrupted.
    pub fn read_timeout(&self, buffer: &mut [u8], timeout: Duration) -> Result<usize, ProcessError> {
        self.read_by(buffer, deadline(timeout))
    }

    /// Waits for bytes and takes what has arrived, at most `max` bytes, without copying. Empty at the end.
    ///
    /// # Errors
    /// When the process was lost, or the wait was interrupted.
    pub fn receive(&self, max: usize) -> Result<Bytes, ProcessError> {
        self.receive_by(max, None)
    }

    /// As [`Output::receive`], waiting at most this long.
    ///
    /// # Errors
    /// As [`Output::receive`], and when nothing came in time.
    pub fn receive_timeout(&self, max: usize, timeout: Duration) -> Result<Bytes, ProcessError> {
        self.receive_by(max, deadline(timeout))
    }

    /// Waits for bytes, and takes what has arrived up to the next gap, at most `max` bytes: for kept work,
    /// whose output may have gaps. Everything else that reads passes over gaps.
    ///
    /// # Errors
    /// As [`Output::receive`].
    pub fn receive_piece(&self, max: usize) -> Result<Piece, ProcessError> {
        let id = self.shared.id;
        let mut state = self.shared.wait(&Condition::Read(id, self.stream), None)?;
        let process = state.client.process(id).ok_or_else(|| self.shared.hung_up())?;
        let gone = process.missing(self.stream);
        if gone > 0 {
            state.client.gap(id, self.stream);
        } else if process.available(self.stream) == 0 {
            let end = Piece { is_end: true, ..Piece::default() };
            return self.shared.lost(&state).map_or(Ok(end), |lost| Err(lost.into()));
        }
        let bytes = state.client.read(id, self.stream, max.max(1));
        self.shared.handle.hub.flush(state);
        Ok(Piece { gone, bytes, is_end: false })
    }

    /// How many bytes the process had written before the next one that is read.
    #[must_use]
    pub fn position(&self) -> u64 {
        let Ok(state) = self.shared.enter() else { return 0 };
        state.client.process(self.shared.id).map_or(0, |process| process.position(self.stream))
    }

    /// Waits until this program certainly holds the process, and returns how many bytes of this output, from
    /// here on, were written before it did: those that are gone, too. 0 if this program started it.
    ///
    /// # Errors
    /// As [`Output::receive`].
    pub fn old(&self) -> Result<u64, ProcessError> {
        let id = self.shared.id;
        let state = self.shared.wait(&Condition::Held(id), None)?;
        if let Some(lost) = self.shared.lost(&state) {
            return Err(lost.into());
        }
        let process = state.client.process(id).ok_or_else(|| self.shared.hung_up())?;
        Ok(process.old_end(self.stream).saturating_sub(process.position(self.stream)))
    }

    /// Discards what has arrived and what follows. The process finds its end of the pipe closed, unless it is
    /// kept work: others may want that.
    ///
    /// # Errors
    /// Only in a forked child.
    pub fn close(&self) -> Result<(), ProcessError> {
        let mut state = self.shared.enter()?;
        state.client.stop(self.shared.id, self.stream);
        self.shared.handle.hub.leave(state);
        Ok(())
    }

    fn read_by(&self, buffer: &mut [u8], deadline: Option<Instant>) -> Result<usize, ProcessError> {
        let bytes = self.receive_by(buffer.len(), deadline)?;
        buffer[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    pub(crate) fn receive_by(&self, max: usize, deadline: Option<Instant>) -> Result<Bytes, ProcessError> {
        if max == 0 {
            return Ok(Bytes::new());
        }
        let id = self.shared.id;
        let mut state;
        loop {
            state = self.shared.wait(&Condition::Read(id, self.stream), deadline)?;
            let process = state.client.process(id).ok_or_else(|| self.shared.hung_up())?;
            let gone = process.missing(self.stream) > 0;
            if gone {
                state.client.gap(id, self.stream);
            }
            if state.client.process(id).is_some_and(|process| process.available(self.stream) > 0) {
                break;
            }
            if !gone {
                return self.shared.lost(&state).map_or(Ok(Bytes::new()), |lost| Err(lost.into()));
            }
        }
        let bytes = state.client.read(id, self.stream, max);
        self.shared.handle.hub.flush(state);
        Ok(bytes)
    }
}

impl Read for &Output {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(self.read_by(buffer, None)?)
    }
}

impl Read for Output {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }
}
