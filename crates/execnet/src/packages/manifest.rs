//! The list of a set's files, by whose hash the set is known (docs/kernel.md, "Packages").

use std::collections::HashSet;

use sha2::{Digest, Sha256};

/// The first line.
const HEAD: &str = "execnet packages 1\n";

/// The longest name of a file or folder, in bytes.
const MAX_NAME: usize = 255;

/// A SHA-256 hash.
pub(crate) type Hash = [u8; 32];

/// A line of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Relative, with `/`.
    pub(crate) path: String,
    pub(crate) hash: Hash,
    pub(crate) size: u64,
    pub(crate) executable: bool,
    /// Seconds since 1970.
    pub(crate) mtime: u32,
}

/// See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// In 64 hexadecimal digits.
    pub(crate) id: String,
    pub(crate) text: String,
}

/// A file that no set may contain, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) path: String,
    pub(crate) reason: String,
}

impl Manifest {
    /// Of these entries, which must be in [`order`].
    pub(crate) fn new(entries: &[Entry]) -> Result<Self, Refused> {
        check(entries)?;
        let mut text = String::with_capacity(HEAD.len() + entries.len() * 160);
        text.push_str(HEAD);
        for Entry { path, hash, size, executable, mtime } in entries {
            hex(hash, &mut text);
            let mode = if *executable { 'x' } else { '-' };
            text.push_str(&format!(" {size} {mode} {mtime} {path}\n"));
        }
        let mut id = String::with_capacity(64);
        hex(&Sha256::digest(text.as_bytes()).into(), &mut id);
        Ok(Self { id, text })
    }
}

/// The order of files in a manifest: by the bytes of their paths.
pub(crate) fn order(one: &str, other: &str) -> std::cmp::Ordering {
    one.as_bytes().cmp(other.as_bytes())
}

fn check(entries: &[Entry]) -> Result<(), Refused> {
    let refuse = |path: &str, reason: String| Err(Refused { path: path.to_owned(), reason });
    let mut files = HashSet::with_capacity(entries.len());
    let mut folded = std::collections::HashMap::with_capacity(entries.len());
    for Entry { path, .. } in entries {
        if let Err(reason) = check_path(path) {
            return refuse(path, reason.to_owned());
        }
        if !files.insert(path.as_str()) {
            return refuse(path, "it is there twice".into());
        }
        if let Some(other) = folded.insert(fold(path), path) {
            return refuse(path, format!("on some hosts it is the same name as `{other}`"));
        }
    }
    for Entry { path, .. } in entries {
        let above = path.match_indices('/').map(|(at, _)| &path[..at]);
        if let Some(file) = above.into_iter().find(|above| files.contains(above)) {
            return refuse(path, format!("`{file}` is a file, too"));
        }
    }
    Ok(())
}

fn check_path(path: &str) -> Result<(), &'static str> {
    if path.contains(['\0', '\n']) {
        return Err("its name has a line end or NUL in it");
    }
    for name in path.split('/') {
        match name {
            "" => return Err("it is not relative, or a name in it is empty"),
            "." | ".." => return Err("it leads elsewhere"),
            _ if name.len() > MAX_NAME => return Err("its name is longer than 255 bytes"),
            _ => {}
        }
    }
    Ok(())
}

/// The same for names that only differ in capital letters. What is one for Python's `casefold` is one here:
/// `ẞ`, `ß` and `ss`, too.
pub(super) fn fold(path: &str) -> String {
    if path.is_ascii() {
        path.to_ascii_lowercase()
    } else {
        path.to_lowercase().to_uppercase().to_lowercase()
    }
}

fn hex(hash: &Hash, out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in hash {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vectors() -> serde_json::Value {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../protocol/vectors/manifests.json");
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    fn entries(case: &serde_json::Value) -> Vec<Entry> {
        let entry = |file: &serde_json::Value| {
            let hash = file["sha256"].as_str().unwrap();
            let byte = |at: usize| u8::from_str_radix(&hash[2 * at..2 * at + 2], 16).unwrap();
            Entry {
                path: file["path"].as_str().unwrap().to_owned(),
                hash: std::array::from_fn(byte),
                size: file["size"].as_u64().unwrap(),
                executable: file["executable"].as_bool().unwrap(),
                mtime: file["mtime"].as_u64().unwrap().try_into().unwrap(),
            }
        };
        let mut entries: Vec<Entry> = case["files"].as_array().unwrap().iter().map(entry).collect();
        entries.sort_by(|one, other| order(&one.path, &other.path));
        entries
    }

    #[test]
    fn manifests_are_those_of_the_vectors() {
        for case in vectors()["manifests"].as_array().unwrap() {
            let manifest = Manifest::new(&entries(case)).unwrap();
            assert_eq!(manifest.text, case["text"].as_str().unwrap(), "{}", case["name"]);
            assert_eq!(manifest.id, case["id"].as_str().unwrap(), "{}", case["name"]);
        }
    }

    #[test]
    fn names_are_one_if_python_folds_them_to_one() {
        for names in [["ẞ", "ß"], ["ẞ", "ss"], ["ß", "SS"], ["ς", "Σ"], ["ﬀ", "FF"]] {
            let mut entries = names.map(|name| Entry {
                path: name.to_owned(),
                hash: [0; 32],
                size: 0,
                executable: false,
                mtime: 0,
            });
            entries.sort_by(|one, other| order(&one.path, &other.path));
            assert!(Manifest::new(&entries).is_err(), "{names:?}");
        }
    }

    #[test]
    fn files_that_no_host_should_be_sent_are_refused() {
        for case in vectors()["refused"].as_array().unwrap() {
            let entries = entries(case);
            let refused = Manifest::new(&entries).expect_err(case["why"].as_str().unwrap());
            assert!(entries.iter().any(|entry| entry.path == refused.path), "{refused:?}");
        }
    }
}
