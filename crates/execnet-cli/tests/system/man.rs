//! The manual pages as people see them.

use std::fs;
use std::process::{Command, Output};

use crate::harness::{Net, copy_program, text};

/// Runs `execnet man ARGS…` where `man` is as wide as a terminal.
fn man(net: &Net, args: &[&str]) -> Output {
    net.execnet([&["man"][..], args].concat())
        .env("MANWIDTH", "80")
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn has_man() -> bool {
    let found = Command::new("man").arg("--version").output().is_ok();
    if !found {
        eprintln!("skipped, because there is no man");
        assert!(std::env::var_os("CI").is_none(), "CI has man");
    }
    found
}

#[test]
fn a_page_is_text_where_it_is_not_shown() {
    let net = Net::new(None);
    if has_man() {
        let shown = stdout(&man(&net, &["exec"]));
        assert!(shown.contains("NAME\n       execnet-exec"), "{shown}");
        assert!(
            shown.contains("\n       execnet exec mynet --platform java script.py arg1 < input\n"),
            "{shown}"
        );
        assert!(!shown.contains('\x1b'));
    }
    let mut plain = Command::new(env!("CARGO_BIN_EXE_execnet"));
    let plain = stdout(&plain.args(["man", "exec"]).env("PATH", "/nonexistent").output().unwrap());
    assert!(plain.contains("\nUsage: execnet exec NETWORK") && plain.contains("\nExit status:\n"), "{plain}");
    let roff = stdout(&man(&net, &["--roff"]));
    assert!(roff.contains("\n.SH NAME\nexecnet \\- "), "{roff}");
    let unknown = man(&net, &["exce"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(
        text(&unknown).contains("there is no command `exce`\nHint: did you mean `exec`?"),
        "{}",
        text(&unknown)
    );
}

#[test]
fn pages_have_nothing_to_warn_of() {
    if !has_man() {
        return;
    }
    let net = Net::new(None);
    let folder = net.folder("pages");
    let to = folder.to_str().unwrap();
    stdout(&man(&net, &["--install", "--to", to]));
    for page in fs::read_dir(&folder).unwrap() {
        let page = page.unwrap().path();
        let mut command = Command::new("man");
        let command = command.args(["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"]).arg(&page);
        let output = command.env("LC_ALL", "C.UTF-8").env("MANROFFSEQ", "").output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{}: {}", page.display(), text(&output));
    }
}

#[test]
fn man_finds_pages_that_were_installed_beside_the_command() {
    let net = Net::new(None);
    let bin = net.folder("env").join("bin");
    fs::create_dir_all(&bin).unwrap();
    copy_program(&bin.join("execnet"));
    let run = |args: &[&str]| {
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let mut command = Command::new(args[0]);
        command
            .args(&args[1..])
            .env("PATH", path)
            .env_remove("MANPATH")
            .env("XDG_DATA_HOME", net.folder("data"));
        command.output().unwrap()
    };
    let pages = net.folder("env").join("share/man/man1");
    fs::create_dir_all(&pages).unwrap();
    fs::write(pages.join("execnet-own.1"), ".TH own 1\n").unwrap();
    let program = bin.join("execnet");
    let program = program.to_str().unwrap();
    let old = pages.join("execnet-gone.1");
    fs::write(&old, ".\\\" Written by `execnet man`.\n").unwrap();
    let output = run(&[program, "man", "--install"]);
    stdout(&output);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.starts_with("wrote ") && said.ends_with(&format!("{}\n", pages.display())), "{said}");
    assert!(!old.exists(), "a page of an earlier release");
    if has_man() {
        let found = stdout(&run(&["man", "-w", "execnet-exec"]));
        assert_eq!(
            fs::canonicalize(found.trim()).unwrap(),
            pages.canonicalize().unwrap().join("execnet-exec.1")
        );
    }
    stdout(&run(&[program, "man", "--uninstall"]));
    let left: Vec<_> = fs::read_dir(&pages).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["execnet-own.1"]);
}
