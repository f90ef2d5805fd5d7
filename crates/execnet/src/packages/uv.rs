//! What an index has for the other interpreter, where it cannot have what is installed here: the whole
//! closure, chosen by uv and unpacked into a cache of ours.
//!
//! First the versions that are installed here, then none that are newer. Only wheels: no build code of a
//! stranger runs. What no index has as a wheel, but fits as it is, is handed to uv as a wheel made from the
//! installed files. What did not come from an index is looked for in none: something else may have its name.

mod cache;
mod command;
mod platform;
pub(super) mod wheel;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use pep440_rs::Version;
use pep508_rs::{ExtraName, Requirement, VerbatimUrl};
use serde::{Deserialize, Serialize};

use super::PackagesError;
use super::environment::{Distribution, Installed, normalized};
use super::facts::Facts;
use super::fit::is_pure;
use super::plan::File;
use cache::Draft;
use command::{Failed, Uv};
use platform::{Target, target};

/// What is to be found.
pub(super) struct Wanted<'w> {
    /// Where the client runs.
    pub(super) here: &'w Installed,
    pub(super) there: &'w Facts,
    pub(super) pins: Vec<Pin<'w>>,
    /// Requirements of what comes otherwise.
    pub(super) more: Vec<String>,
    /// Normalized names of what comes otherwise, or not at all.
    pub(super) excludes: BTreeSet<String>,
    /// Why what is installed here does not do.
    pub(super) because: String,
}

/// An installed distribution, of which another version may be sent.
pub(super) struct Pin<'p> {
    pub(super) distribution: &'p Distribution,
    pub(super) extras: Vec<String>,
    /// Nothing else requires it, or it was asked for.
    pub(super) top: bool,
    /// An item needs it: without it, there is no gateway.
    pub(super) named: bool,
    /// Its files, if it fits as it is.
    pub(super) fits: Option<&'p [File]>,
}

/// What was found.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Resolved {
    /// A folder of distributions.
    #[serde(skip)]
    pub(super) folder: PathBuf,
    /// uv was not told what the interpreter is: all of them have to be pure.
    pub(super) pure: bool,
    /// What is left out.
    pub(super) left_out: Vec<String>,
}

/// Finds it, in the cache or through uv.
pub(super) fn resolved(wanted: &Wanted<'_>) -> Result<Resolved, PackagesError> {
    let target = target(wanted.there);
    let cache = cache::Cache::open(&place(wanted.here)?, &wanted.key(&target))?;
    if let Some(resolved) = cache.read() {
        return Ok(resolved);
    }
    let uv = Uv::find(wanted.here, std::env::var_os("PATH"))
        .ok_or_else(|| without_uv(wanted.here, wanted.there, &wanted.because))?;
    // one at a time, whatever the number of gateways and programs
    let _lock = cache.lock()?;
    if let Some(resolved) = cache.read() {
        return Ok(resolved);
    }
    let draft = cache.draft()?;
    let mut search = Search {
        wanted,
        uv,
        target,
        draft: &draft,
        made: BTreeMap::new(),
        chosen: BTreeMap::new(),
        via: BTreeMap::new(),
        private: BTreeSet::new(),
        left_out: BTreeSet::new(),
    };
    search.hand_over()?;
    let found = match search.run(Exact::Yes) {
        Err(Stop::NoSolution(_)) => search.run(Exact::No),
        found => found,
    };
    match found {
        Ok(()) => {
            let left_out = search.left_out.into_iter().collect();
            cache.keep(draft, Resolved { pure: target.is_pure(), left_out, ..Resolved::default() })
        }
        Err(Stop::NoSolution(text)) => Err(wanted.error(&text)),
        Err(Stop::Error(error)) => Err(error),
    }
}

/// Whether there is no uv.
#[cfg(test)]
pub(super) fn is_missing(here: &Installed, path: Option<std::ffi::OsString>) -> bool {
    Uv::find(here, path).is_none()
}

