//! How hosts are connected, and what becomes of links that end.

use std::time::Duration;

use execnet_proto::id::{Epoch, ProcessId};
use execnet_proto::spec::Transport;
use execnet_proto::switch::{HostKey, LinkEnd, Said};
use execnet_proto::wire::Ending;

use super::{CALM, Daemon};
use crate::event::{Action, Command, LinkOver};
use crate::host::Carrier;
use crate::host::bootstrap;
use crate::host::command;
use crate::host::diagnosis::{Evidence, Retry, Verdict};
use crate::host::forwards;

impl Daemon {
    /// Starts what leads to a host.
    pub(super) fn connect(&mut self, key: HostKey, now: Duration) {
        self.attaches += 1;
        self.busy_until = now + CALM;
        let epoch = Epoch::new(self.settings.life, self.attaches);
        let id = ProcessId(self.random());
        let Some(host) = self.hosts.get_mut(&key) else { return };
        host.attempts.connect(now, host.patience());
        host.step = host.first_step();
        host.verdict = None;
        host.forwards = forwards::by_options(&host.spec);
        let payload = bootstrap::payload(&self.settings.common, &host.spec, epoch);
        tracing::debug!("connecting {}", host.spec.id);
        if let Some(via) = host.via {
            let args = command::link(&host.spec, true).into_iter().map(Into::into).collect();
            host.carrier = Carrier::Tunnel;
            let cancelled = matches!(host.spec.transport, Transport::Cmd(_));
            if !self.switch.open_tunnel_with(key, via, id, args, cancelled, epoch, payload, now) {
                self.lost_via(key, now);
            }
        } else {
            let is_ssh = matches!(host.spec.transport, Transport::Ssh { .. });
            let is_cmd = matches!(host.spec.transport, Transport::Cmd(_));
            let may_ask = is_ssh && host.attempts.is_first_try() && self.settings.askpass.is_some();
            let argv = command::link(&host.spec, !may_ask);
            host.carrier = Carrier::Process;
            let mut env = Vec::new();
            if may_ask {
                env = self.ask_through(key);
            }
            env.extend(self.auth_sock.clone().map(|socket| ("SSH_AUTH_SOCK".to_owned(), socket)));
            self.switch.open_link(key, epoch, payload, now);
            self.act(Action::StartLink(key, Command { argv, env, is_ssh, is_cmd }));
        }
        self.changed.insert(key);
    }

    /// Variables with which ssh asks through the daemon.
    fn ask_through(&mut self, key: HostKey) -> Vec<(String, String)> {
        let mut bytes = [0; 16];
        let (Some(askpass), Ok(())) = (&self.settings.askpass, getrandom::fill(&mut bytes)) else {
            return Vec::new();
        };
        let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut env = vec![
            ("SSH_ASKPASS".to_owned(), askpass.to_string_lossy().into_owned()),
            ("SSH_ASKPASS_REQUIRE".to_owned(), "force".to_owned()),
            ("EXECNET_ASKPASS".to_owned(), format!("{}/{token}", self.settings.common.network)),
        ];
        if !self.settings.has_display {
            // older releases of ssh look for it before they use SSH_ASKPASS
            env.push(("DISPLAY".to_owned(), ":".to_owned()));
        }
        if let Some(host) = self.hosts.get_mut(&key) {
            host.token = Some(token);
        }
        env
    }

    /// Its agent did not greet in time.
    pub(super) fn timed_out(&mut self, key: HostKey, now: Duration) {
        let Some(host) = self.hosts.get_mut(&key) else { return };
        let waited = host.patience();
        host.attempts.too_short();
        let next = host.patience().as_secs();
        let said = self.switch.link_closed(key, "its agent did not greet in time", now);
        let verdict = Verdict::TimedOut { waited: waited.as_secs(), next, cut: said.is_greeting_cut };
        self.dropped(key, verdict, said, now);
    }

    /// Its agent is to ask its interpreters again, which it does on every new link.
    pub(super) fn renew(&mut self, key: HostKey, now: Duration) {
        let Some(host) = self.hosts.get_mut(&key) else { return };
        host.attempts.renew(now);
        let said = self.switch.link_closed(key, "its interpreters are asked again", now);
        self.dropped(key, Verdict::Renewed, said, now);
    }

    /// The switch has ended a link.
    pub(super) fn link_dropped(&mut self, key: HostKey, why: LinkEnd, said: Said, now: Duration) {
        let mute = why == LinkEnd::Silent && !said.answered;
        let verdict = if mute { Verdict::Mute } else { Verdict::Link(why) };
        self.dropped(key, verdict, said, now);
    }

