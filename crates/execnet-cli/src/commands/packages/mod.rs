//! `execnet packages`: lists or removes what hosts hold of packages.

use std::process::ExitCode;

use clap::Args;
use execnet::Network;
use execnet::packages::{Cleaned, Stored};
use execnet_proto::control::{HostStatus, Status, Verb};
use serde_json::{Value, json};

use super::meant::hosts_named;
use crate::error::{CommandError, CommandResult, Exit};
use crate::text::{duration, fit, one_line, size, table};
use crate::{connection, print};

pub(super) mod visit;

use visit::{Visited, visit};

/// List or remove the packages that hosts hold
///
/// Programs and commands that bring packages along (`--with`) leave them on the hosts, so that the next one
/// need not send them again. What nobody has used for a day goes by itself.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  execnet packages mynet
  execnet packages mynet build1 --clean")]
pub(crate) struct PackagesArgs {
    #[command(flatten)]
    network: super::NetworkArg,
    /// Ids of hosts, or sets of them (`'build[1-3]'`); by default all of the network
    #[arg(value_name = "HOST", add = super::complete::sets_of_hosts())]
    hosts: Vec<String>,
    /// Remove what is not in use
    #[arg(long)]
    clean: bool,
    /// Print JSON; docs/cli.md lists its keys
    #[arg(long)]
    json: bool,
}

const HEAD: [&str; 5] = ["HOST / PACKAGES", "SIZE", "FILES", "LAST USE", "IN USE"];

/// Columns for what a folder contains.
const TITLE: usize = 60;
/// So many titles of what is in use are named.
const KEPT: usize = 8;

impl PackagesArgs {
    pub(crate) fn run(self) -> CommandResult {
        let name = &self.network.network;
        let network = connection::open_patiently(name)?;
        let status: Status = connection::ask_once(&network, Verb::Status)?;
        let hosts = self.chosen(&network, &status)?;
        if hosts.is_empty() {
            print::say(&format!("{name}: no hosts; `execnet addhost {name} SPEC` adds one"));
            return Ok(ExitCode::SUCCESS);
        }
        let named = !self.hosts.is_empty();
        let failed = if self.clean {
            let visited = visit(&network, &hosts, named, execnet::packages::clean);
            if self.json {
                print_json(&visited, cleaned_json)?;
            } else {
                let done =
                    visited.iter().filter_map(|host| Some(cleaned(&host.host, host.outcome.as_ref().ok()?)));
                print::print(&done.map(|line| line + "\n").collect::<String>())?;
            }
            tell_failed(&visited, "not cleaned")
        } else {
            let visited = visit(&network, &hosts, named, execnet::packages::list);
            if self.json {
                print_json(&visited, |folders| stored_json(folders))?;
            } else {
                print::print_styled(&listed(&visited))?;
            }
            tell_failed(&visited, "not listed")
        };
        Ok(if failed { Exit::HostsFailed.into() } else { ExitCode::SUCCESS })
    }

    /// The hosts of the network that are meant.
    fn chosen<'a>(&self, network: &Network, status: &'a Status) -> Result<Vec<&'a HostStatus>, CommandError> {
        let named = hosts_named(network, &self.hosts, status)?;
        let meant = |host: &&HostStatus| self.hosts.is_empty() || named.contains(&host.id);
        Ok(status.hosts.iter().filter(meant).collect())
    }
}

/// Names hosts that could not be asked. False if there are none.
fn tell_failed<T>(visited: &[Visited<T>], what: &str) -> bool {
    let mut failed = false;
    for host in visited {
        if let Err(why) = &host.outcome {
            failed = true;
            print::say(&format!("execnet: {}: {what}: {}", one_line(&host.host), one_line(why)));
        }
    }
    failed
}

/// Hosts with the packages they hold.
fn listed(visited: &[Visited<Vec<Stored>>]) -> String {
    let mut rows = Vec::new();
    for host in visited {
        let Ok(folders) = &host.outcome else { continue };
        let all = |number: fn(&Stored) -> u64| folders.iter().map(number).sum::<u64>();
        let id = host.host.clone();
        if folders.is_empty() {
            rows.push(vec![id, String::new(), String::new(), String::new(), String::new()]);
            continue;
        }
        let (bytes, files) = (all(|folder| folder.size), all(|folder| folder.files));
        rows.push(vec![id, size(bytes), files.to_string(), String::new(), String::new()]);
        rows.extend(folders.iter().map(|folder| {
            vec![
                format!("  {}", fit(&one_line(&folder.title), TITLE)),
                size(folder.size),
                folder.files.to_string(),
                format!("{} ago", duration(folder.used.as_secs_f64())),
                if folder.in_use { "yes" } else { "no" }.to_owned(),
            ]
        }));
    }
    if rows.is_empty() { String::new() } else { table(&HEAD, &rows) }
}

/// What was removed on a host, and what stayed.
pub(super) fn cleaned(host: &str, done: &Cleaned) -> String {
    let gone = match done.removed {
        0 => "nothing to remove".to_owned(),
        1 => format!("removed 1 folder of packages, {}", size(done.bytes)),
        count => format!("removed {count} folders of packages, {}", size(done.bytes)),
    };
    let mut kept: Vec<(String, usize)> = Vec::new();
    for title in done.in_use.iter().map(|title| fit(&one_line(title), TITLE)) {
        match kept.iter_mut().find(|(known, _)| *known == title) {
            Some((_, count)) => *count += 1,
            None => kept.push((title, 1)),
        }
    }
    let more = kept.len().saturating_sub(KEPT);
    kept.truncate(KEPT);
    let mut names: Vec<String> = kept
        .into_iter()
        .map(|(title, count)| if count == 1 { title } else { format!("{title} ({count})") })
        .collect();
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    let kept =
        if names.is_empty() { String::new() } else { format!("; in use, so kept: {}", names.join("; ")) };
    format!("{}: {gone}{kept}", one_line(host))
}

fn print_json<T>(visited: &[Visited<T>], shown: impl Fn(&T) -> Value) -> Result<(), CommandError> {
    let hosts: Vec<Value> = visited
        .iter()
        .map(|host| {
            let mut object = match &host.outcome {
                Ok(done) => shown(done),
                Err(why) => json!({ "error": why }),
            };
            object["host"] = Value::from(host.host.as_str());
            object
        })
        .collect();
    let json = serde_json::to_string_pretty(&json!({ "hosts": hosts }));
    let json = json.map_err(|error| {
        CommandError::new(Exit::Failed, "cannot write the packages as JSON").because(&error)
    })?;
    print::print(&format!("{}\n", execnet_proto::text::json(&json)))
}

fn stored_json(folders: &[Stored]) -> Value {
    let folder = |folder: &Stored| {
        json!({
            "id": folder.id,
            "title": folder.title,
            "size": folder.size,
            "files": folder.files,
            "used": folder.used.as_secs(),
            "in_use": folder.in_use,
            "folder": match folder.id.as_str() {
                "" => folder.place.clone(),
                id => format!("{}/{id}", folder.place),
            },
        })
    };
    json!({ "packages": folders.iter().map(folder).collect::<Vec<Value>>() })
}

fn cleaned_json(done: &Cleaned) -> Value {
    json!({ "removed": done.removed, "size": done.bytes, "in_use": done.in_use })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
