//! Files that git keeps although its rules ignore them.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::environment::{run, which};
use super::watch::Watch;

/// Without an answer, the rules alone decide.
const LIMIT: Duration = Duration::from_secs(10);

/// Those beneath `root`, in the working tree whose top is `top`.
pub(super) fn tracked(top: &Path, root: &Path, watch: &mut Watch) -> HashSet<PathBuf> {
    watch.path(&top.join(".git/index"));
    let Some(git) = which(Path::new("git"), std::env::var_os("PATH")) else { return HashSet::new() };
    let mut command = Command::new(git);
    command.arg("-C").arg(root);
    command.args(["ls-files", "-z", "--cached", "--ignored", "--exclude-standard"]);
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"] {
        // set within a hook, for another tree
        command.env_remove(variable);
    }
    let Ok(ran) = run(command, Vec::new(), LIMIT) else { return HashSet::new() };
    if !ran.status.success() {
        return HashSet::new();
    }
    let names = ran.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names.map(|name| root.join(OsStr::from_bytes(name))).collect()
}
