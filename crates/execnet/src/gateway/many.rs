//! Opens many gateways in parallel, so that they take little longer than one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::builder::GatewayBuilder;
use super::error::OpenError;
use super::open::Gateway;
use crate::network::Network;
use crate::waiting::{Halt, Interrupt, Monitor};

impl Network {
    /// Opens this many gateways on nodes of the network, in parallel.
    ///
    /// # Errors
    /// When one of them could not be opened. Then none is.
    pub fn makegateways(&self, count: usize) -> Result<Vec<Gateway>, OpenError> {
        self.makegateway().start_many(count)
    }
}

impl GatewayBuilder {
    /// Opens this many gateways in parallel. If an id was given, each gets that id followed by a number.
    ///
    /// # Errors
    /// When one of them could not be opened. Then none is.
    pub fn start_many(self, count: usize) -> Result<Vec<Gateway>, OpenError> {
        Self::start_all((0..count).map(|number| self.numbered(number)))
    }

    /// Opens a gateway for each builder, up to 32 in parallel, and returns them in the order of the builders.
    ///
    /// # Errors
    /// When one of them could not be opened. Then none is.
    pub fn start_all(builders: impl IntoIterator<Item = Self>) -> Result<Vec<Gateway>, OpenError> {
        start_all(builders.into_iter().collect())
    }
}

/// How many are opened in parallel.
const PARALLEL: usize = 32;

/// Shared by the threads that open gateways and the one that waits for them.
struct Work {
    builders: Vec<GatewayBuilder>,
    next: AtomicUsize,
    progress: Arc<Monitor<Progress>>,
}

#[derive(Default)]
struct Progress {
    done: usize,
    threads: Vec<Interrupt>,
    opened: Vec<(usize, Gateway)>,
    failed: Option<OpenError>,
}

impl Work {
    /// Opens gateways until none is left, or one could not be opened.
    fn run(&self) {
        self.progress.lock().threads.push(Interrupt::this_thread());
        loop {
            let number = self.next.fetch_add(1, Ordering::SeqCst);
            let Some(builder) = self.builders.get(number) else { return };
            match builder.clone().start() {
                Ok(gateway) => self.progress.lock().opened.push((number, gateway)),
                Err(error) => {
                    self.stop();
                    self.progress.lock().failed.get_or_insert(error);
                    return;
                }
            }
        }
    }

    /// Starts no more.
    fn stop(&self) {
        self.next.store(self.builders.len(), Ordering::SeqCst);
    }
}

/// Counts a thread as done when it ends, even by a panic.
struct Done<'w>(&'w Work);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.progress.lock().done += 1;
        self.0.progress.notify();
    }
}

fn start_all(builders: Vec<GatewayBuilder>) -> Result<Vec<Gateway>, OpenError> {
    let threads = builders.len().min(PARALLEL);
    let work = Work { builders, next: AtomicUsize::new(0), progress: Arc::default() };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let work = &work;
            scope.spawn(move || {
                let _done = Done(work);
                work.run();
            });
        }
        let is_done = |progress: &mut Progress| (progress.done == threads).then_some(());
        while work.progress.wait(None, is_done) == Err(Halt::Interrupted) {
            work.stop();
            let mut progress = work.progress.lock();
            progress.failed.get_or_insert(OpenError::Interrupted);
            progress.threads.iter().for_each(Interrupt::raise);
        }
    });
    let mut progress = std::mem::take(&mut *work.progress.lock());
    if let Some(error) = progress.failed {
        // the group would keep them open
        for (number, gateway) in &progress.opened {
            work.builders[*number].forget(gateway);
        }
        return Err(error);
    }
    progress.opened.sort_by_key(|(number, _)| *number);
    Ok(progress.opened.into_iter().map(|(_, gateway)| gateway).collect())
}
