//! Whether a command takes a terminal: the options of all commands that may.

use std::io::{self, IsTerminal};

use clap::Args;

use super::escapes::EscapeKey;

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

    /// Whether a terminal is wanted where `stdin` and `stdout` decide: those of a person.
    pub(crate) fn is_wanted(&self) -> bool {
        self.terminal || !self.no_terminal && io::stdin().is_terminal() && io::stdout().is_terminal()
    }

    /// The key for escapes.
    pub(crate) fn escape(&self) -> EscapeKey {
        self.escape
    }
}
