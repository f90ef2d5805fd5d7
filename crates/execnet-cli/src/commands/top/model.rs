//! What `top` knows and what keys do to it: order, filter, selection, questions. Draws nothing.

use std::cmp::Ordering;

use execnet_proto::control::{ProcessUsage, Usages};
use execnet_proto::signal::Signal;

use crate::usage;

/// A key, as far as `top` knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Left,
    Right,
    Enter,
    Escape,
    Backspace,
}

/// What to do outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Quit,
    Kill(String, Signal),
}

/// A column that processes can be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Node,
    Id,
    Client,
    Gateway,
    Age,
    Cpu,
    Memory,
    Command,
}

impl Column {
    pub(super) const ALL: [Self; 8] = [
        Self::Node,
        Self::Id,
        Self::Client,
        Self::Gateway,
        Self::Age,
        Self::Cpu,
        Self::Memory,
        Self::Command,
    ];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Node => "NODE",
            Self::Id => "ID",
            Self::Client => "CLIENT",
            Self::Gateway => "GATEWAY",
            Self::Age => "AGE",
            Self::Cpu => "CPU %",
            Self::Memory => "MEMORY",
            Self::Command => "COMMAND",
        }
    }

    /// The largest first, unless it is text.
    fn falls(self) -> bool {
        matches!(self, Self::Age | Self::Cpu | Self::Memory)
    }

    fn compare(self, one: &ProcessUsage, other: &ProcessUsage) -> Ordering {
        let number = |one: Option<f64>, other: Option<f64>| {
            one.unwrap_or(-1.0).partial_cmp(&other.unwrap_or(-1.0)).unwrap_or(Ordering::Equal)
        };
        match self {
            Self::Node => (&one.host, &one.node).cmp(&(&other.host, &other.node)),
            Self::Id => one.id.cmp(&other.id),
            Self::Client => (&one.program, one.client_pid).cmp(&(&other.program, other.client_pid)),
            Self::Gateway => usage::label(one).cmp(usage::label(other)),
            Self::Age => number(one.age, other.age),
            Self::Cpu => number(one.cpu, other.cpu),
            Self::Memory => one.memory.cmp(&other.memory),
            Self::Command => usage::command(one).cmp(&usage::command(other)),
        }
    }
}

/// What the person is doing besides looking.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    #[default]
    Look,
    /// Typing a filter.
    Filter,
    /// Choosing a signal for the process with this id.
    Kill(String),
    Help,
}

/// The signals that can be chosen, by key.
pub(super) const SIGNALS: [(char, Signal); 6] = [
    ('t', Signal::Term),
    ('k', Signal::Kill),
    ('i', Signal::Int),
    ('h', Signal::Hup),
    ('s', Signal::Stop),
    ('c', Signal::Cont),
];

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) network: String,
    pub(super) usages: Option<Usages>,
    pub(super) mode: Mode,
    pub(super) filter: String,
    pub(super) sort: Column,
    pub(super) reversed: bool,
    /// For how many seconds nothing was heard of the network, if that is long.
    pub(super) silent: Option<u64>,
    /// What was done last, for the last line.
    pub(super) said: String,
    /// Positions in `usages.processes`, of those that the filter leaves, sorted.
    order: Vec<usize>,
    /// The id of the selected process.
    selected: Option<String>,
    at: usize,
    /// The first one shown, and how many there is room for.
    first: usize,
    room: usize,
}

impl Model {
    pub(super) fn new(network: &str) -> Self {
        Self {
            network: network.to_owned(),
            usages: None,
            mode: Mode::Look,
            filter: String::new(),
            sort: Column::Cpu,
            reversed: false,
            silent: None,
            said: String::new(),
            order: Vec::new(),
            selected: None,
            at: 0,
            first: 0,
            room: 1,
        }
    }

    /// Takes what the daemon told.
    pub(super) fn update(&mut self, usages: Usages) {
        self.usages = Some(usages);
        self.arrange();
    }

    /// Says what became of something, until the next key.
    pub(super) fn say(&mut self, text: String) {
        self.said = text;
    }

    /// Takes a key.
    pub(super) fn press(&mut self, key: Key) -> Option<Wish> {
        if self.mode == Mode::Look {
            self.said.clear();
        }
        match std::mem::take(&mut self.mode) {
            Mode::Look => return self.press_looking(key),
            Mode::Help => {}
            Mode::Filter => self.press_typing(key),
            Mode::Kill(id) => match key {
                Key::Char(letter) => {
                    let chosen = SIGNALS.iter().find(|(key, _)| *key == letter.to_ascii_lowercase());
                    match chosen {
                        Some((_, signal)) => return Some(Wish::Kill(id, *signal)),
                        None => self.mode = Mode::Kill(id),
                    }
                }
                Key::Escape => {}
                _ => self.mode = Mode::Kill(id),
            },
        }
        None
    }

