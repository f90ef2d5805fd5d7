use execnet::value::{Dialect, Reading, StrConfig, Writer, Writing};

use super::*;

/// A value in both notations.
fn shown(write: impl FnOnce(&mut Writer)) -> [String; 2] {
    let mut writer = Writer::new(Writing::default());
    write(&mut writer);
    let encoded = writer.finish().unwrap();
    [Notation::Python, Notation::Json].map(|notation| {
        let mut out = Vec::new();
        let reader = Reader::new(encoded.as_bytes(), Reading::default());
        Shown::new(reader, notation).unwrap().write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    })
}

#[track_caller]
fn check(write: impl FnOnce(&mut Writer), python: &str, json: &str) {
    assert_eq!(shown(write), [python, json]);
}

#[test]
fn numbers_are_written_as_python_does() {
    check(|to| to.none().unwrap(), "None", "null");
    check(|to| to.bool(true).unwrap(), "True", "true");
    check(|to| to.int(i64::MIN).unwrap(), "-9223372036854775808", "-9223372036854775808");
    for (number, text) in [
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (0.1, "0.1"),
        (1e15, "1000000000000000.0"),
        (1e16, "1e+16"),
        (1.5e300, "1.5e+300"),
        (1e-4, "0.0001"),
        (1.25e-5, "1.25e-05"),
        (5e-324, "5e-324"),
    ] {
        check(|to| to.float(number).unwrap(), text, text);
    }
    check(|to| to.float(f64::NAN).unwrap(), "nan", r#"{"$float": "nan"}"#);
    check(|to| to.float(f64::NEG_INFINITY).unwrap(), "-inf", r#"{"$float": "-inf"}"#);
    for (real, imaginary, python) in [
        (1.5, -2.0, "(1.5-2j)"),
        (0.0, 1.0, "1j"),
        (-0.0, 1.0, "(-0+1j)"),
        (1e16, f64::NAN, "(1e+16+nanj)"),
        (0.0, f64::NEG_INFINITY, "-infj"),
    ] {
        assert_eq!(shown(|to| to.complex(real, imaginary).unwrap())[0], python);
    }
    check(
        |to| to.complex(1.0, f64::INFINITY).unwrap(),
        "(1+infj)",
        r#"{"$complex": [1.0, {"$float": "inf"}]}"#,
    );
}

#[test]
fn integers_of_any_size_have_all_their_digits_or_hexadecimal_ones() {
    for (text, number) in [
        ("18446744073709551616", vec![0, 0, 0, 0, 0, 0, 0, 0, 1]),
        ("-340282366920938463463374607431768211455", vec![255; 16]),
        ("1000000000000000000000000000000000000", 10_u128.pow(36).to_le_bytes().to_vec()),
        ("1000000000000000000000000000000000007", (10_u128.pow(36) + 7).to_le_bytes().to_vec()),
    ] {
        check(|to| to.big_int(text.starts_with('-'), &number).unwrap(), text, text);
    }
    let digits = shown(|to| to.big_int(false, &[255; DECIMAL]).unwrap())[0].clone();
    assert!(digits.len() <= 4_300 && digits.bytes().all(|byte| byte.is_ascii_digit()), "{digits}");
    let [python, json] = shown(|to| to.big_int(true, &[255; DECIMAL + 1]).unwrap());
    assert!(python.starts_with("-0xffff") && json == format!("{{\"$int\": \"{python}\"}}"), "{json}");
}

#[test]
fn text_is_quoted_and_nothing_in_it_steers_a_terminal() {
    check(|to| to.str("it's").unwrap(), r#""it's""#, r#""it's""#);
    check(|to| to.str("'\"\\").unwrap(), r#"'\'"\\'"#, r#""'\"\\""#);
    check(|to| to.str("ä €🐍").unwrap(), "'ä €🐍'", "\"ä €🐍\"");
    check(
        |to| to.str("\n\r\t\0\x1b\x7f\u{9b}\u{a0}\u{ad}\u{202e}\u{feff}\u{e0041}").unwrap(),
        r"'\n\r\t\x00\x1b\x7f\x9b\xa0\xad\u202e\ufeff\U000e0041'",
        r#""\n\r\t\u0000\u001b\u007f\u009b\u00a0\u00ad\u202e\ufeff\udb40\udc41""#,
    );
    // a combining character stays with its base
    check(|to| to.str("e\u{301}").unwrap(), "'e\u{301}'", "\"e\u{301}\"");
    let lone = Text::from_bytes(&b"a\xed\xa0\x80\xed\xbf\xbfb"[..]).unwrap();
    check(|to| to.text(&lone).unwrap(), r"'a\ud800\udfffb'", r#""a\ud800\udfffb""#);
    for c in (0..0x3000).chain(0xf900..0x1_1000).chain(0xe_0000..0xe_0200).filter_map(char::from_u32) {
        for text in shown(|to| to.str(c.encode_utf8(&mut [0; 4])).unwrap()) {
            assert_eq!(execnet_proto::text::line(&text), text, "{c:?}");
        }
    }
}

#[test]
fn bytes_are_bytes() {
    check(
        |to| to.bytes(b"it's \x00\xff\n\\").unwrap(),
        r#"b"it's \x00\xff\n\\""#,
        r#"{"$bytes": "aXQncyAA/wpc"}"#,
    );
    for (bytes, base64) in [(&b""[..], ""), (b"a", "YQ=="), (b"ab", "YWI="), (b"abc", "YWJj")] {
        assert_eq!(shown(|to| to.bytes(bytes).unwrap())[1], format!("{{\"$bytes\": \"{base64}\"}}"));
    }
}

fn within(container: Container, count: i64) -> impl FnOnce(&mut Writer) {
    move |to| {
        to.begin(container).unwrap();
        (1..=count).for_each(|number| to.int(number).unwrap());
        to.end();
    }
}

#[test]
fn containers_are_written_as_python_does_and_as_arrays() {
    for (container, python) in [
        (Container::List, ["[]", "[1]", "[1, 2]"]),
        (Container::Tuple, ["()", "(1,)", "(1, 2)"]),
        (Container::Set, ["set()", "{1}", "{1, 2}"]),
        (Container::FrozenSet, ["frozenset()", "frozenset({1})", "frozenset({1, 2})"]),
    ] {
        for (count, (python, json)) in python.into_iter().zip(["[]", "[1]", "[1, 2]"]).enumerate() {
            check(within(container, count as i64), python, json);
        }
    }
}

#[test]
fn dicts_are_objects_where_they_can_be_and_pairs_elsewhere() {
    let dict = |keys: &'static [&'static str]| {
        move |to: &mut Writer| {
            to.begin_dict().unwrap();
            for key in keys {
                to.str(key).unwrap();
                to.int(1).unwrap();
            }
            to.end();
        }
    };
    check(dict(&[]), "{}", "{}");
    check(dict(&["a", "b"]), "{'a': 1, 'b': 1}", r#"{"a": 1, "b": 1}"#);
    check(dict(&["a", "$bytes"]), "{'a': 1, '$bytes': 1}", r#"{"$dict": [["a", 1], ["$bytes", 1]]}"#);
    // only a dict's own keys decide, not those inside or around it
    let nested = |to: &mut Writer| {
        to.begin_dict().unwrap();
        to.str("outer").unwrap();
        to.begin_dict().unwrap();
        within(Container::Tuple, 2)(to);
        dict(&["inner"])(to);
        to.none().unwrap();
        to.begin(Container::List).unwrap();
        dict(&[])(to);
        to.end();
        to.end();
        to.end();
    };
    check(
        nested,
        "{'outer': {(1, 2): {'inner': 1}, None: [{}]}}",
        r#"{"outer": {"$dict": [[[1, 2], {"inner": 1}], [null, [{}]]]}}"#,
    );
}

#[test]
fn the_deepest_value_is_written_and_none_is_refused_before_anything_is() {
    let deep = shown(|to| {
        (0..execnet::value::MAX_DEPTH - 1).for_each(|_| to.begin(Container::List).unwrap());
        (0..execnet::value::MAX_DEPTH - 1).for_each(|_| to.end());
    });
    assert_eq!(deep[0].len(), 2 * (execnet::value::MAX_DEPTH - 1));
    let reader = Reader::new(b"[\x02\x00\x00\x00T", Reading::default());
    assert!(Shown::new(reader, Notation::Json).is_err_and(|error| error.is_malformed()));
}

#[test]
fn channels_have_their_numbers() {
    let bytes = b"(\x03\x00\x00\x00.i\x00\x00\x00\x00i\x05\x00\x00\x00";
    let reading = Reading::new(Dialect::Three, StrConfig::default(), true);
    for (notation, text) in [(Notation::Python, "<Channel 5>"), (Notation::Json, r#"{"$channel": 5}"#)] {
        let mut out = Vec::new();
        Shown::new(Reader::new(bytes, reading), notation).unwrap().write(&mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), text);
    }
}
