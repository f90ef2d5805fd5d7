//! Any bytes are a value or refused, in memory of their own size. What was read survives writing and reading,
//! and all ways to read it agree.

use super::*;

/// Reads `bytes` behind the first one, which says how.
pub fn values(bytes: &[u8]) {
    let Some((&flags, bytes)) = bytes.split_first() else { return };
    let dialect = if flags & 1 == 0 { Dialect::Three } else { Dialect::Two };
    let strconfig = StrConfig::new(flags & 2 == 0, flags & 8 != 0);
    let reading = Reading::new(dialect, strconfig, flags & 4 != 0);
    let (read, good) = tokens(bytes, reading);
    assert!(read.len() <= 2 * bytes.len());
    match Value::decode(bytes, reading) {
        Ok(value) => {
            assert!(good && size(&value) <= 64 * bytes.len());
            built(&value);
        }
        // a channel belongs to a gateway, and there is none
        Err(_) => assert!(!good || read.iter().any(|token| matches!(token, Token::Channel(_)))),
    }
    if good && let Some(written) = written(&read) {
        let (again, good) = tokens(&written, Reading::default());
        // NaNs differ from themselves
        assert!(good && format!("{again:?}") == format!("{read:?}"));
    }
}

/// The tokens of a value, and of the part that was read before it was found not to be one.
fn tokens(bytes: &[u8], reading: Reading) -> (Vec<Token<'_>>, bool) {
    let (mut reader, mut tokens) = (Reader::new(bytes, reading), Vec::new());
    loop {
        match reader.next_token() {
            Ok(Some(token)) => tokens.push(token),
            Ok(None) => return (tokens, true),
            Err(error) => {
                assert!(error.is_malformed() && error.to_string().len() < 1_000);
                return (tokens, false);
            }
        }
    }
}

/// None for what can be read, but not sent: values that cannot be hashed among keys, and channels.
fn written(tokens: &[Token<'_>]) -> Option<Vec<u8>> {
    let mut writer = Writer::new(Writing::default());
    for token in tokens {
        match token {
            Token::Begin(container, _) => writer.begin(*container).ok()?,
            Token::Dict => writer.begin_dict().ok()?,
            Token::End => writer.end(),
            Token::None => writer.none().unwrap(),
            Token::Bool(value) => writer.bool(*value).unwrap(),
            Token::Int(value) => writer.int(*value).unwrap(),
            Token::BigInt(value) => writer.big_int(value.is_negative(), value.magnitude()).unwrap(),
            Token::Float(value) => writer.float(*value).unwrap(),
            Token::Complex(real, imaginary) => writer.complex(*real, *imaginary).unwrap(),
            Token::Str(text) => writer.text(text).unwrap(),
            Token::Bytes(bytes) => writer.bytes(bytes).unwrap(),
            Token::Channel(_) => return None,
        }
    }
    Some(writer.finish().unwrap().as_bytes().to_vec())
}

/// A value survives writing, and serde reads and writes it alike, unless it is too deep for serde.
fn built(value: &Value) {
    let mut writer = Writer::new(Writing::default());
    if value.write(&mut writer).is_err() {
        return;
    }
    let encoded = writer.finish().unwrap();
    let reading = Reading { escaped: encoded.is_escaped(), ..Reading::default() };
    let same = |other: &Value| format!("{other:?}") == format!("{value:?}");
    assert!(same(&Value::decode(encoded.as_bytes(), reading).unwrap()));
    let mut writer = Writer::new(Writing::default());
    if to_writer(&(value,), &mut writer).is_ok() {
        let encoded = writer.finish().unwrap();
        let (value,): (Value,) =
            from_reader(Reader::new(encoded.as_bytes(), reading), &build::NoChannels).unwrap();
        assert!(same(&value));
    }
}

/// How many bytes a value takes.
pub(super) fn size(value: &Value) -> usize {
    let own = size_of::<Value>();
    own + match value {
        Value::List(values) | Value::Tuple(values) | Value::Set(values) | Value::FrozenSet(values) => {
            (values.capacity() - values.len()) * own + values.iter().map(size).sum::<usize>()
        }
        Value::Dict(pairs) => {
            (pairs.capacity() - pairs.len()) * 2 * own
                + pairs.iter().map(|(key, value)| size(key) + size(value)).sum::<usize>()
        }
        Value::Bytes(bytes) => bytes.capacity(),
        Value::Str(text) => text.as_bytes().len(),
        Value::BigInt(number) => number.magnitude().len(),
        _ => 0,
    }
}
