//! Serializes values with serde.

use serde::ser::{self, Impossible, Serialize, Serializer};

use super::build;
use super::format::Container;
use super::nested::{NAME, parts};
use super::read::{Reader, Reading};
use super::write::Writer;
use super::{DumpError, MAX_DEPTH};

/// Writes a value.
pub(crate) fn to_writer<T: Serialize + ?Sized>(value: &T, writer: &mut Writer) -> Result<(), DumpError> {
    value.serialize(Ser(writer)).map_err(|error| error.at(|| writer.place()))
}

/// serde's recursion could exhaust the stack below this depth; a [`Value`](super::Value) may be deeper.
const SERDE_DEPTH: usize = 256;
const _: () = assert!(SERDE_DEPTH < MAX_DEPTH);

struct Ser<'w>(&'w mut Writer);

/// A container that is being filled. That of a variant is inside a dict with one entry.
struct Filling<'w> {
    writer: &'w mut Writer,
    ends: usize,
}

impl<'w> Ser<'w> {
    fn begin(self, container: Option<Container>, variant: Option<&str>) -> Result<Filling<'w>, DumpError> {
        if self.0.depth() >= SERDE_DEPTH {
            return Err(DumpError::new(format!("nested more than {SERDE_DEPTH} deep; send it as a Value")));
        }
        let writer = self.0;
        if let Some(variant) = variant {
            writer.begin_dict()?;
            writer.str(variant)?;
        }
        match container {
            Some(container) => writer.begin(container)?,
            None => writer.begin_dict()?,
        }
        Ok(Filling { writer, ends: 1 + usize::from(variant.is_some()) })
    }
}

impl Filling<'_> {
    fn add<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), DumpError> {
        value.serialize(Ser(self.writer))
    }

    fn finish(self) {
        for _ in 0..self.ends {
            self.writer.end();
        }
    }
}

macro_rules! integers {
    ($($name:ident $type:ty),+) => {
        $(fn $name(self, value: $type) -> Result<(), DumpError> { self.0.int(value.into()) })+
    };
}

impl<'w> Serializer for Ser<'w> {
    type Ok = ();
    type Error = DumpError;
    type SerializeSeq = Filling<'w>;
    type SerializeTuple = Filling<'w>;
    type SerializeTupleStruct = Filling<'w>;
    type SerializeTupleVariant = Filling<'w>;
    type SerializeMap = Filling<'w>;
    type SerializeStruct = Filling<'w>;
    type SerializeStructVariant = Filling<'w>;

    integers! {
        serialize_i8 i8, serialize_i16 i16, serialize_i32 i32, serialize_i64 i64,
        serialize_u8 u8, serialize_u16 u16, serialize_u32 u32
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    fn serialize_u64(self, value: u64) -> Result<(), DumpError> {
        self.0.big_int(false, &value.to_le_bytes())
    }

    fn serialize_i128(self, value: i128) -> Result<(), DumpError> {
        self.0.big_int(value < 0, &value.unsigned_abs().to_le_bytes())
    }

    fn serialize_u128(self, value: u128) -> Result<(), DumpError> {
        self.0.big_int(false, &value.to_le_bytes())
    }

    fn serialize_bool(self, value: bool) -> Result<(), DumpError> {
        self.0.bool(value)
    }

    fn serialize_f32(self, value: f32) -> Result<(), DumpError> {
        self.0.float(value.into())
    }

    fn serialize_f64(self, value: f64) -> Result<(), DumpError> {
        self.0.float(value)
    }

    fn serialize_char(self, value: char) -> Result<(), DumpError> {
        self.0.str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), DumpError> {
        self.0.str(value)
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), DumpError> {
        self.0.bytes(value)
    }

    fn serialize_none(self) -> Result<(), DumpError> {
        self.0.none()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), DumpError> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), DumpError> {
        self.0.none()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), DumpError> {
        self.0.none()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), DumpError> {
        self.0.str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<(), DumpError> {
        if name == NAME { value.serialize(Transcribe(self.0)) } else { value.serialize(self) }
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), DumpError> {
        self.0.begin_dict()?;
        self.0.str(variant)?;
        value.serialize(Ser(self.0))?;
        self.0.end();
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Filling<'w>, DumpError> {
        self.begin(Some(Container::List), None)
    }

    fn serialize_tuple(self, _: usize) -> Result<Filling<'w>, DumpError> {
        self.begin(Some(Container::Tuple), None)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Filling<'w>, DumpError> {
        self.begin(Some(Container::Tuple), None)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Filling<'w>, DumpError> {
        self.begin(Some(Container::Tuple), Some(variant))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Filling<'w>, DumpError> {
        self.begin(None, None)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Filling<'w>, DumpError> {
        self.begin(None, None)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Filling<'w>, DumpError> {
        self.begin(None, Some(variant))
    }
}