/// Where results are kept.
#[cfg(not(test))]
fn place(_: &Installed) -> Result<PathBuf, PackagesError> {
    use execnet_proto::place::UserFolder;
    let variable = std::env::var_os(UserFolder::Cache.variable());
    let folder = UserFolder::Cache.find(variable, std::env::home_dir());
    folder.map(|folder| folder.join("packages")).ok_or_else(|| PackagesError::Cache {
        path: "~/.cache/execnet/packages".into(),
        reason: "there is no home folder".to_owned(),
    })
}

/// Tests leave nothing in anybody's home folder.
#[cfg(test)]
fn place(here: &Installed) -> Result<PathBuf, PackagesError> {
    Ok(PathBuf::from(&here.executable).with_file_name("cache"))
}

/// Whether versions are those that are installed here, or those and older ones.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Exact {
    Yes,
    No,
}

enum Stop {
    /// uv's explanation.
    NoSolution(String),
    Error(PackagesError),
}

struct Search<'s> {
    wanted: &'s Wanted<'s>,
    uv: Uv,
    target: Target,
    draft: &'s Draft,
    /// Normalized names of those that are handed over as wheels, and where these are.
    made: BTreeMap<String, String>,
    /// Versions of those of which another one would have been taken.
    chosen: BTreeMap<String, String>,
    /// Who requires what, if uv has said so.
    via: BTreeMap<String, BTreeSet<String>>,
    /// Normalized names of those that no index is asked for.
    private: BTreeSet<String>,
    /// Normalized names of those that fit nowhere, and that nothing named needs.
    left_out: BTreeSet<String>,
}

