//! The few DER structures (X.690) that keys and signatures need: read from certificates, written for the host.

/// The dotted numbers of an algorithm, as the content octets of an OBJECT IDENTIFIER.
pub(crate) mod oid {
    pub(crate) const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    pub(crate) const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    pub(crate) const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    pub(crate) const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
    pub(crate) const P521: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x23];
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const NULL: u8 = 0x05;
const OBJECT_ID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// The RSA key of an X.509 certificate (RFC 5280): modulus and exponent, big-endian. Its dates and its signature are
/// not looked at: whoever hands out the set vouches for it.
pub(crate) fn rsa_key_of_certificate(certificate: &[u8]) -> Option<(&[u8], &[u8])> {
    let (body, []) = element(certificate, SEQUENCE)? else { return None };
    let (mut fields, _signature) = element(body, SEQUENCE)?;
    if let Some((_, rest)) = element(fields, VERSION) {
        fields = rest;
    }
    let (_serial, fields) = element(fields, INTEGER)?;
    let (_algorithm, fields) = element(fields, SEQUENCE)?;
    let (_issuer, fields) = element(fields, SEQUENCE)?;
    let (_validity, fields) = element(fields, SEQUENCE)?;
    let (_subject, fields) = element(fields, SEQUENCE)?;
    let (_, after) = element(fields, SEQUENCE)?;
    rsa_key_of_public_key(fields.get(..fields.len().checked_sub(after.len())?)?)
}

/// The RSA key of a SubjectPublicKeyInfo.
pub(crate) fn rsa_key_of_public_key(public_key: &[u8]) -> Option<(&[u8], &[u8])> {
    let (public_key, []) = element(public_key, SEQUENCE)? else { return None };
    let (algorithm, bits) = element(public_key, SEQUENCE)?;
    if element(algorithm, OBJECT_ID)?.0 != oid::RSA {
        return None;
    }
    let (bits, []) = element(bits, BIT_STRING)? else { return None };
    let (numbers, []) = element(bits.strip_prefix(&[0])?, SEQUENCE)? else { return None };
    let (modulus, rest) = element(numbers, INTEGER)?;
    let (exponent, []) = element(rest, INTEGER)? else { return None };
    Some((trim_zeros(modulus), trim_zeros(exponent)))
}

/// A SubjectPublicKeyInfo of an RSA key.
pub(crate) fn rsa_public_key(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let key = write(SEQUENCE, &[&unsigned(modulus), &unsigned(exponent)]);
    public_key(&[&write(OBJECT_ID, &[oid::RSA]), &write(NULL, &[])], &key)
}

/// A SubjectPublicKeyInfo of a key on a named curve; `point` is the uncompressed form of SEC 1.
pub(crate) fn ec_public_key(curve: &[u8], point: &[u8]) -> Vec<u8> {
    public_key(&[&write(OBJECT_ID, &[oid::EC]), &write(OBJECT_ID, &[curve])], point)
}

fn public_key(algorithm: &[&[u8]], key: &[u8]) -> Vec<u8> {
    write(SEQUENCE, &[&write(SEQUENCE, algorithm), &write(BIT_STRING, &[&[0], key])])
}

/// An ECDSA signature as hosts take it: a sequence of two integers.
pub(crate) fn ecdsa_signature(r: &[u8], s: &[u8]) -> Vec<u8> {
    write(SEQUENCE, &[&unsigned(r), &unsigned(s)])
}

/// The two numbers of an ECDSA signature.
#[cfg(test)]
pub(crate) fn numbers_of_signature(signature: &[u8]) -> Option<[&[u8]; 2]> {
    let (numbers, []) = element(signature, SEQUENCE)? else { return None };
    let (r, rest) = element(numbers, INTEGER)?;
    let (s, []) = element(rest, INTEGER)? else { return None };
    Some([trim_zeros(r), trim_zeros(s)])
}

fn unsigned(number: &[u8]) -> Vec<u8> {
    let number = trim_zeros(number);
    let sign: &[u8] = if number.first().is_none_or(|byte| *byte >= 0x80) { &[0] } else { &[] };
    write(INTEGER, &[sign, number])
}

/// A big-endian number without leading zeros; zero has no digits.
pub(crate) fn trim_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

/// Writes one element; every content of ours is below 64 KiB.
fn write(tag: u8, content: &[&[u8]]) -> Vec<u8> {
    let len: usize = content.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(len.saturating_add(4));
    out.push(tag);
    let [.., high, low] = len.to_be_bytes();
    match (high, low) {
        (0, ..0x80) => out.push(low),
        (0, _) => out.extend([0x81, low]),
        _ => out.extend([0x82, high, low]),
    }
    content.iter().for_each(|part| out.extend_from_slice(part));
    out
}

/// Reads one element with the expected tag: its content, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81 => {
            let (len, rest) = rest.split_first()?;
            (usize::from(*len), rest)
        }
        0x82 => {
            let (len, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*len)), rest)
        }
        _ => return None,
    };
    (*found == tag).then_some(rest.split_at_checked(len)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_written_in_the_shortest_form() {
        for (len, head) in [(0, vec![4, 0]), (127, vec![4, 127]), (128, vec![4, 0x81, 128]), (256, vec![4, 0x82, 1, 0])]
        {
            let written = write(4, &[&vec![7; len]]);
            assert!(written.starts_with(&head), "{len}");
            assert_eq!(element(&written, 4), Some((vec![7; len].as_slice(), [].as_slice())));
        }
    }

    #[test]
    fn integers_have_a_sign_and_no_leading_zeros() {
        assert_eq!(ecdsa_signature(&[0, 0, 0x7f], &[0x80]), [0x30, 7, 2, 1, 0x7f, 2, 2, 0, 0x80]);
        assert_eq!(ecdsa_signature(&[0, 0], &[]), [0x30, 6, 2, 1, 0, 2, 1, 0]);
    }

    #[test]
    fn cut_or_foreign_bytes_hold_no_key() {
        let certificate = include_bytes!("../../testdata/rsa_certificate.der");
        let (modulus, exponent) = rsa_key_of_certificate(certificate).unwrap();
        assert_eq!((modulus.len(), exponent), (256, [1, 0, 1].as_slice()));
        for len in 0..certificate.len() {
            assert_eq!(rsa_key_of_certificate(&certificate[..len]), None, "{len}");
        }
        assert_eq!(rsa_key_of_certificate(include_bytes!("../../testdata/ec_certificate.der")), None);
    }
}
