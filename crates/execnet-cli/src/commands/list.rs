//! `execnet list`: lists the networks of this user.

use std::process::ExitCode;

use clap::Args;
use execnet_proto::spec::NetworkName;

use crate::config::NetworkFile;
use crate::error::CommandResult;
use crate::{connection, paths, print, text};

/// List running networks and those that have a file
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  execnet list")]
pub(crate) struct ListArgs {}

impl ListArgs {
    pub(crate) fn run(self) -> CommandResult {
        let ListArgs {} = self;
        let configured = paths::configured();
        let shown = |name: &NetworkName| connection::is_running(name) || configured.contains(name);
        let rows: Vec<Vec<String>> = paths::known().iter().filter(|name| shown(name)).map(row).collect();
        if rows.is_empty() {
            print::say("no networks; `execnet start NAME` starts one with this machine's Pythons");
        } else {
            print::print_styled(&text::table(&["NETWORK", "STATE", "HOSTS", "FILE"], &rows))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn row(name: &NetworkName) -> Vec<String> {
    let state = if connection::is_running(name) { "running" } else { "stopped" };
    let path = paths::network_file(name).ok().filter(|path| path.exists());
    let hosts = match &path {
        None => String::new(),
        Some(path) => {
            NetworkFile::load(path).map_or("error".to_owned(), |file| file.hosts().len().to_string())
        }
    };
    let path = path.map(|path| path.display().to_string()).unwrap_or_default();
    vec![name.to_string(), state.to_owned(), hosts, path]
}
