//! How one host joins: how long it has, what the end of its link means, and what the host in front of it has to do with that.

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

/// What it grows to where nobody has said how long.
const MOST_PATIENCE: Duration = Duration::from_secs(480);

/// What is left of a link that is over.
#[derive(Debug, Default)]
pub(crate) struct Traces {
    /// Why it was ended from this side, if it was.
    pub(crate) cause: Option<Cause>,
    /// How what carried it ended, if it did so by itself.
    pub(crate) ending: Option<Ending>,
    /// The last of what that wrote on stderr.
    pub(crate) stderr: String,
    /// What came on the link that was no frame.
    pub(crate) noise: String,
}

impl Host {
    /// How long its agent has to greet. Unless the spec says it, that doubles with each try for which it was not enough, and stays so: what a
    /// login or a queue has needed once it will need again.
    pub(crate) fn patience(&self) -> Duration {
        let java = self.spec.python.as_deref().is_some_and(|python| python.contains("jython"));
        let first = if java { PATIENCE_WITH_JAVA } else { PATIENCE };
        let grown = first * (1 << self.attempts.doubled());
        self.spec.patience.unwrap_or_else(|| grown.min(MOST_PATIENCE))
    }

    /// What leads to it is about to be started.
    pub(crate) fn connect(&mut self, now: Duration) {
        let bearer = if self.via.is_some() { Bearer::Tunnel } else { Bearer::Process };
        let lent = forwards::by_options(&self.spec);
        self.attempts.connect(Link::start(bearer, lent, now, self.patience()));
        self.step = match self.spec.transport {
            Transport::Ssh { .. } => Step::Connect,
            _ => Step::Start,
        };
    }

    /// Its link is over: says why, and when it is tried again.
    pub(crate) fn link_over(&mut self, traces: &Traces, common: &Common, jitter: f64, now: Duration) {
        // a far side that sends back what it gets must not have it shown
        let secret = host_secret(common, &self.spec.id);
        let [stderr, noise] = [&traces.stderr, &traces.noise].map(|said| text::without(said, &secret));
        let link = self.attempts.link();
        let was_up = link.is_some_and(Link::is_up);
        let unanswered = link.is_some_and(|link| link.unanswered);
        let (cause, ending) = (traces.cause.as_ref(), traces.ending.as_ref());
        let evidence = Evidence { spec: &self.spec, was_up, cause, ending, stderr: &stderr, noise: &noise };
        let mut diagnosis = evidence.diagnose();
        if unanswered && !was_up {
            diagnosis = diagnosis.unanswered(&common.network, &self.spec);
        }
        self.log(&diagnosis, now);
        self.doubts = if diagnosis.retry == Retry::Doubtful { self.doubts + 1 } else { 0 };
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

    /// Whether hosts behind it have nothing to wait for just now.
    pub(crate) fn failed(&self, reachable: bool) -> bool {
        self.leave.is_some() || self.state(reachable) == HostState::Failed
    }

    /// The host in front of it is reachable or not, has failed or not. True if that changes what users see.
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
                let via = self.spec.via.as_deref().unwrap_or_default();
                self.failure = Some(Diagnosis {
                    step: Step::Via,
                    error: format!("{via}, through which it is reached, is not up"),
                    hint: Some(format!("retrying as soon as {via} is up")),
                    said: Vec::new(),
                    retry: Retry::Soon,
                });
            }
        }
        before != self.attempts.state(false)
    }
}
