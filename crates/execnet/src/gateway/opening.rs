//! Opening many gateways at a time, so that they take little longer than one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::Gateway;
use super::builder::GatewayBuilder;
use super::error::OpenError;
use crate::interrupt::{Interrupt, Sleeps};

/// How many are opened at a time.
const PARALLEL: usize = 32;

/// What the threads that open gateways share with the one that waits for them.
#[derive(Default)]
struct Work {
    progress: Mutex<Progress>,
    /// Rung when a thread is done.
    bell: Condvar,
    next: AtomicUsize,
}

#[derive(Default)]
struct Progress {
    done: usize,
    threads: Vec<Interrupt>,
    opened: Vec<(usize, Gateway)>,
    failed: Option<OpenError>,
}

impl Work {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens gateways until there are enough, or one could not be opened.
    fn run(&self, builder: &GatewayBuilder, count: usize) {
        self.progress().threads.push(Interrupt::this_thread());
        loop {
            let number = self.next.fetch_add(1, Ordering::SeqCst);
            if number >= count {
                return;
            }
            match builder.numbered(number).start() {
                Ok(gateway) => self.progress().opened.push((number, gateway)),
                Err(error) => {
                    self.next.store(count, Ordering::SeqCst);
                    self.progress().failed.get_or_insert(error);
                    return;
                }
            }
        }
    }
}

/// A thread is done, whatever became of it.
struct Done<'w>(&'w Work);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.progress().done += 1;
        self.0.bell.notify_all();
    }
}

impl Sleeps for Work {
    fn wake(&self) {
        // with the lock held the thread either sleeps or will look at its mark
        let progress = self.progress();
        self.bell.notify_all();
        drop(progress);
    }
}

/// Opens so many gateways.
pub(super) fn start_many(builder: &GatewayBuilder, count: usize) -> Result<Vec<Gateway>, OpenError> {
    let work = Arc::new(Work::default());
    let place: Arc<dyn Sleeps> = work.clone();
    let me = Interrupt::this_thread();
    let asleep = me.enter_other(Arc::downgrade(&place));
    let threads = count.min(PARALLEL);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let work = &work;
            scope.spawn(move || {
                let _done = Done(work);
                work.run(builder, count);
            });
        }
        let mut progress = work.progress();
        while progress.done < threads {
            if me.clear() {
                work.next.store(count, Ordering::SeqCst);
                progress.failed.get_or_insert(OpenError::Interrupted);
                progress.threads.iter().for_each(Interrupt::raise);
            }
            progress = work.bell.wait(progress).unwrap_or_else(PoisonError::into_inner);
        }
    });
    drop(asleep);
    let mut progress = std::mem::take(&mut *work.progress());
    if let Some(error) = progress.failed {
        // those that are open end with their last handle, of which their group has one
        for (_, gateway) in &progress.opened {
            builder.forget(gateway);
        }
        return Err(error);
    }
    progress.opened.sort_by_key(|(number, _)| *number);
    Ok(progress.opened.into_iter().map(|(_, gateway)| gateway).collect())
}
