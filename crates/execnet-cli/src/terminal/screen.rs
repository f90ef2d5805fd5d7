//! Our own terminal: raw while a process on a host has it, and given back whatever happens.
//!
//! There is one terminal, so its state is in one place, where a panic and every way out find it.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::{Condvar, Mutex, MutexGuard, Once, PoisonError, TryLockError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Signal, getpgrp, kill_current_process_group};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr};

use super::modes::Modes;
use crate::print::say;
use crate::stdio::OwnStream;
use crate::text::one_line;

/// The size where none is known.
const USUAL: (u16, u16) = (24, 80);

/// How often a command in the background looks whether it has the terminal again.
const LOOK: Duration = Duration::from_millis(100);

/// After how many looks a person is told that it waits.
const TOLD_AT: u32 = 10;

/// How long others wait for output that the terminal does not take.
const STUCK: Duration = Duration::from_millis(500);

/// The settings of the terminal before, while it is raw.
static BEFORE: Mutex<Option<(File, Termios)>> = Mutex::new(None);

/// What was written to the terminal. Whoever writes holds it.
static SHOWN: Mutex<Option<Shown>> = Mutex::new(None);

/// Wakes whoever waits until the terminal was taken again.
static TAKEN: Condvar = Condvar::new();

struct Shown {
    to: OwnStream,
    modes: Modes,
    /// A notice stands in the title.
    titled: bool,
    /// What was set is undone.
    left: bool,
}

/// Rows and columns of our terminal.
pub(super) fn size() -> (u16, u16) {
    let known = |fd: &dyn IsWindow| fd.size().filter(|size| *size != (0, 0));
    known(&io::stdout()).or_else(|| known(&io::stdin())).or_else(|| known(&io::stderr())).unwrap_or(USUAL)
}

trait IsWindow {
    fn size(&self) -> Option<(u16, u16)>;
}

impl<T: AsFd> IsWindow for T {
    fn size(&self) -> Option<(u16, u16)> {
        tcgetwinsize(self).ok().map(|size| (size.ws_row, size.ws_col))
    }
}

/// Our terminal in raw mode, until it is dropped.
pub(super) struct Raw(());

impl Raw {
    /// Takes the terminal. Without one on stdin, only output passes.
    pub(super) fn take() -> io::Result<Self> {
        let to = OwnStream::new(&io::stdout())?;
        *shown() = Some(Shown { to, modes: Modes::default(), titled: false, left: false });
        give_back_on_panic();
        take_keys()?;
        Ok(Self(()))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        give_back();
        if let Some(mut shown) = soon() {
            *shown = None;
        }
        TAKEN.notify_all();
    }
}

/// Writes output of the process, as soon as the terminal is ours.
pub(super) fn write(bytes: &[u8]) -> io::Result<()> {
    let is_left = |shown: &mut Option<Shown>| shown.as_ref().is_some_and(|shown| shown.left);
    let mut shown = TAKEN.wait_while(shown(), is_left).unwrap_or_else(PoisonError::into_inner);
    let Some(shown) = &mut *shown else { return Ok(()) };
    shown.modes.pass(bytes);
    shown.to.write_all(bytes)
}

/// Tells a person something: in a line below, or where that would destroy what a program draws, by the bell
/// and in the title.
pub(super) fn notice(text: &str) {
    let Some(mut shown) = soon() else { return };
    let Some(shown) = &mut *shown else { return };
    let text = text.lines().map(one_line).collect::<Vec<_>>();
    let said = match shown {
        Shown { modes, .. } if !modes.is_between() => return,
        Shown { modes, titled, .. } if modes.is_alternate() => {
            let keep = if std::mem::replace(titled, true) { "" } else { "\x1b[22;0t" };
            format!("\x07{keep}\x1b]2;{}\x07", text.join(" "))
        }
        _ => format!("\r\n{}\r\n", text.join("\r\n")),
    };
    let _ = shown.to.write_all(said.as_bytes());
}

/// Gives the title back that a notice replaced. Returns whether there was one.
pub(super) fn restore_title() -> bool {
    let Some(mut shown) = soon() else { return false };
    let Some(shown) = shown.as_mut().filter(|shown| shown.titled && shown.modes.is_between()) else {
        return false;
    };
    shown.titled = false;
    let _ = shown.to.write_all(b"\x1b[23;0t");
    true
}

