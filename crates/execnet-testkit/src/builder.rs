//! Describes a host of the lab before it is started.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Result, bail, ensure};

use crate::folder::HostFolder;
use crate::host::{HostParts, LabHost};
use crate::interpreters::{default_python3, select};
use crate::lab::Lab;
use crate::namespace::Namespace;
use crate::proxy::Proxy;
use crate::settings::{HostSettings, KnownKey};
use crate::sshd::Sshd;
use crate::tools::{free_port, shell};

/// A host that is not started yet. By default it has the machine's `python3` and accepts everybody in the
/// lab.
#[derive(Debug)]
#[must_use = "a host exists only after start()"]
pub struct LabHostBuilder<'a> {
    lab: &'a Lab,
    name: String,
    settings: HostSettings,
}

impl<'a> LabHostBuilder<'a> {
    pub(crate) fn new(lab: &'a Lab, name: &str, namespace: bool) -> LabHostBuilder<'a> {
        LabHostBuilder {
            lab,
            name: name.to_owned(),
            settings: HostSettings { namespace, ..HostSettings::default() },
        }
    }

    /// The interpreters on the host's PATH, by their names in [`interpreters`](crate::interpreters()); no
    /// others.
    ///
    /// `3.11` is `python3.11`, and the first of the CPythons 3 is also `python3`. `2.7` is `python2.7` and
    /// `python2`, and `python` on a host without a CPython 3. `pypy3` and `jython` have their own names.
    pub fn pythons<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.settings.pythons = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// A host without any Python.
    pub fn no_python(self) -> Self {
        self.pythons(Vec::<String>::new())
    }

    /// One more program on the host's PATH, as a link.
    pub fn program(mut self, name: &str, program: impl AsRef<Path>) -> Self {
        self.settings.programs.push((name.to_owned(), program.as_ref().to_owned()));
        self
    }

    /// One more program on the host's PATH, with this text (its first line is a `#!` line with a full path).
    pub fn script(mut self, name: &str, text: &str) -> Self {
        self.settings.scripts.push((name.to_owned(), text.to_owned()));
        self
    }

    /// Every login prints this to its stdout before the command runs.
    pub fn login_noise(mut self, text: &str) -> Self {
        self.settings.noise = Some(text.to_owned());
        self
    }

    /// Every login prints to stdout forever, as fast as it can; no command ever runs.
    pub fn login_noise_forever(mut self) -> Self {
        self.settings.noise_forever = true;
        self
    }

    /// The shell that runs the commands (`sh` by default): `bash`, `csh`, `fish`, `zsh`…
    pub fn login_shell(mut self, name: &str) -> Self {
        self.settings.shell_name = Some(name.to_owned());
        self
    }

    /// No key is accepted.
    pub fn refuse_auth(mut self) -> Self {
        self.settings.refuse_auth = true;
        self
    }

    /// The known_hosts files have another key for this host, as in a man-in-the-middle attack.
    pub fn wrong_host_key(mut self) -> Self {
        self.settings.host_key = KnownKey::Wrong;
        self
    }

    /// The known_hosts files have no key for this host.
    pub fn unknown_host_key(mut self) -> Self {
        self.settings.host_key = KnownKey::None;
        self
    }

    /// No sshd runs, so the port is closed, until [`LabHost::start_sshd`].
    pub fn down(mut self) -> Self {
        self.settings.down = true;
        self
    }

    /// sshd's `MaxStartups`: how many unauthenticated connections it accepts.
    pub fn max_startups(mut self, connects: u32) -> Self {
        self.settings.max_startups = Some(connects);
        self
    }

    /// Not in the lab's ssh_config, and closed to the lab's own key: only hosts that reach it get in.
    pub fn hidden(mut self) -> Self {
        self.settings.hidden = true;
        self
    }

    /// The hosts (made before or later) that this host's own `ssh` knows and has a key for.
    pub fn reaches<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.settings.reaches = names.into_iter().map(Into::into).collect();
        self
    }

    /// All connections to the host go through a [`Proxy`], which can cut, silence and delay them.
    pub fn through_proxy(mut self) -> Self {
        self.settings.proxy = true;
        self
    }

    /// Starts the host. Its sshd listens when this returns.
    ///
    /// # Errors
    /// [`Missing`](crate::Missing) for an interpreter, a login shell or the right to make a namespace; a name
    /// that is taken; an error of sshd.
    pub fn start(mut self) -> Result<LabHost> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        ensure!(
            !self.name.is_empty() && self.name.bytes().all(good),
            "{:?} is no name for a host",
            self.name
        );
        ensure!(!(self.settings.namespace && self.settings.proxy), "a host in a namespace has no proxy");
        let lab = &self.lab.shared;
        ensure!(lab.part(&self.name).is_none(), "the lab has a host {} already", self.name);

        let pythons = match &self.settings.pythons {
            None => vec![default_python3()?],
            Some(names) => match select(&names.iter().map(String::as_str).collect::<Vec<_>>()) {
                (pythons, None) => pythons,
                (_, Some(missing)) => return Err(missing.into()),
            },
        };
        if let Some(name) = &self.settings.shell_name {
            self.settings.login_shell = Some(shell(name)?);
        }
        let namespace = if self.settings.namespace { Some(Namespace::make(&lab.folder)?) } else { None };

        let folder = HostFolder::make(lab.folder.join("hosts").join(&self.name), &lab.tools)?;
        folder.add_interpreters(&pythons)?;
        for (name, program) in &self.settings.programs {
            folder.add_program(name, program)?;
        }
        for (name, text) in &self.settings.scripts {
            folder.add_script(name, text)?;
        }
        let public_key = lab.tools.make_key(&folder.path.join("host_key"))?;
        let known_key = match self.settings.host_key {
            KnownKey::Right => Some(public_key),
            KnownKey::Wrong => Some(lab.tools.make_key(&folder.path.join("wrong_key"))?),
            KnownKey::None => None,
        };
        let login_key = match self.settings.reaches.is_empty() {
            true => None,
            false => Some(lab.tools.make_key(&folder.home().join(".ssh/id_ed25519"))?),
        };
        fs::write(folder.path.join("authorized_keys"), "")?;

        let ip = namespace.as_ref().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |namespace| namespace.far.into());
        let mut tries = 0;
        let (address, sshd) = loop {
            let address = SocketAddr::new(ip, if namespace.is_some() { 2222 } else { free_port(ip)? });
            let mut sshd =
                Sshd::new(&lab.tools, &lab.folder, &folder, address, &self.settings, namespace.as_ref())?;
            if self.settings.down || sshd.start()? {
                break (address, sshd);
            }
            tries += 1;
            if tries == 10 {
                bail!("{tries} ports that were free were taken before sshd had them");
            }
        };
        let proxy = if self.settings.proxy { Some(Proxy::start(address)?) } else { None };
        let part = HostParts::new(
            self.name,
            self.settings,
            folder,
            address,
            sshd,
            proxy,
            namespace,
            known_key,
            login_key,
        );
        lab.add(part)
    }
}
