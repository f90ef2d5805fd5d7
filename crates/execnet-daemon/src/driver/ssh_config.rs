//! What ssh's configuration would make of a link, and what to do about it.
//!
//! `ssh -G` is asked before a link is started. Some settings turn a link into something else. Those are set
//! back, with options that this ssh certainly knows, as it has just named them. It also tells whether ciphers
//! were chosen ([`cipher`]).

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::{cipher, link};
use crate::event::Command;

/// How long ssh may take to print its settings; its configuration can run programs (`Match exec`).
const PATIENCE: Duration = Duration::from_secs(2);

/// The most bytes to read; ssh prints a few KiB.
const SETTINGS: u64 = 262_144;

/// Settings that keep our command from running or from being reached. Releases before 8.7 have none of them.
const AGAINST_US: [(&str, &str, &str); 4] = [
    ("stdinnull", "yes", "StdinNull=no"),
    ("forkafterauthentication", "yes", "ForkAfterAuthentication=no"),
    ("sessiontype", "none", "SessionType=default"),
    ("sessiontype", "subsystem", "SessionType=default"),
];

/// What this machine's ssh does without any configuration; asked for once in a daemon's life.
#[derive(Default)]
pub(super) struct SshConfig {
    usual: OnceCell<Option<String>>,
}

impl SshConfig {
    /// Adds the options that a command of ssh needs. Gives what `ssh -G` printed before.
    pub(super) async fn apply(&self, command: &mut Command) -> Option<String> {
        if !command.is_ssh {
            return None;
        }
        let (_script, arguments) = command.argv[1..].split_last()?;
        let chosen = ask(command, arguments.iter().map(String::as_str)).await?;
        let cipher = match cipher::is_chosen(arguments) {
            false => self.cipher(command, &chosen).await,
            true => None,
        };
        if let Some(list) = cipher {
            // behind our other options; the last two words are the host and its command
            let at = command.argv.len().saturating_sub(2);
            command.argv.splice(at..at, ["-o".into(), format!("Ciphers={list}")]);
        }
        // before all other options: the first one counts
        for option in against_us(&chosen) {
            command.argv.splice(1..1, ["-o".into(), option.to_owned()]);
        }
        Some(chosen)
    }

    async fn cipher(&self, command: &Command, chosen: &str) -> Option<String> {
        if !cipher::has_aes() {
            return None;
        }
        // a program that does not know this question must not connect anywhere
        let nowhere = ["-F", "/dev/null", "-o", "ProxyCommand=false", "nowhere.invalid"];
        let usual = self.usual.get_or_init(|| ask(command, nowhere)).await.as_deref()?;
        let usual = setting(usual, "ciphers")?;
        cipher::aes_first(usual).filter(|_| setting(chosen, "ciphers") == Some(usual))
    }
}

/// The settings of a link as `ssh -G` prints them, one per line.
async fn ask(command: &Command, arguments: impl IntoIterator<Item = &str>) -> Option<String> {
    let mut ssh = link::process(&command.argv[0], &command.env);
    ssh.arg("-G")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let mut child = ssh.spawn().ok()?;
    let _group = child.id().and_then(|id| Pid::from_raw(id.cast_signed())).map(Group);
    let answer = async {
        let mut said = String::new();
        child.stdout.take()?.take(SETTINGS).read_to_string(&mut said).await.ok()?;
        child.wait().await.ok()?.success().then_some(said)
    };
    timeout(PATIENCE, answer).await.ok()?
}

fn setting<'a>(said: &'a str, name: &str) -> Option<&'a str> {
    said.lines()
        .find_map(|line| line.split_once(' ').filter(|(key, _)| *key == name))
        .map(|(_, value)| value.trim())
}

/// The options that set back what would make a link something else.
fn against_us(said: &str) -> Vec<&'static str> {
    let found = AGAINST_US.iter().filter(|(name, value, _)| setting(said, name) == Some(value));
    found.map(|(.., option)| *option).collect()
}

/// A process group that ends together with this value: programs of ssh's configuration (`Match exec`) may
/// outlive ssh.
struct Group(Pid);

impl Drop for Group {
    fn drop(&mut self) {
        let _ = kill_process_group(self.0, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_make_a_link_something_else_is_set_back() {
        let usual = "user ann\nsessiontype default\nstdinnull no\nforkafterauthentication no\nciphers a,b\n";
        assert!(against_us(usual).is_empty());
        assert_eq!(setting(usual, "ciphers"), Some("a,b"));
        let odd = "sessiontype none\nstdinnull yes\nforkafterauthentication yes\n";
        assert_eq!(against_us(odd), ["StdinNull=no", "ForkAfterAuthentication=no", "SessionType=default"]);
        assert!(against_us("an ssh that does not know -G\n").is_empty());
    }
}
