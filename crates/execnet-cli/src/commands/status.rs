//! `execnet status`: shows hosts and nodes of a running network.

use std::process::ExitCode;

use clap::Args;
use execnet_proto::control::{Status, Verb};

use crate::error::{CommandError, CommandResult, Exit};
use crate::{connection, print, render};

/// Show the hosts and nodes of a running network
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  execnet status mynet
  execnet status mynet --json")]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    network: super::NetworkArg,
    /// Print JSON; docs/requests.md lists its keys
    #[arg(long)]
    json: bool,
}

impl StatusArgs {
    pub(crate) fn run(self) -> CommandResult {
        let network = connection::connect(&self.network.network)?;
        // a file that cannot be read matters to who names its groups
        let _ = connection::read_groups(&network);
        let status: Status = connection::ask_once(&network, Verb::Status)?;
        if self.json {
            let json = serde_json::to_string_pretty(&status);
            let json = json.map_err(|error| {
                CommandError::new(Exit::Failed, "cannot write the status as JSON").because(&error)
            })?;
            print::print(&format!("{}\n", execnet_proto::text::json(&json)))?;
        } else {
            print::print_styled(
                &(render::status(&status) + &render::troubles(&status.network, &status.hosts)),
            )?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
