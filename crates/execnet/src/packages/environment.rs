//! What is installed where the client runs. The client's interpreter is asked (environment.py), once for each
//! state of its folders.

mod disk;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::str::FromStr;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use std::{env, io, thread};

use execnet_proto::spec::nearest;
use pep508_rs::Requirement;

use super::facts::Facts;
use super::kept::Kept;
use super::watch::Watch;
use super::{Environment, PackagesError};
use disk::Disk;

/// A hung file system must not hang the client in silence.
const LIMIT: Duration = Duration::from_secs(60);

/// More than any answer has: what prints without end must not fill the memory.
const LONGEST: u64 = 16 << 20;

/// The first Python that can be asked.
const OLDEST: (u32, u32) = (3, 8);

/// Whatever executes this is a Python, and says which. The relative entries of `sys.path` would be looked for
/// modules; the rest of the program comes on stdin.
const START: &str = "import sys\n\
    sys.stdout.write('\\nexecnet: Python %d.%d\\n' % sys.version_info[:2])\n\
    sys.stdout.flush()\n\
    sys.version_info < (3, 8) and sys.exit()\n\
    sys.path[:] = [place for place in sys.path if place]\n\
    exec(compile(sys.stdin.buffer.read(), '<execnet environment>', 'exec'))";

/// What it executes.
const SOURCE: &str = include_str!("environment.py");

/// What decides about an interpreter's `sys.path`, besides its own files.
const VARIABLES: [&str; 6] =
    ["PYTHONPATH", "PYTHONHOME", "PYTHONNOUSERSITE", "PYTHONUSERBASE", "HOME", "__PYVENV_LAUNCHER__"];

/// What is installed.
#[derive(Debug, serde::Deserialize, serde::Serialize)]
pub(super) struct Installed {
    pub(super) facts: Facts,
    /// The interpreter.
    pub(super) executable: String,
    /// Its `sys.path`.
    path: Vec<PathBuf>,
    /// Where its standard library has distributions of its own (PyPy's cffi).
    pub(super) library: PathBuf,
    /// The names of its modules.
    pub(super) standard: BTreeSet<String>,
    /// In the order in which `importlib.metadata` finds them.
    pub(super) distributions: Vec<Distribution>,
    /// What could not be read, in words.
    pub(super) problems: Vec<String>,
    /// Files that decide about the path.
    #[serde(rename = "watch")]
    watched: Vec<PathBuf>,
    #[serde(skip)]
    names: HashMap<String, usize>,
    #[serde(skip)]
    watch: Watch,
}

/// An installed distribution.
#[derive(Debug, Default, serde::Deserialize, serde::Serialize)]
pub(super) struct Distribution {
    /// As its metadata writes it.
    pub(super) name: String,
    pub(super) version: String,
    /// The folder of `sys.path` that it is in.
    pub(super) place: PathBuf,
    /// The name of its metadata there: a folder, or a file of distutils.
    pub(super) metadata: String,
    requires: Vec<String>,
    pub(super) requires_python: String,
    pub(super) extras: Vec<String>,
    /// The tags in WHEEL.
    pub(super) tags: Vec<String>,
    /// Console scripts: `name` and `module:object`.
    pub(super) scripts: BTreeMap<String, String>,
    /// pytest finds a plugin in it.
    pub(super) pytest11: bool,
    /// Somebody asked for it by name.
    pub(super) requested: bool,
    /// It came from a repository, a folder or a file, not from an index.
    pub(super) direct: bool,
    /// For an editable install: the name in the set (empty: a folder that is on `sys.path` whole), and where
    /// it is.
    pub(super) roots: Option<Vec<(String, PathBuf)>>,
    /// The files in `place` that make an editable one.
    pub(super) pointers: Vec<String>,
    /// Why it cannot be sent.
    pub(super) problem: String,
    #[serde(skip)]
    parsed: OnceLock<Vec<Result<Requirement, String>>>,
}

impl Installed {
    fn index(&mut self) {
        for (index, distribution) in self.distributions.iter().enumerate() {
            self.names.entry(normalized(&distribution.name)).or_insert(index);
        }
    }

    /// The distribution of this name, however it is written.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.names.get(&normalized(name)).copied()
    }

    /// An installed distribution whose name is much like this one.
    pub(super) fn similar(&self, name: &str) -> Option<&str> {
        nearest(name, self.distributions.iter().map(|distribution| distribution.name.as_str()))
    }
}

