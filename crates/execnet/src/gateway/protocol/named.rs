//! Channels with names of a kept kernel (docs/kernel.md, section 10), beside the ordinary ones: which there
//! are, and how their values are taken. No IO.
//!
//! The kernel keeps each value until a program has taken it. So a value is given to this program only when
//! the kernel has heard so: a thread that waits *wants* one, the client says TOOK, and the kernel's TOOK
//! makes it ready.

use std::collections::{HashMap, VecDeque};

use super::{Chan, Next, Protocol, is_theirs, mentioned};
use crate::gateway::inbox::Inbox;
use crate::gateway::wire::{Kind, frame};
use crate::value::{Dialect, Encoded, Reading, Value, Writer, Writing};

/// How many channels with names a kernel may have.
const MAX_NAMES: usize = 1_000;

/// How many characters a name may have.
const MAX_NAME: usize = 64;

/// What the kernel has told of its channels with names.
#[derive(Debug, Default)]
pub(super) struct Names {
    known: HashMap<String, Known>,
    /// The names that were asked for, by the numbers of the questions, and the answers.
    questions: HashMap<u32, (String, Option<Answer>)>,
}

/// The number of a channel, or why there is none.
type Answer = Result<u32, String>;

/// One of them.
#[derive(Clone, Copy, Debug)]
struct Known {
    number: u32,
    /// It is among the channels.
    open: bool,
    took: u64,
    received: u64,
    credit: u64,
}

/// How far the values of one have been taken.
#[derive(Debug)]
pub(super) struct Taking {
    name: String,
    /// How many the kernel has received on it before this connection.
    received: u64,
    /// How many programs were given.
    given: u64,
    /// The number in our last TOOK, and in the kernel's.
    said: u64,
    heard: u64,
    /// The lengths of those that have arrived and are not said to be taken.
    lengths: VecDeque<u32>,
    /// How many threads wait for one.
    wanted: u64,
}

/// A channel that was asked for by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Opened {
    At(u32),
    /// This question must be answered first.
    Asked(u32),
}

/// Why a text cannot be the name of a channel.
pub(in crate::gateway) fn unfit(name: &str) -> Option<String> {
    if name.is_empty() || name.chars().nth(MAX_NAME).is_some() {
        return Some(format!("the name of a channel has 1 to {MAX_NAME} characters"));
    }
    let has_control = name.chars().any(char::is_control);
    has_control.then(|| "the name of a channel has no control characters".to_owned())
}

#[cfg(any(test, fuzzing))]
impl Names {
    /// Names are as few as they may be, and no two are one channel.
    pub(super) fn check(&self) {
        let numbers: std::collections::HashSet<u32> = self.known.values().map(|known| known.number).collect();
        assert!(self.known.len() <= MAX_NAMES && numbers.len() == self.known.len());
    }
}

impl Taking {
    fn new(name: String, took: u64, received: u64) -> Self {
        Self { name, received, given: took, said: took, heard: took, lengths: VecDeque::new(), wanted: 0 }
    }

    /// Whether the next value may be given to the program.
    pub(super) fn is_ready(&self) -> bool {
        self.heard > self.given
    }
}

impl Protocol {
    /// Expects a kernel that is kept.
    pub(in crate::gateway) fn keep(&mut self) {
        self.names = Some(Box::default());
    }

    /// Takes what HELLO says of channels with names.
    pub(super) fn greeted_with_names(&mut self, payload: &[u8]) -> Result<(), String> {
        if self.names.is_none() {
            return Ok(());
        }
        let reading = Reading { dialect: Dialect::Two, ..Reading::default() };
        let hello = Value::decode(payload, reading).map_err(|error| error.to_string())?;
        let window = hello.get("window").and_then(unsigned).filter(|&window| window > 0);
        self.window = window.ok_or("a kept kernel without a `window`")?;
        let Some(Value::List(channels)) = hello.get("channels") else {
            return Err("a kept kernel that tells of no `channels`".into());
        };
        for told in channels {
            let Value::Tuple(parts) = told else { return Err("a channel without its parts".into()) };
            let [name, number, rest @ ..] = &parts[..] else { return Err("a channel of few parts".into()) };
            let number = unsigned(number).and_then(|number| u32::try_from(number).ok());
            let number = number.ok_or("a channel without a number")?;
            let known = known(number, rest)?;
            self.learn(text(name)?, known)?;
        }
        Ok(())
    }

