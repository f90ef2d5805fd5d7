//! From items to distributions: what they require, by markers for the other interpreter.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::str::FromStr;

use pep440_rs::Version;
use pep508_rs::{ExtraName, MarkerEnvironment, Requirement, VersionOrUrl};

use super::environment::{Installed, normalized};
use super::facts::Facts;
use super::folder::Entry;
use super::{Item, PackagesError};

/// `*` brings these only where something requires them.
const TOOLS: [&str; 3] = ["pip", "setuptools", "wheel"];

/// The kernel's stand-in has its name and its version.
pub(super) const OURS: &str = "execnet";

/// The distributions that are wanted.
#[derive(Debug, Default)]
pub(super) struct Closure {
    /// In the order in which they were found: the items' own first.
    pub(super) members: Vec<Member>,
    /// What the other interpreter needs and this one does not, with the requirement's text.
    pub(super) missing: Vec<Missing>,
    /// What is wrong with distributions that nobody named.
    pub(super) notes: Vec<String>,
}

/// A distribution that is wanted.
#[derive(Debug)]
pub(super) struct Member {
    /// Its index among what is installed.
    pub(super) index: usize,
    pub(super) extras: BTreeSet<ExtraName>,
    /// An item named it, or something that an item named requires it.
    pub(super) named: bool,
    pub(super) asked: Asked,
    /// The index of one that requires it; none if it is wanted for itself.
    by: Option<usize>,
}

/// Why a distribution is wanted; the first that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Asked {
    /// An item named it.
    Item,
    /// It is a plugin of pytest.
    Plugin,
    /// By `*`.
    Everything,
    /// Another one requires it.
    Required,
}

/// A requirement that nothing here meets.
#[derive(Debug)]
pub(super) struct Missing {
    pub(super) requirement: Requirement,
    pub(super) by: usize,
}

impl Closure {
    /// Begins a sentence about what a member requires: "`jinja2`", or, if nobody has asked for that,
    /// "`flask` requires `jinja2`, which".
    pub(super) fn subject(&self, index: usize, installed: &Installed) -> String {
        let member = |index| self.members.iter().find(|member| member.index == index);
        let by = |index: &usize| member(*index).and_then(|member| member.by);
        let mut chain: Vec<usize> = std::iter::successors(Some(index), by).collect();
        chain.reverse();
        let names = chain.iter().map(|index| installed.distributions[*index].name.as_str());
        chained(names) + if chain.len() > 1 { ", which" } else { "" }
    }

    /// Who requires a member, to follow a sentence about it: " (`jinja2` requires it)".
    pub(super) fn required(&self, index: usize, installed: &Installed) -> String {
        let by = self.members.iter().find(|member| member.index == index).and_then(|member| member.by);
        by.map(|by| format!(" ({} requires it)", self.subject(by, installed))).unwrap_or_default()
    }
}

/// "`a` requires `b`, which requires `c`"
pub(super) fn chained<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let mut text = String::new();
    for (place, name) in names.enumerate() {
        text.push_str(["", " requires ", ", which requires "][place.min(2)]);
        text.push_str(&format!("`{name}`"));
    }
    text
}

/// Follows the items. `there` is the other interpreter.
pub(super) fn closure(
    items: &[Item],
    installed: &Installed,
    there: &Facts,
) -> Result<Closure, PackagesError> {
    let strange = || PackagesError::Unfit {
        item: there.title(),
        reason: format!("the version of {} on the host cannot be read", there.title()),
        hint: None,
    };
    let mut search = Search {
        installed,
        there: there.markers().ok_or_else(strange)?,
        here: installed.facts.markers().ok_or_else(strange)?,
        same: installed.facts.implementation_name == there.implementation_name,
        except: BTreeSet::new(),
        found: Closure::default(),
        places: BTreeMap::new(),
        queue: VecDeque::new(),
    };
    for item in items {
        if let Item::Except(name) = item {
            search.except.insert(normalized(name));
        }
    }
    for item in items {
        if let Item::Named { name, extras } = item {
            search.item(name, extras)?;
        }
    }
    search.follow()?;
    if items.contains(&Item::Everything) {
        for index in search.everything() {
            search.want(index, &[], false, Asked::Everything, None);
        }
        search.follow()?;
    }
    search.check_exceptions(items);
    // in the order of the items, then of the alphabet
    let mut found = search.found;
    found.members.sort_by_cached_key(|member| {
        let name = normalized(&installed.distributions[member.index].name);
        let item = items
            .iter()
            .position(|item| matches!(item, Item::Named { name: n, .. } if normalized(n) == name));
        (item.unwrap_or(usize::MAX), name)
    });
    Ok(found)
}

/// PyPy's own, which no index has for it.
pub(super) const OF_PYPY: [&str; 4] = ["cffi", "greenlet", "hpy", "readline"];

