//! The items of packages, as people write them.

use std::path::{Path, PathBuf};

use super::PackagesError;
use super::environment::normalized;

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
        if let Some(name) = text.strip_prefix('!') {
            let name = name.trim();
            return match is_name(name) {
                true => Ok(Self::Except(name.to_owned())),
                false if is_path(name) => {
                    Err(wrong("`!` leaves out distributions; for files there is `.gitignore`"))
                }
                false => Err(wrong("write the name of a distribution behind `!`")),
            };
        }
        if is_path(text) {
            if text.contains('\0') {
                return Err(wrong("it has a NUL in it"));
            }
            return Ok(Self::Path(absolute(Path::new(&crate::tilde::expanded(text)))));
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

fn is_path(text: &str) -> bool {
    text.contains('/') || text.starts_with(['.', '~'])
}

/// PEP 508: letters, digits, and `-`, `_`, `.` between them.
fn is_name(text: &str) -> bool {
    let edge = |char: Option<char>| char.is_some_and(|char| char.is_ascii_alphanumeric());
    edge(text.chars().next())
        && edge(text.chars().last())
        && text.chars().all(|char| char.is_ascii_alphanumeric() || "-_.".contains(char))
}

/// Whether something is to be brought along, and nothing both brought along and left out.
pub(super) fn check(items: &[Item]) -> Result<(), PackagesError> {
    let wrong = |item: String, reason: String| PackagesError::Item { item, reason };
    let excepted = |item: &Item| match item {
        Item::Except(name) => Some(format!("!{name}")),
        _ => None,
    };
    let exceptions: Vec<String> = items.iter().filter_map(excepted).collect();
    if !exceptions.is_empty() && exceptions.len() == items.len() {
        let reason = "it only leaves something out; add `*` to bring all the others".to_owned();
        return Err(wrong(exceptions.join(","), reason));
    }
    for item in items {
        let Item::Named { name, .. } = item else { continue };
        let same = |exception: &&String| normalized(&exception[1..]) == normalized(name);
        if let Some(exception) = exceptions.iter().find(same) {
            let reason = format!("`{name}` is an item as well; remove one of the two");
            return Err(wrong(exception.clone(), reason));
        }
    }
    Ok(())
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
        for text in ["", "a b", "attrs==1", "x[", "x[a", "!", "!*", "!x[a]", "-x", "x[]", "é", "a/\0"] {
            let error = Item::read(text).unwrap_err();
            assert!(matches!(&error, PackagesError::Item { item, .. } if item == text), "{error}");
        }
        let error = Item::read("attrs>=20").unwrap_err().to_string();
        assert!(error.contains("the version that is installed here is sent"), "{error}");
        for path in ["!./src", "!src/x.py", "!~/src"] {
            let error = Item::read(path).unwrap_err().to_string();
            assert!(error.contains("`!` leaves out distributions; for files"), "{error}");
        }
    }

    #[test]
    fn something_is_brought_along_and_not_left_out() {
        let check = |texts: &[&str]| {
            let items: Vec<Item> = texts.iter().map(|text| Item::read(text).unwrap()).collect();
            check(&items).map_err(|error| error.to_string())
        };
        for fine in [&[][..], &["attrs"], &["*", "!torch"], &["./src", "!torch"], &["a", "!b", "!b"]] {
            assert_eq!(check(fine), Ok(()), "{fine:?}");
        }
        let error = "`!torch,!Pip` cannot be packages: it only leaves something out; add `*` to bring all \
                     the others";
        assert_eq!(check(&["!torch", "!Pip"]), Err(error.into()));
        let error = "`!zope-interface` cannot be packages: `Zope.Interface` is an item as well; remove one \
                     of the two";
        assert_eq!(check(&["Zope.Interface[x]", "*", "!zope-interface"]), Err(error.into()));
    }
}