    /// NAME: the kernel tells of a channel, perhaps because we asked for it.
    pub(super) fn heard_name(&mut self, number: u32, payload: &[u8]) -> Result<(), String> {
        let value = self.value(payload).map_err(|error| format!("NAME: {error}"))?;
        let Value::Tuple(parts) = value else { return Err("a NAME without its parts".into()) };
        let [name, question, rest @ ..] = &parts[..] else { return Err("a NAME of few parts".into()) };
        let (name, known) = (text(name)?, known(number, rest)?);
        let question = unsigned(question).and_then(|question| u32::try_from(question).ok());
        let question = question.ok_or("a NAME without the number of its question")?;
        let is_ours = self.channels.get(&number).and_then(|chan| chan.taking.as_ref());
        if is_ours.is_none_or(|taking| taking.name != name) {
            self.learn(name, known)?;
        }
        if question == 0 {
            return Ok(());
        }
        let asked = self.names.as_ref().and_then(|names| names.questions.get(&question));
        if !asked.is_some_and(|(asked, answer)| asked == name && answer.is_none()) {
            return Err("an answer to a question for a name that nobody asked".into());
        }
        self.open_known(name, false);
        self.answer(question, Ok(number));
        Ok(())
    }

    /// CLOSE with the number of a question for a name. Returns whether it was one.
    pub(super) fn heard_refusal(&mut self, question: u32, error: &mut Option<String>) -> bool {
        let waits = |names: &Names| names.questions.get(&question).is_some_and(|asked| asked.1.is_none());
        if !self.names.as_deref().is_some_and(waits) {
            return false;
        }
        self.answer(question, Err(error.take().unwrap_or_else(|| "it has no such channel".into())));
        true
    }

    /// Notes a channel that the kernel tells of.
    fn learn(&mut self, name: &str, known: Known) -> Result<(), String> {
        let Some(names) = self.names.as_mut() else { return Err("a name where there are none".into()) };
        let number = known.number;
        let is_taken = names.known.iter().any(|(other, known)| known.number == number && other != name);
        if !is_theirs(number) || is_taken || self.channels.contains_key(&number) {
            return Err(format!("a name for channel {number}, which is another one"));
        }
        names.known.insert(name.to_owned(), known);
        if names.known.len() > MAX_NAMES {
            return Err(format!("more than {MAX_NAMES} channels with names"));
        }
        Ok(())
    }

    fn answer(&mut self, question: u32, answer: Answer) {
        if let Some(asked) = self.names.as_mut().and_then(|names| names.questions.get_mut(&question)) {
            asked.1 = Some(answer);
            self.touched = true;
        }
    }

    /// Opens the channel of a name that is known, or asks for it. The name must be fit.
    pub(in crate::gateway) fn open_named(&mut self, name: &str) -> Option<Opened> {
        let names = self.names.as_mut()?;
        if let Some(known) = names.known.get(name) {
            let number = known.number;
            self.open_known(name, true);
            return Some(Opened::At(number));
        }
        let question = self.next;
        self.next += 2;
        names.questions.insert(question, (name.to_owned(), None));
        let mut writer = Writer::new(Writing { target: self.target(), ..Writing::default() });
        let payload = writer.str(name).and_then(|()| writer.finish());
        let payload = payload.as_ref().map(Encoded::as_bytes).unwrap_or_default();
        self.out.push(frame(Kind::Name, question, payload));
        Some(Opened::Asked(question))
    }

    /// Whether a question for a name is answered, or forgotten.
    pub(in crate::gateway) fn is_answered(&self, question: u32) -> bool {
        let asked = self.names.as_ref().and_then(|names| names.questions.get(&question));
        asked.is_none_or(|(_, answer)| answer.is_some())
    }

    /// The answer to a question for a name, which is forgotten then.
    pub(in crate::gateway) fn take_answer(&mut self, question: u32) -> Option<Answer> {
        self.names.as_mut()?.questions.remove(&question)?.1
    }

    /// Whether the kernel outlives this client.
    pub(in crate::gateway) fn is_kept(&self) -> bool {
        self.names.is_some()
    }