/// What an interpreter brings itself.
pub(super) fn provided(name: &str, there: &MarkerEnvironment) -> bool {
    there.implementation_name() == "pypy" && OF_PYPY.contains(&name)
}

struct Search<'s> {
    installed: &'s Installed,
    there: MarkerEnvironment,
    here: MarkerEnvironment,
    /// Both are of the same implementation.
    same: bool,
    except: BTreeSet<String>,
    found: Closure,
    /// From an installed distribution to its member.
    places: BTreeMap<usize, usize>,
    /// Members whose requirements are to be followed.
    queue: VecDeque<usize>,
}

impl Search<'_> {
    fn item(&mut self, name: &str, extras: &[String]) -> Result<(), PackagesError> {
        if normalized(name) == OURS {
            return Ok(());
        }
        let Some(index) = self.installed.find(name) else {
            return Err(self.not_installed(name));
        };
        let distribution = &self.installed.distributions[index];
        let mut wanted = Vec::new();
        for extra in extras {
            let known = distribution.extras.iter().any(|other| normalized(other) == normalized(extra));
            match ExtraName::from_str(extra) {
                Ok(extra) if known => wanted.push(extra),
                _ => {
                    let all = distribution.extras.join(", ");
                    let hint = if all.is_empty() { "it has none".into() } else { format!("it has {all}") };
                    return Err(PackagesError::Unfit {
                        item: name.to_owned(),
                        reason: format!("`{name}` has no extra `{extra}`"),
                        hint: Some(hint),
                    });
                }
            }
        }
        self.want(index, &wanted, true, Asked::Item, None);
        Ok(())
    }

    /// What helps with a name that is none here.
    fn not_installed(&self, name: &str) -> PackagesError {
        let python = &self.installed.executable;
        let unfit = |reason: String, hint: String| PackagesError::Unfit {
            item: name.to_owned(),
            reason,
            hint: Some(hint),
        };
        let reason = format!("`{name}` is not installed in {python}");
        if let Some(path) = here(name) {
            return unfit(reason, format!("`./{path}` brings along what is here"));
        }
        if self.installed.standard.contains(name) {
            let reason = format!("`{name}` is a module of Python itself");
            return unfit(reason, "leave it out: each Python has its own".to_owned());
        }
        match self.installed.similar(name) {
            Some(similar) => unfit(reason, format!("did you mean `{similar}`?")),
            None => unfit(reason, format!("install it: {python} -m pip install {name}")),
        }
    }

    /// Notes exceptions from nothing. They are no errors: another machine may have what they name.
    fn check_exceptions(&mut self, items: &[Item]) {
        let Installed { distributions, executable, .. } = self.installed;
        let is_required = |name: &str| {
            let mut all =
                distributions.iter().flat_map(|distribution| distribution.requires().iter().flatten());
            all.any(|requirement| requirement.name.as_ref() == name)
        };
        for item in items {
            let Item::Except(typed) = item else { continue };
            let name = normalized(typed);
            if name == OURS || self.installed.find(&name).is_some() || is_required(&name) {
                continue;
            }
            let mut note =
                format!("`!{typed}` leaves out nothing: `{typed}` is not installed in {executable}");
            if let Some(similar) = self.installed.similar(typed) {
                note.push_str(&format!("; did you mean `!{similar}`?"));
            }
            self.found.notes.push(note);
        }
    }

    /// What `*` stands for.
    fn everything(&self) -> Vec<usize> {
        let all = self.installed.distributions.iter().enumerate();
        let meant = all.filter(|(_, distribution)| {
            let name = normalized(&distribution.name);
            let left_out =
                TOOLS.contains(&name.as_str()) || self.except.contains(&name) || provided(&name, &self.there);
            !left_out && name != OURS && distribution.place != self.installed.library
        });
        let meant: BTreeSet<usize> = meant.map(|(index, _)| index).collect();
        let only_for_them = self.brought_by_exceptions(&meant);
        meant.difference(&only_for_them).copied().collect()
    }

    /// Of these, what was installed only because an exception requires it. Installers that write down what
    /// was asked for by name let us know.
    fn brought_by_exceptions(&self, meant: &BTreeSet<usize>) -> BTreeSet<usize> {
        let excepted = self.except.iter().filter_map(|name| self.installed.find(name));
        let excepted: Vec<usize> =
            excepted.filter(|index| self.installed.distributions[*index].requested).collect();
        let theirs = self.reach(excepted);
        let others = self.reach(meant.difference(&theirs).copied().collect());
        let only = theirs.into_iter().filter(|index| !others.contains(index));
        only.filter(|index| !self.installed.distributions[*index].requested).collect()
    }

    /// What these require, and what that requires.
    fn reach(&self, from: Vec<usize>) -> BTreeSet<usize> {
        let mut reached = BTreeSet::new();
        let mut queue = from;
        while let Some(index) = queue.pop() {
            for requirement in self.installed.distributions[index].requires().iter().flatten() {
                let name = requirement.name.as_ref();
                if self.except.contains(name) || !requirement.evaluate_markers(&self.there, &[]) {
                    continue;
                }
                queue.extend(self.installed.find(name).filter(|index| reached.insert(*index)));
            }
        }
        reached
    }

    /// Adds a distribution, or more extras of it.
    fn want(&mut self, index: usize, extras: &[ExtraName], named: bool, asked: Asked, by: Option<usize>) {
        let new = self.found.members.len();
        let place = *self.places.entry(index).or_insert(new);
        if place == new {
            self.found.members.push(Member { index, extras: BTreeSet::new(), named, asked, by });
        }
        let member = &mut self.found.members[place];
        if named && !member.named {
            // its error names this way to it
            member.by = by;
        }
        let known = member.extras.len();
        member.extras.extend(extras.iter().cloned());
        if place == new || member.extras.len() > known || (named && !member.named) {
            self.queue.push_back(place);
        }
        member.named |= named;
        member.asked = member.asked.min(asked);
    }

    fn follow(&mut self) -> Result<(), PackagesError> {
        while let Some(place) = self.queue.pop_front() {
            let (index, named) = (self.found.members[place].index, self.found.members[place].named);
            let extras: Vec<ExtraName> = self.found.members[place].extras.iter().cloned().collect();
            let distribution = &self.installed.distributions[index];
            if normalized(&distribution.name) == "pytest" {
                for (plugin, other) in self.installed.distributions.iter().enumerate() {
                    let name = normalized(&other.name);
                    if other.pytest11 && name != OURS && !self.except.contains(&name) {
                        self.want(plugin, &[], false, Asked::Plugin, None);
                    }
                }
            }
            for requirement in distribution.requires() {
                match requirement {
                    Ok(requirement) if requirement.evaluate_markers(&self.there, &extras) => {
                        self.require(requirement, index, named, &extras)?;
                    }
                    Ok(_) => {}
                    Err(text) => {
                        let name = &distribution.name;
                        self.found.notes.push(format!("`{name}` requires `{text}`, which is no requirement"));
                    }
                }
            }
        }
        Ok(())
    }

    fn require(
        &mut self,
        requirement: &Requirement,
        by: usize,
        named: bool,
        extras: &[ExtraName],
    ) -> Result<(), PackagesError> {
        let name = requirement.name.as_ref();
        if name == OURS || self.except.contains(name) || provided(name, &self.there) {
            return Ok(());
        }
        let Some(index) = self.installed.find(name) else {
            if requirement.evaluate_markers(&self.here, extras) {
                // broken here, too
                let (who, python) = (self.found.subject(by, self.installed), &self.installed.executable);
                let reason = format!("{who} requires `{name}`, which is not installed in {python}");
                return self.problem(name, reason, named, |python| format!("{python} -m pip install {name}"));
            }
            let known = |missing: &Missing| missing.requirement == *requirement && missing.by == by;
            if !self.found.missing.iter().any(known) {
                self.found.missing.push(Missing { requirement: requirement.clone(), by });
            }
            return Ok(());
        };
        let distribution = &self.installed.distributions[index];
        if distribution.place == self.installed.library {
            // a part of the interpreter, which only the same one has
            if !self.same {
                self.found.missing.push(Missing { requirement: requirement.clone(), by });
            }
            return Ok(());
        }
        if let Some(VersionOrUrl::VersionSpecifier(specifiers)) = &requirement.version_or_url {
            let version = Version::from_str(&distribution.version);
            if version.is_ok_and(|version| !specifiers.contains(&version)) {
                let who = self.found.subject(by, self.installed);
                let reason = format!(
                    "{who} requires `{name}{specifiers}`, but {} is installed in {}",
                    distribution.version, self.installed.executable
                );
                let wanted = format!("{name}{}", specifiers.to_string().replace(' ', ""));
                self.problem(name, reason, named, |python| format!("{python} -m pip install '{wanted}'"))?;
            }
        }
        self.want(index, &requirement.extras, named, Asked::Required, Some(by));
        Ok(())
    }

    /// An error for what an item needs, a note for the rest of `*`.
    fn problem(
        &mut self,
        name: &str,
        reason: String,
        named: bool,
        hint: impl FnOnce(&str) -> String,
    ) -> Result<(), PackagesError> {
        if named {
            let hint = Some(hint(&self.installed.executable));
            return Err(PackagesError::Unfit { item: name.to_owned(), reason, hint });
        }
        if !self.found.notes.contains(&reason) {
            self.found.notes.push(reason);
        }
        Ok(())
    }
}

/// A folder or module of this name in the current folder, that could be an item.
fn here(name: &str) -> Option<String> {
    let names = [name.to_owned(), format!("{name}.py")];
    names.into_iter().find(|name| Entry::of(Path::new(name)).is_ok())
}
