//! The parts of an exchange, as far as they matter for what can be read.

use std::fmt;

/// A part of an exchange, as far as it matters for what can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// The plugin is configured, or works for no exchange.
    Plugin = 1,
    /// The request's headers are held.
    RequestHead = 2,
    /// The request's headers have moved on.
    RequestBody = 4,
    /// The response's headers are held.
    ResponseHead = 8,
    /// The response's headers have moved on.
    ResponseBody = 16,
    /// The exchange is over.
    Log = 32,
    /// A TCP connection, from its beginning to its log.
    Connection = 64,
}

/// The phases in which an attribute exists.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Phases(u8);

impl Phases {
    /// Everywhere.
    pub const ALL: Self = Self(127);
    /// Everywhere in an exchange, and on a TCP connection.
    pub const EXCHANGE: Self = Self(126);
    /// While the request's headers can be read.
    pub const REQUEST_HEADERS: Self = Self(2 | 32);
    /// From the response's headers on.
    pub const RESPONSE: Self = Self(8 | 16 | 32);
    /// While the response's headers can be read.
    pub const RESPONSE_HEADERS: Self = Self(8 | 32);
    /// When the exchange is over.
    pub const LOG: Self = Self(32);

    /// Whether the phase is one of them.
    #[must_use]
    pub const fn contains(self, phase: Phase) -> bool {
        self.0 & phase as u8 != 0
    }
}

impl fmt::Display for Phases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::ALL => "everywhere",
            Self::EXCHANGE => "in an exchange or on a connection only",
            Self::REQUEST_HEADERS => "while the request's headers are held, and in the log",
            Self::RESPONSE => "from the response's headers on",
            Self::RESPONSE_HEADERS => "while the response's headers are held, and in the log",
            Self::LOG => "in the log only",
            _ => "in other phases",
        })
    }
}

impl fmt::Debug for Phases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
