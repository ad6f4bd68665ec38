//! Expressions in CEL (the Common Expression Language) over Envoy's attributes, evaluated by the host.
//!
//! One evaluation costs about as much as reading two attributes, however many it names, and nothing of an interpreter
//! weighs on the module. An expression is made once, from configuration, and then asked about one exchange after the
//! other:
//!
//! ```
//! use wasmplugin::cel::Expression;
//! use wasmplugin::{Flow, Http, Reply, RequestHead, Result};
//!
//! #[derive(serde::Deserialize)]
//! struct Gate {
//!     allow: Expression,
//! }
//!
//! impl Http for Gate {
//!     fn on_request(&self, request: &mut RequestHead) -> Result<Flow> {
//!         if self.allow.holds(request)? { Ok(Flow::Continue) } else { Ok(Reply::new(403).into()) }
//!     }
//! }
//! ```
//!
//! An attribute that is not there in the phase makes the whole evaluation fail, unless the expression does not need it
//! (`has(request.headers.a)`, or the other side of an `||`). So a rule that denies on an error fails closed.

use std::fmt;

use crate::error::{Error, ErrorKind, Result};
use crate::log_entry::LogEntry;
use crate::observer::Stream;
use crate::sys::{self, HostError, Status};
use crate::{RequestHead, ResponseHead, foreign};

const EVALUATE: &str = "expr_evaluate";

/// A parsed expression; the host keeps it until it is dropped.
pub struct Expression {
    token: [u8; 4],
    text: Box<str>,
}

impl Expression {
    /// Has the host parse an expression.
    ///
    /// Envoy's interpreter has the standard functions and macros of CEL, and no extensions (`split`, `lowerAscii`).
    pub fn parse(text: &str) -> Result<Self> {
        let token = foreign::call("expr_create", text.as_bytes()).map_err(|error| match error.kind() {
            ErrorKind::Host(host) if host.status == Status::BAD_ARGUMENT => {
                Error::app(format!("`{text}` is not an expression in CEL, or calls a function that the host lacks"))
            }
            _ => error,
        })?;
        let token = <[u8; 4]>::try_from(token).map_err(|_| Error::malformed("the token of an expression"))?;
        Ok(Self { token, text: text.into() })
    }

    /// The expression, as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the expression is true; a value that is no boolean is an error.
    pub fn holds(&self, on: &impl Subject) -> Result<bool> {
        match *self.evaluate(on)? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(Error::app(format!("`{}` is neither true nor false", self.text))),
        }
    }

    /// The value, in the encoding of properties: texts as they are, numbers and times (nanoseconds) in eight bytes,
    /// little-endian, and so on.
    pub fn evaluate(&self, on: &impl Subject) -> Result<Vec<u8>> {
        on.focus()?;
        sys::call_foreign_function(EVALUATE, &self.token).map_err(|error| self.failed(error))
    }

    /// As [`evaluate`](Self::evaluate), into memory that is there already; on an error nothing is in it.
    pub fn evaluate_into(&self, on: &impl Subject, out: &mut Vec<u8>) -> Result<()> {
        on.focus()?;
        sys::call_foreign_function_into(EVALUATE, &self.token, out).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: HostError) -> Error {
        match error.status {
            Status::INTERNAL_FAILURE => {
                Error::app(format!("`{}` has no value here: an attribute is absent, or of another type", self.text))
            }
            Status::SERIALIZATION_FAILURE => Error::app(format!("the value of `{}` cannot be passed on", self.text)),
            _ => error.into(),
        }
    }
}

impl Drop for Expression {
    fn drop(&mut self) {
        // There is nobody to tell: the plugin's configuration is on its way out.
        let _ = sys::call_foreign_function("expr_delete", &self.token);
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.text).finish()
    }
}

#[cfg(feature = "json")]
impl<'de> serde::Deserialize<'de> for Expression {
    /// From its text, so that an error names the place in the configuration.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// What an expression can be asked about: an exchange in one of its phases.
pub trait Subject: sealed::Focus {}

impl Subject for RequestHead {}
impl Subject for ResponseHead {}
impl Subject for LogEntry {}
impl Subject for Stream {}

mod sealed {
    use crate::error::Result;

    pub trait Focus {
        /// Makes the next host call act on the exchange.
        fn focus(&self) -> Result<()>;
    }

    impl Focus for crate::RequestHead {
        fn focus(&self) -> Result<()> {
            self.focus_map()
        }
    }

    impl Focus for crate::ResponseHead {
        fn focus(&self) -> Result<()> {
            self.focus_map()
        }
    }

    impl Focus for crate::observer::Stream {
        fn focus(&self) -> Result<()> {
            Ok(crate::runtime::focus(self.id())?)
        }
    }

    impl Focus for crate::log_entry::LogEntry {
        /// It is lent by the callback of its exchange, so that one is current.
        fn focus(&self) -> Result<()> {
            Ok(())
        }
    }
}
