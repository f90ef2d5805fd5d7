//! `execnet ps`: what runs where, and what it uses.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::Args;
use execnet_proto::control::{KeptState, ProcessUsage, Usages, Verb};
use unicode_width::UnicodeWidthStr;

use crate::error::{CommandError, CommandResult, Exit};
use crate::usage::counted;
use crate::{connection, print, text, usage};

/// The least that is shown of a command.
const NARROWEST: usize = 10;

const HEAD: [&str; 9] = ["NODE", "ID", "PID", "CLIENT", "GATEWAY", "AGE", "CPU %", "MEMORY", "COMMAND"];

/// How much kept work a note names.
const NAMED: usize = 3;

/// Two more columns, first of all, if something is kept.
const HEAD_OF_KEPT: [&str; 2] = ["NAME", "KEPT"];

/// Show what runs in a network, for whom, and what it uses
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  execnet ps mynet
  execnet ps mynet --node build1 --json")]
pub(crate) struct PsArgs {
    #[command(flatten)]
    network: super::NetworkArg,
    /// Show only hosts of these nodes: `build1`, `'build[1-20]'`, `'@web,!web7'`
    #[arg(long, value_name = "SET", add = super::complete::sets_of_nodes())]
    node: Option<String>,
    /// Print JSON; docs/requests.md lists its keys
    #[arg(long)]
    json: bool,
}

