//! Why a host could not be reached, told from how the command that leads to it ended and from what it wrote.
//!
//! A table from the words of OpenSSH and of our own script to a step, a sentence and a hint. Pure; what the host wrote is
//! hostile and cleaned before it is kept.

use execnet_proto::control::Step;
use execnet_proto::frame::Ending;
use execnet_proto::spec::{HostSpec, Transport};
use execnet_proto::switch::{LinkEnd, describe};

use crate::command;
use crate::text;

/// What to tell of a failed connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Diagnosis {
    pub(crate) step: Step,
    /// A sentence.
    pub(crate) error: String,
    pub(crate) hint: Option<String>,
    /// The last lines of the host or of ssh.
    pub(crate) said: Vec<String>,
}

/// Why a connection was ended from this side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The switch ended the link.
    Link(LinkEnd),
    /// The agent did not greet within `waited` seconds; the next try has `next`.
    TimedOut { waited: u64, next: u64 },
    /// The agent was that of a host which was removed, and had to end.
    Outcast,
    /// A person wants its interpreters to be asked again.
    Renewed,
}

/// What is known of a link that ended before or after its agent greeted.
#[derive(Debug)]
pub(crate) struct Evidence<'a> {
    pub(crate) spec: &'a HostSpec,
    /// The agent had greeted on this link.
    pub(crate) was_up: bool,
    pub(crate) verdict: Option<&'a Verdict>,
    /// How the command ended, if it did so by itself.
    pub(crate) ending: Option<&'a Ending>,
    /// What the command wrote on stderr.
    pub(crate) stderr: &'a str,
    /// What arrived before the agent's greeting.
    pub(crate) noise: &'a str,
}

/// Words of ssh, in the order in which they count. `HOST` in a hint stands for the destination.
const SSH: &[(&[&str], Step, &str, &str)] = &[
    (
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
            "Bad owner or permissions on",
            "unknown option --",
            "usage: ssh",
        ],
        Step::Start,
        "ssh does not accept its options or its configuration",
        "correct the spec or the ssh configuration; `ssh HOST true` shows the same error",
    ),
    (
        &["Could not resolve hostname"],
        Step::Resolve,
        "its name cannot be resolved",
        "check the spelling, or give it a `Host` entry in the ssh configuration",
    ),
    (
        &["REMOTE HOST IDENTIFICATION HAS CHANGED", "has changed and you have requested strict checking"],
        Step::HostKey,
        "its host key is another one than before",
        "somebody may be in between; if the change is expected, `ssh-keygen -R` forgets the old key",
    ),
    (
        &["Host key verification failed", "host key is known for", "Host key not verified"],
        Step::HostKey,
        "its host key is not known here",
        "connect once with `ssh HOST` and compare the key, or add it to known_hosts; `execnet addhost` with this spec lets ssh ask",
    ),
    (
        &["Too many authentication failures"],
        Step::Authenticate,
        "the server refused after too many keys",
        "name the right key: `IdentitiesOnly yes` and `IdentityFile` in the ssh configuration",
    ),
    (
        &["UNPROTECTED PRIVATE KEY FILE"],
        Step::Authenticate,
        "the private key can be read by others, so ssh does not use it",
        "`chmod 600` the key file",
    ),
    (
        &[
            "Permission denied (",
            "Permission denied, please try again",
            "signing failed",
            "Authentication failed",
            "no authentication methods",
        ],
        Step::Authenticate,
        "the server does not accept this login",
        "check the user's name and the key (`ssh HOST true`); `ssh-add` gives the key to the ssh agent; `execnet addhost` with this spec tries at once and asks for a password",
    ),
    (
        &[
            "Unable to negotiate with",
            "no matching key exchange method",
            "no matching host key type",
            "no matching cipher",
        ],
        Step::Connect,
        "it and this ssh have no algorithm in common",
        "one of the two ssh programs is too old",
    ),
    (
        &["Connection refused"],
        Step::Connect,
        "nothing listens on its ssh port",
        "is sshd running, and is the port right?",
    ),
    (
        &["Connection timed out", "Operation timed out", "timed out waiting"],
        Step::Connect,
        "it does not answer",
        "is it switched on, and does a firewall stand between?",
    ),
    (
        &["No route to host", "Network is unreachable", "Host is down"],
        Step::Connect,
        "there is no way to it in the network",
        "check the network, a VPN, or reach it through another host with `via=`",
    ),
    (
        &[
            "administratively prohibited",
            "open failed",
            "stdio forwarding failed",
            "Stdio forwarding request failed",
        ],
        Step::Connect,
        "the host in front of it does not lead there",
        "check the jump host of the ssh configuration, or use `via=`",
    ),
    (
        &[
            "kex_exchange_identification",
            "ssh_exchange_identification",
            "Connection reset",
            "Connection closed by",
            "closed by remote host",
            "Broken pipe",
            "banner exchange",
            "not responding",
        ],
        Step::Connect,
        "the connection was closed",
        "the server may be overloaded (MaxStartups), or a firewall closes the connection",
    ),
];

