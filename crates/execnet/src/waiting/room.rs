//! A state that threads wait on, and a source that one of them reads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use super::halt::{Halt, left};
use super::interrupt::{Interrupt, Sleeps};
use super::owner::Owner;

/// See the module's documentation.
pub(crate) trait Room: Send + Sync + Sized + 'static {
    /// What the lock protects.
    type State: Send;
    /// What a thread can wait for.
    type Condition: Clone + Send + Sync;

    fn base(&self) -> &Base<Self>;

    fn waiters(state: &mut Self::State) -> &mut Waiters<Self::Condition>;

    fn is_met(state: &Self::State, condition: &Self::Condition) -> bool;

    /// Whether the source has to be read and nobody reads it.
    fn wants_reader(state: &Self::State) -> bool;

    /// Reads the source at least once, for the thread in this seat.
    fn read<'a>(
        &'a self,
        state: Guard<'a, Self>,
        seat: &Seat<Self::Condition>,
        deadline: Option<Instant>,
    ) -> (Guard<'a, Self>, Turn);

    /// Ends the call of `read` that this thread is in. Called with the lock held.
    fn disturb(&self, reader: &Interrupt);

    /// Called before a thread begins to wait. May release the lock.
    fn prepare<'a>(&'a self, state: Guard<'a, Self>) -> Guard<'a, Self> {
        state
    }

    /// Called after a thread has waited. It may have been the one that read.
    fn hand_over(&self, _state: &mut Self::State) {}

    /// Whether this is a forked child.
    fn is_forked(&self) -> bool {
        self.base().owner.is_forked()
    }

    /// The lock; an error in a forked child.
    fn enter(&self) -> Result<Guard<'_, Self>, Halt> {
        self.base().owner.check()?;
        Ok(self.lock())
    }

    fn lock(&self) -> Guard<'_, Self> {
        self.base().state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the condition is met. Meanwhile reads, if nobody else does.
    fn wait<'a>(
        &'a self,
        mut state: Guard<'a, Self>,
        condition: &Self::Condition,
        deadline: Option<Instant>,
    ) -> Result<Guard<'a, Self>, (Halt, Guard<'a, Self>)> {
        if Self::is_met(&state, condition) {
            return Ok(state);
        }
        state = self.prepare(state);
        let seat = Seat::take(self, &mut state, condition);
        let mut may_read = true;
        let halt = loop {
            if Self::is_met(&state, condition) {
                break None;
            }
            if Self::waiters(&mut state).begin(seat.number) {
                break Some(Halt::Interrupted);
            }
            let turn;
            (state, turn) = if may_read && Self::wants_reader(&state) {
                seat.read(self, state, deadline)
            } else {
                seat.sleep(state, deadline)
            };
            match turn {
                Turn::Stop(Halt::TimedOut) if Self::is_met(&state, condition) => break None,
                Turn::Stop(halt) => break Some(halt),
                Turn::Read => may_read = true,
                Turn::Sleep => may_read = false,
            }
        };
        Self::waiters(&mut state).remove(seat.number);
        self.hand_over(&mut state);
        match halt {
            None => Ok(state),
            Some(halt) => Err((halt, state)),
        }
    }

    /// Reads once for a thread that reads only while no other thread waits.
    fn read_once<'a>(
        &'a self,
        mut state: Guard<'a, Self>,
        condition: &Self::Condition,
        deadline: Option<Instant>,
    ) -> Guard<'a, Self> {
        let seat = Seat::take(self, &mut state, condition);
        state = seat.read(self, state, deadline).0;
        Self::waiters(&mut state).remove(seat.number);
        self.hand_over(&mut state);
        state
    }

    /// The threads whose conditions are met, each once, except the one in seat `but`. Wake them once the lock
    /// is released. A thread that reads is disturbed at once instead: later it might be in another wait.
    fn met(&self, state: &mut Self::State, but: Option<u64>) -> Vec<Arc<Alarm>> {
        let mut alarms = Vec::new();
        if Self::waiters(state).is_empty() {
            return alarms;
        }
        let mut waiters = std::mem::take(Self::waiters(state));
        for waiter in waiters.list.iter_mut().filter(|waiter| !waiter.woken && Some(waiter.number) != but) {
            if Self::is_met(state, &waiter.condition) {
                waiter.woken = true;
                if waiter.alarm.reads.load(Ordering::SeqCst) {
                    self.disturb(&waiter.alarm.thread);
                } else {
                    alarms.push(waiter.alarm.clone());
                }
            }
        }
        *Self::waiters(state) = waiters;
        alarms
    }

    /// Interrupts the waits whose conditions `whose` selects.
    fn interrupt(&self, whose: impl Fn(&Self::Condition) -> bool) {
        let Ok(mut state) = self.enter() else { return };
        for waiter in Self::waiters(&mut state).list.iter_mut().filter(|waiter| whose(&waiter.condition)) {
            waiter.interrupted = true;
            waiter.alarm.ring();
            if waiter.alarm.reads.load(Ordering::SeqCst) {
                self.disturb(&waiter.alarm.thread);
            }
        }
    }
}

/// The lock of a room, held.
pub(crate) type Guard<'a, R> = MutexGuard<'a, <R as Room>::State>;

