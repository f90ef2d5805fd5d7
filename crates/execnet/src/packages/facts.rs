//! What an interpreter is, as PEP 508's markers and the tags of wheels see it: the other one, as its kernel
//! reports it, and the client's own.
//!
//! What comes from a host is checked here. Nothing of it reaches an argv or a path as it came: `uv.rs` has
//! words of its own for what it knows.

use std::str::FromStr;

use pep440_rs::Version;
use pep508_rs::{MarkerEnvironment, MarkerEnvironmentBuilder};

use crate::value::Value;

/// The facts of an interpreter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, serde::Deserialize, serde::Serialize)]
pub(crate) struct Facts {
    /// The kernel's hash of them all. Empty for the client's own.
    #[serde(default)]
    pub(crate) digest: String,
    pub(crate) python_version: String,
    pub(crate) python_full_version: String,
    pub(crate) implementation_name: String,
    pub(crate) implementation_version: String,
    pub(crate) platform_python_implementation: String,
    pub(crate) os_name: String,
    pub(crate) sys_platform: String,
    pub(crate) platform_system: String,
    pub(crate) platform_machine: String,
    pub(crate) platform_release: String,
    pub(crate) platform_version: String,
    pub(crate) ext_suffix: String,
    pub(crate) cache_tag: String,
    /// `glibc 2.36`, `musl 1.2`, or nothing.
    pub(crate) libc: String,
    pub(crate) bits: String,
}

/// How a text is checked.
enum Check {
    /// One of these.
    Among(&'static [&'static str]),
    /// Numbers with dots, and what may follow them in a version.
    Version,
    /// Letters, digits and `._-`, up to 64.
    Word,
    /// Printable text, up to 256 bytes: only markers see it.
    Text,
    /// See [`libc`].
    Libc,
    /// A hash.
    Digest,
}

const IMPLEMENTATIONS: &[&str] = &["cpython", "pypy", "jython", "graalpy", "ironpython", ""];
const LONG_NAMES: &[&str] = &["CPython", "PyPy", "Jython", "GraalVM", "IronPython"];

impl Facts {
    /// Reads what a kernel reported.
    pub(crate) fn read(value: &Value) -> Result<Self, String> {
        let text = |key: &str, check: &Check| {
            let text = value.get(key).and_then(Value::as_str).ok_or_else(|| format!("no text `{key}`"))?;
            if check.admits(text) { Ok(text.to_owned()) } else { Err(format!("a strange `{key}`")) }
        };
        let facts = Self {
            digest: text("digest", &Check::Digest)?,
            python_version: text("python_version", &Check::Version)?,
            python_full_version: text("python_full_version", &Check::Version)?,
            implementation_name: text("implementation_name", &Check::Among(IMPLEMENTATIONS))?,
            implementation_version: text("implementation_version", &Check::Version)?,
            platform_python_implementation: text(
                "platform_python_implementation",
                &Check::Among(LONG_NAMES),
            )?,
            os_name: text("os_name", &Check::Among(&["posix", "java", "nt"]))?,
            sys_platform: text("sys_platform", &Check::Word)?,
            platform_system: text("platform_system", &Check::Word)?,
            platform_machine: text("platform_machine", &Check::Word)?,
            platform_release: text("platform_release", &Check::Text)?,
            platform_version: text("platform_version", &Check::Text)?,
            ext_suffix: text("ext_suffix", &Check::Word)?,
            cache_tag: text("cache_tag", &Check::Word)?,
            libc: text("libc", &Check::Libc)?,
            bits: text("bits", &Check::Among(&["64", "32", ""]))?,
        };
        facts.version().ok_or("a strange `python_version`")?;
        facts.markers().ok_or("a strange `python_full_version`")?;
        Ok(facts)
    }

    /// The major and minor version.
    pub(super) fn version(&self) -> Option<(u32, u32)> {
        pair(&self.python_version)
    }

    /// The version as `Requires-Python` is compared with it: as pip does, without what follows the numbers.
    pub(super) fn release(&self) -> Option<Version> {
        let version = Version::from_str(self.python_full_version.trim_end_matches('+')).ok()?;
        Some(version.only_release())
    }

    /// The environment that markers are evaluated for.
    pub(super) fn markers(&self) -> Option<MarkerEnvironment> {
        // a build between two releases is called `3.14.0a1+`
        let full = match self.python_full_version.strip_suffix('+') {
            Some(version) => format!("{version}+local"),
            None => self.python_full_version.clone(),
        };
        let version = &self.implementation_version;
        let builder = MarkerEnvironmentBuilder {
            implementation_name: &self.implementation_name,
            // unknown to Python 2
            implementation_version: if version.is_empty() { "0" } else { version },
            os_name: &self.os_name,
            platform_machine: &self.platform_machine,
            platform_python_implementation: &self.platform_python_implementation,
            platform_release: &self.platform_release,
            platform_system: &self.platform_system,
            platform_version: &self.platform_version,
            python_full_version: &full,
            python_version: &self.python_version,
            sys_platform: &self.sys_platform,
        };
        builder.try_into().ok()
    }

