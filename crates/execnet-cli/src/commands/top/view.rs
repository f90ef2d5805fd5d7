//! How `top` looks: hosts with bars, processes below, one line of words at the bottom. Writes into a buffer.
//!
//! Colours are the terminal's own, and only repeat what bars and words say. Only red and green are used: each
//! of the others vanishes on some light or dark background.

use execnet_proto::control::{HostUsage, ProcessUsage, Usages};
use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use ratatui_core::style::{Color, Modifier, Style};
use unicode_width::UnicodeWidthStr;

use super::model::{Column, Mode, Model, SIGNALS};
use crate::text::{fit, one_line, size};
use crate::usage::{self, counted};

/// The part of the height that hosts may take.
const HOSTS: u16 = 3;

/// The narrowest cell of a host, and how long its name may be.
const CELL: u16 = 38;
const NAME: usize = 20;

/// Eighths of a cell.
const EIGHTHS: [&str; 9] = [" ", "▏", "▎", "▍", "▌", "▋", "▊", "▉", "█"];

/// What a terminal can show.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) colours: bool,
    pub(super) unicode: bool,
}

impl Look {
    fn colour(self, colour: Color) -> Style {
        if self.colours { Style::new().fg(colour) } else { Style::new() }
    }

    fn load(self, share: f64) -> Style {
        match share {
            share if share < 0.7 => self.colour(Color::Green),
            share if share < 1.0 => BOLD,
            _ => self.colour(Color::Red),
        }
    }
}

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const DIM: Style = Style::new().add_modifier(Modifier::DIM);
const SELECTED: Style = Style::new().add_modifier(Modifier::REVERSED);

/// Draws everything.
pub(super) fn draw(model: &mut Model, look: Look, buffer: &mut Buffer) {
    let area = buffer.area;
    if area.width < 20 || area.height < 5 {
        buffer.set_stringn(0, 0, "too small", usize::from(area.width), Style::new());
        return;
    }
    let network = one_line(&model.network);
    let Some(usages) = &model.usages else {
        buffer.set_stringn(1, 0, &network, usize::from(area.width - 1), BOLD);
        buffer.set_stringn(1, 2, "asking the hosts …", usize::from(area.width - 1), DIM);
        return;
    };
    title(&network, usages, model.silent, buffer);
    let hosts = Rect::new(0, 2, area.width, (area.height / HOSTS).max(1));
    let next = self::hosts(usages, look, hosts, buffer);
    let table = Rect::new(0, next + 1, area.width, (area.height - 1).saturating_sub(next + 1));
    processes(model, look, table, buffer);
    bottom(model, look, area.height - 1, buffer);
    if model.mode == Mode::Help {
        help(buffer);
    }
    if !look.unicode {
        for cell in buffer.content.iter_mut().filter(|cell| !cell.symbol().is_ascii()) {
            cell.set_symbol(if cell.symbol() == "…" { ">" } else { "?" });
        }
    }
}

fn title(network: &str, usages: &Usages, silent: Option<u64>, buffer: &mut Buffer) {
    let width = buffer.area.width;
    let up = usages.hosts.iter().filter(|host| usage::trouble(host).is_none()).count();
    let of = if up == usages.hosts.len() { String::new() } else { format!(" of {}", usages.hosts.len()) };
    let (x, _) = buffer.set_stringn(1, 0, network, usize::from(width - 1), BOLD);
    let more = usages.processes.len() + usages.left_out as usize;
    // the sum of none is -0
    let busy = usages.processes.iter().filter_map(|process| process.cpu).fold(0.0, |sum, cpu| sum + cpu);
    let memory: u64 = usages.processes.iter().filter_map(|process| process.memory).sum();
    let hosts = if usages.hosts.len() == 1 { "host" } else { "hosts" };
    let silent = silent.map_or_else(String::new, |seconds| format!("   nothing heard for {seconds} s"));
    let said = format!(
        "{silent}   {up}{of} {hosts}   {}   {busy:.1} CPUs busy   {} of memory",
        counted(more, "process"),
        size(memory)
    );
    buffer.set_stringn(x, 0, &said, usize::from(width.saturating_sub(x)), Style::new());
}