impl Distribution {
    /// What it requires, for all markers; a text that is no requirement as it is.
    pub(super) fn requires(&self) -> &[Result<Requirement, String>] {
        self.parsed.get_or_init(|| {
            let parse = |text: &String| Requirement::from_str(text).map_err(|_| text.clone());
            self.requires.iter().map(parse).collect()
        })
    }

    /// Its metadata.
    pub(super) fn folder(&self) -> PathBuf {
        self.place.join(&self.metadata)
    }
}

/// A name as indexes compare it (PEP 503).
pub(super) fn normalized(name: &str) -> String {
    let mut normalized = String::with_capacity(name.len());
    for char in name.chars() {
        match char {
            '-' | '_' | '.' if normalized.ends_with('-') => {}
            '-' | '_' | '.' => normalized.push('-'),
            char => normalized.push(char.to_ascii_lowercase()),
        }
    }
    normalized
}

/// What is installed there. Asks the interpreter only if something has changed since the last time.
pub(super) fn installed(environment: &Environment) -> Result<Arc<Installed>, PackagesError> {
    static KNOWN: Kept<Key, Installed> = Kept::new();
    let key = Key::of(environment);
    let disk = Disk::of(&key);
    KNOWN.get(
        key,
        |installed| installed.watch.holds(),
        || match disk.as_ref().and_then(Disk::read) {
            Some(installed) => Ok(installed),
            None => {
                let installed = ask(environment)?;
                if let Some(disk) = disk {
                    disk.write(&installed);
                }
                Ok(installed)
            }
        },
    )
}

/// What decides about the answer, besides the files that are watched.
#[derive(Debug, PartialEq, Eq)]
struct Key {
    /// The program, as it will be found.
    python: PathBuf,
    path: Option<Vec<PathBuf>>,
    variables: Vec<Option<OsString>>,
    /// The working folder, if something is relative to it.
    folder: Option<PathBuf>,
}

impl Key {
    fn of(environment: &Environment) -> Self {
        let Environment { python, path } = environment;
        let python = which(python, env::var_os("PATH")).unwrap_or_else(|| python.clone());
        let entries = env::var_os("PYTHONPATH").unwrap_or_default();
        let relative = |path: &Path| !path.is_absolute();
        let named = !entries.is_empty() && env::split_paths(&entries).any(|path| relative(&path));
        let given = path.iter().flatten().any(|path| relative(path));
        let folder = if named || given || relative(&python) { env::current_dir().ok() } else { None };
        Self { python, path: path.clone(), variables: VARIABLES.iter().map(env::var_os).collect(), folder }
    }
}

fn ask(environment: &Environment) -> Result<Installed, PackagesError> {
    let python = &environment.python;
    let shown = || python.display().to_string();
    let error = |reason: String| PackagesError::Environment { python: shown(), reason };
    let unusable = |reason: String| PackagesError::Interpreter { python: shown(), reason };
    let mut watch = Watch::start();
    let paths = match &environment.path {
        None => "None".to_owned(),
        Some(paths) => {
            let paths: Option<Vec<_>> = paths.iter().map(|path| path.to_str()).collect();
            let paths = paths.ok_or_else(|| error("a folder of `sys.path` is not named in UTF-8".into()))?;
            // JSON's strings without anything beyond ASCII are Python's
            ascii(&serde_json::to_string(&paths).map_err(|cause| error(cause.to_string()))?)
        }
    };
    let source = format!("PATHS = {paths}\n{SOURCE}");
    let mut command = Command::new(python);
    // Python 3.13 with colours, or an interactive one, would add to what is read
    command.args(["-c", START]).env_remove("PYTHONINSPECT").env_remove("PYTHONSTARTUP");
    let ran = run(command, source.into_bytes(), LIMIT).map_err(|cause| match is_no_program(&cause) {
        true => unusable(format!("is no Python interpreter ({cause})")),
        false => error(cause.to_string()),
    })?;
    match version(&ran.stdout) {
        Some(version) if version < OLDEST => {
            let ((major, minor), (from, least)) = (version, OLDEST);
            return Err(unusable(format!(
                "is Python {major}.{minor}, and {from}.{least} or later is needed"
            )));
        }
        Some(_) => {}
        None => {
            let said = String::from_utf8_lossy(&ran.stderr);
            return Err(match said.lines().find(|line| line.starts_with("Fatal Python error")) {
                Some(line) => error(line.to_owned()),
                None => unusable(format!("is no Python interpreter ({})", ran.last_words())),
            });
        }
    }
    if !ran.status.success() {
        return Err(error(ran.last_words()));
    }
    let mut installed: Installed = serde_json::from_slice(document(&ran.stdout))
        .map_err(|cause| error(format!("its answer is not what was expected: {cause}")))?;
    if installed.facts.markers().is_none() {
        return Err(error(format!("its version is strange: {}", installed.facts.python_full_version)));
    }
    installed.index();
    for distribution in &installed.distributions {
        watch.path(&distribution.folder());
        for pointer in &distribution.pointers {
            watch.path(&distribution.place.join(pointer));
        }
    }
    for place in installed.path.iter().chain(&installed.watched) {
        watch.path(place);
    }
    watch.path(&which(python, env::var_os("PATH")).unwrap_or_else(|| python.clone()));
    installed.watch = watch;
    Ok(installed)
}