    /// The C library and its version.
    pub(super) fn libc(&self) -> Option<(&str, (u32, u32))> {
        let (name, version) = self.libc.split_once(' ')?;
        Some((name, pair(version)?))
    }

    /// `CPython 3.13`, as people call it.
    pub(super) fn title(&self) -> String {
        format!("{} {}", self.platform_python_implementation, self.python_version)
    }
}

impl Check {
    fn admits(&self, text: &str) -> bool {
        let all = |most: usize, others: &str| {
            text.len() <= most
                && text.chars().all(|char| char.is_ascii_alphanumeric() || others.contains(char))
        };
        match self {
            Self::Among(list) => list.contains(&text),
            Self::Version => all(64, ".+"),
            Self::Word => all(64, "._-"),
            Self::Text => text.len() <= 256 && text.chars().all(|char| !char.is_control()),
            Self::Libc => {
                text.is_empty()
                    || text.split_once(' ').is_some_and(|(name, version)| {
                        ["glibc", "musl"].contains(&name) && pair(version).is_some()
                    })
            }
            Self::Digest => text.len() == 64 && text.bytes().all(|byte| b"0123456789abcdef".contains(&byte)),
        }
    }
}

/// Two numbers with a dot.
pub(super) fn pair(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    let number = |text: &str| {
        let digits = !text.is_empty() && text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| digits)
    };
    Some((number(major)?, number(minor)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(changes: &[(&str, &str)]) -> Value {
        let digest = "0".repeat(64);
        let usual = [
            ("digest", digest.as_str()),
            ("python_version", "3.13"),
            ("python_full_version", "3.13.0"),
            ("implementation_name", "cpython"),
            ("implementation_version", "3.13.0"),
            ("platform_python_implementation", "CPython"),
            ("os_name", "posix"),
            ("sys_platform", "linux"),
            ("platform_system", "Linux"),
            ("platform_machine", "x86_64"),
            ("platform_release", "6.1.0-13-amd64"),
            ("platform_version", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.55-1 (2023-09-29)"),
            ("ext_suffix", ".cpython-313-x86_64-linux-gnu.so"),
            ("cache_tag", "cpython-313"),
            ("libc", "glibc 2.36"),
            ("bits", "64"),
        ];
        let changed = |key: &str| changes.iter().find(|(name, _)| *name == key).map(|(_, text)| *text);
        Value::Dict(
            usual.iter().map(|(key, text)| ((*key).into(), changed(key).unwrap_or(text).into())).collect(),
        )
    }

    #[test]
    fn the_facts_of_all_interpreters_are_read() {
        let facts = Facts::read(&told(&[])).unwrap();
        assert_eq!(facts.version(), Some((3, 13)));
        assert_eq!(facts.libc(), Some(("glibc", (2, 36))));
        assert_eq!(facts.title(), "CPython 3.13");
        let jython = [
            ("python_version", "2.7"),
            ("python_full_version", "2.7.3"),
            ("implementation_name", "jython"),
            ("implementation_version", ""),
            ("platform_python_implementation", "Jython"),
            ("os_name", "java"),
            ("sys_platform", "java17.0.8"),
            ("platform_system", "Java"),
            ("ext_suffix", ""),
            ("cache_tag", ""),
            ("libc", ""),
            ("bits", ""),
        ];
        Facts::read(&told(&jython)).unwrap();
        let between = Facts::read(&told(&[("python_full_version", "3.14.0a1+")])).unwrap();
        assert_eq!(between.release(), Some(Version::new([3, 14, 0])));
        Facts::read(&told(&[("libc", "musl 1.2")])).unwrap();
    }

    #[test]
    fn a_hosts_strange_facts_are_refused() {
        let long = "x".repeat(257);
        for (key, text) in [
            ("digest", "../../x"),
            ("digest", ""),
            ("python_version", "3.13; rm"),
            ("python_version", "--config"),
            ("python_version", "3"),
            ("python_version", "99999.1"),
            ("python_full_version", "three"),
            ("implementation_name", "python"),
            ("platform_python_implementation", "CPython\n"),
            ("os_name", "../posix"),
            ("sys_platform", "linux/../x"),
            ("platform_machine", "x86_64 --index-url=http"),
            ("platform_machine", "x86/64"),
            ("platform_release", "a\u{1b}[31m"),
            ("platform_version", long.as_str()),
            ("ext_suffix", "/x.so"),
            ("libc", "glibc"),
            ("libc", "uclibc 1.0"),
            ("libc", "glibc 2.36 "),
            ("bits", "65"),
        ] {
            let error = Facts::read(&told(&[(key, text)])).unwrap_err();
            assert!(error.contains(key), "{key} {text}: {error}");
        }
        assert!(Facts::read(&Value::None).is_err());
    }
}
