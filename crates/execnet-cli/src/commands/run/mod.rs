//! `execnet run`: runs a command on every host of a network.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use clap::Args;
use execnet::{Interrupt, Network, Process, ProcessBuilder, ProcessEvent, StartError};

use super::feed::Feed;
use super::kept::{Feed as Stdin, KeepOptions, Work, stand_beside};
use super::node_options::{HowMany, NodeOptions, fanout};
use super::outlet::end_when_unread;
use crate::connection;
use crate::error::{CommandError, CommandResult, Exit};
use crate::print::say;
use crate::stdio::OwnStream;
use crate::terminal::{TerminalOptions, come_forward, on_terminal, stand_for, stand_for_kept};

mod drive;
mod hosts;
mod outcome;
mod schedule;
mod show;
mod signals;

use drive::Drive;
use hosts::choose;
use schedule::Schedule;
use show::{Show, Wanted};
use signals::Ends;

/// Run a command on every host and show what it prints
///
/// ARGV is looked up in PATH on each host, and runs there once, however many interpreters the host has. It
/// gets the stdin of this command, unless that is a terminal. Lines of several hosts begin with the host.
#[derive(Debug, Args)]
#[command(
    override_usage = "execnet run NETWORK [OPTIONS] [--] ARGV...\n       \
                      execnet run NETWORK [OPTIONS] -c LINE [ARGS]...",
    after_help = "\
Example:
  execnet run mynet -b -- uname -r
  execnet run mynet --node 'build[1-20],!build7' --env LANG=C df -h /
  execnet run mynet --node build1 -t -- vim notes
  execnet run mynet --node gpu --keep train -- python3 train.py
  execnet run mynet --fanout 16 --fail-fast -c 'systemctl is-active nginx || journalctl -n 5 -u nginx'
  tar c src | execnet run mynet --chdir /srv/app tar x"
)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    network: super::NetworkArg,
    #[command(flatten)]
    options: NodeOptions,
    /// A line for the host's `sh`; further arguments are its `$1`, `$2`, …
    #[arg(short = 'c', value_name = "LINE", allow_hyphen_values = true)]
    line: Option<OsString>,
    /// Show equal answers once, with the hosts that gave them
    #[arg(short = 'b', long = "fold", conflicts_with_all = ["json", "terminal"])]
    fold: bool,
    /// Print a JSON object for each host, with `host`, `status`, `signal` or `error`, `stdout` and `stderr`
    #[arg(long, conflicts_with = "terminal")]
    json: bool,
    #[command(flatten)]
    how_many: HowMany,
    /// Run on so many hosts at a time
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = fanout(),
          conflicts_with = "terminal")]
    fanout: u32,
    /// End what runs longer than this: `30`, `30s`, `5m`, `2h`
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "terminal")]
    timeout: Option<Duration>,
    /// End everything, and start no more, as soon as a host fails
    #[arg(long, conflicts_with = "terminal")]
    fail_fast: bool,
    #[command(flatten)]
    keep: KeepOptions,
    #[command(flatten)]
    terminal: TerminalOptions,
    /// Do not read stdin
    #[arg(short = 'n', long, conflicts_with = "terminal")]
    no_stdin: bool,
    /// Command to run and its arguments
    #[arg(value_name = "ARGV", last = true)]
    words: Vec<OsString>,
}

impl RunArgs {
    pub(crate) fn run(self) -> CommandResult {
        let argv = self.argv()?;
        let selection = self.options.selection()?;
        let env = self.options.variables()?;
        let network = connection::open_patiently(&self.network.network)?;
        let hosts = choose(&network, &selection, self.limit())?;

        let mut builder = network.process().args(&argv);
        let keep = self.keep.keep();
        let alone = hosts.ids.len() == 1 && hosts.left_out.is_empty();
        let on_our_terminal = self.terminal.is_forced()
            || keep.is_some() && alone && !self.no_stdin && self.terminal.is_wanted(true);
        if on_our_terminal {
            come_forward();
            builder = on_terminal(builder);
        }
        if let Some(keep) = &keep {
            builder = builder.keep(keep.clone());
        }
        builder = match &self.options.chdir {
            Some(folder) => builder.chdir(folder),
            None => builder.here(),
        };
        for (name, value) in env {
            builder = builder.env(name, value);
        }
        if on_our_terminal {
            return self.on_terminal(&network, builder, &hosts.ids);
        }
        if let Some(keep) = keep.as_ref().filter(|_| alone && self.takes_one_stream()) {
            let process = start(builder.host(&hosts.ids[0]))?;
            let work = Work::new(&self.network.network, keep.name.as_str(), process.node());
            self.tell_kept(&network, &process, &work);
            let feed = match self.no_stdin {
                true => Stdin::Nothing,
                false if io::stdin().is_terminal() => Stdin::Keys,
                false => Stdin::All,
            };
            return stand_beside(process, &Arc::new(work), feed);
        }
        let fail =
            |error: io::Error| CommandError::new(Exit::Failed, "cannot run on so many hosts").because(&error);
        let fanout = self.fanout as usize;
        let ends = if keep.is_some() { Ends::pass_on() } else { Ends::watch() }.map_err(fail)?;
        let wanted = match (self.fold, self.json) {
            (true, _) => Wanted::Folded,
            (_, true) => Wanted::Json,
            _ => Wanted::Live,
        };
        let show = Show::new(wanted, hosts.ids.len()).map_err(fail)?;
        let feed = match self.no_stdin || io::stdin().is_terminal() {
            true => None,
            false => {
                let (stdin, me) = (OwnStream::new(&io::stdin()).map_err(fail)?, Interrupt::this_thread());
                let keep = hosts.ids.len() > fanout;
                Some(Feed::start(stdin, hosts.ids.len(), keep, move || me.raise()).map_err(fail)?)
            }
        };
        thread::Builder::new().name("unread".to_owned()).spawn(end_when_unread).map_err(fail)?;

        let mut drive = Drive {
            processes: network.processes(),
            schedule: Schedule::new(hosts.ids.len(), fanout, self.timeout),
            show,
            feed,
            ends: ends.clone(),
            builder,
            timeout: self.timeout.unwrap_or_default(),
            fail_fast: self.fail_fast,
            worst: 0,
            hosts: hosts.ids,
            kept: keep.map(|keep| (self.network.network.clone(), keep.name)),
        };
        let worst = drive.run(&hosts.left_out).map_err(|error| CommandError::new(Exit::Failed, error))?;
        ends.leave_as_told();
        Ok(ExitCode::from(worst))
    }

