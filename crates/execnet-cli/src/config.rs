//! A network's file: its hosts and settings as TOML that people edit too.
//!
//! Changes keep comments and layout. A file is replaced as a whole or not at all.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use execnet_proto::spec::sets::Groups;
use execnet_proto::spec::{HostSpec, hosts, nearest, time};
use rustix::fs::FlockOperation;
use tempfile::NamedTempFile;
use toml_edit::{Array, DocumentMut, Item, Value};

use crate::error::{CommandError, Exit};

const KEYS: [&str; 4] = ["hosts", "linger", "drained", "groups"];

/// How long agents wait for a lost daemon, unless a file says otherwise.
pub(crate) const DEFAULT_LINGER: Duration = Duration::from_secs(600);

/// Maximum size of a network's file, in bytes.
const LONGEST: u64 = 4 << 20;

/// A network's file, read and checked. It need not exist.
#[derive(Debug)]
pub(crate) struct NetworkFile {
    path: PathBuf,
    document: DocumentMut,
    hosts: Vec<HostSpec>,
    linger: Option<Duration>,
    /// Ids of hosts that take no new work.
    drained: Vec<String>,
    groups: Groups,
    /// Its lines end with CR LF.
    crlf: bool,
    existed: bool,
    lock: Option<File>,
}

impl NetworkFile {
    /// Reads a network's file. A missing file has no hosts.
    pub(crate) fn load(path: &Path) -> Result<NetworkFile, CommandError> {
        match fs::metadata(path) {
            // reading a named pipe would wait for a writer
            Ok(found) if !found.is_file() => {
                Err(CommandError::new(Exit::Usage, format!("{} is not a file", path.display())))
            }
            _ => NetworkFile::read(path),
        }
    }

    fn read(path: &Path) -> Result<NetworkFile, CommandError> {
        let read = || -> std::io::Result<String> {
            let mut text = String::new();
            File::open(path)?.take(LONGEST + 1).read_to_string(&mut text)?;
            Ok(text)
        };
        match read() {
            Ok(text) if text.len() as u64 > LONGEST => {
                let message = format!("{} is larger than {} MiB", path.display(), LONGEST >> 20);
                Err(CommandError::new(Exit::Usage, message))
            }
            Ok(text) => NetworkFile::parse(path, &text, true),
            // a link to an unmounted disk must not pass for a network without hosts, nor be replaced
            Err(error) if error.kind() == ErrorKind::NotFound && path.is_symlink() => {
                let message = format!("{} is a link to a file that does not exist", path.display());
                Err(CommandError::new(Exit::Usage, message))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => NetworkFile::parse(path, "", false),
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                Err(CommandError::new(Exit::Usage, format!("{} is not UTF-8 text", path.display())))
            }
            Err(error) => {
                let mut failure = CommandError::file("read", path, &error);
                failure.exit = Exit::Usage;
                Err(failure)
            }
        }
    }

    /// Reads a network's file to change it, and makes other commands that want to change it wait.
    pub(crate) fn edit(path: &Path) -> Result<NetworkFile, CommandError> {
        let folder = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(folder).map_err(|error| CommandError::file("make the folder", folder, &error))?;
        let lock = File::open(folder).map_err(|error| CommandError::file("read", folder, &error))?;
        // where a folder cannot be locked, nothing protects from two commands at once
        let _ = rustix::fs::flock(&lock, FlockOperation::LockExclusive);
        Ok(NetworkFile { lock: Some(lock), ..NetworkFile::load(path)? })
    }

    /// Reads a file named on the command line. It must exist, and may be a pipe.
    pub(crate) fn load_existing(path: &Path) -> Result<NetworkFile, CommandError> {
        let file = NetworkFile::read(path)?;
        if file.existed {
            return Ok(file);
        }
        Err(CommandError::new(Exit::Usage, format!("there is no file {}", path.display())))
    }

    /// Reads what is to be written there.
    pub(crate) fn of_text(path: &Path, text: &str) -> Result<NetworkFile, CommandError> {
        NetworkFile::parse(path, text, true)
    }

