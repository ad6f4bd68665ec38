//! The reader as serde's source of values.

use std::borrow::Cow;

use serde::de::value::CowStrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error, Expected, Unexpected, VariantAccess, Visitor};

use super::fault::Fault;
use super::members::{Elements, Members};
use super::number::{Integer, integer};
use super::raw;
use super::reader::{Reader, Step};

impl<'de> Reader<'de> {
    /// The next value is not what is expected. Says what it is, as far as its first bytes tell.
    fn mismatch(&mut self, expected: &dyn Expected) -> Fault {
        let scalar = match self.peek() {
            Some(b'"') => self.string().map(|text| Fault::invalid_type(Unexpected::Str(&text), expected)),
            Some(b'{') => Ok(Fault::invalid_type(Unexpected::Map, expected)),
            Some(b'[') => Ok(Fault::invalid_type(Unexpected::Seq, expected)),
            Some(b'n') => self.word("null").map(|()| Fault::invalid_type(Unexpected::Unit, expected)),
            Some(b't') => self.word("true").map(|()| Fault::invalid_type(Unexpected::Bool(true), expected)),
            Some(b'f') => self.word("false").map(|()| Fault::invalid_type(Unexpected::Bool(false), expected)),
            _ => self.number().map(|number| match integer(number) {
                Some(Integer::Unsigned(value)) => Fault::invalid_type(Unexpected::Unsigned(value), expected),
                Some(Integer::Signed(value)) => Fault::invalid_type(Unexpected::Signed(value), expected),
                None => Fault::invalid_type(Unexpected::Float(0.0), expected),
            }),
        };
        scalar.unwrap_or_else(|fault| fault)
    }

    fn is_number(&mut self) -> bool {
        matches!(self.peek(), Some(b'-' | b'0'..=b'9'))
    }

    fn integer<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Fault> {
        if !self.is_number() {
            return Err(self.mismatch(&visitor));
        }
        match integer(self.number()?) {
            Some(Integer::Unsigned(value)) => visitor.visit_u64(value),
            Some(Integer::Signed(value)) => visitor.visit_i64(value),
            None => Err(Fault::invalid_type(Unexpected::Float(0.0), &visitor)),
        }
    }

    fn text<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Fault> {
        if self.peek() != Some(b'"') {
            return Err(self.mismatch(&visitor));
        }
        match self.string()? {
            Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
            Cow::Owned(text) => visitor.visit_string(text),
        }
    }

    fn list<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Fault> {
        if self.peek() != Some(b'[') {
            return Err(self.mismatch(&visitor));
        }
        self.enter()?;
        let mut elements = Elements::new(self);
        let value = visitor.visit_seq(&mut elements)?;
        elements.end()?;
        Ok(value)
    }

    fn object<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Fault> {
        if self.peek() != Some(b'{') {
            return Err(self.mismatch(&visitor));
        }
        self.enter()?;
        let mut members = Members::new(self);
        let value = visitor.visit_map(&mut members)?;
        members.end()?;
        Ok(value)
    }
}

fn float<'de, V: Visitor<'de>>(number: &str, visitor: V) -> Result<V::Value, Fault> {
    match number.parse::<f64>() {
        Ok(value) if value.is_finite() => visitor.visit_f64(value),
        _ => Err(Fault::new("the number is too large")),
    }
}

macro_rules! forward {
    ($($method:ident)* => $to:ident) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> { self.$to(visitor) })*
    };
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = Fault;

    forward! {
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 => integer
    }
    forward! { deserialize_str deserialize_string deserialize_char deserialize_identifier => text }
    forward! { deserialize_bytes deserialize_byte_buf deserialize_seq => list }
    forward! { deserialize_map => object }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.peek() {
            Some(b'"') => self.text(visitor),
            Some(b'{') => self.object(visitor),
            Some(b'[') => self.list(visitor),
            Some(b'n') => self.deserialize_unit(visitor),
            Some(b't' | b'f') => self.deserialize_bool(visitor),
            _ => {
                let number = self.number()?;
                match integer(number) {
                    Some(Integer::Unsigned(value)) => visitor.visit_u64(value),
                    Some(Integer::Signed(value)) => visitor.visit_i64(value),
                    None => float(number, visitor),
                }
            }
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.peek() {
            Some(b't') => self.word("true").and_then(|()| visitor.visit_bool(true)),
            Some(b'f') => self.word("false").and_then(|()| visitor.visit_bool(false)),
            _ => Err(self.mismatch(&visitor)),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.is_number() { float(self.number()?, visitor) } else { Err(self.mismatch(&visitor)) }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.peek() {
            Some(b'n') => self.word("null").and_then(|()| visitor.visit_none()),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.peek() {
            Some(b'n') => self.word("null").and_then(|()| visitor.visit_unit()),
            _ => Err(self.mismatch(&visitor)),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Fault> {
        if name != raw::NAME {
            return visitor.visit_newtype_struct(self);
        }
        self.peek();
        let begin = self.place();
        self.skip()?;
        visitor.visit_borrowed_str(self.since(begin))
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.list(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.list(visitor)
    }

    /// An object and nothing else: a derived visitor would take a list for its fields in their order.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if self.peek() == Some(b'{') { self.object(visitor) } else { Err(self.mismatch(&"an object")) }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.peek() {
            Some(b'"') => visitor.visit_enum(CowStrDeserializer::new(self.string()?)),
            Some(b'{') => {
                self.enter()?;
                let steps = self.steps();
                if !self.another(true, b'}')? {
                    return Err(Fault::new("expected one member, which says what kind of value it is"));
                }
                let name = self.name()?;
                self.step(Step::Member(name.clone()));
                let value = visitor.visit_enum(Variant { reader: &mut *self, name })?;
                self.back(steps);
                if self.another(false, b'}')? {
                    return Err(Fault::new("expected one member only, which says what kind of value it is"));
                }
                Ok(value)
            }
            _ => Err(self.mismatch(&"a name, or an object with one member")),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.unasked();
        self.skip()?;
        visitor.visit_unit()
    }
}

/// An alternative that carries a value: the only member of an object.
struct Variant<'a, 'de> {
    reader: &'a mut Reader<'de>,
    name: Cow<'de, str>,
}

impl<'de> EnumAccess<'de> for Variant<'_, 'de> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Fault> {
        let value = seed.deserialize(CowStrDeserializer::new(self.name.clone()))?;
        Ok((value, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, 'de> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        self.reader.deserialize_unit(serde::de::IgnoredAny).map(drop)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        seed.deserialize(self.reader)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Fault> {
        self.reader.list(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Fault> {
        self.reader.deserialize_struct("", fields, visitor)
    }
}
