//! The part of a plan for what is installed: one set, with the stand-in for `execnet`.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use super::super::closure::{Closure, closure};
use super::super::environment::{Distribution, Installed, installed};
use super::super::facts::Facts;
use super::super::fit::{misfit, same_python};
use super::super::record::{self, is_extension};
use super::super::scripts::script;
use super::super::standin;
use super::super::watch::Watch;
use super::super::{Environment, Item, Packages, PackagesError, Step};
use super::roots::Editable;
use super::{Cache, File, Set, Source, check_names};

/// What is installed and wanted.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) set: Set,
    pub(super) editables: Vec<Editable>,
    pub(super) notes: Vec<String>,
    watch: Watch,
    /// What it was made from.
    of: Option<Arc<Installed>>,
}

/// The part for these items.
pub(super) fn part(
    packages: &Packages,
    facts: &Facts,
    told: &mut dyn FnMut(Step),
) -> Result<Arc<Part>, PackagesError> {
    type Key = (Environment, Vec<Item>, Facts);
    static PARTS: Mutex<Cache<Key, Part>> = Mutex::new(Cache(Vec::new()));
    let is_path = |item: &&Item| matches!(item, Item::Path(_));
    let items: Vec<Item> = packages.items.iter().filter(|item| !is_path(item)).cloned().collect();
    if items.is_empty() {
        return Ok(Arc::default());
    }
    let installed = installed(&packages.environment)?;
    // held: gateways that open at the same time wait for one answer
    let mut parts = PARTS.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (packages.environment.clone(), items.clone(), facts.clone());
    let holds =
        |part: &Part| part.of.as_ref().is_some_and(|of| Arc::ptr_eq(of, &installed)) && part.watch.holds();
    parts.get(key, holds, || make(&items, &installed, facts, told))
}

fn make(
    items: &[Item],
    installed: &Arc<Installed>,
    there: &Facts,
    told: &mut dyn FnMut(Step),
) -> Result<Part, PackagesError> {
    let Closure { members, missing, notes } = closure(items, installed, there)?;
    let mut part = Part { notes, watch: Watch::start(), of: Some(installed.clone()), ..Part::default() };
    part.notes.extend(installed.problems.iter().map(|problem| format!("{problem}: it is left out")));
    let here = &installed.facts;
    let mut files: Vec<File> = Vec::new();
    let mut misfits = Vec::new();
    for member in &members {
        let distribution = &installed.distributions[member.index];
        if !distribution.problem.is_empty() {
            let reason = format!("`{}` {}", distribution.name, distribution.problem);
            if !member.named {
                part.notes.push(format!("{reason}, so it is left out"));
                continue;
            }
            return Err(PackagesError::Unfit { item: distribution.name.clone(), reason, hint: None });
        }
        let from = files.len();
        if let Err(error) = record::files(distribution, &mut files, &mut part.notes, &mut part.watch) {
            if member.named {
                return Err(error);
            }
            part.notes.push(format!("{error}; it is left out"));
            continue;
        }
        let has_extensions = files[from..].iter().any(|file| is_extension(&file.path));
        if let Some(why) = misfit(distribution, has_extensions, here, there) {
            misfits.push((member.index, why));
        }
        files.extend(distribution.scripts.iter().filter_map(|(name, entry)| script(name, entry)));
        part.editables.extend(editable(distribution, here, there));
    }
    if let Some((index, why)) = misfits.first() {
        let _ = told;
        return Err(no_uv(&installed.distributions[*index], why, there));
    }
    if let Some(missing) = missing.first() {
        let who = &installed.distributions[missing.by];
        let why = format!("requires `{}` there, which is not installed here", missing.requirement.name);
        return Err(no_uv(who, &why, there));
    }
    // in place of execnet itself
    let standin = standin::files().iter().map(|&(path, bytes)| File {
        path: path.to_owned(),
        source: Source::Bytes(bytes.into()),
        executable: false,
    });
    files.splice(..0, standin);
    // two distributions may share a file, as the `__init__.py` of a namespace
    let mut seen = HashSet::new();
    files.retain(|file| seen.insert(file.path.clone()));
    let names: Vec<&str> =
        members.iter().map(|member| installed.distributions[member.index].name.as_str()).collect();
    let roots = members.iter().filter(|member| member.root).count();
    let native = files.iter().any(|file| is_extension(&file.path));
    part.set = Set { title: title(&names[..roots.min(names.len())], &names), native, files };
    check_names(&part.set)?;
    Ok(part)
}

fn no_uv(distribution: &Distribution, why: &str, there: &Facts) -> PackagesError {
    let name = &distribution.name;
    PackagesError::Unfit {
        item: name.clone(),
        reason: format!("`{name}` {why}, so {} cannot have it as it is installed here", there.title()),
        hint: Some("install uv here, which finds the right one".to_owned()),
    }
}

fn editable(distribution: &Distribution, here: &Facts, there: &Facts) -> Option<Editable> {
    let roots = distribution.roots.clone()?;
    let suffixes = (here.ext_suffix.clone(), there.ext_suffix.clone());
    let suffixes = (!same_python(here, there)).then_some(suffixes);
    Some(Editable { name: distribution.name.clone(), roots, suffixes })
}

/// `pytest, pytest-xdist and 7 more`
fn title(roots: &[&str], all: &[&str]) -> String {
    let first = &roots[..roots.len().min(if all.len() <= 3 { 3 } else { 2 })];
    match (first.len(), all.len() - first.len()) {
        (0, 0) => "execnet".to_owned(),
        (0, more) => format!("{more} distributions"),
        (_, 0) => first.join(", "),
        (_, more) => format!("{} and {more} more", first.join(", ")),
    }
}
