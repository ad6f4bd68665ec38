//! One condition on one text: equal, beginning with, or matching an expression.

use serde::Deserialize;

use crate::visible::Visible;

/// What a text is compared with.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Written")]
pub(super) enum Text {
    /// Anything that is there.
    Any,
    Exact(Box<[u8]>),
    Prefix(Box<[u8]>),
    Regex(Expression),
}

/// As Istio's `StringMatch` is written.
#[derive(Deserialize)]
struct Written {
    exact: Option<String>,
    prefix: Option<String>,
    regex: Option<String>,
}

impl TryFrom<Written> for Text {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        Ok(match (written.exact, written.prefix, written.regex) {
            (None, None, None) => Self::Any,
            (Some(text), None, None) => Self::Exact(text.into_bytes().into()),
            (None, Some(text), None) => Self::Prefix(text.into_bytes().into()),
            (None, None, Some(text)) => Self::Regex(Expression::compile(text)?),
            _ => return Err("only one of `exact`, `prefix` and `regex` can be given".to_owned()),
        })
    }
}

impl Text {
    /// Whether it holds for a text.
    pub(super) fn holds(&self, text: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(whole) => text == &**whole,
            Self::Prefix(start) => text.starts_with(start),
            Self::Regex(expression) => expression.matches(text),
        }
    }

    /// Whether it holds for a text if the case of ASCII letters does not matter; an expression keeps its own rules.
    pub(super) fn holds_in_any_case(&self, text: &[u8]) -> bool {
        match self {
            Self::Exact(whole) => text.eq_ignore_ascii_case(whole),
            Self::Prefix(start) => text.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start)),
            Self::Any | Self::Regex(_) => self.holds(text),
        }
    }
}

/// A regular expression for a whole text.
#[derive(Debug, Clone)]
pub(super) struct Expression {
    #[cfg(feature = "regex")]
    regex: regex_lite::Regex,
}

impl Expression {
    #[cfg(feature = "regex")]
    fn compile(pattern: String) -> Result<Self, String> {
        // Alone first, or `a)|(b` would be taken for two halves.
        let invalid = |error| format!("`{}` is no regular expression: {error}", Visible(&pattern));
        regex_lite::Regex::new(&pattern).map_err(invalid)?;
        let regex = regex_lite::Regex::new(&format!("^(?:{pattern})$")).map_err(invalid)?;
        Ok(Self { regex })
    }

    #[cfg(not(feature = "regex"))]
    fn compile(pattern: String) -> Result<Self, String> {
        let pattern = Visible(&pattern);
        Err(format!(
            "`regex` cannot be used in this plugin, which is built without it: replace `{pattern}` by `exact` or `prefix`"
        ))
    }

    #[cfg(feature = "regex")]
    fn matches(&self, text: &[u8]) -> bool {
        std::str::from_utf8(text).is_ok_and(|text| self.regex.is_match(text))
    }

    #[cfg(not(feature = "regex"))]
    fn matches(&self, _: &[u8]) -> bool {
        false
    }
}
