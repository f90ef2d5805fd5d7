//! The part of a plan for what is installed: one set, with the stand-in for `execnet`.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use pep508_rs::{MarkerTree, Requirement};

use super::super::closure::{Asked, Closure, Member, Missing, OF_PYPY, OURS, closure, provided};
use super::super::environment::{Distribution, Installed, installed, normalized};
use super::super::facts::Facts;
use super::super::fit::{built, is_pure, misfit};
use super::super::kept::Kept;
use super::super::record::{self, is_extension};
use super::super::scripts::script;
use super::super::standin;
use super::super::uv::{Pin, Wanted, replaced, resolved};
use super::super::watch::Watch;
use super::super::{Environment, Item, PackagesError, Step};
use super::roots::Editable;
use super::{File, Set, Source, check_names};

/// What is installed and wanted.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) set: Set,
    pub(super) editables: Vec<Editable>,
    pub(super) notes: Vec<String>,
    watch: Watch,
    /// Of what uv has found.
    found: Option<Watch>,
    /// What it was made from.
    of: Option<Arc<Installed>>,
}

/// The part for these items, of which none is a path.
pub(super) fn part(
    environment: &Environment,
    items: &[Item],
    facts: &Facts,
    told: &mut dyn FnMut(Step),
) -> Result<Arc<Part>, PackagesError> {
    type Key = (Environment, Vec<Item>, Facts);
    static PARTS: Kept<Key, Part> = Kept::new();
    if items.is_empty() {
        let set = Set { title: title(&[], 0), native: false, files: stand_in() };
        return Ok(Arc::new(Part { set, ..Part::default() }));
    }
    let installed = installed(environment)?;
    let key = (environment.clone(), items.to_vec(), facts.clone());
    let holds = |part: &Part| {
        part.of.as_ref().is_some_and(|of| Arc::ptr_eq(of, &installed))
            && part.watch.holds()
            && part.found.as_ref().is_none_or(Watch::holds)
    };
    PARTS.get(key, holds, || make(items, &installed, facts, told))
}

fn make(
    items: &[Item],
    installed: &Arc<Installed>,
    there: &Facts,
    told: &mut dyn FnMut(Step),
) -> Result<Part, PackagesError> {
    let closure = closure(items, installed, there)?;
    let mut part = Part { watch: Watch::start(), of: Some(installed.clone()), ..Part::default() };
    part.notes.extend(installed.problems.iter().map(|problem| format!("{problem}: it is left out")));
    part.notes.extend(closure.notes.iter().cloned());
    let mut gathered = Vec::new();
    for member in &closure.members {
        match gather(member, &closure, installed, there, &mut part) {
            Ok(this) => gathered.push(this),
            Err(error) if member.named => return Err(error),
            Err(error) => part.notes.push(format!("{error}; it is left out")),
        }
    }
    if !uv_knows(there) {
        only_what_fits(&mut gathered, &closure, installed, there, &mut part)?;
    }
    let misfit = gathered.iter().find_map(|gathered| gathered.misfit.clone());
    let misfit = misfit.or_else(|| {
        // what only those require that are left out is not missing
        let of = |missing: &&Missing| gathered.iter().any(|gathered| gathered.member.index == missing.by);
        let missing = closure.missing.iter().find(of)?;
        Some(reason(missing, &closure, installed))
    });
    let mut files = stand_in();
    match misfit {
        None => files.extend(gathered.iter().flat_map(|gathered| gathered.files.iter().cloned())),
        Some(because) => {
            told(Step::Resolving);
            let editables = gathered.iter().filter(|gathered| gathered.distribution.roots.is_some());
            files.extend(editables.flat_map(|gathered| gathered.files.iter().cloned()));
            let wanted = wanted(because, items, &gathered, installed, there);
            found(&wanted, &mut files, &mut part)?;
        }
    }
    // two distributions may share a file, as the `__init__.py` of a namespace
    let mut seen = HashSet::new();
    files.retain(|file| seen.insert(file.path.clone()));
    let names: Vec<&str> = gathered.iter().map(|gathered| gathered.distribution.name.as_str()).collect();
    let asked = gathered.iter().filter(|gathered| gathered.member.asked == Asked::Item).count();
    let native = has_extensions(&files);
    part.set = Set { title: title(&names, asked), native, files };
    check_names(&part.set, "rename one")?;
    Ok(part)
}