/// Whether that is what the system says of a file that is no program.
fn is_no_program(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let of = [Errno::NOENT, Errno::NOTDIR, Errno::ACCESS, Errno::NOEXEC, Errno::LOOP, Errno::NAMETOOLONG];
    Errno::from_io_error(error).is_some_and(|errno| of.contains(&errno))
}

/// The version of Python that has executed `START`, if one has.
fn version(stdout: &[u8]) -> Option<(u32, u32)> {
    let stdout = String::from_utf8_lossy(stdout);
    let (_, after) = stdout.split_once("\nexecnet: Python ")?;
    let (major, minor) = after.lines().next()?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The document in what was printed: a `sitecustomize` may have spoken before it.
fn document(stdout: &[u8]) -> &[u8] {
    let start = stdout.windows(9).position(|bytes| bytes == b"\n{\"facts\"").map_or(0, |at| at + 1);
    &stdout[start..]
}

fn ascii(text: &str) -> String {
    let mut ascii = String::with_capacity(text.len());
    for char in text.chars() {
        if char.is_ascii() {
            ascii.push(char);
        } else {
            ascii.push_str(&format!("\\U{:08x}", char as u32));
        }
    }
    ascii
}

/// The program that this is the name of, in the folders of a `PATH`.
pub(super) fn which(program: &Path, path: Option<OsString>) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return Some(program.to_owned());
    }
    env::split_paths(&path?).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// What a program did.
pub(super) struct Ran {
    pub(super) status: ExitStatus,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

impl Ran {
    /// How it ended, and the last that it printed.
    fn last_words(&self) -> String {
        const MOST: usize = 200;
        let last = |bytes: &Vec<u8>| {
            let bytes = bytes.trim_ascii_end();
            let line = bytes.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
            let line = String::from_utf8_lossy(&line[..line.len().min(MOST)]).trim().to_owned();
            (!line.is_empty()).then_some(line)
        };
        let said = [&self.stderr, &self.stdout].into_iter().find_map(last);
        format!("{}: {}", self.status, said.as_deref().unwrap_or("it printed nothing"))
    }
}

/// Runs a program to its end, which comes after this time at the latest.
pub(super) fn run(mut command: Command, stdin: Vec<u8>, limit: Duration) -> io::Result<Ran> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Running(command.spawn()?);
    let (Some(mut to), Some(from), Some(errors)) =
        (child.0.stdin.take(), child.0.stdout.take(), child.0.stderr.take())
    else {
        return Err(io::Error::other("a pipe is missing"));
    };
    let (ended_tx, ended_rx) = mpsc::channel();
    let stdout = read(from, ended_tx.clone());
    let stderr = read(errors, ended_tx);
    // it may end without having read it
    thread::spawn(move || to.write_all(&stdin).map(|()| drop(to)));
    let deadline = std::time::Instant::now() + limit;
    for _ in 0..2 {
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        if ended_rx.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
            return Err(io::Error::other(format!("no answer within {} s", limit.as_secs())));
        }
    }
    let status = child.0.wait()?;
    let bytes = |of: thread::JoinHandle<Vec<u8>>| of.join().unwrap_or_default();
    Ok(Ran { status, stdout: bytes(stdout), stderr: bytes(stderr) })
}

fn read(from: impl Read + Send + 'static, ended: mpsc::Sender<()>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.take(LONGEST).read_to_end(&mut bytes);
        let _ = ended.send(());
        bytes
    })
}

/// Killed if nobody waits for it any longer.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
