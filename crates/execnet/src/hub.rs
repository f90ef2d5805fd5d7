//! What all threads of a connection share: the protocol's state machine behind one lock, reading and writing.
//!
//! Whoever leaves new output writes the socket itself, outside the lock, unless somebody is writing already, who then takes it along; so
//! a small message costs no other thread on its way out. Writing never blocks: what the socket does not take is left to whoever reads it.
//!
//! A hub is a [`Room`]: a thread that waits reads the socket itself, so a message which it waits for costs no other thread on its way in. Whoever is
//! woken by the thread that reads is the next to read. The reader thread (`reader.rs`) reads while nobody waits; it also owns connecting.

mod outages;
mod state;

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar};
use std::time::{Duration, Instant};

use execnet_proto::batch::Sink;
use execnet_proto::client::Client;
use rustix::event::{PollFd, PollFlags};

use crate::line::{End, Line, send};
use crate::waiting::{self, Base, Halt, Interrupt, Room, Seat, Sleeps, Turn, Waiters, Waker, left};
pub use state::Daemon;
pub(crate) use state::{Inbox, Inner, Over, Seen, Start, What};

/// Bytes that are read at a time.
const READ: usize = 256 * 1024;

/// Bytes that are handed to the socket at a time.
const WRITE: usize = 128 * 1024;

/// See the module's documentation.
pub(crate) struct Hub {
    base: Base<Hub>,
    /// Makes the reader thread look around.
    waker: Arc<Waker>,
    /// Makes the thread that reads look around.
    poker: Arc<Waker>,
    started: Instant,
    /// The thread that looks after hosts that are away sleeps here.
    pub(crate) lookout: Condvar,
}

/// The lock, held.
pub(crate) type Guard<'a> = waiting::Guard<'a, Hub>;

impl Room for Hub {
    type State = Inner;
    type Condition = What;

    fn base(&self) -> &Base<Self> {
        &self.base
    }

    fn waiters(inner: &mut Inner) -> &mut Waiters<What> {
        &mut inner.waiters
    }

    fn is_met(inner: &Inner, what: &What) -> bool {
        inner.is_ready(what)
    }

    fn wants_reader(inner: &Inner) -> bool {
        inner.line.as_ref().is_some_and(Line::wants_leader)
    }

    fn read<'a>(
        &'a self,
        inner: Guard<'a>,
        seat: &Seat<What>,
        deadline: Option<Instant>,
    ) -> (Guard<'a>, Turn) {
        let place: Arc<dyn Sleeps> = self.poker.clone();
        let _asleep = seat.thread().enter(Arc::downgrade(&place));
        if seat.thread().clear() {
            return (inner, Turn::Stop(Halt::Interrupted));
        }
        let left = left(deadline);
        if left.is_some_and(|left| left.is_zero()) {
            return (inner, Turn::Stop(Halt::TimedOut));
        }
        let (inner, woken) = self.lead(inner, left, Some(seat.number));
        // a thread that has just been woken by this one leads better
        (inner, if woken { Turn::Sleep } else { Turn::Read })
    }

    fn disturb(&self, _: &Interrupt) {
        self.poker.wake();
    }
}

impl Hub {
    pub(crate) fn new(client: Client) -> io::Result<Arc<Self>> {
        let (waker, poker) = (Arc::new(Waker::new()?), Arc::new(Waker::new()?));
        Ok(Arc::new_cyclic(|me| Self {
            base: Base::new(me.clone(), Inner::new(client)),
            waker,
            poker,
            started: Instant::now(),
            lookout: Condvar::new(),
        }))
    }

    /// Itself, for a thread of its own.
    pub(crate) fn me(&self) -> Option<Arc<Self>> {
        self.base.me.upgrade()
    }

    /// What the reader thread polls.
    pub(crate) fn waker(&self) -> Arc<Waker> {
        self.waker.clone()
    }

    /// Time as the protocol's state machine counts it.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Makes the reader thread look around.
    pub(crate) fn wake_reader(&self) {
        self.waker.wake();
        // it may lead
        self.poker.wake();
    }

