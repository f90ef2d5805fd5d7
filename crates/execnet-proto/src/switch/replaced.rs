//! The reason why a different agent answers on a host than before, as far as the greetings tell. Agents of
//! earlier releases do not tell.

use std::time::Duration;

use crate::wire::Table;

/// Characters of a host's own name that are shown.
const NAME: usize = 64;

/// Where an agent runs, in its own words; empty if it does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Origin {
    /// The kernel's boot id.
    boot: String,
    hostname: String,
    /// Which /tmp it sees.
    tmp: String,
}

impl Origin {
    /// From the table of a HELLO. Anything but a plain word is left out: it is shown, and hosts lie.
    pub(super) fn of(facts: &Table) -> Self {
        let fact = |key: &str| {
            let value = facts.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_ref());
            let text: String =
                String::from_utf8_lossy(value.unwrap_or_default()).chars().take(NAME).collect();
            let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            if text.chars().all(plain) { text } else { String::new() }
        };
        Self { boot: fact("boot"), hostname: fact("hostname"), tmp: fact("tmp") }
    }
}

/// The message to the clients whose processes the former agent had. `away`: how long it had no link; it
/// waited for `linger`, or, if this is about the work that it kept, without end.
pub(super) fn message(
    name: &str,
    before: &Origin,
    now: &Origin,
    away: Duration,
    linger: Option<Duration>,
) -> String {
    let told = |origin: &Origin| origin.boot.len() > 1 && !origin.hostname.is_empty();
    if !told(before) || !told(now) {
        return format!("the agent on {name} was replaced by a new one");
    }
    let seconds = linger.unwrap_or_default().as_secs();
    let ends = match linger {
        Some(_) => format!("it ends once its agent has not been reached for {seconds} s"),
        None => "it is kept there until its time is over".to_owned(),
    };
    let (old, new) = (&before.hostname, &now.hostname);
    if before.boot != now.boot && old == new {
        return format!("{name} was rebooted (its kernel has another boot id), so the process has ended");
    }
    if before.boot != now.boot {
        return format!(
            "{name} now leads to another machine ({new}, not {old}): the process may still run on {old}; \
             {ends}; check which host the name stands for"
        );
    }
    if old != new {
        return format!(
            "{name} now leads to another container, or was renamed ({new}, not {old}): the process may still \
             run; {ends}"
        );
    }
    if before.tmp != now.tmp && !before.tmp.is_empty() && !now.tmp.is_empty() {
        return format!(
            "the login to {name} has another /tmp than before, where the agent cannot be found (or it is a \
             restarted container): the process may still run; {ends}; give all logins there the same /tmp \
             (pam_namespace, PrivateTmp)"
        );
    }
    if linger.is_some_and(|linger| away >= linger) {
        return format!(
            "the agent on {name} was not reached for {seconds} s, its `linger`, and has ended with its \
             processes"
        );
    }
    format!(
        "the agent on {name} has ended or was killed, and its processes have lost their input and output; if \
         logins there end everything they started (KillUserProcesses), `loginctl enable-linger` on {name} \
         keeps it"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(boot: &str, hostname: &str, tmp: &str) -> Origin {
        let pairs = [("boot", boot), ("hostname", hostname), ("tmp", tmp)];
        Origin::of(&pairs.map(|(key, value)| (key.to_owned(), value.to_owned().into())).into())
    }

    #[test]
    fn a_reboot_another_machine_another_tmp_and_a_dead_agent_are_told_apart() {
        let before = origin("b1", "alpha", "1-2");
        let told = |now: &Origin, away: u64| {
            message("x", &before, now, Duration::from_secs(away), Some(Duration::from_secs(600)))
        };
        let rebooted = told(&origin("b2", "alpha", "1-3"), 1);
        assert!(rebooted.contains("rebooted") && rebooted.contains("has ended"), "{rebooted}");
        let elsewhere = told(&origin("b2", "beta", "1-2"), 1);
        assert!(elsewhere.contains("another machine (beta, not alpha)"), "{elsewhere}");
        assert!(elsewhere.contains("the process may still run on alpha"), "{elsewhere}");
        let container = told(&origin("b1", "beta", "1-2"), 1);
        assert!(
            container.contains("another container") && container.contains("may still run"),
            "{container}"
        );
        let tmp = told(&origin("b1", "alpha", "9-2"), 1);
        assert!(tmp.contains("another /tmp") && tmp.contains("may still run"), "{tmp}");
        let dead = told(&before, 1);
        assert!(dead.contains("killed") && dead.contains("enable-linger"), "{dead}");
        let given_up = told(&before, 601);
        assert!(given_up.contains("not reached for 600 s") && given_up.contains("ended"), "{given_up}");
        // an agent that keeps work waits without end
        let kept = message("x", &before, &before, Duration::from_secs(601), None);
        assert!(kept.contains("killed"), "{kept}");
        let kept = message("x", &before, &origin("b2", "beta", "1-2"), Duration::ZERO, None);
        assert!(kept.contains("still run on alpha") && kept.contains("until its time is over"), "{kept}");
    }

    #[test]
    fn of_an_agent_that_tells_nothing_only_that_is_said() {
        let (old, new) = (origin("", "alpha", ""), origin("b1", "alpha", "1-2"));
        let zero = origin("0", "alpha", "1-2");
        for (before, now) in
            [(&old, &new), (&new, &old), (&zero, &new), (&Origin::default(), &Origin::default())]
        {
            let told = message("x", before, now, Duration::ZERO, Some(Duration::from_secs(600)));
            assert_eq!(told, "the agent on x was replaced by a new one");
        }
    }

    #[test]
    fn a_host_cannot_steer_a_terminal_with_its_name() {
        assert_eq!(
            origin("b\x1b[2J", "a b", &"x".repeat(999)),
            Origin { tmp: "x".repeat(NAME), ..Origin::default() }
        );
    }
}