/// Gives the terminal back: its settings, and what a program has set on it. Repeating it does no harm.
pub(super) fn give_back() {
    let settings = before().take();
    // in the background the terminal belongs to somebody else, who has set it up
    if settings.as_ref().is_some_and(|(terminal, _)| !is_ours(terminal)) {
        return;
    }
    leave();
    if let Some((terminal, before)) = settings {
        let _ = tcsetattr(&terminal, OptionalActions::Now, &before);
    }
}

/// Undoes what a program has set. A terminal that takes nothing more is left as it is.
fn leave() {
    let Some(mut shown) = soon() else { return };
    if let Some(shown) = shown.as_mut().filter(|shown| !shown.left) {
        shown.left = true;
        let mut last = shown.modes.leave();
        if std::mem::take(&mut shown.titled) {
            last.extend_from_slice(b"\x1b[23;0t");
        }
        if io::stdout().is_terminal() {
            let _ = shown.to.write_all(&last);
        }
    }
}

/// Takes the terminal again after the command was stopped, once it is in the foreground.
pub(super) fn take_again() {
    let settings = before().take();
    match settings {
        // it was stopped from outside: the shell has changed the settings meanwhile
        Some((terminal, settings)) => {
            wait_for(&terminal);
            set_raw(terminal, settings);
        }
        None => {
            let _ = take_keys();
        }
    }
    if let Some(mut shown) = soon()
        && let Some(shown) = shown.as_mut().filter(|shown| shown.left)
    {
        shown.left = false;
        let enter = shown.modes.enter();
        let _ = shown.to.write_all(&enter);
    }
    TAKEN.notify_all();
}

fn take_keys() -> io::Result<()> {
    if !io::stdin().is_terminal() {
        return Ok(());
    }
    let terminal = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    wait_for(&terminal);
    let settings = tcgetattr(&terminal)?;
    set_raw(terminal, settings);
    Ok(())
}

fn set_raw(terminal: File, settings: Termios) {
    let mut raw = settings.clone();
    raw.make_raw();
    // noted first: whatever happens from here on, it is given back
    let mut noted = before();
    let _ = tcsetattr(&terminal, OptionalActions::Now, &raw);
    *noted = Some((terminal, settings));
}

/// Stops this job until it is in the foreground, as a program does that sets up the terminal.
fn wait_for(terminal: &impl AsFd) {
    let mut looks = 0;
    while !is_ours(terminal) {
        // signals that are ignored, and groups that no shell watches, do not stop
        let _ = kill_current_process_group(Signal::TTOU);
        if is_ours(terminal) {
            return;
        }
        looks += 1;
        if looks == TOLD_AT {
            say("execnet: this waits until it has the terminal: it runs in the background");
        }
        sleep(LOOK);
    }
}

/// Whether we are in the foreground. A terminal of another session has no foreground for us.
fn is_ours(terminal: &impl AsFd) -> bool {
    tcgetpgrp(terminal).map_or(true, |group| group == getpgrp())
}

/// Whether our terminal belongs to another job.
pub(super) fn is_in_background() -> bool {
    io::stdin().is_terminal() && !is_ours(&io::stdin())
}

/// Waits until our terminal is ours, if there is one.
pub(crate) fn come_forward() {
    if io::stdin().is_terminal() {
        wait_for(&io::stdin());
    }
}

fn give_back_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let was_raw = BEFORE.try_lock().map_or(true, |before| before.is_some());
            give_back();
            hook(panic);
            if was_raw {
                // a thread of ours is missing: nothing would answer any more
                std::process::exit(101);
            }
        }));
    });
}

/// What was written, unless the terminal takes nothing: then whoever writes has it for ever.
fn soon() -> Option<MutexGuard<'static, Option<Shown>>> {
    let since = Instant::now();
    loop {
        match SHOWN.try_lock() {
            Ok(shown) => return Some(shown),
            Err(TryLockError::Poisoned(shown)) => return Some(shown.into_inner()),
            Err(TryLockError::WouldBlock) if since.elapsed() < STUCK => sleep(Duration::from_millis(5)),
            Err(TryLockError::WouldBlock) => return None,
        }
    }
}

fn shown() -> MutexGuard<'static, Option<Shown>> {
    SHOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn before() -> MutexGuard<'static, Option<(File, Termios)>> {
    BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
}
