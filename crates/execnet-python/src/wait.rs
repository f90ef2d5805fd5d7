//! Waits outside the interpreter. Python runs signal handlers only in its main thread, and only when that
//! thread asks: so the main thread waits in slices and asks in between. Other threads wait in one piece.
//! Green threads (gevent, eventlet) do not wait here at all: see [`Door`].

use std::cell::OnceCell;
use std::io::PipeReader;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use execnet::Interrupt;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::error::{Failure, Result};

/// The longest delay of Ctrl-C.
const SLICE: Duration = Duration::from_millis(40);

/// How often a thread checks whether the one it waits for has given up.
const LOOK: Duration = Duration::from_secs(1);

thread_local! {
    static IS_MAIN: OnceCell<bool> = const { OnceCell::new() };
}

/// By this time after `ending`, the interpreter has ended.
const END: Duration = Duration::from_secs(5);

/// The program ends: see [`released`].
static ENDING: AtomicBool = AtomicBool::new(false);

/// Tells the waits that the interpreter is about to end, and that everything it would have waited for has
/// ended.
#[pyfunction]
pub(crate) fn ending() {
    ENDING.store(true, Ordering::Release);
}

/// Runs `work` outside the interpreter. A thread that returns into an ending interpreter is torn out of all
/// its frames, which those of Rust do not survive: so it waits for the end. Not forever, because something
/// that ends after us may wait for it.
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
        let main = threading.call_method0("main_thread")?;
        // with green threads, any of them may be the first that asks
        Ok::<_, PyErr>(
            main.getattr("ident")?.eq(threading.call_method0("get_ident")?)?
                || main.getattr("native_id")?.eq(threading.call_method0("get_native_id")?)?,
        )
    };
    IS_MAIN.with(|is_main| *is_main.get_or_init(|| ask().unwrap_or(true)))
}

/// Identifies Python's threads, including green ones.
pub(crate) fn this_thread(py: Python<'_>) -> PyResult<u64> {
    py.import("threading")?.call_method0("get_ident")?.extract()
}

/// A timeout in Python's seconds as a deadline; none for no limit, and for a time past the end of the clock.
pub(crate) fn deadline(timeout: Option<f64>) -> Option<Instant> {
    let seconds = Duration::try_from_secs_f64(timeout?.max(0.0)).ok()?;
    Instant::now().checked_add(seconds)
}

/// Calls `step` with the time that it may wait, until it returns something other than `None` (not in time).
/// At the deadline the result is `None`.
///
/// For green threads, `step` must not wait. Instead, `ready` makes a function that another thread calls; it
/// waits until `step` would not have to, and returns whether that was in time. It takes nothing, so nothing
/// is lost if the thread is interrupted.
pub(crate) fn wait<T: Send, E: Into<Failure> + Send, R>(
    py: Python<'_>,
    deadline: Option<Instant>,
    ready: impl Fn() -> R,
    mut step: impl FnMut(Option<Duration>) -> std::result::Result<Option<T>, E> + Send,
) -> Result<Option<T>>
where
    R: FnMut(Option<Duration>) -> bool + Send + 'static,
{
    let is_main = is_main(py);
    let door = Door::of_this_thread(py)?;
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let slice = match (&door, is_main) {
            (Some(_), _) => Some(Duration::ZERO),
            (None, true) => Some(left.map_or(SLICE, |left| left.min(SLICE))),
            (None, false) => left,
        };
        let done = released(py, || step(slice)).map_err(Into::into)?;
        if done.is_some() {
            return Ok(done);
        }
        py.check_signals()?;
        match &door {
            _ if left.is_some_and(|left| left.is_zero() || Some(left) <= slice) => return Ok(None),
            Some(door) => door.await_ready(py, deadline, ready())?,
            None => {}
        }
    }
}

/// Waits at most this long for the next one.
type Waits<T> = dyn FnMut(Duration) -> std::result::Result<T, RecvTimeoutError> + Send;

/// A sequence of items, for which one thread at a time waits.
pub(crate) struct Coming<T> {
    wait: Mutex<Box<Waits<T>>>,
    /// The item that has come; none after the last one.
    next: Mutex<Option<Option<T>>>,
}

