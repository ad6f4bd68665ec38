//! Configuration: from the resource's JSON to a value that cannot be wrong, or to one line that says what is.

use std::borrow::Cow;
use std::fmt;

#[cfg(feature = "json")]
mod deserializer;
#[cfg(feature = "json")]
mod fault;
#[cfg(feature = "json")]
mod members;
#[cfg(feature = "json")]
mod merge;
#[cfg(feature = "json")]
mod names;
#[cfg(feature = "json")]
mod number;
#[cfg(feature = "json")]
mod raw;
#[cfg(feature = "json")]
mod reader;

#[cfg(feature = "json")]
pub(crate) use merge::merged;
#[cfg(feature = "json")]
pub(crate) use raw::Raw;

use crate::visible::Visible;

/// Why a configuration is refused; the proxy logs it and does not start with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    path: String,
    text: Cow<'static, str>,
}

impl ConfigError {
    /// An error about the whole configuration.
    pub fn new(text: impl Into<Cow<'static, str>>) -> Self {
        Self { path: String::new(), text: text.into() }
    }

    /// An error about one place in it, such as `rules[2].timeout`.
    pub fn at(path: impl Into<String>, text: impl Into<Cow<'static, str>>) -> Self {
        Self { path: path.into(), text: text.into() }
    }

    /// Its place and what is wrong there, as a text that [`json`] takes apart again.
    #[cfg(feature = "json")]
    pub(crate) fn placed(&self) -> String {
        if self.path.is_empty() { self.text.to_string() } else { format!("at `{}`: {}", self.path, self.text) }
    }

    /// Reads what [`placed`](Self::placed) wrote, found at `path`; `place` is where that is in the text.
    #[cfg(feature = "json")]
    fn replaced(path: &str, reason: String, place: &str) -> Self {
        match reason.strip_prefix("at `").and_then(|rest| rest.split_once("`: ")) {
            Some((inner, text)) => Self::at(joined(path, inner), format!("{text}{place}")),
            None => Self::at(path, format!("{reason}{place}")),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid plugin configuration")?;
        if !self.path.is_empty() {
            write!(f, " at `{}`", self.path)?;
        }
        write!(f, ": {}", self.text)
    }
}

impl std::error::Error for ConfigError {}

impl From<std::convert::Infallible> for ConfigError {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

impl From<crate::Error> for ConfigError {
    fn from(error: crate::Error) -> Self {
        Self::new(error.to_string())
    }
}

/// The JSON Schema of what [`none`] accepts.
#[doc(hidden)]
#[cfg(not(target_arch = "wasm32"))]
pub const NO_FIELDS: &str =
    r#"{"$schema":"https://json-schema.org/draft/2020-12/schema","type":["object","null"],"maxProperties":0}"#;

/// Accepts the configuration of a plugin that has none: nothing, or an empty object.
#[doc(hidden)]
pub fn none(configuration: &[u8]) -> Result<(), ConfigError> {
    match configuration.trim_ascii() {
        b"" | b"{}" | b"null" => Ok(()),
        other => Err(ConfigError::new(format!(
            "this plugin takes no configuration, but was given {} bytes; remove `pluginConfig`",
            other.len()
        ))),
    }
}

/// Reads a configuration from JSON; nothing at all is read as an empty object.
///
/// It is stricter than `serde_json`, and a third of its code:
///
/// * An unknown field is refused, for a misspelt one would be silently without effect; so is a field that is there twice.
/// * A list in the place of a struct is refused: derived readers would take its elements for the fields, by position.
///   What serde buffers itself it reads by its own rules: the insides of `flatten`, and of untagged and internally tagged
///   enums.
#[doc(hidden)]
#[cfg(feature = "json")]
pub fn json<T: serde::de::DeserializeOwned>(configuration: &[u8]) -> Result<T, ConfigError> {
    let text = match configuration.trim_ascii() {
        b"" => b"{}",
        text => text,
    };
    let text = std::str::from_utf8(text).map_err(|_| ConfigError::new("it is not UTF-8"))?;
    read(text).map_err(|mistake| {
        let place = format!(" (line {} column {})", mistake.line, mistake.column);
        ConfigError::replaced(&mistake.path, mistake.reason, &place)
    })
}

/// Reads a part of a configuration that lies at `path` in it; its errors are told by [`ConfigError::placed`].
#[cfg(feature = "json")]
pub(crate) fn part<T: serde::de::DeserializeOwned>(part: &Raw, path: &str) -> Result<T, ConfigError> {
    // The line and the column are those of the part, and say nothing about the whole.
    read(part.text()).map_err(|mistake| ConfigError::replaced(&joined(path, &mistake.path), mistake.reason, ""))
}

#[cfg(feature = "json")]
fn read<'de, T: serde::Deserialize<'de>>(text: &'de str) -> Result<T, reader::Mistake> {
    let mut reader = reader::Reader::new(text);
    let value = T::deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    reader.finish(value)
}

/// One path behind another, either of which may be empty.
#[cfg(feature = "json")]
fn joined(path: &str, inner: &str) -> String {
    match (path, inner) {
        ("", one) | (one, "") => one.to_owned(),
        (path, inner) if inner.starts_with('[') => format!("{path}{inner}"),
        (path, inner) => format!("{path}.{inner}"),
    }
}

/// A length of time in configuration, such as `250ms`, `1.5s`, `2m` or `1h30m`, from 0 to 2^64 nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "json", derive(serde::Deserialize), serde(try_from = "String"))]
pub struct Duration(std::time::Duration);

impl Duration {
    /// So many milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(std::time::Duration::from_millis(millis))
    }

