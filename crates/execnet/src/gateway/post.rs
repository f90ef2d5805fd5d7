//! What all threads of a gateway share: its state machine behind one lock, who waits for what, who reads and who writes.
//!
//! *Reading.* A thread that waits for something reads the interpreter's stdout itself when nobody else does; so a message wakes the one thread that
//! wants it. Whoever stops reading hands over to another thread that waits; when nobody waits, the gateway's own thread (`attend.rs`) takes over.
//! *Writing.* Frames go whole into the outbox. Whoever puts one there writes as much as there is room for, without waiting, unless somebody is
//! writing already, who then takes it along. What there is no room for is left to a writer thread, which is started when it is first needed.
//! When many frames follow each other and nobody waits for an answer, they are held for up to half a millisecond, to go together.

mod writing;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::carrier::{Carrier, Stop};
use super::error::Death;
use super::failed;
use super::state::State;
use crate::hub::Halt;
use crate::interrupt::{Interrupt, Sleeps};

/// More than this in the outbox, in bytes, and senders wait.
const MAX_OUT: usize = 4 << 20;

/// After so many frames in a row, each within `ROW_PAUSE` of the one before, and without anybody waiting, the next ones are held.
const ROW: u32 = 16;
const ROW_PAUSE: Duration = Duration::from_millis(1);

/// See the module's documentation.
pub(super) struct Post {
    me: Weak<Post>,
    inner: Mutex<Inner>,
    pub(super) carrier: Arc<dyn Carrier>,
    /// The gateway's own thread sleeps here.
    pub(super) attendant: Condvar,
    /// The writer thread sleeps here.
    writer: Condvar,
    /// The process that all of it belongs to; not a child of it.
    pid: AtomicU32,
    /// Tells gateways of this program apart.
    pub(super) key: u64,
}

/// The lock, held.
pub(super) type Guard<'a> = MutexGuard<'a, Inner>;

/// What the lock protects.
pub(super) struct Inner {
    pub(super) state: State,
    /// Who reads, and what for; none if nobody does.
    reader: Option<Reader>,
    /// Nothing more is to be read: it has ended, or broke the rules, for this reason.
    pub(super) read_up: Option<Option<String>>,
    /// When somebody stopped reading last.
    pub(super) left: Instant,
    /// The gateway's own thread sleeps until somebody rings.
    pub(super) attendant_rests: bool,
    /// EXIT was said: nothing more is sent.
    pub(super) exiting: bool,
    /// When that was.
    pub(super) exited: Option<Instant>,
    /// When it is to be killed if it has not ended, or given up if it was: the last handle is gone, or somebody wants it to be killed.
    pub(super) kill_at: Option<Instant>,
    pub(super) killed: Killed,
    /// stderr has come to its end.
    pub(super) errors_over: bool,
    pub(super) death: Option<Arc<Death>>,
    /// Something besides the channels changed since the last look.
    touched: bool,
    waiters: Vec<Waiter>,
    next_waiter: u64,
    flushing: bool,
    /// There was no room: the writer thread goes on.
    blocked: bool,
    writer_runs: bool,
    /// How many frames were sent in a row, and when the last one was.
    row: u32,
    row_at: Instant,
    /// Frames are held: the writer thread will write them.
    held: bool,
    /// Nobody reads what is written any more.
    deaf: bool,
}

/// How far the end of an interpreter has come that is to be killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Killed {
    No,
    /// It was told so.
    Told,
    /// Where it runs has heard it.
    Heard,
    /// It is not waited for any more, for this reason.
    Left(String),
}

/// Something to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A value on this channel, or its end.
    Receive(u32),
    /// Credit and room, or the channel's end.
    Send(u32),
    /// That nothing more comes on this channel.
    ReceivedAll(u32),
    /// And that its callback has had everything.
    CalledBack(u32),
    /// The answer of this number.
    Status(u64),
    /// HELLO.
    Greeting,
    /// The gateway's end.
    Death,
    /// That the time to kill, or whether it was told to end, is not as the gateway's own thread knows it.
    Attend(Option<Instant>, bool),
}

