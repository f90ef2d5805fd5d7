//! The process table, from `/proc`. A process that ends during a look counts as absent.

use std::collections::HashSet;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

/// The processes that were executed with `name=value` in their environment, except this one.
///
/// Only root sees processes of other users.
pub fn processes_with_env(name: &str, value: &str) -> Vec<u32> {
    let wanted = format!("{name}={value}");
    let has = |pid: &u32| {
        fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes()))
    };
    all().filter(has).filter(|pid| *pid != std::process::id() && alive(*pid)).collect()
}

/// The direct children of a process, including zombies.
pub fn children_of(pid: u32) -> Vec<u32> {
    all().filter(|child| stat(*child).is_some_and(|(_, parent)| parent == pid)).collect()
}

/// The children of a process, their children and so on, parents first.
pub fn descendants_of(pid: u32) -> Vec<u32> {
    let table: Vec<(u32, u32)> = all().filter_map(|child| Some((child, stat(child)?.1))).collect();
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(table.iter().filter(|(_, of)| *of == parent).map(|(child, _)| *child));
        next += 1;
    }
    found.split_off(1)
}

/// Whether a process exists and has not exited: a zombie is not alive.
pub fn alive(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| !matches!(state, 'Z' | 'X'))
}

/// Sends SIGKILL. A process that is gone is no error.
pub fn kill(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
}

/// How long tests wait: a limit for hangs, not for speed. On a busy machine everything takes ten times as
/// long.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// Waits until `done` returns true, polling every few milliseconds.
///
/// # Panics
/// After `timeout`, with `what` in the text.
#[track_caller]
pub fn wait_until(timeout: Duration, what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < timeout, "waited {timeout:?} in vain for: {what}");
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// The resident memory of a process in KiB (`VmRSS`), or `None` if there is no such process.
pub fn proc_rss_kib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches("kB").trim_end().parse().ok()
}

/// A socket that others can connect or send to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listening {
    /// A listening TCP socket.
    Tcp(SocketAddr),
    /// A bound UDP socket.
    Udp(SocketAddr),
    /// A listening Unix socket; an abstract one begins with `@`.
    Unix(PathBuf),
}

/// The sockets of a process that others can connect or send to.
pub fn sockets_listening(pid: u32) -> Vec<Listening> {
    let own = socket_inodes(pid);
    let mut found = Vec::new();
    for (table, state, kind) in [
        ("tcp", 0x0a, Listening::Tcp as fn(SocketAddr) -> Listening),
        ("tcp6", 0x0a, Listening::Tcp),
        ("udp", 0x07, Listening::Udp),
        ("udp6", 0x07, Listening::Udp),
    ] {
        let rows = InetSocket::table(&format!("/proc/{pid}/net/{table}")).into_iter();
        found.extend(
            rows.filter(|row| row.state == state && own.contains(&row.inode)).map(|row| kind(row.local)),
        );
    }
    let table = fs::read_to_string(format!("/proc/{pid}/net/unix")).unwrap_or_default();
    for line in table.lines().skip(1) {
        // Num RefCount Protocol Flags Type St Inode Path; the flag is the kernel's __SO_ACCEPTCON.
        let fields: Vec<&str> = line.split_whitespace().collect();
        if let [_, _, _, "00010000", _, _, inode, path @ ..] = fields.as_slice()
            && inode.parse().is_ok_and(|inode: u64| own.contains(&inode))
        {
            found.push(Listening::Unix(path.join(" ").into()));
        }
    }
    found
}

/// The processes on this machine with this command name that have a TCP connection (open or opening) to
/// `address`.
pub(crate) fn connected_to(address: SocketAddr, command: &str) -> Vec<u32> {
    let inodes: HashSet<u64> = InetSocket::table("/proc/net/tcp")
        .into_iter()
        .filter(|row| row.remote == address && row.inode != 0)
        .map(|row| row.inode)
        .collect();
    let is = |pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim_end() == command)
    };
    all().filter(is).filter(|pid| !socket_inodes(*pid).is_disjoint(&inodes)).collect()
}

fn all() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// When a process started, in the kernel's ticks since boot, as text.
pub(crate) fn start_time(pid: u32) -> Option<String> {
    fields(pid)?.get(19).cloned()
}

/// State and parent of a process.
fn stat(pid: u32) -> Option<(char, u32)> {
    let fields = fields(pid)?;
    Some((fields.first()?.chars().next()?, fields.get(1)?.parse().ok()?))
}

/// The fields of `/proc/PID/stat` from the third (state) on.
fn fields(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The command name stands in parentheses and may hold any byte.
    let after = stat.iter().rposition(|byte| *byte == b')')? + 1;
    Some(String::from_utf8_lossy(&stat[after..]).split_whitespace().map(str::to_owned).collect())
}

fn socket_inodes(pid: u32) -> HashSet<u64> {
    let inode = |entry: std::io::Result<fs::DirEntry>| {
        let target = fs::read_link(entry.ok()?.path()).ok()?;
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    };
    fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().filter_map(inode).collect()
}

/// A line of `/proc/net/tcp` and its like.
struct InetSocket {
    local: SocketAddr,
    remote: SocketAddr,
    state: u8,
    inode: u64,
}

impl InetSocket {
    fn table(path: &str) -> Vec<InetSocket> {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().skip(1).filter_map(Self::parse).collect()
    }

    fn parse(line: &str) -> Option<InetSocket> {
        let fields: Vec<&str> = line.split_whitespace().collect();
        Some(InetSocket {
            local: address(fields.get(1)?)?,
            remote: address(fields.get(2)?)?,
            state: u8::from_str_radix(fields.get(3)?, 16).ok()?,
            inode: fields.get(9)?.parse().ok()?,
        })
    }
}

/// `0100007F:0016`: the kernel prints each 32-bit word of an address in the machine's byte order.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::new();
    for start in (0..ip.len()).step_by(8) {
        bytes.extend(u32::from_str_radix(ip.get(start..start + 8)?, 16).ok()?.to_ne_bytes());
    }
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes.as_slice()) {
        return Some((Ipv4Addr::from(bytes), port).into());
    }
    let bytes = <[u8; 16]>::try_from(bytes.as_slice()).ok()?;
    Some((Ipv6Addr::from(bytes), port).into())
}
