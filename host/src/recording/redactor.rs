//! Takes secrets out of what is kept of one exchange, and remembers them: a plugin may log or copy what it has read.

use super::assigned::values;
use super::body::{Body, Content};
use super::secrets::Secrets;
use crate::percent;

/// Shorter values are not looked for elsewhere: they would be found in everything.
const WORTH_FINDING: usize = 6;
/// What a body ends with may be the beginning of a secret if it is as long as this.
const WORTH_HIDING: usize = 3;
/// Values of one exchange that are looked for elsewhere.
const REMEMBERED: usize = 32;

/// What is known to be secret in one exchange.
#[derive(Debug, Default)]
pub(super) struct Redactor {
    seen: Vec<String>,
}

/// What kind of text is to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A line or a value.
    Prose,
    /// A body, to its end.
    Whole,
    /// The beginning of a body: what follows may have made a secret of its last bytes.
    Cut,
}

impl Redactor {
    /// The value of a field, as it may be kept.
    pub(super) fn field(&mut self, secrets: &Secrets, name: &str, value: &str) -> String {
        if !secrets.holds(name) {
            return self.text(secrets, value);
        }
        self.remember(value);
        // What stands behind `Bearer`.
        self.remember(value.split_once(' ').map_or("", |(_, token)| token));
        // The values of cookies; what follows the one of `set-cookie` says how to keep it.
        let cookies = if name.eq_ignore_ascii_case("set-cookie") { 1 } else { usize::MAX };
        for cookie in value.split(';').take(cookies) {
            self.remember(cookie.split_once('=').map_or("", |(_, value)| value));
        }
        mark(value)
    }

    /// A text, as it may be kept.
    pub(super) fn text(&mut self, secrets: &Secrets, text: &str) -> String {
        self.clean(secrets, text, Kind::Prose)
    }

    /// Makes of a body, as it came, what may be kept of it.
    pub(super) fn body(&mut self, secrets: &Secrets, body: &mut Body) {
        let Content::Bytes(raw) = &body.content else { return };
        let kind = if body.omitted == 0 && body.end { Kind::Whole } else { Kind::Cut };
        if let Some(text) = readable(raw, kind == Kind::Cut) {
            let kept = self.clean(secrets, text, kind);
            body.redacted = kept != text;
            body.content = Content::Text(kept);
        } else {
            // One character per byte, and back.
            let text: String = raw.iter().copied().map(char::from).collect();
            let kept = self.clean(secrets, &text, kind);
            body.redacted = kept != text;
            body.content = Content::Bytes(kept.chars().map(|c| u8::try_from(c).unwrap_or(b'?')).collect());
        }
    }

    fn clean(&mut self, secrets: &Secrets, text: &str, kind: Kind) -> String {
        let text = self.without_values(secrets, text, kind);
        let mut text = self.seen.iter().fold(text, |text, secret| {
            if text.contains(secret.as_str()) { text.replace(secret.as_str(), &mark(secret)) } else { text }
        });
        if kind == Kind::Cut {
            self.hide_beginning(&mut text);
        }
        without_tokens(text, kind == Kind::Cut)
    }

    fn remember(&mut self, secret: &str) {
        let secret = secret.trim();
        let new = secret.len() >= WORTH_FINDING && !self.seen.iter().any(|seen| seen == secret);
        if new && self.seen.len() < REMEMBERED {
            self.seen.push(secret.to_owned());
            // A part of a secret must not be replaced before the whole.
            self.seen.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        }
    }

    /// Without the values of parameters, fields and elements that are secrets.
    fn without_values(&mut self, secrets: &Secrets, text: &str, kind: Kind) -> String {
        let (mut kept, mut done) = (String::with_capacity(text.len()), 0);
        for found in values(text, kind == Kind::Prose, |name| secrets.holds(name)) {
            let (before, value) = (text.get(done..found.range.start), text.get(found.range.clone()));
            let value = value.unwrap_or_default();
            kept.push_str(before.unwrap_or_default());
            done = found.range.end;
            if found.open && kind == Kind::Cut {
                kept.push_str(CUT);
                continue;
            }
            kept.push_str(&mark(value));
            self.remember(value);
            self.remember(&String::from_utf8_lossy(&percent::decoded(value.as_bytes())));
        }
        kept.push_str(text.get(done..).unwrap_or_default());
        kept
    }

    /// Takes off the end of a text what a secret begins with.
    fn hide_beginning(&self, text: &mut String) {
        let begun = |secret: &String| {
            let longest = secret.len().min(text.len());
            (WORTH_HIDING..=longest)
                .rev()
                .find(|length| secret.get(..*length).is_some_and(|begin| text.ends_with(begin)))
        };
        if let Some(length) = self.seen.iter().filter_map(begun).max() {
            text.truncate(text.len() - length);
            text.push_str(CUT);
        }
    }
}

/// What stands for a secret the end of which was not seen.
const CUT: &str = "[redacted, as far as it is here]";

/// Bytes that are text, without half a character at the end of one that was cut.
fn readable(bytes: &[u8], cut: bool) -> Option<&str> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if cut && error.error_len().is_none() => {
            std::str::from_utf8(bytes.get(..error.valid_up_to())?).ok()?
        }
        Err(_) => return None,
    };
    let strange = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r');
    (!text.contains(strange)).then_some(text)
}

/// Without anything that looks like a JSON Web Token: base64url of `{"`, and two dots, or an end that might have had them.
fn without_tokens(text: String, cut: bool) -> String {
    const BEGIN: &str = "eyJ";
    if !text.contains(BEGIN) {
        return text;
    }
    let (mut kept, mut rest) = (String::with_capacity(text.len()), text.as_str());
    while let Some(begin) = rest.find(BEGIN) {
        let (before, after) = rest.split_at(begin);
        let over = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '='));
        let (candidate, later) = after.split_at(after.find(over).unwrap_or(after.len()));
        kept.push_str(before);
        if candidate.matches('.').count() >= 2 {
            kept.push_str(&mark(candidate));
        } else if cut && later.is_empty() {
            kept.push_str(CUT);
        } else {
            kept.push_str(candidate);
        }
        rest = later;
    }
    kept + rest
}

fn mark(secret: &str) -> String {
    format!("[redacted, {} bytes]", secret.len())
}
