//! Copies for Python: what is sent, and what a program hears of it. Threads of ours copy, one for each
//! target; the program's thread waits for what they tell, so that none of them calls Python.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use execnet::copy::{self, Blocks, CopyError, ListError, Observer, Options};
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use crate::channel::Channel;
use crate::error::{GatewayDied, RemoteError, sending};
use crate::wait::Coming;

/// How much is told ahead of a program that takes its time.
const AHEAD: usize = 1024;

/// What is sent.
#[pyclass(frozen, module = "execnet._native")]
pub(crate) struct Listing(Arc<copy::Listing>);

#[pymethods]
impl Listing {
    /// `chosen` is called with the path of each entry, and says whether it is sent.
    #[new]
    #[expect(clippy::needless_pass_by_value, reason = "Python makes it")]
    fn new(source: PathBuf, chosen: &Bound<'_, PyAny>) -> PyResult<Self> {
        let mut filter = |path: &Path| Ok(chosen.call1((path.as_os_str(),))?.is_truthy()?);
        let listing = copy::Listing::chosen(source.as_ref(), &mut filter).map_err(unlisted)?;
        Ok(Self(Arc::new(listing)))
    }
}

fn unlisted(error: ListError) -> PyErr {
    let words = error.to_string();
    match error {
        ListError::Source { path, error } => match error.raw_os_error() {
            // Python makes a PermissionError or the like of it
            Some(errno) => {
                let words = error.to_string();
                let (why, _) = words.split_once(" (os error").unwrap_or((&words, ""));
                PyOSError::new_err((errno, why.to_owned(), path.into_os_string()))
            }
            None if error.kind() == ErrorKind::Unsupported => PyValueError::new_err(words),
            // the filter raised it
            None => error.into(),
        },
        _ => PyOSError::new_err(words),
    }
}

/// What happens to one target.
enum Event {
    /// A file is sent.
    Sends(Vec<u8>),
    /// So many bytes are needed.
    List(u64),
    /// A file of this size is in place.
    Ack(u64),
    Done,
    Failed(CopyError),
}

/// The number of a target, what happens there, and a path, a size or an error.
type Told<'py> = (usize, &'static str, Option<Bound<'py, PyAny>>);

/// A listing on its way to some targets.
#[pyclass(frozen, module = "execnet._native")]
pub(crate) struct Copies {
    told: Arc<Coming<(usize, Event)>>,
    channels: Vec<execnet::Channel>,
}

#[pymethods]
impl Copies {
    /// `targets`: the channel to each receiver, a path there, and whether to delete there.
    #[new]
    fn new(listing: &Listing, targets: Vec<(Bound<'_, Channel>, Vec<u8>, bool)>) -> PyResult<Self> {
        let (tell, told) = sync_channel(AHEAD);
        let blocks = Arc::new(Blocks::default());
        let mut channels = Vec::new();
        for (number, (channel, target, delete)) in targets.into_iter().enumerate() {
            let channel = channel.get().native().clone();
            channels.push(channel.clone());
            let (listing, blocks, tell) = (listing.0.clone(), blocks.clone(), tell.clone());
            let copy = move || {
                let heard = Heard { number, tell, state: Mutex::default() };
                let options = Options { delete, exact: true, ..Options::default() };
                let done = copy::push_over(&channel, &listing, &blocks, &target, options, &heard);
                heard.end(done);
            };
            thread::Builder::new().name("execnet-copy".into()).spawn(copy)?;
        }
        Ok(Self { told: Coming::new(move |timeout| told.recv_timeout(timeout)), channels })
    }

    /// What is told next, until all targets are done or have failed.
    fn next<'py>(&self, py: Python<'py>) -> PyResult<Told<'py>> {
        let given_up = || PyRuntimeError::new_err("the copy was given up");
        let (number, event) = self.told.next(py)?.ok_or_else(given_up)?;
        let (what, about) = match event {
            Event::Sends(path) => ("sends", Some(OsStr::from_bytes(&path).into_pyobject(py)?.into_any())),
            Event::List(size) => ("list", Some(size.into_pyobject(py)?.into_any())),
            Event::Ack(size) => ("ack", Some(size.into_pyobject(py)?.into_any())),
            Event::Done => ("done", None),
            Event::Failed(error) => {
                ("failed", Some(self.raised(number, error).into_value(py).into_bound(py).into_any()))
            }
        };
        Ok((number, what, about))
    }

    /// Hears no more, so that the threads come to their end.
    fn end(&self, py: Python<'_>) {
        self.told.end(py);
    }
}

impl Copies {
    fn raised(&self, number: usize, error: CopyError) -> PyErr {
        let words = error.to_string();
        match error {
            CopyError::Over(_) => RemoteError::new_err(words),
            CopyError::Died(_) => GatewayDied::new_err(words),
            CopyError::Channel(error) => sending(&self.channels[number])(error).into(),
            _ => PyOSError::new_err(words),
        }
    }
}

/// Tells the program's thread about one target.
struct Heard {
    number: usize,
    tell: SyncSender<(usize, Event)>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    handed: Vec<u64>,
    failed: Option<String>,
    failures: u64,
}

impl Heard {
    fn tell(&self, event: Event) {
        // if it fails, the program waits no longer
        let _ = self.tell.send((self.number, event));
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(self, done: Result<(), CopyError>) {
        let State { handed, failed, failures } = std::mem::take(&mut *self.state());
        let done = match (done, failed) {
            (Ok(()), Some(first)) if failures > 1 => {
                Err(CopyError::Over(format!("{first}, and {} more", failures - 1)))
            }
            (Ok(()), Some(first)) => Err(CopyError::Over(first)),
            (done, _) => done,
        };
        match done {
            Ok(()) => {
                handed.into_iter().for_each(|size| self.tell(Event::Ack(size)));
                self.tell(Event::Done);
            }
            Err(error) => self.tell(Event::Failed(error)),
        }
    }
}

impl Observer for Heard {
    fn compared(&self, bytes: u64) {
        self.tell(Event::List(bytes));
    }

    fn sends(&self, path: &[u8]) {
        self.tell(Event::Sends(path.to_vec()));
    }

    fn handed(&self, bytes: u64) {
        self.state().handed.push(bytes);
    }

    fn failed(&self, path: &[u8], why: &str) {
        let mut state = self.state();
        state.failures += 1;
        state.failed.get_or_insert_with(|| format!("{}: {why}", String::from_utf8_lossy(path)));
    }

    fn more_failed(&self, count: u64) {
        self.state().failures += count;
    }

    // removed meanwhile, or nobody may read it: the other side keeps what it has
    fn unread(&self, _path: &[u8], _why: &str) {}
}
