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
use super::protocol::Protocol;
use crate::waiting::{self, Alarm, Base, Halt, Interrupt, Room, Seat, Turn, Waiters};

/// More than this in the outbox, in bytes, and senders wait.
const MAX_OUT: usize = 4 << 20;

/// After so many frames in a row, each within `ROW_PAUSE` of the one before, and without anybody waiting, the next ones are held.
const ROW: u32 = 16;
const ROW_PAUSE: Duration = Duration::from_millis(1);

/// See the module's documentation.
pub(super) struct Driver {
    base: Base<Driver>,
    pub(super) carrier: Arc<dyn Carrier>,
    /// The gateway's own thread sleeps here.
    pub(super) attendant: Condvar,
    /// The writer thread sleeps here.
    writer: Condvar,
    /// Tells gateways of this program apart.
    pub(super) key: u64,
}

/// The lock, held.
pub(super) type Guard<'a> = waiting::Guard<'a, Driver>;

/// What the lock protects.
pub(super) struct DriverState {
    pub(super) protocol: Protocol,
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
    waiters: Waiters<Condition>,
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
pub(super) enum Condition {
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

impl DriverState {
    fn is_ready(&self, condition: Condition) -> bool {
        let channels = &self.protocol.channels;
        if let Condition::CalledBack(number) = condition
            && channels.get(&number).is_some_and(|chan| chan.awaited.is_some())
        {
            return false;
        }
        if self.death.is_some() {
            return true;
        }
        match condition {
            Condition::Receive(number) => {
                channels.get(&number).is_none_or(super::protocol::Chan::has_something)
            }
            Condition::Send(number) => {
                let room = self.protocol.out.bytes <= MAX_OUT;
                channels.get(&number).is_none_or(|chan| chan.is_closed() || (room && chan.can_send()))
            }
            Condition::ReceivedAll(number) | Condition::CalledBack(number) => {
                channels.get(&number).is_none_or(super::protocol::Chan::receives_no_more)
            }
            Condition::Status(number) => self.protocol.answers.get(&number).is_none_or(Option::is_some),
            Condition::Greeting => self.protocol.info().is_some(),
            Condition::Death => false,
            Condition::Attend(kill_at, leaving) => {
                (self.kill_at, self.is_leaving()) != (kill_at, leaving)
                    || self.read_up.is_some()
                    || !self.protocol.untold.is_empty()
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

impl Room for Driver {
    type State = DriverState;
    type Condition = Condition;

    fn base(&self) -> &Base<Self> {
        &self.base
    }

    fn waiters(state: &mut DriverState) -> &mut Waiters<Condition> {
        &mut state.waiters
    }

    fn is_met(state: &DriverState, condition: &Condition) -> bool {
        state.is_ready(*condition)
    }

    fn wants_reader(state: &DriverState) -> bool {
        state.wants_reader()
    }

    /// Reads until the condition is met.
    fn read<'a>(
        &'a self,
        mut state: Guard<'a>,
        seat: &Seat<Condition>,
        deadline: Option<Instant>,
    ) -> (Guard<'a>, Turn) {
        let condition = seat.condition;
        state.is_read = true;
        loop {
            drop(state);
            let mut handled = None;
            let received = self.carrier.receive(deadline, &mut |bytes| {
                let mut state = self.lock();
                let handle = || state.protocol.handle(bytes);
                let result = catch_unwind(AssertUnwindSafe(handle));
                // a bug; those who wait must not wait for ever
                let result = result.unwrap_or_else(|_| Err("reading failed".to_owned()));
                if let Err(reason) = result {
                    state.read_up = Some(Some(reason));
                }
                handled = Some(state);
            });
            state = handled.unwrap_or_else(|| self.lock());
            state.left = Instant::now();
            let disturbed = seat.thread().clear_nudge();
            let turn = match received {
                Ok(()) => Turn::Read,
                Err(Stop::TimedOut) => Turn::Stop(Halt::TimedOut),
                Err(Stop::Interrupted) if disturbed => Turn::Read,
                Err(Stop::Interrupted) => Turn::Stop(Halt::Interrupted),
                Err(Stop::End) => {
                    state.read_up.get_or_insert(None);
                    Turn::Read
                }
            };
            if state.read_up.is_some() || !state.protocol.untold.is_empty() {
                self.attendant.notify_all();
            }
            let once = matches!(condition, Condition::Attend(..));
            let done = once || turn != Turn::Read || state.read_up.is_some() || state.is_ready(condition);
            if done {
                state.is_read = false;
                // or it would be disturbed in its next wait
                state.waiters.is_awake(seat.number);
            } else {
                state.waiters.begin(seat.number);
            }
            let alarms = self.over(&mut state);
            if !alarms.is_empty() || !state.protocol.out.queue.is_empty() {
                state = self.tell(state, &alarms);
            }
            if done {
                return (state, turn);
            }
        }
    }

    /// By way of what the carrier waits for.
    fn disturb(&self, reader: &Interrupt) {
        reader.nudge();
    }

    fn prepare<'a>(&'a self, mut state: Guard<'a>) -> Guard<'a> {
        state.row = 0;
        if !state.held {
            return state;
        }
        self.flush(state);
        self.lock()
    }

    /// Lets another thread that waits read; without one the gateway's own.
    fn hand_over(&self, state: &mut DriverState) {
        if !state.wants_reader() || state.waiters.wake_one() {
            return;
        }
        if state.waiters.is_empty() && std::mem::take(&mut state.attendant_rests) {
            self.attendant.notify_all();
        }
    }
}

impl Driver {
    pub(super) fn new(carrier: Arc<dyn Carrier>, protocol: Protocol) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let state = DriverState {
            protocol,
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
            base: Base::new(me.clone(), state),
            carrier,
            attendant: Condvar::new(),
            writer: Condvar::new(),
            key: NEXT.fetch_add(1, Ordering::Relaxed),
        })
    }

    /// Those whose wait is over.
    fn over(&self, state: &mut DriverState) -> Alarms {
        let touched = std::mem::take(&mut state.touched) | state.protocol.take_touched();
        if touched || state.death.is_some() { self.met(state, None) } else { Alarms::new() }
    }

    /// Wakes, writes, and takes the lock again.
    fn tell<'a>(&'a self, state: Guard<'a>, alarms: &[Arc<Alarm>]) -> Guard<'a> {
        if alarms.is_empty() {
            self.flush(state);
        } else {
            drop(state);
            ring(alarms);
            self.flush(self.lock());
        }
        self.lock()
    }

    /// Lets go of the lock: wakes those who wait for what is there now, and writes what is to be written.
    pub(super) fn leave(&self, mut state: Guard<'_>) {
        let mut untold = Vec::new();
        if !state.protocol.untold.is_empty() {
            if state.death.is_some() {
                untold = std::mem::take(&mut state.protocol.untold);
            } else {
                self.attendant.notify_all();
            }
        }
        let alarms = self.over(&mut state);
        if alarms.is_empty() {
            self.flush(state);
        } else {
            drop(state);
            ring(&alarms);
            self.flush(self.lock());
        }
        untold.iter().for_each(|error| failed::tell(error));
    }

    /// Nothing more is to be read, for this reason; the gateway is ended.
    pub(super) fn end_reading(&self, reason: String) {
        let mut state = self.lock();
        state.read_up.get_or_insert(Some(reason));
        state.touch();
        self.leave(state);
        self.attendant.notify_all();
    }

    /// The gateway has ended.
    pub(super) fn bury(&self, death: Death) {
        let mut state = self.lock();
        state.protocol.out.clear();
        state.deaf = true;
        state.death = Some(Arc::new(death));
        self.writer.notify_all();
        self.leave(state);
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("key", &self.key).finish_non_exhaustive()
    }
}
