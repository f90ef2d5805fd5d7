//! The connection to a network's daemon, and the errors if there is none.

use std::io::{self, IsTerminal};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use execnet::{Connect, ConnectError, Network, RequestError};
use execnet_proto::control::{ErrorKind, GroupsReply, ReplyError, Request, Status, Verb};
use execnet_proto::spec::sets::Groups;
use execnet_proto::spec::{NetworkName, nearest};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::config::{DEFAULT_LINGER, NetworkFile};
use crate::error::{CommandError, Exit};
use crate::{paths, print};

/// How long a killed daemon takes at most to disappear.
const DYING: Duration = Duration::from_millis(500);

/// How long to wait silently for a daemon. It answers in milliseconds unless it is stopped or the machine is
/// very busy.
const SLOW: Duration = Duration::from_secs(3);

/// How long a connection is lost before a person is told.
const BREAK: Duration = Duration::from_secs(1);

/// How often to look whether a daemon is there again.
const LOOK: Duration = Duration::from_millis(200);

/// How long a daemon may be gone beyond the agents' linger time.
const GRACE: Duration = Duration::from_secs(30);

/// Answers requests: a daemon, or a script in tests.
pub(crate) trait DaemonApi {
    /// Sends a request and iterates over the replies as they come. Other requests may be made between two
    /// replies.
    fn ask(&self, request: &Request) -> Replies<'_>;
}

/// The replies to one request, in order.
pub(crate) type Replies<'a> = Box<dyn Iterator<Item = Result<Value, CommandError>> + 'a>;

/// A request with the variables that the daemon takes from our environment.
pub(crate) fn request(verb: Verb) -> Request {
    let mut request = Request::from(verb);
    if let Ok(socket) = std::env::var("SSH_AUTH_SOCK") {
        request.env.insert("SSH_AUTH_SOCK".to_owned(), socket);
    }
    request
}

/// Sends a request that has one reply.
pub(crate) fn ask_once<T: DeserializeOwned>(network: &Network, verb: Verb) -> Result<T, CommandError> {
    network.ask(&request(verb)).map_err(|error| failed(&error))
}

/// Gives the daemon the groups of the network's file, which may have changed since it was started, and
/// returns those that it has now.
pub(crate) fn read_groups(network: &Network) -> Result<Groups, CommandError> {
    let name: NetworkName = network.name().parse().map_err(|error| CommandError::new(Exit::Usage, error))?;
    let path = paths::network_file(&name)?;
    let groups = NetworkFile::load(&path)?.groups().to_texts();
    let file = path.to_string_lossy().into_owned();
    let reply: GroupsReply = ask_once(network, Verb::Groups { file, groups })?;
    let texts = reply.groups.iter().map(|(name, set)| (name.as_str(), set.as_str()));
    Groups::new(texts).map_err(|error| CommandError::new(Exit::Failed, error))
}

impl DaemonApi for Network {
    fn ask(&self, request: &Request) -> Replies<'_> {
        Box::new(self.request(request).map(|reply| reply.map_err(|error| failed(&error))))
    }
}

/// The error of a failed request.
pub(crate) fn failed(error: &RequestError) -> CommandError {
    match error {
        RequestError::Refused(error) => refused(error),
        RequestError::Disconnected { .. } => gone(),
        RequestError::Connect(ConnectError::Silent { network }) => silent(network, daemon_of(network)),
        error => CommandError::new(Exit::Failed, "cannot query the network's daemon").because(error),
    }
}

/// Reads a reply of a known shape.
pub(crate) fn read<T: DeserializeOwned>(reply: Value) -> Result<T, CommandError> {
    serde_json::from_value(reply).map_err(|error| {
        CommandError::new(Exit::Failed, "the daemon sent an unexpected reply").because(&error)
    })
}

/// The daemon ended before its last reply.
pub(crate) fn gone() -> CommandError {
    CommandError::new(Exit::Failed, "the network's daemon ended before it replied")
        .hint("`execnet logs NETWORK` shows its log, and `execnet start NETWORK` starts it again")
}

