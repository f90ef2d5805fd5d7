//! Progress of joining hosts: on a terminal one line per host, updated in place; elsewhere one line per change.

use std::io::{self, IsTerminal, Write};

use execnet_proto::control::HostStatus;

use crate::render;
use crate::text::fit;

/// Lines about hosts on their way.
pub(crate) struct Progress<'a> {
    out: Box<dyn Write + 'a>,
    /// Columns and rows of the terminal; `None` for one line per change.
    screen: Option<(usize, usize)>,
    /// Host ids and what was last said about them, in the order of their first mention.
    hosts: Vec<(String, String)>,
    /// Lines above the cursor that are ours to overwrite.
    drawn: usize,
}

impl<'a> Progress<'a> {
    /// On stderr, in place if it is a terminal that can.
    pub(crate) fn stderr() -> Progress<'static> {
        let able = io::stderr().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb");
        let size = rustix::termios::tcgetwinsize(io::stderr())
            .ok()
            .filter(|size| able && size.ws_col > 0 && size.ws_row > 0);
        let screen = size.map(|size| (usize::from(size.ws_col), usize::from(size.ws_row)));
        Progress { out: Box::new(io::stderr()), screen, hosts: Vec::new(), drawn: 0 }
    }

    /// One line per change.
    #[cfg(test)]
    pub(crate) fn lines(out: &'a mut dyn Write) -> Progress<'a> {
        Progress { out: Box::new(out), screen: None, hosts: Vec::new(), drawn: 0 }
    }

    /// Says where a host stands now, unless that was said last.
    pub(crate) fn update(&mut self, host: &HostStatus) {
        let state = render::progress_line(host);
        match self.hosts.iter_mut().find(|(id, _)| *id == host.id) {
            Some((_, said)) if *said == state => return,
            Some((_, said)) => said.clone_from(&state),
            None => self.hosts.push((host.id.clone(), state.clone())),
        }
        // More hosts than rows cannot be redrawn: what has scrolled off is out of reach.
        match self.screen.filter(|(_, rows)| self.hosts.len() < *rows) {
            Some((columns, _)) => self.draw(columns),
            None => drop(writeln!(self.out, "{}: {state}", host.id)),
        }
    }

    /// Leaves the lines where they are, because something else will be written below.
    pub(crate) fn pause(&mut self) {
        self.drawn = 0;
    }

    fn draw(&mut self, columns: usize) {
        let width = self.hosts.iter().map(|(id, _)| id.len()).max().unwrap_or(0);
        let mut text = String::new();
        if self.drawn > 0 {
            text.push_str(&format!("\x1b[{}A", self.drawn));
        }
        for (id, state) in &self.hosts {
            text.push_str(&format!("\r\x1b[2K{}\n", fit(&format!("{id:width$}  {state}"), columns - 1)));
        }
        self.drawn = self.hosts.len();
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

#[cfg(test)]
mod tests {
    use execnet_proto::control::{HostState, Step};

    use super::*;

    fn host(id: &str, state: HostState) -> HostStatus {
        HostStatus { id: id.into(), state, step: Some(Step::Connect), ..HostStatus::default() }
    }

    #[test]
    fn on_a_terminal_lines_are_overwritten_in_place() {
        let mut out = Vec::new();
        let mut progress =
            Progress { out: Box::new(&mut out), screen: Some((20, 24)), hosts: Vec::new(), drawn: 0 };
        progress.update(&host("a", HostState::Joining));
        progress.update(&host("build1", HostState::Joining));
        progress.update(&host("build1", HostState::Joining));
        progress.pause();
        progress.update(&host("a", HostState::Up));
        drop(progress);
        let screen = String::from_utf8(out).unwrap();
        assert_eq!(
            screen,
            "\r\x1b[2Ka  joining: connect\n\
             \x1b[1A\r\x1b[2Ka       joining: c…\n\r\x1b[2Kbuild1  joining: c…\n\
             \r\x1b[2Ka       up\n\r\x1b[2Kbuild1  joining: c…\n"
        );
    }

    #[test]
    fn more_hosts_than_rows_are_told_line_by_line() {
        let mut out = Vec::new();
        let mut progress =
            Progress { out: Box::new(&mut out), screen: Some((80, 2)), hosts: Vec::new(), drawn: 0 };
        for id in ["a", "b", "c"] {
            progress.update(&host(id, HostState::Up));
        }
        drop(progress);
        assert!(String::from_utf8(out).unwrap().ends_with("b: up\nc: up\n"));
    }
}
