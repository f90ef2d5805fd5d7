//! Whether a distribution may travel as it is installed: pure code whose `Requires-Python` allows it, or
//! extension modules between two interpreters that are the same, on a system that the wheel was made for.

use std::str::FromStr;

use pep440_rs::VersionSpecifiers;

use super::environment::Distribution;
use super::facts::{Facts, pair};

/// Why a distribution does not fit, as the end of a sentence: "`x` …".
pub(super) fn misfit(
    distribution: &Distribution,
    has_extensions: bool,
    here: &Facts,
    there: &Facts,
) -> Option<String> {
    if !distribution.requires_python.is_empty() && !allows(&distribution.requires_python, there) {
        return Some(format!("{} needs Python {}", distribution.version, distribution.requires_python));
    }
    if distribution.roots.is_some() {
        return has_extensions.then(|| built(here, there)).flatten();
    }
    let tags: Vec<Tag<'_>> = distribution.tags.iter().flat_map(|tag| Tag::all(tag)).collect();
    if tags.iter().any(|tag| tag.is_pure() && tag.python_fits(there)) {
        return None;
    }
    if tags.is_empty() {
        // distutils, Debian, conda
        return if has_extensions {
            Some("has extension modules, and no WHEEL says which systems they are for".to_owned())
        } else if same_python(here, there) {
            None
        } else {
            Some("was installed without a wheel, so for this version of Python only".to_owned())
        };
    }
    if tags.iter().all(Tag::is_pure) {
        return Some(format!("is not made for Python {}", there.python_version));
    }
    // programs and libraries that no Python loads as a module
    let any_python =
        |tag: &Tag<'_>| tag.abi == "none" && tag.python.starts_with("py") && tag.python_fits(there);
    if !tags.iter().any(any_python) && !same_python(here, there) {
        return Some(format!("has extension modules for {}", build(here)));
    }
    if tags.iter().any(|tag| tag.platform_fits(there)) {
        return None;
    }
    let platforms: Vec<&str> = tags.iter().map(|tag| tag.platform).collect();
    Some(format!("has extension modules for {}", platforms.join(", ")))
}

/// Whether its wheel says that it is pure.
pub(super) fn is_pure(distribution: &Distribution) -> bool {
    distribution.roots.is_none()
        && distribution.tags.iter().flat_map(|tag| Tag::all(tag)).any(|tag| tag.is_pure())
}

/// Whether `Requires-Python` does. What cannot be read forbids nothing, as with pip.
pub(super) fn allows(requires_python: &str, there: &Facts) -> bool {
    match (VersionSpecifiers::from_str(requires_python), there.release()) {
        (Ok(specifiers), Some(version)) => specifiers.contains(&version),
        _ => true,
    }
}

/// Extension modules of the one can be loaded by the other.
pub(super) fn same_python(here: &Facts, there: &Facts) -> bool {
    here.implementation_name == there.implementation_name
        && here.python_version == there.python_version
        && here.ext_suffix == there.ext_suffix
        && here.platform_machine == there.platform_machine
        && here.sys_platform == there.sys_platform
}

/// An editable's extension modules were built here: they need this C library, or a newer one.
fn built(here: &Facts, there: &Facts) -> Option<String> {
    let library = match (here.libc(), there.libc()) {
        (Some((name, version)), Some((other, theirs))) => name == other && theirs >= version,
        (None, None) => macos(here) <= macos(there),
        _ => false,
    };
    let fits = same_python(here, there) && library;
    (!fits).then(|| format!("has extension modules that were built here, for {}", build(here)))
}

/// `CPython 3.13 on x86_64 with glibc 2.36`
fn build(facts: &Facts) -> String {
    let libc = if facts.libc.is_empty() { String::new() } else { format!(" with {}", facts.libc) };
    format!("{} on {}{libc}", facts.title(), facts.platform_machine)
}

