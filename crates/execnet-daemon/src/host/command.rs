//! Command lines that start a host's Python, here or on the host in front of it.
//!
//! Starts nothing itself. Secrets are never in here: every user can see arguments.

use execnet_proto::spec::{HostSpec, Transport};

use super::bootstrap::{self, BOOT};

/// ssh carries one link and nothing else, in a connection of its own.
const SSH: [&str; 12] = [
    "ssh",
    "-T",
    "-S",
    "none",
    "-o",
    "ControlMaster=no",
    "-o",
    "ClearAllForwardings=yes",
    "-o",
    "RemoteCommand=none",
    "-o",
    "PermitLocalCommand=no",
];

/// The command whose stdin and stdout become the host's link. `batch`: ssh has nobody to ask.
pub(crate) fn link(spec: &HostSpec, batch: bool) -> Vec<String> {
    let script = bootstrap::script(&bootstrap::candidates(spec));
    match &spec.transport {
        Transport::Popen => vec!["sh".into(), "-c".into(), script],
        Transport::Cmd(argv) => {
            let program = argv.first().map(|program| at_home(spec, program));
            let rest = argv.iter().skip(1).cloned();
            program.into_iter().chain(rest).chain(["-ES", "-c", BOOT].map(String::from)).collect()
        }
        Transport::Ssh { options, destination } => {
            let mut argv: Vec<String> = SSH.map(String::from).into();
            if batch {
                argv.extend(["-o", "BatchMode=yes"].map(String::from));
            }
            if let Some(config) = &spec.ssh_config {
                argv.extend(["-F".into(), at_home(spec, config)]);
            }
            argv.extend(options.iter().cloned());
            // behind the spec's `-v`, `-q` or `-o LogLevel=`: the first one counts
            argv.extend(["-o", "LogLevel=INFO"].map(String::from));
            argv.push(destination.clone());
            // it replaces the login shell, so that it leads the login's process group and can end it
            argv.push(format!("exec sh -c '{script}'"));
            argv
        }
    }
}

/// Replaces `~` in a path on this machine. For a host behind another one, the agent in front replaces it.
fn at_home(spec: &HostSpec, path: &str) -> String {
    let home = std::env::var("HOME").unwrap_or_default();
    match path.strip_prefix('~').filter(|rest| rest.is_empty() || rest.starts_with('/')) {
        Some(rest) if spec.via.is_none() && !home.is_empty() => {
            format!("{}{rest}", home.trim_end_matches('/'))
        }
        _ => path.to_owned(),
    }
}

/// Names the sshd of a host. Hosts with the same one share its few unfinished logins.
pub(crate) fn server(spec: &HostSpec) -> String {
    let via = spec.via.as_deref().unwrap_or("");
    match &spec.transport {
        Transport::Popen => format!("{via}\0popen"),
        Transport::Cmd(argv) => format!("{via}\0cmd\0{}", argv[0]),
        Transport::Ssh { options, destination } => {
            let host = destination.rsplit_once('@').map_or(destination.as_str(), |(_, host)| host);
            let config = spec.ssh_config.as_deref().unwrap_or("");
            format!("{via}\0ssh\0{host}\0{}\0{config}", options.join("\0"))
        }
    }
}

/// The program that starts the link, for messages.
pub(crate) fn program(spec: &HostSpec) -> &str {
    match &spec.transport {
        Transport::Popen => "sh",
        Transport::Ssh { .. } => "ssh",
        Transport::Cmd(argv) => &argv[0],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> HostSpec {
        text.parse().unwrap()
    }

    #[test]
    fn ssh_gets_our_options_then_the_specs_then_the_host() {
        let argv = link(&spec("ssh=-p 2222 ann@build1//ssh_config=/lab/config"), true);
        let line = argv[..argv.len() - 1].join(" ");
        assert_eq!(
            line,
            "ssh -T -S none -o ControlMaster=no -o ClearAllForwardings=yes -o RemoteCommand=none -o \
             PermitLocalCommand=no -o BatchMode=yes \
             -F /lab/config -p 2222 -o LogLevel=INFO ann@build1"
        );
        let script = argv.last().unwrap();
        assert!(script.starts_with("exec sh -c '") && script.ends_with('\''));
        assert_eq!(script.matches('\'').count(), 2);
        assert!(!link(&spec("ssh=build1"), false).contains(&"BatchMode=yes".to_owned()));
    }

    #[test]
    fn a_tilde_is_the_home_here_or_that_of_the_host_in_front() {
        let home = std::env::var("HOME").unwrap();
        assert_eq!(link(&spec("cmd=~/tool ~/x"), false)[..2], [format!("{home}/tool"), "~/x".into()]);
        assert!(link(&spec("ssh=h//ssh_config=~/cfg"), false).contains(&format!("{home}/cfg")));
        assert_eq!(link(&spec("cmd=~/tool//via=g"), false)[0], "~/tool");
        assert_eq!(link(&spec("cmd=~ann/tool"), false)[0], "~ann/tool");
    }

    #[test]
    fn a_command_gets_python_options() {
        let argv = link(&spec("cmd=docker exec -i web python3"), false);
        assert_eq!(argv[..6], ["docker", "exec", "-i", "web", "python3", "-ES"]);
        assert_eq!(argv[6..], ["-c", BOOT]);
    }

    #[test]
    fn users_of_one_server_are_counted_together() {
        assert_eq!(server(&spec("ssh=ann@build1")), server(&spec("ssh=bob@build1//id=b")));
        assert_ne!(server(&spec("ssh=build1")), server(&spec("ssh=-p 2222 build1")));
        assert_ne!(server(&spec("ssh=build1")), server(&spec("ssh=build1//via=x")));
    }
}
