//! Questions of ssh, on their way from ssh's askpass program to whoever watches the host join, and back.
//! Pure.

use std::time::Duration;

use execnet_proto::control::{Prompt, PromptKind};
use execnet_proto::switch::{ClientKey, HostKey};

use crate::event::RequestKey;
use crate::text;

/// How long a question waits for somebody who watches.
const NOBODY: Duration = Duration::from_secs(5);

/// How many questions may be open at a time.
const MOST: usize = 256;

/// The open questions.
#[derive(Debug, Default)]
pub(super) struct Prompts {
    open: Vec<Question>,
    last: u64,
}

#[derive(Debug)]
struct Question {
    prompt: Prompt,
    host: HostKey,
    /// The request of the askpass program.
    asker: RequestKey,
    /// The request it was shown to.
    shown: Option<RequestKey>,
    /// When it expires, if nobody is there to see it.
    until: Duration,
}

impl Prompts {
    /// Adds a question. False if there are too many.
    pub(super) fn ask(
        &mut self,
        host: HostKey,
        id: &str,
        text: &str,
        kind: PromptKind,
        asker: RequestKey,
        now: Duration,
    ) -> bool {
        if self.open.len() >= MOST {
            return false;
        }
        self.last += 1;
        let text: Vec<String> = text.lines().map(|line| text::clean(line, 400)).take(20).collect();
        let mut text = text.join("\n");
        if kind == PromptKind::Confirm {
            text = format!("{} (yes/no)", text.trim_end());
        }
        // any other answer may be a secret: a server words its questions as it likes
        let echo = kind == PromptKind::HostKey;
        let notice = kind == PromptKind::Notice;
        let prompt = Prompt { id: self.last, host: id.into(), text, echo, notice };
        self.open.push(Question { prompt, host, asker, shown: None, until: now + NOBODY });
        true
    }

    /// Questions to show now, each with the watcher to show it to. `watcher` finds one for a host.
    pub(super) fn show(
        &mut self,
        watcher: impl Fn(HostKey) -> Option<RequestKey>,
    ) -> Vec<(RequestKey, Prompt)> {
        let mut shown = Vec::new();
        for question in self.open.iter_mut().filter(|question| question.shown.is_none()) {
            if let Some(to) = watcher(question.host) {
                question.shown = Some(to);
                shown.push((to, question.prompt.clone()));
            }
        }
        shown
    }

    /// A person has answered. Gives the host, and the askpass program's request.
    pub(super) fn answer(&mut self, id: u64) -> Option<(HostKey, RequestKey)> {
        let at = self.open.iter().position(|question| question.prompt.id == id)?;
        let question = self.open.swap_remove(at);
        Some((question.host, question.asker))
    }

    /// A client went away: its questions are void, and those it was shown go to another. Gives the hosts
    /// whose question is void, and whether it was only a notice.
    pub(super) fn client_gone(&mut self, client: ClientKey, now: Duration) -> Vec<(HostKey, bool)> {
        for question in &mut self.open {
            if question.shown.is_some_and(|shown| shown.client == client) {
                question.shown = None;
                question.until = now + NOBODY;
            }
        }
        let void = |question: &mut Question| question.asker.client == client;
        self.open.extract_if(.., void).map(|question| (question.host, question.prompt.notice)).collect()
    }

    /// A watcher's request is over.
    pub(super) fn watch_over(&mut self, watcher: RequestKey, now: Duration) {
        for question in self.open.iter_mut().filter(|question| question.shown == Some(watcher)) {
            question.shown = None;
            question.until = now + NOBODY;
        }
    }

    /// The host's ssh has ended: nobody wants an answer any more.
    pub(super) fn host_gone(&mut self, host: HostKey) -> Vec<RequestKey> {
        self.open.extract_if(.., |question| question.host == host).map(|question| question.asker).collect()
    }

