//! Text for the terminal: what came from a host is made safe here, and laid out.

use comfy_table::{ContentArrangement, Table, presets};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::style;

/// `text` on one line, safe for a terminal: line ends and tabs become spaces.
pub(crate) fn one_line(text: &str) -> String {
    execnet_proto::text::one_line(text.trim_end())
}

/// The start of a line that fits into `width` columns, with `…` at the end if it was cut.
pub(crate) fn fit(line: &str, width: usize) -> String {
    if line.width() <= width {
        return line.to_owned();
    }
    let mut left = width.saturating_sub(1);
    let fits = |c: &char| {
        let width = c.width().unwrap_or(0);
        let fits = width <= left;
        left = left.saturating_sub(width);
        fits
    };
    line.chars().take_while(fits).chain(['…']).collect()
}

/// A rounded duration: `12 s`, `3 min`, `5 h`, `2 d`.
pub(crate) fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round();
    let (size, unit) = [(86_400.0, "d"), (3_600.0, "h"), (60.0, "min")]
        .into_iter()
        .find(|(size, _)| whole >= 2.0 * size)
        .unwrap_or((1.0, "s"));
    format!("{:.0} {unit}", (whole / size).floor())
}

/// A long duration, in two units: `6 d 21 h`, `3 h 5 min`, `50 s`.
pub(crate) fn span(seconds: f64) -> String {
    let whole = seconds.clamp(0.0, 1e12).floor() as u64;
    let units = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let first = units.iter().position(|(size, _)| whole >= *size).unwrap_or(3);
    let (size, unit) = units[first];
    let mut text = format!("{} {unit}", whole / size);
    if let Some((smaller, unit)) = units.get(first + 1)
        && whole % size / smaller > 0
    {
        text += &format!(" {} {unit}", whole % size / smaller);
    }
    text
}

/// A rounded number of bytes: `565 B`, `12 KiB`, `1.4 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut units = ["KiB", "MiB", "GiB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    for next in units {
        // so that no more than three digits are shown
        if size < 999.5 {
            break;
        }
        (size, unit) = (size / 1024.0, next);
    }
    if size < 9.95 { format!("{size:.1} {unit}") } else { format!("{size:.0} {unit}") }
}

/// Rows under a header, columns two spaces apart, without a frame. Cells are escaped. The second column holds
/// states, which are coloured.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| one_line_keeping_indent(cell)).collect()).collect();
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(head).add_rows(&rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut text = String::new();
    for (number, line) in table.lines().enumerate() {
        let line = line.trim_end();
        match number.checked_sub(1).and_then(|row| colour_state(line, rows.get(row)?)) {
            Some(coloured) => text.push_str(&coloured),
            None => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

/// The line of a row with its second cell coloured as a state.
fn colour_state(line: &str, row: &[String]) -> Option<String> {
    let [name, state, ..] = row else { return None };
    let behind = line.strip_prefix(name.as_str())?;
    let rest = behind.trim_start().strip_prefix(state.as_str())?;
    let gap = &behind[..behind.len() - state.len() - rest.len()];
    Some(format!("{name}{gap}{}{rest}", style::state(state)))
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
        let table = table(&["HOST", "STATE", "N"], &rows);
        insta::assert_snapshot!(style::plain(&table), @r"
        HOST             STATE  N
        build1           up     \x1b[1mx
          b:cpython3.11  -      9
        ");
        assert!(table.contains("build1           \x1b[32mup\x1b[0m     "), "{table:?}");
    }

    #[test]
    fn wide_characters_count_as_the_columns_they_take() {
        let rows = [("建物", "1"), ("b", "2")].map(|(host, n)| vec![host.into(), "up".into(), n.into()]);
        insta::assert_snapshot!(style::plain(&table(&["HOST", "STATE", "N"], &rows)), @"
        HOST  STATE  N
        建物  up     1
        b     up     2
        ");
        assert_eq!(fit("建物あ", 5), "建物…");
        assert_eq!(fit("建物あ", 4), "建…");
    }

    #[test]
    fn times_are_said_shortly() {
        let said: Vec<String> = [0.4, 59.0, 119.0, 120.0, 7_300.0, 200_000.0].map(duration).into();
        assert_eq!(said, ["0 s", "59 s", "119 s", "2 min", "2 h", "2 d"]);
        assert_eq!(fit("abcdef", 4), "abc…");
        assert_eq!(fit("abcd", 4), "abcd");
    }

    #[test]
    fn sizes_are_said_shortly() {
        let sizes = [0, 1023, 1024, 10_000, 10_240, 1_023_000, 1_023_999, 1_468_006, 3 << 30, 5000 << 30];
        let said: Vec<String> = sizes.map(size).into();
        assert_eq!(
            said,
            [
                "0 B", "1023 B", "1.0 KiB", "9.8 KiB", "10 KiB", "999 KiB", "1.0 MiB", "1.4 MiB", "3.0 GiB",
                "5000 GiB"
            ]
        );
    }
}
