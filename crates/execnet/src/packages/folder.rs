//! The files of folders and modules that are not installed: paths, and the sources of editable installs.
//!
//! `.gitignore` counts as for git, except that an ignored module of a package travels: it was generated, and
//! is imported here. What is somebody's secret by its name, is a private key, or lies outside, never travels.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::fs::{Metadata, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use rustix::fs::OFlags;

use super::PackagesError;
use super::plan::{File, Source};
use super::record::is_extension;
use super::tracked::tracked;
use super::watch::Watch;

/// Beyond this it is hardly the folder that was meant.
const MOST: usize = 100_000;

/// Folders that are made anew wherever they are wanted.
const MADE: [&str; 8] = [
    "__pycache__",
    "node_modules",
    ".tox",
    ".nox",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".hypothesis",
];

/// Ignored folders with these names hold what was built, even if there is an `__init__.py` in them.
const BUILT: [&str; 3] = ["build", "dist", "site"];

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) files: Vec<File>,
    /// What was left out, in words.
    pub(super) notes: Vec<String>,
    pub(super) watch: Watch,
}

/// How a path gets on `sys.path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The folder that is to be on `sys.path`.
    pub(super) folder: PathBuf,
    /// Its only package or module that is meant; none if all are.
    pub(super) only: Option<String>,
}

impl Entry {
    /// A folder with an `__init__.py` is a package, any other one is to be on `sys.path`; a file is a module.
    pub(super) fn of(path: &Path) -> Result<Self, PackagesError> {
        let unfit = |reason: &str, hint: Option<&str>| PackagesError::Unfit {
            item: path.display().to_string(),
            reason: format!("`{}` {reason}", path.display()),
            hint: hint.map(str::to_owned),
        };
        let path = &path
            .canonicalize()
            .map_err(|error| unfit(&format!("cannot be read: {error}"), Some("paths start where you are")))?;
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let parent = path.parent().unwrap_or(path);
        if path.is_dir() {
            let package = is_identifier(name) && path.join("__init__.py").is_file();
            return Ok(match package {
                true => Self { folder: parent.to_owned(), only: Some(name.to_owned()) },
                false => Self { folder: path.clone(), only: None },
            });
        }
        if path.is_file() && (name.ends_with(".py") || is_extension(name)) {
            return Ok(Self { folder: parent.to_owned(), only: Some(name.to_owned()) });
        }
        let archive = [".whl", ".zip", ".egg", ".pyz", ".gz"].iter().any(|end| name.ends_with(end));
        let hint =
            if archive { "install it here, and give its name" } else { "give a folder or a `.py` file" };
        Err(unfit("is neither a folder nor a module", Some(hint)))
    }
}

/// The files of a path, beneath `prefix` in their set (empty: at the top).
pub(super) fn files(prefix: &str, path: &Path, found: &mut Found) -> Result<(), PackagesError> {
    files_but(prefix, path, &|_| false, found)
}

/// The files of a path without those, and the folders, for which `skipped` says true. It is given paths below
/// the path's real one, in which links to folders keep their names.
pub(super) fn files_but(
    prefix: &str,
    path: &Path,
    skipped: &dyn Fn(&Path) -> bool,
    found: &mut Found,
) -> Result<(), PackagesError> {
    let cannot =
        |error: std::io::Error| PackagesError::File { path: path.to_owned(), reason: error.to_string() };
    let root = path.canonicalize().map_err(cannot)?;
    let metadata = root.metadata().map_err(cannot)?;
    if metadata.is_file() {
        let parent = root.parent().unwrap_or(&root).to_owned();
        let file = Source::Path { root: parent, file: root.clone() };
        found.watch.file(root, &metadata);
        found.files.push(File {
            path: prefix.to_owned(),
            source: file,
            executable: is_executable(&metadata),
        });
        return Ok(());
    }
    let git = Git::around(&root, &mut found.watch);
    let mut walk = Walk { root: &root, git: &git, above: Vec::new(), top: prefix, skipped, found };
    walk.folder(&root, prefix, false)?;
    // a folder may be met again by way of a link
    let mut seen = HashSet::new();
    found.notes.retain(|note| seen.insert(note.clone()));
    Ok(())
}

/// Why something in a folder is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    Secret,
    Key,
    Nowhere,
    Outside,
    ToSecret,
    Circle,
    Fifo,
    Socket,
    Device,
}

