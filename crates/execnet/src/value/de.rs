//! Deserializes values with serde.

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};

use super::build::{self, Channels};
use super::nested::{NAME, hand_over};
use super::read::{Reader, Token};
use super::{LoadError, Text};

/// The deepest recursion of serde, so that a value from a host cannot exhaust the stack.
const SERDE_DEPTH: usize = 256;

/// Reads a value as a `T`.
pub(crate) fn from_reader<T: de::DeserializeOwned>(
    mut reader: Reader<'_>,
    channels: &dyn Channels,
) -> Result<T, LoadError> {
    let value = T::deserialize(De { reader: &mut reader, channels });
    let value = value.map_err(|error| error.at(|| reader.place()))?;
    match reader.next_token()? {
        None => Ok(value),
        Some(_) => Err(LoadError::unwanted("more than expected")),
    }
}

struct De<'r, 'a> {
    reader: &'r mut Reader<'a>,
    channels: &'r dyn Channels,
}

impl<'a> De<'_, 'a> {
    fn token(&mut self) -> Result<Token<'a>, LoadError> {
        self.reader.next_token()?.ok_or_else(|| LoadError::malformed("no value"))
    }

    /// The same, if bytes may be wanted.
    fn token_for_bytes(&mut self) -> Result<Token<'a>, LoadError> {
        self.reader.next_for_bytes()?.ok_or_else(|| LoadError::malformed("no value"))
    }

    /// Passes the value that a token begins to a visitor.
    fn visit<'de, V: Visitor<'de>>(mut self, token: Token<'a>, visitor: V) -> Result<V::Value, LoadError> {
        match token {
            Token::None => visitor.visit_unit(),
            Token::Bool(value) => visitor.visit_bool(value),
            Token::Int(value) => visitor.visit_i64(value),
            Token::BigInt(value) => {
                if let Ok(value) = u128::try_from(&value) {
                    match u64::try_from(value) {
                        Ok(value) => visitor.visit_u64(value),
                        Err(_) => visitor.visit_u128(value),
                    }
                } else if let Ok(value) = i128::try_from(&value) {
                    visitor.visit_i128(value)
                } else {
                    Err(LoadError::unwanted("an int that is too large"))
                }
            }
            Token::Float(value) => visitor.visit_f64(value),
            Token::Complex(real, imaginary) => {
                visitor.visit_seq(de::value::SeqDeserializer::new([real, imaginary].into_iter()))
            }
            Token::Str(text) => visitor.visit_str(str(&text)?),
            Token::Bytes(bytes) => visitor.visit_bytes(bytes),
            Token::Begin(_, count) => {
                self.check_depth()?;
                self.items(|items| visitor.visit_seq(Counted { items, left: count }))
            }
            Token::Dict => {
                self.check_depth()?;
                self.items(|items| visitor.visit_map(items))
            }
            Token::Channel(_) => Err(LoadError::unwanted(
                "an unexpected channel; enums with `tag` or `untagged` and `flatten`ed fields hold none",
            )),
            Token::End => Err(LoadError::unwanted("fewer items than expected")),
        }
    }

    /// Lets `visit` take the items of the current container, and checks that it took them all.
    fn items<T>(
        &mut self,
        visit: impl FnOnce(Items<'_, 'a>) -> Result<T, LoadError>,
    ) -> Result<T, LoadError> {
        let depth = self.reader.depth() - 1;
        let items = Items { reader: self.reader, channels: self.channels, depth };
        let value = visit(items)?;
        if self.reader.depth() > depth && !matches!(self.token()?, Token::End) {
            return Err(LoadError::unwanted("more items than expected"));
        }
        Ok(value)
    }

    fn check_depth(&self) -> Result<(), LoadError> {
        if self.reader.depth() > SERDE_DEPTH {
            let message = format!("nested more than {SERDE_DEPTH} deep; receive it as a Value");
            return Err(LoadError::unwanted(message));
        }
        Ok(())
    }
}

