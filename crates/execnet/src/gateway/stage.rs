//! The code and command that start an interpreter.

use std::path::PathBuf;

/// The first stage, as a Python string literal.
const STAGE: &str = include_str!(concat!(env!("OUT_DIR"), "/stage.txt"));

/// An argument that says that the interpreter may have to wait while its host changes.
pub(super) const AHEAD: &str = "ahead";

/// Starts another interpreter in place of a node's own. Does not work on Jython.
pub(super) const OTHER: &str = "\
import sys
sys.path[:not sys.path[0]]=[]
import os
try:
    os.execvp(os.path.expanduser(sys.argv[1]),sys.argv[1:])
except Exception:
    why=sys.exc_info()[1]
    why=getattr(why,'strerror',None) or why
    sys.stderr.write('execnet: cannot start the interpreter `%s`: %s\\n'%(sys.argv[1],why))
    sys.exit(94)
";

/// What the interpreter executes, with globals of its own. A child of this program leads a session and closes
/// inherited files; the agent already did that for a node's interpreter.
pub(super) fn stage(inherited: Option<&[u32]>) -> String {
    let files = inherited.map(|files| files.iter().map(|file| format!("{file},")).collect::<String>());
    let inherited = files.map_or("None".to_owned(), |files| format!("({files})"));
    format!("exec({STAGE},{{\"__name__\":\"__main__\",\"inherited\":{inherited}}})")
}

/// Finds the first stage in a program's output.
pub(super) fn echo(noise: &str) -> Option<usize> {
    const ENOUGH: std::ops::Range<usize> = 1..24;
    noise.find(&STAGE[ENOUGH])
}

/// Files of this program, besides the standard three, that its children inherit, such as locks and pipes
/// whose end somebody waits for. None if the system does not list them.
pub(super) fn inheritable() -> Vec<u32> {
    const CLOEXEC: u32 = rustix::fs::OFlags::CLOEXEC.bits();
    let Ok(entries) = std::fs::read_dir("/proc/self/fdinfo") else { return Vec::new() };
    let inherited = |entry: std::fs::DirEntry| {
        let file = entry.file_name().to_str()?.parse::<u32>().ok().filter(|file| *file > 2)?;
        let info = std::fs::read_to_string(entry.path()).ok()?;
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
        let flags = u32::from_str_radix(flags.trim(), 8).ok()?;
        (flags & CLOEXEC == 0).then_some(file)
    };
    entries.flatten().filter_map(inherited).collect()
}

/// The first of `python3` and `python` that is in `PATH`.
pub(super) fn default_python() -> String {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there =
        |name: &&str| std::env::split_paths(&path).any(|folder: PathBuf| folder.join(name).is_file());
    ["python3", "python"].into_iter().find(is_there).unwrap_or("python3").to_owned()
}
