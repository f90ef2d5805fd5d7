//! The lab: its folder, its keys, and the files that tell ssh about its hosts.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail};

use crate::builder::LabHostBuilder;
use crate::guardian::{Guardian, MARK};
use crate::host::{HostParts, LabHost};
use crate::processes::processes_with_env;
use crate::tools::Tools;

/// A temporary folder with hosts. Dropping it ends and removes everything made in it and everything that ran
/// on its hosts. So does any other end of this program.
#[derive(Debug)]
pub struct Lab {
    pub(crate) shared: Arc<Shared>,
    guardian: Guardian,
}

/// What the lab and its hosts share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) folder: PathBuf,
    pub(crate) tools: Tools,
    /// The public half of the user's key.
    user_key: String,
    parts: Mutex<Vec<Arc<HostParts>>>,
    ended: AtomicBool,
}

impl Lab {
    /// A lab without hosts.
    ///
    /// # Errors
    /// [`Missing`](crate::Missing) if OpenSSH's server or client is not installed; a temporary folder that is
    /// not writable.
    pub fn new() -> Result<Lab> {
        let tools = Tools::find()?;
        let folder = make_folder()?;
        let guardian = Guardian::start(&folder)?;
        for name in ["hosts", "sshd", "netns"] {
            fs::create_dir(folder.join(name))?;
        }
        if rustix::process::geteuid().is_root() {
            // sshd as root refuses to start without it. Debian makes it when the service starts. It stays,
            // because others may use it
            fs::create_dir_all("/run/sshd").context("/run/sshd")?;
        }
        let user_key = tools.make_key(&folder.join("user_key"))?;
        let shared =
            Shared { folder, tools, user_key, parts: Mutex::default(), ended: AtomicBool::new(false) };
        shared.write_files()?;
        Ok(Lab { shared: Arc::new(shared), guardian })
    }

    /// A new host, with an sshd of its own on a port of 127.0.0.1.
    pub fn host(&self, name: &str) -> LabHostBuilder<'_> {
        LabHostBuilder::new(self, name, false)
    }

    /// A new host in its own network namespace, whose cable can be pulled ([`LabHost::link_down`]). Its
    /// [`start`](LabHostBuilder::start) fails where [`netns_available`](crate::netns_available()) does. Only
    /// this machine reaches it, not the lab's other hosts.
    pub fn netns_host(&self, name: &str) -> LabHostBuilder<'_> {
        LabHostBuilder::new(self, name, true)
    }

    /// The ssh_config of the user's side: an alias for every host that is not hidden.
    pub fn ssh_config(&self) -> PathBuf {
        self.shared.ssh_config()
    }

    /// The lab's folder, for other files of a test.
    pub fn folder(&self) -> &Path {
        &self.shared.folder
    }

    /// The hosts, in the order of their creation.
    pub fn hosts(&self) -> Vec<LabHost> {
        let host = |part: &Arc<HostParts>| LabHost { lab: self.shared.clone(), part: part.clone() };
        self.shared.parts().iter().map(host).collect()
    }

    /// Sends SIGKILL to every `ssh` that is connected to the host and returns their pids, as
    /// [`LabHost::kill_ssh`] does.
    ///
    /// # Panics
    /// If there is no such host.
    #[track_caller]
    pub fn kill_ssh(&self, host: &str) -> Vec<u32> {
        let Some(part) = self.shared.part(host) else { panic!("the lab has no host {host}") };
        LabHost { lab: self.shared.clone(), part }.kill_ssh()
    }

    /// Every process started by logins to any host.
    pub fn processes(&self) -> Vec<u32> {
        processes_with_env(MARK, &self.shared.folder.display().to_string())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        let parts = std::mem::take(&mut *self.shared.parts());
        for part in &parts {
            if let Some(proxy) = &part.proxy {
                proxy.end();
            }
        }
        self.guardian.finish();
        for part in &parts {
            // it is killed by now; this reaps it
            part.sshd.lock().unwrap_or_else(PoisonError::into_inner).stop();
        }
        if self.shared.folder.exists() {
            eprintln!("the lab's folder could not be removed: {}", self.shared.folder.display());
        }
    }
}

