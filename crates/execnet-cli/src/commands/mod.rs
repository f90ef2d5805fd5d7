//! One file per command: its options and what it does.

mod addhost;
mod attach;
mod candidates;
pub(crate) mod complete;
mod completions;
mod copy;
mod daemon;
mod drain;
mod exec;
mod feed;
mod folded;
mod forward;
mod kept;
mod kill;
mod list;
mod logs;
mod man;
mod meant;
mod node_options;
mod outlet;
mod package_options;
mod packages;
mod ps;
mod pump;
mod python;
mod rmhost;
mod run;
mod start;
mod status;
mod stop;
mod top;
mod transfer;
mod wait;

pub(crate) use addhost::AddhostArgs;
pub(crate) use attach::AttachArgs;
pub(crate) use completions::CompletionsArgs;
pub(crate) use copy::CopyArgs;
pub(crate) use daemon::DaemonArgs;
pub(crate) use drain::{DrainArgs, UndrainArgs};
pub(crate) use exec::ExecArgs;
pub(crate) use kept::{Work, ending};
pub(crate) use kill::KillArgs;
pub(crate) use list::ListArgs;
pub(crate) use logs::LogsArgs;
pub(crate) use man::ManArgs;
pub(crate) use node_options::mark_arguments;
pub(crate) use packages::PackagesArgs;
pub(crate) use ps::PsArgs;
pub(crate) use python::PythonArgs;
pub(crate) use rmhost::RmhostArgs;
pub(crate) use run::RunArgs;
pub(crate) use start::StartArgs;
pub(crate) use status::StatusArgs;
pub(crate) use stop::StopArgs;
pub(crate) use top::TopArgs;
pub(crate) use transfer::{ExportArgs, ImportArgs};
pub(crate) use wait::WaitArgs;

use std::path::Path;

use clap::Args;
use execnet_proto::control::Status;
use execnet_proto::spec::{HostSpec, NetworkName, SpecError, nearest};

use crate::error::{CommandError, Exit};

/// The network of a command.
#[derive(Debug, Args)]
pub(crate) struct NetworkArg {
    /// Name of the network
    #[arg(value_name = "NETWORK", add = complete::networks())]
    pub(crate) network: NetworkName,
}

/// Reads a host spec from the command line. Its relative paths start at our working folder, because the
/// daemon has another.
fn typed_spec(text: &str) -> Result<HostSpec, CommandError> {
    seen_from(parse_spec(text)?, std::env::current_dir().ok().as_deref())
}

/// The host with its relative paths made absolute. The folder may be gone, or have a name that no spec can
/// hold.
fn seen_from(host: HostSpec, folder: Option<&Path>) -> Result<HostSpec, CommandError> {
    if let Some(folder) = folder.and_then(Path::to_str) {
        return Ok(host.seen_from(folder));
    }
    if host.clone().seen_from("/") == host {
        return Ok(host);
    }
    let message =
        format!("`{host}` has a relative path, but the folder it is relative to has no usable name");
    Err(CommandError::new(Exit::Usage, message)
        .hint("the folder was removed, or its name is not UTF-8; give an absolute path"))
}

/// Reads a host spec.
fn parse_spec(text: &str) -> Result<HostSpec, CommandError> {
    text.parse().map_err(|error: SpecError| {
        let failure = CommandError::new(Exit::Usage, format!("`{text}` is not a host spec")).because(&error);
        match error {
            SpecError::OfGateways { .. } => failure,
            _ => failure.hint(
                "for example `popen`, `ssh=user@build1//python=pypy3`, `cmd=docker exec -i web python3`",
            ),
        }
    })
}

/// What is said of a drained host that was used.
fn used_though_drained(host: &str) -> String {
    format!("execnet: {} is drained, and used because it was named", crate::text::one_line(host))
}

/// The error if a host is not one of the running network.
fn no_such_host(host: &str, status: &Status) -> CommandError {
    let failure =
        CommandError::new(Exit::NoHost, format!("the network `{}` has no host `{host}`", status.network));
    let ids: Vec<&str> = status.hosts.iter().map(|host| host.id.as_str()).collect();
    match nearest(host, ids.iter().copied()) {
        Some(near) => failure.hint(format!("did you mean `{near}`?")),
        None if ids.is_empty() => failure,
        None => failure.hint(format!("there are: {}", ids.join(", "))),
    }
}
