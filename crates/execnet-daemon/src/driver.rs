//! The daemon's IO: one thread, one task per peer. Every event goes through [`Daemon::handle`], one at a
//! time.
//!
//! A peer's task waits until its socket or pipe is readable, passes what came to the daemon at once, carries
//! out the daemon's actions, and writes what the switch has for whom. There is no queue in between: what a
//! peer cannot take waits in the switch, except for the rest of one write of about 256 KiB.

mod cipher;
mod client;
pub(crate) mod folders;
mod link;
pub(crate) mod log;
pub(crate) mod meeting;
pub(crate) mod memory;
mod outlet;
mod ssh_config;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use execnet_proto::batch::{Batch, Sink};
use execnet_proto::switch::{ClientKey, HostKey, Peer};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::unix::pipe;
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use crate::Forget;
use crate::daemon::Daemon;
use crate::error::DaemonError;
use crate::event::{Action, Event};
use crate::quota::Quota;
use link::LinkHandle;
use meeting::{Kept, Meeting};
use outlet::{Outlet, Written};
use ssh_config::SshConfig;

/// Bytes per read.
const READ: usize = 262_144;

/// A read of this many bytes may not have emptied the pipe: other peers go first. After a shorter one the
/// task waits for the pipe anyway.
const MUCH: usize = 16_384;

/// How many writes of [`WRITE`] bytes a peer gets in a row, if it takes them as fast.
const WRITES: usize = 4;

/// About how many bytes to take from the switch at a time, so that turns stay fair.
const WRITE: usize = 262_144;

/// How often the daemon checks that its socket is still there.
const CHECK_SOCKET: Duration = Duration::from_secs(5);

/// How long clients and processes get after the daemon's last word.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The daemon and everything it talks to.
pub(crate) struct Driver {
    daemon: RefCell<Daemon>,
    clients: RefCell<HashMap<ClientKey, Rc<Outlet>>>,
    links: RefCell<HashMap<HostKey, Rc<LinkHandle>>>,
    ssh_config: SshConfig,
    /// The bytes of the last read; only used between two waits.
    input: RefCell<Box<[u8]>>,
    output: RefCell<Batch>,
    started: Instant,
    /// The time of the next tick may have changed.
    rescheduled: Notify,
    exiting: Cell<bool>,
    /// How many links are over whose processes left something to end.
    sweeps: Cell<usize>,
    /// A client or a link is gone.
    gone: Notify,
    last_client: Cell<u64>,
    /// How much the log may still say about refused clients.
    quota: RefCell<Quota>,
    is_private: bool,
    /// The network's file, and what takes a host out of it.
    forget: Option<(PathBuf, Forget)>,
}

/// Where clients come from.
pub(crate) enum ClientSource {
    /// They connect to the network's socket.
    Meeting(Box<Meeting>),
    /// There is one client only, at the other end of this socket; the daemon ends with it.
    Private(std::os::unix::net::UnixStream),
}

/// What lets further clients in.
enum Listener {
    Meeting(Box<Meeting>, UnixListener),
    /// Nothing: the one client is there.
    Private,
}

impl Listener {
    async fn accept(&self) -> std::io::Result<UnixStream> {
        match self {
            Self::Meeting(_, listener) => listener.accept().await.map(|(stream, _)| stream),
            Self::Private => std::future::pending().await,
        }
    }
}

/// Runs the daemon until it ends. `make` makes it when its clock starts; `forget` takes a host out of the
/// network's file; `ready` is called when clients can
/// connect.
pub(crate) async fn run(
    source: ClientSource,
    make: impl FnOnce(Duration) -> Daemon,
    forget: Option<(PathBuf, Forget)>,
    ready: impl FnOnce(),
) -> Result<(), DaemonError> {
    let driver = Rc::new(Driver {
        daemon: RefCell::new(make(Duration::ZERO)),
        clients: RefCell::default(),
        links: RefCell::default(),
        ssh_config: SshConfig::default(),
        input: RefCell::new(vec![0; READ].into()),
        output: RefCell::default(),
        started: Instant::now(),
        rescheduled: Notify::new(),
        exiting: Cell::new(false),
        sweeps: Cell::new(0),
        gone: Notify::new(),
        last_client: Cell::new(0),
        quota: RefCell::default(),
        is_private: matches!(source, ClientSource::Private(_)),
        forget,
    });
    let mut client = None;
    let listener = match source {
        ClientSource::Meeting(mut meeting) => {
            let listener = meeting.listen()?;
            driver.tell_place(&meeting);
            Listener::Meeting(meeting, listener)
        }
        ClientSource::Private(stream) => {
            stream.set_nonblocking(true)?;
            client = Some(UnixStream::from_std(stream)?);
            Listener::Private
        }
    };
    let signals = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
    // a terminal that goes away does not concern the daemon; what it starts does not inherit a handler
    let _hangup = signal(SignalKind::hangup())?;
    ready();
    driver.follow_up();
    if let Some(client) = client {
        driver.accept(client);
    }
    // as a task of its own it wakes up only for what it waits for, not for every other task
    tokio::task::spawn_local(serve(driver, listener, signals)).await.map_err(std::io::Error::from)?;
    Ok(())
}

