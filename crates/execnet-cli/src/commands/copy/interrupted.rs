//! Tidies up before a signal ends the command.

use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::emulate_default_handler;

use crate::signals::handled;

/// From now on runs `tidy` before SIGINT, SIGTERM or SIGHUP ends this command.
pub(super) fn then(tidy: fn()) {
    let Ok(mut signals) = handled(&[SIGINT, SIGTERM, SIGHUP]) else { return };
    let wait = move || {
        for signal in signals.forever() {
            tidy();
            let _ = emulate_default_handler(signal);
        }
    };
    let _ = thread::Builder::new().name("signals".to_owned()).spawn(wait);
}
