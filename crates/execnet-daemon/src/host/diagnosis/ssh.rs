//! Messages of OpenSSH: which step failed, what to say about it, and whether the server may count it as a
//! refused login.
//!
//! Pure text. The caller knows whether the words are ssh's own and not the host's.

use execnet_proto::control::Step;

use super::Retry;

/// What some words of ssh mean. `HOST` in the hint is replaced by the destination.
pub(super) struct Row {
    words: &'static [&'static str],
    pub(super) step: Step,
    pub(super) error: &'static str,
    pub(super) hint: &'static str,
    pub(super) retry: Retry,
}

const fn row(
    step: Step,
    retry: Retry,
    words: &'static [&'static str],
    error: &'static str,
    hint: &'static str,
) -> Row {
    Row { words, step, error, hint, retry }
}

/// Gives the first explanation that fits what ssh wrote.
pub(super) fn explain(said: &str) -> Option<&'static Row> {
    if is_silent_proxy(said) {
        return Some(&SILENT_PROXY);
    }
    ROWS.iter().find(|row| row.words.iter().any(|word| said.contains(word)))
}

/// ssh says only these two things about a proxy command that ended without a message.
fn is_silent_proxy(said: &str) -> bool {
    let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("debug"));
    let of_the_end = |line: &str| line.contains("exchange_identification") || line.contains("UNKNOWN port");
    said.contains("UNKNOWN port") && lines.all(of_the_end)
}

static SILENT_PROXY: Row = row(
    Step::Connect,
    Retry::Late,
    &[],
    "the jump host or proxy command of the ssh configuration ended without a message",
    "check its `ProxyJump` or `ProxyCommand` with `ssh HOST true`; a `LogLevel` in the configuration may \
     hide its messages",
);

static ROWS: &[Row] = &[
    row(
        Step::Start,
        Retry::Late,
        &[
            "Bad configuration option",
            "bad configuration option",
            "command-line line ",
            "Bad port '",
            "Unknown cipher type",
            "Unknown mac type",
            "Couldn't open logfile",
            "Bad SSH2",
            "Can't open user config file",
            "no argument after keyword",
            "unknown option --",
            "usage: ssh",
        ],
        "ssh does not accept its options or its configuration",
        "correct the spec or the ssh configuration; `ssh HOST true` shows the same error",
    ),
    row(
        Step::Start,
        Retry::Late,
        &["Bad owner or permissions on"],
        "other users can write to the ssh configuration, so ssh does not use it",
        "`chmod go-w` the file and its folder; `ssh HOST true` shows the same error",
    ),
    row(
        Step::Resolve,
        Retry::Soon,
        &["Could not resolve hostname"],
        "its name cannot be resolved",
        "check the spelling, or give it a `Host` entry in the ssh configuration",
    ),
    row(
        Step::HostKey,
        Retry::Late,
        &["REMOTE HOST IDENTIFICATION HAS CHANGED", "has changed and you have requested strict checking"],
        "its host key has changed",
        "someone may be intercepting the connection; if you expect the change, `ssh-keygen -R` forgets the \
         old key",
    ),
    row(
        Step::HostKey,
        Retry::Late,
        &["Host key verification failed", "host key is known for", "Host key not verified"],
        "its host key is not known here",
        "connect once with `ssh HOST` and compare the key, or add it to known_hosts; with this spec, \
         `execnet addhost` lets ssh ask you",
    ),
    row(
        Step::Authenticate,
        Retry::Late,
        &["Too many authentication failures"],
        "the server gave up after too many keys",
        "name the right key: `IdentitiesOnly yes` and `IdentityFile` in the ssh configuration",
    ),
    row(
        Step::Authenticate,
        Retry::Late,
        &["UNPROTECTED PRIVATE KEY FILE"],
        "other users can read the private key, so ssh does not use it",
        "`chmod 600` the key file",
    ),
    row(
        Step::Authenticate,
        Retry::Late,
        &["signing failed", "agent refused operation"],
        "the ssh agent did not sign with the key",
        "is the key's device plugged in, or is its passphrase asked for elsewhere? `ssh-add -l` lists the \
         keys; `ssh HOST true` shows the same error",
    ),
    row(
        Step::Authenticate,
        Retry::Late,
        &[
            "Permission denied (",
            "Permission denied, please try again",
            "Authentication failed",
            "no authentication methods",
        ],
        "the server does not accept this login",
        "check the user's name and the key (`ssh HOST true`); `ssh-add` gives the key to the ssh agent; with \
         this spec, `execnet addhost` tries at once and asks for a password",
    ),
    row(
        Step::Connect,
        Retry::Late,
        &[
            "Unable to negotiate with",
            "no matching key exchange method",
            "no matching host key type",
            "no matching cipher",
        ],
        "it and this ssh have no algorithm in common",
        "one of the two ssh programs is too old",
    ),
    row(
        Step::Connect,
        Retry::Soon,
        &["Connection refused"],
        "nothing listens on its ssh port",
        "is sshd running, and is the port right?",
    ),
    row(
        Step::Connect,
        Retry::Soon,
        &["Connection timed out", "Operation timed out", "timed out waiting"],
        "it does not answer",
        "is it switched on, and is there a firewall in between?",
    ),
    row(
        Step::Connect,
        Retry::Soon,
        &["No route to host", "Network is unreachable", "Host is down"],
        "the network has no route to it",
        "check the network, a VPN, or reach it through another host with `via=`",
    ),
    row(
        Step::Connect,
        Retry::Soon,
        &[
            "administratively prohibited",
            "open failed",
            "stdio forwarding failed",
            "Stdio forwarding request failed",
        ],
        "the host in front of it does not forward to it",
        "check the jump host of the ssh configuration, or use `via=`",
    ),
    row(
        Step::Connect,
        Retry::Soon,
        &["kex_exchange_identification", "ssh_exchange_identification", "banner exchange"],
        "the server closed the connection before a login began",
        "it limits unfinished logins (MaxStartups), it or a firewall blocks this address, or the port is not \
         sshd's",
    ),
    row(
        Step::Connect,
        Retry::Soon,
        &["closed by remote host", "not responding", "Broken pipe", "client_loop: send disconnect"],
        "the connection broke",
        "sshd was stopped or restarted, the session was ended there, or the network was interrupted",
    ),
    row(
        Step::Connect,
        Retry::Doubtful,
        &["Connection closed by", "Connection reset", "Received disconnect", "Disconnected from"],
        "the server closed the connection during the login",
        "its log says why: the login took too long (LoginGraceTime), or the account is locked or not allowed",
    ),
    // other failures of this kind never got as far as a login
    row(
        Step::Connect,
        Retry::Soon,
        &["ssh: connect to host"],
        "ssh could not connect to it",
        "`ssh HOST true` shows the same error",
    ),
];
