//! What one text value must look like: exactly, by its start, by its end, or only be there.

/// How far a wildcard reaches over bytes that a wildcard of Envoy's does not step over.
///
/// Envoy turns wildcards into regular expressions, whose `.` is a character of valid UTF-8 other than a line feed, and
/// path templates into character classes. A request with another byte slips past a rule that denies. So wherever a
/// match can only lead to a refusal, wildcards reach over every byte here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    /// As in Envoy.
    Envoy,
    /// Over every byte.
    Every,
}

impl Reach {
    /// Whether a wildcard with this reach may stand for bytes of a text which is, or is not, `regular`.
    pub(super) fn covers(self, regular: bool) -> bool {
        regular || self == Self::Every
    }
}

/// Whether the `.` of Envoy's regular expressions matches all of this text.
pub(super) fn regular(text: &[u8]) -> bool {
    !text.contains(&b'\n') && (text.is_ascii() || std::str::from_utf8(text).is_ok())
}

/// A pattern for text, compared byte by byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Text {
    /// The value is there, even if empty.
    Present,
    /// The value has at least one character.
    NonEmpty,
    /// The value is this.
    Exact(Box<[u8]>),
    /// The value begins with this.
    Prefix(Box<[u8]>),
    /// The value ends with this.
    Suffix(Box<[u8]>),
}

impl Text {
    /// Reads Istio's grammar: `*`, `*suffix`, `prefix*`, exact, tried in this order; any other `*` stands for itself.
    pub(super) fn parse(value: &str, star: Self) -> Self {
        if value == "*" {
            star
        } else if let Some(end) = value.strip_prefix('*') {
            Self::Suffix(bytes(end))
        } else if let Some(start) = value.strip_suffix('*') {
            Self::Prefix(bytes(start))
        } else {
            Self::Exact(bytes(value))
        }
    }

    /// The same pattern in lower case, for values that are compared so.
    pub(super) fn lower(mut self) -> Self {
        if let Self::Exact(text) | Self::Prefix(text) | Self::Suffix(text) = &mut self {
            text.make_ascii_lowercase();
        }
        self
    }

    /// Whether the value fits.
    pub(super) fn fits(&self, value: &[u8], reach: Reach) -> bool {
        match self {
            Self::Present => true,
            Self::NonEmpty => !value.is_empty() && reach.covers(regular(value)),
            Self::Exact(text) => value == &**text,
            Self::Prefix(text) => value.starts_with(text),
            Self::Suffix(text) => value.ends_with(text),
        }
    }
}

fn bytes(text: &str) -> Box<[u8]> {
    text.as_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, value: &[u8]) -> bool {
        Text::parse(pattern, Text::NonEmpty).fits(value, Reach::Envoy)
    }

    #[test]
    fn only_one_end_is_special() {
        assert!(fits("a*b", b"a*b") && !fits("a*b", b"axb"));
        assert!(fits("*a*", b"xa*") && !fits("*a*", b"xax"));
        assert!(fits("**", b"a*") && !fits("**", b"a"));
    }

    #[test]
    fn a_star_of_envoys_needs_characters() {
        assert!(fits("*", b"a") && !fits("*", b"") && !fits("*", b"a\n") && !fits("*", b"\xff"));
        assert!(Text::NonEmpty.fits(b"\xff", Reach::Every) && !Text::NonEmpty.fits(b"", Reach::Every));
        assert!(Text::Present.fits(b"", Reach::Envoy));
    }
}
