//! `top` before a person: what it shows, what keys do, and that the terminal comes back.

use std::process::{Child, Command};

use execnet_testkit::{Lab, or_skip, wait_until};
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Net, SOON, piped};
use crate::person::{Person, here, is_in_the_foreground};

/// The lines of processes, the selected one or not.
fn rows(screen: &str) -> Vec<&str> {
    let lines = screen.lines().skip_while(|line| !line.contains(" NODE ")).skip(1);
    lines.take_while(|line| !line.trim().is_empty() && !line.contains("q quit")).collect()
}

/// A command that runs on a host until it is ended.
fn runs(net: &Net, host: &str, line: &str) -> Child {
    piped(net.execnet(["run", &net.name, "--node", host, "-c", line]))
}

fn end(clients: impl IntoIterator<Item = Child>) {
    for mut client in clients {
        let _ = client.kill();
        client.wait().unwrap();
    }
}

#[test]
fn a_script_stops_and_goes_on_with_it() {
    let Some((net, person)) = here(&["popen//id=a"]) else { return };
    let script = net.folder("script").join("watch");
    std::fs::write(&script, "\"$1\" top \"$2\"\necho the script goes on\n").unwrap();
    person.enters_anew(&format!("sh {} {} $N", script.display(), env!("CARGO_BIN_EXE_execnet")));
    person.shows("q quit");
    person.presses(&["C-z"]);
    person.shows_last("$");
    person.hears("Stopped", "$");
    person.enters_anew("fg");
    person.shows("q quit");
    person.types("q");
    person.shows_line("the script goes on");
    person.has_the_terminal_back();
}

#[test]
fn processes_are_shown_sorted_filtered_and_killed() {
    let Some((net, person)) = here(&["popen//id=a", "popen//id=b"]) else { return };
    person.enters_anew("execnet top $N");
    person.shows("2 hosts   0 processes   0.0 CPUs busy   0 B of memory");
    person.shows("q quit");
    let mut quiet = runs(&net, "a", "exec sleep 1001");
    let busy = runs(&net, "b", "while :; do :; done");
    person.shows("2 hosts   2 processes");
    let screen = person.waits("the busy one first", |screen| {
        let rows = rows(screen);
        screen.contains("CPU %▼")
            && rows.len() == 2
            && rows[0].contains("sh -c while")
            && rows[1].contains("sleep")
    });
    assert!(rows(&screen)[1].contains("execnet ru"), "{screen}");
    person.types("r");
    person.waits("the quiet one first", |screen| {
        screen.contains("CPU %▲") && rows(screen).first().is_some_and(|row| row.contains("sleep"))
    });
    person.types("ss");
    person.waits("by command", |screen| {
        screen.contains("COMMAND▲") && rows(screen).first().is_some_and(|row| row.contains("sh -c while"))
    });
    person.types("/SLEEP");
    person.shows("filter: SLEEP_");
    person.presses(&["Enter"]);
    let screen = person.shows("filter `SLEEP` leaves 1");
    assert_eq!(rows(&screen).len(), 1, "{screen}");
    person.types("k");
    person.waits("a question", |screen| screen.contains(" on a: sle") && screen.contains("t TERM  k KILL"));
    person.presses(&["Escape"]);
    // what follows Escape at once is one key with it
    person.waits("no question", |screen| !screen.contains("t TERM  k KILL") && screen.contains("leaves 1"));
    assert!(quiet.try_wait().unwrap().is_none());
    person.types("kt");
    person.shows("SIGTERM sent: sh -c exec sleep 1001");
    assert_eq!(quiet.wait().unwrap().code(), Some(143));
    person.presses(&["Escape"]);
    person.waits("only the busy one", |screen| {
        screen.contains("1 process ") && rows(screen).len() == 1 && screen.contains("q quit")
    });
    person.types("h");
    person.shows("CPU %: 100 is one busy processor.");
    person.types("q");
    person.waits("no help", |screen| !screen.contains("100 is one busy processor"));
    person.types("q");
    person.status(0);
    person.has_the_terminal_back();
    end([busy]);
}

#[test]
fn it_fits_into_every_window_and_gives_the_terminal_back() {
    let Some((net, person)) = here(&["popen//id=a", "popen//id=b"]) else { return };
    let client = runs(&net, "a", "exec sleep 1002");
    person.enters_anew("execnet top $N");
    person.shows("sleep 1002");
    for (width, height, shown) in [
        (200, 50, "GATEWAY"),
        (20, 5, "2 hosts"),
        (9, 2, "too small"),
        (1, 1, "t"),
        (40, 60, "1 process"),
        (80, 24, "q quit"),
    ] {
        person.ok(&["resize-window", "-x", &width.to_string(), "-y", &height.to_string()]);
        let screen = person.shows(shown);
        assert!(screen.lines().all(|line| line.chars().count() <= width), "{screen}");
    }
    person.presses(&["C-z"]);
    person.shows("Stopped");
    person.has_the_terminal_back();
    person.ok(&["resize-window", "-x", "100", "-y", "30"]);
    person.enters_anew("fg");
    person.waits("top again", |screen| screen.contains("sleep 1002") && screen.contains("GATEWAY"));
    person.ok(&["resize-window", "-x", "80", "-y", "24"]);
    person.presses(&["C-c"]);
    person.status(130);
    person.has_the_terminal_back();
    for (signal, status) in [("TERM", 143), ("HUP", 129), ("QUIT", 131), ("INT", 130)] {
        person.enters_anew("execnet top $N");
        person.shows("sleep 1002");
        // not a network whose name begins like this one's
        let command = format!("pkill -{signal} -f '[e]xecnet top {}$'", net.name);
        assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success());
        person.status(status);
        person.has_the_terminal_back();
    }
    person.enters_anew("execnet top $N | cat");
    person.shows_last("$");
    person.shows("top needs a terminal");
    person.enters_anew("execnet top $N --node c");
    person.shows("`c`");
    person.status(4);
    end([client]);
}

