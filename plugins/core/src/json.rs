//! JSON read by what is expected: an object is no list, no member counts twice, and whatever else stands there is refused
//! with its place.
//!
//! A reader is asked for an object, a list or a text, and calls back for what is inside, so that nothing is built that is
//! not wanted. Strict RFC 8259, UTF-8, at most 100 levels deep.

use std::borrow::Cow;

use crate::finding::{At, Finding};
use crate::order;

/// How deep values may lie in each other.
const MAX_DEPTH: u8 = 100;

/// What reads a value at a place.
pub(crate) type Read<'r, 'j> = &'r mut dyn FnMut(&mut Json<'j>, At<'_>) -> Result<(), Finding>;

/// What reads a member, given its name.
pub(crate) type ReadMember<'r, 'j> = &'r mut dyn FnMut(&mut Json<'j>, &str, At<'_>) -> Result<(), Finding>;

/// What reads a member, given its name to keep.
pub(crate) type KeepMember<'r, 'j> = &'r mut dyn FnMut(&mut Json<'j>, Cow<'j, str>) -> Result<(), Finding>;

/// A text of JSON, read up to some place.
#[derive(Debug, Clone)]
pub(crate) struct Json<'j> {
    whole: &'j str,
    rest: &'j str,
    depth: u8,
}

/// The kinds of values, by their first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    List,
    Text,
    Number,
    Flag,
    Null,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Object => "an object",
            Self::List => "a list",
            Self::Text => "a text",
            Self::Number => "a number",
            Self::Flag => "true or false",
            Self::Null => "null",
        }
    }
}

impl<'j> Json<'j> {
    /// Begins at the first value.
    pub(crate) fn new(text: &'j [u8]) -> Result<Self, Finding> {
        match std::str::from_utf8(text) {
            Ok(text) => Ok(Self { whole: text, rest: text, depth: 0 }),
            Err(error) => Err(At::Whole.finding(format!("is not UTF-8 from byte {} on", error.valid_up_to()))),
        }
    }

    /// Makes sure that nothing follows.
    pub(crate) fn end(&mut self) -> Result<(), Finding> {
        if self.peek().is_some() {
            return Err(self.broken("the end"));
        }
        Ok(())
    }

