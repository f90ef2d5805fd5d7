use std::io::Write as _;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::build::NoChannels;
use super::fuzz::size;
use super::*;

fn encode(value: &Value) -> Encoded {
    let mut writer = Writer::new(Writing::default());
    value.write(&mut writer).unwrap();
    writer.finish().unwrap()
}

fn decode(bytes: &[u8], reading: Reading) -> Result<Value, LoadError> {
    Value::decode(bytes, reading)
}

fn two(py2str_as_py3str: bool) -> Reading {
    let strconfig = StrConfig { py2str_as_py3str, py3str_as_py2str: false };
    Reading { dialect: Dialect::Two, strconfig, escaped: false }
}

fn dump<T: Serialize>(value: &T) -> Result<Vec<u8>, DumpError> {
    let mut writer = Writer::new(Writing::default());
    to_writer(value, &mut writer)?;
    Ok(writer.finish()?.as_bytes().to_vec())
}

fn load<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, LoadError> {
    from_reader(Reader::new(bytes, Reading::default()), &NoChannels)
}

fn any_text() -> impl Strategy<Value = Text<'static>> {
    prop_oneof![
        ".{0,20}".prop_map(Text::from),
        proptest::collection::vec(any::<u16>(), 0..8).prop_map(|units| {
            let bytes: Vec<u8> = units.into_iter().flat_map(u16::to_be_bytes).collect();
            Text::from_utf16_be(&bytes).unwrap()
        }),
    ]
}

/// What may be a key: only immutable values.
fn any_leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::None),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        (-200_000..200_000_i64).prop_map(Value::Int),
        (any::<bool>(), proptest::collection::vec(1..=255_u8, 9..40))
            .prop_map(|(negative, magnitude)| Value::BigInt(BigInt::new(negative, magnitude))),
        (-1e300..1e300_f64).prop_map(Value::Float),
        (-1e9..1e9_f64, -1e9..1e9_f64).prop_map(|(real, imaginary)| Value::Complex(real, imaginary)),
        any_text().prop_map(Value::Str),
        proptest::collection::vec(any::<u8>(), 0..20).prop_map(Value::Bytes),
    ]
}

fn any_value() -> impl Strategy<Value = Value> {
    any_leaf().prop_recursive(6, 60, 8, |inner| {
        let several = || proptest::collection::vec(inner.clone(), 0..8);
        let keys = || proptest::collection::vec(any_leaf(), 0..8);
        prop_oneof![
            several().prop_map(Value::List),
            several().prop_map(Value::Tuple),
            keys().prop_map(Value::Set),
            keys().prop_map(Value::FrozenSet),
            proptest::collection::vec((any_leaf(), inner), 0..8).prop_map(Value::Dict),
        ]
    })
}

proptest! {
    #[test]
    fn written_values_are_read(value in any_value()) {
        let encoded = encode(&value);
        prop_assert!(!encoded.is_escaped());
        prop_assert_eq!(decode(encoded.as_bytes(), Reading::default()), Ok(value.clone()));
        // through serde, which takes another path
        let bytes = dump(&(1, &value)).unwrap();
        prop_assert_eq!(load::<(i64, Value)>(&bytes), Ok((1, value)));
    }

    #[test]
    fn no_bytes_are_a_panic_or_much_memory(
        bytes in proptest::collection::vec(
            prop_oneof![
                3 => proptest::sample::select(&b"NTFiIlgfyxustR([<>{0.\0\x01\x02"[..]),
                1 => any::<u8>(),
            ],
            0..200,
        ),
        escaped: bool,
        py2str_as_py3str: bool,
    ) {
        for dialect in [Dialect::Two, Dialect::Three] {
            let reading = Reading::new(dialect, StrConfig::new(py2str_as_py3str, false), escaped);
            if let Ok(value) = decode(&bytes, reading) {
                prop_assert!(size(&value) <= 64 * bytes.len());
            }
            let mut reader = Reader::new(&bytes, reading);
            let mut tokens = 0;
            while let Ok(Some(_)) = reader.next_token() {
                tokens += 1;
            }
            prop_assert!(tokens <= 2 * bytes.len());
            let _ = load::<Vec<(String, Option<u8>)>>(&bytes);
        }
    }

    #[test]
    fn a_value_that_was_cut_or_changed_is_an_error_or_another_value(
        value in any_value(),
        at: usize,
        byte: u8,
    ) {
        let mut bytes = encode(&value).as_bytes().to_vec();
        let at = at % bytes.len();
        prop_assert!(decode(&bytes[..at], Reading::default()).is_err());
        bytes[at] = byte;
        let _ = decode(&bytes, Reading::default());
    }

    #[test]
    fn utf_16_is_read_as_python_would(units in proptest::collection::vec(any::<u16>(), 0..10)) {
        let bytes: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
        let text = Text::from_utf16_be(&bytes).unwrap();
        prop_assert!(Text::from_bytes(text.as_bytes().to_vec()).is_some());
        prop_assert_eq!(text.to_string_lossy(), String::from_utf16_lossy(&units));
    }
}

