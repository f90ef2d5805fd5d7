//! The thread of a connection: connects, reads, and connects again.
//!
//! It alone opens and gives up connections. It never blocks on a write and holds the lock only to hand in what it read.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use execnet_proto::client::{ClientError, ClientEvent};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::connect::{ConnectError, Route};
use crate::hub::{Guard, Hub, Line, Start};
use crate::network::Daemon;

/// Bytes that are read at a time.
const READ: usize = 256 * 1024;

/// So many full reads in a row, then it is looked after writing.
const STREAK: u32 = 8;

/// A daemon that does not greet for this long is given up.
const GREETING: Duration = Duration::from_secs(30);

/// The first pause between two attempts to connect, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// See the module's documentation.
pub(crate) struct Reader {
    pub(crate) hub: Arc<Hub>,
    pub(crate) route: Route,
    /// The other end of the hub's waker.
    pub(crate) wake: UnixStream,
    /// How long a daemon may be gone before what runs counts as lost.
    pub(crate) patience: Duration,
    /// Since when there is no daemon.
    pub(crate) since: Instant,
}

/// Why a connection ended.
enum End {
    /// This side wants it.
    Closing,
    /// The daemon, or the kernel, closed it.
    Closed,
    /// The daemon did not greet.
    Silent,
    /// What came makes no sense.
    Wrong(ClientError),
}

impl Reader {
    pub(crate) fn run(self) {
        let hub = self.hub.clone();
        let run = std::panic::AssertUnwindSafe(move || self.work());
        if std::panic::catch_unwind(run).is_err() {
            // a bug; those who wait must not wait for ever
            let mut inner = hub.lock();
            inner.ruin();
            hub.leave(inner);
        }
    }

    fn work(mut self) {
        let mut buffer = vec![0; READ];
        while let Some(socket) = self.connect() {
            let end = self.serve(&socket, &mut buffer);
            let _ = socket.shutdown(std::net::Shutdown::Both);
            self.ended(&end);
        }
    }

