//! `execnet wait`: waits for the end of kept work.

use std::process::ExitCode;

use clap::Args;
use execnet::{ExitStatus, Network, ProcessError, Replay};
use execnet_proto::control::{KeptReply, KeptState, KeptStatus, Verb};

use super::kept::{await_host, ending, no_such_work, reader};
use crate::error::{CommandError, CommandResult, Exit};
use crate::print;
use crate::{connection, text, usage};

/// Wait until kept work has ended, and return its exit status
///
/// It may have ended before, also days ago. Of several, the highest status counts.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  execnet wait mynet train; echo $?
  execnet wait mynet 'train@gpu[1-4]'")]
pub(crate) struct WaitArgs {
    #[command(flatten)]
    network: super::NetworkArg,
    /// Its name, `NAME@HOST`, or sets of both
    #[arg(value_name = "NAME", required = true, add = super::complete::kept())]
    names: Vec<String>,
}

impl WaitArgs {
    pub(crate) fn run(self) -> CommandResult {
        let network = connection::open_patiently(&self.network.network)?;
        if self.names.iter().any(|name| name.contains("@@")) {
            connection::read_groups(&network)?;
        }
        let reply: KeptReply = connection::ask_once(&network, Verb::Kept { names: self.names })?;
        if let Some(name) = reply.unknown.first() {
            return Err(no_such_work(&network, name, &reply));
        }
        let mut worst = 0;
        let mut readers = Vec::new();
        for work in &reply.kept {
            readers.push(match work.unreachable {
                None => Some(begin(&network, work)?),
                Some(_) => None,
            });
        }
        let several = reply.kept.len() > 1;
        for (work, reader) in reply.kept.iter().zip(readers) {
            let reader = match reader {
                Some(reader) => reader,
                None => begin(&network, &await_host(&network, work)?)?,
            };
            let status = match reader {
                Ok(process) => match process.wait() {
                    // its host refused this reader
                    Ok(ExitStatus::NotStarted { message, .. }) if work.state != KeptState::Ended => {
                        Err(format!("cannot be waited for: {}", text::one_line(&message)))
                    }
                    Err(ProcessError::Lost(lost)) => {
                        Err(format!("cannot be waited for any more: {}", text::one_line(&lost.message)))
                    }
                    ended => ended.map_err(|error| format!("cannot be waited for any more: {error}")),
                },
                Err(why) => Err(format!("is lost: {why}")),
            };
            let name = usage::name_of(work);
            let code = match status {
                Ok(status) => {
                    if several {
                        print::print(&format!("{name}: {}\n", ending(&status)))?;
                    }
                    status.code()
                }
                Err(why) => {
                    print::error(&CommandError::new(Exit::HostsFailed, format!("{name} {why}")));
                    Exit::HostsFailed as u8
                }
            };
            worst = worst.max(code);
        }
        Ok(ExitCode::from(worst))
    }
}

/// Begins to wait. The inner error says why it is lost.
fn begin(network: &Network, work: &KeptStatus) -> CommandResult<Result<execnet::Process, String>> {
    if work.state == KeptState::Gone {
        return Ok(Err(work.error.clone().unwrap_or_default()));
    }
    let process = reader(network, work, Replay::NONE, false)?;
    // nobody wants its output here
    let _ = (process.stdout().close(), process.stderr().close());
    Ok(Ok(process))
}
