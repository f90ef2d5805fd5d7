//! Describes a gateway and opens it.

mod kept;

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use execnet_proto::kept::KeptName;
use execnet_proto::prefix::Prefix;
use execnet_proto::spec::{NodeSelection, SelectionError};
use sha2::{Digest, Sha256};

use super::carrier::{Carrier, Remote};
use super::config::{Bring, Config, ExecModel, Wanted};
use super::driver::Driver;
use super::error::OpenError;
use super::group::Group;
use super::handle::Handle;
use super::local::Local;
use super::open::Gateway;
use super::opening::{Opening, Stopped};
use super::output::{OnOutput, Printed, plain};
use super::protocol::{Protocol, WINDOW};
use super::stage::{AHEAD, OTHER, default_python, inheritable, stage};
use super::wire::{Kind, frame};
use super::{attend, safe_path};
use crate::attach::Attach;
use crate::network::Network;
use crate::node::Node;
use crate::packages::progress::Progress;
use crate::packages::supply::{Place, Supply, Trouble};
use crate::packages::{Packages, PackagesError};
use crate::start::{ProcessBuilder, StartError, selection_methods};
use crate::tilde;
use crate::value::DumpError;
use crate::waiting::{Halt, Room, deadline};

/// Sent to its stdin after that.
pub(super) const KERNEL: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kernel.bin"));

/// The same, as hosts may give it ahead to an interpreter that waits.
static PREFIX: LazyLock<Prefix> = LazyLock::new(|| {
    let prefix = Prefix::new(KERNEL, Sha256::digest(KERNEL).into());
    prefix.expect("the kernel is no longer than a prefix may be")
});

/// The default limit of opening.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Describes a gateway. Made by [`Network::makegateway`], [`Gateway::popen`] and [`Group`].
#[derive(Clone)]
#[must_use = "nothing is opened before `start`"]
pub struct GatewayBuilder {
    network: Option<Network>,
    group: Option<Group>,
    selection: NodeSelection,
    python: Vec<String>,
    config: Config,
    start_in: Option<String>,
    id: Option<String>,
    on_output: Option<OnOutput>,
    timeout: Duration,
    give_up: Option<Duration>,
    packages: Wanted,
    keep: Option<KeptName>,
    keep_for: Option<Duration>,
    attach: Option<Attach>,
}

impl Gateway {
    /// Describes a gateway whose interpreter is a child of this program.
    ///
    /// ```no_run
    /// let gateway = execnet::Gateway::popen().python("pypy3").start()?;
    /// let channel = gateway.remote_exec("import sys; channel.send(sys.version_info[:2])")?;
    /// let (major, minor) = channel.receive::<(u32, u32)>()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn popen() -> GatewayBuilder {
        GatewayBuilder::popen()
    }
}

impl Network {
    /// Describes a gateway on a node of the network.
    pub fn makegateway(&self) -> GatewayBuilder {
        GatewayBuilder { network: Some(self.clone()), ..GatewayBuilder::popen() }
    }
}

impl Group {
    /// Describes a gateway of the group, like [`Gateway::popen`].
    pub fn popen(&self) -> GatewayBuilder {
        GatewayBuilder::popen().group(self)
    }

    /// Describes a gateway of the group, like [`Network::makegateway`].
    pub fn makegateway(&self, network: &Network) -> GatewayBuilder {
        network.makegateway().group(self)
    }
}

impl GatewayBuilder {
    pub(super) fn popen() -> Self {
        Self {
            network: None,
            group: None,
            selection: NodeSelection::default(),
            python: Vec::new(),
            config: Config::default(),
            start_in: None,
            id: None,
            on_output: None,
            timeout: TIMEOUT,
            give_up: None,
            packages: Wanted::Nothing,
            keep: None,
            keep_for: None,
            attach: None,
        }
    }

    selection_methods!();

    /// The interpreter of a child of this program: a path, or a name to look for in `PATH`; by default
    /// `python3`, or else `python`. On a node of a network, the node's own interpreter starts this one.
    pub fn python(mut self, program: impl Into<String>) -> Self {
        self.python = vec![program.into()];
        self
    }

    /// The interpreter of a child of this program, with arguments: `["python3", "-S"]`.
    pub fn python_args<T: Into<String>>(mut self, words: impl IntoIterator<Item = T>) -> Self {
        self.python = words.into_iter().map(Into::into).collect();
        self
    }

    /// The folder to work in. It is created if it does not exist.
    pub fn chdir(mut self, folder: impl Into<String>) -> Self {
        self.config.chdir = Some(folder.into());
        self
    }

