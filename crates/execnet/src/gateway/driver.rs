//! What all threads of a gateway share: its protocol behind one lock, the conditions they wait for, and how
//! they read and write.
//!
//! *Reading.* A driver is a [`Room`]: a thread that waits reads the interpreter's stdout itself if nobody
//! else does, so a message wakes only the thread that wants it. A thread that stops reading hands over to
//! another one that waits; if none waits, the gateway's own thread (`attend.rs`) takes over. *Writing.*
//! Frames are put into the outbox whole. The thread that puts one there writes as much as there is room for,
//! without waiting; if another thread is already writing, that thread takes the frame along. A writer thread,
//! started when it is first needed, writes the rest. When many frames follow each other and nobody waits for
//! an answer, they are held for up to 0.5 ms and sent together.

mod writing;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar};
use std::time::{Duration, Instant};

use super::carrier::{Carrier, Stop};
use super::error::Death;
use super::protocol::Protocol;
use super::remote_error;
use crate::waiting::{self, Alarm, Base, Halt, Interrupt, Room, Seat, Turn, Waiters};

/// Senders block while the outbox holds more than this, in bytes.
const MAX_OUT: usize = 4 << 20;

/// Files are read while it holds less than this, in bytes.
const FEW_OUT: usize = 1 << 20;

/// After this many frames in a row, each within `ROW_PAUSE` of the one before and while nobody waits, frames
/// are held.
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
    /// Distinguishes the gateways of this program.
    pub(super) key: u64,
}

/// The lock, held.
pub(super) type Guard<'a> = waiting::Guard<'a, Driver>;

/// What the lock protects.
pub(super) struct DriverState {
    pub(super) protocol: Protocol,
    /// A thread reads.
    is_read: bool,
    /// Nothing more will be read: the interpreter's stdout has ended or, for this reason, it broke the
    /// protocol.
    pub(super) read_up: Option<Option<String>>,
    /// When a thread last stopped reading.
    pub(super) left: Instant,
    /// The gateway's own thread sleeps until it is notified.
    pub(super) attendant_rests: bool,
    /// EXIT was sent; nothing more is sent.
    pub(super) exiting: bool,
    /// When it was sent.
    pub(super) exited: Option<Instant>,
    /// When the interpreter will be killed if it has not ended, or given up if it was killed: the last handle
    /// is gone, or `kill` was called.
    pub(super) kill_at: Option<Instant>,
    pub(super) killed: Killed,
    /// Until when what was sent may arrive before the kernel, which is kept, is left.
    pub(super) leave_by: Option<Instant>,
    /// Not everything had arrived when it was left.
    pub(super) left_early: bool,
    /// stderr has ended.
    pub(super) errors_over: bool,
    pub(super) death: Option<Arc<Death>>,
    /// Something other than the channels has changed since the last look.
    touched: bool,
    waiters: Waiters<Condition>,
    flushing: bool,
    /// There was no room: the writer thread continues.
    blocked: bool,
    writer_runs: bool,
    /// How many frames were sent in a row, and when the last one was.
    row: u32,
    row_at: Instant,
    /// Frames are held for the writer thread.
    held: bool,
    /// The interpreter reads no more input.
    deaf: bool,
}

/// How far killing the interpreter has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Killed {
    No,
    /// SIGKILL was sent.
    Told,
    /// Its host has received that.
    Heard,
    /// It is no longer waited for, for this reason.
    Left(String),
}

/// What a thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// A value on this channel, or its end.
    Receive(u32),
    /// Credit and room, or the channel's end.
    Send(u32),
    /// Nothing more arrives on this channel.
    ReceivedAll(u32),
    /// Nor does its callback have anything left to do.
    CalledBack(u32),
    /// The answer with this number.
    Status(u64),
    /// The answer to the question with this number for a channel's name.
    Name(u32),
    /// HELLO, or a question about packages.
    Greeting,
    /// Room for more files, or what `Greeting` waits for.
    Room,
    /// The end of the gateway.
    Death,
    /// The time to kill, or whether it was told to end, differs from what the gateway's own thread knows.
    Attend(Option<Instant>, bool),
}

/// Threads to wake once the lock is released.
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
            Condition::Name(question) => self.protocol.is_answered(question),
            Condition::Greeting => self.protocol.info().is_some() || self.protocol.prologue.has_asked(),
            Condition::Room => self.protocol.out.bytes <= FEW_OUT || self.is_ready(Condition::Greeting),
            Condition::Death => false,
            Condition::Attend(kill_at, leaving) => {
                (self.kill_at, self.is_leaving()) != (kill_at, leaving)
                    || self.read_up.is_some()
                    || self.leave_by.is_some()
                    || !self.protocol.untold.is_empty()
            }
        }
    }

    /// Whether the interpreter has to be read and nobody reads it.
    pub(super) fn wants_reader(&self) -> bool {
        !self.is_read && self.read_up.is_none() && self.death.is_none()
    }

    /// Whether it was told to end and nobody has begun to kill it.
    pub(super) fn is_leaving(&self) -> bool {
        self.exiting && self.killed == Killed::No
    }

    /// Whether everything that was sent is with the carrier.
    pub(super) fn is_written(&self) -> bool {
        self.deaf || !self.flushing && !self.blocked && self.protocol.out.queue.is_empty()
    }

    /// Whether a thread waits, which reads or will.
    pub(super) fn has_waiters(&self) -> bool {
        !self.waiters.is_empty()
    }

    /// Counts a frame. Returns whether it follows many others while nobody waits for an answer.
    fn in_row(&mut self) -> bool {
        let now = Instant::now();
        self.row = if now - self.row_at < ROW_PAUSE { self.row.saturating_add(1) } else { 0 };
        self.row_at = now;
        self.row > ROW
    }

    /// Something other than the channels has changed.
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
                // a bug; fail the waits instead of letting them hang
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

    /// The carrier's wait notices this.
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

    /// Wakes another thread that waits, so that it reads; without one, the gateway's own.
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
            leave_by: None,
            left_early: false,
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

    /// The threads whose conditions are met now.
    fn over(&self, state: &mut DriverState) -> Alarms {
        let touched = std::mem::take(&mut state.touched) | state.protocol.take_touched();
        if touched || state.death.is_some() { self.met(state, None) } else { Alarms::new() }
    }

    /// Wakes these threads, writes pending frames, and takes the lock again.
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

    /// Releases the lock: wakes the threads whose conditions are met, and writes pending frames.
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
        untold.iter().for_each(|error| remote_error::tell(error));
    }

    /// Stops reading for this reason, which ends the gateway.
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