impl Search<'_> {
    /// What came from a repository, a folder or a file is handed over if it fits. If not, it is left out,
    /// with all that require it.
    fn hand_over(&mut self) -> Result<(), PackagesError> {
        let (wanted, title) = (self.wanted, self.wanted.there.title());
        for pin in wanted.pins.iter().filter(|pin| pin.distribution.direct) {
            if self.can_take(pin) {
                self.make(pin)?;
            } else if pin.named {
                let name = &pin.distribution.name;
                return Err(PackagesError::Unfit {
                    item: name.clone(),
                    reason: format!("`{name}` does not fit {title} as it is, and did not come from an index"),
                    hint: Some("give the folder of its sources in its place, or leave it out".to_owned()),
                });
            } else {
                self.private.insert(pin.name());
            }
        }
        for name in self.private.clone() {
            self.left_out.insert(name.clone());
            self.leave_with(vec![name]);
        }
        Ok(())
    }

    /// Makes a wheel of installed files; false if it may not be one.
    fn make(&mut self, pin: &Pin<'_>) -> Result<bool, PackagesError> {
        let Some(files) = pin.fits.filter(|_| self.can_take(pin)) else { return Ok(false) };
        let folder = self.draft.wheels();
        let path = wheel::make(pin.distribution, files, &folder);
        let path = path.map_err(|error| self.draft.error(&folder, &error))?;
        Ok(self.made.insert(pin.name(), url(&path)).is_none())
    }

    /// Whether uv takes it as it is.
    fn can_take(&self, pin: &Pin<'_>) -> bool {
        pin.fits.is_some() && (!self.target.is_pure() || is_pure(pin.distribution))
    }

    /// Runs uv until all that can be found is found.
    fn run(&mut self, exact: Exact) -> Result<(), Stop> {
        loop {
            let text = match self.once(exact) {
                Ok(()) => return Ok(()),
                Err(Failed::NoSolution(text)) => text,
                Err(Failed::Other(text)) => return Err(Stop::Error(self.wanted.failed(&text))),
            };
            if !self.change(&text, exact).map_err(Stop::Error)? {
                return Err(Stop::NoSolution(text));
            }
        }
    }

    fn once(&mut self, exact: Exact) -> Result<(), Failed> {
        let draft = self.draft;
        let write = |name: &str, lines: Vec<String>| draft.write(name, &lines);
        let pins = || self.wanted.pins.iter().filter(|pin| !self.made.contains_key(&pin.name()));
        let is_out = |pin: &&Pin<'_>| self.left_out.contains(&pin.name());
        let tops = pins().filter(|pin| pin.top && !is_out(pin)).map(|pin| self.text(pin, exact, true));
        let made = self.wanted.pins.iter().filter_map(|pin| {
            let url = self.made.get(&pin.name())?;
            Some(format!("{} @ {url}", pin.start(true)))
        });
        let more = self.wanted.more.iter().cloned();
        let wanted = write("wanted.txt", tops.chain(made).chain(more).collect())?;
        // what is left out may come by way of another, but no newer one
        let limits = pins().filter(|pin| !pin.top || is_out(pin)).map(|pin| self.text(pin, exact, false));
        let limits = write("limits.txt", limits.collect())?;
        let excludes: Vec<String> = self.wanted.excludes.union(&self.private).cloned().collect();
        let excludes = write("excludes.txt", excludes)?;
        if self.target.is_pure() {
            // uv has no word for this interpreter: it resolves for all, and we evaluate the markers
            let args = ["pip", "compile", "--quiet", "--universal", "--no-header"];
            let mut command = self.command(&args);
            command.args(["--annotation-style", "line"]);
            command.arg("--constraints").arg(limits).arg("--excludes").arg(excludes).arg(wanted);
            let printed = self.uv.run(command)?;
            let list = self.list(&printed);
            let list = draft.write("list.txt", &list)?;
            let mut command = self.command(&["pip", "install", "--no-deps"]);
            command
                .arg("--target")
                .arg(draft.packages())
                .args(["--link-mode", "copy"])
                .arg("--requirements")
                .arg(list);
            command.args(self.target.words());
            return self.uv.run(command).map(drop);
        }
        let mut command = self.command(&["pip", "install"]);
        command.arg("--target").arg(draft.packages()).args(["--link-mode", "copy"]);
        command.arg("--constraints").arg(limits).arg("--excludes").arg(excludes);
        command.arg("--requirements").arg(wanted).args(self.target.words());
        self.uv.run(command).map(drop)
    }

    fn text(&self, pin: &Pin<'_>, exact: Exact, with_extras: bool) -> String {
        match self.chosen.get(&pin.name()) {
            Some(version) => format!("{}=={version}", pin.start(with_extras)),
            None => pin.text(exact, with_extras),
        }
    }

    /// What all of uv's commands have in common.
    fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = self.uv.command(args);
        command.args(["--python", &self.wanted.here.executable, "--only-binary", ":all:"]);
        command.args(["--python-version", &platform::version(self.wanted.there)]);
        command.envs(self.target.variables(self.wanted.there));
        command
    }

    /// Of a list for all interpreters, what this one needs. Keeps who requires it.
    fn list(&mut self, printed: &str) -> Vec<String> {
        let Some(markers) = self.wanted.there.markers() else { return Vec::new() };
        let mut list = Vec::new();
        self.via.clear();
        for line in printed.lines() {
            let (text, via) = line.split_once("  # via ").unwrap_or((line, ""));
            let Ok(mut requirement) = Requirement::<VerbatimUrl>::from_str(text.trim()) else { continue };
            if requirement.evaluate_markers(&markers, &[]) {
                requirement.marker = pep508_rs::MarkerTree::TRUE;
                list.push(requirement.to_string());
                let via = via.split(", ").map(normalized);
                self.via.entry(requirement.name.to_string()).or_default().extend(via);
            }
        }
        list
    }

    /// After a failure: hands over what is pure as it is, and leaves out what fits nowhere and nothing named
    /// needs. False if there is nothing to change.
    fn change(&mut self, text: &str, exact: Exact) -> Result<bool, PackagesError> {
        let wanted = self.wanted;
        let mut changed = false;
        let mentioned = |pin: &&Pin<'_>| mentions(text, &pin.name());
        let known = |pin: &&Pin<'_>, search: &Self| {
            search.made.contains_key(&pin.name()) || search.left_out.contains(&pin.name())
        };
        for pin in wanted.pins.iter().filter(mentioned) {
            let droppable = exact == Exact::No && !pin.named;
            let choosable = exact == Exact::No && self.target.is_pure();
            if known(&pin, self) || (!self.can_take(pin) && !droppable && !choosable) {
                continue;
            }
            changed |= match self.version(pin, exact)? {
                // which of all versions is pure, was not known when one was chosen
                Some(version) => choosable && self.chosen.insert(pin.name(), version).is_none(),
                None => self.make(pin)? || (droppable && self.leave_out(pin)),
            };
        }
        if changed || exact == Exact::Yes {
            return Ok(changed);
        }
        // what is left out is still required: by those that leave with it, in their versions here at least
        let gone = |pin: &&Pin<'_>| self.left_out.contains(&pin.name()) && mentions(text, &pin.name());
        let gone: Vec<String> = wanted.pins.iter().filter(gone).map(Pin::name).collect();
        Ok(self.leave_with(gone))
    }

    /// Leaves out those that nothing named needs and that require one of these, and so on.
    fn leave_with(&mut self, mut gone: Vec<String>) -> bool {
        let (wanted, mut seen, mut changed) = (self.wanted, BTreeSet::new(), false);
        while let Some(name) = gone.pop() {
            for pin in wanted.pins.iter().filter(|pin| !pin.named) {
                let via = self.via.get(&name).is_some_and(|via| via.contains(&pin.name()));
                if (via || pin.requires(&name, wanted.there)) && seen.insert(pin.name()) {
                    changed |= self.leave_out(pin);
                    gone.push(pin.name());
                }
            }
        }
        changed
    }

    fn leave_out(&mut self, pin: &Pin<'_>) -> bool {
        !pin.named && self.left_out.insert(pin.name())
    }

    /// The version of which there is a wheel, whatever else it needs.
    fn version(&self, pin: &Pin<'_>, exact: Exact) -> Result<Option<String>, PackagesError> {
        let failed = |text: &str| self.wanted.failed(text);
        let file = match self.draft.write("one.txt", &[pin.text(exact, false)]) {
            Ok(file) => file,
            Err(Failed::Other(text) | Failed::NoSolution(text)) => return Err(failed(&text)),
        };
        let mut command = self.command(&["pip", "install", "--dry-run", "--no-deps"]);
        command.arg("--target").arg(self.draft.packages()).arg("--requirements").arg(file);
        command.args(self.target.words());
        match self.uv.run(command) {
            Ok(printed) => {
                let start = format!(" + {}==", pin.name());
                let mut lines = printed.lines().filter_map(|line| line.strip_prefix(&start));
                Ok(Some(lines.next().unwrap_or_default().trim().to_owned()))
            }
            Err(Failed::NoSolution(_)) => Ok(None),
            Err(Failed::Other(text)) => Err(failed(&text)),
        }
    }
}

