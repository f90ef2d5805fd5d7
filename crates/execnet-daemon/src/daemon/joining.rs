//! How hosts get a link, and what follows when links end.

use std::time::Duration;

use execnet_proto::id::{Epoch, ProcessId};
use execnet_proto::spec::Transport;
use execnet_proto::switch::{HostKey, LinkEnd, Said};
use execnet_proto::text::hex;

use super::{CALM, Daemon};
use crate::event::{Action, Command, LinkOver};
use crate::host::bootstrap;
use crate::host::command;
use crate::host::diagnosis::Cause;
use crate::host::joining::Traces;
use crate::host::link::{Bearer, Link};

impl Daemon {
    /// Starts a host's link.
    pub(super) fn connect(&mut self, key: HostKey, now: Duration) {
        self.attaches += 1;
        self.busy_until = now + CALM;
        let epoch = Epoch::new(self.settings.life, self.attaches);
        let id = ProcessId(self.random());
        let Some(host) = self.hosts.get_mut(&key) else { return };
        host.connect(now);
        let payload = bootstrap::payload(&self.settings.common, &host.spec, epoch, host.end_kept);
        let (via, is_behind) = (host.via(), host.is_behind());
        let is_cmd = matches!(host.spec.transport, Transport::Cmd(_));
        tracing::debug!("connecting {}", host.spec.id);
        if is_behind {
            let args = command::link(&host.spec, true).into_iter().map(Into::into).collect();
            let opened = via.is_some_and(|via| {
                self.switch.open_tunnel_with(key, via, id, args, is_cmd, epoch, payload, now)
            });
            if !opened {
                self.lost_via(key, now);
            }
        } else {
            let is_ssh = matches!(host.spec.transport, Transport::Ssh { .. });
            let may_ask = is_ssh && host.attempts.is_first_attempt() && self.settings.askpass.is_some();
            let argv = command::link(&host.spec, !may_ask);
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

    /// Variables that make ssh ask through the daemon.
    fn ask_through(&mut self, key: HostKey) -> Vec<(String, String)> {
        let mut bytes = [0; 16];
        let (Some(askpass), Ok(())) = (&self.settings.askpass, getrandom::fill(&mut bytes)) else {
            return Vec::new();
        };
        let token = hex(&bytes);
        let mut env = vec![
            ("SSH_ASKPASS".to_owned(), askpass.to_string_lossy().into_owned()),
            ("SSH_ASKPASS_REQUIRE".to_owned(), "force".to_owned()),
            ("EXECNET_ASKPASS".to_owned(), format!("{}/{token}", self.settings.common.network)),
        ];
        if !self.settings.has_display {
            // older releases of ssh need it to use SSH_ASKPASS
            env.push(("DISPLAY".to_owned(), ":".to_owned()));
        }
        if let Some(link) = self.link_mut(key) {
            link.token = Some(token);
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
        let cause = Cause::TimedOut { waited: waited.as_secs(), next, cut: said.is_greeting_cut };
        self.dropped(key, cause, said, now);
    }

    /// Makes its agent look for its interpreters again, as it does on every new link.
    pub(super) fn renew(&mut self, key: HostKey, now: Duration) {
        let Some(host) = self.hosts.get_mut(&key) else { return };
        host.attempts.renew(now);
        let said = self.switch.link_closed(key, "its interpreters are asked again", now);
        self.dropped(key, Cause::Renewed, said, now);
    }

    /// Another host leads to it now, no longer this one.
    pub(super) fn moved(&mut self, key: HostKey, from: String, now: Duration) {
        let Some(host) = self.hosts.get_mut(&key) else { return };
        host.attempts.renew(now);
        let why = format!("another host leads to it now, no longer {from}");
        let said = self.switch.link_closed(key, &why, now);
        self.dropped(key, Cause::Moved(from), said, now);
    }

    /// The switch has ended a link.
    pub(super) fn link_dropped(&mut self, key: HostKey, why: LinkEnd, said: Said, now: Duration) {
        let mute = why == LinkEnd::Silent && !said.answered;
        let cause = if mute { Cause::Mute } else { Cause::Link(why) };
        self.dropped(key, cause, said, now);
    }

    fn dropped(&mut self, key: HostKey, cause: Cause, said: Said, now: Duration) {
        let Some(host) = self.hosts.get_mut(&key) else { return };
        self.changed.insert(key);
        let Some(link) = host.attempts.link_mut() else { return };
        match link.bearer {
            // reported when the process is over, which knows more
            Bearer::Process => {
                if link.end() {
                    link.cause = Some((cause, said));
                    self.act(Action::EndLink(key));
                }
            }
            Bearer::Tunnel => {
                let ending = match &cause {
                    Cause::Link(LinkEnd::TunnelEnded { ending, .. }) => Some(ending.clone()),
                    _ => None,
                };
                let Said { noise, stderr, .. } = said;
                self.link_over(key, &Traces { cause: Some(cause), ending, stderr, noise }, now);
            }
        }
    }

    /// The process of a link has ended.
    pub(super) fn process_ended(&mut self, key: HostKey, over: LinkOver, now: Duration) {
        let Some(link) = self.link_mut(key) else { return };
        let cause = link.cause.take();
        let ending = over.ending.clone().filter(|_| !link.is_ending());
        let noise = match &cause {
            Some((_, said)) => said.noise.clone(),
            None => {
                let why = over.ending.as_ref().map_or("its link ended".to_owned(), |ending| {
                    format!("the process that leads to it {ending}")
                });
                self.switch.link_closed(key, &why, now).noise
            }
        };
        let cause = cause.map(|(cause, _)| cause);
        self.link_over(key, &Traces { cause, ending, stderr: over.stderr, noise }, now);
    }

    fn lost_via(&mut self, key: HostKey, now: Duration) {
        let jitter = self.rng.f64();
        let Some(host) = self.hosts.get_mut(&key) else { return };
        host.attempts.ended(now, jitter, false);
        host.attempts.via(false);
    }

    fn link_over(&mut self, key: HostKey, traces: &Traces, now: Duration) {
        let jitter = self.rng.f64();
        let Some(host) = self.hosts.get_mut(&key) else { return };
        host.link_over(traces, &self.settings.common, jitter, now);
        self.drop_questions(key);
        self.changed.insert(key);
    }

    /// Ends a link that is no longer wanted.
    pub(super) fn cut(&mut self, key: HostKey, why: &str, now: Duration) {
        self.switch.link_closed(key, why, now);
        let Some(host) = self.hosts.get_mut(&key) else { return };
        let Some(link) = host.attempts.link_mut() else { return };
        match link.bearer {
            Bearer::Process => {
                if link.end() {
                    self.act(Action::EndLink(key));
                }
            }
            Bearer::Tunnel => host.attempts.drop_link(),
        }
    }

    pub(super) fn link_mut(&mut self, key: HostKey) -> Option<&mut Link> {
        self.hosts.get_mut(&key)?.attempts.link_mut()
    }

    pub(super) fn random(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        if getrandom::fill(&mut bytes).is_err() {
            self.rng.fill(&mut bytes);
        }
        bytes
    }
}