/// A member with its files.
struct Gathered<'g> {
    member: &'g Member,
    distribution: &'g Distribution,
    files: Vec<File>,
    /// Why it cannot travel as it is.
    misfit: Option<String>,
    /// Who requires it, in parentheses behind a blank; empty if it was asked for.
    required: String,
}

fn gather<'g>(
    member: &'g Member,
    closure: &Closure,
    installed: &'g Installed,
    there: &Facts,
    part: &mut Part,
) -> Result<Gathered<'g>, PackagesError> {
    let (here, distribution) = (&installed.facts, &installed.distributions[member.index]);
    let name = &distribution.name;
    let required = closure.required(member.index, installed);
    if !distribution.problem.is_empty() {
        let reason = format!("`{name}` {}{required}", distribution.problem);
        return Err(PackagesError::Unfit { item: name.clone(), reason, hint: None });
    }
    let mut files = Vec::new();
    let listed = record::files(distribution, &mut files, &mut part.notes, &mut part.watch);
    listed.map_err(|error| match error {
        PackagesError::Unfit { item, reason, hint } => {
            PackagesError::Unfit { item, reason: reason + &required, hint }
        }
        error => error,
    })?;
    let misfit = misfit(distribution, has_extensions(&files), here, there);
    let misfit = misfit.map(|why| format!("`{name}` {why}{required}"));
    if let (Some(why), true) = (&misfit, distribution.roots.is_some()) {
        // no index has what is developed here
        return Err(PackagesError::Unfit {
            item: name.clone(),
            reason: format!("{why}, so {} cannot have it", there.title()),
            hint: Some("an editable install can only travel as it is".to_owned()),
        });
    }
    files.extend(distribution.scripts.iter().filter_map(|(name, entry)| script(name, entry)));
    if let Some(roots) = &distribution.roots {
        let (name, roots, built) = (name.clone(), roots.clone(), built(here, there));
        let (named, required) = (member.named, required.clone());
        part.editables.push(Editable { name, named, required, roots, built });
    }
    Ok(Gathered { member, distribution, files, misfit, required })
}

/// Leaves out what does not fit as it is, and what misses something there. An error if it was named.
fn only_what_fits(
    gathered: &mut Vec<Gathered<'_>>,
    closure: &Closure,
    installed: &Installed,
    there: &Facts,
    part: &mut Part,
) -> Result<(), PackagesError> {
    let mut left_out = Vec::new();
    let mut error = None;
    gathered.retain(|Gathered { member, distribution, misfit, .. }| {
        let missing = || {
            let missing = closure.missing.iter().find(|missing| missing.by == member.index)?;
            Some(reason(missing, closure, installed))
        };
        let Some(because) = misfit.clone().or_else(missing) else { return true };
        if member.named && error.is_none() {
            error = Some(only_as_it_is(&because, there));
        }
        left_out.push(distribution.name.as_str());
        false
    });
    if let Some(error) = error {
        return Err(error);
    }
    if !left_out.is_empty() {
        part.notes.push(unfit(there, &left_out));
    }
    Ok(())
}

fn reason(missing: &Missing, closure: &Closure, installed: &Installed) -> String {
    let (who, name) = (closure.subject(missing.by, installed), &missing.requirement.name);
    format!("{who} requires `{name}` there, which is not installed here")
}

fn unfit(there: &Facts, names: &[&str]) -> String {
    format!("left out, because they do not fit {}: {}", there.title(), names.join(", "))
}

/// Whether anything is to be found for it: not for Python 2 and Jython.
fn uv_knows(there: &Facts) -> bool {
    there.version() >= Some((3, 6)) && there.implementation_name != "jython"
}

fn only_as_it_is(because: &str, there: &Facts) -> PackagesError {
    let title = there.title();
    PackagesError::Unfit {
        item: because.split('`').nth(1).unwrap_or_default().to_owned(),
        reason: format!("{because}, and {title} can only have what fits as it is installed here"),
        hint: Some(format!(
            "give a folder, a module, or a distribution whose wheel is for Python {}",
            there.python_version
        )),
    }
}