    /// Whether a channel has a name.
    pub(in crate::gateway) fn is_named(&self, number: u32) -> bool {
        self.channels.get(&number).is_some_and(|chan| chan.taking.is_some())
    }

    /// How many values the kernel had received on a channel before this client entered.
    pub(in crate::gateway) fn received_before(&self, number: u32) -> u64 {
        let taking = self.channels.get(&number).and_then(|chan| chan.taking.as_ref());
        taking.map_or(0, |taking| taking.received)
    }

    /// Whether a number is that of a channel which nobody has opened: nothing may come on it.
    pub(super) fn is_unopened(&self, number: u32) -> bool {
        let is = |known: &Known| known.number == number && !known.open;
        self.names.as_ref().is_some_and(|names| names.known.values().any(is))
    }

    fn open_known(&mut self, name: &str, say: bool) {
        let Some(known) = self.names.as_mut().and_then(|names| names.known.get_mut(name)) else { return };
        if std::mem::replace(&mut known.open, true) {
            return;
        }
        let Known { number, took, received, credit, .. } = *known;
        let taking = Some(Box::new(Taking::new(name.to_owned(), took, received)));
        let chan = Chan { credit, taking, ..self.chan() };
        self.channels.insert(number, chan);
        if say {
            self.out.push(frame(Kind::Took, number, &took.to_be_bytes()));
        }
    }

    /// Opens a channel for code that gets this name, with one handle.
    pub(in crate::gateway) fn open_for_code(&mut self, name: &str) -> u32 {
        let number = self.open();
        if let Some(chan) = self.channels.get_mut(&number) {
            chan.taking = Some(Box::new(Taking::new(name.to_owned(), 0, 0)));
        }
        if let Some(names) = self.names.as_mut() {
            // if there is one of this name, the kernel refuses the code
            let known = Known { number, open: true, took: 0, received: 0, credit: self.window };
            names.known.entry(name.to_owned()).or_insert(known);
        }
        number
    }

    /// The name of a channel that was closed here is free for another one.
    pub(super) fn unname(&mut self, number: u32) {
        let taking = self.channels.get(&number).and_then(|chan| chan.taking.as_ref());
        let (Some(taking), Some(names)) = (taking, self.names.as_mut()) else { return };
        if names.known.get(&taking.name).is_some_and(|known| known.number == number) {
            names.known.remove(&taking.name);
        }
    }

    /// A value has arrived on a channel with a name.
    pub(super) fn arrived_named(&mut self, number: u32, length: usize) {
        if let Some(taking) = self.channels.get_mut(&number).and_then(|chan| chan.taking.as_mut()) {
            taking.lengths.push_back(length as u32);
        }
        self.take_wanted(number);
    }

    /// Fails if a value on a channel with a name has a channel.
    pub(super) fn check_named(&self, number: u32, payload: &[u8], escaped: bool) -> Result<(), String> {
        if escaped && self.is_named(number) && !mentioned(payload)?.is_empty() {
            return Err("a channel in a value on a channel with a name".into());
        }
        Ok(())
    }

    /// A thread begins to wait for a value. [`Protocol::unwant`] must follow.
    pub(in crate::gateway) fn want(&mut self, number: u32) {
        if let Some(taking) = self.channels.get_mut(&number).and_then(|chan| chan.taking.as_mut()) {
            taking.wanted += 1;
            self.take_wanted(number);
        }
    }

    /// It no longer waits. What the kernel says meanwhile to be taken is the next value of this program.
    pub(in crate::gateway) fn unwant(&mut self, number: u32) {
        if let Some(taking) = self.channels.get_mut(&number).and_then(|chan| chan.taking.as_mut()) {
            taking.wanted = taking.wanted.saturating_sub(1);
        }
    }

    /// Says TOOK for as many values as are wanted and have arrived.
    fn take_wanted(&mut self, number: u32) {
        let Some(chan) = self.channels.get_mut(&number).filter(|chan| !chan.said_close) else { return };
        let Some(taking) = chan.taking.as_mut() else { return };
        let before = taking.said;
        while taking.said - taking.given < taking.wanted {
            let Some(length) = taking.lengths.pop_front() else { break };
            taking.said += 1;
            // the kernel's window has room again
            chan.told += u64::from(length);
        }
        if taking.said > before {
            self.out.push(frame(Kind::Took, number, &taking.said.to_be_bytes()));
        }
    }

