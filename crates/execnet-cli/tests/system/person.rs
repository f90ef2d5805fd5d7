//! A person at a terminal (tmux), as far as tests need one.

use std::process::Command;

use execnet_testkit::{or_skip, program};

use crate::harness::{Net, SOON};

/// A terminal with a shell in it, and the person before it.
pub(crate) struct Person {
    server: String,
}

impl Person {
    /// None if there is no tmux here.
    pub(crate) fn sits_down(net: &Net) -> Option<Self> {
        or_skip(program("tmux", "tmux"))?;
        let person = Self { server: format!("execnet-{}", net.name) };
        let mut tmux = person.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24"]);
        for (name, value) in net.execnet(["list"]).get_envs() {
            match value {
                Some(value) => tmux.env(name, value),
                None => tmux.env_remove(name),
            };
        }
        let shell = "env --default-signal 'PS1=$ ' bash --norc --noprofile";
        let status = tmux.env("LC_ALL", "C.UTF-8").env_remove("TMUX").arg(shell).status();
        assert!(status.unwrap().success());
        person.shows("$");
        person.enters(&format!(
            "execnet() {{ {} \"$@\"; }}; N={}; clear",
            env!("CARGO_BIN_EXE_execnet"),
            net.name
        ));
        person.shows_last("$");
        Some(person)
    }

    pub(crate) fn tmux(&self, args: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        command.args(["-u", "-L", &self.server]).args(args);
        command
    }

    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let output = self.tmux(args).output().unwrap();
        assert!(output.status.success(), "tmux {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn types(&self, text: &str) {
        self.ok(&["send-keys", "-l", text]);
    }

    /// Presses keys, by tmux's names for them.
    pub(crate) fn presses(&self, keys: &[&str]) {
        self.ok(&[&["send-keys"], keys].concat());
    }

    pub(crate) fn enters(&self, line: &str) {
        self.types(line);
        self.presses(&["Enter"]);
    }

    pub(crate) fn screen(&self) -> String {
        self.ok(&["capture-pane", "-p"])
    }

    #[track_caller]
    pub(crate) fn waits(&self, what: &str, shown: impl Fn(&str) -> bool) -> String {
        let begun = std::time::Instant::now();
        loop {
            let screen = self.screen();
            if shown(&screen) {
                return screen;
            }
            assert!(begun.elapsed() < SOON, "{what} is not shown, but\n{screen}");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }

    #[track_caller]
    pub(crate) fn shows(&self, what: &str) -> String {
        self.waits(what, |screen| screen.contains(what))
    }

    /// Waits until the last line is this one.
    #[track_caller]
    pub(crate) fn shows_last(&self, what: &str) -> String {
        self.waits(what, |screen| {
            screen.trim_end().lines().last().is_some_and(|last| last.trim_end() == what)
        })
    }

    /// The shell has its terminal back, as it was.
    #[track_caller]
    pub(crate) fn has_the_terminal_back(&self) {
        self.shows_last("$");
        let count = "tr ' ;' '\\n\\n' | grep -cx -e icanon -e echo -e isig -e opost -e icrnl";
        self.enters(&format!("clear; echo modes=$(stty -a | {count})"));
        self.shows("modes=5");
        let modes = "#{alternate_on} #{cursor_flag} #{mouse_any_flag} #{keypad_cursor_flag} #{wrap_flag}";
        assert_eq!(self.ok(&["display-message", "-p", modes]).trim(), "0 1 0 0 1");
        self.enters("clear");
        self.shows_last("$");
    }

    /// Presses Ctrl-C until this is the last line: the first one may come before there is something to end.
    pub(crate) fn interrupts(&self, last: &str) {
        self.waits(last, |screen| {
            let is_shown = screen.trim_end().lines().last().is_some_and(|line| line.trim_end() == last);
            if !is_shown {
                self.presses(&["C-c"]);
            }
            is_shown
        });
    }

    pub(crate) fn status(&self, status: u8) {
        self.enters("echo status=$?");
        self.shows(&format!("status={status}"));
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "the terminal showed\n{}",
                self.tmux(&["capture-pane", "-p"]).output().map_or_else(
                    |error| error.to_string(),
                    |output| String::from_utf8_lossy(&output.stdout).into_owned(),
                )
            );
        }
        let _ = self.tmux(&["kill-server"]).output();
    }
}

/// A network of this machine, and a person.
pub(crate) fn here(specs: &[&str]) -> Option<(Net, Person)> {
    let net = Net::new(None);
    net.start(specs);
    let person = Person::sits_down(&net)?;
    Some((net, person))
}
