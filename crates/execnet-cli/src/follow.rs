//! Follows hosts as they join: shows progress, passes on questions.

use std::collections::BTreeMap;

use execnet_proto::control::{HostReply, HostState, HostStatus, Interruption, Prompt, Verb};
use serde_json::Value;

use crate::ask::Person;
use crate::connection::{self, DaemonApi};
use crate::error::{CommandError, Exit};
use crate::print;
use crate::progress::JoinProgress;
use crate::text;

/// Makes a `watch` or `addhost` request and shows the replies until no host is joining. `accepted` runs once,
/// when the daemon has accepted the request. Returns the last state of each host, by id.
pub(crate) fn follow(
    daemon: &dyn DaemonApi,
    verb: Verb,
    progress: &mut JoinProgress<'_>,
    person: &dyn Person,
    accepted: &mut dyn FnMut() -> Result<(), CommandError>,
) -> Result<BTreeMap<String, HostStatus>, CommandError> {
    let mut hosts = BTreeMap::new();
    let mut first = true;
    for reply in daemon.ask(&connection::request(verb)) {
        let reply = reply?;
        if first {
            first = false;
            accepted()?;
        }
        if let Ok(Interruption::Prompt(prompt)) = serde_json::from_value(reply.clone()) {
            progress.suspend(|| match prompt.notice {
                true => {
                    let [host, said] = [&prompt.host, &prompt.text].map(|text| text::one_line(text));
                    print::say(&format!("{host}: {said}"));
                    Ok(())
                }
                false => answer(daemon, &prompt, person),
            })?;
        } else if let Some(host) = connection::read::<HostReply>(reply)?.host {
            progress.update(&host);
            hosts.insert(host.id.clone(), host);
        }
    }
    if first {
        return Err(connection::gone());
    }
    if hosts.values().any(|host| host.state == HostState::Joining) {
        return Err(connection::gone());
    }
    progress.finish();
    Ok(hosts)
}

fn answer(daemon: &dyn DaemonApi, prompt: &Prompt, person: &dyn Person) -> Result<(), CommandError> {
    let answer = person.ask(prompt);
    let interrupted = answer.as_ref().is_err();
    let verb = Verb::Answer { prompt: prompt.id, answer: answer.unwrap_or(None) };
    // The daemon refuses an answer that comes too late; the host's state shows it.
    let _ = daemon.ask(&connection::request(verb)).next().transpose()?.unwrap_or(Value::Null);
    if interrupted {
        return Err(CommandError::new(Exit::Failed, "interrupted").hint(format!(
            "the network keeps running; `execnet addhost` with the spec of `{}` asks again",
            prompt.host
        )));
    }
    Ok(())
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
