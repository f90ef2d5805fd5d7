//! What all threads of a connection share: the protocol's state machine behind one lock, and how they read
//! and write the socket.
//!
//! A thread that produces output writes it to the socket itself, outside the lock. If another thread is
//! already writing, that thread takes the output along. So sending a small message wakes no other thread.
//! Writing never blocks: what does not fit into the socket is left to the thread that reads.
//!
//! A hub is a [`Room`]: a thread that waits reads the socket itself, so receiving a message wakes no other
//! thread. A thread that is woken by the one that reads becomes the next reader. The reader thread
//! (`reader.rs`) reads while nobody waits; it also opens connections.

mod outages;
mod state;

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar};
use std::time::{Duration, Instant};

use execnet_proto::batch::Sink;
use execnet_proto::client::Client;
use rustix::event::{PollFd, PollFlags};

use crate::connection::{Connection, End, send};
use crate::waiting::{self, Base, Halt, Interrupt, Room, Seat, Sleeps, Turn, Waiters, Waker, left};
pub use state::Daemon;
pub(crate) use state::{Condition, HubState, Inbox, Over, Placing, Seen, Watched};

/// The size of a read, in bytes.
const READ: usize = 256 * 1024;

/// How much is passed to the socket at a time, in bytes.
const WRITE: usize = 128 * 1024;

/// See the module's documentation.
pub(crate) struct Hub {
    base: Base<Hub>,
    /// Wakes the reader thread.
    waker: Arc<Waker>,
    /// Wakes the thread that reads.
    poker: Arc<Waker>,
    started: Instant,
    /// The thread that watches unreachable hosts sleeps here.
    pub(crate) lookout: Condvar,
}

/// The lock, held.
pub(crate) type Guard<'a> = waiting::Guard<'a, Hub>;

impl Room for Hub {
    type State = HubState;
    type Condition = Condition;

    fn base(&self) -> &Base<Self> {
        &self.base
    }

    fn waiters(state: &mut HubState) -> &mut Waiters<Condition> {
        &mut state.waiters
    }

    fn is_met(state: &HubState, condition: &Condition) -> bool {
        state.is_ready(condition)
    }

    fn wants_reader(state: &HubState) -> bool {
        state.connection.as_ref().is_some_and(Connection::wants_reader)
    }

    fn read<'a>(
        &'a self,
        state: Guard<'a>,
        seat: &Seat<Condition>,
        deadline: Option<Instant>,
    ) -> (Guard<'a>, Turn) {
        let place: Arc<dyn Sleeps> = self.poker.clone();
        let _asleep = seat.thread().enter(Arc::downgrade(&place));
        if seat.thread().clear() {
            return (state, Turn::Stop(Halt::Interrupted));
        }
        let left = left(deadline);
        if left.is_some_and(|left| left.is_zero()) {
            return (state, Turn::Stop(Halt::TimedOut));
        }
        let (state, woken) = self.read_socket(state, left, Some(seat.number));
        // the thread that was just woken is the better reader
        (state, if woken { Turn::Sleep } else { Turn::Read })
    }

    fn disturb(&self, _: &Interrupt) {
        self.poker.wake();
    }
}

impl Hub {
    pub(crate) fn new(client: Client) -> io::Result<Arc<Self>> {
        let (waker, poker) = (Arc::new(Waker::new()?), Arc::new(Waker::new()?));
        Ok(Arc::new_cyclic(|me| Self {
            base: Base::new(me.clone(), HubState::new(client)),
            waker,
            poker,
            started: Instant::now(),
            lookout: Condvar::new(),
        }))
    }

    /// For threads that own the hub.
    pub(crate) fn me(&self) -> Option<Arc<Self>> {
        self.base.me.upgrade()
    }

    /// What the reader thread polls.
    pub(crate) fn waker(&self) -> Arc<Waker> {
        self.waker.clone()
    }

    /// The time, as the protocol's state machine counts it.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Wakes the reader thread.
    pub(crate) fn wake_reader(&self) {
        self.waker.wake();
        // it may be the one that reads
        self.poker.wake();
    }

