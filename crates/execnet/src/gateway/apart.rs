//! Variables with which an interpreter does not look by itself in the folder that it starts in, which may be open to others.
//!
//! Python 3.13 and later look there for a module of their own before they execute what follows `-c`, and every Python does so for all that it needs at its
//! start where `PYTHONPATH` has an empty entry. What is executed then puts these variables right for user code (docs/kernel.md, section 1).

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Takes the folder off the path, from Python 3.11 on.
pub(super) const SAFE: &str = "PYTHONSAFEPATH";

/// The value that says that nobody but we wanted it.
pub(super) const OURS: &str = "execnet";

const PATH: &str = "PYTHONPATH";

/// What `PYTHONPATH` was.
const BEFORE: &str = "EXECNET_PYTHONPATH";

/// Those to set, besides what the interpreter has. `value` knows that.
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