#[test]
fn output_of_python_2_is_read() {
    let good = [
        &b"(\x07\0\0\0"[..],
        b"t\x03\0\0\0abc",
        b"R\0\0\0\0",
        b"s\x01\0\0\0\xff",
        b"u\x02\0\0\0\xc3\xa4",
        b"I\0\0\0\0\x01\0\0\0",
        b"y\0\0\0\0\0\0\xf0?\0\0\0\0\0\0\xf0\xff",
        b"g\0\0\0\0\0\0\xf8?",
    ]
    .concat();
    let text = decode(&good, two(true));
    let Ok(Value::Tuple(values)) = text else { panic!("{text:?}") };
    assert_eq!(values[..4], ["abc", "abc", "\u{ff}", "ä"].map(Value::from));
    assert_eq!(
        values[4..],
        [Value::Int(1 << 32), Value::Complex(1.0, f64::NEG_INFINITY), Value::Float(1.5),]
    );
    let Ok(Value::Tuple(values)) = decode(&good, two(false)) else { panic!("no tuple") };
    assert_eq!(values[1], Value::Bytes(b"abc".to_vec()));
    assert_eq!(values[3], Value::from("ä"));
}

#[test]
fn malformed_values_are_refused_with_a_sentence() {
    for (bytes, why) in [
        (&b""[..], "malformed value, byte 0: it ends too early"),
        (b"NN", "malformed value, byte 1: more than one value"),
        (b"[\x02\0\0\0N", "malformed value, byte 0: it ends too early"),
        (b"[\x01\0\0\0s\xff\xff\xff\x7f", "malformed value, byte 5: it ends too early, at [0]"),
        (b"[\xff\xff\xff\xff", "malformed value, byte 0: a negative length"),
        (b"[\xff\xff\xff\x7f", "malformed value, byte 0: it ends too early"),
        (b"{NN", "malformed value, byte 3: it ends too early, at [key]"),
        (b"{N0", "malformed value, byte 2: a key without a value, at [key]"),
        (b"{u\x01\0\0\0kc", "malformed value, byte 7: a code object, at ['k']"),
        (b"u\x02\0\0\0\xc3\x28", "malformed value, byte 0: text that is not UTF-8"),
        (b"l\x01\0\0\0\0\x80", "malformed value, byte 0: an integer with wrong digits"),
        (b"l\x01\0\0\0\0\0", "malformed value, byte 0: an integer with wrong digits"),
        (b"l\0\0\0\x80", "malformed value, byte 0: it ends too early"),
        (b".", "malformed value, byte 0: an Ellipsis"),
        (b"\xe9\x01\0\0\0", "malformed value, byte 0: marshal version 3 or later"),
        (b"z\x01a", "malformed value, byte 0: marshal version 3 or later"),
        (b"(\x03\0\0\0.i\0\0\0\0i\x01\0\0\0", "malformed value, byte 5: an Ellipsis, at [0]"),
        (b"f\x030.5", "malformed value, byte 0: marshal version 0 or 1"),
        (b"R\0\0\0\0", "malformed value, byte 0: a reference to no string"),
        (b"\0", "malformed value, byte 0: an unknown code"),
    ] {
        let error = decode(bytes, Reading::default()).unwrap_err();
        assert_eq!(error.to_string(), why, "{bytes:?}");
        assert!(error.is_malformed());
    }
}

#[test]
fn text_of_python_3_is_bytes_where_a_program_wants_it() {
    let strconfig = StrConfig { py3str_as_py2str: true, ..StrConfig::default() };
    let value = Value::Dict(vec![(
        Value::from("k"),
        Value::List(vec![Value::from("\u{e9}"), Value::Bytes(vec![0xff])]),
    )]);
    let narrow = Value::Dict(vec![(
        Value::Bytes(b"k".to_vec()),
        Value::List(vec![Value::Bytes("\u{e9}".into()), Value::Bytes(vec![0xff])]),
    )]);
    let plain = Reading::default();
    for references in [false, true] {
        let target = Target { references, ..Target::default() };
        let writing = Writing { strconfig, target };
        let mut writer = Writer::new(writing);
        value.write(&mut writer).unwrap();
        assert_eq!(decode(writer.finish().unwrap().as_bytes(), plain).unwrap(), narrow);
    }
    let bytes = dump(&value).unwrap();
    assert_eq!(decode(&bytes, Reading { strconfig, ..plain }).unwrap(), narrow);
    // Python 2 itself distinguishes them
    let two = Reading { dialect: Dialect::Two, strconfig, escaped: false };
    assert_eq!(decode(b"u\x01\0\0\0x", two).unwrap(), Value::from("x"));
}

