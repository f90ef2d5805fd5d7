//! Host specs, network names and node selections: the texts by which people name the parts of a network.
//!
//! A host spec is a row of `key=value` parts separated by `//`, as in execnet:
//! `ssh=user@build1//python=jython//id=j1`. Parsing is strict: an accepted spec can be used, and the error
//! for a refused one names the key. Nothing here looks at a file, an environment or a host.
//!
//! Of three slashes in a row the first belongs to the value (`chdir=///id=x` is `chdir=/` and `id=x`). A
//! value that contains `//` writes it as `/\/`; then a backslash before `/` or `\` is written as `\\`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::shell;

mod error;
pub mod hosts;
mod paths;
mod selection;
pub mod sets;
#[cfg(test)]
mod tests;
mod time;
mod wants;
mod words;

pub use error::SpecError;
pub use selection::{NodeInfo, NodeSelection, SelectionError, VersionRequirement};
pub use time::time;
pub use wants::Wants;
pub use words::{join, python_command};

/// Longest network name and host id, in bytes.
pub const MAX_NAME: usize = 64;

/// Every key of a host spec; a variable's name follows `env:`.
pub const KEYS: [&str; 11] =
    ["popen", "ssh", "cmd", "python", "via", "id", "chdir", "nice", "env:", "ssh_config", "patience"];

/// Keys of specs for gateways, which mean nothing for a host.
const OF_GATEWAYS: [&str; 8] =
    ["packages", "large", "execmodel", "give_up", "platform", "implementation", "version", "node"];

/// One host: how it is reached and how its nodes are started.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostSpec {
    /// Its name in the network: `id=`, or made from the transport.
    pub id: String,
    /// How it is reached.
    pub transport: Transport,
    /// Command or path of the interpreter of its node; `*` for a node of every interpreter found, `None` for
    /// the first one found.
    pub python: Option<String>,
    /// Id of the host on which the transport's command runs, or `@` and a group any host of which may run
    /// it; `None` for this machine.
    pub via: Option<String>,
    /// Folder in which processes start.
    pub chdir: Option<String>,
    /// Added to the niceness of processes, −20 to 19.
    pub nice: Option<i32>,
    /// Environment of processes, in the order of the spec.
    pub env: Vec<(String, String)>,
    /// Path of an ssh configuration file for `ssh=`, on the machine where ssh runs.
    pub ssh_config: Option<String>,
    /// How long its agent gets to greet, whole seconds and at least one; `None` for a limit that grows with
    /// each attempt that took longer.
    pub patience: Option<Duration>,
}

/// The command whose stdin and stdout reach a Python.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Transport {
    /// A Python on the same machine.
    Popen,
    /// The `ssh` command.
    Ssh {
        /// Options for ssh, each word as given.
        options: Vec<String>,
        /// `[user@]host`; never begins with `-`. A port is an option.
        destination: String,
    },
    /// Any command, never empty.
    Cmd(Vec<String>),
}

const NAME_RULE: &str = "letters, digits, `.`, `_` and `-`, beginning with a letter or digit, at most 64";

/// Whether `text` may be the name of a network or the id of a host: `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`.
#[must_use]
pub fn is_name(text: &str) -> bool {
    text.len() <= MAX_NAME
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// The candidate from which `word` differs by a single slip: one letter wrong, missing or too many, two
/// letters swapped, or capitals. Candidates of three letters or fewer differ from many other words by one
/// letter, so only the last two count for them.
pub fn misspelt<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let letters = |word: &str| {
        let mut letters: Vec<char> = word.chars().collect();
        letters.sort_unstable();
        letters
    };
    let typed = word.to_lowercase();
    candidates.into_iter().find(|candidate| {
        *candidate != word
            && strsim::damerau_levenshtein(&typed, candidate) <= 1
            && (candidate.len() > 3 || letters(&typed) == letters(candidate))
    })
}