/// The daemon refused a request.
pub(crate) fn refused(error: &ReplyError) -> CommandError {
    let exit = match error.kind {
        ErrorKind::Usage | ErrorKind::DuplicateHost => Exit::Usage,
        ErrorKind::NoSuchHost => Exit::NoHost,
        ErrorKind::InUse
        | ErrorKind::Keeps
        | ErrorKind::Closing
        | ErrorKind::Cancelled
        | ErrorKind::Other => Exit::Failed,
    };
    let failure = CommandError::new(exit, &error.message);
    match &error.hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// The error if the daemon found no node.
pub(crate) fn no_match(exit: Exit, message: &str) -> CommandError {
    match advice(message) {
        (message, Some(hint)) => CommandError::new(exit, message).hint(hint),
        (message, None) => CommandError::new(exit, message),
    }
}

/// Why the daemon found no node, and its hint, which has a line of its own. Lines of lists are indented.
pub(crate) fn advice(message: &str) -> (&str, Option<&str>) {
    match message.split_once('\n') {
        Some((message, hint)) if !hint.starts_with(' ') => (message, Some(hint)),
        _ => (message, None),
    }
}

/// Connects to a network's daemon. It may be of another release: only the version of the protocol counts.
pub(crate) fn connect(name: &NetworkName) -> Result<Network, CommandError> {
    open(name, |connect| connect)
}

/// As [`connect`], but stays connected while the daemon is away for as long as agents wait for one. Says
/// which hosts are unreachable.
pub(crate) fn open_patiently(name: &NetworkName) -> Result<Network, CommandError> {
    let network = open(name, |connect| {
        let connect = connect.patience(patience(name));
        if io::stderr().is_terminal() { connect.tell_after(BREAK) } else { connect }
    })?;
    network.on_outage(|outage| print::say(&format!("execnet: {outage}")));
    Ok(network)
}

/// How long a daemon may be gone: as long as agents wait for one.
pub(crate) fn patience(name: &NetworkName) -> Duration {
    let file = paths::network_file(name).and_then(|path| NetworkFile::load(&path));
    file.ok().and_then(|file| file.linger()).unwrap_or(DEFAULT_LINGER) + GRACE
}

/// Waits until a daemon of the network answers again, after the end of the one that had a request. Returns
/// the network's status then.
///
/// # Errors
/// If none does within [`patience`].
pub(crate) fn await_next_daemon(name: &NetworkName, network: &Network) -> Result<Status, CommandError> {
    let (since, patience) = (Instant::now(), patience(name));
    loop {
        match network.ask(&request(Verb::Status)) {
            Err(RequestError::Connect(_) | RequestError::Disconnected { .. })
                if since.elapsed() < patience =>
            {
                sleep(LOOK);
            }
            Err(RequestError::Connect(error)) => return Err(unconnected(name, &error)),
            answer => return answer.map_err(|error| failed(&error)),
        }
    }
}

/// As [`connect`], with options of the connection.
pub(crate) fn open(
    name: &NetworkName,
    say: impl FnOnce(Connect) -> Connect,
) -> Result<Network, CommandError> {
    say_if_hidden(name);
    let verb = std::env::args_os().nth(1).unwrap_or_default();
    let verb = verb.to_string_lossy();
    let connect = Connect::to(name.as_str())
        .map(|connect| say(connect.release(env!("CARGO_PKG_VERSION")).program(format!("execnet {verb}"))));
    let answered = say_when_slow(name);
    let network = connect.and_then(Connect::open);
    drop(answered);
    network.map_err(|error| unconnected(name, &error))
}

/// Tells a waiting person that the daemon does not answer, unless the returned sender is dropped before.
fn say_when_slow(name: &NetworkName) -> mpsc::Sender<()> {
    let (answered, slow) = mpsc::channel();
    if io::stderr().is_terminal() {
        let name = name.clone();
        thread::spawn(move || {
            if slow.recv_timeout(SLOW) == Err(mpsc::RecvTimeoutError::Timeout) {
                let daemon = paths::daemon(&name).map_or(String::new(), |pid| format!(" ({pid})"));
                print::say(&format!("the daemon of {name}{daemon} does not answer; waiting for up to 30 s"));
            }
        });
    }
    answered
}

/// The error if there is no connection.
pub(crate) fn unconnected(name: &NetworkName, error: &ConnectError) -> CommandError {
    match error {
        ConnectError::NotRunning { .. } => not_running(name, &paths::known(), paths::was_killed(name)),
        ConnectError::NoSocket { daemon, socket, .. } => {
            let message = format!(
                "the network `{name}` is running (daemon {daemon}), but nothing listens at {}",
                socket.display()
            );
            CommandError::new(Exit::Failed, message).hint(format!(
                "the daemon tries every 5 s to recreate its socket; `execnet logs {name}` says why that fails"
            ))
        }
        ConnectError::OtherVersion { daemon, program, .. } => {
            let ours = env!("CARGO_PKG_VERSION");
            let message = format!(
                "execnet {ours} speaks protocol version {program}, but the daemon of `{name}` speaks {daemon}"
            );
            CommandError::new(Exit::Failed, message).hint(format!(
                "`execnet stop {name}` with the execnet that started it, `execnet start {name}` with this"
            ))
        }
        ConnectError::Silent { network } => silent(network, paths::daemon(name)),
        error => {
            CommandError::new(Exit::Failed, format!("cannot connect to the network `{name}`")).because(error)
        }
    }
}

fn daemon_of(network: &str) -> Option<u32> {
    paths::daemon(&network.parse().ok()?)
}

/// The daemon runs, but did not answer in time.
fn silent(network: &str, daemon: Option<u32>) -> CommandError {
    let Some(pid) = daemon else {
        let message = format!("the daemon of `{network}` does not answer");
        return CommandError::new(Exit::Failed, message)
            .hint(format!("`execnet logs {network}` may show why"));
    };
    let message = format!("the daemon of `{network}`, process {pid}, does not answer");
    CommandError::new(Exit::Failed, message).hint(format!(
        "if stopped, `kill -CONT {pid}`; else `kill -9 {pid}` and `execnet start {network}`, which takes over"
    ))
}

/// Whether the network has a daemon, reachable or not.
pub(crate) fn is_running(name: &NetworkName) -> bool {
    is_listening(name) || paths::daemon(name).is_some()
}

/// Whether the network has a daemon that does not end within [`DYING`].
pub(crate) fn stays_running(name: &NetworkName) -> bool {
    let deadline = Instant::now() + DYING;
    while is_running(name) {
        if Instant::now() >= deadline {
            return true;
        }
        sleep(Duration::from_millis(10));
    }
    false
}

/// What `start` says of a network that runs.
pub(crate) fn already_running(name: &NetworkName) -> CommandError {
    CommandError::new(Exit::Running, format!("the network `{name}` is already running"))
        .hint(format!("`execnet addhost {name} SPEC` adds a host; `execnet status {name}` shows the network"))
}

fn is_listening(name: &NetworkName) -> bool {
    let connect = |socket: &Path| execnet::place::reach(socket, |path| UnixStream::connect(path));
    execnet::place::sockets(name).iter().any(|socket| paths::is_ours(socket) && connect(socket).is_ok())
}

/// Tells a person that the daemon has lost its socket: connecting waits for it.
fn say_if_hidden(name: &NetworkName) {
    if io::stderr().is_terminal()
        && !paths::is_ours(&paths::socket(name))
        && let Some(daemon) = paths::daemon(name)
    {
        print::say(&format!("the socket of {name} is gone; its daemon ({daemon}) recreates it within 5 s"));
    }
}

/// Nothing listens: the network is stopped or never existed. `killed`: its daemon left its lock behind.
pub(crate) fn not_running(name: &NetworkName, known: &[NetworkName], killed: bool) -> CommandError {
    if killed {
        let message = format!("the network `{name}` is not running: its daemon was killed");
        return CommandError::new(Exit::NoNetwork, message).hint(format!(
            "`execnet start {name}` takes over what still runs there; else that ends when `linger` is over"
        ));
    }
    if known.contains(name) {
        return CommandError::new(Exit::NoNetwork, format!("the network `{name}` is not running"))
            .hint(format!("`execnet start {name}` starts it"));
    }
    let failure = CommandError::new(Exit::NoNetwork, format!("there is no network `{name}`"));
    match nearest(name.as_str(), known.iter().map(NetworkName::as_str)) {
        Some(near) => failure.hint(format!("did you mean `{near}`?")),
        None => {
            failure.hint(format!("`execnet list` lists networks; `execnet start {name}` creates this one"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<NetworkName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn a_network_that_is_not_there_is_told_from_one_that_is_stopped() {
        let known = names(&["mynet", "tests"]);
        insta::assert_snapshot!(not_running(&names(&["mynet"])[0], &known, false), @"
        Error: the network `mynet` is not running
        Hint: `execnet start mynet` starts it
        ");
        insta::assert_snapshot!(not_running(&names(&["mynte"])[0], &known, false), @"
        Error: there is no network `mynte`
        Hint: did you mean `mynet`?
        ");
        insta::assert_snapshot!(not_running(&names(&["production"])[0], &known, false), @"
        Error: there is no network `production`
        Hint: `execnet list` lists networks; `execnet start production` creates this one
        ");
        insta::assert_snapshot!(not_running(&names(&["mynet"])[0], &known, true), @"
        Error: the network `mynet` is not running: its daemon was killed
        Hint: `execnet start mynet` takes over what still runs there; else that ends when `linger` is over
        ");
    }

    #[test]
    fn a_daemon_that_cannot_be_reached_is_not_taken_for_none() {
        let socket = "/tmp/execnet-7/mynet.daemon.sock".into();
        let error = ConnectError::NoSocket { network: "mynet".into(), daemon: 4242, socket };
        let said = unconnected(&names(&["mynet"])[0], &error).to_string();
        assert!(said.contains("`mynet` is running (daemon 4242), but nothing listens at /tmp/"), "{said}");
        assert!(said.contains("Hint: ") && !said.contains("execnet start"), "{said}");
    }

    #[test]
    fn a_daemon_that_does_not_answer_is_named_with_what_to_do() {
        insta::assert_snapshot!(silent("mynet", Some(4242)), @"
        Error: the daemon of `mynet`, process 4242, does not answer
        Hint: if stopped, `kill -CONT 4242`; else `kill -9 4242` and `execnet start mynet`, which takes over
        ");
        insta::assert_snapshot!(silent("mynet", None), @"
        Error: the daemon of `mynet` does not answer
        Hint: `execnet logs mynet` may show why
        ");
        let told = failed(&ConnectError::Silent { network: "no such network".into() }.into()).to_string();
        assert!(told.starts_with("Error: the daemon of `no such network` does not answer\n"), "{told}");
    }

    #[test]
    fn the_hint_of_a_refusal_is_told_from_a_list() {
        insta::assert_snapshot!(no_match(Exit::NoHost, "the host a is unreachable: connect: no\nlook"), @"
        Error: the host a is unreachable: connect: no
        Hint: look
        ");
        insta::assert_snapshot!(no_match(Exit::NoHost, "none; there are:\n  a: linux\n  b: java"), @"
        Error: none; there are:
          a: linux
          b: java
        ");
    }

    #[test]
    fn what_the_daemon_refuses_is_said_without_control_characters() {
        let error = ReplyError {
            kind: ErrorKind::NoSuchHost,
            message: "no host `\x1b[2J`".into(),
            hint: Some("look".into()),
        };
        let failure = refused(&error);
        assert_eq!(failure.exit, Exit::NoHost);
        insta::assert_snapshot!(failure, @r"
        Error: no host `\x1b[2J`
        Hint: look
        ");
    }
}
