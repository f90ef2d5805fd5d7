//! How one host joins: how long it gets, what the end of its link means, and how it follows the host in front
//! of it.

use std::time::Duration;

use execnet_proto::control::{HostState, Step};
use execnet_proto::spec::Transport;
use execnet_proto::wire::Ending;

use super::Host;
use super::attempts;
use super::bootstrap::{Common, host_secret};
use super::diagnosis::{Cause, Diagnosis, Evidence, Retry};
use super::forwards;
use super::link::{Bearer, Link};
use crate::text;

/// From the start of its command to the greeting of its agent.
const PATIENCE: Duration = attempts::SHORTEST;

/// The same where the agent may have to run on a Java virtual machine.
const PATIENCE_WITH_JAVA: Duration = Duration::from_secs(60);

/// The most that grows to, unless the spec says how long.
const MOST_PATIENCE: Duration = Duration::from_secs(480);

/// What is left of a link that is over.
#[derive(Debug, Default)]
pub(crate) struct Traces {
    /// Why this side ended it, if it did.
    pub(crate) cause: Option<Cause>,
    /// How its process ended, if it ended by itself.
    pub(crate) ending: Option<Ending>,
    /// The last of what that process wrote to stderr.
    pub(crate) stderr: String,
    /// What arrived on the link outside of frames.
    pub(crate) noise: String,
}

impl Host {
    /// How long its agent has to greet. Unless the spec says so, each attempt that was too short doubles it.
    /// It stays doubled: what a login or a queue needed once, it will need again.
    pub(crate) fn patience(&self) -> Duration {
        let java = self.spec.python.as_deref().is_some_and(|python| python.contains("jython"));
        let first = if java { PATIENCE_WITH_JAVA } else { PATIENCE };
        let grown = first * (1 << self.attempts.doubled());
        self.spec.patience.unwrap_or_else(|| grown.min(MOST_PATIENCE))
    }

    /// Its link is about to be started.
    pub(crate) fn connect(&mut self, now: Duration) {
        let bearer = if self.is_behind() { Bearer::Tunnel } else { Bearer::Process };
        let lent = forwards::by_options(&self.spec);
        self.attempts.connect(Link::start(bearer, lent, now, self.patience()));
        self.step = match self.spec.transport {
            Transport::Ssh { .. } => Step::Connect,
            _ => Step::Start,
        };
    }

    /// Its link is over: finds out why, and when to try again.
    pub(crate) fn link_over(&mut self, traces: &Traces, common: &Common, jitter: f64, now: Duration) {
        // a far side that echoes what it gets must not get the secret shown
        let secret = host_secret(common, &self.spec.id);
        let [stderr, noise] = [&traces.stderr, &traces.noise].map(|said| text::without(said, &secret));
        let link = self.attempts.link();
        let was_up = link.is_some_and(Link::is_up);
        let unanswered = link.is_some_and(|link| link.unanswered);
        let (cause, ending) = (traces.cause.as_ref(), traces.ending.as_ref());
        let spec = &self.spec_by_way();
        let evidence = Evidence { spec, was_up, cause, ending, stderr: &stderr, noise: &noise };
        let mut diagnosis = evidence.diagnose();
        if unanswered && !was_up {
            diagnosis = diagnosis.unanswered(&common.network, spec);
        }
        self.log(&diagnosis, now);
        self.doubts = if diagnosis.retry == Retry::Doubtful { self.doubts + 1 } else { 0 };
        self.in_vain += u32::from(!was_up);
        let mute = matches!(cause, Some(Cause::Mute));
        if mute {
            self.attempts.was_useless(now);
        }
        // each link of a `cmd=` may be another job
        let is_cmd = matches!(self.spec.transport, Transport::Cmd(_));
        let late = diagnosis.retry == Retry::Late || self.doubts > 1 || mute && is_cmd;
        self.attempts.ended(now, jitter, late);
        self.failure = Some(diagnosis);
    }

    fn log(&mut self, diagnosis: &Diagnosis, now: Duration) {
        if self.leave.is_some() || !self.may_log(now) {
            return;
        }
        tracing::warn!("{}: {}: {}", self.spec.id, diagnosis.step, diagnosis.error);
        for line in &diagnosis.said {
            if self.may_log(now) {
                tracing::info!("{} said: {line}", self.spec.id);
            }
        }
    }

    /// Whether hosts behind it have nothing to wait for at present.
    pub(crate) fn failed(&self, reachable: bool) -> bool {
        self.leave.is_some() || self.state(reachable) == HostState::Failed
    }

    /// Follows the host in front of it, which is reachable or not, has failed or not. True if users see a
    /// change.
    pub(crate) fn follow_via(&mut self, reachable: bool, failed: bool) -> bool {
        if self.attempts.link().is_some() {
            return false;
        }
        let before = self.attempts.state(false);
        self.attempts.via(reachable);
        if !reachable && !self.attempts.was_ever_up() {
            self.step = Step::Via;
            if failed && before != HostState::Failed {
                self.attempts.fail_with_via();
                let (error, hint) = match (&self.way, &self.spec.via) {
                    (None, Some(pool)) => (
                        format!("no host of {pool}, through which it is reached, is up"),
                        format!("retrying as soon as a host of {pool} is up"),
                    ),
                    _ => {
                        let via = self.via_id().unwrap_or_default();
                        let error = format!("{via}, through which it is reached, is not up");
                        (error, format!("retrying as soon as {via} is up"))
                    }
                };
                self.failure = Some(Diagnosis {
                    step: Step::Via,
                    error,
                    hint: Some(hint),
                    said: Vec::new(),
                    retry: Retry::Soon,
                });
            }
        }
        before != self.attempts.state(false)
    }
}
