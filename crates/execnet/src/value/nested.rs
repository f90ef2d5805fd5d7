//! Passes a [`Value`], a [`Channel`] or a [`Text`] through serde, which knows none of them.
//!
//! Our own serializer and deserializer recognize them by the names below. A value leaves as its encoding in
//! bytes, and arrives through a slot of the thread: serde would recurse into it, and values may be nested
//! 2,000 deep. Other formats get the closest equivalent.

use std::cell::RefCell;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, SerializeTuple, Serializer};

use super::build;
use super::format::HEAD;
use super::write::{Writer, Writing};
use super::{BigInt, Text, Value};
use crate::gateway::Channel;

/// The name that marks all of them.
pub(super) const NAME: &str = "$execnet::Value";

thread_local! {
    static SLOT: RefCell<Option<Value>> = const { RefCell::new(None) };
}

/// Hands a value to the visitor that is called next.
pub(super) fn hand_over(value: Value) {
    SLOT.set(Some(value));
}

/// The encoding of a value, preceded by the gateway of its channels.
struct Portable(Vec<u8>);

impl Serialize for Portable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return for_people(self, serializer);
        }
        let mut writer = Writer::new(Writing::default());
        let encoded = build::write(self, &mut writer).and_then(|()| writer.finish());
        let encoded = encoded.map_err(|error| serde::ser::Error::custom(error.as_text()))?;
        let mut bytes = encoded.bytes;
        bytes[..8].copy_from_slice(&encoded.gateway.unwrap_or(0).to_le_bytes());
        bytes[8] = encoded.escaped.into();
        serializer.serialize_newtype_struct(NAME, &Portable(bytes))
    }
}

/// The parts of a [`Portable`]: the gateway, whether there are escapes, the value.
pub(super) fn parts(bytes: &[u8]) -> Option<(u64, bool, &[u8])> {
    let (gateway, rest) = bytes.split_first_chunk()?;
    Some((u64::from_le_bytes(*gateway), *rest.first()? != 0, &bytes[HEAD..]))
}

/// For formats like JSON.
fn for_people<S: Serializer>(value: &Value, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Value::None => serializer.serialize_unit(),
        Value::Bool(value) => serializer.serialize_bool(*value),
        Value::Int(value) => serializer.serialize_i64(*value),
        Value::BigInt(value) => serializer.collect_str(value),
        Value::Float(value) => serializer.serialize_f64(*value),
        Value::Complex(real, imaginary) => {
            let mut pair = serializer.serialize_tuple(2)?;
            pair.serialize_element(real)?;
            pair.serialize_element(imaginary)?;
            pair.end()
        }
        Value::Str(text) => serializer.serialize_str(&text.to_string_lossy()),
        Value::Bytes(bytes) => serializer.serialize_bytes(bytes),
        Value::List(values) | Value::Tuple(values) | Value::Set(values) | Value::FrozenSet(values) => {
            let mut sequence = serializer.serialize_seq(Some(values.len()))?;
            values.iter().try_for_each(|value| sequence.serialize_element(value))?;
            sequence.end()
        }
        Value::Dict(pairs) => {
            let mut map = serializer.serialize_map(Some(pairs.len()))?;
            pairs.iter().try_for_each(|(key, value)| map.serialize_entry(key, value))?;
            map.end()
        }
        Value::Channel(channel) => serializer.collect_str(&format_args!("channel {}", channel.number())),
    }
}

impl Serialize for Channel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Value::Channel(self.clone()).serialize(serializer)
    }
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Value::Str(self.clone().into_owned()).serialize(serializer)
    }
}

impl Serialize for BigInt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Value::BigInt(self.clone()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(NAME, ValueVisitor)
    }
}

macro_rules! part_of_value {
    ($($type:ty, $expected:literal => $pattern:pat => $value:expr;)+) => {
        $(impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                match Value::deserialize(deserializer)? {
                    $pattern => Ok($value),
                    other => {
                        let found = other.kind();
                        Err(de::Error::custom(format_args!("expected {}, found {found}", $expected)))
                    }
                }
            }
        })+
    };
}

part_of_value! {
    Channel, "a channel" => Value::Channel(channel) => channel;
    Text<'static>, "a str" => Value::Str(text) => text;
}

impl<'de> Deserialize<'de> for BigInt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::BigInt(number) => Ok(number),
            Value::Int(number) => Ok(number.into()),
            other => Err(de::Error::custom(format_args!("expected an int, found {}", other.kind()))),
        }
    }
}

/// Takes the value that was handed over, or what another format has.
struct ValueVisitor;

macro_rules! visit {
    ($($name:ident($type:ty) => |$it:ident| $value:expr;)+) => {
        $(fn $name<E: de::Error>(self, $it: $type) -> Result<Value, E> { Ok($value) })+
    };
}

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(SLOT.take().unwrap_or_default())
    }

    visit! {
        visit_bool(bool) => |it| Value::Bool(it);
        visit_i64(i64) => |it| Value::Int(it);
        visit_u64(u64) => |it| {
            i64::try_from(it).map_or_else(|_| Value::BigInt(u128::from(it).into()), Value::Int)
        };
        visit_f64(f64) => |it| Value::Float(it);
        visit_str(&str) => |it| it.into();
        visit_bytes(&[u8]) => |it| it.into();
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = sequence.next_element()? {
            values.push(value);
        }
        Ok(Value::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Value::Dict(pairs))
    }
}
