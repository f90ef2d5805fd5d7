//! `execnet start`: starts a network and shows its hosts joining.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use clap_complete::engine::{ArgValueCompleter, PathCompleter};
use execnet_proto::control::{HostState, HostStatus, Status, Verb};
use execnet_proto::spec::{HostSpec, NetworkName};

use super::{daemon, seen_from, typed_spec};
use crate::ask::Terminal;
use crate::config::{DEFAULT_LINGER, NetworkFile};
use crate::error::{CommandResult, Exit};
use crate::follow::follow;
use crate::progress::JoinProgress;
use crate::{connection, paths, print, render};

/// Start a network and show its hosts joining
///
/// Hosts come from the network's file; hosts given here are added to it. A network without hosts is this
/// machine with every Python found on it.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  execnet start mynet
  execnet start mynet ssh=build1 ssh=user@build2//python=pypy3 ssh=inner//via=build1
  execnet start mynet --file hosts.toml")]
pub(crate) struct StartArgs {
    #[command(flatten)]
    network: super::NetworkArg,
    /// Hosts to add, such as `ssh=user@build1//python=pypy3`
    #[arg(value_name = "SPEC", add = super::complete::spec())]
    specs: Vec<String>,
    /// Also add the hosts of a TOML file with `hosts = ["ssh=build1"]`
    #[arg(long, value_name = "FILE", add = ArgValueCompleter::new(PathCompleter::file()))]
    file: Option<PathBuf>,
}

impl StartArgs {
    pub(crate) fn run(self) -> CommandResult {
        let name = self.network.network;
        let path = paths::network_file(&name)?;
        let specs = self.specs.iter().map(|spec| typed_spec(spec)).collect::<Result<Vec<HostSpec>, _>>()?;
        let more = self.file.as_deref().map(NetworkFile::load_existing).transpose()?;
        let changes = more.is_some() || !specs.is_empty();
        let mut file = if changes { NetworkFile::edit(&path)? } else { NetworkFile::load(&path)? };
        // a running network gets no hosts this way, so do not check how they would fit
        if connection::stays_running(&name) {
            return Err(connection::already_running(&name));
        }
        let known = file.hosts().len();
        let folder = self.file.as_deref().and_then(folder_of);
        let theirs = more.iter().flat_map(NetworkFile::hosts);
        for host in
            theirs.map(|host| seen_from(host.clone(), folder.as_deref())).chain(specs.into_iter().map(Ok))
        {
            file.add(&host?)?;
        }
        if let Some(linger) = more.as_ref().and_then(NetworkFile::linger) {
            file.set_linger(linger);
        }
        for id in more.iter().flat_map(NetworkFile::drained) {
            file.set_drained(id, true);
        }
        if let Some(more) = &more {
            file.add_groups(more.groups())?;
        }
        file.check()?;
        let told =
            file.linger().is_some() || !file.drained().is_empty() || file.groups().names().next().is_some();
        let changed = file.hosts().len() > known || (self.file.is_some() && told);
        let draft = if changed { Some(file.prepare()?) } else { None };
        let hosts = hosts_of(&file);
        daemon::launch(
            &name,
            &hosts,
            file.linger().unwrap_or(DEFAULT_LINGER),
            file.drained(),
            file.groups(),
        )?;
        for id in file.drained().iter().filter(|id| !hosts.iter().any(|host| host.id == **id)) {
            let file = path.display().to_string();
            print::say(&format!("execnet: `drained` in {file} lists `{id}`, which is not a host"));
        }
        if let Some(draft) = draft {
            draft.commit()?;
        }
        // let others change the file while hosts join
        drop(file);
        watch(&name, hosts.len())
    }
}

/// The base of relative paths in a file: its folder, or the current one for a pipe.
fn folder_of(file: &Path) -> Option<PathBuf> {
    let here = std::env::current_dir().ok();
    if !file.is_file() {
        return here;
    }
    std::path::absolute(file).ok()?.parent()?.canonicalize().ok()
}

/// The hosts of a network: those of its file, or every Python on this machine.
fn hosts_of(file: &NetworkFile) -> Vec<HostSpec> {
    match file.hosts() {
        [] => "popen//python=*".parse().into_iter().collect(),
        hosts => hosts.to_vec(),
    }
}

/// Shows about `count` hosts until none is joining, then the status.
fn watch(name: &NetworkName, count: usize) -> CommandResult {
    let network = connection::connect(name)?;
    let mut progress = JoinProgress::stderr(count);
    let hosts = follow(&network, Verb::Watch, &mut progress, &Terminal, &mut || Ok(()))?;
    let status: Status = connection::ask_once(&network, Verb::Status)?;
    print::print_styled(&render::status(&status))?;
    // the last state while joining: by now the next attempt may be under way
    let last =
        |host: &HostStatus| if host.state == HostState::Up { host.clone() } else { hosts[&host.id].clone() };
    let known = status.hosts.iter().filter(|host| hosts.contains_key(&host.id));
    let troubles: Vec<String> =
        known.filter_map(|host| render::trouble(name.as_str(), &last(host))).collect();
    for trouble in &troubles {
        print::say_styled(&format!("\n{}", trouble.trim_end()));
    }
    Ok(if troubles.is_empty() { ExitCode::SUCCESS } else { Exit::HostsFailed.into() })
}
