//! Forwards signals to the process that a command stands for.

use std::io;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{
    SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGSTOP, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2, SIGWINCH,
};
use signal_hook::low_level::{raise, signal_name};

use crate::print::say;
use crate::signals::handled;
use crate::text::one_line;

const FORWARDED: [i32; 9] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH, SIGTSTP, SIGCONT];

/// Signals that ask for an end.
const ENDING: [i32; 4] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT];

/// How long a signal may take to leave before we stop ourselves.
const LEAVING: Duration = Duration::from_millis(100);

/// How long a host may take to acknowledge a signal before a person is told.
const HEARS: Duration = Duration::from_secs(2);

/// The process that gets the signals.
pub(super) trait Recipient {
    /// Sends a signal by name, because numbers differ between systems. Keeps it while the host is
    /// unreachable.
    fn signal(&self, name: &str);

    /// Why the host is unreachable, if it is.
    fn unreachable(&self) -> Option<String>;

    /// Whether the host has acknowledged all signals.
    fn has_heard(&self) -> bool;

    /// The host's id.
    fn host(&self) -> String;

    /// Whether it is stopped while this command is, by Ctrl-Z.
    fn stops_with_us(&self) -> bool {
        true
    }

    /// Whether this signal, by its number, means that the process is left and stays.
    fn is_left_by(&self, _number: i32) -> bool {
        false
    }

    /// Ends this command with this status, and leaves the process.
    fn left(&self, status: u8) -> ! {
        std::process::exit(status.into())
    }
}

/// Ending signals that the host has not acknowledged.
#[derive(Debug, Default)]
struct UnheardSignal {
    /// The last one, and the time of the first.
    sent: Option<(&'static str, Instant)>,
    /// A person was told, so the next one ends this command.
    told: bool,
}

/// What to do besides sending the signal.
#[derive(Debug, PartialEq, Eq)]
enum Reaction {
    Nothing,
    /// Print this line: the signal is pending.
    Say(String),
    /// Exit with this status, that of the signal.
    End(u8),
    /// Stop ourselves, as the process does.
    Stop,
}

/// Forwards signals from now on.
pub(super) fn forward(recipient: impl Recipient + Send + 'static) -> io::Result<()> {
    let mut signals = handled(&FORWARDED)?;
    let (numbers_tx, numbers) = channel();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for number in signals.forever() {
            if numbers_tx.send(number).is_err() {
                return;
            }
        }
    })?;
    thread::Builder::new().name("signals on".to_owned()).spawn(move || {
        let mut unheard = UnheardSignal::default();
        loop {
            let now = Instant::now();
            let next = match unheard.due() {
                Some(due) => numbers.recv_timeout(due.saturating_duration_since(now)),
                None => numbers.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let reaction = match next {
                Ok(number) => react(&recipient, number, &mut unheard, Instant::now()),
                Err(RecvTimeoutError::Timeout) => remind(&recipient, &mut unheard, Instant::now()),
                Err(RecvTimeoutError::Disconnected) => return,
            };
            match reaction {
                Reaction::Nothing => {}
                Reaction::Say(line) => say(&line),
                Reaction::End(status) => recipient.left(status),
                Reaction::Stop => {
                    thread::sleep(LEAVING);
                    // SIGTSTP is handled here; SIGSTOP looks the same to the shell
                    let _ = raise(SIGSTOP);
                }
            }
        }
    })?;
    Ok(())
}

/// Sends a signal and decides what else to do.
fn react(recipient: &impl Recipient, number: i32, unheard: &mut UnheardSignal, now: Instant) -> Reaction {
    if recipient.has_heard() {
        *unheard = UnheardSignal::default();
    }
    let ending = ENDING.contains(&number);
    if ending && unheard.told || recipient.is_left_by(number) {
        return Reaction::End(u8::try_from(128 + number).unwrap_or(1));
    }
    if matches!(number, SIGTSTP | SIGCONT) && !recipient.stops_with_us() {
        return if number == SIGTSTP { Reaction::Stop } else { Reaction::Nothing };
    }
    let name = signal_name(number).unwrap_or("");
    // the process has no terminal, so the kernel would drop SIGTSTP
    recipient.signal(if number == SIGTSTP { "SIGSTOP" } else { name });
    if ending {
        let first = unheard.sent.map_or(now, |(_, first)| first);
        unheard.sent = Some((name, first));
        return tell(recipient, unheard, now);
    }
    if number == SIGTSTP { Reaction::Stop } else { Reaction::Nothing }
}

/// Checks whether a pending signal must be reported by now.
fn remind(recipient: &impl Recipient, unheard: &mut UnheardSignal, now: Instant) -> Reaction {
    if recipient.has_heard() {
        *unheard = UnheardSignal::default();
    }
    tell(recipient, unheard, now)
}

