//! `execnet rmhost`: ends a host's agent with what runs there, and removes the host.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use execnet_proto::control::{HostReply, HostStatus, Status, Verb};
use execnet_proto::spec::HostSpec;
use execnet_proto::spec::sets::NodeSet;

use super::packages::visit;
use crate::config::NetworkFile;
use crate::error::{CommandError, CommandResult, Exit};
use crate::{connection, paths, print, text};

/// Remove a host from a running network and its file, and end what runs there
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  execnet rmhost mynet build1")]
pub(crate) struct RmhostArgs {
    #[command(flatten)]
    network: super::NetworkArg,
    /// Id of the host, as `execnet status` shows it
    #[arg(value_name = "HOST", add = super::complete::hosts())]
    host: String,
    /// Before that, remove the packages there that nobody uses
    #[arg(long)]
    clean: bool,
    #[command(flatten)]
    kept: super::kept::KeptOptions,
}

impl RmhostArgs {
    pub(crate) fn run(self) -> CommandResult {
        let name = self.network.network;
        let network = connection::connect(&name)?;
        let status: Status = connection::ask_once(&network, Verb::Status)?;
        let path = paths::network_file(&name)?;
        let mut file = NetworkFile::edit(&path)?;
        let running = status.hosts.iter().find(|host| host.id == self.host);
        // of a group, another host may take its place: the daemon knows
        let is_behind =
            |spec: &str| spec.parse::<HostSpec>().is_ok_and(|spec| spec.via.as_ref() == Some(&self.host));
        if let Some(dependant) = status.hosts.iter().find(|host| is_behind(&host.spec)) {
            return Err(in_use(&self.host, dependant));
        }
        let was_drained = file.set_drained(&self.host, false);
        let remembered = file.remove(&self.host);
        if running.is_none() && !remembered {
            return Err(super::no_such_host(&self.host, &status));
        }
        file.check()?;
        let draft = if remembered || was_drained { Some(file.prepare()?) } else { None };
        let cleaned = running.is_none_or(|host| !self.clean || visit::clean(&network, &[host]));
        if running.is_some() {
            let reply: HostReply = connection::ask_once(
                &network,
                Verb::RmHost { host: self.host.clone(), kept: self.kept.choice() },
            )?;
            if let Some(why) = reply.host.and_then(|host| host.error) {
                print::say(&format!("{}: unreachable; {}", self.host, text::one_line(&why)));
            }
            super::kept::say_still_kept(&reply.kept);
        }
        if let Some(draft) = draft {
            draft.commit()?;
        }
        let more = if remembered { String::new() } else { not_named(&path) };
        print::say(&format!("{}: removed from {name}{more}", self.host));
        groups_that_name(&file, &path, &self.host).iter().for_each(|note| print::say(note));
        Ok(if cleaned { ExitCode::SUCCESS } else { Exit::HostsFailed.into() })
    }
}

/// The notes on groups of the file that name the host.
pub(super) fn groups_that_name(file: &NetworkFile, path: &Path, host: &str) -> Vec<String> {
    let names_it = |set: &NodeSet| set.names().is_ok_and(|names| names.iter().any(|name| name == host));
    let groups = file.groups().names().filter(|name| file.groups().set(name).is_some_and(names_it));
    let path = path.display();
    groups.map(|group| format!("execnet: the group `{group}` in {path} still names {host}")).collect()
}

/// The note if the host was running but is not in this user's file.
fn not_named(file: &Path) -> String {
    format!(
        "; {} does not list it, so later starts are unaffected",
        text::one_line(&file.display().to_string())
    )
}

fn in_use(host: &str, dependant: &HostStatus) -> CommandError {
    CommandError::new(Exit::Failed, format!("`{}` is reached via `{host}`", dependant.id))
        .hint(format!("remove `{}` first", dependant.id))
}
