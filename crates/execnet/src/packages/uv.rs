//! What an index has for the other interpreter, where it cannot have what is installed here: the whole
//! closure, chosen by uv and unpacked into a cache of ours.
//!
//! First the versions that are installed here, then none that are newer. Only wheels: no build code of a
//! stranger runs. What no index has as a wheel, but fits as it is, is handed to uv as a wheel made from the
//! installed files. What did not come from an index is looked for in none: something else may have its name.

mod cache;
mod command;
mod platform;
mod search;
pub(super) mod wheel;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::str::FromStr;

use pep440_rs::Version;
use pep508_rs::ExtraName;
use serde::{Deserialize, Serialize};

use super::PackagesError;
use super::environment::{Distribution, Installed, normalized};
use super::facts::Facts;
use super::plan::File;
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
    /// Why it does not, as a sentence.
    pub(super) misfit: Option<&'p str>,
    /// Who requires it, in parentheses behind a blank; empty if it was asked for.
    pub(super) required: &'p str,
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
    let left_out = search::search(wanted, uv, target, &draft)?;
    cache.keep(draft, Resolved { pure: target.is_pure(), left_out, ..Resolved::default() })
}

/// All that uv is told of an interpreter.
#[cfg(any(test, fuzzing))]
pub(super) fn words(there: &Facts) -> Vec<String> {
    let target = target(there);
    let mut words = target.words().map(str::to_owned).to_vec();
    words.push(platform::version(there));
    words.extend(target.variables(there).map(|(_, value)| value));
    words
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

    /// Why it was not found.
    fn error(&self, failed: Failed) -> PackagesError {
        let whom = format!("{} on {}", self.there.title(), self.there.platform_machine);
        let mut because = self.because.as_str();
        let (what, hint) = match failed {
            Failed::NoSolution(text) => {
                // of several that do not fit, the one that is in the way
                let in_way = |pin: &&Pin<'_>| pin.named && mentions(&text, &pin.name());
                let in_way = self.pins.iter().filter(in_way).find_map(|pin| pin.misfit);
                because = in_way.unwrap_or(because);
                (format!("uv finds nothing else for {whom}: {text}"), None)
            }
            Failed::Unusable { what, help } => (what, Some(help)),
            Failed::Other(text) => (format!("uv cannot look for something else for {whom}: {text}"), None),
        };
        PackagesError::Unfit { item: named(because), reason: format!("{because}, and {what}"), hint }
    }
}

/// Whether a text has this name as a word.
fn mentions(text: &str, name: &str) -> bool {
    let part = |char: char| char.is_ascii_alphanumeric() || "-_.".contains(char);
    text.split(|char: char| !part(char)).any(|word| normalized(word.trim_matches('.')) == name)
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

/// Whether versions are those that are installed here, or those and older ones.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Exact {
    Yes,
    No,
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
