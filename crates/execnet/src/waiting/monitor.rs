//! A value that threads wait on. The waits can be interrupted.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::halt::{Halt, left};
use super::interrupt::{Interrupt, Sleeps};

/// A value behind a lock.
#[derive(Debug, Default)]
pub(crate) struct Monitor<T> {
    value: Mutex<T>,
    changed: Condvar,
}

impl<T> Monitor<T> {
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the waiting threads look at the value again.
    pub(crate) fn notify(&self) {
        self.changed.notify_all();
    }
}

impl<T: Send + 'static> Monitor<T> {
    /// Waits until `look` returns something.
    pub(crate) fn wait<R>(
        self: &Arc<Self>,
        deadline: Option<Instant>,
        mut look: impl FnMut(&mut T) -> Option<R>,
    ) -> Result<R, Halt> {
        let me = Interrupt::this_thread();
        let place: Arc<dyn Sleeps> = self.clone();
        let _asleep = me.enter(Arc::downgrade(&place));
        let mut value = self.lock();
        loop {
            if let Some(found) = look(&mut value) {
                return Ok(found);
            }
            if me.clear() {
                return Err(Halt::Interrupted);
            }
            value = match left(deadline) {
                None => self.changed.wait(value).unwrap_or_else(PoisonError::into_inner),
                Some(left) if left.is_zero() => return Err(Halt::TimedOut),
                Some(left) => {
                    self.changed.wait_timeout(value, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

impl<T: Send> Sleeps for Monitor<T> {
    fn wake(&self) {
        // while this holds the lock, the thread either sleeps or has yet to look at its mark
        let value = self.lock();
        self.changed.notify_all();
        drop(value);
    }
}