/// The candidate most similar to `word`, if one is similar enough to be meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| {
            (strsim::damerau_levenshtein(&word.to_lowercase(), &candidate.to_lowercase()), candidate)
        })
        .filter(|(distance, candidate)| {
            *distance <= 1 + candidate.len().max(word.len()) / 4 && *distance < word.len()
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

impl FromStr for HostSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<HostSpec, SpecError> {
        let parts = parts(text)?;
        let alone = parts.len() == 1;
        let mut draft = Draft::default();
        for part in parts {
            draft.add(part, alone)?;
        }
        draft.finish()
    }
}

impl HostSpec {
    /// The group any of whose hosts may lead to it: `via=@GROUP`.
    #[must_use]
    pub fn pool(&self) -> Option<&str> {
        self.via.as_ref()?.strip_prefix('@')
    }

    /// The host of a spec with `ssh=VALUE` alone. A `//` in `value` needs no escape, and the id is `host` if
    /// the address cannot be one.
    ///
    /// # Errors
    /// If the value is not one of `ssh=`.
    pub fn by_ssh(value: &str) -> Result<HostSpec, SpecError> {
        let draft = |id: Option<&str>| -> Result<HostSpec, SpecError> {
            let transport = Some(ssh(checked("ssh", Some(value))?)?);
            Draft { transport, id: id.map(str::to_owned), ..Draft::default() }.finish()
        };
        draft(None).or_else(|_| draft(Some("host")))
    }
}

impl fmt::Display for HostSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.transport {
            Transport::Popen => f.write_str("popen")?,
            Transport::Cmd(argv) => write!(f, "cmd={}", words::join(argv))?,
            Transport::Ssh { options, destination } => {
                let all: Vec<&String> = options.iter().chain([destination]).collect();
                write!(f, "ssh={}", words::join(&all))?;
            }
        }
        let plain = [("python", &self.python), ("via", &self.via), ("chdir", &self.chdir)];
        for (key, value) in plain {
            if let Some(value) = value {
                write!(f, "//{key}={}", escape(value))?;
            }
        }
        if let Some(nice) = self.nice {
            write!(f, "//nice={nice}")?;
        }
        for (name, value) in &self.env {
            write!(f, "//env:{name}={}", escape(value))?;
        }
        if let Some(path) = &self.ssh_config {
            write!(f, "//ssh_config={}", escape(path))?;
        }
        if let Some(patience) = self.patience {
            write!(f, "//patience={}", patience.as_secs())?;
        }
        if self.transport.default_id() != self.id.as_str() {
            write!(f, "//id={}", self.id)?;
        }
        Ok(())
    }
}

impl Transport {
    /// The default id of a host with this transport; it may be invalid.
    fn default_id(&self) -> String {
        match self {
            Transport::Popen => "local".to_owned(),
            Transport::Ssh { destination, .. } => {
                let host = host_part(destination);
                // an address of IPv6 is not a valid name: join its groups
                let groups = host.split([':', '%']).filter(|group| !group.is_empty());
                if host.contains(':') {
                    groups.fold("ip6".into(), |id, group| id + "-" + group)
                } else {
                    host.into()
                }
            }
            Transport::Cmd(argv) => {
                argv.first().map_or("", |word| word.rsplit('/').next().unwrap_or("")).to_owned()
            }
        }
    }

    /// Its key.
    fn key(&self) -> &'static str {
        match self {
            Transport::Popen => "popen",
            Transport::Ssh { .. } => "ssh",
            Transport::Cmd(_) => "cmd",
        }
    }
}

/// The parts of a spec read so far.
#[derive(Default)]
struct Draft {
    transport: Option<Transport>,
    id: Option<String>,
    python: Option<String>,
    via: Option<String>,
    chdir: Option<String>,
    nice: Option<i32>,
    env: Vec<(String, String)>,
    ssh_config: Option<String>,
    patience: Option<Duration>,
}

