//! Which characters each part of a URL may hold, and `%` escapes, as Go has them.

use super::NotUrl;

/// A part of a URL with rules of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Path,
    Host,
    Zone,
    UserInfo,
    Fragment,
}

/// Decodes `%` escapes; hosts are checked for bytes that they may not have.
pub(super) fn decode(text: &str, part: Part) -> Result<Vec<u8>, NotUrl> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            if matches!(part, Part::Host | Part::Zone) && first.is_ascii() && must_escape(*first, part) {
                return Err(NotUrl::Host(char::from(*first)));
            }
            decoded.push(*first);
            continue;
        }
        let (byte, after) = hex_pair(rest).ok_or_else(|| broken(rest))?;
        let allowed = match part {
            // Only bytes beyond ASCII; `%25` is the one exception, in front of a zone.
            Part::Host => !byte.is_ascii() || byte == b'%',
            Part::Zone => byte == b'%' || byte == b' ' || !must_escape(byte, Part::Host),
            _ => true,
        };
        if !allowed {
            return Err(broken(rest));
        }
        decoded.push(byte);
        rest = after;
    }
    Ok(decoded)
}

/// A host, decoded; bytes that are not UTF-8 are replaced, no registry has such a name.
pub(super) fn decode_host(text: &str) -> Result<String, NotUrl> {
    decode(text, Part::Host).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// Escapes what the part may not hold.
pub(super) fn encode(bytes: &[u8], part: Part) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        if must_escape(*byte, part) {
            text.push_str(&format!("%{byte:02X}"));
        } else {
            text.push(char::from(*byte));
        }
    }
    text
}

/// Whether a path can be printed as it was written.
pub(super) fn is_valid_path(raw: &str) -> bool {
    is_valid(raw, Part::Path)
}

/// Whether a fragment can be printed as it was written.
pub(super) fn is_valid_fragment(raw: &str) -> bool {
    is_valid(raw, Part::Fragment)
}

fn is_valid(raw: &str, part: Part) -> bool {
    raw.bytes().all(|byte| b"!$&'()*+,;=:@[]%".contains(&byte) || !must_escape(byte, part))
}

fn must_escape(byte: u8, part: Part) -> bool {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => false,
        b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'[' | b']' | b'<'
        | b'>' | b'"'
            if matches!(part, Part::Host | Part::Zone) =>
        {
            false
        }
        b'$' | b'&' | b'+' | b',' | b'/' | b':' | b';' | b'=' | b'?' | b'@' => match part {
            Part::Path => byte == b'?',
            Part::UserInfo => matches!(byte, b'@' | b'/' | b'?' | b':'),
            Part::Fragment => false,
            Part::Host | Part::Zone => true,
        },
        b'!' | b'(' | b')' | b'*' if part == Part::Fragment => false,
        _ => true,
    }
}

fn hex_pair(text: &[u8]) -> Option<(u8, &[u8])> {
    let [high, low, rest @ ..] = text else { return None };
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some((digit(high)? << 4 | digit(low)?, rest))
}

fn broken(after: &[u8]) -> NotUrl {
    let shown = after.get(..after.len().min(2)).unwrap_or_default();
    NotUrl::Escape(format!("%{}", String::from_utf8_lossy(shown)))
}