impl Why {
    fn note(self, folder: &Path, names: &[String]) -> String {
        const MOST: usize = 8;
        let (of_one, of_many) = match self {
            Self::Secret => ("its name is that of a secret", "their names are those of secrets"),
            Self::Key => ("a private key is in it", "a private key is in each"),
            Self::Nowhere => ("it leads nowhere", "they lead nowhere"),
            Self::Outside => ("it leads out of the folder", "they lead out of the folder"),
            Self::ToSecret => ("it leads to a secret", "they lead to secrets"),
            Self::Circle => ("it leads to a folder that it is in", "they lead to folders that they are in"),
            Self::Fifo => ("it is a FIFO", "they are FIFOs"),
            Self::Socket => ("it is a socket", "they are sockets"),
            Self::Device => ("it is a device", "they are devices"),
        };
        match names {
            [name] => format!("{} is left out: {of_one}", folder.join(name).display()),
            [names @ .., last] if names.len() < MOST => {
                format!("{} and {last} in {} are left out: {of_many}", names.join(", "), folder.display())
            }
            _ => {
                let (shown, more) = names.split_at(MOST);
                let (shown, more) = (shown.join(", "), more.len());
                format!("{shown} and {more} more in {} are left out: {of_many}", folder.display())
            }
        }
    }
}

/// A walk through the folders of a root.
struct Walk<'w> {
    root: &'w Path,
    git: &'w Git,
    /// The folders that lead here, with their own rules.
    above: Vec<(PathBuf, Option<Gitignore>)>,
    /// The prefix of the root.
    top: &'w str,
    skipped: &'w dyn Fn(&Path) -> bool,
    found: &'w mut Found,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Path, prefix: &str, ignored: bool) -> Result<(), PackagesError> {
        let cannot = |reason: String| PackagesError::File { path: folder.to_owned(), reason };
        self.found.watch.path(folder);
        let entries = std::fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let mut entries = entries.map_err(|error| cannot(error.to_string()))?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        let rules = Some(folder.join(".gitignore")).filter(|path| !ignored && path.is_file());
        let rules = rules.map(|path| {
            self.found.watch.path(&path);
            read_rules(folder, &path)
        });
        self.above.push((folder.to_owned(), rules));
        let package = entries.iter().any(|entry| entry.file_name() == "__init__.py");
        let mut left_out = BTreeMap::<Why, Vec<String>>::new();
        for entry in entries {
            if let Some(why) = self.entry(&entry.path(), prefix, ignored, package)? {
                left_out.entry(why).or_default().push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        self.found.notes.extend(left_out.iter().map(|(why, names)| why.note(folder, names)));
        self.above.pop();
        Ok(())
    }

    /// Adds what is in a folder. Returns why it is left out, if somebody may miss it.
    fn entry(
        &mut self,
        path: &Path,
        prefix: &str,
        ignored: bool,
        package: bool,
    ) -> Result<Option<Why>, PackagesError> {
        let name = path.file_name().unwrap_or_default();
        let shown = name.to_string_lossy();
        if MADE.contains(&&*shown)
            || is_version_control(&shown)
            || shown.ends_with(".pyc")
            || shown.ends_with(".pyo")
        {
            return Ok(None);
        }
        let below = prefix.strip_prefix(self.top).unwrap_or(prefix).trim_start_matches('/');
        if (self.skipped)(&self.root.join(below).join(name)) {
            return Ok(None);
        }
        // gone in the meantime
        let Ok(mut metadata) = path.symlink_metadata() else { return Ok(None) };
        let ignored = ignored || self.is_ignored(path, metadata.is_dir());
        let mut real = path.to_owned();
        if metadata.is_symlink() {
            self.found.watch.path(path);
            match self.target(path) {
                Ok((target, target_metadata)) => (real, metadata) = (target, target_metadata),
                Err(_) if ignored => return Ok(None),
                Err(why) => return Ok(Some(why)),
            }
        }
        if metadata.is_dir() {
            let wanted = match ignored {
                false => true,
                true => {
                    !BUILT.contains(&&*shown) && real.join("__init__.py").is_file() && sendable(name).is_ok()
                        || self.holds_tracked(path)
                }
            };
            if !wanted || real.join("pyvenv.cfg").is_file() {
                return Ok(None);
            }
            if self.above.iter().any(|(folder, _)| *folder == real) {
                return Ok(Some(Why::Circle));
            }
            if is_secret_name(&shown) {
                return Ok(Some(Why::Secret));
            }
            let name = named(path, ignored)?;
            return self.folder(&real, &join(prefix, &name), ignored).map(|()| None);
        }
        if ignored && !self.git.tracked.contains(path) {
            // generated: a version, or what a compiler made
            let module = package && shown.ends_with(".py") || is_extension(&shown);
            let importable = module && (package || path.parent() == Some(self.root));
            if !importable || sendable(name).is_err() {
                return Ok(None);
            }
        }
        if !metadata.is_file() {
            let kind = metadata.file_type();
            return Ok(Some(match (kind.is_fifo(), kind.is_socket()) {
                (true, _) => Why::Fifo,
                (_, true) => Why::Socket,
                _ => Why::Device,
            }));
        }
        if is_secret_name(&shown) {
            return Ok(Some(Why::Secret));
        }
        let real_name = real.to_string_lossy();
        if real_name.ends_with(".py") || real_name.ends_with(".pyi") {
            self.found.watch.file(real.clone(), &metadata);
        } else {
            // whether it travels depends on its content
            self.found.watch.content(real.clone(), &metadata);
            if metadata.len() > 0 && is_private_key(&real) {
                return Ok(Some(Why::Key));
            }
        }
        let name = named(path, ignored)?;
        if self.found.files.len() >= MOST {
            let reason = format!("there are more than {MOST} files in it: exclude some in its `.gitignore`");
            return Err(PackagesError::File { path: self.root.to_owned(), reason });
        }
        self.found.files.push(File {
            path: join(prefix, &name),
            executable: is_executable(&metadata),
            source: Source::Path { root: self.root.to_owned(), file: real },
        });
        Ok(None)
    }

    /// Where a link leads, if that may travel.
    fn target(&self, link: &Path) -> Result<(PathBuf, Metadata), Why> {
        let target = link.canonicalize().map_err(|_| Why::Nowhere)?;
        let inside = target.strip_prefix(self.root).map_err(|_| Why::Outside)?;
        let secret = inside.components().any(|part| match part {
            Component::Normal(name) => {
                name.to_str().is_some_and(|name| is_version_control(name) || is_secret_name(name))
            }
            _ => false,
        });
        if secret {
            return Err(Why::ToSecret);
        }
        let metadata = target.metadata().map_err(|_| Why::Nowhere)?;
        Ok((target, metadata))
    }

    /// Whether git would leave it out, from the nearest rules to the farthest.
    fn is_ignored(&self, path: &Path, is_dir: bool) -> bool {
        let nearest = self.above.iter().rev().filter_map(|(_, rules)| rules.as_ref());
        for rules in nearest.chain(&self.git.rules) {
            match rules.matched(path, is_dir) {
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
                Match::None => {}
            }
        }
        false
    }

    fn holds_tracked(&self, folder: &Path) -> bool {
        self.git.tracked.iter().any(|path| path.starts_with(folder))
    }
}