fn str<'t>(text: &'t Text<'_>) -> Result<&'t str, LoadError> {
    text.to_str().ok_or_else(|| LoadError::unwanted("text with lone surrogates; receive it as a Text"))
}

impl<'de> Deserializer<'de> for De<'_, '_> {
    type Error = LoadError;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, LoadError> {
        let token = self.token()?;
        self.visit(token, visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, LoadError> {
        if !self.reader.is_none_next() {
            return visitor.visit_some(self);
        }
        self.token()?;
        visitor.visit_none()
    }

    fn deserialize_bytes<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, LoadError> {
        let token = self.token_for_bytes()?;
        self.visit(token, visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, LoadError> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, LoadError> {
        match self.token_for_bytes()? {
            Token::Bytes(bytes) => visitor.visit_seq(de::value::SeqDeserializer::new(bytes.iter().copied())),
            token => self.visit(token, visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, LoadError> {
        if name != NAME {
            return visitor.visit_newtype_struct(self);
        }
        hand_over(build::read(self.reader, self.channels)?);
        visitor.visit_unit()
    }

    fn deserialize_enum<V: Visitor<'de>>(
        mut self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, LoadError> {
        match self.token()? {
            Token::Str(text) => {
                let name: StrDeserializer<'_, LoadError> = str(&text)?.into_deserializer();
                visitor.visit_enum(name)
            }
            Token::Dict => {
                self.check_depth()?;
                self.items(|items| visitor.visit_enum(items))
            }
            _ => Err(LoadError::unwanted("expected a str or a dict of one entry")),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, LoadError> {
        let depth = self.reader.depth();
        if matches!(self.token()?, Token::End) {
            return Err(LoadError::unwanted("fewer items than expected"));
        }
        self.reader.skip_to(depth)?;
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string unit
        unit_struct tuple tuple_struct map struct identifier
    }
}

/// The items of a container.
struct Items<'r, 'a> {
    reader: &'r mut Reader<'a>,
    channels: &'r dyn Channels,
    /// The container's own depth.
    depth: usize,
}

impl<'a> Items<'_, 'a> {
    fn de(&mut self) -> De<'_, 'a> {
        De { reader: self.reader, channels: self.channels }
    }

    /// Whether the container has ended. If so, takes its end.
    fn ended(&mut self) -> Result<bool, LoadError> {
        if self.reader.depth() == self.depth {
            return Ok(true);
        }
        self.reader.take_end()
    }
}

struct Counted<'r, 'a> {
    items: Items<'r, 'a>,
    left: usize,
}

impl<'de> SeqAccess<'de> for Counted<'_, '_> {
    type Error = LoadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, LoadError> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        seed.deserialize(self.items.de()).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> MapAccess<'de> for Items<'_, '_> {
    type Error = LoadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, LoadError> {
        if self.ended()? {
            return Ok(None);
        }
        seed.deserialize(self.de()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, LoadError> {
        seed.deserialize(self.de())
    }
}

impl<'de> EnumAccess<'de> for Items<'_, '_> {
    type Error = LoadError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(mut self, seed: V) -> Result<(V::Value, Self), LoadError> {
        if self.ended()? {
            return Err(LoadError::unwanted("an empty dict where the name of a variant is expected"));
        }
        Ok((seed.deserialize(self.de())?, self))
    }
}

impl<'de> VariantAccess<'de> for Items<'_, '_> {
    type Error = LoadError;

    fn unit_variant(mut self) -> Result<(), LoadError> {
        de::Deserialize::deserialize(self.de())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(mut self, seed: T) -> Result<T::Value, LoadError> {
        seed.deserialize(self.de())
    }

    fn tuple_variant<V: Visitor<'de>>(mut self, _: usize, visitor: V) -> Result<V::Value, LoadError> {
        self.de().deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        mut self,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, LoadError> {
        self.de().deserialize_any(visitor)
    }
}
