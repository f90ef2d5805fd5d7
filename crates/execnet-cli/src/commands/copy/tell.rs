//! What a person sees of a copy: what would be done, what failed, and how far it is.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use execnet::copy::{Act, Listing, Observer, Options};

use super::HostOutcome;
use crate::print::{self, say};
use crate::progress::HostProgress;
use crate::text::one_line;

/// How many failures of a host get a line.
const LINES: u64 = 20;

const SPARED: &str = "nothing is deleted, because not everything could be listed";

/// Tells about the copy to or from one host.
pub(super) struct Told {
    host: String,
    dry: bool,
    progress: HostProgress,
    failed: AtomicU64,
    /// Nothing was deleted, though it was wanted.
    spared: AtomicBool,
}

impl Told {
    pub(super) fn new(host: &str, dry: bool, progress: HostProgress) -> Self {
        Self {
            host: one_line(host),
            dry,
            progress,
            failed: AtomicU64::new(0),
            spared: AtomicBool::new(false),
        }
    }

    /// Tells how many failures got no line. Returns whether anything was not done.
    pub(super) fn end(&self) -> bool {
        let failed = self.failed.load(Ordering::Relaxed);
        if failed > LINES {
            say(&format!("execnet: {}: and {} more", self.host, failed - LINES));
        }
        failed > 0 || self.spared.load(Ordering::Relaxed)
    }
}

impl Observer for Told {
    fn total(&self, _files: u64, bytes: u64) {
        self.progress.total(bytes);
    }

    fn settled(&self, bytes: u64) {
        self.progress.settled(bytes);
    }

    fn moved(&self, bytes: u64) {
        self.progress.moved(bytes);
    }

    fn act(&self, act: Act, path: &[u8]) {
        if self.dry {
            let line = format!("{}: {} {}\n", self.host, act.name(), shown(path));
            // what cannot be written is no reason to stop
            let _ = print::print(&line);
        }
    }

    fn failed(&self, path: &[u8], why: &str) {
        if self.failed.fetch_add(1, Ordering::Relaxed) < LINES {
            say(&format!("execnet: {}: {}: {}", self.host, shown(path), one_line(why)));
        }
    }

    fn deletes_nothing(&self) {
        say(&format!("execnet: {}: {SPARED}", self.host));
        self.spared.store(true, Ordering::Relaxed);
    }

    fn more_failed(&self, count: u64) {
        self.failed.fetch_add(count, Ordering::Relaxed);
    }
}

/// Tells once what cannot be sent to any host.
pub(super) fn tell_listing(listing: &Listing, options: Options) -> HostOutcome {
    struct Here(AtomicU64);
    impl Observer for Here {
        fn failed(&self, path: &[u8], why: &str) {
            if self.0.fetch_add(1, Ordering::Relaxed) < LINES {
                say(&format!("execnet: {}: {}", shown(path), one_line(why)));
            }
        }

        fn more_failed(&self, count: u64) {
            self.0.fetch_add(count, Ordering::Relaxed);
        }
    }
    let here = Here(AtomicU64::new(0));
    listing.tell_failures(&here);
    let failed = here.0.into_inner();
    if failed > LINES {
        say(&format!("execnet: and {} more", failed - LINES));
    }
    if options.delete && !listing.is_finished() {
        say(&format!("execnet: {SPARED}"));
    }
    if failed > 0 { HostOutcome::Failed } else { HostOutcome::Fine }
}

fn shown(path: &[u8]) -> String {
    one_line(&String::from_utf8_lossy(path))
}
