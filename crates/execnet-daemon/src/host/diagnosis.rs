//! Why a host could not be reached: from how the command that leads to it ended, and from what it wrote.
//!
//! A table maps the words of OpenSSH and of our own script to a step, a sentence and a hint. Pure. What the
//! host wrote is hostile, and is cleaned before it is kept.

use execnet_proto::control::Step;
use execnet_proto::spec::{HostSpec, Transport};
use execnet_proto::switch::LinkEnd;
use execnet_proto::wire::Ending;

use super::bootstrap::STAGE1;
use super::command;
use crate::text;

mod ssh;

/// What to say about a failed connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Diagnosis {
    pub(crate) step: Step,
    /// A sentence.
    pub(crate) error: String,
    pub(crate) hint: Option<String>,
    /// The last lines the host or ssh wrote.
    pub(crate) said: Vec<String>,
    pub(crate) retry: Retry,
}

/// How soon another attempt makes sense. Servers lock out accounts that are refused often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// It may work at any time, and costs nobody anything.
    Soon,
    /// The server may have counted it as a refusal: once more soon, then late.
    Doubtful,
    /// Not before a person has fixed something.
    Late,
}

/// Why this side ended a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The switch ended the link.
    Link(LinkEnd),
    /// The agent did not greet within `waited` seconds; the next attempt gets `next`.
    TimedOut {
        waited: u64,
        next: u64,
        /// Its greeting had begun.
        cut: bool,
    },
    /// The agent greeted, and not another byte followed.
    Mute,
    /// The agent belonged to a host that was removed, and had to end.
    Outcast,
    /// A person wants its interpreters to be looked for again.
    Renewed,
    /// This host led to it, and another one does now.
    Moved(String),
}

/// What is known about a link that ended, before or after its agent greeted.
#[derive(Debug)]
pub(crate) struct Evidence<'a> {
    pub(crate) spec: &'a HostSpec,
    /// The agent had greeted on this link.
    pub(crate) was_up: bool,
    pub(crate) cause: Option<&'a Cause>,
    /// How the command ended, if it ended by itself.
    pub(crate) ending: Option<&'a Ending>,
    /// What the command wrote to stderr.
    pub(crate) stderr: &'a str,
    /// What arrived before the agent's greeting.
    pub(crate) noise: &'a str,
}

/// Advice for a login that prints, before the agent's greeting or after it.
const QUIET: &str = "a login file prints, or starts a job that does: print in interactive shells only, and \
                     redirect the output of jobs (`… >/dev/null 2>&1 &`)";

/// Exit statuses of boot.py when Python did not get what was sent: nothing came on stdin, something else
/// came, or stdin is a terminal.
const NOTHING_CAME: u32 = 97;
const OTHERS_READ: u32 = 98;
const IS_TERMINAL: u32 = 99;

/// Files that a shell may read before it runs a command.
const FILES: &str = "`~/.bashrc`, `~/.zshenv`, `~/.cshrc`, `config.fish`, `~/.ssh/rc`";

/// This many bytes of what is sent occur in no other text.
const ECHO: usize = 24;

