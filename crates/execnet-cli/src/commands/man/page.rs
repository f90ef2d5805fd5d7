//! Manual pages, from the definition of the command line.

use clap::Command;
use clap::builder::StyledStr;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::exits;

/// The first line of each of our pages.
pub(super) const MARK: &str = ".\\\" Written by `execnet man`.\n";

/// What execnet is.
const ROOT: &str = "\
`execnet` runs Python on machines that have nothing installed but Python and an ssh login. A network is a \
named set of hosts. `execnet start` brings it up, and a process on this machine, its daemon, keeps the links \
to the hosts. Commands and programs then reach the network by its name, until `execnet stop`.

Each command has a page of its own.";

/// Files that people may want to see, on the page of execnet.
const FILES: [(&str, &str); 3] = [
    ("$XDG_CONFIG_HOME/execnet/NETWORK.toml", "the hosts of a network; by default in ~/.config"),
    (
        "$XDG_STATE_HOME/execnet/NETWORK/",
        "its log, its secret and the count of its starts; by default in ~/.local/state",
    ),
    ("/tmp/execnet-UID/", "the sockets of networks; on hosts those of agents, and packages"),
];

const ENVIRONMENT: [(&str, &str); 3] = [
    ("XDG_CONFIG_HOME, XDG_STATE_HOME", "folders of the files below, if they are absolute"),
    ("SSH_AUTH_SOCK", "the ssh agent, which the network uses from then on"),
    ("NO_COLOR", "if it is not empty, nothing is coloured"),
];

/// `execnet-exec.1`
pub(super) fn file_name(command: &Command) -> String {
    Man::new(command.clone()).get_filename()
}

/// The page of a built command.
pub(super) fn page(command: &mut Command) -> String {
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").to_owned();
    let is_root = command.has_subcommands();
    let (more, examples) = after_help(command);
    let version = command.get_version().unwrap_or(env!("CARGO_PKG_VERSION")).to_owned();
    let described = description(command);
    let told = command.clone().override_usage(usage).subcommand_help_heading("COMMANDS");
    let told = told.long_about(described).mut_arg("help", |help| help.help("Print help").long_help(None));
    let man = Man::new(told).source(format!("execnet {version}")).manual("execnet manual");
    // an empty argument needs its quotes
    let man = man.date("\"\"");

    let mut parts: Vec<Vec<u8>> = Vec::new();
    let mut part = |render: &dyn Fn(&Man, &mut Vec<u8>) -> std::io::Result<()>| {
        let mut text = Vec::new();
        // writing to memory does not fail
        let _ = render(&man, &mut text);
        parts.push(text);
    };
    part(&|man, out| man.render_title(out));
    part(&|man, out| man.render_name_section(out));
    part(&|man, out| man.render_synopsis_section(out));
    part(&|man, out| man.render_description_section(out));
    if !more.is_empty() {
        let mut roff = Roff::new();
        roff.control("PP", []).text([roman(more)]);
        part(&|_, out| roff.to_writer(out));
    }
    if is_root {
        part(&|man, out| man.render_subcommands_section(out));
    }
    part(&|man, out| man.render_options_section(out));
    let mut roff = Roff::new();
    list(&mut roff, "EXIT STATUS", &exits::of(is_root, command.get_name()));
    if is_root {
        list(&mut roff, "ENVIRONMENT", &ENVIRONMENT);
        list(&mut roff, "FILES", &FILES);
    }
    if !examples.is_empty() {
        roff.control("SH", ["EXAMPLES"]).control("nf", []);
        for line in examples {
            roff.text([roman(line)]);
        }
        roff.control("fi", []);
    }
    if !is_root {
        roff.control("SH", ["SEE ALSO"]).text([bold("execnet"), roman("(1)")]);
    }
    part(&|_, out| roff.to_writer(out));
    let parts = parts.into_iter().map(|part| String::from_utf8_lossy(&part).into_owned());
    MARK.to_owned() + &once(parts)
}

/// The page without `man`.
pub(super) fn text(command: &mut Command) -> String {
    let mut text = command.render_long_help().to_string();
    text.push_str("\nExit status:\n");
    for (code, meaning) in exits::of(command.has_subcommands(), command.get_name()) {
        text.push_str(&format!("  {code:<5} {meaning}\n"));
    }
    text
}

/// What the command does; the page begins with its first paragraph anyway.
fn description(command: &Command) -> String {
    if command.has_subcommands() {
        return ROOT.to_owned();
    }
    let text = |text: Option<&StyledStr>| text.map(ToString::to_string).unwrap_or_default();
    let long = text(command.get_long_about());
    long.split_once("\n\n").map_or_else(|| text(command.get_about()), |(_, rest)| rest.to_owned())
}

/// What stands below the options: other text, and the lines of the examples.
fn after_help(command: &Command) -> (String, Vec<String>) {
    let after = command.get_after_long_help().or_else(|| command.get_after_help());
    let after = after.map(ToString::to_string).unwrap_or_default();
    let (more, examples) = after.split_once("Example:\n").unwrap_or((&after, ""));
    let line = |line: &str| line.strip_prefix("  ").unwrap_or(line).to_owned();
    (more.trim().to_owned(), examples.trim_end().lines().map(line).collect())
}

fn list(roff: &mut Roff, title: &str, entries: &[(&str, &str)]) {
    roff.control("SH", [title]);
    for (term, meaning) in entries {
        roff.control("TP", []).text([bold(*term)]).text([roman(*meaning)]);
    }
}

/// The parts with one preamble, and with the characters that roff would change.
fn once(parts: impl Iterator<Item = String>) -> String {
    let preamble = Roff::new().render();
    let parts: String = parts.map(|part| part.strip_prefix(&preamble).unwrap_or(&part).to_owned()).collect();
    let mut page = preamble;
    for line in parts.lines() {
        if line.starts_with(['.', '\'']) {
            page.push_str(line);
        } else {
            page.push_str(&spelt(line));
        }
        page.push('\n');
    }
    page
}

/// As roff wants dashes.
#[cfg(test)]
pub(super) fn escaped(text: &str) -> String {
    text.replace('-', "\\-")
}

/// A line of text. What stands in backticks is bold.
pub(super) fn spelt(line: &str) -> String {
    let mut pieces = line.split('`');
    let mut text = pieces.next().unwrap_or_default().to_owned();
    while let Some(piece) = pieces.next() {
        match pieces.next() {
            Some(behind) => text.push_str(&format!("\\fB{piece}\\fR{behind}")),
            None => text.push_str(&format!("\\(ga{piece}")),
        }
    }
    text.replace('~', "\\(ti").replace('^', "\\(ha")
}