/// Draws hosts in columns. If there is no room for all, those in trouble and the busiest stay. Returns the
/// line below.
fn hosts(usages: &Usages, look: Look, area: Rect, buffer: &mut Buffer) -> u16 {
    let columns = (area.width / CELL).max(1);
    let width = area.width / columns;
    let mut room = usize::from(columns * area.height);
    let mut shown: Vec<&HostUsage> = usages.hosts.iter().collect();
    let left_out = shown.len().saturating_sub(room);
    if left_out > 0 {
        room -= 1;
        shown.sort_by(|one, other| urgency(other).total_cmp(&urgency(one)));
        shown.truncate(room);
    }
    let lines = shown.len().max(1).div_ceil(usize::from(columns)) as u16;
    let name = shown.iter().map(|host| one_line(&host.id).width()).max().unwrap_or(0).clamp(4, NAME);
    for (index, host) in shown.iter().enumerate() {
        let (column, line) = (index as u16 / lines, index as u16 % lines);
        let cell = Rect::new(area.x + column * width, area.y + line, width - 1, 1);
        self::host(host, name, look, cell, buffer);
    }
    let mut next = area.y + lines;
    if left_out > 0 {
        let said = format!("and {} that are less busy", counted(left_out + 1, "host"));
        buffer.set_stringn(1, next, said, usize::from(area.width - 1), DIM);
        next += 1;
    }
    next
}

/// Hosts in trouble come first, then by load.
fn urgency(host: &HostUsage) -> f64 {
    if usage::trouble(host).is_some() { f64::MAX } else { load(host).unwrap_or(0.0) }
}

/// The load of one processor.
fn load(host: &HostUsage) -> Option<f64> {
    Some(host.load?[0] / f64::from(host.cpus.unwrap_or(1).max(1)))
}

fn host(host: &HostUsage, name: usize, look: Look, cell: Rect, buffer: &mut Buffer) {
    let width = usize::from(cell.width);
    let id = fit(&one_line(&host.id), name);
    buffer.set_stringn(cell.x + 1, cell.y, &id, width - 1, Style::new());
    let x = cell.x + 2 + name as u16;
    let left = cell.width.saturating_sub(2 + name as u16);
    if let Some(trouble) = usage::trouble(host) {
        let said = fit(&trouble, usize::from(left));
        buffer.set_stringn(x, cell.y, said, usize::from(left), look.colour(Color::Red));
        return;
    }
    // two halves: load, and memory
    let half = left / 2;
    if let (Some(share), Some(averages)) = (load(host), host.load) {
        let said = number(averages[0]);
        bar(share, look.load(share), &said, Rect::new(x, cell.y, half, 1), look, buffer);
    }
    if let Some(share) = usage::used(host) {
        let style = look.load(share / 0.9);
        let said = format!("{:>4.0}%", 100.0 * share);
        bar(share, style, &said, Rect::new(x + half, cell.y, half, 1), look, buffer);
    }
}

/// A load, in five columns.
fn number(load: f64) -> String {
    if load < 100.0 { format!("{load:>5.2}") } else { format!("{:>5.0}", load.min(99_999.0)) }
}

/// A bar, and a number behind it.
fn bar(share: f64, style: Style, said: &str, area: Rect, look: Look, buffer: &mut Buffer) {
    let number = said.width() as u16;
    let cells = area.width.saturating_sub(number + 2);
    let eighths = (share.clamp(0.0, 1.0) * f64::from(cells) * 8.0).round() as u16;
    for cell in 0..cells {
        let part = eighths.saturating_sub(cell * 8).min(8);
        let (letter, style) = match (part, look.unicode) {
            (0, true) => ("·", DIM),
            (0, false) => (".", DIM),
            (part, true) => (EIGHTHS[usize::from(part)], style),
            (part, false) => (if part >= 4 { "#" } else { "." }, style),
        };
        buffer.set_string(area.x + cell, area.y, letter, style);
    }
    buffer.set_stringn(area.x + cells + 1, area.y, said, usize::from(number), Style::new());
}

