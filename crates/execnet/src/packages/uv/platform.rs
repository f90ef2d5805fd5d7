//! An interpreter and its system in uv's words. Nothing that a host has said is among them.

use super::super::facts::Facts;
use super::super::fit::macos;

/// What uv is told of the other interpreter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    platform: &'static str,
    pure: bool,
}

/// uv has no word for PyPy, free-threaded builds and rare systems. For this platform it takes pure wheels,
/// because no index has others for it and a Python that those need.
const PURE: Target = Target { platform: "wasm32-pyodide2024", pure: true };

/// glibc's minor versions that uv knows, with their platforms.
const X86_64: [(u32, &str); 12] = [
    (40, "x86_64-manylinux_2_40"),
    (39, "x86_64-manylinux_2_39"),
    (38, "x86_64-manylinux_2_38"),
    (37, "x86_64-manylinux_2_37"),
    (36, "x86_64-manylinux_2_36"),
    (35, "x86_64-manylinux_2_35"),
    (34, "x86_64-manylinux_2_34"),
    (33, "x86_64-manylinux_2_33"),
    (32, "x86_64-manylinux_2_32"),
    (31, "x86_64-manylinux_2_31"),
    (28, "x86_64-manylinux_2_28"),
    (17, "x86_64-manylinux_2_17"),
];

const AARCH64: [(u32, &str); 12] = [
    (40, "aarch64-manylinux_2_40"),
    (39, "aarch64-manylinux_2_39"),
    (38, "aarch64-manylinux_2_38"),
    (37, "aarch64-manylinux_2_37"),
    (36, "aarch64-manylinux_2_36"),
    (35, "aarch64-manylinux_2_35"),
    (34, "aarch64-manylinux_2_34"),
    (33, "aarch64-manylinux_2_33"),
    (32, "aarch64-manylinux_2_32"),
    (31, "aarch64-manylinux_2_31"),
    (28, "aarch64-manylinux_2_28"),
    (17, "aarch64-manylinux_2_17"),
];

/// What to tell uv.
pub(super) fn target(there: &Facts) -> Target {
    let usual = there.version().is_some_and(|(major, minor)| {
        let suffix = format!(".cpython-{major}{minor}-");
        // Python 3.7 and older have an `m`
        let older = format!(".cpython-{major}{minor}m-");
        there.ext_suffix.starts_with(&suffix) || there.ext_suffix.starts_with(&older)
    });
    if there.implementation_name != "cpython" || !usual || there.bits != "64" {
        return PURE;
    }
    let platform = match (there.sys_platform.as_str(), there.platform_machine.as_str(), there.libc()) {
        ("linux", "x86_64", Some(("glibc", version))) => glibc(&X86_64, version),
        ("linux", "aarch64", Some(("glibc", version))) => glibc(&AARCH64, version),
        ("linux", "x86_64", Some(("musl", version))) if version >= (1, 2) => {
            Some("x86_64-unknown-linux-musl")
        }
        ("linux", "aarch64", Some(("musl", version))) if version >= (1, 2) => {
            Some("aarch64-unknown-linux-musl")
        }
        ("darwin", "x86_64", _) => Some("x86_64-apple-darwin"),
        ("darwin", "arm64", _) => Some("aarch64-apple-darwin"),
        _ => None,
    };
    platform.map_or(PURE, |platform| Target { platform, pure: false })
}

fn glibc(known: &[(u32, &'static str)], version: (u32, u32)) -> Option<&'static str> {
    let fits = |(minor, _): &&(u32, &str)| version >= (2, *minor);
    known.iter().find(fits).map(|(_, platform)| *platform)
}

impl Target {
    /// Only pure code can be chosen for it.
    pub(super) fn is_pure(self) -> bool {
        self.pure
    }

    /// The arguments.
    pub(super) fn words(self) -> [&'static str; 2] {
        ["--python-platform", self.platform]
    }

    /// The oldest macOS that wheels may need.
    pub(super) fn variables(self, there: &Facts) -> Option<(&'static str, String)> {
        macos(there).map(|(major, minor)| ("MACOSX_DEPLOYMENT_TARGET", format!("{major}.{minor}")))
    }
}

/// The version for uv: of three numbers; of two before its release, because uv would not count that.
pub(super) fn version(there: &Facts) -> String {
    let (major, minor) = there.version().unwrap_or((3, 0));
    let parts: Vec<&str> = there.python_full_version.split('.').collect();
    match parts[..] {
        [_, _, patch] if patch.len() <= 3 && patch.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("{major}.{minor}.{}", patch.parse::<u32>().unwrap_or(0))
        }
        _ => format!("{major}.{minor}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_words_are_told_to_uv() {
        let of = |version: &str, suffix: &str, machine: &str, libc: &str| {
            let facts = Facts {
                python_version: version.into(),
                implementation_name: if suffix.contains("pypy") { "pypy" } else { "cpython" }.into(),
                ext_suffix: suffix.into(),
                sys_platform: "linux".into(),
                platform_machine: machine.into(),
                libc: libc.into(),
                bits: "64".into(),
                ..Facts::default()
            };
            target(&facts).words()[1]
        };
        let usual = ".cpython-313-x86_64-linux-gnu.so";
        assert_eq!(of("3.13", usual, "x86_64", "glibc 2.36"), "x86_64-manylinux_2_36");
        assert_eq!(of("3.13", usual, "aarch64", "glibc 2.30"), "aarch64-manylinux_2_28");
        assert_eq!(of("3.13", usual, "x86_64", "glibc 3.0"), "x86_64-manylinux_2_40");
        assert_eq!(of("3.13", usual, "x86_64", "musl 1.2"), "x86_64-unknown-linux-musl");
        assert_eq!(
            of("3.7", ".cpython-37m-x86_64-linux-gnu.so", "x86_64", "glibc 2.17"),
            "x86_64-manylinux_2_17"
        );
        for (version, suffix, machine, libc) in [
            ("3.13", ".cpython-313t-x86_64-linux-gnu.so", "x86_64", "glibc 2.36"),
            ("3.13", ".cpython-313d-x86_64-linux-gnu.so", "x86_64", "glibc 2.36"),
            ("3.13", usual, "x86_64 --index-url=x", "glibc 2.36"),
            ("3.13", usual, "x86_64", "glibc 2.12"),
            ("3.13", usual, "x86_64", "musl 1.1"),
            ("3.13", usual, "x86_64", ""),
            ("3.9", ".pypy39-pp73-x86_64-linux-gnu.so", "x86_64", "glibc 2.36"),
        ] {
            assert_eq!(
                of(version, suffix, machine, libc),
                PURE.platform,
                "{version} {suffix} {machine} {libc}"
            );
        }
    }

    #[test]
    fn a_version_before_its_release_is_told_in_two_numbers() {
        let of = |short: &str, full: &str| {
            version(&Facts {
                python_version: short.into(),
                python_full_version: full.into(),
                ..Facts::default()
            })
        };
        assert_eq!(of("3.13", "3.13.4"), "3.13.4");
        assert_eq!(of("3.14", "3.14.0rc1"), "3.14");
        assert_eq!(of("3.14", "3.14.0a1+"), "3.14");
    }
}