#[test]
fn small_dicts_take_little_memory() {
    for bytes in [&b"{TT0"[..], b"{TN0", b"{T{T{TN000", b"[\x03\0\0\0{TN0{TN0{TN0"] {
        let value = decode(bytes, Reading::default()).unwrap();
        assert!(size(&value) <= 64 * bytes.len(), "{} {value:?}", size(&value));
    }
}

#[test]
fn the_golden_vectors_are_read_and_written() {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../../../protocol/vectors/values.json")).unwrap();
    let bytes = |vector: &serde_json::Value| -> Vec<u8> {
        let hex = vector["hex"].as_str().unwrap();
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    };
    let values = vectors["values"].as_array().unwrap();
    for vector in values {
        let bytes = bytes(vector);
        let dialect = if vector["dialect"] == 2 { Dialect::Two } else { Dialect::Three };
        let strconfig = StrConfig { py2str_as_py3str: false, py3str_as_py2str: false };
        let reading = Reading { dialect, strconfig, escaped: vector["escaped"] == true };
        let target = Target { dialect, ..Target::default() };
        let mut writer = Writer::new(Writing { strconfig, target });
        super::build::copy(&mut Reader::new(&bytes, reading), &mut writer, 1).unwrap();
        let encoded = writer.finish().unwrap();
        if vector["written"] != false {
            assert_eq!(encoded.as_bytes(), bytes, "{vector}");
            assert_eq!(encoded.is_escaped(), reading.escaped, "{vector}");
        }
    }
    let refused = vectors["refused"].as_array().unwrap();
    for vector in refused {
        let bytes = bytes(vector);
        assert!(decode(&bytes, Reading::default()).is_err(), "{vector}");
    }
    assert!(values.len() > 60 && refused.len() > 30);
}

#[test]
fn keys_that_were_there_before_are_referred_to_where_marshal_can() {
    let target = Target { references: true, ..Target::default() };
    let mut writer = Writer::new(Writing { target, ..Writing::default() });
    writer.begin(Container::List).unwrap();
    for number in 0..2 {
        writer.begin_dict().unwrap();
        writer.str("ab").unwrap();
        writer.str("ab").unwrap();
        writer.int(number).unwrap();
        writer.str("c").unwrap();
        writer.end();
    }
    writer.begin_dict().unwrap();
    writer.str("c").unwrap();
    writer.str("x").unwrap();
    writer.str("ab").unwrap();
    assert_eq!(writer.refuse("thing").to_string(), "cannot send a thing, at [2]['ab']");
    writer.none().unwrap();
    writer.end();
    writer.end();
    let encoded = writer.finish().unwrap();
    let parts: [&[u8]; 13] = [
        b"[\x03\0\0\0",
        b"{\xf5\x02\0\0\0ab",
        b"u\x02\0\0\0ab",
        b"i\0\0\0\0",
        b"u\x01\0\0\0c0",
        b"{r\0\0\0\0",
        b"u\x02\0\0\0ab",
        b"i\x01\0\0\0",
        b"u\x01\0\0\0c0",
        b"{\xf5\x01\0\0\0c",
        b"u\x01\0\0\0x",
        b"r\0\0\0\0",
        b"N0",
    ];
    assert_eq!(encoded.as_bytes(), parts.concat());
}

#[test]
fn of_many_keys_only_some_are_referred_to() {
    let target = Target { references: true, ..Target::default() };
    let mut writer = Writer::new(Writing { target, ..Writing::default() });
    writer.begin_dict().unwrap();
    for number in 0..5_000 {
        writer.str(&format!("k{number}")).unwrap();
        writer.none().unwrap();
    }
    writer.end();
    let encoded = writer.finish().unwrap();
    assert_eq!(encoded.as_bytes().iter().filter(|byte| **byte == 0xf5).count(), 1_024);
}

