//! How the use of processes and hosts is written, in `ps` and `top`.

use execnet_proto::control::{HostState, HostUsage, KeptState, KeptStatus, ProcessUsage};
use execnet_proto::signal::Signal;

use crate::text::{duration, one_line, size, span};

/// How many hex digits of an id people see, and type.
pub(crate) const SHOWN: usize = 8;

/// What stands for a number that nobody knows.
const UNKNOWN: &str = "-";

/// `1 process`, `2 processes`.
pub(crate) fn counted(count: usize, thing: &str) -> String {
    let plural = if thing.ends_with('s') { "es" } else { "s" };
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}{plural}") }
}

/// The digits that people see.
pub(crate) fn short(id: &str) -> String {
    id.chars().take(SHOWN).collect()
}

/// The node, or the host if it is a command of the host.
pub(crate) fn place(process: &ProcessUsage) -> String {
    one_line(if process.node.is_empty() { &process.host } else { &process.node })
}

/// `pytest (4242)`.
pub(crate) fn client(program: &str, pid: Option<u32>) -> String {
    match (one_line(program), pid) {
        (program, Some(pid)) if program.is_empty() => pid.to_string(),
        (program, Some(pid)) => format!("{program} ({pid})"),
        (program, None) => program,
    }
}

/// The command without the folder of its program, and without the code that makes an interpreter a gateway.
pub(crate) fn command(process: &ProcessUsage) -> String {
    // its host tells nothing of the program that made what is kept
    let is_gateway = process.kept.is_some() && process.command.contains(" -c exec(\"import");
    shown(&process.command, if is_gateway { label(process) } else { &process.gateway })
}

/// What its program calls it, or else the name under which it is kept.
pub(crate) fn label(process: &ProcessUsage) -> &str {
    match &process.kept {
        Some(kept) if process.gateway.is_empty() => &kept.name,
        _ => &process.gateway,
    }
}

/// The same for a command, and the gateway's id if it is one.
pub(crate) fn shown(command: &str, gateway: &str) -> String {
    let mut whole = one_line(command);
    if whole.starts_with('-') {
        // before its host tells how the interpreter is called
        whole.insert_str(0, "python ");
    }
    let (program, rest) = whole.split_once(' ').unwrap_or((&whole, ""));
    let name = match program.rsplit_once('/') {
        Some((folder, name)) if folder.starts_with('/') || folder.is_empty() => name,
        _ => program,
    };
    // options of the Java machine may fill all the room there is
    if !gateway.is_empty() && (rest.contains("-c exec(") || name == "java") {
        let name = if name == "java" { "jython" } else { name };
        return format!("{name} (gateway)");
    }
    format!("{name} {rest}").trim_end().to_owned()
}

pub(crate) fn pid(process: &ProcessUsage) -> String {
    process.pid.map_or_else(|| UNKNOWN.to_owned(), |pid| pid.to_string())
}

pub(crate) fn age(process: &ProcessUsage) -> String {
    process.age.map_or_else(|| UNKNOWN.to_owned(), duration)
}

/// Per cent of one processor.
pub(crate) fn cpu(process: &ProcessUsage) -> String {
    process.cpu.map_or_else(|| UNKNOWN.to_owned(), |cpu| format!("{:.1}", 100.0 * cpu.clamp(0.0, 99_999.0)))
}

pub(crate) fn memory(process: &ProcessUsage) -> String {
    process.memory.map_or_else(|| UNKNOWN.to_owned(), size)
}

/// `attached`, `nobody attached, ends in 6 d 21 h`, `exited with status 3, known for 6 d 21 h`.
pub(crate) fn kept(kept: &KeptStatus) -> String {
    let left = |what: &str| kept.left.map_or_else(String::new, |left| format!(", {what} {}", span(left)));
    let mut text = match kept.state {
        KeptState::Held => "attached".to_owned(),
        KeptState::Left => format!("nobody attached{}", left("ends in")),
        KeptState::Ended => format!("{}{}", ending(kept), left("known for")),
        KeptState::Gone => format!("lost: {}", one_line(kept.error.as_deref().unwrap_or("-"))),
    };
    if kept.waits {
        text += ", waits for a reader";
    }
    text
}

/// How kept work ended: `exited with status 3`, `ended by SIGKILL`.
pub(crate) fn ending(kept: &KeptStatus) -> String {
    match (kept.status, kept.signal, &kept.error) {
        (Some(status), ..) => format!("exited with status {status}"),
        (_, Some(number), _) => match Signal::from_number(number) {
            Some(signal) => format!("ended by {signal}"),
            None => format!("ended by signal {number}"),
        },
        (.., Some(error)) => format!("could not be started: {}", one_line(error)),
        _ => "ended".to_owned(),
    }
}

/// `train on gpu`.
pub(crate) fn name_of(kept: &KeptStatus) -> String {
    format!("{} on {}", one_line(&kept.name), one_line(&kept.host))
}