impl Evidence<'_> {
    /// Gives the first explanation that fits.
    pub(crate) fn diagnose(&self) -> Diagnosis {
        let row = self.words_of_ssh();
        let (step, error, hint) = self.explain(row);
        let retry = match step {
            Step::HostKey
            | Step::Authenticate
            | Step::Login
            | Step::Python
            | Step::PythonTooOld
            | Step::Start => Retry::Late,
            _ if self.by_login().is_some() => Retry::Late,
            // ssh, or what replaces it, ended by itself: unless its words rule it out, it may have been
            // refused
            _ if self.status() == Some(255) && !self.was_up => row.map_or(Retry::Late, |row| row.retry),
            _ => Retry::Soon,
        };
        let mut said = if self.is_echo() { Vec::new() } else { text::last_lines(self.noise) };
        said.extend(text::last_lines(self.stderr));
        Diagnosis { step, error, hint, said, retry }
    }

    fn explain(&self, row: Option<&ssh::Row>) -> (Step, String, Option<String>) {
        if let Some(Cause::Link(why @ LinkEnd::NoFrame(_))) = self.cause {
            let hint = match self.spec.transport {
                Transport::Cmd(_) => "only Python may write to the command's stdout",
                _ => QUIET,
            };
            return (Step::Noise, why.to_string(), Some(hint.into()));
        }
        if let Some(Cause::Link(why @ (LinkEnd::Violation(_) | LinkEnd::Silent))) = self.cause {
            return (Step::Agent, why.to_string(), None);
        }
        if let Some(Cause::Mute) = self.cause {
            let error = "the link fell silent for 15 seconds right after its agent's greeting";
            return (Step::Agent, error.into(), self.buffered());
        }
        if let Some(Cause::Link(why @ LinkEnd::OtherVersion(_))) = self.cause {
            let hint = "an agent of another release runs on the host: stop the network that started it";
            return (Step::Agent, why.to_string(), Some(hint.into()));
        }
        if let Some(Cause::Outcast) = self.cause {
            return (Step::Agent, "an agent left over there had to end first".into(), None);
        }
        if let Some(Cause::Renewed) = self.cause {
            return (Step::Agent, "its interpreters are asked again".into(), None);
        }
        if let Some(Cause::Moved(from)) = self.cause {
            let error = format!("another host leads to it now, no longer {from}");
            return (Step::Via, error, None);
        }
        if let Some(Cause::Link(why @ LinkEnd::TunnelLost { .. })) = self.cause {
            return (Step::Via, why.to_string(), None);
        }
        let told = match self.ending {
            Some(Ending::NotStarted(errno, message)) => self.not_started(*errno, message),
            _ => (self.by_input())
                .or_else(|| self.own_words())
                .or_else(|| row.map(|row| self.fill_in(row)))
                .or_else(|| self.by_noise())
                .or_else(|| self.by_login()),
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

    /// Explains words of the script and of the stub, which begin with `execnet:`.
    fn own_words(&self) -> Option<(Step, String, Option<String>)> {
        let words = self.stderr.lines().rev().find_map(|line| line.trim().strip_prefix("execnet: "))?;
        let words = text::clean(words, 300);
        let hint = |text: &str| Some(text.to_owned());
        Some(match self.status() {
            Some(91) => (
                Step::PythonTooOld,
                words,
                hint("install Python 2.7, or 3.6 or later, on the host, or name one with `python=PATH`"),
            ),
            Some(127) if words.starts_with("no Python") => {
                (Step::Python, words, hint("install Python on the host, or name one with `python=PATH`"))
            }
            Some(92) => {
                let hint = "wait until this work has ended, join this host with the release of execnet that \
                            started it, or end it: `execnet addhost --end-kept` with this host";
                (Step::Agent, words, Some(hint.into()))
            }
            Some(94) => (
                Step::Agent,
                words,
                hint("end the process that holds this file on the host (`fuser` names it)"),
            ),
            Some(95) => {
                let hint =
                    "another program of this account took the agent's place; end that process on the host";
                (Step::Agent, words, Some(hint.into()))
            }
            Some(96) => {
                let hint = "is this network running on another machine too (a shared home folder, a copy of \
                            its state)? Then stop it there; otherwise a program of this account took the \
                            agent: end that process on the host";
                (Step::Agent, words, Some(hint.into()))
            }
            Some(93) if matches!(self.transport(), Transport::Cmd(_)) => {
                (Step::Agent, words, Some(self.whole()))
            }
            _ => (Step::Agent, words, None),
        })
    }

    /// Finds ssh's words, if they can be its own: only its failures have this status, while a host can write
    /// anything.
    fn words_of_ssh(&self) -> Option<&'static ssh::Row> {
        let own =
            matches!(self.transport(), Transport::Ssh { .. }) && matches!(self.status(), Some(255) | None);
        let is_told = |line: &&str| !line.starts_with("debug");
        let told: Vec<&str> = self.stderr.lines().filter(is_told).collect();
        ssh::explain(&told.join("\n")).filter(|_| own)
    }

    fn fill_in(&self, row: &ssh::Row) -> (Step, String, Option<String>) {
        let destination = match self.transport() {
            Transport::Ssh { destination, .. } => destination,
            _ => "",
        };
        let hint = row.hint.replace("ssh HOST", &self.login("")).replace("HOST", destination);
        (row.step, row.error.to_owned(), Some(hint))
    }

    /// Python was found, and did not get what was sent.
    fn by_input(&self) -> Option<(Step, String, Option<String>)> {
        let is_cmd = matches!(self.transport(), Transport::Cmd(_));
        let program = command::program(self.spec);
        let (error, hint) = match self.status()? {
            NOTHING_CAME if is_cmd => (
                format!("`{program}` passes no stdin to its Python"),
                "it must pass its stdin on, as `docker exec`, `podman exec` and `kubectl exec` do with `-i`"
                    .into(),
            ),
            NOTHING_CAME => (
                "nothing that was sent reached its Python".into(),
                format!("something on the host reads all of it, or replaces stdin: {}", self.readers()),
            ),
            OTHERS_READ if is_cmd => (
                "something read part of what was sent to its Python".into(),
                format!(
                    "whatever `{program}` runs before Python must not read its stdin: give it `</dev/null`"
                ),
            ),
            OTHERS_READ => ("something on the host read what was sent to its Python".into(), self.readers()),
            IS_TERMINAL => (
                "its Python's stdin is a terminal, which changes what is sent".into(),
                if is_cmd {
                    "drop the option that makes a terminal: `docker exec -i`, not `-it`; `ssh -T`, not `-t`"
                        .into()
                } else {
                    "look for `script`, `tmux`, `screen` or `unbuffer` in its login files and in a \
                     ForceCommand"
                        .into()
                },
            ),
            _ => return None,
        };
        // as with noise, the login is at fault and not the Python
        let step = if is_cmd { Step::Start } else { Step::Login };
        Some((step, error, Some(text::clean(&hint, 1_000))))
    }

    /// What a command must do for the Python in it.
    fn whole(&self) -> String {
        format!("`{}` must pass on all of its stdin, and return stderr", command::program(self.spec))
    }

    /// Where to look for whatever reads the stdin of a login.
    fn readers(&self) -> String {
        let settings = self
            .spec
            .via
            .as_ref()
            .map_or_else(String::new, |via| format!("; on {via} `ssh -G` may show `stdinnull yes`"));
        format!(
            "look for `read`, `cat`, `ssh`, `mail` and the like in its login files ({FILES}) and in a \
             ForceCommand, and give them `</dev/null`, or run them in interactive shells only{settings}"
        )
    }

    /// Something other than the agent spoke.
    fn by_noise(&self) -> Option<(Step, String, Option<String>)> {
        if let Some(Cause::Link(why @ LinkEnd::Noise)) = self.cause {
            let hint = match self.spec.transport {
                Transport::Cmd(_) => self.check(),
                _ => format!("a login file prints endlessly: {QUIET}"),
            };
            return Some((Step::Noise, why.to_string(), Some(hint)));
        }
        if self.was_up || self.noise.trim().is_empty() {
            return None;
        }
        let is_cmd = matches!(self.spec.transport, Transport::Cmd(_));
        if self.is_echo() {
            let hint = match is_cmd {
                true => format!("use no `-t`, `cat` or `tee`: {}", self.check()),
                false => format!(
                    "look for `cat`, `tee`, `script`, `tmux` and `screen` in its login files ({FILES})"
                ),
            };
            let error = "what was sent came back: a terminal or another program runs where Python should";
            return Some((Step::Noise, error.into(), Some(hint)));
        }
        let first =
            text::last_lines(self.noise).first().map_or_else(String::new, |line| text::clean(line, 120));
        if let Some((_, error, hint)) = self.by_login() {
            return Some((Step::Noise, format!("{error}; it wrote: {first}"), hint));
        }
        let hint = match is_cmd {
            true => self.check(),
            false => {
                "the login must run the command that ssh passes, and may print only a little before it".into()
            }
        };
        let hint = match self.cause {
            Some(Cause::TimedOut { waited, next, .. }) => format!("{}; {hint}", more_time(*waited, *next)),
            _ => hint,
        };
        Some((Step::Noise, format!("something other than the agent answered: {first}"), Some(hint)))
    }

    /// Whether what was sent came back: unchanged, or as a terminal shows it, which drops what precedes a
    /// Ctrl-C.
    fn is_echo(&self) -> bool {
        let is_caret = |pair: &[u8]| pair[0] == b'^' && (b'@'..=b'_').contains(&pair[1]);
        let carets = || self.noise.as_bytes().windows(2).filter(|pair| is_caret(pair)).count();
        self.noise.contains(&STAGE1[..ECHO]) || (self.noise.contains('\u{fffd}') && carets() > 1)
    }

    /// The login ended by itself, without any of our words or statuses: the script did not run.
    fn by_login(&self) -> Option<(Step, String, Option<String>)> {
        if self.was_up || !matches!(self.transport(), Transport::Ssh { .. }) {
            return None;
        }
        let files = format!(
            "look for `exit` and `exec` in its login files ({FILES}) and for a ForceCommand; {}",
            self.check()
        );
        let (error, hint) = match self.status()? {
            0 => (
                "its login ends without running the command it is given".to_owned(),
                format!("{files}: a `python3` that does nothing looks the same"),
            ),
            status @ (126 | 127) => (
                format!("its login cannot start the command it is given (status {status})"),
                format!("`sh` must be in the PATH of its logins; {files}"),
            ),
            status @ 1..=90 => (
                format!("its login ends with status {status} without running the command it is given"),
                files,
            ),
            _ => return None,
        };
        Some((Step::Login, error, Some(hint)))
    }

    fn by_ending(&self) -> (Step, String, Option<String>) {
        if let Some(Cause::TimedOut { waited, next, cut }) = self.cause {
            if let Some(hint) = self.buffered().filter(|_| *cut) {
                let error = format!("only part of its agent's greeting arrived within {waited} s");
                return (Step::Agent, error, Some(hint));
            }
            let silent = self.stderr.trim().is_empty() && self.noise.trim().is_empty();
            let step = if silent && matches!(self.spec.transport, Transport::Ssh { .. }) {
                Step::Connect
            } else {
                Step::Agent
            };
            let hint = match step {
                Step::Connect => format!(
                    "is it switched on, and is there a firewall in between? If ssh gets through, its login \
                     or its Python hangs, or a login file waits for input as `cat` and `read` do: {}",
                    self.check()
                ),
                _ => self.check(),
            };
            let hint = format!("{}; {hint}", more_time(*waited, *next));
            return (step, format!("its agent did not greet within {waited} s"), Some(hint));
        }
        let program = command::program(self.spec);
        let step = if self.was_up || self.status() != Some(255) { Step::Agent } else { Step::Connect };
        let error = match (self.cause, self.ending) {
            (_, Some(Ending::Exited(255))) if !self.was_up && self.stderr.trim().is_empty() => {
                format!("`{program}` failed without saying why (status 255)")
            }
            (_, Some(Ending::Exited(status @ 129..=192))) if !self.was_up => {
                // the host's own number, which need not be Linux's: no name
                format!("what `{program}` ran there was ended by signal {}", status - 128)
            }
            (_, Some(Ending::Exited(93))) if !self.was_up => {
                "its Python got only part of what was sent, or failed on it (status 93)".into()
            }
            (Some(Cause::Link(why)), _) => why.to_string(),
            (_, Some(ending)) => format!("the process `{program}` that leads to it {ending}"),
            _ => format!("the process `{program}` that leads to it closed the link"),
        };
        let left_behind =
            matches!((self.transport(), self.ending), (Transport::Cmd(_), Some(Ending::Exited(0))));
        let hint = match self.status() {
            _ if left_behind => Some(format!(
                "`{program}` must run as long as its Python does: leaving it in the background, as `setsid` \
                 does without `-w`, ends the link; {}",
                self.check()
            )),
            _ if self.was_up => None,
            Some(93) if matches!(self.transport(), Transport::Cmd(_)) => Some(self.whole()),
            Some(255) => match self.transport() {
                Transport::Ssh { .. } => Some(format!("`{} true` says more", self.login("-v"))),
                _ => Some(self.check()),
            },
            _ => Some(self.check()),
        };
        (step, text::clean(&error, 300), hint)
    }

    /// What may hold a command's output back.
    fn buffered(&self) -> Option<String> {
        let hint =
            "its output is buffered: the command has to pass on each byte at once (`srun -u`, `stdbuf -o0`)";
        matches!(self.spec.transport, Transport::Cmd(_)).then(|| hint.into())
    }

    /// What to check when nobody said what is wrong.
    fn check(&self) -> String {
        let check =
            self.spec.via.as_ref().map_or_else(|| "check".to_owned(), |via| format!("check on {via}"));
        match &self.spec.transport {
            Transport::Popen => format!("{check} that `python3 -V` prints its version"),
            Transport::Ssh { .. } => {
                format!("{check} that `{} python3 -V` prints one line, the version", self.login(""))
            }
            Transport::Cmd(_) => {
                "`cmd=` must end with a Python, as in `cmd=docker exec -i web python3`: `-ES -c …` is \
                 appended"
                    .into()
            }
        }
    }

    /// What a person would type to log in as the spec does, with one more option.
    fn login(&self, option: &str) -> String {
        let mut words = vec!["ssh"];
        words.extend(self.spec.ssh_config.iter().flat_map(|path| ["-F", path]));
        if let Transport::Ssh { options, destination } = self.transport() {
            // `-q` would hide everything
            words.extend(options.iter().map(String::as_str).filter(|word| *word != "-q"));
            words.extend(Some(option).filter(|option| !option.is_empty()));
            words.push(destination);
        }
        let words: Vec<String> = words.into_iter().map(text::quoted).collect();
        words.join(" ")
    }

    fn transport(&self) -> &Transport {
        &self.spec.transport
    }

    fn status(&self) -> Option<u32> {
        match self.ending {
            Some(Ending::Exited(status)) => Some(*status),
            _ => None,
        }
    }
}

/// How to give a slow login or a queue the time it needs.
fn more_time(waited: u64, next: u64) -> String {
    match next > waited {
        true => format!(
            "if its login or a queue takes longer, allow for it with `patience=` in the spec \
             (`//patience=5m`); without it the next attempt gets {next} s"
        ),
        false => {
            format!(
                "if its login or a queue takes longer than {waited} s, give it more with `patience=` in the \
                 spec"
            )
        }
    }
}

impl Diagnosis {
    /// The same where ssh asked something and got no answer: that is the reason then, whatever ssh makes of
    /// it.
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
}

#[cfg(test)]
mod tests;
