//! The files of an installed distribution: those in RECORD; else those in `installed-files.txt`; else what is
//! under its top-level names, and its metadata.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::PackagesError;
use super::environment::Distribution;
use super::folder::{is_secret_name, is_version_control, refused};
use super::plan::{File, Source};
use super::watch::Watch;

/// Adds the files of a distribution, under the paths that they have in its folder of `sys.path`.
pub(super) fn files(
    distribution: &Distribution,
    into: &mut Vec<File>,
    notes: &mut Vec<String>,
    watch: &mut Watch,
) -> Result<(), PackagesError> {
    let place = &distribution.place;
    let metadata = &distribution.metadata;
    watch.path(&distribution.folder());
    if distribution.roots.is_some() {
        // its code is in other sets; an egg-info beside its sources lists them
        let listed = recorded(distribution).unwrap_or_default();
        let rest = listed.into_iter().filter(|path| !distribution.pointers.contains(path));
        let mut all: BTreeSet<String> = rest.collect();
        walk(place, Path::new(metadata), &mut all);
        return all.iter().try_for_each(|path| file(place, path, into, notes, watch));
    }
    let listed = match recorded(distribution) {
        Some(listed) => listed,
        None => named(distribution)?,
    };
    listed.iter().try_for_each(|path| file(place, path, into, notes, watch))
}

/// The paths in RECORD or `installed-files.txt`, relative to the distribution's folder of `sys.path`.
fn recorded(distribution: &Distribution) -> Option<Vec<String>> {
    let folder = distribution.folder();
    if let Ok(text) = std::fs::read_to_string(folder.join("RECORD")) {
        return Some(text.lines().filter_map(first_field).collect());
    }
    let text = std::fs::read_to_string(folder.join("installed-files.txt")).ok()?;
    // relative to the metadata
    let mut paths: Vec<String> =
        text.lines().filter_map(|line| beside(&distribution.metadata, line)).collect();
    // distutils wrote what it had installed, and nothing that pip added
    let mut all = BTreeSet::new();
    walk(&distribution.place, Path::new(&distribution.metadata), &mut all);
    paths.extend(all);
    Some(paths)
}

/// What is under the names in `top_level.txt`, and the metadata.
fn named(distribution: &Distribution) -> Result<Vec<String>, PackagesError> {
    let place = &distribution.place;
    let names = std::fs::read_to_string(distribution.folder().join("top_level.txt")).unwrap_or_default();
    let mut paths = BTreeSet::new();
    for name in names.split_whitespace().filter(|name| !name.contains("..") && !name.starts_with('/')) {
        walk(place, Path::new(name), &mut paths);
        let module = Path::new(name).file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let beside = place.join(name);
        let Some(siblings) = beside.parent().and_then(|folder| std::fs::read_dir(folder).ok()) else {
            continue;
        };
        for sibling in siblings.flatten() {
            let file = sibling.file_name();
            let Some(file) = file.to_str() else { continue };
            let Some(end) = file.strip_prefix(module) else { continue };
            if end == ".py" || (end.starts_with('.') && is_extension(file)) {
                paths.insert(Path::new(name).with_file_name(file).to_string_lossy().into_owned());
            }
        }
    }
    if paths.is_empty() {
        let reason = format!(
            "`{}` is installed without a list of its files: neither RECORD, installed-files.txt nor \
             top_level.txt is in {}",
            distribution.name,
            distribution.folder().display()
        );
        let hint = "install it with pip, into a virtual environment".to_owned();
        return Err(PackagesError::Unfit { item: distribution.name.clone(), reason, hint: Some(hint) });
    }
    walk(place, Path::new(&distribution.metadata), &mut paths);
    Ok(paths.into_iter().collect())
}

/// Adds one file, if it is there and may travel.
fn file(
    place: &Path,
    path: &str,
    into: &mut Vec<File>,
    notes: &mut Vec<String>,
    watch: &mut Watch,
) -> Result<(), PackagesError> {
    let parts = || path.split('/');
    // scripts, manuals, files of the system; bytecode; and where it was installed from
    if path.starts_with('/')
        || parts().any(|part| matches!(part, "" | "." | ".." | "__pycache__") || is_version_control(part))
        || [".pyc", ".pyo"].iter().any(|end| path.ends_with(end))
        || path.ends_with(".dist-info/direct_url.json")
    {
        return Ok(());
    }
    let full = place.join(path);
    let Ok(metadata) = std::fs::metadata(&full) else { return Ok(()) };
    if !metadata.is_file() {
        return Ok(());
    }
    if parts().any(is_secret_name) {
        notes.push(format!("{}: its name is that of a secret, so it is not sent", full.display()));
        return Ok(());
    }
    if let Some(why) = refused(path) {
        return Err(PackagesError::File { path: full, reason: format!("{why}: rename it") });
    }
    into.push(made(place, path, full, &metadata, watch));
    Ok(())
}

