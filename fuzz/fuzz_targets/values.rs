//! Any bytes are a value or refused, in memory of their own size. A value that was read survives writing and
//! reading.
#![no_main]

use execnet::value::{Dialect, Reader, Reading, StrConfig, Token, Writer, Writing};
use libfuzzer_sys::fuzz_target;

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

fn write(tokens: &[Token<'_>]) -> Option<Vec<u8>> {
    let mut writer = Writer::new(Writing::default());
    for token in tokens {
        // values that cannot be hashed cannot be sent, but can be read
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

fuzz_target!(|bytes: &[u8]| {
    let Some((&flags, bytes)) = bytes.split_first() else { return };
    let dialect = if flags & 1 == 0 { Dialect::Three } else { Dialect::Two };
    let strconfig = StrConfig::new(flags & 2 == 0, false);
    let (read, good) = tokens(bytes, Reading::new(dialect, strconfig, flags & 4 != 0));
    assert!(read.len() <= 2 * bytes.len());
    if good && let Some(written) = write(&read) {
        let (again, good) = tokens(&written, Reading::default());
        // NaNs differ from themselves
        assert!(good && format!("{again:?}") == format!("{read:?}"));
    }
});
