//! What a command waits for, in one line that changes in place. Nothing unless stderr is a capable terminal.

use indicatif::ProgressBar;

use super::{Live, TICK, for_stderr, template};
use crate::print::{Below, draw_below};

/// Shows what is waited for.
pub(crate) struct WaitProgress {
    live: Live,
    line: Option<(ProgressBar, Below)>,
}

impl WaitProgress {
    pub(crate) fn stderr() -> Self {
        Self { live: Live::stderr(1), line: None }
    }

    /// Shows this line; without text, none.
    pub(crate) fn show(&mut self, text: &str) {
        let Some(drawn) = self.live.drawn() else { return };
        if text.is_empty() {
            if let Some((line, _below)) = self.line.take() {
                line.finish_and_clear();
                drawn.remove(&line);
            }
            return;
        }
        let (line, _) = self.line.get_or_insert_with(|| {
            let line = drawn.add(ProgressBar::new_spinner());
            line.set_style(template("{spinner} {wide_msg}").tick_chars(r"-\|/ "));
            line.enable_steady_tick(TICK);
            (line, draw_below(drawn.clone()))
        });
        line.set_message(for_stderr(text.to_owned()));
    }
}

impl Drop for WaitProgress {
    fn drop(&mut self) {
        self.show("");
        self.live.drawn().map(|drawn| drawn.clear().ok());
    }
}
