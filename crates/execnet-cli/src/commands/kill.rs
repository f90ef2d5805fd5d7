//! `execnet kill`: sends a signal to processes, whoever started them.

use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use clap::Args;
use execnet::{Network, RequestError};
use execnet_proto::control::{
    ErrorKind, HostState, KeptState, KeptStatus, KillReply, KillState, Killed, Usages, Verb,
};
use execnet_proto::signal::Signal;

use crate::error::{CommandError, CommandResult, Exit};
use crate::{connection, print, text, usage};

/// The time between two looks at what was killed.
const AGAIN: Duration = Duration::from_millis(200);

/// Send a signal to processes of a network, whoever started them
///
/// It does not wait for their end, unless told to.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  execnet kill mynet 3fa2b1c8
  execnet kill mynet 3fa2b1c8 77ae01d2 -s KILL
  execnet kill mynet 3fa2b1c8 --wait")]
pub(crate) struct KillArgs {
    #[command(flatten)]
    network: super::NetworkArg,
    /// Ids of processes, as `execnet ps` shows them
    #[arg(value_name = "ID", required = true, add = super::complete::processes())]
    ids: Vec<String>,
    /// The signal, by name or Linux number
    #[arg(short, long, value_name = "SIGNAL", default_value = "TERM", value_parser = signal)]
    signal: Signal,
    /// Wait until they have ended
    #[arg(short, long)]
    wait: bool,
}

impl KillArgs {
    pub(crate) fn run(self) -> CommandResult {
        let network = connection::connect(&self.network.network)?;
        let verb = Verb::Kill { ids: self.ids, signal: self.signal.number() };
        let KillReply { processes, unknown } = connection::ask_once(&network, verb)?;
        for process in &processes {
            print::print(&format!("{}\n", told(process, self.signal)))?;
        }
        let missed = |process: &Killed| !matches!(process.state, KillState::Sent | KillState::Gone);
        let ended = match (self.wait, processes.iter().any(missed)) {
            (true, _) => wait(&network, processes)?,
            (false, true) => Exit::HostsFailed.into(),
            (false, false) => ExitCode::SUCCESS,
        };
        let (lost, unknown) = lost(&network, unknown);
        for work in &lost {
            let why = text::one_line(work.error.as_deref().unwrap_or_default());
            let message = format!("{} is lost: {why}", usage::name_of(work));
            print::error(&CommandError::new(Exit::HostsFailed, message));
        }
        if !unknown.is_empty() {
            let ids: Vec<String> = unknown.iter().map(|id| format!("`{}`", text::one_line(id))).collect();
            let network = &self.network.network;
            let message = format!("no process of {network} has the id or name {}", ids.join(", "));
            let hint = format!(
                "it may have ended; `execnet ps {network}` shows ids, of which 4 digits or more name a \
                 process, and names of kept work"
            );
            return Err(CommandError::new(Exit::NoHost, message).hint(hint));
        }
        Ok(if lost.is_empty() { ended } else { Exit::HostsFailed.into() })
    }
}

/// The kept work that is lost among these words, and the words that mean nothing.
fn lost(network: &Network, words: Vec<String>) -> (Vec<KeptStatus>, Vec<String>) {
    let (mut lost, mut unknown) = (Vec::new(), Vec::new());
    for word in words {
        let mut kept = network.kept([word.clone()]).unwrap_or_default().kept;
        kept.retain(|work| work.state == KeptState::Gone);
        match kept.is_empty() {
            true => unknown.push(word),
            false => lost.append(&mut kept),
        }
    }
    (lost, unknown)
}

/// Says of each process when it has ended. One that was not sent the signal is not waited for.
fn wait(network: &Network, killed: Vec<Killed>) -> CommandResult {
    let (unable, mut left): (Vec<Killed>, Vec<Killed>) =
        killed.into_iter().partition(|process| process.state == KillState::Unable);
    left.retain(|process| process.state != KillState::Gone);
    while !left.is_empty() {
        let mut hosts: Vec<&str> = left.iter().map(|process| process.host.as_str()).collect();
        hosts.sort_unstable();
        hosts.dedup();
        let usages = look(network, hosts.join(","))?;
        let (running, ended): (Vec<Killed>, Vec<Killed>) =
            left.into_iter().partition(|process| runs(&usages, &process.id));
        for process in &ended {
            let host = text::one_line(&process.host);
            print::print(&format!("{} on {host}: has ended\n", usage::short(&process.id)))?;
        }
        left = running;
        if !left.is_empty() {
            sleep(AGAIN);
        }
    }
    Ok(if unable.is_empty() { ExitCode::SUCCESS } else { Exit::HostsFailed.into() })
}

/// What runs on these hosts; on all if one of them has left.
fn look(network: &Network, hosts: String) -> CommandResult<Usages> {
    let ask = |node| network.ask(&connection::request(Verb::Ps { node }));
    let reply = match ask(Some(hosts)) {
        Err(RequestError::Refused(error)) if error.kind == ErrorKind::NoSuchHost => ask(None),
        reply => reply,
    };
    reply.map_err(|error| connection::failed(&error))
}

