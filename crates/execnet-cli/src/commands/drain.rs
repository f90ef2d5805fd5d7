//! `execnet drain` and `execnet undrain`: keep new work away from hosts, and let them take it again.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use execnet::{Network, RequestError};
use execnet_proto::control::{HostReply, HostState, HostStatus, Status, Verb};
use execnet_proto::spec::NetworkName;

use super::addhost::differ;
use super::meant::hosts_named;
use super::rmhost::groups_that_name;
use crate::config::{Draft, NetworkFile};
use crate::connection::DaemonApi;
use crate::error::{CommandError, CommandResult};
use crate::progress::WaitProgress;
use crate::text::one_line;
use crate::{connection, paths, print};

/// Keep new work away from hosts
///
/// A drained host is not chosen any more, also after the next start. Naming it (`--node`) still works, and
/// what runs on all hosts runs there too. What runs there goes on, and hosts that are reached through it stay
/// reachable.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  execnet drain mynet build3
  execnet drain mynet build3 build4 --wait && ssh build3 sudo reboot
  execnet drain mynet build3 --remove")]
pub(crate) struct DrainArgs {
    #[command(flatten)]
    network: super::NetworkArg,
    /// Ids of hosts, as `execnet status` shows them, or sets of them: `'build[1-3]'`
    #[arg(value_name = "HOST", required = true, add = super::complete::sets_of_hosts())]
    hosts: Vec<String>,
    /// Wait until nothing runs there for clients. Ctrl-C ends only the waiting
    #[arg(long)]
    wait: bool,
    /// Remove each host from the network and its file as soon as it is idle, also after this command has
    /// ended
    #[arg(long)]
    remove: bool,
}

/// Let drained hosts take new work again
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  execnet undrain mynet build3")]
pub(crate) struct UndrainArgs {
    #[command(flatten)]
    network: super::NetworkArg,
    /// Ids of hosts, as `execnet status` shows them, or sets of them: `'build[1-3]'`
    #[arg(value_name = "HOST", required = true, add = super::complete::sets_of_hosts())]
    hosts: Vec<String>,
}

impl DrainArgs {
    pub(crate) fn run(self) -> CommandResult {
        let name = &self.network.network;
        let mut change = Change::begin(name, &self.hosts, true)?;
        let mut progress = WaitProgress::stderr();
        // the last state of each host
        let mut hosts: Vec<HostStatus> = Vec::new();
        while let Err(broken) = self.follow(&mut change, &mut hosts, &mut progress)? {
            // its last reply would have come at once, or it has never agreed
            if !(self.wait || self.remove) || hosts.is_empty() {
                return Err(broken);
            }
            let seconds = connection::patience(name).as_secs();
            print::say(&format!(
                "execnet: the daemon of {name} is gone; waiting up to {seconds} s for `execnet start {name}`"
            ));
            progress.show(&format!("waiting for the daemon of {name}"));
            let status = connection::await_next_daemon(name, &change.network)?;
            print::say(&format!("execnet: the daemon of {name} is back"));
            if self.remove {
                // what was idle has left
                change.ids.retain(|id| status.hosts.iter().any(|host| host.id == *id));
            }
            if change.ids.is_empty() {
                break;
            }
        }
        drop(progress);
        for host in &hosts {
            let is_gone = host.state == HostState::Leaving || !change.ids.contains(&host.id);
            ended(name, host, is_gone, self.wait).iter().for_each(|line| print::say(line));
            let groups = change.groups.iter().filter(|(id, _)| is_gone && *id == host.id);
            groups.flat_map(|(_, notes)| notes).for_each(|note| print::say(note));
        }
        change.notes.iter().for_each(|note| print::say(note));
        Ok(ExitCode::SUCCESS)
    }

    /// Drains the hosts, and shows what becomes of them until the last reply. The inner error: the daemon was
    /// gone before.
    fn follow(
        &self,
        change: &mut Change,
        hosts: &mut Vec<HostStatus>,
        progress: &mut WaitProgress,
    ) -> Result<Result<(), CommandError>, CommandError> {
        let verb = Verb::Drain { hosts: change.ids.clone(), remove: self.remove, wait: self.wait };
        for reply in change.network.request(&connection::request(verb)) {
            let reply = match reply {
                Err(RequestError::Disconnected { .. }) => return Ok(Err(connection::gone())),
                reply => connection::read::<HostReply>(reply.map_err(|error| connection::failed(&error))?)?,
            };
            change.draft.take().map_or(Ok(()), Draft::commit)?;
            let Some(host) = reply.host else { return Ok(Ok(())) };
            match hosts.iter_mut().find(|known| known.id == host.id) {
                Some(known) => *known = host,
                None => {
                    if host.state != HostState::Leaving {
                        print::say(&drained(&host, self.wait));
                    }
                    hosts.push(host);
                }
            }
            progress.show(&waiting(hosts));
        }
        Ok(Err(connection::gone()))
    }
}

impl UndrainArgs {
    pub(crate) fn run(self) -> CommandResult {
        let mut change = Change::begin(&self.network.network, &self.hosts, false)?;
        let verb = Verb::Undrain { hosts: change.ids.clone() };
        for reply in DaemonApi::ask(&change.network, &connection::request(verb)) {
            let reply: HostReply = connection::read(reply?)?;
            change.draft.take().map_or(Ok(()), Draft::commit)?;
            if let Some(host) = reply.host {
                print::say(&format!("{}: takes new work", one_line(&host.id)));
            }
        }
        change.notes.iter().for_each(|note| print::say(note));
        Ok(ExitCode::SUCCESS)
    }
}