    /// Waits for the socket, reads it once, and acts on what came; says whether that woke somebody but `me`. Returns also for no reason.
    pub(crate) fn lead<'a>(
        &'a self,
        mut inner: Guard<'a>,
        patience: Option<Duration>,
        me: Option<u64>,
    ) -> (Guard<'a>, bool) {
        let Inner { line: Some(line), buffer, .. } = &mut *inner else { return (inner, false) };
        line.led = true;
        line.leads += 1;
        let (blocked, more) = (line.blocked, line.more);
        let socket = line.socket.clone();
        let mut buffer = std::mem::take(buffer);
        drop(inner);

        if buffer.is_empty() {
            // zeroed by the system, page by page as they are used
            buffer = vec![0; READ];
        }
        let writable = !more && self.poll(&socket, blocked, patience);
        let read = loop {
            match (&*socket).read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        inner = self.lock();

        let Inner { line: Some(line), client, lookout, .. } = &mut *inner else { return (inner, false) };
        if !Arc::ptr_eq(&line.socket, &socket) {
            return (inner, false);
        }
        line.led = false;
        line.more = false;
        if writable {
            line.blocked = false;
        }
        match read {
            Ok(0) => line.end = Some(End::Closed),
            Ok(count) => {
                line.more = count > READ / 2;
                lookout.hears(client);
                let handle = || client.handle(&buffer[..count], self.now());
                match std::panic::catch_unwind(std::panic::AssertUnwindSafe(handle)) {
                    Ok(handled) => line.end = handled.err().map(End::Wrong),
                    // a bug; those who wait must not wait for ever
                    Err(_) => inner.ruin(),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => line.end = Some(End::Closed),
        }
        inner.buffer = buffer;
        inner.take_events();
        self.look_out(&mut inner);
        if inner.line.as_mut().is_none_or(|line| std::mem::take(&mut line.watched) || line.end.is_some()) {
            self.waker.wake();
        }
        let alarms = self.met(&mut inner, me);
        alarms.iter().for_each(|alarm| alarm.ring());
        self.flush(inner);
        (self.lock(), !alarms.is_empty())
    }

    /// Waits until the socket can be read, or written if that is wanted (true), or somebody pokes the leader.
    fn poll(&self, socket: &UnixStream, write: bool, patience: Option<Duration>) -> bool {
        let wanted = if write { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        let mut fds = [PollFd::new(socket, wanted), self.poker.poll_fd()];
        // interrupted by a signal: the caller comes again
        let _ = waiting::poll(&mut fds, patience);
        if !fds[1].revents().is_empty() {
            self.poker.drain();
        }
        write && fds[0].revents().intersects(PollFlags::OUT | PollFlags::HUP | PollFlags::ERR)
    }

    /// Lets go of the lock: wakes those who wait for what is there now, and writes what is to be written.
    pub(crate) fn leave(&self, mut inner: Guard<'_>) {
        let alarms = self.met(&mut inner, None);
        if alarms.is_empty() {
            self.flush(inner);
        } else {
            drop(inner);
            alarms.iter().for_each(|alarm| alarm.ring());
            self.flush(self.lock());
        }
    }

    /// Writes what is to be written, unless somebody is at it.
    pub(crate) fn flush<'a>(&'a self, mut inner: Guard<'a>) {
        loop {
            let Inner { client, line: Some(line), .. } = &mut *inner else { return };
            if line.flushing || line.blocked {
                return;
            }
            if line.out.is_empty() {
                client.transmit(&mut line.out, WRITE, self.now());
                if line.out.is_empty() {
                    return;
                }
            }
            line.flushing = true;
            let mut out = std::mem::take(&mut line.out);
            let socket = line.socket.clone();
            drop(inner);
            let sent = send(&socket, &mut out);
            inner = self.lock();
            let Some(line) = inner.line.as_mut().filter(|line| Arc::ptr_eq(&line.socket, &socket)) else {
                return;
            };
            line.flushing = false;
            line.out = out;
            match sent {
                Ok(true) => {}
                Ok(false) => {
                    line.blocked = true;
                    self.wake_reader();
                    return;
                }
                Err(_) => {
                    // the leader finds it closed
                    line.blocked = true;
                    let _ = socket.shutdown(std::net::Shutdown::Both);
                    return;
                }
            }
        }
    }
}