/// What git says from outside a folder.
struct Git {
    /// Rules, the nearest first.
    rules: Vec<Gitignore>,
    /// Files that git keeps although rules ignore them.
    tracked: HashSet<PathBuf>,
}

impl Git {
    fn around(root: &Path, watch: &mut Watch) -> Self {
        let mut rules = Vec::new();
        let Some(top) = root.ancestors().find(|folder| folder.join(".git").exists()) else {
            return Self { rules, tracked: HashSet::new() };
        };
        let mut add = |folder: &Path, file: PathBuf| {
            watch.path(&file);
            if file.is_file() {
                rules.push(read_rules(folder, &file));
            }
        };
        for folder in root.ancestors().skip(1).take_while(|folder| folder.starts_with(top)) {
            add(folder, folder.join(".gitignore"));
        }
        add(top, top.join(".git/info/exclude"));
        if let Some(global) = ignore::gitignore::gitconfig_excludes_path() {
            add(top, global);
        }
        Self { rules, tracked: tracked(top, root, watch) }
    }
}

/// The rules of a file for a folder. A line that is no pattern ignores nothing.
fn read_rules(folder: &Path, file: &Path) -> Gitignore {
    let mut builder = GitignoreBuilder::new(folder);
    let bytes = std::fs::read(file).unwrap_or_default();
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes);
    for line in bytes.split(|byte| *byte == b'\n') {
        // names need not be UTF-8, but patterns here do
        let line: String = line
            .utf8_chunks()
            .map(|part| part.valid().to_owned() + &"?".repeat(part.invalid().len()))
            .collect();
        let _ = builder.add_line(Some(file.to_owned()), line.strip_suffix('\r').unwrap_or(&line));
    }
    builder.build().unwrap_or_else(|_| Gitignore::empty())
}