/// Accepts clients and lets time pass, until the daemon ends.
async fn serve(driver: Rc<Driver>, mut listener: Listener, signals: [Signal; 2]) {
    let [mut terminate, mut interrupt] = signals;
    let mut deadline = driver.next_tick();
    let mut check = tokio::time::interval(CHECK_SOCKET);
    check.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !driver.exiting.get() {
        let tick = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(stream) => driver.accept(stream),
                Err(error) => {
                    driver.refused_client(&format!("cannot accept a client: {error}"));
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            () = tick => {
                driver.handle(Event::Tick);
                deadline = driver.next_tick();
            }
            () = driver.rescheduled.notified() => deadline = driver.next_tick(),
            _ = terminate.recv() => {
                driver.handle(Event::Terminate);
            }
            _ = interrupt.recv() => {
                driver.handle(Event::Terminate);
            }
            _ = check.tick() => if let Listener::Meeting(meeting, socket) = &mut listener {
                match meeting.keep() {
                    Ok(Kept::AsItWas) => {}
                    Ok(Kept::Again(again)) => {
                        tracing::warn!("the socket was gone and was made again");
                        driver.tell_place(meeting);
                        driver.accept_rest(std::mem::replace(socket, again));
                    }
                    Ok(Kept::Superseded) => {
                        tracing::error!(
                            "the lock was removed, and another daemon of the network has started: this one \
                             ends"
                        );
                        return;
                    }
                    Err(error) => tracing::error!("the socket is gone and cannot be made again: {error}"),
                }
            },
        }
    }
    let mut left = None;
    if let Listener::Meeting(meeting, socket) = listener {
        drop(socket);
        meeting.close();
        left = Some(meeting);
    }
    let links = driver.links.borrow().values().map(|link| link.patience()).max().unwrap_or_default();
    let _ = tokio::time::timeout(LAST_WORDS + links, driver.finish()).await;
    // whoever waits for our end, as `stop` does, then finds nothing of ours
    if let Some(meeting) = left {
        meeting.leave();
    }
}

