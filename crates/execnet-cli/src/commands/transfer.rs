//! `execnet export` and `execnet import`: a network moves to another machine, with the key to its agents.
//!
//! What is kept on hosts belongs to whoever has the network's secret. The file has it, the network's file,
//! and the count of its daemon's starts, so that agents take the new machine for the later one.

use std::fs;
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use execnet_proto::spec::NetworkName;
use tempfile::NamedTempFile;
use toml_edit::DocumentMut;

use crate::config::NetworkFile;
use crate::error::{CommandError, CommandResult, Exit};
use crate::{connection, paths, print};

/// The key that says what a file is, and the version of its form.
const FORM: &str = "execnet-network";
const VERSION: i64 = 1;

/// The largest file that is read, in bytes.
const LONGEST: u64 = 8 << 20;

/// Write a network to a file, for another machine
///
/// The file has the network's hosts and its secret. Whoever reads it can take over what runs and is kept on
/// the hosts that they can log in to.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  execnet export mynet mynet.network
  execnet export mynet | ssh laptop execnet import -")]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    network: super::NetworkArg,
    /// File to write; `-` is stdout
    #[arg(value_name = "FILE", default_value = "-", value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,
}

/// Take over a network from a file that `execnet export` wrote
///
/// From then on use it on this machine only: its agents follow the machine that started it last.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  execnet import mynet.network
  execnet start mynet")]
pub(crate) struct ImportArgs {
    /// File to read; `-` is stdin
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,
    /// Replace a network of the same name
    #[arg(long)]
    replace: bool,
}

/// A network as the file has it.
#[derive(Debug, PartialEq, Eq)]
struct Network {
    name: NetworkName,
    secret: String,
    life: u32,
    /// The text of its file.
    hosts: String,
}

impl ExportArgs {
    pub(crate) fn run(self) -> CommandResult {
        let name = self.network.network;
        let state = paths::state_dir(&name)?;
        let secret = read(&state.join("secret"))?.ok_or_else(|| {
            let message = format!("`{name}` has never been started on this machine");
            CommandError::new(Exit::NoNetwork, message)
                .hint("`execnet list` shows the networks that there are")
        })?;
        let life = read(&state.join("life"))?.and_then(|life| life.trim().parse().ok()).unwrap_or(1);
        let hosts = read(&paths::network_file(&name)?)?.unwrap_or_default();
        let text = Network { name: name.clone(), secret: secret.trim().to_owned(), life, hosts }.to_text();
        if self.file == Path::new("-") {
            if io::stdout().is_terminal() {
                let message = "a terminal is no place for the network's secret";
                let hint = format!("name a file: `execnet export {name} {name}.network`");
                return Err(CommandError::new(Exit::Usage, message).hint(hint));
            }
            print::print(&text)?;
        } else {
            write(&self.file, &text)?;
            print::say(&format!("{}: {name} with its secret; keep it to yourself", self.file.display()));
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl ImportArgs {
    pub(crate) fn run(self) -> CommandResult {
        let from = self.file.display().to_string();
        let wrong = |why: String| CommandError::new(Exit::Usage, format!("{from}: {why}"));
        let text = match self.file == Path::new("-") {
            true => bounded(io::stdin().lock()),
            false => fs::File::open(&self.file).and_then(bounded),
        };
        let text = text.map_err(|error| CommandError::file("read", &self.file, &error))?;
        let network = Network::parse(&text).map_err(wrong)?;
        let Network { name, secret, life, hosts } = &network;
        if connection::is_running(name) {
            return Err(CommandError::new(Exit::Failed, format!("`{name}` is running"))
                .hint(format!("`execnet stop {name}` first; `--leave-kept` leaves what is kept")));
        }
        let (path, state) = (paths::network_file(name)?, paths::state_dir(name)?);
        NetworkFile::of_text(&path, hosts)?;
        let known = read(&state.join("secret"))?;
        let is_other = known.as_ref().is_some_and(|known| known.trim() != secret);
        let file = read(&path)?;
        let has_other = file.as_ref().is_some_and(|file| file != hosts && !hosts.is_empty());
        if (is_other || has_other) && !self.replace {
            let what = if is_other { "another network" } else { "other hosts" };
            let message = format!("this machine has {what} of the name `{name}`");
            return Err(CommandError::new(Exit::Failed, message).hint("`--replace` replaces it"));
        }
        let own = read(&state.join("life"))?.and_then(|life| life.trim().parse().ok()).unwrap_or(0);
        // the next start is one later: above every start on the other machine until now
        let life = (*life).max(own).max(seconds());
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&state)
            .map_err(|error| CommandError::file("make the folder", &state, &error))?;
        write(&state.join("life"), &format!("{life}\n"))?;
        write(&state.join("secret"), &format!("{secret}\n"))?;
        if !hosts.is_empty() {
            let folder = path.parent().unwrap_or(Path::new("/"));
            fs::create_dir_all(folder)
                .map_err(|error| CommandError::file("make the folder", folder, &error))?;
            write(&path, hosts)?;
        }
        print::say(&format!("{name}: imported; `execnet start {name}` finds what is kept on its hosts"));
        Ok(ExitCode::SUCCESS)
    }
}

impl Network {
    fn to_text(&self) -> String {
        let mut document = DocumentMut::new();
        document[FORM] = toml_edit::value(VERSION);
        document["name"] = toml_edit::value(self.name.as_str());
        document["secret"] = toml_edit::value(&self.secret);
        document["life"] = toml_edit::value(i64::from(self.life));
        document["file"] = toml_edit::value(&self.hosts);
        document.to_string()
    }

    fn parse(text: &str) -> Result<Self, String> {
        let none = || "it is no network that `execnet export` wrote".to_owned();
        let document: DocumentMut = text.parse().map_err(|_| none())?;
        let version = document.get(FORM).and_then(toml_edit::Item::as_integer).ok_or_else(none)?;
        if version != VERSION {
            return Err(format!("it has the form {version}, and this release reads {VERSION}"));
        }
        let text = |key: &str| {
            let value = document.get(key).and_then(|item| item.as_str());
            value.map(str::to_owned).ok_or_else(|| format!("it has no text `{key}`"))
        };
        let (name, secret, hosts) = (text("name")?, text("secret")?, text("file")?);
        let name = name.parse().map_err(|error| format!("{error}"))?;
        if secret.len() != 64 || !secret.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err("its secret does not have 64 hex digits".to_owned());
        }
        let life = document.get("life").and_then(toml_edit::Item::as_integer);
        let life = life.and_then(|life| u32::try_from(life).ok()).ok_or("it has no number `life`")?;
        Ok(Self { name, secret, life, hosts })
    }
}

fn seconds() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(1, |since| u32::try_from(since.as_secs()).unwrap_or(u32::MAX))
}

