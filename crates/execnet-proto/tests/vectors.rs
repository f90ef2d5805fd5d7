//! The golden frames of protocol/vectors: every interpreter that an agent runs on reads the same ones.

use std::collections::BTreeSet;
use std::path::PathBuf;

use bytes::Bytes;
use execnet_proto::wire::{Decoder, Ending, Frame, FrameError, HEADER, Kind, Span};
use serde_json::{Value, json};

fn read(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    #[allow(clippy::disallowed_methods)] // a test reads what the crate must not
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn vectors(name: &str) -> Vec<Value> {
    serde_json::from_str(&read(&format!("protocol/vectors/{name}"))).expect("a list")
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().map(|digit| digit.to_digit(16).expect("hex") as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn table(table: &[(String, Bytes)]) -> Value {
    table.iter().map(|(key, value)| json!([key, hex(value)])).collect()
}

fn list(list: &[Bytes]) -> Value {
    list.iter().map(|item| Value::from(hex(item))).collect()
}

/// The fields of a frame by the names that the vectors give them.
fn fields(frame: &Frame) -> Value {
    match frame {
        Frame::Ping(token) | Frame::Pong(token) => json!({ "token": token }),
        Frame::Ack(bytes) => json!({ "bytes": bytes }),
        Frame::Hello { incarnation, epoch, resume, pid, facts } => json!({
            "incarnation": incarnation.to_string(), "epoch": epoch.0, "resume": u8::from(*resume), "pid": pid,
            "table": table(facts),
        }),
        Frame::Node { name, state, facts } => {
            json!({ "name": name, "state": *state as u8, "table": table(facts) })
        }
        Frame::End => json!({}),
        Frame::Nodes(count) => json!({ "count": count }),
        Frame::Spawn(spawn) => json!({
            "id": spawn.id.to_string(), "attempt": spawn.attempt,
            "incarnation": spawn.incarnation.to_string(), "owner": spawn.owner.to_string(),
            "role": spawn.role as u8,
            "stdout_limit": spawn.stdout_limit, "stderr_limit": spawn.stderr_limit,
            "host": spawn.host, "node": spawn.node, "chdir": spawn.chdir,
            "argv": list(&spawn.args), "env": table(&spawn.env),
        }),
        Frame::Resume { id, attempt, stdout, stderr } => json!({
            "id": id.to_string(), "attempt": attempt,
            "stdout_received": stdout.received, "stdout_limit": stdout.limit,
            "stderr_received": stderr.received, "stderr_limit": stderr.limit,
        }),
        Frame::Resumed { id, attempt, stdin: Span { received, limit } } => json!({
            "id": id.to_string(), "attempt": attempt, "stdin_received": received, "stdin_limit": limit,
        }),
        Frame::Started { id, pid } => json!({ "id": id.to_string(), "pid": pid }),
        Frame::Data { id, stream, position, bytes } => json!({
            "id": id.to_string(), "stream": *stream as u8, "position": position, "data": hex(bytes),
        }),
        Frame::Credit { id, stream, span: Span { received, limit } } => json!({
            "id": id.to_string(), "stream": *stream as u8, "received": received, "limit": limit,
        }),
        Frame::Fin { id, stream, length } => {
            json!({ "id": id.to_string(), "stream": *stream as u8, "length": length })
        }
        Frame::Stop { id, stream } => json!({ "id": id.to_string(), "stream": *stream as u8 }),
        Frame::Signal { id, sequence, mask } => {
            json!({ "id": id.to_string(), "sequence": sequence, "mask": mask })
        }
        Frame::Signaled { id, sequence } => json!({ "id": id.to_string(), "sequence": sequence }),
        Frame::Exit { id, ending, stdout, stderr } => {
            let (how, value, message) = match ending {
                Ending::Exited(status) => (0, status, ""),
                Ending::Signaled(signal) => (1, signal, ""),
                Ending::NotStarted(errno, message) => (2, errno, message.as_str()),
            };
            json!({
                "id": id.to_string(), "how": how, "value": value,
                "stdout_length": stdout, "stderr_length": stderr, "message": message,
            })
        }
        Frame::Release(id) | Frame::Forget(id) | Frame::Reachable(id) => json!({ "id": id.to_string() }),
        Frame::Client { id, release } => json!({ "client": id.to_string(), "release": release }),
        Frame::Daemon { life, pid, release, network } => {
            json!({ "life": life, "pid": pid, "release": release, "network": network })
        }
        Frame::Select { id, wants } => json!({ "id": id.to_string(), "table": table(wants) }),
        Frame::Placed { id, incarnation, host, node, facts } => json!({
            "id": id.to_string(), "incarnation": incarnation.to_string(), "host": host, "node": node,
            "table": table(facts),
        }),
        Frame::Refused { id, refusal, message } => {
            json!({ "id": id.to_string(), "reason": *refusal as u8, "message": message })
        }
        Frame::Claim { id, incarnation, host } => {
            json!({ "id": id.to_string(), "incarnation": incarnation.to_string(), "host": host })
        }
        Frame::Unreachable { id, message } | Frame::Lost { id, message } => {
            json!({ "id": id.to_string(), "message": message })
        }
        Frame::Request { request, json } => json!({ "request": request, "json": hex(json) }),
        Frame::Reply { request, last, json } => {
            json!({ "request": request, "last": u8::from(*last), "json": hex(json) })
        }
    }
}

fn name_of(kind: Kind) -> &'static str {
    Kind::ALL.iter().find(|(other, ..)| *other == kind).expect("every kind is listed").1
}

#[test]
fn golden_frames_are_read_and_written() {
    let mut kinds = BTreeSet::new();
    let mut names = BTreeSet::new();
    for vector in vectors("frames.json") {
        let name = vector["name"].as_str().expect("a name");
        assert!(names.insert(name.to_owned()), "two are called {name}");
        let bytes = unhex(vector["hex"].as_str().expect("hex"));
        let mut decoder = Decoder::default();
        let (start, last) = bytes.split_at(bytes.len() - 1);
        for part in start.chunks(997) {
            decoder.push(part);
            assert_eq!(decoder.next(), Ok(None), "{name}: complete too early");
        }
        decoder.push(last);
        let (frame, length) = decoder.next().expect(name).expect(name);
        assert_eq!((length, decoder.buffered()), (bytes.len(), 0), "{name}");
        assert_eq!(fields(&frame), vector["fields"], "{name}");
        assert_eq!(name_of(frame.kind()), vector["kind"], "{name}");
        assert_eq!(hex(&frame.to_bytes()), hex(&bytes), "{name}");
        assert!(frame.fits(), "{name}");
        kinds.insert(name_of(frame.kind()));
    }
    for (_, name, _) in Kind::ALL {
        assert!(kinds.contains(name), "{name} has no golden frame");
    }
}

#[test]
fn bad_frames_are_refused() {
    for vector in vectors("bad.json") {
        let name = vector["name"].as_str().expect("a name");
        let bytes = unhex(vector["hex"].as_str().expect("hex"));
        let mut decoder = Decoder::default();
        decoder.push(&bytes);
        let error = decoder.next().expect_err(name);
        // where only the header is given, it is refused by that, before anything is taken for the body
        let early = matches!(error, FrameError::UnknownKind(_) | FrameError::TooLong { .. });
        assert_eq!(early, bytes.len() == HEADER, "{name}: {error}");
    }
}

#[test]
fn the_document_lists_every_kind_with_its_number_and_limit() {
    let document = read("docs/protocol.md");
    let rows: Vec<Vec<_>> = document.lines().map(|line| line.split('|').map(str::trim).collect()).collect();
    let rows: Vec<_> = rows.iter().filter(|row| row.len() == 7 && row[1].len() == 2).collect();
    for (kind, name, limit) in Kind::ALL {
        let number = format!("{:02x}", kind as u8);
        let row = rows.iter().find(|row| row[1] == number).unwrap_or_else(|| panic!("no row for {name}"));
        assert_eq!((row[2], row[4].replace(',', "")), (name, limit.to_string()));
    }
    assert_eq!(rows.len(), Kind::ALL.len(), "the document has a kind that the code has not");
}