impl Evidence<'_> {
    /// The first of all explanations that fits.
    pub(crate) fn diagnose(&self) -> Diagnosis {
        let (step, error, hint) = self.explain();
        let mut said = text::last_lines(self.noise);
        said.extend(text::last_lines(self.stderr));
        Diagnosis { step, error, hint, said }
    }

    fn explain(&self) -> (Step, String, Option<String>) {
        if let Some(Verdict::Link(why @ (LinkEnd::Violation(_) | LinkEnd::Silent))) = self.verdict {
            return (Step::Agent, why.to_string(), None);
        }
        if let Some(Verdict::Link(why @ LinkEnd::OtherVersion(_))) = self.verdict {
            let hint = "an agent of another release holds the host; stop the network that started it";
            return (Step::Agent, why.to_string(), Some(hint.into()));
        }
        if let Some(Verdict::Outcast) = self.verdict {
            return (Step::Agent, "what was left there when it was removed had to end first".into(), None);
        }
        if let Some(Verdict::Renewed) = self.verdict {
            return (Step::Agent, "its interpreters are asked again".into(), None);
        }
        if let Some(Verdict::Link(why @ LinkEnd::TunnelLost { .. })) = self.verdict {
            return (Step::Via, why.to_string(), None);
        }
        let told = match self.ending {
            Some(Ending::NotStarted(errno, message)) => self.not_started(*errno, message),
            _ => self.own_words().or_else(|| self.words_of_ssh()).or_else(|| self.by_noise()),
        };
        told.unwrap_or_else(|| self.by_ending())
    }

    fn not_started(&self, errno: u32, message: &str) -> Option<(Step, String, Option<String>)> {
        let program = command::program(self.spec);
        let place =
            self.spec.via.as_ref().map_or_else(|| "on this machine".to_owned(), |via| format!("on {via}"));
        const ENOENT: u32 = 2;
        if errno == ENOENT {
            let hint = match self.spec.transport {
                Transport::Ssh { .. } => format!("install the OpenSSH client {place}"),
                _ => format!(
                    "install it {place}, or correct the spec: `execnet rmhost`, then `execnet addhost`"
                ),
            };
            return Some((Step::Start, format!("there is no command `{program}` {place}"), Some(hint)));
        }
        let message = text::clean(message, 200);
        Some((Step::Start, format!("`{program}` could not be started {place}: {message}"), None))
    }

    /// Words of the script and of the stub, which begin with `execnet:`.
    fn own_words(&self) -> Option<(Step, String, Option<String>)> {
        let words = self.stderr.lines().rev().find_map(|line| line.trim().strip_prefix("execnet: "))?;
        let words = text::clean(words, 300);
        let hint = |text: &str| Some(text.to_owned());
        Some(match self.status() {
            Some(91) => (
                Step::PythonTooOld,
                words,
                hint("install Python 2.7 or 3.6 and later there, or name one: `python=PATH`"),
            ),
            Some(127) if words.starts_with("no Python") => {
                (Step::Python, words, hint("install Python there, or name one: `python=PATH`"))
            }
            Some(94) => (Step::Agent, words, hint("end that process on the host")),
            Some(95) => (
                Step::Agent,
                words,
                hint("another network of this name uses the host; stop it, or give this one another name"),
            ),
            Some(96) => (
                Step::Agent,
                words,
                hint("stop the network where else it runs, or give this one another name"),
            ),
            _ => (Step::Agent, words, None),
        })
    }

    fn words_of_ssh(&self) -> Option<(Step, String, Option<String>)> {
        let Transport::Ssh { destination, .. } = &self.spec.transport else { return None };
        let found = SSH.iter().find(|(words, ..)| words.iter().any(|word| self.stderr.contains(word)));
        // ssh's own failures have this status; the words alone could be the host's
        let own = matches!(self.status(), Some(255) | None);
        let (_, step, error, hint) = found.filter(|_| own)?;
        let hint = hint.replace("ssh HOST", &self.login()).replace("HOST", destination);
        Some((*step, (*error).to_owned(), Some(hint)))
    }

    /// Something else than the agent spoke.
    fn by_noise(&self) -> Option<(Step, String, Option<String>)> {
        if let Some(Verdict::Link(why @ LinkEnd::Noise)) = self.verdict {
            let hint = match self.spec.transport {
                Transport::Cmd(_) => self.check(),
                _ => "its login shell must not print for ever when a command is run".into(),
            };
            return Some((Step::Noise, why.to_string(), Some(hint)));
        }
        if self.was_up || self.noise.trim().is_empty() {
            return None;
        }
        let first =
            text::last_lines(self.noise).first().map_or_else(String::new, |line| text::clean(line, 120));
        let hint = match self.spec.transport {
            Transport::Cmd(_) => self.check(),
            _ => "the login must run the command that ssh gives it, and may print little before".into(),
        };
        let hint = match self.verdict {
            Some(Verdict::TimedOut { waited, next }) => format!("{}; {hint}", more_time(*waited, *next)),
            _ => hint,
        };
        Some((Step::Noise, format!("it wrote something else than the agent does: {first}"), Some(hint)))
    }

    fn by_ending(&self) -> (Step, String, Option<String>) {
        if let Some(Verdict::TimedOut { waited, next }) = self.verdict {
            let silent = self.stderr.trim().is_empty() && self.noise.trim().is_empty();
            let step = if silent && matches!(self.spec.transport, Transport::Ssh { .. }) {
                Step::Connect
            } else {
                Step::Agent
            };
            let hint = match step {
                Step::Connect => format!(
                    "is it switched on, and does a firewall stand between? If ssh comes through, its login or its Python hangs: {}",
                    self.check()
                ),
                _ => self.check(),
            };
            let hint = format!("{}; {hint}", more_time(*waited, *next));
            return (step, format!("its agent did not greet within {waited} s"), Some(hint));
        }
        let program = command::program(self.spec);
        let step = if self.was_up || self.status() != Some(255) { Step::Agent } else { Step::Connect };
        let error = match (self.verdict, self.ending) {
            (Some(Verdict::Link(why)), _) => why.to_string(),
            (_, Some(ending)) => format!("the process `{program}` that leads to it {}", describe(ending)),
            _ => format!("the process `{program}` that leads to it closed the link"),
        };
        let hint = (!self.was_up).then(|| self.check());
        (step, text::clean(&error, 300), hint)
    }

    /// What to look at when nobody said what is wrong.
    fn check(&self) -> String {
        let check =
            self.spec.via.as_ref().map_or_else(|| "check".to_owned(), |via| format!("check on {via}"));
        match &self.spec.transport {
            Transport::Popen => format!("{check} that `python3 -ES -c pass` ends at once"),
            Transport::Ssh { .. } => {
                format!("{check} that `{} python3 -ES -c pass` ends at once and prints nothing", self.login())
            }
            Transport::Cmd(_) => {
                "`cmd=` must end with a Python, as in `cmd=docker exec -i web python3`: `-ES -c …` is appended".into()
            }
        }
    }

    /// What a person would type to log in as the spec does.
    fn login(&self) -> String {
        let mut words = vec!["ssh"];
        words.extend(self.spec.ssh_config.iter().flat_map(|path| ["-F", path]));
        if let Transport::Ssh { options, destination } = &self.spec.transport {
            words.extend(options.iter().chain([destination]).map(String::as_str));
        }
        words.join(" ")
    }

    fn status(&self) -> Option<u32> {
        match self.ending {
            Some(Ending::Exited(status)) => Some(*status),
            _ => None,
        }
    }
}