impl Wanted<'_> {
    /// What decides about the result.
    fn key(&self, target: &Target) -> Vec<String> {
        let mut key = vec![target.words().join(" "), platform::version(self.there)];
        if target.is_pure() {
            let there = self.there;
            key.extend(
                [&there.implementation_name, &there.implementation_version, &there.sys_platform]
                    .map(Clone::clone),
            );
            key.extend([&there.platform_machine, &there.platform_system, &there.os_name].map(Clone::clone));
        }
        for pin in &self.pins {
            let kind = format!("{}{}", u8::from(pin.top), u8::from(pin.named));
            key.push(format!("{} {kind} {}", pin.text(Exact::Yes, true), pin.distribution.direct));
            if pin.distribution.direct {
                // installed again, it has another one
                let record = pin.distribution.folder().join("RECORD");
                let changed = std::fs::metadata(record).and_then(|metadata| metadata.modified());
                key.push(format!("{} {changed:?}", pin.distribution.folder().display()));
            }
        }
        key.push(self.more.join("\n"));
        // another index may have other things
        let own = |(name, _): &(OsString, OsString)| name.as_bytes().starts_with(b"UV_");
        let mut variables: Vec<_> = std::env::vars_os().filter(own).collect();
        variables.sort();
        key.push(format!("{variables:?}"));
        key.extend(self.excludes.iter().map(|name| format!("!{name}")));
        key
    }

    /// There is nothing that fits.
    fn error(&self, text: &str) -> PackagesError {
        self.unfit(&format!("uv finds nothing else for {}: {text}", self.whom()))
    }

    /// Whether there is, uv cannot tell.
    fn failed(&self, text: &str) -> PackagesError {
        self.unfit(&format!("uv cannot look for something else for {}: {text}", self.whom()))
    }

    fn whom(&self) -> String {
        format!("{} on {}", self.there.title(), self.there.platform_machine)
    }

    fn unfit(&self, words: &str) -> PackagesError {
        let reason = format!("{}, and {words}", self.because);
        PackagesError::Unfit { item: named(&self.because), reason, hint: None }
    }
}

