//! Types and document say the same.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;

const DOCUMENT: &str = include_str!("../../../../docs/requests.md");

/// The text of the document from a phrase to the next empty line after its table or paragraph.
fn section(from: &str, to: &str) -> &'static str {
    let start = DOCUMENT.find(from).unwrap_or_else(|| panic!("no `{from}` in the document"));
    let rest = &DOCUMENT[start + from.len()..];
    &rest[..rest.find(to).unwrap_or(rest.len())]
}

fn code_words(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The words in the first column of a table.
fn keys_of_table(text: &str) -> BTreeSet<&str> {
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    rows.flat_map(|line| code_words(line.split('|').nth(1).unwrap_or(""))).collect()
}

fn keys_of(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn words<T: fmt::Display>(all: &[T]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

#[test]
fn the_documented_keys_are_those_of_the_types() {
    let host = serde_json::to_value(HostStatus::default()).unwrap();
    assert_eq!(keys_of(&host), keys_of_table(section("*hoststatus*:", "*nodestatus*:")));

    for (value, from) in [
        (serde_json::to_value(HostUsage::default()).unwrap(), "*hostusage*:"),
        (serde_json::to_value(ProcessUsage::default()).unwrap(), "*processusage*:"),
        (serde_json::to_value(KeptStatus::default()).unwrap(), "*keptstatus*:"),
    ] {
        assert_eq!(keys_of(&value), keys_of_table(section(from, "\n\n*")), "{from}");
    }

    let status = Status {
        network: String::new(),
        pid: 1,
        release: String::new(),
        protocol: 1,
        uptime: 0.0,
        clients: 1,
        ..Status::default()
    };
    let status = serde_json::to_value(status).unwrap();
    assert_eq!(keys_of(&status), keys_of_table(section("## status", "*hoststatus*:")));

    let node = serde_json::to_value(NodeStatus::default()).unwrap();
    let values = ["ready", "failed", "probing", "sys.platform", "cpython", "pypy", "jython", "3.11.2"];
    let documented: BTreeSet<&str> = code_words(section("*nodestatus*:", "\n\n"))
        .into_iter()
        .filter(|word| !values.contains(word))
        .collect();
    assert_eq!(keys_of(&node), documented);
}

#[test]
fn the_documented_words_are_those_of_the_types() {
    let about_hosts = section("*hoststatus*:", "*nodestatus*:");
    let line = |key: &str| {
        let row = about_hosts.lines().find(|line| line.starts_with(&format!("| `{key}` |")));
        row.unwrap_or_default().split_once("` |").unwrap_or_default().1
    };
    assert_eq!(code_words(line("state")), words(HostState::ALL));
    let steps: Vec<&str> =
        code_words(line("step")).into_iter().filter(|word| !["failed", "joining"].contains(word)).collect();
    assert_eq!(steps, words(Step::ALL));
    let mut kinds = code_words(section("may be null. Kinds:", "\n\n"));
    kinds.retain(|word| *word != "via");
    assert_eq!(kinds, words(&ErrorKind::ALL[..ErrorKind::ALL.len() - 1]));
    let states = code_words(section("*keptstatus*:", "\n\n*"));
    for state in words(KeptState::ALL) {
        assert!(states.contains(&state.as_str()), "{state}");
    }
    for state in NodeState::ALL {
        assert!(section("*nodestatus*:", "\n\n").contains(&format!("`{state}`")));
    }
}

#[test]
fn the_words_in_json_are_the_words_in_messages() {
    let json: Vec<Value> = [
        serde_json::to_value(HostState::ALL).unwrap(),
        serde_json::to_value(NodeState::ALL).unwrap(),
        serde_json::to_value(Step::ALL).unwrap(),
        serde_json::to_value(ErrorKind::ALL).unwrap(),
    ]
    .into();
    let messages = [words(HostState::ALL), words(NodeState::ALL), words(Step::ALL), words(ErrorKind::ALL)];
    for (json, messages) in json.into_iter().zip(messages) {
        assert_eq!(serde_json::from_value::<Vec<String>>(json).unwrap(), messages);
    }
}

#[test]
fn every_documented_verb_is_read_and_written() {
    // what is left out is as ever
    assert_eq!(serde_json::to_value(Verb::Stop { kept: None }).unwrap(), json!({"verb": "stop"}));
    let add = Verb::AddHost { spec: "ssh=h".into(), end_kept: false };
    assert_eq!(serde_json::to_value(add).unwrap(), json!({"verb": "addhost", "spec": "ssh=h"}));
    let requests = [
        (json!({"verb": "status"}), Verb::Status),
        (json!({"verb": "watch"}), Verb::Watch),
        (
            json!({"verb": "addhost", "spec": "ssh=h", "end_kept": true}),
            Verb::AddHost { spec: "ssh=h".into(), end_kept: true },
        ),
        (
            json!({"verb": "rmhost", "host": "h", "kept": "leave"}),
            Verb::RmHost { host: "h".into(), kept: Some(KeptChoice::Leave) },
        ),
        (
            json!({"verb": "drain", "hosts": ["h"], "remove": true, "wait": false}),
            Verb::Drain { hosts: vec!["h".into()], remove: true, wait: false },
        ),
        (json!({"verb": "undrain", "hosts": ["h"]}), Verb::Undrain { hosts: vec!["h".into()] }),
        (
            json!({"verb": "groups", "file": "/f", "groups": {"web": "web[1-3]"}}),
            Verb::Groups { file: "/f".into(), groups: [("web".into(), "web[1-3]".into())].into() },
        ),
        (json!({"verb": "stop", "kept": "end"}), Verb::Stop { kept: Some(KeptChoice::End) }),
        (json!({"verb": "kept", "names": ["train@gpu"]}), Verb::Kept { names: vec!["train@gpu".into()] }),
        (json!({"verb": "ps", "node": "a"}), Verb::Ps { node: Some("a".into()) }),
        (json!({"verb": "top"}), Verb::Top { node: None }),
        (
            json!({"verb": "kill", "ids": ["3fa2b1c8"], "signal": 15}),
            Verb::Kill { ids: vec!["3fa2b1c8".into()], signal: 15 },
        ),
        (
            json!({"verb": "askpass", "token": "t", "prompt": "p", "kind": "host-key"}),
            Verb::AskPass { token: "t".into(), prompt: "p".into(), kind: PromptKind::HostKey },
        ),
        (json!({"verb": "answer", "prompt": 1, "answer": null}), Verb::Answer { prompt: 1, answer: None }),
    ];
    let table = section("| verb | request | replies |", "\n\n");
    let documented = keys_of_table(table);
    assert_eq!(
        requests.iter().map(|(json, _)| json["verb"].as_str().unwrap()).collect::<BTreeSet<_>>(),
        documented
    );
    for (json, verb) in requests {
        assert_eq!(serde_json::to_value(Request::from(verb.clone())).unwrap(), json);
        let request: Request = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(request, Request::from(verb));
        let row = table
            .lines()
            .find(|row| row.starts_with(&format!("| `{}` ", json["verb"].as_str().unwrap())))
            .unwrap();
        for key in keys_of(&json).into_iter().filter(|key| *key != "verb") {
            assert!(row.contains(&format!("`{key}`")), "{key} of {row}");
        }
    }
}

#[test]
fn the_environment_goes_beside_the_verb() {
    let text = json!({"verb": "watch", "env": {"SSH_AUTH_SOCK": "/a"}, "later": 1});
    let request: Request = serde_json::from_value(text).unwrap();
    assert_eq!(request.verb, Verb::Watch);
    assert_eq!(request.env["SSH_AUTH_SOCK"], "/a");
}

#[test]
fn errors_and_prompts_are_told_from_results() {
    let error = json!({"error": {"kind": "in-use", "message": "m", "hint": null}});
    let Interruption::Error(read) = serde_json::from_value(error.clone()).unwrap() else { panic!() };
    assert_eq!((read.kind, read.message.as_str(), read.hint.as_ref()), (ErrorKind::InUse, "m", None));
    assert_eq!(serde_json::to_value(Interruption::Error(read)).unwrap(), error);

    let prompt = json!({"prompt": {"id": 1, "host": "build1", "text": "…", "echo": false, "notice": false}});
    let read: Interruption = serde_json::from_value(prompt.clone()).unwrap();
    assert_eq!(serde_json::to_value(read).unwrap(), prompt);

    assert!(serde_json::from_value::<Interruption>(json!({"host": {}})).is_err());
    assert!(serde_json::from_value::<Interruption>(json!({})).is_err());
    let later = json!({"kind": "new", "message": "m"});
    assert_eq!(serde_json::from_value::<ReplyError>(later).unwrap().kind, ErrorKind::Other);
    assert_eq!(serde_json::to_value(HostReply::default()).unwrap(), json!({}));
}