/// What uv is to find.
fn wanted<'w>(
    because: String,
    items: &[Item],
    gathered: &'w [Gathered<'w>],
    installed: &'w Installed,
    there: &'w Facts,
) -> Wanted<'w> {
    let markers = there.markers();
    let text = |requirement: &Requirement| {
        let mut requirement = requirement.clone();
        requirement.clear_url();
        requirement.marker = MarkerTree::TRUE;
        requirement.to_string()
    };
    let is_provided = |name: &str| markers.as_ref().is_some_and(|markers| provided(name, markers));
    let mut excludes = BTreeSet::from([OURS.to_owned()]);
    excludes.extend(items.iter().filter_map(|item| match item {
        Item::Except(name) => Some(normalized(name)),
        _ => None,
    }));
    excludes.extend(OF_PYPY.iter().filter(|name| is_provided(name)).map(|name| (*name).to_owned()));
    // what uv's distributions require comes by itself, if they do so in the versions that it finds
    let (mut more, mut required) = (Vec::new(), BTreeSet::new());
    for Gathered { member, distribution, .. } in gathered {
        let extras: Vec<_> = member.extras.iter().cloned().collect();
        let editable = distribution.roots.is_some();
        if editable {
            excludes.insert(normalized(&distribution.name));
        }
        for requirement in distribution.requires().iter().flatten() {
            if !markers.as_ref().is_some_and(|markers| requirement.evaluate_markers(markers, &extras)) {
                continue;
            }
            if editable {
                more.push(requirement);
            } else {
                required.insert(requirement.name.to_string());
            }
        }
    }
    let others = gathered.iter().filter(|gathered| gathered.distribution.roots.is_none());
    let pins = others.map(|Gathered { member, distribution, files, misfit, required: by }| Pin {
        distribution,
        extras: member.extras.iter().map(ToString::to_string).collect(),
        top: member.asked != Asked::Required || !required.contains(&normalized(&distribution.name)),
        named: member.named,
        fits: misfit.is_none().then_some(files.as_slice()),
        misfit: misfit.as_deref(),
        required: by,
    });
    let pins = pins.collect();
    let more = more.into_iter().filter(|requirement| !excludes.contains(requirement.name.as_ref()));
    let more: BTreeSet<String> = more.map(text).collect();
    Wanted { here: installed, there, pins, more: more.into_iter().collect(), excludes, because }
}

/// Adds what uv finds.
fn found(wanted: &Wanted<'_>, files: &mut Vec<File>, part: &mut Part) -> Result<(), PackagesError> {
    let resolved = resolved(wanted)?;
    let environment = Environment {
        python: wanted.here.executable.clone().into(),
        path: Some(vec![resolved.folder.clone()]),
    };
    let there = installed(&environment)?;
    let mut watch = Watch::start();
    for distribution in &there.distributions {
        if resolved.pure && !is_pure(distribution) {
            let name = distribution.name.clone();
            let reason = format!("`{name}` is not pure, so {} cannot have it", wanted.there.title());
            return Err(PackagesError::Unfit { item: name, reason, hint: None });
        }
        let from = files.len();
        record::files(distribution, files, &mut part.notes, &mut watch)?;
        // uv's scripts are for this machine
        let mut place = 0;
        files.retain(|file| {
            place += 1;
            place <= from || !file.path.starts_with("bin/")
        });
        files.extend(distribution.scripts.iter().filter_map(|(name, entry)| script(name, entry)));
    }
    part.found = Some(watch);
    part.notes.extend(replaced(wanted, &there.distributions));
    if !resolved.left_out.is_empty() {
        let names: Vec<&str> = resolved.left_out.iter().map(String::as_str).collect();
        part.notes.push(unfit(wanted.there, &names));
    }
    Ok(())
}

fn has_extensions(files: &[File]) -> bool {
    files.iter().any(|file| is_extension(&file.path))
}

/// `execnet` as code in a kernel may import it.
fn stand_in() -> Vec<File> {
    let file = |&(path, bytes): &(&str, &[u8])| File {
        path: path.to_owned(),
        source: Source::Bytes(bytes.into()),
        executable: false,
    };
    standin::files().iter().map(file).collect()
}

/// `pytest, pytest-xdist and 7 more`: those that were asked for come first.
fn title(names: &[&str], asked: usize) -> String {
    let shown = match names.len() {
        0 => return "execnet".to_owned(),
        few @ ..=3 => few,
        _ if asked == 1 => 1,
        _ => 2,
    };
    match names.len() - shown {
        0 => names.join(", "),
        more => format!("{} and {more} more", names[..shown].join(", ")),
    }
}
