//! Opening many gateways at a time, so that they take little longer than one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::builder::GatewayBuilder;
use super::error::OpenError;
use super::open::Gateway;
use crate::network::Network;
use crate::waiting::{Halt, Interrupt, Monitor};

impl Network {
    /// Opens so many gateways on nodes of the network, all at a time.
    ///
    /// # Errors
    /// When one of them could not be opened; then none is.
    pub fn makegateways(&self, count: usize) -> Result<Vec<Gateway>, OpenError> {
        self.makegateway().start_many(count)
    }
}

impl GatewayBuilder {
    /// Opens so many of them, all at a time. With an id given, they are called by that and a number.
    ///
    /// # Errors
    /// When one of them could not be opened; then none is.
    pub fn start_many(self, count: usize) -> Result<Vec<Gateway>, OpenError> {
        start_many(&self, count)
    }
}

/// How many are opened at a time.
const PARALLEL: usize = 32;

/// What the threads that open gateways share with the one that waits for them.
#[derive(Default)]
struct Work {
    progress: Arc<Monitor<Progress>>,
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
    /// Opens gateways until there are enough, or one could not be opened.
    fn run(&self, builder: &GatewayBuilder, count: usize) {
        self.progress.lock().threads.push(Interrupt::this_thread());
        loop {
            let number = self.next.fetch_add(1, Ordering::SeqCst);
            if number >= count {
                return;
            }
            match builder.numbered(number).start() {
                Ok(gateway) => self.progress.lock().opened.push((number, gateway)),
                Err(error) => {
                    self.next.store(count, Ordering::SeqCst);
                    self.progress.lock().failed.get_or_insert(error);
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
        self.0.progress.lock().done += 1;
        self.0.progress.notify();
    }
}

/// Opens so many gateways.
fn start_many(builder: &GatewayBuilder, count: usize) -> Result<Vec<Gateway>, OpenError> {
    let work = Work::default();
    let threads = count.min(PARALLEL);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let work = &work;
            scope.spawn(move || {
                let _done = Done(work);
                work.run(builder, count);
            });
        }
        let is_done = |progress: &mut Progress| (progress.done == threads).then_some(());
        while work.progress.wait(None, is_done) == Err(Halt::Interrupted) {
            work.next.store(count, Ordering::SeqCst);
            let mut progress = work.progress.lock();
            progress.failed.get_or_insert(OpenError::Interrupted);
            progress.threads.iter().for_each(Interrupt::raise);
        }
    });
    let mut progress = std::mem::take(&mut *work.progress.lock());
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
