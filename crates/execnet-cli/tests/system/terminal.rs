//! A person at a real terminal (tmux): what runs on a host has it, and it is given back whatever happens.

use std::process::Command;

use execnet_testkit::{Lab, or_skip, program, wait_until};

use crate::harness::{Net, SOON};
use crate::person::{Person, here, is_in_the_foreground};

/// Runs a program of the host in place of Python.
fn exec(words: &str) -> String {
    format!("execnet python $N -c 'import os,sys; os.execvp(sys.argv[1], sys.argv[1:])' {words}")
}

#[test]
fn every_interpreter_is_as_interactive_as_in_a_terminal_of_its_own() {
    let Some((net, person)) = here(&["popen//python=*//id=here"]) else { return };
    let status = net.status();
    let nodes: Vec<_> = status["hosts"][0]["nodes"].as_array().unwrap().iter().collect();
    let mut tried = 0;
    for node in nodes {
        let name = node["name"].as_str().unwrap();
        if node["state"] != "ready" || name.contains("jython") {
            continue;
        }
        tried += 1;
        let has_readline = net
            .python(&["--node", name, "-c", "import readline, rlcompleter"])
            .output()
            .is_ok_and(|output| output.status.success());
        let prompt = if name.contains("pypy") { ">>>>" } else { ">>>" };
        person.enters_anew(&format!("execnet python $N --node {name} --env PYTHONSTARTUP="));
        person.shows_last(prompt);
        person.enters("x = 'ab\u{e4}'; import os, sys");
        person.shows_last(prompt);
        person.enters("print(os.isatty(0), os.isatty(1), os.isatty(2), 6 * 7)");
        // before its prompt, keys are for what runs, and some Pythons drop them
        let screen = person.shows_last(prompt);
        // 2.7 prints a tuple
        assert!(screen.contains("True") && screen.contains(" 42"), "{screen}");
        if has_readline {
            person.presses(&["Up"]);
            person.shows_last(&format!("{prompt} print(os.isatty(0), os.isatty(1), os.isatty(2), 6 * 7)"));
            person.presses(&["BSpace", "BSpace", "8", ")"]);
            person.shows_last(&format!("{prompt} print(os.isatty(0), os.isatty(1), os.isatty(2), 6 * 8)"));
            person.presses(&["Enter"]);
            person.shows(" 48");
            person.shows_last(prompt);
        }
        person.enters("import time; print('sl' + 'eeps'); time.sleep(1000)");
        person.shows("sleeps");
        person.presses(&["C-c"]);
        person.shows("KeyboardInterrupt");
        person.shows_last(prompt);
        person.enters("sys.stderr.write('on ' + 'stderr\\n') and None");
        person.shows("on stderr");
        person.shows_last(prompt);
        person.presses(&["C-d"]);
        person.status(0);
        person.has_the_terminal_back();
    }
    assert!(tried > 0, "{status}");
}

#[test]
fn the_size_follows_and_keys_are_signals() {
    let Some((_net, person)) = here(&["popen//id=here"]) else { return };
    person.enters_anew(&exec("bash --norc --noprofile").replace("-c", "--env PS1='host$ ' -c"));
    person.shows_last("host$");
    person.enters_anew("stty size");
    person.shows_last("host$");
    person.shows_line("24 80");
    person.enters_anew("trap 'echo now $(stty size)' WINCH; printf '[%s]\\n' 'u\u{308}\u{1f600}'");
    person.shows_last("host$");
    person.shows_line("[u\u{308}\u{1f600}]");
    person.ok(&["resize-window", "-x", "100", "-y", "30"]);
    person.hears("now 30 100", "host$");
    person.enters("trap - WINCH");
    person.shows_last("host$");
    let sleep = format!("{}.{}", 1000, std::process::id());
    person.enters_anew(&format!("sh -c 'printf be; echo gun; exec sleep {sleep}'"));
    person.shows_line("begun");
    is_in_the_foreground(&["sleep", &sleep]);
    person.presses(&["C-z"]);
    person.shows_last("host$");
    person.enters_anew("fg");
    person.shows_last(&format!("sh -c 'printf be; echo gun; exec sleep {sleep}'"));
    is_in_the_foreground(&["sleep", &sleep]);
    person.presses(&["C-c"]);
    person.shows_last("host$");
    person.enters_anew("exit 7");
    person.status(7);
    person.has_the_terminal_back();
}

#[test]
fn a_command_has_a_terminal_if_both_ends_are_terminals_and_as_asked() {
    let Some((_net, person)) = here(&["popen//id=here"]) else { return };
    let show = "-c 'import os; print(os.isatty(0), os.isatty(1), os.isatty(2))'";
    for (command, answer) in [
        (format!("execnet python $N {show}"), "True True True"),
        (format!("execnet python $N -T {show}"), "False False False"),
        (format!("execnet python $N {show} | cat"), "False False False"),
        (format!("execnet python $N {show} < /dev/null"), "False False False"),
        (format!("execnet python $N -t {show} < /dev/null | cat"), "True True True"),
        (format!("execnet python $N -t -T {show}"), "False False False"),
    ] {
        person.enters_anew(&command);
        person.shows_last("$");
        person.shows_line(answer);
    }
    person.enters_anew("printf 'typed\\n' | execnet python $N -t -c 'print(\"got \" + input())' | cat");
    person.shows("got typed");
    person.shows_last("$");
    person.enters_anew("execnet python $N -t --escape long -c 1");
    person.shows("expected a character");
}