    /// TOOK: the kernel has heard that so many values were taken.
    pub(super) fn heard_took(&mut self, number: u32, count: u64) -> Result<(), String> {
        let Some(chan) = self.channels.get_mut(&number) else { return Ok(()) };
        let Some(taking) = chan.taking.as_mut() else {
            return Err(format!("TOOK on channel {number}, which has no name"));
        };
        if count > taking.said {
            return Err(format!("TOOK of {count} values, of which {} were taken", taking.said));
        }
        if count < taking.heard {
            return Err(format!("TOOK of {count} values after {}", taking.heard));
        }
        taking.heard = count;
        self.touched = true;
        Ok(())
    }

    /// Takes the next value, if the kernel has heard of it, as [`Protocol::receive`].
    pub(super) fn receive_named(&mut self, number: u32, take_error: bool) -> Next {
        let Some(chan) = self.channels.get_mut(&number) else { return Next::Closed };
        let Some(taking) = chan.taking.as_mut() else { return Next::Closed };
        if taking.is_ready()
            && let Some((bytes, escaped)) = chan.inbox.pop()
        {
            taking.given += 1;
            self.held -= Inbox::cost(bytes.len());
            return Next::Value { bytes, escaped };
        }
        if !chan.said_close && (!chan.inbox.is_empty() || !chan.receives_no_more()) {
            return Next::Nothing;
        }
        let error = if take_error { self.take_error(number) } else { None };
        self.saw_end(number);
        error.map_or(Next::Closed, Next::Error)
    }

    /// Takes back the value that was received last.
    pub(super) fn give_back_named(chan: &mut Chan) {
        if let Some(taking) = chan.taking.as_mut() {
            taking.given -= 1;
        }
    }

    /// The program has seen the end of a channel: its name is free, if no error is left to be told.
    pub(in crate::gateway) fn saw_end(&mut self, number: u32) {
        let Some(chan) = self.channels.get(&number) else { return };
        let is_over = chan.heard_close && !chan.said_close && chan.inbox.is_empty() && chan.error.is_none();
        if chan.taking.is_some() && is_over {
            self.close(number, None);
        }
    }

    /// Drops the values that were not taken: the program has closed the channel.
    pub(super) fn drop_untaken_values(&mut self, number: u32) {
        let Some(chan) = self.channels.get_mut(&number) else { return };
        let Some(taking) = chan.taking.as_mut() else { return };
        taking.lengths.clear();
        if !taking.is_ready() {
            self.held -= chan.inbox.held();
            chan.inbox = Inbox::default();
        }
    }

    /// CLOSE on a channel with a name: it is answered when the program has seen the end.
    pub(super) fn heard_close_named(&mut self, number: u32, error: Option<String>) -> Result<(), String> {
        let room = super::MAX_HELD.saturating_sub(self.held);
        let exiting = self.exiting;
        let Some(chan) = self.channels.get_mut(&number) else { return Ok(()) };
        if std::mem::replace(&mut chan.heard_close, true) {
            return Ok(());
        }
        if let Some(error) = error.filter(|_| !chan.said_close) {
            if error.len() > room {
                return Err("more than 1 GiB of unreceived data".into());
            }
            self.held += error.len();
            chan.expected = exiting;
            chan.error = Some(error);
        }
        self.touched = true;
        self.forget(number);
        Ok(())
    }
}

fn text(value: &Value) -> Result<&str, String> {
    let name = value.as_str().ok_or("a channel without a name")?;
    unfit(name).map_or(Ok(name), Err)
}

fn unsigned(value: &Value) -> Option<u64> {
    value.as_int().and_then(|number| u64::try_from(number).ok())
}

/// What is told of a channel behind its name and number.
fn known(number: u32, parts: &[Value]) -> Result<Known, String> {
    let [took, received, credit, Value::Bool(_)] = parts else {
        return Err("a channel without its counts".into());
    };
    let count = |value| unsigned(value).ok_or("a channel without its counts");
    let (took, received, credit) = (count(took)?, count(received)?, count(credit)?);
    Ok(Known { number, open: false, took, received, credit })
}

#[cfg(test)]
#[path = "named_tests.rs"]
mod tests;
