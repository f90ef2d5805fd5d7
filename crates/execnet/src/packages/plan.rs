//! Which files packages are for a given interpreter.
#![allow(dead_code)] // `supply` will read it

use std::path::PathBuf;
use std::sync::Arc;

use super::facts::Facts;
use super::{Packages, PackagesError, Step};

/// What is on the host's `sys.path`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    /// In the order of `sys.path`.
    pub(crate) sets: Vec<Set>,
    /// The host's site folders leave `sys.path`.
    pub(crate) isolate: bool,
    /// Entries within the working folder, before the sets.
    pub(crate) beside: Vec<String>,
    /// What was left out or replaced, and why.
    pub(crate) notes: Vec<String>,
}

/// Files that are one folder on the host.
#[derive(Clone, Debug, Default)]
pub(crate) struct Set {
    pub(crate) title: String,
    /// It has extension modules, which no noexec file system can hold.
    pub(crate) native: bool,
    pub(crate) files: Vec<File>,
}

/// One file.
#[derive(Clone, Debug)]
pub(crate) struct File {
    /// Its path within the set, with `/`.
    pub(crate) path: String,
    pub(crate) source: Source,
    pub(crate) executable: bool,
}

/// Where a file's bytes are.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// In a file, which is only ever opened beneath its root.
    Path {
        root: PathBuf,
        file: PathBuf,
    },
    Bytes(Arc<[u8]>),
}

/// Plans the files for an interpreter with these facts.
pub(crate) fn plan(
    packages: &Packages,
    facts: &Facts,
    told: &mut dyn FnMut(Step),
) -> Result<Plan, PackagesError> {
    let _ = (facts, told);
    Err(PackagesError::Unfit {
        item: String::new(),
        reason: format!("{} items cannot be planned yet", packages.items.len()),
        hint: None,
    })
}
