//! `execnet exec`: executes code on every node of a network and prints what it sends.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use clap::Args;
use clap_complete::engine::{ArgValueCompleter, PathCompleter};
use execnet::{ChannelError, Death, ExitStatus, GatewayBuilder, OpenError, PackagesError, StartError};
use execnet_proto::switch::MAX_PROCESSES;

use super::candidates::unplaced;
use super::meant::refresh_groups;
use super::node_options::{HowMany, NodeOptions, fanout};
use super::outlet::end_when_unread;
use super::package_options::{PackageOptions, shown};
use crate::connection;
use crate::error::{CommandError, CommandResult, Exit};
use crate::print::say;
use crate::progress::{PackageProgress, Teller};

mod choice;
mod printer;
mod refusals;
mod show;
mod source;
mod stdin;

use choice::{Destination, choose};
use printer::{Look, Origin, Printer};
use refusals::Refusals;
use source::ExecSource;
use stdin::{Share, Stdin};

/// Credit of a channel in each direction, in bytes.
const WINDOW: u64 = 1 << 20;

/// Execute code on every matching node and print what it sends
///
/// The code has a `channel`: each `channel.send(value)` prints a line on stdout. Arguments after the code are
/// its `sys.argv[1:]`. Its `sys.stdin` is the stdin of this command, unless that is a terminal. What it
/// prints goes to stderr.
#[derive(Debug, Args)]
#[command(
    override_usage = "execnet exec NETWORK [OPTIONS] [--] CODE [ARGS]...",
    after_help = "\
Example:
  execnet exec mynet 'import sys; channel.send(sys.version_info[:3])'
  execnet exec mynet --node 'build[1-20]' --limit 4 script.py
  execnet exec mynet --platform java script.py arg1 < input
  execnet exec mynet -b 'import platform; channel.send(platform.release())'
  execnet exec mynet --with attrs --with ./src script.py
  execnet exec mynet --json 'import os; channel.send(os.getloadavg())' | jq '.value[0]'"
)]
pub(crate) struct ExecArgs {
    #[command(flatten)]
    network: super::NetworkArg,
    #[command(flatten)]
    options: NodeOptions,
    #[command(flatten)]
    packages: PackageOptions,
    #[command(flatten)]
    how_many: HowMany,
    /// Execute on so many nodes at a time
    #[arg(long, value_name = "N", default_value_t = MAX_PROCESSES as u32, value_parser = fanout())]
    fanout: u32,
    /// Print a JSON object for each value, with `node`, `host` and `value`
    #[arg(long)]
    json: bool,
    /// Show equal answers once, with the nodes that gave them
    #[arg(short = 'b', long = "fold", conflicts_with = "json")]
    fold: bool,
    /// Python code, a file, or `-` for stdin; then arguments for the code
    #[arg(value_name = "CODE", last = true, add = ArgValueCompleter::new(PathCompleter::any()))]
    words: Vec<OsString>,
}

/// The outcome on a node, from good to bad; the worst decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum NodeOutcome {
    Fine,
    /// The code failed.
    Failed,
    /// The node could not execute the code to its end.
    Broken,
}

/// All that is needed to execute the code on one node.
struct Execution {
    builder: GatewayBuilder,
    code: execnet::Code,
    /// What it gets of our stdin.
    stdin: Option<Share>,
    printer: Arc<Printer>,
    progress: Teller,
    origin: Option<Origin>,
}

/// What an execution reports.
enum Report {
    /// Its gateway is open.
    Opened,
    /// The daemon chose no node.
    Unplaced(StartError),
    /// The packages cannot be sent to its node.
    Refused(Origin, PackagesError),
    Ended(NodeOutcome),
}

