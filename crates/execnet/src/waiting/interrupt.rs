//! Interrupting a thread that waits: what Ctrl-C needs.
//!
//! Owns the mark that each thread has, and knows what the thread sleeps at.

use std::cell::OnceCell;
use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A handle by which other threads interrupt the waits of one thread.
///
/// [`Interrupt::raise`] ends the wait that the thread is in, in any call of this crate, with an `Interrupted` error; when it
/// is in none, the next wait that would block ends so. A wait whose result is there already succeeds first. Nothing is lost by an
/// interruption: the call can be made again.
///
/// ```
/// use execnet::Interrupt;
///
/// let me = Interrupt::this_thread();
/// std::thread::spawn(move || me.raise()).join().unwrap();
/// assert!(Interrupt::this_thread().clear());
/// ```
///
/// It takes locks, so it must not be called from within a signal handler: let the handler wake a thread that calls it.
#[derive(Clone)]
pub struct Interrupt {
    mark: Arc<Mark>,
}

/// Somebody raised it.
const RAISED: u8 = 1;

/// A gateway wants its thread to look around: nobody else learns of that.
const NUDGED: u8 = 2;

#[derive(Default)]
struct Mark {
    raised: AtomicU8,
    /// What was cleared last.
    last: AtomicU8,
    /// What the thread sleeps at.
    at: Mutex<Option<Weak<dyn Sleeps>>>,
}

/// Something that a thread sleeps at.
pub(crate) trait Sleeps: Send + Sync {
    /// Makes it look at its mark, if it sleeps or is about to.
    fn wake(&self);
}

thread_local! {
    static MINE: OnceCell<Interrupt> = const { OnceCell::new() };
}

impl Interrupt {
    /// The handle of the calling thread, to be given to another one.
    #[must_use]
    pub fn this_thread() -> Self {
        // while the thread ends its own handle may be gone already: then nobody has it either
        MINE.try_with(|mine| mine.get_or_init(Self::unused).clone()).unwrap_or_else(|_| Self::unused())
    }

    /// Interrupts the thread's wait, or its next one.
    pub fn raise(&self) {
        self.wake(RAISED);
    }

    /// Ends the wait that the thread is in, in a way that its gateway does not take for an interruption.
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

    /// Forgets a nudge that came too late; true if it was one that ended the last wait, and nothing else did.
    pub(crate) fn clear_nudge(&self) -> bool {
        self.mark.raised.fetch_and(!NUDGED, Ordering::SeqCst);
        self.mark.last.swap(0, Ordering::SeqCst) == NUDGED
    }

    /// Takes back what was raised and not noticed yet; says whether there was something.
    pub fn clear(&self) -> bool {
        let was = self.mark.raised.swap(0, Ordering::SeqCst);
        self.mark.last.store(was, Ordering::SeqCst);
        was != 0
    }

    /// Takes back what [`Interrupt::clear`] did last.
    pub(crate) fn again(&self) {
        self.mark.raised.fetch_or(self.mark.last.swap(0, Ordering::SeqCst), Ordering::SeqCst);
    }

    /// The thread is about to sleep at this place, until the guard is dropped. It looks at its mark afterwards, before it sleeps.
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