#[test]
fn a_command_of_one_host_has_the_terminal_if_asked() {
    let Some((_net, person)) = here(&["popen//id=one", "popen//id=two"]) else { return };
    person.enters_anew("execnet run $N --node one -t -- sh -c 'stty size; read x; echo \"got $x\"; exit 9'");
    person.shows_line("24 80");
    person.enters("a line");
    person.shows_line("got a line");
    person.status(9);
    person.has_the_terminal_back();
    person.enters_anew("execnet run $N --node one -t no-such-command");
    person.shows("cannot execute no-such-command");
    person.status(127);
    person.enters_anew("execnet run $N -t -- vi");
    person.shows("-t takes one host, and 2 match");
    person.status(2);
}

#[test]
fn escapes_leave_suspend_and_help() {
    let Some((_net, person)) = here(&["popen//id=here"]) else { return };
    person.enters_anew("execnet python $N");
    person.shows_last(">>>");
    person.presses(&["Enter"]);
    person.types("~?");
    person.shows("~^Z  suspend this command");
    person.types("~");
    person.presses(&["C-z"]);
    person.shows("Stopped");
    person.has_the_terminal_back();
    person.enters_anew("fg");
    person.shows("execnet");
    person.is_raw();
    person.enters("6 * 7");
    person.shows_last(">>>");
    person.shows_line("42");
    // from outside, too
    person.enters("import os; print('ex' + 'ec')");
    person.shows_last(">>>");
    person.shows_line("exec");
    person.presses(&["Enter"]);
    person.types("~.");
    person.shows("is hung up");
    person.status(129);
    person.has_the_terminal_back();
    person.enters_anew("execnet python $N --escape ^]");
    person.shows_last(">>>");
    person.presses(&["Enter", "C-]", "."]);
    person.shows("is hung up");
    person.has_the_terminal_back();
}

#[test]
fn a_job_in_the_background_that_wants_the_terminal_stops_until_it_has_it() {
    let Some((net, person)) = here(&["popen//id=here"]) else { return };
    // what has work to do without keys does it
    person.enters_anew("execnet python $N -c 'import os; print(os.isatty(1), 6 * 7)' & wait; echo done");
    person.shows_last("$");
    person.shows("False 42");
    person.shows_line("done");
    for command in ["execnet python $N --env PYTHONSTARTUP=", "execnet python $N -t -i -c 1"] {
        person.enters_anew(&format!("{command} &"));
        person.hears("Stopped", "$");
        assert_eq!(net.host("here")["processes"], 0, "nothing runs before it has its terminal");
        person.enters_anew("bg");
        person.hears("Stopped", "$");
        person.enters_anew("fg");
        person.shows_last(">>>");
        person.enters("6 * 7");
        person.shows_last(">>>");
        person.shows_line("42");
        person.presses(&["Enter"]);
        person.types("~");
        person.presses(&["C-z"]);
        person.shows("Stopped");
        person.has_the_terminal_back();
        person.enters_anew("bg");
        person.hears("Stopped", "$");
        person.has_the_terminal_back();
        person.enters_anew("fg");
        person.shows("execnet");
        person.is_raw();
        person.enters("7 * 7");
        person.shows_last(">>>");
        person.shows_line("49");
        person.presses(&["C-d"]);
        person.has_the_terminal_back();
    }
    // one that cannot be stopped says what it waits for
    person.enters_anew("(trap '' TTOU; execnet python $N -t -c 'print(6 * 7)') &");
    person.shows("this waits until it has the terminal: it runs in the background");
    assert_eq!(net.host("here")["processes"], 0);
    person.presses(&["Enter"]);
    person.shows_last("$");
    person.enters("fg");
    person.shows_line("42");
    person.has_the_terminal_back();
}

