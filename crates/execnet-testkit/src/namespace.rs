//! A network namespace connected to this machine by one cable (a veth pair).

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::Result;

use crate::missing::Missing;
use crate::tools::{find, run};

/// Checks whether this program may make network namespaces.
///
/// # Errors
/// [`Missing`], with the reason. Tried once per program.
pub fn netns_available() -> Result<()> {
    static ANSWER: OnceLock<Option<Missing>> = OnceLock::new();
    ANSWER.get_or_init(|| attempt().err().map(Missing)).clone().map_or(Ok(()), |missing| Err(missing.into()))
}

/// One namespace. The guardian removes it.
#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) name: String,
    /// The host's address.
    pub(crate) far: Ipv4Addr,
    far_end: String,
}

impl Namespace {
    pub(crate) fn make(lab: &Path) -> Result<Namespace> {
        netns_available()?;
        let id = fastrand::u32(..);
        // two addresses of 100.64.0.0/10, which is reserved for networks like this (RFC 6598)
        let base = u32::from(Ipv4Addr::new(100, 64, 0, 0)) | (id & 0x3f_fffc);
        let [near, far] = [1, 2].map(|host| Ipv4Addr::from(base | host));
        let namespace = Namespace { name: format!("execnet-{id:08x}"), far, far_end: format!("xf{id:08x}") };
        let near_end = format!("xn{id:08x}");
        let (name, far_end) = (namespace.name.as_str(), namespace.far_end.as_str());
        // noted before it is made, so that a half-made one is removed too
        fs::write(lab.join("netns").join(name), &near_end)?;
        ip(&["netns", "add", name])?;
        ip(&["link", "add", &near_end, "type", "veth", "peer", "name", far_end, "netns", name])?;
        ip(&["addr", "add", &format!("{near}/30"), "dev", &near_end])?;
        ip(&["link", "set", "dev", &near_end, "up"])?;
        ip(&["-n", name, "addr", "add", &format!("{far}/30"), "dev", far_end])?;
        ip(&["-n", name, "link", "set", "dev", far_end, "up"])?;
        ip(&["-n", name, "link", "set", "dev", "lo", "up"])?;
        Ok(namespace)
    }

    /// Sets the host's end of the cable `up` or `down`.
    pub(crate) fn set_link(&self, state: &str) -> Result<()> {
        ip(&["-n", &self.name, "link", "set", "dev", &self.far_end, state])
    }
}

fn attempt() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("network namespaces need root".to_owned());
    }
    if find("ip").is_none() {
        return Err("network namespaces need the ip command (Debian package iproute2)".to_owned());
    }
    let name = format!("execnet-try-{:08x}", fastrand::u32(..));
    let made = ip(&["netns", "add", &name]).and_then(|()| {
        let end = format!("xt{:08x}", fastrand::u32(..));
        ip(&["link", "add", &end, "type", "veth", "peer", "name", "far", "netns", &name])?;
        ip(&["link", "del", &end])
    });
    let _ = ip(&["netns", "del", &name]);
    made.map_err(|error| format!("network namespaces cannot be made here: {error:#}"))
}

fn ip(arguments: &[&str]) -> Result<()> {
    run(Command::new("ip").args(arguments)).map(drop)
}