struct Reader {
    what: What,
    thread: Interrupt,
    nudged: bool,
}

struct Waiter {
    key: u64,
    what: What,
    bell: Arc<Bell>,
    rung: bool,
}

/// What a waiting thread sleeps at.
struct Bell {
    post: Weak<Post>,
    condvar: Condvar,
}

impl Sleeps for Bell {
    fn wake(&self) {
        if let Some(post) = self.post.upgrade() {
            // with the lock held the thread either sleeps or will look at its mark
            let inner = post.lock();
            self.condvar.notify_all();
            drop(inner);
        }
    }
}

/// Those to be rung, once the lock is released.
type Bells = Vec<Arc<Bell>>;

fn ring(bells: &[Arc<Bell>]) {
    bells.iter().for_each(|bell| bell.condvar.notify_all());
}

impl Inner {
    fn is_ready(&self, what: What) -> bool {
        let channels = &self.state.channels;
        if let What::CalledBack(number) = what
            && channels.get(&number).is_some_and(|chan| chan.awaited.is_some())
        {
            return false;
        }
        if self.death.is_some() {
            return true;
        }
        match what {
            What::Receive(number) => channels.get(&number).is_none_or(super::state::Chan::has_something),
            What::Send(number) => {
                let room = self.state.out.bytes <= MAX_OUT;
                channels.get(&number).is_none_or(|chan| chan.is_closed() || (room && chan.can_send()))
            }
            What::ReceivedAll(number) | What::CalledBack(number) => {
                channels.get(&number).is_none_or(super::state::Chan::receives_no_more)
            }
            What::Status(number) => self.state.answers.get(&number).is_none_or(Option::is_some),
            What::Greeting => self.state.info().is_some(),
            What::Death => false,
            What::Attend(kill_at, leaving) => {
                (self.kill_at, self.is_leaving()) != (kill_at, leaving)
                    || self.read_up.is_some()
                    || !self.state.untold.is_empty()
            }
        }
    }

    /// Whether somebody is to read, and nobody does.
    pub(super) fn wants_reader(&self) -> bool {
        self.reader.is_none() && self.read_up.is_none() && self.death.is_none()
    }

    /// Whether it was told to end, and nobody has begun to kill it.
    pub(super) fn is_leaving(&self) -> bool {
        self.exiting && self.killed == Killed::No
    }

    /// Whether a thread waits that could read.
    pub(super) fn has_waiters(&self) -> bool {
        !self.waiters.is_empty()
    }

    /// One more frame is to be sent; whether many were before it, and nobody waits for an answer.
    fn in_row(&mut self) -> bool {
        let now = Instant::now();
        self.row = if now - self.row_at < ROW_PAUSE { self.row.saturating_add(1) } else { 0 };
        self.row_at = now;
        self.row > ROW
    }

    /// Something besides the channels has changed.
    pub(super) fn touch(&mut self) {
        self.touched = true;
    }

    /// Those whose wait is over. The one that reads is told at once: it must not learn of that when it reads no more.
    fn bells(&mut self) -> Bells {
        if std::mem::take(&mut self.touched) | self.state.take_touched() | self.death.is_some() {
            let mut bells = Bells::new();
            let mut waiters = std::mem::take(&mut self.waiters);
            for waiter in waiters.iter_mut().filter(|waiter| !waiter.rung) {
                if self.is_ready(waiter.what) {
                    waiter.rung = true;
                    bells.push(waiter.bell.clone());
                }
            }
            self.waiters = waiters;
            if let Some(mut reader) = self.reader.take() {
                if !reader.nudged && self.is_ready(reader.what) {
                    reader.nudged = true;
                    reader.thread.nudge();
                }
                self.reader = Some(reader);
            }
            return bells;
        }
        Bells::new()
    }
}