/// What every room has.
pub(crate) struct Base<R: Room> {
    pub(crate) me: Weak<R>,
    pub(crate) owner: Owner,
    state: Mutex<R::State>,
}

impl<R: Room> Base<R> {
    pub(crate) fn new(me: Weak<R>, state: R::State) -> Self {
        Self { me, owner: Owner::default(), state: Mutex::new(state) }
    }
}

/// How a thread that has read or slept continues, unless its condition is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It reads if nobody else does.
    Read,
    /// It sleeps: a woken thread is the better reader.
    Sleep,
    Stop(Halt),
}

/// The threads that wait in a room.
pub(crate) struct Waiters<C> {
    list: Vec<Waiter<C>>,
    next: u64,
}

struct Waiter<C> {
    number: u64,
    condition: C,
    alarm: Arc<Alarm>,
    /// It was woken, and has not looked yet.
    woken: bool,
    interrupted: bool,
}

impl<C> Default for Waiters<C> {
    fn default() -> Self {
        Self { list: Vec::new(), next: 0 }
    }
}

impl<C> Waiters<C> {
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Wakes a thread that nobody has woken yet. Returns whether there was one.
    pub(crate) fn wake_one(&mut self) -> bool {
        let waiter = self.list.iter_mut().find(|waiter| !waiter.woken);
        waiter.is_some_and(|waiter| {
            waiter.woken = true;
            waiter.alarm.ring();
            true
        })
    }

    /// The thread in this seat will look by itself, so nobody has to wake it.
    pub(crate) fn is_awake(&mut self, number: u64) {
        if let Some(waiter) = self.of(number) {
            waiter.woken = true;
        }
    }

    /// The thread in this seat is about to read or sleep. Returns whether it was interrupted.
    pub(crate) fn begin(&mut self, number: u64) -> bool {
        self.of(number).is_some_and(|waiter| {
            waiter.woken = false;
            waiter.interrupted
        })
    }

    fn of(&mut self, number: u64) -> Option<&mut Waiter<C>> {
        self.list.iter_mut().find(|waiter| waiter.number == number)
    }

    fn remove(&mut self, number: u64) {
        self.list.retain(|waiter| waiter.number != number);
    }
}

/// Wakes one thread that waits in a room.
pub(crate) struct Alarm {
    room: Weak<dyn Latch>,
    condvar: Condvar,
    thread: Interrupt,
    /// The thread reads instead of sleeping here.
    reads: AtomicBool,
}

/// A lock, without the type of what it protects.
trait Latch: Send + Sync {
    /// Waits until nobody holds it.
    fn pass(&self);
}

impl<R: Room> Latch for R {
    fn pass(&self) {
        drop(self.lock());
    }
}

impl Alarm {
    pub(crate) fn ring(&self) {
        self.condvar.notify_all();
    }
}

impl Sleeps for Alarm {
    fn wake(&self) {
        if let Some(room) = self.room.upgrade() {
            // now a thread that looked at its mark before sleeps
            room.pass();
            self.ring();
        }
    }
}

/// A thread's place among the waiters.
pub(crate) struct Seat<C> {
    pub(crate) number: u64,
    pub(crate) condition: C,
    alarm: Arc<Alarm>,
}

impl<C: Clone> Seat<C> {
    fn take<R: Room<Condition = C>>(room: &R, state: &mut R::State, condition: &C) -> Self {
        let me: Weak<R> = room.base().me.clone();
        let alarm = Arc::new(Alarm {
            room: me,
            condvar: Condvar::new(),
            thread: Interrupt::this_thread(),
            reads: AtomicBool::new(false),
        });
        let waiters = R::waiters(state);
        let number = waiters.next;
        waiters.next += 1;
        let (condition, for_waiter) = (condition.clone(), condition.clone());
        let (woken, interrupted) = (false, false);
        let waiter = Waiter { number, condition: for_waiter, alarm: alarm.clone(), woken, interrupted };
        waiters.list.push(waiter);
        Self { number, condition, alarm }
    }

    /// The thread in this seat.
    pub(crate) fn thread(&self) -> &Interrupt {
        &self.alarm.thread
    }

    fn read<'a, R: Room<Condition = C>>(
        &self,
        room: &'a R,
        state: Guard<'a, R>,
        deadline: Option<Instant>,
    ) -> (Guard<'a, R>, Turn) {
        self.alarm.reads.store(true, Ordering::SeqCst);
        let read = room.read(state, self, deadline);
        self.alarm.reads.store(false, Ordering::SeqCst);
        read
    }

    fn sleep<'a, S>(&self, state: MutexGuard<'a, S>, deadline: Option<Instant>) -> (MutexGuard<'a, S>, Turn) {
        let place: Arc<dyn Sleeps> = self.alarm.clone();
        let _asleep = self.alarm.thread.enter(Arc::downgrade(&place));
        if self.alarm.thread.clear() {
            return (state, Turn::Stop(Halt::Interrupted));
        }
        let condvar = &self.alarm.condvar;
        let state = match left(deadline) {
            None => condvar.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(left) if left.is_zero() => return (state, Turn::Stop(Halt::TimedOut)),
            Some(left) => condvar.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
        };
        (state, Turn::Read)
    }
}