    /// Lets the command have our terminal, on one host.
    fn on_terminal(&self, network: &Network, builder: ProcessBuilder, hosts: &[String]) -> CommandResult {
        let [host] = hosts else {
            let message = format!("-t takes one host, and {} match", hosts.len());
            return Err(CommandError::new(Exit::Usage, message).hint("`--node HOST` or `--one`"));
        };
        let process = start(builder.host(host))?;
        if let Some(keep) = self.keep.keep() {
            let work = Work::new(&self.network.network, keep.name.as_str(), process.node());
            self.tell_kept(network, &process, &work);
            return stand_for_kept(&process, self.terminal.escape(), &work);
        }
        stand_for(&process, self.terminal.escape(), "the command", Exit::HostsFailed)
    }

    /// Whether a single host's streams are ours, as they come.
    fn takes_one_stream(&self) -> bool {
        !self.fold && !self.json && self.timeout.is_none()
    }

    /// Says that it runs and is kept, once it does, and what may end it early.
    fn tell_kept(&self, network: &Network, process: &Process, work: &Work) {
        for event in process.events() {
            match event {
                ProcessEvent::Started(pid) => {
                    work.tell_started(Some(pid));
                    work.tell_note(network);
                    return;
                }
                ProcessEvent::Ended(_) | ProcessEvent::Lost(_) => return,
                ProcessEvent::Unreachable(why) => say(&format!("execnet: {}", crate::text::one_line(&why))),
                _ => {}
            }
        }
    }

    /// The command.
    fn argv(&self) -> Result<Vec<OsString>, CommandError> {
        let mut argv: Vec<OsString> = match &self.line {
            Some(line) => vec!["sh".into(), "-c".into(), line.clone(), "sh".into()],
            None => Vec::new(),
        };
        argv.extend(self.words.iter().cloned());
        if argv.first().is_none_or(|program| program.is_empty()) {
            return Err(CommandError::new(Exit::Usage, "no command to run")
                .hint("for example `execnet run NETWORK uname -r`, or `-c 'LINE'` for a shell"));
        }
        Ok(argv)
    }

    fn limit(&self) -> Option<usize> {
        if self.how_many.one { Some(1) } else { self.how_many.limit() }
    }
}

fn start(builder: ProcessBuilder) -> Result<Process, CommandError> {
    builder.start().map_err(|error| match error {
        StartError::NoMatch { message } => connection::no_match(Exit::HostsFailed, &message),
        error => CommandError::new(Exit::Failed, error),
    })
}

/// Reads a time: `30`, `1.5`, `30s`, `5m`, `2h`.
fn time(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1.0),
        Some((at, 'm')) => (&text[..at], 60.0),
        Some((at, 'h')) => (&text[..at], 3600.0),
        _ => (text, 1.0),
    };
    let seconds = number.parse::<f64>().ok().map(|number| number * unit);
    let time = seconds.filter(|seconds| *seconds > 0.0 && *seconds < 1e9).map(Duration::from_secs_f64);
    time.ok_or_else(|| "expected a time such as `30`, `30s`, `5m` or `2h`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        let seconds = |text| time(text).map(|time| time.as_secs_f64());
        for (text, expected) in [("30", 30.0), ("1.5", 1.5), ("30s", 30.0), ("5m", 300.0), ("2h", 7200.0)] {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        for text in ["", "s", "0", "-1", "nan", "inf", "1d", "5 m", "1e12", "ä"] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