/// The columns that fit, each with its width. The last one takes the rest.
fn columns(rows: &[(&ProcessUsage, bool)], width: u16) -> Vec<(Column, usize)> {
    let widest = |column: Column| {
        let cells = rows.iter().map(|(process, _)| cell(process, column).width());
        cells.max().unwrap_or(0).max(column.title().len() + 1)
    };
    let narrow = width < 100;
    let most = |column| match column {
        Column::Node => 24,
        Column::Client => {
            if narrow {
                11
            } else {
                22
            }
        }
        Column::Gateway => 12,
        _ => 10,
    };
    let left_out = |column: &Column| narrow && matches!(column, Column::Gateway);
    let mut columns: Vec<(Column, usize)> = Column::ALL
        .into_iter()
        .filter(|column| !left_out(column))
        .map(|column| {
            let most = if narrow { most(column).min(14) } else { most(column) };
            (column, widest(column).min(most))
        })
        .collect();
    // what short commands leave
    let used: usize = columns.iter().map(|(_, width)| width + 2).sum();
    let command = columns.last().map_or(0, |(last, width)| widest(*last) - width);
    let mut left = usize::from(width).saturating_sub(used + command);
    for (column, width) in &mut columns {
        if matches!(column, Column::Node | Column::Client) {
            let more = left.min(widest(*column) - *width);
            (*width, left) = (*width + more, left - more);
        }
    }
    if let Some(last) = columns.last_mut() {
        last.1 = usize::from(width);
    }
    columns
}

fn cell(process: &ProcessUsage, column: Column) -> String {
    match column {
        Column::Node => usage::place(process),
        Column::Id => usage::short(&process.id),
        Column::Client => usage::client(&process.program, process.client_pid),
        Column::Gateway => one_line(usage::label(process)),
        Column::Age => usage::age(process),
        Column::Cpu => usage::cpu(process),
        Column::Memory => usage::memory(process),
        Column::Command => usage::command(process),
    }
}

/// Numbers stand at the right of their column.
fn is_right(column: Column) -> bool {
    matches!(column, Column::Age | Column::Cpu | Column::Memory)
}

fn processes(model: &mut Model, look: Look, area: Rect, buffer: &mut Buffer) {
    if area.height == 0 {
        return;
    }
    let (sort, reversed) = (model.sort, model.reversed);
    let rows = model.visible(usize::from(area.height - 1));
    let columns = columns(&rows, area.width);
    let line = |y: u16, style: Style, cell: &dyn Fn(Column) -> (String, Style), buffer: &mut Buffer| {
        let mut x = 1;
        buffer.set_style(Rect::new(area.x, y, area.width, 1), style);
        for (column, width) in &columns {
            let left = usize::from(area.width.saturating_sub(x));
            let width = (*width).min(left);
            let (text, own) = cell(*column);
            let text = fit(&text, width);
            let indent = if is_right(*column) { width.saturating_sub(text.width()) } else { 0 };
            buffer.set_stringn(x + indent as u16, y, &text, width, style.patch(own));
            x += width as u16 + 2;
        }
    };
    let head = |column: Column| {
        let falls = is_right(column) != reversed;
        let mark = match (column == sort, look.unicode) {
            (false, _) => "",
            (true, true) => {
                if falls {
                    "▼"
                } else {
                    "▲"
                }
            }
            (true, false) => {
                if falls {
                    "v"
                } else {
                    "^"
                }
            }
        };
        (format!("{}{mark}", column.title()), if column == sort { BOLD } else { DIM })
    };
    line(area.y, Style::new(), &head, buffer);
    for (index, (process, selected)) in rows.iter().enumerate() {
        let style = if *selected { SELECTED } else { Style::new() };
        let text = |column: Column| {
            let cpu = process.cpu.unwrap_or(0.0);
            let own = match column {
                Column::Cpu if cpu >= 0.5 && !selected => look.load(if cpu < 0.95 { 0.8 } else { 1.0 }),
                _ => Style::new(),
            };
            (cell(process, column), own)
        };
        line(area.y + 1 + index as u16, style, &text, buffer);
    }
}

fn bottom(model: &Model, look: Look, y: u16, buffer: &mut Buffer) {
    let width = usize::from(buffer.area.width - 1);
    let (text, style) = match &model.mode {
        Mode::Filter => (format!("filter: {}_", one_line(&model.filter)), BOLD),
        Mode::Kill(id) => {
            let keys = SIGNALS.map(|(key, signal)| format!("{key} {}", &signal.name()[3..]));
            let about = model.process(id).map_or_else(
                || "which has ended".to_owned(),
                |process| format!("on {}: {}", one_line(&process.host), usage::command(process)),
            );
            let keys = keys.join("  ");
            let about = fit(&about, width.saturating_sub(keys.width() + 30).max(10));
            (format!("kill {} {about}?  {keys}  Esc", usage::short(id)), look.colour(Color::Red).patch(BOLD))
        }
        _ if !model.said.is_empty() => (one_line(&model.said), BOLD),
        _ => {
            let filter = match model.filter.as_str() {
                "" => String::new(),
                filter => format!("filter `{}` leaves {}   ", one_line(filter), model.count()),
            };
            let left_out = model.usages.as_ref().map_or(0, |usages| usages.left_out);
            let left_out = if left_out > 0 {
                format!("{} left out   ", counted(left_out as usize, "process"))
            } else {
                String::new()
            };
            (format!("{filter}{left_out}↑↓ select  s sort  / filter  k kill  h help  q quit"), DIM)
        }
    };
    let text = if look.unicode { text } else { text.replace("↑↓", "arrows") };
    buffer.set_stringn(1, y, fit(&text, width), width, style);
}