    /// Waits until a connection is wanted and open. None when this side is closing.
    fn connect(&mut self) -> Option<Arc<UnixStream>> {
        let mut pause = PAUSE.0;
        let mut busy = None;
        loop {
            let mut inner = self.hub.lock();
            if inner.closing {
                return None;
            }
            let live = inner.has_live();
            if !live && !inner.wanted {
                drop(inner);
                self.rest(None);
                continue;
            }
            inner.wanted = false;
            drop(inner);
            match self.route.open() {
                Ok(socket) => return Some(self.opened(socket)),
                Err(ConnectError::Silent { .. })
                    if busy.get_or_insert_with(Instant::now).elapsed() < GREETING =>
                {
                    self.hub.lock().wanted = true;
                    self.rest(Some(PAUSE.0));
                }
                Err(error) => {
                    busy = None;
                    let why = error.to_string();
                    self.attempted(self.hub.lock(), error);
                    if live && self.since.elapsed() >= self.patience {
                        let seconds = self.patience.as_secs();
                        self.give_up(&format!("the network's daemon was gone for {seconds} s: {why}"));
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
        let mut inner = self.hub.lock();
        inner.line = Some(Line::new(socket.clone()));
        inner.client.connected(self.hub.now());
        self.hub.leave(inner);
        socket
    }

    /// Reads until the connection ends.
    fn serve(&mut self, socket: &UnixStream, buffer: &mut [u8]) -> End {
        let opened = Instant::now();
        let mut greeted = false;
        // after a full read there is probably more: then the poll is spared
        let mut more = 0;
        loop {
            if more == 0 {
                let inner = self.hub.lock();
                if inner.closing {
                    return End::Closing;
                }
                let blocked = inner.line.as_ref().is_some_and(|line| line.blocked);
                drop(inner);
                let patience = (!greeted).then(|| GREETING.saturating_sub(opened.elapsed()));
                if patience.is_some_and(|left| left.is_zero()) {
                    return End::Silent;
                }
                if self.poll(socket, blocked, patience) {
                    let mut inner = self.hub.lock();
                    if let Some(line) = &mut inner.line {
                        line.blocked = false;
                    }
                    self.hub.flush(inner);
                }
            }
            let count = match (&*socket).read(buffer) {
                Ok(0) => return End::Closed,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    more = 0;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return End::Closed,
            };
            let mut inner = self.hub.lock();
            let handled = inner.client.handle(&buffer[..count], self.hub.now());
            if take_events(&mut inner) {
                greeted = true;
                self.since = Instant::now();
            }
            self.hub.leave(inner);
            if let Err(error) = handled {
                return End::Wrong(error);
            }
            more = if count > buffer.len() / 2 && more < STREAK { more + 1 } else { 0 };
        }
    }

    /// The connection is over: what waits for replies or a place fails, what runs waits for the next one.
    fn ended(&mut self, end: &End) {
        let mut inner = self.hub.lock();
        let greeted = inner.line.take().is_some_and(|line| line.greeted);
        if greeted {
            self.since = Instant::now();
        }
        inner.client.disconnected();
        inner.fail_waiting();
        if let End::Wrong(error) = end {
            // another daemon of this kind would say the same
            inner.client.lose_all(&error.to_string());
        }
        if greeted {
            self.hub.leave(inner);
        } else {
            self.attempted(inner, self.why(end));
        }
        // one that greets and closes must not keep us busy
        if !matches!(end, End::Closing) {
            self.rest(Some(PAUSE.0));
        }
    }

    /// What the end of a connection without a greeting means.
    fn why(&self, end: &End) -> ConnectError {
        match end {
            End::Wrong(error) => self.route.wrong(error),
            End::Silent => ConnectError::Silent { network: self.route.network() },
            End::Closed | End::Closing => ConnectError::Closed { network: self.route.network() },
        }
    }

    fn attempted(&self, mut inner: Guard<'_>, error: ConnectError) {
        inner.attempts += 1;
        inner.failure = Some(error);
        self.hub.leave(inner);
    }

    fn give_up(&self, message: &str) {
        let mut inner = self.hub.lock();
        inner.client.lose_all(message);
        self.hub.leave(inner);
    }

    /// Waits until the socket can be read, or written if that is wanted (true), or the hub wakes this thread.
    fn poll(&self, socket: &UnixStream, write: bool, patience: Option<Duration>) -> bool {
        let wanted = if write { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        let mut fds = [PollFd::new(socket, wanted), PollFd::new(&self.wake, PollFlags::IN)];
        let patience = patience.and_then(|patience| Timespec::try_from(patience).ok());
        // interrupted by a signal: the caller comes again
        let _ = poll(&mut fds, patience.as_ref());
        let writable = write && fds[0].revents().intersects(PollFlags::OUT | PollFlags::HUP | PollFlags::ERR);
        if !fds[1].revents().is_empty() {
            self.drain();
        }
        writable
    }

    /// Sleeps until the hub wakes this thread.
    fn rest(&self, most: Option<Duration>) {
        let mut fds = [PollFd::new(&self.wake, PollFlags::IN)];
        let most = most.and_then(|most| Timespec::try_from(most).ok());
        if poll(&mut fds, most.as_ref()).is_ok_and(|ready| ready > 0) {
            self.drain();
        }
    }

    fn drain(&self) {
        let mut bytes = [0; 64];
        while (&self.wake).read(&mut bytes).is_ok_and(|count| count == bytes.len()) {}
    }
}

/// Acts on what the state machine says; true if the daemon greeted.
fn take_events(inner: &mut Guard<'_>) -> bool {
    let mut greeted = false;
    while let Some(event) = inner.client.poll_event() {
        match event {
            ClientEvent::Greeted { pid, release, network } => {
                greeted = true;
                inner.daemon = Some(Daemon { pid, release, network });
                inner.attempts += 1;
                inner.failure = None;
                if let Some(line) = &mut inner.line {
                    line.greeted = true;
                }
            }
            // launched at once, so that the thread that waits is not on the way
            ClientEvent::Placed(id) => match inner.starts.remove(&id) {
                Some(Start::Selecting(mut launch, local)) => {
                    let place = inner.client.placement(id);
                    let is_local =
                        place.is_some_and(|place| place.facts.iter().any(|(key, _)| key == "local"));
                    if is_local && launch.chdir.is_empty() {
                        launch.chdir = local;
                    }
                    inner.client.launch(id, launch);
                    inner.starts.insert(id, Start::Launched);
                }
                _ => inner.client.release(id),
            },
            ClientEvent::Refused(id, refusal, message) => {
                if let Some(Start::Selecting(..)) = inner.starts.remove(&id) {
                    inner.starts.insert(id, Start::Refused(refusal, message));
                }
            }
            ClientEvent::Reply { request, last, json } => inner.file(request, last, json),
        }
    }
    greeted
}