    fn parse(path: &Path, text: &str, existed: bool) -> Result<NetworkFile, CommandError> {
        let wrong = |what: String| {
            let failure = CommandError::new(Exit::Usage, format!("{}: {what}", path.display()));
            failure.hint(format!("correct {}", path.display()))
        };
        let document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
            let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            wrong(format!("line {line}: {}", error.message().trim()))
        })?;
        for (key, _) in document.iter() {
            if !KEYS.contains(&key) {
                let near =
                    nearest(key, KEYS).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
                return Err(wrong(format!("`{key}` is not a key of a network's file{near}")).hint(
                    "its keys are `hosts` (host specs), `linger`, `drained` (ids) and `groups` (sets)",
                ));
            }
        }
        let mut hosts = Vec::new();
        if let Some(item) = document.get("hosts") {
            let list = || wrong("`hosts` is not a list of host specs: hosts = [\"ssh=build1\"]".to_owned());
            for value in item.as_array().ok_or_else(list)? {
                let text = value.as_str().ok_or_else(list)?;
                let host = text.parse::<HostSpec>();
                hosts.push(
                    host.map_err(|error| wrong(format!("`{text}` is not a host spec")).because(&error))?,
                );
            }
        }
        let linger = match document.get("linger") {
            None => None,
            Some(item) => Some(linger(item).ok_or_else(|| {
                wrong("`linger` is not a time".to_owned())
                    .hint("write it as \"90s\", \"10m\" or \"2h\", at most 24 days")
            })?),
        };
        let drained = match document.get("drained") {
            None => Vec::new(),
            Some(item) => ids(item).ok_or_else(|| {
                wrong("`drained` is not a list of ids of hosts: drained = [\"build1\"]".into())
            })?,
        };
        let groups = document.get("groups").map_or(Ok(Groups::default()), |item| {
            let texts = texts(item).ok_or_else(|| {
                wrong("`groups` is not a table of sets: [groups] and below it web = \"web[1-20]\"".into())
            })?;
            Groups::new(texts).map_err(|error| wrong(error.to_string()))
        })?;
        check(&hosts, &groups)
            .map_err(|failure| wrong("its hosts contradict each other".to_owned()).behind(failure))?;
        let crlf = text.contains("\r\n");
        let path = path.to_owned();
        Ok(NetworkFile { path, document, hosts, linger, drained, groups, existed, crlf, lock: None })
    }

    pub(crate) fn hosts(&self) -> &[HostSpec] {
        &self.hosts
    }

    pub(crate) fn linger(&self) -> Option<Duration> {
        self.linger
    }

    /// Ids of hosts that take no new work. Not all of them need to be hosts of the file.
    pub(crate) fn drained(&self) -> &[String] {
        &self.drained
    }

    /// Its groups of nodes.
    pub(crate) fn groups(&self) -> &Groups {
        &self.groups
    }

    /// Takes over the groups of another file. Those that are here already stay.
    pub(crate) fn add_groups(&mut self, more: &Groups) -> Result<(), CommandError> {
        let mut all = self.groups.to_texts();
        for (name, set) in more.to_texts() {
            if all.contains_key(&name) {
                continue;
            }
            let table = self.document.entry("groups").or_insert_with(toml_edit::table);
            if let Some(table) = table.as_table_like_mut() {
                table.insert(&name, toml_edit::value(set.as_str()));
            }
            all.insert(name, set);
        }
        let texts = all.iter().map(|(name, set)| (name.as_str(), set.as_str()));
        self.groups = Groups::new(texts)
            .map_err(|error| CommandError::new(Exit::Usage, format!("{}: {error}", self.path.display())))?;
        Ok(())
    }

    /// Lists a host as drained, or does not. False if nothing changed.
    pub(crate) fn set_drained(&mut self, id: &str, drained: bool) -> bool {
        let at = self.drained.iter().position(|known| known == id);
        match at {
            None if drained => {
                let item = self.document.entry("drained").or_insert_with(|| toml_edit::value(Array::new()));
                if let Some(array) = item.as_array_mut() {
                    push(array, id);
                }
                self.drained.push(id.to_owned());
            }
            Some(at) if !drained => {
                if let Some(array) = self.document.get_mut("drained").and_then(Item::as_array_mut) {
                    take(array, at);
                    if array.to_string().trim() == "[]" && !self.has_comment("drained") {
                        self.document.remove("drained");
                    }
                }
                self.drained.remove(at);
            }
            _ => return false,
        }
        true
    }

    /// Whether somebody wrote a comment about a key.
    fn has_comment(&self, key: &str) -> bool {
        let text =
            |raw: Option<&toml_edit::RawString>| raw.and_then(|raw| raw.as_str()).unwrap_or("").to_owned();
        let before = self.document.key(key).map(|key| text(key.leaf_decor().prefix()));
        let behind =
            self.document.get(key).and_then(Item::as_value).map(|value| text(value.decor().suffix()));
        [before, behind].into_iter().flatten().any(|text| text.contains('#'))
    }

    /// Adds a host. Does nothing if the same host is there already.
    pub(crate) fn add(&mut self, host: &HostSpec) -> Result<(), CommandError> {
        match self.hosts.iter().find(|known| known.id == host.id) {
            Some(known) if known == host => return Ok(()),
            Some(known) => {
                let message = format!(
                    "{} already has a host `{}` with a different spec: {known}",
                    self.path.display(),
                    host.id
                );
                return Err(CommandError::new(Exit::Usage, message).hint(format!(
                    "give the new host another id (`//id=NAME`), or correct the spec of `{}` in {}",
                    host.id,
                    self.path.display()
                )));
            }
            None => {}
        }
        let item = self.document.entry("hosts").or_insert_with(empty_list);
        if let Some(array) = item.as_array_mut() {
            push(array, &host.to_string());
        }
        self.hosts.push(host.clone());
        Ok(())
    }

    /// Removes a host, which is no longer drained either. False if it was not there.
    pub(crate) fn remove(&mut self, id: &str) -> bool {
        self.set_drained(id, false);
        let Some(at) = self.hosts.iter().position(|host| host.id == id) else { return false };
        if let Some(array) = self.document.get_mut("hosts").and_then(Item::as_array_mut) {
            take(array, at);
        }
        self.hosts.remove(at);
        true
    }

    /// Sets `linger`, unless it is set.
    pub(crate) fn set_linger(&mut self, linger: Duration) {
        if self.linger.is_none() {
            self.document["linger"] = toml_edit::value(format!("{}s", linger.as_secs()));
            self.linger = Some(linger);
        }
    }

    /// Checks that the hosts make a network.
    pub(crate) fn check(&self) -> Result<(), CommandError> {
        check(&self.hosts, &self.groups)
    }

    /// The contents to write.
    fn text(&self) -> String {
        let text = self.document.to_string();
        if self.crlf { text.replace("\r\n", "\n").replace('\n', "\r\n") } else { text }
    }

    /// Writes the new contents to a temporary file beside the file; [`Draft::commit`] renames it.
    pub(crate) fn prepare(&mut self) -> Result<Draft, CommandError> {
        let target = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let folder = target.parent().unwrap_or(Path::new("/")).to_owned();
        fs::create_dir_all(&folder)
            .map_err(|error| CommandError::file("make the folder", &folder, &error))?;
        let mut prefix = std::ffi::OsString::from(".");
        prefix.push(target.file_name().unwrap_or_default());
        let write = || -> std::io::Result<NamedTempFile> {
            let mut file = tempfile::Builder::new().prefix(&prefix).tempfile_in(&folder)?;
            file.write_all(self.text().as_bytes())?;
            if let Ok(metadata) = fs::metadata(&target) {
                file.as_file().set_permissions(metadata.permissions())?;
            }
            file.as_file().sync_all()?;
            Ok(file)
        };
        let file = write().map_err(|error| CommandError::file("write", &target, &error))?;
        Ok(Draft { file, target, _lock: self.lock.take() })
    }
}

