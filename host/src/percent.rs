//! Percent-encoding, read leniently.

/// The bytes behind `%XX`; what is no such triple stays as it is.
pub(crate) fn decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.first_chunk::<2>().filter(|digits| byte == b'%' && digits.iter().all(u8::is_ascii_hexdigit));
        let value = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        out.push(value.unwrap_or(byte));
        rest = after.get(if value.is_some() { 2.. } else { 0.. }).unwrap_or_default();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_triple_stays() {
        assert_eq!(decoded(b"no%0a100%25 %zz%+1%4"), b"no\n100% %zz%+1%4");
    }
}
