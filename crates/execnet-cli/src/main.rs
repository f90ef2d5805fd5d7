//! The `execnet` command: deployment networks of Python interpreters from the command line.
//!
//! One file per command in `commands`. A command asks the daemon or reads the network's file, and shows the
//! result. Results go to stdout, messages to stderr.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ErrorKind};
use clap::{CommandFactory, Parser, Subcommand};

mod ask;
mod askpass;
mod commands;
mod config;
mod connection;
mod error;
mod fold;
mod follow;
mod lines;
mod paths;
mod print;
mod progress;
mod render;
mod signals;
mod stdio;
mod style;
mod terminal;
mod text;
mod usage;

use commands::{
    AddhostArgs, AttachArgs, CompletionsArgs, CopyArgs, DaemonArgs, DrainArgs, ExecArgs, ExportArgs,
    ImportArgs, KillArgs, ListArgs, LogsArgs, ManArgs, PackagesArgs, PsArgs, PythonArgs, RmhostArgs, RunArgs,
    StartArgs, StatusArgs, StopArgs, TopArgs, UndrainArgs, WaitArgs,
};
use error::{CommandResult, Exit};

/// Deployment networks of Python interpreters
#[derive(Debug, Parser)]
#[command(
    name = "execnet",
    version,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "\
Example:
  execnet start mynet ssh=build1 ssh=build2//python=pypy3
  execnet python mynet --platform linux -c 'import sys; print(sys.version)'
  execnet exec mynet 'import os; channel.send(os.getloadavg())'
  execnet stop mynet"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Start(StartArgs),
    Addhost(AddhostArgs),
    Rmhost(RmhostArgs),
    Drain(DrainArgs),
    Undrain(UndrainArgs),
    Status(StatusArgs),
    Python(PythonArgs),
    Run(RunArgs),
    Exec(ExecArgs),
    Copy(CopyArgs),
    Ps(PsArgs),
    Top(TopArgs),
    Attach(AttachArgs),
    Wait(WaitArgs),
    Kill(KillArgs),
    Packages(PackagesArgs),
    List(ListArgs),
    Logs(LogsArgs),
    Stop(StopArgs),
    Export(ExportArgs),
    Import(ImportArgs),
    Man(ManArgs),
    Completions(CompletionsArgs),
    #[command(hide = true)]
    Daemon(DaemonArgs),
}

impl Command {
    fn run(self) -> CommandResult {
        match self {
            Command::Start(args) => args.run(),
            Command::Addhost(args) => args.run(),
            Command::Rmhost(args) => args.run(),
            Command::Drain(args) => args.run(),
            Command::Undrain(args) => args.run(),
            Command::Status(args) => args.run(),
            Command::Python(args) => args.run(),
            Command::Run(args) => args.run(),
            Command::Exec(args) => args.run(),
            Command::Copy(args) => args.run(),
            Command::Ps(args) => args.run(),
            Command::Top(args) => args.run(),
            Command::Attach(args) => args.run(),
            Command::Wait(args) => args.run(),
            Command::Kill(args) => args.run(),
            Command::Packages(args) => args.run(),
            Command::List(args) => args.run(),
            Command::Logs(args) => args.run(),
            Command::Stop(args) => args.run(),
            Command::Export(args) => args.run(),
            Command::Import(args) => args.run(),
            Command::Man(args) => args.run(),
            Command::Completions(args) => args.run(),
            Command::Daemon(args) => args.run(),
        }
    }
}

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    if let Some(code) = askpass::run(&args) {
        return code;
    }
    commands::complete::answer(Cli::command, &args);
    let is_python = args.get(1).is_some_and(|verb| verb == "python");
    let args = commands::mark_arguments(args);
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => {
            return usage(&error, &args, is_python);
        }
    };
    cli.command.run().unwrap_or_else(|mut failure| {
        if is_python {
            failure.exit = Exit::Python;
        }
        print::error(&failure);
        failure.exit.into()
    })
}

/// Prints help, or a usage error in the form of our other errors.
fn usage(error: &clap::Error, args: &[OsString], is_python: bool) -> ExitCode {
    if error.exit_code() == 0 {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let said = match (error.kind(), not_text(args)) {
        (ErrorKind::InvalidUtf8, Some((at, arg))) => format!("error: argument {at} is not UTF-8: {arg:?}"),
        (ErrorKind::UnknownArgument, _) if is_code_as_of_python(error, args) => {
            "error: `execnet exec` takes code without -c\nHint: `execnet exec NETWORK CODE`".into()
        }
        _ => error.to_string(),
    };
    let said = said.strip_prefix("error: ").map_or(said.clone(), |said| format!("Error: {said}"));
    print::say_styled(&style::message(&execnet_proto::text::lines(said.trim_end())));
    if is_python { Exit::Python.into() } else { Exit::Usage.into() }
}

/// Whether code was given to `exec` with `-c`, as to Python.
fn is_code_as_of_python(error: &clap::Error, args: &[OsString]) -> bool {
    let wrong = error.get(ContextKind::InvalidArg).map(ToString::to_string);
    args.get(1).is_some_and(|verb| verb == "exec") && wrong.as_deref() == Some("-c")
}

/// The first argument that must be text and is not, with its position. Arguments for Python may be any bytes.
fn not_text(args: &[OsString]) -> Option<(usize, &OsString)> {
    let ours = args.iter().enumerate().take_while(|(_, arg)| *arg != "--");
    ours.skip(1).find(|(_, arg)| arg.to_str().is_none())
}

#[cfg(test)]
mod tests;
