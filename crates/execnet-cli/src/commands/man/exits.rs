//! The exit statuses of the commands, as docs/cli.md has them.

type Meaning = (&'static str, &'static str);

const DONE: Meaning = ("0", "done");
const FAILED: Meaning = ("1", "failed for a reason without a code of its own");
const USAGE: Meaning = ("2", "wrong option, name, host spec or file; nothing was changed");
const NO_NETWORK: Meaning = ("3", "the network does not exist or is not running");
const NO_HOST: Meaning = ("4", "there is no such host");
const CLEANED: Meaning =
    ("6", "with `--clean`: some hosts could not be asked, or cannot use their folder; the rest is done");

/// All of them, in general.
const ALL: [Meaning; 8] = [
    DONE,
    FAILED,
    USAGE,
    NO_NETWORK,
    ("4", "there is no such host, or no node matches"),
    ("5", "the network is already running"),
    (
        "6",
        "some hosts did not come up and are retried, or have no working Python, or could not be used; the \
         rest is done",
    ),
    ("125", "`execnet python` itself failed, and not its process"),
];

/// What the statuses of a command mean.
pub(super) fn of(is_root: bool, command: &str) -> Vec<Meaning> {
    let with = |more: &[Meaning]| [&[DONE, FAILED, USAGE, NO_NETWORK], more].concat();
    match command {
        _ if is_root => ALL.to_vec(),
        "start" => vec![
            DONE,
            FAILED,
            USAGE,
            ("5", "the network is already running"),
            ("6", "some hosts did not come up and are retried, or have no working Python; the others are up"),
        ],
        "addhost" => with(&[("6", "the host did not come up and is retried, or has no working Python")]),
        "rmhost" => with(&[NO_HOST, CLEANED]),
        "drain" | "undrain" => with(&[NO_HOST]),
        "python" => vec![
            ("N", "the process ended with this status"),
            ("128+N", "signal N ended the process"),
            (
                "125",
                "wrong options, no such network, no node matches, Python could not be started, or the \
                 process is lost",
            ),
        ],
        "run" => vec![
            ("0", "the command succeeded on every host"),
            ("1-255", "the highest status of all hosts: that of the process, or one of the following"),
            ("6", "a host was left out, could not be reached, or was lost"),
            ("124", "it ran longer than `--timeout`"),
            ("126", "it could not be started"),
            ("127", "there is no such program"),
            ("128+N", "signal N ended it"),
            ("2, 3, 4", "nothing was run: wrong options; no such network; no host matches"),
        ],
        "exec" => vec![
            ("0", "the code ended without an exception on every node that matches"),
            ("1", "there was an exception on some node; `sys.exit` with a status other than 0 counts as one"),
            ("2", "wrong options, or no such file"),
            NO_NETWORK,
            ("4", "no node matches"),
            (
                "6",
                "some node that matches was left out, could not be opened, or did not live to the end of the \
                 code",
            ),
        ],
        "copy" => with(&[
            ("1", "some file could not be copied; the others were"),
            NO_HOST,
            ("6", "some hosts could not be reached, or have no working Python; the others are done"),
        ]),
        "packages" => with(&[
            NO_HOST,
            ("6", "some hosts could not be asked, or cannot use their folder; the rest is done"),
        ]),
        "stop" => with(&[CLEANED]),
        "ps" | "top" => with(&[NO_HOST]),
        "kill" => with(&[
            ("4", "no process has one of the ids; the signal was sent to the others"),
            (
                "6",
                "a signal waits for its host or the start of the process, or the agent there cannot send it",
            ),
        ]),
        "list" | "man" | "completions" => vec![DONE, FAILED, USAGE],
        _ => with(&[]),
    }
}