impl Post {
    pub(super) fn new(carrier: Arc<dyn Carrier>, state: State) -> Arc<Self> {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            inner: Mutex::new(Inner {
                state,
                reader: None,
                read_up: None,
                left: Instant::now(),
                attendant_rests: false,
                exiting: false,
                exited: None,
                kill_at: None,
                killed: Killed::No,
                errors_over: false,
                death: None,
                touched: false,
                waiters: Vec::new(),
                next_waiter: 0,
                flushing: false,
                blocked: false,
                writer_runs: false,
                row: 0,
                row_at: Instant::now(),
                held: false,
                deaf: false,
            }),
            carrier,
            attendant: Condvar::new(),
            writer: Condvar::new(),
            pid: AtomicU32::new(std::process::id()),
            key: NEXT.fetch_add(1, Ordering::Relaxed),
        })
    }

    /// Whether this is a child that the program forked: then nothing here may be touched, the lock least of all.
    pub(super) fn is_forked(&self) -> bool {
        std::process::id() != self.pid.load(Ordering::Relaxed)
    }

    /// As if this were a child that the program forked.
    #[cfg(test)]
    pub(super) fn pretend_to_be_forked(&self, forked: bool) {
        self.pid.store(if forked { 0 } else { std::process::id() }, Ordering::Relaxed);
    }

    /// The lock, for everybody but a forked child.
    pub(super) fn enter(&self) -> Result<Guard<'_>, Halt> {
        if self.is_forked() { Err(Halt::Forked) } else { Ok(self.lock()) }
    }

    pub(super) fn lock(&self) -> Guard<'_> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is something to be seen of `what`; reads meanwhile, if nobody else does.
    pub(super) fn wait<'a>(
        &'a self,
        mut inner: Guard<'a>,
        what: What,
        deadline: Option<Instant>,
    ) -> Result<Guard<'a>, (Halt, Guard<'a>)> {
        if inner.is_ready(what) {
            return Ok(inner);
        }
        inner.row = 0;
        if inner.held {
            self.flush(inner);
            inner = self.lock();
        }
        let me = Interrupt::this_thread();
        let halt = loop {
            if inner.is_ready(what) {
                break None;
            }
            let stop = if inner.wants_reader() {
                let (guard, stop) = self.read(inner, what, deadline, &me);
                inner = guard;
                stop
            } else {
                let (guard, stop) = self.sleep(inner, what, deadline, &me);
                inner = guard;
                stop
            };
            if stop.is_some() {
                break if inner.is_ready(what) && stop == Some(Halt::TimedOut) { None } else { stop };
            }
        };
        inner = self.hand_over(inner);
        match halt {
            None => Ok(inner),
            Some(halt) => Err((halt, inner)),
        }
    }

    /// Reads until `what` is there.
    pub(super) fn read<'a>(
        &'a self,
        mut inner: Guard<'a>,
        what: What,
        deadline: Option<Instant>,
        me: &Interrupt,
    ) -> (Guard<'a>, Option<Halt>) {
        inner.reader = Some(Reader { what, thread: me.clone(), nudged: false });
        loop {
            drop(inner);
            let mut handled = None;
            let received = self.carrier.receive(deadline, &mut |bytes| {
                let mut inner = self.lock();
                let handle = || inner.state.handle(bytes);
                let result = catch_unwind(AssertUnwindSafe(handle));
                // a bug; those who wait must not wait for ever
                let result = result.unwrap_or_else(|_| Err("reading failed".to_owned()));
                if let Err(reason) = result {
                    inner.read_up = Some(Some(reason));
                }
                handled = Some(inner);
            });
            inner = handled.unwrap_or_else(|| self.lock());
            inner.left = Instant::now();
            let nudged = me.clear_nudge();
            let halt = match received {
                Ok(()) => None,
                Err(Stop::TimedOut) => Some(Halt::TimedOut),
                Err(Stop::Interrupted) if nudged => None,
                Err(Stop::Interrupted) => Some(Halt::Interrupted),
                Err(Stop::End) => {
                    inner.read_up.get_or_insert(None);
                    None
                }
            };
            if inner.read_up.is_some() || !inner.state.untold.is_empty() {
                self.attendant.notify_all();
            }
            let once = matches!(what, What::Attend(..));
            let done = once || halt.is_some() || inner.read_up.is_some() || inner.is_ready(what);
            if done {
                inner.reader = None;
            } else if let Some(reader) = &mut inner.reader {
                reader.nudged = false;
            }
            let bells = inner.bells();
            if !bells.is_empty() || !inner.state.out.queue.is_empty() {
                inner = self.tell(inner, &bells);
            }
            if done {
                return (inner, halt);
            }
        }
    }

    /// Sleeps until somebody rings.
    fn sleep<'a>(
        &'a self,
        mut inner: Guard<'a>,
        what: What,
        deadline: Option<Instant>,
        me: &Interrupt,
    ) -> (Guard<'a>, Option<Halt>) {
        let bell = Arc::new(Bell { post: self.me.clone(), condvar: Condvar::new() });
        let as_place: Arc<dyn Sleeps> = bell.clone();
        let asleep = me.enter_other(Arc::downgrade(&as_place));
        let key = inner.next_waiter;
        inner.next_waiter += 1;
        inner.waiters.push(Waiter { key, what, bell: bell.clone(), rung: false });
        let halt = loop {
            if me.clear() {
                break if me.clear_nudge() { None } else { Some(Halt::Interrupted) };
            }
            inner = match deadline {
                None => bell.condvar.wait(inner).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break Some(Halt::TimedOut);
                    }
                    bell.condvar.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
            if inner.is_ready(what) || inner.wants_reader() {
                break None;
            }
            if let Some(waiter) = inner.waiters.iter_mut().find(|waiter| waiter.key == key) {
                waiter.rung = false;
            }
        };
        inner.waiters.retain(|waiter| waiter.key != key);
        drop(asleep);
        (inner, halt)
    }

    /// Lets another thread that waits read; without one the gateway's own.
    pub(super) fn hand_over<'a>(&'a self, mut inner: Guard<'a>) -> Guard<'a> {
        if !inner.wants_reader() {
            return inner;
        }
        if let Some(waiter) = inner.waiters.iter_mut().find(|waiter| !waiter.rung) {
            waiter.rung = true;
            waiter.bell.condvar.notify_all();
        } else if inner.waiters.is_empty() && inner.attendant_rests {
            inner.attendant_rests = false;
            self.attendant.notify_all();
        }
        inner
    }

    /// Rings, writes, and takes the lock again.
    fn tell<'a>(&'a self, inner: Guard<'a>, bells: &[Arc<Bell>]) -> Guard<'a> {
        if bells.is_empty() {
            self.flush(inner);
        } else {
            drop(inner);
            ring(bells);
            self.flush(self.lock());
        }
        self.lock()
    }

    /// Lets go of the lock: rings those who wait for what is there now, and writes what is to be written.
    pub(super) fn leave(&self, mut inner: Guard<'_>) {
        let mut untold = Vec::new();
        if !inner.state.untold.is_empty() {
            if inner.death.is_some() {
                untold = std::mem::take(&mut inner.state.untold);
            } else {
                self.attendant.notify_all();
            }
        }
        let bells = inner.bells();
        if bells.is_empty() {
            self.flush(inner);
        } else {
            drop(inner);
            ring(&bells);
            self.flush(self.lock());
        }
        untold.iter().for_each(|error| failed::tell(error));
    }

    /// Nothing more is to be read, for this reason; the gateway is ended.
    pub(super) fn end_reading(&self, reason: String) {
        let mut inner = self.lock();
        inner.read_up.get_or_insert(Some(reason));
        inner.touch();
        self.leave(inner);
        self.attendant.notify_all();
    }

    /// The gateway has ended.
    pub(super) fn bury(&self, death: Death) {
        let mut inner = self.lock();
        inner.state.out.clear();
        inner.deaf = true;
        inner.death = Some(Arc::new(death));
        self.writer.notify_all();
        self.leave(inner);
    }
}
