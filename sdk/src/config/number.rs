//! Numbers that are not floats.

/// A number that is not a float.
pub(super) enum Integer {
    Unsigned(u64),
    Signed(i64),
}

/// The integer that a number is, if it is one of 64 bits.
pub(super) fn integer(number: &str) -> Option<Integer> {
    let unsigned = number.parse().map(Integer::Unsigned);
    unsigned.or_else(|_| number.parse().map(Integer::Signed)).ok()
}
