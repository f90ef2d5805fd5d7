//! `execnet python`: a stand-in for `python` that runs on a node of a network.

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use clap::Args;
use execnet::{ExitStatus, Output, Process, ProcessError, ProcessEvent, Signal, StartError};
use execnet_proto::spec::NodeSelection;

use crate::config::{DEFAULT_LINGER, NetworkFile};
use crate::failure::{Exit, Failure, Outcome};
use crate::render::reason;
use crate::text::{one_line, say};
use crate::{place, session};

mod pump;
mod signals;

use pump::{Broken, Own, pump};

/// How long a break lasts before it is worth a word.
const BREAK: Duration = Duration::from_secs(1);

/// What a daemon may be gone for beyond the agents' own patience.
const GRACE: Duration = Duration::from_secs(30);

/// Run Python on a node of a network, as `python ARGS` there would
///
/// The first argument that is none of the options below begins ARGS.
#[derive(Debug, Args)]
#[command(
    override_usage = "execnet python NETWORK [OPTIONS] [--] [ARGS]...",
    after_help = "\
Example:
  execnet python mynet -c 'import sys; print(sys.version)'
  execnet python mynet --platform java --env DEBUG=1 script.py < input > output"
)]
pub(crate) struct PythonArgs {
    #[command(flatten)]
    network: super::Network,
    /// A node by its name, or any node of the host with this id
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Beginning of `sys.platform` or of the implementation: `linux`, `java`, `pypy`
    #[arg(long, value_name = "PREFIX")]
    platform: Option<String>,
    /// `cpython`, `pypy` or `jython`
    #[arg(long, value_name = "NAME")]
    implementation: Option<String>,
    /// `3.11`, `'>=3.8'`, `'>=3.8,<3.12'`
    #[arg(long, value_name = "VERSION")]
    python_version: Option<String>,
    /// Folder to run in, on the host
    #[arg(long, value_name = "FOLDER")]
    chdir: Option<String>,
    /// A variable of the process; may be given several times
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// What Python gets
    #[arg(value_name = "ARGS", last = true)]
    args: Vec<OsString>,
}

impl PythonArgs {
    pub(crate) fn run(self) -> Outcome {
        let name = &self.network.network;
        let selection = self.selection()?;
        let env = self.env.iter().map(|pair| variable(pair)).collect::<Result<Vec<_>, _>>()?;
        let linger = place::network_file(name).and_then(|path| NetworkFile::load(&path));
        let linger = linger.ok().and_then(|file| file.linger()).unwrap_or(DEFAULT_LINGER);
        let network = session::open(name, |connect| connect.patience(linger + GRACE))?;
        let mut process = network.process().selection(selection).args(&self.args);
        if self.args.is_empty() && io::stdin().is_terminal() {
            // Python would find a terminal and prompt; it finds a pipe.
            process = process.args(["-i", "-u"]);
        }
        if let Some(folder) = &self.chdir {
            process = process.chdir(folder);
        } else if let Some(here) = std::env::current_dir().ok().as_deref().and_then(Path::to_str) {
            process = process.local_dir(here);
        }
        for (name, value) in env {
            process = process.env(name, value);
        }
        let process = process.start().map_err(|error| match &error {
            StartError::Connect(error) => session::unconnected(name, error),
            error => Failure::new(Exit::Python, error),
        })?;
        stand_for(process)
    }

    fn selection(&self) -> Result<NodeSelection, Failure> {
        let values = [&self.node, &self.platform, &self.implementation, &self.python_version];
        let given = NodeSelection::KEYS.into_iter().zip(values);
        NodeSelection::from_pairs(given.filter_map(|(key, value)| Some((key, value.as_deref()?))))
            .map_err(|error| Failure::new(Exit::Python, error))
    }
}

fn variable(pair: &str) -> Result<(&str, &str), Failure> {
    let split = pair.split_once('=').filter(|(name, _)| !name.is_empty());
    split.ok_or_else(|| Failure::new(Exit::Python, format!("--env {pair}: not NAME=VALUE")))
}

/// Is, as far as anybody can tell, the process: its streams, its signals, its end.
fn stand_for(process: Process) -> Outcome {
    let fail =
        |error: io::Error| Failure::new(Exit::Python, "cannot pass on the process's streams").because(&error);
    let process = Arc::new(process);
    signals::forward(process.clone()).map_err(fail)?;
    let outputs = [
        pass_on(process.stdout(), Own::new(&io::stdout()).map_err(fail)?, "standard output").map_err(fail)?,
        pass_on(process.stderr(), Own::new(&io::stderr()).map_err(fail)?, "standard error").map_err(fail)?,
    ];
    let from = Own::new(&io::stdin()).map_err(fail)?;
    let stdin = process.take_stdin();
    // It may wait for input that never comes: nobody waits for it.
    thread::Builder::new().name("stdin".to_owned()).spawn(move || pump(from, stdin)).map_err(fail)?;
    if io::stderr().is_terminal() {
        let watched = process.clone();
        thread::Builder::new()
            .name("events".to_owned())
            .spawn(move || tell_breaks(&watched))
            .map_err(fail)?;
    }
    let ended = process.wait();
    for output in outputs {
        let _ = output.join();
    }
    match ended {
        Ok(ExitStatus::NotStarted { message, .. }) => {
            let node = one_line(&process.node().name);
            Err(Failure::new(Exit::Python, format!("Python could not be started on `{node}`: {message}")))
        }
        Ok(status) => Ok(ExitCode::from(status.code())),
        Err(error) => Err(Failure::new(Exit::Python, error)),
    }
}