impl PsArgs {
    pub(crate) fn run(self) -> CommandResult {
        let network = connection::connect(&self.network.network)?;
        if self.node.is_some() {
            connection::read_groups(&network)?;
        }
        let usages: Usages = connection::ask_once(&network, Verb::Ps { node: self.node })?;
        if self.json {
            let json = serde_json::to_string_pretty(&usages);
            let json = json.map_err(|error| {
                CommandError::new(Exit::Failed, "cannot write the processes as JSON").because(&error)
            })?;
            print::print(&format!("{}\n", execnet_proto::text::json(&json)))?;
        } else {
            let out = io::stdout();
            let size = rustix::termios::tcgetwinsize(&out).ok().filter(|_| out.is_terminal());
            let width = size.map(|size| usize::from(size.ws_col)).filter(|width| *width > 0);
            print::print_styled(&shown(&usages, width))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A table, and what to know of hosts whose numbers are missing. Commands are cut so that a line fits.
fn shown(usages: &Usages, width: Option<usize>) -> String {
    let is_kept = usages.processes.iter().any(|process| process.kept.is_some());
    let mut rows: Vec<Vec<String>> = usages.processes.iter().map(|process| row(process, is_kept)).collect();
    let mut shown = if rows.is_empty() {
        format!("nothing runs on {}\n", counted(usages.hosts.len(), "host"))
    } else {
        let head = [if is_kept { &HEAD_OF_KEPT[..] } else { &[] }, &HEAD].concat();
        if let Some(width) = width {
            cut(&head, &mut rows, width);
        }
        text::table(&head, &rows)
    };
    // a host says the same of all its work
    let mut notes: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for kept in usages.processes.iter().filter_map(|process| process.kept.as_ref()) {
        if let Some(note) = kept.note.as_ref().filter(|_| kept.state != KeptState::Ended) {
            notes.entry((&kept.host, note)).or_default().push(&kept.name);
        }
    }
    for ((host, note), names) in notes {
        let more = names.len().saturating_sub(NAMED);
        let mut what = text::one_line(&names[..names.len() - more].join(", "));
        if more > 0 {
            what += &format!(" and {more} more");
        }
        shown += &format!("{what} on {}: {}\n", text::one_line(host), text::one_line(note));
    }
    for host in &usages.hosts {
        if let Some(trouble) = usage::trouble(host) {
            shown += &format!("{}: {}\n", text::one_line(&host.id), crate::style::state(&trouble));
        }
    }
    if usages.left_out > 0 {
        shown += &format!("{} left out\n", counted(usages.left_out as usize, "process"));
    }
    shown
}

fn row(process: &ProcessUsage, is_kept: bool) -> Vec<String> {
    let kept = process.kept.as_ref();
    let name = kept.map_or_else(String::new, |kept| kept.name.clone());
    let about = [name, kept.map_or_else(String::new, |kept| usage::kept(kept))];
    let rest = [
        usage::place(process),
        usage::short(&process.id),
        usage::pid(process),
        usage::client(&process.program, process.client_pid),
        process.gateway.clone(),
        usage::age(process),
        usage::cpu(process),
        usage::memory(process),
        usage::command(process),
    ];
    if is_kept { about.into_iter().chain(rest).collect() } else { rest.into() }
}

/// Cuts the last cells so that no row is wider than this.
fn cut(head: &[&str], rows: &mut [Vec<String>], width: usize) {
    let last = head.len() - 1;
    let widest = |at: usize| rows.iter().map(|row| row[at].width()).max().unwrap_or(0).max(head[at].len());
    let before: usize = (0..last).map(|at| widest(at) + 2).sum();
    let left = width.saturating_sub(before).max(NARROWEST);
    for row in rows {
        row[last] = text::fit(&row[last], left);
    }
}

#[cfg(test)]
mod tests {
    use execnet_proto::control::{HostState, HostUsage, KeptStatus};

    use super::*;

    fn usages() -> Usages {
        let process = |id: &str, node: &str| ProcessUsage {
            id: id.repeat(16),
            host: "build1".into(),
            node: node.into(),
            command: "python3 -m train --epochs 100 --out\x1b[2J /srv/app".into(),
            ..ProcessUsage::default()
        };
        let busy = ProcessUsage {
            pid: Some(4_242),
            client_pid: Some(17),
            program: "pytest".into(),
            gateway: "gw0".into(),
            age: Some(400.0),
            cpu: Some(1.234),
            memory: Some(300 << 20),
            ..process("ab", "build1:pypy3.9")
        };
        let host = |id: &str, state, note: Option<&str>| HostUsage {
            id: id.into(),
            state,
            note: note.map(Into::into),
            ..HostUsage::default()
        };
        Usages {
            hosts: vec![
                host("build1", HostState::Up, None),
                host("build2", HostState::Up, Some("it did not answer within 2 s")),
                host("build3", HostState::Unreachable, None),
            ],
            processes: vec![busy, process("0c", "")],
            left_out: 0,
        }
    }

    #[test]
    fn the_command_is_cut_and_nothing_else() {
        insta::assert_snapshot!(crate::style::plain(&shown(&usages(), Some(100))), @r"
        NODE            ID        PID   CLIENT       GATEWAY  AGE    CPU %  MEMORY   COMMAND
        build1:pypy3.9  abababab  4242  pytest (17)  gw0      6 min  123.4  300 MiB  python3 -m train --epo…
        build1          0c0c0c0c  -     -            -        -      -      -        python3 -m train --epo…
        build2: it did not answer within 2 s
        build3: unreachable
        ");
        let all = shown(&usages(), None);
        assert!(all.contains(r"--out\x1b[2J /srv/app"), "{all}");
    }

    #[test]
    fn what_is_kept_has_a_name_and_a_time() {
        let mut usages = usages();
        usages.processes[1].kept = Some(Box::new(KeptStatus {
            name: "train".into(),
            host: "build1".into(),
            state: KeptState::Left,
            note: Some("`loginctl enable-linger` on build1 keeps it".into()),
            ..KeptStatus::default()
        }));
        usages.processes.remove(0);
        insta::assert_snapshot!(crate::style::plain(&shown(&usages, Some(80))), @r"
        NAME   KEPT             NODE    ID        PID  CLIENT  GATEWAY  AGE  CPU %  MEMORY  COMMAND
        train  nobody attached  build1  0c0c0c0c  -    -       -        -    -      -       python3 -…
        train on build1: `loginctl enable-linger` on build1 keeps it
        build2: it did not answer within 2 s
        build3: unreachable
        ");
    }

    #[test]
    fn that_nothing_runs_is_said() {
        let usages = Usages { processes: Vec::new(), left_out: 3, ..usages() };
        assert!(shown(&usages, None).starts_with("nothing runs on 3 hosts\n"));
        assert!(shown(&usages, None).ends_with("3 processes left out\n"));
    }
}
