//! The part of a plan for folders and modules: paths, and the sources of editable installs.

use std::path::{Path, PathBuf};

use super::super::PackagesError;
use super::super::facts::Facts;
use super::super::folder::{self, Entry, Found};
use super::super::kept::Kept;
use super::super::record::is_extension;
use super::super::watch::Watch;
use super::{Plan, Set, check_names};

/// An editable install.
#[derive(Clone, Debug)]
pub(super) struct Editable {
    pub(super) name: String,
    /// An item named it, or something that an item named requires it.
    pub(super) named: bool,
    /// Who requires it, in parentheses behind a blank; empty if it was asked for.
    pub(super) required: String,
    /// The name in the set (empty: a folder that is on `sys.path` whole), and where it is.
    pub(super) roots: Vec<(String, PathBuf)>,
    /// Why no extension module that was built here can be loaded there.
    pub(super) built: Option<String>,
}

/// What paths have become.
pub(super) struct Roots<'r> {
    there: &'r Facts,
    /// Folders that come by other means, resolved.
    sent: Vec<PathBuf>,
    /// Whole folders that are sets.
    whole: Vec<PathBuf>,
    /// What is a set by its path.
    seen: Vec<Mapping>,
}

/// Names in a set, and what they lead to.
type Mapping = Vec<(String, PathBuf)>;

impl<'r> Roots<'r> {
    pub(super) fn new(sent: &[PathBuf], there: &'r Facts) -> Self {
        let sent =
            sent.iter().map(|folder| folder.canonicalize().unwrap_or_else(|_| folder.clone())).collect();
        Self { there, sent, whole: Vec::new(), seen: Vec::new() }
    }

    /// Adds a path that somebody wrote.
    pub(super) fn path(&mut self, path: &Path, plan: &mut Plan) -> Result<(), PackagesError> {
        let entry = Entry::of(path)?;
        let target = entry.only.as_ref().map_or_else(|| entry.folder.clone(), |only| entry.folder.join(only));
        if let Some(beside) = self.beside(&entry.folder, &target) {
            add(&mut plan.beside, beside);
            return Ok(());
        }
        if entry.only.is_none() {
            if self.whole.contains(&entry.folder) {
                return Ok(());
            }
            self.whole.push(entry.folder);
        }
        let mapping = vec![(entry.only.unwrap_or_default(), target)];
        if self.seen.contains(&mapping) {
            return Ok(());
        }
        let set = self.set(title(path), &mapping, plan)?;
        self.seen.push(mapping);
        if let [first, more @ ..] = &self.foreign(&set)[..] {
            let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
            let (title, there) = (&set.title, self.there.title());
            plan.notes.push(format!("{title} has extension modules that {there} cannot load: {first}{more}"));
        }
        plan.sets.push(set);
        Ok(())
    }

    /// Adds the sources of an editable install.
    pub(super) fn editable(&mut self, editable: &Editable, plan: &mut Plan) -> Result<(), PackagesError> {
        let mut mapping = Mapping::new();
        for (name, path) in &editable.roots {
            let path = path.canonicalize().unwrap_or_else(|_| path.clone());
            let entry = entry_of(name, &path);
            if let Some(beside) = entry.as_ref().and_then(|folder| self.beside(folder, &path)) {
                add(&mut plan.beside, beside);
            } else if !entry.is_some_and(|folder| self.whole.contains(&folder)) {
                mapping.push((name.clone(), path));
            }
        }
        if mapping.is_empty() {
            return Ok(());
        }
        let set = self.set(format!("{} (editable)", editable.name), &mapping, plan)?;
        let foreign = self.foreign(&set);
        let foreign =
            foreign.first().map(|path| format!("has an extension module for another Python: {path}"));
        if let Some(why) = editable.built.clone().filter(|_| set.native).or(foreign) {
            let Editable { name, required, .. } = editable;
            return Err(PackagesError::Unfit {
                item: name.clone(),
                reason: format!("`{name}` {why}{required}, so {} cannot have it", self.there.title()),
                hint: Some("install it without -e, from a wheel that an index has".to_owned()),
            });
        }
        plan.sets.push(set);
        Ok(())
    }

    fn set(&self, title: String, mapping: &Mapping, plan: &mut Plan) -> Result<Set, PackagesError> {
        static FOUND: Kept<Mapping, Found> = Kept::new();
        let found = FOUND.get(
            mapping.clone(),
            |found| found.watch.holds(),
            || {
                let mut found = Found { watch: Watch::start(), ..Found::default() };
                for (name, path) in mapping {
                    folder::files(name, path, &mut found)?;
                }
                found.files.sort_by(|a, b| a.path.cmp(&b.path));
                found.files.dedup_by(|a, b| a.path == b.path);
                Ok(found)
            },
        )?;
        plan.notes.extend(found.notes.iter().cloned());
        let native = found.files.iter().any(|file| is_extension(&file.path));
        let set = Set { title, native, files: found.files.clone() };
        check_names(&set, "rename one, or exclude one in `.gitignore`")?;
        Ok(set)
    }

    /// Extension modules for other Pythons, of which there is none for this one.
    fn foreign<'s>(&self, set: &'s Set) -> Vec<&'s str> {
        let suffix = &self.there.ext_suffix;
        let is_foreign = |path: &&str| {
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
            let Some((stem, rest)) = name.split_once('.') else { return false };
            // others are for all Pythons, or no modules
            let tagged = ["cpython-", "pypy", "graalpy"].iter().any(|start| rest.starts_with(start));
            if !is_extension(name) || !tagged || suffix.is_empty() || name.ends_with(suffix.as_str()) {
                return false;
            }
            let own = [folder, if folder.is_empty() { "" } else { "/" }, stem, suffix].concat();
            !set.files.iter().any(|file| file.path == own)
        };
        set.files.iter().map(|file| file.path.as_str()).filter(is_foreign).collect()
    }

    /// The entry of `sys.path` in the working folder, if the target comes there by other means.
    fn beside(&self, entry: &Path, target: &Path) -> Option<String> {
        let sent = self.sent.iter().find(|sent| target.starts_with(sent))?;
        let name = sent.file_name()?.to_str()?;
        match entry.strip_prefix(sent) {
            Ok(inside) if inside.as_os_str().is_empty() => Some(name.to_owned()),
            Ok(inside) => Some(format!("{name}/{}", inside.to_str()?)),
            // the package itself is what comes
            Err(_) if Some(entry) == sent.parent() => Some(".".to_owned()),
            Err(_) => None,
        }
    }
}

/// The folder that has this name lead to this path, if there is one.
fn entry_of(name: &str, path: &Path) -> Option<PathBuf> {
    let mut folder = path;
    for part in name.split('/').filter(|part| !part.is_empty()).rev() {
        if folder.file_name()?.to_str()? != part {
            return None;
        }
        folder = folder.parent()?;
    }
    Some(folder.to_owned())
}

fn add(beside: &mut Vec<String>, entry: String) {
    if !beside.contains(&entry) {
        beside.push(entry);
    }
}

/// A path as people would write it here.
fn title(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    match path.strip_prefix(&here) {
        Ok(inside) if inside.as_os_str().is_empty() => ".".to_owned(),
        Ok(inside) => format!("./{}", inside.display()),
        Err(_) => path.display().to_string(),
    }
}
