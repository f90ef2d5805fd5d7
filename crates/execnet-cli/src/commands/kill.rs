//! `execnet kill`: sends a signal to processes, whoever started them.

use std::process::ExitCode;

use clap::Args;
use execnet_proto::control::{KillReply, KillState, Killed, Verb};
use execnet_proto::signal::Signal;

use crate::error::{CommandError, CommandResult, Exit};
use crate::{connection, print, text, usage};

/// Send a signal to processes of a network, whoever started them
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  execnet kill mynet 3fa2b1c8
  execnet kill mynet 3fa2b1c8 77ae01d2 -s KILL")]
pub(crate) struct KillArgs {
    #[command(flatten)]
    network: super::NetworkArg,
    /// Ids of processes, as `execnet ps` shows them
    #[arg(value_name = "ID", required = true, add = super::complete::processes())]
    ids: Vec<String>,
    /// The signal, by name or Linux number
    #[arg(short, long, value_name = "SIGNAL", default_value = "TERM", value_parser = signal)]
    signal: Signal,
}

impl KillArgs {
    pub(crate) fn run(self) -> CommandResult {
        let network = connection::connect(&self.network.network)?;
        let verb = Verb::Kill { ids: self.ids, signal: self.signal.number() };
        let reply: KillReply = connection::ask_once(&network, verb)?;
        for process in &reply.processes {
            print::print(&format!("{}\n", told(process, self.signal)))?;
        }
        if !reply.unknown.is_empty() {
            let ids: Vec<String> = reply.unknown.iter().map(|id| format!("`{id}`")).collect();
            let message = format!("no process of {} has the id {}", self.network.network, ids.join(", "));
            let hint = format!(
                "`execnet ps {}` shows the ids; 4 digits or more name a process",
                self.network.network
            );
            return Err(CommandError::new(Exit::NoHost, message).hint(hint));
        }
        let missed = |process: &Killed| matches!(process.state, KillState::Waiting | KillState::Unable);
        Ok(if reply.processes.iter().any(missed) { Exit::HostsFailed.into() } else { ExitCode::SUCCESS })
    }
}

/// `3fa2b1c8 on build1 of pytest (17): SIGTERM sent: sleep 1000`.
pub(super) fn told(process: &Killed, signal: Signal) -> String {
    let client = usage::client(&process.program, process.client_pid);
    let of = if client.is_empty() { String::new() } else { format!(" of {client}") };
    let what = match process.state {
        KillState::Sent => format!("{signal} sent"),
        KillState::Gone => "had ended".to_owned(),
        KillState::Waiting => format!("{signal} is sent when its host is back"),
        KillState::Unable => "not sent: the agent there is of an older release".to_owned(),
    };
    let command = text::fit(&text::one_line(&process.command), 60);
    let command = if command.is_empty() { command } else { format!(": {command}") };
    format!("{} on {}{of}: {what}{command}", usage::short(&process.id), text::one_line(&process.host))
}

/// Reads `TERM`, `SIGTERM`, `term` or `15`.
fn signal(text: &str) -> Result<Signal, String> {
    let upper = text.to_ascii_uppercase();
    let name = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    let number = text.parse().ok().and_then(Signal::from_number);
    number
        .or_else(|| Signal::from_name(&name))
        .ok_or_else(|| "expected a signal, such as TERM or 15".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_read_by_name_and_number() {
        for typed in ["TERM", "term", "SIGTERM", "sigterm", "15"] {
            assert_eq!(signal(typed), Ok(Signal::Term), "{typed}");
        }
        for typed in ["", "SIG", "0", "64", "TERMINATE", "-9"] {
            assert!(signal(typed).is_err(), "{typed}");
        }
    }

    #[test]
    fn what_became_of_a_signal_is_said() {
        let killed = |state| Killed {
            id: "3fa2b1c8".repeat(4),
            host: "build1".into(),
            client_pid: Some(17),
            program: "pytest".into(),
            command: "x\x1b[2J".into(),
            state,
        };
        let said: Vec<String> =
            KillState::ALL.iter().map(|state| told(&killed(*state), Signal::Term)).collect();
        insta::assert_snapshot!(said.join("\n"), @r"
        3fa2b1c8 on build1 of pytest (17): SIGTERM sent: x\x1b[2J
        3fa2b1c8 on build1 of pytest (17): had ended: x\x1b[2J
        3fa2b1c8 on build1 of pytest (17): SIGTERM is sent when its host is back: x\x1b[2J
        3fa2b1c8 on build1 of pytest (17): not sent: the agent there is of an older release: x\x1b[2J
        ");
    }
}