#[test]
fn a_host_that_goes_and_a_network_that_ends_are_told() {
    let Some(lab) = or_skip(Lab::new()) else { return };
    let host = lab.host("build1").start().unwrap();
    let net = Net::new(Some(lab));
    net.start(&[&net.spec("build1", ""), "popen//id=here"]);
    let Some(person) = Person::sits_down(&net) else { return };
    let client = runs(&net, "build1", "exec sleep 1003");
    person.enters_anew("execnet top $N");
    person.shows("sleep 1003");
    host.stop_sshd();
    host.kill_ssh();
    person.waits("the break, and what runs behind it", |screen| {
        ["build1 unreachable", "1 of 2 hosts", "sleep 1003"].iter().all(|shown| screen.contains(shown))
    });
    host.start_sshd().unwrap();
    person.waits("the host again", |screen| {
        screen.contains("2 hosts") && !screen.contains("unreachable") && screen.contains("sleep 1003")
    });
    // a daemon that stands still holds up no key
    let daemon = Pid::from_raw(net.daemon() as i32).unwrap();
    kill_process(daemon, Signal::STOP).unwrap();
    person.types("/100");
    person.shows("filter: 100_");
    person.presses(&["Enter"]);
    person.types("q");
    person.shows_last("$");
    person.enters_anew("execnet top $N");
    is_in_the_foreground(&["top", &net.name]);
    person.presses(&["C-c"]);
    person.status(130);
    kill_process(daemon, Signal::CONT).unwrap();
    person.has_the_terminal_back();
    person.enters_anew("execnet top $N");
    person.shows("sleep 1003");
    net.ok("stop", &[]);
    person.shows("the network's daemon ended");
    person.status(1);
    person.has_the_terminal_back();
    end([client]);
}

/// The numbers in the sequences that choose colours and attributes, each colour in its shortest form.
fn attributes(screen: &str) -> Vec<u32> {
    let sequences = screen.split("\x1b[").skip(1).filter_map(|rest| {
        let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != ';')?;
        rest[end..].starts_with('m').then(|| &rest[..end])
    });
    let short = |numbers: &str| numbers.replace("38;5;", "3").replace("48;5;", "4");
    let all: Vec<String> = sequences.map(short).collect();
    all.iter().flat_map(|numbers| numbers.split(';')).filter_map(|number| number.parse().ok()).collect()
}

#[test]
fn colours_vanish_on_no_background_and_can_be_turned_off() {
    let net = Net::new(None);
    assert_eq!(net.run("start", &["popen//id=a", "cmd=false//id=gone"]).status.code(), Some(6));
    let Some(person) = Person::sits_down(&net) else { return };
    let client = runs(&net, "a", "while :; do :; done");
    person.enters_anew("execnet top $N");
    let coloured = |screen: &str| {
        let found = attributes(screen);
        found.contains(&31) && found.contains(&7)
    };
    let mut screen = String::new();
    person.shows("failed");
    wait_until(SOON, "colours", || {
        screen = person.ok(&["capture-pane", "-e", "-p"]);
        coloured(&screen)
    });
    // besides attributes only red, green and the terminal's own
    let allowed = [0, 1, 2, 7, 22, 27, 31, 32, 39, 49];
    assert!(attributes(&screen).iter().all(|number| allowed.contains(number)), "{screen:?}");
    person.types("q");
    person.has_the_terminal_back();
    person.enters_anew("NO_COLOR=1 execnet top $N");
    person.waits("all of it", |screen| screen.contains("failed") && screen.contains("sh -c while"));
    let mut found = Vec::new();
    wait_until(SOON, "the selected row", || {
        screen = person.ok(&["capture-pane", "-e", "-p"]);
        found = attributes(&screen);
        found.contains(&7)
    });
    assert!(found.iter().all(|number| !(30..=37).contains(number)), "{screen:?}");
    person.types("q");
    person.has_the_terminal_back();
    person.enters_anew("LC_ALL=C execnet top $N");
    person.waits("letters that every terminal has", |screen| {
        screen.contains("CPU %v") && screen.contains("arrows select") && screen.is_ascii()
    });
    person.types("q");
    person.has_the_terminal_back();
    end([client]);
}