impl Draft {
    fn add(&mut self, part: &str, alone: bool) -> Result<(), SpecError> {
        let (key, value) = match part.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (part, None),
        };
        if let Some(name) = key.strip_prefix("env:") {
            return self.add_env(key, name, value);
        }
        if key == "popen" {
            return match value {
                None => self.reach(Transport::Popen),
                Some(value) => Err(bad(key, value, "`popen` takes no value")),
            };
        }
        if OF_GATEWAYS.contains(&key) && !(value.is_none() && alone) {
            return Err(SpecError::OfGateways { key: key.to_owned() });
        }
        if !KEYS.contains(&key) {
            return Err(unknown(key, value.is_none() && alone));
        }
        let value = checked(key, value)?;
        match key {
            "ssh" => self.reach(ssh(value)?),
            "cmd" => self.reach(cmd(value)?),
            "nice" => {
                let nice = value.parse().ok().filter(|nice| (-20..=19).contains(nice));
                put(
                    &mut self.nice,
                    key,
                    nice.ok_or_else(|| bad(key, value, "not a whole number from -20 to 19"))?,
                )
            }
            "patience" => {
                let patience = time(value).filter(|patience| !patience.is_zero());
                let why = "not a time like `90`, `90s`, `2m` or `1h`, at most 24 days";
                put(&mut self.patience, key, patience.ok_or_else(|| bad(key, value, why))?)
            }
            "id" if !is_name(value) => Err(bad(key, value, &format!("not a host's id ({NAME_RULE})"))),
            "via" if !is_name(value.strip_prefix('@').unwrap_or(value)) => {
                Err(bad(key, value, &format!("neither a host's id nor `@GROUP` ({NAME_RULE})")))
            }
            "id" => put(&mut self.id, key, value.to_owned()),
            "via" => put(&mut self.via, key, value.to_owned()),
            "chdir" => put(&mut self.chdir, key, unescape(value)),
            "ssh_config" => put(&mut self.ssh_config, key, unescape(value)),
            _ if value.starts_with('-') => Err(bad(key, value, "a command or path does not begin with `-`")),
            _ => put(&mut self.python, key, unescape(value)),
        }
    }

    fn add_env(&mut self, key: &str, name: &str, value: Option<&str>) -> Result<(), SpecError> {
        let first = |c: char| c.is_ascii_alphabetic() || c == '_';
        if !name.starts_with(first) || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(bad(key, value.unwrap_or(""), "not the name of a variable: `env:NAME=value`"));
        }
        let value = checked(key, value)?;
        if self.env.iter().any(|(known, _)| known == name) {
            return Err(SpecError::Doubled(key.to_owned()));
        }
        self.env.push((name.to_owned(), unescape(value)));
        Ok(())
    }

    fn reach(&mut self, transport: Transport) -> Result<(), SpecError> {
        match &self.transport {
            Some(known) if known.key() == transport.key() => Err(SpecError::Doubled(known.key().to_owned())),
            Some(known) => Err(SpecError::TwoTransports(known.key(), transport.key())),
            None => {
                self.transport = Some(transport);
                Ok(())
            }
        }
    }

    fn finish(self) -> Result<HostSpec, SpecError> {
        let transport = self.transport.ok_or(SpecError::NoTransport(None))?;
        if self.ssh_config.is_some() && transport.key() != "ssh" {
            return Err(SpecError::SshConfigWithoutSsh);
        }
        let id = self.id.unwrap_or_else(|| transport.default_id());
        if !is_name(&id) {
            return Err(SpecError::NoId(id));
        }
        if self.via.as_ref() == Some(&id) {
            return Err(bad("via", &id, "a host is not reached through itself"));
        }
        let is_pool = |via: &String| via.starts_with('@');
        if let Some(via) = self.via.as_ref().filter(|via| transport == Transport::Popen && is_pool(via)) {
            return Err(bad("via", via, "`popen` would be another machine with each host of the group"));
        }
        let Draft { python, via, chdir, nice, env, ssh_config, patience, .. } = self;
        Ok(HostSpec { id, transport, python, via, chdir, nice, env, ssh_config, patience })
    }
}