/// Why a host's numbers are missing: `unreachable`, `it did not answer within 2 s`.
pub(crate) fn trouble(host: &HostUsage) -> Option<String> {
    match host.state {
        HostState::Up => host.note.as_deref().map(one_line),
        state => Some(state.to_string()),
    }
}

/// The share of memory that programs cannot get any more.
pub(crate) fn used(host: &HostUsage) -> Option<f64> {
    let (all, free) = (host.memory.filter(|all| *all > 0)?, host.available?);
    Some(1.0 - (free as f64 / all as f64).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_knows_is_a_dash() {
        let process = ProcessUsage { id: "ab".repeat(16), host: "h\x1b".into(), ..ProcessUsage::default() };
        assert_eq!((short(&process.id), place(&process)), ("abababab".into(), r"h\x1b".into()));
        assert_eq!([pid(&process), age(&process), cpu(&process), memory(&process)], ["-"; 4]);
        assert_eq!([client("a", Some(1)), client("", Some(1)), client("", None)], ["a (1)", "1", ""]);
        let process = ProcessUsage { cpu: Some(0.123), memory: Some(1 << 20), ..process };
        assert_eq!([cpu(&process), memory(&process)], ["12.3", "1.0 MiB"]);
    }

    #[test]
    fn a_command_is_shown_without_what_nobody_reads() {
        let shown = |typed: &str, gateway: &str| {
            command(&ProcessUsage {
                command: typed.into(),
                gateway: gateway.into(),
                ..ProcessUsage::default()
            })
        };
        assert_eq!(shown("/usr/bin/python3 -c exec(\"import", "gw0"), "python3 (gateway)");
        assert_eq!(shown("/usr/bin/python3 -u -c exec(\"import", "gw0"), "python3 (gateway)");
        assert_eq!(shown("java -jar /usr/share/java/jython.jar -c exec(\"im", "gw0"), "jython (gateway)");
        assert_eq!(shown("-c exec(\"import", "gw0"), "python (gateway)");
        assert_eq!(shown("-c import this", ""), "python -c import this");
        assert_eq!(shown("/usr/bin/python3 -c exec(1)", ""), "python3 -c exec(1)");
        assert_eq!(shown("/bin/true", ""), "true");
        assert_eq!(shown("./a/b /c", ""), "./a/b /c");
        assert_eq!(shown("", ""), "");
        let kept = |typed: &str| {
            let kept = Some(Box::new(KeptStatus { name: "worker".into(), ..KeptStatus::default() }));
            command(&ProcessUsage { command: typed.into(), kept, ..ProcessUsage::default() })
        };
        assert_eq!(kept("/usr/bin/python3 -c exec(\"import"), "python3 (gateway)");
        assert_eq!(kept("java -jar a.jar"), "java -jar a.jar");
    }

    #[test]
    fn what_becomes_of_kept_work_is_said() {
        let work = |state| KeptStatus { name: "train".into(), state, ..KeptStatus::default() };
        let left = Some(6.0 * 86_400.0 + 21.5 * 3_600.0);
        assert_eq!(kept(&work(KeptState::Held)), "attached");
        let waits = KeptStatus { left, waits: true, ..work(KeptState::Left) };
        assert_eq!(kept(&waits), "nobody attached, ends in 6 d 21 h, waits for a reader");
        let ended = KeptStatus { left: Some(59.0), status: Some(3), ..work(KeptState::Ended) };
        assert_eq!(kept(&ended), "exited with status 3, known for 59 s");
        let killed = KeptStatus { signal: Some(9), ..work(KeptState::Ended) };
        assert_eq!(kept(&killed), "ended by SIGKILL");
        let gone = KeptStatus { error: Some("gpu\x1b was rebooted".into()), ..work(KeptState::Gone) };
        assert_eq!(kept(&gone), r"lost: gpu\x1b was rebooted");
        assert_eq!([span(0.0), span(3_660.0), span(7_200.0)], ["0 s", "1 h 1 min", "2 h"]);
    }

    #[test]
    fn a_host_without_numbers_says_why() {
        let host = |state, note: Option<&str>| HostUsage {
            state,
            note: note.map(Into::into),
            ..HostUsage::default()
        };
        assert_eq!(trouble(&host(HostState::Up, None)), None);
        assert_eq!(trouble(&host(HostState::Up, Some("slow"))).as_deref(), Some("slow"));
        assert_eq!(trouble(&host(HostState::Unreachable, None)).as_deref(), Some("unreachable"));
        assert_eq!(
            used(&HostUsage { memory: Some(100), available: Some(25), ..HostUsage::default() }),
            Some(0.75)
        );
        assert_eq!(used(&HostUsage { memory: Some(0), available: Some(25), ..HostUsage::default() }), None);
    }
}
