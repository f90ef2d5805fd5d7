//! uv as a command: which one, and what its failures mean.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::super::environment::{Installed, run, which};

/// Downloads may be large; a server that says nothing must not keep a gateway forever.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// The most of uv's explanation that an error quotes.
const MOST: usize = 1200;

/// The command.
pub(super) struct Uv(Vec<PathBuf>);

/// Why it did not do what it was told.
pub(super) enum Failed {
    /// What is wanted cannot be had together, or not at all: uv's explanation.
    NoSolution(String),
    /// uv itself is what is wrong: the end of a sentence, and what helps.
    Unusable { what: String, help: String },
    /// Anything else: no network, no disk, a uv that is too old.
    Other(String),
}

impl Uv {
    /// The environment's own, else the one in PATH, else the environment's as a module.
    pub(super) fn find(here: &Installed, path: Option<OsString>) -> Option<Self> {
        let python = PathBuf::from(&here.executable);
        let beside = python.parent().map(|folder| folder.join("uv")).filter(|path| path.is_file());
        if let Some(uv) = beside.or_else(|| which(Path::new("uv"), path)) {
            return Some(Self(vec![uv]));
        }
        here.find("uv").map(|_| Self(vec![python, "-m".into(), "uv".into()]))
    }

    pub(super) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.0[0]);
        command.args(&self.0[1..]).args(args).args(["--no-progress", "--color", "never"]);
        command.env("UV_PYTHON_DOWNLOADS", "never").env_remove("VIRTUAL_ENV").env_remove("UV_SYSTEM_PYTHON");
        command
    }

    /// Runs one of its commands, and returns what it prints.
    pub(super) fn run(&self, command: Command) -> Result<String, Failed> {
        let ran = run(command, Vec::new(), LIMIT).map_err(|error| Failed::Other(format!("uv: {error}")))?;
        if ran.status.success() {
            let said = [&ran.stdout[..], &ran.stderr].concat();
            return Ok(String::from_utf8_lossy(&said).into_owned());
        }
        let said = String::from_utf8_lossy(&ran.stderr);
        if let [python, ..] = &self.0[..]
            && self.0.len() > 1
            && (said.contains("Traceback (most recent") || said.contains("No module named"))
        {
            let python = python.display();
            return Err(Failed::Unusable {
                what: format!("the uv that is installed in {python} has no program"),
                help: format!("install it anew: {python} -m pip install --force-reinstall uv"),
            });
        }
        if said.contains("network was disabled") {
            return Err(Failed::Unusable {
                what: "uv is offline, and its cache has nothing that fits".to_owned(),
                help: "let it go online once, without UV_OFFLINE or `offline` in its settings".to_owned(),
            });
        }
        let text = explanation(&said);
        if text.is_empty() {
            return Err(Failed::Other(format!("uv: {}", ran.status)));
        }
        if said.contains("unexpected argument") || said.contains("invalid value") {
            return Err(Failed::Other(format!("{text} (a newer uv knows it: pip install --upgrade uv)")));
        }
        // without a network, nothing can be said of what there is
        let no_solution = said.contains("No solution found") && !said.contains("Failed to fetch");
        Err(if no_solution { Failed::NoSolution(text) } else { Failed::Other(text) })
    }
}

/// What uv says, without what it draws around it.
fn explanation(said: &str) -> String {
    let mut text = String::new();
    for line in said.lines() {
        let line = line.trim_matches(|char: char| char.is_whitespace() || "×╰─▶├│".contains(char));
        let line = line.strip_prefix("error: ").or_else(|| line.strip_prefix("cause: ")).unwrap_or(line);
        let idle = ["Using ", "Resolved ", "warning: ", "hint: ", "Prepared ", "Downloading "];
        if line.is_empty() || idle.iter().any(|start| line.starts_with(start)) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(if text.ends_with(['.', ':', ',']) { " " } else { ": " });
        }
        text.push_str(line);
    }
    let text = text.replace("No solution found when resolving dependencies: ", "");
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.trim_end_matches('.').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_without_its_program_is_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let (root, module) = (folder.path(), folder.path().join("uv"));
        std::fs::create_dir(&module).unwrap();
        let uv = Uv(vec!["python3".into(), "-m".into(), "uv".into()]);
        let run = || {
            let mut command = uv.command(&["pip"]);
            command.env("PYTHONPATH", root);
            uv.run(command)
        };
        let told = || match run() {
            Err(Failed::Unusable { what, help }) => format!("{what}; {help}"),
            ran => panic!("{}", ran.unwrap_or_else(|_| "another failure".into())),
        };
        let expected = "the uv that is installed in python3 has no program; install it anew: python3 -m pip \
                        install --force-reinstall uv";
        std::fs::write(module.join("__init__.py"), "").unwrap();
        assert_eq!(told(), expected);
        let main = module.join("__main__.py");
        std::fs::write(&main, "raise FileNotFoundError('bin/uv')\n").unwrap();
        assert_eq!(told(), expected);
        // it has one, which fails
        std::fs::write(&main, "import sys\nsys.exit('error: no disk')\n").unwrap();
        assert!(matches!(run(), Err(Failed::Other(text)) if text == "no disk"));
    }

    #[test]
    fn an_explanation_is_one_sentence() {
        let said = "Using CPython 3.13.0 interpreter at: v/bin/python\n\
            error: No solution found when resolving dependencies\n  \
            cause: Because x==1 has no usable wheels and you require x==1,\n         \
            we can conclude that x cannot be used.\n\nhint: Wheels are required for `x`\n";
        let expected = "Because x==1 has no usable wheels and you require x==1, we can conclude that x \
            cannot be used";
        assert_eq!(explanation(said), expected);
        let older = "  × No solution found when resolving dependencies:\n  ╰─▶ Because x is not there, no.\n";
        assert_eq!(explanation(older), "Because x is not there, no");
    }
}
