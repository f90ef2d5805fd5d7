//! The file in which a shell looks for completions.

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use super::{MARK, ZSH_FILE, script};
use crate::error::{CommandError, CommandResult, Exit};
use crate::{paths, print, text};

/// How long zsh may take to read its start files.
const START: Duration = Duration::from_secs(60);
/// How long that is waited for without a word.
const QUIET: Duration = Duration::from_secs(5);

/// Where bash-completion is, which loads the files of bash.
const BASH_COMPLETION: [&str; 5] = [
    "/usr/share/bash-completion/bash_completion",
    "/etc/bash_completion",
    "/usr/local/share/bash-completion/bash_completion",
    "/usr/local/etc/profile.d/bash_completion.sh",
    "/opt/homebrew/etc/profile.d/bash_completion.sh",
];

/// A shell's file.
struct Place {
    file: PathBuf,
    /// What to do so that the shell reads it.
    then: String,
}

/// Writes the script.
pub(super) fn install(shell: &str) -> CommandResult {
    let place = place(shell)?;
    let mut script = script(shell)?;
    if shell == "zsh" {
        script.push_str(ZSH_FILE);
    }
    if is_ours(&place.file)? == Some(false) {
        let message = format!("{} exists, and execnet did not write it", place.file.display());
        let hint = format!("move it away, or have your shell run `execnet completions {shell}` itself");
        return Err(CommandError::new(Exit::Failed, message).hint(hint));
    }
    let folder = place.file.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder).map_err(|error| CommandError::file("make the folder", folder, &error))?;
    fs::write(&place.file, script).map_err(|error| CommandError::file("write", &place.file, &error))?;
    print::say(&format!("{shell}: wrote {}", shown(&place.file)));
    print::say(&place.then);
    Ok(ExitCode::SUCCESS)
}

/// Removes it.
pub(super) fn uninstall(shell: &str) -> CommandResult {
    let file = place(shell)?.file;
    match is_ours(&file)? {
        None => print::say(&format!("{shell}: there is no {}", shown(&file))),
        Some(false) => {
            let message = format!("{} stays: execnet did not write it", file.display());
            return Err(CommandError::new(Exit::Failed, message));
        }
        Some(true) => {
            fs::remove_file(&file).map_err(|error| CommandError::file("remove", &file, &error))?;
            print::say(&format!("{shell}: removed {}", shown(&file)));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether we wrote a file; None without a file.
fn is_ours(file: &Path) -> CommandResult<Option<bool>> {
    let mut text = String::new();
    match fs::File::open(file).and_then(|file| file.take(4096).read_to_string(&mut text)) {
        Ok(_) => Ok(Some(text.contains(MARK))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == ErrorKind::InvalidData => Ok(Some(false)),
        Err(error) => Err(CommandError::file("read", file, &error)),
    }
}

fn place(shell: &str) -> CommandResult<Place> {
    match shell {
        "bash" => {
            let own = std::env::var_os("BASH_COMPLETION_USER_DIR").map(PathBuf::from);
            let folder = match own.filter(|folder| folder.is_absolute()) {
                Some(folder) => folder,
                None => paths::data_home()?.join("bash-completion"),
            };
            let file = folder.join("completions/execnet");
            let then = match BASH_COMPLETION.iter().any(|file| Path::new(file).exists()) {
                true => "new shells complete `execnet`".to_owned(),
                false => format!(
                    "bash-completion, which loads it, is not installed here: add `source {}` to ~/.bashrc",
                    execnet_proto::shell::quoted(&shown(&file))
                ),
            };
            Ok(Place { file, then })
        }
        "fish" => {
            let file = paths::config_home()?.join("fish/completions/execnet.fish");
            Ok(Place { file, then: "new shells complete `execnet`".to_owned() })
        }
        "zsh" => zsh(),
        _ => {
            let (line, file) = match shell {
                "elvish" => ("eval (execnet completions elvish | slurp)", "rc.elv"),
                _ => ("execnet completions powershell | Out-String | Invoke-Expression", "$PROFILE"),
            };
            Err(CommandError::new(Exit::Usage, format!("{shell} has no folder for completions"))
                .hint(format!("add `{line}` to {file}")))
        }
    }
}

/// The first folder of zsh's fpath that is the user's, else one that must be added to it.
fn zsh() -> CommandResult<Place> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let folders = fpath();
    let is_own = |folder: &&PathBuf| home.is_absolute() && folder.starts_with(&home) && may_write(folder);
    if let Some(folder) = folders.iter().flatten().find(is_own) {
        let then = "new shells complete `execnet`; if not, remove ~/.zcompdump".to_owned();
        return Ok(Place { file: folder.join("_execnet"), then });
    }
    let folder = paths::data_home()?.join("zsh/site-functions");
    let why = match folders {
        Some(_) => "no folder of zsh's fpath is yours",
        None => "zsh did not say its fpath",
    };
    let then = format!(
        "{why}: add `fpath=({} $fpath)` to ~/.zshrc, above compinit",
        execnet_proto::shell::quoted(&shown(&folder))
    );
    Ok(Place { file: folder.join("_execnet"), then })
}

/// The folders in which an interactive zsh looks for functions; None if it does not say.
fn fpath() -> Option<Vec<PathBuf>> {
    // start files may print, too
    const LINE: &str = "print -rl -- execnet-fpath $fpath execnet-end";
    // without job control, which would take the terminal from us
    let mut zsh = Command::new("zsh")
        .args(["+m", "-ic", LINE])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut out = zsh.stdout.take()?;
    let reader = std::thread::spawn(move || {
        let mut said = Vec::new();
        let _ = out.read_to_end(&mut said);
        String::from_utf8_lossy(&said).into_owned()
    });
    let (start, mut told) = (Instant::now(), false);
    while !reader.is_finished() {
        if start.elapsed() >= START {
            let _ = zsh.kill().and_then(|()| zsh.wait());
            return None;
        }
        if !told && start.elapsed() >= QUIET {
            told = true;
            print::say(&format!("waiting for zsh to say its fpath, at most {} s", START.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = zsh.wait();
    let said = reader.join().ok()?;
    let (_, said) = said.split_once("execnet-fpath\n")?;
    let (said, _) = said.split_once("execnet-end")?;
    Some(said.lines().map(PathBuf::from).filter(|folder| folder.is_absolute()).collect())
}

fn may_write(folder: &Path) -> bool {
    let is_folder = fs::metadata(folder).is_ok_and(|about| about.is_dir());
    is_folder && rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).is_ok()
}

fn shown(path: &Path) -> String {
    text::one_line(&path.display().to_string())
}