/// The version of macOS, from its kernel's.
pub(super) fn macos(facts: &Facts) -> Option<(u32, u32)> {
    if facts.sys_platform != "darwin" {
        return None;
    }
    let darwin: u32 = facts.platform_release.split('.').next()?.parse().ok()?;
    Some(match darwin {
        ..20 => (10, darwin.saturating_sub(4)),
        20..25 => (darwin - 9, 0),
        _ => (darwin + 1, 0),
    })
}

/// A tag of a wheel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tag<'t> {
    python: &'t str,
    abi: &'t str,
    platform: &'t str,
}

impl<'t> Tag<'t> {
    /// All tags that a compressed one stands for.
    fn all(text: &'t str) -> Vec<Self> {
        let mut parts = text.split('-');
        let (Some(pythons), Some(abis), Some(platforms)) = (parts.next(), parts.next(), parts.next()) else {
            return Vec::new();
        };
        let mut all = Vec::new();
        for python in pythons.split('.') {
            for abi in abis.split('.') {
                all.extend(platforms.split('.').map(|platform| Self { python, abi, platform }));
            }
        }
        all
    }

    fn is_pure(&self) -> bool {
        self.abi == "none" && self.platform == "any"
    }

    /// `py3`, `py38` (and later), `py2`; `cp313` only for that version.
    fn python_fits(&self, there: &Facts) -> bool {
        let Some((major, minor)) = there.version() else { return false };
        let number = |digits: &str| -> Option<(u32, Option<u32>)> {
            let (first, rest) = digits.split_at_checked(1)?;
            Some((first.parse().ok()?, if rest.is_empty() { None } else { Some(rest.parse().ok()?) }))
        };
        if let Some((of, from)) = self.python.strip_prefix("py").and_then(number) {
            return of == major && from.is_none_or(|from| from <= minor);
        }
        let exact = self.python.strip_prefix("cp").filter(|_| there.implementation_name == "cpython");
        exact
            .or(self.python.strip_prefix("pp").filter(|_| there.implementation_name == "pypy"))
            .and_then(number)
            == Some((major, Some(minor)))
    }

    /// The system that it was made for, or a newer one.
    fn platform_fits(&self, there: &Facts) -> bool {
        let machine = there.platform_machine.as_str();
        if let Some(rest) = self.platform.strip_prefix("macosx_") {
            let mut parts = rest.splitn(3, '_');
            let version = (parts.next(), parts.next());
            let (Some(major), Some(minor), Some(machines)) = (version.0, version.1, parts.next()) else {
                return false;
            };
            let of = pair(&format!("{major}.{minor}"));
            let both = machines == "universal2" && ["x86_64", "arm64"].contains(&machine);
            return of.is_some() && of <= macos(there) && (machines == machine || both);
        }
        let Some((name, version)) = there.libc() else { return false };
        if there.sys_platform != "linux" {
            return false;
        }
        // before PEP 600
        let platform = self.platform;
        let older = [
            ("manylinux1_", "manylinux_2_5_"),
            ("manylinux2010_", "manylinux_2_12_"),
            ("manylinux2014_", "manylinux_2_17_"),
        ];
        let older = older.iter().find_map(|(old, new)| Some(format!("{new}{}", platform.strip_prefix(old)?)));
        let platform = older.as_deref().unwrap_or(platform);
        let kind = if name == "musl" { "musllinux_" } else { "manylinux_" };
        let Some(rest) = platform.strip_prefix(kind) else { return false };
        let mut parts = rest.splitn(3, '_');
        let of = (parts.next(), parts.next());
        let (Some(major), Some(minor), Some(of_machine)) = (of.0, of.1, parts.next()) else { return false };
        let fits =
            of_machine == machine || (of_machine == "i686" && machine == "x86_64" && there.bits == "32");
        fits && pair(&format!("{major}.{minor}")).is_some_and(|of| of.0 == version.0 && of <= version)
    }
}
