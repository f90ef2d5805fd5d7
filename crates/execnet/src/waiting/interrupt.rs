//! Interrupting a thread that waits: what Ctrl-C needs.
//!
//! Owns the mark of each thread, and knows what the thread sleeps at.

use std::cell::OnceCell;
use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A handle by which other threads interrupt the waits of one thread.
///
/// [`Interrupt::raise`] ends the wait that the thread is in, in any call of this crate, with an `Interrupted`
/// error. If it is in none, it ends the next wait that would block. A wait whose result is already there
/// succeeds first. An interruption loses nothing: the call can be repeated.
///
/// ```
/// use execnet::Interrupt;
///
/// let me = Interrupt::this_thread();
/// std::thread::spawn(move || me.raise()).join().unwrap();
/// assert!(Interrupt::this_thread().clear());
/// ```
///
/// It takes locks, so do not call it in a signal handler: let the handler wake a thread that calls it.
#[derive(Clone)]
pub struct Interrupt {
    mark: Arc<Mark>,
}

/// `raise` was called.
const RAISED: u8 = 1;

/// A driver wants its reader to stop reading. The caller does not learn of that.
const NUDGED: u8 = 2;

#[derive(Default)]
struct Mark {
    raised: AtomicU8,
    /// What `clear` removed last.
    last: AtomicU8,
    /// What the thread sleeps at.
    at: Mutex<Option<Weak<dyn Sleeps>>>,
}

/// Something that a thread can sleep at.
pub(crate) trait Sleeps: Send + Sync {
    /// Makes the thread look at its mark, if it sleeps or is about to.
    fn wake(&self);
}

thread_local! {
    static MINE: OnceCell<Interrupt> = const { OnceCell::new() };
}

impl Interrupt {
    /// The handle of the calling thread, for use by other threads.
    #[must_use]
    pub fn this_thread() -> Self {
        // while the thread ends, its own handle may be gone already: then nobody else has it either
        MINE.try_with(|mine| mine.get_or_init(Self::unused).clone()).unwrap_or_else(|_| Self::unused())
    }

    /// Interrupts the thread's current wait, or its next one.
    pub fn raise(&self) {
        self.wake(RAISED);
    }

    /// Ends the thread's current wait, but its driver continues.
    pub(crate) fn nudge(&self) {
        self.wake(NUDGED);
    }

    fn wake(&self, why: u8) {
        self.mark.raised.fetch_or(why, Ordering::SeqCst);
        let at = self.place().clone();
        if let Some(at) = at.and_then(|at| at.upgrade()) {
            at.wake();
        }
    }

    /// Clears a nudge that came too late. Returns whether a nudge, and nothing else, ended the last wait.
    pub(crate) fn clear_nudge(&self) -> bool {
        self.mark.raised.fetch_and(!NUDGED, Ordering::SeqCst);
        self.mark.last.swap(0, Ordering::SeqCst) == NUDGED
    }

    /// Clears an interruption that has not been noticed yet; returns whether there was one.
    pub fn clear(&self) -> bool {
        let was = self.mark.raised.swap(0, Ordering::SeqCst);
        self.mark.last.store(was, Ordering::SeqCst);
        was != 0
    }

    /// As [`Interrupt::clear`], for a thread that works instead of waiting. A nudge stays.
    pub(crate) fn take(&self) -> bool {
        self.mark.raised.fetch_and(!RAISED, Ordering::SeqCst) & RAISED != 0
    }

    /// Restores what [`Interrupt::clear`] removed last.
    pub(crate) fn again(&self) {
        self.mark.raised.fetch_or(self.mark.last.swap(0, Ordering::SeqCst), Ordering::SeqCst);
    }

    /// The thread is about to sleep at this place, until the guard is dropped. It has to look at its mark
    /// after this call, before it sleeps.
    pub(crate) fn enter(&self, place: Weak<dyn Sleeps>) -> Asleep<'_> {
        *self.place() = Some(place);
        Asleep(self)
    }

    fn place(&self) -> std::sync::MutexGuard<'_, Option<Weak<dyn Sleeps>>> {
        self.mark.at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unused() -> Self {
        Self { mark: Arc::default() }
    }
}

impl fmt::Debug for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interrupt").field("raised", &self.mark.raised).finish_non_exhaustive()
    }
}

/// See [`Interrupt::enter`].
pub(crate) struct Asleep<'a>(&'a Interrupt);

impl Drop for Asleep<'_> {
    fn drop(&mut self) {
        *self.0.place() = None;
    }
}
