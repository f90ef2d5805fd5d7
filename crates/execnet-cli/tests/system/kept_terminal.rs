//! Kept work with a terminal, and a person who leaves it and comes back (tmux).

use execnet_testkit::{program, wait_until};
use serde_json::Value;

use crate::harness::{Net, SOON};
use crate::person::{Person, here};

const SHELL: &str =
    "execnet run $N --node here --keep sh1 --env PS1='host$ ' --env PATH=$PATH -- bash --norc --noprofile";

#[track_caller]
fn state(net: &Net) -> Value {
    let usages: Value = serde_json::from_str(&net.ok("ps", &["--json"])).unwrap();
    let all = usages["processes"].as_array().unwrap();
    let kept = all.iter().map(|process| &process["kept"]).find(|kept| kept["name"] == "sh1");
    kept.map(|kept| kept["state"].clone()).unwrap_or_default()
}

#[test]
fn a_shell_is_left_and_comes_back_as_it_was() {
    let Some((net, person)) = here(&["popen//id=here"]) else { return };
    person.enters_anew(SHELL);
    person.shows("sh1 runs on here (pid ");
    person.shows_last("host$");
    person.enters("value=42; printf 'some%s\\n' thing");
    person.shows_line("something");
    person.shows_last("host$");
    person.types("~d");
    person.shows("left; sh1 on here goes on");
    person.status(0);
    person.has_the_terminal_back();
    wait_until(SOON, "it to be left", || state(&net) == "left");
    person.ok(&["resize-window", "-x", "100", "-y", "30"]);
    person.enters_anew("execnet attach $N sh1");
    // what it showed before is there again
    person.shows_line("something");
    person.shows_last("host$");
    person.enters("echo $value $(stty size)");
    person.shows_line("42 30 100");
    person.shows_last("host$");
    person.enters("exit 5");
    person.shows("sh1 on here exited with status 5");
    person.status(5);
    person.has_the_terminal_back();
    person.enters_anew("execnet wait $N sh1; echo known $?");
    person.shows_line("known 5");
}

#[test]
fn a_full_screen_program_survives_its_window_and_draws_its_screen_again() {
    let Some((net, person)) = here(&["popen//id=here"]) else { return };
    if execnet_testkit::or_skip(program("vi", "vim-tiny")).is_none() {
        return;
    }
    let text = net.folder("files").join("text");
    std::fs::write(&text, "first line\nlast line\n").unwrap();
    person.enters_anew(&SHELL.replace("bash --norc --noprofile", &format!("vi -n {}", text.display())));
    person.shows_line("first line");
    drop(person);
    wait_until(SOON, "its window to be closed", || state(&net) == "left");
    let Some(person) = Person::sits_down(&net) else { return };
    person.enters_anew("execnet attach $N sh1");
    person.shows_line("first line");
    person.shows_line("last line");
    person.types("Gocoming back");
    person.shows_line("coming back");
    person.presses(&["Escape"]);
    person.types(":wq");
    person.presses(&["Enter"]);
    person.status(0);
    person.has_the_terminal_back();
    assert_eq!(std::fs::read_to_string(text).unwrap(), "first line\nlast line\ncoming back\n");
}

#[test]
fn another_window_takes_over_and_a_reader_sends_nothing() {
    let Some((net, person)) = here(&["popen//id=here"]) else { return };
    person.enters_anew(SHELL);
    person.shows_last("host$");
    person.enters("printf '\\033]2;stolen\\007%s\\n' old");
    person.shows_line("old");
    person.shows_last("host$");
    let Some(other) = Person::sits_down(&net) else { return };
    let title = |person: &Person| person.ok(&["display-message", "-p", "#{pane_title}"]);
    other.enters_anew("execnet attach $N sh1 --read-only");
    other.shows_line("old");
    other.shows_last("host$");
    assert_eq!((title(&person).trim(), title(&other).trim() == "stolen"), ("stolen", false));
    other.types("echo nobody hears this");
    other.presses(&["Enter"]);
    person.enters("printf 'from %s\\n' here");
    person.shows_line("from here");
    other.shows_line("from here");
    assert!(!person.screen().contains("nobody hears"), "{}", person.screen());
    other.presses(&["C-c"]);
    other.status(0);
    other.has_the_terminal_back();
    other.enters_anew("execnet attach $N sh1");
    other.shows("taken over from execnet run (");
    person.shows("taken over by execnet attach (");
    person.status(6);
    person.has_the_terminal_back();
    other.shows_last("host$");
    other.enters("exit");
    other.status(0);
}

#[test]
fn without_a_terminal_it_leaves_ours_alone_and_goes_on_when_its_command_stops() {
    let Some((net, person)) = here(&["popen//id=here"]) else { return };
    let run = "execnet run $N --node here --keep sh1 -T";
    person.enters_anew(&format!("{run} -n -- sh -c 'sleep 1; echo did $((6 * 7))' & wait; echo done"));
    person.shows_line("did 42");
    person.shows_line("done");
    let file = net.folder("files").join("count");
    let counts = "while sleep 0.05; do echo more >>$0; done";
    person.enters_anew(&format!("{run} -- sh -c '{counts}' {}", file.display()));
    let size = || std::fs::metadata(&file).map_or(0, |file| file.len());
    wait_until(SOON, "its file", || size() > 0);
    person.presses(&["C-z"]);
    person.shows("Stopped");
    let before = size();
    wait_until(SOON, "it to go on", || size() > before + 20);
    person.enters_anew("fg");
    person.shows("execnet");
    person.enters("~d");
    person.shows("left; sh1 on here goes on");
    let before = size();
    wait_until(SOON, "it to go on", || size() > before + 20);
    net.ok("kill", &["sh1"]);
}
