//! Whether a command takes a terminal: the options of all commands that may.

use std::io::{self, IsTerminal};

use clap::Args;

use super::escapes::EscapeKey;
use super::screen::is_in_background;

/// The options for a terminal.
#[derive(Clone, Debug, Args)]
pub(crate) struct TerminalOptions {
    /// Give it a terminal, even if ours is not one
    #[arg(short = 't', overrides_with = "no_terminal")]
    terminal: bool,
    /// Give it no terminal
    #[arg(short = 'T', overrides_with = "terminal")]
    no_terminal: bool,
    /// Key for escapes behind Enter: a character, `^` and a letter, or `none`; `~?` shows them
    #[arg(long, value_name = "KEY", default_value = "~", hide_default_value = true)]
    escape: EscapeKey,
}

impl TerminalOptions {
    /// Whether a terminal was asked for with `-t`.
    pub(crate) fn is_forced(&self) -> bool {
        self.terminal
    }

    /// Whether a terminal is wanted, if nothing was asked for: where stdin and stdout are one. What has work
    /// to do without keys (`interactive` is false) does without it in the background, and runs on.
    pub(crate) fn is_wanted(&self, interactive: bool) -> bool {
        let is_there = || io::stdin().is_terminal() && io::stdout().is_terminal();
        self.terminal || !self.no_terminal && is_there() && (interactive || !is_in_background())
    }

    /// The key for escapes.
    pub(crate) fn escape(&self) -> EscapeKey {
        self.escape
    }
}