const HELP: &[&str] = &[
    "arrows, PgUp, PgDn, Home, End   select a process",
    "s, < and >                      sort by another column",
    "r                               turn the order round",
    "/                               show only what contains a text; Esc shows all",
    "k                               kill the selected process; asks for the signal",
    "h                               this help",
    "q, Ctrl-C                       quit",
    "",
    "Bars: load of a host's processors, and memory in use.",
    "CPU %: 100 is one busy processor. A process is shown with its whole session.",
];

fn help(buffer: &mut Buffer) {
    let area = buffer.area;
    let width = (HELP.iter().map(|line| line.len()).max().unwrap_or(0) as u16 + 4).min(area.width);
    let height = (HELP.len() as u16 + 2).min(area.height);
    let (x, y) = ((area.width - width) / 2, (area.height - height) / 2);
    for line in 0..height {
        let text = line.checked_sub(1).and_then(|at| HELP.get(usize::from(at))).copied().unwrap_or("");
        let text = format!("  {text:<rest$}", rest = usize::from(width).saturating_sub(2));
        buffer.set_stringn(x, y + line, text, usize::from(width), SELECTED);
    }
}

#[cfg(test)]
mod tests {
    use execnet_proto::control::HostState;

    use super::super::model::Key;
    use super::*;

    fn network(hosts: usize) -> Model {
        let host = |n: usize| HostUsage {
            id: format!("build{n}"),
            state: if n == 3 { HostState::Unreachable } else { HostState::Up },
            cpus: Some(8),
            load: Some([n as f64, 0.0, 0.0]),
            memory: Some(64 << 30),
            available: Some((64 << 30) / (n as u64 + 1)),
            ..HostUsage::default()
        };
        let process = |n: usize| ProcessUsage {
            id: format!("{n:02x}").repeat(16),
            host: format!("build{}", n % hosts + 1),
            node: format!("build{}:pypy3.9", n % hosts + 1),
            pid: Some(4_000 + n as u32),
            client_pid: Some(17),
            program: "pytest".into(),
            gateway: format!("gw{n}"),
            age: Some(60.0 * n as f64),
            cpu: Some(n as f64 / 10.0),
            memory: Some(1 << (20 + n)),
            command: format!("python3 -m train --number {n} --out\x1b[2J /srv/{}", "x".repeat(100)),
            ..ProcessUsage::default()
        };
        let mut model = Model::new("mynet");
        model.update(Usages {
            hosts: (1..=hosts).map(host).collect(),
            processes: (0..12).map(process).collect(),
            left_out: 0,
        });
        model
    }

    const FULL: Look = Look { colours: true, unicode: true };

    fn drawn(model: &mut Model, look: Look, width: u16, height: u16) -> Buffer {
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
        draw(model, look, &mut buffer);
        buffer
    }

