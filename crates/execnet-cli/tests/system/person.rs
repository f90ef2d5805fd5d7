//! A person at a terminal (tmux), as far as tests need one.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use execnet_testkit::{or_skip, program, wait_until};

use crate::harness::{Net, SOON, text};

/// A terminal with a shell in it, and the person before it.
pub(crate) struct Person {
    server: String,
}

impl Person {
    /// None if there is no tmux here.
    pub(crate) fn sits_down(net: &Net) -> Option<Self> {
        or_skip(program("tmux", "tmux"))?;
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let person = Self { server: format!("execnet-{}-{count}", net.name) };
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
        person.shows_last("$");
        person.enters_anew(&format!("execnet() {{ {} \"$@\"; }}", env!("CARGO_BIN_EXE_execnet")));
        person.shows_last("$");
        person.enters_anew(&format!("N={}", net.name));
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

    /// Types a line, and presses Enter when the screen shows it at its end. From then on a prompt in the last
    /// line is a new one.
    #[track_caller]
    pub(crate) fn enters(&self, line: &str) {
        let typed = letters(line);
        self.types(line);
        self.waits(&format!("the typed `{line}`"), |screen| letters(screen).ends_with(&typed));
        self.presses(&["Enter"]);
    }

    /// Enters a line of a shell, and waits until the screen is empty before it: what is shown from then on is
    /// what came of it.
    #[track_caller]
    pub(crate) fn enters_anew(&self, line: &str) {
        let line = format!("clear; {line}");
        self.enters(&line);
        self.waits("an empty screen", |screen| !letters(screen).contains(&letters(&line)));
    }

    /// Lets a shell show its prompt again until it has told this before one, as of its jobs.
    #[track_caller]
    pub(crate) fn hears(&self, what: &str, prompt: &str) {
        wait_until(SOON, what, || {
            self.enters(":");
            self.shows_last(prompt).contains(what)
        });
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

    /// Waits until a line is this one.
    #[track_caller]
    pub(crate) fn shows_line(&self, what: &str) -> String {
        self.waits(what, |screen| screen.lines().any(|line| line.trim_end() == what))
    }

    /// Waits until what has the terminal takes Ctrl-C as a key.
    #[track_caller]
    pub(crate) fn is_raw(&self) {
        let terminal = self.ok(&["display-message", "-p", "#{pane_tty}"]);
        wait_until(SOON, "raw mode", || {
            let modes = Command::new("stty").args(["-F", terminal.trim(), "-a"]).output().unwrap();
            assert!(modes.status.success(), "{}", text(&modes));
            String::from_utf8_lossy(&modes.stdout).split_whitespace().any(|mode| mode == "-isig")
        });
    }

    /// The shell has its terminal back, as it was.
    #[track_caller]
    pub(crate) fn has_the_terminal_back(&self) {
        self.shows_last("$");
        let count = "tr ' ;' '\\n\\n' | grep -cx -e icanon -e echo -e isig -e opost -e icrnl";
        self.enters_anew(&format!("echo modes=$(stty -a | {count})"));
        self.shows_last("$");
        self.shows_line("modes=5");
        let modes = "#{alternate_on} #{cursor_flag} #{mouse_any_flag} #{keypad_cursor_flag} #{wrap_flag}";
        assert_eq!(self.ok(&["display-message", "-p", modes]).trim(), "0 1 0 0 1");
    }

    /// The last command's exit status, as the shell tells it.
    #[track_caller]
    pub(crate) fn status(&self, status: u8) {
        self.shows_last("$");
        self.enters("echo status=$?");
        let screen = self.shows_last("$");
        let told = screen.lines().rev().find_map(|line| line.trim_end().strip_prefix("status="));
        assert_eq!(told, Some(status.to_string().as_str()), "{screen}");
    }
}

/// A text without its spaces and line ends: the screen breaks lines where it must.
fn letters(text: &str) -> String {
    text.split_whitespace().collect()
}

/// Waits until a process that was started with these words, the last ones of its argv, has its terminal and
/// runs.
#[track_caller]
pub(crate) fn is_in_the_foreground(words: &[&str]) {
    wait_until(SOON, &format!("{words:?} to have the terminal"), || {
        std::fs::read_dir("/proc").unwrap().flatten().any(|process| {
            let read = |name: &str| std::fs::read(process.path().join(name)).unwrap_or_default();
            let argv = read("cmdline");
            let argv: Vec<&[u8]> =
                argv.strip_suffix(b"\0").unwrap_or_default().split(|byte| *byte == 0).collect();
            if !argv.ends_with(&words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>()) {
                return false;
            }
            let stat = String::from_utf8_lossy(&read("stat")).into_owned();
            let Some((_, fields)) = stat.rsplit_once(')') else { return false };
            // state, parent, group, session, terminal, the terminal's group
            let fields: Vec<&str> = fields.split_whitespace().collect();
            fields[0] != "T" && fields[2] == fields[5]
        })
    });
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
