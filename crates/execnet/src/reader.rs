//! The thread of a connection: it connects, reads while nobody else does, and reconnects.
//!
//! No other thread opens connections or gives them up. While waiting threads read (see `hub.rs`), it checks
//! every few milliseconds whether one still does, or sleeps until none does.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::connection::{Connection, End};
use crate::hub::{Guard, Hub, HubState};
use crate::route::{ConnectError, Route};
use crate::waiting::{Room, Waker, poll};

/// How long a daemon may take to send its greeting.
const GREETING: Duration = Duration::from_secs(30);

/// How long a removed socket is waited for: the daemon looks every 5 s, and makes it again.
const SOCKET_AGAIN: Duration = Duration::from_secs(7);

/// This thread reads once nobody has read for this long.
const STANDBY: Duration = Duration::from_millis(5);

/// The first pause between two attempts to connect, and the longest one.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// How often to look for the socket of a daemon that has lost it.
const LOOK: Duration = Duration::from_millis(50);

/// See the module's documentation.
pub(crate) struct Reader {
    pub(crate) hub: Arc<Hub>,
    pub(crate) route: Route,
    /// The hub's.
    pub(crate) waker: Arc<Waker>,
    /// How long a daemon may be gone before running processes count as lost.
    pub(crate) patience: Duration,
    /// Since when there has been no daemon.
    pub(crate) since: Instant,
}

impl Reader {
    pub(crate) fn run(self) {
        let hub = self.hub.clone();
        let run = std::panic::AssertUnwindSafe(move || self.work());
        if std::panic::catch_unwind(run).is_err() {
            // a bug; fail the waits instead of letting them hang
            let mut state = hub.lock();
            state.ruin();
            hub.leave(state);
        }
    }

    fn work(mut self) {
        while let Some(socket) = self.connect() {
            let end = self.serve();
            let _ = socket.shutdown(std::net::Shutdown::Both);
            self.ended(&end);
        }
    }

    /// Waits until a connection is wanted, and opens it. None when this side closes.
    fn connect(&mut self) -> Option<Arc<UnixStream>> {
        let mut pause = PAUSE.0;
        let mut busy = None;
        let mut hidden = None;
        loop {
            let mut state = self.hub.lock();
            if state.closing {
                return None;
            }
            let live = state.has_live();
            if !live && !state.wanted {
                drop(state);
                self.rest(None);
                continue;
            }
            state.wanted = false;
            drop(state);
            match self.route.open() {
                Ok(socket) => return Some(self.opened(socket)),
                Err(ConnectError::Silent { .. })
                    if busy.get_or_insert_with(Instant::now).elapsed() < GREETING =>
                {
                    self.hub.lock().wanted = true;
                    self.rest(Some(PAUSE.0));
                }
                Err(mut error) => {
                    if let ConnectError::NotRunning { .. } = error
                        && let Some(daemon) = self.route.hidden_daemon()
                    {
                        if hidden.get_or_insert_with(Instant::now).elapsed() < SOCKET_AGAIN {
                            self.hub.lock().wanted = true;
                            self.rest(Some(LOOK));
                            continue;
                        }
                        error = self.route.no_socket(daemon);
                    }
                    (busy, hidden) = (None, None);
                    let why = error.to_string();
                    self.attempted(self.hub.lock(), error);
                    if live && self.since.elapsed() >= self.patience {
                        let seconds = self.patience.as_secs();
                        self.give_up(&match self.route {
                            Route::Over(_) => {
                                "this program's own daemon, through which its host was reached, has ended"
                                    .to_owned()
                            }
                            _ => format!("the network's daemon was gone for {seconds} s: {why}"),
                        });
                    } else if live {
                        self.rest(Some(pause));
                        pause = (pause * 2).min(PAUSE.1);
                    }
                }
            }
        }
    }

    fn opened(&self, socket: UnixStream) -> Arc<UnixStream> {
        let socket = Arc::new(socket);
        let mut state = self.hub.lock();
        state.connection = Some(Connection::new(socket.clone()));
        state.client.connected(self.hub.now());
        self.hub.leave(state);
        socket
    }