    /// Waits for the socket, reads it once, and processes what arrived. Returns whether that woke a thread
    /// other than `me`. May return early.
    pub(crate) fn read_socket<'a>(
        &'a self,
        mut state: Guard<'a>,
        patience: Option<Duration>,
        me: Option<u64>,
    ) -> (Guard<'a>, bool) {
        let HubState { connection: Some(connection), buffer, .. } = &mut *state else {
            return (state, false);
        };
        connection.is_read = true;
        connection.reads += 1;
        let (blocked, more) = (connection.blocked, connection.more);
        let socket = connection.socket.clone();
        let mut buffer = std::mem::take(buffer);
        drop(state);

        if buffer.is_empty() {
            // the system zeroes it page by page, on first use
            buffer = vec![0; READ];
        }
        let writable = !more && self.poll(&socket, blocked, patience);
        let read = loop {
            match (&*socket).read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        state = self.lock();

        let HubState { connection: Some(connection), client, lookout, .. } = &mut *state else {
            return (state, false);
        };
        if !Arc::ptr_eq(&connection.socket, &socket) {
            return (state, false);
        }
        connection.is_read = false;
        connection.more = false;
        if writable {
            connection.blocked = false;
        }
        match read {
            Ok(0) => connection.end = Some(End::Closed),
            Ok(count) => {
                connection.more = count > READ / 2;
                lookout.hears(client);
                let handle = || client.handle(&buffer[..count], self.now());
                match std::panic::catch_unwind(std::panic::AssertUnwindSafe(handle)) {
                    Ok(handled) => connection.end = handled.err().map(End::Wrong),
                    // a bug; fail the waits instead of letting them hang
                    Err(_) => state.ruin(),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => connection.end = Some(End::Closed),
        }
        state.buffer = buffer;
        state.take_events();
        self.look_out(&mut state);
        if state
            .connection
            .as_mut()
            .is_none_or(|connection| std::mem::take(&mut connection.watched) || connection.end.is_some())
        {
            self.waker.wake();
        }
        let alarms = self.met(&mut state, me);
        alarms.iter().for_each(|alarm| alarm.ring());
        self.flush(state);
        (self.lock(), !alarms.is_empty())
    }

    /// Waits until the socket can be read or the poker is called; with `write`, also until it can be written,
    /// and returns whether it can.
    fn poll(&self, socket: &UnixStream, write: bool, patience: Option<Duration>) -> bool {
        let wanted = if write { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        let mut fds = [PollFd::new(socket, wanted), self.poker.poll_fd()];
        // a signal may interrupt it: the caller retries
        let _ = waiting::poll(&mut fds, patience);
        if !fds[1].revents().is_empty() {
            self.poker.drain();
        }
        write && fds[0].revents().intersects(PollFlags::OUT | PollFlags::HUP | PollFlags::ERR)
    }

    /// Releases the lock: wakes the threads whose conditions are met, and writes pending output.
    pub(crate) fn leave(&self, mut state: Guard<'_>) {
        let alarms = self.met(&mut state, None);
        if alarms.is_empty() {
            self.flush(state);
        } else {
            drop(state);
            alarms.iter().for_each(|alarm| alarm.ring());
            self.flush(self.lock());
        }
    }

    /// Writes pending output, unless another thread is at it.
    pub(crate) fn flush<'a>(&'a self, mut state: Guard<'a>) {
        loop {
            let HubState { client, connection: Some(connection), .. } = &mut *state else { return };
            if connection.flushing || connection.blocked {
                return;
            }
            if connection.out.is_empty() {
                client.transmit(&mut connection.out, WRITE, self.now());
                if connection.out.is_empty() {
                    return;
                }
            }
            connection.flushing = true;
            let mut out = std::mem::take(&mut connection.out);
            let socket = connection.socket.clone();
            drop(state);
            let sent = send(&socket, &mut out);
            state = self.lock();
            let Some(connection) =
                state.connection.as_mut().filter(|connection| Arc::ptr_eq(&connection.socket, &socket))
            else {
                return;
            };
            connection.flushing = false;
            connection.out = out;
            match sent {
                Ok(true) => {}
                Ok(false) => {
                    connection.blocked = true;
                    self.wake_reader();
                    return;
                }
                Err(_) => {
                    // the thread that reads finds it closed
                    connection.blocked = true;
                    let _ = socket.shutdown(std::net::Shutdown::Both);
                    return;
                }
            }
        }
    }
}