#[test]
fn escapes_mean_channels_and_odd_text_where_they_may_be() {
    let escaped = |bytes: &[u8]| {
        let mut reader = Reader::new(bytes, Reading { escaped: true, ..Reading::default() });
        reader.next_token().map(|token| token.map(|token| format!("{token:?}")))
    };
    assert_eq!(escaped(b"(\x03\0\0\0.i\0\0\0\0i\x07\0\0\0"), Ok(Some("Channel(7)".into())));
    assert_eq!(escaped(b"(\x03\0\0\0.i\0\0\0\0i\xff\xff\xff\xff"), Ok(Some("Channel(4294967295)".into())));
    assert_eq!(
        escaped(b"(\x03\0\0\0.i\x01\0\0\0s\x04\0\0\0\0x\xd8\0"),
        Ok(Some("Str(\"x\u{fffd}\")".into()))
    );
    for bad in [
        &b"(\x02\0\0\0.i\0\0\0\0"[..],
        b"(\x03\0\0\0.i\x02\0\0\0i\x07\0\0\0",
        b"(\x03\0\0\0.i\0\0\0\0i\0\0\0\0",
        b"(\x03\0\0\0.i\0\0\0\0N\xff\xff\xff\xff",
        b"(\x03\0\0\0.i\x01\0\0\0s\x01\0\0\0x",
        b"(\x03\0\0\0.i\x01\0\0\0N",
    ] {
        assert!(escaped(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn values_are_nested_two_thousand_deep_and_no_deeper() {
    let nested = |depth: usize| [b"[\x01\0\0\0".repeat(depth), b"N".to_vec()].concat();
    let value = decode(&nested(MAX_DEPTH - 1), Reading::default()).unwrap();
    assert!(load::<Value>(&dump(&value).unwrap()).unwrap() == value);
    assert!(decode(&nested(MAX_DEPTH), Reading::default()).unwrap_err().to_string().contains("2000 deep"));
    let error = dump(&[[value]]).unwrap_err();
    let place = format!("{}…{}", "[0]".repeat(13), "[0]".repeat(13));
    assert_eq!(error.to_string(), format!("nested more than 2000 deep, at {place}"));

    // recursion stops before the stack ends
    #[derive(Debug, Serialize, Deserialize)]
    struct Onion(Vec<Onion>);
    let onion = (0..300).fold(Onion(vec![]), |inner, _| Onion(vec![inner]));
    assert!(dump(&onion).unwrap_err().to_string().contains("send it as a Value"));
    assert!(load::<Onion>(&nested(1_000)).unwrap_err().to_string().contains("receive it as a Value"));
    // a value that is skipped may be as deep as it likes
    let mut dict = b"{u\x01\0\0\0x".to_vec();
    dict.extend(nested(MAX_DEPTH - 2));
    dict.push(b'0');
    #[derive(Debug, PartialEq, Deserialize)]
    struct Nothing {}
    assert_eq!(load::<Nothing>(&dict), Ok(Nothing {}));
}

#[test]
fn an_unsendable_value_is_named_with_its_place() {
    let mut writer = Writer::new(Writing::default());
    writer.begin(Container::List).unwrap();
    writer.int(1).unwrap();
    writer.begin_dict().unwrap();
    writer.str("key").unwrap();
    writer.begin(Container::Tuple).unwrap();
    writer.none().unwrap();
    assert_eq!(writer.refuse("bytearray").to_string(), "cannot send a bytearray, at [1]['key'][1]");
    writer.end();
    assert_eq!(writer.refuse("object").to_string(), "cannot send an object, at [1][key]");
    let error = writer.begin(Container::List).unwrap_err();
    assert_eq!(error.to_string(), "a list cannot be a key or in a set, at [1][key]");
    assert!(writer.finish().is_err());

    let set = Value::Set(vec![Value::Tuple(vec![Value::Dict(vec![])])]);
    let error = dump(&vec![set]).unwrap_err();
    assert_eq!(error.to_string(), "a dict cannot be a key or in a set, at [0]{…}[0]");
    assert!(dump(&Value::Set(vec![Value::FrozenSet(vec![Value::Tuple(vec![])])])).is_ok());
}

#[test]
fn long_places_are_told_by_their_begin_and_end() {
    let mut writer = Writer::new(Writing::default());
    for name in ["first", "second]", &"ä".repeat(50), &"third".repeat(20), "last"] {
        writer.begin_dict().unwrap();
        writer.str(name).unwrap();
    }
    let place = writer.refuse("object").place().to_owned();
    assert_eq!(place, "['first']['second]']…['last']");
    let error = DumpError::new("no").at(|| format!("['{}']", "x".repeat(100)));
    let (begin, end) = ("x".repeat(38), "x".repeat(38));
    assert_eq!(error.to_string(), format!("no, at ['{begin}…{end}']"));
    assert_eq!(DumpError::new("no").at(String::new).to_string(), "no");
}

#[test]
fn a_value_of_another_type_is_named_with_its_place() {
    let bytes = dump(&("x", vec![(1, "one"), (2, "two")])).unwrap();
    assert_eq!(load::<(String, Vec<(u8, String)>)>(&bytes).unwrap().1[1].1, "two");
    let error = load::<(String, Vec<(u8, u8)>)>(&bytes).unwrap_err();
    assert_eq!(error.to_string(), "invalid type: string \"one\", expected u8, at [1][0][1]");
    assert!(!error.is_malformed());
    let error = load::<(String,)>(&bytes).unwrap_err();
    assert!(error.to_string().starts_with("more items than expected"), "{error}");
    let error = load::<(String, Vec<(u8, String)>, i64)>(&bytes).unwrap_err();
    assert!(error.to_string().starts_with("invalid length 2"), "{error}");
    assert!(load::<i8>(&dump(&300).unwrap()).is_err());
    assert_eq!(load::<u64>(&dump(&u64::MAX).unwrap()), Ok(u64::MAX));
    assert_eq!(load::<Option<Option<u8>>>(&dump(&Some(3)).unwrap()), Ok(Some(Some(3))));
    assert_eq!(load::<(f64, f64)>(&dump(&Value::Complex(1.0, 2.0)).unwrap()), Ok((1.0, 2.0)));
    assert_eq!(load::<Vec<u8>>(&dump(&Value::Bytes(vec![1, 2])).unwrap()), Ok(vec![1, 2]));
}

/// The output of Python's own marshal: each line of `source` is an expression.
fn python(source: &str, input: &[u8]) -> Vec<u8> {
    let python = execnet_testkit::require(&["3.11"]).unwrap().remove(0).path;
    let mut child = Command::new(python)
        .args(["-S", "-c", source])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    output.stdout
}

#[test]
fn pythons_own_marshal_reads_and_writes_the_same() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let values: Vec<Value> = (0..200)
        .map(|_| proptest::strategy::ValueTree::current(&any_value().new_tree(&mut runner).unwrap()))
        .collect();
    let all = Value::List(values);
    let echo = "import sys, marshal; \
                sys.stdout.buffer.write(marshal.dumps(marshal.loads(sys.stdin.buffer.read()), 2))";
    let back = python(echo, encode(&all).as_bytes());
    // sets have lost their order, and equal keys are one
    let again = decode(&back, Reading::default()).unwrap();
    let twice = python(echo, encode(&again).as_bytes());
    assert_eq!(sorted(decode(&twice, Reading::default()).unwrap()), sorted(again.clone()));
    let (Value::List(before), Value::List(after)) = (&all, &again) else { panic!("no lists") };
    for (before, after) in before.iter().zip(after) {
        let plain = |value: &Value| {
            let text = format!("{value:?}");
            !text.contains("Set") && !text.contains("Dict")
        };
        if plain(before) {
            assert_eq!(before, after);
        }
    }
}

/// With sets sorted.
fn sorted(value: Value) -> Value {
    let each = |values: Vec<Value>| values.into_iter().map(sorted).collect::<Vec<_>>();
    let order = |values: Vec<Value>| {
        let mut values = each(values);
        values.sort_by_key(|value| format!("{value:?}"));
        values
    };
    match value {
        Value::List(values) => Value::List(each(values)),
        Value::Tuple(values) => Value::Tuple(each(values)),
        Value::Set(values) => Value::Set(order(values)),
        Value::FrozenSet(values) => Value::FrozenSet(order(values)),
        Value::Dict(pairs) => {
            Value::Dict(pairs.into_iter().map(|(key, value)| (key, sorted(value))).collect())
        }
        other => other,
    }
}

#[test]
fn other_formats_get_what_comes_nearest() {
    let value = Value::Dict(vec![(Value::from("k"), Value::Tuple(vec![Value::Int(1), Value::None]))]);
    assert_eq!(serde_json::to_string(&value).unwrap(), r#"{"k":[1,null]}"#);
    let back: Value = serde_json::from_str(r#"{"k":[1,null,0.5,"x"]}"#).unwrap();
    let list = Value::List(vec![Value::Int(1), Value::None, Value::Float(0.5), Value::from("x")]);
    assert_eq!(back.get("k"), Some(&list));
}
