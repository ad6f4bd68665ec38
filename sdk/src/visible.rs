//! Texts of others in messages: what cannot be seen in them is made visible.

use std::fmt::{self, Write as _};

/// A text whose control characters are written as `\u{..}`.
///
/// The standard library's way needs a table of all characters, which costs a module four kilobytes.
#[derive(Debug)]
pub(crate) struct Visible<'a>(pub(crate) &'a str);

impl fmt::Display for Visible<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            if character.is_control() {
                write!(f, "\\u{{{:x}}}", u32::from(character))?;
            } else {
                f.write_char(character)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown() {
        assert_eq!(Visible("a\r\nb\u{85} ü\"\0").to_string(), "a\\u{d}\\u{a}b\\u{85} ü\"\\u{0}");
    }
}
