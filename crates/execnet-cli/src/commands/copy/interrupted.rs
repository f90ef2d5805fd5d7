//! Tidies up before a signal ends the command.

use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::commands::python::signals::ignored;

/// From now on runs `tidy` before SIGINT, SIGTERM or SIGHUP ends this command. A signal that was ignored when
/// it started stays so.
pub(super) fn then(tidy: fn()) {
    let ignored = ignored();
    let ours = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|number| ignored >> (number - 1) & 1 == 0);
    let Ok(mut signals) = Signals::new(ours) else { return };
    let wait = move || {
        for signal in signals.forever() {
            tidy();
            let _ = emulate_default_handler(signal);
        }
    };
    let _ = thread::Builder::new().name("signals".to_owned()).spawn(wait);
}
