//! The Python interpreters of this machine.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::Result;

use crate::missing::{Missing, allowed};
use crate::tools::{find, is_program, run};

/// An interpreter that hosts can be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interpreter {
    /// Its name in tests: `2.7`, `3.11`, `pypy3`, `jython`.
    pub name: String,
    /// The program itself: no shim, no link into a virtual environment.
    pub path: PathBuf,
    /// The version of Python it implements, as `3.11.7`; for Jython, which is too slow to ask, `2.7`.
    pub version: String,
    /// Which Python it is.
    pub implementation: Implementation,
}

/// Which Python an interpreter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Implementation {
    /// The one from python.org.
    CPython,
    /// PyPy.
    PyPy,
    /// Jython.
    Jython,
}

/// Every interpreter found on PATH and among pyenv's versions, each name once: CPythons by version, then PyPy
/// and Jython.
///
/// PATH comes first, because a system's own Python starts fastest. Searched once per program.
pub fn interpreters() -> &'static [Interpreter] {
    static FOUND: OnceLock<Vec<Interpreter>> = OnceLock::new();
    FOUND.get_or_init(search)
}

/// The named interpreters.
///
/// # Errors
/// [`Missing`] lists all that are absent and how to get them. With `EXECNET_TEST_ALLOW_MISSING=1` (and not
/// `CI=true`) each of these is a printed `skipped, because …` instead, and only the present ones are
/// returned.
pub fn require(names: &[&str]) -> Result<Vec<Interpreter>> {
    let (found, missing) = select(names);
    match missing {
        Some(missing) if !allowed() => return Err(missing.into()),
        Some(missing) => println!("skipped, because {missing}"),
        None => {}
    }
    Ok(found)
}

/// The named interpreters that are present, and a sentence about the others.
pub(crate) fn select(names: &[&str]) -> (Vec<Interpreter>, Option<Missing>) {
    let mut found = Vec::new();
    let mut missing = Vec::new();
    for name in names {
        match interpreters().iter().find(|interpreter| interpreter.name == *name) {
            Some(interpreter) => found.push(interpreter.clone()),
            None => missing.push(match *name {
                "pypy3" => "PyPy (Debian package pypy3)".to_owned(),
                "jython" => "Jython and a java (Debian package jython)".to_owned(),
                version if version.starts_with(['2', '3']) => {
                    format!("CPython {version} (`pyenv install {version}`)")
                }
                other => format!("an interpreter {other} (names are as 2.7, 3.11, pypy3, jython)"),
            }),
        }
    }
    let sentence = format!("this machine lacks {}", missing.join(", "));
    (found, (!missing.is_empty()).then_some(Missing(sentence)))
}

/// The CPython 3 that `python3` is.
pub(crate) fn default_python3() -> Result<Interpreter> {
    let python3 = find("python3").and_then(|path| path.canonicalize().ok());
    let newest = || interpreters().iter().rev().find(|found| found.is_cpython3());
    let found =
        interpreters().iter().find(|found| found.is_cpython3() && Some(&found.path) == python3.as_ref());
    let none = || Missing("this machine lacks any CPython 3 (Debian package python3)".to_owned());
    Ok(found.or_else(newest).ok_or_else(none)?.clone())
}

impl Interpreter {
    pub(crate) fn is_cpython3(&self) -> bool {
        self.implementation == Implementation::CPython && self.version.starts_with("3.")
    }
}

fn search() -> Vec<Interpreter> {
    let mut cpythons = BTreeMap::new();
    let on_path =
        std::iter::once("python2.7".to_owned()).chain((6..30).map(|minor| format!("python3.{minor}")));
    for program in on_path.filter_map(|name| find(&name)).chain(pyenv_versions()) {
        // the real program: in a virtual environment it is a link, and those packages do not belong on a bare
        // host
        let Ok(path) = program.canonicalize() else {
            continue;
        };
        let Some((version, implementation)) = ask(&path) else {
            continue;
        };
        let mut numbers = version.split('.').filter_map(|number| number.parse::<u32>().ok());
        if let (Implementation::CPython, Some(major), Some(minor)) =
            (implementation, numbers.next(), numbers.next())
        {
            let name = format!("{major}.{minor}");
            cpythons.entry((major, minor)).or_insert(Interpreter { name, path, version, implementation });
        }
    }
    let mut found: Vec<Interpreter> = cpythons.into_values().collect();
    if let Some(path) = find("pypy3").and_then(|path| path.canonicalize().ok())
        && let Some((version, implementation @ Implementation::PyPy)) = ask(&path)
    {
        found.push(Interpreter { name: "pypy3".to_owned(), path, version, implementation });
    }
    if let Some(path) = find("jython").and_then(|path| path.canonicalize().ok())
        && find("java").is_some()
    {
        let (version, implementation) = ("2.7".to_owned(), Implementation::Jython);
        found.push(Interpreter { name: "jython".to_owned(), path, version, implementation });
    }
    found
}

/// The programs of pyenv's versions, the newest patch release first.
fn pyenv_versions() -> Vec<PathBuf> {
    let root = std::env::var_os("PYENV_ROOT").map(PathBuf::from);
    let root = root.or_else(|| Some(PathBuf::from(run(Command::new("pyenv").arg("root")).ok()?.trim())));
    let Some(versions) = root.map(|root| root.join("versions")) else {
        return Vec::new();
    };
    let entries = fs::read_dir(versions).into_iter().flatten().flatten();
    let mut found: Vec<(Vec<u32>, PathBuf)> = entries
        .map(|entry| (entry.file_name(), entry.path().join("bin/python")))
        .filter(|(_, program)| is_program(program))
        .map(|(name, program)| {
            (name.to_string_lossy().split('.').map_while(|part| part.parse().ok()).collect(), program)
        })
        .collect();
    found.sort();
    found.into_iter().rev().map(|(_, program)| program).collect()
}

/// Version and implementation, as the program itself says them.
fn ask(program: &Path) -> Option<(String, Implementation)> {
    let code = "import sys, platform; facts = sys.version_info[:3] + (platform.python_implementation(),)\n\
                print('%d.%d.%d %s' % facts)";
    // -S: importing this machine's site-packages would cost more than the rest
    let answer = run(Command::new(program).args(["-S", "-c", code])).ok()?;
    let (version, implementation) = answer.trim().split_once(' ')?;
    let implementation = match implementation {
        "CPython" => Implementation::CPython,
        "PyPy" => Implementation::PyPy,
        _ => return None,
    };
    Some((version.to_owned(), implementation))
}