/// The new contents of a file in a temporary file, which is removed if this is dropped.
#[must_use]
#[derive(Debug)]
pub(crate) struct Draft {
    file: NamedTempFile,
    target: PathBuf,
    /// Makes other commands wait that want to change the file.
    _lock: Option<File>,
}

impl Draft {
    /// Replaces the file.
    pub(crate) fn commit(self) -> Result<(), CommandError> {
        let Draft { file, target, _lock } = self;
        file.persist(&target).map_err(|error| CommandError::file("write", &target, &error.error))?;
        // The contents are safe already: without this, only the new name may be lost in a crash.
        let _ = target.parent().map(File::open).and_then(Result::ok).map(|folder| folder.sync_all());
        Ok(())
    }
}

/// Checks that hosts make a network.
pub(crate) fn check(hosts: &[HostSpec], groups: &Groups) -> Result<(), CommandError> {
    hosts::check(hosts, groups).map_err(|error| {
        let failure = CommandError::new(Exit::Usage, &error);
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    })
}

/// A list of texts.
fn ids(item: &Item) -> Option<Vec<String>> {
    item.as_array()?.iter().map(|value| Some(value.as_str()?.to_owned())).collect()
}

/// `"90s"`, `"10m"`, `"2h"`, `"1d"`, or a number of seconds.
fn linger(item: &Item) -> Option<Duration> {
    match item.as_integer() {
        Some(seconds) => time(&seconds.to_string()),
        None => time(item.as_str()?),
    }
}

