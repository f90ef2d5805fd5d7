//! Text for the terminal: nothing that came from a host is printed without passing through here.

use std::io::{self, ErrorKind, Write};

use execnet_proto::text::lines;

use crate::failure::{Exit, Failure};

/// `text` on one line, fit for a terminal: ends of lines and tabs become blanks.
pub(crate) fn one_line(text: &str) -> String {
    lines(text.trim_end()).replace(['\n', '\t'], " ")
}

/// The first `width` characters of a line, the last one `…` when more follow.
pub(crate) fn fit(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    let kept: String = line.chars().take(width.saturating_sub(1)).collect();
    kept + "…"
}

/// Writes to stdout. A reader that went away (`execnet status | head -1`) is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::Failed, "cannot write to standard output").because(&error))
        }
        _ => Ok(()),
    }
}

/// Writes a line, or several, to stderr; nothing can be done if that fails.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{}", lines(text));
}

/// `12 s`, `3 min`, `5 h`, `2 d`: a time as people say it.
pub(crate) fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round();
    let (size, unit) = [(86_400.0, "d"), (3_600.0, "h"), (60.0, "min")]
        .into_iter()
        .find(|(size, _)| whole >= 2.0 * size)
        .unwrap_or((1.0, "s"));
    format!("{:.0} {unit}", (whole / size).floor())
}

/// Rows under a head, columns two blanks apart, no frame. Cells are made harmless.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(&head)
        .chain(rows)
        .map(|row| row.iter().map(|cell| one_line_keeping_indent(cell)).collect())
        .collect();
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn one_line_keeping_indent(cell: &str) -> String {
    let cell = one_line(cell);
    if cell.trim().is_empty() { "-".to_owned() } else { cell }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_to_be_one_line_is() {
        assert_eq!(one_line("a\r\nb\tc\x1b[2J\r\n"), r"a b c\x1b[2J");
        assert_eq!(one_line("a\u{202e}\rb"), r"a\u202e\rb");
    }

    #[test]
    fn a_table_is_readable_without_colour() {
        let rows = [
            vec!["build1".into(), "up".into(), "\x1b[1mx".into()],
            vec!["  b:cpython3.11".into(), String::new(), "9".into()],
        ];
        insta::assert_snapshot!(table(&["HOST", "STATE", "N"], &rows), @r"
        HOST             STATE  N
        build1           up     \x1b[1mx
          b:cpython3.11  -      9
        ");
    }

    #[test]
    fn times_are_said_shortly() {
        let said: Vec<String> = [0.4, 59.0, 119.0, 120.0, 7_300.0, 200_000.0].map(duration).into();
        assert_eq!(said, ["0 s", "59 s", "119 s", "2 min", "2 h", "2 d"]);
        assert_eq!(fit("abcdef", 4), "abc…");
        assert_eq!(fit("abcd", 4), "abcd");
    }
}