impl ExecArgs {
    pub(crate) fn run(self) -> CommandResult {
        let selection = self.options.selection()?;
        let env = self.options.variables()?;
        let name = &self.network.network;
        let program = ExecSource::read(&self.words)?;
        let packages = self.packages.packages()?;
        let network = connection::open_patiently(name)?;
        let (destinations, left_out) = if self.how_many.one {
            refresh_groups(&network, &selection)?;
            (vec![Destination { selection, origin: None }], Vec::new())
        } else {
            choose(&network, selection, self.how_many.limit())?
        };
        let mut worst = if left_out.is_empty() { NodeOutcome::Fine } else { NodeOutcome::Broken };
        let (nodes, fanout) = (destinations.len(), self.fanout as usize);
        let progress = PackageProgress::stderr(nodes);
        let mut builder = network.makegateway().window(WINDOW);
        if let Some(packages) = packages {
            builder = builder.packages(shown(packages, &progress));
        }
        for (name, value) in env {
            builder = builder.env(name, value);
        }
        if let Some(folder) = &self.options.chdir {
            builder = builder.start_in(folder);
        }

        let fail = |error: io::Error| {
            CommandError::new(Exit::Failed, "cannot execute on so many nodes").because(&error)
        };
        let look = Look {
            json: self.json,
            marked: destinations.len() > 1 && !self.fold,
            folded: self.fold,
            one: self.how_many.one,
        };
        let printer = Arc::new(Printer::new(&look).map_err(fail)?);
        left_out.iter().for_each(|name| printer.left_out(name));
        let stdin = match program.took_stdin || io::stdin().is_terminal() {
            true => None,
            false => Some(Stdin::start(nodes, nodes > fanout).map_err(fail)?),
        };
        thread::Builder::new().name("unread".to_owned()).spawn(end_when_unread).map_err(fail)?;

        let executions: VecDeque<Execution> = destinations
            .into_iter()
            .enumerate()
            .map(|(number, destination)| Execution {
                builder: builder.clone().selection(destination.selection),
                code: program.code.clone(),
                stdin: stdin.as_ref().map(|stdin| stdin.share(number)),
                printer: printer.clone(),
                progress: progress.teller(),
                origin: destination.origin,
            })
            .collect();
        let executions = Arc::new(Mutex::new(executions));
        let (done, ended) = mpsc::channel();
        for _ in 0..nodes.min(fanout) {
            let (executions, done) = (executions.clone(), done.clone());
            let next = move || executions.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let work = move || {
                while let Some(execution) = next() {
                    let report = execution.run(|| drop(done.send(Report::Opened)));
                    drop(done.send(report));
                }
            };
            thread::Builder::new().name("node".to_owned()).spawn(work).map_err(fail)?;
        }
        drop(done);
        let mut refusals = Refusals::new(nodes, |origin, words| {
            printer.error(origin, words);
            printer.ended(origin, NodeOutcome::Broken);
        });
        loop {
            let report = match printer.deadline() {
                Some(due) => ended.recv_timeout(due.saturating_duration_since(Instant::now())),
                None => ended.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match report {
                Ok(Report::Opened) => refusals.opened(),
                Ok(Report::Unplaced(error)) => return Err(unplaced(name, &error)),
                Ok(Report::Refused(origin, error)) => {
                    refusals.add(origin, self.packages.refused(&error));
                }
                Ok(Report::Ended(outcome)) => worst = worst.max(outcome),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            printer.show(false);
        }
        worst = worst.max(refusals.end()?);
        printer.show(true);
        Ok(match worst {
            NodeOutcome::Fine => ExitCode::SUCCESS,
            NodeOutcome::Failed => Exit::Failed.into(),
            NodeOutcome::Broken => Exit::HostsFailed.into(),
        })
    }
}

impl Execution {
    /// Runs a gateway from start to end. Calls `opened` when it is open.
    fn run(self, opened: impl FnOnce()) -> Report {
        let Self { builder, code, stdin, printer, progress, origin } = self;
        // the kernel's own words before its gateway is open say why it will not be; the error says that, too
        let is_open = Arc::new(AtomicBool::new(false));
        let line = {
            let (printer, is_open) = (printer.clone(), is_open.clone());
            let origin = origin.clone().unwrap_or_else(Origin::nobody);
            move |_: &str, line: &[u8]| {
                if is_open.load(Ordering::SeqCst) || !line.starts_with(OWN.as_bytes()) {
                    printer.line(&origin, line);
                }
            }
        };
        origin.iter().for_each(|origin| printer.asks(origin));
        let id = origin.as_ref().map(|origin| origin.node.clone());
        let builder = id.into_iter().fold(builder.on_output(line), GatewayBuilder::id);
        let gateway = match (builder.start(), origin.clone()) {
            (Ok(gateway), _) => gateway,
            (Err(OpenError::Place(error)), None) => return Report::Unplaced(error),
            (Err(OpenError::Packages(error)), origin) => {
                let origin = origin.unwrap_or_else(Origin::nobody);
                progress.done(&origin.node);
                return Report::Refused(origin, error);
            }
            (Err(error), origin) => {
                let origin = origin.unwrap_or_else(|| Origin::of(&error));
                progress.done(&origin.node);
                printer.error(&origin, &unopened(&origin, &error, printer.names_nodes()));
                return Report::Ended(printer.ended(&origin, NodeOutcome::Broken));
            }
        };
        is_open.store(true, Ordering::SeqCst);
        progress.done(gateway.id());
        opened();
        let node = gateway.node().map(|node| Origin { node: node.name.clone(), host: node.host.clone() });
        if let (None, Some(node)) = (&origin, gateway.node().filter(|node| node.drained)) {
            say(&super::used_though_drained(&node.host));
        }
        let origin = origin.or(node).unwrap_or_else(Origin::nobody);
        let (code, fed) = match stdin.as_ref().map(|share| (share, gateway.new_channel())) {
            Some((share, Ok(channel))) => (code.stdin(&channel), Some((share, channel))),
            _ => (code, None),
        };
        let channel = gateway.remote_exec(code);
        if let Some((share, channel)) = fed
            && let Err(error) = share.copy_to(channel.clone())
        {
            let _ = channel.close_with_error(&format!("cannot read stdin: {error}"));
        }
        let mut ended = channel.and_then(|channel| {
            // we send nothing: the code's `receive` finds the end
            channel.close_sending()?;
            loop {
                let raw = channel.receive_raw()?;
                printer.value(&origin, &raw).map_err(|error| channel.malformed(error))?;
            }
        });
        // all its output has arrived once it ended
        let _ = gateway.exit();
        if let (Err(ChannelError::Closed), Ok(death)) = (&ended, gateway.join())
            && death.status != Some(ExitStatus::Exited(0))
        {
            ended = Err(ChannelError::GatewayDied(death));
        }
        let (worst, words) = match ended {
            Ok(()) | Err(ChannelError::Closed) => {
                return Report::Ended(printer.ended(&origin, NodeOutcome::Fine));
            }
            Err(ChannelError::Remote(traceback)) => (NodeOutcome::Failed, traceback),
            Err(ChannelError::GatewayDied(death)) => (NodeOutcome::Broken, died(&origin, &death)),
            Err(error) => (NodeOutcome::Broken, format!("execnet: {error}")),
        };
        printer.error(&origin, &words);
        Report::Ended(printer.ended(&origin, worst))
    }
}

impl Origin {
    fn nobody() -> Self {
        Self { node: String::new(), host: String::new() }
    }

    /// The origin of an error from a gateway that was not opened.
    fn of(error: &OpenError) -> Self {
        let OpenError::Failed { death, .. } = error else { return Self::nobody() };
        let name = |name: &Option<String>| name.clone().unwrap_or_default();
        Self { node: name(&death.node), host: name(&death.host) }
    }
}

/// How the interpreter of a node ended.
fn died(origin: &Origin, death: &Death) -> String {
    let what = match (&death.reason, &death.status) {
        (Some(reason), _) => format!("has ended: {reason}"),
        (None, Some(status)) => status.to_string(),
        (None, None) => "has ended".to_owned(),
    };
    let Origin { node, host } = origin;
    let mut words = format!("execnet: Python on node {node} of host {host} {what}");
    let lines: Vec<&str> = death.stderr.trim_end().lines().collect();
    if !lines.is_empty() {
        words += "; it printed last:";
        lines[lines.len().saturating_sub(LAST_LINES)..]
            .iter()
            .for_each(|line| words += &format!("\n  {line}"));
    }
    words
}

/// The exit status of a kernel that could not do as configured, and the prefix of its reason on stderr.
const CANNOT: ExitStatus = ExitStatus::Exited(94);
const OWN: &str = "execnet: ";

/// Why a kernel could not do as configured, in its own words.
fn refusal(death: &Death) -> Option<&str> {
    let last = death.stderr.trim_end().lines().last().filter(|_| death.status == Some(CANNOT))?;
    last.strip_prefix(OWN)
}

/// How many of its last lines are shown of an interpreter that died.
const LAST_LINES: usize = 10;

/// How many characters of its stdout are shown of a program that is no Python.
const MOST_NOISE: usize = 200;

/// Why a gateway was not opened. `marked`: each line will begin with the node's name.
fn unopened(origin: &Origin, error: &OpenError, marked: bool) -> String {
    let name = if marked || origin.node.is_empty() { String::new() } else { format!("{}: ", origin.node) };
    match error {
        OpenError::Place(StartError::NoMatch { message }) if !origin.node.is_empty() => {
            let (why, hint) = connection::advice(message);
            let why = why.strip_prefix(&format!("the host {} ", origin.host)).unwrap_or(why);
            let why = why.strip_prefix("is ").unwrap_or(why);
            let hint = hint.map_or_else(String::new, |hint| format!("\nHint: {hint}"));
            format!("execnet: {name}{why}{hint}")
        }
        OpenError::Failed { death, noise, .. } => {
            if let Some(why) = refusal(death) {
                return format!("execnet: {name}{why}");
            }
            let mut words = died(origin, death);
            if !noise.trim().is_empty() {
                let told: String = noise.trim().chars().take(MOST_NOISE).collect();
                words += &format!("\nexecnet: it wrote to its standard output:\n{told}");
            }
            words
        }
        error => format!("execnet: {name}{error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_an_interpreter_died_is_told_with_its_last_words() {
        let origin = Origin { node: "b:pypy3.11".into(), host: "b".into() };
        let mut death = Death::default();
        death.status = Some(ExitStatus::Signaled(11));
        death.stderr = (0..30).map(|n| format!("line {n}\n")).collect();
        let said = died(&origin, &death);
        let begin = "execnet: Python on node b:pypy3.11 of host b was ended by SIGSEGV; it printed last:\n";
        assert!(said.starts_with(&format!("{begin}  line 20\n")), "{said}");
        assert!(said.ends_with("\n  line 29"), "{said}");
        death.stderr.clear();
        death.reason = Some("its host was lost".into());
        assert_eq!(
            died(&origin, &death),
            "execnet: Python on node b:pypy3.11 of host b has ended: its host was lost"
        );
    }
}