/// Reads into the driver's buffer. Gives the number of bytes.
async fn read(source: &mut (impl AsyncRead + Unpin), driver: &Driver) -> std::io::Result<usize> {
    poll_fn(|context| {
        let mut input = driver.input.borrow_mut();
        let mut buffer = ReadBuf::new(&mut input);
        ready!(Pin::new(&mut *source).poll_read(context, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    })
    .await
}

/// When a peer's task reads on. After a turn's work, or many bytes, other peers have their turn first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// As soon as there is something.
    Now,
    /// The same, after the others' turn.
    AfterOthers,
    /// After the others' turn the daemon goes on with what was read before.
    RestAfterOthers,
}

impl Reading {
    /// After so many bytes, of which some wait if there is `more`.
    fn after(length: usize, more: bool) -> Self {
        match (more, length >= MUCH) {
            (true, _) => Self::RestAfterOthers,
            (false, true) => Self::AfterOthers,
            (false, false) => Self::Now,
        }
    }
}

/// Splits a client's socket into its two ends. It is registered as a pipe, for reading only: as a socket it
/// would wake us whenever the client reads.
fn split(stream: UnixStream) -> std::io::Result<(pipe::Receiver, Rc<Outlet>)> {
    let socket = OwnedFd::from(stream.into_std()?);
    let outlet = Outlet::new(socket.try_clone()?);
    Ok((pipe::Receiver::from_owned_fd_unchecked(socket)?, Rc::new(outlet)))
}

impl Driver {
    /// Time since the start.
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Tells the daemon where clients find it, for its status.
    fn tell_place(&self, meeting: &Meeting) {
        let socket = meeting.socket().to_string_lossy().into_owned();
        let why = meeting.why_elsewhere();
        if let Some(why) = &why {
            tracing::warn!("the socket is {socket}: {why}");
        }
        self.daemon.borrow_mut().meets_at(socket, why);
    }

    /// Passes an event on and does what follows from it. Returns what [`Daemon::handle`] does.
    fn handle(self: &Rc<Self>, event: Event<'_>) -> bool {
        let now = self.now();
        let more = self.daemon.borrow_mut().handle(event, now);
        self.follow_up();
        more
    }

    /// Passes on bytes that arrived from a peer. Returns what [`Daemon::handle`] does.
    fn arrived(self: &Rc<Self>, from: Peer, bytes: &[u8]) -> bool {
        let short = self.daemon.borrow().short_way(from, bytes);
        if let Some(short) = short
            && let Some(outlet) = self.outlet(short.to())
            && outlet.is_idle()
        {
            outlet.write_short(bytes);
            if self.daemon.borrow_mut().passed(short, self.now()) {
                self.follow_up();
            }
            return false;
        }
        self.handle(match from {
            Peer::Client(key) => Event::ClientBytes(key, bytes),
            Peer::Host(key) => Event::LinkBytes(key, bytes),
        })
    }

    fn follow_up(self: &Rc<Self>) {
        let actions = self.daemon.borrow_mut().take_actions();
        for action in actions {
            self.act(action);
        }
        loop {
            let ready = self.daemon.borrow_mut().poll_ready();
            let Some(peer) = ready else { break };
            self.write(peer);
        }
        if self.daemon.borrow().deadline_is_stale() {
            self.rescheduled.notify_one();
        }
    }

    fn act(self: &Rc<Self>, action: Action) {
        match action {
            Action::CloseClient(key) => {
                if let Some(outlet) = self.clients.borrow_mut().remove(&key) {
                    outlet.close();
                }
            }
            Action::StartLink(host, command) => {
                let handle = Rc::new(LinkHandle::new(&command));
                self.links.borrow_mut().insert(host, Rc::clone(&handle));
                tokio::task::spawn_local(link::run(Rc::clone(self), host, command, handle));
            }
            Action::EndLink(host) => {
                if let Some(handle) = self.links.borrow().get(&host) {
                    handle.end();
                }
            }
            Action::Forget(host) => {
                let Some((file, forget)) = self.forget.clone() else { return };
                // other commands may hold the file for a moment
                tokio::task::spawn_blocking(move || {
                    if let Err(why) = forget(&file, &host) {
                        tracing::warn!("{host} has left, but the network's file still names it: {why}");
                    }
                });
            }
            Action::Exit => {
                self.exiting.set(true);
                self.rescheduled.notify_one();
            }
        }
    }

    fn accept(self: &Rc<Self>, stream: UnixStream) {
        let ours = rustix::process::geteuid().as_raw();
        let pid = match stream.peer_cred() {
            Ok(peer) if peer.uid() == ours => peer.pid().and_then(|pid| u32::try_from(pid).ok()),
            Ok(peer) => return self.refused_client(&format!("refused a client of user {}", peer.uid())),
            Err(error) => {
                return self.refused_client(&format!("refused a client of an unknown user: {error}"));
            }
        };
        let (read, outlet) = match split(stream) {
            Ok(halves) => halves,
            Err(error) => return self.refused_client(&format!("cannot accept a client: {error}")),
        };
        self.last_client.set(self.last_client.get() + 1);
        let key = ClientKey(self.last_client.get());
        self.clients.borrow_mut().insert(key, Rc::clone(&outlet));
        self.handle(Event::ClientOpened(key, pid));
        tokio::task::spawn_local(client::run(Rc::clone(self), key, read, outlet));
    }

    /// Accepts who had connected to a socket before it was given up, as while this process was stopped.
    fn accept_rest(self: &Rc<Self>, listener: UnixListener) {
        let Ok(listener) = listener.into_std() else { return };
        while let Ok((stream, _)) = listener.accept() {
            match stream.set_nonblocking(true).and_then(|()| UnixStream::from_std(stream)) {
                Ok(stream) => self.accept(stream),
                Err(error) => self.refused_client(&format!("cannot accept a client: {error}")),
            }
        }
    }

    fn refused_client(&self, why: &str) {
        if self.quota.borrow_mut().take("refused clients", self.now()) {
            tracing::warn!("{why}");
        }
    }

    fn outlet(&self, peer: Peer) -> Option<Rc<Outlet>> {
        match peer {
            Peer::Client(key) => self.clients.borrow().get(&key).cloned(),
            Peer::Host(key) => self.links.borrow().get(&key).and_then(|link| link.outlet()),
        }
    }

    /// Writes what a peer takes. If that is much, its task goes on when it is its turn again.
    fn write(&self, peer: Peer) {
        let Some(outlet) = self.outlet(peer) else { return };
        let mut daemon = self.daemon.borrow_mut();
        let mut output = self.output.borrow_mut();
        let now = self.now();
        for _ in 0..WRITES {
            if outlet.flush() != Written::All {
                return;
            }
            daemon.transmit(peer, &mut *output, WRITE, now);
            if output.is_empty() || outlet.write(&mut output) != Written::All {
                return;
            }
        }
        outlet.hold();
    }

    fn next_tick(&self) -> Option<tokio::time::Instant> {
        let now = self.now();
        let at = self.daemon.borrow_mut().deadline(now)?;
        Some((self.started + at).into())
    }

    /// Waits until clients have everything queued for them, and the processes of links are gone.
    async fn finish(&self) {
        for link in self.links.borrow().values() {
            link.end();
        }
        loop {
            let gone = self.gone.notified();
            let told = self.clients.borrow().values().all(|outlet| !outlet.is_blocked());
            if told && self.links.borrow().is_empty() && self.sweeps.get() == 0 {
                break;
            }
            gone.await;
        }
    }

    fn forget_client(self: &Rc<Self>, key: ClientKey) {
        self.clients.borrow_mut().remove(&key);
        self.handle(Event::ClientClosed(key));
        if self.is_private {
            self.handle(Event::Terminate);
        }
        self.gone.notify_one();
    }
}
