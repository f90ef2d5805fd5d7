//! The golden frames of protocol/vectors, which every interpreter of an agent reads too, and the tables of
//! frames.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use execnet_proto::control::NodeState;
use execnet_proto::spec::python_command;
use execnet_proto::text::hex;
use execnet_proto::wire::{
    Decoder, Ending, Exit, Frame, FrameError, FrameKind, HEADER, Party, Refusal, Role, Span, Stream,
};
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

/// The fields of a body as its kind's row lists them, with the names and forms of the vectors.
fn fields(kind: FrameKind, mut body: &[u8]) -> Value {
    fn number(body: &mut &[u8], size: usize) -> u64 {
        body.split_off(..size)
            .expect("a number")
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
    fn bytes<'a>(body: &mut &'a [u8], size: usize) -> &'a [u8] {
        let length = number(body, size) as usize;
        body.split_off(..length).expect("bytes")
    }
    fn text(body: &mut &[u8]) -> String {
        String::from_utf8(bytes(body, 2).to_vec()).expect("text")
    }
    let body = &mut body;
    let mut fields = serde_json::Map::new();
    for (name, form) in kind.fields() {
        let value = match form {
            "B" | "stream" | "role" => number(body, 1).into(),
            "H" => number(body, 2).into(),
            "I" => number(body, 4).into(),
            "Q" => number(body, 8).into(),
            "16" => hex(body.split_off(..16).expect("an id")).into(),
            "str" => text(body).into(),
            "list" => (0..number(body, 2)).map(|_| hex(bytes(body, 4))).collect(),
            "table" => (0..number(body, 2)).map(|_| json!([text(body), hex(bytes(body, 4))])).collect(),
            "rest" => hex(std::mem::take(body)).into(),
            _ => panic!("{name} has the form {form}"),
        };
        fields.insert(name, value);
    }
    assert!(body.is_empty(), "{} bytes behind the fields", body.len());
    fields.into()
}

#[test]
fn python_commands_are_those_of_the_agent() {
    for case in vectors("python.json") {
        let line = case["line"].as_str().expect("a line");
        assert_eq!(json!(python_command(line)), case["command"], "{line}");
    }
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
        assert_eq!(fields(frame.kind(), &bytes[HEADER..]), vector["fields"], "{name}");
        assert_eq!(frame.kind().name(), vector["kind"], "{name}");
        assert_eq!(hex(&frame.to_bytes()), hex(&bytes), "{name}");
        assert!(frame.fits(), "{name}");
        kinds.insert(frame.kind().name());
    }
    for kind in FrameKind::ALL {
        assert!(kinds.contains(kind.name()), "{} has no golden frame", kind.name());
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
        // a header by itself must be refused before anything is taken for the body
        let early = matches!(error, FrameError::UnknownKind(_) | FrameError::TooLong { .. });
        assert_eq!(early, bytes.len() == HEADER, "{name}: {error}");
    }
}

/// No table says what the values of an enumeration mean, or which half of a span comes first.
#[test]
fn golden_frames_mean_what_the_document_says() {
    let frame_of = |name: &str| {
        let vector = vectors("frames.json").into_iter().find(|vector| vector["name"] == name).expect(name);
        let mut decoder = Decoder::default();
        decoder.push(&unhex(vector["hex"].as_str().expect("hex")));
        decoder.next().expect(name).expect(name).0
    };
    let exit = |name: &str| match frame_of(name) {
        Frame::Exit { exit, .. } => exit,
        frame => panic!("{frame:?}"),
    };
    let exited = Exit { ending: Ending::Exited(255), stdout: 8_589_934_592, stderr: 17 };
    assert_eq!(exit("exit with status 255 after much output"), exited);
    let signaled = Exit { ending: Ending::Signaled(9), stdout: 1, stderr: 2 };
    assert_eq!(exit("exit by signal 9"), signaled);
    let not_started = Exit { ending: Ending::NotStarted(0, "the node failed".into()), stdout: 0, stderr: 0 };
    assert_eq!(exit("exit of what could not start, without an errno"), not_started);

    for (name, expected) in [
        ("spawn", Role::Plain),
        ("spawn of a tunnel", Role::Tunnel),
        ("spawn of what may be started ahead", Role::Ahead),
    ] {
        assert!(matches!(frame_of(name), Frame::Spawn(spawn) if spawn.role == expected), "{name}");
    }
    for (name, expected) in [
        ("node that is ready", NodeState::Ready),
        ("node that failed, with a message in UTF-8", NodeState::Failed),
        ("node that is being probed", NodeState::Probing),
    ] {
        assert!(matches!(frame_of(name), Frame::Node { state, .. } if state == expected), "{name}");
    }
    for (name, expected) in [
        ("refused: nothing matches", Refusal::NoMatch),
        ("refused: too many", Refusal::TooMany),
        ("refused: closing", Refusal::Closing),
    ] {
        assert!(matches!(frame_of(name), Frame::Refused { refusal, .. } if refusal == expected), "{name}");
    }
    for (name, expected, position) in [
        ("data, one byte for stdin", Stream::Stdin, 0),
        ("data on stdout", Stream::Stdout, 4_294_967_296),
        ("data on stderr, up to the last position", Stream::Stderr, u64::MAX - 3),
    ] {
        let frame = frame_of(name);
        let matches =
            matches!(frame, Frame::Data { stream, position: at, .. } if (stream, at) == (expected, position));
        assert!(matches, "{name}");
    }
    let span = Span { received: 1_000, limit: 33_768 };
    let credit = frame_of("credit for stdout");
    assert!(matches!(credit, Frame::Credit { stream: Stream::Stdout, span: found, .. } if found == span));
    assert!(matches!(frame_of("hello"), Frame::Hello { resume: true, pid: 4_242, .. }));
    assert!(matches!(frame_of("reply"), Frame::Reply { request: 1, last: true, .. }));
}

