//! The command as ssh's askpass program: passes ssh's question to the daemon and the answer back.
//!
//! The daemon starts ssh with `SSH_ASKPASS` naming this program and `EXECNET_ASKPASS=NETWORK/TOKEN`. In
//! `SSH_ASKPASS_PROMPT` ssh says whether it wants a yes or no (`confirm`) or only to show something (`none`).
//! It does not mark its question about a host key.

use std::ffi::OsString;
use std::process::{Command, ExitCode, Stdio};

use execnet::RequestError;
use execnet_proto::control::{AskpassReply, ErrorKind, PromptKind, Verb};
use execnet_proto::spec::NetworkName;

use crate::error::{CommandError, Exit};
use crate::{connection, print};

/// Acts as askpass program if environment and arguments are those of one: the program's name and ssh's
/// question.
pub(crate) fn run(args: &[OsString]) -> Option<ExitCode> {
    let key = std::env::var("EXECNET_ASKPASS").ok()?;
    let [_, prompt] = args else { return None };
    execnet_daemon::close_memory();
    let prompt = prompt.to_string_lossy();
    let kind = kind_of(&prompt, std::env::var("SSH_ASKPASS_PROMPT").ok().as_deref(), ssh_version);
    let said = match answer(&key, &prompt, kind) {
        // ssh would take an empty answer for a yes
        Ok(Some(answer)) if kind == PromptKind::Confirm && !is_yes(&answer) => {
            return Some(ExitCode::FAILURE);
        }
        Ok(Some(answer)) => print::print(&format!("{answer}\n")),
        // the daemon knows why; ssh would take words of ours for its own
        Ok(None) => return Some(ExitCode::FAILURE),
        Err(failure) => Err(failure),
    };
    Some(match said {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            print::error(&failure);
            failure.exit.into()
        }
    })
}

/// The answer, or `None` if nobody gave one.
fn answer(key: &str, prompt: &str, kind: PromptKind) -> Result<Option<String>, CommandError> {
    let split =
        key.split_once('/').and_then(|(name, token)| Some((name.parse::<NetworkName>().ok()?, token)));
    let (name, token) =
        split.ok_or_else(|| CommandError::new(Exit::Usage, "EXECNET_ASKPASS is not NETWORK/TOKEN"))?;
    let verb = Verb::AskPass { token: token.to_owned(), prompt: prompt.to_owned(), kind };
    let daemon = connection::connect(&name)?;
    match daemon.ask::<AskpassReply>(&connection::request(verb)) {
        Ok(reply) => Ok(Some(reply.answer)),
        Err(RequestError::Refused(error)) if error.kind == ErrorKind::Cancelled => Ok(None),
        Err(error) => Err(connection::failed(&error)),
    }
}

/// From this release on, ssh puts `(user@host) ` before every question of a server, so none can look like
/// ssh's own.
const MARKS_QUESTIONS_OF_SERVERS: (u32, u32) = (8, 6);

/// The kind of question, as far as it is certain. `said` is ssh's own mark, `version` that of ssh.
fn kind_of(prompt: &str, said: Option<&str>, version: impl FnOnce() -> Option<(u32, u32)>) -> PromptKind {
    match said {
        Some("confirm") => return PromptKind::Confirm,
        Some("none") => return PromptKind::Notice,
        _ => {}
    }
    let asks = prompt.starts_with("The authenticity of host '") && prompt.contains("(yes/no");
    let repeats = prompt.starts_with("Please type 'yes'");
    let is_certain = |version| version >= MARKS_QUESTIONS_OF_SERVERS;
    if (asks || repeats) && version().is_some_and(is_certain) {
        PromptKind::HostKey
    } else {
        PromptKind::Text
    }
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "yes" | "y")
}

/// The version of the ssh that asks: the one in `PATH`, which the daemon started too.
fn ssh_version() -> Option<(u32, u32)> {
    let output = Command::new("ssh").arg("-V").stdin(Stdio::null()).output().ok()?;
    version_in(&String::from_utf8_lossy(&output.stderr))
}

/// From `OpenSSH_9.2p1 Debian-2, OpenSSL 3.0.11`.
fn version_in(said: &str) -> Option<(u32, u32)> {
    let (major, rest) = said.strip_prefix("OpenSSH_")?.split_once('.')?;
    let minor = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_certainly_sshs_own_is_taken_for_it() {
        let own = "The authenticity of host 'h (::1)' can't be established.\n\
                   ED25519 key fingerprint is SHA256:x.\n\
                   Are you sure you want to continue connecting (yes/no/[fingerprint])? ";
        let again = "Please type 'yes', 'no' or the fingerprint: ";
        let kind = |prompt: &str, said, version| kind_of(prompt, said, || version);
        assert_eq!(kind(own, None, Some((9, 2))), PromptKind::HostKey);
        assert_eq!(kind(again, None, Some((8, 6))), PromptKind::HostKey);
        // a server's question starts like this; an older or unknown ssh may pass it on unchanged
        assert_eq!(kind(&format!("(ann@h) {own}"), None, Some((9, 2))), PromptKind::Text);
        for version in [Some((8, 5)), Some((7, 9)), None] {
            assert_eq!(kind(own, None, version), PromptKind::Text, "{version:?}");
        }
        assert_eq!(kind("password (yes/no): ", None, Some((9, 2))), PromptKind::Text);
        assert_eq!(kind(own, Some("confirm"), Some((9, 2))), PromptKind::Confirm);
        assert_eq!(kind("Confirm user presence", Some("none"), None), PromptKind::Notice);
    }

    #[test]
    fn only_a_yes_confirms() {
        assert!(is_yes("yes") && is_yes("Y ") && !is_yes("") && !is_yes("no") && !is_yes("yess"));
    }

    #[test]
    fn a_release_of_ssh_is_told_by_its_words() {
        assert_eq!(version_in("OpenSSH_9.2p1 Debian-2+deb12u3, OpenSSL 3.0.11\n"), Some((9, 2)));
        assert_eq!(version_in("OpenSSH_10.0, LibreSSL 4.1\n"), Some((10, 0)));
        for other in ["", "dropbear 2022.83", "OpenSSH_for_Windows_8.6p1, LibreSSL", "OpenSSH_x.1"] {
            assert_eq!(version_in(other), None, "{other}");
        }
    }
}
