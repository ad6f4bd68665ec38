//! The blob that carries header maps and property paths between host and guest.
//!
//! A count, then the two lengths of each pair, all little-endian `u32`; then the bytes, each followed by a NUL.

use bytes::Bytes;

/// A blob beyond this is refused, as in Envoy.
pub const MAX_BYTES: usize = 1 << 20;
/// A blob with more pairs than this is refused, as in Envoy.
pub const MAX_PAIRS: usize = 1024;

/// The length of the blob for these pairs.
pub fn encoded_len<'a>(pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> usize {
    pairs.fold(4, |sum, (name, value)| sum + 10 + name.len() + value.len())
}

/// Appends the blob for these pairs; the iterator is walked twice.
pub fn encode<'a, I>(pairs: I, out: &mut Vec<u8>)
where
    I: Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
{
    let count_at = out.len();
    out.extend_from_slice(&[0; 4]);
    let mut count = 0u32;
    for (name, value) in pairs.clone() {
        out.extend_from_slice(&wire_len(name));
        out.extend_from_slice(&wire_len(value));
        count += 1;
    }
    if let Some(place) = out.get_mut(count_at..count_at + 4) {
        place.copy_from_slice(&count.to_le_bytes());
    }
    for (name, value) in pairs {
        out.extend_from_slice(name);
        out.push(0);
        out.extend_from_slice(value);
        out.push(0);
    }
}

/// Reads a blob; `None` if it is malformed or beyond the limits. An empty blob has no pairs.
#[must_use]
pub fn decode(blob: &[u8]) -> Option<Vec<(Bytes, Bytes)>> {
    if blob.is_empty() {
        return Some(Vec::new());
    }
    if blob.len() > MAX_BYTES {
        return None;
    }
    let mut lengths = blob;
    let count = take_len(&mut lengths)?;
    if count > MAX_PAIRS || lengths.len() < count.checked_mul(8)? {
        return None;
    }
    let (mut lengths, data) = lengths.split_at(count * 8);
    // One copy for all: the pairs are slices of it.
    let data = Bytes::copy_from_slice(data);
    let mut at = 0usize;
    let mut pairs = Vec::with_capacity(count);
    for _ in 0..count {
        let name_len = take_len(&mut lengths)?;
        let value_len = take_len(&mut lengths)?;
        let name = terminated(&data, &mut at, name_len)?;
        let value = terminated(&data, &mut at, value_len)?;
        pairs.push((name, value));
    }
    (at == data.len()).then_some(pairs)
}

fn wire_len(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes()
}

fn take_len(from: &mut &[u8]) -> Option<usize> {
    let (head, rest) = from.split_first_chunk::<4>()?;
    *from = rest;
    usize::try_from(u32::from_le_bytes(*head)).ok()
}

fn terminated(data: &Bytes, at: &mut usize, len: usize) -> Option<Bytes> {
    let end = at.checked_add(len)?;
    if data.get(end) != Some(&0) {
        return None;
    }
    let bytes = data.slice(*at..end);
    *at = end + 1;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn blob(pairs: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(pairs.iter().copied(), &mut out);
        out
    }

    #[test]
    fn one_pair_byte_for_byte() {
        assert_eq!(blob(&[(b"a", b"bc")]), b"\x01\0\0\0\x01\0\0\0\x02\0\0\0a\0bc\0");
        assert_eq!(blob(&[]), [0; 4]);
    }

    #[test]
    fn malformed_blobs_are_refused() {
        assert_eq!(decode(b""), Some(vec![]));
        assert_eq!(decode(&[0; 4]), Some(vec![]));
        assert_eq!(decode(&[0; 3]), None);
        assert_eq!(decode(&[0; 5]), None, "trailing byte");
        assert_eq!(decode(b"\x01\0\0\0\x01\0\0\0\x02\0\0\0a\0bc\x01"), None, "wrong NUL");
        assert_eq!(decode(b"\x02\0\0\0\x01\0\0\0\x02\0\0\0a\0bc\0"), None, "too short");
        assert_eq!(decode(b"\xff\xff\xff\xff"), None);
        let many = vec![(&b"a"[..], &b"b"[..]); MAX_PAIRS + 1];
        assert_eq!(decode(&blob(&many)), None);
        let big = vec![b'x'; MAX_BYTES];
        assert_eq!(decode(&blob(&[(b"a", &big)])), None);
    }

    proptest! {
        #[test]
        fn round_trip(pairs in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..20), prop::collection::vec(any::<u8>(), 0..40)), 0..30)) {
            let mut out = Vec::new();
            encode(pairs.iter().map(|(n, v)| (n.as_slice(), v.as_slice())), &mut out);
            prop_assert_eq!(out.len(), encoded_len(pairs.iter().map(|(n, v)| (n.as_slice(), v.as_slice()))));
            let back = decode(&out).unwrap();
            prop_assert_eq!(back.len(), pairs.len());
            for ((n, v), (bn, bv)) in pairs.iter().zip(&back) {
                prop_assert_eq!(n.as_slice(), bn.as_ref());
                prop_assert_eq!(v.as_slice(), bv.as_ref());
            }
        }

        #[test]
        fn no_blob_panics(blob in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&blob);
        }
    }
}
