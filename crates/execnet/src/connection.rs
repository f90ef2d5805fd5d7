//! One connection to the daemon, as all threads share it: what waits to be written, who reads, and why it
//! ended.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use execnet_proto::batch::{Batch, Sink};
use execnet_proto::client::ClientError;

/// One connection.
pub(crate) struct Connection {
    pub(crate) socket: Arc<UnixStream>,
    /// The daemon has sent its greeting.
    pub(crate) greeted: bool,
    pub(crate) out: Batch,
    /// A thread is writing `out`.
    pub(crate) flushing: bool,
    /// The socket is full: the thread that reads continues when there is room.
    pub(crate) blocked: bool,
    /// A thread reads.
    pub(crate) is_read: bool,
    /// How many times a thread has begun to read.
    pub(crate) reads: u64,
    /// Nobody reads: tell the reader thread.
    pub(crate) watched: bool,
    /// Why it ended. The reader thread takes it.
    pub(crate) end: Option<End>,
    /// The last read was a large one, so there is probably more: the next read skips the poll.
    pub(crate) more: bool,
}

/// Why a connection ended.
pub(crate) enum End {
    /// This side closes it.
    Closing,
    /// The daemon, or the operating system, closed it.
    Closed,
    /// The daemon sent no greeting in time.
    Silent,
    /// The daemon broke the protocol.
    Wrong(ClientError),
}

impl Connection {
    pub(crate) fn new(socket: Arc<UnixStream>) -> Self {
        Self {
            socket,
            greeted: false,
            out: Batch::default(),
            flushing: false,
            blocked: false,
            is_read: false,
            reads: 0,
            watched: false,
            end: None,
            more: false,
        }
    }

    /// Whether the socket has to be read and nobody reads it.
    pub(crate) fn wants_reader(&self) -> bool {
        self.greeted && !self.is_read && self.end.is_none()
    }
}

/// Writes until `out` is empty (true) or the socket is full (false).
pub(crate) fn send(socket: &UnixStream, out: &mut Batch) -> io::Result<bool> {
    use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
    #[cfg(not(target_vendor = "apple"))]
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    #[cfg(target_vendor = "apple")]
    let flags = SendFlags::DONTWAIT;
    while !out.is_empty() {
        let (slices, count) = out.slices();
        match sendmsg(socket, &slices[..count], &mut SendAncillaryBuffer::default(), flags) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => out.advance(count),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}
