//! The sources of the pages.

use super::*;

fn source(name: &str) -> String {
    all().into_iter().find(|(file, _)| file == name).unwrap_or_else(|| panic!("no page {name}")).1
}

#[test]
fn every_command_has_a_page_with_all_its_options() {
    let cli = cli();
    let pages = all();
    let visible: Vec<_> = cli.get_subcommands().filter(|command| !command.is_hide_set()).collect();
    assert_eq!(pages.len(), 1 + visible.len());
    let root = source("execnet.1");
    for command in visible {
        let page = source(&format!("execnet-{}.1", command.get_name()));
        let name = page::escaped(&format!("execnet-{}(1)", command.get_name()));
        assert!(root.contains(&format!("\n{name}\n")), "{name}");
        for long in command.get_arguments().filter_map(clap::Arg::get_long) {
            assert!(page.contains(&page::escaped(&format!("--{long}"))), "--{long} of {name}");
        }
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "\"EXIT STATUS\"", "EXAMPLES"] {
            assert!(page.contains(&format!("\n.SH {section}\n")), "{section} of {name}");
        }
    }
}

#[test]
fn the_statuses_are_those_of_the_documentation() {
    let document = include_str!("../../../../../docs/cli.md");
    let (_, table) = document.split_once("## Exit codes\n").unwrap();
    let (table, _) = table.split_once("\n\n`execnet").unwrap();
    let code = |line: &str| line.strip_prefix("| ")?.split_once(' ')?.0.parse::<u8>().ok();
    let documented: Vec<String> = table.lines().filter_map(code).map(|code| code.to_string()).collect();
    let ours: Vec<&str> = exits::of(true, "execnet").into_iter().map(|(code, _)| code).collect();
    assert_eq!(ours, documented);
}

#[test]
fn nothing_in_a_page_is_changed_by_roff() {
    for (name, page) in all() {
        let text = page.lines().filter(|line| !line.starts_with(['.', '\'']));
        for line in text {
            assert!(!line.contains(['`', '~', '^']), "{name}: {line}");
        }
    }
    assert_eq!(page::spelt("a `b` c ` ~"), r"a \fBb\fR c \(ga \(ti");
}

#[test]
fn a_page_as_it_is_written() {
    insta::assert_snapshot!(source("execnet-undrain.1"), @r#"
    .\" Written by `execnet man`.
    .ie \n(.g .ds Aq \(aq
    .el .ds Aq '
    .TH execnet-undrain 1 "" "execnet 3.0.0" "execnet manual"
    .SH NAME
    execnet\-undrain \- Let drained hosts take new work again
    .SH SYNOPSIS
    \fBexecnet undrain\fR <NETWORK> <HOST>...
    .SH DESCRIPTION
    Let drained hosts take new work again
    .SH OPTIONS
    .TP
    \fB\-h\fR, \fB\-\-help\fR
    Print help
    .TP
    <\fINETWORK\fR>
    Name of the network
    .TP
    <\fIHOST\fR>
    Ids of hosts, as \fBexecnet status\fR shows them, or sets of them: \fB\*(Aqbuild[1\-3]\*(Aq\fR
    .SH "EXIT STATUS"
    .TP
    \fB0\fR
    done
    .TP
    \fB1\fR
    failed for a reason without a code of its own
    .TP
    \fB2\fR
    wrong option, name, host spec or file; nothing was changed
    .TP
    \fB3\fR
    the network does not exist or is not running
    .TP
    \fB4\fR
    there is no such host
    .SH EXAMPLES
    .nf
    execnet undrain mynet build3
    .fi
    .SH "SEE ALSO"
    \fBexecnet\fR(1)
    "#);
}
