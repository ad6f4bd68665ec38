//! Spans of time as Kubernetes resources write them: `5s`, `1.5s`, `2m30s`.

use std::time::Duration;

/// Reads a span; `None` if it is none, or of 2^64 nanoseconds and more.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut nanoseconds = 0_u64;
    while !rest.is_empty() {
        let (span, after) = leading(rest)?;
        nanoseconds = nanoseconds.checked_add(span)?;
        rest = after;
    }
    (!text.is_empty()).then_some(Duration::from_nanos(nanoseconds))
}

/// One number with its unit, in nanoseconds, and what follows it.
fn leading(text: &str) -> Option<(u64, &str)> {
    const SECOND: u64 = 1_000_000_000;
    const UNITS: [(&str, u64); 6] =
        [("ns", 1), ("us", 1_000), ("ms", 1_000_000), ("s", SECOND), ("m", 60 * SECOND), ("h", 3_600 * SECOND)];
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
    let (number, rest) = text.split_at_checked(end)?;
    let (rest, unit) = UNITS.iter().find_map(|(unit, size)| Some((rest.strip_prefix(unit)?, *size)))?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let mut span = whole.parse::<u64>().ok()?.checked_mul(unit)?;
    let mut place = unit;
    for digit in fraction.bytes() {
        place /= 10;
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        span = span.checked_add(u64::from(digit).checked_mul(place)?)?;
    }
    (!fraction.is_empty()).then_some((span, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read() {
        for (text, milliseconds) in [("5s", 5_000), ("1.5s", 1_500), ("2m30s", 150_000), ("1h", 3_600_000), ("0s", 0)] {
            assert_eq!(parse(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        assert_eq!(parse("0.000000001s"), Some(Duration::from_nanos(1)));
    }

    #[test]
    fn what_is_no_span_is_refused() {
        for text in [
            "",
            "5",
            "s",
            "-5s",
            "+5s",
            "5 s",
            ".s",
            "1.s",
            "1.2.3s",
            "5d",
            "5S",
            "18446744073709551616ns",
            "99999999h",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
