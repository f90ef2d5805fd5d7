//! `execnet stop`: ends a network and what runs in it.

use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Args;
use execnet_proto::control::{HostStatus, Status, StopReply, Verb};
use execnet_proto::spec::NetworkName;

use super::packages::visit;
use crate::error::{CommandError, CommandResult, Exit};
use crate::{connection, paths, print, text};

/// How long the daemon may take to exit: the commands of its hosts get 10 s.
const GOODBYE: Duration = Duration::from_secs(30);

/// How long to wait without saying why.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Stop a network and end what runs on its hosts
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  execnet stop mynet")]
pub(crate) struct StopArgs {
    #[command(flatten)]
    network: super::NetworkArg,
    /// Before that, remove the packages on its hosts that nobody uses
    #[arg(long)]
    clean: bool,
    #[command(flatten)]
    kept: super::kept::KeptOptions,
}

impl StopArgs {
    pub(crate) fn run(self) -> CommandResult {
        let name = self.network.network;
        let network = connection::connect(&name).map_err(|failure| stopped(failure, &name))?;
        let mut cleaned = true;
        if self.clean {
            let status: Status = connection::ask_once(&network, Verb::Status)?;
            cleaned = visit::clean(&network, &status.hosts.iter().collect::<Vec<&HostStatus>>());
        }
        let reply: StopReply = connection::ask_once(&network, Verb::Stop { kept: self.kept.choice() })?;
        drop(network);
        for host in &reply.left {
            print::say(&format!(
                "{}: unreachable; what runs there ends by itself when its linger time is over",
                text::one_line(host)
            ));
        }
        super::kept::say_still_kept(&reply.kept);
        let (began, mut told) = (Instant::now(), false);
        while connection::is_running(&name) {
            if began.elapsed() > AT_ONCE && !std::mem::replace(&mut told, true) {
                print::say("waiting for the commands of `cmd=` hosts, which get 10 s to end their jobs");
            }
            if began.elapsed() > GOODBYE {
                return Err(CommandError::new(
                    Exit::Failed,
                    format!("the daemon of `{name}` is stopping, but still listens after 30 s"),
                ));
            }
            sleep(Duration::from_millis(10));
        }
        print::say(&format!("{name}: stopped"));
        Ok(if cleaned { ExitCode::SUCCESS } else { Exit::HostsFailed.into() })
    }
}

/// Drops the hint how to start it, unless a killed daemon left something on hosts.
fn stopped(failure: CommandError, name: &NetworkName) -> CommandError {
    let stopped =
        failure.exit == Exit::NoNetwork && paths::known().contains(name) && !paths::was_killed(name);
    if stopped { failure.without_hint() } else { failure }
}
