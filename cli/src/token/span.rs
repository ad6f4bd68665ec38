//! A span of time from now on, as it is typed: `90s`, `15m`, `-1h`, `never`.

use std::str::FromStr;

/// A span; before now when negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Span {
    /// So many seconds.
    Seconds(i64),
    /// Without an end.
    Never,
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "never" {
            return Ok(Self::Never);
        }
        let refused = || format!("`{text}` is no span of time such as `90s`, `15m`, `1h`, `7d`, `-1h` or `never`");
        let (sign, rest) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
        let units = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)];
        let read = |(unit, seconds): &(&str, i64)| {
            let number = rest.strip_suffix(unit).filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()))?;
            number.parse::<i64>().ok()?.checked_mul(sign * seconds)
        };
        units.iter().find_map(read).map(Self::Seconds).ok_or_else(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read() {
        for (text, seconds) in [("0s", 0), ("90s", 90), ("15m", 900), ("1h", 3600), ("7d", 604_800), ("-1h", -3600)] {
            assert_eq!(text.parse(), Ok(Span::Seconds(seconds)), "{text}");
        }
        assert_eq!("never".parse(), Ok(Span::Never));
        for text in ["", "s", "5", "-s", "+5s", "--5s", "5 s", "1.5h", "5w", "9999999999999999999s", "Never"] {
            let error = text.parse::<Span>().unwrap_err();
            assert!(error.starts_with(&format!("`{text}` is no span")), "{error}");
        }
    }
}
