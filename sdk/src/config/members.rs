//! Lists and objects as serde walks through them.

use std::borrow::Cow;

use serde::de::value::CowStrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::fault::Fault;
use super::names::Names;
use super::number::{Integer, integer};
use super::reader::{Reader, Step};

/// The elements of a list that has begun.
pub(super) struct Elements<'a, 'de> {
    reader: &'a mut Reader<'de>,
    steps: usize,
    next: usize,
    ended: bool,
}

impl<'a, 'de> Elements<'a, 'de> {
    pub(super) fn new(reader: &'a mut Reader<'de>) -> Self {
        let steps = reader.steps();
        Self { reader, steps, next: 0, ended: false }
    }

    /// Nothing is left; a tuple takes exactly as many elements as it has.
    pub(super) fn end(self) -> Result<(), Fault> {
        if self.ended {
            return Ok(());
        }
        self.reader.back(self.steps);
        if self.reader.another(self.next == 0, b']')? {
            Err(Fault::new("the list has too many elements"))
        } else {
            Ok(())
        }
    }
}

impl<'de> SeqAccess<'de> for Elements<'_, 'de> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        self.reader.back(self.steps);
        if !self.reader.another(self.next == 0, b']')? {
            self.ended = true;
            return Ok(None);
        }
        self.reader.step(Step::Element(self.next));
        self.next += 1;
        seed.deserialize(&mut *self.reader).map(Some)
    }
}

/// The members of an object that has begun.
pub(super) struct Members<'a, 'de> {
    reader: &'a mut Reader<'de>,
    steps: usize,
    names: Names<'de>,
    ended: bool,
}

impl<'a, 'de> Members<'a, 'de> {
    pub(super) fn new(reader: &'a mut Reader<'de>) -> Self {
        let steps = reader.steps();
        Self { reader, steps, names: Names::default(), ended: false }
    }

    /// Nothing is left.
    pub(super) fn end(self) -> Result<(), Fault> {
        if self.ended {
            return Ok(());
        }
        self.reader.back(self.steps);
        let more = self.reader.another(self.names.is_empty(), b'}')?;
        if more { Err(Fault::new("the object has too many members")) } else { Ok(()) }
    }
}

impl<'de> MapAccess<'de> for Members<'_, 'de> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        self.reader.back(self.steps);
        if !self.reader.another(self.names.is_empty(), b'}')? {
            self.ended = true;
            return Ok(None);
        }
        let name = self.reader.name()?;
        self.reader.step(Step::Member(name.clone()));
        self.names.add(name.clone())?;
        seed.deserialize(Name(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        seed.deserialize(&mut *self.reader)
    }
}

/// The name of a member, which may stand for a number.
struct Name<'de>(Cow<'de, str>);

macro_rules! integers {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            match integer(&self.0) {
                Some(Integer::Unsigned(value)) => visitor.visit_u64(value),
                Some(Integer::Signed(value)) => visitor.visit_i64(value),
                None => self.deserialize_any(visitor),
            }
        })*
    };
}

impl<'de> Deserializer<'de> for Name<'de> {
    type Error = Fault;

    integers! {
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
    }

    forward_to_deserialize_any! {
        bool i128 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct
        identifier ignored_any
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            Cow::Borrowed(name) => visitor.visit_borrowed_str(name),
            Cow::Owned(name) => visitor.visit_string(name),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_enum(CowStrDeserializer::new(self.0))
    }
}
