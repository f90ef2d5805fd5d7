//! Cleans up a lab: a shell that waits for the end of its stdin.
//!
//! Its stdin closes when the lab is dropped, and also when the program that made the lab is killed, so there
//! is one way to clean up and every test uses it. The lab's folder tells it what exists: `sshd/PID` for every
//! running sshd (with the process's start time, in case the number is reused) and `netns/NAME` for every
//! namespace (with the name of its interface). Processes on the hosts have the lab in their environment.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

/// The variable that every process on a lab's host has in its environment: the lab's folder.
pub(crate) const MARK: &str = "EXECNET_TESTKIT_LAB";

/// The variable with the host's name.
pub(crate) const HOST_MARK: &str = "EXECNET_TESTKIT_HOST";

const SCRIPT: &str = r#"
lab=$1
read -r _
tree() { for child in $(cat /proc/"$1"/task/*/children); do tree "$child"; done; echo "$1"; }
for file in "$lab"/sshd/*; do
    pid=${file##*/}
    set -- $(sed 's/.*) //' /proc/"$pid"/stat)
    [ "$(cat "$file")" = "${20}" ] && kill -9 $(tree "$pid")
done
for round in 1 2 3 4 5 6 7 8 9 10; do
    found=$(grep -lasF "EXECNET_TESTKIT_LAB=$lab" /proc/[0-9]*/environ)
    [ -n "$found" ] || break
    for file in $found; do
        pid=${file%/environ}
        kill -9 "${pid#/proc/}"
    done
    sleep 0.01
done
for file in "$lab"/netns/*; do
    [ -e "$file" ] || continue
    ip link del "$(cat "$file")"
    ip netns del "${file##*/}"
done
rm -rf -- "$lab"
"#;

/// The shell that waits.
#[derive(Debug)]
pub(crate) struct Guardian(Child);

impl Guardian {
    pub(crate) fn start(folder: &Path) -> Result<Guardian> {
        // its own process group: Ctrl-C in a terminal must not end it
        let child = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "execnet-lab-guardian"])
            .arg(folder)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("cannot start /bin/sh")?;
        Ok(Guardian(child))
    }

    /// Cleans up and waits until that is done.
    pub(crate) fn finish(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