/// What gives a slow login or a queue the time that it needs.
fn more_time(waited: u64, next: u64) -> String {
    match next > waited {
        true => format!(
            "if its login or a queue takes longer, say so with `patience=` in the spec (`//patience=5m`); without it the next try has {next} s"
        ),
        false => {
            format!(
                "if its login or a queue takes longer than {waited} s, give it more with `patience=` in the spec"
            )
        }
    }
}

impl Diagnosis {
    /// The same where ssh asked something and got no answer: then that is the reason, whatever ssh makes of it.
    pub(crate) fn unanswered(self, network: &str, spec: &HostSpec) -> Diagnosis {
        let error = match self.step {
            Step::HostKey => "its host key is not known here, and ssh's question about it was not answered",
            Step::Authenticate => "ssh asked for a password or a passphrase and got no answer",
            _ => return self,
        };
        let spec = text::quoted(&spec.to_string());
        let hint = format!("`execnet addhost {network} {spec}` on a terminal asks again");
        Diagnosis { error: error.to_owned(), hint: Some(text::clean(&hint, 2_000)), ..self }
    }

    /// Trying again soon would not help, and might lock the account.
    pub(crate) fn needs_a_person(&self) -> bool {
        matches!(
            self.step,
            Step::HostKey | Step::Authenticate | Step::Python | Step::PythonTooOld | Step::Start
        )
    }
}

#[cfg(test)]
#[path = "diagnosis_tests.rs"]
mod tests;
