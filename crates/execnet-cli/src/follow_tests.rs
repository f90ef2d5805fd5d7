//! Follows hosts of a daemon that replies from a script.

use std::cell::RefCell;

use execnet_proto::control::Request;
use serde_json::json;

use super::*;
use crate::ask::Interrupted;
use crate::connection::Replies;

struct Script {
    replies: Vec<Value>,
    asked: RefCell<Vec<Request>>,
}

impl DaemonApi for Script {
    fn ask(&self, request: &Request) -> Replies<'_> {
        self.asked.borrow_mut().push(request.clone());
        match request.verb {
            Verb::Answer { .. } => Box::new([Ok(json!({}))].into_iter()),
            _ => Box::new(self.replies.iter().cloned().map(|reply| match reply {
                Value::String(message) => Err(CommandError::new(Exit::Usage, message)),
                reply => Ok(reply),
            })),
        }
    }
}

#[derive(Clone, Copy)]
struct Typist(Result<Option<&'static str>, Interrupted>);

impl Person for Typist {
    fn ask(&self, _: &Prompt) -> Result<Option<String>, Interrupted> {
        self.0.map(|answer| answer.map(String::from))
    }
}

fn host(state: HostState) -> Value {
    json!({"host": HostStatus { id: "build1".into(), state, ..HostStatus::default() }})
}

fn prompt() -> Value {
    let (host, text) = ("build1".into(), "password:".into());
    json!({"prompt": Prompt { id: 7, host, text, echo: false, notice: false }})
}

type Followed = (Result<BTreeMap<String, HostStatus>, CommandError>, String, Vec<Verb>, u32);

fn followed(replies: Vec<Value>, typist: Typist) -> Followed {
    let script = Script { replies, asked: RefCell::default() };
    let mut written = Vec::new();
    let mut accepted = 0;
    let result =
        follow(&script, Verb::Watch, &mut JoinProgress::written_to(&mut written), &typist, &mut || {
            accepted += 1;
            Ok(())
        });
    let asked = script.asked.into_inner().into_iter().map(|request| request.verb).collect();
    (result, String::from_utf8(written).unwrap(), asked, accepted)
}

#[test]
fn hosts_are_shown_until_none_is_joining() {
    let replies = vec![host(HostState::Joining), host(HostState::Joining), host(HostState::Up), json!({})];
    let (hosts, written, _, accepted) = followed(replies, Typist(Ok(None)));
    assert_eq!(hosts.unwrap()["build1"].state, HostState::Up);
    assert_eq!(crate::style::plain(&written), "build1: up\n");
    assert_eq!(accepted, 1);
}

#[test]
fn a_question_is_passed_to_the_person_and_answered() {
    let replies = vec![host(HostState::Joining), prompt(), host(HostState::Up), json!({})];
    for answer in [Some("secret"), None] {
        let (hosts, written, asked, _) = followed(replies.clone(), Typist(Ok(answer)));
        assert!(hosts.is_ok());
        assert_eq!(asked, [Verb::Watch, Verb::Answer { prompt: 7, answer: answer.map(String::from) }]);
        assert!(!written.contains("secret"));
    }
}

#[test]
fn an_interrupted_question_is_refused_and_ends_the_command() {
    let (hosts, _, asked, _) = followed(vec![prompt(), host(HostState::Up)], Typist(Err(Interrupted)));
    insta::assert_snapshot!(hosts.unwrap_err(), @"
    Error: interrupted
    Hint: the network keeps running; `execnet addhost` with the spec of `build1` asks again
    ");
    assert_eq!(asked[1], Verb::Answer { prompt: 7, answer: None });
}

#[test]
fn a_refused_request_changes_nothing() {
    let (hosts, _, _, accepted) = followed(vec![json!("there is a host `build1`")], Typist(Ok(None)));
    assert_eq!(hosts.unwrap_err().exit, Exit::Usage);
    assert_eq!(accepted, 0);
}

#[test]
fn a_daemon_that_ends_in_the_middle_is_no_success() {
    assert!(followed(vec![], Typist(Ok(None))).0.is_err());
    assert!(followed(vec![host(HostState::Joining)], Typist(Ok(None))).0.is_err());
}