/// Folders of the history, in which there may be passwords.
pub(super) fn is_version_control(name: &str) -> bool {
    [".git", ".hg", ".svn", ".bzr", ".jj"].contains(&name.to_ascii_lowercase().as_str())
}

/// Names that say that their content is for nobody else.
pub(super) fn is_secret_name(name: &str) -> bool {
    const NAMES: [&str; 20] = [
        ".env",
        ".envrc",
        ".ssh",
        ".gnupg",
        ".aws",
        ".azure",
        ".kube",
        ".netrc",
        "_netrc",
        ".pgpass",
        ".pypirc",
        ".npmrc",
        ".git-credentials",
        ".htpasswd",
        ".vault-token",
        "id_rsa",
        "id_dsa",
        "id_ecdsa",
        "id_ed25519",
        "id_ed25519_sk",
    ];
    const EXAMPLES: [&str; 5] = ["example", "sample", "template", "dist", "defaults"];
    const ENDS: [&str; 5] = [".ppk", ".kdbx", ".p12", ".pfx", ".jks"];
    let name = name.to_ascii_lowercase();
    let variant = name.strip_prefix(".env.").is_some_and(|kind| !EXAMPLES.contains(&kind));
    variant || NAMES.contains(&name.as_str()) || ENDS.iter().any(|end| name.ends_with(end))
}

/// Whether a file is the private half of a key, whatever its name: it begins as OpenSSH, OpenSSL, GnuPG or
/// PuTTY begin one, or there is a key among its certificates.
fn is_private_key(path: &Path) -> bool {
    const HEAD: usize = 1024;
    const MOST: u64 = 1 << 20;
    const ENDS: [&[u8]; 3] = [b"PRIVATE KEY-----", b"PRIVATE KEY BLOCK-----", b"PRIVATE KEY ----"];
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_ascii_lowercase();
    let is_named = name.ends_with(".pem") || name.ends_with(".key");
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let Ok(mut file) = OpenOptions::new().read(true).custom_flags(flags).open(path) else { return false };
    let mut head = [0; HEAD];
    let Ok(count) = file.read(&mut head) else { return false };
    // behind blank lines, and what tells the encoding
    let start = head[..count].iter().position(u8::is_ascii_graphic).unwrap_or(count);
    let text = &head[start..count];
    if !is_named && !text.starts_with(b"-") && !text.starts_with(b"P") {
        return false;
    }
    let mut text = ascii(text);
    if text.starts_with(b"PuTTY-User-Key-File-") {
        return true;
    }
    if !is_named && !text.starts_with(b"-----BEGIN ") && !text.starts_with(b"---- BEGIN ") {
        return false;
    }
    let mut rest = Vec::new();
    let read = file.take(MOST).read_to_end(&mut rest);
    text.extend(ascii(&rest));
    read.is_ok() && ENDS.iter().any(|end| text.windows(end.len()).any(|bytes| bytes == *end))
}

/// Of text in UTF-16, what it is in ASCII.
fn ascii(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().copied().filter(|byte| *byte != 0).collect()
}

/// The name of what will be sent. Of what is ignored, only what git keeps all the same gets here.
fn named(path: &Path, ignored: bool) -> Result<String, PackagesError> {
    let name = path.file_name().unwrap_or_default();
    sendable(name).map(str::to_owned).map_err(|why| {
        let help = match ignored {
            false => "rename it, or exclude it by a pattern in `.gitignore`",
            true => "rename it: git keeps it, although it is ignored",
        };
        PackagesError::File { path: path.to_owned(), reason: format!("{why}; {help}") }
    })
}

/// The name, unless no host could have it.
fn sendable(name: &OsStr) -> Result<&str, &'static str> {
    let name = name.to_str().ok_or("its name is not UTF-8")?;
    refused(name).map_or(Ok(name), Err)
}

/// Why no host could have a file of this name; a path is checked by its parts.
pub(super) fn refused(path: &str) -> Option<&'static str> {
    if path.contains(['\n', '\r', '\0']) {
        return Some("there is a line end in its name");
    }
    let long = path.split('/').any(|part| part.len() > 255);
    long.then_some("its name has more than 255 bytes")
}

fn is_executable(metadata: &Metadata) -> bool {
    metadata.mode() & 0o100 != 0
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") }
}

/// Whether `import` could name it.
pub(super) fn is_identifier(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|char| char.is_alphabetic() || char == '_')
        && chars.all(|char| char.is_alphanumeric() || char == '_')
}
