//! Which cipher a link's ssh asks for first.
//!
//! ssh's own list begins with ChaCha20-Poly1305. Where the processor has instructions for AES, AES-GCM takes two thirds of the
//! processor time for the same bytes (docs/benchmarks.md), and on a link that is what bytes wait for. So AES-GCM is moved to the front
//! of the list, and nothing is added to it or taken from it. Who names ciphers in the spec keeps them, and so does whose configuration
//! makes another list than ssh's usual one.

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
    /// Adds the option to a command, if there is to be one.
    pub(super) async fn prefer(&self, command: &mut Command) {
        if let Some(list) = self.list(command).await {
            // behind our other options; the last two are the host and what runs there
            let at = command.argv.len().saturating_sub(2);
            command.argv.splice(at..at, ["-o".into(), format!("Ciphers={list}")]);
        }
    }

    async fn list(&self, command: &Command) -> Option<String> {
        if !command.is_ssh || !has_aes() {
            return None;
        }
        let (_script, arguments) = command.argv[1..].split_last()?;
        if arguments.iter().any(|argument| names_ciphers(argument)) {
            return None;
        }
        // a program that does not know what it is asked must not connect to it
        let nowhere = ["-F", "/dev/null", "-o", "ProxyCommand=false", "nowhere.invalid"];
        let usual = self.usual.get_or_init(|| ask(command, nowhere)).await.as_deref()?;
        let new = aes_first(usual)?;
        let chosen = ask(command, arguments.iter().map(String::as_str)).await?;
        (chosen == usual).then_some(new)
    }
}

/// The ciphers that ssh would offer, in the words of `ssh -G`.
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
    let said = timeout(PATIENCE, answer).await.ok()??;
    said.lines().find_map(|line| line.strip_prefix("ciphers ")).map(|list| list.trim().to_owned())
}

/// A process group that ends with who asked: what ssh's configuration starts (`Match exec`) may outlive ssh.
struct Group(Pid);

impl Drop for Group {
    fn drop(&mut self) {
        let _ = kill_process_group(self.0, Signal::KILL);
    }
}

/// Whether this is one of ssh's options for ciphers, as `-cCIPHER` and `-oCiphers=LIST`, or the word behind `-o`.
fn names_ciphers(argument: &str) -> bool {
    let option = argument.strip_prefix("-o").unwrap_or(argument).trim_start();
    argument.starts_with("-c") || option.get(..7).is_some_and(|name| name.eq_ignore_ascii_case("ciphers"))
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
    fn who_names_ciphers_in_a_spec_has_chosen() {
        for option in [
            "-c",
            "-caes128-ctr",
            "-oCiphers=^aes256-ctr",
            "-o ciphers x",
            "Ciphers=^chacha20-poly1305@openssh.com",
        ] {
            assert!(names_ciphers(option), "{option}");
        }
        for option in ["-C", "-o", "Compression=no", "-p", "-oCanonicalizeHostname=yes", "cipher", "build1"] {
            assert!(!names_ciphers(option), "{option}");
        }
    }

    #[test]
    fn aes_comes_first_and_nothing_is_lost() {
        let list = "chacha20-poly1305@openssh.com,aes128-ctr,aes128-gcm@openssh.com,aes256-gcm@openssh.com";
        let new = "aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,aes128-ctr";
        assert_eq!(aes_first(list).as_deref(), Some(new));
        assert_eq!(aes_first(new), None);
        assert_eq!(aes_first("chacha20-poly1305@openssh.com,aes128-ctr"), None);
    }
}
