//! What the lab uses of this machine: programs, ports.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::missing::Missing;

/// OpenSSH's programs and the user they run as.
#[derive(Debug)]
pub(crate) struct Tools {
    pub(crate) sshd: PathBuf,
    pub(crate) ssh: PathBuf,
    pub(crate) keygen: PathBuf,
    pub(crate) user: String,
    /// Whether the user's login shell reads POSIX shell scripts (csh and fish do not).
    pub(crate) posix_login_shell: bool,
    /// OpenSSH's version, as (major, minor).
    pub(crate) version: (u32, u32),
}

impl Tools {
    pub(crate) fn find() -> Result<Tools> {
        let sshd = program("sshd", "openssh-server")?;
        let ssh = program("ssh", "openssh-client")?;
        let version = Command::new(&ssh).arg("-V").output().context("ssh -V")?;
        let user = run(Command::new("id").arg("-un"))?.trim().to_owned();
        let shell = login_shell(&user);
        Ok(Tools {
            sshd,
            keygen: program("ssh-keygen", "openssh-client")?,
            ssh,
            posix_login_shell: ["sh", "dash", "bash", "ash", "ksh", "mksh", "zsh"].contains(&shell.as_str()),
            user,
            version: parse_version(&String::from_utf8_lossy(&version.stderr)).unwrap_or((0, 0)),
        })
    }

    /// Makes an ed25519 key at `path` and returns its public line (`ssh-ed25519 AAAA…`).
    pub(crate) fn make_key(&self, path: &Path) -> Result<String> {
        run(Command::new(&self.keygen).args(["-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f"]).arg(path))?;
        let public = std::fs::read_to_string(path.with_extension("pub"))?;
        Ok(public.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
    }
}

/// The path of a program that a test needs, from this package of Debian.
///
/// # Errors
/// If this machine lacks it.
pub fn program(name: &str, package: &str) -> Result<PathBuf> {
    let missing =
        || Missing(format!("there is no {name} on this machine: install {package} (Debian's name)"));
    Ok(find(name).ok_or_else(missing)?)
}

/// The program of that name on PATH or in folders that a user's PATH often lacks. Skips pyenv's shims: they
/// are slow, and what they start depends on the current folder.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .filter(|folder| folder.is_absolute() && !folder.ends_with("shims"))
        .map(|folder| folder.join(name))
        .find(|program| is_program(program))
}

/// A shell of this machine: `bash`, `csh`, `fish`, `zsh`…
///
/// # Errors
/// [`Missing`], with the name of its package.
pub fn shell(name: &str) -> Result<PathBuf> {
    let missing = || Missing(format!("this machine lacks the shell {name} (Debian package {name})"));
    Ok(find(name).ok_or_else(missing)?)
}

pub(crate) fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Runs a command and returns its output. A failure is an error with its stderr.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().with_context(|| shown.clone())?;
    if !output.status.success() {
        bail!("{shown}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `text` as one word of a POSIX shell.
pub(crate) fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn login_shell(user: &str) -> String {
    let entry = run(Command::new("getent").args(["passwd", user])).unwrap_or_default();
    let shell = entry.trim().rsplit(':').next().unwrap_or_default();
    Path::new(shell).file_name().map_or_else(|| "sh".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// `OpenSSH_9.2p1 Debian-2` is (9, 2).
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let (major, rest) = text.split_once("OpenSSH_")?.1.split_once('.')?;
    let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// A free port of an address. Avoids ports that the kernel uses for outgoing connections, so that a stopped
/// host's port stays free.
pub(crate) fn free_port(address: IpAddr) -> Result<u16> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let first = range.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(32768);
    let ports = if first > 12_000 { 10_000..first } else { 61_000..65_000 };
    for _ in 0..1000 {
        let port = fastrand::u16(ports.clone());
        if std::net::TcpListener::bind((address, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port on {address}");
}