/// What to do where there is no uv.
pub(super) fn without_uv(here: &Installed, there: &Facts, because: &str) -> PackagesError {
    let (title, python) = (there.title(), &here.executable);
    PackagesError::Unfit {
        item: named(because),
        reason: format!("{because}, so {title} cannot have what is installed here"),
        hint: Some(format!("install uv, which finds what it can have: {python} -m pip install uv")),
    }
}

/// The name in a reason.
fn named(because: &str) -> String {
    because.split('`').nth(1).unwrap_or_default().to_owned()
}

impl Pin<'_> {
    fn name(&self) -> String {
        normalized(&self.distribution.name)
    }

    fn start(&self, with_extras: bool) -> String {
        let extras = with_extras && !self.extras.is_empty();
        let extras = if extras { format!("[{}]", self.extras.join(",")) } else { String::new() };
        self.name() + &extras
    }

    /// As a requirement; as a limit, it has no extras.
    fn text(&self, exact: Exact, with_extras: bool) -> String {
        let mut text = self.start(with_extras);
        match (Version::from_str(&self.distribution.version), exact) {
            (Ok(version), Exact::Yes) => text.push_str(&format!("=={version}")),
            // no other operator knows the local part of a version
            (Ok(version), Exact::No) => text.push_str(&format!("<={}", version.without_local())),
            (Err(_), _) => {}
        }
        text
    }

    fn requires(&self, name: &str, there: &Facts) -> bool {
        let Some(markers) = there.markers() else { return false };
        let extras: Vec<ExtraName> = self.extras.iter().flat_map(|extra| extra.parse()).collect();
        let mut requires = self.distribution.requires().iter().flatten();
        requires.any(|other| other.name.as_ref() == name && other.evaluate_markers(&markers, &extras))
    }
}

/// An absolute path as a URL.
fn url(path: &Path) -> String {
    let mut url = String::from("file://");
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            url.push(byte.into());
        } else {
            url.push_str(&format!("%{byte:02X}"));
        }
    }
    url
}

/// Whether a text has this name as a word.
fn mentions(text: &str, name: &str) -> bool {
    let part = |char: char| char.is_ascii_alphanumeric() || "-_.".contains(char);
    text.split(|char: char| !part(char)).any(|word| normalized(word.trim_matches('.')) == name)
}

/// One line about the versions that are not those that are installed here, those that were asked for first.
pub(super) fn replaced(wanted: &Wanted<'_>, found: &[Distribution]) -> Option<String> {
    let mut other: Vec<String> = Vec::new();
    for Pin { distribution: here, .. } in &wanted.pins {
        let same = |found: &&Distribution| normalized(&found.name) == normalized(&here.name);
        let Some(found) = found.iter().find(same).filter(|found| found.version != here.version) else {
            continue;
        };
        other.push(format!("{} {} instead of {}", here.name, found.version, here.version));
    }
    let more = other.len().saturating_sub(8);
    other.truncate(8);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!other.is_empty()).then(|| format!("for {}: {}{more}", wanted.there.title(), other.join(", ")))
}
