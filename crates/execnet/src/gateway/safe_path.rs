//! Variables that keep an interpreter from importing modules out of the folder it starts in, which others may
//! be able to write to.
//!
//! Before Python 3.13 and later execute the code after `-c`, they look there for a module of their own. Every
//! Python looks there for all modules it needs at startup if `PYTHONPATH` has an empty entry. The stage
//! restores these variables for user code (docs/kernel.md, section 1).

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Removes the folder from the path, from Python 3.11 on.
pub(super) const SAFE: &str = "PYTHONSAFEPATH";

/// Marks the variable as set by us.
pub(super) const OURS: &str = "execnet";

const PATH: &str = "PYTHONPATH";

/// The original `PYTHONPATH`.
const BEFORE: &str = "EXECNET_PYTHONPATH";

/// The variables to set, given a function that returns the interpreter's own.
pub(super) fn variables(value: impl Fn(&str) -> Option<OsString>) -> Vec<(&'static str, OsString)> {
    let mut variables = Vec::new();
    if value(SAFE).is_none_or(|value| value.is_empty()) {
        variables.push((SAFE, OURS.into()));
    }
    if let Some(path) = value(PATH).filter(|path| !path.is_empty()) {
        let entries = path.as_bytes().split(|byte| *byte == b':');
        let named: Vec<&[u8]> = entries.filter(|entry| !entry.is_empty()).collect();
        let named = named.join(&b':');
        if named != path.as_bytes() {
            variables.push((PATH, OsString::from_vec(named)));
            variables.push((BEFORE, path));
        }
    }
    variables
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    fn of(safe: &str, path: &str) -> Vec<(&'static str, String)> {
        let value = |name: &str| Some(OsStr::new(if name == SAFE { safe } else { path }).to_owned());
        let text = |value: OsString| value.into_string().unwrap();
        variables(value).into_iter().map(|(name, value)| (name, text(value))).collect()
    }

    #[test]
    fn empty_entries_go_and_what_was_there_is_kept() {
        assert_eq!(of("", ""), [(SAFE, "execnet".to_owned())]);
        assert_eq!(of("1", "/a:b"), []);
        let expected = [(PATH, "/a:b".to_owned()), (BEFORE, ":/a::b:".to_owned())];
        assert_eq!(of("1", ":/a::b:"), expected);
        assert_eq!(of("1", ":")[0], (PATH, String::new()));
    }
}