/// Installers may have made links to a cache of theirs.
fn made(place: &Path, path: &str, full: PathBuf, metadata: &Metadata, watch: &mut Watch) -> File {
    // a file that comes or goes changes its folder
    watch.path(full.parent().unwrap_or(place));
    let executable = metadata.mode() & 0o100 != 0;
    let (root, file) = match full.canonicalize() {
        Ok(real) => match place.canonicalize() {
            Ok(place) if real.starts_with(&place) => (place, real),
            _ => (real.parent().unwrap_or(place).to_owned(), real),
        },
        Err(_) => (place.to_owned(), full),
    };
    File { path: path.to_owned(), source: Source::Path { root, file }, executable }
}

/// Adds the paths of the files in a folder, which is in `place`.
fn walk(place: &Path, folder: &Path, into: &mut BTreeSet<String>) {
    let full = place.join(folder);
    let Ok(entries) = std::fs::read_dir(&full) else {
        if full.is_file() {
            into.extend(folder.to_str().map(str::to_owned));
        }
        return;
    };
    for entry in entries.flatten() {
        let path = folder.join(entry.file_name());
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            walk(place, &path, into);
        } else {
            into.extend(path.to_str().map(str::to_owned));
        }
    }
}

/// The first field of a line of CSV.
fn first_field(line: &str) -> Option<String> {
    let field = match line.strip_prefix('"') {
        Some(rest) => {
            let mut field = String::new();
            let mut chars = rest.chars().peekable();
            while let Some(char) = chars.next() {
                match char {
                    '"' if chars.peek() == Some(&'"') => field.extend(chars.next()),
                    '"' => break,
                    char => field.push(char),
                }
            }
            field
        }
        None => line.split(',').next()?.to_owned(),
    };
    // Windows' are no parts of a path here
    Some(field).filter(|field| !field.is_empty())
}

/// A path that is relative to a folder, relative to what that folder is in.
fn beside(folder: &str, path: &str) -> Option<String> {
    let mut parts = vec![folder];
    for part in path.trim().split('/').filter(|part| !part.is_empty() && *part != ".") {
        match part {
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/")).filter(|path| !path.is_empty())
}

/// The name of an extension module, or of a library for one.
pub(super) fn is_extension(name: &str) -> bool {
    let name = name.rsplit('/').next().unwrap_or(name);
    [".so", ".dylib", ".pyd"].iter().any(|end| name.ends_with(end)) || name.contains(".so.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_record_are_read() {
        assert_eq!(first_field("a/b.py,sha256=x,12").as_deref(), Some("a/b.py"));
        assert_eq!(first_field("a/RECORD,,").as_deref(), Some("a/RECORD"));
        assert_eq!(first_field("\"a,\"\"b\"\".py\",sha256=x,1").as_deref(), Some("a,\"b\".py"));
        assert_eq!(first_field(""), None);
    }

    #[test]
    fn installed_files_are_relative_to_the_metadata() {
        assert_eq!(beside("x.egg-info", "../x/y.py").as_deref(), Some("x/y.py"));
        assert_eq!(beside("x.egg-info", "PKG-INFO").as_deref(), Some("x.egg-info/PKG-INFO"));
        assert_eq!(beside("x.egg-info", "../../bin/x"), None);
    }

    #[test]
    fn extension_modules_and_their_libraries_are_known_by_name() {
        for name in
            ["a/_x.cpython-313-x86_64-linux-gnu.so", "x.abi3.so", "x.libs/libgfortran.so.5", "x.dylib"]
        {
            assert!(is_extension(name), "{name}");
        }
        for name in ["x.py", "so", "a.so/x.py", "x.sol"] {
            assert!(!is_extension(name), "{name}");
        }
    }
}
