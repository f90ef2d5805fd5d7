//! Completion for shells: names of networks, hosts and nodes, keys of specs, values of options.
//!
//! Tab must not hang: facts that only a daemon knows are left out if it does not answer at once.

use std::ffi::{OsStr, OsString};
use std::process::exit;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use clap_complete::engine::{ArgValueCandidates, ArgValueCompleter, CompletionCandidate};
use execnet::Connect;
use execnet_proto::control::{KeptReply, KeptStatus, ProcessUsage, Status, Usages, Verb};
use execnet_proto::spec::sets::OPERATORS;
use execnet_proto::spec::{KEYS, NetworkName};
use serde::de::DeserializeOwned;

use crate::config::NetworkFile;
use crate::{paths, text, usage};

/// Answers a shell's request for candidates and exits, if this is one.
pub(crate) fn answer(command: fn() -> clap::Command, args: &[OsString]) {
    let completer = clap_complete::CompleteEnv::with_factory(command);
    let here = std::env::current_dir().ok();
    match completer.try_complete(args.iter().map(|word| plain(word)), here.as_deref()) {
        Ok(false) => {}
        Ok(true) => exit(0),
        Err(error) => error.exit(),
    }
}

/// A word without the backslashes and quotes that shells pass on as typed.
fn plain(word: &OsStr) -> OsString {
    let Some(typed) = word.to_str() else { return word.to_owned() };
    let (mut plain, mut quote) = (String::new(), None);
    let mut letters = typed.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' if quote != Some('\'') => plain.extend(letters.next()),
            '\'' | '"' if quote == Some(letter) => quote = None,
            '\'' | '"' if quote.is_none() => quote = Some(letter),
            _ => plain.push(letter),
        }
    }
    plain.into()
}

/// How long to wait for a daemon.
const AT_ONCE: Duration = Duration::from_millis(500);

/// Networks that run or have a file.
pub(super) fn networks() -> ArgValueCandidates {
    ArgValueCandidates::new(|| paths::known().iter().map(|name| candidate(name.as_str())).collect())
}

/// A host of the network on the command line.
pub(super) fn hosts() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let ids = named().map_or_else(Vec::new, |name| host_ids(&name, status(&name).as_ref()));
        ids.iter().map(|id| candidate(id)).collect()
    })
}

/// A set of hosts of the network on the command line.
pub(super) fn sets_of_hosts() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        complete_set(typed, |name, status| (host_ids(name, status), groups(name, status)))
    })
}

/// A set of nodes and hosts of the network on the command line.
pub(super) fn sets_of_nodes() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        complete_set(typed, |name, status| {
            let mut all = host_ids(name, status);
            let hosts = status.into_iter().flat_map(|status| &status.hosts);
            all.extend(hosts.flat_map(|host| &host.nodes).map(|node| node.name.clone()));
            (all, groups(name, status))
        })
    })
}

/// Continues a set by names, and by groups.
fn complete_set(
    typed: &OsStr,
    known: impl Fn(&NetworkName, Option<&Status>) -> (Vec<String>, Vec<String>),
) -> Vec<CompletionCandidate> {
    let (Some(typed), Some(network)) = (typed.to_str(), named()) else { return Vec::new() };
    let status = status(&network);
    let (names, groups) = known(&network, status.as_ref());
    set(typed, names, &groups).iter().map(|text| candidate(text)).collect()
}

/// The typed set, with each name and group that its last name may become.
fn set(typed: &str, mut names: Vec<String>, groups: &[String]) -> Vec<String> {
    let (mut begun, mut inside) = (0, false);
    for (at, letter) in typed.char_indices() {
        match letter {
            '[' => inside = true,
            ']' => inside = false,
            _ if !inside && OPERATORS.contains(&letter) => begun = at + 1,
            _ => {}
        }
    }
    let (before, begun) = typed.split_at(begun);
    let (space, begun) = begun.split_at(begun.len() - begun.trim_start().len());
    names.extend(groups.iter().map(|group| format!("@{group}")));
    names.retain(|name| name.starts_with(begun));
    names.sort_by_key(|name| (name.starts_with('@'), name.clone()));
    names.dedup();
    names.iter().map(|name| format!("{before}{space}{name}")).collect()
}

/// Ids of the processes that run in the network on the command line.
pub(super) fn processes() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let usages: Option<Usages> = named().and_then(|name| asked(&name, Verb::Ps { node: None }));
        let processes = usages.into_iter().flat_map(|usages| usages.processes);
        let told = |process: ProcessUsage| {
            let command = text::fit(&usage::command(&process), 40);
            let help = format!("{}: {command}", usage::place(&process));
            candidate(&usage::short(&process.id)).help(Some(help.into()))
        };
        processes.map(told).collect()
    })
}

/// Names of kept work in the network on the command line.
pub(super) fn kept() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let reply: Option<KeptReply> =
            named().and_then(|name| asked(&name, Verb::Kept { names: Vec::new() }));
        let works = reply.map_or_else(Vec::new, |reply| reply.kept);
        let count = |name: &str| works.iter().filter(|work| work.name == name).count();
        let told = |work: &KeptStatus| {
            let name = if count(&work.name) > 1 {
                format!("{}@{}", work.name, work.host)
            } else {
                work.name.clone()
            };
            candidate(&name).help(Some(format!("{}: {}", work.host, usage::kept(work)).into()))
        };
        works.iter().map(told).collect()
    })
}

/// Some words; others are allowed too.
pub(super) fn words(words: &'static [&'static str]) -> ArgValueCandidates {
    ArgValueCandidates::new(|| words.iter().copied().map(candidate).collect())
}