fn bounded(from: impl Read) -> io::Result<String> {
    let mut text = String::new();
    from.take(LONGEST).read_to_string(&mut text)?;
    Ok(text)
}

fn read(path: &Path) -> Result<Option<String>, CommandError> {
    match fs::File::open(path).and_then(bounded) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(CommandError::file("read", path, &error)),
    }
}

/// Writes a file that only this user can read: as a whole, or not at all.
fn write(path: &Path, text: &str) -> Result<(), CommandError> {
    let written = || -> io::Result<()> {
        // a pipe or a device is written to
        if fs::metadata(path).is_ok_and(|about| !about.is_file()) {
            let mut to = fs::OpenOptions::new().write(true).open(path)?;
            return to.write_all(text.as_bytes());
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let mut draft = NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
        draft.write_all(text.as_bytes())?;
        draft.as_file().sync_all()?;
        draft.persist(path)?;
        Ok(())
    };
    written().map_err(|error| CommandError::file("write", path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network() -> Network {
        Network {
            name: "mynet".parse().unwrap(),
            secret: "0af1".repeat(16),
            life: 7,
            hosts: "# \"mine\"\nhosts = [\"ssh=a\"]\n\n[groups]\nweb = \"a\"\n".to_owned(),
        }
    }

    #[test]
    fn what_is_exported_is_imported() {
        assert_eq!(Network::parse(&network().to_text()), Ok(network()));
        let bare = Network { hosts: String::new(), ..network() };
        assert_eq!(Network::parse(&bare.to_text()), Ok(bare));
    }

    #[test]
    fn anything_else_is_refused_in_words() {
        let text = network().to_text();
        for (from, to, why) in [
            (FORM, "other", "no network"),
            ("= 1", "= 2", "form 2"),
            ("mynet", "my/net", "my/net"),
            ("0af10af1", "0af1", "64 hex"),
            ("life = 7", "life = -1", "`life`"),
            ("file", "files", "`file`"),
        ] {
            let error = Network::parse(&text.replace(from, to)).unwrap_err();
            assert!(error.contains(why), "{to}: {error}");
        }
        assert!(Network::parse("\0").is_err() && Network::parse("").is_err());
    }
}
