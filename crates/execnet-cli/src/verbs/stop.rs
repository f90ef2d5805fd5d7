//! `execnet stop`: ends a network with everything that runs in it.

use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Args;
use execnet_proto::control::{StopReply, Verb};

use crate::failure::{Exit, Failure, Outcome};
use crate::{session, text};

/// How long the daemon has to go away after it said that it would.
const GOODBYE: Duration = Duration::from_secs(10);

/// Stop a network: everything that runs in it is ended, on every host
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  execnet stop mynet")]
pub(crate) struct StopArgs {
    #[command(flatten)]
    network: super::Network,
}

impl StopArgs {
    pub(crate) fn run(self) -> Outcome {
        let name = self.network.network;
        let network = session::connect_any_release(&name)?;
        let reply: StopReply = session::ask_once(&network, Verb::Stop)?;
        drop(network);
        for host in &reply.left {
            text::say(&format!(
                "{}: not reached; what runs there ends by itself when its time to linger is over",
                text::one_line(host)
            ));
        }
        let deadline = Instant::now() + GOODBYE;
        while session::is_running(&name) {
            if Instant::now() > deadline {
                return Err(Failure::new(
                    Exit::Failed,
                    format!("the daemon of `{name}` said that it was stopping, but it still listens"),
                ));
            }
            sleep(Duration::from_millis(10));
        }
        text::say(&format!("{name}: stopped"));
        Ok(ExitCode::SUCCESS)
    }
}
