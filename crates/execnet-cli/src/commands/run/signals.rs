//! Signals that end the command: the first is told to the loop, the second ends at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use execnet::{Interrupt, Signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::low_level::emulate_default_handler;

use crate::print::say;
use crate::signals::handled;

/// How long the loop may take to let all processes go, which it does within a second. It may hang in a write.
const AT_MOST: Duration = Duration::from_secs(2);

/// What came.
#[derive(Clone, Default)]
pub(super) struct Ends {
    signal: Arc<AtomicI32>,
    let_go: Arc<AtomicBool>,
    /// Signals for what is kept, bit n for signal n.
    passed: Arc<AtomicU64>,
}

impl Ends {
    /// Watches for signals from now on, for the loop that this thread runs.
    pub(super) fn watch() -> io::Result<Self> {
        let (ends, loops) = (Self::default(), Interrupt::this_thread());
        let mut signals = handled(&[SIGINT, SIGTERM, SIGHUP, SIGQUIT])?;
        let told = ends.clone();
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for number in signals.forever() {
                if told.signal.swap(number, Ordering::SeqCst) != 0 {
                    leave(number);
                }
                loops.raise();
                let told = told.clone();
                drop(thread::Builder::new().name("patience".to_owned()).spawn(move || {
                    thread::sleep(AT_MOST);
                    if !told.let_go.load(Ordering::SeqCst) {
                        leave(number);
                    }
                }));
            }
        })?;
        Ok(ends)
    }

    /// Watches for signals that go to what is kept, and for those that mean to leave it there.
    pub(super) fn pass_on() -> io::Result<Self> {
        let (ends, loops) = (Self::default(), Interrupt::this_thread());
        let mut signals = handled(&[SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGTERM, SIGHUP])?;
        let passed = ends.passed.clone();
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for number in signals.forever() {
                if matches!(number, SIGTERM | SIGHUP) {
                    say("execnet: left; what is kept goes on");
                    leave(number);
                }
                passed.fetch_or(1 << number, Ordering::SeqCst);
                loops.raise();
            }
        })?;
        Ok(ends)
    }

    /// The signals that came for what is kept.
    pub(super) fn passed(&self) -> Vec<Signal> {
        let mask = self.passed.swap(0, Ordering::SeqCst);
        let all = [
            (SIGINT, Signal::Int),
            (SIGQUIT, Signal::Quit),
            (SIGUSR1, Signal::Usr1),
            (SIGUSR2, Signal::Usr2),
        ];
        all.into_iter().filter(|(number, _)| mask >> number & 1 != 0).map(|(_, signal)| signal).collect()
    }

    /// The signal that came, as processes there get it.
    pub(super) fn came(&self) -> Option<Signal> {
        match self.signal.load(Ordering::SeqCst) {
            0 => None,
            SIGINT => Some(Signal::Int),
            SIGHUP => Some(Signal::Hup),
            SIGQUIT => Some(Signal::Quit),
            _ => Some(Signal::Term),
        }
    }

    /// Nothing runs any more: the rest may take its time.
    pub(super) fn all_let_go(&self) {
        self.let_go.store(true, Ordering::SeqCst);
    }

    /// Ends the command as the signal that came would have, so that a shell's loop ends, too.
    pub(super) fn leave_as_told(&self) {
        match self.signal.load(Ordering::SeqCst) {
            0 => {}
            number => leave(number),
        }
    }
}

/// Ends this program by a signal. The daemon then ends what runs on hosts.
fn leave(number: i32) {
    // it returns only if the signal cannot end us
    let _ = emulate_default_handler(number);
    std::process::exit(128 + number);
}
