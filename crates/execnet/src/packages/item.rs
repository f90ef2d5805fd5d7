//! The items of packages, as people write them.

use std::path::{Path, PathBuf};

use super::PackagesError;

/// One item.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Item {
    /// `*`
    Everything,
    /// `attrs`, `requests[socks]`: as written, without blanks.
    Named { name: String, extras: Vec<String> },
    /// `!torch`
    Except(String),
    /// A folder or module, absolute.
    Path(PathBuf),
}

impl Item {
    pub(super) fn read(text: &str) -> Result<Self, PackagesError> {
        let wrong = |reason: &str| PackagesError::Item { item: text.to_owned(), reason: reason.to_owned() };
        let text = text.trim();
        if text == "*" {
            return Ok(Self::Everything);
        }
        if text.contains('/') || text.starts_with(['.', '~']) {
            if text.contains('\0') {
                return Err(wrong("it has a NUL in it"));
            }
            return Ok(Self::Path(absolute(Path::new(&crate::tilde::expanded(text)))));
        }
        if let Some(name) = text.strip_prefix('!') {
            let name = name.trim();
            return if is_name(name) { Ok(Self::Except(name.to_owned())) } else { Err(wrong(GRAMMAR)) };
        }
        let (name, extras) = match text.split_once('[') {
            None => (text, Vec::new()),
            Some((name, rest)) => {
                let rest = rest.strip_suffix(']').ok_or_else(|| wrong("the `]` is missing"))?;
                (name.trim(), rest.split(',').map(|extra| extra.trim().to_owned()).collect())
            }
        };
        if name.contains(['=', '<', '>', '~', ';', '@', ' ']) {
            return Err(wrong("only a name: the version that is installed here is sent"));
        }
        if !is_name(name) || !extras.iter().all(|extra| is_name(extra)) {
            return Err(wrong(GRAMMAR));
        }
        Ok(Self::Named { name: name.to_owned(), extras })
    }
}

const GRAMMAR: &str = "write the name of a distribution, a path with a `/`, or `*`";

/// PEP 508: letters, digits, and `-`, `_`, `.` between them.
fn is_name(text: &str) -> bool {
    let edge = |char: Option<char>| char.is_some_and(|char| char.is_ascii_alphanumeric());
    edge(text.chars().next())
        && edge(text.chars().last())
        && text.chars().all(|char| char.is_ascii_alphanumeric() || "-_.".contains(char))
}

/// A path that stays the same when the working folder changes. It need not exist.
pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_read_as_people_write_them() {
        let named = |name: &str, extras: &[&str]| Item::Named {
            name: name.to_owned(),
            extras: extras.iter().map(|&extra| extra.to_owned()).collect(),
        };
        assert_eq!(Item::read("attrs").unwrap(), named("attrs", &[]));
        assert_eq!(Item::read(" zope.interface ").unwrap(), named("zope.interface", &[]));
        assert_eq!(Item::read("requests[socks]").unwrap(), named("requests", &["socks"]));
        assert_eq!(Item::read("*").unwrap(), Item::Everything);
        assert_eq!(Item::read("!torch").unwrap(), Item::Except("torch".into()));
        let here = std::env::current_dir().unwrap();
        assert_eq!(Item::read("./src").unwrap(), Item::Path(here.join("src")));
        assert_eq!(Item::read(".").unwrap(), Item::Path(here.join("")));
        assert_eq!(Item::read("a/b.py").unwrap(), Item::Path(here.join("a/b.py")));
    }

    #[test]
    fn what_is_no_item_is_refused_with_a_reason() {
        for text in ["", "a b", "attrs==1", "x[", "x[a", "!", "!*", "-x", "x[]", "é", "a/\0"] {
            let error = Item::read(text).unwrap_err();
            assert!(matches!(&error, PackagesError::Item { item, .. } if item == text), "{error}");
        }
        let error = Item::read("attrs>=20").unwrap_err().to_string();
        assert!(error.contains("the version that is installed here is sent"), "{error}");
    }
}