    fn press_looking(&mut self, key: Key) -> Option<Wish> {
        match key {
            Key::Char('q') => return Some(Wish::Quit),
            Key::Char('h' | '?') => self.mode = Mode::Help,
            Key::Char('/') => self.mode = Mode::Filter,
            Key::Char('k') => {
                if let Some(process) = self.selected() {
                    self.mode = Mode::Kill(process.id.clone());
                }
            }
            Key::Char('s' | '>') | Key::Right => self.sort_by(1),
            Key::Char('<') | Key::Left => self.sort_by(Column::ALL.len() - 1),
            Key::Char('r') => {
                self.reversed = !self.reversed;
                self.arrange();
            }
            Key::Escape => {
                self.filter.clear();
                self.arrange();
            }
            Key::Up => self.select(self.at.saturating_sub(1)),
            Key::Down => self.select(self.at + 1),
            Key::PageUp => self.select(self.at.saturating_sub(self.room)),
            Key::PageDown | Key::Char(' ') => self.select(self.at + self.room),
            Key::Home => self.select(0),
            Key::End => self.select(usize::MAX),
            Key::Char(_) | Key::Enter | Key::Backspace => {}
        }
        None
    }

    fn press_typing(&mut self, key: Key) {
        self.mode = Mode::Filter;
        match key {
            Key::Enter => self.mode = Mode::Look,
            Key::Escape => {
                self.filter.clear();
                self.mode = Mode::Look;
            }
            Key::Backspace => {
                self.filter.pop();
            }
            Key::Char(letter) if self.filter.chars().count() < 64 => self.filter.push(letter),
            _ => {}
        }
        self.arrange();
    }

    fn sort_by(&mut self, step: usize) {
        let at = Column::ALL.iter().position(|column| *column == self.sort).unwrap_or(0);
        self.sort = Column::ALL[(at + step) % Column::ALL.len()];
        self.reversed = false;
        self.arrange();
    }

    fn select(&mut self, at: usize) {
        self.at = at.min(self.order.len().saturating_sub(1));
        self.selected = self.selected().map(|process| process.id.clone());
        self.scroll();
    }

    /// The selected process.
    pub(super) fn selected(&self) -> Option<&ProcessUsage> {
        self.usages.as_ref()?.processes.get(*self.order.get(self.at)?)
    }

    /// The process with this id, while it runs.
    pub(super) fn process(&self, id: &str) -> Option<&ProcessUsage> {
        self.usages.as_ref()?.processes.iter().find(|process| process.id == id)
    }

    /// How many processes the filter leaves.
    pub(super) fn count(&self) -> usize {
        self.order.len()
    }

    /// The processes to show in this many lines, and whether each is the selected one.
    pub(super) fn visible(&mut self, room: usize) -> Vec<(&ProcessUsage, bool)> {
        self.room = room.max(1);
        self.scroll();
        let Some(usages) = &self.usages else { return Vec::new() };
        let lines = self.order.iter().enumerate().skip(self.first).take(room);
        lines.map(|(at, index)| (&usages.processes[*index], at == self.at)).collect()
    }

    fn scroll(&mut self) {
        let last = self.order.len().saturating_sub(self.room);
        self.first = self.first.min(self.at).min(last).max((self.at + 1).saturating_sub(self.room));
    }

