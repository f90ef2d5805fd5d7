//! `execnet attach`: comes back to kept work.

use std::io::{self, IsTerminal};
use std::sync::Arc;

use clap::Args;
use execnet::{Network, Replay};
use execnet_proto::control::{KeptState, KeptStatus};

use super::kept::{Feed, Tail, Work, await_host, not_attached, read_beside, stand_beside};
use crate::error::{CommandError, CommandResult, Exit};
use crate::print::say;
use crate::terminal::{TerminalOptions, come_forward, show_kept, stand_for_kept};
use crate::{connection, text, usage};

/// How much old output a terminal is looked for modes in, in bytes; less is shown.
const ON_TERMINAL: u64 = 1 << 20;

/// Come back to kept work: its last output, then live
///
/// Whoever is attached to it loses it. Leaving it (`~d` behind Enter, or closing the window) ends nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  execnet attach mynet train
  execnet attach mynet train@gpu2 --read-only --tail 0")]
pub(crate) struct AttachArgs {
    #[command(flatten)]
    network: super::NetworkArg,
    /// Its name, or `NAME@HOST`
    #[arg(value_name = "NAME", add = super::complete::kept())]
    name: String,
    /// Read along: send no keys and signals, and let whoever is attached stay
    #[arg(long)]
    read_only: bool,
    /// How much of its earlier output to show: `all`, `0`, or a size such as `100K` [default: all; on a
    /// terminal the last lines]
    #[arg(long, value_name = "SIZE")]
    tail: Option<Tail>,
    #[command(flatten)]
    terminal: TerminalOptions,
    /// Do not read stdin
    #[arg(short = 'n', long)]
    no_stdin: bool,
}

impl AttachArgs {
    pub(crate) fn run(self) -> CommandResult {
        let name = &self.network.network;
        let network = connection::open_patiently(name)?;
        let status = network.find_kept(&self.name).map_err(|error| not_attached(name, error))?;
        if status.enter && !self.read_only && status.state != KeptState::Ended {
            let message = format!("{} is a gateway's interpreter", usage::name_of(&status));
            let hint = format!(
                "a program comes back to it by `connect(\"{name}\").attach(\"{}\")`; `--read-only` shows \
                 what it prints",
                status.name
            );
            return Err(CommandError::new(Exit::Usage, message).hint(hint));
        }
        let work = Arc::new(Work::of(name, &status));
        let on_terminal =
            status.terminal && status.state != KeptState::Ended && self.terminal.is_wanted(true);
        let replay = match self.tail {
            Some(tail) => tail.into(),
            None if on_terminal => Replay::Last(ON_TERMINAL),
            None => Replay::All,
        };
        if self.read_only || status.state == KeptState::Ended {
            let status = await_host(&network, &status)?;
            return read_along(&network, &status, &work, replay, on_terminal);
        }
        if let Some(why) = &status.unreachable {
            let (host, why) = (text::one_line(&status.host), text::one_line(why));
            say(&format!("execnet: waiting until {host} can be reached: {why}"));
        }
        if on_terminal {
            come_forward();
        }
        if status.state == KeptState::Held {
            let whose = usage::client(&status.program, status.client_pid);
            say(&format!("execnet: {work} is taken over from {whose}"));
        }
        let attach = network.attach(&self.name).replay(replay);
        let process = attach.take(&status).map_err(|error| not_attached(name, error))?;
        if on_terminal {
            return stand_for_kept(&process, self.terminal.escape(), &work);
        }
        let feed = match self.no_stdin {
            true => Feed::Nothing,
            false if io::stdin().is_terminal() && !status.terminal => Feed::Keys,
            false => Feed::Some,
        };
        stand_beside(process, &work, feed)
    }
}

/// Shows what it prints, and has its status.
fn read_along(
    network: &Network,
    status: &KeptStatus,
    work: &Arc<Work>,
    replay: Replay,
    on_terminal: bool,
) -> CommandResult {
    if on_terminal {
        let new = super::kept::end_of_output(network, status)?;
        let reader = super::kept::reader(network, status, replay, false)?;
        return show_kept(&reader, work, new);
    }
    let reader = super::kept::reader(network, status, replay, false)?;
    read_beside(&reader, work, replay)
}
