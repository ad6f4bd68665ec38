//! Header lists: bytes first, several lines of one name kept apart, fetched from the host in one call.

use std::fmt;

use crate::error::{Error, Result};
use crate::sys::{self, MapKind};
use crate::visible::Visible;

/// A list of header lines as it stood when it was read.
///
/// Names are lower case, as Envoy keeps them; lookups ignore the case of the name asked for. One name may have
/// several lines: [`get`](Self::get) tells the first, [`get_all`](Self::get_all) all of them, and
/// [`sole`](Self::sole) refuses a second one, which is what a decision about access wants.
#[derive(Clone, Default)]
pub struct Headers {
    /// INVARIANT: a blob of the ABI that `decode` accepted; empty when there is no line.
    blob: Vec<u8>,
}

impl Headers {
    /// Reads a map of the active context.
    pub(crate) fn read(kind: MapKind) -> Result<Self> {
        Self::decode(sys::header_map_pairs(kind)?)
    }

    /// A list of these lines.
    #[cfg(test)]
    pub(crate) fn of(lines: &[(&str, &str)]) -> Self {
        let lines: Vec<_> = lines.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        Self::decode(Lineup::default().encode(&lines).unwrap()).unwrap()
    }

    /// Accepts the encoding of the ABI: a count, the lengths of all names and values, then the bytes with a NUL
    /// after each; all numbers are 32-bit little-endian.
    pub(crate) fn decode(blob: Vec<u8>) -> Result<Self> {
        let headers = Self { blob };
        let malformed = || Error::malformed("a header map from the host");
        let Some((count, rest)) = headers.blob.split_first_chunk::<4>() else {
            return if headers.blob.is_empty() { Ok(headers) } else { Err(malformed()) };
        };
        let count = u32::from_le_bytes(*count) as usize;
        let lengths = count.checked_mul(8).and_then(|len| rest.get(..len)).ok_or_else(malformed)?;
        let expected = lengths
            .as_chunks::<4>()
            .0
            .iter()
            .try_fold(lengths.len(), |sum, len| sum.checked_add(u32::from_le_bytes(*len) as usize)?.checked_add(1));
        if expected == Some(rest.len()) { Ok(headers) } else { Err(malformed()) }
    }

    /// The first line of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<HeaderValue<'_>> {
        self.matching(name).next()
    }

    /// All lines of a name, in their order.
    pub fn get_all<'a>(&'a self, name: &str) -> impl Iterator<Item = HeaderValue<'a>> {
        self.matching(name)
    }

    /// The one line of a name; a second one is an error.
    pub fn sole(&self, name: &str) -> Result<Option<HeaderValue<'_>>> {
        let mut lines = self.matching(name);
        let first = lines.next();
        match lines.next() {
            None => Ok(first),
            Some(_) => Err(Error::app(format!("header `{name}` appears more than once"))),
        }
    }

    /// Whether there is a line of this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// All lines in their order, pseudo headers (`:path` …) included.
    pub fn iter(&self) -> impl Iterator<Item = (HeaderValue<'_>, HeaderValue<'_>)> {
        self.lines().map(|(name, value)| (HeaderValue(name), HeaderValue(value)))
    }

    /// How many lines there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.blob.first_chunk::<4>().map_or(0, |count| u32::from_le_bytes(*count) as usize)
    }

    /// Whether there is no line.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn matching<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = HeaderValue<'a>> + use<'a, 'n> {
        let lines = self.lines().filter(|(line, _)| line.eq_ignore_ascii_case(name.as_bytes()));
        lines.map(|(_, value)| HeaderValue(value))
    }

    fn lines(&self) -> Lines<'_> {
        let (lengths, bytes) =
            self.blob.get(4..).and_then(|rest| rest.split_at_checked(self.len().saturating_mul(8))).unwrap_or_default();
        Lines { lengths, bytes }
    }
}

impl fmt::Debug for Headers {
    /// Names only: values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| name)).finish()
    }
}

struct Lines<'a> {
    lengths: &'a [u8],
    bytes: &'a [u8],
}

impl<'a> Lines<'a> {
    fn field(&mut self) -> Option<&'a [u8]> {
        let (len, lengths) = self.lengths.split_first_chunk::<4>()?;
        let (field, rest) = self.bytes.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        self.lengths = lengths;
        self.bytes = rest.get(1..)?;
        Some(field)
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        Some((self.field()?, self.field()?))
    }
}

/// The value (or the name) of a header line: any bytes, usually text.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HeaderValue<'a>(&'a [u8]);

impl<'a> HeaderValue<'a> {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The text; bytes that are not UTF-8 are an error.
    pub fn to_str(self) -> Result<&'a str> {
        std::str::from_utf8(self.0).map_err(|_| Error::malformed("a header value that is not UTF-8"))
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

impl AsRef<[u8]> for HeaderValue<'_> {
    fn as_ref(&self) -> &[u8] {
        self.0
    }
}

impl PartialEq<str> for HeaderValue<'_> {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for HeaderValue<'_> {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl fmt::Display for HeaderValue<'_> {
    /// The text, with the replacement character where the bytes are none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.0))
    }
}

impl fmt::Debug for HeaderValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// Header lines that a plugin sends: with a reply or a callout.
#[derive(Clone, Default)]
pub(crate) struct Lineup {
    lines: Vec<(String, Vec<u8>)>,
}

