//! `google.protobuf.Struct` as peers exchange it: written in exactly one way, and read strictly.

use std::collections::BTreeMap;

use super::protobuf::{Content, Fields, Malformed, put};

/// How deep structs may nest; what is exchanged has three levels.
const DEPTH: u32 = 16;

/// Names and values; sorted by the bytes of the names, as C++ serialises it deterministically.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Struct(BTreeMap<String, Value>);

/// A value of a [`Struct`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// Names and values in their turn.
    Struct(Struct),
    /// A number, a flag, null or a list, none of which means anything to us.
    Other,
}

impl Struct {
    /// Reads the protobuf message; `None` if it is none, if it has fields that a `Struct` has not, a name twice, text
    /// that is not UTF-8, or structs nested more than 16 deep.
    #[must_use]
    pub fn decode(message: &[u8]) -> Option<Self> {
        decode(message, DEPTH).ok()
    }

    /// The protobuf message. There is one for each value, byte by byte.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut message = Vec::new();
        for (name, value) in &self.0 {
            let mut content = Vec::new();
            match value {
                Value::Text(text) => put(3, text.as_bytes(), &mut content),
                Value::Struct(fields) => put(5, &fields.encode(), &mut content),
                Value::Other => content.extend_from_slice(&[1 << 3, 0]),
            }
            let mut entry = Vec::with_capacity(name.len() + content.len() + 8);
            put(1, name.as_bytes(), &mut entry);
            put(2, &content, &mut entry);
            put(1, &entry, &mut message);
        }
        message
    }

    /// The text of that name.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name)? {
            Value::Text(text) => Some(text),
            Value::Struct(_) | Value::Other => None,
        }
    }

    /// The struct of that name.
    #[must_use]
    pub fn fields(&self, name: &str) -> Option<&Self> {
        match self.0.get(name)? {
            Value::Struct(fields) => Some(fields),
            Value::Text(_) | Value::Other => None,
        }
    }

    /// All names with a text.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(|(name, value)| match value {
            Value::Text(text) => Some((name.as_str(), text.as_str())),
            Value::Struct(_) | Value::Other => None,
        })
    }

    /// Gives a name a value.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        self.0.insert(name.into(), value.into());
    }

    /// Gives a name a text, unless that is empty.
    pub fn insert_text(&mut self, name: &str, text: &str) {
        if !text.is_empty() {
            self.insert(name, text);
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<Struct> for Value {
    fn from(fields: Struct) -> Self {
        Self::Struct(fields)
    }
}

impl<N: Into<String>, V: Into<Value>> FromIterator<(N, V)> for Struct {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(fields: I) -> Self {
        Self(fields.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

fn decode(message: &[u8], depth: u32) -> Result<Struct, Malformed> {
    let depth = depth.checked_sub(1).ok_or(Malformed)?;
    let mut fields = Struct::default();
    for field in Fields(message) {
        let (1, Content::Bytes(entry)) = field? else { return Err(Malformed) };
        let (mut name, mut value) = (None, None);
        for field in Fields(entry) {
            match field? {
                (1, Content::Bytes(bytes)) if name.is_none() => name = Some(text(bytes)?),
                (2, Content::Bytes(message)) if value.is_none() => value = Some(decode_value(message, depth)?),
                _ => return Err(Malformed),
            }
        }
        if fields.0.insert(name.unwrap_or_default(), value.unwrap_or(Value::Other)).is_some() {
            return Err(Malformed);
        }
    }
    Ok(fields)
}

fn decode_value(message: &[u8], depth: u32) -> Result<Value, Malformed> {
    let mut value = None;
    for field in Fields(message) {
        if value.is_some() {
            return Err(Malformed);
        }
        value = Some(match field? {
            (1 | 2 | 4, Content::Number) | (6, Content::Bytes(_)) => Value::Other,
            (3, Content::Bytes(bytes)) => Value::Text(text(bytes)?),
            (5, Content::Bytes(message)) => Value::Struct(decode(message, depth)?),
            _ => return Err(Malformed),
        });
    }
    Ok(value.unwrap_or(Value::Other))
}

fn text(bytes: &[u8]) -> Result<String, Malformed> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(depth: usize) -> Struct {
        (1..depth).fold(Struct::default(), |inner, _| [("a", inner)].into_iter().collect())
    }

    #[test]
    fn names_are_sorted_by_their_bytes_on_every_level() {
        let mut fields: Struct = [("NAMESPACE", ""), ("NAME", "x"), ("Z", "1")].into_iter().collect();
        fields.insert("LABELS", [("b", "2"), ("a", "1")].into_iter().collect::<Struct>());
        let message = fields.encode();
        assert_eq!(
            message,
            b"\x0a\x20\x0a\x06LABELS\x12\x16*\x14\x0a\x08\x0a\x01a\x12\x03\x1a\x011\x0a\x08\x0a\x01b\x12\x03\x1a\x012\
              \x0a\x0b\x0a\x04NAME\x12\x03\x1a\x01x\x0a\x0f\x0a\x09NAMESPACE\x12\x02\x1a\x00\x0a\x08\x0a\x01Z\x12\x03\x1a\x011"
        );
        assert_eq!(Struct::decode(&message), Some(fields));
    }

    #[test]
    fn what_is_no_struct_is_not_read() {
        let refused: [(&str, &[u8]); 10] = [
            ("a length that lies", b"\x0a\xff\xff\xff\xff\x0f"),
            ("a field that a struct has not", b"\x12\x00"),
            ("a number for an entry", b"\x08\x01"),
            ("a field that an entry has not", b"\x0a\x02\x1a\x00"),
            ("a name that is no UTF-8", b"\x0a\x03\x0a\x01\xff"),
            ("a text that is no UTF-8", b"\x0a\x05\x12\x03\x1a\x01\xff"),
            ("two values", b"\x0a\x06\x12\x04\x1a\x00\x1a\x00"),
            ("a name twice", b"\x0a\x03\x0a\x01a\x0a\x03\x0a\x01a"),
            ("a group", b"\x0b\x0c"),
            ("a number without an end", b"\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00"),
        ];
        for (what, message) in refused {
            assert_eq!(Struct::decode(message), None, "{what}");
        }
    }

    #[test]
    fn numbers_flags_nulls_and_lists_are_passed_over() {
        let message = b"\x0a\x07\x0a\x01a\x12\x02\x08\x00\x0a\x07\x0a\x01b\x12\x02\x20\x01\x0a\x07\x0a\x01c\x12\x022\x00\
                        \x0a\x0e\x0a\x01d\x12\x09\x11\x00\x00\x00\x00\x00\x00\x00\x00\x0a\x08\x0a\x01e\x12\x03\x1a\x01x";
        let fields = Struct::decode(message).unwrap();
        assert_eq!(fields.texts().collect::<Vec<_>>(), [("e", "x")]);
        assert_eq!(fields.text("a"), None);
    }

    #[test]
    fn nesting_ends_somewhere() {
        let deepest = nested(16);
        assert_eq!(Struct::decode(&deepest.encode()), Some(deepest));
        assert_eq!(Struct::decode(&nested(17).encode()), None);
    }
}
