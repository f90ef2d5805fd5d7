//! `execnet man`: the manual pages, shown or written for `man` to find.

mod exits;
mod install;
mod page;

use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{Args, CommandFactory};
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use execnet_proto::spec::nearest;

use crate::error::{CommandError, CommandResult, Exit};
use crate::{Cli, print};

/// Show the manual page of execnet or of a command
///
/// The page is shown by `man`, in the pager that `man` uses; without `man`, as plain text. If stdout is not a
/// terminal, the page is formatted text there, too; `--roff` prints its source.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  execnet man
  execnet man exec
  execnet man --install && man execnet-exec")]
pub(crate) struct ManArgs {
    /// The command; without it the page is that of execnet
    #[arg(value_name = "COMMAND", add = commands())]
    command: Option<String>,
    /// Print the source of the page
    #[arg(long)]
    roff: bool,
    /// Write all pages where `man` finds them: beside this program if it is in a folder `bin`, else for your
    /// account
    #[arg(long, conflicts_with_all = ["command", "roff"])]
    install: bool,
    /// Remove the pages that `--install` wrote
    #[arg(long, conflicts_with_all = ["command", "roff", "install"])]
    uninstall: bool,
    /// The folder of the pages, such as `/usr/local/share/man/man1`
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["command", "roff"])]
    to: Option<PathBuf>,
}

impl ManArgs {
    pub(crate) fn run(self) -> CommandResult {
        if self.install {
            return install::install(&all(), self.to);
        }
        if self.uninstall {
            return install::uninstall(self.to);
        }
        if self.to.is_some() {
            return Err(CommandError::new(Exit::Usage, "--to is the folder of --install and --uninstall"));
        }
        let mut cli = cli();
        let command = match &self.command {
            None => &mut cli,
            Some(name) => find(&mut cli, name)?,
        };
        let page = page::page(command);
        if self.roff {
            print::print(&page)?;
        } else if !is_shown(&page::file_name(command), &page)? {
            print::print(&page::text(command))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The command line, complete.
fn cli() -> clap::Command {
    let mut cli = Cli::command().disable_help_subcommand(true);
    cli.build();
    cli
}

/// The names and texts of all pages.
fn all() -> Vec<(String, String)> {
    let mut cli = cli();
    let mut pages = vec![(page::file_name(&cli), page::page(&mut cli))];
    for command in cli.get_subcommands_mut().filter(|command| !command.is_hide_set()) {
        pages.push((page::file_name(command), page::page(command)));
    }
    pages
}

fn find<'a>(cli: &'a mut clap::Command, name: &str) -> CommandResult<&'a mut clap::Command> {
    let known = |command: &clap::Command| !command.is_hide_set() && command.get_name() == name;
    if !cli.get_subcommands().any(known) {
        let failure = CommandError::new(Exit::Usage, format!("there is no command `{name}`"));
        let names = cli.get_subcommands().filter(|command| !command.is_hide_set());
        return Err(match nearest(name, names.map(clap::Command::get_name)) {
            Some(near) => failure.hint(format!("did you mean `{near}`?")),
            None => failure.hint("`execnet help` lists the commands"),
        });
    }
    cli.find_subcommand_mut(name).ok_or_else(|| CommandError::new(Exit::Usage, "no such command"))
}

fn commands() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let cli = Cli::command();
        let commands = cli.get_subcommands().filter(|command| !command.is_hide_set());
        commands.map(|command| CompletionCandidate::new(command.get_name())).collect()
    })
}

/// Has `man` show a page. False if there is no `man` that can.
fn is_shown(name: &str, page: &str) -> Result<bool, CommandError> {
    let fail = |error: io::Error| CommandError::new(Exit::Failed, "cannot show the page").because(&error);
    let folder = tempfile::Builder::new().prefix("execnet-man").tempdir().map_err(fail)?;
    let file = folder.path().join(name);
    std::fs::write(&file, page).map_err(fail)?;
    // Ctrl-C is for the pager
    signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::new(AtomicBool::new(false)))
        .map_err(fail)?;
    Ok(Command::new("man").arg(&file).status().is_ok_and(|status| status.success()))
}

#[cfg(test)]
mod tests;
