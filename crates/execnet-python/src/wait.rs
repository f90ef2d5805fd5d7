//! Waiting outside the interpreter. Python's signal handlers run in its main thread only, and only when that asks for them: so its waits are cut into
//! slices, and it asks in between. Other threads wait in one piece.

use std::cell::OnceCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use execnet::Interrupt;
use pyo3::prelude::*;

use crate::error::{Failure, Result};

/// How long Ctrl-C may have to wait.
const SLICE: Duration = Duration::from_millis(40);

thread_local! {
    static IS_MAIN: OnceCell<bool> = const { OnceCell::new() };
}

/// An interpreter that is about to end has ended by then.
const END: Duration = Duration::from_secs(5);

/// The program ends: see [`released`].
static ENDING: AtomicBool = AtomicBool::new(false);

/// The interpreter is about to end, and everything that it would have waited for has ended.
#[pyfunction]
pub(crate) fn ending() {
    ENDING.store(true, Ordering::Release);
}

/// Does something outside the interpreter. A thread that comes back into one that ends is torn out of all its frames, which those of Rust do not
/// survive: so it waits for the end. Not for ever, as something that ends after us may wait for it.
pub(crate) fn released<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> T {
    let is_main = is_main(py);
    py.detach(|| {
        let done = work();
        if !is_main && ENDING.load(Ordering::Acquire) {
            std::thread::sleep(END);
        }
        done
    })
}

/// Whether this is Python's main thread.
fn is_main(py: Python<'_>) -> bool {
    let ask = || {
        let threading = py.import("threading")?;
        threading.call_method0("main_thread")?.getattr("ident")?.eq(threading.call_method0("get_ident")?)
    };
    IS_MAIN.with(|is_main| *is_main.get_or_init(|| ask().unwrap_or(true)))
}

/// Seconds as Python has them; none for no limit, and for more than there is.
pub(crate) fn deadline(timeout: Option<f64>) -> Option<Instant> {
    let seconds = Duration::try_from_secs_f64(timeout?.max(0.0)).ok()?;
    Instant::now().checked_add(seconds)
}

/// Calls `step` with the time that it may wait, until it comes back with something else than `None` (not in time). At the deadline the
/// result is `None`.
pub(crate) fn wait<T: Send, E: Into<Failure> + Send>(
    py: Python<'_>,
    deadline: Option<Instant>,
    mut step: impl FnMut(Option<Duration>) -> std::result::Result<Option<T>, E> + Send,
) -> Result<Option<T>> {
    let is_main = is_main(py);
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let slice = if is_main { Some(left.map_or(SLICE, |left| left.min(SLICE))) } else { left };
        let done = released(py, || step(slice)).map_err(Into::into)?;
        if done.is_some() {
            return Ok(done);
        }
        py.check_signals()?;
        if left.is_some_and(|left| left <= slice.unwrap_or(left)) {
            return Ok(None);
        }
    }
}

/// Does something that cannot be cut into slices: in a thread of its own, if this is the main thread. When a signal's handler raises, the work is
/// interrupted, and what it results in after all is dropped.
pub(crate) fn aside<T: Send + 'static>(
    py: Python<'_>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    if !is_main(py) {
        return Ok(released(py, work));
    }
    let (done_tx, done_rx) = channel();
    let (thread_tx, thread_rx) = channel();
    let thread = std::thread::Builder::new().name("execnet-work".into()).spawn(move || {
        let _ = thread_tx.send(Interrupt::this_thread());
        // nobody wants it any more if this fails
        let _ = done_tx.send(work());
    });
    thread.map_err(PyErr::from)?;
    let done_rx = std::sync::Mutex::new(done_rx);
    loop {
        let done = py.detach(|| {
            let done_rx = done_rx.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            done_rx.recv_timeout(SLICE)
        });
        match done {
            Ok(done) => {
                // behind this call it would be lost without having ended
                py.check_signals()?;
                return Ok(done);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                let why = "the work was given up";
                return Err(pyo3::exceptions::PyRuntimeError::new_err(why).into());
            }
        }
        if let Err(raised) = py.check_signals() {
            if let Ok(thread) = thread_rx.recv() {
                thread.raise();
            }
            return Err(raised.into());
        }
    }
}