/// Cuts `text` at each `//`. Of three slashes the first belongs to the value before. The two slashes of
/// `ssh=ssh://host` belong to the value.
fn parts(text: &str) -> Result<Vec<&str>, SpecError> {
    let cut = |text: &str, from: usize| {
        let at = from + text[from..].find("//")?;
        Some(if text[at..].starts_with("///") { at + 1 } else { at })
    };
    let is_uri =
        |part: &str| part.starts_with("ssh=") && (part.ends_with("=ssh:") || part.ends_with(" ssh:"));
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(mut at) = cut(rest, 0) {
        if is_uri(&rest[..at]) {
            let Some(next) = cut(rest, at + 2) else { break };
            at = next;
        }
        parts.push(&rest[..at]);
        rest = &rest[at + 2..];
    }
    parts.push(rest);
    if parts.iter().any(|part| part.is_empty() || part.starts_with('/')) {
        return Err(SpecError::EmptyPart);
    }
    Ok(parts)
}

fn put<T>(slot: &mut Option<T>, key: &str, value: T) -> Result<(), SpecError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(SpecError::Doubled(key.to_owned())),
    }
}

fn checked<'a>(key: &str, value: Option<&'a str>) -> Result<&'a str, SpecError> {
    let value = value.unwrap_or("");
    // a folder may have any name; code that shows it escapes it
    if value.contains('\0') || (key != "chdir" && value.contains(['\n', '\r'])) {
        return Err(SpecError::Control(key.to_owned()));
    }
    if value.trim().is_empty() {
        return Err(SpecError::Empty(key.to_owned()));
    }
    Ok(value)
}

/// A single word that is not a key is most often a host's name.
fn unknown(key: &str, bare: bool) -> SpecError {
    let nearest = nearest(key, KEYS).filter(|near| *near != key);
    let destination = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "@._-".contains(c));
    if bare && nearest.is_none() && destination && !key.starts_with('-') {
        return SpecError::NoTransport(Some(key.to_owned()));
    }
    SpecError::UnknownKey { key: key.to_owned(), nearest }
}

fn bad(key: &str, value: &str, why: &str) -> SpecError {
    SpecError::Value { key: key.to_owned(), value: value.to_owned(), why: why.to_owned() }
}

/// Options of ssh(1) that take an argument, and those that would keep our command from running on clean
/// pipes.
const SSH_WITH_ARGUMENT: &str = "BbcDEeFIiJLlmoPpRSw";
const SSH_NOT_FOR_US: &str = "fGNnOQsTtVW";

/// Splits `[options] [user@]host` as ssh itself would; options may also follow the host.
fn ssh(value: &str) -> Result<Transport, SpecError> {
    let refuse = |why: String| Err(bad("ssh", value, &why));
    let Some(words) = shell::split(value) else {
        return refuse("a quote is not closed".into());
    };
    let mut options = Vec::new();
    let mut destination: Option<String> = None;
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let Some(letters) = word.strip_prefix('-').filter(|_| word != "--") else {
            match destination {
                None => destination = Some(word),
                Some(host) => {
                    return refuse(format!("`{word}` after the host `{host}`: no command is taken here"));
                }
            }
            continue;
        };
        if letters.is_empty() {
            return refuse("`-` is not an option of ssh".into());
        }
        if let Some(letter) = letters
            .chars()
            .take_while(|c| !SSH_WITH_ARGUMENT.contains(*c))
            .find(|c| SSH_NOT_FOR_US.contains(*c))
        {
            return refuse(format!("ssh's option `-{letter}` cannot be used for a link"));
        }
        let argument = letters.find(|c| SSH_WITH_ARGUMENT.contains(c));
        let apart = argument.is_some_and(|at| at + 1 == letters.len());
        options.push(word.clone());
        if apart {
            let Some(argument) = words.next() else {
                return refuse(format!("`{word}` needs an argument"));
            };
            options.push(argument);
        }
    }
    let Some(destination) = destination else {
        return refuse("the host is missing: `ssh=[options] [user@]host`".into());
    };
    let (destination, port) = match address(&destination) {
        Ok(address) => address,
        Err(why) => return refuse(why),
    };
    options.extend(port.into_iter().flat_map(|port| ["-p".to_owned(), port]));
    let host = host_part(&destination);
    if destination.starts_with('-') || host.starts_with('-') {
        return refuse("a host does not begin with `-`".into());
    }
    let plain = |c: char| !c.is_control() && !c.is_whitespace() && !"'\"`$\\;&<>|(){}/".contains(c);
    if host.is_empty() || destination.starts_with('@') || !host.chars().all(plain) {
        return refuse(format!("`{destination}` is not `[user@]host`"));
    }
    Ok(Transport::Ssh { options, destination })
}