    /// Ensures that somebody reads, until the connection ends.
    fn serve(&mut self) -> End {
        let opened = Instant::now();
        let mut greeted = false;
        let mut seen = 0;
        loop {
            let mut state = self.hub.lock();
            if state.closing {
                return End::Closing;
            }
            let Some(connection) = &mut state.connection else { return End::Closed };
            if let Some(end) = connection.end.take() {
                return end;
            }
            if connection.greeted && !greeted {
                greeted = true;
                self.since = Instant::now();
            }
            let mut patience = (!greeted).then(|| GREETING.saturating_sub(opened.elapsed()));
            if patience.is_some_and(|left| left.is_zero()) {
                return End::Silent;
            }
            // silence matters only while something waits for the daemon
            if greeted && !state.lookout.is_silent() && state.has_live() {
                let now = self.hub.now();
                patience = state.client.deadline().map(|due| due.saturating_sub(now));
                if patience.is_some_and(|left| left.is_zero()) {
                    if !state.client.tick(now) {
                        let HubState { lookout, client, .. } = &mut *state;
                        lookout.hears_nothing(client);
                        self.hub.look_out(&mut state);
                    }
                    self.hub.leave(state);
                    continue;
                }
            }
            let Some(connection) = &mut state.connection else { return End::Closed };
            let busy = std::mem::replace(&mut seen, connection.reads) != connection.reads;
            if connection.is_read && !busy {
                connection.watched = true;
                drop(state);
                self.rest(patience.filter(|_| greeted));
            } else if connection.is_read || busy && !connection.blocked {
                drop(state);
                self.rest(Some(STANDBY));
            } else {
                let (state, woken) = self.hub.read_socket(state, patience, None);
                // the woken thread may want to read: count it as a reader
                seen = state
                    .connection
                    .as_ref()
                    .map_or(0, |connection| connection.reads.wrapping_sub(u64::from(woken)));
                drop(state);
            }
        }
    }

    /// The connection has ended: pending replies and placements fail, running processes wait for the next
    /// connection.
    fn ended(&mut self, end: &End) {
        let mut state = self.hub.lock();
        let greeted = state.connection.take().is_some_and(|connection| connection.greeted);
        if greeted {
            self.since = Instant::now();
        }
        state.client.disconnected();
        let HubState { lookout, client, .. } = &mut *state;
        lookout.hears(client);
        state.fail_waiting();
        if let End::Wrong(error) = end {
            // another daemon of this kind would answer the same
            state.client.lose_all(&error.to_string());
        }
        state.take_events();
        self.hub.look_out(&mut state);
        if greeted {
            self.hub.leave(state);
        } else {
            self.attempted(state, self.why(end));
        }
        // a daemon that greets and closes must not keep us busy
        if !matches!(end, End::Closing) {
            self.rest(Some(PAUSE.0));
        }
    }

    /// What it means that a connection ended without a greeting.
    fn why(&self, end: &End) -> ConnectError {
        match end {
            End::Wrong(error) => self.route.wrong(error),
            End::Silent => ConnectError::Silent { network: self.route.network() },
            End::Closed | End::Closing => ConnectError::Closed { network: self.route.network() },
        }
    }

    fn attempted(&self, mut state: Guard<'_>, error: ConnectError) {
        state.attempts += 1;
        state.failure = Some(error);
        self.hub.leave(state);
    }

    fn give_up(&self, message: &str) {
        let mut state = self.hub.lock();
        state.client.lose_all(message);
        state.take_events();
        self.hub.look_out(&mut state);
        self.hub.leave(state);
    }

    /// Sleeps until the hub wakes this thread.
    fn rest(&self, most: Option<Duration>) {
        if poll(&mut [self.waker.poll_fd()], most).is_ok_and(|ready| ready > 0) {
            self.waker.drain();
        }
    }
}
