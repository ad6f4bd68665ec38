//! What a proxy does to a path before any plugin sees it: Istio's `meshConfig.pathNormalization`.

use std::borrow::Cow;

/// How far different spellings of a path become one, so that a policy about `/admin` is one about `/app/../admin` as well. The
/// query is left alone. Plugins see the result, and so does the upstream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PathNormalization {
    /// The path stays as the client sent it: `NONE`, and what Envoy does unless told otherwise.
    #[default]
    None,
    /// Dot segments are resolved (RFC 3986, 5.2.4), escapes of letters, digits and `-._~` are undone, `\` becomes `/`, and what must
    /// not stand in a URL is escaped: `BASE`, which is Istio's `DEFAULT`. A path with a NUL, escaped or not, is refused with a 400.
    Base,
    /// As [`Base`](Self::Base); then several slashes in a row become one: `MERGE_SLASHES`.
    MergeSlashes,
    /// `%2f` and `%5c` are undone first; then as [`MergeSlashes`](Self::MergeSlashes): `DECODE_AND_MERGE_SLASHES`.
    DecodeAndMergeSlashes,
}

impl PathNormalization {
    /// The path, query included, as plugins see it; none where the request has to be refused.
    pub(crate) fn apply(self, target: &str) -> Option<Cow<'_, [u8]>> {
        // `*` asks about the server as a whole.
        if self == Self::None || !target.starts_with('/') {
            return Some(target.as_bytes().into());
        }
        let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
        if !self.may_change(path.as_bytes()) {
            return Some(target.as_bytes().into());
        }
        let mut bytes = path.as_bytes().to_vec();
        if self == Self::DecodeAndMergeSlashes {
            bytes = unescaped(&bytes, |byte| matches!(byte, b'/' | b'\\'));
        }
        bytes = unescaped(&bytes, |byte| byte == 0 || byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
        if bytes.contains(&0) {
            return None;
        }
        bytes.iter_mut().filter(|byte| **byte == b'\\').for_each(|byte| *byte = b'/');
        bytes = escaped(&without_dots(&bytes));
        if self.merges() {
            bytes.dedup_by(|one, other| (*one, *other) == (b'/', b'/'));
        }
        bytes.extend_from_slice(query.as_bytes());
        Some(bytes.into())
    }

    fn merges(self) -> bool {
        matches!(self, Self::MergeSlashes | Self::DecodeAndMergeSlashes)
    }

    /// Whether there is anything about the path that could be spelt otherwise; mostly there is not.
    fn may_change(self, path: &[u8]) -> bool {
        let odd = |byte: &u8| matches!(*byte, b'%' | b'\\') || must_be_escaped(*byte);
        let pairs = || path.iter().zip(path.iter().skip(1));
        path.iter().any(odd)
            || pairs().any(|pair| pair == (&b'/', &b'.'))
            || self.merges() && pairs().any(|pair| pair == (&b'/', &b'/'))
    }
}

fn must_be_escaped(byte: u8) -> bool {
    byte <= b' ' || byte >= 0x7f || b"\"<>^`{|}".contains(&byte)
}

/// Undoes escapes of those bytes, each once.
fn unescaped(text: &[u8], which: impl Fn(u8) -> bool) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, more)) = rest.split_first() {
        let byte = match (*first, more) {
            (b'%', [high, low, ..]) => digit(*high).zip(digit(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        match byte.filter(|byte| which(*byte)) {
            Some(byte) => {
                out.push(byte);
                rest = more.get(2..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                rest = more;
            }
        }
    }
    out
}

fn escaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        if must_be_escaped(*byte) {
            let digit =
                |half: u8| char::from_digit(half.into(), 16).map_or(0, |digit| digit.to_ascii_uppercase() as u8);
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        } else {
            out.push(*byte);
        }
    }
    out
}

/// Resolves dot segments; as of Envoy 1.40 those with parameters as well, such as `..;a=b`.
fn without_dots(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut segments = path.split(|byte| *byte == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
        if !matches!(name, b"." | b"..") {
            kept.push(segment);
            continue;
        }
        if name == b".." {
            kept.pop();
        }
        if segments.peek().is_none() {
            kept.push(b"");
        }
    }
    let mut out = Vec::with_capacity(path.len());
    for segment in kept {
        out.push(b'/');
        out.extend_from_slice(segment);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::PathNormalization::*;
    use super::*;

    fn applied(how: PathNormalization, path: &str) -> Option<String> {
        how.apply(path).map(|path| String::from_utf8(path.into_owned()).unwrap())
    }

    #[test]
    fn spellings_of_a_path_become_one() {
        for (how, path, expected) in [
            (None, "/a/../b//%61%00", "/a/../b//%61%00"),
            (Base, "/", "/"),
            (Base, "/a/b;c=d?e=/../f", "/a/b;c=d?e=/../f"),
            (Base, "/public/%2E%2e/private", "/private"),
            (Base, "/a/./b/../c?d=%61", "/a/c?d=%61"),
            (Base, "/..", "/"),
            (Base, "/a/..", "/"),
            (Base, "/a/b/.", "/a/b/"),
            (Base, "/../../a", "/a"),
            (Base, "/app\\..\\admin", "/admin"),
            (Base, "/x/..;a=b/admin", "/admin"),
            (Base, "/;/admin", "/;/admin"),
            (Base, "/%61dmin/%2fx/%zz/%4", "/admin/%2fx/%zz/%4"),
            (Base, "/%252e%252e/a", "/%252e%252e/a"),
            (Base, "//a/..//b", "///b"),
            (Base, "/.a/..b", "/.a/..b"),
            (Base, "/a{\"|}<ü", "/a%7B%22%7C%7D%3C%C3%BC"),
            (Base, "*", "*"),
            (MergeSlashes, "//a///b/", "/a/b/"),
            (MergeSlashes, "/app/..//admin", "/admin"),
            (MergeSlashes, "/%2fadmin", "/%2fadmin"),
            (DecodeAndMergeSlashes, "/app/..%2Fadmin", "/admin"),
            (DecodeAndMergeSlashes, "/%5cadmin", "/admin"),
            (DecodeAndMergeSlashes, "/x/..%3b/admin", "/x/..%3b/admin"),
        ] {
            assert_eq!(applied(how, path).as_deref(), Some(expected), "{how:?} {path}");
        }
        for path in ["/admin%00", "/%00/../a", "/a\0"] {
            assert_eq!(applied(Base, path), Option::None, "{path}");
        }
    }

    #[test]
    fn what_is_normal_stays_as_it_is() {
        use proptest::prelude::*;
        proptest!(|(path in "/[a-c./%\\\\25eEfFcC;?{ ]{0,12}")| {
            for how in [Base, MergeSlashes, DecodeAndMergeSlashes] {
                let Some(once) = applied(how, &path) else { continue };
                let before = once.split('?').next().unwrap();
                prop_assert!(once.starts_with('/'), "{}", once);
                prop_assert!(!before.contains("/../") && !before.contains("/./"), "{}", once);
                prop_assert!(how == Base || !before.contains("//"), "{}", once);
                if !how.may_change(path.split('?').next().unwrap().as_bytes()) {
                    prop_assert_eq!(&once, &path);
                }
            }
        });
    }
}