    /// The kind of the value that comes next.
    pub(crate) fn kind(&mut self) -> Result<Kind, Finding> {
        match self.peek() {
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::List),
            Some(b'"') => Ok(Kind::Text),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't' | b'f') => Ok(Kind::Flag),
            Some(b'n') => Ok(Kind::Null),
            _ => Err(self.broken("a value")),
        }
    }

    /// Whether a text comes next.
    pub(crate) fn is_text(&mut self) -> Result<bool, Finding> {
        Ok(self.kind()? == Kind::Text)
    }

    /// Takes a `null`, if that is what comes next.
    pub(crate) fn null(&mut self) -> Result<bool, Finding> {
        if self.kind()? != Kind::Null {
            return Ok(false);
        }
        self.word("null").map(|()| true)
    }

    /// Reads an object; `member` has to read each value.
    pub(crate) fn object(&mut self, at: At<'_>, member: ReadMember<'_, 'j>) -> Result<(), Finding> {
        self.members(at, &mut |json, name| member(json, &name, At::Field(&at, &name)))
    }

    /// Reads an object whose members' names are kept; `member` has to read each value.
    pub(crate) fn members(&mut self, at: At<'_>, member: KeepMember<'_, 'j>) -> Result<(), Finding> {
        self.enter(Kind::Object, at)?;
        if self.took(b'}') {
            return self.leave();
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.broken("the name of a member"));
            }
            let name = self.string()?;
            if !self.took(b':') {
                return Err(self.broken("`:`"));
            }
            member(self, name)?;
            if self.took(b'}') {
                return self.leave();
            }
            if !self.took(b',') {
                return Err(self.broken("`,` or `}`"));
            }
        }
    }

    /// Reads a list; `element` has to read each value.
    pub(crate) fn list(&mut self, at: At<'_>, element: Read<'_, 'j>) -> Result<(), Finding> {
        self.enter(Kind::List, at)?;
        if self.took(b']') {
            return self.leave();
        }
        let mut index = 0;
        loop {
            element(self, At::Element(&at, index))?;
            if self.took(b']') {
                return self.leave();
            }
            if !self.took(b',') {
                return Err(self.broken("`,` or `]`"));
            }
            index += 1;
        }
    }

    /// Reads a text.
    pub(crate) fn text(&mut self, at: At<'_>) -> Result<Cow<'j, str>, Finding> {
        self.expect(Kind::Text, at)?;
        self.string()
    }

    /// Reads `true` or `false`.
    pub(crate) fn flag(&mut self, at: At<'_>) -> Result<bool, Finding> {
        self.expect(Kind::Flag, at)?;
        let flag = self.rest.starts_with('t');
        self.word(if flag { "true" } else { "false" }).map(|()| flag)
    }

    /// Passes over a value of any kind.
    pub(crate) fn skip(&mut self, at: At<'_>) -> Result<(), Finding> {
        match self.kind()? {
            Kind::Object => self.object(at, &mut |json, _, at| json.skip(at)),
            Kind::List => self.list(at, &mut |json, at| json.skip(at)),
            Kind::Text => self.string().map(drop),
            Kind::Number => self.number(at).map(drop),
            Kind::Flag => self.flag(at).map(drop),
            Kind::Null => self.word("null"),
        }
    }

    fn expect(&mut self, kind: Kind, at: At<'_>) -> Result<(), Finding> {
        let found = self.kind()?;
        if found != kind {
            return Err(at.finding(format!("must be {}, and is {}", kind.name(), found.name())));
        }
        Ok(())
    }

    fn enter(&mut self, kind: Kind, at: At<'_>) -> Result<(), Finding> {
        self.expect(kind, at)?;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(At::Whole.finding(format!("is nested more than {MAX_DEPTH} levels deep")));
        }
        self.advance(1);
        Ok(())
    }

    fn leave(&mut self) -> Result<(), Finding> {
        self.depth = self.depth.saturating_sub(1);
        Ok(())
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
        self.rest.bytes().next()
    }

    fn took(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        if there {
            self.advance(1);
        }
        there
    }

    fn advance(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    fn word(&mut self, word: &str) -> Result<(), Finding> {
        match self.rest.strip_prefix(word) {
            Some(rest) => {
                self.rest = rest;
                Ok(())
            }
            None => Err(self.broken("a value")),
        }
    }

    /// Passes over digits; says whether there were any.
    fn digits(&mut self) -> bool {
        let count = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        self.advance(count);
        count > 0
    }

    /// Reads a number, as it is written.
    pub(crate) fn number(&mut self, at: At<'_>) -> Result<&'j str, Finding> {
        self.expect(Kind::Number, at)?;
        let whole = self.rest;
        self.rest = whole.strip_prefix('-').unwrap_or(whole);
        let leading_zero = self.rest.starts_with('0');
        let start = self.rest.len();
        let mut well_formed = self.digits() && !(leading_zero && start - self.rest.len() > 1);
        if let Some(rest) = self.rest.strip_prefix('.') {
            self.rest = rest;
            well_formed &= self.digits();
        }
        if let Some(rest) = self.rest.strip_prefix(['e', 'E']) {
            self.rest = rest.strip_prefix(['+', '-']).unwrap_or(rest);
            well_formed &= self.digits();
        }
        if !well_formed {
            return Err(self.broken("a number"));
        }
        Ok(whole.get(..whole.len().saturating_sub(self.rest.len())).unwrap_or_default())
    }

    /// Reads the text that begins here.
    fn string(&mut self) -> Result<Cow<'j, str>, Finding> {
        self.advance(1);
        let mut text = Cow::Borrowed("");
        loop {
            let plain = self.rest.bytes().take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20)).count();
            let (piece, rest) = self.rest.split_at_checked(plain).unwrap_or(("", self.rest));
            self.rest = rest;
            // The first piece is borrowed, so a text without escapes is never copied.
            text += piece;
            match rest.bytes().next() {
                Some(b'"') => {
                    self.advance(1);
                    return Ok(text);
                }
                Some(b'\\') => {
                    self.advance(1);
                    text.to_mut().push(self.escape()?);
                }
                _ => return Err(self.broken("the rest of a text")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Finding> {
        let letter = self.rest.bytes().next();
        let plain = match letter {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.character(),
            _ => return Err(self.broken("an escaped character")),
        };
        self.advance(1);
        Ok(plain)
    }

    /// Reads what follows a backslash: `u00e9`, or a pair of surrogates.
    fn character(&mut self) -> Result<char, Finding> {
        let first = self.unit()?;
        let code = match first {
            0xd800..0xdc00 if self.rest.starts_with("\\u") => {
                self.advance(1);
                let second = self.unit()?;
                let low = second.checked_sub(0xdc00).filter(|low| *low < 0x400);
                low.map(|low| 0x10000 + ((first - 0xd800) << 10) + low)
            }
            _ => Some(first),
        };
        // A lone surrogate is no character.
        code.and_then(char::from_u32).ok_or_else(|| self.broken("a pair of surrogates"))
    }

    /// Reads `u` and four digits.
    fn unit(&mut self) -> Result<u32, Finding> {
        let digits = self.rest.get(1..5).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let unit = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        let unit = unit.ok_or_else(|| self.broken("four hexadecimal digits"))?;
        self.advance(5);
        Ok(unit)
    }

    fn broken(&self, expected: &str) -> Finding {
        let read = self.whole.get(..self.whole.len().saturating_sub(self.rest.len())).unwrap_or_default();
        let line = read.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = read.bytes().rev().take_while(|byte| *byte != b'\n').count() + 1;
        At::Whole.finding(format!("is not JSON: expected {expected} at line {line}, column {column}"))
    }
}

/// Reads a list whose elements are all alike.
pub(crate) fn list<'j, T>(
    json: &mut Json<'j>,
    at: At<'_>,
    read: fn(&mut Json<'j>, At<'_>) -> Result<T, Finding>,
) -> Result<Vec<T>, Finding> {
    let mut list = Vec::new();
    json.list(at, &mut |json, at| read(json, at).map(|element| list.push(element)))?;
    Ok(list)
}

/// Reads an object whose members' names are the user's own; they come out in order, each once.
pub(crate) fn map<'j, T>(
    json: &mut Json<'j>,
    at: At<'_>,
    read: fn(&mut Json<'j>, At<'_>) -> Result<T, Finding>,
) -> Result<Vec<(String, T)>, Finding> {
    let mut members = Vec::new();
    json.object(at, &mut |json, name, _| {
        members.push((name.to_owned(), read(json, At::Member(&at, name))?));
        Ok(())
    })?;
    order::sort(&mut members, |(a, _), (b, _)| a.cmp(b));
    match members.array_windows().find(|[(a, _), (b, _)]| a == b) {
        Some([(name, _), _]) => Err(At::Member(&at, name).finding("is given twice")),
        None => Ok(members),
    }
}

/// The member of a name, of those that [`map`] has read.
pub(crate) fn member<'m, T>(members: &'m [(String, T)], name: &str) -> Option<&'m T> {
    members.iter().find(|(known, _)| known == name).map(|(_, value)| value)
}

/// Reads a field that may be left out, or be null, and must not be given twice.
pub(crate) fn once<'j, T>(
    slot: &mut Option<T>,
    json: &mut Json<'j>,
    at: At<'_>,
    read: impl FnOnce(&mut Json<'j>, At<'_>) -> Result<T, Finding>,
) -> Result<(), Finding> {
    if json.null()? {
        return Ok(());
    }
    if slot.is_some() {
        return Err(at.finding("is given twice"));
    }
    *slot = Some(read(json, at)?);
    Ok(())
}

/// Refuses a field that nobody knows.
pub(crate) fn unknown(at: At<'_>) -> Result<(), Finding> {
    Err(at.finding("unknown field; check the spelling, or remove it"))
}

#[cfg(test)]
mod tests;
