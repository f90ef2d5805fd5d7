//! Options that select nodes and set up the process there, shared by `python`, `exec` and `run`; and where
//! the options of these commands end.

use std::ffi::{OsStr, OsString};

use clap::Args;
use execnet_proto::spec::{NodeSelection, nearest};
use execnet_proto::switch::MAX_PROCESSES;

use super::complete;
use crate::error::{CommandError, Exit};

const IMPLEMENTATIONS: [&str; 3] = ["cpython", "jython", "pypy"];

/// Common systems, and the implementations, which `--platform` takes too.
const PLATFORMS: [&str; 7] = ["cpython", "darwin", "freebsd", "java", "jython", "linux", "pypy"];

/// Requirements for a node, and settings for the process on it.
#[derive(Debug, Args)]
pub(super) struct NodeOptions {
    /// Node, host, or set of them: `build1`, `'build[1-20]'`, `'@web,!web7'`
    #[arg(long, value_name = "SET", add = complete::sets_of_nodes())]
    pub(super) node: Option<String>,
    /// Prefix of `sys.platform` or of the implementation: `linux`, `java`, `pypy`
    #[arg(long, value_name = "PREFIX", add = complete::words(&PLATFORMS))]
    platform: Option<String>,
    /// Implementation: `cpython`, `pypy` or `jython`
    #[arg(long, value_name = "NAME", add = complete::words(&IMPLEMENTATIONS))]
    implementation: Option<String>,
    /// Version: `3.11`, `'>=3.8'`, `'>=3.8,<3.12'`
    #[arg(long, value_name = "VERSION")]
    python_version: Option<String>,
    /// Working folder on the host
    #[arg(long, value_name = "FOLDER", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(super) chdir: Option<String>,
    /// Environment variable of the process (repeatable)
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
}

/// How many of the nodes that match.
#[derive(Debug, Args)]
pub(super) struct HowMany {
    /// Use only one matching node, the least busy
    #[arg(long)]
    pub(super) one: bool,
    /// Use at most N of the matching nodes, the least busy
    #[arg(long, value_name = "N", conflicts_with = "one", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
}

impl HowMany {
    pub(super) fn limit(&self) -> Option<usize> {
        self.limit.map(|limit| limit as usize)
    }
}

/// How many at a time: no more processes than a program can have.
pub(super) fn fanout() -> impl clap::builder::TypedValueParser<Value = u32> {
    clap::value_parser!(u32).range(1..=MAX_PROCESSES as i64)
}

impl NodeOptions {
    pub(super) fn selection(&self) -> Result<NodeSelection, CommandError> {
        let values = [&self.node, &self.platform, &self.implementation, &self.python_version];
        let given = NodeSelection::KEYS.into_iter().zip(values);
        NodeSelection::from_pairs(given.filter_map(|(key, value)| Some((key, value.as_deref()?))))
            .map_err(|error| CommandError::new(Exit::Usage, error))
    }

    /// The environment variables, as names and values.
    pub(super) fn variables(&self) -> Result<Vec<(&str, &str)>, CommandError> {
        self.env.iter().map(|pair| variable(pair)).collect()
    }
}

fn variable(pair: &str) -> Result<(&str, &str), CommandError> {
    let split = pair.split_once('=').filter(|(name, _)| !name.is_empty());
    split.ok_or_else(|| CommandError::new(Exit::Usage, format!("--env {pair}: expected NAME=VALUE")))
}

/// Options with a value.
const WITH_VALUE: [&str; 6] =
    ["--node", "--platform", "--implementation", "--python-version", "--chdir", "--env"];

/// The options of a command whose last arguments are somebody else's.
struct Verb {
    name: &'static str,
    /// Options with a value, besides [`WITH_VALUE`].
    with_value: &'static [&'static str],
    flags: &'static [&'static str],
    /// Letters of flags that can be written together.
    letters: &'static str,
    /// The first argument after the network may be an option of somebody else.
    foreign: bool,
}

const VERBS: [Verb; 3] = [
    Verb {
        name: "python",
        with_value: &["--with", "--environment", "--escape"],
        // Python itself has `-t` in version 2, and takes it behind `--`
        flags: &["--large", "-t", "-T"],
        letters: "",
        foreign: true,
    },
    Verb {
        name: "exec",
        with_value: &["--with", "--environment", "--limit", "--fanout"],
        flags: &["--large", "--one", "--json", "--fold"],
        letters: "b",
        foreign: false,
    },
    Verb {
        name: "run",
        with_value: &[
            "--limit",
            "--fanout",
            "--timeout",
            "--escape",
            "--keep",
            "--keep-for",
            "--keep-output",
        ],
        flags: &["--one", "--json", "--fold", "--fail-fast", "--no-stdin"],
        letters: "bntT",
        foreign: false,
    },
];

impl Verb {
    /// How many arguments an option of this command takes up, itself included.
    fn length(&self, text: &str) -> Option<usize> {
        let option = text.split_once('=').map_or(text, |(option, _)| option);
        if WITH_VALUE.contains(&option) || self.with_value.contains(&option) {
            return Some(if text == option { 2 } else { 1 });
        }
        if self.flags.contains(&text) {
            return Some(1);
        }
        let letters = text.strip_prefix('-').filter(|letters| !letters.is_empty())?;
        let rest = letters.trim_start_matches(|letter| self.letters.contains(letter));
        match rest {
            "" => Some(1),
            // the line follows, or stands right behind
            "c" if self.name == "run" => Some(2),
            _ => (self.name == "run" && rest.starts_with('c')).then_some(1),
        }
    }