    fn dropped(&mut self, key: HostKey, verdict: Verdict, said: Said, now: Duration) {
        let Some(host) = self.hosts.get_mut(&key) else { return };
        self.changed.insert(key);
        match host.carrier {
            Carrier::Process => {
                // told when the process is over, which knows more
                host.carrier = Carrier::Ending;
                host.verdict = Some((verdict, said));
                self.act(Action::EndLink(key));
            }
            Carrier::Tunnel => {
                let ending = match &verdict {
                    Verdict::Link(LinkEnd::TunnelEnded { ending, .. }) => Some(ending.clone()),
                    _ => None,
                };
                self.link_over(key, Some(&verdict), ending.as_ref(), &said.stderr, &said.noise, now);
            }
            Carrier::Ending | Carrier::None => {}
        }
    }

    /// The process of a link has ended.
    pub(super) fn process_ended(&mut self, key: HostKey, over: LinkOver, now: Duration) {
        let Some(host) = self.hosts.get_mut(&key) else { return };
        let verdict = host.verdict.take();
        let ended_here = host.carrier == Carrier::Ending;
        let noise = match &verdict {
            Some((_, said)) => said.noise.clone(),
            None => {
                let why = over.ending.as_ref().map_or("its link ended".to_owned(), |ending| {
                    format!("the process that leads to it {}", execnet_proto::switch::describe(ending))
                });
                self.switch.link_closed(key, &why, now).noise
            }
        };
        let ending = over.ending.filter(|_| !ended_here);
        let verdict = verdict.map(|(verdict, _)| verdict);
        self.link_over(key, verdict.as_ref(), ending.as_ref(), &over.stderr, &noise, now);
    }

    fn lost_via(&mut self, key: HostKey, now: Duration) {
        let Some(host) = self.hosts.get_mut(&key) else { return };
        host.carrier = Carrier::None;
        let jitter = self.rng.f64();
        host.attempts.ended(now, jitter, false);
        host.attempts.via(false);
    }

    fn link_over(
        &mut self,
        key: HostKey,
        verdict: Option<&Verdict>,
        ending: Option<&Ending>,
        stderr: &str,
        noise: &str,
        now: Duration,
    ) {
        let jitter = self.rng.f64();
        // a far side that sends back what it gets must not have it shown
        let Some(host) = self.hosts.get_mut(&key) else { return };
        let secret = bootstrap::host_secret(&self.settings.common, &host.spec.id);
        let [stderr, noise] = [stderr, noise].map(|text| crate::text::without(text, &secret));
        let (stderr, noise) = (&*stderr, &*noise);
        let was_up = host.attempts.is_up();
        let mut diagnosis = Evidence { spec: &host.spec, was_up, verdict, ending, stderr, noise }.diagnose();
        if std::mem::take(&mut host.unanswered) && !was_up {
            diagnosis = diagnosis.unanswered(&self.settings.common.network, &host.spec);
        }
        if host.leave.is_none() && host.may_log(now) {
            tracing::warn!("{}: {}: {}", host.spec.id, diagnosis.step, diagnosis.error);
            for line in &diagnosis.said {
                if host.may_log(now) {
                    tracing::info!("{} said: {line}", host.spec.id);
                }
            }
        }
        host.doubts = if diagnosis.retry == Retry::Doubtful { host.doubts + 1 } else { 0 };
        let mute = matches!(verdict, Some(Verdict::Mute));
        if mute {
            host.attempts.was_useless(now);
        }
        // each link of a `cmd=` may be another job
        let is_cmd = matches!(host.spec.transport, Transport::Cmd(_));
        let late = diagnosis.retry == Retry::Late || host.doubts > 1 || mute && is_cmd;
        host.attempts.ended(now, jitter, late);
        host.failure = Some(diagnosis);
        host.carrier = Carrier::None;
        host.token = None;
        self.drop_questions(key);
        self.changed.insert(key);
    }

    /// The present link of a host is not wanted any more.
    pub(super) fn cut(&mut self, key: HostKey, why: &str, now: Duration) {
        self.switch.link_closed(key, why, now);
        let Some(host) = self.hosts.get_mut(&key) else { return };
        match host.carrier {
            Carrier::Process => {
                host.carrier = Carrier::Ending;
                self.act(Action::EndLink(key));
            }
            Carrier::Tunnel => host.carrier = Carrier::None,
            Carrier::Ending | Carrier::None => {}
        }
    }

    pub(super) fn random(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        if getrandom::fill(&mut bytes).is_err() {
            self.rng.fill(&mut bytes);
        }
        bytes
    }
}
