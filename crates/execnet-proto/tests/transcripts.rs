//! The transcripts of protocol/vectors, run against the simulation's agent. The agents on hosts must pass the
//! same ones.

#[path = "sim/agent.rs"]
#[allow(dead_code)] // the simulation uses all of it
mod agent;

use std::path::PathBuf;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use execnet_proto::feature::Features;
use execnet_proto::id::{Epoch, Incarnation, ProcessId};
use execnet_proto::opening::OPENING;
use execnet_proto::wire::{Decoder, Ending, Frame, FrameKind, Stream};
use serde_json::{Value, json};

use agent::{Action, Agent};

struct Talk {
    agent: Agent,
    now: Duration,
    attached: bool,
    marked: bool,
}

impl Talk {
    fn step(&mut self, step: &Value, place: &str) {
        let (what, value) = step.as_object().expect("a step").iter().next().expect("one thing");
        let id = || ProcessId(sixteen(&value["id"]));
        let number = |name: &str| value[name].as_u64().expect("a number");
        let stream = || Stream::ALL[value["stream"].as_u64().expect("a stream") as usize];
        match what.as_str() {
            "attach" => {
                self.agent.attach(Epoch(value.as_u64().expect("an epoch")), self.now);
                (self.attached, self.marked) = (true, false);
            }
            "detach" => {
                self.agent.detach(self.now);
                self.attached = false;
            }
            "wait" => {
                self.now += Duration::from_secs(value.as_u64().expect("seconds"));
                if self.now >= self.agent.deadline() {
                    self.agent.tick(self.now);
                }
            }
            "in" => self.agent.handle(&unhex(value), self.now).expect(place),
            "bad" => assert!(self.agent.handle(&unhex(value), self.now).is_err(), "{place}"),
            "out" => {
                let expected =
                    value.as_array().expect("frames").iter().map(unhex).collect::<Vec<_>>().concat();
                assert_eq!(said(&self.out()), said(&expected), "{place}");
            }
            "actions" => assert_eq!(self.actions(), actions(value), "{place}"),
            "child_started" => self.agent.started(id(), number("pid") as u32),
            "child_not_started" => {
                let message = value["message"].as_str().expect("a message").to_owned();
                self.agent.output_closed(id(), Stream::Stdout);
                self.agent.output_closed(id(), Stream::Stderr);
                self.agent.exited(id(), Ending::NotStarted(number("errno") as u32, message));
            }
            "child_output" => self.agent.output(id(), stream(), unhex(&value["data"]).into()),
            "child_output_closed" => self.agent.output_closed(id(), stream()),
            "child_exited" => {
                let status = number("value") as u32;
                let ending =
                    if number("how") == 0 { Ending::Exited(status) } else { Ending::Signaled(status) };
                self.agent.exited(id(), ending);
            }
            "child_closes_stdin" => self.agent.stdin_closed(id()),
            "child_takes" => {
                let mut taken = BytesMut::new();
                loop {
                    let bytes = self.agent.take_stdin(id(), usize::MAX);
                    if bytes.is_empty() {
                        break;
                    }
                    taken.extend_from_slice(&bytes);
                }
                assert_eq!(taken, unhex(&value["data"]), "{place}");
            }
            "room" => assert_eq!(self.agent.room(id(), stream()) as u64, number("bytes"), "{place}"),
            other => panic!("{place}: no step {other}"),
        }
    }

    fn out(&mut self) -> Bytes {
        let mut out = BytesMut::new();
        self.agent.transmit(&mut out, usize::MAX, self.now);
        if self.attached && !self.marked {
            assert!(out.starts_with(&OPENING));
            self.marked = true;
            return out.split_off(OPENING.len()).freeze();
        }
        out.freeze()
    }

    fn actions(&mut self) -> Vec<Value> {
        let actions = self.agent.actions.drain(..).map(|action| match action {
            Action::Start(spawn) => json!(["start", spawn.id.to_string()]),
            Action::Close(id, stream) => json!(["close", id.to_string(), stream as u8]),
            Action::Signal(id, numbers) => json!(["signal", id.to_string(), numbers]),
            Action::Size(id, size) => json!(["size", id.to_string(), size.rows, size.columns]),
            Action::HangUp(id) => json!(["release", id.to_string()]),
            Action::Detach => json!(["detach"]),
            Action::End => json!(["end"]),
        });
        actions.collect()
    }
}

/// The actions of a step that every agent has.
fn actions(value: &Value) -> Vec<Value> {
    let all = value.as_array().expect("actions").iter();
    all.filter(|action| action[0] != "stdin" && action[0] != "read").cloned().collect()
}

/// DATA of one stream, from its position on.
type Said = (ProcessId, Stream, u64, Vec<u8>);

/// Frames in a form that can be compared: control frames in any order, DATA joined, RESUMED before the rest
/// of its process.
fn said(bytes: &[u8]) -> (Vec<String>, Vec<Said>) {
    let mut decoder = Decoder::default();
    decoder.push(bytes);
    let (mut control, mut data): (Vec<_>, Vec<Said>) = <_>::default();
    let mut seen = Vec::new();
    while let Some((frame, _)) = decoder.next().expect("frames") {
        if let Frame::Resumed { id, .. } = frame {
            assert!(!seen.contains(&id), "RESUMED is not the first of its process");
        }
        seen.extend(frame.process());
        match frame {
            // each agent chooses how much it grants
            Frame::Resumed { id, attempt, stdin } => {
                assert!(stdin.limit - stdin.received <= 2_097_152);
                control.push(format!("RESUMED {id} {attempt} {}", stdin.received));
            }
            Frame::Data { id, stream, position, bytes } => {
                let mut of_stream = data.iter_mut().filter(|(a, b, ..)| (*a, *b) == (id, stream));
                match of_stream.next() {
                    Some((.., start, before)) if *start + before.len() as u64 == position => {
                        before.extend_from_slice(&bytes);
                    }
                    _ => data.push((id, stream, position, bytes.to_vec())),
                }
            }
            frame if matches!(frame.kind(), FrameKind::Credit | FrameKind::Ack) => {}
            frame => control.push(format!("{frame:?}")),
        }
    }
    assert_eq!(decoder.buffered(), 0);
    control.sort();
    data.sort();
    (control, data)
}

fn unhex(value: &Value) -> Vec<u8> {
    let digits: Vec<_> =
        value.as_str().expect("hex").chars().map(|digit| digit.to_digit(16).expect("hex") as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn sixteen(value: &Value) -> [u8; 16] {
    unhex(value).try_into().expect("16 bytes")
}

#[test]
fn the_agent_answers_as_the_transcripts_say() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../protocol/vectors/transcripts.json");
    #[allow(clippy::disallowed_methods)] // a test reads what the crate must not
    let text = std::fs::read_to_string(path).expect("the transcripts are there");
    let document: Value = serde_json::from_str(&text).expect("JSON");
    let facts = &document["agent"];
    let linger = Duration::from_secs(facts["linger"].as_u64().expect("seconds"));
    for transcript in document["transcripts"].as_array().expect("a list") {
        let incarnation = Incarnation(sixteen(&facts["incarnation"]));
        let mut agent = Agent::new(incarnation, true, linger, Duration::ZERO);
        agent.features = Features::default();
        let mut talk = Talk { agent, now: Duration::ZERO, attached: false, marked: false };
        let name = transcript["name"].as_str().expect("a name");
        for (index, step) in transcript["steps"].as_array().expect("steps").iter().enumerate() {
            talk.step(step, &format!("{name}, step {index}: {step}"));
        }
    }
}
