//! The ways in which servers may read the path of a request.

/// The path as it is, and, if that differs, as a server reads it that decodes escapes, merges slashes and resolves dots.
pub(super) fn spellings(path: &[u8]) -> Vec<Vec<u8>> {
    let plain = plain(path);
    let mut spellings = vec![path.to_vec()];
    if plain != path {
        spellings.push(plain);
    }
    spellings
}

/// The path, decoded once and without detours; the query stays as it is.
fn plain(target: &[u8]) -> Vec<u8> {
    let end = target.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(target.len());
    let (path, query) = target.split_at_checked(end).unwrap_or((target, &[]));
    let decoded: Vec<u8> = decode(path).into_iter().map(|byte| if byte == b'\\' { b'/' } else { byte }).collect();
    let mut segments: Vec<&[u8]> = Vec::new();
    let mut parts = decoded.split(|byte| *byte == b'/').skip(1).peekable();
    while let Some(segment) = parts.next() {
        let last = parts.peek().is_none();
        match segment {
            b"." | b"" if last => segments.push(b""),
            b"." | b"" => {}
            b".." => {
                segments.pop();
                if last {
                    segments.push(b"");
                }
            }
            segment => segments.push(segment),
        }
    }
    let mut plain = vec![b'/'];
    plain.extend(segments.join(&b'/'));
    plain.extend_from_slice(query);
    plain
}

fn decode(path: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((byte, after)) = rest.split_first() {
        let escaped = if *byte == b'%' { after.first_chunk().and_then(|[high, low]| hex(*high, *low)) } else { None };
        decoded.push(escaped.unwrap_or(*byte));
        rest = if escaped.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    decoded
}

fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_spellings_read_the_same() {
        for (written, read) in [
            ("/a/b?x=/../", "/a/b?x=/../"),
            ("/%61", "/a"),
            ("//a///b/", "/a/b/"),
            ("/x/../a/./b", "/a/b"),
            ("/x/%2e%2E/a", "/a"),
            ("/..", "/"),
            ("/a/..", "/"),
            ("/a/.", "/a/"),
            ("\\a\\b", "/a/b"),
            ("/%2fa%5cb", "/a/b"),
            ("/%zz%4", "/%zz%4"),
            ("*", "/"),
            ("", "/"),
        ] {
            assert_eq!(plain(written.as_bytes()).escape_ascii().to_string(), read, "{written}");
        }
        assert_eq!(spellings(b"/a").len(), 1);
        assert_eq!(spellings(b"/./a"), [b"/./a".to_vec(), b"/a".to_vec()]);
    }
}