/// What both commands change.
struct Change {
    network: Network,
    ids: Vec<String>,
    /// The network's file, to be written when the daemon has agreed.
    draft: Option<Draft>,
    /// What to say of the file.
    notes: Vec<String>,
    /// The same about groups that name a host, for when it is gone.
    groups: Vec<(String, Vec<String>)>,
}

impl Change {
    fn begin(name: &NetworkName, hosts: &[String], drained: bool) -> CommandResult<Self> {
        let network = connection::connect(name)?;
        let status: Status = connection::ask_once(&network, Verb::Status)?;
        let ids = hosts_named(&network, hosts, &status)?;
        let path = paths::network_file(name)?;
        let mut file = NetworkFile::edit(&path)?;
        let is_default = file.hosts().is_empty();
        // a host of nobody's file is drained until the network stops
        let (listed, unlisted): (Vec<&String>, Vec<&String>) = ids.iter().partition(|id| {
            !drained || is_default && **id == "local" || file.hosts().iter().any(|host| host.id == **id)
        });
        let changed = listed.iter().filter(|id| file.set_drained(id, drained)).count() > 0;
        let mut notes = Vec::new();
        if !unlisted.is_empty() {
            notes.push(not_listed(&path, &unlisted));
        }
        if let Some(theirs) = status.file.map(PathBuf::from).filter(|theirs| changed && differ(theirs, &path))
        {
            notes.push(other_file(&path, &theirs));
        }
        let groups = ids.iter().map(|id| (id.clone(), groups_that_name(&file, &path, id))).collect();
        let draft = if changed { Some(file.prepare()?) } else { None };
        Ok(Self { network, ids, draft, notes, groups })
    }
}

/// What happened to a host at once.
fn drained(host: &HostStatus, wait: bool) -> String {
    let id = one_line(&host.id);
    let busy = host.busy.as_deref().map(one_line);
    let then = match (host.removing, wait) {
        (true, _) => "rmhost when idle",
        (false, true) => "waiting until it is idle",
        (false, false) => "",
    };
    match (busy, then) {
        (None, _) => format!("{id}: drained"),
        (Some(busy), "") => format!("{id}: drained; {busy}"),
        (Some(busy), then) => format!("{id}: drained; {then}: {busy}"),
    }
}

/// What is waited for.
fn waiting(hosts: &[HostStatus]) -> String {
    let busy = hosts.iter().filter_map(|host| match (&host.busy, host.state) {
        (_, HostState::Leaving) => Some(format!("{}: leaving", one_line(&host.id))),
        (Some(busy), _) => Some(format!("{}: {}", one_line(&host.id), one_line(busy))),
        (None, _) => None,
    });
    let busy: Vec<String> = busy.collect();
    if busy.is_empty() { String::new() } else { format!("waiting for {}", busy.join("; ")) }
}

/// What became of a host in the end.
fn ended(network: &NetworkName, host: &HostStatus, is_gone: bool, wait: bool) -> Vec<String> {
    let id = one_line(&host.id);
    if !is_gone {
        return if wait { vec![format!("{id}: idle")] } else { Vec::new() };
    }
    let why = host.error.as_deref().map(|why| format!("{id}: unreachable; {}", one_line(why)));
    why.into_iter().chain([format!("{id}: removed from {network}")]).collect()
}

/// The note if hosts are in no file of this user.
fn not_listed(file: &Path, ids: &[&String]) -> String {
    let ids: Vec<String> = ids.iter().map(|id| one_line(id)).collect();
    format!(
        "{} does not list {}: drained until the network stops",
        one_line(&file.display().to_string()),
        ids.join(", ")
    )
}

/// The note if the network was started with a different HOME or XDG_CONFIG_HOME.
fn other_file(ours: &Path, theirs: &Path) -> String {
    let [ours, theirs] = [ours, theirs].map(|path| one_line(&path.display().to_string()));
    format!("{ours} was changed, but the network was started from {theirs}; later starts from there miss it")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(id: &str, busy: Option<&str>) -> HostStatus {
        let (id, busy) = (id.to_owned(), busy.map(str::to_owned));
        HostStatus { id, busy, state: HostState::Up, drained: true, ..HostStatus::default() }
    }

    #[test]
    fn a_drained_host_is_told_with_what_keeps_it() {
        let (idle, busy) = (host("a", None), host("b", Some("2 processes run there")));
        assert_eq!(drained(&idle, false), "a: drained");
        assert_eq!(drained(&busy, false), "b: drained; 2 processes run there");
        assert_eq!(drained(&busy, true), "b: drained; waiting until it is idle: 2 processes run there");
        let leaves = HostStatus { removing: true, ..busy.clone() };
        assert_eq!(drained(&leaves, false), "b: drained; rmhost when idle: 2 processes run there");
        assert_eq!(waiting(&[idle.clone(), busy]), "waiting for b: 2 processes run there");
        assert_eq!(waiting(std::slice::from_ref(&idle)), "");
        let net: NetworkName = "net".parse().unwrap();
        assert_eq!(
            (ended(&net, &idle, false, false), ended(&net, &idle, false, true)),
            (vec![], vec!["a: idle".to_owned()])
        );
        let gone = HostStatus { state: HostState::Leaving, error: Some("\x1b[2Jno".into()), ..idle };
        assert_eq!(ended(&net, &gone, true, false), [r"a: unreachable; \x1b[2Jno", "a: removed from net"]);
    }
}
