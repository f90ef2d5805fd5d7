//! Completions that shells find by themselves.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use execnet_testkit::{or_skip, shell};

use crate::harness::{Net, text};

/// Runs a program in a home of its own, with our command in PATH.
fn at_home(home: &Path, program: &Path, args: &[&str]) -> Output {
    let folder = Path::new(env!("CARGO_BIN_EXE_execnet")).parent().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new(program);
    for variable in ["XDG_CONFIG_HOME", "XDG_DATA_HOME", "BASH_COMPLETION_USER_DIR", "ZDOTDIR"] {
        command.env_remove(variable);
    }
    command.args(args).env("HOME", home).env("PATH", path).output().unwrap()
}

fn execnet(home: &Path, args: &[&str]) -> Output {
    at_home(home, Path::new(env!("CARGO_BIN_EXE_execnet")), &[&["completions"], args].concat())
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(output));
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    // on a busy machine
    said.lines()
        .filter(|line| !line.starts_with("waiting for zsh "))
        .map(|line| format!("{line}\n"))
        .collect()
}

/// The candidates that a shell prints, one a line.
#[track_caller]
fn completes(output: &Output) {
    assert!(output.status.success(), "{}", text(output));
    let lines = String::from_utf8(output.stdout.clone()).unwrap();
    let words: Vec<&str> = lines.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(words, ["start", "status", "stop"], "{}", text(output));
}

#[test]
fn fish_finds_what_was_installed() {
    let Some(fish) = or_skip(shell("fish")) else { return };
    let net = Net::new(None);
    let home = net.folder("home");
    let file = home.join(".config/fish/completions/execnet.fish");
    let output = execnet(&home, &["fish", "--install"]);
    assert_eq!(said(&output), format!("fish: wrote {}\nnew shells complete `execnet`\n", file.display()));
    completes(&at_home(&home, &fish, &["-c", "complete -C 'execnet st'"]));
    // again, as after another release
    said(&execnet(&home, &["fish", "--install"]));
    said(&execnet(&home, &["fish", "--uninstall"]));
    assert!(!file.exists());
    assert!(said(&execnet(&home, &["fish", "--uninstall"])).contains("there is no "));
}

#[test]
fn bash_finds_what_was_installed() {
    const LOADER: &str = "/usr/share/bash-completion/bash_completion";
    let Some(bash) = or_skip(shell("bash")) else { return };
    let net = Net::new(None);
    let home = net.folder("home");
    let output = said(&execnet(&home, &["bash", "--install"]));
    let file = home.join(".local/share/bash-completion/completions/execnet");
    let (wrote, then) = output.split_once('\n').unwrap();
    assert_eq!(wrote, format!("bash: wrote {}", file.display()));
    // without bash-completion, this line does it
    let line = format!("source {}", file.display());
    let mut loads = vec![line.clone()];
    if Path::new(LOADER).exists() {
        assert_eq!(then, "new shells complete `execnet`\n");
        loads.push(format!(
            "source {LOADER}; declare -F _comp_load _completion_loader | head -1 > loader; \
             $(cat loader) execnet; ((${{PIPESTATUS[0]}} == 124)) || true"
        ));
    } else {
        assert!(then.ends_with(&format!("is not installed here: add `{line}` to ~/.bashrc\n")), "{then}");
    }
    for load in loads {
        let script = format!(
            "cd; {load}; complete -p execnet | grep -q -- '-F _execnet' || exit 8
             COMP_LINE='execnet st' COMP_TYPE=9 COMP_WORDS=(execnet st) COMP_CWORD=1
             _execnet execnet st execnet; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        completes(&at_home(&home, &bash, &["--norc", "--noprofile", "-c", &script]));
    }
}

#[test]
fn zsh_finds_what_was_installed() {
    const ASK: &str = "_describe() { local one; for one in ${(P)argv[3]}; do print -r -- ${one%%:*}; done }
        [[ $_comps[execnet] = _execnet ]] || exit 8
        words=(execnet st) CURRENT=2; _execnet";
    let Some(zsh) = or_skip(shell("zsh")) else { return };
    let net = Net::new(None);
    let home = net.folder("home");
    let start = |line: &str| {
        fs::write(home.join(".zshrc"), format!("{line}\nautoload -U compinit && compinit -u\n")).unwrap();
    };
    start("exit");
    let output = said(&execnet(&home, &["zsh", "--install"]));
    assert!(output.contains("\nzsh did not say its fpath: add `fpath=("), "{output}");
    start("echo noise");
    let output = said(&execnet(&home, &["zsh", "--install"]));
    let file = home.join(".local/share/zsh/site-functions/_execnet");
    let (wrote, then) = output.split_once('\n').unwrap();
    assert_eq!(wrote, format!("zsh: wrote {}", file.display()));
    assert!(then.starts_with("no folder of zsh's fpath is yours: add `fpath=("), "{then}");
    start(then.split('`').nth(1).unwrap());
    completes(&at_home(&home, &zsh, &["-ic", ASK]));

    fs::create_dir(home.join("functions")).unwrap();
    start("fpath=(~/functions $fpath)");
    let output = said(&execnet(&home, &["zsh", "--install"]));
    let own = home.join("functions/_execnet");
    assert!(output.starts_with(&format!("zsh: wrote {}\n", own.display())), "{output}");
    fs::remove_file(&file).unwrap();
    completes(&at_home(&home, &zsh, &["-ic", ASK]));
    said(&execnet(&home, &["zsh", "--uninstall"]));
    assert!(!own.exists());
}

#[test]
fn the_files_of_others_stay() {
    let net = Net::new(None);
    let home = net.folder("home");
    let file = home.join(".config/fish/completions/execnet.fish");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "complete -c execnet -f\n").unwrap();
    for args in [["fish", "--install"], ["fish", "--uninstall"]] {
        let refused = execnet(&home, &args);
        assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
        assert!(text(&refused).contains("execnet did not write it"), "{}", text(&refused));
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "complete -c execnet -f\n");
    // one that a person made of the printed script is ours
    fs::write(&file, execnet(&home, &["fish"]).stdout).unwrap();
    said(&execnet(&home, &["fish", "--uninstall"]));
}

#[test]
fn the_shell_is_that_of_the_account() {
    let net = Net::new(None);
    let home = net.folder("home");
    let run = |shell: &str, args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_execnet"));
        command.args([&["completions"], args].concat()).env("HOME", &home).env("SHELL", shell);
        command.env_remove("XDG_CONFIG_HOME").env_remove("XDG_DATA_HOME").output().unwrap()
    };
    assert!(said(&run("/usr/bin/fish", &["--install"])).starts_with("fish: wrote "));
    for (shell, args, says) in [
        (
            "/bin/dash",
            &["--install"][..],
            "there are no completions for dash (SHELL)\nHint: name another shell",
        ),
        ("", &["--install"], "SHELL is not set\nHint: name the shell"),
        (
            "/bin/bash",
            &["elvish", "--install"],
            "\nHint: add `eval (execnet completions elvish | slurp)` to rc.elv",
        ),
        ("/bin/bash", &[], "<SHELL>"),
    ] {
        let refused = run(shell, args);
        assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
        assert!(text(&refused).contains(says), "{}", text(&refused));
    }
}
