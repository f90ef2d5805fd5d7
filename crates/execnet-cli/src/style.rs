//! The few colours of the command. Whether a stream gets them is decided where it is written (`print`).

use anstyle::{AnsiColor, Style};

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const WAITING: Style = AnsiColor::Yellow.on_default();
const ERROR: Style = AnsiColor::Red.on_default().bold();
const HINT: Style = Style::new().bold();

/// Text between the codes of a style.
fn paint(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// A state of a network, host or node, or a phrase that begins with one: `failed: resolve`, `up, drained`.
pub(crate) fn state(phrase: &str) -> String {
    let style = match phrase.split([':', ',']).next().unwrap_or_default() {
        "up" | "ready" | "running" => GOOD,
        "failed" => BAD,
        "joining" | "unreachable" | "leaving" | "probing" => WAITING,
        _ => return phrase.to_owned(),
    };
    paint(style, phrase)
}

/// Words about something that does not work.
pub(crate) fn bad(text: &str) -> String {
    paint(BAD, text)
}

/// The label `Hint:`.
pub(crate) fn hint() -> String {
    paint(HINT, "Hint:")
}

/// An error message, with its labels at the beginning of lines emphasized.
pub(crate) fn message(text: &str) -> String {
    let line = |line: &str| match line.split_once(':') {
        Some(("Error", rest)) => paint(ERROR, "Error:") + rest,
        Some(("Hint", rest)) => hint() + rest,
        _ => line.to_owned(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// The text without colours.
#[cfg(test)]
pub(crate) fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_labels_and_states_are_coloured() {
        assert_eq!(
            message("Error: no `x`\n  Hint: not ours\nCaused by: y\nHint: z"),
            "\x1b[1m\x1b[31mError:\x1b[0m no `x`\n  Hint: not ours\nCaused by: y\n\x1b[1mHint:\x1b[0m z"
        );
        assert_eq!(state("failed: resolve"), "\x1b[31mfailed: resolve\x1b[0m");
        assert_eq!(state("stopped"), "stopped");
        assert_eq!(plain(&state("up")), "up");
    }
}