    /// So many seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(std::time::Duration::from_secs(seconds))
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        duration.0
    }
}

impl std::str::FromStr for Duration {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let invalid = || {
            ConfigError::new(format!(
                "invalid duration `{}`, expected a number with a unit, such as `250ms` or `1.5s`",
                Visible(text)
            ))
        };
        let mut rest = text;
        let mut total = 0_u64;
        while !rest.is_empty() {
            let (nanoseconds, after) = leading_span(rest).ok_or_else(invalid)?;
            total = total.checked_add(nanoseconds).ok_or_else(invalid)?;
            rest = after;
        }
        if text.is_empty() { Err(invalid()) } else { Ok(Self(std::time::Duration::from_nanos(total))) }
    }
}

impl TryFrom<String> for Duration {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map_err(|error: ConfigError| error.text.into_owned())
    }
}

/// One number with its unit, in nanoseconds, and what follows it.
fn leading_span(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, rest) = text.split_at_checked(end)?;
    const UNITS: [(&str, u64); 6] =
        [("ns", 1), ("us", 1_000), ("ms", 1_000_000), ("s", SECOND), ("m", 60 * SECOND), ("h", 3_600 * SECOND)];
    const SECOND: u64 = 1_000_000_000;
    let (rest, unit) = UNITS.iter().find_map(|(unit, size)| Some((rest.strip_prefix(unit)?, *size)))?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()? };
    let mut total = whole.checked_mul(unit)?;
    let mut place = unit;
    for digit in fraction.bytes() {
        place /= 10;
        total =
            total.checked_add(u64::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?).checked_mul(place)?)?;
    }
    Some((total, rest))
}

#[cfg(test)]
#[cfg(feature = "json")]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[expect(dead_code, reason = "only its errors are looked at")]
    struct Config {
        #[serde(default)]
        rules: Vec<Rule>,
        #[serde(default)]
        nested: Option<Nested>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[expect(dead_code, reason = "only its errors are looked at")]
    struct Rule {
        timeout: Duration,
    }

    #[derive(Debug, serde::Deserialize)]
    struct Nested {
        #[expect(dead_code, reason = "only its errors are looked at")]
        limit: u32,
    }

    fn error(text: &str) -> String {
        json::<Config>(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn an_error_names_path_value_and_expectation() {
        assert_eq!(
            error(r#"{"rules": [{"timeout": "1s"}, {"timeout": "5x"}]}"#),
            "invalid plugin configuration at `rules[1].timeout`: invalid duration `5x`, expected a number with a unit, \
             such as `250ms` or `1.5s` (line 1 column 46)"
        );
        assert_eq!(
            error(r#"{"nested": {"limit": "many"}}"#),
            "invalid plugin configuration at `nested.limit`: invalid type: string `many`, expected u32 (line 1 column 27)"
        );
    }

    #[test]
    fn a_field_that_nobody_knows_is_refused() {
        assert_eq!(
            error(r#"{"nested": {"limit": 1, "limits": 2}}"#),
            "invalid plugin configuration at `nested.limits`: unknown field; check the spelling, or remove it \
             (line 1 column 33)"
        );
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in ["{", "rules: []", "[1]", "{} {}", "\"\"", "{\"rules\": [}"] {
            assert!(error(text).starts_with("invalid plugin configuration"), "{text}");
        }
    }

    #[test]
    fn no_configuration_is_an_empty_one() {
        for text in ["", " \n", "{}"] {
            assert!(json::<Config>(text.as_bytes()).unwrap().rules.is_empty());
            assert!(none(text.as_bytes()).is_ok());
        }
        assert!(none(b"{\"a\":1}").is_err());
    }

    #[test]
    fn durations() {
        let parse = |text: &str| text.parse::<Duration>().map(|d| d.0.as_nanos()).ok();
        assert_eq!(parse("250ms"), Some(250_000_000));
        assert_eq!(parse("1.5s"), Some(1_500_000_000));
        assert_eq!(parse("1h30m"), Some(5_400_000_000_000));
        assert_eq!(parse(".5s"), Some(500_000_000));
        for bad in ["", "5", "5x", "-1s", "s", ".s", "1e3s", "1.2.3s", "99999999999999999999s", "600000h 1s"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