/// Reports that an ending signal is pending, if that is known.
fn tell(recipient: &impl Recipient, unheard: &mut UnheardSignal, now: Instant) -> Reaction {
    let Some((name, first)) = unheard.sent.filter(|_| !unheard.told) else { return Reaction::Nothing };
    let waited = now.saturating_duration_since(first);
    let said = match recipient.unreachable() {
        Some(why) => format!("{why}; {name} is sent when it is back"),
        None if waited >= HEARS => {
            let (host, seconds) = (recipient.host(), waited.as_secs());
            format!("no answer from {host} for {seconds} s; {name} is on its way")
        }
        None => return Reaction::Nothing,
    };
    unheard.told = true;
    Reaction::Say(format!("execnet: {}; send it again to end this command", one_line(&said)))
}

impl UnheardSignal {
    /// When to report a pending signal.
    fn due(&self) -> Option<Instant> {
        let (_, first) = self.sent.filter(|_| !self.told)?;
        first.checked_add(HEARS)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    #[derive(Default)]
    struct Process {
        broken: Cell<bool>,
        silent: Cell<bool>,
        unheard: Cell<bool>,
        got: RefCell<Vec<String>>,
    }

    impl Recipient for Process {
        fn signal(&self, name: &str) {
            self.got.borrow_mut().push(name.to_owned());
            self.unheard.set(self.broken.get() || self.silent.get());
        }

        fn unreachable(&self) -> Option<String> {
            self.broken.get().then(|| "build1 is unreachable: no byte for 15 s".to_owned())
        }

        fn has_heard(&self) -> bool {
            !self.unheard.get()
        }

        fn host(&self) -> String {
            "build1".to_owned()
        }
    }

    #[test]
    fn signals_go_to_the_process() {
        let process = Process::default();
        let (mut unheard, now) = (UnheardSignal::default(), Instant::now());
        for number in [SIGINT, SIGINT, SIGUSR1, SIGWINCH, SIGCONT] {
            assert_eq!(react(&process, number, &mut unheard, now), Reaction::Nothing);
        }
        assert_eq!(react(&process, SIGTSTP, &mut unheard, now), Reaction::Stop);
        assert_eq!(*process.got.borrow(), ["SIGINT", "SIGINT", "SIGUSR1", "SIGWINCH", "SIGCONT", "SIGSTOP"]);
    }

    #[test]
    fn during_a_break_the_first_waits_and_says_so_and_the_second_ends_the_command() {
        let process = Process::default();
        process.broken.set(true);
        let (mut unheard, now) = (UnheardSignal::default(), Instant::now());
        assert_eq!(react(&process, SIGWINCH, &mut unheard, now), Reaction::Nothing);
        assert_eq!(
            react(&process, SIGINT, &mut unheard, now),
            Reaction::Say(
                "execnet: build1 is unreachable: no byte for 15 s; SIGINT is sent when it is back; \
                 send it again to end this command"
                    .to_owned()
            )
        );
        assert_eq!(react(&process, SIGINT, &mut unheard, now), Reaction::End(130));
        assert_eq!(*process.got.borrow(), ["SIGWINCH", "SIGINT"]);

        process.broken.set(false);
        process.unheard.set(false);
        assert_eq!(react(&process, SIGINT, &mut unheard, now), Reaction::Nothing);
        process.broken.set(true);
        assert!(
            matches!(react(&process, SIGTERM, &mut unheard, now), Reaction::Say(_)),
            "a new break begins anew"
        );
    }

    #[test]
    fn a_signal_that_a_silent_host_does_not_hear_of_is_told_and_the_next_one_ends_the_command() {
        let process = Process::default();
        process.silent.set(true);
        let (mut unheard, begin) = (UnheardSignal::default(), Instant::now());
        // an impatient person
        for _ in 0..3 {
            assert_eq!(react(&process, SIGINT, &mut unheard, begin), Reaction::Nothing);
        }
        assert_eq!(unheard.due(), Some(begin + HEARS));
        let told =
            "execnet: no answer from build1 for 2 s; SIGINT is on its way; send it again to end this command";
        assert_eq!(remind(&process, &mut unheard, begin + HEARS), Reaction::Say(told.to_owned()));
        assert_eq!(unheard.due(), None);
        // knowing the reason now does not repeat the notice
        process.broken.set(true);
        assert_eq!(react(&process, SIGWINCH, &mut unheard, begin + HEARS), Reaction::Nothing);
        assert_eq!(react(&process, SIGINT, &mut unheard, begin + HEARS), Reaction::End(130));

        process.broken.set(false);
        process.silent.set(false);
        process.unheard.set(false);
        assert_eq!(
            react(&process, SIGINT, &mut unheard, begin + HEARS),
            Reaction::Nothing,
            "it has answered"
        );
        assert_eq!(remind(&process, &mut unheard, begin + HEARS * 2), Reaction::Nothing);
        assert_eq!(unheard.due(), None);
    }
}