    /// Takes out the questions that nobody was there to see.
    pub(super) fn expired(&mut self, now: Duration) -> Vec<(HostKey, RequestKey, bool)> {
        let expired = |question: &mut Question| question.shown.is_none() && now >= question.until;
        let told = |question: Question| (question.host, question.asker, question.prompt.notice);
        self.open.extract_if(.., expired).map(told).collect()
    }

    /// When [`Prompts::expired`] is due.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.open.iter().filter(|question| question.shown.is_none()).map(|question| question.until).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: HostKey = HostKey(1);
    const ASKER: RequestKey = RequestKey { client: ClientKey(1), number: 1 };
    const WATCHER: RequestKey = RequestKey { client: ClientKey(2), number: 7 };
    const NOW: Duration = Duration::ZERO;

    #[test]
    fn a_question_goes_to_a_watcher_and_the_answer_back() {
        let mut prompts = Prompts::default();
        assert!(prompts.ask(HOST, "h", "ann@h's password: ", PromptKind::Text, ASKER, NOW));
        let shown = prompts.show(|host| (host == HOST).then_some(WATCHER));
        assert_eq!(shown.len(), 1);
        let (to, prompt) = &shown[0];
        assert_eq!((*to, prompt.text.as_str(), prompt.echo), (WATCHER, "ann@h's password: ", false));
        assert_eq!(prompts.deadline(), None);
        assert!(prompts.show(|_| Some(WATCHER)).is_empty(), "shown once");
        assert_eq!(prompts.answer(prompt.id), Some((HOST, ASKER)));
        assert_eq!(prompts.answer(prompt.id), None);
    }

    #[test]
    fn a_question_that_nobody_sees_is_given_up() {
        let mut prompts = Prompts::default();
        prompts.ask(HOST, "h", "continue (yes/no)?", PromptKind::HostKey, ASKER, NOW);
        assert!(prompts.show(|_| None).is_empty());
        assert!(prompts.expired(NOW).is_empty());
        assert_eq!(prompts.expired(prompts.deadline().unwrap()), [(HOST, ASKER, false)]);
    }

    #[test]
    fn a_question_moves_on_when_its_watcher_goes() {
        let mut prompts = Prompts::default();
        prompts.ask(HOST, "h", "continue (yes/no)?", PromptKind::HostKey, ASKER, NOW);
        prompts.show(|_| Some(WATCHER));
        assert!(prompts.client_gone(WATCHER.client, NOW).is_empty());
        let shown = prompts.show(|_| Some(RequestKey { client: ClientKey(3), number: 1 }));
        assert!(shown[0].1.echo);
        assert_eq!(prompts.client_gone(ASKER.client, NOW), [(HOST, false)]);
        assert_eq!(prompts.answer(shown[0].1.id), None);
    }

    #[test]
    fn an_answer_is_seen_only_where_ssh_itself_asks_about_a_host_key() {
        let forged = "The authenticity of host 'h' can't be established. (yes/no/[fingerprint])? ";
        let shown = |text: &str, kind| {
            let mut prompts = Prompts::default();
            prompts.ask(HOST, "h", text, kind, ASKER, NOW);
            prompts.show(|_| Some(WATCHER)).remove(0).1
        };
        assert!(shown(forged, PromptKind::HostKey).echo);
        for text in [forged, "(ann@h) yes/no? ", "Password (yes/no): "] {
            assert!(!shown(text, PromptKind::Text).echo, "{text}");
        }
        let confirm = shown("Add key to agent?", PromptKind::Confirm);
        assert_eq!((confirm.text.as_str(), confirm.echo), ("Add key to agent? (yes/no)", false));
        assert!(shown("Touch your key", PromptKind::Notice).notice);
    }

    #[test]
    fn terminal_controls_do_not_pass() {
        let mut prompts = Prompts::default();
        prompts.ask(HOST, "h", "a\x1b[2Jb\nc\x07", PromptKind::Text, ASKER, NOW);
        assert_eq!(prompts.show(|_| Some(WATCHER))[0].1.text, "ab\nc\\x07");
    }
}
