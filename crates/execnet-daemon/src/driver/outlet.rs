//! The writing half of a peer: a client's socket, or the stdin of a link's process. Never waits.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use execnet_proto::batch::{Batch, Sink};
use tokio::net::unix::pipe;
use tokio::sync::Notify;

/// The result of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// Everything was taken.
    All,
    /// The rest waits until the peer can take more.
    Part,
    /// The peer takes nothing any more.
    Nothing,
}

/// Where a peer's bytes go, with the rest that it did not take yet.
pub(super) struct Outlet {
    /// Does not block. It is polled only while it is full: otherwise we would wake up for every byte the peer
    /// takes.
    sink: RefCell<Option<Rc<OwnedFd>>>,
    rest: RefCell<Batch>,
    blocked: Cell<bool>,
    /// It became blocked or closed.
    changed: Notify,
}

impl Outlet {
    pub(super) fn new(sink: OwnedFd) -> Self {
        Self {
            sink: RefCell::new(Some(Rc::new(sink))),
            rest: RefCell::default(),
            blocked: Cell::new(false),
            changed: Notify::new(),
        }
    }

    /// Writes what an earlier write left over.
    pub(super) fn flush(&self) -> Written {
        if self.blocked.get() {
            return Written::Part;
        }
        let mut rest = self.rest.borrow_mut();
        while !rest.is_empty() {
            match self.try_write(&rest) {
                Ok(length) => rest.advance(length),
                Err(written) => return written,
            }
        }
        *rest = Batch::default();
        if self.sink.borrow().is_some() { Written::All } else { Written::Nothing }
    }

    /// Writes a batch when nothing is left over from before. Keeps what is not taken.
    pub(super) fn write(&self, batch: &mut Batch) -> Written {
        while !batch.is_empty() {
            match self.try_write(batch) {
                Ok(length) => batch.advance(length),
                Err(written) => {
                    *self.rest.borrow_mut() = std::mem::take(batch);
                    return written;
                }
            }
        }
        Written::All
    }

    /// Whether nothing is left over from before, and the peer may take something.
    pub(super) fn is_idle(&self) -> bool {
        !self.blocked.get() && !self.is_closed() && self.rest.borrow().is_empty()
    }

    /// Writes a few bytes while it is idle. Keeps what is not taken.
    pub(super) fn write_short(&self, bytes: &[u8]) {
        let written = self.sink.borrow().as_deref().map(|fd| rustix::io::write(fd, bytes));
        let length = written.and_then(Result::ok).unwrap_or(0);
        if length < bytes.len() {
            // what went wrong shows when it is written again
            self.rest.borrow_mut().tail().extend_from_slice(&bytes[length..]);
            self.flush();
        }
    }

    /// Treats the peer as blocked until its task has had another turn.
    pub(super) fn hold(&self) {
        self.blocked.set(true);
        self.changed.notify_one();
    }

    /// Whether the peer has to read before it can be written to.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.get()
    }

    /// Ends writing.
    pub(super) fn close(&self) {
        self.sink.borrow_mut().take();
        self.blocked.set(false);
        self.changed.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sink.borrow().is_none()
    }

    /// The file written to, until it is closed.
    pub(super) fn sink(&self) -> Option<Rc<OwnedFd>> {
        self.sink.borrow().clone()
    }

    /// Resolves when it became blocked or closed.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Resolves when the peer may take something again.
    pub(super) async fn writable(&self) {
        let Some(sink) = self.sink.borrow().clone() else { return };
        // an error of the peer shows at the next write
        if let Ok(sink) = sink.try_clone().and_then(pipe::Sender::from_owned_fd_unchecked) {
            let _ = sink.writable().await;
        }
        self.blocked.set(false);
    }

    fn try_write(&self, batch: &Batch) -> Result<usize, Written> {
        let sink = self.sink.borrow();
        let (slices, count) = batch.slices();
        let written = match sink.as_deref() {
            Some(fd) => rustix::io::writev(fd, &slices[..count]).map_err(io::Error::from),
            None => return Err(Written::Nothing),
        };
        match written {
            Ok(length) => Ok(length),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.blocked.set(true);
                self.changed.notify_one();
                Err(Written::Part)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(_) => {
                drop(sink);
                self.sink.borrow_mut().take();
                Err(Written::Nothing)
            }
        }
    }
}
