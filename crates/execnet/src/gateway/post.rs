//! What all threads of a gateway share: its state machine behind one lock, who waits for what, who reads and who writes.
//!
//! *Reading.* A thread that waits for something reads the interpreter's stdout itself when nobody else does; so a message wakes the one thread that
//! wants it. Whoever stops reading hands over to another thread that waits; when nobody waits, the gateway's own thread (`attend.rs`) takes over.
//! *Writing.* Frames go whole into the outbox. Whoever puts one there writes as much as there is room for, without waiting, unless somebody is
//! writing already, who then takes it along. What there is no room for is left to a writer thread, which is started when it is first needed.
//! When many frames follow each other and nobody waits for an answer, they are held for up to half a millisecond, to go together.

mod writing;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar};
use std::time::{Duration, Instant};

use super::carrier::{Carrier, Stop};
use super::error::Death;
use super::failed;
use super::state::State;
use crate::waiting::{self, Alarm, Base, Halt, Interrupt, Room, Seat, Turn, Waiters};

/// More than this in the outbox, in bytes, and senders wait.
const MAX_OUT: usize = 4 << 20;

/// After so many frames in a row, each within `ROW_PAUSE` of the one before, and without anybody waiting, the next ones are held.
const ROW: u32 = 16;
const ROW_PAUSE: Duration = Duration::from_millis(1);

/// See the module's documentation.
pub(super) struct Post {
    base: Base<Post>,
    pub(super) carrier: Arc<dyn Carrier>,
    /// The gateway's own thread sleeps here.
    pub(super) attendant: Condvar,
    /// The writer thread sleeps here.
    writer: Condvar,
    /// Tells gateways of this program apart.
    pub(super) key: u64,
}

/// The lock, held.
pub(super) type Guard<'a> = waiting::Guard<'a, Post>;

/// What the lock protects.
pub(super) struct Inner {
    pub(super) state: State,
    /// Somebody reads.
    is_read: bool,
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
    waiters: Waiters<What>,
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

/// Those to be woken, once the lock is released.
type Alarms = Vec<Arc<Alarm>>;

fn ring(alarms: &[Arc<Alarm>]) {
    alarms.iter().for_each(|alarm| alarm.ring());
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
        !self.is_read && self.read_up.is_none() && self.death.is_none()
    }

    /// Whether it was told to end, and nobody has begun to kill it.
    pub(super) fn is_leaving(&self) -> bool {
        self.exiting && self.killed == Killed::No
    }

    /// Whether a thread waits, which reads.
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
}

impl Room for Post {
    type State = Inner;
    type Condition = What;

    fn base(&self) -> &Base<Self> {
        &self.base
    }

    fn waiters(inner: &mut Inner) -> &mut Waiters<What> {
        &mut inner.waiters
    }

    fn is_met(inner: &Inner, what: &What) -> bool {
        inner.is_ready(*what)
    }

    fn wants_reader(inner: &Inner) -> bool {
        inner.wants_reader()
    }

    /// Reads until the condition is met.
    fn read<'a>(
        &'a self,
        mut inner: Guard<'a>,
        seat: &Seat<What>,
        deadline: Option<Instant>,
    ) -> (Guard<'a>, Turn) {
        let what = seat.condition;
        inner.is_read = true;
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
            let disturbed = seat.thread().clear_nudge();
            let turn = match received {
                Ok(()) => Turn::Read,
                Err(Stop::TimedOut) => Turn::Stop(Halt::TimedOut),
                Err(Stop::Interrupted) if disturbed => Turn::Read,
                Err(Stop::Interrupted) => Turn::Stop(Halt::Interrupted),
                Err(Stop::End) => {
                    inner.read_up.get_or_insert(None);
                    Turn::Read
                }
            };
            if inner.read_up.is_some() || !inner.state.untold.is_empty() {
                self.attendant.notify_all();
            }
            let once = matches!(what, What::Attend(..));
            let done = once || turn != Turn::Read || inner.read_up.is_some() || inner.is_ready(what);
            if done {
                inner.is_read = false;
                // or it would be disturbed in its next wait
                inner.waiters.is_awake(seat.number);
            } else {
                inner.waiters.begin(seat.number);
            }
            let alarms = self.over(&mut inner);
            if !alarms.is_empty() || !inner.state.out.queue.is_empty() {
                inner = self.tell(inner, &alarms);
            }
            if done {
                return (inner, turn);
            }
        }
    }

    /// By way of what the carrier waits for.
    fn disturb(&self, reader: &Interrupt) {
        reader.nudge();
    }

    fn prepare<'a>(&'a self, mut inner: Guard<'a>) -> Guard<'a> {
        inner.row = 0;
        if !inner.held {
            return inner;
        }
        self.flush(inner);
        self.lock()
    }

    /// Lets another thread that waits read; without one the gateway's own.
    fn hand_over(&self, inner: &mut Inner) {
        if !inner.wants_reader() || inner.waiters.wake_one() {
            return;
        }
        if inner.waiters.is_empty() && std::mem::take(&mut inner.attendant_rests) {
            self.attendant.notify_all();
        }
    }
}

impl Post {
    pub(super) fn new(carrier: Arc<dyn Carrier>, state: State) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let inner = Inner {
            state,
            is_read: false,
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
            waiters: Waiters::default(),
            flushing: false,
            blocked: false,
            writer_runs: false,
            row: 0,
            row_at: Instant::now(),
            held: false,
            deaf: false,
        };
        Arc::new_cyclic(|me| Self {
            base: Base::new(me.clone(), inner),
            carrier,
            attendant: Condvar::new(),
            writer: Condvar::new(),
            key: NEXT.fetch_add(1, Ordering::Relaxed),
        })
    }

    /// Those whose wait is over.
    fn over(&self, inner: &mut Inner) -> Alarms {
        let touched = std::mem::take(&mut inner.touched) | inner.state.take_touched();
        if touched || inner.death.is_some() { self.met(inner, None) } else { Alarms::new() }
    }

    /// Wakes, writes, and takes the lock again.
    fn tell<'a>(&'a self, inner: Guard<'a>, alarms: &[Arc<Alarm>]) -> Guard<'a> {
        if alarms.is_empty() {
            self.flush(inner);
        } else {
            drop(inner);
            ring(alarms);
            self.flush(self.lock());
        }
        self.lock()
    }

    /// Lets go of the lock: wakes those who wait for what is there now, and writes what is to be written.
    pub(super) fn leave(&self, mut inner: Guard<'_>) {
        let mut untold = Vec::new();
        if !inner.state.untold.is_empty() {
            if inner.death.is_some() {
                untold = std::mem::take(&mut inner.state.untold);
            } else {
                self.attendant.notify_all();
            }
        }
        let alarms = self.over(&mut inner);
        if alarms.is_empty() {
            self.flush(inner);
        } else {
            drop(inner);
            ring(&alarms);
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

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Post").field("key", &self.key).finish_non_exhaustive()
    }
}
