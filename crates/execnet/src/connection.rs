//! One connection to the daemon, as all threads share it: what is to be written, who leads, and why it ended.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use execnet_proto::batch::{Batch, Sink};
use execnet_proto::client::ClientError;

/// One connection.
pub(crate) struct Connection {
    pub(crate) socket: Arc<UnixStream>,
    /// The daemon has greeted.
    pub(crate) greeted: bool,
    pub(crate) out: Batch,
    /// Somebody is writing it.
    pub(crate) flushing: bool,
    /// The socket took no more: the leader goes on when it does.
    pub(crate) blocked: bool,
    /// Somebody leads.
    pub(crate) is_read: bool,
    /// How many times somebody has begun to lead.
    pub(crate) reads: u64,
    /// The reader thread wants to know when nobody leads.
    pub(crate) watched: bool,
    /// Why it ended, for the reader thread.
    pub(crate) end: Option<End>,
    /// The last read was a large one: then there is probably more, and the poll is spared.
    pub(crate) more: bool,
}

/// Why a connection ended.
pub(crate) enum End {
    /// This side wants it.
    Closing,
    /// The daemon, or the kernel, closed it.
    Closed,
    /// The daemon did not greet.
    Silent,
    /// What came makes no sense.
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

    /// Whether nobody reads it who should.
    pub(crate) fn wants_reader(&self) -> bool {
        self.greeted && !self.is_read && self.end.is_none()
    }
}

/// Writes until `out` is empty (true) or the socket takes no more.
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
