//! A host of the lab.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};

use crate::folder::HostFolder;
use crate::guardian::{HOST_MARK, MARK};
use crate::lab::Shared;
use crate::namespace::Namespace;
use crate::processes::{connected_to, descendants_of, kill, processes_with_env};
use crate::proxy::Proxy;
use crate::settings::HostSettings;
use crate::sshd::{Sshd, is_sshd};

/// A started host. It lives as long as its lab; this handle may be cloned and dropped freely.
#[derive(Clone, Debug)]
pub struct LabHost {
    pub(crate) lab: Arc<Shared>,
    pub(crate) part: Arc<HostParts>,
}

/// What the lab knows about one host.
#[derive(Debug)]
pub(crate) struct HostParts {
    pub(crate) name: String,
    pub(crate) settings: HostSettings,
    pub(crate) folder: HostFolder,
    /// Where clients connect: the proxy's address if there is one.
    pub(crate) public: SocketAddr,
    pub(crate) sshd: Mutex<Sshd>,
    pub(crate) proxy: Option<Proxy>,
    namespace: Option<Namespace>,
    /// The key in known_hosts files.
    pub(crate) known_key: Option<String>,
    /// The public half of the key in the host's own home.
    pub(crate) login_key: Option<String>,
}

impl HostParts {
    #[expect(clippy::too_many_arguments, reason = "one call, all of them fields")]
    pub(crate) fn new(
        name: String,
        settings: HostSettings,
        folder: HostFolder,
        address: SocketAddr,
        sshd: Sshd,
        proxy: Option<Proxy>,
        namespace: Option<Namespace>,
        known_key: Option<String>,
        login_key: Option<String>,
    ) -> HostParts {
        let public = proxy.as_ref().map_or(address, Proxy::address);
        HostParts {
            name,
            settings,
            folder,
            public,
            sshd: Mutex::new(sshd),
            proxy,
            namespace,
            known_key,
            login_key,
        }
    }
}

impl LabHost {
    /// The host's name: its alias in the ssh_config.
    pub fn name(&self) -> &str {
        &self.part.name
    }

    /// Where clients connect: the proxy's address if it has one.
    pub fn address(&self) -> SocketAddr {
        self.part.public
    }

    /// `HOME` on the host. It contains only `.ssh`.
    pub fn home(&self) -> PathBuf {
        self.part.folder.home()
    }

    /// The one folder on the host's `PATH`.
    pub fn bin(&self) -> PathBuf {
        self.part.folder.bin()
    }

    /// The log of its sshd.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.part.folder.path.join("sshd.log")).unwrap_or_default()
    }

    /// `ssh HOST COMMAND`, as the lab's user would run it, in batch mode.
    pub fn ssh(&self, command: &str) -> Command {
        let mut ssh = Command::new(&self.lab.tools.ssh);
        ssh.arg("-F").arg(self.lab.ssh_config()).args([
            "-T",
            "-S",
            "none",
            "-o",
            "BatchMode=yes",
            self.name(),
            command,
        ]);
        ssh
    }

    /// The listening sshd, if it runs.
    pub fn sshd_pid(&self) -> Option<u32> {
        self.sshd().pid()
    }

    /// sshd's processes for open connections, one each. They outlive [`stop_sshd`](LabHost::stop_sshd).
    pub fn sessions(&self) -> Vec<u32> {
        self.sshd().sessions()
    }

    /// Ends sshd's side of every open connection. What runs on the host is not touched.
    pub fn kill_sessions(&self) {
        // for users other than root, a second sshd below the first holds the connection
        let below = |pid: &u32| descendants_of(*pid).into_iter().filter(|pid| is_sshd(*pid));
        let sessions = self.sessions();
        let below: Vec<u32> = sessions.iter().flat_map(below).collect();
        sessions.into_iter().chain(below).for_each(kill);
    }

    /// Ends the listening sshd: new connections are refused, open ones stay.
    pub fn stop_sshd(&self) {
        self.sshd().stop();
    }

    /// Starts sshd again on the same port. Does nothing if it runs.
    ///
    /// # Errors
    /// An error of sshd, a lab that was dropped, or a port that was taken meanwhile.
    pub fn start_sshd(&self) -> Result<()> {
        ensure!(!self.lab.ended(), "the lab of {} was dropped", self.name());
        let started = self.sshd().start()?;
        ensure!(started, "the port of {} was taken meanwhile", self.name());
        Ok(())
    }

    /// The `ssh` processes of this machine that are connected to this host, whoever started them (also other
    /// hosts of the lab).
    ///
    /// They are found by their sockets, however they were called. Only root sees processes of other users.
    pub fn ssh_pids(&self) -> Vec<u32> {
        connected_to(self.part.public, "ssh")
    }

    /// Sends SIGKILL to all [`ssh_pids`](LabHost::ssh_pids) and returns them.
    pub fn kill_ssh(&self) -> Vec<u32> {
        let pids = self.ssh_pids();
        pids.iter().copied().for_each(kill);
        pids
    }

    /// Every process started by logins to this host, whatever became of its parents, terminals and sessions.
    ///
    /// They are found by variables that every login sets, so a process with an emptied environment is missed.
    pub fn processes(&self) -> Vec<u32> {
        let of_lab = processes_with_env(MARK, &self.lab.folder.display().to_string());
        let own = processes_with_env(HOST_MARK, self.name());
        own.into_iter().filter(|pid| of_lab.contains(pid)).collect()
    }

    /// The proxy in front of this host.
    ///
    /// # Panics
    /// If it was made without [`through_proxy`](crate::LabHostBuilder::through_proxy).
    #[track_caller]
    pub fn proxy(&self) -> &Proxy {
        let Some(proxy) = &self.part.proxy else { panic!("{} has no proxy", self.name()) };
        proxy
    }

    /// Pulls the cable of a host in a namespace: it goes silent, nothing is closed.
    ///
    /// # Errors
    /// If the host has no namespace of its own, or `ip` fails.
    pub fn link_down(&self) -> Result<()> {
        self.namespace()?.set_link("down")
    }

    /// Puts the cable back.
    ///
    /// # Errors
    /// As [`link_down`](LabHost::link_down).
    pub fn link_up(&self) -> Result<()> {
        self.namespace()?.set_link("up")
    }

    fn namespace(&self) -> Result<&Namespace> {
        self.part
            .namespace
            .as_ref()
            .with_context(|| format!("{} has no network namespace of its own", self.name()))
    }

    fn sshd(&self) -> std::sync::MutexGuard<'_, Sshd> {
        self.part.sshd.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
