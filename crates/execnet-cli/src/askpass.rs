//! The command as ssh's askpass program: passes ssh's question to the daemon, and the answer back.
//!
//! The daemon starts ssh with `SSH_ASKPASS` naming this program and `EXECNET_ASKPASS=NETWORK/TOKEN`.

use std::ffi::OsString;
use std::process::ExitCode;

use execnet::RequestError;
use execnet_proto::control::{AskpassReply, ErrorKind, Verb};
use execnet_proto::spec::NetworkName;

use crate::failure::{Exit, Failure};
use crate::{session, text};

/// Does it if the environment and the arguments are those of an askpass program: the name and ssh's question.
pub(crate) fn run(args: &[OsString]) -> Option<ExitCode> {
    let key = std::env::var("EXECNET_ASKPASS").ok()?;
    let [_, prompt] = args else { return None };
    let said = match answer(&key, &prompt.to_string_lossy()) {
        Ok(Some(answer)) => text::print(&format!("{answer}\n")),
        // the daemon knows why; what is written here would pass for ssh's words
        Ok(None) => return Some(ExitCode::FAILURE),
        Err(failure) => Err(failure),
    };
    Some(match said {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            text::say(failure.to_string().trim_end());
            failure.exit.into()
        }
    })
}

/// The answer, or `None` when nobody gave one.
fn answer(key: &str, prompt: &str) -> Result<Option<String>, Failure> {
    let split =
        key.split_once('/').and_then(|(name, token)| Some((name.parse::<NetworkName>().ok()?, token)));
    let (name, token) =
        split.ok_or_else(|| Failure::new(Exit::Usage, "EXECNET_ASKPASS is not NETWORK/TOKEN"))?;
    let verb = Verb::AskPass { token: token.to_owned(), prompt: prompt.to_owned() };
    let daemon = session::connect(&name)?;
    match daemon.ask::<AskpassReply>(&session::request(verb)) {
        Ok(reply) => Ok(Some(reply.answer)),
        Err(RequestError::Refused(error)) if error.kind == ErrorKind::Cancelled => Ok(None),
        Err(error) => Err(session::failed(&error)),
    }
}