impl Shared {
    pub(crate) fn ssh_config(&self) -> PathBuf {
        self.folder.join("ssh_config")
    }

    pub(crate) fn ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    pub(crate) fn part(&self, name: &str) -> Option<Arc<HostParts>> {
        self.parts().iter().find(|part| part.name == name).cloned()
    }

    /// Adds a host and makes it known to the others.
    pub(crate) fn add(self: &Arc<Shared>, part: HostParts) -> Result<LabHost> {
        let part = Arc::new(part);
        self.parts().push(part.clone());
        self.write_files()?;
        Ok(LabHost { lab: self.clone(), part })
    }

    fn parts(&self) -> MutexGuard<'_, Vec<Arc<HostParts>>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes which hosts know which, and which accept which. Repeated for each new host.
    fn write_files(&self) -> Result<()> {
        let parts = self.parts();
        let seen: Vec<&HostParts> =
            parts.iter().map(Arc::as_ref).filter(|part| !part.settings.hidden).collect();
        self.write_view(&self.folder, "ssh_config", "user_key", &seen, "")?;
        for from in parts.iter() {
            let seen: Vec<&HostParts> = parts
                .iter()
                .map(Arc::as_ref)
                .filter(|part| from.settings.reaches.contains(&part.name))
                .collect();
            // no host may use anything of the person who runs the tests: no agent, no key, no known host
            let nothing_else = "Host *\n    IdentityFile none\n    IdentityAgent none\n    \
                                UserKnownHostsFile /dev/null\n    GlobalKnownHostsFile /dev/null\n";
            self.write_view(&from.folder.home().join(".ssh"), "config", "id_ed25519", &seen, nothing_else)?;
        }
        for part in parts.iter().filter(|part| !part.settings.refuse_auth) {
            let user = (!part.settings.hidden).then_some(&self.user_key);
            let hosts = parts.iter().filter(|from| from.settings.reaches.contains(&part.name));
            let keys: Vec<&str> = user
                .into_iter()
                .chain(hosts.filter_map(|from| from.login_key.as_ref()))
                .map(String::as_str)
                .collect();
            replace(&part.folder.path.join("authorized_keys"), &(keys.join("\n") + "\n"))?;
        }
        Ok(())
    }

    /// The ssh_config and known_hosts of one side, in `folder`.
    fn write_view(
        &self,
        folder: &Path,
        config_name: &str,
        key: &str,
        seen: &[&HostParts],
        rest: &str,
    ) -> Result<()> {
        let mut config = String::new();
        let mut known = String::new();
        for part in seen {
            config += &format!(
                "Host {name}\n    HostName {ip}\n    Port {port}\n    User {user}\n    \
                 IdentityFile \"{key}\"\n    IdentitiesOnly yes\n    IdentityAgent none\n    \
                 UserKnownHostsFile \"{known}\"\n    GlobalKnownHostsFile /dev/null\n    \
                 StrictHostKeyChecking yes\n    UpdateHostKeys no\n",
                name = part.name,
                ip = part.public.ip(),
                port = part.public.port(),
                user = self.tools.user,
                key = folder.join(key).display(),
                known = folder.join("known_hosts").display(),
            );
            if let Some(key) = &part.known_key {
                known += &format!("[{}]:{} {key}\n", part.public.ip(), part.public.port());
            }
        }
        replace(&folder.join(config_name), &(config + rest))?;
        replace(&folder.join("known_hosts"), &known)
    }
}

fn make_folder() -> Result<PathBuf> {
    let temporary = std::env::temp_dir();
    for _ in 0..100 {
        let folder = temporary.join(format!("execnet-lab-{:08x}", fastrand::u32(..)));
        match fs::DirBuilder::new().mode(0o700).create(&folder) {
            Ok(()) => {
                return Ok(folder.canonicalize()?);
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error).context(format!("cannot make a folder in {}", temporary.display()));
            }
        }
    }
    bail!("cannot make a folder in {}", temporary.display());
}

/// Replaces a file atomically.
fn replace(path: &Path, text: &str) -> Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, text).with_context(|| new.display().to_string())?;
    fs::rename(&new, path).with_context(|| path.display().to_string())
}
