//! `execnet python`: stands in for a `python` that runs on a node.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use clap::Args;
use execnet::{
    ExitStatus, Gateway, Network, OpenError, Outage, Output, Packages, Process, ProcessBuilder, Reach,
    Signal, StartError,
};
use execnet_proto::spec::{NetworkName, NodeSelection};

use super::meant::refresh_groups;
use super::node_options::NodeOptions;
use super::package_options::{PackageOptions, shown};
use super::used_though_drained;
use crate::connection;
use crate::error::{CommandError, CommandResult, Exit};
use crate::print::say;
use crate::progress::PackageProgress;
use crate::render::reason;
use crate::stdio::OwnStream;
use crate::terminal::{TerminalOptions, come_forward, on_terminal, stand_for as stand_for_terminal};
use crate::text::one_line;

use super::forward::{self, Recipient};
use super::pump::{PumpError, pump};

/// Output and prompts (on stderr) keep their order only in one pipe. Jython has no `dup2`.
const TOGETHER: &str = r#"
import os, sys
if hasattr(os, "dup2"): os.dup2(1, 2)
sys.stderr.write("Python %s on %s\n" % (sys.version, sys.platform))
sys.stderr.write("Type \"help\", \"copyright\", \"credits\" or \"license\" for more information.\n")
del os, sys
"#;

/// Run Python on a node of a network, as `python ARGS` there would
///
/// ARGS begin at the first argument that is not one of the options below.
#[derive(Debug, Args)]
#[command(
    override_usage = "execnet python NETWORK [OPTIONS] [--] [ARGS]...",
    after_help = "\
Example:
  execnet python mynet -c 'import sys; print(sys.version)'
  execnet python mynet --node build1          (with a terminal: history, arrow keys, Tab)
  execnet python mynet --platform java --env DEBUG=1 script.py < input > output
  execnet python mynet --node build1 --with requests -c 'import requests'"
)]
pub(crate) struct PythonArgs {
    #[command(flatten)]
    network: super::NetworkArg,
    #[command(flatten)]
    options: NodeOptions,
    #[command(flatten)]
    packages: PackageOptions,
    #[command(flatten)]
    terminal: TerminalOptions,
    /// Arguments for Python
    #[arg(value_name = "ARGS", last = true)]
    args: Vec<OsString>,
}

impl PythonArgs {
    pub(crate) fn run(self) -> CommandResult {
        let name = &self.network.network;
        let selection = self.options.selection()?;
        let env = self.options.variables()?;
        let packages = self.packages.packages()?;
        let network = connection::open_patiently(name)?;
        refresh_groups(&network, &selection)?;
        let notices = Arc::new(OutageNotices::default());
        let told = notices.clone();
        network.on_outage(move |outage| told.tell(outage));
        // as long as this gateway is open, the packages are in use and stay
        let supplier =
            packages.map(|packages| self.supply(&network, &selection, &env, packages)).transpose()?;
        let selection = supplier.as_ref().and_then(Gateway::node).map_or(selection, |node| NodeSelection {
            node: Some(node.name.clone()),
            ..NodeSelection::default()
        });
        let mut refused = None;
        if self.terminal.is_wanted(self.args.is_empty()) {
            come_forward();
            let process = on_terminal(network.process().selection(selection.clone()).args(&self.args));
            match self.with_rest(process, &env, supplier.as_ref()).start() {
                Ok(process) => {
                    tell_if_drained(&process);
                    // the terminal tells of outages itself
                    notices.muted.store(true, Ordering::SeqCst);
                    return stand_for_terminal(&process, self.terminal.escape(), "Python", Exit::Python);
                }
                // perhaps a host that can do everything but that
                Err(error @ StartError::NoMatch { .. }) if !self.terminal.is_forced() => {
                    refused = Some(error);
                }
                Err(error) => return Err(unplaced(name, &error)),
            }
        }
        let mut process = network.process().selection(selection).args(&self.args);
        if self.args.is_empty() && io::stdin().is_terminal() {
            // Python itself would not prompt, as it reads from a pipe.
            process = process.args(["-i", "-u"]);
            if io::stdout().is_terminal() && io::stderr().is_terminal() {
                process = process.args(["-c", TOGETHER]);
            }
        }
        let process = self.with_rest(process, &env, supplier.as_ref()).start();
        let process = process.map_err(|error| unplaced(name, &error))?;
        tell_if_drained(&process);
        if let Some(refused) = refused {
            say(&format!("execnet: it runs without a terminal: {refused}"));
        }
        notices.quiet.store(!io::stderr().is_terminal(), Ordering::SeqCst);
        stand_for(process)
    }

    /// Adds folder and variables: those of the packages, and those that were asked for.
    fn with_rest(
        &self,
        mut process: ProcessBuilder,
        env: &[(&str, &str)],
        supplier: Option<&Gateway>,
    ) -> ProcessBuilder {
        if let Some(folder) = &self.options.chdir {
            process = process.chdir(folder);
        } else {
            process = process.here();
        }
        for (name, value) in env {
            process = process.env(*name, value);
        }
        for (name, value) in supplier.and_then(Gateway::packages).iter().flat_map(|all| &all.environment) {
            process = process.env(name, value);
        }
        process
    }

