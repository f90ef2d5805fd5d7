//! Options for packages that processes bring along, shared by `python` and `exec`.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter};
use execnet::{Environment, Packages, PackagesError};

use crate::error::{CommandError, Exit};
use crate::progress::PackageProgress;

/// Packages from here.
#[derive(Debug, Args)]
pub(super) struct PackageOptions {
    /// Package to bring along (repeatable): `attrs`, `requests[socks]`, `./src`, `'*'`, `'!torch'`
    ///
    /// A name is a distribution that is installed here, with all it requires; a folder or module has a `/` or
    /// begins with `.`; `'*'` is everything installed here, and `'!NAME'` leaves one out of that.
    #[arg(long, value_name = "ITEM", add = ArgValueCompleter::new(candidates))]
    with: Vec<OsString>,
    /// Also send more than 256 MiB of packages
    #[arg(long, requires = "with")]
    large: bool,
    /// Python whose packages are brought along, or its environment's folder
    ///
    /// By default the one of the active virtual environment, else the one beside this command, else
    /// `python3` or `python` in PATH.
    #[arg(long, value_name = "PYTHON", requires = "with", add = ArgValueCompleter::new(PathCompleter::any()))]
    environment: Option<PathBuf>,
}

impl PackageOptions {
    /// Why these packages cannot be brought along, and what to do.
    pub(super) fn refused(&self, error: &PackagesError) -> CommandError {
        match error {
            PackagesError::For { source, .. } => self.refused(source),
            PackagesError::Interpreter { .. } => match &self.environment {
                Some(_) => CommandError::new(Exit::Usage, format!("--environment: {error}")).hint(ANOTHER),
                None => {
                    CommandError::new(Exit::Usage, error).hint("choose a Python with `--environment PYTHON`")
                }
            },
            error => refused(error),
        }
    }

    /// What to bring along, if anything.
    pub(super) fn packages(&self) -> Result<Option<Packages>, CommandError> {
        if self.with.is_empty() {
            return Ok(None);
        }
        let command = env::current_exe().ok();
        let python = interpreter(self.environment.as_deref(), |name| env::var_os(name), command.as_deref())?;
        let mut packages = Packages::new(Environment::new(python)).large(self.large);
        for item in &self.with {
            packages = match item.to_str() {
                Some(text) => packages.item(text).map_err(|error| refused(&error))?,
                None => packages.path(item),
            };
        }
        packages.check().map_err(|error| refused(&error))?;
        Ok(Some(packages))
    }
}

/// What may follow `--with`: paths, or names of what is installed in the default environment.
fn candidates(typed: &OsStr) -> Vec<CompletionCandidate> {
    let text = typed.to_string_lossy();
    if text.contains('/') || text.starts_with(['.', '~']) {
        return PathCompleter::any().complete(typed);
    }
    let python = interpreter(None, |name| env::var_os(name), env::current_exe().ok().as_deref());
    let names = python.map_or_else(|_| Vec::new(), |python| installed(&python));
    let fits = |name: &String| name.starts_with(text.as_ref());
    names.into_iter().filter(fits).map(CompletionCandidate::new).collect()
}

/// The names of the distributions beside an interpreter, without asking it: that would take too long.
fn installed(python: &Path) -> Vec<String> {
    let Some(prefix) = python.parent().and_then(Path::parent) else { return Vec::new() };
    let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    let sites =
        entries(&prefix.join("lib")).filter(|lib| lib.file_name().to_string_lossy().starts_with("python"));
    let files = sites.flat_map(|lib| entries(&lib.path().join("site-packages")).collect::<Vec<_>>());
    let name = |file: fs::DirEntry| {
        let file = file.file_name().into_string().ok()?;
        let (name, _) = file.strip_suffix(".dist-info")?.split_once('-')?;
        Some(name.replace('_', "-"))
    };
    let mut names: Vec<String> = files.filter_map(name).collect();
    names.sort();
    names.dedup();
    names
}

/// The packages, whose progress is shown.
pub(super) fn shown(packages: Packages, progress: &PackageProgress) -> Packages {
    let teller = progress.teller();
    packages.on_progress(move |transfer| teller.tell(transfer))
}

/// What may stand behind `--environment`.
const ANOTHER: &str =
    "name a Python (`python3.12`, `/opt/app/bin/python`), or the folder of a virtual environment";

/// Names of an interpreter, the best first.
const NAMES: [&str; 2] = ["python3", "python"];

/// The interpreter whose packages are brought along.
fn interpreter(
    given: Option<&Path>,
    variable: impl Fn(&str) -> Option<OsString>,
    command: Option<&Path>,
) -> Result<PathBuf, CommandError> {
    let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
    let in_path = |name: &OsStr| {
        let path = variable("PATH")?;
        env::split_paths(&path).map(|folder| folder.join(name)).find(|file| is_program(file))
    };
    if let Some(given) = given {
        let found = match given {
            folder if folder.is_dir() => python_in(&folder.join("bin")),
            name if name.components().count() == 1 && !given.as_os_str().is_empty() => {
                in_path(name.as_os_str()).or_else(|| is_program(given).then(|| given.to_owned()))
            }
            file => is_program(file).then(|| file.to_owned()),
        };
        let what = if given.is_dir() { "has no Python in its folder `bin`" } else { "is no program" };
        let message = format!("--environment: `{}` {what}", given.display());
        return found.ok_or_else(|| CommandError::new(Exit::Usage, message).hint(ANOTHER));
    }
    if let Some(folder) = variable("VIRTUAL_ENV").map(PathBuf::from) {
        return python_in(&folder.join("bin")).ok_or_else(|| {
            let message = format!("VIRTUAL_ENV is `{}`, which has no Python", folder.display());
            CommandError::new(Exit::Usage, message)
                .hint("unset it, or choose a Python with `--environment PYTHON`")
        });
    }
    let beside = command.and_then(Path::parent).and_then(python_in);
    beside.or_else(|| NAMES.iter().find_map(|name| in_path(name.as_ref()))).ok_or_else(|| {
        CommandError::new(Exit::Usage, "there is no Python here whose packages could be brought along")
            .hint("name one with `--environment PYTHON`")
    })
}

fn python_in(folder: &Path) -> Option<PathBuf> {
    NAMES.iter().map(|name| folder.join(name)).find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok()
}

/// Why packages cannot be brought along, and what to do.
fn refused(error: &PackagesError) -> CommandError {
    match error {
        PackagesError::Item { .. } => CommandError::new(Exit::Usage, error),
        PackagesError::Unfit { reason, hint, .. } => {
            let failure = CommandError::new(Exit::Usage, reason);
            match hint {
                Some(hint) => failure.hint(hint),
                None => failure,
            }
        }
        PackagesError::TooLarge { .. } => CommandError::new(Exit::Usage, error).hint(
            "`--large` sends them all the same; with `'*'`, `--with '!NAME'` leaves a distribution out",
        ),
        error => CommandError::new(Exit::Failed, error),
    }
}

#[cfg(test)]
#[path = "package_options_tests.rs"]
mod tests;