/// Whether a process runs as far as anybody knows. Its client may still hold one that has ended, which its
/// host then says nothing about; nor does it of one that it does not have yet, but then the signal waits.
fn runs(usages: &Usages, id: &str) -> bool {
    let Some(process) = usages.processes.iter().find(|process| process.id == id) else {
        return usages.left_out > 0;
    };
    let host = usages.hosts.iter().find(|host| host.id == process.host);
    let told = host.is_some_and(|host| host.state == HostState::Up && host.note.is_none());
    process.waiting || process.processes.is_some() || !told
}

/// `3fa2b1c8 on build1 of pytest (17): SIGTERM sent: sleep 1000`.
pub(super) fn told(process: &Killed, signal: Signal) -> String {
    let client = usage::client(&process.program, process.client_pid);
    let of = if client.is_empty() { String::new() } else { format!(" of {client}") };
    let what = match process.state {
        KillState::Sent => format!("{signal} sent"),
        KillState::Gone => "had ended".to_owned(),
        KillState::Waiting => format!("{signal} is sent when its host is back"),
        KillState::Starting => format!("{signal} is sent once it has started"),
        KillState::Unable => "not sent: the agent there cannot do it".to_owned(),
    };
    let command = text::fit(&usage::shown(&process.command, &process.gateway), 60);
    let command = if command.is_empty() { command } else { format!(": {command}") };
    format!("{} on {}{of}: {what}{command}", usage::short(&process.id), text::one_line(&process.host))
}

/// Reads `TERM`, `SIGTERM`, `term` or `15`.
fn signal(text: &str) -> Result<Signal, String> {
    let upper = text.to_ascii_uppercase();
    let name = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    let number = text.parse().ok().and_then(Signal::from_number);
    number
        .or_else(|| Signal::from_name(&name))
        .ok_or_else(|| "expected a signal, such as TERM or 15".to_owned())
}

#[cfg(test)]
mod tests {
    use execnet_proto::control::{HostUsage, ProcessUsage};

    use super::*;

    #[test]
    fn signals_are_read_by_name_and_number() {
        for typed in ["TERM", "term", "SIGTERM", "sigterm", "15"] {
            assert_eq!(signal(typed), Ok(Signal::Term), "{typed}");
        }
        for typed in ["", "SIG", "0", "64", "TERMINATE", "-9"] {
            assert!(signal(typed).is_err(), "{typed}");
        }
    }

    #[test]
    fn what_is_waited_for_runs_until_its_host_or_the_daemon_knows_better() {
        let usages = |state, processes, note: Option<&str>| Usages {
            hosts: vec![HostUsage {
                id: "a".into(),
                state,
                note: note.map(Into::into),
                ..HostUsage::default()
            }],
            processes: vec![ProcessUsage {
                id: "12".into(),
                host: "a".into(),
                processes,
                ..ProcessUsage::default()
            }],
            left_out: 0,
        };
        assert!(runs(&usages(HostState::Up, Some(7), None), "12"));
        assert!(!runs(&usages(HostState::Up, Some(7), None), "34"), "the daemon has forgotten it");
        assert!(!runs(&usages(HostState::Up, None, None), "12"), "only its client has not");
        assert!(runs(&usages(HostState::Up, None, Some("it did not answer within 2 s")), "12"));
        assert!(runs(&usages(HostState::Unreachable, None, None), "12"));
        assert!(runs(&Usages { left_out: 1, ..Usages::default() }, "12"));
        let mut starting = usages(HostState::Up, None, None);
        starting.processes[0].waiting = true;
        assert!(runs(&starting, "12"), "its host does not have it yet");
    }

    #[test]
    fn what_became_of_a_signal_is_said() {
        let killed = |state| Killed {
            id: "3fa2b1c8".repeat(4),
            host: "build1".into(),
            client_pid: Some(17),
            program: "pytest".into(),
            gateway: String::new(),
            command: "x\x1b[2J".into(),
            state,
        };
        let said: Vec<String> =
            KillState::ALL.iter().map(|state| told(&killed(*state), Signal::Term)).collect();
        insta::assert_snapshot!(said.join("\n"), @r"
        3fa2b1c8 on build1 of pytest (17): SIGTERM sent: x\x1b[2J
        3fa2b1c8 on build1 of pytest (17): had ended: x\x1b[2J
        3fa2b1c8 on build1 of pytest (17): SIGTERM is sent when its host is back: x\x1b[2J
        3fa2b1c8 on build1 of pytest (17): SIGTERM is sent once it has started: x\x1b[2J
        3fa2b1c8 on build1 of pytest (17): not sent: the agent there cannot do it: x\x1b[2J
        ");
    }
}
