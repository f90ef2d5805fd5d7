//! What the verbs say and do besides their main work, as a person at a shell meets it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::harness::{Net, text};

#[test]
fn help_is_the_same_however_it_is_asked_for() {
    let net = Net::new(None);
    let said = |args: &[&str]| {
        let output = net.execnet(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(said(&["help"]), said(&["--help"]));
    for verb in ["start", "addhost", "rmhost", "status", "python", "list", "logs", "stop", "completions"] {
        assert_eq!(said(&["help", verb]), said(&[verb, "--help"]));
        assert!(said(&["help"]).contains(&format!("\n  {verb} ")), "{verb}");
    }
    let output = net.execnet(["help", "strat"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
}

#[test]
fn arguments_that_cannot_be_taken_are_named() {
    let net = Net::new(None);
    let odd = OsStr::from_bytes;
    for (args, code, says) in [
        (&[odd(b"start"), odd(b"net"), odd(b"ssh=b\xff")][..], 2, r#"argument 3 is not UTF-8: "ssh=b\xFF""#),
        (
            &[odd(b"python"), odd(b"net"), odd(b"--env"), odd(b"A=\xff\x1b"), odd(b"x.py")],
            125,
            r#"argument 4 is not UTF-8: "A=\xFF\u{1b}""#,
        ),
        (
            &[odd(b"python"), odd(b"net"), odd(b"--env=A=\xff"), odd(b"x.py")],
            125,
            r#"argument 3 is not UTF-8: "--env=A=\xFF""#,
        ),
        (&[odd(b"python"), odd(b"net"), odd(b"-c"), odd(b"\xff")], 125, "no network"),
        (&[odd(b"logs"), odd(b"net"), odd(b"-n"), odd(b"x")], 2, "'x' for '--lines <N>': a number of lines"),
        (
            &[odd(b"logs"), odd(b"net"), odd(b"-n"), odd(b"-5")],
            2,
            "'-5' for '--lines <N>': a number of lines",
        ),
    ] {
        let output = net.execnet(args).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.starts_with("Error: ") && said.contains(says), "{args:?}: {said}");
    }
}
