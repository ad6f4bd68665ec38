//! Filter state: values that a plugin leaves with an exchange for other plugins, for CEL, and for the access log.
//!
//! ```
//! # use wasmplugin::{filter_state::FilterState, Flow, RequestHead, Result};
//! const VERDICT: FilterState = FilterState::of("acme_verdict");
//!
//! # fn on_request(request: &RequestHead) -> Result<Flow> {
//! request.set_filter_state(&VERDICT, "trusted")?;
//! assert_eq!(request.filter_state(&VERDICT)?.as_deref(), Some(&b"trusted"[..]));
//! # Ok(Flow::Continue) }
//! ```
//!
//! A value is seen by all plugins of the exchange, of whatever VM, as the property `acme_verdict` and
//! `filter_state.wasm.acme_verdict`; by the access log as `%FILTER_STATE(wasm.acme_verdict)%`. Native filters that do
//! not know the name do not see it, and a plugin cannot make dynamic metadata: Envoy has no call for that.

use crate::error::{Error, ErrorKind, Result};
use crate::foreign;
use crate::sys::{self, HostError, Status};

/// Names that the host answers itself: what is stored under them can never be read.
const BUILT_IN: [&str; 14] = [
    "connection",
    "connection_id",
    "destination",
    "filter_state",
    "metadata",
    "plugin_name",
    "plugin_root_id",
    "plugin_vm_id",
    "request",
    "response",
    "source",
    "upstream",
    "upstream_filter_state",
    "xds",
];

/// The name of a value in filter state.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FilterState {
    name: std::borrow::Cow<'static, str>,
}

/// What is said about all values of a name, before the first one is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declaration {
    readonly: bool,
    kind: Kind,
    span: Span,
}

/// What a value is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Bytes.
    #[default]
    Bytes,
    /// A text, which CEL and the access log then show as one.
    Text,
    /// A protobuf message of that type, such as `type.googleapis.com/google.protobuf.Struct`, whose fields can then be
    /// read one by one by CEL and the access log.
    Protobuf(String),
}

/// How long a value lives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Span {
    /// As long as the filter chain.
    #[default]
    FilterChain = 0,
    /// As long as the request, through internal redirects too.
    Request = 1,
    /// As long as the client's connection: later requests on it see the value.
    Connection = 2,
}

impl FilterState {
    /// A value of that name. The name has one segment and is none of Envoy's own attributes, or it is refused when it is
    /// used.
    #[must_use]
    pub const fn of(name: &'static str) -> Self {
        Self { name: std::borrow::Cow::Borrowed(name) }
    }

    /// The same with a name that is known only when the plugin is configured.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: std::borrow::Cow::Owned(name.into()) }
    }

    /// Says what the values of this name are like; while the plugin is configured, before any is stored.
    ///
    /// The first word counts: that another plugin of the VM has declared the name already is no error.
    pub fn declare(&self, declaration: &Declaration) -> Result<()> {
        let name = self.checked()?;
        let (number, schema) = match &declaration.kind {
            Kind::Bytes => (0, ""),
            Kind::Text => (1, ""),
            Kind::Protobuf(schema) => (3, schema.as_str()),
        };
        let mut message = Vec::with_capacity(name.len() + schema.len() + 12);
        field(1, name, &mut message);
        message.extend_from_slice(&[2 << 3, declaration.readonly.into(), 3 << 3, number]);
        field(4, schema, &mut message);
        message.extend_from_slice(&[5 << 3, declaration.span as u8]);
        match foreign::call("declare_property", &message).map(drop) {
            Err(error) if is(&error, Status::BAD_ARGUMENT) => Ok(()),
            answer => answer,
        }
    }

    pub(crate) fn read(&self) -> Result<Option<Vec<u8>>> {
        match sys::property(self.checked()?) {
            Ok(value) => Ok(Some(value)),
            Err(HostError { status: Status::NOT_FOUND, .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn write(&self, value: &[u8]) -> Result<()> {
        let name = self.checked()?;
        sys::set_property(name, value).map_err(|error| match error.status {
            Status::BAD_ARGUMENT => {
                Error::app(format!("the filter state `{name}` is read-only and has a value already"))
            }
            _ => error.into(),
        })
    }

    /// The name, if what is stored under it can be read back.
    fn checked(&self) -> Result<&str> {
        let name = self.name.as_ref();
        let refused = |why: &str| Err(Error::app(format!("the filter state `{}` {why}", name.replace('\0', "|"))));
        if name.is_empty() {
            return refused("has no name");
        }
        if name.contains('\0') {
            return refused("has a name of several segments, which can be stored but never read");
        }
        if BUILT_IN.contains(&name) {
            return refused("has the name of a built-in attribute, which would hide it");
        }
        Ok(name)
    }
}

impl Declaration {
    /// Bytes that live as long as the filter chain and can be written again.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Refuses a second value for the same exchange.
    #[must_use]
    pub fn readonly(mut self) -> Self {
        self.readonly = true;
        self
    }

    /// What the values are.
    #[must_use]
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// How long the values live.
    #[must_use]
    pub fn span(mut self, span: Span) -> Self {
        self.span = span;
        self
    }
}

/// Makes one of Envoy's own objects for the active exchange.
pub(crate) fn make(name: &str, value: &str) -> Result<()> {
    let mut message = Vec::with_capacity(name.len() + value.len() + 8);
    field(1, name, &mut message);
    field(2, value, &mut message);
    foreign::call("set_envoy_filter_state", &message).map(drop).map_err(|error| {
        if is(&error, Status::BAD_ARGUMENT) {
            return Error::app(format!("`{value}` is no value for the filter state `{name}`"));
        }
        if matches!(error.kind(), ErrorKind::Unsupported { .. }) {
            return Error::app(format!("the proxy cannot make the filter state `{name}`"));
        }
        error
    })
}

/// Has the active exchange routed again.
pub(crate) fn clear_route_cache() -> Result<()> {
    foreign::call("clear_route_cache", &[]).map(drop)
}

fn is(error: &Error, status: Status) -> bool {
    matches!(error.kind(), ErrorKind::Host(error) if error.status == status)
}

/// Appends a text as a field of a protobuf message.
fn field(number: u8, text: &str, message: &mut Vec<u8>) {
    message.push(number << 3 | 2);
    let mut length = text.len();
    while length > 0x7f {
        message.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    message.push(length as u8);
    message.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_not_be_read_back_are_refused() {
        for name in ["", "a\0b", "request", "plugin_name", "xds"] {
            let error = FilterState::of(name).checked().unwrap_err().to_string();
            assert!(error.starts_with("the filter state `"), "{error}");
        }
        assert_eq!(FilterState::of("acme.verdict").checked().unwrap(), "acme.verdict");
    }

    #[test]
    fn long_texts_have_long_lengths() {
        let mut message = Vec::new();
        field(1, &"x".repeat(300), &mut message);
        assert_eq!(message.get(..3), Some(&[0x0a, 0xac, 0x02][..]));
        assert_eq!(message.len(), 303);
    }
}
