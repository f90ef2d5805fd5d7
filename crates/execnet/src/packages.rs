//! What a gateway brings along: installed distributions and folders of this machine.
//!
//! [`Packages`] says which, [`Environment`] where they are installed. Which files these are for a given
//! interpreter is decided by `plan`; `supply` sends them.

pub(crate) mod ask;
pub(crate) mod beneath;
mod closure;
mod environment;
mod error;
mod facts;
mod fit;
mod folder;
mod hashes;
mod item;
mod kept;
mod manifest;
mod plan;
pub(crate) mod progress;
mod record;
mod scripts;
mod sending;
mod squeeze;
mod standin;
mod stored;
pub(crate) mod supply;
mod tracked;
mod uv;
mod watch;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use error::PackagesError;
pub(crate) use item::Item;
pub use stored::{Cleaned, Stored, StoredError, clean, list};

use crate::node::Node;

/// What a gateway brings along.
///
/// ```no_run
/// use execnet::{Environment, Packages};
///
/// let packages = Packages::new(Environment::new("venv/bin/python")).item("attrs")?.item("./src")?;
/// let gateway = execnet::connect("mynet")?.makegateway().packages(packages).start()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use = "give it to `GatewayBuilder::packages`"]
pub struct Packages {
    pub(crate) environment: Environment,
    pub(crate) items: Vec<Item>,
    pub(crate) large: bool,
    pub(crate) sent: Vec<PathBuf>,
    pub(crate) on_progress: Option<OnProgress>,
}

pub(crate) type OnProgress = Arc<dyn Fn(&Transfer) + Send + Sync>;

/// Where distributions are installed: an interpreter of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Environment {
    pub(crate) python: PathBuf,
    /// None: the interpreter's own.
    pub(crate) path: Option<Vec<PathBuf>>,
}

/// How far a gateway's packages have come.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Transfer {
    /// The id of the gateway.
    pub gateway: String,
    /// The node that it runs on; none for a child of this program.
    pub node: Option<Node>,
    /// What is done at the moment.
    pub step: Step,
    /// Files that were sent, and are to be.
    pub files: u64,
    /// How many that will be.
    pub of_files: u64,
    /// Bytes that were sent, before compression.
    pub bytes: u64,
    /// How many that will be.
    pub of_bytes: u64,
    /// What was left out, or replaced, and why: one sentence each.
    pub notes: Vec<String>,
}

/// What is done for a gateway's packages.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Files here are read and listed.
    Reading,
    /// Distributions for the other interpreter are looked for.
    Resolving,
    /// Another gateway brings the same to that host.
    Waiting {
        /// What it waits for, in the host's words: escape them before you show them.
        for_: String,
    },
    /// Files are sent.
    Sending,
}

/// What a gateway has brought along.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Activated {
    /// The folders on its host, in the order of `sys.path`.
    pub folders: Vec<String>,
    /// The variables under which other processes of the same interpreter on that host find the packages.
    pub environment: Vec<(String, String)>,
}

impl Packages {
    /// Nothing yet, from this environment.
    pub fn new(environment: Environment) -> Self {
        Self { environment, items: Vec::new(), large: false, sent: Vec::new(), on_progress: None }
    }

    /// Adds an item: an installed distribution with all that it requires (`attrs`, `requests[socks]`), a
    /// folder or module (`./src`, `/home/me/lib/tool.py`: with a `/`, or beginning with `.` or `~`),
    /// everything that is installed (`*`), or an exception from all that (`!torch`).
    ///
    /// # Errors
    /// [`PackagesError::Item`] if it is none of these.
    pub fn item(mut self, text: &str) -> Result<Self, PackagesError> {
        self.items.push(Item::read(text)?);
        Ok(self)
    }

    /// Adds a folder or module, whatever its name. A relative path starts at the present working folder.
    pub fn path(mut self, path: impl AsRef<Path>) -> Self {
        self.items.push(Item::Path(item::absolute(path.as_ref())));
        self
    }

    /// Whether these items go together. [`GatewayBuilder::start`](crate::GatewayBuilder::start) asks, too.
    ///
    /// # Errors
    /// [`PackagesError::Item`] if nothing but exceptions is given, or an exception from what an item names.
    pub fn check(&self) -> Result<(), PackagesError> {
        item::check(&self.items)
    }

    /// Allows to send more than 256 MiB.
    pub fn large(mut self, large: bool) -> Self {
        self.large = large;
        self
    }

    /// Folders that reach the gateway's working folder by other means. What lies in them does not travel as a
    /// package; its entry of `sys.path` leads there instead.
    pub fn sent(mut self, folders: impl IntoIterator<Item = PathBuf>) -> Self {
        self.sent.extend(folders.into_iter().map(|folder| item::absolute(&folder)));
        self
    }

    /// Calls back while the packages are prepared and sent: when a step begins, and then at most every
    /// 100 ms. The thread that opens the gateway calls it, however little time that takes.
    pub fn on_progress(mut self, on_progress: impl Fn(&Transfer) + Send + Sync + 'static) -> Self {
        self.on_progress = Some(Arc::new(on_progress));
        self
    }
}

/// The paths of a folder's files within it, and what was left out.
pub(crate) fn files_of(
    folder: &Path,
    skipped: &dyn Fn(&Path) -> bool,
) -> Result<(Vec<String>, Vec<String>), PackagesError> {
    let mut found = folder::Found::default();
    folder::files_but("", folder, skipped, &mut found)?;
    Ok((found.files.into_iter().map(|file| file.path).collect(), found.notes))
}

impl fmt::Debug for Packages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packages")
            .field("environment", &self.environment)
            .field("items", &self.items)
            .field("large", &self.large)
            .field("sent", &self.sent)
            .finish_non_exhaustive()
    }
}

impl Environment {
    /// That of this interpreter: a path, or a name to look for in `PATH`.
    pub fn new(python: impl Into<PathBuf>) -> Self {
        Self { python: python.into(), path: None }
    }

    /// Its `sys.path`, if it is not the interpreter's own.
    #[must_use]
    pub fn path(mut self, path: Vec<PathBuf>) -> Self {
        self.path = Some(path);
        self
    }
}