    /// Brings packages to a node that matches, for a process there with these variables.
    fn supply(
        &self,
        network: &Network,
        selection: &NodeSelection,
        env: &[(&str, &str)],
        packages: Packages,
    ) -> Result<Gateway, CommandError> {
        let progress = PackageProgress::stderr(1);
        let builder = network.makegateway().selection(selection.clone());
        let mut builder = builder.packages(shown(packages, &progress));
        for (name, value) in env {
            builder = builder.env(*name, *value);
        }
        // stdout and stderr belong to the process
        let opened = builder.on_output(|_, _| {}).start();
        drop(progress);
        let gateway = opened.map_err(|error| match &error {
            OpenError::Place(error) => unplaced(&self.network.network, error),
            OpenError::Packages(error) => self.packages.refused(error),
            error => CommandError::new(Exit::Python, error),
        })?;
        let variables = gateway.packages().map(|packages| &packages.environment);
        if variables.into_iter().flatten().any(|(name, _)| name == "PYTHONPATH" || name == "JYTHONPATH") {
            return Ok(gateway);
        }
        let node = gateway.node().map(|node| one_line(&node.name)).unwrap_or_default();
        let message = format!("the packages cannot be kept on `{node}`: nothing can be written there");
        Err(CommandError::new(Exit::Python, message).hint(
            "make room in its /tmp or home folder; `execnet exec` holds them in memory, for itself only",
        ))
    }
}

fn tell_if_drained(process: &Process) {
    if process.node().drained {
        say(&used_though_drained(&process.node().host));
    }
}

fn unplaced(name: &NetworkName, error: &StartError) -> CommandError {
    match error {
        StartError::Connect(error) => connection::unconnected(name, error),
        StartError::NoMatch { message } => connection::no_match(Exit::Python, message),
        error => CommandError::new(Exit::Python, error),
    }
}

/// Notices about unreachable hosts. While the process runs, stderr is its own, unless stderr is a terminal.
#[derive(Default)]
struct OutageNotices {
    quiet: AtomicBool,
    /// Somebody else tells of them.
    muted: AtomicBool,
    said: Mutex<BTreeSet<String>>,
}

impl OutageNotices {
    fn tell(&self, outage: &Outage) {
        if self.muted.load(Ordering::SeqCst) {
            return;
        }
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let host = &outage.node.host;
        // an outage that was reported gets an end that is
        let worth = match outage.state {
            Reach::Unreachable => !self.quiet.load(Ordering::SeqCst) && said.insert(host.clone()),
            _ => said.remove(host),
        };
        if worth {
            say(&format!("execnet: {outage}"));
        }
    }
}

/// Acts as the process: its streams, its signals, its exit status.
fn stand_for(process: Process) -> CommandResult {
    let fail = |error: io::Error| {
        CommandError::new(Exit::Python, "cannot forward the streams of the process").because(&error)
    };
    let process = Arc::new(process);
    forward::forward(process.clone()).map_err(fail)?;
    let outputs = [
        pass_on(process.stdout(), OwnStream::new(&io::stdout()).map_err(fail)?, "stdout").map_err(fail)?,
        pass_on(process.stderr(), OwnStream::new(&io::stderr()).map_err(fail)?, "stderr").map_err(fail)?,
    ];
    let from = OwnStream::new(&io::stdin()).map_err(fail)?;
    let stdin = process.stdin().close_on_drop();
    // this thread may wait for input that never comes, so nothing joins it
    thread::Builder::new().name("stdin".to_owned()).spawn(move || pump(from, stdin)).map_err(fail)?;
    let ended = process.wait();
    let all_written = outputs.into_iter().all(|output| output.join().unwrap_or(false));
    match ended {
        Ok(ExitStatus::NotStarted { message, .. }) => {
            let node = one_line(&process.node().name);
            Err(CommandError::new(Exit::Python, format!("cannot start Python on `{node}`: {message}")))
        }
        // the message about it is no output
        Ok(status) if status.code() == 0 && !all_written => Ok(Exit::Python.into()),
        Ok(status) => Ok(ExitCode::from(status.code())),
        Err(error) => Err(CommandError::new(Exit::Python, error)),
    }
}

/// Copies the output of the process until its end, or until nobody reads here. False if output was lost that
/// somebody wanted.
fn pass_on(from: Output, to: OwnStream, name: &'static str) -> io::Result<JoinHandle<bool>> {
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        let Err(PumpError::Writing(error)) = pump(&from, to) else { return true };
        let unwanted = error.kind() == io::ErrorKind::BrokenPipe;
        if !unwanted {
            say(&format!("execnet: cannot write to {name}: {error}"));
        }
        // the process gets a closed pipe, as it would here
        let _ = from.close();
        unwanted
    })
}

impl Recipient for Arc<Process> {
    fn signal(&self, name: &str) {
        if let Some(signal) = Signal::ALL.iter().find(|signal| signal.name() == name) {
            // the wait for its end reports a lost process
            let _ = Process::signal(self, *signal);
        }
    }

    fn unreachable(&self) -> Option<String> {
        let (why, host) = (Process::unreachable(self)?, &self.node().host);
        Some(format!("{host} is unreachable: {}", reason(host, &why)))
    }

    fn has_heard(&self) -> bool {
        Process::has_heard(self)
    }

    fn host(&self) -> String {
        self.node().host.clone()
    }
}