impl Lineup {
    pub(crate) fn push(&mut self, name: &str, value: &[u8]) {
        self.lines.push((name.to_ascii_lowercase(), value.to_vec()));
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.lines.iter().any(|(line, _)| line == name)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The encoding of the ABI, `first` lines before the others.
    ///
    /// Fails on a line that no host can carry: the blob counts in 32 bits, and a NUL or a line break in a value
    /// would be refused by Envoy only after the plugin was told that all is well.
    pub(crate) fn encode(&self, first: &[(&str, &[u8])]) -> Result<Vec<u8>> {
        let lines = || {
            let own = self.lines.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
            first.iter().copied().chain(own)
        };
        if let Some((name, _)) = self.lines.iter().find(|(name, _)| name.starts_with(':')) {
            return Err(Error::app(format!("`{name}` cannot be added; pseudo headers have methods of their own")));
        }
        let size = lines().map(|(name, value)| name.len() + value.len() + 10).sum::<usize>();
        let mut blob = Vec::with_capacity(4 + size);
        blob.extend(length(lines().count())?);
        for (name, value) in lines() {
            check_line(name, value)?;
            blob.extend(length(name.len())?);
            blob.extend(length(value.len())?);
        }
        for (name, value) in lines() {
            for field in [name.as_bytes(), value] {
                blob.extend_from_slice(field);
                blob.push(0);
            }
        }
        Ok(blob)
    }
}

impl fmt::Debug for Lineup {
    /// Names only: values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.lines.iter().map(|(name, _)| name)).finish()
    }
}

fn length(len: usize) -> Result<[u8; 4]> {
    u32::try_from(len).map(u32::to_le_bytes).map_err(|_| Error::app("a header line is larger than 4 GiB"))
}

/// Refuses what would fail later, and elsewhere: Envoy answers `ok` to a bad line and breaks the stream afterwards.
pub(crate) fn check_line(name: &str, value: &[u8]) -> Result<()> {
    let plain = name.strip_prefix(':').unwrap_or(name);
    if plain.is_empty() || !plain.bytes().all(is_token) {
        return Err(Error::app(format!("`{}` is not a header name", Visible(name))));
    }
    if value.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n')) {
        return Err(Error::app(format!("the value for header `{name}` holds a line break or a NUL")));
    }
    Ok(())
}

/// Whether a byte may stand in a header's name (RFC 9110 §5.6.2): one look into a table.
fn is_token(byte: u8) -> bool {
    #[expect(clippy::indexing_slicing, reason = "an index out of bounds would not compile")]
    const TOKENS: [bool; 256] = {
        let text = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let mut table = [false; 256];
        let mut place = 0;
        while place < text.len() {
            table[text[place] as usize] = true;
            place += 1;
        }
        table
    };
    TOKENS.get(usize::from(byte)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(lines: &[(&str, &str)]) -> Headers {
        let lines: Vec<_> = lines.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        Headers::decode(Lineup::default().encode(&lines).unwrap()).unwrap()
    }

    #[test]
    fn repeated_lines_stay_apart() {
        let headers = headers(&[("cookie", "a"), ("x", "1"), ("cookie", "b")]);
        assert_eq!(headers.get("Cookie").unwrap(), "a");
        assert_eq!(headers.get_all("cookie").map(|v| v.to_string()).collect::<Vec<_>>(), ["a", "b"]);
        assert!(headers.sole("cookie").is_err());
        assert_eq!(headers.sole("x").unwrap().unwrap(), "1");
        assert_eq!(headers.sole("absent").unwrap(), None);
        assert_eq!(headers.len(), 3);
    }

    #[test]
    fn pseudo_headers_cannot_be_added() {
        let mut lineup = Lineup::default();
        lineup.push(":Path", b"/");
        assert!(lineup.encode(&[(":path", b"/check")]).is_err());
    }

    #[test]
    fn an_empty_answer_is_an_empty_map() {
        assert!(Headers::decode(Vec::new()).unwrap().is_empty());
        assert!(Headers::decode(vec![0; 4]).unwrap().is_empty());
    }

    #[test]
    fn lines_that_no_peer_may_see_are_refused() {
        for (name, value) in [("", "x"), ("a b", "x"), ("a\n", "x"), (":", "x"), ("a", "x\r\ny: z"), ("a", "\0")] {
            assert!(check_line(name, value.as_bytes()).is_err(), "{name:?}: {value:?}");
        }
        assert!(check_line(":path", b"/").is_ok());
        assert!(check_line("x-bytes", b"\xff\xfe").is_ok());
    }

    #[test]
    fn values_do_not_show_in_debug_output() {
        assert_eq!(format!("{:?}", headers(&[("authorization", "secret")])), r#"["authorization"]"#);
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(lines in prop::collection::vec(("[a-z][a-z-]{0,9}", prop::collection::vec(1u8..9, 0..9)), 0..9)) {
            let mut lineup = Lineup::default();
            for (name, value) in &lines {
                lineup.push(name, value);
            }
            let headers = Headers::decode(lineup.encode(&[]).unwrap()).unwrap();
            let read: Vec<_> = headers.iter().map(|(n, v)| (n.to_string(), v.as_bytes().to_vec())).collect();
            prop_assert_eq!(read, lines);
        }

        #[test]
        fn no_blob_breaks_the_reader(blob in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(headers) = Headers::decode(blob) {
                prop_assert_eq!(headers.iter().count(), headers.len());
            }
        }
    }
}