    /// The folder to start in, which must exist. A relative [`GatewayBuilder::chdir`] starts there.
    pub fn start_in(mut self, folder: impl Into<String>) -> Self {
        self.start_in = Some(folder.into());
        self
    }

    /// Sets an environment variable, in addition to its own.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.env.push((name.into(), value.into()));
        self
    }

    /// Increases its niceness.
    pub fn nice(mut self, increment: i32) -> Self {
        self.config.nice = Some(increment);
        self
    }

    /// Its id, which must be unique in its group; by default `gw0`, `gw1` and so on.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// In which threads code is executed.
    pub fn execmodel(mut self, execmodel: ExecModel) -> Self {
        self.config.execmodel = execmodel;
        self
    }

    /// Sets `sys.dont_write_bytecode`.
    pub fn dont_write_bytecode(mut self, dont: bool) -> Self {
        self.config.dont_write_bytecode = dont;
        self
    }

    /// Discards what is written to its stdout. What is written to its stderr still arrives.
    pub fn silent(mut self, silent: bool) -> Self {
        self.config.silent = silent;
        self
    }

    /// How many bytes may be unreceived on a channel at each end, besides one value; by default 8 MiB.
    pub fn window(mut self, bytes: u64) -> Self {
        self.config.window = Some(bytes.clamp(1, i64::MAX as u64));
        self
    }

    /// Calls back with each line that is printed there, as bytes without the newline, and with the gateway's
    /// id. A thread of the gateway calls it, one line after the other. By default lines go to this program's
    /// stderr, preceded by the id. If the gateway cannot be opened, the error contains the lines printed
    /// until then.
    pub fn on_output(mut self, on_output: impl Fn(&str, &[u8]) + Send + Sync + 'static) -> Self {
        self.on_output = Some(Arc::new(on_output));
        self
    }

    /// Adds the gateway to this group.
    pub fn group(mut self, group: &Group) -> Self {
        self.group = Some(group.clone());
        self
    }

    /// How long [`GatewayBuilder::start`] may take; by default 60 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long its host may be out of reach, or the network's daemon be gone, before the gateway has died.
    /// The default is [`Connect::give_up`](crate::Connect::give_up). Has no effect on a child of this
    /// program.
    pub fn give_up(mut self, limit: Duration) -> Self {
        self.give_up = Some(limit);
        self
    }

    /// What it brings along: installed distributions and folders of this machine. They are sent to its host
    /// once, and are importable there as if installed.
    pub fn packages(mut self, packages: Packages) -> Self {
        self.packages = Wanted::These(packages);
        self
    }

    /// Lets [`packages::list`](crate::packages::list) and [`packages::clean`](crate::packages::clean) see
    /// what its host holds.
    pub fn visit_packages(mut self) -> Self {
        self.packages = Wanted::Visit;
        self
    }

    /// Opens the gateway. Returns when its interpreter is ready.
    ///
    /// # Errors
    /// See [`OpenError`]. Then nothing runs.
    pub fn start(mut self) -> Result<Gateway, OpenError> {
        let group = self.group.take();
        let Some(group) = group else {
            static NEXT: AtomicU64 = AtomicU64::new(0);
            let id = self.id.take();
            let id = id.unwrap_or_else(|| format!("gw{}", NEXT.fetch_add(1, Ordering::Relaxed)));
            return self.open(id);
        };
        let id = group.reserve(self.id.take())?;
        match self.open(id.clone()) {
            Ok(gateway) => {
                group.add(gateway.clone());
                Ok(gateway)
            }
            Err(error) => {
                group.release(&id);
                Err(error)
            }
        }
    }

    /// The builder for one of many, with this number.
    pub(super) fn numbered(&self, number: usize) -> Self {
        let id = self.id.as_ref().map(|id| format!("{id}{number}"));
        Self { id, ..self.clone() }
    }

    /// Removes an opened gateway from the group.
    pub(super) fn forget(&self, gateway: &Gateway) {
        if let Some(group) = &self.group {
            group.remove(gateway);
        }
    }

    fn open(mut self, id: String) -> Result<Gateway, OpenError> {
        let until = deadline(Some(self.timeout));
        self.check().map_err(OpenError::Invalid)?;
        let window = self.config.window.unwrap_or(WINDOW);
        let program = self.python.join(" ");
        let wanted = std::mem::take(&mut self.packages);
        if let Wanted::These(packages) = &wanted {
            packages.check()?;
        }
        if let Some(attach) = self.attach.take() {
            return self.open_attached(id, attach);
        }
        if let Some(name) = self.keep.take() {
            return self.open_kept(id, wanted, name);
        }
        let bring = if matches!(wanted, Wanted::Visit) { Bring::Visit } else { Bring::Nothing };
        let config = self.config.encode(&id, &bring).map_err(invalid)?;
        let mut protocol = Protocol::new(window);
        let carrier = self.carrier(&id, &mut protocol)?;
        let mut supply = self.supply(&id, wanted, carrier.node());
        match &supply {
            Some(_) => protocol.prologue.expect_asks(),
            None => protocol.out.push(frame(Kind::Hello, 0, &config)),
        }
        let driver = Driver::new(carrier, protocol);
        let printed = Arc::new(Printed::new(id.clone(), self.on_output.take()));
        start_threads(&driver, &id, &printed)?;
        driver.leave(driver.lock());
        let opened = match &mut supply {
            // while the interpreter starts
            Some(supply) => match self.with_guess(&id, supply) {
                Ok(config) => {
                    let mut state = driver.lock();
                    state.protocol.out.push(frame(Kind::Hello, 0, &config));
                    driver.leave(state);
                    let until = deadline(Some(self.timeout));
                    Opening::new(&driver, &printed, self.timeout, until).run(Some(supply))
                }
                Err(Trouble::Packages(error)) => Err(Stopped::Packages(error)),
                Err(_) => Err(Stopped::Halted(Halt::Interrupted)),
            },
            None => Opening::new(&driver, &printed, self.timeout, until).run(None),
        };
        let stopped = match opened {
            Ok(mut info) => {
                info.packages = info.packages.filter(|_| supply.is_some());
                printed.release();
                driver.carrier.opened();
                return Ok(Gateway { handle: Arc::new(Handle { driver, id, info: *info }) });
            }
            Err(stopped) => stopped,
        };
        let mut state = driver.lock();
        let noise = plain(state.protocol.prologue.noise());
        let error = match stopped {
            Stopped::Dead(death) => {
                drop(state);
                printed.forget();
                if let Some(message) = death.unreachable() {
                    return Err(StartError::NoMatch { message }.into());
                }
                return Err(OpenError::Failed { death, noise, program });
            }
            Stopped::Halted(Halt::TimedOut) => OpenError::TimedOut { gateway: id, noise },
            Stopped::Halted(Halt::Interrupted) => OpenError::Interrupted,
            Stopped::Halted(Halt::Forked) => return Err(OpenError::Forked),
            Stopped::Packages(source) => {
                let host = driver.carrier.node().map(|node| node.host.clone());
                PackagesError::For { gateway: id, host, source: Box::new(source) }.into()
            }
        };
        state.exiting = true;
        state.kill_at = Some(Instant::now());
        state.touch();
        driver.leave(state);
        printed.release();
        driver.attendant.notify_all();
        Err(error)
    }

    fn supply(&self, id: &str, wanted: Wanted, node: Option<&Node>) -> Option<Supply> {
        let Wanted::These(packages) = wanted else { return None };
        let progress = Progress::new(id, node, packages.on_progress.clone());
        Some(Supply::new(packages, self.place(node), progress))
    }

    /// CONFIG with what the kernel will probably ask for.
    fn with_guess(&self, id: &str, supply: &mut Supply) -> Result<Vec<u8>, Trouble> {
        let guess = supply.guess()?;
        let config = self.config.encode(id, &Bring::These(guess));
        config.map_err(|error| PackagesError::Sets(error.to_string()).into())
    }

    fn place(&self, node: Option<&Node>) -> Place {
        let network = self.network.as_ref().map(|network| network.name().to_owned());
        let node = node.zip(network);
        let node = node.map(|(node, network)| [network, node.host.clone(), node.name.clone()]);
        Place { node, python: self.python.clone() }
    }

    /// Checks what operating systems reject with less helpful errors.
    fn check(&self) -> Result<(), String> {
        if self.python.first().is_some_and(String::is_empty) {
            return Err("the name of the interpreter is empty".into());
        }
        if let Some(word) = self.python.iter().find(|word| word.contains('\0')) {
            return Err(format!("{word:?} cannot be a word of a command: it has a NUL in it"));
        }
        for (name, value) in &self.config.env {
            if name.is_empty() || name.contains(['=', '\0']) {
                return Err(format!("{name:?} cannot be the name of a variable"));
            }
            if value.contains('\0') {
                return Err(format!("the variable `{name}` cannot have a NUL in its value"));
            }
        }
        Ok(())
    }

    /// Starts the interpreter, and has it sent the kernel.
    fn carrier(&self, id: &str, protocol: &mut Protocol) -> Result<Arc<dyn Carrier>, OpenError> {
        let Some(network) = &self.network else {
            protocol.out.push(KERNEL);
            return self.child();
        };
        let mut process = self.process(network, id).prefix(PREFIX.clone());
        if self.config.env.is_empty() {
            // an interpreter that is started ahead of need must not contain anybody's variables
            process = process.arg(AHEAD).ahead();
        }
        Ok(Arc::new(Remote::new(process.start()?)))
    }

    /// Describes the process on a node.
    fn process(&self, network: &Network, id: &str) -> ProcessBuilder {
        let mut process =
            ProcessBuilder::new(network.handle().clone()).selection(self.selection.clone()).label(id);
        if !self.python.is_empty() {
            process = process.args(["-c", OTHER]).args(&self.python);
        }
        process = process.args(["-c", &stage(None)]).timeout(self.timeout).opening();
        if !self.config.env.iter().any(|(name, _)| name == safe_path::SAFE) {
            // the agent knows the host's variables and does the rest
            process = process.env(safe_path::SAFE, safe_path::OURS);
        }
        for (name, value) in &self.config.env {
            process = process.env(name, value);
        }
        if let Some(limit) = self.give_up {
            process = process.give_up(limit);
        }
        if let Some(folder) = &self.start_in {
            process = process.chdir(folder);
        } else {
            process = process.here();
        }
        process
    }

    fn child(&self) -> Result<Arc<dyn Carrier>, OpenError> {
        if self.selection != NodeSelection::default() {
            return Err(OpenError::Invalid(
                "a child of this program does not run on a node, so none can be selected".into(),
            ));
        }
        let python;
        let words: &[String] = if self.python.is_empty() {
            python = [default_python()];
            &python
        } else {
            &self.python
        };
        let mut command = Command::new(tilde::expanded(&words[0]));
        // exactly these words: some programs look for them
        command.args(&words[1..]).args(["-u", "-c", &stage(Some(&inheritable()))]);
        command.envs(self.config.env.iter().map(|(name, value)| (name, value)));
        command.envs(safe_path::variables(|name| {
            let own = self.config.env.iter().rev().find(|(own, _)| own == name);
            own.map(|(_, value)| value.into()).or_else(|| std::env::var_os(name))
        }));
        if let Some(folder) = &self.start_in {
            command.current_dir(tilde::expanded(folder));
        }
        let local = Local::start(command).map_err(|error| OpenError::Spawn {
            program: words[0].clone(),
            arguments: words[1..].join(" "),
            file: self.file_of(words),
            source: Arc::new(error),
        })?;
        Ok(local)
    }

    /// The file whose path was split into several words.
    fn file_of(&self, words: &[String]) -> Option<String> {
        let folder = Path::new(self.start_in.as_deref().unwrap_or_default());
        (2..=words.len()).map(|count| words[..count].join(" ")).find(|path| folder.join(path).is_file())
    }
}