impl<T: Send + 'static> Coming<T> {
    /// The items that `wait` returns.
    pub(crate) fn new(
        wait: impl FnMut(Duration) -> std::result::Result<T, RecvTimeoutError> + Send + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { wait: Mutex::new(Box::new(wait)), next: Mutex::default() })
    }

    /// Waits for the next one; none after the last one.
    pub(crate) fn next(self: &Arc<Self>, py: Python<'_>) -> Result<Option<T>> {
        let ready = || {
            let coming = self.clone();
            move |slice| coming.look(slice)
        };
        let next = wait(py, None, ready, |slice| {
            Ok::<_, Failure>(if self.look(slice) { self.seen().take() } else { None })
        })?;
        Ok(next.flatten())
    }

    /// Ends it: nothing comes any more, and nobody has to give anything.
    pub(crate) fn end(&self, py: Python<'_>) {
        let nothing: Box<Waits<T>> = Box::new(|_| Err(RecvTimeoutError::Disconnected));
        // a thread that waits for a green one may still look
        py.detach(|| *self.wait.lock().unwrap_or_else(PoisonError::into_inner) = nothing);
    }

    /// Waits until there is one, or the end; false if neither came in time.
    fn look(&self, timeout: Option<Duration>) -> bool {
        if self.seen().is_some() {
            return true;
        }
        let mut wait = self.wait.lock().unwrap_or_else(PoisonError::into_inner);
        let next = match wait(timeout.unwrap_or(Duration::MAX)) {
            Ok(next) => Some(next),
            Err(RecvTimeoutError::Timeout) => return false,
            Err(RecvTimeoutError::Disconnected) => None,
        };
        *self.seen() = Some(next);
        true
    }

    fn seen(&self) -> MutexGuard<'_, Option<Option<T>>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs `work`, which cannot be cut into slices: in a thread of its own if this is the main thread or a green
/// one. If a signal handler raises, `work` is interrupted, and its result is dropped.
pub(crate) fn aside<T: Send + 'static>(
    py: Python<'_>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    match Door::of_this_thread(py)? {
        None if !is_main(py) => Ok(released(py, work)),
        door => apart(py, door.as_ref(), work),
    }
}

/// How a green thread waits. In native code it would keep all other green threads from running, perhaps even
/// the one it waits for. So it waits in its library, for something that the library supports: the end of a
/// pipe.
struct Door(Py<PyAny>);

impl Door {
    /// The door for the calling thread; none if it may wait in native code. `execnet._green` decides.
    fn of_this_thread(py: Python<'_>) -> PyResult<Option<Self>> {
        static ASK: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let ask = ASK
            .get_or_try_init(py, || Ok::<_, PyErr>(py.import("execnet._green")?.getattr("door")?.unbind()))?;
        let door = ask.call0(py)?;
        Ok((!door.is_none(py)).then_some(Self(door)))
    }

    /// Lets others run until the other end of the pipe is closed.
    fn wait(&self, py: Python<'_>, pipe: &PipeReader) -> PyResult<()> {
        self.0.call1(py, (pipe.as_raw_fd(),)).map(drop)
    }

    /// Lets others run until `ready`, or until the deadline.
    fn await_ready(
        &self,
        py: Python<'_>,
        deadline: Option<Instant>,
        mut ready: impl FnMut(Option<Duration>) -> bool + Send + 'static,
    ) -> Result<()> {
        let given_up = Arc::new(AtomicBool::new(false));
        let seen = given_up.clone();
        let work = move || {
            while !seen.load(Ordering::Acquire) {
                let left =
                    deadline.map_or(LOOK, |deadline| deadline.saturating_duration_since(Instant::now()));
                if ready(Some(left.min(LOOK))) || left.is_zero() {
                    break;
                }
            }
        };
        apart(py, Some(self), work).inspect_err(|_| given_up.store(true, Ordering::Release))
    }
}

/// Runs `work` in a thread of its own, and waits for it in slices, or at the door.
fn apart<T: Send + 'static>(
    py: Python<'_>,
    door: Option<&Door>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let (done_tx, done_rx) = channel();
    let (thread_tx, thread_rx) = channel();
    let (pipe, end) = match door {
        Some(_) => std::io::pipe().map(|(pipe, end)| (Some(pipe), Some(end))).map_err(PyErr::from)?,
        None => (None, None),
    };
    let thread = std::thread::Builder::new().name("execnet-work".into()).spawn(move || {
        let _ = thread_tx.send(Interrupt::this_thread());
        // if this fails, nobody wants the result any more
        let _ = done_tx.send(work());
        drop(end);
    });
    thread.map_err(PyErr::from)?;
    let done_rx = Mutex::new(done_rx);
    let next = |patience| done_rx.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(patience);
    loop {
        let waited = match (door, &pipe) {
            (Some(door), Some(pipe)) => door.wait(py, pipe).map(|()| next(Duration::ZERO)),
            _ => Ok(py.detach(|| next(SLICE))),
        };
        // if a handler raises after this call, the finished work is lost
        let raised = match (waited, py.check_signals()) {
            (Ok(Ok(done)), Ok(())) => return Ok(done),
            (Ok(Err(RecvTimeoutError::Disconnected)), Ok(())) => {
                let why = "the work was given up";
                return Err(pyo3::exceptions::PyRuntimeError::new_err(why).into());
            }
            (Ok(Err(RecvTimeoutError::Timeout)), Ok(())) => continue,
            (Err(raised), _) | (Ok(_), Err(raised)) => raised,
        };
        if let Ok(thread) = thread_rx.recv() {
            thread.raise();
        }
        return Err(raised.into());
    }
}
