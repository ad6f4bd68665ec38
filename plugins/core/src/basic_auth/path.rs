//! The ways in which servers may read the path of a request.

/// The path as it is, and, where that differs, as servers read it that decode escapes, merge slashes and resolve dots: those
/// that know nothing of parameters, and those that take them off each segment (`/a;b=c/..;d/e` is `/e`).
pub(super) fn spellings(path: &[u8]) -> Vec<Vec<u8>> {
    let mut spellings = vec![path.to_vec()];
    for reads_parameters in [false, true] {
        let plain = plain(path, reads_parameters);
        if !spellings.contains(&plain) {
            spellings.push(plain);
        }
    }
    spellings
}

/// The path, decoded once and without detours; the query stays as it is.
fn plain(target: &[u8], reads_parameters: bool) -> Vec<u8> {
    let end = target.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(target.len());
    let (path, query) = target.split_at_checked(end).unwrap_or((target, &[]));
    let decoded: Vec<u8> = decode(path).into_iter().map(|byte| if byte == b'\\' { b'/' } else { byte }).collect();
    let mut segments: Vec<&[u8]> = Vec::new();
    let mut parts = decoded.split(|byte| *byte == b'/').skip(1).peekable();
    while let Some(segment) = parts.next() {
        let last = parts.peek().is_none();
        let parameters = segment.iter().position(|byte| *byte == b';').filter(|_| reads_parameters);
        match segment.get(..parameters.unwrap_or(segment.len())).unwrap_or_default() {
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
            for reads_parameters in [false, true] {
                let plain = plain(written.as_bytes(), reads_parameters);
                assert_eq!(plain.escape_ascii().to_string(), read, "{written}");
            }
        }
        assert_eq!(spellings(b"/a").len(), 1);
        assert_eq!(spellings(b"/./a"), [b"/./a".to_vec(), b"/a".to_vec()]);
    }

    #[test]
    fn servers_may_take_parameters_off() {
        for (written, read) in [
            ("/open/..;a=b/admin", "/admin"),
            ("/open/..%3b/admin", "/admin"),
            ("/open/.%2e;/admin", "/admin"),
            ("/admin;a=b/c;d?e;f", "/admin/c?e;f"),
            ("/;/admin", "/admin"),
        ] {
            let spellings = spellings(written.as_bytes());
            assert!(spellings.iter().any(|spelling| spelling == read.as_bytes()), "{written}");
            assert_eq!(spellings.first().map(Vec::as_slice), Some(written.as_bytes()));
        }
    }
}