/// The keys of a host spec after what is typed already, and the network's hosts and groups after `via=`.
pub(super) fn spec() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let Some(typed) = typed.to_str() else { return Vec::new() };
        let Some((before, begun)) = typed.rsplit_once("via=").filter(|(before, _)| before.ends_with("//"))
        else {
            return keys(typed);
        };
        let Some(name) = named() else { return Vec::new() };
        let status = status(&name);
        let mut ids = host_ids(&name, status.as_ref());
        ids.extend(groups(&name, status.as_ref()).iter().map(|group| format!("@{group}")));
        let ids = ids.iter().filter(|id| id.starts_with(begun));
        ids.map(|id| candidate(&format!("{before}via={id}"))).collect()
    })
}

/// The typed spec, continued by each key that may come next.
fn keys(typed: &str) -> Vec<CompletionCandidate> {
    let (before, begun) = typed.rfind("//").map_or(("", typed), |at| typed.split_at(at + 2));
    let begin = before.is_empty();
    let transports = ["popen", "ssh", "cmd"];
    let fits = |key: &&str| key.starts_with(begun) && begin == transports.contains(key);
    let written = |key: &str| match key {
        "popen" => key.to_owned(),
        "env" => "env:".to_owned(),
        _ => format!("{key}="),
    };
    let known = KEYS.iter().map(|key| key.trim_end_matches(':'));
    known.filter(fits).map(|key| CompletionCandidate::new(format!("{before}{}", written(key)))).collect()
}

fn candidate(text: &str) -> CompletionCandidate {
    CompletionCandidate::new(text)
}

/// The network on the command line.
fn named() -> Option<NetworkName> {
    let words: Vec<String> = std::env::args_os().filter_map(|word| word.into_string().ok()).collect();
    paths::known().into_iter().find(|name| words.iter().any(|word| word == name.as_str()))
}

/// The network's file, if it can be read.
fn file(name: &NetworkName) -> Option<NetworkFile> {
    paths::network_file(name).ok().and_then(|path| NetworkFile::load(&path).ok())
}

/// The ids of the running hosts and of those in the network's file.
fn host_ids(name: &NetworkName, status: Option<&Status>) -> Vec<String> {
    let file = file(name);
    let running = status.into_iter().flat_map(|status| &status.hosts).map(|host| &host.id);
    let mut ids: Vec<String> =
        file.iter().flat_map(NetworkFile::hosts).map(|host| &host.id).chain(running).cloned().collect();
    ids.sort();
    ids.dedup();
    ids
}

/// The groups of the network's file, or of the running network.
fn groups(name: &NetworkName, status: Option<&Status>) -> Vec<String> {
    let running = || status.map(|status| status.groups.keys().cloned().collect());
    let here = file(name).map(|file| file.groups().names().map(str::to_owned).collect());
    here.filter(|groups: &Vec<String>| !groups.is_empty()).or_else(running).unwrap_or_default()
}

/// The status of a running network, if its daemon answers at once.
fn status(name: &NetworkName) -> Option<Status> {
    asked(name, Verb::Status)
}

/// The answer of a running network, if its daemon gives one at once.
fn asked<T: DeserializeOwned + Send + 'static>(name: &NetworkName, verb: Verb) -> Option<T> {
    paths::daemon(name)?;
    let connect = Connect::to(name.as_str()).ok()?;
    let (answer, answered) = mpsc::channel();
    thread::spawn(move || {
        let said = connect.open().ok().and_then(|network| network.ask(&verb.into()).ok());
        let _ = answer.send(said);
    });
    answered.recv_timeout(AT_ONCE).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_completed_as_the_shell_will_understand_it() {
        for (typed, word) in [
            ("scr", "scr"),
            ("two\\ w", "two w"),
            ("'two w", "two w"),
            ("\"two w\"o", "two wo"),
            ("a'b\\'c\\", "ab\\c"),
            ("\"it's", "it's"),
        ] {
            assert_eq!(plain(OsStr::new(typed)), word, "{typed}");
        }
    }

    #[test]
    fn the_last_name_of_a_set_completes_behind_what_is_typed() {
        let set = |typed: &str| {
            let names = ["web1", "web2", "db1", "db1:pypy3.9"].map(String::from).to_vec();
            super::set(typed, names, &["web".into(), "dbs".into()]).join(" ")
        };
        assert_eq!(set(""), "db1 db1:pypy3.9 web1 web2 @dbs @web");
        assert_eq!(set("w"), "web1 web2");
        assert_eq!(set("@"), "@dbs @web");
        assert_eq!(set("db1,w"), "db1,web1 db1,web2");
        assert_eq!(set("web[1,3]!@w"), "web[1,3]!@web");
        assert_eq!(set("@web,!web"), "@web,!web1 @web,!web2");
        assert_eq!(set("@web & d"), "@web & db1 @web & db1:pypy3.9");
        assert_eq!(set("!db1:"), "!db1:pypy3.9");
        assert_eq!((set("web[1,"), set("web[1-2]"), set("x")), ("".into(), "".into(), "".into()));
    }

    #[test]
    fn the_keys_of_a_spec_complete_behind_what_is_typed() {
        let keys = |typed: &str| {
            let all = keys(typed).into_iter();
            all.map(|key| key.get_value().to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(keys("s"), ["ssh="]);
        assert_eq!(keys("ssh=build1//py"), ["ssh=build1//python="]);
        assert_eq!(keys("ssh=build1//e"), ["ssh=build1//env:"]);
        assert_eq!(keys("ssh=build1//python=x//v"), ["ssh=build1//python=x//via="]);
        assert_eq!(keys("ssh=bui"), [""; 0]);
        assert!(keys("popen//").len() == KEYS.len() - 3, "{:?}", keys("popen//"));
    }
}