    fn text(buffer: &Buffer) -> String {
        let line = |y| {
            let cells = (0..buffer.area.width).map(|x| buffer[(x, y)].symbol());
            cells.collect::<String>().trim_end().to_owned()
        };
        (0..buffer.area.height).map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn it_fits_into_80_columns() {
        insta::assert_snapshot!(text(&drawn(&mut network(4), FULL, 80, 16)), @r"
        mynet   3 of 4 hosts   12 processes   6.6 CPUs busy   4.0 GiB of memory

        build1 █·······  1.00 ████····   50%    build3 unreachable
        build2 ██······  2.00 █████▍··   67%    build4 ████····  4.00 ██████▍·   80%

        NODE            ID        CLIENT          AGE  CPU %▼   MEMORY  COMMAND
        build4:pypy3.9  0b0b0b0b  pytest (17)  11 min   110.0  2.0 GiB  python3 -m tra…
        build3:pypy3.9  0a0a0a0a  pytest (17)  10 min   100.0  1.0 GiB  python3 -m tra…
        build2:pypy3.9  09090909  pytest (17)   9 min    90.0  512 MiB  python3 -m tra…
        build1:pypy3.9  08080808  pytest (17)   8 min    80.0  256 MiB  python3 -m tra…
        build4:pypy3.9  07070707  pytest (17)   7 min    70.0  128 MiB  python3 -m tra…
        build3:pypy3.9  06060606  pytest (17)   6 min    60.0   64 MiB  python3 -m tra…
        build2:pypy3.9  05050505  pytest (17)   5 min    50.0   32 MiB  python3 -m tra…
        build1:pypy3.9  04040404  pytest (17)   4 min    40.0   16 MiB  python3 -m tra…
        build4:pypy3.9  03030303  pytest (17)   3 min    30.0  8.0 MiB  python3 -m tra…
        ↑↓ select  s sort  / filter  k kill  h help  q quit
        ");
    }

    #[test]
    fn old_numbers_are_said_to_be_old() {
        let mut model = network(4);
        model.silent = Some(8);
        let shown = text(&drawn(&mut model, FULL, 80, 16));
        assert!(shown.starts_with(" mynet   nothing heard for 8 s   3 of 4 hosts"), "{shown}");
    }

    #[test]
    fn short_commands_leave_room_for_names() {
        let mut model = Model::new("mynet");
        let process = ProcessUsage {
            id: "3fa2b1c8".into(),
            node: "build1".into(),
            program: "execnet python".into(),
            client_pid: Some(27_196),
            command: "sleep 300".into(),
            ..ProcessUsage::default()
        };
        model.update(Usages { processes: vec![process], ..Usages::default() });
        let shown = text(&drawn(&mut model, FULL, 80, 8));
        assert!(shown.contains("  execnet python (27196)  "), "{shown}");
    }

    #[test]
    fn wide_windows_show_more() {
        insta::assert_snapshot!(text(&drawn(&mut network(5), FULL, 100, 10)), @r"
        mynet   4 of 5 hosts   12 processes   6.6 CPUs busy   4.0 GiB of memory

        build1 █▋···········  1.00 ██████▌······   50%    build4 ██████▌······  4.00 ██████████▍··   80%
        build2 ███▎·········  2.00 ████████▋····   67%    build5 ████████▏····  5.00 ██████████▉··   83%
        build3 unreachable

        NODE            ID        CLIENT       GATEWAY      AGE  CPU %▼   MEMORY  COMMAND
        build2:pypy3.9  0b0b0b0b  pytest (17)  gw11      11 min   110.0  2.0 GiB  python3 -m train --numbe…
        build1:pypy3.9  0a0a0a0a  pytest (17)  gw10      10 min   100.0  1.0 GiB  python3 -m train --numbe…
        ↑↓ select  s sort  / filter  k kill  h help  q quit
        ");
    }

    #[test]
    fn of_many_hosts_those_in_trouble_and_the_busiest_stay() {
        let shown = text(&drawn(&mut network(200), FULL, 80, 24));
        assert!(shown.contains("build3   unreachable") && shown.contains("build200 "), "{shown}");
        assert!(shown.contains("and 185 hosts that are less busy") && !shown.contains("build7 "), "{shown}");
    }

    #[test]
    fn without_colours_and_unicode_it_says_the_same() {
        let look = Look { colours: false, unicode: false };
        let mut model = network(4);
        model.press(Key::Char('k'));
        let buffer = drawn(&mut model, look, 100, 20);
        assert!(text(&buffer).is_ascii(), "{}", text(&buffer));
        assert!(buffer.content.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
        assert!(text(&buffer).contains("kill 0b0b0b0b on build4: python3"), "{}", text(&buffer));
        assert!(text(&buffer).contains("t TERM  k KILL"), "{}", text(&buffer));
    }

    #[test]
    fn nothing_that_runs_is_no_load() {
        let mut model = network(1);
        model.update(Usages::default());
        let shown = text(&drawn(&mut model, FULL, 80, 10));
        assert!(
            shown.starts_with(" mynet   0 hosts   0 processes   0.0 CPUs busy   0 B of memory"),
            "{shown}"
        );
    }

    #[test]
    fn no_window_is_too_small_for_it() {
        for (width, height) in [(1, 1), (10, 3), (20, 5), (21, 6), (37, 7), (40, 40), (300, 5)] {
            for key in ['h', '/', 'k', 's'] {
                let mut model = network(30);
                model.press(Key::Char(key));
                drawn(&mut model, FULL, width, height);
                drawn(&mut Model::new("mynet"), FULL, width, height);
            }
        }
    }
}
