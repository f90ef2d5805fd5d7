//! `execnet completions`: what a shell needs to complete the command line.

use std::process::ExitCode;

use clap::Args;
use clap_complete::env::Shells;

use crate::failure::{Exit, Failure, Outcome};
use crate::text;

/// Print the code that makes a shell complete verbs, options, network names and hosts
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  source <(execnet completions bash)                # in ~/.bashrc
  source <(execnet completions zsh)                 # in ~/.zshrc, below compinit
  execnet completions fish | source                 # in config.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_parser = ["bash", "zsh", "fish", "elvish", "powershell"])]
    shell: String,
}

impl CompletionsArgs {
    pub(crate) fn run(self) -> Outcome {
        let fail =
            |why: &str| Failure::new(Exit::Failed, format!("no completions for {}: {why}", self.shell));
        let shells = Shells::builtins();
        let shell = shells.completer(&self.shell).ok_or_else(|| fail("the shell is not known"))?;
        let mut script = Vec::new();
        // The shell asks this very command for candidates, through the variable COMPLETE.
        shell
            .write_registration("COMPLETE", "execnet", "execnet", "execnet", &mut script)
            .map_err(|error| fail(&error.to_string()))?;
        text::print(&String::from_utf8_lossy(&script))?;
        Ok(ExitCode::SUCCESS)
    }
}