/// A row of a table of frames: name, limit, and the fields as `NAME:FORM`.
type Row = (String, usize, String);

fn table_of_the_code() -> BTreeMap<u8, Row> {
    let row = |kind: &FrameKind| {
        let fields: Vec<_> = kind.fields().iter().map(|(name, form)| format!("{name}:{form}")).collect();
        (*kind as u8, (kind.name().into(), kind.limit(), fields.join(" ")))
    };
    FrameKind::ALL.iter().map(row).collect()
}

/// The rows of a Python file: `KIND: ("NAME", LIMIT, "FIELDS" "MORE FIELDS"),`, where KIND is a number or a
/// constant.
fn table_of_python(path: &str) -> BTreeMap<u8, Row> {
    let text = read(path);
    let number = |digits: &str| u8::from_str_radix(digits.trim().strip_prefix("0x")?, 16).ok();
    let constants = text.lines().filter_map(|line| line.split_once(" = 0x").map(|(names, _)| (names, line)));
    let numbers: BTreeMap<_, _> = constants
        .flat_map(|(names, line)| names.split(", ").zip(line[names.len() + 3..].split(", ")))
        .collect();
    let mut rows = BTreeMap::new();
    for row in text.split("),\n") {
        let Some((head, fields)) = row.rsplit_once(": (\"") else { continue };
        let key = head.rsplit([' ', '\n']).next().expect("a key");
        let number = number(numbers.get(key).unwrap_or(&key)).unwrap_or_else(|| panic!("{key} is no kind"));
        let (name, fields) = fields.split_once("\", ").expect("a name");
        let (limit, fields) = fields.split_once(", ").expect("a limit");
        let fields = fields.split('"').skip(1).step_by(2).collect();
        rows.insert(number, (name.into(), limit.parse().expect("a limit"), fields));
    }
    rows
}

/// The rows of docs/protocol.md: `| KIND | NAME | WAY | LIMIT | BODY |`; the body has a "`name` type" for
/// each field. A row without a kind continues the one above.
fn table_of_the_document() -> BTreeMap<u8, (Row, String)> {
    let document = read("docs/protocol.md");
    let mut rows: BTreeMap<u8, (Row, String)> = BTreeMap::new();
    let mut last = None;
    for row in document.lines().map(|line| line.split('|').map(str::trim).collect::<Vec<_>>()) {
        let [_, number, name, way, limit, body, _] = row[..] else { continue };
        if let (2, Ok(number)) = (number.len(), u8::from_str_radix(number, 16)) {
            let limit = limit.replace(',', "").parse().expect("a limit");
            rows.insert(number, ((name.into(), limit, String::new()), way.into()));
            last = Some(number);
        } else if !number.is_empty() {
            continue;
        }
        let ((_, _, fields), _) = rows.get_mut(&last.expect("a row to continue")).expect("a row");
        let parts: Vec<_> = body.split('`').collect();
        for pair in parts[1..].chunks_exact(2) {
            let form = match pair[1].trim_start().split([' ', ',', ':']).next().unwrap_or_default() {
                "u8" if pair[0] == "role" => "role",
                "u8" => "B",
                "u16" => "H",
                "u32" => "I",
                "u64" => "Q",
                form @ ("16" | "str" | "list" | "table" | "rest" | "stream") => form,
                // a key of a table, or a value
                _ => continue,
            };
            let blank = if fields.is_empty() { "" } else { " " };
            *fields += &format!("{blank}{}:{form}", pair[0]);
        }
    }
    rows
}

#[test]
fn code_agent_and_document_have_one_table_of_frames() {
    let code = table_of_the_code();
    let document = table_of_the_document();
    let rows = document.iter().map(|(number, (row, _))| (*number, row.clone())).collect();
    assert_eq!(code, rows, "docs/protocol.md");

    let mut agent = table_of_python("remote/agent/wire.py");
    let is_of_agents = |number| {
        FrameKind::of(number)
            .expect("a kind")
            .ways()
            .iter()
            .any(|(from, to)| *from == Party::Agent || *to == Party::Agent)
    };
    assert!(agent.keys().all(|number| is_of_agents(*number)), "remote/agent/wire.py has more than it needs");
    agent.extend(table_of_python("remote/tests/wire_tests.py"));
    assert_eq!(code, agent, "remote/agent/wire.py and remote/tests/wire_tests.py");
}

#[test]
fn code_and_document_agree_on_who_sends_a_frame() {
    for (number, (_, way)) in table_of_the_document() {
        let kind = FrameKind::of(number).expect("a kind");
        let letter = |party: &Party| format!("{party:?}")[..1].to_owned();
        let ways: BTreeSet<_> =
            kind.ways().iter().map(|(from, to)| format!("{}→{}", letter(from), letter(to))).collect();
        let way = way.replace("any", "C→D, D→C, D→A, A→D").replace("C↔A", "C→A, A→C");
        assert_eq!(ways, way.split(", ").map(str::to_owned).collect(), "{}", kind.name());
    }
}