    /// Whether an option is close to one of ours, or its beginning. Python has few long options; only its
    /// `--jit` is close to one of ours.
    fn is_misspelt(option: &str) -> bool {
        let all = VERBS[..2].iter().flat_map(|verb| verb.with_value.iter().chain(verb.flags));
        let names = || WITH_VALUE.iter().chain(all.clone()).filter_map(|name| name.strip_prefix("--"));
        option.strip_prefix("--").is_some_and(|name| {
            nearest(name, names().filter(|ours| *ours != "with")).is_some()
                || name.len() > 2 && names().any(|ours| ours.starts_with(name))
        })
    }
}

/// Puts `--` before the arguments for Python, the code or the command, so that their options are not taken
/// for ours.
///
/// A misspelt option of ours stays in place, so that it is refused with a suggestion.
pub(crate) fn mark_arguments(mut args: Vec<OsString>) -> Vec<OsString> {
    let verb = args.get(1).and_then(|verb| VERBS.iter().find(|known| *verb == known.name));
    let Some(verb) = verb else { return args };
    let mut named = false;
    let mut at = 2;
    while let Some(arg) = args.get(at) {
        let text = arg.to_string_lossy();
        let text = text.as_ref();
        let option = text.split_once('=').map_or(text, |(option, _)| option);
        // unknown options are Python's; code and commands do not start with `-`
        let foreign = text.starts_with('-') && (!named || !verb.foreign && text != "-");
        if let Some(length) = verb.length(text) {
            at += length;
        } else if arg == OsStr::new("--") || foreign || Verb::is_misspelt(option) {
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
            ("execnet python net -t -u x.py", "execnet python net -t -- -u x.py"),
            ("execnet python -T net -c x -t", "execnet python -T net -- -c x -t"),
            ("execnet run net -t vim -T x", "execnet run net -t -- vim -T x"),
            ("execnet python net -tt x.py", "execnet python net -- -tt x.py"),
            ("execnet python net --escape ^] -t", "execnet python net --escape ^] -t"),
            ("execnet exec net -t code", "execnet exec net -t code"),
            ("execnet python net -V", "execnet python net -- -V"),
            ("execnet python net --help", "execnet python net -- --help"),
            ("execnet python net --node n -u -c x", "execnet python net --node n -- -u -c x"),
            ("execnet python net --node=n --env A=1 a.py", "execnet python net --node=n --env A=1 -- a.py"),
            ("execnet python --platform java net -- -c x", "execnet python --platform java net -- -c x"),
            ("execnet python net --nodes n", "execnet python net --nodes n"),
            ("execnet python net --impl jython -c x", "execnet python net --impl jython -c x"),
            ("execnet python net --plat=java -c x", "execnet python net --plat=java -c x"),
            ("execnet python net --platfrom=java -c x", "execnet python net --platfrom=java -c x"),
            ("execnet python net --node n --chidr x", "execnet python net --node n --chidr x"),
            ("execnet python net -- --platfrom x", "execnet python net -- --platfrom x"),
            ("execnet python net a.py --platfrom x", "execnet python net -- a.py --platfrom x"),
            ("execnet python net --version", "execnet python net -- --version"),
            ("execnet python net --help-xoptions", "execnet python net -- --help-xoptions"),
            (
                "execnet python net --check-hash-based-pycs never x.py",
                "execnet python net -- --check-hash-based-pycs never x.py",
            ),
            ("execnet python net -", "execnet python net -- -"),
            ("execnet python net", "execnet python net"),
            ("execnet python --help", "execnet python --help"),
            ("execnet python --nod net x", "execnet python --nod net x"),
            ("execnet python net --node", "execnet python net --node"),
            ("execnet exec net code --node x", "execnet exec net -- code --node x"),
            (
                "execnet exec net --one --json --node x code -x",
                "execnet exec net --one --json --node x -- code -x",
            ),
            ("execnet exec --one net - x", "execnet exec --one net -- - x"),
            ("execnet exec net --limit 3 code -x", "execnet exec net --limit 3 -- code -x"),
            ("execnet exec net --jsno code", "execnet exec net --jsno code"),
            ("execnet exec net -- -x", "execnet exec net -- -x"),
            ("execnet exec net --help", "execnet exec net --help"),
            ("execnet python net --one", "execnet python net --one"),
            (
                "execnet python net --with ./src --large --environment=x -c --with",
                "execnet python net --with ./src --large --environment=x -- -c --with",
            ),
            ("execnet exec net --with=* --large - x", "execnet exec net --with=* --large -- - x"),
            ("execnet python net --enviroment x -c y", "execnet python net --enviroment x -c y"),
            ("execnet python net --print", "execnet python net -- --print"),
            ("execnet python net --jit off", "execnet python net -- --jit off"),
            ("execnet exec net -b code -b", "execnet exec net -b -- code -b"),
            ("execnet status net -x", "execnet status net -x"),
            ("execnet run net uname -r", "execnet run net -- uname -r"),
            ("execnet run net -b -- uname -b", "execnet run net -b -- uname -b"),
            (
                "execnet run -nb net --fanout 3 --timeout=5 --fail-fast ls --json",
                "execnet run -nb net --fanout 3 --timeout=5 --fail-fast -- ls --json",
            ),
            ("execnet run net -c -x y --node", "execnet run net -c -x -- y --node"),
            ("execnet run net -bc id y -c", "execnet run net -bc id -- y -c"),
            ("execnet run net -cid y", "execnet run net -cid -- y"),
            ("execnet run net -x id", "execnet run net -x id"),
            ("execnet run net --fan 3 id", "execnet run net --fan 3 id"),
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
