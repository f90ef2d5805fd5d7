//! Interrupting a thread that waits: what Ctrl-C needs.
//!
//! Owns the mark that each thread has. What is waited for is the hub's business.

use std::cell::OnceCell;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::hub::{Bell, Hub};

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

#[derive(Default)]
struct Mark {
    raised: AtomicBool,
    /// What the thread sleeps at.
    at: Mutex<Option<(Weak<Hub>, Arc<Bell>)>>,
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
        self.mark.raised.store(true, Ordering::SeqCst);
        let at = self.place().clone();
        if let Some((hub, bell)) = at
            && let Some(hub) = hub.upgrade()
        {
            // with the lock held the thread either sleeps or will look at the mark
            let inner = hub.lock();
            hub.ring(&bell);
            drop(inner);
        }
    }

    /// Takes back what was raised and not noticed yet; says whether there was something.
    pub fn clear(&self) -> bool {
        self.mark.raised.swap(false, Ordering::SeqCst)
    }

    /// The thread is about to sleep at `bell`, until the guard is dropped.
    pub(crate) fn enter(&self, hub: Weak<Hub>, bell: Arc<Bell>) -> Asleep<'_> {
        *self.place() = Some((hub, bell));
        Asleep(self)
    }

    fn place(&self) -> std::sync::MutexGuard<'_, Option<(Weak<Hub>, Arc<Bell>)>> {
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
