//! Which cipher a link's ssh asks for first.
//!
//! ssh's own list begins with ChaCha20-Poly1305. Where the processor has instructions for AES, AES-GCM takes two thirds of the
//! processor time for the same bytes (docs/benchmarks.md), and on a link that is what bytes wait for. So AES-GCM is moved to the front
//! of the list, and nothing is added to it or taken from it. Who has chosen ciphers, in the spec or in ssh's configuration, keeps that choice.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::link;
use crate::daemon::Command;

/// ssh may take this long to say what it would do; its configuration can run programs (`Match exec`).
const PATIENCE: Duration = Duration::from_secs(2);

/// What ssh says of its configuration is a few KiB.
const SETTINGS: u64 = 262_144;

/// What ssh would offer if nobody had configured it; asked once in a daemon's life.
#[derive(Default)]
pub(super) struct Ciphers {
    usual: OnceCell<Option<String>>,
}

impl Ciphers {
    /// The option with which the command should be started, if any.
    pub(super) async fn option(&self, command: &Command) -> Option<[String; 2]> {
        if !command.is_ssh || !has_aes() {
            return None;
        }
        let (program, arguments) = command.argv.split_first()?;
        let (_script, arguments) = arguments.split_last()?;
        let usual = self
            .usual
            .get_or_init(|| ask(program, ["-F", "/dev/null", "localhost"].map(String::from), command));
        let usual = usual.await.as_deref()?;
        if !usual.contains("-gcm@") {
            return None;
        }
        let chosen = ask(program, arguments.to_vec(), command).await?;
        let list = (chosen == usual).then(|| aes_first(usual))??;
        Some(["-o".into(), format!("Ciphers={list}")])
    }
}

/// The ciphers that ssh would offer, in the words of `ssh -G`.
async fn ask(
    program: &str,
    arguments: impl IntoIterator<Item = String>,
    command: &Command,
) -> Option<String> {
    let mut ssh = link::process(program, &command.env);
    ssh.arg("-G")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let mut child = ssh.spawn().ok()?;
    let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    let answer = async {
        let mut said = String::new();
        child.stdout.take()?.take(SETTINGS).read_to_string(&mut said).await.ok()?;
        child.wait().await.ok()?.success().then_some(said)
    };
    let answer = timeout(PATIENCE, answer).await;
    if answer.is_err()
        && let Some(group) = group
    {
        let _ = kill_process_group(group, Signal::KILL);
    }
    answer.ok()??.lines().find_map(|line| line.strip_prefix("ciphers ")).map(|list| list.trim().to_owned())
}

/// The same ciphers with AES-GCM in front, if that changes anything.
fn aes_first(list: &str) -> Option<String> {
    let (mut ciphers, others): (Vec<_>, Vec<_>) =
        list.split(',').partition(|cipher| cipher.contains("-gcm@"));
    ciphers.extend(others);
    let new = ciphers.join(",");
    (new != list).then_some(new)
}

/// Whether this machine's processor encrypts AES-GCM by itself.
fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes")
        && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aes_comes_first_and_nothing_is_lost() {
        let list = "chacha20-poly1305@openssh.com,aes128-ctr,aes128-gcm@openssh.com,aes256-gcm@openssh.com";
        let new = "aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,aes128-ctr";
        assert_eq!(aes_first(list).as_deref(), Some(new));
        assert_eq!(aes_first(new), None);
        assert_eq!(aes_first("chacha20-poly1305@openssh.com,aes128-ctr"), None);
    }
}
