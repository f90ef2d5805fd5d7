//! `execnet python`: a stand-in for `python` that runs on a node of a network.

use std::ffi::{OsStr, OsString};

use clap::Args;

use crate::failure::{Exit, Failure, Outcome};

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
        Err(Failure::new(Exit::Python, "not there yet"))
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
        let text = arg.to_str().unwrap_or("");
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
    }
}