/// The texts of a table.
fn texts(item: &Item) -> Option<Vec<(&str, &str)>> {
    item.as_table_like()?.iter().map(|(name, text)| Some((name, text.as_str()?))).collect()
}

/// An empty list that gets one line per element.
fn empty_list() -> Item {
    let mut array = Array::new();
    array.set_trailing("\n");
    Item::Value(Value::Array(array))
}

/// Adds an element in the layout of the array: on its own line if the others are.
fn push(array: &mut Array, text: &str) {
    let raw = |raw: Option<&toml_edit::RawString>| raw.and_then(|raw| raw.as_str()).unwrap_or("").to_owned();
    let last = array.len().checked_sub(1);
    let first_prefix = array.get(0).map(|first| raw(first.decor().prefix())).unwrap_or_default();
    let mut tail = raw(Some(array.trailing()));
    if let Some(last) = last.and_then(|at| array.get_mut(at)) {
        tail = raw(last.decor().suffix()) + &tail;
        last.decor_mut().set_suffix("");
    }
    let mut value = Value::from(text);
    let lines = first_prefix.contains('\n') || tail.contains('\n');
    if lines {
        let indent = first_prefix.rsplit_once('\n').map_or("    ", |(_, indent)| indent);
        let (comments, closing) = tail.rsplit_once('\n').unwrap_or((&tail, ""));
        value.decor_mut().set_prefix(format!("{comments}\n{indent}"));
        array.set_trailing(format!("\n{closing}"));
    } else {
        value.decor_mut().set_prefix(if last.is_some() { " " } else { "" });
        array.set_trailing("");
    }
    array.push_formatted(value);
    array.set_trailing_comma(lines);
}

/// Removes an element and the comment on its line. Other comments stay.
fn take(array: &mut Array, at: usize) {
    let text = |raw: Option<&toml_edit::RawString>| raw.and_then(|raw| raw.as_str()).unwrap_or("").to_owned();
    let removed = array.remove(at);
    let before = text(removed.decor().prefix());
    let suffix = text(removed.decor().suffix());
    let after = match array.get(at) {
        Some(next) => text(next.decor().prefix()),
        None => suffix + array.trailing().as_str().unwrap_or(""),
    };
    // up to its line end, `after` is about the removed element; `before` ends with its indentation
    let after = after.find('\n').map_or("", |end| &after[end..]);
    let kept = match before.rsplit_once('\n') {
        Some((comments, _)) if !after.is_empty() => format!("{comments}{after}"),
        _ if at == 0 || after.contains('\n') => after.to_owned(),
        _ => before,
    };
    match array.get_mut(at) {
        Some(next) => next.decor_mut().set_prefix(kept),
        None => array.set_trailing(kept.trim_end_matches([' ', '\t'])),
    }
    if array.is_empty() {
        array.set_trailing_comma(false);
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
