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
        let other = (!same_python(here, there)).then(|| format!("has extension modules for {}", build(here)));
        return has_extensions.then(|| other.or_else(|| built(here, there))).flatten();
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

/// Whether it is pure: its wheel says so, or without a wheel, it has no extension modules.
pub(super) fn is_pure(distribution: &Distribution) -> bool {
    let mut tags = distribution.tags.iter().flat_map(|tag| Tag::all(tag));
    distribution.roots.is_none() && (distribution.tags.is_empty() || tags.any(|tag| tag.is_pure()))
}

/// Whether `Requires-Python` does. What cannot be read forbids nothing, as with pip.
pub(super) fn allows(requires_python: &str, there: &Facts) -> bool {
    match (VersionSpecifiers::from_str(requires_python), there.release()) {
        (Ok(specifiers), Some(version)) => specifiers.contains(&version),
        _ => true,
    }
}

/// Extension modules of the one can be loaded by the other.
fn same_python(here: &Facts, there: &Facts) -> bool {
    here.implementation_name == there.implementation_name
        && here.python_version == there.python_version
        && here.ext_suffix == there.ext_suffix
        && here.platform_machine == there.platform_machine
        && here.sys_platform == there.sys_platform
}

/// Why extension modules that were built here cannot be loaded by any version of that implementation there:
/// they need this machine, and this C library or a newer one.
pub(super) fn built(here: &Facts, there: &Facts) -> Option<String> {
    let library = match (here.libc(), there.libc()) {
        (Some((name, version)), Some((other, theirs))) => name == other && theirs >= version,
        (None, None) => macos(here) <= macos(there),
        _ => false,
    };
    let fits = library
        && here.implementation_name == there.implementation_name
        && here.platform_machine == there.platform_machine
        && here.sys_platform == there.sys_platform;
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
        _ => (darwin.saturating_add(1), 0),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(python: &str, suffix: &str, libc: &str) -> Facts {
        Facts {
            python_version: python.into(),
            python_full_version: format!("{python}.4"),
            implementation_name: "cpython".into(),
            platform_python_implementation: "CPython".into(),
            sys_platform: "linux".into(),
            platform_machine: "x86_64".into(),
            ext_suffix: suffix.into(),
            libc: libc.into(),
            bits: "64".into(),
            ..Facts::default()
        }
    }

    fn here() -> Facts {
        facts("3.13", ".cpython-313-x86_64-linux-gnu.so", "glibc 2.36")
    }

    fn mac(machine: &str, release: &str) -> Facts {
        Facts {
            sys_platform: "darwin".into(),
            platform_machine: machine.into(),
            platform_release: release.into(),
            ..facts("3.13", ".cpython-313-darwin.so", "")
        }
    }

    fn why(tags: &[&str], there: &Facts) -> String {
        let tags = tags.iter().map(|&tag| tag.to_owned()).collect();
        let mut distribution = Distribution::default();
        distribution.tags = tags;
        let here = if there.sys_platform == "darwin" { &mac("arm64", "24.0.0") } else { &here() };
        misfit(&distribution, false, here, there).unwrap_or_default()
    }

    #[test]
    fn pure_wheels_fit_where_their_tag_does() {
        let older = facts("3.8", ".cpython-38-x86_64-linux-gnu.so", "musl 1.2");
        let oldest = Facts { implementation_name: String::new(), ..facts("2.7", ".so", "glibc 2.36") };
        for (tags, there, fits) in [
            (&["py3-none-any"][..], &older, true),
            (&["py3-none-any"], &oldest, false),
            (&["py2.py3-none-any"], &oldest, true),
            (&["py2-none-any", "py3-none-any"], &oldest, true),
            (&["py2-none-any"], &older, false),
            (&["py38-none-any"], &older, true),
            (&["py39-none-any"], &older, false),
            (&["cp38-none-any"], &older, true),
            (&["cp39-none-any"], &older, false),
            (&["pp38-none-any"], &older, false),
            (&["nonsense"], &older, false),
        ] {
            assert_eq!(why(tags, there).is_empty(), fits, "{tags:?} {}", there.title());
        }
    }

    #[test]
    fn requires_python_is_asked() {
        let of = |text: &str, full: &str| {
            let there = Facts { python_full_version: full.into(), ..here() };
            allows(text, &there)
        };
        assert!(of(">=3.10", "3.13.4") && of(">=3.14", "3.14.0rc1") && of("<4,!=3.12.*", "3.13.0"));
        assert!(!of(">=3.14", "3.13.9") && !of("<3.13", "3.13.0"));
        // what nobody can read forbids nothing
        assert!(of("three", "3.13.0"));
    }

    #[test]
    fn extension_modules_fit_the_same_python_on_a_system_that_is_new_enough() {
        let with = |change: &dyn Fn(&mut Facts)| {
            let mut facts = here();
            change(&mut facts);
            facts
        };
        let tag = ["cp313-cp313-manylinux2014_x86_64", "cp313-cp313-manylinux_2_17_x86_64"];
        assert_eq!(why(&tag, &here()), "");
        assert_eq!(why(&["cp313-cp313-manylinux_2_28_x86_64.manylinux_2_17_x86_64"], &here()), "");
        assert_eq!(why(&["cp313-cp313-manylinux1_x86_64"], &with(&|f| f.libc = "glibc 2.5".into())), "");
        assert_eq!(why(&["cp313-cp313-musllinux_1_2_x86_64"], &with(&|f| f.libc = "musl 1.2".into())), "");
        assert_eq!(why(&["cp39-abi3-manylinux_2_17_x86_64"], &here()), "");
        // a program in a wheel loads into no Python
        let other = facts("3.8", ".cpython-38-x86_64-linux-gnu.so", "glibc 2.36");
        assert_eq!(why(&["py3-none-manylinux_2_17_x86_64"], &other), "");
        let python = "has extension modules for CPython 3.13 on x86_64 with glibc 2.36";
        let system = "has extension modules for manylinux2014_x86_64, manylinux_2_17_x86_64";
        for (change, expected) in [
            (
                &(|f: &mut Facts| f.ext_suffix = ".cpython-313t-x86_64-linux-gnu.so".into())
                    as &dyn Fn(&mut Facts),
                python,
            ),
            (&|f| f.ext_suffix = ".cpython-313d-x86_64-linux-gnu.so".into(), python),
            (&|f| f.python_version = "3.12".into(), python),
            (&|f| f.implementation_name = "pypy".into(), python),
            (&|f| f.platform_machine = "aarch64".into(), python),
            (&|f| f.libc = "glibc 2.16".into(), system),
            (&|f| f.libc = "musl 1.2".into(), system),
            (&|f| f.libc = String::new(), system),
        ] {
            assert_eq!(why(&tag, &with(change)), expected);
        }
        // built for this machine alone
        assert_eq!(why(&["cp313-cp313-linux_x86_64"], &here()), "has extension modules for linux_x86_64");
        assert_eq!(
            why(&["cp313-cp313-musllinux_1_2_x86_64"], &here()),
            "has extension modules for musllinux_1_2_x86_64"
        );
    }

    #[test]
    fn macos_fits_by_version_and_machine() {
        let new = mac("arm64", "24.6.0");
        assert_eq!(macos(&new), Some((15, 0)));
        assert_eq!(macos(&mac("arm64", "25.1.0")), Some((26, 0)));
        // a host may say so
        assert_eq!(macos(&mac("arm64", "4294967295.1.0")), Some((u32::MAX, 0)));
        assert_eq!(macos(&mac("x86_64", "19.6.0")), Some((10, 15)));
        for (tag, there, fits) in [
            ("cp313-cp313-macosx_11_0_arm64", &new, true),
            ("cp313-cp313-macosx_10_13_universal2", &new, true),
            ("cp313-cp313-macosx_26_0_arm64", &new, false),
            ("cp313-cp313-macosx_11_0_x86_64", &new, false),
            ("cp313-cp313-macosx_14_0_arm64", &mac("arm64", "22.0.0"), false),
        ] {
            assert_eq!(why(&[tag], there).is_empty(), fits, "{tag}");
        }
    }

    #[test]
    fn what_has_no_wheel_fits_only_the_same_python() {
        let of = |has_extensions: bool, there: &Facts| {
            misfit(&Distribution::default(), has_extensions, &here(), there).unwrap_or_default()
        };
        let other = facts("3.12", ".cpython-312-x86_64-linux-gnu.so", "glibc 2.36");
        assert_eq!(of(false, &here()), "");
        assert!(of(true, &here()).starts_with("has extension modules, and no WHEEL says"));
        assert!(of(false, &other).starts_with("was installed without a wheel"));
    }

    #[test]
    fn an_editables_extension_modules_need_what_they_were_built_with() {
        let mut editable = Distribution::default();
        editable.roots = Some(Vec::new());
        let of = |there: &Facts| misfit(&editable, true, &here(), there).unwrap_or_default();
        let libc = |libc: &str| Facts { libc: libc.into(), ..here() };
        assert_eq!((of(&here()), of(&libc("glibc 2.40"))), (String::new(), String::new()));
        for other in ["glibc 2.35", "musl 1.2", ""] {
            let expected =
                "has extension modules that were built here, for CPython 3.13 on x86_64 with glibc 2.36";
            assert_eq!(of(&libc(other)), expected);
        }
        assert_eq!(misfit(&editable, false, &here(), &libc("")), None);
        let other = facts("3.12", ".cpython-312-x86_64-linux-gnu.so", "glibc 2.36");
        assert!(of(&other).starts_with("has extension modules for CPython 3.13"), "{}", of(&other));
        assert_eq!(built(&here(), &other), None);
        assert!(built(&here(), &Facts { implementation_name: "pypy".into(), ..here() }).is_some());
    }
}