macro_rules! filling {
    ($($of:path, $add:ident;)+) => {
        $(impl $of for Filling<'_> {
            type Ok = ();
            type Error = DumpError;

            fn $add<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), DumpError> {
                self.add(value)
            }

            fn end(self) -> Result<(), DumpError> {
                self.finish();
                Ok(())
            }
        })+
    };
}

filling! {
    ser::SerializeSeq, serialize_element;
    ser::SerializeTuple, serialize_element;
    ser::SerializeTupleStruct, serialize_field;
    ser::SerializeTupleVariant, serialize_field;
}

impl ser::SerializeMap for Filling<'_> {
    type Ok = ();
    type Error = DumpError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), DumpError> {
        self.add(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), DumpError> {
        self.add(value)
    }

    fn end(self) -> Result<(), DumpError> {
        self.finish();
        Ok(())
    }
}

macro_rules! fields {
    ($($of:path),+) => {
        $(impl $of for Filling<'_> {
            type Ok = ();
            type Error = DumpError;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), DumpError> {
                self.writer.str(name)?;
                self.add(value)
            }

            fn end(self) -> Result<(), DumpError> {
                self.finish();
                Ok(())
            }
        })+
    };
}

fields!(ser::SerializeStruct, ser::SerializeStructVariant);

/// Copies the encoding of a [`Value`](super::Value), in the form that the writer's target needs.
struct Transcribe<'w>(&'w mut Writer);

macro_rules! nothing_but_bytes {
    ($($name:ident($($type:ty),*);)+) => {
        $(fn $name(self, $(_: $type),*) -> Result<(), DumpError> { Err(foreign()) })+
    };
    ($($name:ident($($type:ty),*) -> $result:ty;)+) => {
        $(fn $name(self, $(_: $type),*) -> Result<$result, DumpError> { Err(foreign()) })+
    };
}

fn foreign() -> DumpError {
    DumpError::new(format!("a type may not be called {NAME}"))
}

type Never = Impossible<(), DumpError>;

impl Serializer for Transcribe<'_> {
    type Ok = ();
    type Error = DumpError;
    type SerializeSeq = Never;
    type SerializeTuple = Never;
    type SerializeTupleStruct = Never;
    type SerializeTupleVariant = Never;
    type SerializeMap = Never;
    type SerializeStruct = Never;
    type SerializeStructVariant = Never;

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), DumpError> {
        let (gateway, escaped, bytes) = parts(bytes).ok_or_else(foreign)?;
        let mut reader = Reader::new(bytes, Reading { escaped, ..Reading::default() });
        build::copy(&mut reader, self.0, gateway)
    }

    nothing_but_bytes! {
        serialize_bool(bool); serialize_i8(i8); serialize_i16(i16); serialize_i32(i32); serialize_i64(i64);
        serialize_u8(u8); serialize_u16(u16); serialize_u32(u32); serialize_u64(u64); serialize_f32(f32);
        serialize_f64(f64); serialize_char(char); serialize_str(&str); serialize_none(); serialize_unit();
        serialize_unit_struct(&'static str); serialize_unit_variant(&'static str, u32, &'static str);
    }

    nothing_but_bytes! {
        serialize_seq(Option<usize>) -> Never;
        serialize_tuple(usize) -> Never;
        serialize_tuple_struct(&'static str, usize) -> Never;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Never;
        serialize_map(Option<usize>) -> Never;
        serialize_struct(&'static str, usize) -> Never;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Never;
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<(), DumpError> {
        Err(foreign())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: &T,
    ) -> Result<(), DumpError> {
        Err(foreign())
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), DumpError> {
        Err(foreign())
    }
}
