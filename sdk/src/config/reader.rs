//! A JSON text (RFC 8259) and the place in it, read token by token.

use std::borrow::Cow;

use super::fault::Fault;
use super::names::Names;

/// How deep values may lie in each other.
const MAX_DEPTH: usize = 128;

/// One step on the way to a value.
pub(super) enum Step<'de> {
    Member(Cow<'de, str>),
    Element(usize),
}

/// What is wrong in a text, and where.
#[derive(Debug)]
pub(super) struct Mistake {
    /// The place among the values, such as `rules[2].timeout`; empty for the whole.
    pub(super) path: String,
    pub(super) reason: String,
    /// The line where reading ended, from 1, and how many bytes of it were read.
    pub(super) line: usize,
    pub(super) column: usize,
}

/// A text that is being read.
pub(super) struct Reader<'de> {
    text: &'de str,
    place: usize,
    depth: usize,
    /// The way to the value that is being read. When reading fails it stays as it was, and so tells where.
    path: Vec<Step<'de>>,
    /// The path of the first member that nobody asked for, and where it begins.
    unwanted: Option<(String, usize)>,
}

impl<'de> Reader<'de> {
    pub(super) fn new(text: &'de str) -> Self {
        Self { text, place: 0, depth: 0, path: Vec::new(), unwanted: None }
    }

    /// The outcome, with the place of what went wrong.
    pub(super) fn finish<T>(self, outcome: Result<T, Fault>) -> Result<T, Mistake> {
        let (path, reason, place) = match (outcome, self.unwanted) {
            (Ok(value), None) => return Ok(value),
            (Ok(_), Some((path, place))) => (path, "unknown field; check the spelling, or remove it".into(), place),
            (Err(fault), _) => (written(&self.path), fault.0, self.place),
        };
        let read = self.text.as_bytes().get(..place).unwrap_or_default();
        let line = read.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = read.iter().rev().take_while(|byte| **byte != b'\n').count();
        Err(Mistake { path, reason: reason.into(), line, column })
    }

    /// Where in the text reading stands.
    pub(super) fn place(&self) -> usize {
        self.place
    }