    /// Filters and sorts. The selection stays with its process, or else where it was.
    fn arrange(&mut self) {
        let Some(usages) = &self.usages else { return };
        let wanted = self.filter.to_lowercase();
        let fits = |process: &ProcessUsage| {
            let client = usage::client(&process.program, process.client_pid);
            let command = usage::command(process);
            let label = usage::label(process);
            let texts: [&str; 6] = [&process.host, &process.node, &process.id, &client, label, &command];
            wanted.is_empty() || texts.iter().any(|text| text.to_lowercase().contains(&wanted))
        };
        let processes = &usages.processes;
        self.order = (0..processes.len()).filter(|index| fits(&processes[*index])).collect();
        let (column, turned) = (self.sort, self.sort.falls() != self.reversed);
        self.order.sort_by(|one, other| {
            let (one, other) = (&processes[*one], &processes[*other]);
            let order = column.compare(one, other);
            let order = if turned { order.reverse() } else { order };
            order.then_with(|| one.host.cmp(&other.host)).then_with(|| one.id.cmp(&other.id))
        });
        let known = self.selected.as_ref();
        let found = known.and_then(|id| self.order.iter().position(|index| processes[*index].id == *id));
        match found {
            Some(at) => self.at = at,
            None => self.at = self.at.min(self.order.len().saturating_sub(1)),
        }
        if known.is_some() && found.is_none() {
            self.selected = self.selected().map(|process| process.id.clone());
        }
        self.scroll();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(id: &str, cpu: f64, command: &str) -> ProcessUsage {
        ProcessUsage {
            id: id.repeat(16),
            host: "h".into(),
            node: "h".into(),
            cpu: Some(cpu),
            command: command.into(),
            ..ProcessUsage::default()
        }
    }

    fn model(processes: Vec<ProcessUsage>) -> Model {
        let mut model = Model::new("net");
        model.update(Usages { processes, ..Usages::default() });
        model
    }

    fn shown(model: &mut Model, room: usize) -> String {
        let mark = |(process, selected): (&ProcessUsage, bool)| {
            format!("{}{}", &process.id[..2], if selected { "*" } else { "" })
        };
        model.visible(room).into_iter().map(mark).collect::<Vec<_>>().join(" ")
    }

    fn type_in(model: &mut Model, text: &str) {
        text.chars().for_each(|letter| assert_eq!(model.press(Key::Char(letter)), None));
    }

    #[test]
    fn the_selection_stays_with_its_process() {
        let mut model =
            model(vec![process("aa", 0.1, "x"), process("bb", 0.5, "y"), process("cc", 0.3, "z")]);
        assert_eq!(shown(&mut model, 9), "bb* cc aa");
        model.press(Key::Down);
        assert_eq!(shown(&mut model, 9), "bb cc* aa");
        model.update(Usages {
            processes: vec![process("aa", 0.9, "x"), process("bb", 0.5, "y"), process("cc", 0.3, "z")],
            ..Usages::default()
        });
        assert_eq!(shown(&mut model, 9), "aa bb cc*");
        model.update(Usages {
            processes: vec![process("aa", 0.9, "x"), process("bb", 0.5, "y")],
            ..Usages::default()
        });
        assert_eq!(shown(&mut model, 9), "aa bb*", "it has ended");
        model.press(Key::Home);
        model.press(Key::Char('r'));
        assert_eq!(shown(&mut model, 9), "bb aa*");
        model.update(Usages::default());
        assert_eq!(
            (shown(&mut model, 9), model.press(Key::Char('k')), &model.mode),
            (String::new(), None, &Mode::Look)
        );
    }

    #[test]
    fn pages_show_the_selection() {
        let ids: Vec<String> = (10..40).map(|n| n.to_string()).collect();
        let mut model = model(ids.iter().map(|id| process(id, 0.0, "x")).collect());
        assert_eq!(shown(&mut model, 3), "10* 11 12");
        for (key, expected) in [
            (Key::PageDown, "11 12 13*"),
            (Key::Down, "12 13 14*"),
            (Key::Up, "12 13* 14"),
            (Key::End, "37 38 39*"),
            (Key::PageUp, "36* 37 38"),
            (Key::Home, "10* 11 12"),
            (Key::Up, "10* 11 12"),
        ] {
            model.press(key);
            assert_eq!(shown(&mut model, 3), expected, "{key:?}");
        }
        model.press(Key::End);
        assert_eq!(shown(&mut model, 30).split(' ').count(), 30, "a larger window is filled");
    }

    #[test]
    fn a_filter_is_typed_kept_and_cleared() {
        let mut model = model(vec![process("aa", 0.1, "pytest -q"), process("bb", 0.5, "sleep")]);
        type_in(&mut model, "/PYtX");
        assert_eq!((model.count(), model.filter.as_str()), (0, "PYtX"));
        model.press(Key::Backspace);
        model.press(Key::Enter);
        assert_eq!((shown(&mut model, 9), &model.mode), ("aa*".into(), &Mode::Look));
        // letters are commands again
        assert_eq!(model.press(Key::Char('q')), Some(Wish::Quit));
        model.press(Key::Escape);
        assert_eq!(model.count(), 2);
    }

    #[test]
    fn columns_are_gone_through_both_ways() {
        let mut model = model(vec![process("aa", 0.1, "x"), process("bb", 0.5, "a")]);
        type_in(&mut model, "s");
        assert_eq!(model.sort, Column::Memory);
        type_in(&mut model, "s");
        assert_eq!((model.sort, shown(&mut model, 9)), (Column::Command, "bb* aa".into()));
        type_in(&mut model, ">");
        assert_eq!(model.sort, Column::Node);
        type_in(&mut model, "<r");
        assert_eq!((model.sort, shown(&mut model, 9)), (Column::Command, "aa* bb".into()));
    }

    #[test]
    fn a_signal_is_chosen_before_anything_is_killed() {
        let mut model = model(vec![process("aa", 0.1, "x"), process("bb", 0.0, "y")]);
        type_in(&mut model, "k");
        assert_eq!(model.mode, Mode::Kill("aa".repeat(16)));
        // what was asked about is killed, whatever is on top by now
        model.update(Usages { processes: vec![process("bb", 1.0, "y")], ..Usages::default() });
        type_in(&mut model, "q");
        assert_eq!(model.press(Key::Char('K')), Some(Wish::Kill("aa".repeat(16), Signal::Kill)));
        assert_eq!(model.mode, Mode::Look);
        type_in(&mut model, "k");
        assert_eq!((model.press(Key::Escape), &model.mode), (None, &Mode::Look));
        type_in(&mut model, "k");
        assert_eq!(model.press(Key::Enter), None, "a signal is chosen");
        assert_eq!(model.press(Key::Char('t')), Some(Wish::Kill("bb".repeat(16), Signal::Term)));
    }

    #[test]
    fn any_key_leaves_the_help() {
        let mut model = model(Vec::new());
        type_in(&mut model, "hq");
        assert_eq!(model.mode, Mode::Look);
    }
}
