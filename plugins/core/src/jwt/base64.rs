//! Base64 for tokens and keys: reads what Envoy reads, and says whether the text was written strictly.

use super::failure::Irregular;

/// Bytes that were decoded, and whether RFC 7515 allows the way in which they were written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Decoded {
    pub(crate) bytes: Vec<u8>,
    /// Set for white space, padding, or spare bits that are not zero: Envoy takes them, RFC 7515 does not.
    pub(crate) irregular: Option<Irregular>,
}

/// Decodes base64url; `None` where Envoy refuses: a foreign character, wrong padding, a length that no bytes have.
pub(crate) fn decode_url(text: &[u8]) -> Option<Decoded> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 3);
    // Tokens are long, and nearly all of one is this.
    let (groups, _) = text.as_chunks::<4>();
    for group in groups {
        let Some(three) = regular_group(*group) else { break };
        bytes.extend_from_slice(&three);
    }
    let text = text.get(bytes.len() / 3 * 4..).unwrap_or_default();
    let (mut bits, mut held, mut digits, mut padding) = (0_u32, 0_u32, 0_usize, 0_usize);
    let mut irregular = None;
    for byte in text {
        match digit(*byte) {
            Some(value) if padding == 0 => {
                digits += 1;
                bits = (bits << 6) | u32::from(value);
                held += 6;
                if held >= 8 {
                    held -= 8;
                    bytes.push((bits >> held).to_le_bytes()[0]);
                }
            }
            None if *byte == b'=' => padding += 1,
            None if matches!(byte, b' ' | b'\t'..=b'\r') => {}
            _ => return None,
        }
        if digit(*byte).is_none() {
            irregular = Some(Irregular);
        }
    }
    let rest = digits % 4;
    if rest == 1 || (padding > 0 && (rest == 0 || rest + padding != 4)) {
        return None;
    }
    if bits & ((1 << held) - 1) != 0 {
        irregular = Some(Irregular);
    }
    Some(Decoded { bytes, irregular })
}

/// Three bytes, if these are four digits.
fn regular_group(group: [u8; 4]) -> Option<[u8; 3]> {
    let mut bits = 0;
    for byte in group {
        bits = (bits << 6) | u32::from(digit(byte)?);
    }
    let [_, a, b, c] = bits.to_be_bytes();
    Some([a, b, c])
}

/// Inlined although the crate is compiled for size: this is asked for every character of a token.
#[inline(always)]
fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'-' => Some(62),
        b'_' => Some(63),
        _ => None,
    }
}

/// Encodes with the standard alphabet and padding, as Envoy writes a claim that is a list or an object.
pub(crate) fn encode_standard(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut group = [0; 3];
        group.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
        let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for place in 0..4 {
            let used = place <= chunk.len();
            text.push(if used { letter((bits >> (18 - 6 * place)) & 63) } else { '=' });
        }
    }
    text
}

/// Decodes standard base64 with white space, as PEM writes it; `None` for anything else.
pub(crate) fn decode_pem(text: &str) -> Option<Vec<u8>> {
    let url = text.bytes().map(|byte| match byte {
        b'+' => Some(b'-'),
        b'/' => Some(b'_'),
        b'-' | b'_' => None,
        other => Some(other),
    });
    decode_url(&url.collect::<Option<Vec<u8>>>()?).map(|decoded| decoded.bytes)
}

fn letter(value: u32) -> char {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    usize::try_from(value).ok().and_then(|index| ALPHABET.get(index)).map_or('=', |byte| char::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strict(text: &str) -> Option<Vec<u8>> {
        decode_url(text.as_bytes()).filter(|decoded| decoded.irregular.is_none()).map(|decoded| decoded.bytes)
    }

    fn lenient(text: &str) -> Option<Vec<u8>> {
        decode_url(text.as_bytes()).filter(|decoded| decoded.irregular.is_some()).map(|decoded| decoded.bytes)
    }

    #[test]
    fn the_octets_of_rfc_7515_appendix_c_decode() {
        assert_eq!(strict("A-z_4ME"), Some(vec![3, 236, 255, 224, 193]));
        assert_eq!(strict(""), Some(vec![]));
    }

    #[test]
    fn what_envoy_reads_and_the_rfc_does_not_is_told_apart() {
        for text in ["YQ==", "Y Q", "YR", "\tYQ", "Y\nQ=="] {
            assert_eq!(lenient(text), Some(b"a".to_vec()), "{text:?}");
        }
    }

    #[test]
    fn what_envoy_does_not_read_is_refused() {
        for text in ["Y", "YWJjZ", "YQ=", "YQ===", "YWI==", "YWJj=", "=", "+w", "/w", "Y.Q", "YQ==YQ", "Y\0Q", "Yé"] {
            assert_eq!(decode_url(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn standard_base64_is_padded() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(encode_standard(bytes.as_bytes()), text);
        }
        assert_eq!(encode_standard(&[255, 239]), "/+8=");
        assert_eq!(decode_pem("/+8=\n"), Some(vec![255, 239]));
        assert_eq!(decode_pem("_-8="), None);
    }
}
