//! `execnet addhost`: joins a host to a running network and adds it to the network's file.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use execnet_proto::control::{HostState, HostStatus, NodeState, Status, Verb};
use execnet_proto::spec::sets::Groups;
use execnet_proto::spec::{HostSpec, NetworkName};

use super::{parse_spec, typed_spec};
use crate::ask::Terminal;
use crate::config::{self, NetworkFile};
use crate::error::{CommandError, CommandResult, Exit};
use crate::follow::follow;
use crate::progress::JoinProgress;
use crate::{connection, paths, print, render, text};

/// Add a host to a running network and to its file
///
/// A host that is already in the network but unreachable is tried again at once, and ssh may ask for a
/// password. Interpreters that failed are probed again.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  execnet addhost mynet ssh=user@build3//python=jython//id=j3
  execnet addhost mynet ssh=inner//via=build1")]
pub(crate) struct AddhostArgs {
    #[command(flatten)]
    network: super::NetworkArg,
    /// How to reach it, such as `ssh=user@build1//python=pypy3`
    #[arg(value_name = "SPEC", add = super::complete::spec())]
    spec: String,
    /// End what an agent of another protocol version keeps there
    #[arg(long)]
    end_kept: bool,
}

impl AddhostArgs {
    pub(crate) fn run(self) -> CommandResult {
        let name = self.network.network;
        let host = typed_spec(&self.spec)?;
        let network = connection::connect(&name)?;
        let status: Status = connection::ask_once(&network, Verb::Status)?;
        let running = running_hosts(&status)?;
        let verb = Verb::AddHost { spec: host.to_string(), end_kept: self.end_kept };
        let may_help = |known: &HostStatus| {
            let failed = known.nodes.iter().any(|node| node.state == NodeState::Failed);
            known.state != HostState::Up || failed && known.resume
        };
        if status.hosts.iter().any(|known| known.spec == host.to_string() && may_help(known)) {
            let hosts = follow(&network, verb, &mut JoinProgress::stderr(1), &Terminal, &mut || Ok(()))?;
            return tell(&name, hosts.get(&host.id));
        }
        fits(&host, &running, &connection::read_groups(&network)?)?;
        let path = paths::network_file(&name)?;
        let mut file = NetworkFile::edit(&path)?;
        if file.hosts().is_empty() {
            // the running hosts are in no file; a file with only the new host would drop them at the next
            // start
            for host in &running {
                file.add(host)?;
            }
        }
        file.add(&host)?;
        file.set_drained(&host.id, false);
        file.check()?;
        let mut draft = Some(file.prepare()?);
        let hosts = follow(&network, verb, &mut JoinProgress::stderr(1), &Terminal, &mut || {
            draft.take().map_or(Ok(()), config::Draft::commit)
        });
        match hosts {
            // the daemon accepted the host and ended while it joined
            Err(failure) if draft.is_none() && is_named(&path, &host) => Err(failure.hint(format!(
                "`{}` is in the network's file, so the next `execnet start {name}` joins it",
                host.id
            ))),
            hosts => {
                let told = tell(&name, hosts?.get(&host.id));
                if let Some(other) = status.file.map(PathBuf::from).filter(|other| differ(other, &path)) {
                    print::say(&other_file(&host.id, &path, &other));
                }
                told
            }
        }
    }
}

/// Whether a network's file lists the host.
fn is_named(path: &Path, host: &HostSpec) -> bool {
    NetworkFile::load(path).is_ok_and(|file| file.hosts().contains(host))
}

/// Whether two paths lead to different files, existing or not.
pub(super) fn differ(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| {
        let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
        path.canonicalize().ok().or_else(|| Some(folder?.join(path.file_name()?)))
    };
    one != other && (real(one).is_none() || real(one) != real(other))
}

/// The note if the network was started with a different HOME or XDG_CONFIG_HOME.
fn other_file(id: &str, ours: &Path, theirs: &Path) -> String {
    let [ours, theirs] = [ours, theirs].map(|path| text::one_line(&path.display().to_string()));
    format!(
        "{id} was added to {ours}, but the network was started from {theirs}; \
         later starts from there will not include it"
    )
}

/// Prints the outcome.
fn tell(network: &NetworkName, host: Option<&HostStatus>) -> CommandResult {
    let Some(host) = host else { return Err(connection::gone()) };
    if host.state == HostState::Up {
        print::print_styled(&render::hosts(std::slice::from_ref(host)))?;
    }
    let Some(trouble) = render::trouble(network.as_str(), host) else { return Ok(ExitCode::SUCCESS) };
    print::say_styled(trouble.trim_end());
    Ok(Exit::HostsFailed.into())
}

/// The specs of the running hosts.
pub(super) fn running_hosts(status: &Status) -> Result<Vec<HostSpec>, CommandError> {
    status.hosts.iter().map(|host| parse_spec(&host.spec)).collect()
}

/// Checks, before anything changes, whether the host can join the running ones.
fn fits(host: &HostSpec, running: &[HostSpec], groups: &Groups) -> Result<(), CommandError> {
    match running.iter().find(|known| known.id == host.id) {
        None => config::check(&[running, std::slice::from_ref(host)].concat(), groups),
        Some(known) if known == host => {
            Err(CommandError::new(Exit::Usage, format!("`{host}` is already a host of this network")))
        }
        Some(known) => {
            let message =
                format!("the network already has a host `{}` with a different spec: {known}", host.id);
            let mut other = host.clone();
            other.id = "NAME".to_owned();
            Err(CommandError::new(Exit::Usage, message)
                .hint(format!("give the new host another id: `{other}`, or remove `{}` first", host.id)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specs(specs: &[&str]) -> Vec<HostSpec> {
        specs.iter().map(|spec| spec.parse().unwrap()).collect()
    }

    #[test]
    fn a_file_is_the_same_by_whatever_path() {
        let folder = std::env::temp_dir().join(format!("execnet-differ-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("real")).unwrap();
        std::os::unix::fs::symlink("real", folder.join("link")).unwrap();
        let [real, link, gone] = ["real/n.toml", "link/n.toml", "gone/n.toml"].map(|path| folder.join(path));
        let found = [differ(&real, &link), differ(&gone, &gone), differ(&real, &gone)];
        std::fs::write(&real, "").unwrap();
        let then = differ(&real, &link);
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!((found, then), ([false, false, true], false));
    }

    #[test]
    fn a_host_that_cannot_join_is_told_why() {
        let running = specs(&["ssh=build1", "popen"]);
        let groups = Groups::new([("gw", "build[1-9]")]).unwrap();
        let fits = |spec: &str| fits(&specs(&[spec])[0], &running, &groups);
        assert!(fits("ssh=c//via=build1").is_ok());
        assert!(fits("ssh=c//via=@gw").is_ok());
        insta::assert_snapshot!(fits("ssh=build1").unwrap_err(), @"
Error: `ssh=build1` is already a host of this network");
        insta::assert_snapshot!(fits("ssh=x//id=local").unwrap_err(), @"
        Error: the network already has a host `local` with a different spec: popen
        Hint: give the new host another id: `ssh=x//id=NAME`, or remove `local` first
        ");
        insta::assert_snapshot!(fits("ssh=c//via=biuld1").unwrap_err(), @"
        Error: `c` is reached via `biuld1`, which is not a host of this network
        Hint: did you mean `via=build1`?
        ");
    }
}