#[test]
fn full_screen_programs_work_and_are_left_behind_nothing() {
    let Some((net, person)) = here(&["popen//id=here"]) else { return };
    let folder = net.folder("files");
    let notes = folder.join("notes");
    std::fs::write(&notes, (1..=500).map(|n| format!("line {n} \u{e4}\n")).collect::<String>()).unwrap();
    let path = notes.display().to_string();
    if or_skip(program("less", "less")).is_some() {
        person.enters_anew(&exec(&format!("less {path}")));
        person.shows("line 23 \u{e4}");
        person.ok(&["resize-window", "-x", "60", "-y", "12"]);
        person.waits("less in 12 rows", |screen| screen.contains("line 11 ") && !screen.contains("line 12 "));
        person.presses(&["G"]);
        person.shows("line 500");
        person.types("~");
        person.presses(&["q"]);
        person.has_the_terminal_back();
        person.ok(&["resize-window", "-x", "80", "-y", "24"]);
    }
    if or_skip(program("vi", "vim-tiny")).is_some() {
        person.enters_anew(&exec(&format!("vi {path}")));
        person.shows("line 23 \u{e4}");
        person.presses(&["i"]);
        person.types("written there: ");
        person.presses(&["Escape"]);
        person.shows("written there: line 1");
        // suspended and taken up again, it draws its screen anew
        person.presses(&["Enter"]);
        person.types("~");
        person.presses(&["C-z"]);
        person.shows("Stopped");
        person.has_the_terminal_back();
        person.enters_anew("fg");
        person.shows("line 22");
        person.is_raw();
        person.enters(":wq");
        person.has_the_terminal_back();
        assert!(std::fs::read_to_string(&notes).unwrap().starts_with("written there: line 1 "));
    }
    if or_skip(program("htop", "htop")).is_some() {
        person.enters_anew(&exec("htop"));
        person.shows("F10");
        person.presses(&["q"]);
        person.has_the_terminal_back();
    }
    // one that ends without its goodbye
    let rude = "\\033[?1049h\\033[?25l\\033[?1000h\\033[?1h\\033[?2004h\\033[31mred\\033(0";
    person.enters_anew(&format!("execnet python $N -c 'print(\"{rude}\")'"));
    person.has_the_terminal_back();
}

#[test]
fn the_terminal_comes_back_from_every_signal_and_from_a_dead_daemon() {
    let Some((net, person)) = here(&["popen//id=here"]) else { return };
    let program = net.folder("full").join("screen.py");
    let code = "import sys, time\nsys.stdout.write('\\033[?1049h\\033[?25l' + 'full ' + 'screen')\n\
                sys.stdout.flush()\ntime.sleep(1000)\n";
    std::fs::write(&program, code).unwrap();
    let start = format!("execnet python $N {}", program.display());
    let kill = |signal: &str| {
        let command = format!("pkill -{signal} -f '[e]xecnet python.*{}'", program.display());
        assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success());
    };
    for (signal, status) in [("TERM", 143), ("HUP", 129), ("QUIT", 131), ("INT", 130)] {
        person.enters_anew(&start);
        person.shows("full screen");
        kill(signal);
        person.status(status);
        person.has_the_terminal_back();
    }
    // stopped from outside and continued
    person.enters_anew(&start);
    person.shows("full screen");
    kill("STOP");
    person.shows("Stopped");
    person.shows_last("$");
    person.enters_anew("fg");
    person.shows("execnet");
    person.is_raw();
    net.kill_daemon();
    wait_until(SOON, "the break in the title", || {
        person.ok(&["display-message", "-p", "#{pane_title}"]).contains("is unreachable")
    });
    person.presses(&["C-c", "C-c", "C-c"]);
    person.shows("is hung up");
    person.has_the_terminal_back();
    // its agent would wait for it for a while
    net.start(&[]);
}

#[test]
fn a_cut_link_freezes_the_terminal_and_then_it_goes_on() {
    let Some(lab) = or_skip(Lab::new()) else { return };
    let host = lab.host("build1").start().unwrap();
    let net = Net::new(Some(lab));
    net.start(&[&net.spec("build1", "")]);
    let cut = || {
        host.stop_sshd();
        host.kill_ssh();
    };
    let Some(person) = Person::sits_down(&net) else { return };
    person.enters_anew("execnet python $N");
    person.shows_last(">>>");
    cut();
    person.shows("is unreachable");
    person.types("6 * 7");
    person.presses(&["Enter"]);
    host.start_sshd().unwrap();
    person.shows("is reachable again");
    person.shows_line("42");
    cut();
    person.waits("the second break", |screen| screen.matches("is unreachable").count() == 2);
    person.presses(&["C-c", "C-c", "C-c"]);
    person.shows("is hung up");
    person.has_the_terminal_back();
    host.start_sshd().unwrap();
    wait_until(SOON, "the process to end", || net.host("build1")["processes"] == 0);
}

#[test]
fn a_host_that_has_no_terminals_says_so_and_does_without() {
    let Some(lab) = or_skip(Lab::new()) else { return };
    let Some(_) = or_skip(lab.host("java").pythons(["jython"]).start()) else { return };
    let net = Net::new(Some(lab));
    net.start(&[&net.spec("java", "//patience=5m")]);
    let output = net.python(&["-t", "-c", "print(1)"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(125), "{said}");
    assert!(said.contains("java cannot give a process a terminal"), "{said}");
    let Some(person) = Person::sits_down(&net) else { return };
    person.enters_anew("execnet python $N -c 'import sys; print(sys.platform)'");
    person.shows("it runs without a terminal");
    person.shows("java1");
    person.has_the_terminal_back();
}
