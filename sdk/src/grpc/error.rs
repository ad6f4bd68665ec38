//! Why a gRPC call brought no answer: statuses, and who gave them.

use std::fmt;

use crate::visible::Visible;

/// Why a gRPC call brought no answer, or ended badly.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GrpcError {
    /// The cluster that was called.
    pub cluster: String,
    /// What was called: `package.Service/Method`.
    pub method: String,
    /// The status, of the peer or, where it has none to give, of the proxy or this library.
    pub status: Code,
    /// The text beside it.
    pub message: String,
    /// Who says so, in Envoy's words: `via_upstream` for the peer itself, such as `response_timeout` for the proxy;
    /// empty for this library.
    pub details: String,
}

impl GrpcError {
    /// Whether the peer itself has given the status.
    #[must_use]
    pub fn is_from_peer(&self) -> bool {
        self.details == "via_upstream"
    }
}

impl fmt::Display for GrpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cluster, method, status, message, .. } = self;
        write!(f, "gRPC call `{method}` to cluster `{cluster}`: {status}")?;
        if message.is_empty() { Ok(()) } else { write!(f, ": {}", Visible(message)) }
    }
}

impl std::error::Error for GrpcError {}

/// A status of gRPC; a peer may send numbers that have no name.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(pub u32);

macro_rules! codes {
    ($($name:ident = $number:literal, $text:literal;)*) => {
        impl Code {
            $(#[doc = concat!("Number ", $number, ": ", $text, ".")] pub const $name: Self = Self($number);)*

            fn text(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

codes! {
    OK = 0, "ok";
    CANCELLED = 1, "cancelled";
    UNKNOWN = 2, "unknown";
    INVALID_ARGUMENT = 3, "invalid argument";
    DEADLINE_EXCEEDED = 4, "deadline exceeded";
    NOT_FOUND = 5, "not found";
    ALREADY_EXISTS = 6, "already exists";
    PERMISSION_DENIED = 7, "permission denied";
    RESOURCE_EXHAUSTED = 8, "resource exhausted";
    FAILED_PRECONDITION = 9, "failed precondition";
    ABORTED = 10, "aborted";
    OUT_OF_RANGE = 11, "out of range";
    UNIMPLEMENTED = 12, "unimplemented";
    INTERNAL = 13, "internal";
    UNAVAILABLE = 14, "unavailable";
    DATA_LOSS = 15, "data loss";
    UNAUTHENTICATED = 16, "unauthenticated";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text() {
            Some(text) => f.write_str(text),
            None => write!(f, "status {}", self.0),
        }
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} ({})", self.0)
    }
}

/// How a call ended, other than well.
#[derive(Debug, Clone)]
pub(super) struct Ending {
    pub(super) status: Code,
    pub(super) message: String,
    pub(super) details: String,
}

impl Ending {
    pub(super) fn new(status: Code, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), details: String::new() }
    }

    /// What the host says, where Envoy puts its details in braces behind the peer's message, or alone.
    pub(super) fn told(status: u32, text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text);
        let (message, details) = match last_group(&text) {
            Some(parts) => parts,
            None if text == "via_upstream" => ("", text.as_ref()),
            None => (text.as_ref(), ""),
        };
        // The proxy's own clock ran out; what Envoy calls unavailable, gRPC calls by this name.
        let status = if details == "response_timeout" { Code::DEADLINE_EXCEEDED } else { Code(status) };
        Self { status, message: message.to_owned(), details: details.to_owned() }
    }
}

/// What stands before, and inside of, the braces that end a text; they may hold others.
fn last_group(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_suffix('}')?;
    let mut depth = 1;
    let open = inner.char_indices().rev().find(|(_, c)| {
        depth += match c {
            '}' => 1,
            '{' => -1,
            _ => 0,
        };
        depth == 0
    });
    let (before, rest) = inner.split_at_checked(open?.0)?;
    Some((before, rest.strip_prefix('{')?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_and_its_details_are_told_apart() {
        let parts = |text: &str| {
            let ending = Ending::told(14, text.as_bytes());
            (ending.message, ending.details, ending.status.0)
        };
        let owned = |message: &str, details: &str, status| (message.to_owned(), details.to_owned(), status);
        assert_eq!(parts("nope msg{via_upstream}"), owned("nope msg", "via_upstream", 14));
        assert_eq!(parts("via_upstream"), owned("", "via_upstream", 14));
        assert_eq!(parts("a{b}{c{d}}"), owned("a{b}", "c{d}", 14));
        assert_eq!(
            parts("upstream request timeout{response_timeout}"),
            owned("upstream request timeout", "response_timeout", 4)
        );
        for odd in ["", "}", "a}", "{", "}{", "{}}"] {
            let _ = parts(odd);
        }
    }
}