/// Passes on what the process writes, until its end or until nobody reads here.
fn pass_on(from: Output, to: Own, name: &'static str) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        if let Err(Broken::Writing(error)) = pump(&from, to) {
            if error.kind() != io::ErrorKind::BrokenPipe {
                say(&format!("execnet: cannot write to {name}: {error}"));
            }
            // The process finds a closed pipe, as it would here.
            let _ = from.close();
        }
    })
}

/// Says when the host cannot be reached for longer than a moment.
fn tell_breaks(process: &Process) {
    let host = one_line(&process.node().host);
    let mut events = process.events();
    let mut broken: Option<String> = None;
    let mut said = false;
    loop {
        let wait = if broken.is_some() && !said { BREAK } else { Duration::MAX };
        match events.next_timeout(wait) {
            Ok(Some(ProcessEvent::Unreachable(why))) => broken = Some(why),
            Ok(Some(ProcessEvent::Reachable)) => {
                if std::mem::take(&mut said) {
                    say(&format!("execnet: {host} is back"));
                }
                broken = None;
            }
            Ok(Some(_)) => {}
            Err(ProcessError::TimedOut { .. }) => {
                if let Some(why) = broken.as_ref().filter(|_| !said) {
                    let why = one_line(reason(&host, why));
                    say(&format!("execnet: {host} is unreachable: {why}; waiting"));
                    said = true;
                }
            }
            Ok(None) | Err(_) => return,
        }
    }
}

impl signals::Target for Arc<Process> {
    fn signal(&self, name: &str) {
        if let Some(signal) = Signal::ALL.iter().find(|signal| signal.name() == name) {
            // Whether it was lost is told by the wait for its end.
            let _ = Process::signal(self, *signal);
        }
    }

    fn unreachable(&self) -> Option<String> {
        let (why, host) = (self.is_unreachable()?, &self.node().host);
        Some(format!("{host} is unreachable: {}", reason(host, &why)))
    }
}

const SELECTING: [&str; 6] =
    ["--node", "--platform", "--implementation", "--python-version", "--chdir", "--env"];

/// Puts `--` before what Python gets, so that its options are not taken for ours.
pub(crate) fn mark_arguments(mut args: Vec<OsString>) -> Vec<OsString> {
    if args.get(1).is_none_or(|verb| verb != "python") {
        return args;
    }
    let mut named = false;
    let mut at = 2;
    while let Some(arg) = args.get(at) {
        let text = arg.to_string_lossy();
        let text = text.as_ref();
        let option = text.split_once('=').map_or(text, |(option, _)| option);
        if SELECTING.contains(&option) {
            at += if text == option { 2 } else { 1 };
        } else if arg == OsStr::new("--") || (!named && text.starts_with('-')) {
            return args;
        } else if named {
            args.insert(at, OsString::from("--"));
            return args;
        } else {
            named = true;
            at += 1;
        }
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(line: &str) -> String {
        let args = line.split(' ').map(OsString::from).collect();
        mark_arguments(args).join(OsStr::new(" ")).into_string().unwrap()
    }

    #[test]
    fn python_gets_everything_from_the_first_argument_that_is_not_ours() {
        for (line, with_mark) in [
            ("execnet python net -c pass --node x", "execnet python net -- -c pass --node x"),
            ("execnet python net -V", "execnet python net -- -V"),
            ("execnet python net --help", "execnet python net -- --help"),
            ("execnet python net --node n -u -c x", "execnet python net --node n -- -u -c x"),
            ("execnet python net --node=n --env A=1 a.py", "execnet python net --node=n --env A=1 -- a.py"),
            ("execnet python --platform java net -- -c x", "execnet python --platform java net -- -c x"),
            ("execnet python net --nodes n", "execnet python net -- --nodes n"),
            ("execnet python net -", "execnet python net -- -"),
            ("execnet python net", "execnet python net"),
            ("execnet python --help", "execnet python --help"),
            ("execnet python --nod net x", "execnet python --nod net x"),
            ("execnet python net --node", "execnet python net --node"),
            ("execnet status net -x", "execnet status net -x"),
        ] {
            assert_eq!(marked(line), with_mark);
        }
        use std::os::unix::ffi::OsStringExt;
        let odd = |text: &[u8]| OsString::from_vec(text.to_vec());
        let args = ["execnet", "python", "net"].map(OsString::from).into_iter();
        let args: Vec<OsString> = args.chain([odd(b"--env=A=\xff"), "x.py".into()]).collect();
        assert_eq!(mark_arguments(args)[3..], [odd(b"--env=A=\xff"), "--".into(), "x.py".into()]);
    }
}
