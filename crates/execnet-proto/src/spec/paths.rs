//! Relative paths in a host spec, which make sense only in the folder where the spec was written.

use super::{HostSpec, Transport, words};
use crate::shell;

impl HostSpec {
    /// The same host, with its relative paths on this machine made absolute from `folder`, an absolute path
    /// without links. These are `ssh_config=`, a `cmd=` that is a path, and the `python=` of `popen` that is
    /// a path. A command without a slash is looked up in `PATH` and stays; so do `~` and, with `via=`, paths
    /// on another host.
    #[must_use]
    pub fn seen_from(mut self, folder: &str) -> HostSpec {
        if self.via.is_some() {
            return self;
        }
        if let Some(path) = &mut self.ssh_config {
            make_absolute(path, folder);
        }
        match &mut self.transport {
            Transport::Ssh { .. } => {}
            Transport::Cmd(argv) => {
                make_command_absolute(argv, folder);
            }
            Transport::Popen => {
                let split = self.python.as_deref().and_then(shell::split);
                if let Some(mut argv) = split
                    && make_command_absolute(&mut argv, folder)
                {
                    self.python = Some(words::join(&argv));
                }
            }
        }
        self
    }
}

/// Returns whether it was relative.
fn make_command_absolute(argv: &mut [String], folder: &str) -> bool {
    argv.first_mut().is_some_and(|command| {
        let (before, is_path) = command.split_once('/').map_or(("", false), |(before, _)| (before, true));
        // a variable, or something that a shell makes a path of
        is_path && !before.contains(['=', '$', '`']) && make_absolute(command, folder)
    })
}

/// Returns whether it was relative.
fn make_absolute(path: &mut String, folder: &str) -> bool {
    if path.starts_with(['/', '~']) {
        return false;
    }
    let (mut folder, mut rest) = (folder.trim_end_matches('/'), path.as_str());
    loop {
        if let Some(inner) = rest.strip_prefix("./") {
            rest = inner.trim_start_matches('/');
        } else if let Some(inner) = rest.strip_prefix("../") {
            rest = inner.trim_start_matches('/');
            folder = folder.rsplit_once('/').map_or("", |(above, _)| above);
        } else {
            break;
        }
    }
    *path = format!("{folder}/{rest}");
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(spec: &str, folder: &str) -> String {
        let written: HostSpec = spec.parse().unwrap();
        let id = written.id.clone();
        let host = written.seen_from(folder);
        assert_eq!(host.id, id);
        let text = host.to_string();
        assert_eq!(text.parse::<HostSpec>().unwrap(), host, "{text}");
        assert_eq!(host.clone().seen_from("/elsewhere"), host, "once is enough");
        text
    }

    #[test]
    fn relative_paths_of_this_machine_become_absolute() {
        for (spec, absolute) in [
            ("ssh=h//ssh_config=relcfg", "ssh=h//ssh_config=/w/relcfg"),
            ("ssh=h//ssh_config=././a/../cfg", "ssh=h//ssh_config=/w/a/../cfg"),
            ("cmd=./tool -x ./y", "cmd=/w/tool -x ./y"),
            ("cmd='../my tool'", "cmd='/my tool'//id=t"),
            ("popen//python=.././../x", "popen//python=/x"),
            ("popen//python=./x", "popen//python=/w/x"),
            ("popen//python=venv/bin/python -X dev", "popen//python=/w/venv/bin/python -X dev"),
        ] {
            let spec = if absolute.ends_with("//id=t") { format!("{spec}//id=t") } else { spec.to_owned() };
            assert_eq!(seen(&spec, "/w"), absolute);
        }
        assert_eq!(seen("ssh=h//ssh_config=cfg", "/"), "ssh=h//ssh_config=/cfg");
        assert_eq!(seen("popen//python=./x -E", "/my dir"), "popen//python='/my dir/x' -E");
    }

    #[test]
    fn absolute_paths_commands_and_paths_elsewhere_stay() {
        for spec in [
            "ssh=h//ssh_config=/etc/cfg",
            "ssh=h//ssh_config=~/cfg",
            "ssh=h//python=./x",
            "ssh=h//via=g//ssh_config=cfg",
            "cmd=docker exec -i web ./python3",
            "cmd=~/tool",
            "cmd=./tool//via=g",
            "cmd=docker exec//python=./x",
            "popen//python=python3",
            "popen//python=*",
            "popen//python=~/x",
            "popen//python=env A=b ./x",
            "popen//python=A=./b ./x",
            "popen//python='$HOME/x'",
            "popen//python=./x//via=g//id=p",
            "popen//chdir=sub",
        ] {
            assert_eq!(seen(spec, "/w"), spec);
        }
    }
}
