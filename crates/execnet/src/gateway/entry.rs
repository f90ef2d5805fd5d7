//! A kept kernel on a host of a network, as two processes: the one that is kept, with its stderr, signals and
//! end, and the entry, whose stdin and stdout are this program's connection to it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::carrier::{Carrier, Ending, Stop, Streams, ended};
use crate::KeptName;
use crate::network::Network;
use crate::node::Node;
use crate::process::{Process, ProcessError};
use crate::start::{ProcessBuilder, StartError};
use crate::status::Signal;
use crate::waiting::deadline;

/// See the module's documentation.
pub(super) struct Entered {
    /// None once left.
    both: Mutex<Option<Both>>,
    /// Releasing it ends it: it was told to end, or is new and was not opened.
    ends: AtomicBool,
    node: Node,
    streams: Streams,
}

#[derive(Clone)]
struct Both {
    kept: Arc<Process>,
    entry: Arc<Process>,
}

impl Entered {
    /// Enters what this program holds under that name. If it `is_new`, it ends unless it is opened.
    pub(super) fn new(
        network: &Network,
        kept: Arc<Process>,
        name: KeptName,
        timeout: Duration,
        give_up: Option<Duration>,
        is_new: bool,
    ) -> Result<Arc<Self>, StartError> {
        let node = kept.node().clone();
        let entry = ProcessBuilder::new(network.handle().clone()).host(&node.host).entering(name);
        let entry = give_up.into_iter().fold(entry, ProcessBuilder::give_up);
        let entry = Arc::new(entry.timeout(timeout).opening().start()?);
        let streams = Streams { stdin: entry.stdin(), stdout: entry.stdout(), stderr: kept.stderr() };
        let both = Mutex::new(Some(Both { kept, entry }));
        Ok(Arc::new(Self { both, ends: AtomicBool::new(is_new), node, streams }))
    }

    fn both(&self) -> Option<Both> {
        self.both.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Carrier for Entered {
    fn receive(&self, deadline: Option<Instant>, take: &mut dyn FnMut(&[u8])) -> Result<(), Stop> {
        self.streams.receive(deadline, take)
    }

    fn send(&self, bytes: &[u8], wait: bool) -> Result<usize, Stop> {
        self.streams.send(bytes, wait)
    }

    fn share(&self, bytes: &Bytes, wait: bool) -> Result<usize, Stop> {
        self.streams.share(bytes, wait)
    }

    fn errors(&self, take: &mut dyn FnMut(&[u8])) {
        self.streams.errors(take);
    }

    fn ending(&self, timeout: Duration) -> Option<Ending> {
        ended(&self.both()?.kept, deadline(timeout))
    }

    fn kill(&self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(both) = self.both() {
            let _ = both.kept.signal(Signal::Kill);
        }
    }

    fn unreachable(&self) -> Option<String> {
        self.both()?.kept.unreachable()
    }

    fn opened(&self) {
        self.ends.store(false, Ordering::Relaxed);
        if let Some(both) = self.both() {
            both.entry.opened();
            both.kept.opened();
        }
    }

    /// It is told to end.
    fn ask(&self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(both) = self.both() {
            // ignored by default everywhere
            let _ = both.kept.signal(Signal::Urg);
        }
    }

    fn away_for(&self) -> Option<Duration> {
        self.both()?.kept.away_for()
    }

    fn has_heard(&self) -> bool {
        self.both().is_none_or(|both| both.kept.has_heard())
    }

    fn close_output(&self) {
        let _ = self.streams.stdout.close();
    }

    fn release(&self) {
        let both = self.both.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Both { kept, entry }) = both {
            entry.hang_up();
            // how it ended stays known
            let has_ended = kept.wait_by(Some(Instant::now())).is_ok();
            if self.ends.load(Ordering::Relaxed) && !has_ended {
                kept.end();
            } else {
                kept.detach();
            }
        }
    }

    fn is_entry(&self) -> bool {
        true
    }

    /// The entry ends when the kernel has read everything.
    fn leave(&self, until: Instant) -> bool {
        let _ = self.streams.stdin.close();
        let arrived = self.both().is_none_or(|both| {
            loop {
                match both.entry.wait_by(Some(until)) {
                    Err(ProcessError::Interrupted { .. }) => {}
                    result => break result.is_ok(),
                }
            }
        });
        self.release();
        arrived
    }

    fn node(&self) -> Option<&Node> {
        Some(&self.node)
    }
}