#[allow(clippy::needless_pass_by_value)] // for map_err
fn invalid(error: DumpError) -> OpenError {
    OpenError::Invalid(error.to_string())
}

pub(super) fn start_threads(driver: &Arc<Driver>, id: &str, printed: &Arc<Printed>) -> Result<(), OpenError> {
    let failed = |error: std::io::Error| {
        if !driver.carrier.is_entry() {
            driver.carrier.kill();
        }
        driver.carrier.release();
        OpenError::Thread { source: Arc::new(error) }
    };
    let (for_errors, lines) = (driver.clone(), printed.clone());
    let thread = std::thread::Builder::new().name("execnet-stderr".into());
    thread.spawn(move || attend::pass_on(&for_errors, &lines)).map_err(failed)?;
    let (for_reading, printed, id) = (driver.clone(), printed.clone(), id.to_owned());
    let thread = std::thread::Builder::new().name("execnet-gateway".into());
    thread.spawn(move || attend::attend(&for_reading, &id, &printed)).map_err(failed)?;
    Ok(())
}

impl std::fmt::Debug for GatewayBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GatewayBuilder")
            .field("network", &self.network)
            .field("selection", &self.selection)
            .field("python", &self.python)
            .field("config", &self.config)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "../../../../remote/tools/reference.rs"]
mod reference;

#[cfg(test)]
mod tests {
    use super::super::config::{KEPT, PACKAGES};
    use super::*;

    #[test]
    fn the_bundles_are_those_of_the_reference() {
        reference::assert_as_reference(KERNEL, "KERNEL");
        let behind_its_length = [b"00000000", PACKAGES].concat();
        reference::assert_as_reference(&behind_its_length, "PACKAGES");
        let behind_its_length = [b"00000000", KEPT].concat();
        reference::assert_as_reference(&behind_its_length, "KEPT");
    }
}
