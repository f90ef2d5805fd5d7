//! Which files packages are for a given interpreter.
//!
//! A plan has parts: what is installed, and each folder. A part is made once for each state of the files that
//! it was made from, and then only checked by their stamps.

mod installed;
mod roots;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use super::facts::Facts;
use super::manifest::fold;
use super::{Item, Packages, PackagesError, Step};

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
///
/// Paths come first, in their order, so that they win over what is installed; then what is installed; then
/// the sources of editable installs, whose entries stand behind the site folders here, too.
pub(crate) fn plan(
    packages: &Packages,
    facts: &Facts,
    told: &mut dyn FnMut(Step),
) -> Result<Plan, PackagesError> {
    told(Step::Reading);
    let mut plan = Plan { isolate: packages.items.contains(&Item::Everything), ..Plan::default() };
    let mut roots = roots::Roots::new(&packages.sent, facts);
    for item in &packages.items {
        if let Item::Path(path) = item {
            roots.path(path, &mut plan)?;
        }
    }
    let is_path = |item: &&Item| matches!(item, Item::Path(_));
    let mut items: Vec<Item> = packages.items.iter().filter(|item| !is_path(item)).cloned().collect();
    loop {
        let mut whole = plan.clone();
        let part = installed::part(&packages.environment, &items, facts, told)?;
        whole.notes.extend(part.notes.iter().cloned());
        whole.sets.push(part.set.clone());
        let mut unfit = None;
        for editable in &part.editables {
            match roots.editable(editable, &mut whole) {
                Ok(()) => {}
                Err(error) if editable.named => return Err(error),
                Err(error) => unfit = Some((editable, error)),
            }
        }
        let Some((editable, error)) = unfit else { return Ok(whole) };
        // its metadata does not come, either
        plan.notes.push(format!("{error}; it is left out"));
        items.push(Item::Except(editable.name.clone()));
    }
}

/// Whether two paths would be one on a file system that ignores case, and what helps then.
fn check_names(set: &Set, help: &str) -> Result<(), PackagesError> {
    let mut seen = std::collections::HashMap::new();
    for file in &set.files {
        let mut end = 0;
        // each folder, too
        for part in file.path.split_inclusive('/') {
            end += part.len();
            let path = file.path[..end].trim_end_matches('/');
            let other = *seen.entry(fold(path)).or_insert(path);
            if other != path {
                let reason = format!("`{other}` differs from it only in the case of letters: {help}");
                return Err(PackagesError::File { path: file_path(file), reason });
            }
        }
    }
    Ok(())
}

fn file_path(file: &File) -> PathBuf {
    match &file.source {
        Source::Path { file, .. } => file.clone(),
        Source::Bytes(_) => PathBuf::from(&file.path),
    }
}
