//! Header blocks of HTTP/2 (RFC 7541), as plain as the protocol allows: no dynamic table in either direction.

use bytes::Bytes;

use crate::test::Headers;

/// The static table, from index 1 on.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// How many bits the code of each byte has. The codes follow from that: shorter ones first, then in order.
#[rustfmt::skip]
const CODE_BITS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

/// How many bytes have codes of each length, up to the longest.
#[expect(clippy::indexing_slicing, reason = "the compiler evaluates it, and no iterator runs there")]
const BYTES_OF_LENGTH: [u32; 31] = {
    let mut counts = [0; 31];
    let mut byte = 0;
    while byte < CODE_BITS.len() {
        counts[CODE_BITS[byte] as usize] += 1;
        byte += 1;
    }
    counts
};

/// The fields as literals; what HTTP/2 does without (`connection` and its like) is left out.
pub(super) fn encode(headers: &Headers) -> Vec<u8> {
    let mut block = Vec::with_capacity(256);
    let (pseudo, fields): (Vec<_>, Vec<_>) = headers.iter().partition(|(name, _)| name.first() == Some(&b':'));
    let kept = |name: &Bytes| !matches!(name.as_ref(), b"connection" | b"transfer-encoding" | b"keep-alive" | b"host");
    for (name, value) in pseudo.into_iter().chain(fields.into_iter().filter(|(name, _)| kept(name))) {
        block.push(0);
        for text in [name, value] {
            push_length(&mut block, text.len());
            block.extend_from_slice(text);
        }
    }
    block
}

/// The fields of a block; nothing if it is broken, or uses the table that was forbidden.
pub(super) fn decode(block: &[u8]) -> Option<Headers> {
    let mut headers = Headers::new();
    let mut rest = block;
    while let Some(&first) = rest.first() {
        if first & 0x80 != 0 {
            let (name, value) = known(take_number(&mut rest, 7)?)?;
            headers.add(name, value);
        } else if first & 0xe0 == 0x20 {
            // The size of the dynamic table, which is zero.
            take_number(&mut rest, 5)?;
        } else {
            let name = match take_number(&mut rest, if first & 0x40 != 0 { 6 } else { 4 })? {
                0 => take_text(&mut rest)?,
                index => known(index)?.0.as_bytes().to_vec(),
            };
            headers.add(name, take_text(&mut rest)?);
        }
    }
    Some(headers)
}

fn known(index: usize) -> Option<(&'static str, &'static str)> {
    STATIC.get(index.checked_sub(1)?).copied()
}

fn push_length(block: &mut Vec<u8>, length: usize) {
    let most = 0x7f;
    match u8::try_from(length).ok().filter(|length| *length < most) {
        Some(length) => block.push(length),
        None => {
            block.push(most);
            let mut left = length - usize::from(most);
            while left >= 0x80 {
                block.push((left & 0x7f) as u8 | 0x80);
                left >>= 7;
            }
            block.push(left as u8);
        }
    }
}

/// A number whose first byte gives it the lowest `bits`.
fn take_number(rest: &mut &[u8], bits: u32) -> Option<usize> {
    let most = (1_usize << bits) - 1;
    let mut number = usize::from(take_byte(rest)?) & most;
    if number < most {
        return Some(number);
    }
    for shift in (0..28).step_by(7) {
        let byte = usize::from(take_byte(rest)?);
        number += (byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn take_byte(rest: &mut &[u8]) -> Option<u8> {
    let (first, others) = rest.split_first()?;
    *rest = others;
    Some(*first)
}

fn take_text(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let packed = rest.first()? & 0x80 != 0;
    let length = take_number(rest, 7)?;
    let (text, others) = rest.split_at_checked(length)?;
    *rest = others;
    if packed { unpack(text) } else { Some(text.to_vec()) }
}

/// Undoes the Huffman code, bit by bit: header blocks of tests are short.
fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(packed.len() * 2);
    let mut code = Code::default();
    for byte in packed {
        for place in (0..8).rev() {
            if let Some(byte) = code.push(byte >> place & 1)? {
                text.push(byte);
                code = Code::default();
            }
        }
    }
    // The last byte is filled up with ones.
    (code.length < 8 && code.bits == (1 << code.length) - 1).then_some(text)
}

/// The bits of a code that have been read.
#[derive(Default)]
struct Code {
    bits: u32,
    length: u8,
    /// The lowest code of this length.
    first: u32,
}

impl Code {
    /// Reads one bit more; the byte once the code is whole, nothing at all if there is no such code.
    fn push(&mut self, bit: u8) -> Option<Option<u8>> {
        self.length += 1;
        self.bits = self.bits << 1 | u32::from(bit);
        self.first <<= 1;
        let count = *BYTES_OF_LENGTH.get(usize::from(self.length))?;
        if self.bits >= self.first + count {
            self.first += count;
            return Some(None);
        }
        let place = usize::try_from(self.bits.checked_sub(self.first)?).ok()?;
        let mut same = (0..=u8::MAX).zip(CODE_BITS).filter(|(_, bits)| *bits == self.length);
        Some(Some(same.nth(place)?.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digit = |byte: &u8| char::from(*byte).to_digit(16).unwrap() as u8;
        text.as_bytes().chunks(2).map(|pair| digit(&pair[0]) << 4 | digit(&pair[1])).collect()
    }

    #[test]
    fn the_codes_are_those_of_the_standard() {
        assert_eq!(unpack(&hex("f1e3c2e5f23a6ba0ab90f4ff")).unwrap(), b"www.example.com");
        assert_eq!(unpack(&hex("a8eb10649cbf")).unwrap(), b"no-cache");
        assert_eq!(unpack(&hex("25a849e95ba97d7f")).unwrap(), b"custom-key");
        assert_eq!(
            unpack(&hex("d07abe941054d444a8200595040b8166e082a62d1bff")).unwrap(),
            b"Mon, 21 Oct 2013 20:13:21 GMT"
        );
        assert_eq!(unpack(&hex("00")), None);
    }

    #[test]
    fn a_block_may_use_the_table_literals_and_codes() {
        let block = hex("884083f2b0ff8cf1e3c2e5f23a6ba0ab90f4ff6196d07abe941054d444a8200595040b8166e082a62d1bff");
        let expected: Headers =
            [(":status", "200"), ("x-a", "www.example.com"), ("date", "Mon, 21 Oct 2013 20:13:21 GMT")]
                .into_iter()
                .collect();
        assert_eq!(decode(&block), Some(expected));
    }

    #[test]
    fn what_is_encoded_can_be_decoded() {
        let long = "v".repeat(300);
        let headers: Headers = [(":path", "/x"), ("a", long.as_str()), ("transfer-encoding", "chunked")]
            .into_iter()
            .map(|(name, value)| (name, value.to_owned()))
            .collect();
        let decoded = decode(&encode(&headers)).unwrap();
        assert_eq!(decoded.len(), 2);
        assert_eq!(decoded.get("a"), Some(long.as_str()));
    }

    #[test]
    fn a_broken_block_is_nothing() {
        for block in ["ff", "ffffffffffffff", "c0", "0005", "80"] {
            assert_eq!(decode(&hex(block)), None, "{block}");
        }
    }
}
