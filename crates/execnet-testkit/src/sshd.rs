//! One sshd: its configuration, its start, its end.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::folder::HostFolder;
use crate::guardian::{HOST_MARK, MARK};
use crate::namespace::Namespace;
use crate::processes::{PATIENCE, alive, children_of, kill, start_time};
use crate::settings::HostSettings;
use crate::tools::{Tools, quote};

/// The sshd of a host, running or not.
#[derive(Debug)]
pub(crate) struct Sshd {
    program: PathBuf,
    config: PathBuf,
    log: PathBuf,
    /// The folder in which the guardian looks for running processes.
    running: PathBuf,
    namespace: Option<String>,
    child: Option<Child>,
    /// Connections that a stopped sshd left behind.
    left: Vec<u32>,
}

impl Sshd {
    /// Writes the configuration; nothing runs yet.
    pub(crate) fn new(
        tools: &Tools,
        lab: &Path,
        folder: &HostFolder,
        address: SocketAddr,
        settings: &HostSettings,
        namespace: Option<&Namespace>,
    ) -> Result<Sshd> {
        let config = folder.path.join("sshd_config");
        fs::write(&config, configuration(tools, lab, folder, address, settings))?;
        fs::write(folder.login(), login_script(settings)?)?;
        Ok(Sshd {
            program: tools.sshd.clone(),
            config,
            log: folder.path.join("sshd.log"),
            running: lab.join("sshd"),
            namespace: namespace.map(|namespace| namespace.name.clone()),
            child: None,
            left: Vec::new(),
        })
    }

    /// Starts it and waits until it listens. `Ok(false)`: the port is taken.
    pub(crate) fn start(&mut self) -> Result<bool> {
        if self.pid().is_some() {
            return Ok(true);
        }
        let log = fs::File::create(&self.log)?;
        let mut command = match &self.namespace {
            Some(name) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", name]).arg(&self.program);
                command
            }
            None => Command::new(&self.program),
        };
        // its own process group: Ctrl-C in a terminal is for the program that made the lab
        command.args(["-D", "-e", "-f"]).arg(&self.config).process_group(0);
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = self.child.insert(command.spawn().context("cannot start sshd")?);
        note(&self.running, child.id())?;

        let start = Instant::now();
        loop {
            let said = fs::read_to_string(&self.log).unwrap_or_default();
            if said.contains("Server listening on") {
                return Ok(true);
            }
            let ended = child.try_wait()?;
            if ended.is_some() || start.elapsed() > PATIENCE {
                self.stop();
                if said.contains("in use") {
                    return Ok(false);
                }
                bail!(
                    "sshd does not start ({}): {}",
                    ended.map_or("too slow".to_owned(), |status| status.to_string()),
                    said.trim()
                );
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Ends the listening process; its open connections stay.
    pub(crate) fn stop(&mut self) {
        self.left = self.sessions();
        if let Some(mut child) = self.child.take() {
            kill(child.id());
            let _ = child.wait();
            let _ = fs::remove_file(self.running.join(child.id().to_string()));
            for pid in &self.left {
                let _ = note(&self.running, *pid);
            }
        }
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id).filter(|pid| alive(*pid))
    }

    /// One process for every open connection.
    pub(crate) fn sessions(&self) -> Vec<u32> {
        let mut found = self.left.clone();
        found.extend(self.child.as_ref().map(|child| children_of(child.id())).unwrap_or_default());
        found.retain(|pid| alive(*pid) && is_sshd(*pid));
        found
    }
}

/// Whether a process is an sshd (or its `sshd-session`, from OpenSSH 9.8 on).
pub(crate) fn is_sshd(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.starts_with("sshd"))
}

/// Tells the guardian of a process.
fn note(running: &Path, pid: u32) -> Result<()> {
    let started = start_time(pid).unwrap_or_default();
    Ok(fs::write(running.join(pid.to_string()), started)?)
}

fn configuration(
    tools: &Tools,
    lab: &Path,
    folder: &HostFolder,
    address: SocketAddr,
    settings: &HostSettings,
) -> String {
    let file = |name: &str| format!("\"{}\"", folder.path.join(name).display());
    let login = quote(&folder.login().display().to_string());
    // a shell that reads the script itself saves the start of another one; csh and fish need it
    let login = if tools.posix_login_shell { format!(". {login}") } else { format!("exec /bin/sh {login}") };
    let shell = settings.login_shell.as_deref().unwrap_or(Path::new("/bin/sh"));
    let mut lines = vec![
        format!("ListenAddress {}:{}", address.ip(), address.port()),
        format!("HostKey {}", file("host_key")),
        format!("AuthorizedKeysFile {}", file("authorized_keys")),
        "PidFile none".to_owned(),
        "StrictModes no".to_owned(),
        "UsePAM no".to_owned(),
        "PermitRootLogin yes".to_owned(),
        "PubkeyAuthentication yes".to_owned(),
        "PasswordAuthentication no".to_owned(),
        "KbdInteractiveAuthentication no".to_owned(),
        "PermitUserEnvironment no".to_owned(),
        "PrintMotd no".to_owned(),
        "PrintLastLog no".to_owned(),
        "AcceptEnv LANG LC_*".to_owned(),
        format!("ForceCommand {login}"),
        // one line, because sshd takes only the first SetEnv. SHLVL above 1 keeps bash, if it is the person's
        // shell, from reading the rc files that it reads under sshd
        format!(
            "SetEnv \"HOME={home}\" \"PATH={bin}\" \"SHELL={shell}\" \"{MARK}={lab}\" \
             {HOST_MARK}={name} SHLVL=5",
            home = folder.home().display(),
            bin = folder.bin().display(),
            shell = shell.display(),
            lab = lab.display(),
            name = folder.name(),
        ),
    ];
    if let Some(connects) = settings.max_startups {
        lines.push(format!("MaxStartups {connects}"));
    }
    if tools.version >= (9, 8) {
        // all tests come from one address; a refused one must not lock out the others
        lines.push("PerSourcePenalties no".to_owned());
    }
    lines.join("\n") + "\n"
}

/// Runs in the person's shell: sets up the host's login, then becomes the host's own shell with the command.
fn login_script(settings: &HostSettings) -> Result<String> {
    let shell = settings.login_shell.as_deref().unwrap_or(Path::new("/bin/sh"));
    let shell = quote(shell.to_str().context("a login shell's path is UTF-8")?);
    let mut script =
        "cd \"$HOME\"\ncommand=$SSH_ORIGINAL_COMMAND\nunset SSH_ORIGINAL_COMMAND SHLVL\n".to_owned();
    if let Some(noise) = &settings.noise {
        script += &format!("printf %s {}\n", quote(noise));
    }
    if settings.noise_forever {
        let line = "nothing but noise ".repeat(64);
        script += &format!("while :; do echo '{line}'; done\n");
    }
    script += &format!("[ -n \"$command\" ] || exec {shell}\nexec {shell} -c \"$command\"\n");
    Ok(script)
}