fn cmd(value: &str) -> Result<Transport, SpecError> {
    let argv = shell::split(value).ok_or_else(|| bad("cmd", value, "a quote is not closed"))?;
    match argv.first() {
        Some(command) if !command.is_empty() => Ok(Transport::Cmd(argv)),
        _ => Err(bad("cmd", value, "the command is empty")),
    }
}

/// Splits `[user@]host[:port]`, `[user@][address][:port]`, or one of these after `ssh://`, into
/// `[user@]host`, which every ssh accepts, and the port.
fn address(text: &str) -> Result<(String, Option<String>), String> {
    let text = text
        .strip_prefix("ssh:")
        .and_then(|rest| rest.strip_prefix("//").or(rest.strip_prefix(r"/\/")))
        .map_or(text, |rest| rest.strip_suffix('/').unwrap_or(rest));
    let (user, host) = text.rsplit_once('@').map_or(("", text), |(user, _)| text.split_at(user.len() + 1));
    let (host, port) = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => match port.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None => return Err(format!("`{text}` is not `[user@]host`")),
        },
        None => match host.split_once(':') {
            // more than one colon: an address of IPv6
            Some((host, port)) if !port.contains(':') => (host, Some(port)),
            _ => (host, None),
        },
    };
    let is_port =
        |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|n| n > 0);
    match port {
        Some(port) if !is_port(port) => Err(format!("`{port}` is not a port, a number from 1 to 65535")),
        _ => Ok((format!("{user}{host}"), port.map(str::to_owned))),
    }
}

/// The host of `[user@]host`.
fn host_part(destination: &str) -> &str {
    destination.rsplit_once('@').map_or(destination, |(_, host)| host)
}

/// Writes a value without `//`; [`unescape`] reads it back.
fn escape(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let mut chars = value.chars().peekable();
    let mut after_slash = false;
    while let Some(c) = chars.next() {
        if (c == '/' && after_slash) || (c == '\\' && matches!(chars.peek(), Some('/' | '\\'))) {
            text.push('\\');
        }
        text.push(c);
        after_slash = c == '/';
    }
    text
}

fn unescape(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let mut chars = value.chars().peekable();
    while let Some(c) = chars.next() {
        let escaped = if c == '\\' { chars.next_if(|c| matches!(c, '/' | '\\')) } else { None };
        text.push(escaped.unwrap_or(c));
    }
    text
}

/// The name of a network: `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`, so it can be part of any file name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetworkName(String);

/// A text that cannot name a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` cannot name a network ({NAME_RULE})")]
pub struct NetworkNameError(String);

impl FromStr for NetworkName {
    type Err = NetworkNameError;

    fn from_str(text: &str) -> Result<NetworkName, NetworkNameError> {
        if is_name(text) { Ok(NetworkName(text.to_owned())) } else { Err(NetworkNameError(text.to_owned())) }
    }
}

impl NetworkName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NetworkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
