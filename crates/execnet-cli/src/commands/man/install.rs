//! Where `man` finds the pages.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use super::page::MARK;
use crate::error::{CommandError, CommandResult, Exit};
use crate::{paths, print, text};

/// Writes the pages, in place of those of an earlier release.
pub(super) fn install(pages: &[(String, String)], to: Option<PathBuf>) -> CommandResult {
    let is_given = to.is_some();
    let (folder, outcome) = first(to, |folder| {
        fs::create_dir_all(folder)?;
        let old = ours(folder)?;
        pages.iter().try_for_each(|(name, page)| fs::write(folder.join(name), page))?;
        let gone = old.iter().filter(|old| !pages.iter().any(|(name, _)| old.ends_with(name)));
        gone.for_each(|old| drop(fs::remove_file(old)));
        Ok(())
    })?;
    outcome.map_err(|error| CommandError::file("write to", &folder, &error))?;
    let shown = text::one_line(&folder.display().to_string());
    print::say(&format!("wrote {} pages to {shown}", pages.len()));
    if !is_given && !is_searched(&folder) {
        let base = folder.parent().unwrap_or(&folder).display().to_string();
        let line = format!("export MANPATH={}:", execnet_proto::shell::quoted(&base));
        print::say(&format!("`man` does not look there yet: add `{}` to ~/.profile", text::one_line(&line)));
    }
    Ok(ExitCode::SUCCESS)
}

/// Removes the pages.
pub(super) fn uninstall(to: Option<PathBuf>) -> CommandResult {
    let mut removed = 0;
    for folder in to.map_or_else(usual, |to| Ok(vec![to]))? {
        for page in ours(&folder).map_err(|error| CommandError::file("read", &folder, &error))? {
            fs::remove_file(&page).map_err(|error| CommandError::file("remove", &page, &error))?;
            removed += 1;
        }
    }
    print::say(&format!("removed {removed} pages"));
    Ok(ExitCode::SUCCESS)
}

/// Beside the program if that is in a folder `bin`, where `man` looks because of PATH; then the account's.
fn usual() -> CommandResult<Vec<PathBuf>> {
    let program = std::env::current_exe().and_then(fs::canonicalize).ok();
    let bin = program.as_deref().and_then(Path::parent).filter(|bin| bin.ends_with("bin"));
    let beside = bin.and_then(Path::parent).map(|base| base.join("share/man/man1"));
    Ok(beside.into_iter().chain([paths::data_home()?.join("man/man1")]).collect())
}

/// Does it in the first folder in which we may. Gives the folder.
fn first(
    to: Option<PathBuf>,
    act: impl Fn(&Path) -> io::Result<()>,
) -> CommandResult<(PathBuf, io::Result<()>)> {
    let mut folders = to.map_or_else(usual, |to| Ok(vec![to]))?.into_iter().peekable();
    while let Some(folder) = folders.next() {
        let outcome = act(&folder);
        let is_closed = |error: &io::Error| {
            matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
        };
        if folders.peek().is_none() || !outcome.as_ref().is_err_and(is_closed) {
            return Ok((folder, outcome));
        }
    }
    Err(CommandError::new(Exit::Failed, "there is no folder for the pages"))
}

/// Our pages in a folder.
fn ours(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let paths = entries.flatten().map(|entry| entry.path());
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let named = name.starts_with("execnet") && name.ends_with(".1");
        named && fs::read_to_string(path).is_ok_and(|text| text.starts_with(MARK))
    };
    Ok(paths.filter(is_ours).collect())
}

/// Whether `man` finds a page in this folder; true if there is no `man` to ask.
fn is_searched(folder: &Path) -> bool {
    let found = Command::new("man").args(["-aw", "execnet"]).stderr(Stdio::null()).output();
    let Ok(found) = found else { return true };
    let real = |path: &Path| path.canonicalize().ok();
    let found = String::from_utf8_lossy(&found.stdout).into_owned();
    found.lines().any(|page| Path::new(page).parent().is_some_and(|parent| real(parent) == real(folder)))
}
