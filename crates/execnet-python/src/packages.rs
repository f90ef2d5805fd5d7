//! Packages for Python: which a gateway brings along, how far they have come, and what arrived.

use std::path::{Path, PathBuf};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use execnet::{Environment, GatewayBuilder, Step, raw};
use pyo3::prelude::*;

use crate::error::Failure;
use crate::network::Node;
use crate::wait::{Coming, aside};

/// A state is passed on at most this often.
const OFTEN: Duration = Duration::from_millis(100);

/// It is passed on again after this time, even if it has not changed.
const AGAIN: Duration = Duration::from_secs(1);

/// The files of a folder that may travel, and what was left out, in words. `skipped` is called with each
/// path, and says which ones count as absent.
#[pyfunction]
#[pyo3(signature = (folder, skipped=None))]
pub(crate) fn files_of(
    py: Python<'_>,
    folder: PathBuf,
    skipped: Option<Py<PyAny>>,
) -> PyResult<(Vec<String>, Vec<String>)> {
    let work = move || {
        let Some(skipped) = skipped else { return raw::files_of(&folder, &|_| false) };
        let is_skipped = |path: &Path| {
            Python::attach(|py| skipped.call1(py, (path.as_os_str(),))?.is_truthy(py)).unwrap_or(false)
        };
        raw::files_of(&folder, &is_skipped)
    };
    Ok(aside(py, work)?.map_err(Failure::from)?)
}

/// What a gateway brings along.
#[pyclass(frozen, module = "execnet._native")]
#[derive(Clone)]
pub(crate) struct Packages(execnet::Packages);

#[pymethods]
impl Packages {
    /// `items`: whether each is a path, and its text. `path`: `sys.path`, absolute.
    #[new]
    #[pyo3(signature = (*, items, large, sent, python, path))]
    fn new(
        items: Vec<(bool, PathBuf)>,
        large: bool,
        sent: Vec<PathBuf>,
        python: PathBuf,
        path: Vec<PathBuf>,
    ) -> PyResult<Self> {
        let mut packages =
            execnet::Packages::new(Environment::new(python).path(path)).large(large).sent(sent);
        for (is_path, item) in items {
            packages = match is_path {
                true => packages.path(item),
                false => packages.item(&item.to_string_lossy()).map_err(Failure::from)?,
            };
        }
        packages.check().map_err(Failure::from)?;
        Ok(Self(packages))
    }
}

impl Packages {
    /// Gives them to a gateway. Their progress is told to the second one.
    pub(crate) fn follow(&self, builder: GatewayBuilder) -> (GatewayBuilder, Progress) {
        let told = Arc::new(Board::default());
        let board = told.clone();
        let packages = self.0.clone().on_progress(move |transfer| board.put(transfer));
        let coming = {
            let told = told.clone();
            Coming::new(move |timeout| told.next(timeout))
        };
        (builder.packages(packages), Progress { told, coming })
    }
}

/// How far the packages of one gateway have come.
#[pyclass(frozen, module = "execnet._native")]
#[derive(Clone)]
pub(crate) struct Progress {
    told: Arc<Board>,
    coming: Arc<Coming<Transfer>>,
}

#[pymethods]
impl Progress {
    /// The next state, or the same again after a second; none once the gateway is open or cannot be opened.
    fn next(&self, py: Python<'_>) -> PyResult<Option<Transfer>> {
        Ok(self.coming.next(py)?)
    }

    /// Says that nothing more comes.
    fn end(&self) {
        self.told.lock().over = true;
        self.told.changed.notify_all();
    }
}

/// See `python/execnet/_native.pyi`.
#[pyclass(frozen, get_all, module = "execnet")]
#[derive(Clone, Default)]
pub(crate) struct Transfer {
    /// The id of the gateway.
    gateway: String,
    /// The node it runs on; none for a child of this program.
    node: Option<Node>,
    /// `reading`, `resolving`, `waiting`, `sending`.
    step: String,
    /// What it waits for.
    waits_for: Option<String>,
    /// Files that were sent, and are to be.
    files: u64,
    of_files: u64,
    /// Bytes that were sent, and are to be, before compression.
    bytes: u64,
    of_bytes: u64,
    /// What was left out or replaced, and why: one sentence each.
    notes: Vec<String>,
}

/// Where the newest state is left.
#[derive(Default)]
struct Board {
    news: Mutex<News>,
    changed: Condvar,
}

#[derive(Default)]
struct News {
    newest: Option<Transfer>,
    /// It has not been passed on.
    fresh: bool,
    /// When a state was passed on last.
    passed: Option<Instant>,
    over: bool,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, transfer: &execnet::Transfer) {
        let mut news = self.lock();
        let mut notes = news.newest.take().filter(|_| news.fresh).map(|old| old.notes).unwrap_or_default();
        notes.extend(transfer.notes.iter().filter(|note| !notes.contains(note)).cloned().collect::<Vec<_>>());
        news.newest = Some(Transfer { notes, ..Transfer::of(transfer) });
        news.fresh = true;
        self.changed.notify_all();
    }

    /// Waits at most this long for a state.
    fn next(&self, timeout: Duration) -> Result<Transfer, RecvTimeoutError> {
        let until = Instant::now().checked_add(timeout);
        let mut news = self.lock();
        loop {
            let now = Instant::now();
            let age = news.passed.map_or(AGAIN, |passed| now.saturating_duration_since(passed));
            let due = match (&news.newest, news.fresh) {
                (Some(_), true) if news.over => Duration::ZERO,
                (Some(_), true) => OFTEN.saturating_sub(age),
                (Some(_), false) => AGAIN.saturating_sub(age),
                (None, _) => Duration::MAX,
            };
            if news.over && !news.fresh {
                return Err(RecvTimeoutError::Disconnected);
            }
            if let (true, Some(newest)) = (due.is_zero(), news.newest.clone()) {
                news.fresh = false;
                news.passed = Some(now);
                return Ok(newest);
            }
            let left = until.map_or(Duration::MAX, |until| until.saturating_duration_since(now));
            if left.is_zero() {
                return Err(RecvTimeoutError::Timeout);
            }
            let slice = left.min(due).min(AGAIN);
            let waited = self.changed.wait_timeout(news, slice);
            news = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Transfer {
    fn of(transfer: &execnet::Transfer) -> Self {
        let (step, waits_for) = match &transfer.step {
            Step::Reading => ("reading", None),
            Step::Resolving => ("resolving", None),
            Step::Waiting { for_ } => ("waiting", Some(for_.clone())),
            Step::Sending => ("sending", None),
            _ => ("preparing", None),
        };
        Self {
            gateway: transfer.gateway.clone(),
            node: transfer.node.as_ref().map(|node| Node::seen(node, "ready")),
            step: step.to_owned(),
            waits_for,
            files: transfer.files,
            of_files: transfer.of_files,
            bytes: transfer.bytes,
            of_bytes: transfer.of_bytes,
            notes: transfer.notes.clone(),
        }
    }
}