    /// What was read since a place.
    pub(super) fn since(&self, place: usize) -> &'de str {
        self.text.get(place..self.place).unwrap_or_default()
    }

    /// Nothing but white space is left.
    pub(super) fn end(&mut self) -> Result<(), Fault> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(Fault::new("something follows the end")),
        }
    }

    /// How long the path is.
    pub(super) fn steps(&self) -> usize {
        self.path.len()
    }

    /// Goes back to a path of this length.
    pub(super) fn back(&mut self, steps: usize) {
        self.path.truncate(steps);
    }

    pub(super) fn step(&mut self, step: Step<'de>) {
        self.path.push(step);
    }

    /// The first byte of the next token; it stays.
    pub(super) fn peek(&mut self) -> Option<u8> {
        let rest = self.text.as_bytes().get(self.place..)?;
        let blank = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
        self.place += blank;
        rest.get(blank).copied()
    }

    /// Takes the next token if it is this byte.
    pub(super) fn takes(&mut self, byte: u8) -> bool {
        let is = self.peek() == Some(byte);
        self.place += usize::from(is);
        is
    }

    /// Takes this byte, or fails with what was expected.
    pub(super) fn expect(&mut self, byte: u8, expected: &str) -> Result<(), Fault> {
        if self.takes(byte) { Ok(()) } else { Err(self.not_json(expected)) }
    }

    pub(super) fn not_json(&self, expected: &str) -> Fault {
        let at = if self.place >= self.text.len() { ", but the text ends here" } else { "" };
        Fault(format!("this is not JSON: expected {expected}{at}").into())
    }

    /// Takes a word such as `null`.
    pub(super) fn word(&mut self, word: &str) -> Result<(), Fault> {
        let rest = self.text.get(self.place..).unwrap_or_default();
        if !rest.starts_with(word) {
            return Err(self.not_json("a value"));
        }
        self.place += word.len();
        Ok(())
    }

    /// Begins a list or an object.
    pub(super) fn enter(&mut self) -> Result<(), Fault> {
        self.place += 1;
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(Fault::new("the values lie too deep in each other")) } else { Ok(()) }
    }

    /// Whether a list or an object has another element; takes what stands before it, or the end.
    pub(super) fn another(&mut self, first: bool, end: u8) -> Result<bool, Fault> {
        if self.takes(end) {
            self.depth -= 1;
            return Ok(false);
        }
        if !first {
            self.expect(b',', if end == b']' { "`,` or `]`" } else { "`,` or `}`" })?;
            if self.peek() == Some(end) {
                return Err(self.not_json("something behind the comma"));
            }
        }
        Ok(true)
    }

    /// The name of a member, and its colon.
    pub(super) fn name(&mut self) -> Result<Cow<'de, str>, Fault> {
        if self.peek() != Some(b'"') {
            return Err(self.not_json("a name in quotes"));
        }
        let name = self.string()?;
        self.expect(b':', "`:`")?;
        Ok(name)
    }

    /// A number as it is written.
    pub(super) fn number(&mut self) -> Result<&'de str, Fault> {
        let begin = self.place;
        self.takes_here(b'-');
        if !self.takes_here(b'0') && self.digits() == 0 {
            return Err(self.not_json("a value"));
        }
        if self.takes_here(b'.') && self.digits() == 0 {
            return Err(self.not_json("a digit"));
        }
        if self.takes_here(b'e') || self.takes_here(b'E') {
            let _sign = self.takes_here(b'-') || self.takes_here(b'+');
            if self.digits() == 0 {
                return Err(self.not_json("a digit"));
            }
        }
        Ok(self.since(begin))
    }

    fn here(&self) -> Option<u8> {
        self.text.as_bytes().get(self.place).copied()
    }

    fn takes_here(&mut self, byte: u8) -> bool {
        let is = self.here() == Some(byte);
        self.place += usize::from(is);
        is
    }

    fn digits(&mut self) -> usize {
        let begin = self.place;
        while self.here().is_some_and(|byte| byte.is_ascii_digit()) {
            self.place += 1;
        }
        self.place - begin
    }

    /// A string, whose first quote is next.
    pub(super) fn string(&mut self) -> Result<Cow<'de, str>, Fault> {
        self.place += 1;
        let mut text = Cow::Borrowed("");
        loop {
            let begin = self.place;
            while self.here().is_some_and(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20)) {
                self.place += 1;
            }
            let plain = self.since(begin);
            match &mut text {
                Cow::Borrowed("") => text = Cow::Borrowed(plain),
                more => more.to_mut().push_str(plain),
            }
            if self.takes_here(b'"') {
                return Ok(text);
            }
            if !self.takes_here(b'\\') {
                return Err(self.not_json("the closing quote of a string, and no control character in it"));
            }
            let character = self.escape()?;
            text.to_mut().push(character);
        }
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Result<char, Fault> {
        let code = self.here();
        self.place += usize::from(code.is_some());
        Ok(match code {
            Some(same @ (b'"' | b'\\' | b'/')) => char::from(same),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.code_point(),
            _ => return Err(self.not_json("an escape of JSON behind the backslash")),
        })
    }

    /// What follows `\u`: one unit of UTF-16, or two that belong together.
    fn code_point(&mut self) -> Result<char, Fault> {
        let unit = self.unit()?;
        let code = match unit {
            0xd800..0xdc00 if self.takes_here(b'\\') && self.takes_here(b'u') => match self.unit()? {
                low @ 0xdc00..0xe000 => 0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00),
                _ => unit,
            },
            _ => unit,
        };
        char::from_u32(code).ok_or_else(|| Fault::new("half of a surrogate pair stands alone"))
    }

    fn unit(&mut self) -> Result<u32, Fault> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self.here().and_then(|byte| char::from(byte).to_digit(16));
            unit = unit * 16 + digit.ok_or_else(|| self.not_json("four hexadecimal digits"))?;
            self.place += 1;
        }
        Ok(unit)
    }

    /// Passes over a value; it is still checked.
    pub(super) fn skip(&mut self) -> Result<(), Fault> {
        match self.peek() {
            Some(b'{') => {
                self.enter()?;
                let mut names = Names::default();
                while self.another(names.is_empty(), b'}')? {
                    let name = self.name()?;
                    names.add(name)?;
                    self.skip()?;
                }
                Ok(())
            }
            Some(b'[') => {
                self.enter()?;
                let mut first = true;
                while self.another(first, b']')? {
                    first = false;
                    self.skip()?;
                }
                Ok(())
            }
            Some(b'"') => self.string().map(drop),
            Some(b'n') => self.word("null"),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            _ => self.number().map(drop),
        }
    }

    /// Notes that nobody asked for the value that comes next.
    pub(super) fn unasked(&mut self) {
        if self.unwanted.is_none() {
            self.unwanted = Some((written(&self.path), self.place));
        }
    }
}

/// A path in the form `a.b[3].c`.
fn written(path: &[Step<'_>]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Member(name) => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(name);
            }
            Step::Element(place) => text.push_str(&format!("[{place}]")),
        }
    }
    text
}

#[cfg(test)]
mod tests;
