//! Signals that this command gets, passed on to the process that it stands for.

use std::io;
use std::thread;
use std::time::Duration;

use signal_hook::consts::{
    SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGSTOP, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2, SIGWINCH,
};
use signal_hook::iterator::Signals;
use signal_hook::low_level::{raise, signal_name};

use crate::text::{one_line, say};

const FORWARDED: [i32; 9] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH, SIGTSTP, SIGCONT];

/// Those by which a person wants an end.
const ENDING: [i32; 4] = [SIGINT, SIGTERM, SIGHUP, SIGQUIT];

/// How long a signal has to leave before we stop ourselves.
const LEAVING: Duration = Duration::from_millis(100);

/// The process that signals are for.
pub(super) trait Target {
    /// Sends a signal by its name (numbers differ between systems), or keeps it until the host can be reached.
    fn signal(&self, name: &str);

    /// Why the host cannot be reached at present.
    fn unreachable(&self) -> Option<String>;
}

/// What to do beside sending a signal.
#[derive(Debug, PartialEq, Eq)]
enum Reaction {
    Nothing,
    /// Say that it waits.
    Say(String),
    /// End this command with the signal's own status.
    End(u8),
    /// Stop, as the process does.
    Stop,
}

/// Passes on signals from now on. One that was ignored when we were started (`nohup`) stays ignored.
pub(super) fn forward(target: impl Target + Send + 'static) -> io::Result<()> {
    let ignored = ignored();
    let mut signals = Signals::new(FORWARDED.into_iter().filter(|number| ignored >> (number - 1) & 1 == 0))?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let mut waits = false;
        for number in signals.forever() {
            match react(&target, number, &mut waits) {
                Reaction::Nothing => {}
                Reaction::Say(line) => say(&line),
                Reaction::End(status) => std::process::exit(status.into()),
                Reaction::Stop => {
                    thread::sleep(LEAVING);
                    // SIGTSTP itself is taken; the shell sees the same with SIGSTOP.
                    let _ = raise(SIGSTOP);
                }
            }
        }
    })?;
    Ok(())
}

/// Sends a signal and says what else is to be done. `waits`: an ending signal waits for the host.
fn react(target: &impl Target, number: i32, waits: &mut bool) -> Reaction {
    let broken = target.unreachable();
    let ending = ENDING.contains(&number);
    if broken.is_some() && ending && *waits {
        return Reaction::End(u8::try_from(128 + number).unwrap_or(1));
    }
    *waits = broken.is_some() && ending;
    let name = signal_name(number).unwrap_or("");
    // the process leads a session without a terminal, where the kernel drops SIGTSTP
    target.signal(if number == SIGTSTP { "SIGSTOP" } else { name });
    match broken {
        Some(why) if ending => Reaction::Say(format!(
            "execnet: {}; {name} is sent when it is back, once more ends this command",
            one_line(&why),
        )),
        _ if number == SIGTSTP => Reaction::Stop,
        _ => Reaction::Nothing,
    }
}

/// The signals that were ignored at our start, bit n − 1 for signal n. Only Linux tells.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    #[derive(Default)]
    struct Process {
        broken: Cell<bool>,
        got: RefCell<Vec<String>>,
    }

    impl Target for Process {
        fn signal(&self, name: &str) {
            self.got.borrow_mut().push(name.to_owned());
        }

        fn unreachable(&self) -> Option<String> {
            self.broken.get().then(|| "build1 is unreachable: no byte for 15 s".to_owned())
        }
    }

    #[test]
    fn signals_go_to_the_process() {
        let process = Process::default();
        let mut waits = false;
        for number in [SIGINT, SIGINT, SIGUSR1, SIGWINCH, SIGCONT] {
            assert_eq!(react(&process, number, &mut waits), Reaction::Nothing);
        }
        assert_eq!(react(&process, SIGTSTP, &mut waits), Reaction::Stop);
        assert_eq!(*process.got.borrow(), ["SIGINT", "SIGINT", "SIGUSR1", "SIGWINCH", "SIGCONT", "SIGSTOP"]);
    }

    #[test]
    fn during_a_break_the_first_waits_and_says_so_and_the_second_ends_the_command() {
        let process = Process::default();
        process.broken.set(true);
        let mut waits = false;
        assert_eq!(react(&process, SIGWINCH, &mut waits), Reaction::Nothing);
        assert_eq!(
            react(&process, SIGINT, &mut waits),
            Reaction::Say(
                "execnet: build1 is unreachable: no byte for 15 s; SIGINT is sent when it is back, once more ends this command"
                    .to_owned()
            )
        );
        assert_eq!(react(&process, SIGINT, &mut waits), Reaction::End(130));
        assert_eq!(*process.got.borrow(), ["SIGWINCH", "SIGINT"]);

        process.broken.set(false);
        assert_eq!(react(&process, SIGINT, &mut waits), Reaction::Nothing);
        process.broken.set(true);
        assert!(matches!(react(&process, SIGTERM, &mut waits), Reaction::Say(_)), "a new break begins anew");
    }
}
